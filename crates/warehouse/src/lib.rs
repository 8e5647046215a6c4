//! The warehouse: BigQuery, or a stand-in of it.
//!
//! Contains the bronze tables' definitions, the statements that load them, and the queries on them.

mod client;
mod credentials;
mod error;
mod google;
mod load;
mod read;
mod reconcile;
pub mod statements;
mod tables;

pub use client::{Answer, Parameter, VARIABLES, Warehouse, WarehouseConfig};
pub use credentials::{GoogleCredentials, UnusableCredentials};
pub use error::WarehouseError;
pub use load::{BronzeRow, Loaded, STATEMENT_BYTES};
pub use reconcile::Compared;
pub use tables::{BRONZE_TABLE, WATERMARK_TABLE};
