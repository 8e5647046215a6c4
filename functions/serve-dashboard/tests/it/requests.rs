use std::io::Read;

use base64::{Engine, prelude::BASE64_STANDARD};
use flate2::read::GzDecoder;
use serde_json::{Value, json};
use test_support::{assert_configuration_problems, assert_documented};

use crate::bigquery::{Answer, BigQuery, Dashboard, PROGRAM, kpi_row, refused};

/// The gold models of one symbol; every other one is unknown. Columns come in the order of their names.
fn gold(sql: &str, parameters: &Value) -> Value {
    if !matches!(parameters["symbol"].as_str(), None | Some("AAPL")) {
        return json!([]);
    }
    match model(sql) {
        "gold_kpi" => {
            let others = json!({
                "current_price": "170.42", "change_amount": null, "change_percent": "-0.2225", "day_high": null,
                "day_low": "169.75", "day_open": "171.25", "prev_close": "170.8", "fetched_millis": "1785765906000",
                "loaded_millis": "1785765908000" });
            json!([kpi_row("AAPL", others)])
        }
        "gold_candlestick" => json!([
            candle_row(
                json!({ "market_date": "2019-02-14" }),
                ["169.71", "171.2615", "169.38", "170.8", "170.4"]
            ),
            candle_row(
                json!({ "market_date": "2019-02-15" }),
                ["171.25", "171.7", "169.75", "170.42", "170.51"]
            )
        ]),
        "gold_candlestick_intraday" if sql.contains("market_date, candle_close") => json!([
            { "symbol": "AAPL", "market_date": "2019-02-14", "candle_close": "170.8" },
            { "symbol": "AAPL", "market_date": "2019-02-15", "candle_close": "170.5" },
            { "symbol": "AAPL", "market_date": "2019-02-15", "candle_close": "170.42" }]),
        "gold_candlestick_intraday" => json!([candle_row(
            json!({ "start_second": "1550264100", "market_date": "2019-02-15" }),
            ["170.61", "170.7", "170.3", "170.42", "170.51"]
        )]),
        "gold_kpi_history" => json!([
            { "market_timestamp_raw": "1550264392", "current_price": "170.45", "change_percent": "-0.2049" },
            { "market_timestamp_raw": "1550264398", "current_price": "170.42", "change_percent": null }]),
        "gold_treechart" => json!([{
            "symbol": "AAPL", "latest_date": "2019-02-15", "last_price": "170.42", "avg_price": "170.51",
            "day_change_percent": "-0.2225", "volatility": "0.82", "relative_volatility": "0.0048" }]),
        "gold_pipeline_health" => json!([
            { "symbol": "AAPL", "fetched_millis": "1785765906000", "loaded_millis": "1785765908000",
              "market_millis": "1550264398000", "quotes_per_minute": "10.0", "rejected_share": "0.0" },
            { "symbol": "NONE", "fetched_millis": "1785765906000", "loaded_millis": null, "market_millis": null,
              "quotes_per_minute": "1.0", "rejected_share": null }]),
        other => panic!("{other}: {sql}"),
    }
}

fn candle_row(mut row: Value, prices: [&str; 5]) -> Value {
    let names = ["candle_open", "candle_high", "candle_low", "candle_close", "trend_line"];
    for (name, price) in names.into_iter().zip(prices) {
        row[name] = json!(price);
    }
    row["quotes"] = json!("3900");
    row
}

/// The model that the statement reads first.
fn model(sql: &str) -> &str {
    sql.split("`test.stock_gold.").nth(1).and_then(|rest| rest.split('`').next()).unwrap_or_default()
}

async fn warehouse() -> BigQuery {
    BigQuery::start(|sql, parameters| Ok(gold(sql, parameters))).await
}

/// The answer, whose header has when it was read.
fn read(answer: &Answer) -> Value {
    let as_of = answer.header("quoteflow-as-of");
    assert!(as_of.ends_with('Z') && as_of.starts_with("20"), "{answer:?}");
    answer.json()
}

#[test]
fn every_variable_is_documented() {
    assert_documented(PROGRAM, env!("CARGO_MANIFEST_DIR"), &serve_dashboard::ABOUT);
}

