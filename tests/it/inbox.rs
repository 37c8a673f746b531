//! Who cannot be reached reads its webhooks by polling.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a broken assumption of a test must fail the test"
)]

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::support::client::{Request, Response, send};
use crate::support::gateway::Gateway;

const TOKEN: &str = "token-of-the-reader";

fn file(folder: &TempDir, inbox: &str) -> String {
    format!(
        "
server: {{listen: 127.0.0.1:0, limits: {{connections_per_address: 2000}}}}
admin: {{listen: 127.0.0.1:0}}
store: {{path: {}}}
backends: {{}}
routes:
  orders:
    webhook: {{path: /orders}}
    inbox: {{tokens: [{TOKEN}]{inbox}}}
",
        folder.path().join("data").display()
    )
}

async fn came(gateway: &Gateway, ids: impl IntoIterator<Item = i64>) {
    for id in ids {
        let body = json!({"id": id}).to_string();
        let request = Request::post("/orders").header("X-Number", id.to_string());
        let answer = send(gateway.addr(), &request.body(body)).await;
        assert_eq!(answer.status, 202, "{}", answer.text());
    }
}

async fn asked(gateway: &Gateway, request: Request) -> Response {
    let authorization = format!("Bearer {TOKEN}");
    send(
        gateway.addr(),
        &request.header("Authorization", &authorization),
    )
    .await
}

async fn tried(gateway: &Gateway, query: &str) -> Response {
    asked(gateway, Request::get(&format!("/inbox/orders?{query}"))).await
}

async fn read(gateway: &Gateway, query: &str) -> Value {
    let answer = tried(gateway, query).await;
    assert_eq!(answer.status, 200, "{query}: {}", answer.text());
    answer.json()
}

async fn posted(gateway: &Gateway, act: &str, body: &Value) -> (u16, Value) {
    let request = Request::post(&format!("/inbox/orders/{act}"))
        .header("Content-Type", "application/json")
        .body(body.to_string());
    let answer = asked(gateway, request).await;
    (answer.status, answer.json())
}

async fn committed(gateway: &Gateway, consumer: &str, batch: &Value) -> u16 {
    let body = json!({"consumer": consumer, "lease": batch["lease"], "offset": batch["next"]});
    posted(gateway, "commit", &body).await.0
}

fn ids(batch: &Value) -> Vec<i64> {
    let events = batch["data"].as_array().unwrap().iter();
    let id =
        |event: &Value| -> Value { serde_json::from_str(event["body"].as_str().unwrap()).unwrap() };
    events
        .map(|event| id(event)["id"].as_i64().unwrap())
        .collect()
}

#[tokio::test]
async fn each_consumer_reads_everything_at_its_own_pace() {
    let folder = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(&file(&folder, "")).await;
    came(&gateway, 1..=5).await;
    let first = read(&gateway, "consumer=app&limit=3").await;
    assert_eq!(ids(&first), [1, 2, 3]);
    let event = &first["data"][0];
    assert_eq!(
        (&event["method"], &event["path"]),
        (&json!("POST"), &json!("/orders"))
    );
    let headers = event["headers"].as_array().unwrap();
    assert!(
        headers.contains(&json!(["X-Number", "1"])) || headers.contains(&json!(["x-number", "1"]))
    );
    assert_eq!(committed(&gateway, "app", &first).await, 200);
    let other = read(&gateway, "consumer=audit").await;
    assert_eq!(ids(&other), [1, 2, 3, 4, 5]);
    let second = read(&gateway, "consumer=app").await;
    assert_eq!(ids(&second), [4, 5]);
    assert_eq!(committed(&gateway, "app", &second).await, 200);
    assert_eq!(
        ids(&read(&gateway, "consumer=app").await),
        Vec::<i64>::new()
    );
    // What was not committed is there again after a crash; what was is not.
    gateway.kill().await;
    let gateway = Gateway::start(&file(&folder, "")).await;
    came(&gateway, [6]).await;
    assert_eq!(ids(&read(&gateway, "consumer=app").await), [6]);
    assert_eq!(
        ids(&read(&gateway, "consumer=audit").await),
        [1, 2, 3, 4, 5, 6]
    );
}

