//! Decodes requests, and applies those that change something to the engine.

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::{
    messages::{
        AddOffsetsToTxnRequest, AddPartitionsToTxnRequest, AlterConfigsRequest, ApiKey, ApiVersionsRequest,
        ApiVersionsResponse, CreatePartitionsRequest, CreateTopicsRequest, DeleteGroupsRequest,
        DeleteRecordsRequest, DeleteTopicsRequest, DescribeClusterRequest, DescribeConfigsRequest,
        DescribeGroupsRequest, DescribeLogDirsRequest, DescribeProducersRequest, DescribeTransactionsRequest,
        EndTxnRequest, FetchRequest, FindCoordinatorRequest, HeartbeatRequest,
        IncrementalAlterConfigsRequest, InitProducerIdRequest, JoinGroupRequest, LeaveGroupRequest,
        ListGroupsRequest, ListOffsetsRequest, ListTransactionsRequest, MetadataRequest, OffsetCommitRequest,
        OffsetDeleteRequest, OffsetFetchRequest, OffsetForLeaderEpochRequest, ProduceRequest,
        ProduceResponse, RequestHeader, ResponseHeader, SyncGroupRequest, TxnOffsetCommitRequest,
        api_versions_response::ApiVersion, create_topics_request::CreatableTopicConfig,
    },
    protocol::{Decodable, Encodable, Message, StrBytes},
};
use noida::kafka::engine::EngineState;

/// The size of a segment, in bytes. The engine adds up the active segment at every append, so Kafka's 1 GiB would make
/// appends slower and slower.
pub(crate) const SEGMENT_BYTES: &str = "4194304";

const UNSUPPORTED_VERSION: i16 = 35;

/// A request that cannot be answered; its connection is closed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BadRequest {
    #[error("the request is cut off")]
    CutOff,
    #[error("API {0} is not supported")]
    UnknownApi(i16),
    #[error("{0:?} version {1} is not supported")]
    UnknownVersion(ApiKey, i16),
    #[error("{0:?}: {1}")]
    Malformed(ApiKey, String),
}

/// The APIs served, each from the oldest version that can be decoded to the newest that the engine answers correctly.
///
/// Fetch ends before version 13, in which topics have ids, because the engine has none.
const SERVED: [(ApiKey, i16, i16); 34] = [
    (ApiKey::Produce, ProduceRequest::VERSIONS.min, 9),
    (ApiKey::Fetch, FetchRequest::VERSIONS.min, 12),
    (ApiKey::ListOffsets, ListOffsetsRequest::VERSIONS.min, 8),
    (ApiKey::Metadata, MetadataRequest::VERSIONS.min, 12),
    (ApiKey::OffsetCommit, OffsetCommitRequest::VERSIONS.min, 8),
    (ApiKey::OffsetFetch, OffsetFetchRequest::VERSIONS.min, 8),
    (ApiKey::FindCoordinator, FindCoordinatorRequest::VERSIONS.min, 4),
    (ApiKey::JoinGroup, JoinGroupRequest::VERSIONS.min, 7),
    (ApiKey::Heartbeat, HeartbeatRequest::VERSIONS.min, 4),
    (ApiKey::LeaveGroup, LeaveGroupRequest::VERSIONS.min, 5),
    (ApiKey::SyncGroup, SyncGroupRequest::VERSIONS.min, 5),
    (ApiKey::DescribeGroups, DescribeGroupsRequest::VERSIONS.min, 5),
    (ApiKey::ListGroups, ListGroupsRequest::VERSIONS.min, 4),
    (ApiKey::DeleteGroups, DeleteGroupsRequest::VERSIONS.min, 2),
    (ApiKey::DescribeConfigs, DescribeConfigsRequest::VERSIONS.min, 4),
    (ApiKey::AlterConfigs, AlterConfigsRequest::VERSIONS.min, 2),
    (ApiKey::IncrementalAlterConfigs, IncrementalAlterConfigsRequest::VERSIONS.min, 1),
    (ApiKey::DescribeCluster, DescribeClusterRequest::VERSIONS.min, 0),
    (ApiKey::OffsetForLeaderEpoch, OffsetForLeaderEpochRequest::VERSIONS.min, 4),
    (ApiKey::DeleteRecords, DeleteRecordsRequest::VERSIONS.min, 2),
    (ApiKey::OffsetDelete, OffsetDeleteRequest::VERSIONS.min, 0),
    (ApiKey::AddPartitionsToTxn, AddPartitionsToTxnRequest::VERSIONS.min, 3),
    (ApiKey::AddOffsetsToTxn, AddOffsetsToTxnRequest::VERSIONS.min, 3),
    (ApiKey::EndTxn, EndTxnRequest::VERSIONS.min, 3),
    (ApiKey::TxnOffsetCommit, TxnOffsetCommitRequest::VERSIONS.min, 3),
    (ApiKey::DescribeTransactions, DescribeTransactionsRequest::VERSIONS.min, 0),
    (ApiKey::ListTransactions, ListTransactionsRequest::VERSIONS.min, 1),
    (ApiKey::DescribeProducers, DescribeProducersRequest::VERSIONS.min, 0),
    (ApiKey::DescribeLogDirs, DescribeLogDirsRequest::VERSIONS.min, 2),
    (ApiKey::ApiVersions, ApiVersionsRequest::VERSIONS.min, 3),
    (ApiKey::CreateTopics, CreateTopicsRequest::VERSIONS.min, 7),
    (ApiKey::DeleteTopics, DeleteTopicsRequest::VERSIONS.min, 6),
    (ApiKey::CreatePartitions, CreatePartitionsRequest::VERSIONS.min, 3),
    (ApiKey::InitProducerId, InitProducerIdRequest::VERSIONS.min, 4),
];

