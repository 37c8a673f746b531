//! What an operator relies on: health, metrics, clear failures to start, a clean stop.

use std::time::{Duration, Instant};

use tokio::net::TcpListener;

use crate::support::backend::FakeBackend;
use crate::support::client::{Client, Request, Response, send};
use crate::support::gateway::{Gateway, run};
use crate::support::github;
use crate::support::h2c::H2Client;

fn yaml(backend: &FakeBackend, listen: &str, admin: &str) -> String {
    format!(
        "
server: {{listen: {listen}, drain: 5s}}
admin: {{listen: {admin}}}
log: {{format: json}}
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
    )
}

async fn start(backend: &FakeBackend) -> Gateway {
    Gateway::start(&yaml(backend, "127.0.0.1:0", "127.0.0.1:0")).await
}

async fn admin(gateway: &Gateway, path: &str) -> Response {
    send(gateway.admin(), &Request::get(path)).await
}

#[tokio::test]
async fn health_and_readiness_are_told() {
    let backend = FakeBackend::start().await;
    let gateway = start(&backend).await;
    assert_eq!(admin(&gateway, "/healthz").await.status, 200);
    let ready = admin(&gateway, "/readyz").await;
    assert_eq!(ready.status, 200);
    let detail = ready.json();
    assert_eq!(detail["ready"], true);
    assert_eq!(detail["backends"]["app"]["healthy"], 1);
    assert_eq!(admin(&gateway, "/nothing").await.status, 404);
    let post = send(gateway.admin(), &Request::post("/healthz")).await;
    assert_eq!(post.status, 405);
    // Each listener is for its own: nothing of one is told on the other.
    for path in ["/healthz", "/readyz", "/metrics"] {
        let outside = send(gateway.addr(), &Request::get(path)).await;
        assert_eq!(outside.status, 404, "{path}");
    }
    let inside = send(gateway.admin(), &github::post("/hooks", "{}")).await;
    assert_ne!(inside.status, 200);
    assert_eq!(backend.count(), 0);
}

#[tokio::test]
async fn metrics_are_there_from_the_start_and_count_bytes() {
    let backend = FakeBackend::start().await;
    let gateway = start(&backend).await;
    let first = [("route", "hooks"), ("verdict", "accepted"), ("reason", "")];
    let total = "hookgate_requests_total";
    assert_eq!(gateway.metric(total, &first).await, Some(0.0));
    assert_eq!(gateway.metric("hookgate_build_info", &[]).await, Some(1.0));
    send(gateway.addr(), &github::post("/hooks", "12345")).await;
    send(gateway.addr(), &Request::post("/hooks").body("1234567")).await;
    gateway.wait_for_metric(total, &[], 2.0).await;
    for (name, labels, value) in [
        (total, first.to_vec(), 1.0),
        (
            "hookgate_request_body_bytes_total",
            vec![("route", "hooks")],
            12.0,
        ),
        (
            "hookgate_response_body_bytes_total",
            vec![("route", "hooks")],
            2.0,
        ),
        (
            "hookgate_request_duration_seconds_count",
            vec![("route", "hooks")],
            2.0,
        ),
        (
            "hookgate_verify_duration_seconds_count",
            vec![("route", "hooks")],
            2.0,
        ),
        (
            "hookgate_backend_duration_seconds_count",
            vec![("backend", "app")],
            1.0,
        ),
        (
            "hookgate_backend_answers_total",
            vec![("outcome", "2xx")],
            1.0,
        ),
    ] {
        assert_eq!(gateway.metric(name, &labels).await, Some(value), "{name}");
    }
    let metrics = admin(&gateway, "/metrics").await;
    let content_type = metrics.header("content-type").unwrap_or_default();
    assert!(
        content_type.starts_with("text/plain; version=0.0.4"),
        "{content_type}"
    );
    for line in metrics.text().lines().filter(|line| !line.starts_with('#')) {
        assert!(line.starts_with("hookgate_"), "{line}");
    }
}

#[tokio::test]
async fn nothing_a_sender_writes_becomes_a_label() {
    let backend = FakeBackend::start().await;
    let gateway = start(&backend).await;
    let mut client = Client::connect(gateway.addr()).await;
    client
        .request(&Request::new("CANARY", "/canary?canary"))
        .await;
    client
        .request(&Request::post("/hooks/canary").header("Canary", "canary"))
        .await;
    gateway
        .wait_for_metric("hookgate_requests_total", &[], 2.0)
        .await;
    let metrics = gateway.metrics().await.to_lowercase();
    assert!(!metrics.contains("canary"), "{metrics}");
}

#[tokio::test]
async fn every_listener_takes_webhooks() {
    let backend = FakeBackend::start().await;
    let listen = "[\"127.0.0.1:0\", \"unix:a.sock\", \"127.0.0.1:0\", \"[::1]:0\"]";
    let gateway = Gateway::start(&yaml(&backend, listen, "off")).await;
    assert_eq!((gateway.addrs().len(), gateway.unix_paths().len()), (3, 1));
    let request = github::post("/hooks", "{}");
    for addr in gateway.addrs() {
        assert_eq!(send(*addr, &request).await.status, 200, "{addr}");
        assert_eq!(
            H2Client::connect(*addr)
                .await
                .request(&request)
                .await
                .status,
            200
        );
    }
    let mut client = Client::connect_unix(&gateway.unix_paths()[0]).await;
    assert_eq!(client.request(&request).await.status, 200);
    assert_eq!(backend.count(), 7);
}

