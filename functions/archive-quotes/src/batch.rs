use std::{fmt, io, sync::Arc, time::SystemTime};

use quotes::{BatchKey, Compression, LARGEST_OBJECT, QuoteId};

use crate::{
    BadRecord, Record,
    event::{KafkaEvent, Line},
};

const SECONDS_A_DAY: i64 = 86_400;

/// The quotes of one partition and one UTC day in an event. They become one object.
#[derive(Debug)]
pub struct Slice {
    topic: Arc<str>,
    partition: i32,
    /// Days since 1970.
    day: i64,
    first: i64,
    last: i64,
    oldest: i64,
    newest: i64,
    oldest_id: QuoteId,
    quotes: usize,
    lines: Vec<u8>,
}

/// A slice as an object.
#[derive(Debug)]
pub struct Encoded {
    /// Its key.
    pub key: BatchKey,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// Splits an event's records into the quotes, as slices, and the records that are not quotes, which are stored one by
/// one.
///
/// The same records give the same slices. Each quote is one line, with the text of its message.
pub(crate) fn slices(
    records: Vec<Result<Record, BadRecord>>,
    now: SystemTime,
) -> (Vec<Slice>, Vec<Result<Record, BadRecord>>) {
    let (mut slices, mut single) = (Vec::new(), Vec::new());
    for record in records {
        match &record {
            Ok(quote) => match quote.line(now) {
                Ok(line) => add(&mut slices, quote, &line),
                Err(_) => single.push(record),
            },
            Err(_) => single.push(record),
        }
    }
    (slices, single)
}

fn add(slices: &mut Vec<Slice>, record: &Record, line: &Line<'_>) {
    let day = line.fetched_at.div_euclid(SECONDS_A_DAY);
    let is_its = |slice: &&mut Slice| {
        slice.day == day && slice.partition == record.at.partition && slice.topic == record.at.topic
    };
    // Only the latest matching slice has room: those before it are full.
    let slice = slices.iter_mut().rev().find(is_its);
    match slice.filter(|slice| slice.lines.len() + line.json.len() < LARGEST_OBJECT) {
        Some(slice) => slice.add(record, line),
        None => slices.push(Slice::new(record, line, day)),
    }
}

impl Slice {
    fn new(record: &Record, line: &Line<'_>, day: i64) -> Self {
        let (at, seconds) = (&record.at, line.fetched_at);
        let mut slice = Self {
            topic: Arc::clone(&at.topic),
            partition: at.partition,
            day,
            first: at.offset,
            last: at.offset,
            oldest: seconds,
            newest: seconds,
            oldest_id: line.id,
            quotes: 0,
            lines: Vec::new(),
        };
        slice.add(record, line);
        slice
    }

    fn add(&mut self, record: &Record, line: &Line<'_>) {
        if line.fetched_at < self.oldest {
            self.oldest_id = line.id;
        }
        self.first = self.first.min(record.at.offset);
        self.last = self.last.max(record.at.offset);
        self.oldest = self.oldest.min(line.fetched_at);
        self.newest = self.newest.max(line.fetched_at);
        self.quotes += 1;
        let start = self.lines.len();
        self.lines.extend_from_slice(&line.json);
        // In JSON a newline can only be between two tokens, where a space means the same.
        if line.json.contains(&b'\n') {
            self.lines[start..].iter_mut().filter(|byte| **byte == b'\n').for_each(|byte| *byte = b' ');
        }
        self.lines.push(b'\n');
    }

    /// How many quotes there are.
    #[must_use]
    pub fn quotes(&self) -> usize {
        self.quotes
    }

    /// The id of the oldest quote.
    #[must_use]
    pub(crate) fn oldest_id(&self) -> QuoteId {
        self.oldest_id
    }

    /// The object. The same quotes give the same bytes and the same key.
    ///
    /// # Errors
    /// The encoder's error. In memory there should be none.
    pub fn encode(&self, compression: Compression) -> io::Result<Encoded> {
        let key = BatchKey {
            newest: self.newest,
            oldest: self.oldest,
            quotes: self.quotes as u64,
            topic: Arc::clone(&self.topic),
            partition: self.partition,
            first: self.first,
            last: self.last,
            taken: 0,
            compression,
        };
        let bytes = compression.compress(&self.lines)?;
        Ok(Encoded { key, bytes })
    }
}

impl fmt::Display for Slice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}@{}..{}", self.topic, self.partition, self.first, self.last)
    }
}

impl KafkaEvent {
    /// The quotes of the event, read at `now`, as the objects of the batch layout.
    #[must_use]
    pub fn into_slices(self, now: SystemTime) -> Vec<Slice> {
        slices(self.into_records(), now).0
    }
}
