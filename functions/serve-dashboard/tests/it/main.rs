//! The executable on the Runtime API, with a server of BigQuery's kind that answers as a script says.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod bigquery;
mod odd_rows;
mod pipeline;
mod requests;
mod seldom;
mod statements;
