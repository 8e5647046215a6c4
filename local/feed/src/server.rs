//! The HTTP server with Finnhub's API.

use std::{
    collections::BTreeMap,
    io,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use axum::{
    Json, Router,
    extract::{Query, State},
    http::{HeaderMap, HeaderValue, StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::get,
};
use serde::{Deserialize, Serialize};
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};

use crate::{
    limiter::{Limiter, Standing},
    recording::{DataError, QuoteBody, Recording},
    replay::{self, Replay},
};

const SAVE_EVERY: Duration = Duration::from_secs(1);
const STOP_GRACE: Duration = Duration::from_secs(2);

/// The configuration of a [`Feed`].
#[derive(Clone)]
pub struct Config {
    /// The port on 127.0.0.1; 0 takes a free one.
    pub port: u16,
    /// The one key that is accepted.
    pub token: String,
    /// Recorded seconds for each real second. At 0 the clock stops and only [`Feed::set_position`] moves it.
    pub speed: f64,
    /// Requests admitted within any 60 seconds.
    pub rate_limit_per_minute: u32,
    /// Where to begin, in recorded seconds, when `state_file` has no position.
    pub start_position: u64,
    /// The file that keeps the position between runs. It is saved every second and at the end.
    pub state_file: Option<PathBuf>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            port: 0,
            token: "local".to_owned(),
            speed: 1.0,
            rate_limit_per_minute: 60,
            start_position: 0,
            state_file: None,
        }
    }
}

/// Why a feed does not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another process listens on the port.
    #[error("port {port} is in use: stop what listens there or choose another port for the feed")]
    PortBusy {
        /// The requested port.
        port: u16,
    },
    /// Listening on the port failed for another reason.
    #[error("the feed cannot listen on 127.0.0.1:{port}")]
    Listen {
        /// The requested port.
        port: u16,
        /// The error of the operating system.
        source: io::Error,
    },
    /// The speed is negative or not a number.
    #[error("the speed {0} is not valid: it must be 0 or more")]
    Speed(f64),
    /// The state file cannot be read or written, or has no position.
    #[error("the replay position cannot be read from or written to {}", path.display())]
    State {
        /// The state file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// The recorded prices are damaged.
    #[error(transparent)]
    Data(#[from] DataError),
}

/// The answer instead of the recorded prices. Token and rate limit are still checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    /// The recorded prices.
    #[default]
    None,
    /// This status with a JSON error; 500 if the number is not a status.
    Status(u16),
    /// 200 with the web page of an outage.
    Html,
    /// 200 with the first half of the JSON.
    Truncated,
    /// The recorded prices, after this delay.
    Delay(Duration),
    /// 200 with every number 0, as for an unknown symbol. For `/quote` only.
    AllZero,
    /// 200 with this body, with JSON's content type.
    Body(String),
}

/// How often each status was answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Served {
    /// Answers to `/quote` by requested symbol and status.
    pub quotes: BTreeMap<(String, u16), u64>,
    /// Answers to `/stock/market-status` by status.
    pub market_status: BTreeMap<u16, u64>,
    /// The status of the newest answer to `/quote`.
    pub newest: Option<u16>,
}

impl Served {
    /// Answers to `/quote?symbol=…` with this status.
    #[must_use]
    pub fn quote(&self, symbol: &str, status: u16) -> u64 {
        self.quotes.get(&(symbol.to_owned(), status)).copied().unwrap_or_default()
    }

    /// Every answer to `/quote` with this status.
    #[must_use]
    pub fn quotes_with(&self, status: u16) -> u64 {
        self.quotes.iter().filter(|((_, of), _)| *of == status).map(|(_, count)| count).sum()
    }
}

#[derive(Default)]
struct Faults {
    everywhere: Fault,
    by_symbol: BTreeMap<String, Fault>,
}

struct Shared {
    token: String,
    recording: Recording,
    replay: Mutex<Replay>,
    limiter: Mutex<Limiter>,
    faults: Mutex<Faults>,
    served: Mutex<Served>,
}

/// Locks the mutex, even after another holder panicked: no panic can leave a change half done.
#[allow(clippy::disallowed_methods, reason = "the one place for it; function-kit would bring the AWS SDK")]
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    fn position(&self) -> u64 {
        lock(&self.replay).position(Instant::now())
    }
}

/// A running feed. Dropping it ends it immediately; [`Feed::stop`] also lets running answers finish and saves the
/// position.
pub struct Feed {
    port: u16,
    speed: f64,
    shared: Arc<Shared>,
    state_file: Option<PathBuf>,
    stopping: watch::Sender<bool>,
    server: JoinHandle<io::Result<()>>,
    saver: Option<JoinHandle<()>>,
}

