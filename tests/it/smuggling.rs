//! Requests that two programs may read differently are refused, and end their connection.
//!
//! Each is followed, in the same write, by a request that would reach the backend if the end of
//! the first were misjudged.

use crate::support::backend::FakeBackend;
use crate::support::client::{Client, Request, send};
use crate::support::gateway::Gateway;

const SMUGGLED: &str = "POST /smuggled HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n";

async fn start(backend: &FakeBackend) -> Gateway {
    Gateway::start(&format!(
        "
server: {{listen: 127.0.0.1:0}}
admin: {{listen: 127.0.0.1:0}}
backends: {{app: {{url: {url}}}}}
routes:
  open: {{webhook: {{path: /*, methods: [GET, POST]}}, deliver: {{to: app}}}}
",
        url = backend.url(),
    ))
    .await
}

/// A head with these lines, and a body.
fn post(lines: &str, body: &str) -> String {
    format!("POST /hooks HTTP/1.1\r\nHost: x\r\n{lines}\r\n{body}")
}

/// Sends it, with a second request behind it: one 400, an end, and nothing for the backend.
async fn is_refused(gateway: &Gateway, backend: &FakeBackend, raw: &str) {
    let mut client = Client::connect(gateway.addr()).await;
    let whole = format!("{raw}{SMUGGLED}");
    assert!(client.send_raw(whole.as_bytes()).await.is_ok());
    let response = client.read_response().await;
    assert_eq!(response.status, 400, "{raw:?}");
    assert_eq!(response.header("connection"), Some("close"), "{raw:?}");
    assert!(
        client.is_closed().await,
        "{raw:?} leaves its connection open"
    );
    let next = send(gateway.addr(), &Request::post("/after").body("{}")).await;
    assert_eq!(next.status, 200, "after {raw:?}");
    assert_eq!(backend.next().await.target, "/after", "{raw:?}");
}

async fn are_refused(raws: &[String]) {
    let backend = FakeBackend::start().await;
    let gateway = start(&backend).await;
    for raw in raws {
        is_refused(&gateway, &backend, raw).await;
    }
    assert_eq!(backend.count(), raws.len());
}

#[tokio::test]
async fn two_framings_of_one_body() {
    let chunked = "5\r\nhello\r\n0\r\n\r\n";
    are_refused(&[
        post(
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            chunked,
        ),
        post(
            "Transfer-Encoding: chunked\r\nContent-Length: 15\r\n",
            chunked,
        ),
        post(
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            chunked,
        ),
        post(
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n",
            chunked,
        ),
        post("Content-Length: 5\r\nContent-Length: 6\r\n", "hello"),
        post("Content-Length: 5\r\nContent-Length: 5\r\n", "hello"),
        post("Content-Length: 5, 5\r\n", "hello"),
        post("Content-Length: 5, 6\r\n", "hello"),
    ])
    .await;
}

#[tokio::test]
async fn framings_that_are_written_wrongly() {
    let mut raws = Vec::new();
    for length in ["+5", "-5", "0x5", "5.0", "5 0", "", "18446744073709551621"] {
        raws.push(post(&format!("Content-Length: {length}\r\n"), "hello"));
    }
    for coding in [
        "identity",
        "gzip, chunked",
        "chunked, identity",
        "\x0bchunked",
        "chunked;a=b",
        "\"chunked\"",
    ] {
        raws.push(post(
            &format!("Transfer-Encoding: {coding}\r\n"),
            "0\r\n\r\n",
        ));
    }
    raws.push(post("Content-Length : 5\r\n", "hello"));
    raws.push(post("Transfer-Encoding\t: chunked\r\n", "0\r\n\r\n"));
    raws.push("POST /hooks HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_owned());
    are_refused(&raws).await;
}

#[tokio::test]
async fn lines_that_end_or_begin_wrongly() {
    are_refused(&[
        "POST /hooks HTTP/1.1\nHost: x\nContent-Length: 0\n\n".to_owned(),
        post("A: b\nContent-Length: 0\r\n", ""),
        post("A: b\rTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
        post("A: b\r\r\n", ""),
        post("A: b\r\n folded\r\n", ""),
        post("A: b\r\n\tTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
        "POST /hooks HTTP/1.1\r\n Host: x\r\n\r\n".to_owned(),
        post("A: \0\r\n", ""),
        post("A\0: b\r\n", ""),
        post(": b\r\n", ""),
        post("A B: c\r\n", ""),
        post("AB\r\n", ""),
        "POST /a b HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
        "POST /a\tb HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
        "POST  /hooks HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
        "POST /hooks HTTP/1.2\r\nHost: x\r\n\r\n".to_owned(),
        "POST /hooks\r\nHost: x\r\n\r\n".to_owned(),
        "POST /hooks HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n".to_owned(),
        "POST /hooks HTTP/1.1\r\n\r\n".to_owned(),
    ])
    .await;
}

#[tokio::test]
async fn chunks_that_are_written_wrongly() {
    let bodies = [
        "5\r\nhelloX\r\n0\r\n\r\n",
        "5\r\nhello0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "5\nhello\r\n0\r\n\r\n",
        "5\rhello\r\n0\r\n\r\n",
        "+5\r\nhello\r\n0\r\n\r\n",
        "-5\r\nhello\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        " 5\r\nhello\r\n0\r\n\r\n",
        "5g\r\nhello\r\n0\r\n\r\n",
        "11111111111111115\r\nhello\r\n0\r\n\r\n",
        "ffffffffffffffff\r\nhello\r\n0\r\n\r\n",
        "\r\n\r\n",
        ";a=b\r\n\r\n",
        "5;a\nb\r\nhello\r\n0\r\n\r\n",
        "5;a\0b\r\nhello\r\n0\r\n\r\n",
        "5 \r\nhello\r\n0\r\n\r\n",
        "5\r\nhello\r\n0\r\n\n",
        "5\r\nhello\r\n0\r\nA: b\n\r\n",
        "5\r\nhello\r\n0\r\nA: b\rc\r\n\r\n",
        "5\r\nhello\r\n0\r\n: b\r\n\r\n",
        "5\r\nhello\r\n0\r\n folded\r\n\r\n",
    ];
    let raws = bodies.map(|body| post("Transfer-Encoding: chunked\r\n", body));
    are_refused(&raws).await;
}

#[tokio::test]
async fn a_head_that_is_cut_anywhere_is_read_whole() {
    let backend = FakeBackend::start().await;
    let gateway = start(&backend).await;
    let raw = post("Content-Length: 2\r\n", "{}");
    let mut client = Client::connect(gateway.addr()).await;
    // Some senders put an empty line behind a body.
    client.send_raw(b"\r\n").await.unwrap();
    for cut in 1..raw.len() {
        let (start, end) = raw.as_bytes().split_at(cut);
        client.send_raw(start).await.unwrap();
        tokio::task::yield_now().await;
        client.send_raw(end).await.unwrap();
        client.send_raw(b"\r\n").await.unwrap();
        assert_eq!(client.read_response().await.status, 200);
        assert_eq!(backend.next().await.text(), "{}");
    }
}
