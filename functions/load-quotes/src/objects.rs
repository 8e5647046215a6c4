use aws_sdk_s3::{Client, error::ProvideErrorMetadata};
use function_kit::{
    Retry, aws, chain,
    trace::{TRACEPARENT, TraceParent},
};

use crate::event::ObjectRef;

/// An archived object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Its metadata `traceparent`; `None` where there is none that can be read.
    pub trace: Option<TraceParent>,
}

/// Where archived quotes are read from.
pub trait Objects {
    /// The object; `None` where it does not exist (any more).
    fn get(&self, object: &ObjectRef) -> impl Future<Output = Result<Option<Object>, ReadError>> + Send;
}

/// An object that could not be read.
#[derive(Debug, thiserror::Error)]
#[error("{bucket}/{key} could not be read: {reason}")]
pub struct ReadError {
    /// The bucket's name.
    pub bucket: String,
    /// The object's key.
    pub key: String,
    /// What the bucket or the network said.
    pub reason: String,
    /// Whether another try can help.
    pub retryable: bool,
}

impl Retry for ReadError {
    fn is_retryable(&self) -> bool {
        self.retryable
    }
}

/// The buckets of S3, MinIO or any server of their kind.
pub struct Bucket {
    s3: Client,
}

impl Bucket {
    /// Buckets asked through `s3`.
    #[must_use]
    pub fn new(s3: Client) -> Self {
        Self { s3 }
    }
}

impl Objects for Bucket {
    async fn get(&self, object: &ObjectRef) -> Result<Option<Object>, ReadError> {
        let failed = |reason: String, retryable| ReadError {
            bucket: object.bucket.clone(),
            key: object.key.clone(),
            reason,
            retryable,
        };
        let answer = self.s3.get_object().bucket(&object.bucket).key(&object.key).send().await;
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) if error.code() == Some("NoSuchKey") => return Ok(None),
            Err(error) => {
                return Err(failed(aws::describe(&error), aws::is_retryable(&error)));
            }
        };
        let trace = answer.metadata.as_ref().and_then(|it| TraceParent::parse(it.get(TRACEPARENT)?));
        match answer.body.collect().await {
            Ok(bytes) => Ok(Some(Object { bytes: bytes.to_vec(), trace })),
            Err(error) => Err(failed(chain(&error), true)),
        }
    }
}
