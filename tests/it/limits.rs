//! What is not HTTP, or is too slow, is turned away in time and never reaches the backend.

use std::time::{Duration, Instant};

use crate::support::backend::FakeBackend;
use crate::support::client::{Client, Request};
use crate::support::gateway::Gateway;
use crate::support::github;
use crate::support::h2c::H2Client;

/// Longer than every limit in the config below, on a machine with other things to do.
const IN_TIME: Duration = Duration::from_secs(5);
const TICK: Duration = Duration::from_millis(50);

async fn start(backend: &FakeBackend) -> Gateway {
    Gateway::start(&format!(
        "
server:
  listen: 127.0.0.1:0
  timeout: {{head: 1s, body: 2s, piece: 500ms, idle: 1s}}
admin: {{listen: 127.0.0.1:0}}
backends: {{app: {{url: {url}}}}}
routes:
  open: {{webhook: {{path: /open, methods: [POST, GET]}}, deliver: {{to: app}}}}
",
        url = backend.url(),
    ))
    .await
}

async fn count(gateway: &Gateway, reason: &str) -> f64 {
    let labels = [("verdict", "refused"), ("reason", reason)];
    let count = gateway.metric("hookgate_requests_total", &labels).await;
    count.unwrap_or_default()
}

#[tokio::test]
async fn what_is_not_http_is_refused() {
    let backend = FakeBackend::start().await;
    let gateway = start(&backend).await;
    for raw in [
        "POST /open HTTP/1.1\r\n\r\n",
        "POST /open HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "POST /open HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
        "nonsense\r\n\r\n",
        "\x16\x03\x01\x02\x00\x01\x00\x01\r\n\r\n",
        "POST /open\r\n\r\n",
        "POST /open HTTP/9.9\r\nHost: a\r\n\r\n",
        "POST /open HTTP/1.1\r\nHost: a\r\nA : b\r\n\r\n",
        "POST /open HTTP/1.1\r\nHost: a\r\nA: b\r\n folded\r\n\r\n",
        "POST /open HTTP/1.1\r\nHost: a\r\nA: b\0c\r\n\r\n",
        "POST /open HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello1",
        "POST /open HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 6\r\n\r\nhello1",
        "POST /open HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\nhello",
        "POST /open HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\nhello",
        "POST /open HTTP/1.1\r\nHost: a\r\nContent-Length: 0x5\r\n\r\nhello",
        "POST /open HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\nhello\r\n0\r\n\r\n",
        "POST /open HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n",
        "POST /open HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello0\r\n\r\n",
        "POST /open HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
         fffffffffffffffff\r\nhello\r\n0\r\n\r\n",
        "POST /open HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\nhello",
        "POST /open HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        "POST /open HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ] {
        let mut client = Client::connect(gateway.addr()).await.with_limit(IN_TIME);
        client.send_raw(raw.as_bytes()).await.unwrap();
        match client.try_read_response().await {
            Ok(response) => {
                assert!(
                    (400..=501).contains(&response.status),
                    "{raw:?}: {response:?}"
                );
                assert!(
                    client.is_closed().await,
                    "{raw:?} leaves the connection open"
                );
            }
            Err(closed) => drop(closed),
        }
    }
    assert_eq!((backend.count(), backend.connections()), (0, 0));
    assert!(count(&gateway, "malformed_request").await > 0.0);
    assert_eq!(
        crate::support::client::send(gateway.addr(), &Request::post("/open"))
            .await
            .status,
        200
    );
}

/// A second request hidden in the first is what two readers of one head disagree about.
#[tokio::test]
async fn nothing_is_smuggled_past_the_gate() {
    let backend = FakeBackend::start().await;
    let gateway = start(&backend).await;
    let hidden = "GET /open?hidden HTTP/1.1\r\nHost: a\r\n\r\n";
    for head in [
        "Content-Length: 0\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 6",
        "Content-Length: 6\r\nContent-Length: 0",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding:\x0bchunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: cow",
        "Content-Length: 0\r\nContent-Length: 41",
    ] {
        let mut client = Client::connect(gateway.addr()).await.with_limit(IN_TIME);
        let raw = format!("POST /open HTTP/1.1\r\nHost: a\r\n{head}\r\n\r\n0\r\n\r\n{hidden}");
        client.send_raw(raw.as_bytes()).await.unwrap();
        // At most one answer, and then the end; never one to the hidden request.
        let _ = client.try_read_response().await;
        assert!(
            client.is_closed().await,
            "{head:?} leaves the connection open"
        );
    }
    let hidden: Vec<_> = backend
        .requests()
        .into_iter()
        .filter(|request| request.target.contains("hidden"))
        .collect();
    assert!(hidden.is_empty(), "{hidden:?}");
}

#[tokio::test]
async fn a_head_has_limits() {
    let backend = FakeBackend::start().await;
    let gateway = start(&backend).await;
    let long = "x".repeat(600_000);
    let many = "A: b\r\n".repeat(300);
    for raw in [
        format!("POST /open?{long}{long} HTTP/1.1\r\nHost: a\r\n\r\n"),
        format!("POST /open HTTP/1.1\r\nHost: a\r\nA: {long}\r\nB: {long}\r\n\r\n"),
        format!("POST /open HTTP/1.1\r\nHost: a\r\n{many}\r\n"),
    ] {
        let mut client = Client::connect(gateway.addr()).await.with_limit(IN_TIME);
        // It may be refused before all of it is taken.
        let _ = client.send_raw(raw.as_bytes()).await;
        if let Ok(response) = client.try_read_response().await {
            assert!((400..500).contains(&response.status), "{response:?}");
        }
        assert!(client.is_closed().await);
    }
    assert_eq!(backend.count(), 0);
}