#[tokio::test]
async fn a_bad_configuration_ends_with_one_json_line_that_names_every_variable() {
    let env = [
        ("DASHBOARD_CACHE_SECONDS", "soon"),
        ("DASHBOARD_CHART_SECONDS", "-1"),
        ("DASHBOARD_STALE_AFTER_SECONDS", "0"),
        ("DASHBOARD_RECORDING_SPEED", "0"),
    ];
    let names = [
        "BIGQUERY_PROJECT",
        "DASHBOARD_CACHE_SECONDS",
        "DASHBOARD_CHART_SECONDS",
        "DASHBOARD_STALE_AFTER_SECONDS",
        "DASHBOARD_RECORDING_SPEED",
    ];
    assert_configuration_problems(PROGRAM, &env, &names).await;
}

#[tokio::test]
async fn each_question_is_answered_from_its_gold_table() {
    let warehouse = warehouse().await;
    let dashboard = warehouse.dashboard(&[]);
    let candle = |time: Value, date: &str, [open, high, low, close, trend]: [f64; 5]| json!({ "time": time, "date": date, "open": open, "high": high, "low": low, "close": close, "trend": trend, "quotes": 3900 });
    let day = json!({ "date": "2019-02-15", "trend_line": 170.51 });
    for (target, expected) in [
        (
            "/api/kpi",
            json!({ "quotes": [{
                "symbol": "AAPL", "price": 170.42, "change": null, "change_percent": -0.2225, "day_high": 0.0,
                "day_low": 169.75, "day_open": 171.25, "prev_close": 170.8, "market_time": "2019-02-15T20:59:58Z",
                "market_time_us": "2019-02-15T15:59:58", "fetched_at": "2026-08-03T14:05:06Z",
                "loaded_at": "2026-08-03T14:05:08Z" }] }),
        ),
        (
            "/api/candles?symbol=AAPL&interval=1d",
            json!({ "symbol": "AAPL", "interval": "1d", "range": null, "day": day, "candles": [
                candle(json!("2019-02-14"), "2019-02-14", [169.71, 171.2615, 169.38, 170.8, 170.4]),
                candle(json!("2019-02-15"), "2019-02-15", [171.25, 171.7, 169.75, 170.42, 170.51])] }),
        ),
        (
            "/api/candles?symbol=AAPL&interval=5m",
            json!({ "symbol": "AAPL", "interval": "5m", "range": null, "day": day, "candles": [
                candle(json!(1_550_264_100), "2019-02-15", [170.61, 170.7, 170.3, 170.42, 170.51])] }),
        ),
        (
            "/api/candles?symbol=AAPL&interval=1h&range=all",
            json!({ "symbol": "AAPL", "interval": "1h", "range": "all", "day": day, "candles": [
                candle(json!(1_550_260_800), "2019-02-15", [170.61, 170.7, 170.3, 170.42, 170.51])] }),
        ),
        ("/api/sparklines", json!({ "symbols": [{ "symbol": "AAPL", "closes": [170.5, 170.42] }] })),
        (
            "/api/history?symbol=AAPL",
            json!({ "symbol": "AAPL", "points": [
                { "market_time": "2019-02-15T20:59:52Z", "price": 170.45, "change_percent": -0.2049 },
                { "market_time": "2019-02-15T20:59:58Z", "price": 170.42, "change_percent": null }] }),
        ),
        (
            "/api/treemap",
            json!({ "tiles": [{ "symbol": "AAPL", "date": "2019-02-15", "price": 170.42, "avg_price": 170.51,
                "change_percent": -0.2225, "volatility": 0.82, "relative_volatility": 0.0048 }] }),
        ),
    ] {
        let answer = dashboard.get(target).await;
        assert_eq!(answer.status(), 200, "{target}: {answer:?}");
        assert_eq!(answer.header("content-type"), "application/json");
        let lifetime: u32 =
            answer.header("cache-control").strip_prefix("public, max-age=").unwrap().parse().unwrap();
        assert!(lifetime <= 60, "{answer:?}");
        assert_eq!(read(&answer), expected, "{target}");
    }
    dashboard.0.stop().await;
}

