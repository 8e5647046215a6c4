//! Generates a constant for each metric in `infra/metrics.json` that a function writes, so that no other can be
//! written.

use std::{env, error::Error, fmt::Write, fs, path::Path};

use serde::Deserialize;

#[derive(Deserialize)]
struct Catalogue {
    namespace: String,
    metrics: Vec<Metric>,
}

#[derive(Deserialize)]
struct Metric {
    name: String,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    functions: Vec<String>,
    #[serde(default)]
    labels: Vec<String>,
    help: String,
}

fn main() -> Result<(), Box<dyn Error>> {
    let path = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("../../infra/metrics.json");
    println!("cargo::rerun-if-changed={}", path.display());
    println!("cargo::rerun-if-changed=build.rs");
    let catalogue: Catalogue = serde_json::from_str(&fs::read_to_string(path)?)?;
    let mut out = format!("const NAMESPACE: &str = {:?};\n", catalogue.namespace);
    for Metric { name, kind, functions, labels, help } in catalogue.metrics {
        if functions.is_empty() {
            continue;
        }
        let kind = match (kind.as_str(), labels.iter().any(|label| label == "reason")) {
            ("counter", false) => "Count",
            ("counter", true) => "CountByReason",
            ("summary", false) => "Seconds",
            _ => return Err(format!("{name}: a function cannot write this type with these labels").into()),
        };
        let constant = constant_of(&name);
        writeln!(out, "/// {help}\npub const {constant}: {kind} = {kind}({name:?});")?;
    }
    fs::write(Path::new(&env::var("OUT_DIR")?).join("metrics.rs"), out)?;
    Ok(())
}

/// `ALREADY_ARCHIVED` for `AlreadyArchived`.
fn constant_of(name: &str) -> String {
    let mut constant = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !constant.is_empty() {
            constant.push('_');
        }
        constant.push(letter.to_ascii_uppercase());
    }
    constant
}
