//! AWS clients that start fast: credentials and region from Lambda's own environment variables.

use std::time::Duration;

use aws_config::{
    BehaviorVersion, Region, SdkConfig, environment::EnvironmentVariableCredentialsProvider,
    retry::RetryConfig, timeout::TimeoutConfig,
};
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_secretsmanager::config::{
    ConfigBag, Intercept, RuntimeComponents, interceptors::BeforeTransmitInterceptorContextRef,
};
use aws_smithy_http_client::{
    Builder,
    tls::{Provider, rustls_provider::CryptoMode},
};
use aws_smithy_runtime_api::{box_error::BoxError, client::retries::RequestAttempts};

use crate::{Environment, metrics};

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(2);
/// How long one attempt of a call may take.
const ATTEMPT: Duration = Duration::from_secs(5);
/// How long a call may take with all its attempts.
const CALL: Duration = Duration::from_secs(15);

/// What every AWS client is made from: `AWS_REGION` (set by Lambda), `AWS_ACCESS_KEY_ID` and its like
/// (set by Lambda), and `AWS_ENDPOINT_URL` where another server than AWS is to be asked.
///
/// A call has at most 3 attempts and 15 seconds.
pub fn sdk_config(environment: &mut Environment) -> SdkConfig {
    let endpoint = environment.optional::<String>("AWS_ENDPOINT_URL");
    let region: String = environment.or("AWS_REGION", "us-east-1".to_owned());
    sdk_config_for(endpoint.as_deref(), region)
}

/// As [`sdk_config`], with the endpoint's URL (`None` for AWS itself) and the region given.
#[must_use]
pub fn sdk_config_for(endpoint: Option<&str>, region: String) -> SdkConfig {
    let http = if endpoint.is_some_and(|url| url.starts_with("http://")) {
        Builder::new().build_http()
    } else {
        Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https()
    };
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(CONNECT)
        .operation_attempt_timeout(ATTEMPT)
        .operation_timeout(CALL)
        .build();
    let mut config = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(region))
        .credentials_provider(SharedCredentialsProvider::new(EnvironmentVariableCredentialsProvider::new()))
        .http_client(http)
        .retry_config(RetryConfig::standard().with_max_attempts(3))
        .timeout_config(timeouts);
    config.set_endpoint_url(endpoint.map(str::to_owned));
    config.build()
}

/// Counts the SDK's tries of a call after the first as the metric `Retried`; each client needs to be given it.
#[derive(Debug)]
pub struct CountRetries;

impl Intercept for CountRetries {
    fn name(&self) -> &'static str {
        "CountRetries"
    }

    fn read_before_attempt(
        &self,
        _: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if config.load::<RequestAttempts>().is_some_and(|attempts| attempts.attempts() > 1) {
            metrics::count("Retried", 1);
        }
        Ok(())
    }
}

/// A client of S3, or, where another server than AWS is asked, of a server of its kind: then path-style.
#[cfg(feature = "s3")]
#[must_use]
pub fn s3(config: &SdkConfig) -> aws_sdk_s3::Client {
    let path_style = config.endpoint_url().is_some();
    aws_sdk_s3::Client::from_conf(
        aws_sdk_s3::config::Builder::from(config)
            .force_path_style(path_style)
            .interceptor(CountRetries)
            .build(),
    )
}
