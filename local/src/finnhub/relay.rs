//! The relay between fetch-quotes and a live Finnhub. It passes each request on, so that this process knows Finnhub's
//! answers immediately (the function's own log arrives at the end of its minute), and can end polling immediately.
//!
//! The key stays here: the function has a placeholder. If Finnhub does not answer, the function gets HTTP 502 or 504.

use std::{
    collections::BTreeSet,
    net::Ipv4Addr,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::Context;
use axum::{
    Json, Router,
    extract::{Query, State},
    http::{HeaderName, StatusCode, Uri, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use function_kit::lock;
use jiff::Timestamp;
use quotes::{Completeness, Quote, Symbol};
use serde::Deserialize;
use serde_json::json;
use serve_dashboard::flow::MarketStatus;
use tokio::{net::TcpListener, task::JoinHandle, time::Instant};

use crate::{
    base::clock::now_ms,
    finnhub::{
        client::{Answer, Trouble, Upstream},
        market::{self, Closed},
        preflight::FirstAnswer,
    },
};

const PATH: &str = "/api/v1";
/// The headers that fetch-quotes reads.
const HEADERS: [&str; 4] = ["x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset", "retry-after"];
/// How long a problem is shown although other requests succeed.
const SHOWN: Duration = Duration::from_secs(10);
/// How long all symbols must have had no data before that is shown.
const NO_DATA: Duration = Duration::from_secs(15);

/// A running relay; dropping it ends it.
pub(crate) struct Relay {
    port: u16,
    shared: Arc<Shared>,
    server: JoinHandle<std::io::Result<()>>,
}

struct Shared {
    upstream: Upstream,
    is_stopped: AtomicBool,
    answers: Mutex<Answers>,
}

/// Finnhub's answers so far.
#[derive(Default)]
struct Answers {
    quotes: u64,
    trouble: Option<(Trouble, Instant)>,
    /// When the last good answer arrived, and the last quote.
    good: Option<Instant>,
    quote: Option<Instant>,
    market: Option<MarketStatus>,
    with_data: BTreeSet<String>,
    without_data: BTreeSet<String>,
    named: BTreeSet<String>,
}

#[derive(Deserialize)]
struct Asked {
    symbol: Option<String>,
}

impl Relay {
    /// Starts to pass on requests to `http://127.0.0.1:PORT/api/v1`.
    pub(crate) async fn start(port: u16, upstream: Upstream) -> anyhow::Result<Self> {
        let cannot = || format!("the relay to Finnhub cannot listen on port {port}");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.with_context(cannot)?;
        let port = listener.local_addr()?.port();
        let shared =
            Arc::new(Shared { upstream, is_stopped: AtomicBool::new(false), answers: Mutex::default() });
        let router = Router::new().fallback(pass_on).with_state(Arc::clone(&shared));
        let server = tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Self { port, shared, server })
    }

    /// The address that replaces `https://finnhub.io/api/v1`.
    pub(crate) fn base_url(&self) -> String {
        format!("http://{}:{}{PATH}", Ipv4Addr::LOCALHOST, self.port)
    }

    /// Ends polling: no more requests to Finnhub.
    pub(crate) fn end_polling(&self) {
        self.shared.is_stopped.store(true, Ordering::Relaxed);
    }

    /// How many quotes fetch-quotes has been given.
    pub(crate) fn quotes(&self) -> u64 {
        self.shared.answers().quotes
    }

    /// Notes Finnhub's answer from before the start.
    pub(crate) fn note_first_answer(&self, answer: FirstAnswer) {
        let mut answers = self.shared.answers();
        match answer {
            FirstAnswer::Market(status) => answers.market = Some(status),
            FirstAnswer::Trouble(trouble) => answers.trouble = Some((trouble, Instant::now())),
        }
    }

    /// The current problem with Finnhub, if any.
    pub(crate) fn trouble(&self) -> Option<String> {
        let answers = self.shared.answers();
        let (trouble, at) = answers.trouble.as_ref()?;
        let is_shown = match trouble {
            Trouble::NoData(_) => answers.quote.is_none_or(|quote| quote.elapsed() > NO_DATA),
            _ => answers.good.is_none_or(|good| good < *at) || at.elapsed() < SHOWN,
        };
        is_shown.then(|| trouble.text())
    }

    /// Finnhub's market status; `None` before its first answer.
    pub(crate) fn market(&self) -> Option<MarketStatus> {
        self.shared.answers().market.clone()
    }

    /// Whether the US market is closed, in words.
    pub(crate) fn closed(&self) -> Option<Closed> {
        market::closed(&self.market()?, Timestamp::now())
    }

    /// The symbols without data that have not been reported yet.
    pub(crate) fn unknown(&self) -> Vec<String> {
        let mut answers = self.shared.answers();
        let unknown: Vec<String> = answers.without_data.difference(&answers.named).cloned().collect();
        answers.named.extend(unknown.iter().cloned());
        unknown
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Shared {
    /// Locks the answers, even after another holder panicked: no panic can leave a change half done.
    fn answers(&self) -> MutexGuard<'_, Answers> {
        lock(&self.answers)
    }

    /// Sends the request and notes the answer, whether or not the function still waits for it.
    async fn ask(&self, path: &str, symbol: Option<&str>) -> Result<Answer, Trouble> {
        let answer = self.upstream.get(path).await;
        let found = match &answer {
            Ok(answer) => self.upstream.trouble(answer).map_or_else(|| Ok(answer.body.as_slice()), Err),
            Err(trouble) => Err(trouble.clone()),
        };
        let found = found.and_then(|body| match symbol {
            Some(symbol) => read_quote(symbol, body).map(|()| None),
            None => Ok(serde_json::from_slice(body).ok()),
        });
        let (now, mut answers) = (Instant::now(), self.answers());
        match found {
            Ok(market) => {
                answers.good = Some(now);
                answers.market = market.or(answers.market.take());
                if let Some(symbol) = symbol {
                    answers.quote = Some(now);
                    answers.without_data.remove(symbol);
                    answers.with_data.insert(symbol.to_owned());
                }
            }
            Err(trouble) => {
                if let Trouble::NoData(symbol) = &trouble
                    && !answers.with_data.contains(symbol)
                {
                    answers.without_data.insert(symbol.clone());
                }
                answers.trouble = Some((trouble, now));
            }
        }
        answer
    }
}

fn read_quote(symbol: &str, body: &[u8]) -> Result<(), Trouble> {
    let parsed: Result<Symbol, _> = symbol.parse();
    let quote = parsed.ok().and_then(|symbol| Quote::observe(&symbol, now_ms(), body).ok());
    match quote.map(|quote| quote.completeness()) {
        Some(Completeness::NoData) => Err(Trouble::NoData(symbol.to_owned())),
        Some(_) => Ok(()),
        None => Err(Trouble::Odd("it has no price".to_owned())),
    }
}

async fn pass_on(State(shared): State<Arc<Shared>>, Query(asked): Query<Asked>, uri: Uri) -> Response {
    let stopped = || {
        (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "error": "the flow is stopping" }))).into_response()
    };
    if shared.is_stopped.load(Ordering::Relaxed) {
        return stopped();
    }
    let path = uri.path_and_query().map_or("", |path| path.as_str());
    let Some(path) = path.strip_prefix(PATH).and_then(|path| path.strip_prefix('/')) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    // On a separate task, so that an answer is noted even if the function stops waiting for it.
    let (asking, path, symbol) = (Arc::clone(&shared), path.to_owned(), asked.symbol.clone());
    let asking = tokio::spawn(async move { asking.ask(&path, symbol.as_deref()).await });
    let Ok(answer) = asking.await else { return StatusCode::INTERNAL_SERVER_ERROR.into_response() };
    if shared.is_stopped.load(Ordering::Relaxed) {
        return stopped();
    }
    let answer = match answer {
        Ok(answer) => answer,
        Err(trouble) => {
            let status = match trouble {
                Trouble::Silent => StatusCode::GATEWAY_TIMEOUT,
                _ => StatusCode::BAD_GATEWAY,
            };
            return (status, Json(json!({ "error": trouble.text() }))).into_response();
        }
    };
    let is_quote = asked.symbol.is_some_and(|symbol| {
        shared.upstream.trouble(&answer).is_none() && read_quote(&symbol, &answer.body).is_ok()
    });
    shared.answers().quotes += u64::from(is_quote);
    let mut response = (answer.status, answer.body).into_response();
    let headers = HEADERS.map(HeaderName::from_static).into_iter().chain([CONTENT_TYPE]);
    for name in headers {
        if let Some(value) = answer.headers.get(&name) {
            response.headers_mut().insert(name, value.clone());
        }
    }
    response
}
