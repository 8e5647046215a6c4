//! The warehouse against a server that speaks BigQuery's protocol as a script says, and against the stand-in that
//! `make setup` installs.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    collections::BTreeMap,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use axum::{
    Router,
    extract::{Request, State},
    http::{Method, StatusCode},
    response::{Html, IntoResponse, Response},
};
use function_kit::Retry;
use quotes::{ArchiveKey, Coordinates, ObjectKey, QuoteId, QuoteView};
use tempfile::TempDir;
use tokio::task::JoinSet;
use warehouse::{
    Answer, BRONZE_TABLE, BronzeRow, Compared, Loaded, Parameter, WATERMARK_TABLE, Warehouse,
    WarehouseConfig, WarehouseError, statements,
};

/// What has not come by then never will.
const PATIENCE: Duration = Duration::from_mins(1);
/// The first try, and three more.
const TRIES: usize = 4;

/// Gets the method, path with query, and how many requests came before.
type Script = dyn Fn(&Method, &str, usize) -> Response + Send + Sync;

struct Shared {
    script: Box<Script>,
    log: Mutex<Vec<(Method, String, String)>>,
}

struct BigQuery {
    url: String,
    shared: Arc<Shared>,
    server: tokio::task::JoinHandle<()>,
}

impl BigQuery {
    async fn start(script: impl Fn(&Method, &str, usize) -> Response + Send + Sync + 'static) -> Self {
        let shared = Arc::new(Shared { script: Box::new(script), log: Mutex::default() });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(answer).with_state(Arc::clone(&shared));
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, shared, server }
    }

    /// Method, path with query, and body of each request.
    fn log(&self) -> Vec<(Method, String, String)> {
        self.shared.log.lock().unwrap().clone()
    }

    async fn run(&self) -> Result<Answer, WarehouseError> {
        connect(&self.url).await.run(&statements::NEW_IN_BRONZE, &[Parameter::int("since", 7)]).await
    }
}

impl Drop for BigQuery {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn answer(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    let uri = head.uri.to_string();
    let earlier = {
        let mut log = shared.log.lock().unwrap();
        log.push((head.method.clone(), uri.clone(), String::from_utf8(body.to_vec()).unwrap()));
        log.len() - 1
    };
    (shared.script)(&head.method, &uri, earlier)
}

async fn connect(url: &str) -> Warehouse {
    Warehouse::connect(WarehouseConfig::stand_in(url, "test", "stock")).await.unwrap()
}

fn json(status: u16, body: String) -> Response {
    (StatusCode::from_u16(status).unwrap(), [("content-type", "application/json")], body).into_response()
}

/// An error as BigQuery words it.
fn refused(status: u16, reason: &str, message: &str) -> Response {
    json(
        status,
        format!(
            r#"{{"error":{{"code":{status},"message":"{message}","status":"X",
            "errors":[{{"message":"{message}","domain":"global","reason":"{reason}"}}]}}}}"#
        ),
    )
}

fn done(value: &str) -> Response {
    json(
        200,
        format!(
            r#"{{"kind":"bigquery#queryResponse","jobComplete":true,"jobReference":{{"projectId":"test","jobId":"job1"}},
            "schema":{{"fields":[{{"name":"n","type":"INTEGER"}}]}},"totalRows":"1","numDmlAffectedRows":"3",
            "rows":[{{"f":[{{"v":"{value}"}}]}}]}}"#
        ),
    )
}

fn running() -> Response {
    json(
        200,
        r#"{"jobComplete":false,"jobReference":{"projectId":"test","jobId":"job1","location":"EU"}}"#
            .to_owned(),
    )
}

type Failure = fn() -> Response;

#[tokio::test]
async fn a_statement_is_one_request_with_its_parameters_and_its_answer_is_read() {
    let server = BigQuery::start(|_, _, _| done("7")).await;
    let answer = server.run().await.unwrap();
    assert_eq!((answer.count(), answer.changed), (7, 3));
    let log = server.log();
    let [(method, path, body)] = log.as_slice() else { panic!("{log:?}") };
    assert_eq!((method, path.as_str()), (&Method::POST, "/bigquery/v2/projects/test/queries"));
    for part in [
        r#""useLegacySql":false"#,
        r#""parameterMode":"NAMED""#,
        r#""name":"since""#,
        r#""type":"INT64""#,
        r#""maximumBytesBilled":"10737418240""#,
    ] {
        assert!(body.contains(part), "{part} in {body}");
    }
}

