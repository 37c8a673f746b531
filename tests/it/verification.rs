//! Who may pass is what the route's `verify` says: secrets in rotation, observing, other statuses.

use crate::support::backend::FakeBackend;
use crate::support::client::{Client, Request, send};
use crate::support::gateway::Gateway;
use crate::support::github::{HEADER, signature_with};

async fn start(backend: &FakeBackend, verify: &str) -> Gateway {
    Gateway::start(&format!(
        "
server: {{listen: 127.0.0.1:0}}
admin: {{listen: 127.0.0.1:0}}
log: {{format: json}}
backends: {{app: {{url: {url}}}}}
routes:
  hooks:
    webhook: {{path: /hooks, verify: {{provider: github, {verify}}}}}
    deliver: {{to: app}}
",
        url = backend.url(),
    ))
    .await
}

fn signed(secret: &str, body: &str) -> Request {
    Request::post("/hooks")
        .header(HEADER, signature_with(secret, body.as_bytes()))
        .body(body)
}

#[tokio::test]
async fn every_secret_is_tried_while_one_is_rolled() {
    let backend = FakeBackend::start().await;
    let gateway = start(&backend, "secrets: [new-secret, old-secret]").await;
    let mut client = Client::connect(gateway.addr()).await;
    for (secret, status) in [
        ("old-secret", 200),
        ("new-secret", 200),
        ("other-secret", 401),
        ("", 401),
    ] {
        let response = client.request(&signed(secret, "{}")).await;
        assert_eq!(response.status, status, "{secret}");
    }
    assert_eq!(backend.count(), 2);
}

#[tokio::test]
async fn a_signature_is_for_these_bytes_only() {
    let backend = FakeBackend::start().await;
    let gateway = start(&backend, "secrets: [s3cret]").await;
    let mut client = Client::connect(gateway.addr()).await;
    let good = signature_with("s3cret", b"{}");
    for (signature, body) in [
        (good.clone(), "{} "),
        (good.clone(), ""),
        (good.replace("sha256=", ""), "{}"),
        (good.replace("sha256=", "sha1="), "{}"),
        (good[..good.len() - 2].to_owned(), "{}"),
        (format!("{good}00"), "{}"),
        ("sha256=".to_owned(), "{}"),
        (String::new(), "{}"),
    ] {
        let request = Request::post("/hooks")
            .header(HEADER, &signature)
            .body(body);
        assert_eq!(
            client.request(&request).await.status,
            401,
            "{signature} {body}"
        );
    }
    assert_eq!(backend.count(), 0);
    assert_eq!(client.request(&signed("s3cret", "{}")).await.status, 200);
}

#[tokio::test]
async fn observing_lets_pass_and_marks_and_counts() {
    let backend = FakeBackend::start().await;
    let gateway = start(&backend, "secrets: [s3cret], enforce: false").await;
    for (request, verified, reason) in [
        (signed("s3cret", "{}"), "true", ""),
        (signed("another", "{}"), "false", "signature_mismatch"),
        (Request::post("/hooks"), "false", "signature_missing"),
    ] {
        let request = request.header("Hookgate-Verified", "true");
        assert_eq!(send(gateway.addr(), &request).await.status, 200);
        let recorded = backend.next().await;
        assert_eq!(
            recorded.headers_named("hookgate-verified"),
            [verified.as_bytes()]
        );
        let labels = [
            ("route", "hooks"),
            ("verdict", "accepted"),
            ("reason", reason),
        ];
        let total = "hookgate_requests_total";
        assert_eq!(gateway.wait_for_metric(total, &labels, 1.0).await, 1.0);
    }
    let line = gateway
        .wait_for_log(|line| line.contains("signature_missing"))
        .await;
    assert!(
        line.contains("\"level\":\"WARN\"") && line.contains("\"verdict\":\"accepted\""),
        "{line}"
    );
}

#[tokio::test]
async fn the_status_of_a_bad_signature_is_the_routes() {
    let backend = FakeBackend::start().await;
    let gateway = start(&backend, "secrets: [s3cret], refused_status: 403").await;
    let response = send(gateway.addr(), &signed("another", "{}")).await;
    assert_eq!((response.status, response.text()), (403, ""));
    let labels = [("verdict", "refused"), ("reason", "signature_mismatch")];
    gateway
        .wait_for_metric("hookgate_requests_total", &labels, 1.0)
        .await;
    assert_eq!(backend.count(), 0);
}