/// One request, with its header decoded and its body not.
pub(crate) struct Request {
    pub(crate) key: ApiKey,
    pub(crate) version: i16,
    pub(crate) header: RequestHeader,
    frame: Bytes,
    body: Bytes,
}

impl Request {
    /// Reads the header of `frame` (which comes without its length).
    ///
    /// The version is checked before the body is decoded. Otherwise a decoder might trust a wrong array length and
    /// request so much memory that the process ends.
    pub(crate) fn parse(frame: Bytes) -> Result<Self, BadRequest> {
        let &[k0, k1, v0, v1, c0, c1, c2, c3, ..] = &frame[..] else { return Err(BadRequest::CutOff) };
        let (key, version) = (i16::from_be_bytes([k0, k1]), i16::from_be_bytes([v0, v1]));
        let key = ApiKey::try_from(key).map_err(|()| BadRequest::UnknownApi(key))?;
        let Some((_, min, max)) = SERVED.iter().find(|(served, ..)| *served == key) else {
            return Err(BadRequest::UnknownApi(key as i16));
        };
        if !(*min..=*max).contains(&version) {
            // Kafka answers this one request in any version, so that a newer client learns which versions are
            // supported.
            if key != ApiKey::ApiVersions {
                return Err(BadRequest::UnknownVersion(key, version));
            }
            let mut header = RequestHeader::default();
            header.correlation_id = i32::from_be_bytes([c0, c1, c2, c3]);
            return Ok(Self { key, version, header, frame, body: Bytes::new() });
        }
        let mut body = frame.clone();
        let header = RequestHeader::decode(&mut body, key.request_header_version(version))
            .map_err(|error| BadRequest::Malformed(key, error.to_string()))?;
        Ok(Self { key, version, header, frame, body })
    }

    /// A request that the broker makes itself.
    pub(crate) fn of<R: Encodable>(key: ApiKey, version: i16, body: &R) -> Result<Self, BadRequest> {
        let mut header = RequestHeader::default();
        header.request_api_key = key as i16;
        header.request_api_version = version;
        let mut frame = BytesMut::new();
        header
            .encode(&mut frame, key.request_header_version(version))
            .and_then(|()| body.encode(&mut frame, version))
            .map_err(|error| BadRequest::Malformed(key, error.to_string()))?;
        Self::parse(frame.freeze())
    }

    pub(crate) fn decode<R: Decodable>(&self) -> Result<R, BadRequest> {
        R::decode(&mut self.body.clone(), self.version)
            .map_err(|error| BadRequest::Malformed(self.key, error.to_string()))
    }

    /// The response's frame, with its length.
    pub(crate) fn answer<R: Encodable>(&self, response: &R) -> Result<BytesMut, BadRequest> {
        self.answer_as(response, self.version)
    }

    fn answer_as<R: Encodable>(&self, response: &R, version: i16) -> Result<BytesMut, BadRequest> {
        let malformed = |error: String| BadRequest::Malformed(self.key, error);
        let mut header = ResponseHeader::default();
        header.correlation_id = self.header.correlation_id;
        let mut frame = BytesMut::new();
        frame.put_u32(0);
        header
            .encode(&mut frame, self.key.response_header_version(version))
            .and_then(|()| response.encode(&mut frame, version))
            .map_err(|error| malformed(error.to_string()))?;
        let length = u32::try_from(frame.len() - 4).map_err(|error| malformed(error.to_string()))?;
        frame[..4].copy_from_slice(&length.to_be_bytes());
        Ok(frame)
    }

