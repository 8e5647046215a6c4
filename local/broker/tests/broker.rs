//! The broker as its clients see it: librdkafka against a real broker, in this process or, to be killed, in another.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{BufRead, BufReader, ErrorKind, Read, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use broker::{Broker, BrokerError, Config};
use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::{
    messages::{
        ApiKey, FetchRequest, FetchResponse, RequestHeader, ResponseHeader, TopicName,
        fetch_request::{FetchPartition, FetchTopic},
    },
    protocol::{Decodable, Encodable, StrBytes},
};
use rdkafka::{
    ClientConfig, ClientContext, Message, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions, AlterConfig, NewTopic, ResourceSpecifier, TopicReplication},
    client::DefaultClientContext,
    consumer::{BaseConsumer, CommitMode, Consumer},
    error::{KafkaError, RDKafkaErrorCode},
    producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer},
};

/// A condition that has not come true by then never will. No test depends on how long anything takes.
const PATIENCE: Duration = Duration::from_mins(1);

fn await_that(what: &str, mut condition: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < until, "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn start(dir: &Path, topics: &[(&str, i32)]) -> Broker {
    Broker::start(config(dir, 0, topics)).unwrap()
}

fn config(dir: &Path, port: u16, topics: &[(&str, i32)]) -> Config {
    Config {
        port,
        data_dir: dir.to_path_buf(),
        topics: topics.iter().map(|(name, partitions)| ((*name).to_owned(), *partitions)).collect(),
    }
}

fn port_of(servers: &str) -> u16 {
    servers.rsplit_once(':').unwrap().1.parse().unwrap()
}

/// What the log would be if this process were killed now: a start on the copy is a start after the kill.
fn copy_as_if_killed(from: &Path, to: &Path) -> Vec<u8> {
    let log = fs::read(from.join("broker.log")).unwrap();
    fs::write(to.join("broker.log"), &log).unwrap();
    log
}

/// A broker in its own process.
struct ChildBroker {
    child: Child,
    servers: String,
}

impl ChildBroker {
    fn start(dir: &Path, port: u16, topics: &[(&str, i32)]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_kafka-broker"))
            .arg(port.to_string())
            .arg(dir)
            .args(topics.iter().map(|(name, partitions)| format!("{name}:{partitions}")))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut servers = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut servers).unwrap();
        assert!(!servers.is_empty(), "the broker's process did not start");
        Self { child, servers: servers.trim().to_owned() }
    }

    /// SIGKILL.
    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn connection_threads(&self) -> usize {
        fs::read_dir(format!("/proc/{}/task", self.child.id()))
            .unwrap()
            .filter_map(|task| fs::read_to_string(task.ok()?.path().join("comm")).ok())
            .filter(|name| name.trim().strip_prefix("kafka-").is_some_and(|id| id.parse::<u64>().is_ok()))
            .count()
    }
}

impl Drop for ChildBroker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Every delivery: value → (partition, offset), or the error.
#[derive(Clone, Default)]
struct Deliveries(Arc<Mutex<Vec<(String, Outcome)>>>);

type Outcome = Result<(i32, i64), KafkaError>;

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let (message, outcome) = match result {
            Ok(message) => (message, Ok((message.partition(), message.offset()))),
            Err((error, message)) => (message, Err(error.clone())),
        };
        let value = String::from_utf8(message.payload().unwrap().to_vec()).unwrap();
        self.0.lock().unwrap().push((value, outcome));
    }
}

impl Deliveries {
    fn len(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    fn acknowledged(&self) -> BTreeMap<(i32, i64), String> {
        let deliveries = self.0.lock().unwrap();
        deliveries.iter().map(|(value, outcome)| (outcome.clone().unwrap(), value.clone())).collect()
    }
}

type TestProducer = ThreadedProducer<Deliveries>;

fn producer(servers: &str, deliveries: &Deliveries) -> TestProducer {
    ClientConfig::new()
        .set("bootstrap.servers", servers)
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("linger.ms", "1")
        .set("reconnect.backoff.ms", "10")
        .set("reconnect.backoff.max.ms", "100")
        .set("retry.backoff.ms", "10")
        .create_with_context(deliveries.clone())
        .unwrap()
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis().try_into().unwrap()
}

fn send_at(producer: &TestProducer, topic: &str, partition: i32, value: &str, timestamp: i64) {
    let record = BaseRecord::<(), str>::to(topic).partition(partition).payload(value).timestamp(timestamp);
    producer.send(record).map_err(|(error, _)| error).unwrap();
}

fn send(producer: &TestProducer, topic: &str, partition: i32, value: &str) {
    send_at(producer, topic, partition, value, now_ms());
}

/// A producer that sends each record in its own request and waits for its acknowledgement.
struct Sender(TestProducer);

impl Sender {
    fn connect(servers: &str) -> Self {
        Self(producer(servers, &Deliveries::default()))
    }

