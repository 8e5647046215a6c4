//! Runs a function's real executable on this machine, behind a server of the
//! [AWS Lambda Runtime API](https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html).
//!
//! A [`Function`] is one execution environment: one process, one invocation at a time, kept warm between them and
//! replaced after it died. Any runtime client fits: a Rust `bootstrap` of `lambda_runtime`, or
//! `python -m awslambdaric module.handler`.
//!
//! # No process is left behind
//!
//! Each process leads its own process group. That keeps a Ctrl-C in the terminal from killing it in the middle of
//! an invocation, and lets its own children be killed along with it, when the function is stopped, killed or dropped.
//! Should this process itself be killed with SIGKILL, nothing here runs any more; then the closed connection ends the
//! function: `lambda_runtime` and `awslambdaric` both exit when they cannot fetch the next event. One in the middle of
//! an invocation notices when it posts its response.

mod api;
mod config;
mod environment;
mod function;

pub use config::{FunctionConfig, InvokeError, LogSink};
pub use function::Function;
