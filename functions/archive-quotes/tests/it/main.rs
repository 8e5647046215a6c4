//! archive-quotes against buckets that speak HTTP, alone and behind the Runtime API.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod bucket;
mod executable;
