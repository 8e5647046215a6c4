//! Creates the same resources on the stand-ins as Terraform in the cloud. Every step accepts existing resources.

use std::{
    collections::HashMap,
    io::Write,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context;
use aws_sdk_lambda::{
    error::ProvideErrorMetadata,
    types::{Architecture, Environment, FunctionCode, FunctionResponseType, Runtime, ScalingConfig, State},
};
use aws_sdk_s3::types::{Event, NotificationConfiguration, QueueConfiguration};
use aws_sdk_scheduler::types::{FlexibleTimeWindow, FlexibleTimeWindowMode, RetryPolicy, Target};
use aws_sdk_sqs::types::QueueAttributeName;
use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    types::RDKafkaErrorCode,
};

use crate::{
    base::names::{self, Limits},
    servers::aws::Aws,
};

/// Any role is accepted, because the stand-ins check none.
const ROLE: &str = "arn:aws:iam::000000000000:role/quoteflow-local";
/// How often a message may fail before it is moved to the dead-letter queue.
const MAX_RECEIVES: u32 = 5;
/// How long a message that was received stays hidden, in seconds: longer than load-quotes may run.
const VISIBILITY_SECONDS: u32 = 2 * names::LOAD_LIMITS.timeout_seconds;

/// The path to which a separate S3 server, such as `MinIO`, posts its events, on the metrics' server.
pub(crate) const WEBHOOK_PATH: &str = "/object-events";
/// The webhook of `MINIO_NOTIFY_WEBHOOK_ENDPOINT_QUOTEFLOW` in `MinIO`'s notifications.
/// <https://docs.min.io/community/minio-object-store/reference/minio-server/settings/notifications/webhook-service.html>
const WEBHOOK_ARN: &str = "arn:minio:sqs::QUOTEFLOW:webhook";

/// The queues' URLs.
#[derive(Debug, Clone)]
pub(crate) struct Queues {
    pub archived: String,
    pub dead_letter: String,
}

/// How many messages are in a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Messages {
    /// Messages that were not received yet, including those that the queue's delay hides.
    pub waiting: u64,
    /// Messages that are being processed.
    pub taken: u64,
}

/// A function to deploy.
pub(crate) struct FunctionSpec {
    pub name: &'static str,
    pub limits: Limits,
    pub executable: PathBuf,
    /// Whether it must be copied to the endpoint. Otherwise it is run from its folder.
    pub is_copied: bool,
    pub environment: HashMap<String, String>,
}

/// Creates the topic if it is missing.
pub(crate) async fn topic(bootstrap_servers: &str) -> anyhow::Result<()> {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", bootstrap_servers).create()?;
    let topic = NewTopic::new(names::TOPIC, names::PARTITIONS, TopicReplication::Fixed(1));
    let options = AdminOptions::new().operation_timeout(Some(Duration::from_secs(10)));
    let unreachable = || format!("Kafka does not answer at {bootstrap_servers}");
    for made in admin.create_topics([&topic], &options).await.with_context(unreachable)? {
        match made {
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((topic, code)) => anyhow::bail!("the topic {topic} cannot be created: {code}"),
        }
    }
    Ok(())
}

