//! The sender gets the backend's own answer, but for what was meant for one hop.

use crate::support::backend::{AnswerFraming, FakeBackend, Misbehave, Response};
use crate::support::client::{Client, Request};
use crate::support::gateway::Gateway;
use crate::support::github::noise;
use crate::support::h2c::H2Client;

const MIB: usize = 1024 * 1024;
const FRAMINGS: [AnswerFraming; 3] = [
    AnswerFraming::ContentLength,
    AnswerFraming::Chunked,
    AnswerFraming::UntilClose,
];

async fn start(backend: &FakeBackend) -> Gateway {
    Gateway::start(&format!(
        "
server: {{listen: 127.0.0.1:0}}
admin: {{listen: off}}
backends: {{app: {{url: {url}}}}}
routes:
  open: {{webhook: {{path: /open, methods: [POST, GET, HEAD]}}, deliver: {{to: app}}}}
",
        url = backend.url(),
    ))
    .await
}

#[tokio::test]
async fn any_status_comes_back() {
    let backend = FakeBackend::start().await;
    let gateway = start(&backend).await;
    let mut http1 = Client::connect(gateway.addr()).await;
    let http2 = H2Client::connect(gateway.addr()).await;
    for status in [
        200, 201, 202, 302, 400, 401, 404, 409, 410, 422, 429, 499, 500, 503, 599,
    ] {
        backend.respond_with(Response::new(status).body("why"));
        let response = http1.request(&Request::post("/open")).await;
        assert_eq!((response.status, response.text()), (status, "why"));
        assert_eq!(response.header("Hookgate-Reason"), None);
        let response = http2.request(&Request::post("/open")).await;
        assert_eq!((response.status, response.text()), (status, "why"));
    }
}

#[tokio::test]
async fn headers_come_back_as_they_are() {
    let backend = FakeBackend::start().await;
    let gateway = start(&backend).await;
    let sent = [
        ("Set-Cookie", "a=1; Path=/"),
        ("Set-Cookie", "b=2"),
        ("content-type", "Text/Odd; q=\"x\""),
        ("X-MiXed", "caf\u{e9}"),
        ("Retry-After", "120"),
        ("WWW-Authenticate", "Basic realm=\"x\", Bearer"),
        ("Location", "/a%2Fb?c"),
        ("X-Request-Id", "theirs"),
    ];
    let mut answer = Response::new(200).body("ok");
    for (name, value) in sent {
        answer = answer.header(name, value);
    }
    backend.respond_with(answer);
    let mut client = Client::connect(gateway.addr()).await;
    let response = client.request(&Request::post("/open")).await;
    for (name, value) in sent {
        let found = response
            .headers
            .iter()
            .any(|(n, v)| n == name && v == value.as_bytes());
        assert!(found, "{name}: {value} in {response:?}");
    }
    assert_eq!(
        response.headers_named("set-cookie"),
        [&b"a=1; Path=/"[..], b"b=2"]
    );
    let http2 = H2Client::connect(gateway.addr()).await;
    let response = http2.request(&Request::post("/open")).await;
    assert_eq!(
        response.headers_named("set-cookie"),
        [&b"a=1; Path=/"[..], b"b=2"]
    );
    assert_eq!(response.header("retry-after"), Some("120"));
}

#[tokio::test]
async fn what_was_for_one_hop_ends_here() {
    let backend = FakeBackend::start().await;
    let gateway = start(&backend).await;
    backend.respond_with(
        Response::new(200)
            .header("Connection", "X-Mine, keep-alive")
            .header("X-Mine", "1")
            .header("Keep-Alive", "timeout=5")
            .header("Proxy-Connection", "keep-alive")
            .header("Upgrade", "h2c")
            .header("X-Yours", "2")
            .body("ok"),
    );
    let mut http1 = Client::connect(gateway.addr()).await;
    let http2 = H2Client::connect(gateway.addr()).await;
    for _ in 0..2 {
        let first = http1.request(&Request::post("/open")).await;
        let second = http2.request(&Request::post("/open")).await;
        for response in [first, second] {
            assert_eq!((response.status, response.text()), (200, "ok"));
            for name in ["x-mine", "keep-alive", "proxy-connection", "upgrade"] {
                assert_eq!(response.header(name), None, "{name}");
            }
            assert_eq!(response.header("x-yours"), Some("2"));
        }
    }
}

