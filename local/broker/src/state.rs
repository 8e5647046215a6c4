//! The engine and its log under one lock: requests are applied and logged in the same order.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use bytes::BytesMut;
use kafka_protocol::{
    messages::{ApiKey, InitProducerIdRequest, TransactionalId},
    protocol::StrBytes,
};
use noida::kafka::engine::EngineState;

use crate::{
    BrokerError,
    api::{self, BadRequest, Origin, Request},
    engine,
    log::{Kind, Log, Reader},
    replay, snapshot,
};

/// Why a request got no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unanswered {
    #[error(transparent)]
    Bad(#[from] BadRequest),
    #[error("the broker has stopped")]
    Stopped,
    #[error("the broker has failed: {0}")]
    Failed(String),
}

/// The broker's whole state.
pub(crate) struct Core {
    pub(crate) engine: EngineState,
    clock: Arc<AtomicU64>,
    log: Log,
    path: PathBuf,
    /// How much the log may grow beyond its snapshot before it is rewritten, in bytes.
    rewrite_bytes: u64,
    /// The length at which the log is rewritten, in bytes.
    rewrite_at: u64,
    /// The log's length when it contained only a snapshot, in bytes.
    snapshot_len: u64,
    stopped: bool,
    /// Why memory may be ahead of the log. Then nothing is served.
    failure: Option<String>,
}

impl Core {
    /// Opens `path`, or creates it. An unfinished last entry is cut off.
    pub(crate) fn open(path: &Path, rewrite_bytes: u64) -> Result<Self, BrokerError> {
        let clock = Arc::new(AtomicU64::new(0));
        let fail = |error| BrokerError::io(path, error);
        let (engine, log, snapshot_len) = if path.try_exists().map_err(fail)? {
            let mut reader = Reader::open(path).map_err(fail)?;
            let (mut engine, snapshot_len) = snapshot::load(&mut reader, &clock)?;
            replay::replay(&mut reader, &mut engine, &clock)?;
            (engine, Log::open(path, reader.offset()).map_err(fail)?, snapshot_len)
        } else {
            let mut engine = EngineState::new(String::new(), 0);
            engine::set_clock(&mut engine, &clock);
            let log = snapshot::save(path, &mut engine).map_err(fail)?;
            let len = log.len();
            (engine, log, len)
        };
        let mut core = Self {
            engine,
            clock,
            log,
            path: path.to_path_buf(),
            rewrite_bytes,
            rewrite_at: 0,
            snapshot_len,
            stopped: false,
            failure: None,
        };
        core.set_rewrite_at();
        core.tick();
        Ok(core)
    }

