//! AWS clients that start fast: credentials and region from Lambda's own environment variables.

use std::time::Duration;
#[cfg(feature = "s3")]
use std::time::{SystemTime, UNIX_EPOCH};

use aws_config::{
    BehaviorVersion, Region, SdkConfig, environment::EnvironmentVariableCredentialsProvider,
    retry::RetryConfig, timeout::TimeoutConfig,
};
#[cfg(feature = "s3")]
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_secretsmanager::{
    config::{ConfigBag, Intercept, RuntimeComponents, interceptors::BeforeTransmitInterceptorContextRef},
    error::{ProvideErrorMetadata, SdkError},
};
use aws_smithy_http_client::{
    Builder,
    tls::{Provider, rustls_provider::CryptoMode},
};
use aws_smithy_runtime_api::{
    box_error::BoxError,
    client::{http::SharedHttpClient, orchestrator::HttpResponse, retries::RequestAttempts},
};

#[cfg(feature = "s3")]
use crate::Secret;
use crate::{Environment, Retry, Variable, chain, metrics};

/// How long it may take to open a connection.
const CONNECT: Duration = Duration::from_secs(2);
/// How long one attempt of a call may take.
const ATTEMPT: Duration = Duration::from_secs(5);
/// How long all attempts of a call may take together.
const CALL: Duration = Duration::from_secs(15);

/// The variables of every AWS client. The SDK reads the credentials by itself.
pub const VARIABLES: &[Variable] = &[
    Variable::or("AWS_REGION", "us-east-1", "the region; Lambda sets it"),
    Variable::optional("AWS_ACCESS_KEY_ID", "the function's own credentials; Lambda sets them"),
    Variable::optional("AWS_SECRET_ACCESS_KEY", "belongs to `AWS_ACCESS_KEY_ID`").secret(),
    Variable::optional("AWS_SESSION_TOKEN", "belongs to `AWS_ACCESS_KEY_ID`").secret(),
    Variable::optional("AWS_ENDPOINT_URL", "URL of another server instead of AWS"),
];

/// The variables of a client of S3, besides [`VARIABLES`].
pub const S3_VARIABLES: &[Variable] = &[
    Variable::optional(
        "AWS_ENDPOINT_URL_S3",
        "URL of another server for S3 alone, such as MinIO. With this or `AWS_ENDPOINT_URL`, S3 is path-style",
    ),
    Variable::optional("S3_ACCESS_KEY_ID", "the account on that server, if it has its own accounts"),
    Variable::optional("S3_SECRET_ACCESS_KEY", "belongs to `S3_ACCESS_KEY_ID`").secret(),
];

/// The configuration of every AWS client, from [`VARIABLES`]. A call has at most 3 attempts and 15 seconds.
pub fn sdk_config(environment: &mut Environment) -> SdkConfig {
    let endpoint: Option<String> = environment.get("AWS_ENDPOINT_URL");
    let region: Option<String> = environment.get("AWS_REGION");
    sdk_config_for(endpoint.as_deref(), region.unwrap_or_default())
}

/// As [`sdk_config`], with this endpoint URL (`None` for AWS itself) and this region.
#[must_use]
pub fn sdk_config_for(endpoint: Option<&str>, region: String) -> SdkConfig {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(CONNECT)
        .operation_attempt_timeout(ATTEMPT)
        .operation_timeout(CALL)
        .build();
    let mut config = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(region))
        .credentials_provider(SharedCredentialsProvider::new(EnvironmentVariableCredentialsProvider::new()))
        .http_client(http_client(endpoint))
        .retry_config(RetryConfig::standard().with_max_attempts(3))
        .timeout_config(timeouts);
    config.set_endpoint_url(endpoint.map(str::to_owned));
    config.build()
}

