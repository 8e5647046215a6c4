//! The live Finnhub: its API, its market status, and the relay to it.

pub(crate) mod client;
pub(crate) mod market;
pub(crate) mod preflight;
pub(crate) mod relay;
