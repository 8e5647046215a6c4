//! Generates constants from `infra/flow.json`, which Terraform reads, too: the names of the flow's parts, and their
//! limits.

use std::{env, error::Error, fmt::Write, fs, path::Path};

use serde::Deserialize;

#[derive(Deserialize)]
struct Flow {
    kafka: Kafka,
    buckets: Buckets,
    queue: Queue,
    functions: Vec<Function>,
}

#[derive(Deserialize)]
struct Kafka {
    topic: String,
    partitions: i32,
    group: String,
    batch_records: usize,
    batch_window_ms: u64,
}

#[derive(Deserialize)]
struct Buckets {
    bronze: String,
    quarantine: String,
}

#[derive(Deserialize)]
struct Queue {
    name: String,
    batch_messages: i32,
    batch_window_seconds: i32,
    concurrency: i32,
}

#[derive(Deserialize)]
struct Function {
    name: String,
    memory_mb: u32,
    timeout_seconds: u32,
    reserved_concurrency: Option<i32>,
    schedule: Option<String>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let path = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("../infra/flow.json");
    println!("cargo::rerun-if-changed={}", path.display());
    println!("cargo::rerun-if-changed=build.rs");
    let flow: Flow = serde_json::from_str(&fs::read_to_string(path)?)?;
    fs::write(Path::new(&env::var("OUT_DIR")?).join("flow.rs"), constants(&flow)?)?;
    Ok(())
}

fn constants(flow: &Flow) -> Result<String, std::fmt::Error> {
    let Flow { kafka, buckets, queue, functions } = flow;
    let mut out = String::new();
    let text = |value: &str| ("&str", format!("{value:?}"));
    let number = |kind, value: &dyn std::fmt::Display| (kind, value.to_string());
    for (doc, name, (kind, value)) in [
        ("The topic of quotes.", "TOPIC", text(&kafka.topic)),
        (
            "The topic's partitions: a symbol's quotes stay in order within one.",
            "PARTITIONS",
            number("i32", &kafka.partitions),
        ),
        ("The consumer group of the Kafka trigger.", "GROUP", text(&kafka.group)),
        (
            "How many records archive-quotes gets at most.",
            "KAFKA_BATCH",
            number("usize", &kafka.batch_records),
        ),
        (
            "How long records are gathered for an invocation.",
            "KAFKA_WINDOW",
            ("Duration", format!("Duration::from_millis({})", kafka.batch_window_ms)),
        ),
        ("The bucket of archived quotes.", "BRONZE_BUCKET", text(&buckets.bronze)),
        ("The bucket of records that are not quotes.", "QUARANTINE_BUCKET", text(&buckets.quarantine)),
        ("S3's events of new objects.", "ARCHIVED_QUEUE", text(&queue.name)),
        (
            "Messages on which load-quotes failed too often.",
            "DEAD_LETTER_QUEUE",
            text(&format!("{}-dlq", queue.name)),
        ),
        ("How many messages load-quotes gets at most.", "QUEUE_BATCH", number("i32", &queue.batch_messages)),
        (
            "How long messages are gathered for an invocation, in seconds.",
            "QUEUE_WINDOW_SECONDS",
            number("i32", &queue.batch_window_seconds),
        ),
        (
            "How many batches load-quotes may have at once.",
            "QUEUE_CONCURRENCY",
            number("i32", &queue.concurrency),
        ),
    ] {
        writeln!(out, "/// {doc}\npub const {name}: {kind} = {value};")?;
    }
    for function in functions {
        let constant = constant_of(function);
        let Function { name, memory_mb, timeout_seconds, reserved_concurrency, schedule } = function;
        writeln!(out, "/// The function {name}.\npub const {constant}: &str = {name:?};")?;
        writeln!(out, "/// The limits of {name}.")?;
        writeln!(
            out,
            "pub const {constant}_LIMITS: Limits = Limits {{ memory_mb: {memory_mb}, timeout_seconds: {timeout_seconds}, \
             reserved_concurrency: {reserved_concurrency:?} }};"
        )?;
        if let Some(schedule) = schedule {
            writeln!(
                out,
                "/// When {name} is invoked.\npub const {constant}_SCHEDULE: &str = {schedule:?};"
            )?;
        }
    }
    let names = functions.iter().map(constant_of).collect::<Vec<_>>().join(", ");
    writeln!(out, "/// All functions, in the order of the flow.")?;
    writeln!(out, "pub const FUNCTIONS: [&str; {}] = [{names}];", functions.len())?;
    Ok(out)
}

/// `FETCH` for `fetch-quotes`.
fn constant_of(function: &Function) -> String {
    function.name.split('-').next().unwrap_or_default().to_uppercase()
}