#[tokio::test]
async fn what_passes_is_tried_again_until_it_has_passed() {
    let mut cases: JoinSet<()> = JoinSet::new();
    let passing: [(&str, Failure); 8] = [
        ("quota", || refused(403, "quotaExceeded", "Quota exceeded: too many table update operations")),
        ("rate", || refused(403, "rateLimitExceeded", "Exceeded rate limits: too many concurrent queries")),
        ("429", || refused(429, "jobRateLimitExceeded", "slower")),
        ("500", || refused(500, "internalError", "An internal error occurred")),
        ("503", || refused(503, "backendError", "Retrying may solve the problem")),
        ("DML", || {
            refused(
                400,
                "invalidQuery",
                "Resources exceeded: Too many DML statements outstanding against table t",
            )
        }),
        ("update", || {
            refused(400, "invalidQuery", "Could not serialize access to table t due to concurrent update")
        }),
        ("HTML", || (StatusCode::BAD_GATEWAY, Html("<html>502</html>")).into_response()),
    ];
    for (name, failure) in passing {
        cases.spawn(async move {
            let server =
                BigQuery::start(move |_, _, earlier| if earlier < 2 { failure() } else { done("1") }).await;
            assert_eq!(server.run().await.unwrap().count(), 1, "{name}");
            assert_eq!(server.log().len(), 3, "{name}");
        });
        cases.spawn(async move {
            let server = BigQuery::start(move |_, _, _| failure()).await;
            let error = server.run().await.unwrap_err();
            assert!(error.is_retryable(), "{name}: {error}");
            assert!(error.to_string().contains("the new rows of bronze"), "{name}: {error}");
            assert_eq!(server.log().len(), TRIES, "{name}");
        });
    }
    while let Some(case) = cases.join_next().await {
        case.unwrap();
    }
}

#[tokio::test]
async fn what_stays_wrong_is_asked_once() {
    for (status, reason) in [
        (400, "invalidQuery"),
        (401, "authError"),
        (403, "accessDenied"),
        (403, "billingNotEnabled"),
        (404, "notFound"),
    ] {
        let server = BigQuery::start(move |_, _, _| refused(status, reason, "no")).await;
        let error = server.run().await.unwrap_err();
        assert!(!error.is_retryable(), "{status} {reason}: {error}");
        assert!(error.to_string().contains(reason), "{error}");
        assert_eq!(server.log().len(), 1, "{status} {reason}");
    }
}

