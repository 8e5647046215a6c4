//! `local`: the whole flow on one machine.
//!
//! It starts the stand-ins that no endpoint variable replaces, provisions them, deploys the functions,
//! bridges Kafka to Lambda, runs dbt after loads, and tells what happens.

mod aws;
mod book;
mod bridge;
mod child;
mod cli;
mod endpoints;
mod ledger;
pub mod names;
mod provision;
mod report;
mod run;
mod status;
mod transform;

pub use cli::main;