    /// The answer to `ApiVersions`.
    pub(crate) fn answer_versions(&self) -> Result<BytesMut, BadRequest> {
        let mut response = ApiVersionsResponse::default();
        for (key, min_version, max_version) in SERVED {
            let mut api = ApiVersion::default();
            api.api_key = key as i16;
            api.min_version = min_version;
            api.max_version = max_version;
            response.api_keys.push(api);
        }
        if (0..=3).contains(&self.version) {
            return self.answer(&response);
        }
        response.error_code = UNSUPPORTED_VERSION;
        self.answer_as(&response, 0)
    }
}

/// Whether a request of this API changes data that must survive.
pub(crate) fn is_write(key: ApiKey) -> bool {
    matches!(
        key,
        ApiKey::Produce
            | ApiKey::CreateTopics
            | ApiKey::DeleteTopics
            | ApiKey::CreatePartitions
            | ApiKey::InitProducerId
            | ApiKey::OffsetCommit
            | ApiKey::OffsetDelete
            | ApiKey::DeleteGroups
            | ApiKey::DeleteRecords
            | ApiKey::AddPartitionsToTxn
            | ApiKey::AddOffsetsToTxn
            | ApiKey::EndTxn
            | ApiKey::TxnOffsetCommit
            | ApiKey::AlterConfigs
            | ApiKey::IncrementalAlterConfigs
    )
}

/// Whether a request is from a client or from the log.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    Client,
    Log,
}

/// The result of a write.
pub(crate) struct Applied {
    /// The response's frame; none if the client wants none. It may fail after the engine has changed.
    pub(crate) response: Result<Option<BytesMut>, BadRequest>,
    /// The request that repeats the change when it is replayed; none if nothing changed.
    pub(crate) record: Option<Bytes>,
}

/// Applies a write. An error leaves the engine as it was.
pub(crate) fn apply(
    state: &mut EngineState,
    request: &Request,
    origin: Origin,
) -> Result<Applied, BadRequest> {
    macro_rules! handle {
        ($handler:ident) => {{
            let response = state.$handler(&request.decode()?, request.version);
            Applied { response: request.answer(&response).map(Some), record: Some(request.frame.clone()) }
        }};
    }
    Ok(match request.key {
        ApiKey::Produce => produce(state, request)?,
        ApiKey::OffsetCommit => commit_offsets(state, request, origin)?,
        ApiKey::DeleteGroups => delete_groups(state, request)?,
        ApiKey::CreateTopics => {
            let mut body: CreateTopicsRequest = request.decode()?;
            for topic in &mut body.topics {
                if !topic.configs.iter().any(|config| &*config.name == "segment.bytes") {
                    topic.configs.push(config("segment.bytes", SEGMENT_BYTES));
                }
            }
            let response = state.handle_create_topics(&body, request.version);
            Applied { response: request.answer(&response).map(Some), record: Some(request.frame.clone()) }
        }
        ApiKey::DeleteTopics => {
            let applied = handle!(handle_delete_topics);
            // An offset committed in a deleted topic would skip the first records of a new topic with the same name.
            let EngineState { topics, committed_offsets, offset_metadata, .. } = state;
            committed_offsets.retain(|(_, topic, _), _| topics.contains_key(topic));
            offset_metadata.retain(|(_, topic, _), _| topics.contains_key(topic));
            applied
        }
        ApiKey::CreatePartitions => handle!(handle_create_partitions),
        ApiKey::InitProducerId => handle!(handle_init_producer_id),
        ApiKey::OffsetDelete => handle!(handle_offset_delete),
        ApiKey::DeleteRecords => handle!(handle_delete_records),
        ApiKey::AddPartitionsToTxn => handle!(handle_add_partitions_to_txn),
        ApiKey::AddOffsetsToTxn => handle!(handle_add_offsets_to_txn),
        ApiKey::EndTxn => handle!(handle_end_txn),
        ApiKey::TxnOffsetCommit => handle!(handle_txn_offset_commit),
        ApiKey::AlterConfigs => handle!(handle_alter_configs),
        ApiKey::IncrementalAlterConfigs => handle!(handle_incremental_alter_configs),
        key => return Err(BadRequest::UnknownApi(key as i16)),
    })
}

/// One entry of a topic's configuration.
pub(crate) fn config(name: &'static str, value: &'static str) -> CreatableTopicConfig {
    let mut config = CreatableTopicConfig::default();
    config.name = StrBytes::from_static_str(name);
    config.value = Some(StrBytes::from_static_str(value));
    config
}