/// Codes of temporary errors, whatever their HTTP status: those that AWS's SDKs retry, and those that AWS's lists of
/// errors say to retry:
/// <https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html>,
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/CommonErrors.html>.
const PASSING_CODES: [&str; 24] = [
    "BandwidthLimitExceeded",
    "ConditionalRequestConflict",
    "ExpiredToken",
    "IncompleteBody",
    "InternalError",
    "InternalFailure",
    "InternalServiceError",
    "KMS.ThrottlingException",
    "KmsThrottled",
    "LimitExceededException",
    "OperationAborted",
    "OverLimit",
    "PriorRequestNotComplete",
    "RequestLimitExceeded",
    "RequestThrottled",
    "RequestThrottledException",
    "RequestTimeTooSkewed",
    "RequestTimeout",
    "RequestTimeoutException",
    "ServiceUnavailable",
    "SlowDown",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
];

/// Why a call to AWS failed. All functions use this classification.
#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
pub struct CallError {
    /// The error of the service or of the network, such as `AccessDenied: no`.
    pub reason: String,
    /// Whether the same call may succeed if it is made again. Temporary: an outage, throttling, an answer that was lost
    /// or cut off. Permanent: a refusal, a missing bucket, a wrong signature.
    pub is_retryable: bool,
}

impl CallError {
    /// An answer whose body could not be read to its end.
    #[must_use]
    pub fn cut_off(error: &dyn std::error::Error) -> Self {
        Self { reason: chain(error), is_retryable: true }
    }
}

impl Retry for CallError {
    fn is_retryable(&self) -> bool {
        self.is_retryable
    }
}

impl<E: ProvideErrorMetadata + std::error::Error + 'static> From<SdkError<E, HttpResponse>> for CallError {
    fn from(error: SdkError<E, HttpResponse>) -> Self {
        Self { reason: describe(&error), is_retryable: is_retryable(&error) }
    }
}

fn is_retryable<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> bool {
    match error {
        SdkError::ConstructionFailure(_) => false,
        SdkError::DispatchFailure(failure) => !failure.is_user(),
        SdkError::ServiceError(context) => {
            context.err().code().is_some_and(|code| PASSING_CODES.contains(&code))
                || match context.raw().status().as_u16() {
                    // Not implemented, and an HTTP version that is not supported.
                    501 | 505 => false,
                    status => matches!(status, 408 | 429 | 500..),
                }
        }
        // No answer in time, or an answer that cannot be read.
        _ => true,
    }
}

/// The service's code and message, or the causes of an error that is not the service's.
fn describe<E>(error: &SdkError<E, HttpResponse>) -> String
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let SdkError::ServiceError(context) = error else { return chain(error) };
    let code = context.err().code().map_or_else(|| format!("HTTP {}", context.raw().status()), str::to_owned);
    match context.err().message() {
        Some(message) if !message.is_empty() => format!("{code}: {message}"),
        _ => code,
    }
}

/// Counts the SDK's attempts after the first one as the metric `Retried`.
#[derive(Debug)]
struct CountRetries;

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
            metrics::RETRIED.add(1);
        }
        Ok(())
    }
}

/// A client of S3 or of an S3-compatible server such as `MinIO`, from [`S3_VARIABLES`].
#[cfg(feature = "s3")]
pub fn s3(config: &SdkConfig, environment: &mut Environment) -> aws_sdk_s3::Client {
    let endpoint: Option<String> = environment.get("AWS_ENDPOINT_URL_S3");
    s3_at(config, endpoint.as_deref(), environment)
}

/// As [`s3`], with this server URL (`None` for the one in `config`).
#[cfg(feature = "s3")]
#[allow(clippy::disallowed_methods, reason = "the one place for it")]
pub fn s3_at(
    config: &SdkConfig,
    endpoint: Option<&str>,
    environment: &mut Environment,
) -> aws_sdk_s3::Client {
    let key: Option<String> = environment.get("S3_ACCESS_KEY_ID");
    let secret: Option<Secret> = environment.get("S3_SECRET_ACCESS_KEY");
    if key.is_some() != secret.is_some() {
        let problem = "only one of S3_ACCESS_KEY_ID and S3_SECRET_ACCESS_KEY is set: set both or neither";
        environment.problem(problem.to_owned());
    }
    let path_style = endpoint.or(config.endpoint_url()).is_some();
    let mut builder =
        aws_sdk_s3::config::Builder::from(config).force_path_style(path_style).interceptor(CountRetries);
    if let Some(endpoint) = endpoint {
        builder = builder.endpoint_url(endpoint).http_client(http_client(Some(endpoint)));
    }
    if let Some((key, secret)) = key.zip(secret) {
        let credentials = Credentials::new(key, secret.reveal(), None, None, "S3_ACCESS_KEY_ID");
        builder = builder.credentials_provider(SharedCredentialsProvider::new(credentials));
    }
    aws_sdk_s3::Client::from_conf(builder.build())
}

