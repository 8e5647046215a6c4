//! The domain of Quoteflow, without I/O: what a quote is, how it is identified, and where it is kept.
//!
//! A quote is one observation of a stock's price: the body of a Finnhub `/quote` answer with the
//! three fields `symbol`, `fetched_at` and `quote_id` added. Numbers keep their original text from the
//! fetch to the object store.

mod compression;
mod coordinates;
mod day;
mod fields;
mod id;
mod key;
mod quote;
mod symbol;
mod view;

pub use compression::{Compression, DamagedBatch, LARGEST_OBJECT};
pub use coordinates::Coordinates;
pub use fields::{InvalidQuote, PRICES, check_not_future};
pub use id::QuoteId;
pub use key::{ArchiveKey, BatchKey, InvalidObjectKey, ObjectKey};
pub use quote::{Completeness, Quote};
pub use symbol::{InvalidSymbol, Symbol};
pub use view::QuoteView;
