//! A gateway with a store, as an operator meets it.

use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use super::client::{Request, send};
use super::gateway::{Finished, Gateway, run};
use super::{github, within};

pub const FULL: &str = "full-token-of-the-tests";
pub const READ: &str = "read-token-of-the-tests";
pub const WAIT_MAX: Duration = Duration::from_secs(20);

/// A file with a backend that gives up after one attempt; `admin` and `webhook` are more keys.
pub fn yaml(url: &str, folder: &TempDir, admin: &str, webhook: &str) -> String {
    yaml_with(url, folder, admin, webhook, github::SECRET)
}

pub fn yaml_with(url: &str, folder: &TempDir, admin: &str, webhook: &str, secret: &str) -> String {
    format!(
        "
server: {{listen: 127.0.0.1:0}}
admin: {{listen: 127.0.0.1:0{admin}}}
store: {{path: {path}}}
log: {{redact: [X-Internal], redact_body: [$.card.number]}}
backends:
  app:
    url: {url}
    timeout: {{connect: 1s, response: 2s}}
    retry: {{attempts: 1, backoff: {{base: 20ms, factor: 2, max: 200ms}}}}
  copy: {{url: {url}}}
routes:
  payments:
    webhook:
      path: /payments
      verify: {{provider: github, secrets: [\"{secret}\"]}}
{webhook}
    dedup: {{key: \"header:X-GitHub-Delivery\"}}
    deliver: {{to: app, mode: queue}}
  live:
    webhook: {{path: /live, verify: {{provider: github, secrets: [\"{secret}\"]}}}}
    deliver: {{to: app}}
",
        path = folder.path().display(),
    )
}

pub fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder can be made")
}

pub fn payment(id: &str, body: &str) -> Request {
    github::post("/payments", body)
        .header("X-GitHub-Delivery", id)
        .header("X-GitHub-Event", "payment")
}

pub async fn ask(gateway: &Gateway, path: &str) -> Value {
    let answer = send(gateway.admin(), &Request::get(&format!("/api/v1{path}"))).await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    answer.json()
}

pub async fn order(gateway: &Gateway, path: &str, body: &Value) -> (u16, Value) {
    let request = Request::post(&format!("/api/v1{path}"))
        .header("Hookgate-Admin", "1")
        .body(body.to_string());
    let answer = send(gateway.admin(), &request).await;
    (answer.status, answer.json())
}

/// Asks until the answer is as it should be.
pub async fn wait_for(gateway: &Gateway, path: &str, is: impl Fn(&Value) -> bool) -> Value {
    let asked = async {
        loop {
            let answer = ask(gateway, path).await;
            if is(&answer) {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    within(WAIT_MAX, path, asked).await
}

pub fn has_events(count: usize) -> impl Fn(&Value) -> bool {
    move |list| {
        list["events"]
            .as_array()
            .is_some_and(|all| all.len() == count)
    }
}

pub async fn command(gateway: &Gateway, args: &[&str]) -> Finished {
    let url = format!("http://{}", gateway.admin());
    let args = [args, &["--url", &url]].concat();
    run(&args, b"", &[]).await
}

pub async fn told(gateway: &Gateway, args: &[&str]) -> String {
    let finished = command(gateway, args).await;
    assert_eq!(finished.code, Some(0), "{args:?}: {}", finished.stderr);
    finished.stdout
}
