//! A Kafka broker inside the process: the whole flow runs on one machine without Docker or Java.
//!
//! The engine is noida-db's, which keeps everything in memory. Durability, long polling and group timeouts are added
//! here.
//!
//! # Durability
//!
//! Every change (records, topics and their configuration, committed offsets, producers' sequences, transactions) is
//! written to `broker.log` in the data directory before it is answered. So acknowledged changes survive the end of the
//! process at any moment, with the same offsets and timestamps. A producer that runs through a restart continues
//! without a gap or a duplicate. Like Kafka's own default, an answer does not wait for the disk: a power cut may lose
//! the changes that the kernel had not written yet (some seconds), never older ones. Group membership is not kept:
//! consumers rejoin.
//!
//! The log starts with a snapshot. When it has doubled, at least by 16 MiB, and at a clean stop, it is rewritten and
//! replaced by a rename. At the start, an incomplete last entry is dropped. Other damage is an error that names its
//! offset, because skipping it would lose acknowledged records.
//!
//! # Retention
//!
//! The topics of [`Config::topics`] are created with `retention.ms=-1`, so that a machine that was off for two weeks
//! still finds its unread records. `retention.bytes` of 256 MiB a partition limits memory instead. Topics that clients
//! create have Kafka's default of seven days. Clients may change a topic's configuration, and changes are kept. The
//! cleaner runs at the start and every five seconds. It drops whole segments (4 MiB unless configured) whose newest
//! record is past the limit, including the last segment.
//!
//! # Limits
//!
//! One node on 127.0.0.1 without authentication, with all data in memory. Requests for a topic do not create it.
#![allow(clippy::disallowed_methods, reason = "it is not part of a function")]

mod api;
mod engine;
mod fetch;
mod groups;
mod log;
mod replay;
mod router;
mod server;
mod snapshot;
mod state;