    /// Sets the engine's clock to now.
    pub(crate) fn tick(&self) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.clock.store(u64::try_from(now.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// An error if nothing may be served any more.
    pub(crate) fn check(&self) -> Result<(), Unanswered> {
        match &self.failure {
            Some(reason) => Err(Unanswered::Failed(reason.clone())),
            None if self.stopped => Err(Unanswered::Stopped),
            None => Ok(()),
        }
    }

    /// Applies a write and records it. Once this returns, it survives the end of the process.
    pub(crate) fn write(&mut self, request: &Request) -> Result<Option<BytesMut>, Unanswered> {
        self.check()?;
        let applied = self.guarded(|core| {
            let applied = api::apply(&mut core.engine, request, Origin::Client);
            if let Ok(api::Applied { record: Some(frame), .. }) = &applied {
                let time = core.clock.load(Ordering::Relaxed).to_be_bytes();
                core.log.append(Kind::Request, &[&time, frame])?;
            }
            Ok(applied)
        })??;
        if self.log.len() >= self.rewrite_at {
            self.rewrite();
        }
        Ok(applied.response?)
    }

    /// Removes records older than their topic's retention, and compacts.
    pub(crate) fn clean(&mut self) -> Result<(), Unanswered> {
        self.check()?;
        self.guarded(|core| {
            if engine::clean(&mut core.engine) {
                let time = core.clock.load(Ordering::Relaxed).to_be_bytes();
                core.log.append(Kind::Clean, &[&time])?;
            }
            Ok(())
        })
    }

    /// Aborts transactions that are open for too long, because most consumers (read-committed) read nothing after an
    /// open one. Returns whether there were any.
    pub(crate) fn abort_overdue(&mut self) -> Result<bool, Unanswered> {
        let now = self.engine.now_ms();
        let overdue: Vec<(String, i32)> = self
            .engine
            .txn_info
            .iter()
            .filter(|(_, info)| info.state == "Ongoing" && now - info.start_ms > i64::from(info.timeout_ms))
            .map(|(id, info)| (id.clone(), info.timeout_ms))
            .collect();
        for (id, timeout_ms) in &overdue {
            tracing::info!(transactional_id = id, "a transaction was left open too long and is aborted");
            // As Kafka does. This also fences the producer if it continues.
            let mut request = InitProducerIdRequest::default();
            request.transactional_id = Some(TransactionalId(StrBytes::from_string(id.clone())));
            request.transaction_timeout_ms = *timeout_ms;
            self.write(&Request::of(ApiKey::InitProducerId, 2, &request)?)?;
        }
        Ok(!overdue.is_empty())
    }

    /// Runs a change. If it panics or the log has an error, memory may be ahead of the log. Then the broker has failed,
    /// because data that clients have seen might be lost after a restart.
    fn guarded<T>(&mut self, change: impl FnOnce(&mut Self) -> io::Result<T>) -> Result<T, Unanswered> {
        self.failure = Some("a request could not be finished".into());
        match change(self) {
            Ok(done) => {
                self.failure = None;
                Ok(done)
            }
            Err(error) => {
                let reason = format!("{}: {error}", self.path.display());
                tracing::error!(%reason, "the broker's log cannot be written; the broker stops answering");
                self.failure = Some(reason.clone());
                Err(Unanswered::Failed(reason))
            }
        }
    }

    /// Stops serving, and rewrites the log so that the next start is fast.
    pub(crate) fn stop(&mut self) -> Result<(), BrokerError> {
        if self.stopped {
            return Ok(());
        }
        self.stopped = true;
        if let Some(reason) = self.failure.clone() {
            return Err(BrokerError::Failed { reason });
        }
        if self.log.len() > self.snapshot_len {
            self.log = snapshot::save(&self.path, &mut self.engine)
                .map_err(|error| BrokerError::io(&self.path, error))?;
        }
        Ok(())
    }

    /// Replaces the log by a snapshot. The old log stays until the new one is complete, so after a failure it only
    /// grows.
    fn rewrite(&mut self) {
        match snapshot::save(&self.path, &mut self.engine) {
            Ok(log) => {
                self.snapshot_len = log.len();
                self.log = log;
            }
            Err(error) => {
                tracing::warn!(path = %self.path.display(), %error, "the broker's log could not be rewritten");
            }
        }
        self.set_rewrite_at();
    }

    /// The log doubles before it is rewritten, so that all rewrites together cost no more than the appends.
    fn set_rewrite_at(&mut self) {
        self.rewrite_at = self.log.len() + self.rewrite_bytes.max(self.snapshot_len);
    }
}

#[cfg(test)]
mod tests {
    use bytes::{Buf, BufMut, Bytes};
    use kafka_protocol::{
        messages::{
            AddOffsetsToTxnRequest, AddPartitionsToTxnRequest, CreateTopicsRequest, DeleteGroupsRequest,
            DeleteRecordsRequest, DeleteTopicsRequest, GroupId, JoinGroupRequest, OffsetCommitRequest,
            ProduceRequest, ProduceResponse, ProducerId, ResponseHeader, TopicName, TxnOffsetCommitRequest,
            add_partitions_to_txn_request::AddPartitionsToTxnTopic,
            create_topics_request::CreatableTopic,
            delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic},
            join_group_request::JoinGroupRequestProtocol,
            offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic},
            produce_request::{PartitionProduceData, TopicProduceData},
            txn_offset_commit_request::{TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic},
        },
        protocol::{Decodable, Encodable},
        records::{Compression, Record, RecordBatchEncoder, RecordEncodeOptions, TimestampType},
    };

    use super::*;

    fn text(value: &str) -> StrBytes {
        StrBytes::from_string(value.to_owned())
    }

    fn topic(name: &str) -> TopicName {
        TopicName(text(name))
    }

    fn send<R: Encodable>(core: &mut Core, key: ApiKey, version: i16, body: &R) -> BytesMut {
        core.tick();
        core.write(&Request::of(key, version, body).unwrap()).unwrap().unwrap()
    }

