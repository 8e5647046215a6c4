//! `quoteflow`: the whole flow on one machine.
//!
//! It starts the stand-ins that no endpoint variable replaces, provisions them, deploys the functions,
//! bridges Kafka to Lambda, runs dbt on a schedule, and shows the state of the flow.
#![allow(clippy::disallowed_methods, reason = "it is not part of a function")]

mod base;
mod cli;
mod finnhub;
mod servers;
mod triggers;
mod verbs;
mod watch;

pub use base::names;
pub use cli::main;
