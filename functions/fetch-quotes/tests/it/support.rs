//! A Finnhub that answers as a script says, a Kafka to read back from, and the function between them.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use axum::{
    Router,
    extract::{Request, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use broker::Broker;
use fetch_quotes::{ABOUT, Config, FetchError, FetchQuotes, Finnhub, Outcome, Schedule, Stream};
use lambda_runtime::{Context, LambdaEvent};
use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    message::{BorrowedMessage, Headers},
};
use serde_json::Value;
use tempfile::TempDir;

pub const KEY: &str = "marked-key-c0ffee";
pub const TOPIC: &str = "stock-quotes";
/// What has not come by then never will.
const PATIENCE: Duration = Duration::from_mins(1);

pub fn epoch() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// A request as the scripted server saw it.
#[derive(Debug, Clone)]
pub struct Asked {
    pub at: Instant,
    pub epoch: u64,
    pub uri: String,
    /// The symbol; none for the market's status.
    pub symbol: Option<String>,
    pub token: Option<String>,
    /// How many requests for the same came before.
    pub earlier: usize,
}

pub enum Reply {
    Is(Response),
    Never,
}

pub fn quote(price: &str, t: u64) -> Reply {
    json(format!(r#"{{"c":{price},"d":1,"dp":0.5,"h":152.0,"l":148.5,"o":149.0,"pc":147.75,"t":{t}}}"#))
}

pub fn market(is_open: bool, t: u64) -> Reply {
    json(format!(r#"{{"exchange":"US","holiday":null,"isOpen":{is_open},"session":"regular","t":{t}}}"#))
}

pub fn json(body: String) -> Reply {
    Reply::Is(([("content-type", "application/json")], body).into_response())
}

pub fn status(code: u16) -> Reply {
    Reply::Is((StatusCode::from_u16(code).unwrap(), r#"{"error":"no"}"#).into_response())
}

pub fn answer_with(code: u16, body: String) -> Reply {
    Reply::Is((StatusCode::from_u16(code).unwrap(), body).into_response())
}

/// 429 with the reset that Finnhub would tell.
pub fn limited(reset: u64) -> Reply {
    let headers = [("x-ratelimit-remaining", "0".to_owned()), ("x-ratelimit-reset", reset.to_string())];
    Reply::Is((StatusCode::TOO_MANY_REQUESTS, headers, "{}").into_response())
}

type Script = dyn Fn(&Asked) -> Reply + Send + Sync;

struct Shared {
    script: Box<Script>,
    log: Mutex<Vec<Asked>>,
}

/// An HTTP server in Finnhub's place that does what its script says and keeps a log.
pub struct Scripted {
    pub base_url: String,
    shared: Arc<Shared>,
    server: tokio::task::JoinHandle<()>,
}

impl Scripted {
    pub async fn start(script: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        let shared = Arc::new(Shared { script: Box::new(script), log: Mutex::default() });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base_url = format!("http://{}/api/v1", listener.local_addr().unwrap());
        let router = Router::new().fallback(answer).with_state(Arc::clone(&shared));
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { base_url, shared, server }
    }

    /// An open market now, and this answer to every quote.
    pub async fn quotes(script: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        Self::start(move |asked| if asked.symbol.is_none() { market(true, epoch()) } else { script(asked) })
            .await
    }

    pub fn log(&self) -> Vec<Asked> {
        self.shared.log.lock().unwrap().clone()
    }

    pub fn times_asked(&self, symbol: &str) -> usize {
        self.log().iter().filter(|asked| asked.symbol.as_deref() == Some(symbol)).count()
    }

    /// The most requests that any window of this length saw.
    pub fn busiest(&self, length: Duration) -> usize {
        let log = self.log();
        let within =
            |from: &Asked| log.iter().filter(|it| it.at >= from.at && it.at < from.at + length).count();
        log.iter().map(within).max().unwrap_or_default()
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn answer(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let uri = request.uri().clone();
    let pair = uri.query().and_then(|query| query.split('&').find_map(|pair| pair.strip_prefix("symbol=")));
    let symbol = pair.map(|symbol| symbol.replace("%3A", ":"));
    let asked = {
        let mut log = shared.log.lock().unwrap();
        let asked = Asked {
            at: Instant::now(),
            epoch: epoch(),
            uri: uri.to_string(),
            token: request.headers().get("x-finnhub-token").map(|key| key.to_str().unwrap().to_owned()),
            earlier: log.iter().filter(|asked| asked.symbol == symbol).count(),
            symbol,
        };
        log.push(asked.clone());
        asked
    };
    match (shared.script)(&asked) {
        Reply::Is(response) => response,
        Reply::Never => std::future::pending().await,
    }
}

/// A broker with the topic, and what arrived there.
pub struct Kafka {
    pub broker: Broker,
    _data: TempDir,
}

impl Kafka {
    pub fn start() -> Self {
        let data = TempDir::new().unwrap();
        let topics = vec![(TOPIC.to_owned(), 3)];
        let broker =
            Broker::start(broker::Config { port: 0, data_dir: data.path().to_owned(), topics }).unwrap();
        Self { broker, _data: data }
    }

    pub fn servers(&self) -> String {
        self.broker.bootstrap_servers()
    }

    /// Key and value of every record in the topic.
    pub fn records(&self) -> Vec<(String, Value)> {
        records(&self.servers())
    }

    /// How many records the topic has under this key.
    pub fn count(&self, symbol: &str) -> usize {
        self.records().iter().filter(|(key, _)| key == symbol).count()
    }
}

pub fn records(servers: &str) -> Vec<(String, Value)> {
    read(servers, |record| {
        let key = String::from_utf8(record.key().unwrap().to_vec()).unwrap();
        (key, serde_json::from_slice(record.payload().unwrap()).unwrap())
    })
}

/// The id of each record's quote, and its header `traceparent`.
pub fn traces(servers: &str) -> Vec<(String, String)> {
    read(servers, |record| {
        let value: Value = serde_json::from_slice(record.payload().unwrap()).unwrap();
        let [header] = record.headers().unwrap().iter().collect::<Vec<_>>().try_into().unwrap();
        assert_eq!(header.key, "traceparent");
        let trace = String::from_utf8(header.value.unwrap().to_vec()).unwrap();
        (value["quote_id"].as_str().unwrap().to_owned(), trace)
    })
}

fn read<T>(servers: &str, of: impl Fn(&BorrowedMessage<'_>) -> T) -> Vec<T> {
    let consumer: BaseConsumer =
        ClientConfig::new().set("bootstrap.servers", servers).set("group.id", "test").create().unwrap();
    let mut from_the_start = TopicPartitionList::new();
    let mut count = 0;
    for partition in 0..3 {
        let (low, high) = consumer.fetch_watermarks(TOPIC, partition, PATIENCE).unwrap();
        count += high - low;
        from_the_start.add_partition_offset(TOPIC, partition, Offset::Beginning).unwrap();
    }
    consumer.assign(&from_the_start).unwrap();
    (0..count).map(|_| of(&consumer.poll(PATIENCE).expect("the record comes").unwrap())).collect()
}

/// The function with these variables besides the key.
pub fn function(finnhub: &str, kafka: &str, more: &[(&str, &str)]) -> FetchQuotes {
    let given = [("FINNHUB_API_KEY", KEY), ("FINNHUB_BASE_URL", finnhub), ("KAFKA_BOOTSTRAP_SERVERS", kafka)];
    let config = Config::read(ABOUT.environment(&[given.as_slice(), more].concat())).unwrap();
    let finnhub = Finnhub::new(&config.finnhub, config.polling.limits()).unwrap();
    let stream = Stream::new(&config.kafka).unwrap();
    FetchQuotes::new(config.polling, finnhub, stream)
}

/// A client of the Finnhub at `base_url`.
pub fn client(base_url: &str) -> Finnhub {
    let given =
        [("FINNHUB_API_KEY", KEY), ("FINNHUB_BASE_URL", base_url), ("KAFKA_BOOTSTRAP_SERVERS", "none")];
    let config = Config::read(ABOUT.environment(&given)).unwrap();
    Finnhub::new(&config.finnhub, config.polling.limits()).unwrap()
}

/// Runs so many polls with a minute of time.
pub async fn run(function: &FetchQuotes, polls: u32) -> Result<Outcome, FetchError> {
    run_within(function, polls, Duration::from_mins(1)).await
}

pub async fn run_within(function: &FetchQuotes, polls: u32, time: Duration) -> Result<Outcome, FetchError> {
    let mut context = Context::default();
    let deadline = SystemTime::now().duration_since(UNIX_EPOCH).unwrap() + time;
    context.deadline = u64::try_from(deadline.as_millis()).unwrap();
    function
        .handle(LambdaEvent { payload: Schedule { scheduled_time: None, polls: Some(polls) }, context })
        .await
}
