//! fetch-quotes against the stand-ins: the recorded feed or a scripted server for Finnhub, the embedded broker for Kafka.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod answers;
mod cloud;
mod executable;
mod kafka;
mod rate;
mod support;
mod time;
