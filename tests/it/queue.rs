//! An event that was answered 202 arrives, whatever happens in between.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a broken assumption of a test must fail the test"
)]

use std::collections::HashSet;
use std::time::Duration;

use tempfile::TempDir;

use crate::support::backend::{self, FakeBackend, Misbehave, Recorded, Response};
use crate::support::client::{Client, Request, send};
use crate::support::gateway::Gateway;
use crate::support::github;

/// A file with one backend and one route; `backend` and `route` are more keys of theirs.
fn yaml(url: &str, folder: &TempDir, backend: &str, route: &str, deliver: &str) -> String {
    format!(
        "
server: {{listen: 127.0.0.1:0}}
admin: {{listen: 127.0.0.1:0}}
store: {{path: {path}}}
backends:
  app:
    url: {url}
    timeout: {{connect: 1s, response: 2s}}
    retry: {{backoff: {{base: 20ms, factor: 2, max: 200ms}}}}
{backend}
routes:
  hooks:
    webhook:
      path: /hooks/*
      methods: [POST, PUT]
      verify: {{provider: github, secrets: [\"{secret}\"]}}
{route}
    deliver: {{to: app, mode: queue{deliver}}}
",
        path = folder.path().display(),
        secret = github::SECRET,
    )
}

fn simple(url: &str, folder: &TempDir) -> String {
    yaml(url, folder, "", "", "")
}

fn event(id: &str) -> Request {
    github::post("/hooks/a", id).header("X-GitHub-Delivery", id)
}

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn ids(requests: &[Recorded]) -> Vec<String> {
    requests
        .iter()
        .map(|request| request.header("webhook-id").unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn the_answer_comes_before_the_backend_does() {
    let folder = folder();
    let refusing = backend::refuse();
    let gateway = Gateway::start(&simple(&refusing.url(), &folder)).await;
    let response = send(gateway.addr(), &event("one")).await;
    assert_eq!((response.status, response.text()), (202, ""));
    let failed = [("backend", "app"), ("outcome", "backend_unreachable")];
    gateway
        .wait_for_metric("hookgate_attempts_total", &failed, 1.0)
        .await;
    let app = refusing.start();
    let request = app.next().await;
    assert_eq!(request.text(), "one");
    assert!(
        request
            .header("hookgate-attempt")
            .unwrap()
            .parse::<u32>()
            .unwrap()
            > 1
    );
}

#[tokio::test]
async fn every_byte_arrives_after_a_kill_a_restart_and_a_retry() {
    let folder = folder();
    let refusing = backend::refuse();
    let file = simple(&refusing.url(), &folder);
    let gateway = Gateway::start(&file).await;
    let body: Vec<u8> = (0..=255).cycle().take(70_000).collect();
    let mut request = Request::new("PUT", "/hooks/a%2Fb/%41?q=1&q=%20&&r")
        .body(body.clone())
        .header(github::HEADER, github::signature(&body));
    for (name, value) in [
        ("X-Twice", &b"1"[..]),
        ("x-lower", b"a"),
        ("X-Twice", b"2"),
        ("X-Bytes", b"\xff\xfe caf\xe9"),
        ("Authorization", b"Bearer kept"),
        ("Content-Type", b"application/x-thing"),
    ] {
        request = request.header(name, value);
    }
    assert_eq!(send(gateway.addr(), &request).await.status, 202);
    gateway.kill().await;
    let gateway = Gateway::start(&file).await;
    let app = refusing.start();
    app.respond_once(Response::new(500));
    let both = app.wait_for(2).await;
    for request in &both {
        assert_eq!(request.method, "PUT");
        assert_eq!(request.target, "/hooks/a%2Fb/%41?q=1&q=%20&&r");
        assert_eq!(request.body, body);
        assert_eq!(request.headers_named("x-twice"), [b"1", b"2"]);
        assert_eq!(request.headers_named("x-bytes"), [b"\xff\xfe caf\xe9"]);
        assert_eq!(request.header("authorization"), Some("Bearer kept"));
        assert_eq!(request.header("content-type"), Some("application/x-thing"));
        assert_eq!(
            request.header("x-hub-signature-256").unwrap(),
            github::signature(&body)
        );
    }
    let ids = ids(&both);
    assert_eq!(ids[0], ids[1], "the id of an event stays");
    gateway
        .wait_for_metric(
            "hookgate_deliveries_delivered_total",
            &[("route", "hooks"), ("backend", "app")],
            1.0,
        )
        .await;
}

#[tokio::test]
async fn a_duplicate_is_known_after_a_restart() {
    let folder = folder();
    let app = FakeBackend::start().await;
    let file = yaml(&app.url(), &folder, "", "    dedup: {window: 1h}", "");
    let gateway = Gateway::start(&file).await;
    assert_eq!(send(gateway.addr(), &event("one")).await.status, 202);
    assert_eq!(send(gateway.addr(), &event("one")).await.status, 200);
    gateway.kill().await;
    let gateway = Gateway::start(&file).await;
    assert_eq!(send(gateway.addr(), &event("one")).await.status, 200);
    assert_eq!(send(gateway.addr(), &event("two")).await.status, 202);
    // The first may come twice: it was perhaps under way when the gateway was killed.
    let mut bodies = HashSet::new();
    for count in 2..=3 {
        let requests = app.wait_for(count).await;
        bodies.extend(requests.iter().map(|request| request.text().to_owned()));
        if bodies.contains("two") {
            break;
        }
    }
    assert_eq!(bodies, HashSet::from(["one".to_owned(), "two".to_owned()]));
    let duplicates = [("route", "hooks"), ("verdict", "duplicate")];
    let counted = gateway.wait_for_metric("hookgate_requests_total", &duplicates, 1.0);
    assert_eq!(counted.await, 1.0);
}

#[tokio::test]
async fn a_proxied_duplicate_gets_its_answer_after_a_restart() {
    let folder = folder();
    let app = FakeBackend::start().await;
    app.respond_with(Response::new(201).header("X-Kept", "yes").body("done"));
    let file = yaml(&app.url(), &folder, "", "    dedup: {window: 1h}", "")
        .replace("mode: queue", "mode: proxy");
    let gateway = Gateway::start(&file).await;
    assert_eq!(send(gateway.addr(), &event("one")).await.status, 201);
    // A proper end writes what is still noted behind its answer.
    gateway.stop().await;
    let gateway = Gateway::start(&file).await;
    let response = send(gateway.addr(), &event("one")).await;
    assert_eq!((response.status, response.text()), (201, "done"));
    assert_eq!(response.header("x-kept"), Some("yes"));
    assert_eq!(app.count(), 1);
}

#[tokio::test]
async fn what_a_backend_refuses_for_good_is_dead_and_never_delivered() {
    let folder = folder();
    let app = FakeBackend::start().await;
    let gateway = Gateway::start(&simple(&app.url(), &folder)).await;
    for (status, reason) in [(400, "rejected"), (410, "gone"), (302, "redirected")] {
        app.respond_once(Response::new(status));
        assert_eq!(send(gateway.addr(), &event(reason)).await.status, 202);
        let labels = [("route", "hooks"), ("backend", "app"), ("reason", reason)];
        let dead = gateway.wait_for_metric("hookgate_deliveries_dead_total", &labels, 1.0);
        assert_eq!(dead.await, 1.0, "{status}");
    }
    assert_eq!(app.count(), 3, "nothing is tried again");
}

#[tokio::test]
async fn a_delivery_ends_after_its_last_attempt() {
    let folder = folder();
    let app = FakeBackend::start().await;
    app.respond_with(Response::new(503));
    let file = yaml(&app.url(), &folder, "", "", "").replace("retry: {", "retry: {attempts: 3, ");
    let gateway = Gateway::start(&file).await;
    send(gateway.addr(), &event("one")).await;
    let labels = [("reason", "attempts_exhausted")];
    gateway
        .wait_for_metric("hookgate_deliveries_dead_total", &labels, 1.0)
        .await;
    let attempts: Vec<_> = app
        .requests()
        .iter()
        .map(|request| request.header("hookgate-attempt").unwrap().to_owned())
        .collect();
    assert_eq!(attempts, ["1", "2", "3"]);
}

#[tokio::test]
async fn one_backend_that_hangs_holds_up_no_other() {
    let folder = folder();
    let (slow, quick) = (FakeBackend::start().await, FakeBackend::start().await);
    slow.hold();
    let file = format!(
        "
server: {{listen: 127.0.0.1:0}}
admin: {{listen: 127.0.0.1:0}}
store: {{path: {}}}
backends:
  slow: {{url: {}, concurrency: 2}}
  quick: {{url: {}, concurrency: 2}}
routes:
  both:
    webhook: {{path: /both}}
    deliver: [{{to: slow, mode: queue}}, {{to: quick, mode: queue}}]
",
        folder.path().display(),
        slow.url(),
        quick.url()
    );
    let gateway = Gateway::start(&file).await;
    let mut client = Client::connect(gateway.addr()).await;
    for n in 0..50 {
        let request = Request::post("/both").body(n.to_string());
        assert_eq!(client.request(&request).await.status, 202);
    }
    quick.wait_for(50).await;
    assert!(slow.count() <= 2, "no more at once than its concurrency");
    slow.release();
    slow.wait_for(50).await;
}

#[tokio::test]
async fn events_of_one_key_arrive_in_their_order() {
    let folder = folder();
    let app = FakeBackend::start().await;
    for _ in 0..4 {
        app.respond_once(Response::new(500));
    }
    let order = ", order_key: \"header:X-Account\"";
    let gateway = Gateway::start(&yaml(&app.url(), &folder, "", "", order)).await;
    let mut client = Client::connect(gateway.addr()).await;
    for n in 0..30 {
        let account = format!("account-{}", n % 3);
        let request = event(&n.to_string()).header("X-Account", account);
        assert_eq!(client.request(&request).await.status, 202);
    }
    let requests = app.wait_for(34).await;
    for account in 0..3 {
        let account = format!("account-{account}");
        let mut of_account: Vec<u32> = requests
            .iter()
            .filter(|request| request.header("x-account") == Some(&account))
            .map(|request| request.text().parse().unwrap())
            .collect();
        assert!(of_account.is_sorted(), "{account}: {of_account:?}");
        of_account.dedup();
        assert_eq!(of_account.len(), 10);
    }
}

#[tokio::test]
async fn a_full_route_says_so_and_takes_no_more() {
    let folder = folder();
    let refusing = backend::refuse();
    let route = "    depth_max: 10";
    let file = yaml(&refusing.url(), &folder, "    breaker: off", route, "");
    let gateway = Gateway::start(&file).await;
    let address = gateway.addr();
    let racers: Vec<_> = (0..26)
        .map(|n| tokio::spawn(async move { send(address, &event(&n.to_string())).await }))
        .collect();
    let mut statuses = Vec::new();
    for racer in racers {
        let response = racer.await.unwrap();
        if response.status == 503 {
            assert!(
                response
                    .header("retry-after")
                    .unwrap()
                    .parse::<u64>()
                    .unwrap()
                    >= 1
            );
        }
        statuses.push(response.status);
    }
    let accepted = statuses.iter().filter(|status| **status == 202).count();
    assert_eq!(accepted, 10, "{statuses:?}");
    let full = [("route", "hooks"), ("reason", "queue_full")];
    // Counted behind the answer.
    gateway
        .wait_for_metric("hookgate_requests_total", &full, 16.0)
        .await;
    let app = refusing.start();
    app.wait_for(10).await;
    gateway
        .wait_for_fall("hookgate_queue_depth", &[("backend", "app")], 0.0)
        .await;
    assert_eq!(send(address, &event("later")).await.status, 202);
}

#[tokio::test]
async fn what_spills_arrives_later_under_the_id_of_its_first_attempt() {
    let folder = folder();
    let app = FakeBackend::start().await;
    let file = yaml(&app.url(), &folder, "", "    dedup: {window: 1h}", "")
        .replace("mode: queue", "mode: spill");
    let gateway = Gateway::start(&file).await;
    app.respond_with(Response::new(200).body("live"));
    let response = send(gateway.addr(), &event("one")).await;
    assert_eq!((response.status, response.text()), (200, "live"));
    app.respond_once(Response::new(503));
    assert_eq!(send(gateway.addr(), &event("two")).await.status, 202);
    let requests = app.wait_for(3).await;
    let ids = ids(&requests);
    assert_eq!(ids[1], ids[2]);
    let numbers: Vec<_> = requests
        .iter()
        .map(|request| request.header("hookgate-attempt").unwrap())
        .collect();
    assert_eq!(numbers, ["1", "1", "2"]);
    assert_eq!(send(gateway.addr(), &event("two")).await.status, 200);
    app.misbehave_once(Misbehave::CloseBeforeAnswer);
    assert_eq!(send(gateway.addr(), &event("three")).await.status, 202);
    app.wait_for(5).await;
}

#[tokio::test]
async fn a_fan_out_goes_where_it_is_wanted() {
    let folder = folder();
    let (billing, audit) = (FakeBackend::start().await, FakeBackend::start().await);
    let file = format!(
        "
server: {{listen: 127.0.0.1:0}}
admin: {{listen: 127.0.0.1:0}}
store: {{path: {}}}
backends: {{billing: {{url: {}}}, audit: {{url: {}}}}}
routes:
  pay:
    webhook: {{path: /pay}}
    deliver:
      - {{to: billing, mode: queue, when: \"body.type == 'paid'\", path: /paid}}
      - to: audit
        mode: queue
        transform:
          content_type: text/plain
          body: \"${{{{ event.id }}}}: ${{{{ body.type }}}}\"
",
        folder.path().display(),
        billing.url(),
        audit.url()
    );
    let gateway = Gateway::start(&file).await;
    for kind in ["paid", "refused"] {
        let request = Request::post("/pay").body(format!("{{\"type\": \"{kind}\"}}"));
        assert_eq!(send(gateway.addr(), &request).await.status, 202);
    }
    let seen = audit.wait_for(2).await;
    for request in &seen {
        let id = request.header("webhook-id").unwrap();
        let kind = request.text().strip_prefix(&format!("{id}: ")).unwrap();
        assert!(["paid", "refused"].contains(&kind));
        assert_eq!(request.header("content-type"), Some("text/plain"));
    }
    assert_eq!(billing.next().await.target, "/paid");
    gateway
        .wait_for_fall("hookgate_queue_depth", &[("backend", "billing")], 0.0)
        .await;
    assert_eq!(billing.count(), 1);
}

#[tokio::test]
async fn a_batch_is_one_request_for_several_events() {
    let folder = folder();
    let app = FakeBackend::start().await;
    let batch = ", batch: {max: 4, wait: 300ms}";
    let gateway = Gateway::start(&yaml(&app.url(), &folder, "", "", batch)).await;
    let mut client = Client::connect(gateway.addr()).await;
    for n in 0..10 {
        assert_eq!(client.request(&event(&n.to_string())).await.status, 202);
    }
    let mut seen = Vec::new();
    for request in app.wait_for(3).await {
        let events: Vec<u32> = serde_json::from_str(request.text()).unwrap();
        assert!(events.len() <= 4);
        let ids = request.header("hookgate-event-ids").unwrap();
        assert_eq!(ids.split(',').count(), events.len());
        seen.extend(events);
    }
    seen.sort_unstable();
    assert_eq!(seen, (0..10).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_breaker_leaves_a_backend_alone_that_fails() {
    let folder = folder();
    let app = FakeBackend::start().await;
    app.respond_with(Response::new(500));
    let breaker = "    breaker: {failures: 3, open: 60s}\n    concurrency: 1";
    let gateway = Gateway::start(&yaml(&app.url(), &folder, breaker, "", "")).await;
    for n in 0..10 {
        send(gateway.addr(), &event(&n.to_string())).await;
    }
    let open = [("backend", "app"), ("state", "open")];
    gateway
        .wait_for_metric("hookgate_breaker_state", &open, 1.0)
        .await;
    assert_eq!(app.count(), 3);
    let depth = gateway.metric("hookgate_queue_depth", &[("backend", "app")]);
    assert_eq!(depth.await, Some(10.0), "nothing is lost, nothing is tried");
}

#[tokio::test]
async fn sigterm_in_the_middle_loses_nothing_and_delivers_nothing_twice() {
    let folder = folder();
    let app = FakeBackend::start().await;
    app.respond_with(Response::new(200).delay(Duration::from_millis(30)));
    let file = simple(&app.url(), &folder);
    let gateway = Gateway::start(&file).await;
    let mut client = Client::connect(gateway.addr()).await;
    for n in 0..200 {
        assert_eq!(client.request(&event(&n.to_string())).await.status, 202);
    }
    drop(client);
    app.wait_for(20).await;
    let stopped = gateway.stop().await;
    assert_eq!(stopped.status.code(), Some(0));
    let gateway = Gateway::start(&file).await;
    let requests = app.wait_for(200).await;
    gateway
        .wait_for_fall("hookgate_queue_depth", &[("backend", "app")], 0.0)
        .await;
    assert_eq!(app.count(), 200);
    let ids: HashSet<String> = ids(&requests).into_iter().collect();
    assert_eq!(ids.len(), 200);
}

#[tokio::test]
async fn a_second_gateway_on_the_same_store_says_so() {
    let folder = folder();
    let app = FakeBackend::start().await;
    let file = simple(&app.url(), &folder);
    let gateway = Gateway::start(&file).await;
    let path = gateway.dir().join("second.yaml");
    std::fs::write(&path, &file).unwrap();
    let args = ["serve", "-c", path.to_str().unwrap()];
    let finished = crate::support::gateway::run(&args, b"", &[]).await;
    assert_eq!(finished.code, Some(1));
    let said = finished.stderr;
    assert!(said.contains("is in use by another gateway"), "{said}");
}
