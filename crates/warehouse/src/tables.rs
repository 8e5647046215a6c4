//! The raw tables, created on a stand-in as Terraform creates them.

use std::collections::BTreeMap;

use gcp_bigquery_client::{
    error::BQError,
    model::{
        clustering::Clustering, dataset::Dataset, table::Table, table_field_schema::TableFieldSchema,
        table_schema::TableSchema, time_partitioning::TimePartitioning,
    },
};
use serde::Deserialize;

use crate::{Warehouse, WarehouseError};

/// The raw quotes: one row for each `quote_id`.
pub const BRONZE_TABLE: &str = "bronze_stock_quotes_raw";
/// The newest `fetched_at` of each symbol: for freshness, never a filter.
pub const WATERMARK_TABLE: &str = "metadata_last_ts";

/// The tables as Terraform creates them.
const TABLES: &str = include_str!("../../../infra/gcp/tables.json");

#[derive(Deserialize)]
struct Definition {
    description: String,
    partition_by: Option<String>,
    cluster_by: Option<Vec<String>>,
    schema: Vec<TableFieldSchema>,
}

impl Warehouse {
    /// Creates the dataset and the raw tables if they are missing. In the cloud, Terraform creates them.
    ///
    /// # Errors
    /// [`WarehouseError`] if the warehouse refuses.
    pub async fn create_tables(&self) -> Result<(), WarehouseError> {
        let (project, dataset) = (self.config().project.as_str(), self.config().dataset.as_str());
        self.authorize("the dataset").await?;
        let client = self.bigquery();
        exists_then(client.dataset().create(Dataset::new(project, dataset)).await, "the dataset")?;
        let tables: BTreeMap<String, Definition> = serde_json::from_str(TABLES)
            .map_err(|error| WarehouseError::Configuration(format!("tables.json: {error}")))?;
        for (name, definition) in tables {
            let mut table = Table::new(project, dataset, &name, TableSchema::new(definition.schema))
                .description(&definition.description);
            if let Some(column) = definition.partition_by {
                table = table.time_partitioning(TimePartitioning::per_day().field(&column));
            }
            if definition.cluster_by.is_some() {
                table = table.clustering(Clustering { fields: definition.cluster_by });
            }
            exists_then(client.table().create(table).await, "the raw tables")?;
        }
        Ok(())
    }
}

/// Accepts 409: it exists already.
fn exists_then<T>(made: Result<T, BQError>, what: &'static str) -> Result<(), WarehouseError> {
    match made {
        Ok(_) => Ok(()),
        Err(BQError::ResponseError { error }) if error.error.code == 409 => Ok(()),
        Err(error) => Err(WarehouseError::of(what, error)),
    }
}
