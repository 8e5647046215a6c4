//! The proxy asked by HTTP, in front of a server that answers as the stand-in does.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use cloud::{Kind, LEAST_BYTES, OTHERS, Proxy, ProxyConfig, Speed, UNBILLED};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::Semaphore};

/// The server's state: its jobs, the definitions of its views, and how many jobs it may still run.
struct StandIn {
    jobs: Mutex<Vec<Value>>,
    views: HashMap<&'static str, &'static str>,
    may_run: Semaphore,
}

impl StandIn {
    async fn start(views: &[(&'static str, &'static str)], may_run: usize) -> (Arc<Self>, String) {
        let views = views.iter().copied().collect();
        let stand_in = Arc::new(Self { jobs: Mutex::default(), views, may_run: Semaphore::new(may_run) });
        let api = "/bigquery/v2/projects/p";
        let router = Router::new()
            .route(&format!("{api}/jobs"), post(run))
            .route(&format!("{api}/jobs/{{id}}"), get(job))
            .route(&format!("{api}/queries/{{id}}"), get(result))
            .route(&format!("{api}/datasets/{{dataset}}/tables/{{table}}"), get(table))
            .with_state(Arc::clone(&stand_in));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        (stand_in, url)
    }

    fn queries(&self) -> Vec<String> {
        let query =
            |job: &Value| job["configuration"]["query"]["query"].as_str().unwrap_or_default().to_owned();
        self.jobs.lock().unwrap().iter().map(query).collect()
    }
}

async fn run(State(stand_in): State<Arc<StandIn>>, Json(mut job): Json<Value>) -> Json<Value> {
    stand_in.may_run.acquire().await.unwrap().forget();
    job["status"] = json!({ "state": "DONE" });
    job["statistics"] = json!({ "query": { "numDmlAffectedRows": "3" } });
    if job["configuration"]["query"]["query"].as_str().is_some_and(|sql| sql.contains("wrong")) {
        job["status"]["errorResult"] =
            json!({ "reason": "invalidQuery", "message": "wrong", "location": "query" });
    }
    stand_in.jobs.lock().unwrap().push(job.clone());
    Json(job)
}

