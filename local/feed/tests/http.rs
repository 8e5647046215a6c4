//! The feed as a client sees it.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use feed::{Config, Error, Fault, Feed};
use reqwest::{Client, Response, StatusCode};
use serde_json::{Value, json};

const TOKEN: &str = "the-key";

fn manual() -> Config {
    Config { token: TOKEN.to_owned(), speed: 0.0, ..Config::default() }
}

fn client() -> Client {
    Client::builder().no_proxy().timeout(Duration::from_mins(1)).build().unwrap()
}

async fn ask(feed: &Feed, path: &str) -> Response {
    client().get(format!("{}{path}", feed.base_url())).header("X-Finnhub-Token", TOKEN).send().await.unwrap()
}

fn ratelimit(response: &Response, name: &str) -> u64 {
    response.headers()[format!("x-ratelimit-{name}")].to_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_quote_has_finnhubs_shape() {
    let feed = Feed::start(manual()).await.unwrap();
    let response = ask(&feed, "/quote?symbol=AAPL").await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["content-type"], "application/json");
    assert_eq!(
        response.text().await.unwrap(),
        r#"{"c":171.14,"d":0.73,"dp":0.4284,"h":171.14,"l":171.14,"o":171.14,"pc":170.41,"t":1549895400}"#
    );

    feed.set_position(390 * 60 - 1);
    let last: Value = ask(&feed, "/quote?symbol=AAPL").await.json().await.unwrap();
    assert_eq!((&last["h"], &last["l"]), (&json!(171.2), &json!(169.26)));
    feed.stop().await;
}

#[tokio::test]
async fn an_unknown_symbol_is_all_zeros_with_200() {
    let feed = Feed::start(manual()).await.unwrap();
    let response = ask(&feed, "/quote?symbol=NOPE").await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(
        response.text().await.unwrap(),
        r#"{"c":0,"d":null,"dp":null,"h":0,"l":0,"o":0,"pc":0,"t":0}"#
    );
}

#[tokio::test]
async fn the_market_is_open() {
    let feed = Feed::start(manual()).await.unwrap();
    let status: Value = ask(&feed, "/stock/market-status?exchange=US").await.json().await.unwrap();
    assert_eq!(
        status,
        json!({"exchange": "US", "holiday": null, "isOpen": true, "session": "regular", "t": 1_549_895_400,
               "timezone": "America/New_York"})
    );
}

#[tokio::test]
async fn a_request_without_its_parameter_is_refused() {
    let feed = Feed::start(manual()).await.unwrap();
    for path in ["/quote", "/stock/market-status", "/stock/market-status?exchange=L"] {
        assert_eq!(ask(&feed, path).await.status(), StatusCode::UNPROCESSABLE_ENTITY, "{path}");
    }
}

#[tokio::test]
async fn only_the_right_token_is_served_and_a_wrong_one_costs_nothing() {
    let feed = Feed::start(manual()).await.unwrap();
    let url = format!("{}/quote?symbol=AAPL", feed.base_url());
    for request in [
        client().get(&url),
        client().get(&url).header("X-Finnhub-Token", "wrong"),
        client().get(format!("{url}&token=wrong")),
    ] {
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        assert_eq!((ratelimit(&response, "limit"), ratelimit(&response, "remaining")), (60, 60));
        assert_eq!(response.json::<Value>().await.unwrap(), json!({"error": "Invalid API key"}));
    }
    let response = client().get(format!("{url}&token={TOKEN}")).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!((feed.served().quote("AAPL", 401), feed.served().quote("AAPL", 200)), (3, 1));
}

#[tokio::test]
async fn beyond_the_limit_is_429_with_headers_on_all_answers() {
    let feed = Feed::start(Config { rate_limit_per_minute: 3, ..manual() }).await.unwrap();
    let before = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    for (path, remaining) in
        [("/quote?symbol=JPM", 2), ("/stock/market-status?exchange=US", 1), ("/quote?symbol=JPM", 0)]
    {
        let response = ask(&feed, path).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!((ratelimit(&response, "limit"), ratelimit(&response, "remaining")), (3, remaining));
        assert!(ratelimit(&response, "reset") >= before + 60);
    }
    let response = ask(&feed, "/quote?symbol=TSLA").await;
    assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!((ratelimit(&response, "limit"), ratelimit(&response, "remaining")), (3, 0));
    assert!(ratelimit(&response, "reset") >= before + 60);
    assert_eq!(
        response.json::<Value>().await.unwrap(),
        json!({"error": "API limit reached. Please try again later. Remaining Limit: 0"})
    );

    let served = feed.served();
    assert_eq!((served.quote("JPM", 200), served.quote("TSLA", 429), served.market_status[&200]), (2, 1, 1));
    assert_eq!((served.quotes_with(200), served.quotes_with(429)), (2, 1));
}

