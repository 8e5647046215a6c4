//! The recorded Finnhub: an HTTP server with the API of `finnhub.io/api/v1` that replays five real trading days.
//!
//! It answers `/quote` and `/stock/market-status` from prices of 11 to 15 February 2019 (see `data/README.md`), with
//! Finnhub's token check, rate limit and unusual answers. So the whole flow runs without a key and without a network,
//! and a test can calculate its expected result.

pub mod recording;

mod decimal;
mod limiter;
mod replay;
mod server;

pub use decimal::Decimal;
pub use server::{Config, Error, Fault, Feed, Served};