#[tokio::test]
async fn a_head_one_byte_at_a_time_is_given_up() {
    let backend = FakeBackend::start().await;
    let gateway = start(&backend).await;
    let mut client = Client::connect(gateway.addr()).await.with_limit(IN_TIME);
    let begun = Instant::now();
    let head = Request::post("/open").header("X-Long", "x".repeat(500));
    for byte in head.to_bytes("a") {
        tokio::time::sleep(TICK).await;
        if client.send_raw(&[byte]).await.is_err() || begun.elapsed() > IN_TIME {
            break;
        }
    }
    assert!(
        begun.elapsed() < IN_TIME,
        "the head was read for {:?}",
        begun.elapsed()
    );
    if let Ok(response) = client.try_read_response().await {
        assert_eq!(response.status, 408);
    }
    assert!(client.is_closed().await);
    assert_eq!(backend.count(), 0);
    assert_eq!(count(&gateway, "head_slow").await, 1.0);
}

#[tokio::test]
async fn a_head_that_stops_is_answered_408() {
    let backend = FakeBackend::start().await;
    let gateway = start(&backend).await;
    let mut client = Client::connect(gateway.addr()).await.with_limit(IN_TIME);
    client
        .send_raw(b"POST /open HTTP/1.1\r\nHost: a\r\nX-")
        .await
        .unwrap();
    assert_eq!(client.read_response().await.status, 408);
    assert!(client.is_closed().await);
    assert_eq!(count(&gateway, "head_slow").await, 1.0);
    assert_eq!(backend.count(), 0);
}

#[tokio::test]
async fn a_body_that_stops_or_dawdles_is_answered_408() {
    let backend = FakeBackend::start().await;
    let gateway = start(&backend).await;
    let declared = "Content-Length: 10";
    let chunked = "Transfer-Encoding: chunked";
    let addr = gateway.addr();
    let stopping = [declared, chunked].map(|framing| async move {
        let mut client = Client::connect(addr).await.with_limit(IN_TIME);
        let raw = format!("POST /open HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n5\r\nhe");
        client.send_raw(raw.as_bytes()).await.unwrap();
        let response = client.read_response().await;
        (response.status, client.is_closed().await)
    });
    let [first, second] = stopping;
    let dawdling = github::noise(1000);
    // Each piece is in time, all of them are not.
    let dawdling = Request::post("/open").body(dawdling).trickle(1, TICK);
    let mut http1 = Client::connect(gateway.addr()).await.with_limit(IN_TIME);
    let http2 = H2Client::connect(gateway.addr()).await;
    let (first, second, third, fourth) = tokio::join!(
        first,
        second,
        http1.request(&dawdling),
        http2.request(&dawdling)
    );
    assert_eq!((first, second), ((408, true), (408, true)));
    assert_eq!((third.status, fourth.status), (408, 408));
    assert_eq!(backend.count(), 0);
    assert_eq!(count(&gateway, "body_slow").await, 4.0);
}

#[tokio::test]
async fn a_sender_that_leaves_amid_the_body_is_no_event() {
    let backend = FakeBackend::start().await;
    let gateway = start(&backend).await;
    for framing in ["Content-Length: 10", "Transfer-Encoding: chunked"] {
        let mut client = Client::connect(gateway.addr()).await;
        let raw = format!("POST /open HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n3\r\nhel");
        client.send_raw(raw.as_bytes()).await.unwrap();
        client.close_write().await.unwrap();
        if let Ok(response) = client.try_read_response().await {
            assert_eq!(response.status, 400);
        }
        assert!(client.is_closed().await);
    }
    let labels = [("reason", "body_broken")];
    gateway
        .wait_for_metric("hookgate_requests_total", &labels, 2.0)
        .await;
    assert_eq!(backend.count(), 0);
}

#[tokio::test]
async fn a_silent_connection_is_closed_and_is_no_request() {
    let backend = FakeBackend::start().await;
    let gateway = start(&backend).await;
    let mut silent = Client::connect(gateway.addr()).await;
    let mut idle = Client::connect(gateway.addr()).await;
    let mut half_a_preface = Client::connect(gateway.addr()).await;
    assert_eq!(idle.request(&Request::post("/open")).await.status, 200);
    half_a_preface
        .send_raw(b"PRI * HTTP/2.0\r\n")
        .await
        .unwrap();
    let closed = tokio::join!(silent.is_closed(), idle.is_closed());
    assert_eq!(closed, (true, true));
    // Whoever has begun to say something is told that he was too slow.
    assert_eq!(half_a_preface.read_response().await.status, 408);
    assert!(half_a_preface.is_closed().await);
    let labels = [("reason", "head_slow")];
    gateway
        .wait_for_metric("hookgate_requests_total", &labels, 1.0)
        .await;
    assert_eq!(
        gateway.metric("hookgate_requests_total", &[]).await,
        Some(2.0)
    );
}
