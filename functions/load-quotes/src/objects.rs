use aws_sdk_s3::{Client, error::ProvideErrorMetadata};
use function_kit::{
    Retry,
    aws::CallError,
    trace::{TRACEPARENT, TraceParent},
};

use quotes::{Compression, LARGEST_OBJECT};
use tokio::sync::Semaphore;

use crate::event::ObjectRef;

/// Whether the object was written by one of S3's tools: a folder marker, or a file of an inventory or a log. A key of
/// archive-quotes is a batch's, or ends in `.json` and has only one slash, after the symbol.
pub(crate) fn is_of_a_tool(key: &str) -> bool {
    if Compression::of_key(key).is_some() {
        return false;
    }
    let stem = key.strip_suffix(".json").filter(|stem| stem.matches('/').count() == 1);
    stem.is_none_or(|stem| stem.ends_with("/manifest"))
}

/// An archived object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Its metadata `traceparent`; `None` if it is absent or cannot be read.
    pub trace: Option<TraceParent>,
}

/// The source of archived quotes.
pub trait Objects {
    /// The object; `None` if it does not exist (any more).
    fn get(&self, object: &ObjectRef) -> impl Future<Output = Result<Option<Object>, ReadError>> + Send;
}

/// An object that could not be read.
#[derive(Debug, thiserror::Error)]
#[error("{bucket}/{key} could not be read")]
pub struct ReadError {
    /// The bucket's name.
    pub bucket: String,
    /// The object's key.
    pub key: String,
    /// The error of the bucket or of the network, or what is wrong with the object.
    pub source: CallError,
}

impl Retry for ReadError {
    fn is_retryable(&self) -> bool {
        self.source.is_retryable
    }
}

/// The buckets of S3, MinIO or another S3-compatible server.
pub struct Bucket {
    s3: Client,
    /// One permit for each byte that may be read now.
    room: Semaphore,
}

impl Bucket {
    /// Buckets reached with the client `s3`.
    #[must_use]
    pub fn new(s3: Client) -> Self {
        Self { s3, room: Semaphore::new(AT_ONCE) }
    }
}

/// How many bytes of objects are read at once.
const AT_ONCE: usize = 32 << 20;

impl Objects for Bucket {
    async fn get(&self, object: &ObjectRef) -> Result<Option<Object>, ReadError> {
        let failed = |source| ReadError { bucket: object.bucket.clone(), key: object.key.clone(), source };
        let answer = self.s3.get_object().bucket(&object.bucket).key(&object.key).send().await;
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) if error.code() == Some("NoSuchKey") => return Ok(None),
            Err(error) => return Err(failed(error.into())),
        };
        let trace = answer.metadata.as_ref().and_then(|it| TraceParent::parse(it.get(TRACEPARENT)?));
        let too_large = |bytes: String| {
            let reason = format!("it has {bytes} bytes; archive-quotes writes at most {LARGEST_OBJECT}");
            failed(CallError { reason, is_retryable: false })
        };
        let announced = answer.content_length().and_then(|length| usize::try_from(length).ok());
        if let Some(length) = announced.filter(|length| *length > LARGEST_OBJECT) {
            return Err(too_large(length.to_string()));
        }
        let reserved = u32::try_from(announced.unwrap_or(LARGEST_OBJECT)).unwrap_or(u32::MAX);
        let _reserved = self.room.acquire_many(reserved).await;
        let (mut body, mut bytes) = (answer.body, Vec::new());
        while let Some(part) = body.next().await {
            let part = part.map_err(|error| failed(CallError::cut_off(&error)))?;
            if bytes.len() + part.len() > LARGEST_OBJECT {
                return Err(too_large(format!("more than {LARGEST_OBJECT}")));
            }
            bytes.extend_from_slice(&part);
        }
        match announced {
            Some(length) if length != bytes.len() => {
                let reason = format!("the body ended after {} of {length} bytes", bytes.len());
                Err(failed(CallError { reason, is_retryable: true }))
            }
            _ => Ok(Some(Object { bytes, trace })),
        }
    }
}
