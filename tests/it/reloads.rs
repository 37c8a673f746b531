//! A new file takes the place of the old one while requests are in flight, or changes nothing.

#![allow(
    clippy::expect_used,
    reason = "a broken assumption of a test must fail the test"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;

use crate::support::backend::FakeBackend;
use crate::support::client::{Client, Request, send};
use crate::support::gateway::{Gateway, run};
use crate::support::github;

const RELOADS: &str = "hookgate_config_reloads_total";

fn yaml(backend: &FakeBackend, secret: &str, mark: &str) -> String {
    format!(
        "
server: {{listen: 127.0.0.1:0}}
admin: {{listen: 127.0.0.1:0}}
backends: {{app: {{url: {url}}}}}
routes:
  hooks:
    webhook:
      path: /hooks
      verify: {{provider: github, secrets: [\"{secret}\"]}}
    dedup: {{window: 1h}}
    deliver: {{to: app, headers: {{X-Mark: \"{mark}\"}}}}
  limited:
    webhook:
      path: /limited
      rate_limit: {{by: route, rate: 1/h}}
    deliver: {{to: app}}
",
        url = backend.url(),
    )
}

fn rewrite(gateway: &Gateway, yaml: &str) {
    std::fs::write(gateway.dir().join("hookgate.yaml"), yaml).expect("the file can be written");
}

async fn hang_up(gateway: &Gateway, result: &str, count: f64) {
    gateway.signal("HUP").await;
    gateway
        .wait_for_metric(RELOADS, &[("result", result)], count)
        .await;
}

async fn readiness(gateway: &Gateway) -> Value {
    send(gateway.admin(), &Request::get("/readyz")).await.json()
}

#[tokio::test]
async fn ten_reloads_under_load_fail_no_request_and_skip_no_check() {
    let backend = FakeBackend::start().await;
    let gateway = Gateway::start(&yaml(&backend, github::SECRET, "0")).await;
    let stop = Arc::new(AtomicBool::new(false));
    let address = gateway.addr();
    let senders: Vec<_> = (0..4)
        .map(|_| {
            let stop = stop.clone();
            tokio::spawn(async move {
                let mut client = Client::connect(address).await;
                let mut sent = 0_u32;
                while !stop.load(Ordering::Relaxed) && sent < 100_000 {
                    let genuine = client.request(&github::post("/hooks", "{}")).await;
                    assert_eq!(genuine.status, 200);
                    let forged = Request::post("/hooks").body("{}");
                    assert_eq!(client.request(&forged).await.status, 401);
                    sent += 1;
                }
                sent
            })
        })
        .collect();
    for round in 1..=9 {
        rewrite(
            &gateway,
            &yaml(&backend, github::SECRET, &round.to_string()),
        );
        hang_up(&gateway, "applied", f64::from(round)).await;
        if round == 5 {
            rewrite(&gateway, "routes: [");
            hang_up(&gateway, "faulty", 1.0).await;
        }
    }
    stop.store(true, Ordering::Relaxed);
    let mut sent = 0;
    for sender in senders {
        sent += sender.await.expect("no request failed");
    }
    assert!(sent > 0);
    let genuine = backend.requests();
    assert_eq!(
        genuine.len(),
        usize::try_from(sent).expect("few"),
        "no forged one came through"
    );
    let last = send(address, &github::post("/hooks", "{}")).await;
    assert_eq!(last.status, 200);
    assert_eq!(
        backend
            .requests()
            .last()
            .and_then(|got| got.header("x-mark")),
        Some("9")
    );
}

#[tokio::test]
async fn a_faulty_file_changes_nothing_and_is_reported() {
    let backend = FakeBackend::start().await;
    let gateway = Gateway::start(&yaml(&backend, github::SECRET, "old")).await;
    assert_eq!(readiness(&gateway).await["config"]["fault"], Value::Null);
    rewrite(
        &gateway,
        &yaml(&backend, "canary-secret", "new").replace("path:", "paht:"),
    );
    hang_up(&gateway, "faulty", 1.0).await;
    let reply = send(gateway.addr(), &github::post("/hooks", "{}")).await;
    assert_eq!(reply.status, 200);
    assert_eq!(backend.next().await.header("x-mark"), Some("old"));
    let detail = readiness(&gateway).await;
    assert_eq!(detail["ready"], true);
    let fault = detail["config"]["fault"].as_str().expect("a fault");
    assert!(
        fault.contains("unknown key `paht`") && fault.contains("hookgate.yaml:"),
        "{fault}"
    );
    let log = gateway
        .wait_for_log(|line| line.contains("nothing has changed"))
        .await;
    assert!(log.contains("unknown key"), "{log}");
    assert!(!fault.contains("canary") && !log.contains("canary"));
    rewrite(&gateway, &yaml(&backend, github::SECRET, "mended"));
    hang_up(&gateway, "applied", 1.0).await;
    assert_eq!(readiness(&gateway).await["config"]["fault"], Value::Null);
}

#[tokio::test]
async fn a_secret_that_is_revoked_stops_working_at_once() {
    let backend = FakeBackend::start().await;
    let gateway = Gateway::start(&yaml(&backend, github::SECRET, "m")).await;
    let mut client = Client::connect(gateway.addr()).await;
    assert_eq!(
        client.request(&github::post("/hooks", "{}")).await.status,
        200
    );
    rewrite(&gateway, &yaml(&backend, "another", "m"));
    hang_up(&gateway, "applied", 1.0).await;
    assert_eq!(
        client.request(&github::post("/hooks", "{}")).await.status,
        401
    );
}

#[tokio::test]
async fn limits_and_remembered_events_live_on() {
    let backend = FakeBackend::start().await;
    let gateway = Gateway::start(&yaml(&backend, github::SECRET, "a")).await;
    let event = github::post("/hooks", "{}").header("X-GitHub-Delivery", "evt-1");
    let limited = Request::post("/limited").body("{}");
    assert_eq!(send(gateway.addr(), &event).await.status, 200);
    assert_eq!(send(gateway.addr(), &limited).await.status, 200);
    rewrite(&gateway, &yaml(&backend, github::SECRET, "b"));
    hang_up(&gateway, "applied", 1.0).await;
    assert_eq!(send(gateway.addr(), &event).await.status, 200);
    assert_eq!(send(gateway.addr(), &limited).await.status, 429);
    assert_eq!(
        backend.count(),
        2,
        "the event was known, the limit was used up"
    );
}

#[tokio::test]
async fn a_request_in_flight_ends_on_the_configuration_it_began_with() {
    let old = FakeBackend::start().await;
    let new = FakeBackend::start().await;
    old.hold();
    let gateway = Gateway::start(&yaml(&old, github::SECRET, "old")).await;
    let address = gateway.addr();
    let flying = tokio::spawn(async move { send(address, &github::post("/hooks", "{}")).await });
    old.next().await;
    rewrite(&gateway, &yaml(&new, github::SECRET, "new"));
    hang_up(&gateway, "applied", 1.0).await;
    assert_eq!(
        send(address, &github::post("/hooks", "{}")).await.status,
        200
    );
    assert_eq!(new.next().await.header("x-mark"), Some("new"));
    old.release();
    assert_eq!(flying.await.expect("the sender lives").status, 200);
    assert_eq!(old.count(), 1);
}

#[tokio::test]
async fn the_command_reloads_and_says_what_needs_a_restart() {
    let backend = FakeBackend::start().await;
    let gateway = Gateway::start(&yaml(&backend, github::SECRET, "a")).await;
    let url = format!("http://{}", gateway.admin());
    let reload = async || run(&["reload", "--url", &url], b"", &[]).await;
    let moved = yaml(&backend, github::SECRET, "b")
        .replacen("127.0.0.1:0", "127.0.0.1:1", 1)
        .replacen("127.0.0.1:0", "127.0.0.1:2", 1);
    rewrite(&gateway, &moved);
    let finished = reload().await;
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert!(finished.stdout.contains("the new configuration is in use"));
    for key in ["server.listen", "admin.listen"] {
        let warning = format!("`{key}` has changed and needs a restart");
        assert!(finished.stderr.contains(&warning), "{finished:?}");
    }
    rewrite(&gateway, "routes: {}");
    let finished = reload().await;
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert!(
        finished.stderr.contains("missing key `backends`"),
        "{finished:?}"
    );
    assert!(
        finished.stderr.contains("nothing has changed"),
        "{finished:?}"
    );
}

#[tokio::test]
async fn a_web_page_cannot_reload_the_gateway() {
    let backend = FakeBackend::start().await;
    let gateway = Gateway::start(&yaml(&backend, github::SECRET, "a")).await;
    let plain = Request::post("/reload");
    assert_eq!(send(gateway.admin(), &plain).await.status, 403);
    assert_eq!(
        send(gateway.admin(), &Request::get("/reload")).await.status,
        405
    );
    let asked = plain.header("Hookgate-Admin", "1");
    assert_eq!(send(gateway.admin(), &asked).await.status, 200);
}
