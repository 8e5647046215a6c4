//! Shared by the functions' tests: an S3-compatible server that answers as a script says, a collector of
//! traces, and a function's executable behind the Runtime API. They panic if a test has to fail.
#![allow(clippy::disallowed_methods, reason = "it is not part of a function")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::missing_panics_doc)]

mod collector;
mod executable;
mod s3;

pub use collector::{Collector, ExportedSpan};
pub use executable::{Executable, assert_configuration_problems, assert_documented, failure};
pub use s3::{OUTAGES, REFUSALS, Reply, S3, client};