use std::{
    fs::{self, File, TryLockError},
    io,
    net::TcpListener,
    path::{Path, PathBuf},
    sync::{
        Arc,
        mpsc::{self, RecvTimeoutError, Sender},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use kafka_protocol::{
    messages::{
        ApiKey, CreatePartitionsRequest, CreateTopicsRequest, TopicName,
        create_partitions_request::CreatePartitionsTopic, create_topics_request::CreatableTopic,
    },
    protocol::StrBytes,
};
use noida::kafka::log::validate_topic_name;

use api::Request;
use server::Shared;
use state::Core;

/// How much the log grows before it is rewritten, in bytes.
const REWRITE_BYTES: u64 = 16 << 20;
/// How often the broker's maintenance runs.
const UPKEEP: Duration = Duration::from_secs(1);
/// The number of upkeeps from one run of the log cleaner to the next.
const CLEAN_EVERY: u32 = 5;

/// A broker's configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// The port on 127.0.0.1; 0 takes a free one.
    pub port: u16,
    /// The folder for all data; created if absent. Only one broker at a time can use it.
    pub data_dir: PathBuf,
    /// The topics to create if absent, each with its minimum number of partitions.
    pub topics: Vec<(String, i32)>,
}

/// Why a broker did not start, or did not stop well.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// Another program listens on the port.
    #[error("port {port} of 127.0.0.1 is in use by another program")]
    PortInUse {
        /// The requested port.
        port: u16,
    },
    /// Listening on the port failed for another reason.
    #[error("cannot listen on port {port} of 127.0.0.1")]
    Listen {
        /// The requested port.
        port: u16,
        /// The error of the operating system.
        source: io::Error,
    },
    /// Another broker runs on the same data.
    #[error("another broker uses {}: stop it, or choose another folder", path.display())]
    DataDirInUse {
        /// The data directory.
        path: PathBuf,
    },
    /// A file cannot be read or written.
    #[error("cannot read or write {}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// The log is damaged before its end. Nothing was changed.
    #[error("{} is damaged at byte {offset}: {reason}", path.display())]
    CorruptLog {
        /// The log.
        path: PathBuf,
        /// Where the damaged entry begins, in bytes from the file's start.
        offset: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// A topic cannot be created as requested.
    #[error("topic {name:?}: {reason}")]
    Topic {
        /// The topic.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The broker could not record a change, and has answered nothing since. Acknowledged changes are kept.
    #[error("the broker failed while it ran: {reason}")]
    Failed {
        /// What went wrong.
        reason: String,
    },
}

impl BrokerError {
    pub(crate) fn io(path: &Path, source: io::Error) -> Self {
        Self::Io { path: path.to_path_buf(), source }
    }
}

/// A running broker. It stops when it is dropped; [`Broker::stop`] also returns whether that went well.
#[derive(Debug)]
pub struct Broker {
    port: u16,
    running: Option<Running>,
}

struct Running {
    shared: Arc<Shared>,
    acceptor: JoinHandle<()>,
    upkeep: JoinHandle<()>,
    /// Dropped to end the upkeep.
    end_of_upkeep: Sender<()>,
    /// Held for as long as the broker writes.
    _lock: File,
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Running").finish_non_exhaustive()
    }
}

impl Broker {
    /// Starts a broker with the data in the data directory.
    ///
    /// # Errors
    ///
    /// The port or the data directory is in use or cannot be used, the log is damaged, or a topic is not valid.
    pub fn start(config: Config) -> Result<Self, BrokerError> {
        Self::start_with(config, REWRITE_BYTES)
    }

    /// Starts a broker that rewrites its log when it has doubled and grown by at least `rewrite_bytes` bytes, instead
    /// of the usual 16 MiB.
    ///
    /// # Errors
    ///
    /// As [`Broker::start`].
    pub fn start_with(config: Config, rewrite_bytes: u64) -> Result<Self, BrokerError> {
        let Config { port, data_dir, topics } = config;
        let lock = lock(&data_dir)?;
        let listener = TcpListener::bind(("127.0.0.1", port)).map_err(|source| match source.kind() {
            io::ErrorKind::AddrInUse => BrokerError::PortInUse { port },
            _ => BrokerError::Listen { port, source },
        })?;
        let port = listener.local_addr().map_err(|source| BrokerError::Listen { port, source })?.port();

        let path = data_dir.join("broker.log");
        log::remove_leftovers(&path).map_err(|error| BrokerError::io(&path, error))?;
        let mut core = Core::open(&path, rewrite_bytes)?;
        core.engine.host = "127.0.0.1".into();
        core.engine.port = port.into();
        // Rejected with every Metadata request, and shown so in the configuration.
        core.engine.broker_configs.insert("auto.create.topics.enable".into(), "false".into());
        for (name, partitions) in &topics {
            ensure_topic(&mut core, name, *partitions)?;
        }

        let shared = Shared::new(core);
        let threads = |error| BrokerError::io(&data_dir, error);
        let (end_of_upkeep, ended) = mpsc::channel::<()>();
        let upkeep = thread::Builder::new()
            .name("kafka-upkeep".into())
            .spawn({
                let shared = shared.clone();
                move || {
                    let mut count = 0_u32;
                    loop {
                        shared.upkeep(count.is_multiple_of(CLEAN_EVERY));
                        count = count.wrapping_add(1);
                        if ended.recv_timeout(UPKEEP) != Err(RecvTimeoutError::Timeout) {
                            return;
                        }
                    }
                }
            })
            .map_err(threads)?;
        let acceptor = thread::Builder::new()
            .name("kafka-accept".into())
            .spawn({
                let shared = shared.clone();
                move || shared.accept(&listener)
            })
            .map_err(threads)?;
        tracing::info!(port, data = %data_dir.display(), "the broker is ready");
        Ok(Self { port, running: Some(Running { shared, acceptor, upkeep, end_of_upkeep, _lock: lock }) })
    }

    /// Where clients connect: `127.0.0.1:port`.
    #[must_use]
    pub fn bootstrap_servers(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Ends all connections and writes everything to the disk.
    ///
    /// # Errors
    ///
    /// The last rewriting of the log failed, or the broker had failed before. Acknowledged changes are kept in both
    /// cases.
    pub fn stop(mut self) -> Result<(), BrokerError> {
        self.shut_down()
    }

    fn shut_down(&mut self) -> Result<(), BrokerError> {
        let Some(Running { shared, acceptor, upkeep, end_of_upkeep, _lock }) = self.running.take() else {
            return Ok(());
        };
        // The engine stops first, so that nothing is acknowledged after the last snapshot.
        let stopped = shared.lock().stop();
        shared.close(acceptor, self.port);
        drop(end_of_upkeep);
        let _ = upkeep.join();
        stopped
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Err(error) = self.shut_down() {
            tracing::error!(%error, "the broker did not stop cleanly");
        }
    }
}

fn lock(data_dir: &Path) -> Result<File, BrokerError> {
    fs::create_dir_all(data_dir).map_err(|error| BrokerError::io(data_dir, error))?;
    let path = data_dir.join("broker.lock");
    let file = File::create(&path).map_err(|error| BrokerError::io(&path, error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(BrokerError::DataDirInUse { path: data_dir.to_path_buf() }),
        Err(TryLockError::Error(error)) => Err(BrokerError::io(&path, error)),
    }
}

fn ensure_topic(core: &mut Core, name: &str, partitions: i32) -> Result<(), BrokerError> {
    let refuse = |reason: String| BrokerError::Topic { name: name.into(), reason };
    validate_topic_name(name).map_err(refuse)?;
    if !(1..=1000).contains(&partitions) {
        return Err(refuse(format!("it has {partitions} partitions; choose 1 to 1000")));
    }
    let topic_name = TopicName(StrBytes::from_string(name.into()));
    let existing = core.engine.topics.get(name).map(|topic| topic.partitions.len());
    let request = match existing {
        Some(count) if i32::try_from(count).is_ok_and(|count| count < partitions) => {
            let mut topic = CreatePartitionsTopic::default();
            topic.name = topic_name;
            topic.count = partitions;
            let mut request = CreatePartitionsRequest::default();
            request.topics.push(topic);
            Request::of(ApiKey::CreatePartitions, 3, &request)
        }
        Some(_) => return Ok(()),
        None => {
            let mut topic = CreatableTopic::default();
            topic.name = topic_name;
            topic.num_partitions = partitions;
            topic.replication_factor = 1;
            topic.configs =
                vec![api::config("retention.ms", "-1"), api::config("retention.bytes", "268435456")];
            let mut request = CreateTopicsRequest::default();
            request.topics.push(topic);
            Request::of(ApiKey::CreateTopics, 7, &request)
        }
    };
    let request = request.map_err(|error| refuse(error.to_string()))?;
    core.write(&request).map_err(|error| refuse(error.to_string()))?;
    Ok(())
}
