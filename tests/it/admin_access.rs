//! Who may ask the admin API for what, and that nothing it says holds a secret.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a broken assumption of a test must fail the test"
)]

use std::time::Duration;

use serde_json::Value;

use crate::support::backend::{FakeBackend, Response};
use crate::support::client::{Client, Request, send};
use crate::support::gateway::{Gateway, run};
use crate::support::operator::{FULL, READ, WAIT_MAX, folder, payment, yaml};
use crate::support::{github, within};

#[tokio::test]
async fn every_operation_asks_for_the_token_it_needs() {
    let folder = folder();
    let app = FakeBackend::start().await;
    let tokens = format!(
        ", tokens: [{{name: ann, token: {FULL}, access: full}}, {{name: bob, token: {READ}}}]"
    );
    let gateway = Gateway::start(&yaml(&app.url(), &folder, &tokens, "")).await;
    let as_whom = |method: &str, path: &str, token: Option<&str>| {
        let path = path
            .replace("{id}", "0198c5b2-7c1e-7000-8000-000000000000")
            .replace("{slot}", "0")
            .replace("{name}", "nothing");
        let request = Request::new(method, &path).header("Hookgate-Admin", "1");
        match token {
            Some(token) => request.header("Authorization", format!("Bearer {token}")),
            None => request,
        }
    };
    let document = as_whom("GET", "/api/v1/openapi.json", Some(READ));
    let document = send(gateway.admin(), &document).await.json();
    let mut operations = 0;
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let method = method.to_uppercase();
            operations += 1;
            if path.ends_with("/tail") {
                continue;
            }
            let status = async |token: Option<&str>| {
                let mut answered = 429;
                while answered == 429 {
                    let answer = send(gateway.admin(), &as_whom(&method, path, token)).await;
                    answered = answer.status;
                    if answered == 429 {
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                }
                answered
            };
            assert_eq!(status(None).await, 401, "{method} {path}");
            assert_eq!(
                status(Some("wrong-token-of-the-tests")).await,
                401,
                "{method} {path}"
            );
            let is_full = operation["x-access"] == "full";
            let read = status(Some(READ)).await;
            assert_eq!(read == 403, is_full, "{method} {path}: {read}");
            let full = status(Some(FULL)).await;
            assert!(
                ![401, 403, 405, 500].contains(&full),
                "{method} {path}: {full}"
            );
        }
    }
    assert_eq!(operations, 34);
    // What is not part of the API needs none.
    assert_eq!(
        send(gateway.admin(), &Request::get("/metrics"))
            .await
            .status,
        200
    );
    let unknown = send(gateway.admin(), &Request::get("/api/v1/nothing")).await;
    assert_eq!(unknown.status, 401);
}

#[tokio::test]
async fn without_tokens_a_web_page_cannot_ask() {
    let folder = folder();
    let app = FakeBackend::start().await;
    let gateway = Gateway::start(&yaml(&app.url(), &folder, "", "")).await;
    let mut client = Client::connect(gateway.admin()).await;
    let rebound = b"GET /api/v1/events HTTP/1.1\r\nHost: evil.example\r\n\r\n";
    client.send_raw(rebound).await.unwrap();
    assert_eq!(client.read_response().await.status, 403);
    let simple = Request::post("/api/v1/routes/live/pause");
    assert_eq!(send(gateway.admin(), &simple).await.status, 403);
    let unknown = send(gateway.admin(), &Request::get("/api/v1/events?rout=x")).await;
    assert_eq!(unknown.status, 400);
    assert_eq!(
        unknown.header("content-type"),
        Some("application/problem+json")
    );
    assert!(
        unknown.text().contains("unknown key `rout`"),
        "{}",
        unknown.text()
    );
}