impl Feed {
    /// Starts to serve on 127.0.0.1. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// If the port is in use, the speed is not valid, or the state file cannot be used.
    pub async fn start(config: Config) -> Result<Self, Error> {
        if !(config.speed >= 0.0 && config.speed.is_finite()) {
            return Err(Error::Speed(config.speed));
        }
        let recording = Recording::embedded()?;
        let start = match &config.state_file {
            Some(path) => resume(path, config.start_position)?,
            None => config.start_position,
        };
        let unusable = |source: io::Error| match source.kind() {
            io::ErrorKind::AddrInUse => Error::PortBusy { port: config.port },
            _ => Error::Listen { port: config.port, source },
        };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, config.port)).await.map_err(unusable)?;
        let port = listener.local_addr().map_err(unusable)?.port();

        let shared = Arc::new(Shared {
            token: config.token,
            replay: Mutex::new(Replay::new(start, config.speed)),
            limiter: Mutex::new(Limiter::new(config.rate_limit_per_minute)),
            recording,
            faults: Mutex::default(),
            served: Mutex::default(),
        });
        let (stopping, mut stop) = watch::channel(false);
        let router = Router::new()
            .route("/api/v1/quote", get(quote))
            .route("/api/v1/stock/market-status", get(market_status))
            .with_state(Arc::clone(&shared));
        let server = axum::serve(listener, router).with_graceful_shutdown(async move {
            // If the sender is gone, the feed has stopped, too.
            let _ = stop.wait_for(|stopping| *stopping).await;
        });
        let saver =
            config.state_file.clone().map(|path| tokio::spawn(save_regularly(Arc::clone(&shared), path)));
        Ok(Self {
            port,
            speed: config.speed,
            shared,
            state_file: config.state_file,
            stopping,
            server: tokio::spawn(server.into_future()),
            saver,
        })
    }

    /// The port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `http://127.0.0.1:PORT/api/v1`, which replaces `https://finnhub.io/api/v1`.
    #[must_use]
    pub fn base_url(&self) -> String {
        format!("http://127.0.0.1:{}/api/v1", self.port)
    }

    /// The prices that are replayed.
    #[must_use]
    pub fn recording(&self) -> &Recording {
        &self.shared.recording
    }

    /// Recorded seconds for each real second.
    #[must_use]
    pub fn speed(&self) -> f64 {
        self.speed
    }

    /// The replay's position, in recorded seconds from the first session's start.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.shared.position()
    }

    /// Moves the replay to `seconds`, where it continues at its speed.
    pub fn set_position(&self, seconds: u64) {
        lock(&self.shared.replay).set(seconds);
    }

    /// Sets the answer for quotes of one symbol, or, without a symbol, for all requests (also for the market status). A
    /// symbol's fault takes precedence over the general one. [`Fault::None`] removes either.
    pub fn set_fault(&self, symbol: Option<&str>, fault: Fault) {
        let mut faults = lock(&self.shared.faults);
        match (symbol, fault) {
            (None, fault) => faults.everywhere = fault,
            (Some(symbol), Fault::None) => drop(faults.by_symbol.remove(symbol)),
            (Some(symbol), fault) => drop(faults.by_symbol.insert(symbol.to_owned(), fault)),
        }
    }

    /// The answers so far.
    #[must_use]
    pub fn served(&self) -> Served {
        lock(&self.shared.served).clone()
    }

    /// Stops listening, gives running answers two seconds to finish, and saves the position.
    pub async fn stop(mut self) {
        self.stopping.send_replace(true);
        // It is aborted on drop if it does not end in time.
        let _ = tokio::time::timeout(STOP_GRACE, &mut self.server).await;
        if let Some(saver) = self.saver.take() {
            saver.abort();
            let _ = saver.await;
        }
        if let Some(path) = &self.state_file {
            save(&self.shared, path);
        }
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.server.abort();
        if let Some(saver) = &self.saver {
            saver.abort();
        }
    }
}

/// The position to begin at. It is written immediately, so that an unwritable file is an error at the start.
fn resume(path: &Path, otherwise: u64) -> Result<u64, Error> {
    let resume = || {
        let start = replay::read_state(path)?.unwrap_or(otherwise);
        replay::write_state(path, start).map(|()| start)
    };
    resume().map_err(|source| Error::State { path: path.to_owned(), source })
}

async fn save_regularly(shared: Arc<Shared>, path: PathBuf) {
    let mut ticks = tokio::time::interval(SAVE_EVERY);
    loop {
        ticks.tick().await;
        save(&shared, &path);
    }
}

fn save(shared: &Shared, path: &Path) {
    if let Err(error) = replay::write_state(path, shared.position()) {
        tracing::warn!(%error, path = %path.display(), "the replay position could not be saved");
    }
}

#[derive(Deserialize)]
struct Parameters {
    symbol: Option<String>,
    exchange: Option<String>,
    token: Option<String>,
}

