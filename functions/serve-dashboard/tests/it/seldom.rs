//! How seldom BigQuery is asked: each statement is billed.

use serde_json::{Value, json};

use crate::bigquery::{BigQuery, Dashboard, kpi_row, now_millis};

/// Models with one row each.
async fn warehouse() -> BigQuery {
    BigQuery::start(|sql, _| {
        let others = json!({
            "market_millis": "1550264398000", "quotes_per_minute": "10",
            "rejected_share": "0", "latest_date": "2019-02-15", "last_price": "2", "avg_price": "2",
            "day_change_percent": "100", "volatility": "0.5", "relative_volatility": "0.25",
            "market_date": "2019-02-15", "start_second": "1550264100", "candle_open": "1.5", "candle_high": "2.5",
            "candle_low": "0.5", "candle_close": "2", "trend_line": "1.75", "quotes": "9",
            "sql": sql.len().to_string() });
        Ok(json!([kpi_row("AAPL", others)]))
    })
    .await
}

/// How long the page waits for an answer (`TIMEOUT_MS` in `dashboards/web/src/api.ts`).
const PAGE_LIMIT: std::time::Duration = std::time::Duration::from_secs(10);
const SNAPSHOT: &str = "/api/snapshot?symbol=AAPL";
/// Everything that a snapshot reads: the tiles, the health, the tree map, the closes, the dates and the candles.
const MODELS: usize = 6;