impl Aws {
    /// Creates the buckets and the queues, and makes S3 send an event of every new object to the queue, through its
    /// webhook if S3 is a separate server. The AWS stand-in ignores the window in which AWS gathers a batch. With
    /// `delay` each message waits in the queue for that long instead, so that a burst is one batch there, too.
    pub(crate) async fn storage(&self, s3_is_separate: bool, delay: bool) -> anyhow::Result<Queues> {
        for bucket in [names::BRONZE_BUCKET, names::QUARANTINE_BUCKET] {
            self.bucket(bucket).await?;
        }
        function_kit::aws::check_write_once(&self.s3, names::QUARANTINE_BUCKET).await?;
        let delay = if delay { names::QUEUE_WINDOW_SECONDS } else { 0 };
        let dead_letter = self.queue(names::DEAD_LETTER_QUEUE, []).await?;
        let dead_letter_arn = self.queue_arn(&dead_letter).await?;
        let redrive =
            serde_json::json!({ "deadLetterTargetArn": dead_letter_arn, "maxReceiveCount": MAX_RECEIVES });
        let archived = self
            .queue(
                names::ARCHIVED_QUEUE,
                [
                    (QueueAttributeName::VisibilityTimeout, VISIBILITY_SECONDS.to_string()),
                    (QueueAttributeName::RedrivePolicy, redrive.to_string()),
                    (QueueAttributeName::DelaySeconds, delay.to_string()),
                ],
            )
            .await?;
        let notification = QueueConfiguration::builder()
            .id(names::ARCHIVED_QUEUE)
            .queue_arn(if s3_is_separate {
                WEBHOOK_ARN.to_owned()
            } else {
                self.queue_arn(&archived).await?
            })
            .events(Event::from("s3:ObjectCreated:*"))
            .build()?;
        let notified = self
            .s3
            .put_bucket_notification_configuration()
            .bucket(names::BRONZE_BUCKET)
            .notification_configuration(
                NotificationConfiguration::builder().queue_configurations(notification).build(),
            )
            .skip_destination_validation(true)
            .send()
            .await;
        if s3_is_separate && let Err(error) = &notified {
            tracing::warn!(
                "S3 sends no events for new objects, so {} finds them every 5 minutes; for MinIO, point its webhook \
                 QUOTEFLOW to {} of the metrics' address: {}",
                names::RECONCILE,
                WEBHOOK_PATH,
                function_kit::chain(error)
            );
        } else {
            notified.context("the bucket's notification cannot be set")?;
        }
        Ok(Queues { archived, dead_letter })
    }

    /// Creates the bucket if it is missing.
    pub(crate) async fn bucket(&self, bucket: &str) -> anyhow::Result<()> {
        let made = self.s3.create_bucket().bucket(bucket).send().await;
        match made.as_ref().err().map(ProvideErrorMetadata::code) {
            None | Some(Some("BucketAlreadyOwnedByYou" | "BucketAlreadyExists")) => Ok(()),
            Some(_) => made.map(drop).with_context(|| format!("the bucket {bucket} cannot be created")),
        }
    }

    /// Creates the queue if it is missing. The attributes are always set, because an earlier version may have set
    /// others.
    async fn queue<const N: usize>(
        &self,
        name: &str,
        attributes: [(QueueAttributeName, String); N],
    ) -> anyhow::Result<String> {
        let cannot = || format!("the queue {name} cannot be created");
        let made = self.sqs.create_queue().queue_name(name).send().await.with_context(cannot)?;
        let url = made.queue_url.with_context(cannot)?;
        if N > 0 {
            let set = self.sqs.set_queue_attributes().queue_url(&url).set_attributes(Some(attributes.into()));
            set.send().await.with_context(cannot)?;
        }
        Ok(url)
    }

    /// How many messages are in the queue.
    ///
    /// # Errors
    /// If the queue does not answer, or does not report the numbers.
    pub(crate) async fn messages(&self, queue_url: &str) -> anyhow::Result<Messages> {
        use QueueAttributeName::{
            ApproximateNumberOfMessages as Visible, ApproximateNumberOfMessagesDelayed as Delayed,
            ApproximateNumberOfMessagesNotVisible as Taken,
        };
        let attributes = self.queue_attributes(queue_url, [Visible, Taken, Delayed]).await?;
        let known = |name: &QueueAttributeName| attributes.get(name)?.parse::<u64>().ok();
        let count = |name| known(&name).with_context(|| format!("{queue_url} has no {}", name.as_str()));
        Ok(Messages { waiting: count(Visible)? + known(&Delayed).unwrap_or(0), taken: count(Taken)? })
    }

