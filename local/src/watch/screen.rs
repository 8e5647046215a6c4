//! What a person reads while the flow starts, runs and stops.

use std::{
    collections::BTreeMap,
    io::{IsTerminal, Write},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use tokio::time::Instant;
use tracing_subscriber::fmt::MakeWriter;

use crate::watch::{
    latencies::{Latency, Stage},
    metrics::FunctionMetrics,
    store_counts::Counts,
};

/// How often a line is printed where there is no terminal to rewrite one on.
const LINE_EVERY: Duration = Duration::from_secs(10);
const CLEARED: &str = "\r\x1b[2K";

/// Whether the terminal's last line is a [`Screen`]'s, which the next text must replace.
static IS_SHOWN: AtomicBool = AtomicBool::new(false);

/// Tells, for each part, that it is there and how long that took.
pub(crate) struct Progress(Instant);

impl Progress {
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn done(&self, part: &str, what: &str) {
        println!("  {:5.1} s  {part:<10} {what}", self.0.elapsed().as_secs_f64());
    }
}

/// One line that is rewritten on a terminal, and printed every 10 s elsewhere.
pub(crate) struct Screen {
    is_terminal: bool,
    shown: Option<(Instant, String)>,
}

impl Screen {
    pub(crate) fn new() -> Self {
        Self { is_terminal: std::io::stdout().is_terminal(), shown: None }
    }

    /// Shows the first of the texts that fits; if none does, what fits of the last. Where there is no terminal a
    /// new `state` is printed at once.
    pub(crate) fn show(&mut self, texts: &[String], state: &str) {
        if self.is_terminal {
            let width = rustix::termios::tcgetwinsize(std::io::stdout()).map_or(0, |size| size.ws_col);
            // The last column stays free: a full line would wrap.
            let width = if width == 0 { 80 } else { usize::from(width) } - 1;
            print!("{CLEARED}{}", fitting(texts, width));
            IS_SHOWN.store(true, Ordering::Relaxed);
            let _ = std::io::stdout().flush();
            return;
        }
        // A count that moves is not news.
        let state: String = state.chars().filter(|character| !character.is_ascii_digit()).collect();
        if self.shown.as_ref().is_none_or(|(at, shown)| at.elapsed() >= LINE_EVERY || *shown != state) {
            self.shown = Some((Instant::now(), state));
            println!("{}", texts.first().map_or("", String::as_str));
        }
    }

    /// Ends the line, so that what was shown stays.
    pub(crate) fn end(&mut self) {
        if IS_SHOWN.swap(false, Ordering::Relaxed) {
            println!();
        }
        self.shown = None;
    }
}

/// Prints a line of its own, in place of the line that is rewritten.
pub(crate) fn say(text: &str) {
    clear();
    println!("{text}");
}

fn clear() {
    if IS_SHOWN.swap(false, Ordering::Relaxed) {
        print!("{CLEARED}");
        let _ = std::io::stdout().flush();
    }
}

/// Standard error for the log, whose lines replace the line that is rewritten.
pub(crate) struct Log;

impl MakeWriter<'_> for Log {
    type Writer = std::io::Stderr;

    fn make_writer(&self) -> std::io::Stderr {
        clear();
        std::io::stderr()
    }
}

fn fitting(texts: &[String], width: usize) -> String {
    let fits = |text: &&String| text.chars().count() <= width;
    let cut = |text: &String| text.chars().take(width.saturating_sub(1)).chain(['…']).collect();
    texts.iter().find(fits).cloned().or_else(|| texts.last().map(cut)).unwrap_or_default()
}

/// How far the quotes of this run are and what state the flow is in, the longest text first.
pub(crate) fn progress(
    running: Duration,
    fetched: u64,
    latencies: &BTreeMap<Stage, Latency>,
    state: &str,
) -> Vec<String> {
    let seconds = running.as_secs();
    let time = format!("{:02}:{:02}", seconds / 60, seconds % 60);
    if fetched == 0 {
        return vec![format!("{time}  no quotes yet; {state}"), format!("{time}  {state}")];
    }
    let reached = |stage| latencies.get(&stage).map_or(0, |latency| latency.quotes);
    let gold = latencies.get(&Stage::GoldRow).filter(|gold| gold.quotes > 0);
    let page = gold.map_or_else(
        || "none on the page yet".to_owned(),
        |gold| format!("{} on the page after {}", gold.quotes, seconds_of(gold.p50)),
    );
    let (archived, loaded) = (reached(Stage::Object), reached(Stage::BronzeRow));
    vec![
        format!("{time}  {fetched} fetched, {archived} archived, {loaded} loaded, {page}; {state}"),
        format!("{time}  {fetched} fetched, {page}; {state}"),
        format!("{time}  {fetched} fetched; {state}"),
        format!("{time}  {state}"),
    ]
}

fn seconds_of(milliseconds: u64) -> String {
    format!("{}.{} s", milliseconds / 1000, milliseconds % 1000 / 100)
}

