//! `quoteflow`: the whole flow on one machine.
//!
//! It starts the stand-ins that no endpoint variable replaces, provisions them, deploys the functions,
//! bridges Kafka to Lambda, runs dbt on a schedule, and shows what happens.

mod aws;
mod bridge;
mod child;
mod cli;
mod cloud;
mod dashboard;
mod data_dir;
mod emf;
mod endpoints;
mod finnhub;
mod functions;
mod hint;
mod history;
mod latencies;
mod logs;
mod market;
mod metrics;
pub mod names;
mod object_events;
mod observe;
mod pipeline;
mod polling;
mod preflight;
mod provision;
mod relay;
mod repair;
mod report;
mod run;
mod screen;
mod send_again;
mod stand_ins;
mod status;
mod store_counts;
mod transform;

pub use cli::main;
