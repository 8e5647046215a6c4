use aws_sdk_s3::{Client, error::ProvideErrorMetadata};
use function_kit::chain;
use jiff::Timestamp;
use quotes::{ObjectKey, Symbol};

use crate::{ReconcileError, Window};

/// One page of a listing.
#[derive(Debug, Default, Clone)]
pub struct Page {
    /// The quotes' keys in it, within the window.
    pub keys: Vec<ObjectKey>,
    /// Where the next page begins; `None` after the last.
    pub next: Option<String>,
}

/// The archive that is compared with bronze.
pub trait Archive {
    /// Every symbol that has an object.
    fn symbols(&self) -> impl Future<Output = Result<Vec<Symbol>, ReconcileError>> + Send;

    /// A page of the symbol's keys within the window, from `next` on.
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

    fn failed(&self, error: &(impl ProvideErrorMetadata + std::error::Error + 'static)) -> ReconcileError {
        let retryable = !matches!(error.code(), Some("AccessDenied" | "NoSuchBucket"));
        ReconcileError::List { bucket: self.name.clone(), reason: chain(error), retryable }
    }
}

impl Archive for BronzeBucket {
    async fn symbols(&self) -> Result<Vec<Symbol>, ReconcileError> {
        let list = self.s3.list_objects_v2().bucket(&self.name).delimiter("/");
        let mut pages = list.into_paginator().send();
        let mut symbols = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| self.failed(&error))?;
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
        let list = self
            .s3
            .list_objects_v2()
            .bucket(&self.name)
            .prefix(ObjectKey::prefix(symbol))
            .start_after(ObjectKey::just_before(symbol, window.from))
            .set_continuation_token(next);
        let page = list.send().await.map_err(|error| self.failed(&error))?;
        let mut keys = Vec::new();
        for object in page.contents() {
            let Some(Ok(key)) = object.key().map(str::parse::<ObjectKey>) else { continue };
            if key.fetched_at() > window.to {
                // Keys come in their order: the rest is later still.
                return Ok(Page { keys, next: None });
            }
            let written = object.last_modified().and_then(|at| Timestamp::from_second(at.secs()).ok());
            if key.fetched_at() >= window.from && written.is_none_or(|at| at <= window.written_until) {
                keys.push(key);
            }
        }
        Ok(Page { keys, next: page.next_continuation_token })
    }

    fn name(&self) -> &str {
        &self.name
    }
}
