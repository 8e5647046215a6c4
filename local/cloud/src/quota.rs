//! BigQuery's limits: which jobs it refuses, and which wait.
//! <https://docs.cloud.google.com/bigquery/quotas>

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

use crate::{
    error::ApiError,
    lock,
    statement::{Kind, Statement, TableName},
};

/// How many of a table's MERGEs, UPDATEs and DELETEs run at once.
const RUNNING: usize = 2;
/// How many of them wait.
const WAITING: usize = 20;
/// Jobs that overwrite a table or append to it, failed or not. DML does not count.
const MODIFICATIONS: (usize, Duration) = (1_500, Duration::from_hours(24));
const DML: (usize, Duration) = (25, Duration::from_secs(10));
const HELP: &str = "For more information, see https://cloud.google.com/bigquery/docs/troubleshoot-quotas";

/// The limits of every table.
#[derive(Debug, Default)]
pub(crate) struct Quotas(Mutex<HashMap<TableName, Table>>);

#[derive(Debug)]
struct Table {
    running: Arc<Semaphore>,
    waiting: usize,
    modified: Window,
    dml: Window,
}

impl Default for Table {
    fn default() -> Self {
        Self {
            running: Arc::new(Semaphore::new(RUNNING)),
            waiting: 0,
            modified: Window::default(),
            dml: Window::default(),
        }
    }
}

/// When something happened, within the time of a limit.
#[derive(Debug, Default)]
struct Window(VecDeque<Instant>);

impl Window {
    /// Notes that it happens now. Returns false if it has happened too often lately.
    fn add(&mut self, (most, within): (usize, Duration)) -> bool {
        let now = Instant::now();
        while self.0.front().is_some_and(|first| now.duration_since(*first) >= within) {
            self.0.pop_front();
        }
        let fits = self.0.len() < most;
        if fits {
            self.0.push_back(now);
        }
        fits
    }
}

impl Quotas {
    /// Counts a job's statements. The error names the limit that refuses them.
    pub(crate) fn submit(&self, statements: &[Statement]) -> Result<(), ApiError> {
        let mut tables = lock(&self.0);
        for statement in statements {
            let Some(target) = &statement.target else { continue };
            let table = tables.entry(target.clone()).or_default();
            match statement.kind {
                Kind::CreateTableAs if !table.modified.add(MODIFICATIONS) => {
                    return Err(too_many_modifications());
                }
                Kind::Insert | Kind::Mutate if !table.dml.add(DML) => return Err(too_much_dml()),
                _ => {}
            }
        }
        Ok(())
    }

    /// Counts a job that loads or copies into a table.
    pub(crate) fn modify(&self, table: &str) -> Result<(), ApiError> {
        let mut tables = lock(&self.0);
        let fits = tables.entry(table.to_owned()).or_default().modified.add(MODIFICATIONS);
        if fits { Ok(()) } else { Err(too_many_modifications()) }
    }

    /// Waits until BigQuery would run the job's DML. The permits must be kept while the job runs.
    pub(crate) async fn turn(&self, statements: &[Statement]) -> Result<Vec<OwnedSemaphorePermit>, ApiError> {
        let mutated = statements.iter().filter(|statement| statement.kind == Kind::Mutate);
        // All jobs use the same order, so two scripts never wait for each other.
        let mut targets: Vec<_> = mutated.filter_map(|statement| statement.target.as_ref()).collect();
        targets.sort_unstable();
        targets.dedup();
        let mut turns = Vec::new();
        for target in targets {
            turns.push(self.turn_on(target).await?);
        }
        Ok(turns)
    }

    async fn turn_on(&self, target: &TableName) -> Result<OwnedSemaphorePermit, ApiError> {
        let (running, _waits) = {
            let mut tables = lock(&self.0);
            let table = tables.entry(target.clone()).or_default();
            if let Ok(turn) = Arc::clone(&table.running).try_acquire_owned() {
                return Ok(turn);
            }
            if table.waiting == WAITING {
                return Err(too_many_waiting(target));
            }
            table.waiting += 1;
            (Arc::clone(&table.running), Waits { quotas: self, target })
        };
        running.acquire_owned().await.map_err(|closed| ApiError::new("internalError", closed.to_string()))
    }
}

/// A job in a table's queue, which it leaves when it runs or is cancelled.
struct Waits<'a> {
    quotas: &'a Quotas,
    target: &'a TableName,
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        let mut tables = lock(&self.quotas.0);
        if let Some(table) = tables.get_mut(self.target) {
            table.waiting -= 1;
        }
    }
}

fn too_many_modifications() -> ApiError {
    let message = "Quota exceeded: Your table exceeded quota for imports or query appends per table.";
    ApiError::new("quotaExceeded", format!("{message} {HELP}")).at("load_job_per_table.long")
}