    fn send(&self, value: &str) {
        let deliveries = self.0.context();
        let before = deliveries.len();
        send(&self.0, "stock-quotes", 0, value);
        await_that("the record is acknowledged", || deliveries.len() > before);
        deliveries.acknowledged();
    }

    fn send_numbers(&self, range: std::ops::Range<usize>) {
        for value in numbers(range) {
            self.send(&value);
        }
    }
}

fn consumer(servers: &str, group: &str) -> BaseConsumer {
    ClientConfig::new()
        .set("bootstrap.servers", servers)
        .set("group.id", group)
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "earliest")
        .set("session.timeout.ms", "6000")
        .set("heartbeat.interval.ms", "200")
        .create()
        .unwrap()
}

/// All there is in a topic: (partition, offset) → (value, timestamp).
fn read_all(servers: &str, topic: &str, partitions: i32) -> BTreeMap<(i32, i64), (String, i64)> {
    let consumer = consumer(servers, "read-all");
    let mut list = TopicPartitionList::new();
    let mut missing = BTreeMap::new();
    for partition in 0..partitions {
        list.add_partition_offset(topic, partition, Offset::Beginning).unwrap();
        let (low, high) = consumer.fetch_watermarks(topic, partition, PATIENCE).unwrap();
        missing.insert(partition, high - low);
    }
    consumer.assign(&list).unwrap();
    let mut records = BTreeMap::new();
    await_that("everything is read", || {
        while let Some(message) = consumer.poll(Duration::from_millis(10)) {
            let message = message.unwrap();
            let value = String::from_utf8(message.payload().unwrap().to_vec()).unwrap();
            let at = (message.partition(), message.offset());
            assert!(
                records.insert(at, (value, message.timestamp().to_millis().unwrap())).is_none(),
                "{at:?} came twice"
            );
            *missing.get_mut(&at.0).unwrap() -= 1;
        }
        missing.values().all(|left| *left <= 0)
    });
    records
}

fn values(records: &BTreeMap<(i32, i64), (String, i64)>) -> Vec<String> {
    records.values().map(|(value, _)| value.clone()).collect()
}

fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|n| n.to_string()).collect()
}

/// Differs from run to run, so that kills hit ever other moments.
fn random(below: u64) -> u64 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    RandomState::new().build_hasher().finish() % below
}

#[test]
fn acknowledged_records_survive_kill_9_once_and_in_order_and_their_producer_goes_on() {
    const KILLS: usize = 8;
    let dir = tempfile::tempdir().unwrap();
    let topics = [("stock-quotes", 3)];
    let mut child = ChildBroker::start(dir.path(), 0, &topics);
    let servers = child.servers.clone();
    let deliveries = Deliveries::default();
    let producer = producer(&servers, &deliveries);

    let mut sent = 0;
    for _ in 0..KILLS {
        let kill_at = deliveries.len() + 1 + usize::try_from(random(400)).unwrap();
        await_that("enough is acknowledged", || {
            for _ in 0..20 {
                send(&producer, "stock-quotes", i32::try_from(sent % 3).unwrap(), &sent.to_string());
                sent += 1;
            }
            deliveries.len() >= kill_at
        });
        // Into the middle of whatever it is doing with the rest.
        std::thread::sleep(Duration::from_micros(random(3_000)));
        child.kill();
        child = ChildBroker::start(dir.path(), port_of(&servers), &topics);
    }
    producer.flush(PATIENCE).unwrap();

    let acknowledged = deliveries.acknowledged();
    assert_eq!(acknowledged.len(), sent);
    child.kill();
    let child = ChildBroker::start(dir.path(), 0, &topics);
    let stored = read_all(&child.servers, "stock-quotes", 3);
    let stored_values: BTreeMap<_, _> = stored.iter().map(|(at, (value, _))| (*at, value.clone())).collect();
    assert_eq!(stored_values, acknowledged, "every record once, at the offset that was acknowledged");
    let mut last = [None::<usize>; 3];
    for ((partition, _), value) in stored_values {
        let last = &mut last[usize::try_from(partition).unwrap()];
        let value: usize = value.parse().unwrap();
        assert!(last.is_none_or(|last| last < value), "in order");
        *last = Some(value);
    }
}

