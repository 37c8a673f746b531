//! Who sent a request: only what a trusted proxy wrote counts.

use crate::support::backend::FakeBackend;
use crate::support::client::{Client, Request};
use crate::support::gateway::Gateway;

/// A gateway whose route `inside` takes only 192.0.2.0/24 without 192.0.2.66.
async fn start(backend: &FakeBackend, server: &str) -> Gateway {
    Gateway::start(&format!(
        "
server: {server}
admin: {{listen: 127.0.0.1:0}}
log: {{format: json}}
backends: {{app: {{url: {url}}}}}
routes:
  open: {{webhook: {{path: /open}}, deliver: {{to: app}}}}
  inside:
    webhook: {{path: /inside, allow: [192.0.2.0/24, \"2001:db8::/32\"], deny: [192.0.2.66]}}
    deliver: {{to: app}}
",
        url = backend.url(),
    ))
    .await
}

async fn status(client: &mut Client, hops: &[&str]) -> u16 {
    let mut request = Request::post("/inside");
    for line in hops {
        request = request.header("X-Forwarded-For", line);
    }
    client.request(&request).await.status
}

#[tokio::test]
async fn an_untrusted_sender_cannot_say_who_it_is() {
    let backend = FakeBackend::start().await;
    let gateway = start(&backend, "{listen: 127.0.0.1:0}").await;
    let mut client = Client::connect(gateway.addr()).await;
    for hops in [
        &[][..],
        &["192.0.2.1"],
        &["192.0.2.1, 192.0.2.1"],
        &["192.0.2.1", "192.0.2.1"],
    ] {
        assert_eq!(status(&mut client, hops).await, 403, "{hops:?}");
    }
    let request = Request::post("/inside")
        .header("Forwarded", "for=192.0.2.1")
        .header("X-Real-IP", "192.0.2.1");
    assert_eq!(client.request(&request).await.status, 403);
    assert_eq!(backend.count(), 0);
}

#[tokio::test]
async fn behind_a_trusted_proxy_the_rightmost_untrusted_hop_counts() {
    let backend = FakeBackend::start().await;
    let server = "{listen: 127.0.0.1:0, trusted_proxies: [127.0.0.1, 10.0.0.0/8]}";
    let gateway = start(&backend, server).await;
    let mut client = Client::connect(gateway.addr()).await;
    for (hops, expected) in [
        (&["192.0.2.1"][..], 200),
        (&["192.0.2.1:4711"], 200),
        (&["[2001:db8::1]:4711"], 200),
        (&["192.0.2.1, 10.1.1.1"], 200),
        (&["198.51.100.1", "192.0.2.1"], 200),
        (&["192.0.2.66"], 403),
        (&["192.0.2.1, 198.51.100.1"], 403),
        (&["192.0.2.1", "198.51.100.1, 10.1.1.1"], 403),
        (&["192.0.2.1, nonsense"], 403),
        (&["nonsense"], 403),
        (&[""], 403),
        (&[], 403),
    ] {
        assert_eq!(status(&mut client, hops).await, expected, "{hops:?}");
    }
    assert_eq!(backend.count(), 5);
}

#[tokio::test]
async fn the_chain_a_backend_sees_ends_with_the_gateways_own_peer() {
    let backend = FakeBackend::start().await;
    let trusting = "{listen: 127.0.0.1:0, trusted_proxies: [127.0.0.1]}";
    let wary = "{listen: 127.0.0.1:0}";
    for (server, proto, host) in [
        (trusting, "https", "outside.example.com"),
        (wary, "http", "inside"),
    ] {
        let gateway = start(&backend, server).await;
        let request = Request::post("/open")
            .header("Host", "inside")
            .header("X-Forwarded-For", "192.0.2.1")
            .header("X-Forwarded-For", "192.0.2.2, 192.0.2.3")
            .header("X-Forwarded-Proto", "https")
            .header("X-Forwarded-Host", "outside.example.com");
        let mut client = Client::connect(gateway.addr()).await;
        assert_eq!(client.request(&request).await.status, 200);
        let recorded = backend.next().await;
        let chain = recorded.headers_named("x-forwarded-for");
        assert_eq!(
            chain,
            [&b"192.0.2.1"[..], b"192.0.2.2, 192.0.2.3, 127.0.0.1"]
        );
        assert_eq!(
            recorded.headers_named("x-forwarded-proto"),
            [proto.as_bytes()]
        );
        assert_eq!(
            recorded.headers_named("x-forwarded-host"),
            [host.as_bytes()]
        );
    }
}

#[tokio::test]
async fn a_unix_socket_has_no_address_unless_it_is_trusted() {
    let backend = FakeBackend::start().await;
    let gateway = start(&backend, "{listen: \"unix:gate.sock\"}").await;
    let mut client = Client::connect_unix(&gateway.unix_paths()[0]).await;
    assert_eq!(client.request(&Request::post("/open")).await.status, 200);
    assert_eq!(backend.next().await.header("X-Forwarded-For"), None);
    assert_eq!(status(&mut client, &["192.0.2.1"]).await, 403);
    let labels = [("route", "inside"), ("reason", "address_unknown")];
    gateway
        .wait_for_metric("hookgate_requests_total", &labels, 1.0)
        .await;

    let server = "{listen: \"unix:gate.sock\", trusted_proxies: [unix]}";
    let gateway = start(&backend, server).await;
    let mut client = Client::connect_unix(&gateway.unix_paths()[0]).await;
    assert_eq!(status(&mut client, &["192.0.2.1"]).await, 200);
    assert_eq!(status(&mut client, &["192.0.2.66"]).await, 403);
    assert_eq!(status(&mut client, &[]).await, 403);
    gateway
        .wait_for_log(|line| line.contains("\"client\":\"192.0.2.66\""))
        .await;
}
