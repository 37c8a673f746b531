//! A refused request leaves no trace at the backend, tells the sender nothing, and is counted and
//! logged once, with its reason.

use serde_json::Value;

use crate::support::backend::FakeBackend;
use crate::support::client::{Client, Request, Response};
use crate::support::gateway::Gateway;
use crate::support::github::{self, noise};
use crate::support::h2c::H2Client;

const MIB: usize = 1024 * 1024;

async fn start(backend: &FakeBackend) -> Gateway {
    Gateway::start(&format!(
        "
server: {{listen: 127.0.0.1:0}}
admin: {{listen: 127.0.0.1:0}}
log: {{format: json}}
backends: {{app: {{url: {url}}}}}
routes:
  hooks:
    webhook:
      path: /hooks
      verify: {{provider: github, secrets: [\"{secret}\"]}}
    deliver: {{to: app}}
  elsewhere:
    webhook: {{path: /elsewhere, allow: [192.0.2.0/24]}}
    deliver: {{to: app}}
  small:
    webhook:
      path: /small
      methods: [POST, PUT]
      body_max: 1KiB
      verify: {{provider: github, secrets: [\"{secret}\"]}}
    deliver: {{to: app}}
",
        url = backend.url(),
        secret = github::SECRET,
    ))
    .await
}

/// One request for each reason, and what it is answered and counted as.
fn refused(body: &[u8]) -> [(Request, u16, &'static str, &'static str); 6] {
    let with = |method: &str, target: &str| Request::new(method, target).body(body);
    let forged = github::signature(b"another body");
    [
        (with("POST", "/nowhere"), 404, "", "no_route"),
        (with("POST", "/a/../hooks"), 400, "", "path_ambiguous"),
        (with("DELETE", "/small"), 405, "", "method_not_allowed"),
        (
            with("POST", "/elsewhere"),
            403,
            "elsewhere",
            "address_denied",
        ),
        (with("POST", "/hooks"), 401, "hooks", "signature_missing"),
        (
            with("POST", "/hooks").header(github::HEADER, forged),
            401,
            "hooks",
            "signature_mismatch",
        ),
    ]
}

/// Claims that a refusal says its status, and nothing else.
fn check_silent(response: &Response, status: u16) {
    assert_eq!(response.status, status, "{response:?}");
    assert_eq!(response.text(), "");
    for (name, _) in &response.headers {
        let name = name.to_ascii_lowercase();
        let known = ["content-length", "connection", "date", "allow"];
        assert!(known.contains(&&*name), "{name} in {response:?}");
    }
    assert_eq!(response.header("allow").is_some(), status == 405);
}

#[tokio::test]
async fn a_refusal_keeps_the_connection_and_never_reaches_the_backend() {
    let backend = FakeBackend::start().await;
    let gateway = start(&backend).await;
    let mut client = Client::connect(gateway.addr()).await;
    for size in [0, 1000, 70_000, MIB] {
        let body = noise(size);
        for (request, status, ..) in refused(&body) {
            for request in [request.clone(), request.chunked(&[1000, 50_000])] {
                // All of it is sent, whatever is answered meanwhile.
                client.send(&request).await.unwrap();
                check_silent(&client.read_response().await, status);
            }
        }
    }
    assert_eq!((backend.count(), backend.connections()), (0, 0));
    let response = client.request(&github::post("/hooks", "{}")).await;
    assert_eq!(response.status, 200);
    assert_eq!(backend.count(), 1);
}

#[tokio::test]
async fn a_refusal_over_http2_leaves_other_streams_alone() {
    let backend = FakeBackend::start().await;
    let gateway = start(&backend).await;
    let client = H2Client::connect(gateway.addr()).await;
    for size in [0, 70_000] {
        for (request, status, ..) in refused(&noise(size)) {
            check_silent(&client.request(&request).await, status);
            let response = client.request(&github::post("/hooks", "{}")).await;
            assert_eq!(response.status, 200);
        }
    }
    assert!(
        backend
            .requests()
            .iter()
            .all(|request| request.text() == "{}")
    );
}

#[tokio::test]
async fn a_wrong_method_is_told_the_right_ones() {
    let backend = FakeBackend::start().await;
    let gateway = start(&backend).await;
    let mut client = Client::connect(gateway.addr()).await;
    let response = client.request(&Request::get("/small")).await;
    assert_eq!(response.header("allow"), Some("POST, PUT"));
    let response = client.request(&Request::new("DELETE", "/hooks")).await;
    assert_eq!(response.header("allow"), Some("POST"));
    let response = client.request(&Request::new("HEAD", "/hooks")).await;
    assert_eq!(response.status, 405);
    assert_eq!(backend.count(), 0);
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_refused_however_it_comes() {
    let backend = FakeBackend::start().await;
    let gateway = start(&backend).await;
    let fits = github::post("/small", noise(1024));
    let declared = github::post("/small", noise(1025));
    let undeclared = declared.clone().chunked(&[1024]);
    let mut client = Client::connect(gateway.addr()).await;
    client.send(&declared).await.unwrap();
    check_silent(&client.read_response().await, 413);
    // The rest was small enough to be read: the connection lives on.
    assert_eq!(client.request(&fits).await.status, 200);
    assert_eq!(
        client.request(&fits.clone().chunked(&[1000])).await.status,
        200
    );
    client.send(&undeclared).await.unwrap();
    check_silent(&client.read_response().await, 413);
    assert!(client.is_closed().await);
    let client = H2Client::connect(gateway.addr()).await;
    check_silent(&client.request(&declared).await, 413);
    check_silent(&client.request(&undeclared).await, 413);
    assert_eq!(client.request(&fits).await.status, 200);
    assert_eq!(client.request(&fits.chunked(&[1000])).await.status, 200);
    assert_eq!(backend.count(), 4);
}

#[tokio::test]
async fn a_huge_body_is_refused_without_being_read() {
    let backend = FakeBackend::start().await;
    let gateway = start(&backend).await;
    for (length, status) in [
        ("5242881", 413),
        ("99999999999", 413),
        ("18446744073709551615", 400),
    ] {
        let mut client = Client::connect(gateway.addr()).await;
        let head = format!("POST /hooks HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n");
        client.send_raw(head.as_bytes()).await.unwrap();
        check_silent(&client.read_response().await, status);
        client.close_write().await.unwrap();
        assert!(client.is_closed().await, "{length}");
    }
    // Far more than is ever lingered for.
    let request = Request::post("/small").body(noise(8 * MIB)).chunked(&[MIB]);
    let mut client = Client::connect(gateway.addr()).await;
    check_silent(&client.request(&request).await, 413);
    assert_eq!((backend.count(), backend.connections()), (0, 0));
}

#[tokio::test]
async fn a_body_that_will_be_refused_is_not_asked_for() {
    let backend = FakeBackend::start().await;
    let gateway = start(&backend).await;
    let requests = [
        (github::post("/small", noise(1025)), 413),
        (github::post("/nowhere", noise(5)), 404),
        (github::post("/elsewhere", noise(5)), 403),
        (Request::new("DELETE", "/small").body("x"), 405),
    ];
    for (request, status) in requests {
        let mut client = Client::connect(gateway.addr()).await;
        let response = client.request(&request.expect_continue()).await;
        check_silent(&response, status);
        assert!(response.interim.is_empty(), "{response:?}");
        // Whether the body still comes cannot be known: the connection must end.
        assert_eq!(response.header("connection"), Some("close"));
        client.close_write().await.unwrap();
        assert!(client.is_closed().await);
    }
    assert_eq!(backend.count(), 0);
}

/// The lines of the log that tell of one request each.
fn request_lines(logs: &[String]) -> Vec<Value> {
    logs.iter()
        .filter_map(|line| serde_json::from_str(line).ok())
        .filter(|line: &Value| line["target"] == "hookgate::request")
        .collect()
}

#[tokio::test]
async fn each_request_is_counted_and_logged_once_with_its_reason() {
    let backend = FakeBackend::start().await;
    let gateway = start(&backend).await;
    let mut client = Client::connect(gateway.addr()).await;
    let mut expected = Vec::new();
    for (request, status, route, reason) in refused(b"{}") {
        client.request(&request).await;
        expected.push((route, "refused", reason, u64::from(status)));
    }
    client.request(&github::post("/small", noise(1025))).await;
    expected.push(("small", "refused", "body_too_large", 413));
    let mut client = Client::connect(gateway.addr()).await;
    client.request(&github::post("/hooks", "{}")).await;
    expected.push(("hooks", "accepted", "", 200));

    let total = "hookgate_requests_total";
    let count = expected.len() as f64;
    assert_eq!(gateway.wait_for_metric(total, &[], count).await, count);
    for (route, verdict, reason, _) in &expected {
        let labels = [
            ("route", *route),
            ("verdict", *verdict),
            ("reason", *reason),
        ];
        assert_eq!(
            gateway.metric(total, &labels).await,
            Some(1.0),
            "{labels:?}"
        );
    }
    let lines = request_lines(&gateway.stop().await.logs);
    let logged: Vec<_> = lines
        .iter()
        .map(|line| {
            let text = |key: &str| line[key].as_str().unwrap_or("(none)");
            let status = line["status"].as_u64().unwrap_or_default();
            (text("route"), text("verdict"), text("reason"), status)
        })
        .collect();
    assert_eq!(logged, expected);
}

#[tokio::test]
async fn a_log_line_says_who_when_what_and_why() {
    let backend = FakeBackend::start().await;
    let gateway = start(&backend).await;
    let mut client = Client::connect(gateway.addr()).await;
    client
        .request(&Request::post("/hooks?a=b").body("12345"))
        .await;
    let line = gateway
        .wait_for_log(|line| line.contains("signature_missing"))
        .await;
    let line: Value = serde_json::from_str(&line).expect("a line of JSON");
    assert_eq!(line["level"], "WARN");
    assert_eq!(line["method"], "POST");
    assert_eq!(line["path"], "/hooks");
    assert_eq!(line["client"], "127.0.0.1");
    assert_eq!(line["backend"], "");
    assert_eq!(line["body_bytes"], 5);
    assert_eq!(line["request_id"].as_str().map(str::len), Some(36));
    assert!(
        line["ms"].is_f64() && line["timestamp"].is_string(),
        "{line}"
    );
    let detail = line["detail"].as_str().unwrap_or_default();
    assert!(!detail.is_empty(), "{line}");
}