#[test]
fn committed_group_offsets_survive_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    let child = ChildBroker::start(dir.path(), 0, &[("stock-quotes", 1)]);
    let sender = Sender::connect(&child.servers);
    sender.send_numbers(0..10);
    let reader = consumer(&child.servers, "archive");
    reader.subscribe(&["stock-quotes"]).unwrap();
    let mut read = 0;
    await_that("four are read", || {
        if let Some(message) = reader.poll(Duration::from_millis(10)) {
            reader.commit_message(&message.unwrap(), CommitMode::Sync).unwrap();
            read += 1;
        }
        read == 4
    });
    child.kill();

    let child = ChildBroker::start(dir.path(), 0, &[]);
    let reader = consumer(&child.servers, "archive");
    reader.subscribe(&["stock-quotes"]).unwrap();
    let mut next = None;
    await_that("the next one is read", || {
        next = reader.poll(Duration::from_millis(10)).map(|message| message.unwrap().offset());
        next.is_some()
    });
    assert_eq!(next, Some(4));
}

#[test]
fn an_idempotent_producer_continues_across_a_clean_restart() {
    let dir = tempfile::tempdir().unwrap();
    let topics = [("stock-quotes", 1)];
    let mut broker = start(dir.path(), &topics);
    let port = port_of(&broker.bootstrap_servers());
    let deliveries = Deliveries::default();
    let producer = producer(&broker.bootstrap_servers(), &deliveries);
    for round in 0..3 {
        for n in 0..50 {
            send(&producer, "stock-quotes", 0, &(round * 50 + n).to_string());
        }
        await_that("something is acknowledged", || deliveries.len() > round * 50);
        broker.stop().unwrap();
        broker = Broker::start(config(dir.path(), port, &topics)).unwrap();
    }
    producer.flush(PATIENCE).unwrap();
    deliveries.acknowledged();
    assert_eq!(values(&read_all(&broker.bootstrap_servers(), "stock-quotes", 1)), numbers(0..150));
}

#[test]
fn a_restart_changes_no_offset_and_no_timestamp() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), &[("stock-quotes", 2)]);
    let deliveries = Deliveries::default();
    let producer = producer(&broker.bootstrap_servers(), &deliveries);
    for n in 0..40_i32 {
        send_at(&producer, "stock-quotes", n % 2, &n.to_string(), now_ms() - i64::from(n));
    }
    producer.flush(PATIENCE).unwrap();
    let before = read_all(&broker.bootstrap_servers(), "stock-quotes", 2);
    assert_eq!(before.len(), 40);

    let copy = tempfile::tempdir().unwrap();
    copy_as_if_killed(dir.path(), copy.path());
    let killed = start(copy.path(), &[]);
    assert_eq!(read_all(&killed.bootstrap_servers(), "stock-quotes", 2), before);
    broker.stop().unwrap();
    let stopped = start(dir.path(), &[]);
    assert_eq!(read_all(&stopped.bootstrap_servers(), "stock-quotes", 2), before);
}

#[test]
fn rewriting_the_log_keeps_everything_and_ends_its_growth() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start_with(config(dir.path(), 0, &[("stock-quotes", 1)]), 1).unwrap();
    let servers = broker.bootstrap_servers();
    let begun = fs::metadata(dir.path().join("broker.log")).unwrap().len();
    let reader = consumer(&servers, "archive");
    let mut commits = TopicPartitionList::new();
    for n in 0..1000 {
        commits.add_partition_offset("stock-quotes", 0, Offset::Offset(n)).unwrap();
        reader.commit(&commits, CommitMode::Sync).unwrap();
    }
    let sender = Sender::connect(&servers);
    sender.send_numbers(0..500);
    let grown = fs::metadata(dir.path().join("broker.log")).unwrap().len();
    assert!(grown < begun * 5, "a thousand commits are one offset: {begun} bytes became {grown}");

    let copy = tempfile::tempdir().unwrap();
    copy_as_if_killed(dir.path(), copy.path());
    fs::write(copy.path().join("broker.tmp"), "a rewrite that was killed").unwrap();
    let again = start(copy.path(), &[]);
    assert_eq!(values(&read_all(&again.bootstrap_servers(), "stock-quotes", 1)), numbers(0..500));
    let reader = consumer(&again.bootstrap_servers(), "archive");
    let committed = reader.committed_offsets(commits, PATIENCE).unwrap();
    assert_eq!(committed.find_partition("stock-quotes", 0).unwrap().offset(), Offset::Offset(999));
}

