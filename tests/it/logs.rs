//! What a log shows is what the file chose; what is secret is never shown anywhere.

use serde_json::Value;

use crate::support::backend::{FakeBackend, Response};
use crate::support::client::{Client, Request, send};
use crate::support::gateway::Gateway;
use crate::support::github::{HEADER, signature_with};
use crate::support::h2c::H2Client;

async fn start(backend: &FakeBackend, log: &str, env: &[(&str, &str)]) -> Gateway {
    let yaml = format!(
        "
server: {{listen: 127.0.0.1:0}}
admin: {{listen: 127.0.0.1:0}}
log: {log}
backends: {{app: {{url: {url}, timeout: {{response: 300ms}}}}}}
routes:
  hooks:
    webhook:
      path: /hooks/*
      verify: {{provider: github, secrets: [\"${{{{ secret.github }}}}\"]}}
    deliver: {{to: app, headers: {{X-Api-Key: \"${{{{ secret.api }}}}\"}}}}
",
        url = backend.url(),
    );
    let secrets = [
        ("HOOKGATE_SECRET_GITHUB", "canary-key"),
        ("HOOKGATE_SECRET_API", "canary-api"),
    ];
    Gateway::start_with_env(&yaml, &[&secrets[..], env].concat()).await
}

fn signed(target: &str, body: &str) -> Request {
    Request::post(target)
        .header(HEADER, signature_with("canary-key", body.as_bytes()))
        .body(body)
}

#[tokio::test]
async fn json_lines_are_json() {
    let backend = FakeBackend::start().await;
    let gateway = start(&backend, "{format: json}", &[]).await;
    send(gateway.addr(), &signed("/hooks/a", "{}")).await;
    let line = gateway
        .wait_for_log(|line| line.contains("hookgate::request"))
        .await;
    let line: Value = serde_json::from_str(&line).expect("a line of JSON");
    assert_eq!(line["level"], "INFO");
    assert_eq!(line["verdict"], "accepted");
    assert_eq!(line["route"], "hooks");
    assert_eq!(line["backend"], "app");
    assert_eq!(line["status"], 200);
    assert_eq!(line["headers"], "");
}

#[tokio::test]
async fn human_lines_are_for_people() {
    let backend = FakeBackend::start().await;
    let gateway = start(&backend, "{format: human}", &[]).await;
    send(gateway.addr(), &signed("/hooks/a", "{}")).await;
    let line = gateway.wait_for_log(|line| line.contains("verdict=")).await;
    assert!(line.contains("INFO") && line.contains("accepted"), "{line}");
    assert!(
        line.contains("/hooks/a") && line.contains("status=200"),
        "{line}"
    );
    // Not a terminal: no escapes, no JSON.
    assert!(!line.contains('\u{1b}') && !line.starts_with('{'), "{line}");
}

#[tokio::test]
async fn chosen_headers_are_shown_and_secret_ones_only_named() {
    let backend = FakeBackend::start().await;
    let log =
        "{format: json, headers: [User-Agent, Authorization, X-Own, X-Gone], redact: [X-Own]}";
    let gateway = start(&backend, log, &[]).await;
    let request = signed("/hooks/a", "{}")
        .header("user-agent", "GitHub-Hookshot/1")
        .header("Authorization", "Bearer canary")
        .header("X-Own", "canary")
        .header("X-Other", "canary");
    send(gateway.addr(), &request).await;
    let line = gateway
        .wait_for_log(|line| line.contains("hookgate::request"))
        .await;
    let line: Value = serde_json::from_str(&line).expect("a line of JSON");
    assert_eq!(
        line["headers"],
        "user-agent: GitHub-Hookshot/1; authorization: [redacted]; x-own: [redacted]"
    );
}

#[tokio::test]
async fn a_sender_cannot_forge_lines() {
    let backend = FakeBackend::start().await;
    let log = "{format: human, headers: [X-Own]}";
    let gateway = start(&backend, log, &[]).await;
    let request = Request::post("/nowhere%0aINFO%20forged\u{1b}[2J")
        .header("X-Own", b"\x1b[31mred\tforged \xff");
    send(gateway.addr(), &request).await;
    let line = gateway
        .wait_for_log(|line| line.contains("refused") || line.contains("forged"))
        .await;
    assert!(line.contains("verdict=\"refused\""), "{line}");
    assert!(!line.contains('\u{1b}') && !line.contains('\t'), "{line:?}");
}

/// Sends the canary in every place where a secret may stand, with every outcome.
async fn send_canaries(gateway: &Gateway, backend: &FakeBackend) {
    let target = "/hooks/a?token=canary&sig=canary";
    let body = "{\"password\":\"canary\"}";
    let with_secrets = |request: Request| {
        request
            .header("Authorization", "Bearer canary")
            .header("Cookie", "session=canary")
            .header("X-Api-Key", "canary")
            .header("X-Own", "canary")
            .header("X-Gitlab-Token", "canary")
    };
    let accepted = with_secrets(signed(target, body));
    let forged = with_secrets(
        Request::post(target)
            .header(HEADER, "sha256=canary")
            .body(body),
    );
    let lost = with_secrets(Request::post("/nowhere?token=canary").body(body));
    let mut http1 = Client::connect(gateway.addr()).await;
    let http2 = H2Client::connect(gateway.addr()).await;
    for (request, status) in [(&accepted, 200), (&forged, 401), (&lost, 404)] {
        assert_eq!(http1.request(request).await.status, status);
        assert_eq!(http2.request(request).await.status, status);
    }
    backend.misbehave_once(crate::support::backend::Misbehave::Garbage);
    assert_eq!(http1.request(&accepted).await.status, 502);
    backend.misbehave_once(crate::support::backend::Misbehave::NeverAnswer);
    assert_eq!(http1.request(&accepted).await.status, 504);
    for raw in [
        "POST /hooks/a?canary HTTP/1.1\r\nHost: a\r\nAuthorization : canary\r\n\r\n",
        "POST /hooks/a?canary HTTP/1.1\r\nAuthorization: canary\r\n\r\n",
        "canary\r\n\r\n",
        "POST /hooks/a?canary HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\ncanary\r\n",
    ] {
        let mut client = Client::connect(gateway.addr()).await;
        assert!(client.send_raw(raw.as_bytes()).await.is_ok());
        let _ = client.try_read_response().await;
    }
}

#[tokio::test]
async fn no_secret_is_in_any_log_or_metric() {
    let log =
        "{format: json, headers: [Authorization, Cookie, X-Own, X-Gitlab-Token], redact: X-Own}";
    // Even when everything is logged, libraries included.
    for level in ["info", "hookgate=trace,info"] {
        let backend = FakeBackend::start().await;
        backend.respond_with(
            Response::new(200)
                .header("Set-Cookie", "canary")
                .body("canary"),
        );
        let gateway = start(&backend, log, &[("RUST_LOG", level)]).await;
        send_canaries(&gateway, &backend).await;
        gateway
            .wait_for_metric("hookgate_requests_total", &[], 11.0)
            .await;
        let metrics = gateway.metrics().await;
        assert!(!metrics.contains("canary"), "{metrics}");
        for line in gateway.stop().await.logs {
            assert!(!line.contains("canary"), "at {level}: {line}");
        }
    }
}
