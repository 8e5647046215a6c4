use aws_sdk_s3::{
    Client, config::http::HttpResponse, error::SdkError, operation::list_objects_v2::ListObjectsV2Error,
};
use function_kit::aws;
use jiff::Timestamp;
use quotes::{ObjectKey, Symbol};

use crate::{ReconcileError, Window};

/// An object of a listing.
#[derive(Debug, Clone)]
pub struct Listed {
    /// Its key.
    pub key: ObjectKey,
    /// When it was written, where the bucket says so.
    pub written: Option<Timestamp>,
}

/// One page of a listing.
#[derive(Debug, Default, Clone)]
pub struct Page {
    /// The quotes' objects in it, within the window. What else is in the bucket (the consoles' folder markers,
    /// inventories) is not a quote's and is left out.
    pub objects: Vec<Listed>,
    /// Where the next page begins; `None` after the last.
    pub next: Option<String>,
}

/// The archive that is compared with bronze.
pub trait Archive {
    /// Every symbol that has an object.
    fn symbols(&self) -> impl Future<Output = Result<Vec<Symbol>, ReconcileError>> + Send;

    /// A page of the symbol's objects within the window, from `next` on.
    fn page(
        &self,
        symbol: &Symbol,
        window: Window,
        next: Option<String>,
    ) -> impl Future<Output = Result<Page, ReconcileError>> + Send;

    /// The archive's bucket.
    fn name(&self) -> &str;
}

/// The bronze bucket.
pub struct BronzeBucket {
    s3: Client,
    name: String,
}

impl BronzeBucket {
    /// The bucket `name`, asked through `s3`.
    #[must_use]
    pub fn new(s3: Client, name: String) -> Self {
        Self { s3, name }
    }

    /// Refuses half a listing.
    fn whole(&self, is_truncated: Option<bool>, next: Option<&str>) -> Result<(), ReconcileError> {
        if is_truncated == Some(true) && next.is_none_or(str::is_empty) {
            let reason = "the listing is truncated and has no continuation token".to_owned();
            return Err(ReconcileError::List { bucket: self.name.clone(), reason, retryable: true });
        }
        Ok(())
    }

    fn failed(&self, error: &SdkError<ListObjectsV2Error, HttpResponse>) -> ReconcileError {
        let (reason, retryable) = (aws::describe(error), aws::is_retryable(error));
        ReconcileError::List { bucket: self.name.clone(), reason, retryable }
    }
}

impl Archive for BronzeBucket {
    async fn symbols(&self) -> Result<Vec<Symbol>, ReconcileError> {
        let list = self.s3.list_objects_v2().bucket(&self.name).delimiter("/");
        let mut pages = list.into_paginator().send();
        let mut symbols = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| self.failed(&error))?;
            self.whole(page.is_truncated(), page.next_continuation_token())?;
            let folders = page.common_prefixes().iter().filter_map(|folder| folder.prefix());
            symbols.extend(folders.filter_map(|folder| folder.trim_end_matches('/').parse::<Symbol>().ok()));
        }
        Ok(symbols)
    }

    async fn page(
        &self,
        symbol: &Symbol,
        window: Window,
        next: Option<String>,
    ) -> Result<Page, ReconcileError> {
        // Keys of before 2001 have fewer digits, and stand elsewhere in the order of a listing.
        let after = (window.from > 0).then(|| ObjectKey::just_before(symbol, window.from));
        let list = self
            .s3
            .list_objects_v2()
            .bucket(&self.name)
            .prefix(ObjectKey::prefix(symbol))
            .set_start_after(after)
            .set_continuation_token(next);
        let page = list.send().await.map_err(|error| self.failed(&error))?;
        self.whole(page.is_truncated(), page.next_continuation_token())?;
        let mut objects = Vec::new();
        for object in page.contents() {
            let Some(Ok(key)) = object.key().map(str::parse::<ObjectKey>) else { continue };
            let written = object.last_modified().and_then(|at| Timestamp::from_second(at.secs()).ok());
            if (window.from..=window.to).contains(&key.fetched_at())
                && written.is_none_or(|at| at <= window.written_until)
            {
                objects.push(Listed { key, written });
            } else if key.fetched_at() > window.to && window.from > 0 {
                // Keys come in their order: the rest is later still.
                return Ok(Page { objects, next: None });
            }
        }
        Ok(Page { objects, next: page.next_continuation_token })
    }

    fn name(&self) -> &str {
        &self.name
    }
}
