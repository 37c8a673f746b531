//! A proxy says for whom it speaks before the first byte of HTTP; whoever else says so is not heard.

use crate::support::backend::FakeBackend;
use crate::support::client::{Client, Request, Response};
use crate::support::gateway::{Gateway, run};
use crate::support::h2c::H2Client;

const V2_PREFIX: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const REFUSED: &str = "hookgate_connections_refused_total";

/// Listener 0 asks for the PROXY protocol, listener 1 does not.
async fn start(backend: &FakeBackend, trusted: &str) -> Gateway {
    Gateway::start(&format!(
        "
server:
  listen: [{{address: 127.0.0.1:0, proxy_protocol: true}}, 127.0.0.1:0]
  trusted_proxies: [{trusted}]
  timeout: {{head: 700ms}}
  limits: {{connections_per_address: 3}}
admin: {{listen: 127.0.0.1:0}}
backends: {{app: {{url: {url}}}}}
routes:
  open: {{webhook: {{path: /open}}, deliver: {{to: app}}}}
  some: {{webhook: {{path: /some, allow: [192.0.2.0/24, 2001:db8::/32]}}, deliver: {{to: app}}}}
  slow:
    webhook: {{path: /slow, rate_limit: {{by: client_ip, rate: 2/min}}}}
    deliver: {{to: app}}
",
        url = backend.url(),
    ))
    .await
}

fn v2(command_and_family: [u8; 2], addresses: &[u8]) -> Vec<u8> {
    let length = u8::try_from(addresses.len()).unwrap_or(u8::MAX);
    [V2_PREFIX, &command_and_family, &[0, length], addresses].concat()
}

fn v1_from(client: &str) -> Vec<u8> {
    format!("PROXY TCP4 {client} 192.0.2.254 1000 443\r\n").into_bytes()
}

async fn begin(gateway: &Gateway, header: &[u8]) -> Client {
    let mut client = Client::connect(gateway.addr()).await;
    assert!(client.send_raw(header).await.is_ok());
    client
}

async fn ask(gateway: &Gateway, header: &[u8], request: &Request) -> Response {
    begin(gateway, header).await.request(request).await
}

#[tokio::test]
async fn the_announced_address_is_the_peer() {
    let backend = FakeBackend::start().await;
    let gateway = start(&backend, "127.0.0.1").await;
    let mut six = [0; 36];
    six[..16].copy_from_slice(
        &"2001:db8::7"
            .parse::<std::net::Ipv6Addr>()
            .unwrap()
            .octets(),
    );
    let four = [192, 0, 2, 7, 192, 0, 2, 254, 3, 232, 1, 187];
    let cases: [(&[u8], &str); 9] = [
        (
            b"PROXY TCP4 192.0.2.7 192.0.2.254 1000 443\r\n",
            "192.0.2.7",
        ),
        (
            b"PROXY TCP6 2001:db8::7 2001:db8::1 1000 443\r\n",
            "2001:db8::7",
        ),
        (b"PROXY TCP6 ::ffff:192.0.2.7 ::1 1000 443\r\n", "192.0.2.7"),
        (b"PROXY UNKNOWN\r\n", "127.0.0.1"),
        (
            b"PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n",
            "127.0.0.1",
        ),
        (&v2([0x21, 0x11], &four), "192.0.2.7"),
        (&v2([0x21, 0x21], &six), "2001:db8::7"),
        (&v2([0x20, 0x00], &[]), "127.0.0.1"),
        (
            &v2([0x21, 0x11], &[&four[..], &[4, 0, 2, 0, 0]].concat()),
            "192.0.2.7",
        ),
    ];
    for (header, seen) in cases {
        let mut client = begin(&gateway, header).await;
        // Kept alive, the connection stays the announced client's.
        for _ in 0..2 {
            assert_eq!(client.request(&Request::post("/open")).await.status, 200);
            let forwarded = backend.next().await;
            assert_eq!(
                forwarded.header("x-forwarded-for"),
                Some(seen),
                "{header:?}"
            );
        }
        let some = client.request(&Request::post("/some")).await.status;
        assert_eq!(
            some,
            if seen == "127.0.0.1" { 403 } else { 200 },
            "{header:?}"
        );
        if some == 200 {
            backend.next().await;
        }
    }
}

