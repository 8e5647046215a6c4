use gcp_bigquery_client::{
    error::BQError,
    model::{
        clustering::Clustering, dataset::Dataset, table::Table, table_field_schema::TableFieldSchema,
        table_schema::TableSchema, time_partitioning::TimePartitioning,
    },
};

use crate::{Warehouse, WarehouseError};

/// The raw quotes: one row for each `quote_id`.
pub const BRONZE_TABLE: &str = "bronze_stock_quotes_raw";
/// The newest `fetched_at` of each symbol: for freshness, never a filter.
pub const WATERMARK_TABLE: &str = "metadata_last_ts";

fn bronze_fields() -> Vec<TableFieldSchema> {
    let prices = ["c", "d", "dp", "h", "l", "o", "pc"].map(TableFieldSchema::float);
    let rest = [
        TableFieldSchema::integer("t"),
        TableFieldSchema::string("symbol"),
        TableFieldSchema::integer("fetched_at"),
        TableFieldSchema::string("quote_id"),
        TableFieldSchema::string("object_key"),
        TableFieldSchema::date("fetched_date"),
        TableFieldSchema::timestamp("loaded_at"),
    ];
    prices.into_iter().chain(rest).collect()
}

impl Warehouse {
    /// Makes the dataset and the two raw tables where they are missing. In the cloud Terraform does.
    ///
    /// # Errors
    /// [`WarehouseError`] where the warehouse refuses.
    pub async fn create_tables(&self) -> Result<(), WarehouseError> {
        let (project, dataset) = (self.config().project.as_str(), self.config().dataset.as_str());
        self.authorize("the dataset").await?;
        let client = self.bigquery();
        exists_then(client.dataset().create(Dataset::new(project, dataset)).await, "the dataset")?;
        let bronze = Table::new(project, dataset, BRONZE_TABLE, TableSchema::new(bronze_fields()))
            .time_partitioning(TimePartitioning::per_day().field("fetched_date"))
            .clustering(Clustering { fields: Some(vec!["symbol".to_owned()]) });
        exists_then(client.table().create(bronze).await, "the bronze table")?;
        let fields = vec![TableFieldSchema::string("symbol"), TableFieldSchema::integer("last_ts")];
        let watermarks = Table::new(project, dataset, WATERMARK_TABLE, TableSchema::new(fields));
        exists_then(client.table().create(watermarks).await, "the watermark table")
    }
}

/// 409: it is there already, which is as good.
fn exists_then<T>(made: Result<T, BQError>, what: &'static str) -> Result<(), WarehouseError> {
    match made {
        Ok(_) => Ok(()),
        Err(BQError::ResponseError { error }) if error.error.code == 409 => Ok(()),
        Err(error) => Err(WarehouseError::of(what, error)),
    }
}