#[test]
fn a_torn_tail_is_cut_off_and_the_log_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), &[("stock-quotes", 1)]);
    let servers = broker.bootstrap_servers();
    let sender = Sender::connect(&servers);
    sender.send_numbers(0..5);
    let copy = tempfile::tempdir().unwrap();
    let log = copy_as_if_killed(dir.path(), copy.path());
    fs::write(copy.path().join("broker.log"), &log[..log.len() - 3]).unwrap();

    let again = start(copy.path(), &[]);
    assert_eq!(values(&read_all(&again.bootstrap_servers(), "stock-quotes", 1)), numbers(0..4));
    Sender::connect(&again.bootstrap_servers()).send("new");
    let twice = tempfile::tempdir().unwrap();
    copy_as_if_killed(copy.path(), twice.path());
    let third = start(twice.path(), &[]);
    assert_eq!(values(&read_all(&third.bootstrap_servers(), "stock-quotes", 1)), ["0", "1", "2", "3", "new"]);
}

#[test]
fn damage_before_the_end_is_refused_with_file_and_offset() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), &[("stock-quotes", 1)]);
    let sender = Sender::connect(&broker.bootstrap_servers());
    sender.send("first");
    let before = fs::metadata(dir.path().join("broker.log")).unwrap().len();
    sender.send_numbers(0..5);
    let copy = tempfile::tempdir().unwrap();
    let mut log = copy_as_if_killed(dir.path(), copy.path());
    log[usize::try_from(before).unwrap() + 20] ^= 1;
    fs::write(copy.path().join("broker.log"), &log).unwrap();
    match Broker::start(config(copy.path(), 0, &[])) {
        Err(BrokerError::CorruptLog { path, offset, .. }) => {
            assert_eq!((path, offset), (copy.path().join("broker.log"), before));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(fs::read(copy.path().join("broker.log")).unwrap(), log, "nothing was changed");
}

#[test]
fn a_second_broker_on_the_same_data_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), &[]);
    match Broker::start(config(dir.path(), 0, &[])) {
        Err(BrokerError::DataDirInUse { path }) => assert_eq!(path, dir.path()),
        other => panic!("{other:?}"),
    }
    broker.stop().unwrap();
    start(dir.path(), &[]);
}

#[test]
fn a_busy_port_is_an_error_that_names_it() {
    let dir = tempfile::tempdir().unwrap();
    let busy = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = busy.local_addr().unwrap().port();
    match Broker::start(config(dir.path(), taken, &[])) {
        Err(error @ BrokerError::PortInUse { port }) => {
            assert_eq!(port, taken);
            assert!(error.to_string().contains(&taken.to_string()));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn topics_of_the_configuration_grow_and_bad_ones_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    start(dir.path(), &[("stock-quotes", 2)]).stop().unwrap();
    let broker = start(dir.path(), &[("stock-quotes", 4)]);
    let partitions = |broker: &Broker| {
        let metadata = consumer(&broker.bootstrap_servers(), "any")
            .fetch_metadata(Some("stock-quotes"), PATIENCE)
            .unwrap();
        metadata.topics()[0].partitions().len()
    };
    assert_eq!(partitions(&broker), 4);
    broker.stop().unwrap();
    let broker = start(dir.path(), &[("stock-quotes", 1)]);
    assert_eq!(partitions(&broker), 4);
    broker.stop().unwrap();
    for (name, count) in [("no spaces", 1), ("stock-quotes", 0), ("stock-quotes", i32::MAX)] {
        let refused = Broker::start(config(dir.path(), 0, &[(name, count)]));
        assert!(matches!(refused, Err(BrokerError::Topic { .. })), "{name}: {refused:?}");
    }
}

#[test]
fn asking_for_a_topic_does_not_create_it() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), &[("stock-quotes", 1)]);
    let servers = broker.bootstrap_servers();
    let reader = consumer(&servers, "any");
    let metadata = reader.fetch_metadata(Some("stock-qoutes"), PATIENCE).unwrap();
    assert!(metadata.topics()[0].error().is_some());
    let producer: TestProducer = ClientConfig::new()
        .set("bootstrap.servers", &servers)
        .set("topic.metadata.propagation.max.ms", "1")
        .set("allow.auto.create.topics", "true")
        .create_with_context(Deliveries::default())
        .unwrap();
    let record = BaseRecord::<(), str>::to("stock-qoutes").payload("x");
    if producer.send(record).is_ok() {
        let deliveries = producer.context().clone();
        await_that("the record is refused", || deliveries.len() == 1);
        assert!(deliveries.0.lock().unwrap()[0].1.is_err());
    }
    let metadata = reader.fetch_metadata(None, PATIENCE).unwrap();
    assert!(!metadata.topics().iter().any(|topic| topic.name() == "stock-qoutes"));
}

/// A connection on which requests are written by hand.
struct Raw(TcpStream);

