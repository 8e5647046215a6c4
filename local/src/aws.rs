//! The AWS clients of `local`.

use std::time::Duration;

use anyhow::Context;
use aws_config::{
    SdkConfig, retry::RetryConfig, stalled_stream_protection::StalledStreamProtectionConfig,
    timeout::TimeoutConfig,
};
use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
use aws_sdk_lambda::{primitives::Blob, types::InvocationType};

use crate::names;

/// Longer than any function may run.
const INVOCATION: Duration = Duration::from_mins(2);

/// Clients of one endpoint.
#[derive(Clone)]
pub(crate) struct Aws {
    pub s3: aws_sdk_s3::Client,
    pub sqs: aws_sdk_sqs::Client,
    pub lambda: aws_sdk_lambda::Client,
    pub scheduler: aws_sdk_scheduler::Client,
}

impl Aws {
    /// Clients of the endpoint, with the environment's credentials or, where there are none, any.
    pub(crate) fn new(endpoint: &str) -> Self {
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
        let s3 = aws_sdk_s3::config::Builder::from(&config).force_path_style(true).build();
        Self {
            s3: aws_sdk_s3::Client::from_conf(s3),
            sqs: aws_sdk_sqs::Client::new(&patient(&config)),
            lambda: aws_sdk_lambda::Client::new(&patient(&config)),
            scheduler: aws_sdk_scheduler::Client::new(&config),
        }
    }
}

impl Aws {
    /// Invokes the function and returns its response.
    pub(crate) async fn invoke(&self, function: &str, event: &impl ToString) -> anyhow::Result<Vec<u8>> {
        let invoke = self.lambda.invoke().function_name(function).payload(Blob::new(event.to_string()));
        let answer = invoke.send().await.map_err(|error| anyhow::anyhow!(function_kit::chain(&error)))?;
        let payload = answer.payload.map(Blob::into_inner).unwrap_or_default();
        match answer.function_error {
            None => Ok(payload),
            Some(kind) => anyhow::bail!("{kind}: {}", String::from_utf8_lossy(&payload)),
        }
    }

    /// Has the function invoked, and does not wait for it.
    pub(crate) async fn invoke_soon(&self, function: &str, event: &impl ToString) -> anyhow::Result<()> {
        let invoke = self.lambda.invoke().function_name(function).invocation_type(InvocationType::Event);
        let invoke = invoke.payload(Blob::new(event.to_string()));
        invoke.send().await.with_context(|| format!("{function} cannot be invoked"))?;
        Ok(())
    }
}

/// Long polls and invocations take their time, and so does a stand-in on a busy machine that gets tens of megabytes of
/// executables; whoever invokes decides about another try.
fn patient(config: &SdkConfig) -> SdkConfig {
    let timeouts = TimeoutConfig::builder().operation_attempt_timeout(INVOCATION).build();
    let patient =
        config.clone().into_builder().timeout_config(timeouts).retry_config(RetryConfig::disabled());
    patient.stalled_stream_protection(StalledStreamProtectionConfig::disabled()).build()
}