#[tokio::test]
async fn nothing_that_is_said_holds_a_secret() {
    let folder = folder();
    let app = FakeBackend::start().await;
    app.respond_with(Response::new(500).body(format!("you sent {}", github::SECRET)));
    let tokens = format!(", tokens: [{{name: ann, token: {FULL}, access: full}}]");
    let keep = "      refused_body: 64KiB";
    let gateway = Gateway::start(&yaml(&app.url(), &folder, &tokens, keep)).await;
    let leaky = format!(
        r#"{{"card":{{"number":"4242-canary"}},"echo":"{}"}}"#,
        github::SECRET
    );
    let request = payment("evt_1", &leaky)
        .header("Authorization", "Bearer canary-token")
        .header("X-Internal", "canary-header");
    assert_eq!(send(gateway.addr(), &request).await.status, 202);
    let forged = Request::post("/payments?token=canary-query")
        .header("Cookie", "canary-cookie")
        .body(leaky.clone());
    assert_eq!(send(gateway.addr(), &forged).await.status, 401);
    let token = [("HOOKGATE_TOKEN", FULL)];
    let url = format!("http://{}", gateway.admin());
    let mut said = String::new();
    let settled = async {
        loop {
            let list = run(&["events", "list", "--json", "--url", &url], b"", &token).await;
            said.push_str(&list.stdout);
            said.push_str(&list.stderr);
            let list: Value = serde_json::from_str(&list.stdout).unwrap();
            let events = list["events"].as_array().unwrap().clone();
            if events.len() == 2 && list.to_string().contains("attempts_exhausted") {
                return events;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let events = within(WAIT_MAX, "both in the log", settled).await;
    for event in &events {
        let id = event["id"].as_str().unwrap();
        for args in [
            &["events", "show", id][..],
            &["events", "show", id, "--json"],
            &["explain", id],
            &["explain", id, "--json"],
        ] {
            let args = [args, &["--url", &url]].concat();
            let finished = run(&args, b"", &token).await;
            assert_eq!(finished.code, Some(0), "{}", finished.stderr);
            said.push_str(&finished.stdout);
            said.push_str(&finished.stderr);
        }
    }
    for args in [
        &["events", "export"][..],
        &["dead"],
        &["routes", "--json"],
        &["backends", "--json"],
        &["events", "list", "--text", "4242-canary"],
    ] {
        let args = [args, &["--url", &url]].concat();
        let finished = run(&args, b"", &token).await;
        said.push_str(&finished.stdout);
        said.push_str(&finished.stderr);
    }
    for path in ["config", "acts", "openapi.json", "replays"] {
        let request = Request::get(&format!("/api/v1/{path}"))
            .header("Authorization", format!("Bearer {FULL}"));
        said.push_str(send(gateway.admin(), &request).await.text());
    }
    said.push_str(&gateway.metrics().await);
    said.push_str(&gateway.logs().join("\n"));
    for canary in [github::SECRET, FULL, "canary"] {
        let at = said.find(canary);
        let around = at.map(|at| &said[at.saturating_sub(200)..(at + 60).min(said.len())]);
        assert_eq!(around, None, "{canary} is shown");
    }
    // What is delivered is the original all the same.
    assert_eq!(app.next().await.text(), leaky);
}

#[tokio::test]
async fn a_token_that_was_taken_away_is_good_for_nothing() {
    let dir = folder();
    let folder = folder();
    let app = FakeBackend::start().await;
    let with = |tokens: &str| yaml(&app.url(), &folder, tokens, "");
    let both = format!(
        ", tokens: [{{name: ann, token: {FULL}, access: full}}, {{name: bob, token: {READ}}}]"
    );
    let gateway = Gateway::start_in(dir, &with(&both), &[]).await;
    let request = Request::get("/api/v1/config").header("Authorization", format!("Bearer {READ}"));
    let before = send(gateway.admin(), &request).await;
    assert_eq!(before.status, 200);
    let one = format!(", tokens: [{{name: ann, token: {FULL}, access: full}}]");
    std::fs::write(gateway.dir().join("hookgate.yaml"), with(&one)).unwrap();
    gateway.signal("HUP").await;
    let gone = async {
        while send(gateway.admin(), &request).await.status != 401 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    within(WAIT_MAX, "the token to be refused", gone).await;
    let ann = Request::get("/api/v1/config").header("Authorization", format!("Bearer {FULL}"));
    let before = before.json();
    // The token goes first, the rest of the new file follows.
    let applied = async {
        while send(gateway.admin(), &ann).await.json()["sha256"] == before["sha256"] {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    within(WAIT_MAX, "another configuration to be told", applied).await;
}
