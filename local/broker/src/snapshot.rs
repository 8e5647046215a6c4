//! The snapshot at the beginning of the log: the engine's whole state when the file was created.

use std::{
    collections::{HashMap, HashSet},
    io,
    path::Path,
    sync::{Arc, atomic::AtomicU64},
};

use bytes::{Buf, Bytes};
use noida::kafka::engine::{EngineState, PendingTxnOffset, Snapshot, TxnInfo};
use serde::{Deserialize, Serialize};

use crate::{
    BrokerError, engine,
    log::{Kind, Log, Next, Reader, Rewrite},
};

const FORMAT: u32 = 1;

/// A snapshot without the records. They follow one by one, because JSON would make them four times as large.
#[derive(Serialize, Deserialize)]
pub(crate) struct Saved {
    format: u32,
    engine: Snapshot,
    // Missing in the engine's own snapshot, but needed after a restart.
    producer_epochs: Vec<(i64, i16)>,
    txn_producers: HashMap<String, (i64, i16)>,
    txn_partitions: HashMap<String, HashSet<(String, i32)>>,
    txn_offsets: Vec<(String, Partition, i64, Option<String>)>,
    txn_info: Vec<(String, String, i32, i64)>,
    active_txns: Vec<(String, i32, OpenTxns)>,
}

/// Producers and the offsets at which their open transactions begin.
type OpenTxns = Vec<(i64, i64)>;

/// Group, topic, partition.
type Partition = (String, String, i32);

const TXN_STATES: [&str; 4] = ["Empty", "Ongoing", "CompleteCommit", "CompleteAbort"];

pub(crate) fn save(path: &Path, engine: &mut EngineState) -> io::Result<Log> {
    let mut rewrite = Rewrite::begin(path)?;
    // The engine's snapshot copies everything, which is little without the records.
    let mut records = Vec::new();
    for (name, topic) in &mut engine.topics {
        for (id, part) in &mut topic.partitions {
            if !part.record_batches.is_empty() {
                records.push((name.clone(), *id, std::mem::take(&mut part.record_batches)));
            }
        }
    }
    let saved = serde_json::to_vec(&saved(engine));
    let mut result = saved.map_err(io::Error::from).and_then(|saved| rewrite.entry(Kind::State, &[&saved]));
    for (name, id, batches) in records {
        if result.is_ok() {
            result = batches.iter().try_for_each(|(base, batch)| {
                let length = u16::try_from(name.len()).map_err(io::Error::other)?.to_be_bytes();
                rewrite.entry(
                    Kind::Batch,
                    &[&length, name.as_bytes(), &id.to_be_bytes(), &base.to_be_bytes(), batch],
                )
            });
        }
        // They are always put back, because the broker continues even if the snapshot fails.
        if let Some(part) = engine.topics.get_mut(&name).and_then(|topic| topic.partitions.get_mut(&id)) {
            part.record_batches = batches;
        }
    }
    result?;
    rewrite.entry(Kind::SnapshotEnd, &[])?;
    rewrite.finish()
}

pub(crate) fn saved(engine: &EngineState) -> Saved {
    let partitions = engine
        .topics
        .iter()
        .flat_map(|(name, topic)| topic.partitions.iter().map(move |(id, part)| (name, id, part)));
    Saved {
        format: FORMAT,
        engine: engine.to_snapshot(),
        producer_epochs: engine.producer_epochs.iter().map(|(id, epoch)| (*id, *epoch)).collect(),
        txn_producers: engine.txn_producers.clone(),
        txn_partitions: engine.txn_partitions.clone(),
        txn_offsets: engine
            .txn_pending_offsets
            .iter()
            .flat_map(|(txn, offsets)| {
                offsets.iter().map(|pending| {
                    (txn.clone(), pending.key.clone(), pending.offset, pending.metadata.clone())
                })
            })
            .collect(),
        txn_info: engine
            .txn_info
            .iter()
            .map(|(txn, info)| (txn.clone(), info.state.to_owned(), info.timeout_ms, info.start_ms))
            .collect(),
        active_txns: partitions
            .filter(|(_, _, part)| !part.active_txns.is_empty())
            .map(|(name, id, part)| {
                (name.clone(), *id, part.active_txns.iter().map(|(id, at)| (*id, *at)).collect())
            })
            .collect(),
    }
}

fn restored(saved: Saved) -> EngineState {
    let mut engine = EngineState::from_snapshot(saved.engine);
    engine.producer_epochs = saved.producer_epochs.into_iter().collect();
    engine.txn_producers = saved.txn_producers;
    engine.txn_partitions = saved.txn_partitions;
    for (txn, key, offset, metadata) in saved.txn_offsets {
        engine.txn_pending_offsets.entry(txn).or_default().push(PendingTxnOffset { key, offset, metadata });
    }
    for (txn, state, timeout_ms, start_ms) in saved.txn_info {
        if let Some(state) = TXN_STATES.into_iter().find(|known| *known == state) {
            engine.txn_info.insert(txn, TxnInfo { state, timeout_ms, start_ms });
        }
    }
    for (topic, id, open) in saved.active_txns {
        if let Some(part) = engine.topics.get_mut(&topic).and_then(|topic| topic.partitions.get_mut(&id)) {
            part.active_txns = open.into_iter().collect();
        }
    }
    engine
}

/// The engine as it was when the file was created, and the offset after the snapshot.
pub(crate) fn load(reader: &mut Reader, clock: &Arc<AtomicU64>) -> Result<(EngineState, u64), BrokerError> {
    let mut loaded: Option<EngineState> = None;
    loop {
        let offset = reader.offset();
        match (reader.next()?, loaded.as_mut()) {
            (Next::Entry(Kind::State, json), None) => {
                let saved: Saved = serde_json::from_slice(&json).map_err(|error| {
                    reader.corrupt(offset, format!("the snapshot cannot be read: {error}"))
                })?;
                if saved.format != FORMAT {
                    return Err(
                        reader.corrupt(offset, format!("the format is {}, not {FORMAT}", saved.format))
                    );
                }
                let mut engine = restored(saved);
                engine::set_clock(&mut engine, clock);
                loaded = Some(engine);
            }
            (Next::Entry(Kind::Batch, entry), Some(engine)) => {
                restore_batch(engine, entry)
                    .ok_or_else(|| reader.corrupt(offset, "the record batch has no partition"))?;
            }
            (Next::Entry(Kind::SnapshotEnd, _), Some(_)) => break,
            _ => return Err(reader.corrupt(offset, "the snapshot is incomplete")),
        }
    }
    let offset = reader.offset();
    loaded.map(|engine| (engine, offset)).ok_or_else(|| reader.corrupt(0, "the snapshot is missing"))
}

fn restore_batch(engine: &mut EngineState, mut entry: Bytes) -> Option<()> {
    let length = entry.try_get_u16().ok()?;
    let name = (entry.len() >= usize::from(length)).then(|| entry.split_to(usize::from(length)))?;
    let (id, base) = (entry.try_get_i32().ok()?, entry.try_get_i64().ok()?);
    let topic = engine.topics.get_mut(std::str::from_utf8(&name).ok()?)?;
    topic.partitions.get_mut(&id)?.record_batches.push((base, entry.to_vec()));
    Some(())
}