#[tokio::test]
async fn a_missing_answer_is_tried_again() {
    let broken: [Failure; 2] =
        [|| Html("<html>").into_response(), || json(200, r#"{"jobComplete":tr"#.to_owned())];
    for failure in broken {
        let server =
            BigQuery::start(move |_, _, earlier| if earlier == 0 { failure() } else { done("1") }).await;
        assert_eq!(server.run().await.unwrap().count(), 1);
        assert_eq!(server.log().len(), 2);
    }
}

#[tokio::test]
async fn a_warehouse_that_is_not_there_is_retryable_and_its_address_is_not_in_the_error() {
    let error = connect("http://127.0.0.1:1").await.run(&statements::COUNT_BRONZE, &[]).await.unwrap_err();
    assert!(error.is_retryable() && matches!(error, WarehouseError::Unavailable { .. }), "{error:?}");
    assert!(!error.to_string().contains("http://"), "{error}");
}

#[tokio::test]
async fn a_statement_that_goes_on_is_waited_for_and_not_begun_again() {
    let server = BigQuery::start(|method, _, earlier| match (method, earlier) {
        (&Method::GET, 2..) => done("7"),
        _ => running(),
    })
    .await;
    assert_eq!(server.run().await.unwrap().count(), 7);
    let log = server.log();
    assert_eq!(log.iter().filter(|(method, ..)| method == Method::POST).count(), 1, "{log:?}");
    let (_, path, _) = &log[1];
    assert!(path.starts_with("/bigquery/v2/projects/test/queries/job1?"), "{path}");
    assert!(path.contains("location=EU"), "{path}");
}

#[tokio::test]
async fn a_statement_that_fails_while_it_goes_on_fails_as_if_at_once() {
    let server = BigQuery::start(|method, _, _| match *method {
        Method::GET => refused(400, "invalidQuery", "Division by zero"),
        _ => running(),
    })
    .await;
    let error = server.run().await.unwrap_err();
    assert!(!error.is_retryable() && error.to_string().contains("Division by zero"), "{error}");
    assert_eq!(server.log().len(), 2);
}

/// A page of rows with the token of the next.
fn page(values: &[&str], token: &str, total: usize) -> Response {
    let rows: Vec<String> = values.iter().map(|value| format!(r#"{{"f":[{{"v":"{value}"}}]}}"#)).collect();
    let job = r#"{"projectId":"test","jobId":"job1","location":"EU"}"#;
    let rows = rows.join(",");
    json(
        200,
        format!(
            r#"{{"jobComplete":true,"jobReference":{job},"totalRows":"{total}","pageToken":"{token}","rows":[{rows}]}}"#
        ),
    )
}

#[tokio::test]
async fn an_answer_in_pages_is_read_whole() {
    let server = BigQuery::start(|_, _, earlier| match earlier {
        0 => page(&["1", "2"], "second", 5),
        1 => page(&["3", "4"], "third", 5),
        _ => page(&["5"], "", 5),
    })
    .await;
    let rows = server.run().await.unwrap().rows;
    assert_eq!(rows.into_iter().filter_map(|row| row[0].clone()).collect::<String>(), "12345");
    let log = server.log();
    assert_eq!(log.len(), 3);
    for (request, token) in log[1..].iter().zip(["second", "third"]) {
        assert!(request.1.contains(&format!("pageToken={token}")), "{request:?}");
        assert!(request.1.contains("location=EU"), "{request:?}");
    }
}

#[tokio::test]
async fn an_answer_with_rows_missing_is_refused() {
    let server = BigQuery::start(|_, _, _| page(&["1", "2"], "", 3)).await;
    let error = server.run().await.unwrap_err();
    assert!(error.is_retryable() && error.to_string().contains("2 of 3 rows"), "{error}");
}

#[tokio::test]
async fn a_statement_that_takes_too_long_is_cancelled_and_not_begun_again() {
    let server = BigQuery::start(|_, _, _| running()).await;
    let config = WarehouseConfig {
        timeout: Duration::from_millis(200),
        ..WarehouseConfig::stand_in(&server.url, "test", "stock")
    };
    let warehouse = Warehouse::connect(config).await.unwrap();
    let error = warehouse.run(&statements::COUNT_BRONZE, &[]).await.unwrap_err();
    assert!(error.is_retryable() && matches!(error, WarehouseError::Late { .. }), "{error:?}");
    let posts: Vec<String> = server
        .log()
        .into_iter()
        .filter(|(method, ..)| method == Method::POST)
        .map(|(_, path, _)| path)
        .collect();
    let [query, cancel] = posts.as_slice() else { panic!("{posts:?}") };
    assert_eq!(query, "/bigquery/v2/projects/test/queries");
    assert_eq!(cancel, "/bigquery/v2/projects/test/jobs/job1/cancel?location=EU");
}

#[tokio::test]
async fn a_statement_that_would_read_too_much_says_which_variable_limits_it() {
    let refusal = "Query exceeded limit for bytes billed: 1. 10485760 or higher required.";
    let server = BigQuery::start(move |_, _, _| refused(400, "bytesBilledLimitExceeded", refusal)).await;
    let error = server.run().await.unwrap_err();
    assert!(!error.is_retryable() && error.to_string().contains("BIGQUERY_MAX_BYTES_BILLED"), "{error}");
}

#[tokio::test]
async fn parameters_that_a_statement_does_not_have_are_not_sent() {
    let server = BigQuery::start(|_, _, _| done("0")).await;
    let error = connect(&server.url).await.run(&statements::NEW_IN_BRONZE, &[]).await.unwrap_err();
    assert!(error.to_string().contains("since"), "{error}");
    assert!(server.log().is_empty());
}

#[tokio::test]
async fn nothing_to_load_asks_nothing() {
    let server = BigQuery::start(|_, _, _| done("0")).await;
    assert_eq!(connect(&server.url).await.load(&[]).await.unwrap(), Loaded::default());
    assert!(server.log().is_empty());
}

/// The stand-in for BigQuery, in its own process and folder.
struct StandIn {
    url: String,
    child: Child,
    data: TempDir,
}

impl Drop for StandIn {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_owned()
}

impl StandIn {
    async fn start() -> Self {
        let python = project().join(".venv/bin/python");
        assert!(python.exists(), "{} is missing: run `make setup`", python.display());
        let data = TempDir::new().unwrap();
        let folder = |name: &str| {
            let folder = data.path().join(name);
            std::fs::create_dir_all(&folder).unwrap();
            folder
        };
        let import = project().join("localstack/import_duckdb_extension.py");
        let imported = Command::new(&python).arg(import).arg(folder("home")).output().unwrap();
        assert!(imported.status.success(), "{}", String::from_utf8_lossy(&imported.stderr));
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let log = std::fs::File::create(data.path().join("log")).unwrap();
        let child = Command::new(&python)
            .arg(project().join("localstack/bqemulator_cached.py"))
            .args(["start", "--rest-port", &port.to_string(), "--grpc-port", "0"])
            .args(["--persistent", "--project", "test", "--log-level", "warning", "--data-dir"])
            .arg(folder("data"))
            .env("BQEMU_ENABLE_FORMAT_EXTENSIONS", "false")
            .env("BQEMU_TIME_TRAVEL_RETENTION_DAYS", "0")
            .env("HOME", folder("home"))
            .env("TMPDIR", folder("tmp"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut stand_in = Self { url: format!("http://127.0.0.1:{port}"), child, data };
        let http = reqwest::Client::new();
        let until = Instant::now() + PATIENCE;
        let ready = format!("{}/readyz", stand_in.url);
        while !http.get(&ready).send().await.is_ok_and(|answer| answer.status().is_success()) {
            let ended = stand_in.child.try_wait().unwrap();
            let log = || std::fs::read_to_string(stand_in.data.path().join("log")).unwrap_or_default();
            assert!(ended.is_none() && Instant::now() < until, "the stand-in did not start: {}", log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        stand_in
    }
}

/// The identity of a symbol's quote of a second.
fn id(symbol: &str, second: i64) -> QuoteId {
    let at = Coordinates { topic: symbol.into(), partition: 0, offset: second, timestamp_ms: 0 };
    at.derive_quote_id()
}

/// A row a second of `symbol`, each with an identity of its own, loaded from `object_key`.
fn rows_of(symbol: &str, seconds: std::ops::Range<i64>, object_key: &str) -> Vec<BronzeRow> {
    let row = |second: i64| {
        let (fetched_at, id) = (1_704_067_200 + second, id(symbol, second));
        let body = format!(
            r#"{{"c":150.250,"d":null,"h":1e2,"t":7,"symbol":"{symbol}","fetched_at":{fetched_at},"quote_id":"{id}"}}"#
        );
        BronzeRow::new(&QuoteView::parse(body.as_bytes()).unwrap(), object_key)
    };
    seconds.map(row).collect()
}

/// As [`rows_of`], each from an object of its own.
fn rows(symbol: &str, seconds: std::ops::Range<i64>) -> Vec<BronzeRow> {
    let row = |second| {
        rows_of(symbol, second..second + 1, &format!("{symbol}/{}.json", 1_704_067_200 + second)).remove(0)
    };
    seconds.map(row).collect()
}

/// Asks without the crate's client, which sends its own statements alone.
async fn ask(warehouse: &Warehouse, sql: &str) -> Vec<Vec<Option<String>>> {
    let url = format!("{}/bigquery/v2/projects/test/queries", warehouse.config().endpoint.as_ref().unwrap());
    let question = serde_json::json!({ "query": sql, "useLegacySql": false }).to_string();
    let answer = reqwest::Client::new().post(url).body(question).header("content-type", "application/json");
    let answer = answer.send().await.unwrap().error_for_status().unwrap().bytes().await.unwrap();
    let answer: serde_json::Value = serde_json::from_slice(&answer).unwrap();
    let cell = |cell: &serde_json::Value| cell["v"].as_str().map(str::to_owned);
    let row = |row: &serde_json::Value| row["f"].as_array().unwrap().iter().map(cell).collect();
    answer["rows"].as_array().map(|rows| rows.iter().map(row).collect()).unwrap_or_default()
}

fn table(name: &str) -> String {
    format!("`test.stock.{name}`")
}

/// How many rows of the symbol bronze has, and of how many quotes.
async fn bronze(warehouse: &Warehouse, symbol: &str) -> (String, String) {
    let table = table(BRONZE_TABLE);
    let sql = format!("SELECT COUNT(*), COUNT(DISTINCT quote_id) FROM {table} WHERE symbol = '{symbol}'");
    let row = ask(warehouse, &sql).await.remove(0);
    (row[0].clone().unwrap(), row[1].clone().unwrap())
}

/// The watermarks that the table has of the symbol.
async fn watermarks(warehouse: &Warehouse, symbol: &str) -> Vec<i64> {
    let table = table(WATERMARK_TABLE);
    let rows = ask(warehouse, &format!("SELECT last_ts FROM {table} WHERE symbol = '{symbol}'")).await;
    rows.iter().map(|row| row[0].as_ref().unwrap().parse().unwrap()).collect()
}

async fn raise(warehouse: &Warehouse, symbol: &str, last: i64) -> Vec<i64> {
    warehouse.raise_watermarks(&BTreeMap::from([(symbol, last)])).await.unwrap();
    watermarks(warehouse, symbol).await
}

fn both(count: &str) -> (String, String) {
    (count.to_owned(), count.to_owned())
}

/// One test, because the stand-in takes seconds to start.
#[tokio::test]
async fn on_the_stand_in_each_quote_is_in_bronze_once_and_watermarks_only_rise() {
    let stand_in = StandIn::start().await;
    let warehouse = connect(&stand_in.url).await;

    // Tables are created once; creating them again is not an error.
    warehouse.create_tables().await.unwrap();
    warehouse.create_tables().await.unwrap();

    // The same rows twice, and one of them twice in one load.
    let late = rows("AAPL", 100..150);
    assert_eq!(warehouse.load(&late).await.unwrap(), Loaded { inserted: 50, already_there: 0 });
    assert_eq!(warehouse.load(&late).await.unwrap(), Loaded { inserted: 0, already_there: 50 });
    let mut twice = rows("MSFT", 0..1);
    twice.push(twice[0].clone());
    assert_eq!(warehouse.load(&twice).await.unwrap(), Loaded { inserted: 1, already_there: 1 });
    assert_eq!(bronze(&warehouse, "AAPL").await, both("50"));

    // Every column as it was archived.
    let sql = format!(
        "SELECT c, d, h, t, fetched_at, CAST(fetched_date AS STRING), object_key, loaded_at IS NULL FROM {} \
         WHERE symbol = 'MSFT'",
        table(BRONZE_TABLE)
    );
    let row: Vec<Option<String>> = ask(&warehouse, &sql).await.remove(0);
    let row: Vec<&str> = row.iter().map(|value| value.as_deref().unwrap_or("NULL")).collect();
    let fixed = ["NULL", "100.0", "7", "1704067200", "2024-01-01", "MSFT/1704067200.json", "false"];
    assert_eq!((row[0].parse(), &row[1..]), (Ok(150.25), fixed.as_slice()));

    // An older batch comes late.
    assert_eq!(warehouse.load(&rows("AAPL", 0..50)).await.unwrap().inserted, 50);
    assert_eq!(bronze(&warehouse, "AAPL").await, both("100"));

    // Two loads at once whose rows overlap.
    let all = rows("TSLA", 0..300);
    let (first, second) = tokio::join!(warehouse.load(&all[..200]), warehouse.load(&all[100..]));
    assert_eq!(first.unwrap().inserted + second.unwrap().inserted, 300);
    assert_eq!(bronze(&warehouse, "TSLA").await, both("300"));

    // A quote of another day, loaded again by a batch that spans both days.
    let days = [rows("JPM", 0..1), rows("JPM", 86_400..86_401)].concat();
    assert_eq!(warehouse.load(&days[1..]).await.unwrap().inserted, 1);
    assert_eq!(warehouse.load(&days).await.unwrap(), Loaded { inserted: 1, already_there: 1 });

    // A load raises no watermark.
    assert_eq!(watermarks(&warehouse, "AAPL").await, [0; 0]);

    // Keys to compare with bronze: one that exists there, and one that does not.
    let keys = ["AAPL/1704067200.json", "AAPL/1.json"].map(|key| key.parse::<ArchiveKey>().unwrap());
    let keys: Vec<&ArchiveKey> = keys.iter().collect();
    let compared = warehouse.compare(&keys).await.unwrap();
    assert_eq!(compared, Compared { missing: vec!["AAPL/1.json".to_owned()], has_duplicates: false });

    // An answer of many rows is read whole.
    let none =
        |second: i64| ArchiveKey::from(ObjectKey::new("NONE".parse().unwrap(), 1_704_067_200 + second));
    let many: Vec<ArchiveKey> = (0..20_000).map(none).collect();
    let many: Vec<&ArchiveKey> = many.iter().collect();
    assert_eq!(warehouse.compare(&many).await.unwrap().missing.len(), many.len());

    // A batch of which a part was loaded is missing; one whose quotes were loaded from other objects is not.
    let batch: ArchiveKey = "batches/1704067209-1704067200-10-t-0-1-10.ndjson.gz".parse().unwrap();
    let part = rows_of("BATCH", 0..10, &batch.to_string());
    warehouse.load(&part[..7]).await.unwrap();
    let missing = |compared: Compared| compared.missing;
    assert_eq!(missing(warehouse.compare(&[&batch]).await.unwrap()), [batch.to_string()]);
    let ids: Vec<QuoteId> = (0..10).map(|second| id("BATCH", second)).collect();
    assert_eq!(warehouse.missing_keys(&[(&batch, ids.clone())]).await.unwrap(), [batch.to_string()].into());
    warehouse.load(&rows("BATCH", 7..10)).await.unwrap();
    assert_eq!(missing(warehouse.compare(&[&batch]).await.unwrap()), [batch.to_string()]);
    assert_eq!(warehouse.missing_keys(&[(&batch, ids)]).await.unwrap(), [].into());
    let newest = warehouse.newest(&[&batch]).await.unwrap();
    assert_eq!(newest, [("BATCH".to_owned(), 1_704_067_206_i64)].into());
    let seven: ArchiveKey = "batches/1704067209-1704067200-7-t-0-1-10.ndjson.gz".parse().unwrap();
    warehouse.load(&rows_of("SEVEN", 0..7, &seven.to_string())).await.unwrap();
    assert_eq!(warehouse.compare(&[&seven]).await.unwrap(), Compared::default());

    // Two rows of a quote: the first one stays.
    let bronze_table = table(BRONZE_TABLE);
    let duplicate = format!(
        "INSERT INTO {bronze_table} SELECT * REPLACE (TIMESTAMP '2100-01-01' AS loaded_at) FROM {bronze_table} \
         WHERE object_key = 'AAPL/1704067200.json'"
    );
    ask(&warehouse, &duplicate).await;
    let compared = warehouse.compare(&keys[..1]).await.unwrap();
    assert_eq!(compared, Compared { missing: Vec::new(), has_duplicates: true });
    assert_eq!(warehouse.remove_duplicates(&keys[..1]).await.unwrap(), 1);
    assert_eq!(bronze(&warehouse, "AAPL").await, both("100"));
    let late = format!("SELECT COUNT(*) FROM {bronze_table} WHERE loaded_at > CURRENT_TIMESTAMP()");
    assert_eq!(ask(&warehouse, &late).await, [[Some("0".to_owned())]]);

    // A watermark only rises, never beyond now, and is made if absent.
    let now = jiff::Timestamp::now().as_second();
    assert_eq!(raise(&warehouse, "AAPL", 1_704_067_300).await, [1_704_067_300]);
    assert_eq!(raise(&warehouse, "AAPL", 1_704_067_200).await, [1_704_067_300]);
    assert!((now..now + 60).contains(&raise(&warehouse, "AAPL", 4_102_444_800).await[0]));

    // One that is NULL or in the future stops nobody, and is replaced.
    let odd = "('NUL', NULL), ('FUT', 4102444800), (NULL, 7)";
    ask(&warehouse, &format!("INSERT INTO {} (symbol, last_ts) VALUES {odd}", table(WATERMARK_TABLE))).await;
    let known = warehouse.watermarks().await.unwrap();
    assert_eq!((known.get("NUL"), known.get("FUT")), (None, Some(&4_102_444_800)));
    for symbol in ["NUL", "FUT"] {
        assert_eq!(raise(&warehouse, symbol, 1_704_067_200).await, [1_704_067_200], "{symbol}");
    }
}
