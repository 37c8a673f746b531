//! A provider is asked for what is new, and what it has arrives once.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a broken assumption of a test must fail the test"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::backend::{FakeBackend, Recorded};
use crate::support::client::{Request, send};
use crate::support::gateway::{Gateway, hookgate, run};
use crate::support::provider::{Answer, Asked, Provider, Rows};

mod access;
mod answers;
mod clocks;
mod crashes;
mod examples;
mod fakes;
mod gaps;
mod lists;
mod native;
mod ranges;
mod snapshots;

/// Keys of a source that is asked often and does not rest long.
const QUICK: &str = "schedule: {interval: 50ms}, retry: {attempts: 1}, \
                     on_error: {backoff: {base: 20ms, max: 50ms}}";

/// A provider, a backend, and the folder of the gateway between them.
struct Scene {
    provider: Provider,
    app: FakeBackend,
    folder: TempDir,
}

impl Scene {
    async fn new(handler: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Self {
        Self {
            provider: Provider::start(handler).await,
            app: FakeBackend::start().await,
            folder: tempfile::tempdir().unwrap(),
        }
    }

    /// A provider that lists these at `/rows`.
    async fn listing(rows: &Rows) -> Self {
        let rows = rows.clone();
        Self::new(move |_| Answer::json(&json!(rows.all()))).await
    }

    /// The file with a source called `rows`; `poll` are its keys, with `UPSTREAM` for the provider.
    fn file(&self, poll: &str) -> String {
        self.file_with(poll, "deliver: {to: app}")
    }

    /// The same; `route` are the other keys of the route.
    fn file_with(&self, poll: &str, route: &str) -> String {
        // What goes on in another line must stand far enough to the right.
        let poll = poll.split_whitespace().collect::<Vec<_>>().join(" ");
        self.routes(&format!(
            "
  rows:
    poll: {{{QUICK}, {poll}}}
    {route}"
        ))
    }

    fn routes(&self, routes: &str) -> String {
        format!(
            "
server: {{listen: 127.0.0.1:0}}
admin: {{listen: 127.0.0.1:0}}
store: {{path: {path}}}
backends:
  app:
    url: {url}
    concurrency: 1
    retry: {{backoff: {{base: 20ms, max: 100ms}}}}
routes:{routes}
",
            path = self.folder.path().join("data").display(),
            url = self.app.url(),
            routes = routes.replace("UPSTREAM", &self.provider.url()),
        )
    }

    async fn start(&self, poll: &str) -> Gateway {
        Gateway::start(&self.file(poll)).await
    }

    /// Runs the gateway until it ends by itself at a point, or for so long and then kills it.
    async fn crash(&self, file: &str, fault: Option<String>, patience: Duration) {
        let path = self.written(file);
        let env = fault.as_deref().map(|fault| ("HOOKGATE_FAULT", fault));
        let mut command = hookgate(env.as_slice());
        command.args(["serve", "-c"]).arg(&path);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut process = command.spawn().unwrap();
        if tokio::time::timeout(patience, process.wait())
            .await
            .is_err()
        {
            process.start_kill().unwrap();
            process.wait().await.unwrap();
        }
    }

    /// The file on disk, for commands.
    fn written(&self, file: &str) -> PathBuf {
        let path = self.folder.path().join("hookgate.yaml");
        std::fs::write(&path, file).unwrap();
        path
    }

    /// What a command prints about a gateway that is down.
    async fn printed(&self, args: &[&str], file: &str) -> Value {
        // Where nobody listens, the gateway is down.
        let file = file.replace(
            "admin: {listen: 127.0.0.1:0}",
            "admin: {listen: 127.0.0.1:1}",
        );
        let path = self.written(&file).display().to_string();
        let finished = run(&[args, &["--json", "-c", &path]].concat(), b"", &[]).await;
        assert_eq!(finished.code, Some(0), "{}", finished.stderr);
        serde_json::from_str(&finished.stdout).unwrap()
    }

    /// What the store of a gateway that is down has of its source.
    async fn stored(&self, file: &str) -> Value {
        let list = self.printed(&["poll", "state", "get", "rows"], file).await;
        list["states"][0]["state"].clone()
    }

    /// The ids of the items whose events the store of a gateway that is down has.
    async fn events(&self, file: &str) -> Vec<String> {
        let list = self.printed(&["events", "list"], file).await;
        let events = list["events"].as_array().unwrap().iter();
        let id = |event: &Value| event["provider_event_id"].as_str().unwrap().to_owned();
        events.map(id).collect()
    }

    /// Awaits so many deliveries, and the ids of their items in the order in which they came.
    async fn ids(&self, count: usize) -> Vec<Value> {
        ids(&self.app.wait_for(count).await)
    }

    /// Awaits that these and no others have come, each under one id however often.
    async fn have_come(&self, wanted: impl IntoIterator<Item = i64>) {
        let wanted: BTreeSet<i64> = wanted.into_iter().collect();
        for count in wanted.len().. {
            let requests = self.app.wait_for(count).await;
            let mut come: BTreeMap<i64, BTreeSet<String>> = BTreeMap::new();
            for request in &requests {
                let id = body(request)["id"].as_i64().unwrap();
                let name = request.header("webhook-id").unwrap().to_owned();
                come.entry(id).or_default().insert(name);
            }
            assert!(come.keys().all(|id| wanted.contains(id)), "{come:?}");
            if come.len() == wanted.len() {
                assert!(come.values().all(|names| names.len() == 1), "{come:?}");
                return;
            }
        }
    }

    /// Awaits some polls more and checks that nothing else has come.
    async fn nothing_more_than(&self, count: usize) {
        self.provider.wait_for_more(3).await;
        assert_eq!(self.app.count(), count, "{:?}", ids(&self.app.requests()));
    }
}

fn body(request: &Recorded) -> Value {
    serde_json::from_slice(&request.body).unwrap()
}

fn ids(requests: &[Recorded]) -> Vec<Value> {
    let id = |request: &Recorded| body(request)["id"].clone();
    requests.iter().map(id).collect()
}

fn row(id: i64) -> Value {
    json!({"id": id, "name": format!("row {id}")})
}

fn rows(ids: impl IntoIterator<Item = i64>) -> Rows {
    Rows::new(ids.into_iter().map(row))
}

#[tokio::test]
async fn a_first_poll_only_learns_and_what_is_new_then_arrives_once() {
    let rows = rows(1..=2);
    let listed = rows.clone();
    let scene = Scene::new(move |_| Answer::json(&json!({"data": listed.all()}))).await;
    let poll = r#"request: UPSTREAM/orders, items: "$.data[*]""#;
    let _gateway = scene.start(poll).await;
    scene.provider.wait_for(3).await;
    assert_eq!(scene.app.count(), 0, "what was there is learned");
    rows.add(json!({"id": 3, "total": 1.10, "name": "Zażółć", "nested": {"a": [1, null]}}));
    let request = scene.app.next().await;
    assert_eq!(request.method, "POST");
    assert_eq!(request.header("content-type"), Some("application/json"));
    assert_eq!(request.header("hookgate-source"), Some("rows"));
    assert_eq!(request.header("hookgate-change"), Some("created"));
    assert_eq!(body(&request), rows.all()[2]);
    assert!(
        request
            .header("webhook-id")
            .is_some_and(|id| !id.is_empty())
    );
    scene.nothing_more_than(1).await;
    let asked = &scene.provider.asked()[0];
    assert_eq!((&*asked.method, &*asked.path), ("GET", "/orders"));
}

#[tokio::test]
async fn from_the_earliest_on_everything_arrives_in_its_order() {
    let rows = rows(1..=20);
    let scene = Scene::listing(&rows).await;
    let poll = r#"request: UPSTREAM/rows, items: "$[*]", cursor: {start: earliest}"#;
    let gateway = scene.start(poll).await;
    let expected: Vec<Value> = (1..=20).map(Value::from).collect();
    assert_eq!(scene.ids(20).await, expected);
    scene.nothing_more_than(20).await;
    for (outcome, count) in [("new", 20.0), ("duplicate", 20.0)] {
        let labels = [("route", "rows"), ("outcome", outcome)];
        let counted = gateway.wait_for_metric("hookgate_poll_items_total", &labels, count);
        assert!(counted.await >= count);
    }
    let done = [("route", "rows"), ("outcome", "done")];
    gateway
        .wait_for_metric("hookgate_polls_total", &done, 1.0)
        .await;
}

#[tokio::test]
async fn an_item_with_another_version_is_another_event() {
    let rows = Rows::new([json!({"id": 1, "at": "2026-01-01T00:00:00Z"})]);
    let scene = Scene::listing(&rows).await;
    let poll = r#"request: UPSTREAM/rows, items: "$[*]", cursor: {start: earliest}"#;
    let route = "dedup: {version: $.at}\n    deliver: {to: app}";
    let _gateway = Gateway::start(&scene.file_with(poll, route)).await;
    scene.app.wait_for(1).await;
    rows.change(|rows| rows[0]["at"] = json!("2026-01-02T00:00:00Z"));
    let both = scene.app.wait_for(2).await;
    assert_eq!(body(&both[1])["at"], "2026-01-02T00:00:00Z");
    assert_ne!(both[0].header("webhook-id"), both[1].header("webhook-id"));
    scene.nothing_more_than(2).await;
}

#[tokio::test]
async fn what_came_by_webhook_is_not_pushed_again_and_what_it_missed_is() {
    let rows = Rows::default();
    let scene = Scene::listing(&rows).await;
    let poll = r#"request: UPSTREAM/rows, items: "$[*]", cursor: {start: earliest}"#;
    let route = "webhook: {path: /hooks}\n    dedup: {key: $.id, window: 1h}\n    \
                 deliver: {to: app, mode: queue}";
    let gateway = Gateway::start(&scene.file_with(poll, route)).await;
    let webhook = |id: i64| {
        let request = Request::post("/hooks").header("Content-Type", "application/json");
        request.body(row(id).to_string())
    };
    assert_eq!(send(gateway.addr(), &webhook(1)).await.status, 202);
    scene.app.wait_for(1).await;
    rows.add(row(1));
    rows.add(row(2));
    assert_eq!(scene.ids(2).await, [1, 2]);
    let recovered = "hookgate_poll_recovered_total";
    let labels = [("route", "rows")];
    gateway.wait_for_metric(recovered, &labels, 1.0).await;
    assert_eq!(send(gateway.addr(), &webhook(2)).await.status, 200);
    scene.nothing_more_than(2).await;
    assert_eq!(gateway.metric(recovered, &labels).await, Some(1.0));
}

#[tokio::test]
async fn a_changed_definition_stops_the_source_until_somebody_accepts_it() {
    let rows = Rows::new((1..=3).map(|id| json!({"id": id, "no": 10 - id})));
    let scene = Scene::listing(&rows).await;
    let poll = |field: &str| {
        format!(
            r#"request: {{url: UPSTREAM/rows, query: {{after: "${{{{ cursor }}}}"}}}}, items: "$[*]",
               cursor: {{type: last_id, field: $.{field}, start: earliest, compare: none}}"#
        )
    };
    let gateway = scene.start(&poll("id")).await;
    scene.have_come(1..=3).await;
    gateway.stop().await;
    let asked = scene.provider.count();
    let gateway = scene.start(&poll("no")).await;
    gateway
        .wait_for_log(|line| line.contains("hookgate poll accept rows"))
        .await;
    let paused = gateway.wait_for_metric("hookgate_poll_paused", &[("route", "rows")], 1.0);
    assert_eq!(paused.await, 1.0);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(scene.provider.count(), asked, "nothing is read again");
    gateway.stop().await;
    let _gateway = scene.start(&poll("id")).await;
    rows.add(json!({"id": 4, "no": 6}));
    scene.have_come(1..=4).await;
}

#[tokio::test]
async fn a_source_that_is_silent_for_too_long_is_told() {
    let rows = rows(1..=1);
    let scene = Scene::listing(&rows).await;
    let poll = r#"request: UPSTREAM/rows, items: "$[*]", cursor: {start: earliest},
                  expected_every: 1s"#;
    let gateway = scene.start(poll).await;
    scene.have_come(1..=1).await;
    let labels = [("route", "rows")];
    gateway
        .wait_for_metric("hookgate_poll_silent", &labels, 1.0)
        .await;
    rows.add(row(2));
    gateway
        .wait_for_fall("hookgate_poll_silent", &labels, 0.0)
        .await;
    let success = "hookgate_poll_last_success_timestamp_seconds";
    assert!(
        gateway
            .metric(success, &labels)
            .await
            .is_some_and(|at| at > 1.7e9)
    );
}

#[tokio::test]
async fn what_is_packed_is_unpacked_and_a_304_brings_nothing() {
    let rows = rows(1..=3);
    let listed = rows.clone();
    let scene = Scene::new(move |asked| {
        let etag = format!("\"v{}\"", listed.len());
        match asked.header("if-none-match") == Some(&etag) {
            true => Answer::new(304).header("ETag", &etag),
            false => Answer::json(&json!(listed.all()))
                .gzip()
                .header("ETag", &etag),
        }
    })
    .await;
    let poll = r#"request: UPSTREAM/rows, items: "$[*]", cursor: {start: earliest}"#;
    let _gateway = scene.start(poll).await;
    scene.have_come(1..=3).await;
    let asked = scene.provider.wait_for_more(2).await;
    assert_eq!(
        asked.last().unwrap().header("if-none-match"),
        Some("\"v3\"")
    );
    rows.add(row(4));
    scene.have_come(1..=4).await;
    scene.nothing_more_than(4).await;
}
