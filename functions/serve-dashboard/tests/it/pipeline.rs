//! The pipeline's figures: the flow's own, or the warehouse's.

use axum::{Json, Router, http::StatusCode, routing::get};
use serde_json::{Value, json};

use crate::{
    bigquery::{BigQuery, kpi_row},
    odd_rows::assert_fits,
};

/// Two symbols, of which one was loaded 2 s and the other 4 s after its fetch.
async fn warehouse() -> BigQuery {
    BigQuery::start(|sql, _| {
        let row = |symbol: &str, took: i64| {
            let fetched = 1_785_765_906_000_i64;
            let others = json!({
                "fetched_millis": fetched.to_string(), "loaded_millis": (fetched + took).to_string(), "market_millis": "1550264398000",
                "quotes_per_minute": "9.84", "rejected_share": "0", "latest_date": "2019-02-15", "last_price": "2",
                "avg_price": "2", "day_change_percent": "100", "volatility": "0.5", "relative_volatility": "0.25",
                "market_date": "2019-02-15", "start_second": "1550264100", "candle_open": "1.5", "candle_high": "2.5",
                "candle_low": "0.5", "candle_close": "2", "trend_line": "1.75", "quotes": sql.len().to_string() });
            kpi_row(symbol, others)
        };
        Ok(json!([row("AAPL", 2000), row("MSFT", 4000)]))
    })
    .await
}

/// A flow that gives this answer.
async fn flow(status: StatusCode, answer: Value) -> String {
    let router = Router::new().route("/pipeline.json", get(async move || (status, Json(answer))));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/pipeline.json", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    url
}

fn station(known: &Value) -> Value {
    let mut station = json!({ "quotes_per_minute": null, "p50_seconds": null, "p95_seconds": null, "waiting": null,
        "dead_letters": null, "failures": null, "last_failure": null, "missed": null });
    station.as_object_mut().unwrap().extend(known.as_object().unwrap().clone());
    station
}

fn measured() -> Value {
    json!({ "trouble": "Finnhub answers HTTP 500", "settled_at": "2026-08-03T14:03:00Z", "stations": {
        "fetch": station(&json!({ "quotes_per_minute": 50.0, "failures": 1, "last_failure": "no", "missed": { "late": 5 } })),
        "kafka": station(&json!({ "p50_seconds": 0.009, "p95_seconds": 0.02, "waiting": 7 })),
        "s3": station(&json!({ "dead_letters": 1 })), "bronze": station(&json!({})), "gold": station(&json!({})) } })
}

#[tokio::test]
async fn the_flows_own_figures_are_passed_on() {
    let warehouse = warehouse().await;
    let url = flow(StatusCode::OK, measured()).await;
    let dashboard = warehouse.dashboard(&[("DASHBOARD_PIPELINE_URL", &url)]);
    let mut expected = measured();
    expected["measured_by"] = json!("flow");
    let answer = dashboard.get("/api/pipeline").await;
    assert_eq!(answer.json(), expected);
    assert_fits("PipelineAnswer", &answer.json(), "flow");
    assert!(warehouse.asked().is_empty(), "the warehouse is not asked for what the flow knows");
    assert_eq!(dashboard.get("/api/snapshot?symbol=AAPL").await.json()["pipeline"], expected);
    dashboard.0.stop().await;
}

#[tokio::test]
async fn without_the_flows_figures_only_the_warehouses_are_given() {
    let warehouse = warehouse().await;
    warehouse.change(1_785_765_000_000);
    let dashboard = warehouse.dashboard(&[]);
    let answer = dashboard.get("/api/pipeline").await.json();
    assert_fits("PipelineAnswer", &answer, "warehouse");
    let unknown = station(&json!({}));
    let bronze = station(&json!({ "quotes_per_minute": 19.7, "p50_seconds": 4.0 }));
    let expected = json!({ "measured_by": "warehouse", "trouble": null, "settled_at": "2026-08-03T13:50:00Z",
        "stations": { "fetch": unknown, "kafka": unknown, "s3": unknown, "bronze": bronze, "gold": unknown } });
    assert_eq!(answer, expected);
    dashboard.0.stop().await;
}

#[tokio::test]
async fn if_the_flow_does_not_answer_the_warehouses_figures_are_given_and_the_log_names_the_address() {
    let warehouse = warehouse().await;
    let unreadable = flow(StatusCode::OK, json!({ "stations": 7 })).await;
    let refusing = flow(StatusCode::INTERNAL_SERVER_ERROR, measured()).await;
    for url in [unreadable.as_str(), &refusing, "http://127.0.0.1:1/pipeline.json"] {
        let dashboard = warehouse.dashboard(&[("DASHBOARD_PIPELINE_URL", url)]);
        let answer = dashboard.get("/api/pipeline").await.json();
        assert_eq!(answer["measured_by"], "warehouse", "{url}");
        // The stand-in that was never changed does not say when dbt ran.
        assert_eq!(answer["settled_at"], Value::Null);
        let log = dashboard.0.stop().await;
        let is_said = |line: &Value| {
            line["level"] == "WARN" && line["message"].as_str().is_some_and(|said| said.contains(url))
        };
        assert!(log.iter().any(is_said), "{url}: {log:?}");
    }
}

#[tokio::test]
async fn while_the_warehouse_is_late_the_flows_figures_are_there() {
    let warehouse = warehouse().await;
    for model in ["gold_kpi", "gold_treechart", "gold_pipeline_health"] {
        warehouse.slow(model, true);
    }
    let url = flow(StatusCode::OK, measured()).await;
    let dashboard = warehouse.dashboard(&[("DASHBOARD_PIPELINE_URL", &url)]);
    let snapshot = dashboard.get("/api/snapshot").await.json();
    assert_eq!(snapshot["pipeline"]["trouble"], "Finnhub answers HTTP 500");
    assert_eq!(snapshot["kpi"], Value::Null);
    dashboard.0.stop().await;
}

#[tokio::test]
async fn finnhubs_market_status_overrides_the_calendar() {
    let warehouse = warehouse().await;
    let mut reported = measured();
    reported["market"] = json!({ "is_open": true, "holiday": null });
    let url = flow(StatusCode::OK, reported.clone()).await;
    let dashboard = warehouse.dashboard(&[("DASHBOARD_PIPELINE_URL", &url)]);
    assert_eq!(dashboard.get("/api/health").await.json()["market"]["state"], "open");
    assert_fits("PipelineAnswer", &dashboard.get("/api/pipeline").await.json(), "with a market");
    dashboard.0.stop().await;
    reported["market"] = json!({ "is_open": false, "holiday": "Day of mourning" });
    let url = flow(StatusCode::OK, reported).await;
    let dashboard = warehouse.dashboard(&[("DASHBOARD_PIPELINE_URL", &url)]);
    let market = dashboard.get("/api/health").await.json()["market"].clone();
    assert_eq!((&market["state"], &market["holiday"]), (&json!("closed"), &json!("Day of mourning")));
    dashboard.0.stop().await;
}