impl Raw {
    fn connect(servers: &str) -> Self {
        let stream = TcpStream::connect(servers).unwrap();
        // Long before the broker ends a held fetch by its own limit, and long after it should have answered.
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Self(stream)
    }

    fn fetch(&mut self, max_wait_ms: i32, min_bytes: i32, partitions: i32) {
        let mut topic = FetchTopic::default();
        topic.topic = TopicName(StrBytes::from_static_str("stock-quotes"));
        for partition in 0..partitions {
            let mut wanted = FetchPartition::default();
            wanted.partition = partition;
            wanted.partition_max_bytes = 1 << 20;
            topic.partitions.push(wanted);
        }
        let mut request = FetchRequest::default();
        request.max_wait_ms = max_wait_ms;
        request.min_bytes = min_bytes;
        request.max_bytes = 1 << 20;
        request.topics.push(topic);
        let mut header = RequestHeader::default();
        header.request_api_key = ApiKey::Fetch as i16;
        header.request_api_version = 11;
        header.correlation_id = 7;
        let mut frame = BytesMut::new();
        header.encode(&mut frame, ApiKey::Fetch.request_header_version(11)).unwrap();
        request.encode(&mut frame, 11).unwrap();
        self.0.write_all(&u32::try_from(frame.len()).unwrap().to_be_bytes()).unwrap();
        self.0.write_all(&frame).unwrap();
    }

    /// The bytes of records for each partition.
    fn fetched(&mut self) -> BTreeMap<i32, usize> {
        let mut length = [0; 4];
        self.0.read_exact(&mut length).unwrap();
        let mut frame = vec![0; u32::from_be_bytes(length).try_into().unwrap()];
        self.0.read_exact(&mut frame).unwrap();
        let mut frame = Bytes::from(frame);
        let header = ResponseHeader::decode(&mut frame, ApiKey::Fetch.response_header_version(11)).unwrap();
        assert_eq!(header.correlation_id, 7);
        let response = FetchResponse::decode(&mut frame, 11).unwrap();
        assert!(!frame.has_remaining());
        let partitions = response.responses.iter().flat_map(|topic| &topic.partitions);
        partitions
            .inspect(|part| assert_eq!(part.error_code, 0))
            .map(|part| (part.partition_index, part.records.as_ref().map_or(0, Bytes::len)))
            .collect()
    }

    fn is_closed(&mut self) -> bool {
        match self.0.read(&mut [0]) {
            Ok(read) => read == 0,
            Err(error) => error.kind() == ErrorKind::ConnectionReset,
        }
    }
}

#[test]
fn a_held_fetch_wakes_when_something_is_produced_to_any_of_its_partitions() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), &[("stock-quotes", 3)]);
    let servers = broker.bootstrap_servers();
    let mut waiting: Vec<Raw> = (0..3).map(|_| Raw::connect(&servers)).collect();
    for raw in &mut waiting {
        raw.fetch(i32::MAX, 1, 3);
    }
    let deliveries = Deliveries::default();
    let producer = producer(&servers, &deliveries);
    send(&producer, "stock-quotes", 2, "news");
    producer.flush(PATIENCE).unwrap();
    for raw in &mut waiting {
        let fetched = raw.fetched();
        assert_eq!((fetched[&0], fetched[&1]), (0, 0));
        assert!(fetched[&2] > 0);
    }
}

#[test]
fn a_held_fetch_is_answered_empty_after_its_max_wait() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), &[("stock-quotes", 1)]);
    let mut raw = Raw::connect(&broker.bootstrap_servers());
    raw.fetch(100, 1, 1);
    assert_eq!(raw.fetched(), BTreeMap::from([(0, 0)]));
    // A fetch without partitions does not wait either.
    raw.fetch(i32::MAX, 0, 1);
    assert_eq!(raw.fetched(), BTreeMap::from([(0, 0)]));
}

#[test]
fn a_held_fetch_waits_for_its_min_bytes_and_returns_what_there_is_at_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), &[("stock-quotes", 1)]);
    let servers = broker.bootstrap_servers();
    let value = "x".repeat(600);
    let mut patient = Raw::connect(&servers);
    patient.fetch(i32::MAX, 1000, 1);
    let sender = Sender::connect(&servers);
    sender.send(&value);
    let mut short = Raw::connect(&servers);
    short.fetch(100, 1000, 1);
    assert!((600..1000).contains(&short.fetched()[&0]), "its time was up");
    sender.send(&value);
    assert!(patient.fetched()[&0] >= 1200);
}

