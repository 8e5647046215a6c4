//! What an invocation's time is spent on.

use std::time::{Duration, SystemTime};

use crate::support::*;

#[tokio::test]
async fn a_symbol_that_hangs_starves_neither_the_others_nor_the_next_poll() {
    let kafka = Kafka::start();
    let finnhub = Scripted::quotes(|asked| match asked.symbol.as_deref() {
        Some("HANGS") => Reply::Never,
        _ => quote("150.25", epoch()),
    })
    .await;
    let more = [("SYMBOLS", "HANGS,AAPL,MSFT"), ("POLL_INTERVAL_SECONDS", "1")];
    let more = [more.as_slice(), &[("RATE_LIMIT_PER_MINUTE", "600")]].concat();
    let outcome = run(&function(&finnhub.base_url, &kafka.servers(), &more), 3).await.unwrap();
    assert_eq!((outcome.polls, outcome.published, outcome.cut_short), (3, 6, false), "{outcome:?}");
    assert_eq!(outcome.failed["network"], 3);
    assert_eq!((kafka.count("AAPL"), kafka.count("MSFT")), (3, 3));
}

#[tokio::test]
async fn with_five_seconds_left_it_stops_flushes_and_returns_what_it_did() {
    let kafka = Kafka::start();
    let finnhub = Scripted::quotes(|_| quote("150.25", epoch())).await;
    let more = [("POLL_INTERVAL_SECONDS", "0.2"), ("RATE_LIMIT_PER_MINUTE", "6000")];
    let function = function(&finnhub.base_url, &kafka.servers(), &more);
    let outcome = run_within(&function, 1000, Duration::from_secs(7)).await.unwrap();
    assert!(outcome.cut_short && outcome.polls > 0 && outcome.polls < 1000, "{outcome:?}");
    assert_eq!(outcome.published, outcome.fetched);
    assert_eq!(kafka.records().len() as u64, outcome.published);
}

#[tokio::test]
async fn a_finnhub_that_hangs_altogether_ends_before_the_functions_time_does() {
    let kafka = Kafka::start();
    let finnhub = Scripted::start(|_| Reply::Never).await;
    let function = function(&finnhub.base_url, &kafka.servers(), &[]);
    let deadline = SystemTime::now() + Duration::from_secs(8);
    let outcome = run_within(&function, 10, Duration::from_secs(8)).await.unwrap();
    assert!(SystemTime::now() < deadline);
    assert!(outcome.cut_short, "{outcome:?}");
    assert_eq!(outcome.failed, std::collections::BTreeMap::from([("network", 5)]));
}

#[tokio::test]
async fn an_event_with_no_time_left_polls_nothing() {
    let kafka = Kafka::start();
    let finnhub = Scripted::quotes(|_| quote("150.25", epoch())).await;
    let function = function(&finnhub.base_url, &kafka.servers(), &[]);
    let outcome = run_within(&function, 10, Duration::from_secs(4)).await.unwrap();
    assert!(outcome.cut_short && outcome.polls == 0, "{outcome:?}");
    assert!(finnhub.log().is_empty());
}
