//! What every function shares: configuration read once from the environment, JSON logs, AWS clients,
//! and errors that tell Lambda whether another try can help.

pub mod aws;
pub mod config;
mod error;
mod run;

pub use config::{ConfigError, Environment, Secret};
pub use error::{Retry, chain, diagnostic};
pub use run::run;
