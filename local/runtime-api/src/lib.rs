//! Runs a function's real executable on this machine, behind a server of the
//! [AWS Lambda Runtime API](https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html).
//!
//! A [`Function`] is one execution environment: one process, one invocation at a time, kept warm between them and
//! replaced after its death. Any runtime client works: a Rust `bootstrap` of `lambda_runtime`, or
//! `python -m awslambdaric module.handler`.
//!
//! # No process is left behind
//!
//! Each process leads its own process group. So a Ctrl-C in the terminal does not kill it in the middle of an
//! invocation, and its children are killed with it when the function is stopped, killed or dropped. If this process
//! itself is killed with SIGKILL, the closed connection ends the function: `lambda_runtime` and `awslambdaric` both
//! exit if they cannot fetch the next event. A process in the middle of an invocation notices when it posts its
//! response.

mod api;
mod config;
mod environment;
mod function;

pub use config::{FunctionConfig, InvokeError, LogSink};
pub use function::Function;
