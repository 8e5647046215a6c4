//! Chooses the engine's handler for a request that only reads.

use bytes::BytesMut;
use kafka_protocol::messages::{ApiKey, MetadataRequest};
use noida::kafka::engine::EngineState;

use crate::api::{BadRequest, Request};

/// Answers, without logging it, a request that only reads or whose change need not survive.
pub(crate) fn read(engine: &mut EngineState, request: &Request) -> Result<BytesMut, BadRequest> {
    macro_rules! handle {
        ($handler:ident) => {
            request.answer(&engine.$handler(&request.decode()?, request.version))
        };
    }
    match request.key {
        ApiKey::ApiVersions => request.answer_versions(),
        ApiKey::Metadata => {
            let mut body: MetadataRequest = request.decode()?;
            // A mistyped name must be an error, not create a topic.
            body.allow_auto_topic_creation = false;
            request.answer(&engine.handle_metadata(&body, request.version))
        }
        ApiKey::ListOffsets => handle!(handle_list_offsets),
        ApiKey::FindCoordinator => handle!(handle_find_coordinator),
        ApiKey::OffsetFetch => handle!(handle_offset_fetch),
        ApiKey::DescribeGroups => handle!(handle_describe_groups),
        ApiKey::ListGroups => handle!(handle_list_groups),
        ApiKey::DescribeConfigs => handle!(handle_describe_configs),
        ApiKey::DescribeCluster => handle!(handle_describe_cluster),
        ApiKey::OffsetForLeaderEpoch => handle!(handle_offset_for_leader_epoch),
        ApiKey::DescribeTransactions => handle!(handle_describe_transactions),
        ApiKey::ListTransactions => handle!(handle_list_transactions),
        ApiKey::DescribeProducers => handle!(handle_describe_producers),
        ApiKey::DescribeLogDirs => handle!(handle_describe_log_dirs),
        key => Err(BadRequest::UnknownApi(key as i16)),
    }
}