    fn create(core: &mut Core, name: &str, configs: &[(&'static str, &'static str)]) {
        let mut created = CreatableTopic::default();
        created.name = topic(name);
        created.num_partitions = 2;
        created.replication_factor = 1;
        created.configs = configs.iter().map(|(name, value)| api::config(name, value)).collect();
        let mut request = CreateTopicsRequest::default();
        request.topics.push(created);
        send(core, ApiKey::CreateTopics, 7, &request);
    }

    /// A batch of `count` records; a producer below 0 is not idempotent.
    fn batch(producer: i64, sequence: i32, count: i32, timestamp: i64, transactional: bool) -> Bytes {
        let records: Vec<Record> = (0..count)
            .map(|n| Record {
                transactional,
                control: false,
                delete_horizon: false,
                partition_leader_epoch: 0,
                producer_id: producer,
                producer_epoch: if producer < 0 { -1 } else { 0 },
                timestamp_type: TimestampType::Creation,
                offset: n.into(),
                sequence: sequence + n,
                timestamp,
                key: Some(Bytes::from_static(b"AAPL")),
                value: Some(Bytes::from(format!("{producer} {sequence} {n}"))),
                headers: std::iter::empty().collect(),
            })
            .collect();
        let mut buffer = BytesMut::new();
        let options = RecordEncodeOptions { version: 2, compression: Compression::None };
        RecordBatchEncoder::encode(&mut buffer, &records, &options).unwrap();
        buffer.freeze()
    }

    fn produce_request(name: &str, records: Bytes) -> ProduceRequest {
        let mut data = PartitionProduceData::default();
        data.records = Some(records);
        let mut topic_data = TopicProduceData::default();
        topic_data.name = topic(name);
        topic_data.partition_data.push(data);
        let mut request = ProduceRequest::default();
        request.acks = -1;
        request.topic_data.push(topic_data);
        request
    }

    /// Error code and base offset.
    fn produce(core: &mut Core, name: &str, records: Bytes) -> (i16, i64) {
        let frame = send(core, ApiKey::Produce, 9, &produce_request(name, records));
        let mut body = frame.freeze();
        body.advance(4);
        ResponseHeader::decode(&mut body, 1).unwrap();
        let response = ProduceResponse::decode(&mut body, 9).unwrap();
        let answer = &response.responses[0].partition_responses[0];
        (answer.error_code, answer.base_offset)
    }

    fn commit(core: &mut Core, group: &str, member: &str, generation: i32, offset: i64) {
        let mut part = OffsetCommitRequestPartition::default();
        part.committed_offset = offset;
        part.committed_metadata = Some(text("where we were"));
        let mut named = OffsetCommitRequestTopic::default();
        named.name = topic("quotes");
        named.partitions.push(part);
        let mut request = OffsetCommitRequest::default();
        request.group_id = GroupId(text(group));
        request.member_id = text(member);
        request.generation_id_or_member_epoch = generation;
        request.topics.push(named);
        send(core, ApiKey::OffsetCommit, 8, &request);
    }

    /// Joins a group as its only member, directly: `EngineState` answers immediately.
    fn join(core: &mut Core, group: &str) -> (String, i32) {
        let mut protocol = JoinGroupRequestProtocol::default();
        protocol.name = text("range");
        let mut request = JoinGroupRequest::default();
        request.group_id = GroupId(text(group));
        request.session_timeout_ms = 6_000;
        request.rebalance_timeout_ms = 6_000;
        request.protocol_type = text("consumer");
        request.protocols.push(protocol);
        let response = core.engine.handle_join_group(&request, 3, "test", "/127.0.0.1");
        core.engine.groups.get_mut(group).unwrap().state = noida::kafka::engine::GroupLifecycleState::Stable;
        (response.member_id.to_string(), response.generation_id)
    }

    /// Everything that must survive, in a form that can be compared.
    fn image(core: &Core) -> serde_json::Value {
        fn sorted(value: &mut serde_json::Value) {
            match value {
                serde_json::Value::Array(items) => {
                    items.iter_mut().for_each(sorted);
                    items.sort_by_key(ToString::to_string);
                }
                serde_json::Value::Object(fields) => fields.values_mut().for_each(sorted),
                _ => {}
            }
        }
        let mut value = serde_json::to_value(snapshot::saved(&core.engine)).unwrap();
        sorted(&mut value);
        value
    }