#[tokio::test]
async fn tables_that_are_not_there_yet_count_as_empty() {
    let warehouse = BigQuery::start(|_, _| Err(refused(404, "notFound"))).await;
    let dashboard = warehouse.dashboard(&[]);
    for (target, expected) in [
        ("/api/kpi", json!({ "quotes": [] })),
        (
            "/api/candles?symbol=AAPL&interval=1m",
            json!({ "symbol": "AAPL", "interval": "1m", "range": null, "candles": [], "day": null }),
        ),
        ("/api/history?symbol=AAPL", json!({ "symbol": "AAPL", "points": [] })),
        ("/api/treemap", json!({ "tiles": [] })),
        ("/api/sparklines", json!({ "symbols": [] })),
    ] {
        let answer = dashboard.get(target).await;
        assert_eq!((answer.status(), read(&answer)), (200, expected), "{target}");
    }
    let health = dashboard.get("/api/health").await.json();
    assert_eq!((&health["status"], &health["symbols"]), (&json!("empty"), &json!([])));
    let snapshot = dashboard.get("/api/snapshot").await.json();
    assert_eq!((&snapshot["symbol"], &snapshot["candles"]), (&Value::Null, &Value::Null));
    assert_eq!((&snapshot["kpi"]["quotes"], &snapshot["missing"]), (&json!([]), &json!({})));
    dashboard.0.stop().await;
}

#[tokio::test]
async fn a_table_that_is_being_replaced_is_asked_again() {
    let is_missing = std::sync::atomic::AtomicBool::new(true);
    let warehouse = BigQuery::start(move |sql, parameters| {
        let was_missing = is_missing.swap(false, std::sync::atomic::Ordering::Relaxed);
        if was_missing { Err(refused(404, "notFound")) } else { Ok(gold(sql, parameters)) }
    })
    .await;
    let dashboard = warehouse.dashboard(&[]);
    assert_eq!(dashboard.get("/api/kpi").await.json()["quotes"][0]["symbol"], "AAPL");
    dashboard.0.stop().await;
}

#[tokio::test]
async fn what_a_client_says_reaches_the_warehouse_as_a_parameter_only() {
    let warehouse = warehouse().await;
    let dashboard = warehouse.dashboard(&[]);
    let symbol = "marked@EXCHANGE:1";
    for target in ["/api/candles?interval=1d", "/api/history?limit=4999"] {
        assert_eq!(dashboard.get(&format!("{target}&symbol=marked%40EXCHANGE:1")).await.status(), 200);
    }
    assert_eq!(dashboard.get("/api/history?symbol=AAPL&limit=4999").await.status(), 200);
    dashboard.0.stop().await;
    let asked = warehouse.asked();
    for (sql, parameters) in &asked {
        assert!(!sql.contains("marked") && !sql.contains("4999") && !sql.contains('*'), "{sql}");
        assert!(parameters["symbol"] == symbol || parameters["symbol"] == "AAPL", "{parameters}");
    }
    // 3,900 quotes of the latest date are too few.
    let last = &asked.last().unwrap().1;
    assert_eq!(last, &json!({ "symbol": "AAPL", "first_date": "2019-02-14", "limit": "4999" }));
    // Of an unknown symbol nothing else is asked, and its dates once.
    assert_eq!(asked.len(), 3);
}

#[tokio::test]
async fn bad_input_is_told_with_problem_details_and_asks_the_warehouse_nothing() {
    let warehouse = warehouse().await;
    let dashboard = warehouse.dashboard(&[]);
    for (target, detail) in [
        ("/api/candles?interval=1d", "symbol is missing"),
        ("/api/candles?symbol=AAPL&interval=2m", "interval is \"2m\"; it must be one of 1m, 5m, 15m, 1h, 1d"),
        ("/api/candles?symbol=AAPL&range=1y", "range is \"1y\"; it must be one of 1d, 5d, all"),
        ("/api/snapshot?symbol=..%2Fx", "the symbol \"../x\""),
        ("/api/snapshot?compare=A,B,C,D,E", "compare has 5 symbols; it must have at most 4"),
        ("/api/snapshot?compare=A,..", "the symbol \"..\""),
        ("/api/candles?symbol=..%2Fx&interval=1d", "the symbol \"../x\""),
        ("/api/history?symbol=%27%3B%20DROP", "the symbol \"'; DROP\""),
        ("/api/history?symbol=AAPL&limit=0", "it must be from 1 to 5000"),
        ("/api/history?symbol=AAPL&limit=5001", "it must be from 1 to 5000"),
        ("/api/history?symbol=AAPL&limit=-1", "it must be from 1 to 5000"),
        ("/api/history?symbol=AAPL&limit=many", "it must be from 1 to 5000"),
    ] {
        let answer = dashboard.get(target).await;
        assert_eq!(
            (answer.status(), answer.header("content-type")),
            (400, "application/problem+json"),
            "{target}"
        );
        let problem = answer.json();
        assert_eq!((&problem["status"], &problem["title"]), (&json!(400), &json!("Bad Request")));
        assert!(problem["detail"].as_str().unwrap().contains(detail), "{detail} in {problem}");
    }
    for target in ["/api/", "/api/kpi/", "/nope", "/assets/../openapi.json", "/%2e%2e/etc/passwd"] {
        let answer = dashboard.get(target).await;
        assert_eq!(
            (answer.status(), answer.header("content-type")),
            (404, "application/problem+json"),
            "{target}"
        );
    }
    let answer = dashboard.ask("POST", "/api/kpi", &[]).await;
    assert_eq!((answer.status(), answer.header("allow")), (405, "GET, HEAD"));
    dashboard.0.stop().await;
    assert_eq!(warehouse.asked(), []);
}

