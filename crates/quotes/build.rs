//! Generates the list of a quote's prices: bronze's columns of type FLOAT in `infra/gcp/tables.json`. A column of
//! another type needs separate code.

use std::{env, error::Error, fs, path::Path};

use serde_json::Value;

fn main() -> Result<(), Box<dyn Error>> {
    let path = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("../../infra/gcp/tables.json");
    println!("cargo::rerun-if-changed={}", path.display());
    println!("cargo::rerun-if-changed=build.rs");
    let tables: Value = serde_json::from_str(&fs::read_to_string(path)?)?;
    let columns = tables["bronze_stock_quotes_raw"]["schema"].as_array().ok_or("bronze has no schema")?;
    let prices: Vec<&str> = columns
        .iter()
        .filter(|column| column["type"] == "FLOAT")
        .filter_map(|column| column["name"].as_str())
        .collect();
    let doc = "The prices and the other numbers of a quote: bronze's columns of type FLOAT.";
    let out = format!("/// {doc}\npub const PRICES: [&str; {}] = {prices:?};\n", prices.len());
    fs::write(Path::new(&env::var("OUT_DIR")?).join("prices.rs"), out)?;
    Ok(())
}