#[tokio::test]
async fn a_port_in_use_is_named_with_its_key() {
    let backend = FakeBackend::start().await;
    let holder = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let taken = holder.local_addr().unwrap().to_string();
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("hookgate.yaml");
    let port = taken.rsplit(':').next().unwrap_or_default();
    for (listen, admin, key) in [
        (&*taken, "off", "server.listen"),
        ("127.0.0.1:0", &*taken, "admin.listen"),
    ] {
        std::fs::write(&config, yaml(&backend, listen, admin)).unwrap();
        let path = config.to_str().unwrap_or_default();
        let finished = run(&["serve", "-c", path], b"", &[]).await;
        assert_eq!(finished.code, Some(1), "{finished:?}");
        let said = &finished.stderr;
        assert!(
            said.contains(&format!("port {port}")) && said.contains(key),
            "{said}"
        );
        assert!(
            !said.contains("panicked") && !said.contains("ready"),
            "{said}"
        );
    }
}

#[tokio::test]
async fn a_socket_left_over_from_a_crash_is_replaced() {
    let backend = FakeBackend::start().await;
    let yaml = yaml(&backend, "\"unix:a.sock\"", "off");
    let gateway = Gateway::start(&yaml).await;
    let dir = gateway.kill().await.dir;
    assert!(dir.path().join("a.sock").exists());
    let gateway = Gateway::start_in(dir, &yaml, &[]).await;
    let mut client = Client::connect_unix(&gateway.unix_paths()[0]).await;
    assert_eq!(
        client.request(&github::post("/hooks", "{}")).await.status,
        200
    );
}

#[tokio::test]
async fn a_stop_finishes_what_is_in_flight_and_takes_nothing_new() {
    let backend = FakeBackend::start().await;
    let gateway = start(&backend).await;
    let addr = gateway.addr();
    backend.hold();
    let mut client = Client::connect(addr).await;
    let mut idle = Client::connect(addr).await;
    client.send(&github::post("/hooks", "{}")).await.unwrap();
    backend.wait_for(1).await;
    gateway.signal("TERM").await;
    refused(addr).await;
    backend.release();
    let response = client.read_response().await;
    assert_eq!((response.status, response.text()), (200, "ok"));
    check_clean_stop(gateway).await;
    assert!(idle.is_closed().await);
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn a_stop_finishes_what_is_in_flight_over_http2() {
    let backend = FakeBackend::start().await;
    let gateway = start(&backend).await;
    let addr = gateway.addr();
    backend.hold();
    let client = H2Client::connect(addr).await;
    let request = github::post("/hooks", "{}");
    let (response, ()) = tokio::join!(client.request(&request), async {
        backend.wait_for(1).await;
        gateway.signal("TERM").await;
        refused(addr).await;
        backend.release();
    });
    assert_eq!((response.status, response.text()), (200, "ok"));
    check_clean_stop(gateway).await;
}

/// Claims that a gateway that has just answered its last request ends by itself, and in time.
async fn check_clean_stop(gateway: Gateway) {
    let begun = Instant::now();
    let stopped = gateway.ended().await;
    let took = begun.elapsed();
    let logs = stopped.logs.join("\n");
    assert_eq!(stopped.status.code(), Some(0), "{logs}");
    assert!(took < Duration::from_secs(3), "{took:?} {logs}");
    assert!(logs.contains("\"verdict\":\"accepted\""), "{logs}");
}

/// Awaits that connections are refused.
async fn refused(addr: std::net::SocketAddr) {
    let refused = async {
        while tokio::net::TcpStream::connect(addr).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let limit = Duration::from_secs(5);
    crate::support::within(limit, "the listener to close", refused).await;
}

#[tokio::test]
async fn an_idle_gateway_stops_at_once() {
    let backend = FakeBackend::start().await;
    let gateway = start(&backend).await;
    let mut client = Client::connect(gateway.addr()).await;
    assert_eq!(
        client.request(&github::post("/hooks", "{}")).await.status,
        200
    );
    let http2 = H2Client::connect(gateway.addr()).await;
    assert_eq!(
        http2.request(&github::post("/hooks", "{}")).await.status,
        200
    );
    let begun = Instant::now();
    let stopped = gateway.stop().await;
    assert_eq!(stopped.status.code(), Some(0), "{:?}", stopped.logs);
    assert!(
        begun.elapsed() < Duration::from_secs(3),
        "{:?}",
        begun.elapsed()
    );
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn a_stop_that_takes_longer_than_drain_says_so() {
    let backend = FakeBackend::start().await;
    let yaml = yaml(&backend, "127.0.0.1:0", "off").replace("drain: 5s", "drain: 200ms");
    let gateway = Gateway::start(&yaml).await;
    backend.hold();
    let mut client = Client::connect(gateway.addr()).await;
    client.send(&github::post("/hooks", "{}")).await.unwrap();
    backend.wait_for(1).await;
    let stopped = gateway.stop().await;
    assert_eq!(stopped.status.code(), Some(1));
    let said = stopped.logs.join("\n");
    assert!(said.contains("server.drain is over"), "{said}");
    assert!(client.try_read_response().await.is_err());
}