#[tokio::test]
async fn a_body_comes_back_whole_however_it_is_framed() {
    let backend = FakeBackend::start().await;
    let gateway = start(&backend).await;
    let http2 = H2Client::connect(gateway.addr()).await;
    for framing in FRAMINGS {
        // A connection of its own, as an answer may end it.
        let mut http1 = Client::connect(gateway.addr()).await;
        for size in [0, 1, 65_537, 6 * MIB] {
            let what = format!("{size} bytes, {framing:?}");
            let body = noise(size);
            backend.respond_with(Response::new(200).body(body.clone()).framing(framing));
            let response = http1.request(&Request::post("/open")).await;
            assert!(response.status == 200 && response.body == body, "{what}");
            let length = response.header("content-length");
            let expected = size.to_string();
            match framing {
                AnswerFraming::ContentLength => assert_eq!(length, Some(&*expected), "{what}"),
                _ => assert_eq!(
                    response.header("transfer-encoding"),
                    Some("chunked"),
                    "{what}"
                ),
            }
            let response = http2.request(&Request::post("/open")).await;
            assert!(response.status == 200 && response.body == body, "{what}");
            let old = b"POST /open HTTP/1.0\r\nContent-Length: 0\r\n\r\n";
            let mut http10 = Client::connect(gateway.addr()).await;
            http10.send_raw(old).await.unwrap();
            let response = http10.read_response().await;
            assert!(response.status == 200 && response.body == body, "{what}");
            assert_eq!(response.header("transfer-encoding"), None, "{what}");
        }
    }
}

#[tokio::test]
async fn answers_without_a_body_have_none() {
    let backend = FakeBackend::start().await;
    let gateway = start(&backend).await;
    let mut http1 = Client::connect(gateway.addr()).await;
    let http2 = H2Client::connect(gateway.addr()).await;
    for _ in 0..2 {
        for status in [204, 304] {
            backend.respond_with(Response::new(status).header("ETag", "\"x\""));
            let response = http1.request(&Request::post("/open")).await;
            assert_eq!(
                (response.status, response.header("etag")),
                (status, Some("\"x\""))
            );
            assert_eq!(response.header("transfer-encoding"), None);
            assert_eq!(http2.request(&Request::post("/open")).await.status, status);
        }
        for framing in FRAMINGS {
            backend.respond_with(Response::new(200).body("hello").framing(framing));
            let response = http1.request(&Request::new("HEAD", "/open")).await;
            assert_eq!((response.status, response.text()), (200, ""), "{framing:?}");
            if framing == AnswerFraming::ContentLength {
                assert_eq!(response.header("content-length"), Some("5"));
            }
            let response = http2.request(&Request::new("HEAD", "/open")).await;
            assert_eq!((response.status, response.text()), (200, ""), "{framing:?}");
            // Nothing of it is left over for the next answer.
            let response = http1.request(&Request::get("/open")).await;
            assert_eq!(
                (response.status, response.text()),
                (200, "hello"),
                "{framing:?}"
            );
        }
    }
}

#[tokio::test]
async fn interim_answers_end_at_the_gateway() {
    let backend = FakeBackend::start().await;
    let gateway = start(&backend).await;
    backend.misbehave(Misbehave::Interim100And103);
    let mut client = Client::connect(gateway.addr()).await;
    let plain = Request::post("/open").body("{}");
    let response = client.request(&plain).await;
    assert_eq!((response.status, response.text()), (200, "ok"));
    assert!(response.interim.is_empty(), "{response:?}");
    assert_eq!(response.header("link"), None);
    // The one 100 is the gateway's own.
    let response = client.request(&plain.clone().expect_continue()).await;
    assert_eq!((response.status, response.interim), (200, vec![100]));
    // A connection that has seen them serves again. The answer may be here before the connection
    // is back in its pool, so not every request finds it.
    for _ in 0..8 {
        assert_eq!(client.request(&plain).await.status, 200);
    }
    assert!(backend.connections() < 10, "{}", backend.connections());
}
