use aws_sdk_s3::{Client, error::ProvideErrorMetadata};
use function_kit::aws::CallError;
use jiff::Timestamp;
use quotes::{ArchiveKey, LARGEST_OBJECT, ObjectKey, Symbol};

use crate::{ReconcileError, Window};

/// An object of a listing.
#[derive(Debug, Clone)]
pub struct Listed {
    /// Its key.
    pub key: ArchiveKey,
    /// When it was written, if the bucket says so.
    pub written: Option<Timestamp>,
}

/// One page of a listing.
#[derive(Debug, Default, Clone)]
pub struct Page {
    /// The objects with quotes in it, within the window. Other objects (the consoles' folder markers, inventories)
    /// are left out.
    pub objects: Vec<Listed>,
    /// Where the next page begins; `None` after the last.
    pub next: Option<String>,
}

/// The archive that is compared with bronze.
pub trait Archive {
    /// Every folder that may contain quotes: the symbols' folders and the folder of batches.
    fn folders(&self) -> impl Future<Output = Result<Vec<Symbol>, ReconcileError>> + Send;

    /// A page of the folder's objects within the window, from `next` on.
    fn page(
        &self,
        folder: &Symbol,
        window: Window,
        next: Option<String>,
    ) -> impl Future<Output = Result<Page, ReconcileError>> + Send;

    /// The bytes of an object; `None` if it does not exist any more.
    fn get(&self, key: &ArchiveKey) -> impl Future<Output = Result<Option<Vec<u8>>, ReconcileError>> + Send;

    /// The archive's bucket.
    fn name(&self) -> &str;
}

/// The bronze bucket.
pub struct BronzeBucket {
    s3: Client,
    name: String,
}

impl BronzeBucket {
    /// The bucket `name`, reached with the client `s3`.
    #[must_use]
    pub fn new(s3: Client, name: String) -> Self {
        Self { s3, name }
    }

    /// Checks that a truncated listing says how to continue.
    fn whole(&self, is_truncated: Option<bool>, next: Option<&str>) -> Result<(), ReconcileError> {
        if is_truncated == Some(true) && next.is_none_or(str::is_empty) {
            let reason = "the listing is truncated and has no continuation token".to_owned();
            return Err(self.failed(CallError { reason, is_retryable: true }));
        }
        Ok(())
    }

    fn failed(&self, source: CallError) -> ReconcileError {
        ReconcileError::List { bucket: self.name.clone(), source }
    }
}

impl Archive for BronzeBucket {
    async fn folders(&self) -> Result<Vec<Symbol>, ReconcileError> {
        let list = self.s3.list_objects_v2().bucket(&self.name).delimiter("/");
        let mut pages = list.into_paginator().send();
        let mut names = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| self.failed(error.into()))?;
            self.whole(page.is_truncated(), page.next_continuation_token())?;
            let folders = page.common_prefixes().iter().filter_map(|folder| folder.prefix());
            names.extend(folders.filter_map(|folder| folder.trim_end_matches('/').parse::<Symbol>().ok()));
        }
        Ok(names)
    }

    async fn page(
        &self,
        folder: &Symbol,
        window: Window,
        next: Option<String>,
    ) -> Result<Page, ReconcileError> {
        // Seconds before 2001 have fewer digits, so their keys sort elsewhere in a listing.
        let after = (window.from > 0).then(|| ObjectKey::just_before(folder, window.from));
        let list = self
            .s3
            .list_objects_v2()
            .bucket(&self.name)
            .prefix(ObjectKey::prefix(folder))
            .set_start_after(after)
            .set_continuation_token(next);
        let page = list.send().await.map_err(|error| self.failed(error.into()))?;
        self.whole(page.is_truncated(), page.next_continuation_token())?;
        let mut objects = Vec::new();
        for object in page.contents() {
            let Some(Ok(key)) = object.key().map(str::parse::<ArchiveKey>) else { continue };
            let written = object.last_modified().and_then(|at| Timestamp::from_second(at.secs()).ok());
            if window.reaches(&key) && written.is_none_or(|at| at <= window.written_until) {
                objects.push(Listed { key, written });
            } else if window.ends_before(&key) {
                return Ok(Page { objects, next: None });
            }
        }
        Ok(Page { objects, next: page.next_continuation_token })
    }

    async fn get(&self, key: &ArchiveKey) -> Result<Option<Vec<u8>>, ReconcileError> {
        let failed = |source| ReconcileError::Read { key: key.to_string(), source };
        let answer = self.s3.get_object().bucket(&self.name).key(key.to_string()).send().await;
        let mut body = match answer {
            Ok(answer) => answer.body,
            Err(error) if error.code() == Some("NoSuchKey") => return Ok(None),
            Err(error) => return Err(failed(error.into())),
        };
        let mut bytes = Vec::new();
        while let Some(part) = body.next().await {
            bytes.extend_from_slice(&part.map_err(|error| failed(CallError::cut_off(&error)))?);
            // A larger object was not written by archive-quotes. load-quotes reports it.
            if bytes.len() > LARGEST_OBJECT {
                break;
            }
        }
        Ok(Some(bytes))
    }

    fn name(&self) -> &str {
        &self.name
    }
}