/// Asks until BigQuery has been looked at `times` more.
async fn until_looked(dashboard: &Dashboard, warehouse: &BigQuery, times: usize) {
    let before = warehouse.looked();
    while warehouse.looked() < before + times {
        assert_eq!(dashboard.get(SNAPSHOT).await.status(), 200);
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn nothing_is_asked_while_nothing_is_loaded() {
    let warehouse = warehouse().await;
    warehouse.change(now_millis() - 3_600_000);
    let dashboard =
        warehouse.dashboard(&[("DASHBOARD_CACHE_SECONDS", "1"), ("DASHBOARD_CHART_SECONDS", "1")]);
    dashboard.get(SNAPSHOT).await;
    let first = warehouse.asked().len();
    assert_eq!(first, MODELS);
    // Bronze and what is settled of it, twice.
    until_looked(&dashboard, &warehouse, 4).await;
    assert_eq!(warehouse.asked().len(), first, "an answer is as good as new while nothing was loaded");
    warehouse.change(now_millis());
    while warehouse.asked_of("gold_kpi") < 3 {
        dashboard.get(SNAPSHOT).await;
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    dashboard.0.stop().await;
}

#[tokio::test]
async fn tiles_are_read_often_and_charts_seldom() {
    let warehouse = warehouse().await;
    let dashboard =
        warehouse.dashboard(&[("DASHBOARD_CACHE_SECONDS", "1"), ("DASHBOARD_CHART_SECONDS", "3600")]);
    let kpi = || {
        warehouse.asked().iter().filter(|(sql, _)| sql.contains("FROM `test.stock_gold.gold_kpi`")).count()
    };
    while kpi() < 3 {
        warehouse.change(now_millis());
        dashboard.get(SNAPSHOT).await;
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
    dashboard.0.stop().await;
    for model in ["gold_treechart", "gold_pipeline_health", "gold_candlestick"] {
        assert!(warehouse.asked_of(model) <= 2, "{model}, once a span: {:?}", warehouse.asked());
    }
}

/// As on AWS, where each viewer may get another instance.
#[tokio::test]
async fn instances_share_what_one_of_them_has_asked() {
    let warehouse = warehouse().await;
    let env = [("DASHBOARD_CACHE_SECONDS", "3600"), ("DASHBOARD_CHART_SECONDS", "3600")];
    let one = warehouse.dashboard(&env);
    let first = one.get(SNAPSHOT).await;
    let asked = warehouse.asked().len();
    let others: Vec<Dashboard> = (0..3).map(|_| warehouse.dashboard(&env)).collect();
    for other in others {
        let answer = other.get(SNAPSHOT).await;
        assert_eq!((answer.body(), answer.header("etag")), (first.body(), first.header("etag")));
        other.0.stop().await;
    }
    one.0.stop().await;
    // The hour may have changed in between.
    assert!(
        warehouse.asked().len() == asked || warehouse.asked().len() == 2 * asked,
        "{:?}",
        warehouse.asked()
    );
}

#[tokio::test]
async fn a_warehouse_that_does_not_say_when_it_was_changed_is_asked_each_time_and_the_log_says_so() {
    let warehouse = warehouse().await;
    warehouse.refuse_metadata();
    let dashboard = warehouse.dashboard(&[("DASHBOARD_CACHE_SECONDS", "1")]);
    while warehouse.asked_of("gold_kpi") < 3 {
        // A job that another instance has started is found by its data's location, which is not told either.
        let status = dashboard.get("/api/kpi").await.status();
        assert_eq!(status, 200);
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    let log = dashboard.0.stop().await;
    let is_said = |line: &Value| {
        line["level"] == "ERROR"
            && line["message"].as_str().unwrap().starts_with("every answer is read again, because ")
    };
    assert!(log.iter().any(is_said), "{log:?}");
}

#[tokio::test]
async fn a_slow_question_holds_up_no_other_and_is_not_asked_twice() {
    let warehouse = warehouse().await;
    warehouse.slow("gold_treechart", true);
    let dashboard =
        warehouse.dashboard(&[("DASHBOARD_CACHE_SECONDS", "1"), ("DASHBOARD_CHART_SECONDS", "1")]);
    for _ in 0..2 {
        let answer = dashboard.get(SNAPSHOT).await;
        assert_eq!(answer.status(), 200);
        let snapshot = answer.json();
        assert_eq!(snapshot["kpi"]["quotes"][0]["symbol"], "AAPL");
        assert!(snapshot["health"].is_object() && snapshot["candles"].is_object(), "{snapshot}");
        assert_eq!(
            (&snapshot["treemap"], &snapshot["missing"]["treemap"]),
            (&Value::Null, &json!("it is still being read"))
        );
    }
    assert_eq!(
        warehouse.asked_of("gold_treechart"),
        1,
        "the second one goes on waiting for the first one's job"
    );
    warehouse.slow("gold_treechart", false);
    let snapshot = dashboard.get(SNAPSHOT).await.json();
    assert_eq!(
        (&snapshot["treemap"]["tiles"][0]["symbol"], &snapshot["missing"]),
        (&json!("AAPL"), &json!({}))
    );
    assert_eq!(warehouse.asked_of("gold_treechart"), 1);
    // While newer figures are still being read, the last ones are shown.
    warehouse.slow("gold_treechart", true);
    while warehouse.asked_of("gold_treechart") < 2 {
        warehouse.change(now_millis());
        let snapshot = dashboard.get(SNAPSHOT).await.json();
        assert_eq!(snapshot["treemap"]["tiles"][0]["symbol"], "AAPL");
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
    dashboard.0.stop().await;
}

#[tokio::test]
async fn a_warehouse_that_is_late_with_every_part_leaves_the_page_its_answer() {
    let warehouse = warehouse().await;
    for model in ["gold_kpi", "gold_treechart"] {
        warehouse.slow(model, true);
    }
    let dashboard = warehouse.dashboard(&[]);
    // Several parts ask for the tiles, one after the other; together they have the time of one.
    let answer = tokio::time::timeout(PAGE_LIMIT, dashboard.get("/api/snapshot")).await;
    let answer = answer.expect("the page has given up by now");
    assert_eq!(answer.status(), 200);
    let snapshot = answer.json();
    for part in ["kpi", "treemap", "health", "candles"] {
        assert_eq!(snapshot[part], Value::Null, "{part}");
        assert_eq!(snapshot["missing"][part], "it is still being read", "{part}");
    }
    dashboard.0.stop().await;
}

#[tokio::test]
async fn a_part_that_fails_is_missing_and_the_rest_is_there() {
    let warehouse = BigQuery::start(|sql, _| {
        if sql.contains("gold_treechart") {
            return Err(crate::bigquery::refused(400, "invalidQuery"));
        }
        Ok(json!([]))
    })
    .await;
    let dashboard = warehouse.dashboard(&[]);
    let answer = dashboard.get("/api/snapshot").await;
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.json()["missing"], json!({ "treemap": "the warehouse does not answer" }));
    let log = dashboard.0.stop().await;
    let errors = log.iter().filter(|line| line["level"] == "ERROR").count();
    assert_eq!(errors, 1, "{log:?}");
}

#[tokio::test]
async fn a_symbol_that_only_the_tiles_have_yet_is_in_the_health() {
    let warehouse = BigQuery::start(|sql, _| {
        let row = json!([kpi_row("AAPL", json!({}))]);
        Ok(if sql.contains("gold_pipeline_health") { json!([]) } else { row })
    })
    .await;
    let dashboard = warehouse.dashboard(&[("DASHBOARD_RECORDING_SPEED", "1")]);
    let health = dashboard.get("/api/health").await.json();
    assert_eq!(health["status"], "ok");
    let symbol = &health["symbols"][0];
    assert_eq!((&symbol["symbol"], &symbol["quotes_per_minute"]), (&json!("AAPL"), &Value::Null));
    dashboard.0.stop().await;
}