#[derive(Serialize)]
struct ErrorBody {
    error: &'static str,
}

#[derive(Serialize)]
struct MarketStatus {
    exchange: &'static str,
    holiday: Option<&'static str>,
    #[serde(rename = "isOpen")]
    is_open: bool,
    session: &'static str,
    t: i64,
    timezone: &'static str,
}

async fn quote(
    State(shared): State<Arc<Shared>>,
    Query(parameters): Query<Parameters>,
    headers: HeaderMap,
) -> Response {
    let fault = {
        let faults = lock(&shared.faults);
        let own = parameters.symbol.as_ref().and_then(|symbol| faults.by_symbol.get(symbol));
        own.unwrap_or(&faults.everywhere).clone()
    };
    let all_zero = fault == Fault::AllZero;
    let answer = || {
        let symbol = parameters.symbol.as_deref()?;
        let truth = || shared.recording.quote_at(symbol, shared.position());
        Some(if all_zero { QuoteBody::default() } else { truth() })
    };
    let response = respond(&shared, &parameters, &headers, fault, answer).await;
    let (symbol, status) = (parameters.symbol.unwrap_or_default(), response.status().as_u16());
    let mut served = lock(&shared.served);
    *served.quotes.entry((symbol, status)).or_default() += 1;
    served.newest = Some(status);
    drop(served);
    response
}

/// Nights are not replayed, so the market is always open.
async fn market_status(
    State(shared): State<Arc<Shared>>,
    Query(parameters): Query<Parameters>,
    headers: HeaderMap,
) -> Response {
    let fault = lock(&shared.faults).everywhere.clone();
    let answer = || {
        (parameters.exchange.as_deref() == Some("US")).then(|| MarketStatus {
            exchange: "US",
            holiday: None,
            is_open: true,
            session: "regular",
            t: shared.recording.clock_at(shared.position()),
            timezone: "America/New_York",
        })
    };
    let response = respond(&shared, &parameters, &headers, fault, answer).await;
    *lock(&shared.served).market_status.entry(response.status().as_u16()).or_default() += 1;
    response
}

/// `answer` is `None` if a parameter of the request is missing or names something that is not recorded.
async fn respond<T: Serialize>(
    shared: &Shared,
    parameters: &Parameters,
    headers: &HeaderMap,
    fault: Fault,
    answer: impl FnOnce() -> Option<T>,
) -> Response {
    let given = headers.get("x-finnhub-token").map(HeaderValue::as_bytes);
    let authorized =
        given.or(parameters.token.as_deref().map(str::as_bytes)) == Some(shared.token.as_bytes());
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let (limit, standing) = {
        let mut limiter = lock(&shared.limiter);
        (limiter.limit(), if authorized { limiter.admit(now) } else { limiter.peek(now) })
    };
    let mut response = if !authorized {
        refuse(StatusCode::UNAUTHORIZED, "Invalid API key")
    } else if !standing.admitted {
        refuse(StatusCode::TOO_MANY_REQUESTS, "API limit reached. Please try again later. Remaining Limit: 0")
    } else {
        if let Fault::Delay(delay) = fault {
            tokio::time::sleep(delay).await;
        }
        faulty(fault, answer)
    };
    let Standing { remaining, reset, .. } = standing;
    for (name, value) in [
        ("x-ratelimit-limit", limit.into()),
        ("x-ratelimit-remaining", remaining.into()),
        ("x-ratelimit-reset", reset),
    ] {
        response.headers_mut().insert(name, HeaderValue::from(value));
    }
    response
}

fn faulty<T: Serialize>(fault: Fault, answer: impl FnOnce() -> Option<T>) -> Response {
    match fault {
        Fault::Status(status) => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            refuse(status, status.canonical_reason().unwrap_or("Error"))
        }
        Fault::Html => {
            axum::response::Html("<html><body><h1>502 Bad Gateway</h1></body></html>").into_response()
        }
        Fault::Body(body) => json(body),
        Fault::Truncated => match answer().map(|body| serde_json::to_string(&body)) {
            Some(Ok(mut text)) => {
                text.truncate(text.len() / 2);
                json(text)
            }
            _ => refuse(StatusCode::UNPROCESSABLE_ENTITY, "Wrong arguments"),
        },
        Fault::None | Fault::Delay(_) | Fault::AllZero => match answer() {
            Some(body) => Json(body).into_response(),
            None => refuse(StatusCode::UNPROCESSABLE_ENTITY, "Wrong arguments"),
        },
    }
}

fn json(body: String) -> Response {
    ([(CONTENT_TYPE, "application/json")], body).into_response()
}

fn refuse(status: StatusCode, error: &'static str) -> Response {
    (status, Json(ErrorBody { error })).into_response()
}
