//! The AWS clients of `quoteflow`.

use std::time::Duration;

use anyhow::{Context, bail};
use aws_config::{
    SdkConfig, retry::RetryConfig, stalled_stream_protection::StalledStreamProtectionConfig,
    timeout::TimeoutConfig,
};
use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
use aws_sdk_lambda::{error::ProvideErrorMetadata, primitives::Blob, types::InvocationType};
use function_kit::Environment;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::base::names;

/// How long CloudWatch may take to answer.
const CLOUDWATCH: Duration = Duration::from_secs(10);
/// Longer than any function may run.
const INVOCATION: Duration = Duration::from_mins(2);

/// Clients of one endpoint.
#[derive(Clone)]
pub(crate) struct Aws {
    pub s3: aws_sdk_s3::Client,
    pub sqs: aws_sdk_sqs::Client,
    pub lambda: aws_sdk_lambda::Client,
    pub scheduler: aws_sdk_scheduler::Client,
    pub cloudwatch: CloudWatch,
}

/// CloudWatch's metrics and logs in its JSON protocol, unsigned. The SDK's metrics client only uses CBOR, for which the
/// stand-in needs another package. The SDK's logs client takes 26 s to compile, for one request.
/// <https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_GetMetricData.html>
#[derive(Clone)]
pub(crate) struct CloudWatch {
    http: reqwest::Client,
    endpoint: String,
}

impl CloudWatch {
    /// The sum of a metric of each function in `AWS/Lambda` from `since` until now; 0 without a value.
    pub(crate) async fn sums<const N: usize>(
        &self,
        metric: &str,
        functions: [&str; N],
        since: Timestamp,
    ) -> anyhow::Result<[f64; N]> {
        let query = |(number, function): (usize, &&str)| {
            let dimensions = json!([{ "Name": "FunctionName", "Value": function }]);
            let metric = json!({ "Namespace": "AWS/Lambda", "MetricName": metric, "Dimensions": dimensions });
            json!({ "Id": format!("q{number}"), "MetricStat": { "Metric": metric, "Period": 60, "Stat": "Sum" } })
        };
        let question = json!({
            "MetricDataQueries": functions.iter().enumerate().map(query).collect::<Vec<_>>(),
            "StartTime": since.as_second(),
            "EndTime": Timestamp::now().as_second() + 1,
        });
        let answer = self.ask("GraniteServiceVersion20100801.GetMetricData", "1.0", &question).await?;
        let answer = answer.error_for_status()?.bytes().await?;
        let answer: MetricData = serde_json::from_slice(&answer).context("CloudWatch returned no metrics")?;
        let mut sums = [0.0; N];
        for (number, sum) in sums.iter_mut().enumerate() {
            let id = format!("q{number}");
            let results = answer.metric_data_results.iter().filter(|result| result.id == id);
            *sum = results.flat_map(|result| &result.values).sum();
        }
        Ok(sums)
    }

    /// The events of a log from `since` on, in epoch milliseconds. A log without events does not exist, and has none.
    /// <https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_FilterLogEvents.html>
    pub(crate) async fn log_events(&self, group: &str, since: i64) -> anyhow::Result<Vec<LogEvent>> {
        let mut question = json!({ "logGroupName": group, "startTime": since });
        let mut events = Vec::new();
        loop {
            let answer = self.ask("Logs_20140328.FilterLogEvents", "1.1", &question).await?;
            let status = answer.status();
            let body = answer.bytes().await?;
            if !status.is_success() {
                let error = String::from_utf8_lossy(&body);
                if error.contains("ResourceNotFoundException") {
                    return Ok(events);
                }
                bail!("CloudWatch answers {status} for {group}: {error}");
            }
            let page: LogEvents = serde_json::from_slice(&body).context("CloudWatch returned no events")?;
            events.extend(page.events);
            let Some(token) = page.next_token.filter(|token| question["nextToken"] != token.as_str()) else {
                return Ok(events);
            };
            question["nextToken"] = token.into();
        }
    }

    async fn ask(&self, target: &str, version: &str, question: &Value) -> reqwest::Result<reqwest::Response> {
        let ask = self.http.post(&self.endpoint).timeout(CLOUDWATCH).header("X-Amz-Target", target);
        let content_type = format!("application/x-amz-json-{version}");
        ask.header("Content-Type", content_type).body(question.to_string()).send().await
    }
}