#[tokio::test]
async fn faults_replace_answers_until_they_are_taken_away() {
    let feed = Feed::start(manual()).await.unwrap();
    let truth = ask(&feed, "/quote?symbol=AAPL").await.text().await.unwrap();

    feed.set_fault(Some("AAPL"), Fault::Status(502));
    assert_eq!(ask(&feed, "/quote?symbol=AAPL").await.status(), StatusCode::BAD_GATEWAY);
    assert_eq!(ask(&feed, "/quote?symbol=JPM").await.status(), StatusCode::OK);

    feed.set_fault(Some("AAPL"), Fault::Html);
    let response = ask(&feed, "/quote?symbol=AAPL").await;
    assert!(response.headers()["content-type"].to_str().unwrap().starts_with("text/html"));
    assert!(response.text().await.unwrap().starts_with("<html>"));

    feed.set_fault(Some("AAPL"), Fault::Truncated);
    assert_eq!(ask(&feed, "/quote?symbol=AAPL").await.text().await.unwrap(), truth[..truth.len() / 2]);

    feed.set_fault(Some("AAPL"), Fault::AllZero);
    assert_eq!(ask(&feed, "/quote?symbol=AAPL").await.json::<Value>().await.unwrap()["c"], 0);

    feed.set_fault(Some("AAPL"), Fault::Body(r#"{"c":1.5,"t":2}"#.to_owned()));
    assert_eq!(ask(&feed, "/quote?symbol=AAPL").await.text().await.unwrap(), r#"{"c":1.5,"t":2}"#);

    feed.set_fault(Some("AAPL"), Fault::None);
    assert_eq!(ask(&feed, "/quote?symbol=AAPL").await.text().await.unwrap(), truth);

    feed.set_fault(None, Fault::Status(999));
    assert_eq!(ask(&feed, "/quote?symbol=AAPL").await.status().as_u16(), 999);
    feed.set_fault(None, Fault::Status(7));
    assert_eq!(
        ask(&feed, "/stock/market-status?exchange=US").await.status(),
        StatusCode::INTERNAL_SERVER_ERROR
    );
}

#[tokio::test]
async fn a_delayed_answer_is_the_truth_and_a_client_may_give_up_on_it() {
    let feed = Feed::start(manual()).await.unwrap();
    feed.set_fault(None, Fault::Delay(Duration::from_millis(1)));
    assert_eq!(ask(&feed, "/quote?symbol=AAPL").await.json::<Value>().await.unwrap()["c"], 171.14);

    feed.set_fault(None, Fault::Delay(Duration::from_hours(1)));
    let request = client().get(format!("{}/quote?symbol=AAPL&token={TOKEN}", feed.base_url()));
    assert!(request.timeout(Duration::from_millis(50)).send().await.unwrap_err().is_timeout());
    feed.stop().await;
}

#[tokio::test]
async fn a_second_run_goes_on_where_the_first_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let config = Config { state_file: Some(folder.path().join("position")), start_position: 77, ..manual() };

    let feed = Feed::start(config.clone()).await.unwrap();
    assert_eq!(feed.position(), 77);
    feed.set_position(4242);
    feed.stop().await;

    let feed = Feed::start(config.clone()).await.unwrap();
    assert_eq!(feed.position(), 4242);
    feed.stop().await;

    std::fs::write(folder.path().join("position"), "damaged").unwrap();
    assert!(matches!(Feed::start(config).await.err(), Some(Error::State { .. })));
    let nowhere = Config { state_file: Some(folder.path().join("missing/position")), ..manual() };
    assert!(matches!(Feed::start(nowhere).await.err(), Some(Error::State { .. })));
}

#[tokio::test]
async fn a_busy_port_is_named() {
    let feed = Feed::start(manual()).await.unwrap();
    let error = Feed::start(Config { port: feed.port(), ..manual() }).await.err().unwrap();
    assert!(matches!(error, Error::PortBusy { port } if port == feed.port()));
    assert!(error.to_string().contains(&feed.port().to_string()));

    let port = feed.port();
    feed.stop().await;
    Feed::start(Config { port, ..manual() }).await.unwrap().stop().await;
}

#[tokio::test]
async fn an_invalid_speed_is_refused() {
    for speed in [-1.0, f64::NAN, f64::INFINITY] {
        assert!(matches!(Feed::start(Config { speed, ..manual() }).await.err(), Some(Error::Speed(_))));
    }
}