#[tokio::test]
async fn one_read_serves_the_next_requests_and_an_etag_saves_the_bytes() {
    let warehouse = warehouse().await;
    let dashboard = warehouse.dashboard(&[("DASHBOARD_CACHE_SECONDS", "3600")]);
    let first = dashboard.get("/api/kpi").await;
    let tag = first.header("etag");
    assert!(tag.starts_with('"') && tag.ends_with('"') && tag.len() > 2, "{tag}");
    for known in [tag.to_owned(), format!("\"other\", {tag}"), format!("W/{tag}"), "*".to_owned()] {
        let again = dashboard.ask("GET", "/api/kpi", &[("if-none-match", &known)]).await;
        assert_eq!((again.status(), again.body(), again.header("etag")), (304, "", tag), "{known}");
        assert!(again.header("cache-control").starts_with("public, max-age="), "{again:?}");
    }
    let other = dashboard.ask("GET", "/api/kpi", &[("if-none-match", "\"other\"")]).await;
    assert_eq!((other.status(), other.body()), (200, first.body()));
    assert_eq!(warehouse.asked().len(), 1);
    dashboard.get("/api/treemap").await;
    assert_eq!(warehouse.asked().len(), 2);
    dashboard.0.stop().await;
}

#[tokio::test]
async fn figures_that_were_read_again_and_did_not_change_are_304() {
    let warehouse = warehouse().await;
    let dashboard =
        warehouse.dashboard(&[("DASHBOARD_CACHE_SECONDS", "0"), ("DASHBOARD_CHART_SECONDS", "0")]);
    for target in [
        "/api/kpi",
        "/api/candles?symbol=AAPL&interval=1d",
        "/api/history?symbol=AAPL",
        "/api/treemap",
        "/api/sparklines",
        "/api/snapshot?symbol=AAPL",
    ] {
        let first = dashboard.get(target).await;
        let before = warehouse.asked().len();
        let again = dashboard.ask("GET", target, &[("if-none-match", first.header("etag"))]).await;
        assert!(warehouse.asked().len() > before, "{target}");
        assert_eq!((again.status(), again.body()), (304, ""), "{target}");
        assert_ne!(again.header("quoteflow-as-of"), first.header("quoteflow-as-of"), "{target}");
    }
    dashboard.0.stop().await;
}

#[tokio::test]
async fn without_a_cache_each_request_is_a_read() {
    let warehouse = warehouse().await;
    let dashboard = warehouse.dashboard(&[("DASHBOARD_CACHE_SECONDS", "0")]);
    for _ in 0..2 {
        assert_eq!(dashboard.get("/api/kpi").await.header("cache-control"), "public, max-age=0");
    }
    dashboard.0.stop().await;
    assert_eq!(warehouse.asked().len(), 2);
}

#[tokio::test]
async fn who_takes_gzip_gets_it_with_a_tag_of_its_own() {
    let warehouse = warehouse().await;
    let dashboard = warehouse.dashboard(&[("DASHBOARD_CACHE_SECONDS", "3600")]);
    let plain = dashboard.get("/api/kpi").await;
    let compressed = dashboard.ask("GET", "/api/kpi", &[("accept-encoding", "br, gzip")]).await;
    let refused = dashboard.ask("GET", "/api/kpi", &[("accept-encoding", "gzip;q=0, br")]).await;
    dashboard.0.stop().await;
    assert_eq!(
        (compressed.header("content-encoding"), &compressed.0["isBase64Encoded"]),
        ("gzip", &json!(true))
    );
    let bytes = BASE64_STANDARD.decode(compressed.body()).unwrap();
    let mut text = String::new();
    GzDecoder::new(bytes.as_slice()).read_to_string(&mut text).unwrap();
    assert_eq!((text.as_str(), refused.body()), (plain.body(), plain.body()));
    assert_ne!(compressed.header("etag"), plain.header("etag"));
    assert_eq!(compressed.header("vary"), "accept-encoding");
}

