//! An operator tries a source out before it runs, sees how it goes, and repairs how far it is read.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a broken assumption of a test must fail the test"
)]

use std::path::PathBuf;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::backend::{FakeBackend, Response};
use crate::support::client::{Request, send};
use crate::support::gateway::{Finished, Gateway, run};
use crate::support::operator::{ask, command, folder, order, told, wait_for};
use crate::support::provider::{Answer, Provider};

const SECRET: &str = "whsec_bWVzc2FnZXMtYXJlLXNpZ25lZC13aXRoLXRoaXM=";
const TOKEN: &str = "token-of-the-orders";

/// A source that is only polled when somebody asks for it.
fn yaml(provider: &str, app: &str, folder: &TempDir, more: &str) -> String {
    format!(
        "
server: {{listen: 127.0.0.1:0}}
admin: {{listen: 127.0.0.1:0}}
store: {{path: {path}}}
backends:
  app: {{url: {app}}}
routes:
  orders:
    poll:
      schedule: {{cron: \"0 0 1 1 *\", jitter: 0s}}
      request: {{url: \"{provider}/orders\", query: {{since: \"${{{{ cursor }}}}\"}}}}
      auth: {{type: bearer, token: {TOKEN}}}
      items: {{select: \"$.data[*]\", time: $.at, order: asc, where: item.wanted}}
      cursor: {{type: timestamp, start: earliest}}
{more}
    deliver:
      to: app
      mode: queue
      sign: {{provider: standardwebhooks, secret: {SECRET}}}
",
        path = folder.path().join("store").display(),
    )
}

fn item(id: u32) -> Value {
    json!({"id": id, "at": format!("2026-01-0{id}T00:00:00Z"), "wanted": id != 2})
}

fn page() -> Value {
    let data: Vec<Value> = (1..=4).map(item).collect();
    json!({"data": data, "next_cursor": "abc", "has_more": true})
}

async fn provider() -> Provider {
    Provider::start(|_| Answer::json(&page())).await
}

fn written(folder: &TempDir, text: &str) -> String {
    let file: PathBuf = folder.path().join("hookgate.yaml");
    std::fs::write(&file, text).unwrap();
    file.display().to_string()
}

/// Runs a command that needs no gateway.
async fn alone(args: &[&str], file: &str) -> Finished {
    let finished = run(&[args, &["-c", file]].concat(), b"", &[]).await;
    let all = format!("{}{}", finished.stdout, finished.stderr);
    assert!(!all.contains(TOKEN), "{all}");
    finished
}

/// A gateway whose source can be woken.
async fn gateway(text: &str) -> Gateway {
    let gateway = Gateway::start(text).await;
    wait_for(&gateway, "/sources", |list| {
        list["sources"][0]["partitions"][0]["next_at"].is_string()
    })
    .await;
    gateway
}

fn partition(list: &Value) -> &Value {
    &list["sources"][0]["partitions"][0]
}

/// Polls once by command, and waits until that is over.
async fn polled(gateway: &Gateway) -> Value {
    let before = partition(&ask(gateway, "/sources").await)["ended_at"].clone();
    told(gateway, &["poll", "run", "orders"]).await;
    let is_over = |list: &Value| {
        let now = &partition(list)["ended_at"];
        now.is_string() && *now != before
    };
    let list = wait_for(gateway, "/sources", is_over).await;
    partition(&list).clone()
}

async fn cursor(gateway: &Gateway) -> Value {
    let state = ask(gateway, "/sources/orders/state").await;
    state["states"][0]["state"]["position"]["cursor"].clone()
}

#[tokio::test]
async fn a_source_is_tried_out_without_a_trace() {
    let (folder, provider) = (folder(), provider().await);
    let app = FakeBackend::start().await;
    let file = written(&folder, &yaml(&provider.url(), &app.url(), &folder, ""));
    let check = alone(&["poll", "check", "orders"], &file).await;
    assert_eq!(check.code, Some(0), "{}", check.stderr);
    for expected in [
        "GET http://127.0.0.1",
        "200, ",
        "4 on the page, 1 filtered",
        "2026-01-01T00:00:00Z",
        "\"2026-01-04T00:00:00Z\"",
        "{type: token, token: $.next_cursor, param: cursor, has_more: $.has_more}",
    ] {
        assert!(
            check.stdout.contains(expected),
            "{expected}: {}",
            check.stdout
        );
    }
    assert_eq!(provider.count(), 1, "one request");
    let bearer = format!("Bearer {TOKEN}");
    assert_eq!(provider.asked()[0].header("authorization"), Some(&*bearer));
    let json = alone(&["poll", "check", "orders", "--json"], &file).await;
    let json: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(json["ok"], true);
    assert_eq!((&json["found"], &json["filtered"]), (&json!(4), &json!(1)));
    assert_eq!(json["items"][0]["id"], "1");
    assert_eq!(json["cursor"], "2026-01-04T00:00:00Z");
    assert!(!folder.path().join("store").exists(), "nothing is kept");
    assert_eq!(app.count(), 0);
}

#[tokio::test]
async fn a_source_that_cannot_be_read_says_why() {
    let (folder, provider) = (folder(), provider().await);
    let app = FakeBackend::start().await;
    let file = written(&folder, &yaml(&provider.url(), &app.url(), &folder, ""));
    let check = async |answer: Answer, reason: &str| {
        let count = provider.count();
        provider.answer_with(move |_| answer.clone());
        let check = alone(&["poll", "check", "orders"], &file).await;
        assert_eq!(check.code, Some(1), "{}", check.stdout);
        assert!(check.stderr.contains(reason), "{reason}: {}", check.stderr);
        assert_eq!(provider.count(), count + 1, "{reason}: one request");
    };
    check(Answer::new(503), "503").await;
    check(Answer::new(401), "401").await;
    check(Answer::new(429).header("Retry-After", "60"), "before").await;
    check(Answer::json(&json!({"items": []})), "$.data[*]").await;
    check(Answer::text("application/json", "{"), "").await;
    let unknown = alone(&["poll", "check", "other"], &file).await;
    assert_eq!(unknown.code, Some(1));
    assert!(
        unknown.stderr.contains("known are: orders"),
        "{}",
        unknown.stderr
    );
}

#[tokio::test]
async fn what_a_backend_would_get_is_shown_and_not_sent() {
    let (folder, provider) = (folder(), provider().await);
    let app = FakeBackend::start().await;
    let file = written(&folder, &yaml(&provider.url(), &app.url(), &folder, ""));
    let shown = alone(&["poll", "preview", "orders", "--limit", "2"], &file).await;
    assert_eq!(shown.code, Some(0), "{}", shown.stderr);
    for expected in [
        "item 1 to app",
        "POST / HTTP/1.1",
        "webhook-signature: v1,",
        &item(1).to_string(),
        "item 3 to app",
    ] {
        let has = shown
            .stdout
            .to_lowercase()
            .contains(&expected.to_lowercase());
        assert!(has, "{expected}: {}", shown.stdout);
    }
    assert!(!shown.stdout.contains("item 4"), "{}", shown.stdout);
    let json = alone(&["poll", "preview", "orders", "--json"], &file).await;
    let json: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(json["requests"].as_array().unwrap().len(), 3);
    assert_eq!(json["requests"][0]["body"], item(1).to_string());
    assert_eq!(app.count(), 0);
    assert!(!folder.path().join("store").exists(), "nothing is kept");
}

#[tokio::test]
async fn a_source_is_polled_paused_and_polled_again_by_commands() {
    let (folder, provider) = (folder(), provider().await);
    let app = FakeBackend::start().await;
    let gateway = gateway(&yaml(&provider.url(), &app.url(), &folder, "")).await;
    let first = polled(&gateway).await;
    assert_eq!(first["outcome"], "done");
    assert_eq!((&first["new"], &first["filtered"]), (&json!(3), &json!(1)));
    assert_eq!(first["newest_item_at"], "2026-01-04T00:00:00Z");
    assert_eq!(app.wait_for(3).await.len(), 3);
    let list = told(&gateway, &["poll", "list"]).await;
    assert!(list.contains("orders") && list.contains("done"), "{list}");

    let why = ["poll", "pause", "orders", "--why", "the provider moves"];
    let paused = told(&gateway, &why).await;
    assert!(paused.contains("paused"), "{paused}");
    let list = told(&gateway, &["poll", "list", "--json"]).await;
    let list: Value = serde_json::from_str(&list).unwrap();
    assert_eq!(partition(&list)["paused"], "the provider moves");
    let count = provider.count();
    let refused = command(&gateway, &["poll", "run", "orders"]).await;
    assert_eq!(refused.code, Some(1));
    assert!(
        refused.stderr.contains("the provider moves"),
        "{}",
        refused.stderr
    );
    assert_eq!(provider.count(), count);
    told(&gateway, &["poll", "resume", "orders"]).await;
    provider.wait_for(count + 1).await;
    let acts = ask(&gateway, "/acts").await;
    let acts: Vec<_> = acts["acts"].as_array().unwrap().iter().collect();
    let whats: Vec<_> = acts
        .iter()
        .map(|act| act["what"].as_str().unwrap())
        .collect();
    assert_eq!(whats, ["resume_source", "pause_source", "run_source"]);
    assert_eq!(acts[1]["detail"], "orders: the provider moves");
    let unknown = command(&gateway, &["poll", "run", "other"]).await;
    assert!(
        unknown.stderr.contains("no source `other`"),
        "{}",
        unknown.stderr
    );
}

#[tokio::test]
async fn a_state_is_shown_set_exported_imported_and_reset() {
    let (folder, provider) = (folder(), provider().await);
    let app = FakeBackend::start().await;
    let text = yaml(&provider.url(), &app.url(), &folder, "");
    let gateway = gateway(&text).await;
    polled(&gateway).await;
    assert_eq!(cursor(&gateway).await, "2026-01-04T00:00:00Z");
    let exported = told(&gateway, &["poll", "state", "export", "orders"]).await;
    let line: Value = serde_json::from_str(&exported).unwrap();
    assert_eq!(
        (&line["source"], &line["partition"]),
        (&json!("orders"), &json!(""))
    );
    let file = folder.path().join("state.ndjson");
    std::fs::write(&file, &exported).unwrap();

    let set = ["poll", "state", "set", "orders", "--cursor"];
    let count = provider.count();
    let told_of = told(
        &gateway,
        &[&set[..], &["\"2026-01-02T00:00:00Z\""]].concat(),
    )
    .await;
    assert!(told_of.contains("2026-01-02T00:00:00Z"), "{told_of}");
    let asked = provider.wait_for(count + 1).await;
    assert_eq!(asked[count].param("since"), Some("2026-01-02T00:00:00Z"));
    let refused = command(&gateway, &[&set[..], &["\"soon\""]].concat()).await;
    assert!(refused.stderr.contains("no time"), "{}", refused.stderr);
    let refused = command(&gateway, &[&set[..], &["nonsense"]].concat()).await;
    assert!(refused.stderr.contains("no JSON"), "{}", refused.stderr);

    let refused = command(&gateway, &["poll", "reset", "orders"]).await;
    assert!(refused.stderr.contains("--yes"), "{}", refused.stderr);
    let count = provider.count();
    told(&gateway, &["poll", "reset", "orders", "--yes"]).await;
    let asked = provider.wait_for(count + 1).await;
    assert_eq!(asked[count].param("since"), None, "from the start");
    told(&gateway, &["poll", "pause", "orders"]).await;
    let path = file.display().to_string();
    told(&gateway, &["poll", "state", "import", "orders", &path]).await;
    assert_eq!(cursor(&gateway).await, "2026-01-04T00:00:00Z");
    let get = told(&gateway, &["poll", "state", "get", "orders", "--json"]).await;
    let get: Value = serde_json::from_str(&get).unwrap();
    assert_eq!(get, ask(&gateway, "/sources/orders/state").await);
    assert_eq!(app.wait_for(3).await.len(), 3, "nothing came twice");

    let admin = gateway.admin();
    gateway.stop().await;
    let text = text.replace(
        "admin: {listen: 127.0.0.1:0}",
        &format!("admin: {{listen: \"{admin}\"}}"),
    );
    let file = written(&folder, &text);
    let stopped = alone(&["poll", "state", "get", "orders"], &file).await;
    assert_eq!(stopped.code, Some(0), "{}", stopped.stderr);
    assert!(stopped.stdout.contains("2026-01-04"), "{}", stopped.stdout);
    provider.answer_with(|_| Answer::json(&json!({"data": []})));
    let count = provider.count();
    let check = alone(&["poll", "check", "orders"], &file).await;
    assert_eq!(check.code, Some(0), "{}", check.stderr);
    let since = provider.asked()[count].param("since").map(str::to_owned);
    assert_eq!(
        since.as_deref(),
        Some("2026-01-04T00:00:00Z"),
        "from the store"
    );
}

#[tokio::test]
async fn a_changed_source_waits_until_it_is_accepted() {
    let (folder, provider) = (folder(), provider().await);
    let app = FakeBackend::start().await;
    let text = yaml(&provider.url(), &app.url(), &folder, "");
    let first = gateway(&text).await;
    polled(&first).await;
    first.stop().await;
    let count = provider.count();
    let changed = text.replace("/orders\"", "/v2/orders\"");
    let second = gateway(&changed).await;
    let list = ask(&second, "/sources").await;
    let why = partition(&list)["paused"].as_str().unwrap();
    assert!(why.contains("hookgate poll accept orders"), "{why}");
    told(&second, &["poll", "accept", "orders"]).await;
    let asked = provider.wait_for(count + 1).await;
    assert_eq!(asked[count].path, "/v2/orders");
    assert_eq!(asked[count].param("since"), Some("2026-01-04T00:00:00Z"));
    let list = ask(&second, "/sources").await;
    assert_eq!(partition(&list)["paused"], Value::Null);
}

#[tokio::test]
async fn what_cannot_be_done_to_a_source_is_refused() {
    let (folder, provider) = (folder(), provider().await);
    let app = FakeBackend::start().await;
    app.respond_with(Response::new(200));
    let text = yaml(&provider.url(), &app.url(), &folder, "      enabled: false");
    let gateway = Gateway::start(&text).await;
    let check = async |path: &str, body: Value, status: u16| {
        let (found, problem) = order(&gateway, path, &body).await;
        assert_eq!(found, status, "{path}: {problem}");
    };
    check("/sources/other/run", json!({}), 404).await;
    check("/sources/orders/run", json!({}), 409).await;
    check("/sources/orders/pause", json!({"wy": "x"}), 400).await;
    check(
        "/sources/orders/pause",
        json!({"why": "x".repeat(501)}),
        400,
    )
    .await;
    check("/sources/orders/pause", json!({}), 200).await;
    check("/sources/orders/resume", json!({}), 200).await;
    let put = async |body: Value, status: u16| {
        let request = Request::new("PUT", "/api/v1/sources/orders/state")
            .header("Hookgate-Admin", "1")
            .body(body.to_string());
        let answer = send(gateway.admin(), &request).await;
        assert_eq!(answer.status, status, "{body}: {}", answer.text());
    };
    put(json!({}), 400).await;
    put(json!({"cursor": "2026-01-01T00:00:00Z", "state": {}}), 400).await;
    put(json!({"cursor": "soon"}), 400).await;
    put(json!({"state": 7}), 400).await;
    put(
        json!({"cursor": "2026-01-01T00:00:00Z", "partition": "x"}),
        404,
    )
    .await;
    put(json!({"cursor": "2026-01-01T00:00:00Z"}), 200).await;
    assert_eq!(provider.count(), 0, "it is not polled");
}
