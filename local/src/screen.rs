//! What a person reads while the flow starts, runs and stops.

use std::{
    io::{IsTerminal, Write},
    time::Duration,
};

use jiff::Timestamp;
use tokio::time::Instant;

use crate::{
    book::{Book, Stage},
    ledger::Counts,
};

/// How often a line is printed where there is no terminal to rewrite one on.
const LINE_EVERY: Duration = Duration::from_secs(10);

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

/// One line that tells how far the quotes are.
pub(crate) struct Screen {
    rewrites: bool,
    shown: Option<Instant>,
}

impl Screen {
    pub(crate) fn new() -> Self {
        Self { rewrites: std::io::stdout().is_terminal(), shown: None }
    }

    pub(crate) fn show(&mut self, started: Timestamp, counts: Counts, book: &Book) {
        if !self.rewrites && self.shown.is_some_and(|shown| shown.elapsed() < LINE_EVERY) {
            return;
        }
        self.shown = Some(Instant::now());
        let seconds = Timestamp::now().duration_since(started).as_secs();
        let gold = book.latencies().get(&Stage::GoldRow).filter(|gold| gold.quotes > 0).copied();
        let gold = gold.map_or_else(
            || "waiting for gold".to_owned(),
            |gold| format!("{} in gold, p50 {} ms", gold.quotes, gold.p50),
        );
        let line = format!(
            "{:02}:{:02}  fetched {}  published {}  archived {}  loaded {}  silver {}  failed {}  |  this run: {gold}",
            seconds / 60,
            seconds % 60,
            counts.fetched,
            counts.published,
            counts.archived,
            counts.loaded,
            counts.silver,
            counts.failed + counts.dead_letters.messages,
        );
        if self.rewrites {
            print!("\r\x1b[2K{line}");
        } else {
            println!("{line}");
        }
        let _ = std::io::stdout().flush();
    }

    /// Leaves the line as it is.
    pub(crate) fn end(&self) {
        if self.rewrites {
            println!();
        }
    }
}

/// Prints what the stores hold, how long the quotes took, and the latest prices.
pub(crate) fn summary(counts: Counts, book: &Book, prices: &[Vec<Option<String>>]) {
    println!(
        "\nin the stores: fetched {}, published {}, archived {}, loaded {}, silver {}, quarantined {}",
        counts.fetched, counts.published, counts.archived, counts.loaded, counts.silver, counts.quarantined
    );
    let dead_letters = counts.dead_letters.messages;
    println!("failed in this run: {} invocations; dead letters: {dead_letters}", counts.failed);
    println!("\nfrom the fetch to    quotes    p50 ms    p95 ms    max ms");
    for (stage, latency) in book.latencies() {
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
