//! A stop under load: who has sent a request gets its answer, and learns that it was the last.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a broken assumption of a test must fail the test"
)]

use std::time::{Duration, Instant};

use crate::support::backend::{FakeBackend, Response};
use crate::support::client::{Client, Request, send};
use crate::support::gateway::Gateway;
use crate::support::github;
use crate::support::within;

/// Requests that a sender gives up after: the stop comes long before.
const REQUESTS_MAX: usize = 2000;
/// A sender that pauses for so long may find its connection closed, as after any idling.
const PAUSE_MAX: Duration = Duration::from_millis(400);

async fn start(backend: &FakeBackend) -> Gateway {
    Gateway::start(&format!(
        "
server: {{listen: 127.0.0.1:0, drain: 10s}}
admin: {{listen: 127.0.0.1:0}}
backends: {{app: {{url: {url}}}}}
routes:
  hooks:
    webhook:
      path: /hooks
      verify: {{provider: github, secrets: [\"{secret}\"]}}
    deliver: {{to: app}}
",
        url = backend.url(),
        secret = github::SECRET,
    ))
    .await
}

/// Sends one request after another until the gateway says that it was the last. How many were
/// answered.
async fn send_until_told(mut client: Client) -> usize {
    let request = github::post("/hooks", "{}");
    let mut paused = Instant::now();
    for answered in 0..REQUESTS_MAX {
        let pause = paused.elapsed();
        let response = match client.try_request(&request).await {
            Ok(response) => response,
            Err(fault) => {
                assert!(pause > PAUSE_MAX, "after {pause:?}: {fault}");
                return answered;
            }
        };
        assert_eq!((response.status, response.text()), (200, "ok"));
        paused = Instant::now();
        if response.header("connection") == Some("close") {
            assert!(client.is_closed().await);
            return answered + 1;
        }
    }
    panic!("the gateway never said that it stops");
}

/// Awaits that `/readyz` fails, over a connection of its own each time.
async fn unready(gateway: &Gateway) {
    let unready =
        async { while send(gateway.admin(), &Request::get("/readyz")).await.status != 503 {} };
    within(Duration::from_secs(5), "readiness to fail", unready).await;
}

#[tokio::test]
async fn a_stop_under_steady_load_fails_no_request() {
    let backend = FakeBackend::start().await;
    backend.respond_with(Response::default().delay(Duration::from_millis(50)));
    let gateway = start(&backend).await;
    let mut senders = Vec::new();
    for _ in 0..12 {
        let client = Client::connect(gateway.addr()).await;
        senders.push(tokio::spawn(send_until_told(client)));
    }
    backend.wait_for(60).await;
    gateway.signal("TERM").await;
    let begun = Instant::now();
    let mut answered = 0;
    for sender in senders {
        answered += sender.await.expect("no request failed");
    }
    assert!(answered >= 60);
    assert_eq!(backend.count(), answered, "each request had its answer");
    let stopped = gateway.ended().await;
    assert_eq!(stopped.status.code(), Some(0), "{:?}", stopped.logs);
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn what_has_begun_when_the_gateway_stops_is_answered() {
    let backend = FakeBackend::start().await;
    let gateway = start(&backend).await;
    let addr = gateway.addr();
    let request = github::post("/hooks", "{}");
    let bytes = request.to_bytes(&addr.to_string());
    let (start, rest) = bytes.split_at(20);
    let mut idle = Client::connect(addr).await;
    let mut reused = Client::connect(addr).await;
    let mut fresh = Client::connect(addr).await;
    let mut flying = Client::connect(addr).await;
    for client in [&mut idle, &mut reused] {
        assert_eq!(client.request(&request).await.status, 200);
    }
    backend.hold();
    flying.send(&request).await.expect("an open connection");
    backend.wait_for(3).await;
    for client in [&mut reused, &mut fresh] {
        client.send_raw(start).await.expect("an open connection");
    }
    gateway
        .wait_for_metric("hookgate_connections", &[], 4.0)
        .await;
    gateway.signal("TERM").await;
    unready(&gateway).await;
    // The idle one ends when the time is over that the others have for their first byte.
    assert!(idle.is_closed().await);
    backend.release();
    for client in [&mut reused, &mut fresh] {
        client.send_raw(rest).await.expect("an open connection");
    }
    for client in [&mut reused, &mut fresh, &mut flying] {
        let response = client.read_response().await;
        assert_eq!(response.status, 200);
        assert_eq!(response.header("connection"), Some("close"));
        assert!(client.is_closed().await);
    }
    assert_eq!(backend.count(), 5);
    let stopped = gateway.ended().await;
    assert_eq!(stopped.status.code(), Some(0), "{:?}", stopped.logs);
}
