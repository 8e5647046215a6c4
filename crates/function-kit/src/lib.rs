//! Shared by every function: configuration read once from the environment and its secrets, JSON logs, metrics, traces,
//! AWS clients, and errors that tell Lambda whether a retry can help.

pub mod aws;
mod certificates;
pub mod config;
mod error;
mod lock;
mod log;
pub mod metrics;
mod run;
mod secrets;
pub mod trace;
mod variables;

pub use config::{ConfigError, Environment, Secret, is_loopback, without_passwords};
pub use error::{Retry, chain, diagnostic};
pub use lock::lock;
pub use run::{run, time_left};
pub use secrets::SecretError;
pub use variables::{About, Row, Unset, Variable};