    async fn queue_arn(&self, queue_url: &str) -> anyhow::Result<String> {
        let mut attributes = self.queue_attributes(queue_url, [QueueAttributeName::QueueArn]).await?;
        attributes.remove(&QueueAttributeName::QueueArn).with_context(|| format!("{queue_url} has no ARN"))
    }

    async fn queue_attributes<const N: usize>(
        &self,
        queue_url: &str,
        names: [QueueAttributeName; N],
    ) -> anyhow::Result<HashMap<QueueAttributeName, String>> {
        let asked =
            self.sqs.get_queue_attributes().queue_url(queue_url).set_attribute_names(Some(names.into()));
        let answer = asked.send().await.with_context(|| format!("{queue_url} does not answer"))?;
        Ok(answer.attributes.unwrap_or_default())
    }

    /// Deploys a function: its code, its configuration and its concurrency.
    pub(crate) async fn function(&self, spec: &FunctionSpec) -> anyhow::Result<()> {
        let FunctionSpec { name, limits, executable, is_copied, environment } = spec;
        let (timeout, memory) = (limits.timeout_seconds.cast_signed(), limits.memory_mb.cast_signed());
        let cannot = || format!("the function {name} cannot be deployed");
        let (executable, is_copied) = (executable.clone(), *is_copied);
        let code = tokio::task::spawn_blocking(move || zipped(&executable, is_copied)).await??;
        let environment = Environment::builder().set_variables(Some(environment.clone())).build();
        let made = self
            .lambda
            .create_function()
            .function_name(*name)
            .runtime(Runtime::Providedal2023)
            .architectures(Architecture::X8664)
            .handler("bootstrap")
            .role(ROLE)
            .code(FunctionCode::builder().zip_file(code.clone().into()).build())
            .environment(environment.clone())
            .timeout(timeout)
            .memory_size(memory)
            .send()
            .await;
        match made {
            Ok(_) => {}
            Err(error) if error.code() == Some("ResourceConflictException") => {
                let update = self.lambda.update_function_code().function_name(*name);
                update.zip_file(code.into()).send().await.with_context(cannot)?;
                self.active(name).await?;
                self.lambda
                    .update_function_configuration()
                    .function_name(*name)
                    .environment(environment)
                    .timeout(timeout)
                    .memory_size(memory)
                    .send()
                    .await
                    .with_context(cannot)?;
            }
            Err(error) => return Err(error).with_context(cannot),
        }
        self.active(name).await?;
        if let Some(concurrency) = limits.reserved_concurrency {
            self.lambda
                .put_function_concurrency()
                .function_name(*name)
                .reserved_concurrent_executions(concurrency)
                .send()
                .await
                .with_context(cannot)?;
        }
        Ok(())
    }

