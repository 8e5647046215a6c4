use std::collections::HashMap;

use aws_sdk_s3::{Client, error::ProvideErrorMetadata, primitives::ByteStream};
use function_kit::{
    Retry,
    aws::CallError,
    trace::{TRACEPARENT, TraceParent},
};
use quotes::Compression;

/// A bucket into which each object is written at most once.
pub trait Store {
    /// Writes `bytes` under `key` unless an object has this key. `trace` becomes the object's metadata `traceparent`;
    /// an existing object keeps its own.
    fn put_once(
        &self,
        key: &str,
        bytes: &[u8],
        trace: Option<TraceParent>,
    ) -> impl Future<Output = Result<Put, StoreError>> + Send;
}

/// The result of a conditional write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// The object was written.
    Written,
    /// The object existed already, with the same bytes.
    SameBytes,
    /// An object with other bytes has the key. Nothing was written.
    OtherBytes,
}

/// A failed request to a bucket.
#[derive(Debug, thiserror::Error)]
#[error("{operation} of {bucket}/{key} failed")]
pub struct StoreError {
    /// `PutObject` or `GetObject`.
    pub operation: &'static str,
    /// The bucket's name.
    pub bucket: String,
    /// The object's key.
    pub key: String,
    /// The error of the bucket or of the network.
    pub source: CallError,
}

impl Retry for StoreError {
    fn is_retryable(&self) -> bool {
        self.source.is_retryable
    }
}

/// A bucket of S3, MinIO or another S3-compatible server.
pub struct BucketStore {
    s3: Client,
    bucket: String,
}

impl BucketStore {
    /// The bucket `bucket`, reached with the client `s3`.
    #[must_use]
    pub fn new(s3: Client, bucket: String) -> Self {
        Self { s3, bucket }
    }

    fn failed(&self, operation: &'static str, key: &str, source: CallError) -> StoreError {
        StoreError { operation, bucket: self.bucket.clone(), key: key.to_owned(), source }
    }
}

impl Store for BucketStore {
    async fn put_once(&self, key: &str, bytes: &[u8], trace: Option<TraceParent>) -> Result<Put, StoreError> {
        let metadata = trace.map(|trace| HashMap::from([(TRACEPARENT.to_owned(), trace.to_string())]));
        let put = self
            .s3
            .put_object()
            .bucket(&self.bucket)
            .key(key)
            .content_type(Compression::of_key(key).map_or("application/json", Compression::media_type))
            .if_none_match("*")
            .set_metadata(metadata)
            .body(ByteStream::from(bytes.to_vec()))
            .send()
            .await;
        match put {
            Ok(_) => return Ok(Put::Written),
            Err(error) if error.raw_response().is_some_and(|it| it.status().as_u16() == 412) => {}
            Err(error) => return Err(self.failed("PutObject", key, error.into())),
        }
        let get = self.s3.get_object().bucket(&self.bucket).key(key).send().await;
        let get = get.map_err(|error| {
            // The object was deleted in between. The next attempt writes it.
            let is_gone = error.code() == Some("NoSuchKey");
            let error = CallError::from(error);
            CallError { is_retryable: error.is_retryable || is_gone, ..error }
        });
        let there = match get {
            Ok(answer) => answer.body.collect().await.map_err(|error| CallError::cut_off(&error)),
            Err(error) => Err(error),
        };
        let there = there.map_err(|error| self.failed("GetObject", key, error))?;
        Ok(if there.to_vec() == bytes { Put::SameBytes } else { Put::OtherBytes })
    }
}