#[tokio::test]
async fn a_second_reader_waits_until_the_lease_of_the_first_ends() {
    let folder = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(&file(&folder, ", lease: 2s")).await;
    came(&gateway, 1..=3).await;
    let first = read(&gateway, "consumer=app&limit=2").await;
    let busy = tried(&gateway, "consumer=app").await;
    assert_eq!(busy.status, 409, "{}", busy.text());
    assert!(
        busy.json()["detail"]
            .as_str()
            .unwrap()
            .contains("another reader")
    );
    // The first one reads on under its lease.
    let lease = first["lease"].as_str().unwrap();
    let more = read(&gateway, &format!("consumer=app&lease={lease}")).await;
    assert_eq!(ids(&more), [3]);
    // It dies. When its lease is over, all of it goes to the second.
    let waited = Instant::now();
    let second = loop {
        let answer = tried(&gateway, "consumer=app").await;
        if answer.status == 200 {
            break answer.json();
        }
        assert!(waited.elapsed() < Duration::from_secs(10));
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert_eq!(ids(&second), [1, 2, 3]);
    // The dead one comes back to life, and may not say that it has them.
    assert_eq!(committed(&gateway, "app", &first).await, 409);
    assert_eq!(committed(&gateway, "app", &second).await, 200);
}

#[tokio::test]
async fn readers_that_share_a_consumer_get_different_events() {
    let folder = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(&file(&folder, ", shared: true, lease: 2s")).await;
    came(&gateway, 1..=6).await;
    let one = read(&gateway, "consumer=workers&limit=3").await;
    let other = read(&gateway, "consumer=workers&limit=3").await;
    assert_eq!((ids(&one), ids(&other)), (vec![1, 2, 3], vec![4, 5, 6]));
    let offsets = |batch: &Value| -> Vec<Value> {
        let events = batch["data"].as_array().unwrap().iter();
        events.map(|event| event["offset"].clone()).collect()
    };
    let commit = |batch: &Value, offsets: &[Value]| json!({"consumer": "workers", "lease": batch["lease"], "offsets": offsets});
    let all = offsets(&other);
    let (status, answer) = posted(&gateway, "commit", &commit(&other, &all)).await;
    assert_eq!(status, 200, "{answer}");
    let some = offsets(&one);
    assert_eq!(
        posted(&gateway, "commit", &commit(&one, &some[1..2]))
            .await
            .0,
        200
    );
    // A kill forgets leases, not what was committed.
    gateway.kill().await;
    let gateway = Gateway::start(&file(&folder, ", shared: true, lease: 2s")).await;
    assert_eq!(ids(&read(&gateway, "consumer=workers").await), [1, 3]);
}

#[tokio::test]
async fn a_consumer_begins_where_it_is_told_to() {
    let folder = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(&file(&folder, ", start: latest")).await;
    came(&gateway, 1..=3).await;
    assert_eq!(
        ids(&read(&gateway, "consumer=late").await),
        Vec::<i64>::new()
    );
    came(&gateway, [4]).await;
    let batch = read(&gateway, "consumer=late").await;
    assert_eq!(ids(&batch), [4]);
    let seek = async |to: Value, expected: &[i64]| {
        let (status, answer) =
            posted(&gateway, "seek", &json!({"consumer": "late", "to": to})).await;
        assert_eq!(status, 200, "{answer}");
        assert_eq!(
            ids(&read(&gateway, "consumer=late").await),
            expected,
            "{to}"
        );
    };
    seek(json!("earliest"), &[1, 2, 3, 4]).await;
    let all = read(&gateway, "consumer=other").await;
    assert_eq!(ids(&all), Vec::<i64>::new());
    seek(json!("2020-01-01T00:00:00Z"), &[1, 2, 3, 4]).await;
    seek(batch["committed"].clone(), &[4]).await;
    seek(json!("latest"), &[]).await;
}

#[tokio::test]
async fn who_waits_gets_an_event_as_soon_as_it_comes() {
    let folder = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(&file(&folder, "")).await;
    let begun = Instant::now();
    assert_eq!(ids(&read(&gateway, "wait=1s").await), Vec::<i64>::new());
    assert!(begun.elapsed() >= Duration::from_secs(1));
    let begun = Instant::now();
    let (batch, ()) = tokio::join!(read(&gateway, "wait=30s"), async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        came(&gateway, [1]).await;
    });
    assert_eq!(ids(&batch), [1]);
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test]
async fn only_who_has_a_token_reads_and_what_makes_no_sense_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(&file(&folder, "")).await;
    came(&gateway, [1]).await;
    for authorization in [None, Some("Bearer other"), Some("Basic x"), Some("Bearer ")] {
        let mut request = Request::get("/inbox/orders");
        if let Some(authorization) = authorization {
            request = request.header("Authorization", authorization);
        }
        let answer = send(gateway.addr(), &request).await;
        assert_eq!(answer.status, 401, "{authorization:?}");
        assert!(!answer.text().contains("\"id\""));
    }
    for (query, why) in [
        ("consumer=a/b", "name"),
        ("consumer=", "name"),
        ("limit=0", "`limit`"),
        ("limit=501", "`limit`"),
        ("wait=61s", "`wait`"),
        ("wait=x", "`wait`"),
        ("lease=x", "`lease`"),
        ("lmit=3", "`lmit`"),
    ] {
        let answer = tried(&gateway, query).await;
        assert_eq!(answer.status, 400, "{query}");
        assert!(answer.text().contains(why), "{query}: {}", answer.text());
    }
    let batch = read(&gateway, "").await;
    for body in [
        json!({}),
        json!({"consumer": "default", "lease": batch["lease"]}),
        json!({"consumer": "default", "lease": "x", "offset": 1}),
        json!({"consumer": "default", "lease": batch["lease"], "offset": 1}),
        json!({"consumer": "default", "lease": batch["lease"], "offset": 1, "more": 1}),
    ] {
        assert_eq!(posted(&gateway, "commit", &body).await.0, 400, "{body}");
    }
    let stale = json!({"consumer": "default", "lease": "7", "offset": batch["next"]});
    assert_eq!(posted(&gateway, "commit", &stale).await.0, 409);
    assert_eq!(
        posted(&gateway, "seek", &json!({"consumer": "a", "to": "soon"}))
            .await
            .0,
        400
    );
    let denied = [("route", "orders"), ("outcome", "denied")];
    let counted = gateway
        .metric("hookgate_inbox_requests_total", &denied)
        .await;
    assert_eq!(counted, Some(4.0));
    let text = gateway.logs().join("\n");
    assert!(!text.contains(TOKEN), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_consumers_wait_within_a_hundred_megabytes() {
    const WAITING: usize = 1000;
    let folder = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(&file(&folder, ", start: latest")).await;
    came(&gateway, [1]).await;
    let (addr, before) = (gateway.addr(), gateway.resident_bytes());
    let mut waiting = JoinSet::new();
    for number in 0..WAITING {
        waiting.spawn(async move {
            let mut stream = TcpStream::connect(addr).await.unwrap();
            let request = format!(
                "GET /inbox/orders?consumer=c{number}&wait=50s HTTP/1.1\r\nHost: a\r\n\
                 Authorization: Bearer {TOKEN}\r\nConnection: close\r\n\r\n"
            );
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).await.unwrap();
            String::from_utf8(answer).unwrap()
        });
    }
    gateway
        .wait_for_metric("hookgate_requests_in_flight", &[], 1000.0)
        .await;
    // All of them know where they begin.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let mebibytes = gateway.resident_bytes().saturating_sub(before) / 1024 / 1024;
    assert!(mebibytes < 100, "{mebibytes} MiB more than without them");
    came(&gateway, [2]).await;
    let mut got = 0;
    while let Some(answer) = waiting.join_next().await {
        let answer = answer.unwrap();
        assert!(answer.contains("{\\\"id\\\":2}"), "{answer}");
        got += 1;
    }
    assert_eq!(got, WAITING);
}
