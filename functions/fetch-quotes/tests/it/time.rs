//! What an invocation's time is spent on.

use std::time::{Duration, SystemTime};

use fetch_quotes::{FetchQuotes, Outcome, Schedule};
use jiff::{SignedDuration, Timestamp};
use lambda_runtime::{Context, LambdaEvent};

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
    assert_eq!(outcome.failed, std::collections::BTreeMap::from([("network", 5), ("no_time", 45)]));
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

/// An invocation without time for a poll whose event was scheduled so many seconds from now: only what was missed is
/// looked at.
async fn scheduled(function: &FetchQuotes, seconds: i64) -> Outcome {
    let scheduled_time = Timestamp::now() + SignedDuration::from_secs(seconds);
    let payload = Schedule { scheduled_time: Some(scheduled_time.to_string()), polls: None };
    let mut context = Context::default();
    context.deadline = 1000 * epoch();
    function.handle(LambdaEvent { payload, context }).await.unwrap()
}

async fn late(function: &FetchQuotes, seconds: i64) -> u64 {
    scheduled(function, seconds).await.failed.get("late").copied().unwrap_or_default()
}

#[tokio::test]
async fn polls_that_a_late_event_left_out_are_counted() {
    let kafka = Kafka::start();
    let finnhub = Scripted::quotes(|_| quote("150.25", epoch())).await;
    let function = || function(&finnhub.base_url, &kafka.servers(), &[]);
    assert_eq!(late(&function(), 0).await, 0);
    // At 31 s the first poll is that of 36 s: those of 0, 6, … 30 s are lost, of five symbols each.
    assert_eq!(late(&function(), -31).await, 30);
    // The next minute's event loses nothing: it continues where the late one ended.
    let function = function();
    assert_eq!((late(&function, -40).await, late(&function, 0).await), (35, 0));
}

#[tokio::test]
async fn the_polls_of_an_event_that_never_came_are_counted_by_the_next() {
    let kafka = Kafka::start();
    let finnhub = Scripted::quotes(|_| quote("150.25", epoch())).await;
    let more = [("POLL_INTERVAL_SECONDS", "60")];
    let function = function(&finnhub.base_url, &kafka.servers(), &more);
    run(&function, 1).await.unwrap();
    // Due in a minute, and in ten minutes the first comes: nine polls of five symbols are lost.
    assert_eq!(late(&function, 600).await, 45);
    // After hours without an event the schedule was paused.
    assert_eq!(late(&function, 4 * 3600).await, 0);
}

/// Seconds from the beginning, for the paused clock below.
fn second(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_704_207_600 + seconds).unwrap()
}

/// The schedule fires each minute; the event of minute 1 is `late` seconds late. One invocation runs at a time, and an
/// event that meets a running one waits: it is tried again every `pause` seconds. Gives the seconds of all polls.
fn polls_with_a_reserve_of_one(late: i64, pause: i64) -> Vec<i64> {
    let mut polls: Vec<i64> = Vec::new();
    let mut busy_until = 0;
    for minute in 0..5_i64 {
        let mut now = minute * 60 + if minute == 1 { late } else { 0 };
        while now < busy_until {
            now += pause;
        }
        let schedule = Schedule { scheduled_time: Some(second(minute * 60).to_string()), polls: None };
        let plan = schedule.plan(second(now), Duration::from_secs(6), 10);
        let began: Vec<i64> = plan.polls().map(|(_, at)| at.as_second() - second(0).as_second()).collect();
        // A poll takes a second, and so the invocation ends a second after its last.
        busy_until = began.last().map_or(now, |last| last + 1);
        polls.extend(began);
    }
    polls
}

#[test]
fn events_that_wait_for_a_reserve_of_one_lose_no_poll_after_a_late_one() {
    assert_eq!(polls_with_a_reserve_of_one(0, 1).len(), 50);
    for late in [3, 9, 20, 40, 59] {
        for pause in [1, 2, 4] {
            let polls = polls_with_a_reserve_of_one(late, pause);
            let gaps: Vec<i64> =
                polls.windows(2).map(|two| two[1] - two[0]).filter(|gap| *gap != 6).collect();
            // What was due before the late event came is the one gap there is: that is counted as missed.
            assert!(gaps.len() <= 1 && gaps.iter().all(|gap| *gap <= late + 12), "{late} {pause}: {polls:?}");
            assert!(polls.iter().all(|poll| poll % 6 == 0), "{polls:?}");
        }
    }
}

#[tokio::test]
async fn polls_between_a_run_and_an_event_that_is_sent_again_are_counted() {
    let kafka = Kafka::start();
    let finnhub = Scripted::quotes(|_| quote("150.25", epoch())).await;
    let more = [("POLL_INTERVAL_SECONDS", "60")];
    let function = function(&finnhub.base_url, &kafka.servers(), &more);
    run(&function, 1).await.unwrap();
    let scheduled_time = Some((Timestamp::now() + SignedDuration::from_mins(3)).to_string());
    let payload = Schedule { scheduled_time, polls: Some(1) };
    let mut context = Context::default();
    context.deadline = 1000 * epoch();
    let outcome = function.handle(LambdaEvent { payload, context }).await.unwrap();
    // The event is due in a minute, and the first to come is that of three minutes later: two polls of five symbols.
    assert_eq!(outcome.failed.get("late"), Some(&10));
}
