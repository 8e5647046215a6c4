//! Fetch. The engine's own fetch answers immediately with everything, whatever the limits, so this reads its state
//! instead.

use bytes::Bytes;
use kafka_protocol::messages::{
    FetchRequest, FetchResponse, ProducerId,
    fetch_request::{FetchPartition, FetchTopic},
    fetch_response::{AbortedTransaction, FetchableTopicResponse, PartitionData},
};
use noida::kafka::{
    engine::{EngineState, PartitionState},
    log::batch_last_offset,
};

use crate::api::producer_of;

const OFFSET_OUT_OF_RANGE: i16 = 1;
const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
const READ_COMMITTED: i8 = 1;
/// No answer is larger than this, in bytes, whatever the client allows, except for a single larger batch.
const MAX_BYTES: usize = 64 << 20;

fn partition<'a>(
    engine: &'a EngineState,
    topic: &FetchTopic,
    wanted: &FetchPartition,
) -> Option<&'a PartitionState> {
    engine.topics.get(&**topic.topic)?.partitions.get(&wanted.partition)
}

/// The offset before which no transaction is open: that of the earliest open transaction, or the end.
fn last_stable_offset(part: &PartitionState) -> i64 {
    part.active_txns.values().copied().fold(part.high_watermark, i64::min)
}

/// The batches with records from `offset` on; `None` if the partition does not have the offset.
fn readable(part: &PartitionState, offset: i64, isolation: i8) -> Option<&[(i64, Vec<u8>)]> {
    if !(part.log_start_offset..=part.high_watermark).contains(&offset) {
        return None;
    }
    let end = if isolation == READ_COMMITTED { last_stable_offset(part) } else { part.high_watermark };
    let batches = &part.record_batches;
    let from = batches.partition_point(|(base, batch)| batch_last_offset(*base, batch) < offset);
    let to = batches.partition_point(|(base, _)| *base < end);
    Some(batches.get(from..to).unwrap_or_default())
}

/// Whether there is a reason to answer now: an error, or `min_bytes` to read.
pub(crate) fn is_ready(engine: &EngineState, request: &FetchRequest) -> bool {
    let wanted = usize::try_from(request.min_bytes).unwrap_or(0).min(MAX_BYTES);
    let mut bytes = 0;
    let mut partitions = request
        .topics
        .iter()
        .flat_map(|topic| topic.partitions.iter().map(move |part| (topic, part)))
        .peekable();
    if wanted == 0 || partitions.peek().is_none() {
        return true;
    }
    for (topic, wanted_part) in partitions {
        let batches = partition(engine, topic, wanted_part)
            .and_then(|part| readable(part, wanted_part.fetch_offset, request.isolation_level));
        let Some(batches) = batches else { return true };
        for (_, batch) in batches {
            bytes += batch.len();
            if bytes >= wanted {
                return true;
            }
        }
    }
    false
}

/// The records that can be read now, within the request's limits. At least one batch is sent, even if it is too large.
pub(crate) fn answer(engine: &EngineState, request: &FetchRequest) -> FetchResponse {
    let mut response = FetchResponse::default();
    let limit = usize::try_from(request.max_bytes).unwrap_or(0).min(MAX_BYTES);
    let mut total = 0;
    for topic in &request.topics {
        let mut answers = FetchableTopicResponse::default();
        answers.topic = topic.topic.clone();
        for wanted in &topic.partitions {
            let mut answer = PartitionData::default();
            answer.partition_index = wanted.partition;
            answer.records = Some(Bytes::new());
            match partition(engine, topic, wanted) {
                None => answer.error_code = UNKNOWN_TOPIC_OR_PARTITION,
                Some(part) => fill(&mut answer, part, wanted, request.isolation_level, limit, &mut total),
            }
            answers.partitions.push(answer);
        }
        response.responses.push(answers);
    }
    response
}

fn fill(
    answer: &mut PartitionData,
    part: &PartitionState,
    wanted: &FetchPartition,
    isolation: i8,
    limit: usize,
    total: &mut usize,
) {
    answer.high_watermark = part.high_watermark;
    answer.last_stable_offset = last_stable_offset(part);
    answer.log_start_offset = part.log_start_offset;
    let Some(batches) = readable(part, wanted.fetch_offset, isolation) else {
        answer.error_code = OFFSET_OUT_OF_RANGE;
        return;
    };
    let part_limit = usize::try_from(wanted.partition_max_bytes).unwrap_or(0);
    let mut records = Vec::new();
    for (_, batch) in batches {
        if *total > 0 && (*total + batch.len() > limit || records.len() + batch.len() > part_limit) {
            break;
        }
        *total += batch.len();
        records.extend_from_slice(batch);
    }
    answer.records = Some(records.into());
    if isolation == READ_COMMITTED {
        answer.aborted_transactions = Some(aborted(part, wanted.fetch_offset));
    }
}

/// The aborted transactions with records from `offset` on. One that ended before must not be included, because the
/// client would skip its producer's later records, too.
fn aborted(part: &PartitionState, offset: i64) -> Vec<AbortedTransaction> {
    const CONTROL: u8 = 0x20;
    let ends_before = |producer: i64, first: i64| {
        let from = part.record_batches.partition_point(|(base, _)| *base < first);
        let marker = part.record_batches[from..].iter().find(|(_, batch)| {
            producer_of(batch) == producer && batch.get(22).is_some_and(|low| low & CONTROL != 0)
        });
        marker.is_none_or(|(base, _)| *base < offset)
    };
    part.aborted_txns
        .iter()
        .filter(|(producer, first)| !ends_before(*producer, *first))
        .map(|(producer, first)| {
            let mut transaction = AbortedTransaction::default();
            transaction.producer_id = ProducerId(*producer);
            transaction.first_offset = *first;
            transaction
        })
        .collect()
}
