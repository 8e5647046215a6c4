//! Prints every statement that the Rust crates can send to BigQuery, as a JSON array of `name`, `sql` and
//! `parameters` (name → GoogleSQL type). `BIGQUERY_PROJECT` (`quoteflow`) and `BIGQUERY_DATASET` (`stock`) name the tables.

use serde_json::{Value, json};
use warehouse::{WarehouseConfig, statements};

fn main() {
    let or = |name: &str, default: &str| std::env::var(name).unwrap_or_else(|_| default.to_owned());
    let (project, dataset) = (or("BIGQUERY_PROJECT", "quoteflow"), or("BIGQUERY_DATASET", "stock"));
    let config = WarehouseConfig::stand_in("http://127.0.0.1", &project, &dataset);
    let all = statements::ALL.iter().chain(serve_dashboard::statements()).map(|statement| {
        let parameters: serde_json::Map<String, Value> =
            statement.parameters().iter().map(|(name, kind)| ((*name).to_owned(), json!(kind))).collect();
        json!({ "name": statement.name(), "sql": statement.sql(&config), "parameters": parameters })
    });
    println!("{:#}", Value::Array(all.collect()));
}