#[tokio::test]
async fn a_header_may_come_byte_by_byte_or_along_with_the_request() {
    let backend = FakeBackend::start().await;
    let gateway = start(&backend, "127.0.0.0/8").await;
    let four = [192, 0, 2, 7, 192, 0, 2, 254, 3, 232, 1, 187];
    for header in [v1_from("192.0.2.7"), v2([0x21, 0x11], &four)] {
        let request = Request::post("/some").body("{}").to_bytes("x");
        let mut client = begin(&gateway, &[&header[..], &request].concat()).await;
        assert_eq!(client.read_response().await.status, 200);
        let mut client = Client::connect(gateway.addr()).await;
        for byte in [&header[..], &request].concat() {
            client.send_raw(&[byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
        assert_eq!(client.read_response().await.status, 200);
    }
}

#[tokio::test]
async fn over_http2_the_announced_address_is_the_peer() {
    let backend = FakeBackend::start().await;
    let gateway = start(&backend, "127.0.0.1").await;
    let four = [192, 0, 2, 7, 192, 0, 2, 254, 3, 232, 1, 187];
    for header in [v1_from("192.0.2.7"), v2([0x21, 0x11], &four)] {
        let client = H2Client::connect_after(gateway.addr(), &header).await;
        for _ in 0..2 {
            assert_eq!(client.request(&Request::post("/some")).await.status, 200);
            let forwarded = backend.next().await;
            assert_eq!(forwarded.header("x-forwarded-for"), Some("192.0.2.7"));
        }
    }
}

#[tokio::test]
async fn a_connection_without_its_header_is_closed_without_a_word() {
    let backend = FakeBackend::start().await;
    let gateway = start(&backend, "127.0.0.1").await;
    let request = String::from_utf8(Request::post("/open").to_bytes("x")).unwrap();
    let long = format!("PROXY UNKNOWN {}", "x".repeat(200));
    let endless = [V2_PREFIX, &[0x21, 0x11, 0xff, 0xff], &[0; 5000]].concat();
    let headers: [&[u8]; 11] = [
        b"",
        b"PROXY TCP4 192.0.2.7 192.0.2.254 1000\r\n",
        b"PROXY TCP4 192.0.2.777 192.0.2.254 1000 443\r\n",
        b"PROXY TCP4 192.0.2.7 192.0.2.254 1000 443\n",
        b"PROXY TCP6 192.0.2.7 192.0.2.254 1000 443\r\n",
        b"proxy TCP4 192.0.2.7 192.0.2.254 1000 443\r\n",
        b"PROXY\r\n",
        long.as_bytes(),
        &endless,
        &v2([0x31, 0x11], &[0; 12]),
        &v2([0x21, 0x11], &[0; 4]),
    ];
    for (count, header) in (1_u32..).zip(headers) {
        let mut client = begin(&gateway, &[header, request.as_bytes()].concat()).await;
        assert!(client.is_closed().await, "{header:?}");
        let reason = [("reason", "proxy_header")];
        gateway
            .wait_for_metric(REFUSED, &reason, f64::from(count))
            .await;
    }
    // Half a header, and silence: closed by the limit of heads.
    assert!(begin(&gateway, b"PROXY TCP4 192").await.is_closed().await);
    assert_eq!(backend.count(), 0);
}

#[tokio::test]
async fn an_untrusted_peer_speaks_for_nobody() {
    let backend = FakeBackend::start().await;
    let gateway = start(&backend, "10.0.0.0/8").await;
    let mut client = begin(&gateway, &v1_from("192.0.2.7")).await;
    let answered = client.try_request(&Request::post("/open")).await;
    assert!(answered.is_err() && client.is_closed().await);
    let reason = [("reason", "proxy_untrusted")];
    gateway.wait_for_metric(REFUSED, &reason, 1.0).await;
    // Where nobody asks for it, the header is no HTTP.
    let mut client = Client::connect(gateway.addrs()[1]).await;
    client.send_raw(&v1_from("192.0.2.7")).await.unwrap();
    client.send(&Request::post("/open")).await.unwrap();
    assert_eq!(client.read_response().await.status, 400);
    assert_eq!(backend.count(), 0);
}

#[tokio::test]
async fn an_address_in_a_header_is_heard_from_trusted_peers_only() {
    let backend = FakeBackend::start().await;
    let gateway = start(&backend, "127.0.0.1").await;
    let spoofed = Request::post("/some").header("X-Forwarded-For", "192.0.2.1");
    // The client behind the proxy is no proxy: what it says about itself does not count.
    let outsider = v1_from("198.51.100.7");
    assert_eq!(ask(&gateway, &outsider, &spoofed).await.status, 403);
    // Its own word is passed on, with the gateway's peer behind it.
    let open = Request::post("/open").header("X-Forwarded-For", "192.0.2.1");
    assert_eq!(ask(&gateway, &outsider, &open).await.status, 200);
    assert_eq!(
        backend.next().await.header("x-forwarded-for"),
        Some("192.0.2.1, 198.51.100.7")
    );
    // A trusted proxy is believed its last word, not what stands before it.
    let mut direct = Client::connect(gateway.addrs()[1]).await;
    assert_eq!(direct.request(&spoofed).await.status, 200);
    let before = Request::post("/some").header("X-Forwarded-For", "192.0.2.1, 198.51.100.7");
    assert_eq!(direct.request(&before).await.status, 403);
}

#[tokio::test]
async fn nobody_gets_another_bucket_by_saying_another_address() {
    let backend = FakeBackend::start().await;
    let gateway = start(&backend, "127.0.0.1").await;
    let slow = |forwarded: &str| Request::post("/slow").header("X-Forwarded-For", forwarded);
    for (attempt, expected) in [200, 200, 429, 429].into_iter().enumerate() {
        let request = slow(&format!("203.0.113.{attempt}"));
        let status = ask(&gateway, &v1_from("198.51.100.7"), &request)
            .await
            .status;
        assert_eq!(status, expected, "attempt {attempt}");
    }
    let other = ask(&gateway, &v1_from("198.51.100.8"), &slow("198.51.100.7")).await;
    assert_eq!(other.status, 200);
    // Through a trusted proxy, the last address it wrote has the bucket.
    let mut direct = Client::connect(gateway.addrs()[1]).await;
    for (attempt, expected) in [200, 200, 429].into_iter().enumerate() {
        let request = slow(&format!("203.0.113.{attempt}, 203.0.113.99"));
        assert_eq!(direct.request(&request).await.status, expected);
    }
}

#[tokio::test]
async fn connections_are_counted_for_the_announced_address() {
    let backend = FakeBackend::start().await;
    let gateway = start(&backend, "127.0.0.1").await;
    let mut held = Vec::new();
    for _ in 0..3 {
        let mut client = begin(&gateway, &v1_from("198.51.100.7")).await;
        assert_eq!(client.request(&Request::post("/open")).await.status, 200);
        held.push(client);
    }
    assert!(
        begin(&gateway, &v1_from("198.51.100.7"))
            .await
            .is_closed()
            .await
    );
    let other = ask(&gateway, &v1_from("198.51.100.8"), &Request::post("/open")).await;
    assert_eq!(other.status, 200);
}

#[tokio::test]
async fn a_listener_that_would_close_every_connection_is_a_fault() {
    let dir = tempfile::TempDir::new().unwrap();
    let file = dir.path().join("hookgate.yaml");
    let yaml = "
server:
  listen: {address: 127.0.0.1:0, proxy_protocol: true}
  limits: {head_bytes: 2MiB, headers: 300, body_rate_min: 1KiB, connections: 0}
backends: {app: {url: http://127.0.0.1:1}}
routes: {open: {webhook: {path: /}, deliver: {to: app}}}
";
    std::fs::write(&file, yaml).unwrap();
    let checked = run(&["check", "-c", &file.display().to_string()], b"", &[]).await;
    let said = checked.stdout + &checked.stderr;
    for message in [
        "no proxy is trusted: every connection would be closed",
        "a head may be 1KiB to 1023KiB long",
        "no more than 256 headers can be read",
        "`1KiB` is not a throughput",
    ] {
        assert!(said.contains(message), "{message} is not in:\n{said}");
    }
    assert_eq!(checked.code, Some(1));
}

#[tokio::test]
async fn a_proxy_on_a_unix_socket_speaks_for_others_if_it_is_trusted() {
    for (trusted, expected) in [("unix", Some(200)), ("127.0.0.1", None)] {
        let backend = FakeBackend::start().await;
        let gateway = Gateway::start(&format!(
            "
server:
  listen: [{{address: \"unix:gateway.sock\", proxy_protocol: true}}, \"unix:plain.sock\"]
  trusted_proxies: [{trusted}]
admin: {{listen: off}}
backends: {{app: {{url: {url}}}}}
routes: {{open: {{webhook: {{path: /open}}, deliver: {{to: app}}}}}}
",
            url = backend.url(),
        ))
        .await;
        let mut client = Client::connect_unix(&gateway.unix_paths()[0]).await;
        // Whoever is not trusted may find the connection closed before he has said a word.
        let answered = match client.send_raw(&v1_from("192.0.2.7")).await {
            Ok(()) => client.try_request(&Request::post("/open")).await.ok(),
            Err(_) => None,
        };
        assert_eq!(answered.map(|response| response.status), expected);
        if expected.is_some() {
            let forwarded = backend.next().await;
            assert_eq!(forwarded.header("x-forwarded-for"), Some("192.0.2.7"));
        }
        let mut plain = Client::connect_unix(&gateway.unix_paths()[1]).await;
        assert_eq!(plain.request(&Request::post("/open")).await.status, 200);
    }
}