fn too_much_dml() -> ApiError {
    let message = "Exceeded rate limits: too many table dml insert operations for this table.";
    ApiError::new("rateLimitExceeded", format!("{message} {HELP}"))
}

fn too_many_waiting(table: &str) -> ApiError {
    // BigQuery's format of a table in this message: project:dataset.table.
    let table = table.replacen('.', ":", 1);
    let message =
        "Resources exceeded during query execution: Too many DML statements outstanding against table";
    ApiError::new("resourcesExceeded", format!("{message} {table}, limit is {WAITING}."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statement::{Names, statements};

    fn of(sql: &str) -> Vec<Statement> {
        statements(sql, Names { project: "p", dataset: Some("d") })
    }

    fn merge(table: &str) -> Vec<Statement> {
        of(&format!("MERGE {table} T USING s ON T.a = s.a WHEN NOT MATCHED THEN INSERT ROW"))
    }

    #[tokio::test(start_paused = true)]
    async fn the_1501st_overwrite_of_a_table_within_a_day_is_refused_until_the_first_is_a_day_old() {
        let (quotas, overwrite) = (Quotas::default(), of("CREATE OR REPLACE TABLE n AS SELECT 1"));
        for _ in 0..1_499 {
            quotas.submit(&overwrite).unwrap();
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        quotas.modify("p.d.n").unwrap();
        let refused = quotas.submit(&overwrite).unwrap_err();
        assert_eq!(refused.reason, "quotaExceeded");
        assert!(refused.message.contains("imports or query appends per table"), "{}", refused.message);
        assert!(quotas.modify("p.d.n").is_err());
        // The limit does not apply to another table, to DML or to a view.
        quotas.submit(&of("CREATE OR REPLACE TABLE other AS SELECT 1")).unwrap();
        quotas.submit(&of("DELETE FROM n WHERE TRUE")).unwrap();
        quotas.submit(&of("CREATE OR REPLACE VIEW n AS SELECT 1")).unwrap();
        tokio::time::advance(MODIFICATIONS.1.saturating_sub(Duration::from_secs(1_498))).await;
        quotas.submit(&overwrite).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn the_26th_dml_statement_of_a_table_within_10_seconds_is_refused_and_later_it_is_not() {
        let quotas = Quotas::default();
        for number in 0..25 {
            quotas.submit(&if number % 2 == 0 { merge("t") } else { of("INSERT INTO t SELECT 1") }).unwrap();
        }
        let refused = quotas.submit(&merge("t")).unwrap_err();
        assert_eq!(refused.reason, "rateLimitExceeded");
        quotas.submit(&merge("other")).unwrap();
        tokio::time::advance(DML.1).await;
        quotas.submit(&merge("t")).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn two_mutations_of_a_table_run_twenty_wait_in_order_and_the_next_is_refused() {
        let quotas = Arc::new(Quotas::default());
        let first = quotas.turn(&merge("t")).await.unwrap();
        let second = quotas.turn(&of("UPDATE t SET a = 1 WHERE TRUE")).await.unwrap();
        let mut waiting = Vec::new();
        for _ in 0..20 {
            let quotas = Arc::clone(&quotas);
            waiting.push(tokio::spawn(async move { quotas.turn(&merge("t")).await }));
            tokio::task::yield_now().await;
        }
        let refused = quotas.turn(&merge("t")).await.unwrap_err();
        assert_eq!(refused.reason, "resourcesExceeded");
        assert!(refused.message.ends_with("against table p:d.t, limit is 20."), "{}", refused.message);
        // INSERT has no such queue, and another table has its own.
        quotas.turn(&of("INSERT INTO t SELECT 1")).await.unwrap();
        quotas.turn(&merge("other")).await.unwrap();
        drop(first);
        let next = waiting.remove(0).await.unwrap().unwrap();
        assert!(!waiting[0].is_finished());
        // A cancelled job leaves the queue.
        waiting.pop().unwrap().abort();
        tokio::task::yield_now().await;
        let late = tokio::spawn({
            let quotas = Arc::clone(&quotas);
            async move { quotas.turn(&merge("t")).await }
        });
        drop((second, next));
        for waiting in waiting {
            drop(waiting.await.unwrap().unwrap());
        }
        late.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_script_that_changes_two_tables_takes_a_turn_on_each_once() {
        let quotas = Quotas::default();
        let script = of("DELETE FROM b WHERE TRUE; DELETE FROM a WHERE TRUE; DELETE FROM b WHERE FALSE");
        assert_eq!(quotas.turn(&script).await.unwrap().len(), 2);
    }
}
