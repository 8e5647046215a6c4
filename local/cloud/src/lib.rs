//! Adds BigQuery's pace, limits and prices to a stand-in that has none of them.
//!
//! A [`Proxy`] makes each kind of statement take as long as in BigQuery ([`Speed`]), runs two MERGEs of a table at once
//! and lets twenty wait, refuses requests beyond BigQuery's limits with its error bodies, and counts what would be
//! billed ([`Usage`]). [`bill`] calculates the cost of that and of the counts of AWS.

pub mod bill;
mod error;
mod latency;
mod proxy;
mod quota;
mod statement;
mod tables;
mod usage;

use std::sync::{Mutex, MutexGuard, PoisonError};

pub use latency::{Latency, Speed};
pub use proxy::{OTHERS, Proxy, ProxyConfig, UNBILLED};
pub use statement::{Kind, Names, Statement, TableName, statements};
pub use usage::{ClientUsage, LEAST_BYTES, Usage};

/// Locks the mutex, even after another holder panicked: no panic can leave a change half done.
#[allow(clippy::disallowed_methods, reason = "the one place for it; function-kit would bring the AWS SDK")]
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
