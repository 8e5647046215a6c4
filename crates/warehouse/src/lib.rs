//! The warehouse: BigQuery, or a stand-in of it.
//!
//! One place for the bronze tables' definitions, for the statements that load them, and for what is
//! asked of them.

mod client;
mod error;
mod lacking;
mod load;
mod tables;

pub use client::{Answer, Parameter, Warehouse, WarehouseConfig};
pub use error::WarehouseError;
pub use load::{BronzeRow, Loaded};
pub use tables::{BRONZE_TABLE, WATERMARK_TABLE};