/// An S3-compatible server that overwrites an object although the request said `If-None-Match: *`.
#[cfg(feature = "s3")]
#[derive(Debug, thiserror::Error)]
#[error(
    "the S3 server of the bucket {bucket} ignores `If-None-Match: *`: it overwrites existing objects, so quotes would \
     be lost. Use AWS S3 or a server that respects it, such as SeaweedFS or MinIO since 2024"
)]
pub struct Overwrites {
    /// The bucket of the request.
    pub bucket: String,
}

/// How long the check may take: a part of the 10 s that Lambda gives a function to start.
#[cfg(feature = "s3")]
const CHECK: Duration = Duration::from_secs(4);

/// The keys of [`check_write_once`]'s test objects begin with this. A function that is killed during the check leaves
/// its test object behind, so readers of the bucket skip these keys.
#[cfg(feature = "s3")]
pub const PROBES: &str = ".quoteflow-probe/";

/// Writes a test object twice into `bucket`, to see whether the server keeps the first, and deletes it. AWS S3 keeps
/// it; an S3-compatible server has to be checked. If the server does not answer, the check is skipped with a warning.
///
/// # Errors
/// [`Overwrites`] if the server accepts the second write, or does not implement the condition.
#[cfg(feature = "s3")]
pub async fn check_write_once(s3: &aws_sdk_s3::Client, bucket: &str) -> Result<(), Overwrites> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let key = format!("{PROBES}{}-{}", std::process::id(), now.as_nanos());
    let write = || s3.put_object().bucket(bucket).key(&key).if_none_match("*").send();
    let check = async {
        for attempt in 1..=2 {
            match write().await.as_ref().map_err(|error| (error, error.raw_response())) {
                Ok(_) if attempt == 1 => {}
                Ok(_) => return Err(Overwrites { bucket: bucket.to_owned() }),
                Err((_, Some(answer))) if answer.status().as_u16() == 412 => break,
                Err((_, Some(answer))) if answer.status().as_u16() == 501 => {
                    return Err(Overwrites { bucket: bucket.to_owned() });
                }
                Err((error, _)) => {
                    let error = describe(error);
                    tracing::warn!(
                        bucket,
                        "could not check whether the S3 server respects `If-None-Match`: {error}"
                    );
                    return Ok(());
                }
            }
        }
        Ok(())
    };
    let checked = tokio::time::timeout(CHECK, check).await.unwrap_or_else(|_| {
        tracing::warn!(
            bucket,
            "could not check whether the S3 server respects `If-None-Match`: no answer in {CHECK:?}"
        );
        Ok(())
    });
    let _ = tokio::time::timeout(CHECK, s3.delete_object().bucket(bucket).key(&key).send()).await;
    checked
}

/// A client of Secrets Manager.
pub(crate) fn secrets_manager(config: &SdkConfig) -> aws_sdk_secretsmanager::Client {
    let config = aws_sdk_secretsmanager::config::Builder::from(config).interceptor(CountRetries).build();
    aws_sdk_secretsmanager::Client::from_conf(config)
}

/// A client of SQS.
#[cfg(feature = "sqs")]
#[must_use]
#[allow(clippy::disallowed_methods, reason = "the one place for it")]
pub fn sqs(config: &SdkConfig) -> aws_sdk_sqs::Client {
    let config = aws_sdk_sqs::config::Builder::from(config).interceptor(CountRetries).build();
    aws_sdk_sqs::Client::from_conf(config)
}

/// An HTTP client, without TLS for an `http://` endpoint.
fn http_client(endpoint: Option<&str>) -> SharedHttpClient {
    if endpoint.is_some_and(|url| url.starts_with("http://")) {
        Builder::new().build_http()
    } else {
        Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https()
    }
}
