//! A backend's connections and failures: pooled, replaced when stale, and each failure told apart.

use std::time::Duration;

use crate::support::backend::{FakeBackend, Misbehave, Response, refuse};
use crate::support::client::{Client, Request, send};
use crate::support::gateway::Gateway;
use crate::support::github::noise;
use crate::support::h2c::H2Client;

async fn start(backend_url: &str) -> Gateway {
    Gateway::start(&format!(
        "
server: {{listen: 127.0.0.1:0}}
admin: {{listen: 127.0.0.1:0}}
log: {{format: json}}
backends:
  app: {{url: {backend_url}, timeout: {{connect: 1s, response: 300ms}}}}
routes:
  open: {{webhook: {{path: /open, methods: [POST, GET]}}, deliver: {{to: app}}}}
",
    ))
    .await
}

/// Claims that the next request fails so, says so, and is counted so.
async fn check_failure(gateway: &Gateway, status: u16, reason: &str, what: &str) {
    let total = "hookgate_requests_total";
    let labels = [
        ("route", "open"),
        ("verdict", "accepted"),
        ("reason", reason),
    ];
    let before = gateway.metric(total, &labels).await.unwrap_or_default();
    let response = send(gateway.addr(), &Request::post("/open").body("{}")).await;
    assert_eq!(response.status, status, "{what}");
    assert_eq!(response.header("Hookgate-Reason"), Some(reason), "{what}");
    assert_eq!(response.text(), "", "{what}");
    gateway.wait_for_metric(total, &labels, before + 1.0).await;
    let answers = [("backend", "app"), ("outcome", reason)];
    gateway
        .wait_for_metric("hookgate_backend_answers_total", &answers, before + 1.0)
        .await;
}

#[tokio::test]
async fn connections_carry_many_requests() {
    let backend = FakeBackend::start().await;
    let gateway = start(&backend.url()).await;
    let mut client = Client::connect(gateway.addr()).await;
    let framings = [
        Response::new(200).body(noise(100_000)),
        Response::new(200).framing(crate::support::backend::AnswerFraming::Chunked),
        Response::new(204),
        Response::new(304),
        Response::new(404).body("no"),
    ];
    for answer in framings {
        for _ in 0..10 {
            backend.respond_once(answer.clone());
            let response = client.request(&Request::post("/open").body("{}")).await;
            assert_eq!(response.status, answer.status);
        }
    }
    // Another sender, and another protocol, use the same one.
    let http2 = H2Client::connect(gateway.addr()).await;
    assert_eq!(http2.request(&Request::get("/open")).await.status, 200);
    assert_eq!(backend.count(), 51);
    // Pingora's pool passes a connection over that was put back in this very moment.
    assert!(backend.connections() < 6, "{}", backend.connections());
}

#[tokio::test]
async fn a_stale_pooled_connection_is_replaced() {
    let backend = FakeBackend::start().await;
    let gateway = start(&backend.url()).await;
    let mut client = Client::connect(gateway.addr()).await;
    for how in [Misbehave::CloseAfterKeepAliveIdle, Misbehave::CloseOnReuse] {
        for body in [noise(10), noise(300_000)] {
            backend.misbehave_once(how);
            let warm_up = client.request(&Request::post("/open")).await;
            assert_eq!(warm_up.status, 200);
            let seen = backend.count();
            let request = Request::post("/open").body(body.clone());
            let response = client.request(&request).await;
            let what = format!("{how:?}, {} bytes", body.len());
            assert_eq!((response.status, response.text()), (200, "ok"), "{what}");
            // Once, and whole.
            assert_eq!(backend.count(), seen + 1, "{what}");
            assert_eq!(backend.requests()[seen].body, body, "{what}");
        }
    }
}

#[tokio::test]
async fn a_fresh_connection_that_breaks_is_not_tried_again() {
    let backend = FakeBackend::start().await;
    let gateway = start(&backend.url()).await;
    backend.misbehave(Misbehave::CloseBeforeAnswer);
    check_failure(&gateway, 502, "backend_broken_off", "closed").await;
    // The backend may have acted on it: once is all it gets.
    assert_eq!(backend.count(), 1);
}

#[tokio::test]
async fn a_pooled_connection_that_answers_wrongly_is_not_tried_again() {
    let backend = FakeBackend::start().await;
    let gateway = start(&backend.url()).await;
    let mut client = Client::connect(gateway.addr()).await;
    for how in [
        Misbehave::Garbage,
        Misbehave::HalfHead,
        Misbehave::NeverAnswer,
    ] {
        assert_eq!(client.request(&Request::post("/open")).await.status, 200);
        let seen = (backend.count(), backend.connections());
        backend.misbehave_once(how);
        let response = client.request(&Request::post("/open")).await;
        assert!(
            matches!(response.status, 502 | 504),
            "{how:?}: {response:?}"
        );
        assert_eq!(
            (backend.count(), backend.connections()),
            (seen.0 + 1, seen.1),
            "{how:?}"
        );
    }
}

