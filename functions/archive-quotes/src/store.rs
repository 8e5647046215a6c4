use std::collections::HashMap;

use aws_sdk_s3::{
    Client,
    config::http::HttpResponse,
    error::{ProvideErrorMetadata, SdkError},
    primitives::ByteStream,
};
use function_kit::{
    Retry, aws, chain,
    trace::{TRACEPARENT, TraceParent},
};
use quotes::Compression;

/// A bucket into which each object is written at most once.
pub trait Store {
    /// Writes `bytes` under `key` unless the key is taken. `trace` becomes the object's metadata `traceparent`; an object
    /// that is there keeps its own.
    fn put_once(
        &self,
        key: &str,
        bytes: &[u8],
        trace: Option<TraceParent>,
    ) -> impl Future<Output = Result<Put, StoreError>> + Send;
}

/// What became of a conditional write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// The object was written.
    Written,
    /// The object was there already, with the same bytes.
    SameBytes,
    /// The key holds other bytes; nothing was written.
    OtherBytes,
}

/// A bucket that did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[error("{operation} of {bucket}/{key} failed: {reason}")]
pub struct StoreError {
    /// `PutObject` or `GetObject`.
    pub operation: &'static str,
    /// The bucket's name.
    pub bucket: String,
    /// The object's key.
    pub key: String,
    /// What the bucket or the network said.
    pub reason: String,
    /// Whether another try can help: not where access is denied or the bucket does not exist.
    pub retryable: bool,
}

impl Retry for StoreError {
    fn is_retryable(&self) -> bool {
        self.retryable
    }
}

/// A bucket of S3, MinIO or any server of their kind.
pub struct BucketStore {
    s3: Client,
    bucket: String,
}

impl BucketStore {
    /// The bucket `bucket`, asked through `s3`.
    #[must_use]
    pub fn new(s3: Client, bucket: String) -> Self {
        Self { s3, bucket }
    }

    fn error<E>(&self, operation: &'static str, key: &str, error: &SdkError<E, HttpResponse>) -> StoreError
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        // An object that was there a moment ago: the next try writes it.
        let gone = error.code() == Some("NoSuchKey");
        StoreError {
            operation,
            bucket: self.bucket.clone(),
            key: key.to_owned(),
            reason: aws::describe(error),
            retryable: gone || aws::is_retryable(error),
        }
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
            Err(error) => return Err(self.error("PutObject", key, &error)),
        }
        let get = self.s3.get_object().bucket(&self.bucket).key(key).send().await;
        let body = get.map_err(|error| self.error("GetObject", key, &error))?.body;
        let there = body.collect().await.map_err(|error| StoreError {
            operation: "GetObject",
            bucket: self.bucket.clone(),
            key: key.to_owned(),
            reason: chain(&error),
            retryable: true,
        })?;
        Ok(if there.to_vec() == bytes { Put::SameBytes } else { Put::OtherBytes })
    }
}
