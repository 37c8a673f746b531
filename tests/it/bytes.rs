//! A body reaches the backend as it was signed, byte for byte, however it came.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use crate::support::Framing;
use crate::support::backend::FakeBackend;
use crate::support::client::{Client, Response};
use crate::support::gateway::Gateway;
use crate::support::github::{self, noise, sha256};
use crate::support::h2c::H2Client;

const MIB: usize = 1024 * 1024;
/// Around the sizes at which buffers and windows end.
const SIZES: [usize; 7] = [0, 1, 65_535, 65_536, 65_537, MIB, 10 * MIB];
/// Cuts of a chunked body: tiny ones first, then one over a buffer's end.
const CHUNKS: [usize; 4] = [1, 2, 16_383, 65_536];

async fn start(backend: &FakeBackend) -> Gateway {
    Gateway::start(&format!(
        "
server: {{listen: 127.0.0.1:0}}
admin: {{listen: off}}
backends: {{app: {{url: {url}}}}}
routes:
  hooks:
    webhook:
      path: /hooks
      body_max: 16MiB
      verify: {{provider: github, secrets: [\"{secret}\"]}}
    deliver: {{to: app}}
",
        url = backend.url(),
        secret = github::SECRET,
    ))
    .await
}

/// Claims that the backend answered, and was sent `body` with its length.
async fn check(backend: &FakeBackend, what: &str, body: &[u8], response: &Response) {
    assert_eq!((response.status, response.text()), (200, "ok"), "{what}");
    let recorded = backend.next().await;
    assert_eq!(recorded.framing, Framing::ContentLength, "{what}");
    let length = body.len().to_string();
    assert_eq!(
        recorded.headers_named("content-length"),
        [length.as_bytes()],
        "{what}"
    );
    assert_eq!(recorded.header("transfer-encoding"), None, "{what}");
    assert_eq!(recorded.body.len(), body.len(), "{what}");
    assert_eq!(sha256(&recorded.body), sha256(body), "{what}");
    assert_eq!(recorded.header("hookgate-verified"), Some("true"), "{what}");
}

#[tokio::test]
async fn a_body_of_any_size_arrives_whole_over_http1() {
    let backend = FakeBackend::start().await;
    let gateway = start(&backend).await;
    let mut client = Client::connect(gateway.addr()).await;
    for size in SIZES {
        let body = noise(size);
        let declared = github::post("/hooks", body.clone());
        let chunked = declared.clone().chunked(&CHUNKS);
        let response = client.request(&declared).await;
        check(&backend, &format!("{size} declared"), &body, &response).await;
        let response = client.request(&chunked).await;
        check(&backend, &format!("{size} chunked"), &body, &response).await;
    }
}

#[tokio::test]
async fn a_body_of_any_size_arrives_whole_over_http2() {
    let backend = FakeBackend::start().await;
    let gateway = start(&backend).await;
    let client = H2Client::connect(gateway.addr()).await;
    for size in SIZES {
        let body = noise(size);
        let declared = github::post("/hooks", body.clone());
        let undeclared = declared.clone().chunked(&CHUNKS);
        let response = client.request(&declared).await;
        check(&backend, &format!("{size} declared"), &body, &response).await;
        let response = client.request(&undeclared).await;
        check(&backend, &format!("{size} undeclared"), &body, &response).await;
    }
}

#[tokio::test]
async fn a_trickled_body_arrives_whole() {
    let backend = FakeBackend::start().await;
    let gateway = start(&backend).await;
    let mut http1 = Client::connect(gateway.addr()).await;
    let http2 = H2Client::connect(gateway.addr()).await;
    let paces = [(1, 1), (150, 1), (65_537, 7000), (MIB, 131_071)];
    for (size, piece_len) in paces {
        let body = noise(size);
        let declared =
            github::post("/hooks", body.clone()).trickle(piece_len, Duration::from_millis(2));
        for request in [declared.clone(), declared.chunked(&CHUNKS)] {
            let what = format!("{size} in pieces of {piece_len}");
            let response = http1.request(&request).await;
            check(&backend, &format!("{what}, HTTP/1.1"), &body, &response).await;
            let response = http2.request(&request).await;
            check(&backend, &format!("{what}, HTTP/2"), &body, &response).await;
        }
    }
}

#[tokio::test]
async fn nothing_is_decoded_or_serialised_anew() {
    let backend = FakeBackend::start().await;
    let gateway = start(&backend).await;
    let mut http1 = Client::connect(gateway.addr()).await;
    let http2 = H2Client::connect(gateway.addr()).await;
    let multipart = [
        b"--b\r\nContent-Disposition: form-data; name=\"f\"; filename=\"\xff.bin\"\r\n\r\n"
            .to_vec(),
        noise(3000),
        b"\r\n--b--\r\nepilogue".to_vec(),
    ]
    .concat();
    let bodies: [(&str, &[u8]); 7] = [
        ("application/octet-stream", &noise(4096)),
        ("multipart/form-data; boundary=b", &multipart),
        (
            "application/x-www-form-urlencoded",
            b"a=1&a=2&b=%2f%2F+x&&=&c",
        ),
        (
            "application/json",
            b"{ \"n\": 1.10,\"n\": 1e2, \"u\": \"\\u00e9\\/\" }\r\n",
        ),
        (
            "application/json; charset=utf-16",
            b"\xff\xfe{\x00}\x00\xd8\x00",
        ),
        ("text/plain", b"\xef\xbb\xbfwith a BOM\0and NUL\r\n\r\n"),
        ("", b"GET /hooks HTTP/1.1\r\nHost: x\r\n\r\n"),
    ];
    for (content_type, body) in bodies {
        let mut request = github::post("/hooks", body);
        if !content_type.is_empty() {
            request = request.header("Content-Type", content_type);
        }
        let response = http1.request(&request).await;
        check(&backend, content_type, body, &response).await;
        let response = http2.request(&request.chunked(&[1, 5])).await;
        check(&backend, content_type, body, &response).await;
    }
    let types: Vec<_> = backend
        .requests()
        .iter()
        .map(|request| {
            request
                .header("content-type")
                .unwrap_or_default()
                .to_owned()
        })
        .collect();
    let sent: Vec<_> = bodies.iter().flat_map(|(name, _)| [*name; 2]).collect();
    assert_eq!(types, sent);
}

#[tokio::test]
async fn requests_at_once_keep_their_own_bodies() {
    let backend = FakeBackend::start().await;
    let gateway = start(&backend).await;
    let http2 = Arc::new(H2Client::connect(gateway.addr()).await);
    let mut exchanges = JoinSet::new();
    // All of them must stand at the backend before the first is answered.
    backend.hold();
    for number in 1..=16 {
        let client = Arc::clone(&http2);
        let request = github::post("/hooks", noise(number * 9_001)).chunked(&CHUNKS);
        exchanges.spawn(async move { client.request(&request).await.status });
    }
    let requests = backend.wait_for(16).await;
    backend.release();
    assert_eq!(exchanges.join_all().await, [200; 16]);
    let mut arrived: Vec<_> = requests
        .iter()
        .map(|request| sha256(&request.body))
        .collect();
    let mut sent: Vec<_> = (1..=16)
        .map(|number| sha256(&noise(number * 9_001)))
        .collect();
    arrived.sort();
    sent.sort();
    assert_eq!(arrived, sent);
}