#[test]
fn a_closed_connection_ends_its_thread_and_a_stop_ends_a_held_one() {
    let dir = tempfile::tempdir().unwrap();
    let child = ChildBroker::start(dir.path(), 0, &[("stock-quotes", 1)]);
    let mut held: Vec<Raw> = (0..4).map(|_| Raw::connect(&child.servers)).collect();
    for raw in &mut held {
        raw.fetch(i32::MAX, 1, 1);
    }
    await_that("all are served", || child.connection_threads() == 4);
    drop(held);
    await_that("their threads are gone", || child.connection_threads() == 0);

    let other = tempfile::tempdir().unwrap();
    let broker = start(other.path(), &[("stock-quotes", 1)]);
    let mut raw = Raw::connect(&broker.bootstrap_servers());
    raw.fetch(i32::MAX, 1, 1);
    broker.stop().unwrap();
    assert!(raw.is_closed());
}

#[test]
fn garbage_closes_its_connection_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), &[("stock-quotes", 1)]);
    let servers = broker.bootstrap_servers();
    let framed = |body: &[u8]| [&u32::try_from(body.len()).unwrap().to_be_bytes(), body].concat();
    let mut samples = vec![
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(),
        ((100 << 20) + 1_u32).to_be_bytes().to_vec(),
        framed(b""),
        framed(b"\0\0\0"),
        framed(b"\x7f\xff\0\0\0\0\0\0"),
        // Produce of a version from the future, and of a good one with a body of another kind.
        framed(b"\0\0\0\x7f\0\0\0\0"),
        framed(b"\0\0\0\x09\0\0\0\0\xff\xff\0\0\x01\x02\x03"),
        framed(b"\0\x01\0\x0b\0\0\0\0\xff\xff\0"),
    ];
    for _ in 0..500 {
        let length = usize::try_from(random(200)).unwrap();
        samples.push(framed(&(0..length).map(|_| u8::try_from(random(256)).unwrap()).collect::<Vec<_>>()));
    }
    for sample in samples {
        let mut raw = Raw::connect(&servers);
        let _ = raw.0.write_all(&sample);
        assert!(raw.is_closed(), "{sample:?}");
    }
    Sender::connect(&servers).send("fine");
    assert_eq!(values(&read_all(&servers, "stock-quotes", 1)), ["fine"]);
}

fn admin(servers: &str) -> AdminClient<DefaultClientContext> {
    ClientConfig::new().set("bootstrap.servers", servers).create().unwrap()
}

fn watermarks(servers: &str, topic: &str) -> (i64, i64) {
    consumer(servers, "any").fetch_watermarks(topic, 0, PATIENCE).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn old_records_go_where_retention_says_so_and_stay_in_the_configured_topics() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), &[("stock-quotes", 1)]);
    let servers = broker.bootstrap_servers();
    let seven_days = NewTopic::new("seven-days", 1, TopicReplication::Fixed(1));
    let kept = NewTopic::new("kept", 1, TopicReplication::Fixed(1));
    admin(&servers).create_topics([&seven_days, &kept], &AdminOptions::new()).await.unwrap();
    let keep = AlterConfig::new(ResourceSpecifier::Topic("kept")).set("retention.ms", "-1");
    admin(&servers).alter_configs([&keep], &AdminOptions::new()).await.unwrap().remove(0).unwrap();

    let deliveries = Deliveries::default();
    let producer = producer(&servers, &deliveries);
    let eight_days_ago = now_ms() - 8 * 24 * 3_600_000;
    for topic in ["stock-quotes", "kept", "seven-days"] {
        send_at(&producer, topic, 0, "old", eight_days_ago);
    }
    producer.flush(PATIENCE).unwrap();
    deliveries.acknowledged();
    await_that("the cleaner comes", || watermarks(&servers, "seven-days") == (1, 1));
    // One pass cleans all topics, but not in this order; the next begins after this one.
    send_at(&producer, "seven-days", 0, "old", eight_days_ago);
    producer.flush(PATIENCE).unwrap();
    await_that("the cleaner comes again", || watermarks(&servers, "seven-days") == (2, 2));
    assert_eq!(watermarks(&servers, "stock-quotes"), (0, 1));
    assert_eq!(watermarks(&servers, "kept"), (0, 1));

    let copy = tempfile::tempdir().unwrap();
    copy_as_if_killed(dir.path(), copy.path());
    let killed = start(copy.path(), &[]);
    for (topic, expected) in [("seven-days", (2, 2)), ("stock-quotes", (0, 1)), ("kept", (0, 1))] {
        assert_eq!(watermarks(&killed.bootstrap_servers(), topic), expected, "{topic}");
    }
}

fn assigned(consumer: &BaseConsumer) -> BTreeSet<i32> {
    consumer
        .assignment()
        .unwrap()
        .elements()
        .iter()
        .map(rdkafka::topic_partition_list::TopicPartitionListElem::partition)
        .collect()
}

