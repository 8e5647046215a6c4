//! The AWS clients of `local`.

use std::time::Duration;

use aws_config::{SdkConfig, retry::RetryConfig, timeout::TimeoutConfig};
use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};

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

/// Long polls and invocations take their time; whoever invokes decides about another try.
fn patient(config: &SdkConfig) -> SdkConfig {
    let timeouts = TimeoutConfig::builder().operation_attempt_timeout(INVOCATION).build();
    config.clone().into_builder().timeout_config(timeouts).retry_config(RetryConfig::disabled()).build()
}