    async fn active(&self, name: &str) -> anyhow::Result<()> {
        for _ in 0..100 {
            let function = self.lambda.get_function_configuration().function_name(name).send().await?;
            if function.state == Some(State::Active) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        anyhow::bail!("the function {name} did not become active")
    }

    /// Creates the trigger that invokes load-quotes with the messages of the queue.
    pub(crate) async fn queue_trigger(&self, queue_url: &str) -> anyhow::Result<()> {
        let cannot = "the trigger of load-quotes cannot be created";
        let scaling = ScalingConfig::builder().maximum_concurrency(names::QUEUE_CONCURRENCY).build();
        let there = self.lambda.list_event_source_mappings().function_name(names::LOAD).send().await?;
        let there = there.event_source_mappings().first().and_then(|mapping| mapping.uuid());
        if let Some(uuid) = there {
            self.lambda
                .update_event_source_mapping()
                .uuid(uuid)
                .batch_size(names::QUEUE_BATCH)
                .maximum_batching_window_in_seconds(names::QUEUE_WINDOW_SECONDS)
                .scaling_config(scaling)
                .function_response_types(FunctionResponseType::ReportBatchItemFailures)
                .send()
                .await
                .context(cannot)?;
            return Ok(());
        }
        self.lambda
            .create_event_source_mapping()
            .function_name(names::LOAD)
            .event_source_arn(self.queue_arn(queue_url).await?)
            .batch_size(names::QUEUE_BATCH)
            .maximum_batching_window_in_seconds(names::QUEUE_WINDOW_SECONDS)
            .scaling_config(scaling)
            .function_response_types(FunctionResponseType::ReportBatchItemFailures)
            .send()
            .await
            .context(cannot)?;
        Ok(())
    }

    /// Invokes the function on a schedule. An event that Lambda does not accept is retried for five minutes.
    pub(crate) async fn schedule(&self, name: &str, expression: &str, input: &str) -> anyhow::Result<()> {
        self.unschedule(name).await?;
        let function = self.lambda.get_function_configuration().function_name(name).send().await?;
        let retries =
            RetryPolicy::builder().maximum_retry_attempts(10).maximum_event_age_in_seconds(300).build();
        let target = Target::builder()
            .arn(function.function_arn.unwrap_or_default())
            .role_arn(ROLE)
            .input(input)
            .retry_policy(retries)
            .build()?;
        self.scheduler
            .create_schedule()
            .name(name)
            .schedule_expression(expression)
            .flexible_time_window(FlexibleTimeWindow::builder().mode(FlexibleTimeWindowMode::Off).build()?)
            .target(target)
            .send()
            .await
            .with_context(|| format!("{name} cannot be scheduled"))?;
        Ok(())
    }

    /// Stops invoking the function on a schedule.
    pub(crate) async fn unschedule(&self, name: &str) -> anyhow::Result<()> {
        match self.scheduler.delete_schedule().name(name).send().await {
            Ok(_) => Ok(()),
            Err(error) if error.code() == Some("ResourceNotFoundException") => Ok(()),
            Err(error) => Err(error).with_context(|| format!("the schedule of {name} cannot be removed")),
        }
    }
}

/// The zip of a function. Its `bootstrap` is the executable, or a script that runs it: executables that are not
/// stripped have 40 MB and more, and to send four of them as base64 would take seconds.
fn zipped(executable: &Path, is_copied: bool) -> anyhow::Result<Vec<u8>> {
    let bootstrap = if is_copied {
        std::fs::read(executable).with_context(|| format!("{} cannot be read", executable.display()))?
    } else {
        let quoted = executable.display().to_string().replace('\'', r"'\''");
        format!("#!/bin/sh\nexec '{quoted}'\n").into_bytes()
    };
    let options = zip::write::SimpleFileOptions::default().compression_level(Some(1)).unix_permissions(0o755);
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    zip.start_file("bootstrap", options)?;
    zip.write_all(&bootstrap)?;
    Ok(zip.finish()?.into_inner())
}

#[cfg(test)]
mod tests {
    use axum::{Json, Router, routing::post};
    use serde_json::json;
    use tokio::net::TcpListener;

    use super::*;

    async fn messages(attributes: serde_json::Value) -> anyhow::Result<Messages> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(post(async move || Json(json!({ "Attributes": attributes }))));
        let server = tokio::spawn(async move { axum::serve(listener, router).await });
        let messages = Aws::new(&url, &url).messages(&format!("{url}/0/queue")).await;
        server.abort();
        messages
    }

    #[tokio::test]
    async fn messages_that_the_queues_delay_hides_wait_too() {
        let attributes = json!({
            "ApproximateNumberOfMessages": "1",
            "ApproximateNumberOfMessagesNotVisible": "2",
            "ApproximateNumberOfMessagesDelayed": "4",
        });
        assert_eq!(messages(attributes).await.unwrap(), Messages { waiting: 5, taken: 2 });
    }

    #[tokio::test]
    async fn a_queue_that_does_not_report_its_messages_is_not_read_as_empty() {
        let error = messages(json!({ "ApproximateNumberOfMessages": "0" })).await.unwrap_err().to_string();
        assert!(error.contains("ApproximateNumberOfMessagesNotVisible"), "{error}");
    }
}
