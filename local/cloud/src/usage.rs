//! The requests to BigQuery, and what is billed for them.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::statement::{Kind, Statement, TableName};

/// The minimum billed for each table of a statement: 10 MB, which BigQuery counts as MiB.
/// <https://cloud.google.com/bigquery/pricing>
pub const LEAST_BYTES: u64 = 10 << 20;

/// All usage since the start.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// By client: the first part of the path, or [`crate::OTHERS`].
    pub clients: BTreeMap<String, ClientUsage>,
    /// How often each table was overwritten. Tables with a new name each time, such as dbt's temporary ones, have one
    /// entry for each name.
    pub overwrites: BTreeMap<TableName, u64>,
    /// How many jobs were refused, by BigQuery's reason.
    pub refused: BTreeMap<String, u64>,
}

/// The usage of one client.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize)]
pub struct ClientUsage {
    /// Jobs that ended without an error.
    pub jobs: u64,
    /// Jobs that failed. BigQuery does not bill them.
    pub failed: u64,
    /// The statements of the jobs by their kind.
    pub statements: BTreeMap<Kind, u64>,
    /// The number of the statements' tables, including those beneath views.
    pub tables: u64,
    /// 10 MiB for each of those tables.
    pub bytes_billed: u64,
}

impl Usage {
    /// Adds a job that succeeded, each statement with the number of its tables.
    pub(crate) fn add(&mut self, client: &str, statements: &[(Statement, u64)]) {
        let usage = self.clients.entry(client.to_owned()).or_default();
        usage.jobs += 1;
        for (statement, tables) in statements {
            *usage.statements.entry(statement.kind).or_default() += 1;
            usage.tables += tables;
            usage.bytes_billed += tables * LEAST_BYTES;
        }
    }

    /// Adds a job that failed.
    pub(crate) fn add_failed(&mut self, client: &str) {
        self.clients.entry(client.to_owned()).or_default().failed += 1;
    }

    /// Counts the tables that a job overwrites, whether it succeeds or not.
    pub(crate) fn add_overwrites(&mut self, statements: &[Statement]) {
        for statement in statements.iter().filter(|statement| statement.kind == Kind::CreateTableAs) {
            if let Some(target) = &statement.target {
                *self.overwrites.entry(target.clone()).or_default() += 1;
            }
        }
    }

    /// The usage of one client; zero if the client is unknown.
    #[must_use]
    pub fn of(&self, client: &str) -> ClientUsage {
        self.clients.get(client).cloned().unwrap_or_default()
    }
}