/// What the flow waits for before it ends.
pub(crate) fn stopping(on_their_way: u64) -> Vec<String> {
    let quotes =
        if on_their_way == 1 { "1 quote is".to_owned() } else { format!("{on_their_way} quotes are") };
    vec![
        format!("stopping: {quotes} on the way (Ctrl-C leaves the rest for the next run)"),
        format!("stopping: {quotes} on the way"),
    ]
}

/// Each function that failed: how often, and why the last time.
pub(crate) fn failures(functions: &BTreeMap<String, FunctionMetrics>) -> Vec<String> {
    let failed = functions.iter().filter(|(_, known)| known.errors > 0);
    let text = |(name, known): (&String, &FunctionMetrics)| {
        let times = if known.errors == 1 { "once".to_owned() } else { format!("{} times", known.errors) };
        let why = known.last_error.as_ref().map_or_else(String::new, |why| format!(": {why}"));
        format!("{name} failed {times}{why}")
    };
    failed.map(text).collect()
}

/// Prints what the stores hold, what failed, how long the quotes took, and the latest prices.
pub(crate) fn summary(
    counts: Counts,
    functions: &BTreeMap<String, FunctionMetrics>,
    latencies: &BTreeMap<Stage, Latency>,
    prices: &[Vec<Option<String>>],
) {
    let Counts { fetched, published, archived, loaded, silver, quarantined, .. } = counts;
    println!(
        "\nin the stores: {fetched} fetched, {published} published, {archived} archived, {loaded} loaded"
    );
    let history = archived.saturating_sub(published);
    if history > 0 {
        println!("               {history} of the archived are the history of a first run");
    }
    let repeated = loaded.saturating_sub(silver);
    let repeated = if repeated == 0 {
        String::new()
    } else {
        format!(" ({repeated} repeated a trade, or were rejected)")
    };
    println!("               {silver} different trades in silver{repeated}");
    let failures = failures(functions);
    for failure in &failures {
        println!("{failure}");
    }
    let dead_letters = counts.dead_letters.messages;
    if failures.is_empty() && dead_letters == 0 && quarantined == 0 {
        println!("nothing failed, nothing is in quarantine");
    } else {
        println!("dead letters: {dead_letters}; in quarantine: {quarantined}");
    }
    println!("\nfrom the fetch to    quotes    p50 ms    p95 ms    max ms");
    for (stage, latency) in latencies {
        let stage = match stage {
            Stage::KafkaAck => "Kafka ack",
            Stage::Object => "object",
            Stage::BronzeRow => "bronze row",
            Stage::GoldRow => "gold row",
        };
        println!(
            "  {stage:<14} {:>10}{:>10}{:>10}{:>10}",
            latency.quotes, latency.p50, latency.p95, latency.max
        );
    }
    println!("\nsymbol        price  change %  market time (New York)");
    for row in prices {
        let text = |column: usize| row.get(column).cloned().flatten().unwrap_or_default();
        println!("{:<8} {:>10} {:>9}  {}", text(0), text(1), text(2), text(3));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn latencies(gold: u64) -> BTreeMap<Stage, Latency> {
        let of = |quotes| Latency { quotes, p50: 1234, p95: 2000, max: 3000 };
        [(Stage::KafkaAck, 90), (Stage::Object, 85), (Stage::BronzeRow, 80), (Stage::GoldRow, gold)]
            .map(|(stage, quotes)| (stage, of(quotes)))
            .into()
    }

    #[test]
    fn the_line_has_what_fits_and_ends_with_the_state() {
        let texts = progress(Duration::from_secs(84), 90, &latencies(75), "all well");
        for (width, line) in [
            (120, "01:24  90 fetched, 85 archived, 80 loaded, 75 on the page after 1.2 s; all well"),
            (79, "01:24  90 fetched, 85 archived, 80 loaded, 75 on the page after 1.2 s; all well"),
            (60, "01:24  90 fetched, 75 on the page after 1.2 s; all well"),
            (40, "01:24  90 fetched; all well"),
            (20, "01:24  all well"),
            (10, "01:24  al…"),
        ] {
            assert_eq!(fitting(&texts, width), line, "{width}");
        }
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        let state = "Finnhub cannot be reached: failed to lookup address information: Name does not resolve";
        for fetched in [0, 5, 123_456] {
            let texts = progress(Duration::from_hours(10), fetched, &latencies(0), state);
            for width in 1..200 {
                assert!(fitting(&texts, width).chars().count() <= width, "{width}");
            }
        }
        assert!(fitting(&stopping(25), 79).contains("25 quotes are on the way (Ctrl-C"));
    }

    #[test]
    fn before_the_first_quote_the_state_says_why() {
        let texts = progress(Duration::from_secs(4), 0, &BTreeMap::new(), "Finnhub answers HTTP 500");
        assert_eq!(texts[0], "00:04  no quotes yet; Finnhub answers HTTP 500");
    }
}
