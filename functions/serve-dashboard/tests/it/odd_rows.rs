//! A row that cannot be used costs its own figure, never the answer.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::bigquery::{Answer, BigQuery, Dashboard, kpi_row, now_millis};

/// 2100-01-01, in milliseconds.
const YEAR_2100: &str = "4102444800000";

/// A good row of each model; all columns that its statement names.
fn rows(sql: &str, symbol: &str) -> Value {
    let has = |model: &str| sql.contains(&format!("_gold.{model}`"));
    let candle = json!({
        "symbol": symbol, "market_date": "2019-02-15", "start_second": "1550264100", "candle_open": "1.5",
        "candle_high": "2.5", "candle_low": "0.5", "candle_close": "2", "trend_line": "1.75", "quotes": "9" });
    if has("gold_pipeline_health") {
        json!({ "symbol": symbol, "fetched_millis": now_millis().to_string(), "loaded_millis": now_millis().to_string(),
                "market_millis": "1550264398000", "quotes_per_minute": "10", "rejected_share": "0.5" })
    } else if has("gold_kpi") {
        kpi_row(symbol, json!({}))
    } else if has("gold_kpi_history") {
        json!({ "market_timestamp_raw": "1550264398", "current_price": "2", "change_percent": "100" })
    } else if has("gold_treechart") {
        json!({ "symbol": symbol, "latest_date": "2019-02-15", "last_price": "2", "avg_price": "1.75",
                "day_change_percent": "100", "volatility": "0.5", "relative_volatility": "0.25" })
    } else {
        candle
    }
}

/// A warehouse whose models have a good row of GOOD, and one of ODD with the given values changed in the model.
async fn warehouse(odd: Arc<Mutex<(String, Value)>>) -> BigQuery {
    BigQuery::start(move |sql, _| {
        let mut row = rows(sql, "ODD");
        let (model, changed) = &*odd.lock().unwrap();
        if sql.contains(&format!("_gold.{model}`")) {
            for (column, value) in changed.as_object().unwrap() {
                row[column] = value.clone();
            }
        }
        Ok(json!([rows(sql, "GOOD"), row]))
    })
    .await
}

/// What JSON Schema would say of the answer: openapi.json's types of the named schema, its `required` and no more.
pub fn assert_fits(schema: &str, value: &Value, context: &str) {
    let described: Value = serde_json::from_str(include_str!("../../openapi.json")).unwrap();
    fits(&described, &described["components"]["schemas"][schema], value, context);
}

fn fits(described: &Value, schema: &Value, value: &Value, context: &str) {
    if let Some(reference) = schema["$ref"].as_str() {
        let name = reference.rsplit('/').next().unwrap();
        return fits(described, &described["components"]["schemas"][name], value, context);
    }
    if let Some(choices) = schema["anyOf"].as_array().or(schema["oneOf"].as_array()) {
        let is_kind = |choice: &&Value| match choice["type"].as_str() {
            Some("null") => value.is_null(),
            Some("string") => value.is_string(),
            Some("integer" | "number") => value.is_number(),
            // The variants of an enum differ in a constant member.
            Some("object") => {
                choice["properties"].as_object().into_iter().flatten().all(|(name, member)| {
                    member["const"].is_null() || member["const"] == value[name.as_str()]
                })
            }
            _ => !value.is_null(),
        };
        let chosen = choices.iter().find(is_kind);
        return fits(described, chosen.unwrap_or_else(|| panic!("{context}: {value}")), value, context);
    }
    let kinds: Vec<&str> = match &schema["type"] {
        Value::String(kind) => vec![kind],
        Value::Array(kinds) => kinds.iter().map(|kind| kind.as_str().unwrap()).collect(),
        _ => return,
    };
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_i64() && kinds.contains(&"integer") => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    assert!(kinds.contains(&kind), "{context}: {value} is {kind}, not {kinds:?}");
    if let Some(items) = value.as_array() {
        for item in items {
            fits(described, &schema["items"], item, context);
        }
    }
    if let (Some(members), Some(properties)) = (value.as_object(), schema["properties"].as_object()) {
        for (name, member) in members {
            let of_member =
                properties.get(name).unwrap_or_else(|| panic!("{context}: {name} is not described"));
            fits(described, of_member, member, &format!("{context} {name}"));
        }
        for name in schema["required"].as_array().into_iter().flatten() {
            assert!(members.contains_key(name.as_str().unwrap()), "{context}: {name} is missing");
        }
    }
}

const QUESTIONS: [(&str, &str, &str); 6] = [
    ("/api/kpi", "KpiAnswer", "gold_kpi"),
    ("/api/candles?symbol=ODD&interval=1d", "CandlesAnswer", "gold_candlestick"),
    ("/api/candles?symbol=ODD&interval=5m", "CandlesAnswer", "gold_candlestick_intraday"),
    ("/api/history?symbol=ODD", "HistoryAnswer", "gold_kpi_history"),
    ("/api/treemap", "TreemapAnswer", "gold_treechart"),
    ("/api/health", "HealthAnswer", "gold_pipeline_health"),
];

/// How many figures the answer has.
fn count(answer: &Value) -> usize {
    answer.as_object().unwrap().values().filter_map(Value::as_array).map(Vec::len).sum()
}

