//! Finnhub's answers, and what the function does with them.

use std::{collections::BTreeMap, time::Duration};

use axum::response::{Html, IntoResponse, Redirect};
use feed::{
    Fault, Feed,
    recording::{Recording, SESSION_SECONDS},
};
use fetch_quotes::{FetchError, Market};
use function_kit::{Retry, chain};
use tokio::time::Instant;

use crate::support::*;

async fn feed() -> Feed {
    let config =
        feed::Config { token: KEY.to_owned(), rate_limit_per_minute: 1000, ..feed::Config::default() };
    Feed::start(config).await.unwrap()
}

fn only(reason: &'static str, times: u64) -> BTreeMap<&'static str, u64> {
    BTreeMap::from([(reason, times)])
}

#[tokio::test]
async fn every_symbol_of_every_poll_is_published() {
    let (feed, kafka) = (feed().await, Kafka::start());
    let more =
        [("POLL_INTERVAL_SECONDS", "0.2"), ("RATE_LIMIT_PER_MINUTE", "6000"), ("SYMBOLS", "AAPL,MSFT,TSLA")];
    let outcome = run(&function(&feed.base_url(), &kafka.servers(), &more), 4).await.unwrap();
    assert_eq!((outcome.polls, outcome.fetched, outcome.published), (4, 12, 12));
    assert_eq!((outcome.us_market, outcome.partial, outcome.untraded), (Market::Open, 0, 0));
    assert!(outcome.failed.is_empty() && !outcome.cut_short, "{outcome:?}");
    for symbol in ["AAPL", "MSFT", "TSLA"] {
        assert_eq!(kafka.count(symbol), 4, "{symbol}");
    }
}

#[tokio::test]
async fn no_data_is_counted_and_not_published() {
    let (feed, kafka) = (feed().await, Kafka::start());
    feed.set_fault(Some("MSFT"), Fault::AllZero);
    let function = function(&feed.base_url(), &kafka.servers(), &[("SYMBOLS", "AAPL,MSFT,NOPE")]);
    let outcome = run(&function, 1).await.unwrap();
    assert_eq!((outcome.fetched, outcome.published), (1, 1));
    assert_eq!(outcome.failed, only("no_data", 2));
    // A valid answer is not requested again.
    assert_eq!(feed.served().quote("MSFT", 200), 1);
    assert_eq!((kafka.count("AAPL"), kafka.records().len()), (1, 1));
}

#[tokio::test]
async fn partial_is_published_as_it_came_and_counted() {
    let (feed, kafka) = (feed().await, Kafka::start());
    feed.set_fault(Some("AAPL"), Fault::Body(r#"{"c":9.50,"h":0,"l":0,"o":0,"pc":0,"t":1549895400}"#.into()));
    let outcome =
        run(&function(&feed.base_url(), &kafka.servers(), &[("SYMBOLS", "AAPL,MSFT")]), 1).await.unwrap();
    assert_eq!((outcome.published, outcome.partial), (2, 1));
    assert!(outcome.failed.is_empty());
    let (_, partial) = kafka.records().into_iter().find(|(key, _)| key == "AAPL").unwrap();
    assert_eq!((partial["h"].as_i64(), partial.get("d")), (Some(0), None));
}

#[tokio::test]
async fn untraded_is_published_and_counted_where_the_us_market_is_open() {
    const HOURS: u64 = 3 * 24 * 3600;
    for (market_says, expected) in [(Some(true), (Market::Open, 4, 1)), (None, (Market::Unknown, 4, 0))] {
        let kafka = Kafka::start();
        let finnhub = Scripted::start(move |asked| match (asked.symbol.as_deref(), market_says) {
            (None, Some(is_open)) => market(is_open, epoch()),
            (None, None) => status(500),
            // Friday's close during Monday's session; other markets have hours of their own.
            (Some("AAPL" | "BINANCE:BTCUSDT"), _) => quote("150.25", epoch() - HOURS),
            (Some("MSFT"), _) => quote("150.25", epoch() - 60),
            // Equal to the moment of the request.
            (Some(_), _) => quote("150.25", epoch()),
        })
        .await;
        let more = [("SYMBOLS", "AAPL,MSFT,TSLA,BINANCE:BTCUSDT")];
        let outcome = run(&function(&finnhub.base_url, &kafka.servers(), &more), 1).await.unwrap();
        assert_eq!((outcome.us_market, outcome.published, outcome.untraded), expected);
        assert_eq!(kafka.count("AAPL"), 1);
    }
}

#[tokio::test]
async fn what_may_pass_is_tried_again_within_the_poll() {
    let kafka = Kafka::start();
    let finnhub = Scripted::quotes(|asked| match (asked.symbol.as_deref(), asked.earlier) {
        (Some("HTML"), 0) => Reply::Is(Html("<html>502 Bad Gateway</html>").into_response()),
        (Some("CUT"), 0) => json(r#"{"c":150.25,"d"#.to_owned()),
        (Some("BUSY"), 0) => status(503),
        (Some("BROKEN"), 0 | 1) => status(500),
        _ => quote("150.25", epoch()),
    })
    .await;
    let more = [("SYMBOLS", "HTML,CUT,BUSY,BROKEN,WELL"), ("POLL_INTERVAL_SECONDS", "20")];
    let outcome = run(&function(&finnhub.base_url, &kafka.servers(), &more), 1).await.unwrap();
    assert_eq!((outcome.published, outcome.failed.len()), (5, 0), "{outcome:?}");
    for (symbol, times) in [("HTML", 2), ("CUT", 2), ("BUSY", 2), ("BROKEN", 3), ("WELL", 1)] {
        assert_eq!(finnhub.times_asked(symbol), times, "{symbol}");
    }
}

#[tokio::test]
async fn one_symbols_failure_is_counted_with_its_reason_and_costs_no_other() {
    let kafka = Kafka::start();
    let finnhub = Scripted::quotes(|asked| match asked.symbol.as_deref() {
        Some("HTML") => Reply::Is(Html("<html>").into_response()),
        Some("BROKEN") => status(502),
        Some("FORBIDDEN") => status(403),
        Some("ODD") => status(418),
        Some("TEXT") => json(r#"{"c":"150"}"#.to_owned()),
        Some("HUGE") => json(" ".repeat(100_000)),
        _ => quote("150.25", epoch()),
    })
    .await;
    let more =
        [("SYMBOLS", "HTML,BROKEN,FORBIDDEN,AAPL,ODD,TEXT,HUGE,MSFT"), ("POLL_INTERVAL_SECONDS", "20")];
    let outcome = run(&function(&finnhub.base_url, &kafka.servers(), &more), 1).await.unwrap();
    assert_eq!((kafka.count("AAPL"), kafka.count("MSFT"), outcome.published), (1, 1, 2));
    let expected = BTreeMap::from([("body", 2), ("status", 2), ("no_access", 1), ("network", 1)]);
    assert_eq!(outcome.failed, expected);
    // A permanent error is requested once.
    assert_eq!((finnhub.times_asked("FORBIDDEN"), finnhub.times_asked("ODD")), (1, 1));
}

#[tokio::test]
async fn a_wrong_key_fails_the_invocation_and_is_not_retryable() {
    let (feed, kafka) = (Feed::start(feed::Config::default()).await.unwrap(), Kafka::start());
    let error = run(&function(&feed.base_url(), &kafka.servers(), &[]), 1).await.unwrap_err();
    assert!(matches!(error, FetchError::Refused(_)) && !error.is_retryable(), "{error:?}");
    let message = chain(&error);
    for part in ["FINNHUB_API_KEY", "AAPL, AMZN, GOOGL, MSFT, TSLA: ", "HTTP 401", "Invalid API key"] {
        assert!(message.contains(part), "{part} in {message}");
    }
    assert!(!message.contains(KEY), "{message}");
}

#[tokio::test]
async fn an_error_is_an_error_whatever_its_status_and_is_logged_in_finnhubs_own_words() {
    let words = |words: &str| format!(r#"{{"error":"{words}"}}"#);
    let zeros = r#"{"c":0,"d":null,"dp":null,"h":0,"l":0,"o":0,"pc":0,"t":0,"error":"Symbol not supported"}"#;
    for (code, body, reason, expected) in [
        (200, words("Invalid API key"), "refused", "HTTP 200: Invalid API key"),
        (200, words(&format!("Invalid token {KEY}")), "refused", "Invalid token ***"),
        (401, words("Please use an API key."), "refused", "HTTP 401: Please use an API key."),
        (401, "Invalid API key".to_owned(), "refused", "HTTP 401: Invalid API key"),
        (401, "<html>Unauthorized</html>".to_owned(), "refused", "(HTTP 401)"),
        (403, words("You don't have access to this resource."), "no_access", "You don't have access"),
        (200, words("You don't have access to this resource."), "no_access", "You don't have access"),
        (200, words("API limit reached. Please try again later."), "rate_limited", "API limit reached"),
        (200, zeros.to_owned(), "error", "Symbol not supported"),
        (200, r#"{"error":{"code":7}}"#.to_owned(), "error", r#"{"code":7}"#),
        (422, words("Wrong\\nsymbol"), "status", "HTTP 422: Wrong symbol"),
    ] {
        let kafka = Kafka::start();
        let finnhub = Scripted::quotes(move |asked| match asked.symbol.as_deref() {
            Some("AAPL") => answer_with(code, body.clone()),
            _ => quote("150.25", epoch()),
        })
        .await;
        // Less than the back-off of 5 s, so that a reached limit is not waited for; long for a slow machine.
        let more =
            [("SYMBOLS", "AAPL,MSFT"), ("POLL_INTERVAL_SECONDS", "4"), ("RATE_LIMIT_PER_MINUTE", "600")];
        let outcome = run(&function(&finnhub.base_url, &kafka.servers(), &more), 1).await.unwrap();
        assert_eq!((outcome.published, outcome.failed), (1, only(reason, 1)), "{expected}");
        let (symbol, until) = ("AAPL".parse().unwrap(), Instant::now() + Duration::from_secs(4));
        let error = client(&finnhub.base_url).quote(&symbol, until).await.unwrap_err().to_string();
        assert!(error.contains(expected) && !error.contains(KEY), "{expected} in {error}");
    }
}

#[tokio::test]
async fn a_symbol_that_the_key_may_not_have_does_not_accuse_the_key_of_others() {
    let refusal = || answer_with(403, r#"{"error":"You don't have access to this resource."}"#.to_owned());
    for (is_open, zeros) in [(false, false), (true, true)] {
        let kafka = Kafka::start();
        let finnhub = Scripted::start(move |asked| match asked.symbol.as_deref() {
            None => market(is_open, epoch()),
            Some("OANDA:EUR_USD") => refusal(),
            Some(_) if zeros => {
                json(r#"{"c":0,"d":null,"dp":null,"h":0,"l":0,"o":0,"pc":0,"t":0}"#.to_owned())
            }
            Some(_) => quote("150.25", epoch()),
        })
        .await;
        let function =
            function(&finnhub.base_url, &kafka.servers(), &[("SYMBOLS", "AAPL,MSFT,OANDA:EUR_USD")]);
        // From the third invocation on, a closed market's symbols are not requested any more.
        for _ in 0..3 {
            assert!(run(&function, 1).await.is_ok());
        }
    }
    let kafka = Kafka::start();
    let finnhub = Scripted::quotes(move |_| refusal()).await;
    let function = function(&finnhub.base_url, &kafka.servers(), &[("SYMBOLS", "AAPL,OANDA:EUR_USD")]);
    let message = chain(&run(&function, 1).await.unwrap_err());
    let expected = "FINNHUB_API_KEY may not read any of SYMBOLS: AAPL, OANDA:EUR_USD: the key may not read this \
                    symbol (HTTP 403: You don't have access to this resource.)";
    assert_eq!(message, expected);
}

#[tokio::test]
async fn the_key_travels_in_a_header_and_to_no_other_server() {
    let kafka = Kafka::start();
    let elsewhere = Scripted::quotes(|_| quote("1", 1)).await;
    let target = format!("{}/quote?symbol=AAPL", elsewhere.base_url);
    let finnhub = Scripted::quotes(move |asked| match asked.symbol.as_deref() {
        Some("AAPL") => Reply::Is(Redirect::temporary(&target).into_response()),
        _ => quote("150.25", epoch()),
    })
    .await;
    let outcome =
        run(&function(&finnhub.base_url, &kafka.servers(), &[("SYMBOLS", "AAPL,MSFT")]), 1).await.unwrap();
    assert_eq!((outcome.published, outcome.failed), (1, only("status", 1)));
    assert!(elsewhere.log().is_empty());
    assert!(
        finnhub.log().iter().all(|asked| asked.token.as_deref() == Some(KEY) && !asked.uri.contains(KEY))
    );
}

#[tokio::test]
async fn a_closed_market_is_polled_once_in_two_invocations_and_what_never_closes_always() {
    let kafka = Kafka::start();
    let finnhub = Scripted::start(|asked| match &asked.symbol {
        None => market(false, epoch()),
        Some(_) => quote("150.25", 1),
    })
    .await;
    let more = [("SYMBOLS", "AAPL,BINANCE:BTCUSDT,MSFT"), ("POLL_INTERVAL_SECONDS", "0.2")];
    let more = [more.as_slice(), &[("RATE_LIMIT_PER_MINUTE", "6000")]].concat();
    let function = function(&finnhub.base_url, &kafka.servers(), &more);
    for round in 1..=3 {
        let outcome = run(&function, 3).await.unwrap();
        assert_eq!((outcome.us_market, outcome.polls, outcome.untraded), (Market::Closed, 3, 0));
        let asked = ["AAPL", "MSFT", "BINANCE:BTCUSDT"].map(|symbol| finnhub.times_asked(symbol));
        assert_eq!(asked, [round.min(2), round.min(2), 3 * round]);
    }
    assert_eq!(kafka.records().len(), 13);
}

/// After each recorded session, half an hour of it left or none: the market closes, and the exchange's official close comes
/// with the second minute. The next day's quotes name it as their previous close.
#[tokio::test]
async fn the_days_last_price_is_the_official_close_that_the_next_day_names() {
    let recording = Recording::embedded().unwrap();
    // A minute before the bell, the next day's first second.
    for (day, left) in [(0, 1), (1, 30 * 60), (2, 1), (3, 1)] {
        let kafka = Kafka::start();
        let before = recording.quote_at("AAPL", (day + 1) * SESSION_SECONDS - left);
        let next_day = recording.quote_at("AAPL", (day + 1) * SESSION_SECONDS);
        let official = next_day.pc.to_string();
        let (last, close) = (before.c.to_string(), official.clone());
        let finnhub = Scripted::start(move |asked| match (&asked.symbol, asked.earlier) {
            (None, earlier) => market(earlier == 0, epoch()),
            (Some(_), 0 | 1) => quote(&last, epoch()),
            (Some(_), _) => quote(&close, epoch()),
        })
        .await;
        let new = || function(&finnhub.base_url, &kafka.servers(), &[("SYMBOLS", "AAPL")]);
        let mut function = new();
        for (market, asked) in
            [(Market::Open, 1), (Market::Closed, 2), (Market::Closed, 3), (Market::Closed, 3)]
        {
            assert_eq!(run(&function, 1).await.unwrap().us_market, market);
            assert_eq!(finnhub.times_asked("AAPL"), asked);
        }
        // A process that starts at night has it again.
        function = new();
        run(&function, 1).await.unwrap();
        for published in [2, 3] {
            let prices: Vec<String> =
                kafka.records().iter().map(|(_, value)| value["c"].to_string()).collect();
            let away = prices[published].parse::<f64>().unwrap() - official.parse::<f64>().unwrap();
            assert!(away.abs() < 1e-9, "{official} in {prices:?}");
        }
    }
}

#[tokio::test]
async fn in_a_closed_market_a_symbol_without_an_answer_is_asked_again() {
    let kafka = Kafka::start();
    let finnhub = Scripted::start(|asked| match &asked.symbol {
        None => market(false, epoch()),
        Some(_) if asked.earlier < 3 => status(500),
        Some(_) => quote("151.5", epoch()),
    })
    .await;
    let more = [("SYMBOLS", "AAPL"), ("POLL_INTERVAL_SECONDS", "1")];
    let more = [more.as_slice(), &[("RATE_LIMIT_PER_MINUTE", "6000")]].concat();
    let outcome = run(&function(&finnhub.base_url, &kafka.servers(), &more), 9).await.unwrap();
    assert_eq!((outcome.fetched, outcome.published), (1, 1), "{outcome:?}");
}

#[tokio::test]
async fn a_closed_market_with_nothing_left_to_poll_is_not_waited_through() {
    let kafka = Kafka::start();
    let finnhub = Scripted::start(|asked| match &asked.symbol {
        None => market(false, epoch()),
        Some(_) => quote("151.5", epoch()),
    })
    .await;
    let function = function(&finnhub.base_url, &kafka.servers(), &[]);
    for polls in [1, 1, 0] {
        let outcome = run(&function, 10).await.unwrap();
        assert_eq!((outcome.polls, outcome.us_market), (polls, Market::Closed));
    }
    assert_eq!(finnhub.log().len(), 13);
}

#[tokio::test]
async fn a_market_of_unknown_state_is_polled() {
    for reply in
        [|| status(500), || json("[]".into()), || Reply::Is(Html("<html>").into_response()), || Reply::Never]
    {
        let kafka = Kafka::start();
        let finnhub = Scripted::start(move |asked| match &asked.symbol {
            None => reply(),
            Some(_) => quote("150.25", epoch()),
        })
        .await;
        let outcome = run(&function(&finnhub.base_url, &kafka.servers(), &[]), 1).await.unwrap();
        assert_eq!((outcome.us_market, outcome.published), (Market::Unknown, 5));
    }
}
