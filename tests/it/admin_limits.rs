//! The admin listener has limits of its own: nobody can hold it, or make it hold much.

use std::time::Duration;

use crate::support::backend::FakeBackend;
use crate::support::client::{Client, Request, send};
use crate::support::gateway::Gateway;
use crate::support::within;

/// As many as the README says.
const CONNECTIONS_MAX: usize = 100;

async fn start(backend: &FakeBackend, timeouts: &str) -> Gateway {
    Gateway::start(&format!(
        "
server: {{listen: 127.0.0.1:0, timeout: {timeouts}}}
admin: {{listen: 127.0.0.1:0}}
backends: {{app: {{url: {url}}}}}
routes:
  open: {{webhook: {{path: /open}}, deliver: {{to: app}}}}
",
        url = backend.url(),
    ))
    .await
}

#[tokio::test]
async fn a_silent_client_is_closed_and_a_slow_one_told() {
    let backend = FakeBackend::start().await;
    let gateway = start(&backend, "{head: 500ms}").await;
    let mut silent = Client::connect(gateway.admin()).await;
    let mut slow = Client::connect(gateway.admin()).await;
    slow.send_raw(b"GET /healthz HTTP/1.1\r\nHo").await.unwrap();
    assert!(silent.is_closed().await);
    assert_eq!(slow.read_response().await.status, 408);
    assert!(slow.is_closed().await);
}

#[tokio::test]
async fn an_idle_connection_is_closed_and_a_busy_one_kept() {
    let backend = FakeBackend::start().await;
    let gateway = start(&backend, "{idle: 500ms, head: 20s}").await;
    let mut client = Client::connect(gateway.admin()).await;
    for path in ["/healthz", "/readyz", "/metrics"] {
        let answer = client.request(&Request::get(path)).await;
        assert_eq!(answer.status, 200, "{path}");
    }
    let asked = client.request(&Request::new("HEAD", "/healthz")).await;
    assert_eq!(
        (asked.status, asked.header("content-length")),
        (200, Some("3"))
    );
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn connections_beyond_the_total_are_closed_at_once() {
    let backend = FakeBackend::start().await;
    let gateway = start(&backend, "{head: 60s, idle: 60s}").await;
    let mut held = Vec::new();
    for _ in 0..CONNECTIONS_MAX {
        let mut client = Client::connect(gateway.admin()).await;
        assert_eq!(client.request(&Request::get("/healthz")).await.status, 200);
        held.push(client);
    }
    assert!(Client::connect(gateway.admin()).await.is_closed().await);
    let mut first = held.swap_remove(0);
    assert_eq!(first.request(&Request::get("/healthz")).await.status, 200);
    // The other listener has places of its own.
    let webhook = send(gateway.addr(), &Request::post("/open").body("{}")).await;
    assert_eq!(webhook.status, 200);
    drop(held);
    let request = Request::get("/healthz");
    let served = async {
        while Client::connect(gateway.admin())
            .await
            .try_request(&request)
            .await
            .is_err()
        {}
    };
    within(Duration::from_secs(5), "a free place", served).await;
}

#[tokio::test]
async fn heads_are_bounded_and_bodies_refused() {
    let backend = FakeBackend::start().await;
    let gateway = start(&backend, "{head: 20s}").await;
    let admin = gateway.admin();
    let long = Request::get("/healthz").header("X-Long", vec![b'x'; 100_000]);
    assert_eq!(send(admin, &long).await.status, 431);
    let reload = Request::post("/reload").header("Hookgate-Admin", "1");
    let body = reload.clone().body(vec![b'x'; 3_000_000]);
    assert_eq!(send(admin, &body).await.status, 413);
    assert_eq!(send(admin, &body.chunked(&[1000])).await.status, 413);
    assert_eq!(send(admin, &reload).await.status, 200);
}