#[tokio::test]
async fn any_value_in_any_column_costs_one_figure_at_most_and_never_the_answer() {
    let odd = Arc::new(Mutex::new((String::new(), json!({}))));
    let warehouse = warehouse(Arc::clone(&odd)).await;
    let dashboard =
        warehouse.dashboard(&[("DASHBOARD_CACHE_SECONDS", "0"), ("DASHBOARD_CHART_SECONDS", "0")]);
    let values = [
        Value::Null,
        json!(""),
        json!("NaN"),
        json!("-Infinity"),
        json!("1.7976931348623157E308"),
        json!("-0.0"),
        json!("5E-324"),
        json!("0"),
        json!(YEAR_2100),
        json!("-99999999999999999999"),
        json!("much"),
    ];
    for (target, schema, model) in QUESTIONS {
        let columns: Vec<String> =
            rows(&format!("`test.stock_gold.{model}`"), "ODD").as_object().unwrap().keys().cloned().collect();
        for column in columns {
            for value in &values {
                *odd.lock().unwrap() = (model.to_owned(), json!({ column.as_str(): value }));
                let answer = dashboard.get(target).await;
                let context = format!("{target} with {value} in {column}");
                assert_eq!(answer.status(), 200, "{context}: {answer:?}");
                let answer = answer.json();
                assert_fits(schema, &answer, &context);
                assert!((1..=2).contains(&count(&answer)), "{context}: {answer}");
            }
        }
    }
    let log = dashboard.0.stop().await;
    assert!(log.iter().all(|line| line["level"] != "ERROR"), "{log:?}");
    let named = log.iter().any(|line| {
        line["model"] == "gold_kpi" && line["column"] == "current_price" && line["symbol"] == "ODD"
    });
    assert!(named, "what is left out is named in the log");
}

async fn health(changed: Value) -> Value {
    let odd = Arc::new(Mutex::new(("gold_pipeline_health".to_owned(), changed)));
    let warehouse = BigQuery::start(move |sql, _| {
        // Gold has no valid quote of the symbol.
        if sql.contains("FROM `test.stock_gold.gold_kpi`") {
            return Ok(json!([rows(sql, "GOOD")]));
        }
        let mut row = rows(sql, "ODD");
        for (column, value) in odd.lock().unwrap().1.as_object().unwrap() {
            row[column] = value.clone();
        }
        Ok(json!([rows(sql, "GOOD"), row]))
    })
    .await;
    // A recording has no hours, on which this test would depend.
    let dashboard = warehouse.dashboard(&[("DASHBOARD_RECORDING_SPEED", "1")]);
    let answer: Answer = dashboard.get("/api/health").await;
    dashboard.0.stop().await;
    assert_eq!(answer.status(), 200, "{answer:?}");
    answer.json()
}

#[tokio::test]
async fn a_symbol_whose_fetch_has_no_time_is_unknown_and_so_is_the_whole() {
    let answer = health(json!({ "fetched_millis": null })).await;
    assert_eq!((&answer["status"], &answer["symbols"][0]["status"]), (&json!("unknown"), &json!("ok")));
    let odd = &answer["symbols"][1];
    assert_eq!(
        (&odd["status"], &odd["last_fetched_at"], &odd["freshness_seconds"]),
        (&json!("unknown"), &Value::Null, &Value::Null)
    );
    assert_eq!(odd["reason"], "the time of its latest fetch is missing or unusable");
}

#[tokio::test]
async fn a_symbol_of_1970_is_stale_and_so_is_the_whole() {
    let answer = health(json!({ "fetched_millis": "0" })).await;
    assert_eq!((&answer["status"], &answer["symbols"][0]["status"]), (&json!("stale"), &json!("ok")));
    assert_eq!(answer["symbols"][1]["last_fetched_at"], "1970-01-01T00:00:00Z");
    assert!(answer["symbols"][1]["freshness_seconds"].as_i64().unwrap() > 1_700_000_000);
}

#[tokio::test]
async fn the_future_is_not_fresh() {
    let answer = health(json!({ "fetched_millis": YEAR_2100 })).await;
    let odd = &answer["symbols"][1];
    assert_eq!((&answer["status"], &odd["status"]), (&json!("unknown"), &json!("unknown")));
    assert_eq!(
        (&odd["reason"], &odd["freshness_seconds"]),
        (&json!("its latest quote was fetched in the future"), &Value::Null)
    );
    let hours_ahead = (now_millis() + 9 * 3_600_000).to_string();
    let answer = health(json!({ "loaded_millis": hours_ahead })).await;
    let odd = &answer["symbols"][1];
    assert_eq!(
        (&answer["status"], &odd["reason"]),
        (&json!("unknown"), &json!("its latest quote was loaded in the future"))
    );
}

#[tokio::test]
async fn a_price_that_was_fetched_in_the_future_is_not_shown() {
    let odd = Arc::new(Mutex::new(("gold_kpi".to_owned(), json!({ "fetched_millis": YEAR_2100 }))));
    let warehouse = warehouse(odd).await;
    let dashboard: Dashboard = warehouse.dashboard(&[]);
    let quotes = dashboard.get("/api/kpi").await.json()["quotes"].clone();
    dashboard.0.stop().await;
    assert_eq!(quotes.as_array().unwrap().iter().map(|quote| &quote["symbol"]).collect::<Vec<_>>(), ["GOOD"]);
}

#[tokio::test]
async fn a_statement_without_a_column_is_503_and_named_in_the_log() {
    let warehouse = BigQuery::start(|_, _| Ok(json!([{ "symbol": "AAPL" }]))).await;
    let dashboard = warehouse.dashboard(&[]);
    assert_eq!(dashboard.get("/api/treemap").await.status(), 503);
    let log = dashboard.0.stop().await;
    let is_named = |line: &Value| {
        line["level"] == "ERROR" && line["message"] == "no figures: gold_treechart has no column latest_date"
    };
    assert!(log.iter().any(is_named), "{log:?}");
}
