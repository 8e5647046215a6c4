//! The TCP server. Each connection has a thread, which answers its requests in order. Waiting requests block on a
//! condition variable, so that they cost nothing.

use std::{
    collections::HashMap,
    io::{self, BufReader, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::{
    ApiKey, FetchRequest, HeartbeatRequest, JoinGroupRequest, LeaveGroupRequest, SyncGroupRequest,
};

use crate::{
    api::{self, Request},
    fetch,
    groups::{self, Progress},
    router,
    state::{Core, Unanswered},
};

/// The longest request, in bytes.
const MAX_FRAME: u32 = 100 << 20;
/// The longest wait of a fetch, whatever its client requests.
const MAX_WAIT: Duration = Duration::from_secs(30);
/// How often a waiting request checks that its client is still connected.
const LIVENESS: Duration = Duration::from_millis(500);
/// The pause if a connection cannot be accepted (too many open files).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The state that all connections share.
pub(crate) struct Shared {
    core: Mutex<Core>,
    /// Signalled at every change that a waiting request may wait for.
    changed: Condvar,
    connections: Mutex<Connections>,
}

#[derive(Default)]
struct Connections {
    stopping: bool,
    next: u64,
    open: HashMap<u64, (TcpStream, JoinHandle<()>)>,
}

/// Why a connection ends.
enum End {
    Client,
    Transport(io::Error),
    Refused(Unanswered),
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        Self::Transport(error)
    }
}

impl<E: Into<Unanswered>> From<E> for End {
    fn from(error: E) -> Self {
        Self::Refused(error.into())
    }
}

impl Shared {
    pub(crate) fn new(core: Core) -> Arc<Self> {
        Arc::new(Self { core: Mutex::new(core), changed: Condvar::new(), connections: Mutex::default() })
    }

    /// Locks the engine, and sets its clock. If a thread panicked with the lock, [`Core::check`] reports it.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Core> {
        let core = self.core.lock().unwrap_or_else(PoisonError::into_inner);
        core.tick();
        core
    }

    fn connections(&self) -> MutexGuard<'_, Connections> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Accepts connections until [`Self::close`].
    pub(crate) fn accept(self: &Arc<Self>, listener: &TcpListener) {
        for stream in listener.incoming() {
            if self.connections().stopping {
                return;
            }
            if let Err(error) = stream.and_then(|stream| self.open(stream)) {
                tracing::warn!(%error, "a connection to the broker could not be accepted");
                thread::sleep(ACCEPT_PAUSE);
            }
        }
    }

    fn open(self: &Arc<Self>, stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let handle = stream.try_clone()?;
        // Locked until the entry is inserted, so that a connection that ends immediately finds it.
        let mut connections = self.connections();
        let id = connections.next;
        connections.next += 1;
        let shared = self.clone();
        let thread = thread::Builder::new().name(format!("kafka-{id}")).spawn(move || {
            let _entry = Entry { shared: &shared, id };
            match shared.serve(&stream) {
                End::Client => {}
                End::Transport(error) => tracing::debug!(%error, "a broker connection broke"),
                End::Refused(error) => tracing::debug!(%error, "a broker connection was closed"),
            }
        })?;
        connections.open.insert(id, (handle, thread));
        Ok(())
    }

    /// Stops accepting, ends every connection, and waits for their threads.
    pub(crate) fn close(&self, acceptor: JoinHandle<()>, port: u16) {
        self.connections().stopping = true;
        // `accept` returns only for a new connection.
        let _ = TcpStream::connect(("127.0.0.1", port));
        let _ = acceptor.join();
        let open = std::mem::take(&mut self.connections().open);
        for (stream, _) in open.values() {
            let _ = stream.shutdown(Shutdown::Both);
        }
        self.changed.notify_all();
        for (_, thread) in open.into_values() {
            let _ = thread.join();
        }
    }

    /// The maintenance that is done every second.
    pub(crate) fn upkeep(&self, clean: bool) {
        let mut core = self.lock();
        if core.check().is_err() {
            return;
        }
        let expired = groups::expire(&mut core.engine);
        let done = core.abort_overdue().and_then(|aborted| {
            if clean {
                core.clean()?;
            }
            Ok(aborted)
        });
        drop(core);
        match done {
            Ok(false) if !expired => {}
            Ok(_) => self.changed.notify_all(),
            Err(error) => tracing::error!(%error, "the broker's maintenance failed"),
        }
    }

    fn serve(&self, stream: &TcpStream) -> End {
        let host = stream.peer_addr().map_or_else(|_| String::new(), |address| format!("/{}", address.ip()));
        let mut reader = BufReader::with_capacity(64 << 10, stream);
        loop {
            if let Err(end) = self.serve_one(stream, &mut reader, &host) {
                return end;
            }
        }
    }

    fn serve_one(&self, stream: &TcpStream, reader: &mut impl Read, host: &str) -> Result<(), End> {
        let request = Request::parse(read_frame(reader)?)?;
        if let Some(response) = self.handle(&request, stream, host)? {
            (&mut &*stream).write_all(&response)?;
        }
        Ok(())
    }

    fn handle(&self, request: &Request, stream: &TcpStream, host: &str) -> Result<Option<BytesMut>, End> {
        match request.key {
            ApiKey::Fetch => self.fetch(request, stream).map(Some),
            ApiKey::JoinGroup => self.join(request, stream, host).map(Some),
            ApiKey::SyncGroup => self.sync(request, stream).map(Some),
            ApiKey::Heartbeat => {
                let body: HeartbeatRequest = request.decode()?;
                let mut core = self.lock();
                core.check()?;
                Ok(Some(request.answer(&groups::heartbeat(&mut core.engine, &body, request.version))?))
            }
            ApiKey::LeaveGroup => {
                let body: LeaveGroupRequest = request.decode()?;
                let mut core = self.lock();
                core.check()?;
                let response = groups::leave(&mut core.engine, &body, request.version);
                drop(core);
                self.changed.notify_all();
                Ok(Some(request.answer(&response)?))
            }
            key if api::is_write(key) => {
                let response = self.lock().write(request)?;
                self.changed.notify_all();
                Ok(response)
            }
            _ => {
                let mut core = self.lock();
                core.check()?;
                Ok(Some(router::read(&mut core.engine, request)?))
            }
        }
    }

    /// Kafka's long poll: it answers when there is enough to read, or the client's time is over.
    fn fetch(&self, request: &Request, stream: &TcpStream) -> Result<BytesMut, End> {
        let body: FetchRequest = request.decode()?;
        let wait = Duration::from_millis(u64::try_from(body.max_wait_ms).unwrap_or(0)).min(MAX_WAIT);
        let until = Instant::now() + wait;
        let mut core = self.lock();
        core.check()?;
        while Instant::now() < until && !fetch::is_ready(&core.engine, &body) {
            core = self.hold(core, until, stream)?;
        }
        let response = fetch::answer(&core.engine, &body);
        drop(core);
        Ok(request.answer(&response)?)
    }

    fn join(&self, request: &Request, stream: &TcpStream, host: &str) -> Result<BytesMut, End> {
        let body: JoinGroupRequest = request.decode()?;
        let client = request.header.client_id.as_deref().unwrap_or_default();
        let mut core = self.lock();
        core.check()?;
        let mut response = core.engine.handle_join_group(&body, request.version, client, host);
        if response.error_code == 0 {
            self.changed.notify_all();
            let member = response.member_id.clone();
            response = loop {
                match groups::joined(&mut core.engine, &body, &member) {
                    Progress::Answer(response) => break response,
                    Progress::Wait(until) => core = self.hold(core, until, stream)?,
                }
            };
        }
        drop(core);
        // The request that completes a round lets the others' requests be answered, too.
        self.changed.notify_all();
        Ok(request.answer(&response)?)
    }

    fn sync(&self, request: &Request, stream: &TcpStream) -> Result<BytesMut, End> {
        let body: SyncGroupRequest = request.decode()?;
        let since = Instant::now();
        let mut core = self.lock();
        core.check()?;
        let response = loop {
            match groups::synced(&mut core.engine, &body, request.version, since) {
                Progress::Answer(response) => break response,
                Progress::Wait(until) => core = self.hold(core, until, stream)?,
            }
        };
        drop(core);
        self.changed.notify_all();
        Ok(request.answer(&response)?)
    }

    /// Waits for a change, or `until`. Returns an error if the client is gone or the broker has stopped.
    fn hold<'a>(
        &self,
        mut core: MutexGuard<'a, Core>,
        until: Instant,
        stream: &TcpStream,
    ) -> Result<MutexGuard<'a, Core>, End> {
        loop {
            let wait = until.saturating_duration_since(Instant::now());
            let (woken, result) =
                self.changed.wait_timeout(core, wait.min(LIVENESS)).unwrap_or_else(PoisonError::into_inner);
            core = woken;
            core.tick();
            core.check()?;
            if !result.timed_out() {
                return Ok(core);
            }
            if is_gone(stream) {
                return Err(End::Client);
            }
            if wait <= LIVENESS {
                return Ok(core);
            }
        }
    }
}

/// A connection's entry among the open ones. It is removed when its thread ends, even by a panic.
struct Entry<'a> {
    shared: &'a Shared,
    id: u64,
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        self.shared.connections().open.remove(&self.id);
    }
}

/// Whether the client has closed its end. It does not read the client's next requests.
fn is_gone(stream: &TcpStream) -> bool {
    if stream.set_nonblocking(true).is_err() {
        return true;
    }
    let gone = match stream.peek(&mut [0]) {
        Ok(read) => read == 0,
        Err(error) => error.kind() != io::ErrorKind::WouldBlock,
    };
    stream.set_nonblocking(false).is_err() || gone
}

/// Reads one frame, without its length. Memory is allocated as the bytes arrive, because the length may be wrong.
fn read_frame(reader: &mut impl Read) -> Result<Bytes, End> {
    let mut length = [0; 4];
    reader.read_exact(&mut length).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => End::Client,
        _ => End::Transport(error),
    })?;
    let length = u32::from_be_bytes(length);
    if length > MAX_FRAME {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a frame has {length} bytes")).into());
    }
    let mut frame = Vec::new();
    reader.take(length.into()).read_to_end(&mut frame)?;
    if frame.len() < length as usize {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
    }
    Ok(frame.into())
}