/// Polls all consumers until their assignments are as wanted; what they read goes to `read`.
fn await_assignments(
    consumers: &[&BaseConsumer],
    read: &mut BTreeSet<String>,
    wanted: impl Fn(&[BTreeSet<i32>]) -> bool,
) {
    await_that("the partitions are assigned", || {
        for consumer in consumers {
            if let Some(Ok(message)) = consumer.poll(Duration::from_millis(5)) {
                read.insert(String::from_utf8(message.payload().unwrap().to_vec()).unwrap());
            }
        }
        wanted(&consumers.iter().map(|consumer| assigned(consumer)).collect::<Vec<_>>())
    });
}

#[test]
fn consumers_of_a_group_share_the_partitions_and_take_over_from_one_that_leaves() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), &[("stock-quotes", 4)]);
    let servers = broker.bootstrap_servers();
    let mut read = BTreeSet::new();
    let [a, b] = [(); 2].map(|()| {
        let consumer = consumer(&servers, "archive");
        consumer.subscribe(&["stock-quotes"]).unwrap();
        consumer
    });
    await_assignments(&[&a, &b], &mut read, |held| {
        held.iter().all(|held| held.len() == 2) && held[0].is_disjoint(&held[1])
    });
    let c = consumer(&servers, "archive");
    c.subscribe(&["stock-quotes"]).unwrap();
    await_assignments(&[&a, &b, &c], &mut read, |held| {
        held.iter().all(|held| !held.is_empty()) && held.iter().map(BTreeSet::len).sum::<usize>() == 4
    });
    drop(a);
    await_assignments(&[&b, &c], &mut read, |held| held.iter().all(|held| held.len() == 2));
    drop(b);
    await_assignments(&[&c], &mut read, |held| held[0].len() == 4);

    let deliveries = Deliveries::default();
    let producer = producer(&servers, &deliveries);
    for n in 0..40_i32 {
        send(&producer, "stock-quotes", n % 4, &n.to_string());
    }
    producer.flush(PATIENCE).unwrap();
    await_that("all partitions are read", || {
        if let Some(message) = c.poll(Duration::from_millis(5)) {
            read.insert(String::from_utf8(message.unwrap().payload().unwrap().to_vec()).unwrap());
        }
        read.len() == 40
    });
}

#[test]
fn a_consumer_that_dies_without_leaving_is_replaced_after_its_session() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), &[("stock-quotes", 2)]);
    let servers = broker.bootstrap_servers();
    let mut ghost = Raw::connect(&servers);
    join_and_vanish(&mut ghost);
    drop(ghost);
    let heir = consumer(&servers, "archive");
    heir.subscribe(&["stock-quotes"]).unwrap();
    let mut read = BTreeSet::new();
    await_assignments(&[&heir], &mut read, |held| held[0].len() == 2);
}

/// Joins the group as a member that is never heard of again.
fn join_and_vanish(raw: &mut Raw) {
    use kafka_protocol::messages::{
        GroupId, JoinGroupRequest, JoinGroupResponse, join_group_request::JoinGroupRequestProtocol,
    };
    let mut protocol = JoinGroupRequestProtocol::default();
    protocol.name = StrBytes::from_static_str("range");
    let mut request = JoinGroupRequest::default();
    request.group_id = GroupId(StrBytes::from_static_str("archive"));
    request.session_timeout_ms = 6_000;
    request.rebalance_timeout_ms = 300_000;
    request.protocol_type = StrBytes::from_static_str("consumer");
    request.protocols.push(protocol);
    let mut header = RequestHeader::default();
    header.request_api_key = ApiKey::JoinGroup as i16;
    header.request_api_version = 3;
    let mut frame = BytesMut::new();
    header.encode(&mut frame, ApiKey::JoinGroup.request_header_version(3)).unwrap();
    request.encode(&mut frame, 3).unwrap();
    raw.0.write_all(&u32::try_from(frame.len()).unwrap().to_be_bytes()).unwrap();
    raw.0.write_all(&frame).unwrap();
    let mut length = [0; 4];
    raw.0.read_exact(&mut length).unwrap();
    let mut frame = vec![0; u32::from_be_bytes(length).try_into().unwrap()];
    raw.0.read_exact(&mut frame).unwrap();
    let mut frame = Bytes::from(frame);
    ResponseHeader::decode(&mut frame, 0).unwrap();
    assert_eq!(JoinGroupResponse::decode(&mut frame, 3).unwrap().error_code, 0);
}

