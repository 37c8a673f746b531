//! The same event twice reaches the backend once, and a failure lets it come again.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a broken assumption of a test must fail the test"
)]

use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use hookgate::app::{App, ListenAddress, Progress};
use hookgate::clock::{Clock, ManualClock, SystemClock};
use hookgate::config::{self, Surroundings, presets};
use hookgate::ingress::rate_limit::Limiters;
use hookgate::secret::SecretSource;

use crate::support::backend::{FakeBackend, Misbehave, Response};
use crate::support::client::{Request, send};
use crate::support::gateway::Gateway;
use crate::support::github;

fn yaml(backend: &FakeBackend, dedup: &str) -> String {
    format!(
        "
server: {{listen: 127.0.0.1:0}}
admin: {{listen: 127.0.0.1:0}}
backends: {{app: {{url: {url}, timeout: {{response: 5s}}}}}}
routes:
  hooks:
    webhook:
      path: /hooks
      verify: {{provider: github, secrets: [\"{secret}\"]}}
    dedup: {dedup}
    deliver: {{to: app}}
",
        url = backend.url(),
        secret = github::SECRET,
    )
}

async fn start(backend: &FakeBackend, dedup: &str) -> Gateway {
    Gateway::start(&yaml(backend, dedup)).await
}

fn event(id: &str) -> Request {
    github::post("/hooks", "{}").header("X-GitHub-Delivery", id)
}

async fn wait_for_duplicates(gateway: &Gateway, count: f64) {
    let labels = [("route", "hooks"), ("verdict", "duplicate")];
    let counted = gateway.wait_for_metric("hookgate_requests_total", &labels, count);
    assert_eq!(counted.await, count);
}

#[tokio::test]
async fn twenty_at_once_reach_the_backend_once_and_get_its_answer() {
    let backend = FakeBackend::start().await;
    let answer = Response::new(201)
        .header("X-Kept", "yes")
        .header("Set-Cookie", "a=1");
    backend.respond_with(answer.header("Set-Cookie", "b=2").body("done, once"));
    backend.hold();
    let gateway = start(&backend, "{window: 1h}").await;
    let address = gateway.addr();
    let senders: Vec<_> = (0..20)
        .map(|_| tokio::spawn(async move { send(address, &event("evt-1")).await }))
        .collect();
    backend.next().await;
    // All twenty are in the gateway before the backend answers the first.
    gateway
        .wait_for_metric("hookgate_requests_in_flight", &[], 20.0)
        .await;
    backend.release();
    for sender in senders {
        let response = sender.await.expect("the sender lives");
        assert_eq!((response.status, response.text()), (201, "done, once"));
        assert_eq!(response.header("x-kept"), Some("yes"));
        assert_eq!(response.headers_named("set-cookie"), [&b"a=1"[..], b"b=2"]);
    }
    assert_eq!(backend.count(), 1);
    wait_for_duplicates(&gateway, 19.0).await;
    assert_eq!(send(address, &event("evt-2")).await.status, 201);
    assert_eq!(backend.count(), 2, "another event is another event");
}

#[tokio::test]
async fn a_failed_first_attempt_lets_the_retry_through() {
    let backend = FakeBackend::start().await;
    let gateway = start(&backend, "{window: 1h}").await;
    let mut reached = 0;
    for (id, status) in [("a", 500), ("b", 503), ("c", 404), ("d", 401)] {
        backend.respond_once(Response::new(status).body("no"));
        assert_eq!(send(gateway.addr(), &event(id)).await.status, status);
        assert_eq!(
            send(gateway.addr(), &event(id)).await.status,
            200,
            "{status}"
        );
        assert_eq!(
            send(gateway.addr(), &event(id)).await.status,
            200,
            "{status}"
        );
        reached += 2;
        assert_eq!(backend.count(), reached, "{status}");
    }
    backend.misbehave_once(Misbehave::HalfHead);
    assert_eq!(send(gateway.addr(), &event("e")).await.status, 502);
    assert_eq!(send(gateway.addr(), &event("e")).await.status, 200);
}

#[tokio::test]
async fn one_who_waits_becomes_the_first_when_the_first_fails() {
    let backend = FakeBackend::start().await;
    backend.hold();
    backend.respond_once(Response::new(500));
    let gateway = start(&backend, "{window: 1h}").await;
    let address = gateway.addr();
    let both: Vec<_> = (0..2)
        .map(|_| tokio::spawn(async move { send(address, &event("a")).await.status }))
        .collect();
    backend.next().await;
    gateway
        .wait_for_metric("hookgate_requests_in_flight", &[], 2.0)
        .await;
    backend.release();
    let mut statuses = Vec::new();
    for sender in both {
        statuses.push(sender.await.expect("the sender lives"));
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 500]);
    assert_eq!(backend.count(), 2);
}

#[tokio::test]
async fn a_duplicate_waits_no_longer_than_it_may() {
    let backend = FakeBackend::start().await;
    backend.hold();
    let gateway = start(&backend, "{window: 1h, wait: 100ms}").await;
    let address = gateway.addr();
    let first = tokio::spawn(async move { send(address, &event("a")).await.status });
    backend.next().await;
    let second = send(address, &event("a")).await;
    assert_eq!(
        (second.status, second.header("retry-after")),
        (503, Some("1"))
    );
    backend.release();
    assert_eq!(first.await.expect("the sender lives"), 200);
    assert_eq!(send(address, &event("a")).await.status, 200);
    assert_eq!(backend.count(), 1);
}

#[tokio::test]
async fn an_unauthentic_request_suppresses_nothing() {
    let backend = FakeBackend::start().await;
    let gateway = start(&backend, "{window: 1h}").await;
    let forged = Request::post("/hooks")
        .header("X-GitHub-Delivery", "a")
        .body("{}");
    assert_eq!(send(gateway.addr(), &forged).await.status, 401);
    assert_eq!(send(gateway.addr(), &event("a")).await.status, 200);
    assert_eq!(backend.count(), 1);
}

#[tokio::test]
async fn what_passes_while_observing_suppresses_nothing() {
    let backend = FakeBackend::start().await;
    let observing =
        yaml(&backend, "{window: 1h}").replace("verify: {", "verify: {enforce: false, ");
    let gateway = Gateway::start(&observing).await;
    let forged = Request::post("/hooks")
        .header("X-GitHub-Delivery", "a")
        .body("{}");
    for request in [&forged, &event("a"), &event("a")] {
        assert_eq!(send(gateway.addr(), request).await.status, 200);
    }
    assert_eq!(
        backend.count(),
        2,
        "the forged one, and the genuine one once"
    );
}

#[tokio::test]
async fn the_file_says_what_an_event_is_told_by() {
    let check = async |dedup: &str, first: &Request, same: &Request, other: &Request| {
        let backend = FakeBackend::start().await;
        let gateway = start(&backend, dedup).await;
        for request in [first, same, other] {
            assert_eq!(send(gateway.addr(), request).await.status, 200, "{dedup}");
        }
        assert_eq!(backend.count(), 2, "{dedup}");
    };
    let json = |body: &str| github::post("/hooks", body);
    let id = "{key: $.id}";
    check(
        id,
        &json(r#"{"id":1}"#),
        &json(r#"{"id":1,"x":2}"#),
        &json(r#"{"id":2}"#),
    )
    .await;
    check("{key: body_hash}", &json("a"), &json("a"), &json("b")).await;
    let both = |id: u8, part: &str| json(&format!(r#"{{"id":{id}}}"#)).header("X-Part", part);
    let list = "{key: [$.id, \"header:X-Part\"]}";
    check(list, &both(1, "a"), &both(1, "a"), &both(1, "b")).await;
    let again = event("a").header("X-Again", "yes");
    let through = "{let_through: {header: X-Again, value: \"yes\"}}";
    check(
        through,
        &event("a"),
        &event("a").header("X-Again", "no"),
        &again,
    )
    .await;
}

#[tokio::test]
async fn a_request_without_its_key_is_refused_when_the_file_names_it() {
    let backend = FakeBackend::start().await;
    let gateway = start(&backend, "{key: $.id}").await;
    assert_eq!(
        send(gateway.addr(), &github::post("/hooks", "{}"))
            .await
            .status,
        400
    );
    let labels = [("route", "hooks"), ("reason", "dedup_key_missing")];
    gateway
        .wait_for_metric("hookgate_requests_total", &labels, 1.0)
        .await;
    let preset = start(&backend, "{window: 1h}").await;
    for _ in 0..2 {
        assert_eq!(
            send(preset.addr(), &github::post("/hooks", "{}"))
                .await
                .status,
            200
        );
    }
    assert_eq!(backend.count(), 2, "without an id nothing is a duplicate");
}

#[tokio::test]
async fn a_replay_an_hour_later_gets_the_recorded_answer_until_the_window_ends() {
    let backend = FakeBackend::start().await;
    backend.respond_once(Response::new(202).body("first"));
    let clock = Arc::new(ManualClock::at(SystemClock.now()));
    let address = start_in_process(&yaml(&backend, "{window: 3h}"), clock.clone());
    let replay = async || {
        let response = send(address, &event("a")).await;
        (response.status, response.text().to_owned())
    };
    assert_eq!(replay().await, (202, "first".to_owned()));
    clock.advance(Duration::from_secs(60 * 60));
    assert_eq!(replay().await, (202, "first".to_owned()));
    assert_eq!(backend.count(), 1);
    clock.advance(Duration::from_secs(2 * 60 * 60));
    assert_eq!(replay().await, (200, "ok".to_owned()));
    assert_eq!(backend.count(), 2);
}

/// A gateway in this process, by a clock that the test moves.
fn start_in_process(yaml: &str, clock: Arc<ManualClock>) -> std::net::SocketAddr {
    let surroundings = Surroundings {
        base: Path::new(""),
        presets: presets::builtin().expect("presets"),
        limiters: &Limiters::new(clock.clone()),
    };
    let secrets = |_| SecretSource::with_environment(|_| None, None);
    let config = config::parse("test.yaml", yaml, surroundings, secrets).expect("a good file");
    let (ready, wait) = mpsc::channel();
    std::thread::spawn(move || {
        let app = App::new(config, None, clock).expect("free ports");
        let address = app.listening().first().cloned();
        app.run(move |progress| {
            if progress == Progress::Ready {
                let _ = ready.send(address.clone());
            }
        });
    });
    let address = wait.recv_timeout(Duration::from_secs(30));
    match address.expect("it starts") {
        Some(ListenAddress::Tcp(address)) => address.parse().expect("an address"),
        other => panic!("not an address: {other:?}"),
    }
}
