//! Replays the log's entries after its snapshot.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Buf;
use noida::kafka::engine::EngineState;

use crate::{
    BrokerError,
    api::{self, Origin, Request},
    engine,
    log::{Kind, Next, Reader},
};

/// Repeats the changes since the snapshot, at their original times.
pub(crate) fn replay(
    reader: &mut Reader,
    engine: &mut EngineState,
    clock: &AtomicU64,
) -> Result<(), BrokerError> {
    loop {
        let offset = reader.offset();
        let (kind, mut entry) = match reader.next()? {
            Next::Entry(kind, entry) => (kind, entry),
            Next::End { torn } => {
                if torn {
                    tracing::warn!(
                        offset,
                        "the broker's log ends in an unfinished entry, which was never acknowledged; it is removed"
                    );
                }
                return Ok(());
            }
        };
        let time = entry.try_get_u64().map_err(|error| reader.corrupt(offset, error.to_string()))?;
        clock.store(time, Ordering::Relaxed);
        match kind {
            Kind::Request => {
                Request::parse(entry)
                    .and_then(|request| api::apply(engine, &request, Origin::Log))
                    .map_err(|error| reader.corrupt(offset, error.to_string()))?;
            }
            Kind::Clean => {
                engine::clean(engine);
            }
            Kind::State | Kind::Batch | Kind::SnapshotEnd => {
                return Err(reader.corrupt(offset, "a second snapshot"));
            }
        }
    }
}