#[test]
fn a_join_that_waits_for_others_blocks_no_other_connection() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), &[("stock-quotes", 2)]);
    let servers = broker.bootstrap_servers();
    let idle = consumer(&servers, "archive");
    idle.subscribe(&["stock-quotes"]).unwrap();
    let mut read = BTreeSet::new();
    await_assignments(&[&idle], &mut read, |held| held[0].len() == 2);
    // It joins, and waits for the first, which is not polled and so does not rejoin.
    let late = consumer(&servers, "archive");
    late.subscribe(&["stock-quotes"]).unwrap();
    let sender = Sender::connect(&servers);
    for value in numbers(0..50) {
        sender.send(&value);
        late.poll(Duration::ZERO);
    }
    assert_eq!(read_all(&servers, "stock-quotes", 1).len(), 50);
    await_assignments(&[&idle, &late], &mut read, |held| held.iter().all(|held| held.len() == 1));
}

#[test]
fn large_logs_are_fetched_in_pieces() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), &[("stock-quotes", 1)]);
    let servers = broker.bootstrap_servers();
    let value = "x".repeat(100_000);
    let sender = Sender::connect(&servers);
    for _ in 0..30 {
        sender.send(&value);
    }
    let mut raw = Raw::connect(&servers);
    raw.fetch(0, 1, 1);
    assert!((100_000..=1 << 20).contains(&raw.fetched()[&0]));
    assert_eq!(read_all(&servers, "stock-quotes", 1).len(), 30);
}

#[test]
fn an_aborted_transaction_is_not_read_and_what_follows_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), &[("stock-quotes", 1)]);
    let servers = broker.bootstrap_servers();
    let producer: TestProducer = ClientConfig::new()
        .set("bootstrap.servers", &servers)
        .set("transactional.id", "tx")
        .create_with_context(Deliveries::default())
        .unwrap();
    producer.init_transactions(PATIENCE).unwrap();
    for (n, commits) in [true, false, true].into_iter().enumerate() {
        producer.begin_transaction().unwrap();
        for _ in 0..2 {
            send(&producer, "stock-quotes", 0, &n.to_string());
            producer.flush(PATIENCE).unwrap();
        }
        if commits {
            producer.commit_transaction(PATIENCE).unwrap();
        } else {
            producer.abort_transaction(PATIENCE).unwrap();
        }
    }
    let read_from = |offset: i64| {
        let reader = consumer(&servers, "any");
        let mut list = TopicPartitionList::new();
        list.add_partition_offset("stock-quotes", 0, Offset::Offset(offset)).unwrap();
        reader.assign(&list).unwrap();
        let mut read = Vec::new();
        await_that("the last one is read", || {
            if let Some(message) = reader.poll(Duration::from_millis(5)) {
                let message = message.unwrap();
                read.push((
                    message.offset(),
                    String::from_utf8(message.payload().unwrap().to_vec()).unwrap(),
                ));
            }
            read.last().is_some_and(|(offset, _)| *offset == 7)
        });
        read.into_iter().map(|(_, value)| value).collect::<Vec<_>>()
    };
    // Two records and a marker for each of the three.
    assert_eq!(read_from(0), ["0", "0", "2", "2"]);
    assert_eq!(read_from(6), ["2", "2"]);
}

#[test]
fn a_record_without_acknowledgement_is_stored_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), &[("stock-quotes", 1)]);
    let servers = broker.bootstrap_servers();
    let producer: TestProducer = ClientConfig::new()
        .set("bootstrap.servers", &servers)
        .set("acks", "0")
        .create_with_context(Deliveries::default())
        .unwrap();
    for n in 0..20 {
        send(&producer, "stock-quotes", 0, &n.to_string());
        producer.flush(PATIENCE).unwrap();
    }
    await_that("they arrive", || watermarks(&servers, "stock-quotes") == (0, 20));
    assert_eq!(values(&read_all(&servers, "stock-quotes", 1)), numbers(0..20));
}

#[test]
fn an_unknown_member_cannot_commit() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), &[("stock-quotes", 1)]);
    let servers = broker.bootstrap_servers();
    let member = consumer(&servers, "archive");
    member.subscribe(&["stock-quotes"]).unwrap();
    let mut read = BTreeSet::new();
    await_assignments(&[&member], &mut read, |held| held[0].len() == 1);
    let stranger = consumer(&servers, "archive");
    let mut offsets = TopicPartitionList::new();
    offsets.add_partition_offset("stock-quotes", 0, Offset::Offset(1)).unwrap();
    let refused = stranger.commit(&offsets, CommitMode::Sync).unwrap_err();
    assert_eq!(refused.rdkafka_error_code(), Some(RDKafkaErrorCode::UnknownMemberId));
}