fn produce(state: &mut EngineState, request: &Request) -> Result<Applied, BadRequest> {
    let body: ProduceRequest = request.decode()?;
    let batches = body
        .topic_data
        .iter()
        .flat_map(|topic| &topic.partition_data)
        .filter_map(|data| data.records.as_deref());
    for batch in batches {
        if !has_sane_counts(batch) {
            return Err(BadRequest::Malformed(
                request.key,
                "a record batch's counts contradict each other".into(),
            ));
        }
    }
    let mut response = state.handle_produce(&body, request.version);
    correct_duplicates(state, &body, &mut response);
    let accepted = response
        .responses
        .iter()
        .flat_map(|topic| &topic.partition_responses)
        .any(|part| part.error_code == 0);
    Ok(Applied {
        response: if body.acks == 0 { Ok(None) } else { request.answer(&response).map(Some) },
        record: accepted.then(|| request.frame.clone()),
    })
}

/// Where the fields of a version 2 record batch begin in it.
const LAST_OFFSET_DELTA: usize = 23;
const PRODUCER: usize = 43;
const BASE_SEQUENCE: usize = 53;
const COUNT: usize = 57;
const BATCH_HEADER: usize = 61;

fn int_at(batch: &[u8], at: usize) -> i32 {
    batch.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map_or(0, i32::from_be_bytes)
}

/// The producer's id, in any batch of full header length.
pub(crate) fn producer_of(batch: &[u8]) -> i64 {
    batch.get(PRODUCER..PRODUCER + 8).and_then(|bytes| bytes.try_into().ok()).map_or(-1, i64::from_be_bytes)
}

/// Refuses numbers with which the engine's arithmetic would overflow. The engine checks everything else.
fn has_sane_counts(batch: &[u8]) -> bool {
    if batch.len() < BATCH_HEADER || batch[16] != 2 {
        return true;
    }
    let (delta, count, sequence) =
        (int_at(batch, LAST_OFFSET_DELTA), int_at(batch, COUNT), int_at(batch, BASE_SEQUENCE));
    let sequence_ends = sequence.checked_add(delta).is_some_and(|last| last < i32::MAX);
    delta >= 0 && count.checked_sub(1) == Some(delta) && sequence >= -1 && sequence_ends
}

/// The engine answers every repeated batch with the offset of its producer's latest batch. After a reconnection,
/// librdkafka repeats up to five batches, so this gives each the offset that it had the first time.
fn correct_duplicates(state: &EngineState, request: &ProduceRequest, response: &mut ProduceResponse) {
    // More batches than a producer can have in flight, even with many producers in between.
    const RECENT: usize = 10_000;
    for (topic, answers) in request.topic_data.iter().zip(&mut response.responses) {
        let Some(known) = state.topics.get(&**topic.name) else { continue };
        for (data, answer) in topic.partition_data.iter().zip(&mut answers.partition_responses) {
            let (Some(records), Some(part)) = (&data.records, known.partitions.get(&data.index)) else {
                continue;
            };
            if answer.error_code != 0 || producer_of(records) < 0 {
                continue;
            }
            let identity = PRODUCER..COUNT;
            let stored = part
                .record_batches
                .iter()
                .rev()
                .take(RECENT)
                .find(|(_, batch)| batch.get(identity.clone()) == records.get(identity.clone()));
            if let Some((base, _)) = stored {
                answer.base_offset = *base;
            }
        }
    }
}

/// A commit is checked against the group's members only when it arrives. When it is replayed, there are no members.
fn commit_offsets(state: &mut EngineState, request: &Request, origin: Origin) -> Result<Applied, BadRequest> {
    let mut body: OffsetCommitRequest = request.decode()?;
    if origin == Origin::Log {
        body.generation_id_or_member_epoch = -1;
        body.member_id = StrBytes::new();
        body.group_instance_id = None;
    }
    let response = state.handle_offset_commit(&body, request.version);
    let accepted =
        response.topics.iter().flat_map(|topic| &topic.partitions).any(|part| part.error_code == 0);
    Ok(Applied {
        response: request.answer(&response).map(Some),
        record: accepted.then(|| request.frame.clone()),
    })
}

/// A group with members is not deleted. A replay would delete it, so only the deleted groups are recorded.
fn delete_groups(state: &mut EngineState, request: &Request) -> Result<Applied, BadRequest> {
    let mut body: DeleteGroupsRequest = request.decode()?;
    let response = state.handle_delete_groups(&body, request.version);
    body.groups_names = response
        .results
        .iter()
        .filter(|result| result.error_code == 0)
        .map(|result| result.group_id.clone())
        .collect();
    let record = if body.groups_names.is_empty() {
        None
    } else {
        Some(Request::of(request.key, request.version, &body)?.frame)
    };
    Ok(Applied { response: request.answer(&response).map(Some), record })
}
