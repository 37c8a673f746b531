//! A head reaches the backend as it was written, but for what the gateway documents.

use crate::support::Headers;
use crate::support::backend::{FakeBackend, Recorded};
use crate::support::client::{Client, Request, send};
use crate::support::gateway::Gateway;
use crate::support::github::{self, noise};
use crate::support::h2c::H2Client;

/// What the gateway adds at the end, in this order.
const ADDED: [&str; 6] = [
    "X-Forwarded-For",
    "X-Forwarded-Proto",
    "X-Forwarded-Host",
    "X-Request-Id",
    "Hookgate-Route",
    "Hookgate-Verified",
];

async fn start(backend: &FakeBackend) -> Gateway {
    Gateway::start(&format!(
        "
server: {{listen: 127.0.0.1:0}}
admin: {{listen: off}}
backends: {{app: {{url: {url}}}}}
routes:
  open:
    webhook: {{path: /open/*, methods: [POST, GET, PUT, DELETE]}}
    deliver: {{to: app}}
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

fn lines(headers: &[(&str, &str)]) -> Headers {
    headers
        .iter()
        .map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec()))
        .collect()
}

fn names(recorded: &Recorded) -> Vec<&str> {
    recorded
        .headers
        .iter()
        .map(|(name, _)| name.as_str())
        .collect()
}

#[tokio::test]
async fn headers_keep_their_order_case_and_duplicates() {
    let backend = FakeBackend::start().await;
    let gateway = start(&backend).await;
    let body = "{}";
    let signature = github::signature(body.as_bytes());
    let sent = [
        ("A", "1"),
        ("hOsT", "hooks.Example.com:8080"),
        ("B", "2"),
        ("A", "3"),
        ("X-Hub-Signature-256", signature.as_str()),
        ("content-TYPE", "application/Json; charset=\"utf-8\""),
        ("Authorization", "Bearer a.b-c=="),
        ("a", "4"),
        ("Empty", ""),
        ("Cookie", "a=1; b=2"),
        ("CONTENT-length", "2"),
        ("B", "x, y ,z"),
        ("X-Request-Id", "theirs"),
    ];
    let mut request = Request::post("/hooks").body(body);
    for (name, value) in sent {
        request = request.header(name, value);
    }
    assert_eq!(send(gateway.addr(), &request).await.status, 200);
    let recorded = backend.next().await;
    assert_eq!(recorded.headers[..sent.len()], lines(&sent));
    let added: Vec<_> = ADDED
        .into_iter()
        .filter(|name| *name != "X-Request-Id")
        .collect();
    assert_eq!(names(&recorded)[sent.len()..], added);
}

#[tokio::test]
async fn header_values_that_are_no_text_pass() {
    let backend = FakeBackend::start().await;
    let gateway = start(&backend).await;
    let value = b"caf\xe9 \xff\xfe";
    let request = Request::get("/open/x").header("X-Latin", value);
    assert_eq!(send(gateway.addr(), &request).await.status, 200);
    assert_eq!(backend.next().await.headers_named("X-Latin"), [value]);
}

#[tokio::test]
async fn method_path_and_query_arrive_as_they_were_written() {
    let backend = FakeBackend::start().await;
    let gateway = start(&backend).await;
    let mut http1 = Client::connect(gateway.addr()).await;
    let http2 = H2Client::connect(gateway.addr()).await;
    for target in [
        "/open/a",
        "/open/a%2Fb%2fc%20d",
        "/open/%C3%BC/;p=1,2/~@:$&'()*+!",
        "/open//double//",
        "/open/x?",
        "/open/x?a=1&b=%2F&&a=2&c=a+b/?d",
        "/open/x?%00%ff",
    ] {
        for method in ["POST", "GET", "PUT", "DELETE"] {
            let request = Request::new(method, target);
            assert_eq!(http1.request(&request).await.status, 200, "{target}");
            let recorded = backend.next().await;
            assert_eq!((&*recorded.method, &*recorded.target), (method, target));
            assert_eq!(http2.request(&request).await.status, 200, "{target}");
            let recorded = backend.next().await;
            assert_eq!((&*recorded.method, &*recorded.target), (method, target));
        }
    }
}

#[tokio::test]
async fn the_gateway_says_who_asked_for_what() {
    let backend = FakeBackend::start().await;
    let gateway = start(&backend).await;
    let request = github::post("/hooks", "{}").header("Host", "hooks.example.com");
    assert_eq!(send(gateway.addr(), &request).await.status, 200);
    let first = backend.next().await;
    let expected = [
        ("Host", "hooks.example.com"),
        ("X-Forwarded-For", "127.0.0.1"),
        ("X-Forwarded-Proto", "http"),
        ("X-Forwarded-Host", "hooks.example.com"),
        ("Hookgate-Route", "hooks"),
        ("Hookgate-Verified", "true"),
    ];
    for (name, value) in expected {
        assert_eq!(first.headers_named(name), [value.as_bytes()], "{name}");
    }
    assert_eq!(
        send(gateway.addr(), &Request::get("/open/x")).await.status,
        200
    );
    let second = backend.next().await;
    assert_eq!(second.header("Hookgate-Verified"), Some("false"));
    let ids = [&first, &second].map(|request| request.header("X-Request-Id").unwrap_or_default());
    assert!(
        ids.iter().all(|id| id.len() == 36) && ids[0] != ids[1],
        "{ids:?}"
    );
}

#[tokio::test]
async fn over_http2_the_authority_becomes_the_host() {
    let backend = FakeBackend::start().await;
    let gateway = start(&backend).await;
    let client = H2Client::connect(gateway.addr()).await;
    let request = github::post("/hooks", "{}")
        .header("Host", "hooks.example.com")
        .header("x-one", "1")
        .header("x-two", "2")
        .header("x-one", "3");
    assert_eq!(client.request(&request).await.status, 200);
    let recorded = backend.next().await;
    assert_eq!(recorded.headers_named("host"), [b"hooks.example.com"]);
    assert_eq!(
        recorded.header("X-Forwarded-Host"),
        Some("hooks.example.com")
    );
    assert_eq!(recorded.headers_named("x-one"), [b"1", b"3"]);
    assert_eq!(recorded.headers_named("x-two"), [b"2"]);
    assert!(!names(&recorded).iter().any(|name| name.starts_with(':')));
}

#[tokio::test]
async fn nobody_but_the_gateway_says_hookgate() {
    let backend = FakeBackend::start().await;
    let gateway = start(&backend).await;
    let request = Request::post("/open/x")
        .header("Hookgate-Verified", "true")
        .header("hookgate-route", "admin")
        .header("HOOKGATE-Anything", "x");
    assert_eq!(send(gateway.addr(), &request).await.status, 200);
    let recorded = backend.next().await;
    assert_eq!(recorded.headers_named("hookgate-verified"), [b"false"]);
    assert_eq!(recorded.headers_named("hookgate-route"), [b"open"]);
    assert_eq!(recorded.header("hookgate-anything"), None);
}

#[tokio::test]
async fn hop_by_hop_headers_end_at_the_gateway() {
    let backend = FakeBackend::start().await;
    let gateway = start(&backend).await;
    let mut client = Client::connect(gateway.addr()).await;
    // What Java's HttpClient sends along with its first request: an offer, not a condition.
    let request = github::post("/hooks", "{\"a\":1}")
        .header(
            "Connection",
            "Upgrade, HTTP2-Settings, x-mine ,Host, Content-Length",
        )
        .header("Upgrade", "h2c")
        .header("HTTP2-Settings", "AAEAAEAAAAIAAAAB")
        .header("X-Mine", "1")
        .header("Keep-Alive", "timeout=5")
        .header("Proxy-Connection", "keep-alive")
        .header("TE", "trailers")
        .header("Trailer", "X-After")
        .header("X-Yours", "2");
    assert_eq!(client.request(&request).await.status, 200);
    let recorded = backend.next().await;
    assert_eq!(recorded.text(), "{\"a\":1}");
    let kept = ["Host", "X-Hub-Signature-256", "X-Yours", "Content-Length"];
    assert_eq!(names(&recorded), [&kept[..], &ADDED[..]].concat());
    // The connection is still one of HTTP/1.1.
    assert_eq!(
        client.request(&github::post("/hooks", "{}")).await.status,
        200
    );
}

#[tokio::test]
async fn chunk_extensions_and_trailers_end_at_the_gateway() {
    let backend = FakeBackend::start().await;
    let gateway = start(&backend).await;
    let mut client = Client::connect(gateway.addr()).await;
    let head = format!(
        "POST /hooks HTTP/1.1\r\nHost: x\r\n{}: {}\r\nTransfer-Encoding: chunked\r\n\r\n",
        github::HEADER,
        github::signature(b"hello world"),
    );
    let body = "5;a=b\r\nhello\r\n6\r\n world\r\n0\r\nX-After: 1\r\n\r\n";
    let raw = [head.as_bytes(), body.as_bytes()].concat();
    client.send_raw(&raw).await.unwrap();
    assert_eq!(client.read_response().await.status, 200);
    let recorded = backend.next().await;
    assert_eq!(recorded.text(), "hello world");
    assert_eq!(recorded.header("X-After"), None);
}

#[tokio::test]
async fn a_request_of_http_1_0_is_served() {
    let backend = FakeBackend::start().await;
    let gateway = start(&backend).await;
    let mut client = Client::connect(gateway.addr()).await;
    let body = "{\"old\":true}";
    let raw = format!(
        "POST /hooks HTTP/1.0\r\nX-Hub-Signature-256: {}\r\nContent-Length: {}\r\n\r\n{body}",
        github::signature(body.as_bytes()),
        body.len(),
    );
    client.send_raw(raw.as_bytes()).await.unwrap();
    let response = client.read_response().await;
    assert_eq!((response.status, response.text()), (200, "ok"));
    assert!(client.is_closed().await);
    let recorded = backend.next().await;
    assert!(recorded.raw_head.starts_with(b"POST /hooks HTTP/1.1\r\n"));
    assert_eq!(recorded.text(), body);
    // HTTP/1.1 needs a Host; the sender had none to say.
    assert_eq!(recorded.header("host"), Some(&*backend.addr().to_string()));
}

#[tokio::test]
async fn requests_in_one_write_are_answered_in_order() {
    let backend = FakeBackend::start().await;
    let gateway = start(&backend).await;
    let mut client = Client::connect(gateway.addr()).await;
    let bodies = [noise(10), noise(70_000), noise(1)];
    let raw: Vec<u8> = bodies
        .iter()
        .flat_map(|body| github::post("/hooks", body.clone()).to_bytes("x"))
        .collect();
    client.send_raw(&raw).await.unwrap();
    for body in bodies {
        assert_eq!(client.read_response().await.status, 200);
        assert_eq!(backend.next().await.body, body);
    }
}

#[tokio::test]
async fn expect_is_answered_by_one_100_and_not_passed_on() {
    let backend = FakeBackend::start().await;
    let gateway = start(&backend).await;
    let mut client = Client::connect(gateway.addr()).await;
    let declared = github::post("/hooks", noise(70_000)).expect_continue();
    for request in [declared.clone(), declared.chunked(&[1, 60_000])] {
        let response = client.request(&request).await;
        assert_eq!((response.status, response.interim), (200, vec![100]));
        let recorded = backend.next().await;
        assert_eq!(recorded.header("expect"), None);
        assert_eq!(recorded.body, noise(70_000));
    }
}