    /// The state that a broker finds if it starts now, as if this one had been killed.
    fn reopened(core: &Core) -> Core {
        Core::open(&core.path, core.rewrite_bytes).unwrap()
    }

    fn new_core(rewrite_bytes: u64) -> (tempfile::TempDir, Core) {
        let dir = tempfile::tempdir().unwrap();
        let core = Core::open(&dir.path().join("broker.log"), rewrite_bytes).unwrap();
        (dir, core)
    }

    const NOW: i64 = 4_102_444_800_000;

    fn some_of_everything(core: &mut Core) {
        create(core, "quotes", &[]);
        create(core, "stamped", &[("message.timestamp.type", "LogAppendTime")]);
        create(core, "forgotten", &[]);
        create(core, "old", &[("segment.bytes", "100")]);
        for n in 0..5 {
            produce(core, "quotes", batch(-1, -1, 3, NOW, false));
            produce(core, "stamped", batch(77, n, 1, 5, false));
            produce(core, "old", batch(-1, -1, 1, if n < 3 { 5 } else { NOW }, false));
        }
        // Records removed from "old" must not come back, or be elsewhere in its segments.
        core.tick();
        core.clean().unwrap();
        produce(core, "old", batch(-1, -1, 1, NOW, false));

        let (member, generation) = join(core, "readers");
        commit(core, "readers", &member, generation, 7);
        commit(core, "readers", "an impostor", generation, 1);
        commit(core, "by-hand", "", -1, 4);
        commit(core, "gone", "", -1, 4);
        let mut delete = DeleteGroupsRequest::default();
        delete.groups_names = vec![GroupId(text("readers")), GroupId(text("gone"))];
        send(core, ApiKey::DeleteGroups, 2, &delete);

        let mut records = DeleteRecordsTopic::default();
        records.name = topic("quotes");
        let mut part = DeleteRecordsPartition::default();
        part.offset = 4;
        records.partitions.push(part);
        let mut delete = DeleteRecordsRequest::default();
        delete.topics.push(records);
        send(core, ApiKey::DeleteRecords, 2, &delete);
        let mut delete = DeleteTopicsRequest::default();
        delete.topic_names.push(topic("forgotten"));
        send(core, ApiKey::DeleteTopics, 5, &delete);
    }

    /// A transaction with a record and an offset, left open; its producer's id.
    fn open_transaction(core: &mut Core, timeout_ms: i32) -> i64 {
        let id = TransactionalId(text("tx"));
        let mut init = InitProducerIdRequest::default();
        init.transactional_id = Some(id.clone());
        init.transaction_timeout_ms = timeout_ms;
        send(core, ApiKey::InitProducerId, 2, &init);
        let producer = core.engine.txn_producers["tx"].0;

        let mut partitions = AddPartitionsToTxnTopic::default();
        partitions.name = topic("quotes");
        partitions.partitions.push(0);
        let mut add = AddPartitionsToTxnRequest::default();
        add.v3_and_below_transactional_id = id.clone();
        add.v3_and_below_producer_id = ProducerId(producer);
        add.v3_and_below_topics.push(partitions);
        send(core, ApiKey::AddPartitionsToTxn, 3, &add);
        assert_eq!(produce(core, "quotes", batch(producer, 0, 2, NOW, true)).0, 0);

        let mut add = AddOffsetsToTxnRequest::default();
        add.transactional_id = id.clone();
        add.producer_id = ProducerId(producer);
        add.group_id = GroupId(text("readers"));
        send(core, ApiKey::AddOffsetsToTxn, 3, &add);
        let mut named = TxnOffsetCommitRequestTopic::default();
        named.name = topic("quotes");
        named.partitions.push(TxnOffsetCommitRequestPartition::default());
        let mut offsets = TxnOffsetCommitRequest::default();
        offsets.transactional_id = id;
        offsets.group_id = GroupId(text("readers"));
        offsets.producer_id = ProducerId(producer);
        offsets.topics.push(named);
        send(core, ApiKey::TxnOffsetCommit, 3, &offsets);
        producer
    }

    #[test]
    fn a_replayed_log_restores_everything_as_it_was() {
        let (_dir, mut core) = new_core(u64::MAX / 4);
        some_of_everything(&mut core);
        open_transaction(&mut core, 60_000);
        let before = image(&core);
        assert_eq!(core.engine.committed_offsets[&("readers".into(), "quotes".into(), 0)], 7);
        assert!(!core.engine.committed_offsets.keys().any(|(group, ..)| group == "gone"));
        assert_eq!(core.engine.topics["old"].partitions[&0].log_start_offset, 3);
        assert_eq!(image(&reopened(&core)), before);
    }

