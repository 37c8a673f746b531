//! What ten thousand idle connections cost, and that others are served beside them.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::backend::FakeBackend;
use crate::support::client::{Request, send};
use crate::support::gateway::Gateway;

/// As many as the figure in the README is about.
const CONNECTIONS: usize = 10_000;
/// Descriptors that a process needs for other things.
const OTHER_FILES: usize = 500;
/// What one connection may cost in this build, which is not optimised.
const BYTES_PER_CONNECTION_MAX: usize = 48 * 1024;

/// As many connections as this process, and so the gateway, may have open.
fn connections() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    let soft = line.and_then(|line| line.split_whitespace().nth(3)?.parse().ok());
    soft.map_or(500, |files: usize| {
        files.saturating_sub(OTHER_FILES).min(CONNECTIONS)
    })
}

#[tokio::test]
async fn ten_thousand_idle_connections_are_cheap_and_end() {
    let backend = FakeBackend::start().await;
    let gateway = Gateway::start(&format!(
        "
server:
  listen: 127.0.0.1:0
  trusted_proxies: [127.0.0.1]
  timeout: {{idle: 10s, head: 60s}}
admin: {{listen: 127.0.0.1:0}}
backends: {{app: {{url: {url}}}}}
routes:
  open: {{webhook: {{path: /open}}, deliver: {{to: app}}}}
",
        url = backend.url(),
    ))
    .await;
    let request = Request::post("/open").body("{}");
    assert_eq!(send(gateway.addr(), &request).await.status, 200);
    let count = connections();
    let before = gateway.resident_bytes();
    let mut idle = Vec::with_capacity(count);
    for _ in 0..count {
        idle.push(TcpStream::connect(gateway.addr()).await.unwrap());
    }
    gateway
        .wait_for_metric("hookgate_connections", &[], count as f64)
        .await;
    let silent = gateway.resident_bytes().saturating_sub(before) / count;
    let raw = request.to_bytes("x");
    for stream in &mut idle {
        stream.write_all(&raw).await.unwrap();
        let mut answer = [0; 15];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200 OK");
    }
    let served = gateway.resident_bytes().saturating_sub(before) / count;
    println!("{count} connections: {silent} bytes each when silent, {served} after a request");
    assert!(
        silent.max(served) < BYTES_PER_CONNECTION_MAX,
        "{silent} and {served}"
    );
    assert_eq!(send(gateway.addr(), &request).await.status, 200);
    let closed = async {
        while gateway.metric("hookgate_connections", &[]).await != Some(0.0) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), closed)
        .await
        .unwrap();
}