/// A log event of a function.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct LogEvent {
    pub log_stream_name: String,
    pub timestamp: i64,
    pub message: String,
    /// LocalStack sets it; ministack does not.
    pub event_id: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LogEvents {
    #[serde(default)]
    events: Vec<LogEvent>,
    next_token: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct MetricData {
    metric_data_results: Vec<MetricDataResult>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct MetricDataResult {
    id: String,
    #[serde(default)]
    values: Vec<f64>,
}

/// Why an invocation has no response.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InvocationError {
    /// The function failed.
    #[error("{kind}: {payload}")]
    Failed { kind: String, payload: String },
    /// The function has no concurrency left.
    #[error("throttled: {0}")]
    Throttled(String),
    /// It is not known whether the function has run.
    #[error("{0}")]
    NoAnswer(String),
}

impl Aws {
    /// Clients of the endpoint, with the environment's credentials or, if there are none, with any. S3 has its own
    /// endpoint, and the environment's account there.
    pub(crate) fn new(endpoint: &str, s3_endpoint: &str) -> Self {
        let base = function_kit::aws::sdk_config_for(Some(endpoint), names::REGION.to_owned());
        let config = match std::env::var_os("AWS_ACCESS_KEY_ID") {
            Some(_) => base,
            None => base
                .into_builder()
                .credentials_provider(SharedCredentialsProvider::new(Credentials::new(
                    "local", "local", None, None, "local",
                )))
                .build(),
        };
        // Like the SDK's clients, it ignores the environment's proxies.
        let http = reqwest::Client::builder().no_proxy().build().unwrap_or_default();
        let mut environment = Environment::of_process(&[function_kit::aws::S3_VARIABLES]);
        Self {
            s3: function_kit::aws::s3_at(&config, Some(s3_endpoint), &mut environment),
            sqs: aws_sdk_sqs::Client::new(&with_long_timeouts(&config)),
            lambda: aws_sdk_lambda::Client::new(&with_long_timeouts(&config)),
            scheduler: aws_sdk_scheduler::Client::new(&config),
            cloudwatch: CloudWatch { http, endpoint: endpoint.to_owned() },
        }
    }
}

impl Aws {
    /// Invokes the function and returns its response.
    pub(crate) async fn invoke(
        &self,
        function: &str,
        event: &impl ToString,
    ) -> Result<Vec<u8>, InvocationError> {
        let invoke = self.lambda.invoke().function_name(function).payload(Blob::new(event.to_string()));
        let answer = invoke.send().await.map_err(|error| {
            let reason = function_kit::chain(&error);
            match error.code() {
                Some("TooManyRequestsException") => InvocationError::Throttled(reason),
                _ => InvocationError::NoAnswer(reason),
            }
        })?;
        let payload = answer.payload.map(Blob::into_inner).unwrap_or_default();
        match answer.function_error {
            None => Ok(payload),
            Some(kind) => {
                let payload = String::from_utf8_lossy(&payload).into_owned();
                Err(InvocationError::Failed { kind, payload })
            }
        }
    }

    /// Invokes the function without waiting for its response.
    pub(crate) async fn invoke_soon(&self, function: &str, event: &impl ToString) -> anyhow::Result<()> {
        let invoke = self.lambda.invoke().function_name(function).invocation_type(InvocationType::Event);
        let invoke = invoke.payload(Blob::new(event.to_string()));
        invoke.send().await.with_context(|| format!("{function} cannot be invoked"))?;
        Ok(())
    }
}

/// Long polls and invocations take long, and so do uploads of tens of megabytes to a stand-in on a busy machine. The
/// caller decides about a retry.
fn with_long_timeouts(config: &SdkConfig) -> SdkConfig {
    let timeouts = TimeoutConfig::builder().operation_attempt_timeout(INVOCATION).build();
    let config = config.clone().into_builder().timeout_config(timeouts).retry_config(RetryConfig::disabled());
    config.stalled_stream_protection(StalledStreamProtectionConfig::disabled()).build()
}