#[tokio::test]
async fn an_outage_of_the_warehouse_is_503_and_passes_by_itself() {
    let is_down = std::sync::atomic::AtomicBool::new(true);
    let warehouse = BigQuery::start(move |sql, parameters| {
        let failed = is_down.swap(false, std::sync::atomic::Ordering::Relaxed);
        // A refusal that stays is not tried again.
        if failed { Err(refused(403, "accessDenied")) } else { Ok(gold(sql, parameters)) }
    })
    .await;
    let dashboard = warehouse.dashboard(&[]);
    let down = dashboard.get("/api/kpi").await;
    assert_eq!((down.status(), down.header("content-type")), (503, "application/problem+json"));
    assert!(down.header("retry-after").parse::<u32>().unwrap() >= 1);
    assert_eq!(down.json()["detail"], "the warehouse does not answer");
    // It is left alone for a moment; then it answers.
    let mut status = 503;
    while status == 503 {
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        status = dashboard.get("/api/kpi").await.status();
    }
    assert_eq!((status, warehouse.asked().len()), (200, 2));
    let log = dashboard.0.stop().await;
    let line = log.iter().find(|line| line["level"] == "ERROR").unwrap().to_string();
    assert!(line.contains("403") && line.contains("accessDenied"), "{line}");
}

#[tokio::test]
async fn a_warehouse_that_cannot_be_reached_is_503_with_a_warning_and_the_page_is_still_served() {
    let dashboard = Dashboard::of("http://127.0.0.1:1", &[]);
    assert_eq!(dashboard.get("/api/kpi").await.status(), 503);
    assert_eq!(dashboard.get("/").await.status(), 200);
    let log = dashboard.0.stop().await;
    assert!(
        log.iter()
            .any(|line| line["level"] == "WARN" && line["message"].as_str().unwrap().contains("no figures"))
    );
    assert!(log.iter().all(|line| line["level"] != "ERROR"), "{log:?}");
}

#[tokio::test]
async fn every_answer_is_guarded_and_head_has_no_body() {
    let warehouse = warehouse().await;
    let dashboard = warehouse.dashboard(&[]);
    for target in ["/", "/api/kpi", "/api/openapi.json", "/nope"] {
        let answer = dashboard.get(target).await;
        let policy = answer.header("content-security-policy");
        assert!(
            policy.starts_with("default-src 'none'; script-src 'self';") && !policy.contains("http"),
            "{policy}"
        );
        assert_eq!(
            (answer.header("x-content-type-options"), answer.header("referrer-policy")),
            ("nosniff", "no-referrer")
        );
        let head = dashboard.ask("HEAD", target, &[]).await;
        assert_eq!(
            (head.status(), head.body(), head.header("etag")),
            (answer.status(), "", answer.header("etag"))
        );
    }
    let described: Value = serde_json::from_str(include_str!("../../openapi.json")).unwrap();
    assert_eq!(dashboard.get("/api/openapi.json").await.json(), described);
    dashboard.0.stop().await;
}

#[tokio::test]
async fn the_page_is_asked_for_again_and_its_assets_never() {
    let dashboard = Dashboard::of("http://127.0.0.1:1", &[]);
    let page = dashboard.get("/").await;
    assert_eq!(
        (page.header("content-type"), page.header("cache-control")),
        ("text/html; charset=utf-8", "no-cache")
    );
    // Without `make web` there is no page, and it says so.
    let assets: Vec<&str> = page.body().split('"').filter(|part| part.starts_with("/assets/")).collect();
    assert!(!assets.is_empty() || page.body().contains("make web"), "{page:?}");
    for asset in assets {
        let answer = dashboard.get(asset).await;
        assert_eq!(answer.status(), 200, "{asset}");
        assert_eq!(answer.header("cache-control"), "public, max-age=31536000, immutable", "{asset}");
        assert!(!answer.body().is_empty(), "{asset}");
    }
    dashboard.0.stop().await;
}
