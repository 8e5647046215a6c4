//! The rate of requests to Finnhub.

use std::{collections::BTreeMap, time::Duration};

use feed::Feed;

use crate::support::*;

#[tokio::test]
async fn no_window_holds_more_than_the_limit_across_invocations_too() {
    let kafka = Kafka::start();
    let finnhub = Scripted::quotes(|_| quote("150.25", epoch())).await;
    let function = function(&finnhub.base_url, &kafka.servers(), &[]);
    let (mut published, mut no_turn) = (0, 0);
    // 6 requests each: 84 are wanted.
    for _ in 0..14 {
        let outcome = run(&function, 1).await.unwrap();
        published += outcome.published;
        no_turn += outcome.failed.get("no_turn").copied().unwrap_or_default();
    }
    assert_eq!(finnhub.log().len(), 60);
    assert_eq!((published, no_turn), (50, 20));
    assert_eq!(finnhub.busiest(Duration::from_mins(1)), 60);
    assert!(finnhub.busiest(Duration::from_secs(1)) <= 30, "{}", finnhub.busiest(Duration::from_secs(1)));
}

#[tokio::test]
async fn two_hundred_symbols_are_asked_evenly() {
    let kafka = Kafka::start();
    let finnhub = Scripted::quotes(|_| quote("150.25", epoch())).await;
    let symbols: Vec<String> = (0..200).map(|number| format!("S{number}")).collect();
    let more = [
        ("SYMBOLS", symbols.join(",")),
        ("POLL_INTERVAL_SECONDS", "0.1".to_owned()),
        ("RATE_LIMIT_PER_MINUTE", "6001".to_owned()),
    ];
    let more: Vec<(&str, &str)> = more.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let outcome = run(&function(&finnhub.base_url, &kafka.servers(), &more), 40).await.unwrap();
    assert_eq!((outcome.polls, outcome.published, outcome.failed.len()), (40, 400, 0), "{outcome:?}");
    for symbol in &symbols {
        assert_eq!(finnhub.times_asked(symbol), 2, "{symbol}");
    }
}

#[tokio::test]
async fn a_429_is_waited_out_until_its_reset() {
    let kafka = Kafka::start();
    let reset = epoch() + 3;
    let finnhub = Scripted::quotes(move |asked| match asked.earlier {
        0 => limited(reset),
        _ => quote("150.25", epoch()),
    })
    .await;
    let more = [("SYMBOLS", "AAPL"), ("POLL_INTERVAL_SECONDS", "20")];
    let outcome = run(&function(&finnhub.base_url, &kafka.servers(), &more), 1).await.unwrap();
    assert_eq!((outcome.published, outcome.failed.len()), (1, 0), "{outcome:?}");
    let asked: Vec<u64> =
        finnhub.log().iter().filter(|asked| asked.symbol.is_some()).map(|asked| asked.epoch).collect();
    assert_eq!(asked.len(), 2);
    assert!(asked[1] >= reset, "asked at {asked:?}, before the reset at {reset}");
}

#[tokio::test]
async fn a_429_whose_reset_is_beyond_the_poll_is_counted_and_not_hammered() {
    let kafka = Kafka::start();
    let finnhub = Scripted::quotes(|_| limited(epoch() + 50)).await;
    let function = function(&finnhub.base_url, &kafka.servers(), &[]);
    let first = run(&function, 1).await.unwrap();
    assert_eq!(first.failed.values().sum::<u64>(), 5);
    assert!(first.failed["rate_limited"] >= 1, "{first:?}");
    let asked = finnhub.log().len();
    let second = run(&function, 1).await.unwrap();
    assert_eq!(second.failed, BTreeMap::from([("no_turn", 5)]));
    assert_eq!(finnhub.log().len(), asked);
}

#[tokio::test]
async fn finnhubs_own_count_goes_before_ours() {
    let kafka = Kafka::start();
    let config = feed::Config { token: KEY.into(), rate_limit_per_minute: 3, ..feed::Config::default() };
    let feed = Feed::start(config).await.unwrap();
    let function = function(&feed.base_url(), &kafka.servers(), &[("SYMBOLS", "AAPL,MSFT,TSLA,AMZN,JPM")]);
    let first = run(&function, 1).await.unwrap();
    assert_eq!((first.published, first.failed.values().sum::<u64>()), (2, 3), "{first:?}");
    let refused = feed.served().quotes_with(429);
    let second = run(&function, 1).await.unwrap();
    assert_eq!(second.failed, BTreeMap::from([("no_turn", 5)]));
    assert_eq!(feed.served().quotes_with(429), refused);
}

#[tokio::test]
async fn a_failing_symbols_retries_take_only_what_the_plan_leaves() {
    let kafka = Kafka::start();
    let finnhub = Scripted::quotes(|asked| match asked.symbol.as_deref() {
        Some("BAD") => status(503),
        _ => quote("150.25", epoch()),
    })
    .await;
    // 10 polls of 5 symbols, the market's status, and 2 to spare.
    let more = [("SYMBOLS", "BAD,A,B,C,D"), ("RATE_LIMIT_PER_MINUTE", "53")];
    let function = function(&finnhub.base_url, &kafka.servers(), &more);
    for _ in 0..4 {
        let outcome = run(&function, 1).await.unwrap();
        assert_eq!((outcome.published, &outcome.failed), (4, &BTreeMap::from([("status", 1)])));
    }
    assert_eq!((finnhub.times_asked("BAD"), finnhub.times_asked("A")), (4 + 2, 4));
}

#[tokio::test]
async fn a_dead_api_is_not_hammered_and_every_poll_is_counted() {
    let kafka = Kafka::start();
    let finnhub = Scripted::start(|_| status(502)).await;
    let more = [("POLL_INTERVAL_SECONDS", "0.5"), ("RATE_LIMIT_PER_MINUTE", "6000")];
    let function = function(&finnhub.base_url, &kafka.servers(), &more);
    let outcome = run(&function, 4).await.unwrap();
    assert_eq!((outcome.polls, outcome.fetched, outcome.failed.values().sum::<u64>()), (4, 0, 20));
    assert!(outcome.failed["status"] >= 5 && outcome.failed["breaker_open"] >= 5, "{outcome:?}");
    // 10 failures, and what was under way by then.
    assert!(finnhub.log().len() <= 15, "{}", finnhub.log().len());
    // It lasts from one invocation to the next.
    let asked = finnhub.log().len();
    let again = run(&function, 1).await.unwrap();
    assert_eq!(again.failed, BTreeMap::from([("breaker_open", 5)]));
    assert_eq!(finnhub.log().len(), asked);
}
