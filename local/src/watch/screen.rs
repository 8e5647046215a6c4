//! The texts on the terminal while the flow starts, runs and stops.

use std::{
    collections::BTreeMap,
    io::{IsTerminal, Write},
    os::fd::AsFd,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use tokio::time::Instant;
use tracing_subscriber::fmt::MakeWriter;

use crate::{
    base::{hint, names},
    watch::{
        latencies::{Latency, Stage},
        metrics::FunctionMetrics,
        pipeline::in_words,
        store_counts::Counts,
    },
};

/// How often a line is printed if the output is not a terminal, where it could be rewritten.
const LINE_EVERY: Duration = Duration::from_secs(10);
/// Where the second column of [`Progress`] begins.
const PART_WIDTH: usize = 22;
const STORES: &str = "in the stores: ";
const CLEARED: &str = "\r\x1b[2K";

/// Whether the terminal's last line is a [`Screen`]'s, which the next text must replace.
static IS_SHOWN: AtomicBool = AtomicBool::new(false);

/// Prints, for each part, that it has started and how long that took.
pub(crate) struct Progress(Instant);

impl Progress {
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn done(&self, part: &str, what: &str) {
        let line = format!("  {:5.1} s  {part:<10} {what}", self.0.elapsed().as_secs_f64());
        println!("{}", wrapped(&line, width_of(std::io::stdout()), PART_WIDTH));
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

    /// Shows the first of the texts that fits; if none does, what fits of the last. If the output is not a terminal,
    /// a new `state` is printed at once.
    pub(crate) fn show(&mut self, texts: &[String], state: &str) {
        if self.is_terminal {
            // The last column stays free, because a full line would wrap.
            print!("{CLEARED}{}", fitting(texts, width_of(std::io::stdout()) - 1));
            IS_SHOWN.store(true, Ordering::Relaxed);
            let _ = std::io::stdout().flush();
            return;
        }
        // A changed count alone is not a new state.
        let state: String = state.chars().filter(|character| !character.is_ascii_digit()).collect();
        if self.shown.as_ref().is_none_or(|(at, shown)| at.elapsed() >= LINE_EVERY || *shown != state) {
            self.shown = Some((Instant::now(), state));
            println!("{}", texts.first().map_or("", String::as_str));
        }
    }

    /// Ends the line, so that its text stays.
    pub(crate) fn end(&mut self) {
        if IS_SHOWN.swap(false, Ordering::Relaxed) {
            println!();
        }
        self.shown = None;
    }
}

/// Prints a text in place of the line that is rewritten.
pub(crate) fn say(text: &str) {
    clear();
    println!("{}", wrapped(text, width_of(std::io::stdout()), 0));
}

/// Prints why the command fails.
pub(crate) fn complain(error: &anyhow::Error) {
    clear();
    eprintln!("{}", complaint(&format!("error: {error:#}"), width_of(std::io::stderr())));
}

/// The message in lines, with the command at its end in one line.
fn complaint(text: &str, width: usize) -> String {
    match text.split_once(hint::START_IT) {
        Some((why, command)) if text.chars().count() > width => {
            let why = format!("{why}{}", hint::START_IT.trim_end());
            format!("{}\n{command}", wrapped(&why, width, 0))
        }
        _ => wrapped(text, width, 0),
    }
}

/// Prints a command after a label.
pub(crate) fn say_command(label: &str, command: &str) {
    clear();
    println!("{}", command_line(label, command, width_of(std::io::stdout())));
}

/// A command in lines that a shell reads as one command; in one line if a quoted word could be broken.
fn command_line(label: &str, command: &str, width: usize) -> String {
    let line = format!("{label}{command}");
    if line.chars().count() <= width || command.contains(['\'', '"']) {
        return line;
    }
    let end = " \\";
    wrapped(&line, width.saturating_sub(end.len()), label.chars().count()).replace('\n', &format!("{end}\n"))
}

/// How many columns the terminal has. If the output is not a terminal, lines may have any length.
fn width_of(stream: impl AsFd + IsTerminal) -> usize {
    if !stream.is_terminal() {
        return usize::MAX;
    }
    let columns = rustix::termios::tcgetwinsize(stream).map_or(0, |size| size.ws_col);
    if columns == 0 { 80 } else { columns.into() }
}

/// The text in lines of at most `width` columns, broken between words. All lines except the first are indented. A
/// longer word, such as a path, stays whole, so that it can be copied.
fn wrapped(text: &str, width: usize, indent: usize) -> String {
    let mut lines = Vec::new();
    for paragraph in text.split('\n') {
        let words = paragraph.trim_start_matches(' ');
        let mut line = paragraph[..paragraph.len() - words.len()].to_owned();
        for (number, word) in words.split(' ').enumerate() {
            if number > 0 && line.chars().count() + 1 + word.chars().count() > width {
                lines.push(std::mem::replace(&mut line, " ".repeat(indent)));
            } else if number > 0 {
                line.push(' ');
            }
            line.push_str(word);
        }
        lines.push(line);
    }
    lines.join("\n")
}

fn clear() {
    if IS_SHOWN.swap(false, Ordering::Relaxed) {
        print!("{CLEARED}");
        let _ = std::io::stdout().flush();
    }
}

/// Standard error for the log. Its lines replace the line that is rewritten.
pub(crate) struct Log;

impl MakeWriter<'_> for Log {
    type Writer = std::io::Stderr;

    fn make_writer(&self) -> std::io::Stderr {
        clear();
        std::io::stderr()
    }
}

/// The first text that fits, else the beginning of the last one.
fn fitting(texts: &[String], width: usize) -> String {
    let fits = |text: &&String| text.chars().count() <= width;
    let begins = |text: &String| beginning(text, width);
    texts.iter().find(fits).cloned().or_else(|| texts.last().map(begins)).unwrap_or_default()
}

/// The beginning of a text that fits: up to the end of a clause, without later details, else up to the end of a word.
pub(crate) fn beginning(text: &str, width: usize) -> String {
    let fits = |end: &usize| text[..*end].chars().count() <= width;
    let is_whole = |end: &usize| {
        let count = |sign| text[..*end].matches(sign).count();
        count('(') == count(')')
    };
    let ends = [" (", ": ", "; ", ", "].iter().flat_map(|sign| text.match_indices(sign)).map(|(end, _)| end);
    if let Some(end) = ends.filter(is_whole).filter(fits).max() {
        return text[..end].to_owned();
    }
    let room = width.saturating_sub(1);
    let cut: String = text.chars().take(room).collect();
    let word = cut.rfind(' ').map_or(cut.as_str(), |end| cut[..end].trim_end());
    format!("{word}…").chars().take(width).collect()
}

/// The progress of this run's quotes and the state of the flow, the longest text first.
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

/// The quotes that the flow waits for before it ends.
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

/// Polls of a symbol without a quote: how many, and why.
fn missed(functions: &BTreeMap<String, FunctionMetrics>) -> Option<String> {
    let reasons = functions.get(names::FETCH)?.reasons.get("Missed")?;
    let reasons = reasons.iter().filter(|(_, times)| **times > 0);
    let said: Vec<_> =
        reasons.map(|(reason, times)| format!("{times} because {}", in_words(reason))).collect();
    (!said.is_empty()).then(|| format!("quotes missed: {}", said.join(", ")))
}

/// Prints the stores' counts, the failures, the latencies, and the latest prices.
pub(crate) fn summary(
    counts: Counts,
    trouble: Option<&str>,
    functions: &BTreeMap<String, FunctionMetrics>,
    latencies: &BTreeMap<Stage, Latency>,
    prices: &[Vec<Option<String>>],
) {
    let Counts { fetched, published, archived, loaded, silver, quarantined, .. } = counts;
    let print = |line: &str| println!("{}", wrapped(line, width_of(std::io::stdout()), STORES.len()));
    print(&format!(
        "\n{STORES}{fetched} fetched, {published} published, {archived} archived, {loaded} loaded"
    ));
    let indent = " ".repeat(STORES.len());
    let history = archived.saturating_sub(published);
    if history > 0 {
        print(&format!("{indent}{history} of the archived are the history of a first run"));
    }
    let repeated = loaded.saturating_sub(silver);
    let repeated = if repeated == 0 {
        String::new()
    } else {
        format!(" ({repeated} repeated a trade, or were rejected)")
    };
    print(&format!("{indent}{silver} different trades in silver{repeated}"));
    let failures = failures(functions);
    for failure in &failures {
        say(failure);
    }
    let missed = missed(functions);
    if let Some(missed) = &missed {
        say(missed);
    }
    if let Some(trouble) = trouble {
        say(&format!("at the stop: {trouble}"));
    }
    let dead_letters = counts.dead_letters.messages;
    if failures.is_empty() && missed.is_none() && trouble.is_none() && dead_letters == 0 && quarantined == 0 {
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
            (10, "01:24…"),
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
    fn a_state_that_is_too_long_loses_its_details_and_stays_a_sentence() {
        for (state, line) in [
            (
                "Finnhub refuses FINNHUB_API_KEY (HTTP 401: Invalid API key)",
                "00:04  Finnhub refuses FINNHUB_API_KEY",
            ),
            (
                "US market closed until Fri 09:30 New York (14:30 here)",
                "00:04  US market closed until Fri 09:30 New York",
            ),
            (
                "Finnhub's limit of 60 requests a minute is reached (HTTP 429); waiting 40 s",
                "00:04  Finnhub's limit of 60 requests a minute is reached",
            ),
            (
                "Finnhub cannot be reached: failed to lookup address information: Name does not resolve",
                "00:04  Finnhub cannot be reached",
            ),
            (
                "transform-quotes failed 12 times and each of them for a reason that has no end of a sentence",
                "00:04  transform-quotes failed 12 times and each of them…",
            ),
        ] {
            let texts = progress(Duration::from_secs(4), 0, &BTreeMap::new(), state);
            assert_eq!(fitting(&texts, 59), line);
        }
    }

    #[test]
    fn what_was_not_fetched_is_said_with_its_reasons() {
        let mut fetch = FunctionMetrics::default();
        let reasons = [("refused".to_owned(), 6), ("late".to_owned(), 0), ("status".to_owned(), 9)];
        fetch.reasons.insert("Missed".to_owned(), reasons.into());
        let functions = [(names::FETCH.to_owned(), fetch)].into();
        let said =
            "quotes missed: 6 because Finnhub refused the key, 9 because Finnhub answered with an error";
        assert_eq!(missed(&functions).as_deref(), Some(said));
        assert_eq!(missed(&BTreeMap::new()), None);
    }

    #[test]
    fn a_text_is_broken_between_words_and_a_path_is_not_broken() {
        let line = "    6.2 s  functions  fetch-quotes, archive-quotes, load-quotes, reconcile-quotes";
        for (width, shown) in [
            (usize::MAX, line.to_owned()),
            (82, line.to_owned()),
            (80, line.replace(" reconcile", "\n                      reconcile")),
            (60, line.replace(" load", "\n                      load")),
        ] {
            assert_eq!(wrapped(line, width, PART_WIDTH), shown, "{width}");
        }
        let path = format!("kept in /{}", "x".repeat(90));
        assert_eq!(wrapped(&path, 60, 0), path.replace(" /", "\n/"));
        assert_eq!(wrapped("\na b\n", 60, 0), "\na b\n");
    }

    #[test]
    fn a_command_can_be_pasted_however_narrow_the_terminal_is() {
        let command = "printf %s, one two three four five";
        for width in [80, 30, 24] {
            let shown = command_line("More: ", command, width);
            assert!(shown.lines().all(|line| line.len() <= width), "{shown}");
            let pasted = shown.strip_prefix("More: ").unwrap();
            let printed = std::process::Command::new("sh").args(["-c", pasted]).output().unwrap();
            assert_eq!(String::from_utf8(printed.stdout).unwrap(), "one,two,three,four,five,");
        }
        assert_eq!(command_line("More: ", "printf 'a b'", 10), "More: printf 'a b'");
        let long =
            format!("error: nothing has run in {} yet. Start it: make local DATA=/x y", "x".repeat(40));
        assert!(complaint(&long, 60).ends_with("Start it:\nmake local DATA=/x y"));
        assert_eq!(complaint(&long, 200), long);
    }

    #[test]
    fn before_the_first_quote_the_state_says_why() {
        let texts = progress(Duration::from_secs(4), 0, &BTreeMap::new(), "Finnhub answers HTTP 500");
        assert_eq!(texts[0], "00:04  no quotes yet; Finnhub answers HTTP 500");
    }
}