async fn job(State(stand_in): State<Arc<StandIn>>, Path(id): Path<String>) -> Response {
    let jobs = stand_in.jobs.lock().unwrap();
    match jobs.iter().find(|job| job["jobReference"]["jobId"] == id.as_str()) {
        Some(job) => Json(job.clone()).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn result() -> Json<Value> {
    Json(json!({ "totalRows": "1", "rows": [{ "f": [{ "v": "1" }] }], "schema": { "fields": [] } }))
}

async fn table(
    State(stand_in): State<Arc<StandIn>>,
    Path((dataset, table)): Path<(String, String)>,
) -> Response {
    let name = format!("{dataset}.{table}");
    match stand_in.views.get(name.as_str()) {
        Some(sql) => Json(json!({ "type": "VIEW", "view": { "query": sql } })).into_response(),
        None if dataset == "d" => Json(json!({ "type": "TABLE" })).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

struct Client {
    http: reqwest::Client,
    url: String,
}

impl Client {
    async fn of(upstream: String) -> (Proxy, Self) {
        let config =
            ProxyConfig { address: "127.0.0.1:0".to_owned(), upstream, speed: Speed::None, seed: None };
        let proxy = Proxy::start(config).await.unwrap();
        let client = Self { http: reqwest::Client::builder().no_proxy().build().unwrap(), url: proxy.url() };
        (proxy, client)
    }

    fn named(&self, name: &str) -> Self {
        Self { http: self.http.clone(), url: format!("{}/{name}", self.url) }
    }

    async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        let url = format!("{}/bigquery/v2/projects/p/{path}", self.url);
        let response = self.http.post(url).json(&body).send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        let url = format!("{}/bigquery/v2/projects/p/{path}", self.url);
        let response = self.http.get(url).send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    }

    async fn query(&self, sql: &str) -> (u16, Value) {
        self.post("queries", json!({ "query": sql, "useLegacySql": false })).await
    }

    async fn insert(&self, id: &str, sql: &str) -> (u16, Value) {
        let query = json!({ "query": sql });
        self.post("jobs", json!({ "jobReference": { "jobId": id }, "configuration": { "query": query } }))
            .await
    }
}

const MERGE: &str = "MERGE d.t T USING d.s S ON T.a = S.a WHEN NOT MATCHED THEN INSERT ROW";

#[tokio::test]
async fn a_query_that_is_not_done_in_time_is_asked_for_again_and_then_has_its_rows() {
    let (stand_in, upstream) = StandIn::start(&[], 0).await;
    let (_proxy, client) = Client::of(upstream).await;
    let request = json!({ "query": "SELECT 1", "timeoutMs": 1, "requestId": "r1" });
    let (status, first) = client.post("queries", request.clone()).await;
    assert_eq!((status, &first["jobComplete"]), (200, &json!(false)));
    let id = first["jobReference"]["jobId"].as_str().unwrap();
    // The same request again is the same job.
    let (_, again) = client.post("queries", request).await;
    assert_eq!(again["jobReference"]["jobId"], id);
    let (_, running) = client.get(&format!("jobs/{id}")).await;
    assert_eq!(running["status"]["state"], "RUNNING");
    let (_, waited) = client.get(&format!("queries/{id}?timeoutMs=1")).await;
    assert_eq!(waited["jobComplete"], false);
    stand_in.may_run.add_permits(1);
    let (_, done) = client.get(&format!("queries/{id}?timeoutMs=100000")).await;
    assert_eq!((&done["jobComplete"], &done["totalRows"]), (&json!(true), &json!("1")));
    assert_eq!(stand_in.queries(), ["SELECT 1"]);
    let (_, job) = client.get(&format!("jobs/{id}")).await;
    assert_eq!(job["status"]["state"], "DONE");
}

#[tokio::test]
async fn an_inserted_job_is_answered_at_once_and_runs_by_itself_under_its_own_id() {
    let (stand_in, upstream) = StandIn::start(&[], 0).await;
    let (_proxy, client) = Client::of(upstream).await;
    let (status, job) = client.insert("mine", MERGE).await;
    assert_eq!((status, &job["jobReference"]["jobId"]), (200, &json!("mine")));
    assert_ne!(job["status"]["state"], "DONE");
    let (status, again) = client.insert("mine", MERGE).await;
    assert_eq!((status, &again["error"]["errors"][0]["reason"]), (409, &json!("duplicate")));
    stand_in.may_run.add_permits(1);
    let (_, done) = client.get("queries/mine?timeoutMs=100000").await;
    assert_eq!((&done["jobComplete"], &done["numDmlAffectedRows"]), (&json!(true), &json!("3")));
    let (_, job) = client.get("jobs/mine").await;
    assert_eq!(job["statistics"]["query"]["totalBytesBilled"], (2 * LEAST_BYTES).to_string());
}

#[tokio::test]
async fn a_failed_statement_is_an_error_for_every_way_to_ask_and_costs_nothing() {
    let (_stand_in, upstream) = StandIn::start(&[], 9).await;
    let (proxy, client) = Client::of(upstream).await;
    let (status, answer) = client.query("SELECT wrong FROM d.t").await;
    assert_eq!((status, &answer["error"]["errors"][0]["reason"]), (400, &json!("invalidQuery")));
    client.insert("bad", "SELECT wrong FROM d.t").await;
    let (status, answer) = client.get("queries/bad?timeoutMs=100000").await;
    assert_eq!((status, &answer["error"]["message"]), (400, &json!("wrong")));
    let (_, job) = client.get("jobs/bad").await;
    assert_eq!(job["status"]["errorResult"]["reason"], "invalidQuery");
    let usage = proxy.usage().of(OTHERS);
    assert_eq!((usage.jobs, usage.failed, usage.bytes_billed), (0, 2, 0));
}

#[tokio::test]
async fn each_table_of_a_statement_is_billed_once_and_a_view_as_the_tables_beneath_it() {
    let views = [
        ("d.outer", "SELECT * FROM `p.d.inner` JOIN `p`.`d`.`a` USING (k)"),
        ("d.inner", "WITH w AS (SELECT * FROM `p.d.a`) SELECT * FROM w UNION ALL SELECT * FROM `p.d.b`"),
    ];
    let (_stand_in, upstream) = StandIn::start(&views, 99).await;
    let (proxy, client) = Client::of(upstream).await;
    for (number, (sql, tables)) in [
        ("SELECT 1", 0),
        ("SELECT * FROM d.a, d.a AS again", 1),
        ("SELECT * FROM d.outer", 2),
        ("SELECT * FROM d.outer JOIN d.c USING (k)", 3),
        ("CREATE OR REPLACE VIEW d.v AS SELECT * FROM d.outer JOIN d.c USING (k)", 0),
        // The stand-in describes `d.v` as it does any table, without the view's text.
        ("SELECT * FROM d.v", 3),
        ("DROP VIEW d.v", 0),
        ("SELECT * FROM d.v", 1),
        ("CREATE OR REPLACE TABLE d.n AS SELECT * FROM d.outer", 2),
        ("INSERT INTO d.t SELECT * FROM d.a", 1),
        (MERGE, 2),
        ("DECLARE x DEFAULT (SELECT MAX(k) FROM d.a); DELETE FROM d.t WHERE k > x", 2),
        ("SELECT * FROM p.d.INFORMATION_SCHEMA.PARTITIONS", 1),
        ("SELECT * FROM nowhere.x", 0),
    ]
    .into_iter()
    .enumerate()
    {
        let client = client.named(&format!("client-{number}"));
        assert_eq!(client.query(sql).await.0, 200, "{sql}");
        let usage = proxy.usage().of(&format!("client-{number}"));
        assert_eq!(
            (usage.jobs, usage.tables, usage.bytes_billed),
            (1, tables, tables * LEAST_BYTES),
            "{sql}"
        );
    }
    let usage = proxy.usage();
    assert_eq!(usage.overwrites, [("p.d.n".to_owned(), 1)].into());
    assert_eq!(usage.of("client-11").statements, [(Kind::Select, 1), (Kind::Mutate, 1)].into());
}

#[tokio::test]
async fn who_watches_the_flow_is_in_no_bill() {
    let (stand_in, upstream) = StandIn::start(&[], 9).await;
    let (proxy, client) = Client::of(upstream).await;
    let (status, _) = client.named(UNBILLED).query("SELECT * FROM d.t").await;
    assert_eq!((status, stand_in.queries().len()), (200, 1));
    assert_eq!(proxy.usage(), cloud::Usage::default());
}

#[tokio::test]
async fn the_25_per_10_seconds_and_the_most_bytes_are_refused_with_bigquerys_own_bodies() {
    let (stand_in, upstream) = StandIn::start(&[], 99).await;
    let (proxy, client) = Client::of(upstream).await;
    for _ in 0..25 {
        assert_eq!(client.query(MERGE).await.0, 200);
    }
    let (status, answer) = client.query(MERGE).await;
    let error = &answer["error"];
    assert_eq!((status, &error["code"], &error["status"]), (403, &json!(403), &json!("PERMISSION_DENIED")));
    assert_eq!(
        (&error["errors"][0]["reason"], &error["errors"][0]["domain"]),
        (&json!("rateLimitExceeded"), &json!("global"))
    );
    client.insert("refused", MERGE).await;
    let (_, job) = client.get("jobs/refused").await;
    assert_eq!(job["status"]["errorResult"]["reason"], "rateLimitExceeded");
    let body = json!({ "query": "SELECT * FROM d.t", "maximumBytesBilled": "1000000" });
    let (status, answer) = client.post("queries", body).await;
    let reason = &answer["error"]["errors"][0]["reason"];
    assert_eq!((status, reason), (400, &json!("bytesBilledLimitExceeded")));
    assert_eq!(stand_in.queries().len(), 25);
    let refused = proxy.usage().refused;
    assert_eq!(
        refused,
        [("rateLimitExceeded".to_owned(), 2), ("bytesBilledLimitExceeded".to_owned(), 1)].into()
    );
}

#[tokio::test]
async fn the_23rd_merge_at_once_is_refused_and_the_others_run_two_by_two() {
    let (stand_in, upstream) = StandIn::start(&[], 0).await;
    let (_proxy, client) = Client::of(upstream).await;
    for number in 0..22 {
        client.insert(&format!("merge-{number}"), MERGE).await;
    }
    let (status, answer) = client.query(MERGE).await;
    assert_eq!((status, &answer["error"]["errors"][0]["reason"]), (400, &json!("resourcesExceeded")));
    let (_, last) = client.get("jobs/merge-21").await;
    assert_eq!(last["status"]["state"], "PENDING");
    stand_in.may_run.add_permits(22);
    for number in 0..22 {
        let (_, done) = client.get(&format!("queries/merge-{number}?timeoutMs=100000")).await;
        assert_eq!(done["jobComplete"], true);
    }
}

#[tokio::test]
async fn a_job_that_is_cancelled_while_it_waits_never_runs() {
    let (stand_in, upstream) = StandIn::start(&[], 0).await;
    let (_proxy, client) = Client::of(upstream).await;
    for id in ["first", "second", "third"] {
        client.insert(id, MERGE).await;
    }
    let (status, answer) = client.post("jobs/third/cancel", json!({})).await;
    assert_eq!((status, &answer["job"]["status"]["errorResult"]["reason"]), (200, &json!("stopped")));
    stand_in.may_run.add_permits(3);
    for id in ["first", "second"] {
        assert_eq!(client.get(&format!("queries/{id}?timeoutMs=100000")).await.0, 200);
    }
    assert_eq!(client.get("queries/third").await.0, 400);
    client.insert("fourth", MERGE).await;
    client.get("queries/fourth?timeoutMs=100000").await;
    assert_eq!(stand_in.queries().len(), 3);
}

#[tokio::test]
async fn what_is_no_query_is_the_stand_ins_own() {
    let (_stand_in, upstream) = StandIn::start(&[], 9).await;
    let (proxy, client) = Client::of(upstream).await;
    let (status, table) = client.named("anyone").get("datasets/d/tables/t").await;
    assert_eq!((status, &table["type"]), (200, &json!("TABLE")));
    let dry = json!({ "configuration": { "dryRun": true, "query": { "query": "SELECT * FROM d.t" } } });
    assert_eq!(client.post("jobs", dry).await.0, 200);
    assert_eq!(proxy.usage(), cloud::Usage::default());
}
