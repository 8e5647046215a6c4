//! Reading: queries whose results are shared, and the times of tables' last changes.

use std::time::{Duration, Instant};

use gcp_bigquery_client::{
    error::BQError,
    model::{
        error_proto::ErrorProto, get_query_results_parameters::GetQueryResultsParameters, job::Job,
        job_configuration::JobConfiguration, job_configuration_query::JobConfigurationQuery,
        job_reference::JobReference, query_response::QueryResponse, table::Table,
    },
};
use jiff::Timestamp;

use crate::{Answer, BRONZE_TABLE, Parameter, Warehouse, WarehouseError, statements::Statement};

/// The longest that one request waits for a result at the server.
const WAIT: Duration = Duration::from_secs(2);
const TABLE: &str = "the query for a table's last change";

impl Warehouse {
    /// When the table of the layer (`""`, `"_silver"`) was last changed. The request is free of charge. `None` if the
    /// table does not exist, or if it was not changed since it was created. A stand-in that does not keep this time
    /// (bqemulator 1.4.0) always reports the latter.
    ///
    /// # Errors
    /// [`WarehouseError`].
    pub async fn changed_at(&self, layer: &str, table: &str) -> Result<Option<Timestamp>, WarehouseError> {
        let Some(table) = self.metadata(layer, table).await? else { return Ok(None) };
        let time = |text: Option<String>| text.and_then(|text| text.parse().ok());
        let (created, changed): (Option<i64>, Option<i64>) =
            (time(table.creation_time), time(table.last_modified_time));
        let changed = changed.filter(|changed| Some(*changed) > created);
        Ok(changed.and_then(|changed| Timestamp::from_millisecond(changed).ok()))
    }

    async fn metadata(&self, layer: &str, table: &str) -> Result<Option<Table>, WarehouseError> {
        self.authorize(TABLE).await?;
        let dataset = format!("{}{layer}", self.config().dataset);
        match self.bigquery().table().get(&self.config().project, &dataset, table, None).await {
            Ok(table) => Ok(Some(table)),
            Err(BQError::ResponseError { error }) if error.error.code == 404 => Ok(None),
            Err(error) => Err(self.failed(TABLE, error)),
        }
    }

    /// The rows of a statement that only reads, run as the job `id`. The job is started once, however often it is
    /// requested: it is billed once, and BigQuery keeps its rows for a day. `None` if it still runs after `patience`;
    /// calling again continues to wait. A failed job stays failed: another attempt needs another id.
    ///
    /// # Errors
    /// [`WarehouseError`].
    pub async fn read(
        &self,
        statement: &Statement,
        parameters: &[Parameter],
        id: &str,
        patience: Duration,
    ) -> Result<Option<Answer>, WarehouseError> {
        let until = Instant::now() + patience;
        statement.check(parameters)?;
        let (name, project) = (statement.name(), self.config().project.as_str());
        self.authorize(name).await?;
        let of = |error| self.failed(name, error);
        let jobs = self.bigquery().job();
        let location = match jobs.insert(project, self.job(statement, parameters, id)).await {
            Ok(job) => {
                if let Some(error) = job.status.and_then(|status| status.error_result) {
                    return Err(failed_job(name, error));
                }
                job.job_reference.and_then(|job| job.location)
            }
            // It was started already. Its result must be read in the location of the data.
            Err(BQError::ResponseError { error }) if error.error.code == 409 => {
                self.metadata("", BRONZE_TABLE).await?.and_then(|table| table.location)
            }
            Err(error) => return Err(of(error)),
        };
        let ask = async |page_token: Option<String>| {
            let left = until.saturating_duration_since(Instant::now()).min(WAIT);
            let parameters = GetQueryResultsParameters {
                timeout_ms: Some(i32::try_from(left.as_millis()).unwrap_or_default()),
                location: location.clone(),
                page_token,
                ..Default::default()
            };
            jobs.get_query_results(project, id, parameters).await.map(QueryResponse::from).map_err(of)
        };
        let mut response = ask(None).await?;
        while !response.job_complete.unwrap_or(false) {
            if Instant::now() >= until {
                return Ok(None);
            }
            response = ask(None).await?;
        }
        let mut answer = Answer::default();
        loop {
            let next = response.page_token.take().filter(|token| !token.is_empty());
            let all = answer.take(response);
            let Some(token) = next else {
                let count = answer.rows.len() as u64;
                return match all {
                    Some(all) if all != count => {
                        let reason = format!("it returned {count} of {all} rows");
                        Err(WarehouseError::Unavailable { statement: name, reason })
                    }
                    _ => Ok(Some(answer)),
                };
            };
            response = ask(Some(token)).await?;
        }
    }

    fn job(&self, statement: &Statement, parameters: &[Parameter], id: &str) -> Job {
        let query = JobConfigurationQuery {
            query: statement.sql(self.config()),
            maximum_bytes_billed: Some(self.config().max_bytes_billed.to_string()),
            use_legacy_sql: Some(false),
            parameter_mode: Some("NAMED".to_owned()),
            query_parameters: Some(parameters.iter().cloned().map(Into::into).collect()),
            ..Default::default()
        };
        let reference = JobReference {
            job_id: Some(id.to_owned()),
            project_id: Some(self.config().project.clone()),
            ..Default::default()
        };
        Job {
            configuration: Some(JobConfiguration { query: Some(query), ..Default::default() }),
            job_reference: Some(reference),
            ..Default::default()
        }
    }
}

/// The error that BigQuery returns for the rows of such a job; some servers return it when the job is created.
fn failed_job(statement: &'static str, error: ErrorProto) -> WarehouseError {
    let reason = error.reason.unwrap_or_default();
    let code = if reason == "notFound" { 404 } else { 400 };
    WarehouseError::refused_with(statement, code, &reason, error.message.unwrap_or_default())
}
