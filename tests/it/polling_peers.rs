//! What other readers of lists fetch is what Hookgate delivers: dlt and Airbyte read the same list.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a broken assumption of a test must fail the test"
)]

use std::collections::BTreeSet;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::process::Command;

use crate::support::backend::FakeBackend;
use crate::support::gateway::Gateway;
use crate::support::provider::{Answer, Provider};
use crate::support::within;

const ROWS: usize = 337;
const PAGE: usize = 25;

fn row(id: usize) -> Value {
    json!({"id": id, "name": format!("row {id}"), "at": format!("2026-01-01T00:{:02}:{:02}Z", id / 60, id % 60)})
}

/// A list in numbered pages at `/pages`, and in pages that lead to the next at `/links`.
async fn provider() -> Provider {
    Provider::start(|asked| {
        let page = asked.number("page").unwrap_or(1);
        let rows: Vec<_> = (1..=ROWS)
            .skip((page - 1) * PAGE)
            .take(PAGE)
            .map(row)
            .collect();
        let mut body = json!({"data": rows});
        let host = asked.header("host").unwrap();
        if asked.path == "/links" && page * PAGE < ROWS {
            body["next"] = json!(format!("http://{host}/links?page={}", page + 1));
        }
        Answer::json(&body)
    })
    .await
}

/// The ids that the peers fetch, by peer and kind of pages.
async fn peers(url: &str) -> Value {
    let root = env!("CARGO_MANIFEST_DIR");
    let child = Command::new(format!("{root}/.venv-peers/bin/python"))
        .args(["tests/sdk/python/peers.py", url])
        .current_dir(root)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the peers start; run `make test-deps` first");
    let output = within(
        Duration::from_secs(60),
        "the peers",
        child.wait_with_output(),
    )
    .await;
    let output = output.unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("no JSON; {told}"))
}

fn ids(value: &Value) -> BTreeSet<u64> {
    let ids = value.as_array().unwrap().iter();
    ids.map(|id| id.as_u64().unwrap()).collect()
}

#[tokio::test]
async fn hookgate_delivers_what_dlt_and_airbyte_fetch() {
    let provider = provider().await;
    let url = provider.url();
    let fetched = peers(&url).await;
    for (kind, pagination) in [
        ("pages", "{type: page, size: 25, stop: short}"),
        ("links", "{type: next_url, url: $.next}"),
    ] {
        let app = FakeBackend::start().await;
        let folder = tempfile::tempdir().unwrap();
        let file = format!(
            r#"
server: {{listen: 127.0.0.1:0}}
admin: {{listen: 127.0.0.1:0}}
store: {{path: {path}}}
backends: {{app: {{url: {app}}}}}
routes:
  rows:
    poll:
      schedule: {{interval: 100ms}}
      request: {url}/{kind}
      items: "$.data[*]"
      cursor: {{start: earliest}}
      pagination: {pagination}
    deliver: {{to: app}}
"#,
            path = folder.path().display(),
            app = app.url(),
        );
        let _gateway = Gateway::start(&file).await;
        let requests = app.wait_for(ROWS).await;
        let body = |body: &[u8]| -> Value { serde_json::from_slice(body).unwrap() };
        let pushed = requests
            .iter()
            .map(|one| body(&one.body)["id"].as_u64().unwrap());
        let pushed: BTreeSet<u64> = pushed.collect();
        assert_eq!(pushed.len(), ROWS);
        for peer in ["dlt", "airbyte"] {
            assert_eq!(ids(&fetched[peer][kind]), pushed, "{peer}, {kind}");
        }
    }
}
