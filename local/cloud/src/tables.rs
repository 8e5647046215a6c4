//! Finds the tables of a name: the table itself, or the tables beneath a view.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Mutex,
};

use anyhow::Context;
use reqwest::{Client, StatusCode};
use serde_json::Value;

use crate::{
    lock,
    statement::{Kind, Names, Statement, TableName, statements},
};

/// What is known of each name: from the stand-in's catalogue, or from the statement that created a view.
pub(crate) struct Tables {
    http: Client,
    upstream: String,
    known: Mutex<HashMap<TableName, Entry>>,
}

#[derive(Debug, Clone)]
enum Entry {
    Table,
    View(BTreeSet<TableName>),
}

impl Tables {
    pub(crate) fn new(http: Client, upstream: String) -> Self {
        Self { http, upstream, known: Mutex::default() }
    }

    /// Notes what the statements of a job define, whether it has succeeded or not. The catalogue of BigQuery has the text
    /// of a view, and that of the stand-in does not, so a view is known by the statement that created it. Other names
    /// are requested again.
    pub(crate) fn note(&self, statements: &[Statement]) {
        let mut known = lock(&self.known);
        for Statement { kind, target, reads } in statements {
            let Some(name) = target else { continue };
            match kind {
                Kind::CreateView => {
                    known.insert(name.clone(), Entry::View(reads.clone()));
                }
                Kind::CreateTableAs | Kind::Define => {
                    known.remove(name);
                }
                _ => {}
            }
        }
    }

    /// The tables beneath `names`, each once. A name that the catalogue does not have is left out: an alias, or a table
    /// of the same script.
    ///
    /// # Errors
    /// If the stand-in's catalogue does not answer.
    pub(crate) async fn beneath(&self, names: &BTreeSet<TableName>) -> anyhow::Result<BTreeSet<TableName>> {
        let mut tables = BTreeSet::new();
        let mut seen: BTreeSet<TableName> = names.clone();
        let mut left: Vec<TableName> = names.iter().cloned().collect();
        while let Some(name) = left.pop() {
            match self.entry(&name).await? {
                Some(Entry::Table) => drop(tables.insert(name)),
                Some(Entry::View(reads)) => {
                    left.extend(reads.into_iter().filter(|name| seen.insert(name.clone())));
                }
                None => {}
            }
        }
        Ok(tables)
    }

    async fn entry(&self, name: &TableName) -> anyhow::Result<Option<Entry>> {
        let [project, dataset, table] = name.split('.').collect::<Vec<_>>()[..] else {
            // A view of INFORMATION_SCHEMA is billed like a table.
            return Ok(name.contains("INFORMATION_SCHEMA").then_some(Entry::Table));
        };
        if let Some(entry) = lock(&self.known).get(name) {
            return Ok(Some(entry.clone()));
        }
        let path = format!("projects/{project}/datasets/{dataset}/tables/{table}");
        let response = self.http.get(format!("{}/bigquery/v2/{path}", self.upstream)).send().await;
        let response =
            response.with_context(|| format!("the stand-in does not describe the table {name}"))?;
        if response.status() == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        let body: Value = response.error_for_status()?.json().await?;
        let entry = match body.pointer("/view/query").and_then(Value::as_str) {
            Some(sql) => {
                let read = statements(sql, Names { project, dataset: None });
                Entry::View(read.into_iter().flat_map(|statement| statement.reads).collect())
            }
            None => Entry::Table,
        };
        lock(&self.known).insert(name.clone(), entry.clone());
        Ok(Some(entry))
    }
}