#[tokio::test]
async fn a_backend_that_refuses_connections_is_unreachable_until_it_is_back() {
    let refusing = refuse();
    let gateway = start(&refusing.url()).await;
    check_failure(&gateway, 502, "backend_unreachable", "refused").await;
    let backend = refusing.start();
    let response = send(gateway.addr(), &Request::post("/open")).await;
    assert_eq!(response.status, 200);
    let addr = backend.addr();
    backend.stop().await;
    check_failure(&gateway, 502, "backend_unreachable", "stopped").await;
    let backend = FakeBackend::start_on(addr).await;
    let response = send(gateway.addr(), &Request::post("/open")).await;
    assert_eq!((response.status, backend.count()), (200, 1));
}

#[tokio::test]
async fn each_way_to_fail_has_its_status_and_reason() {
    let backend = FakeBackend::start().await;
    let gateway = start(&backend.url()).await;
    for (how, status, reason) in [
        (Misbehave::NeverAnswer, 504, "backend_timeout"),
        (Misbehave::Garbage, 502, "backend_broken_off"),
        (Misbehave::CloseBeforeAnswer, 502, "backend_broken_off"),
        (Misbehave::HalfHead, 502, "backend_broken_off"),
    ] {
        backend.misbehave(how);
        check_failure(&gateway, status, reason, &format!("{how:?}")).await;
    }
    let line = gateway
        .wait_for_log(|line| line.contains("backend_timeout"))
        .await;
    assert!(
        line.contains("\"level\":\"ERROR\"") && line.contains("\"status\":504"),
        "{line}"
    );
    backend.respond_with(Response::default().delay(Duration::from_millis(900)));
    check_failure(&gateway, 504, "backend_timeout", "late").await;
    backend.respond_with(Response::default());
    assert_eq!(
        send(gateway.addr(), &Request::post("/open")).await.status,
        200
    );
}

#[tokio::test]
async fn half_an_answer_never_looks_whole() {
    let backend = FakeBackend::start().await;
    let gateway = start(&backend.url()).await;
    backend.misbehave(Misbehave::HalfBody);
    let mut client = Client::connect(gateway.addr()).await;
    let broken = client.try_request(&Request::post("/open")).await;
    assert!(broken.is_err(), "{broken:?}");
    let http2 = H2Client::connect(gateway.addr()).await;
    let broken = http2.try_request(&Request::post("/open")).await;
    assert!(broken.is_err(), "{broken:?}");
    let old = b"POST /open HTTP/1.0\r\nContent-Length: 0\r\n\r\n";
    let mut client = Client::connect(gateway.addr()).await;
    client.send_raw(old).await.unwrap();
    let broken = client.try_read_response().await;
    assert!(broken.is_err(), "{broken:?}");
    let labels = [("verdict", "accepted"), ("reason", "backend_broken_off")];
    gateway
        .wait_for_metric("hookgate_requests_total", &labels, 3.0)
        .await;
}

#[tokio::test]
async fn an_answer_that_comes_before_the_request_is_whole_is_relayed() {
    let backend = FakeBackend::start().await;
    let gateway = start(&backend.url()).await;
    let mut client = Client::connect(gateway.addr()).await;
    for status in [413, 401] {
        for size in [10, 4_000_000] {
            backend.misbehave_once(Misbehave::EarlyAnswer(status));
            let request = Request::post("/open").body(noise(size));
            let response = client.request(&request).await;
            assert_eq!(response.status, status, "{size}");
            assert_eq!(response.header("Hookgate-Reason"), None);
        }
    }
    // None of these connections is used again.
    assert_eq!(client.request(&Request::post("/open")).await.status, 200);
    assert_eq!(backend.faults(), Vec::<String>::new());
}

#[tokio::test]
async fn a_sender_that_leaves_does_not_undo_the_request() {
    let backend = FakeBackend::start().await;
    let gateway = start(&backend.url()).await;
    backend.hold();
    let mut client = Client::connect(gateway.addr()).await;
    client
        .send(&Request::post("/open").body("{}"))
        .await
        .unwrap();
    backend.wait_for(1).await;
    drop(client);
    backend.release();
    let labels = [("route", "open"), ("verdict", "accepted")];
    gateway
        .wait_for_metric("hookgate_requests_total", &labels, 1.0)
        .await;
    assert_eq!(
        send(gateway.addr(), &Request::post("/open")).await.status,
        200
    );
    assert_eq!(backend.count(), 2);
}