    #[test]
    fn a_snapshot_restores_everything_as_it_was() {
        let (_dir, mut core) = new_core(u64::MAX / 4);
        some_of_everything(&mut core);
        let producer = open_transaction(&mut core, 60_000);
        let before = image(&core);
        core.rewrite();
        assert_eq!(image(&core), before);
        let mut again = reopened(&core);
        assert_eq!(image(&again), before);
        // The transaction continues.
        assert_eq!(produce(&mut again, "quotes", batch(producer, 2, 1, NOW, true)), (0, 17));
    }

    #[test]
    fn a_repeated_batch_is_answered_with_its_own_offset() {
        let (_dir, mut core) = new_core(u64::MAX / 4);
        create(&mut core, "quotes", &[]);
        let batches: Vec<Bytes> = (0..3).map(|n| batch(9, n * 2, 2, NOW, false)).collect();
        for _ in 0..2 {
            for (n, records) in (0..).zip(&batches) {
                assert_eq!(produce(&mut core, "quotes", records.clone()), (0, n * 2));
            }
            core = reopened(&core);
        }
        assert_eq!(core.engine.topics["quotes"].partitions[&0].high_watermark, 6);
    }

    #[test]
    fn an_abandoned_transaction_is_aborted_and_its_producer_fenced() {
        let (_dir, mut core) = new_core(u64::MAX / 4);
        create(&mut core, "quotes", &[]);
        let producer = open_transaction(&mut core, 1);
        core.clock.fetch_add(2, Ordering::Relaxed);
        assert!(core.abort_overdue().unwrap());
        assert!(core.engine.topics["quotes"].partitions[&0].active_txns.is_empty());
        assert_eq!(produce(&mut core, "quotes", batch(producer, 2, 1, NOW, true)).0, 47);
        assert!(!core.abort_overdue().unwrap());
        assert_eq!(image(&reopened(&core)), image(&core));
    }

    #[test]
    fn a_batch_whose_numbers_would_overflow_is_refused_and_changes_nothing() {
        let (_dir, mut core) = new_core(u64::MAX / 4);
        create(&mut core, "quotes", &[]);
        let good = batch(9, 0, 2, NOW, false);
        for (at, value) in
            [(23, i32::MIN), (23, i32::MAX), (53, i32::MAX), (53, i32::MIN), (57, 0), (57, i32::MIN)]
        {
            let mut bad = BytesMut::from(&good[..]);
            (&mut bad[at..]).put_i32(value);
            let crc = crc32c::crc32c(&bad[21..]);
            (&mut bad[17..]).put_u32(crc);
            let request = Request::of(ApiKey::Produce, 9, &produce_request("quotes", bad.freeze())).unwrap();
            assert!(matches!(core.write(&request), Err(Unanswered::Bad(_))), "{value} at {at}");
        }
        assert_eq!(produce(&mut core, "quotes", good), (0, 0));
    }

    #[test]
    fn a_log_that_cannot_be_written_ends_the_serving() {
        let (_dir, mut core) = new_core(u64::MAX / 4);
        create(&mut core, "quotes", &[]);
        let before = image(&core);
        let failed: Result<(), Unanswered> = core.guarded(|_| Err(io::Error::other("no space left")));
        assert!(matches!(failed, Err(Unanswered::Failed(_))));
        assert!(matches!(core.check(), Err(Unanswered::Failed(_))));
        assert!(matches!(core.stop(), Err(BrokerError::Failed { .. })));
        assert_eq!(image(&reopened(&core)), before);
    }

    #[test]
    fn a_deleted_topics_offsets_are_not_its_namesakes() {
        let (_dir, mut core) = new_core(u64::MAX / 4);
        create(&mut core, "quotes", &[]);
        commit(&mut core, "readers", "", -1, 4);
        let mut delete = DeleteTopicsRequest::default();
        delete.topic_names.push(topic("quotes"));
        send(&mut core, ApiKey::DeleteTopics, 5, &delete);
        create(&mut core, "quotes", &[]);
        assert!(core.engine.committed_offsets.is_empty());
        assert!(reopened(&core).engine.committed_offsets.is_empty());
    }
}
