//! Floods end at the door: who is over a limit is told when to come again, and nobody else is held
//! up.

#![allow(
    clippy::expect_used,
    reason = "a broken assumption of a test must fail the test"
)]

use crate::support::backend::FakeBackend;
use crate::support::client::{Client, Request, Response, send};
use crate::support::gateway::Gateway;
use crate::support::github;

async fn start(backend: &FakeBackend, limit: &str) -> Gateway {
    Gateway::start(&format!(
        "
server: {{listen: 127.0.0.1:0, trusted_proxies: [127.0.0.1]}}
admin: {{listen: 127.0.0.1:0}}
backends: {{app: {{url: {url}}}}}
routes:
  hooks:
    webhook:
      path: /hooks/{{tenant}}
      verify: {{provider: github, secrets: [\"{secret}\"]}}
      rate_limit: {limit}
    deliver: {{to: app}}
",
        url = backend.url(),
        secret = github::SECRET,
    ))
    .await
}

/// A genuine request of a client behind the trusted proxy.
fn genuine(client: &str) -> Request {
    github::post("/hooks/a", "{}").header("X-Forwarded-For", client)
}

async fn statuses(gateway: &Gateway, requests: &[Request]) -> Vec<u16> {
    let mut statuses = Vec::new();
    for request in requests {
        statuses.push(send(gateway.addr(), request).await.status);
    }
    statuses
}

fn seconds(response: &Response, header: &str) -> u64 {
    let value = response.header(header).expect("the header is there");
    value.parse().expect("whole seconds")
}

#[tokio::test]
async fn who_is_over_his_limit_is_told_when_to_come_again() {
    let backend = FakeBackend::start().await;
    let gateway = start(&backend, "{by: client_ip, rate: 2/min, burst: 2}").await;
    let mut client = Client::connect(gateway.addr()).await;
    for _ in 0..2 {
        assert_eq!(client.request(&genuine("192.0.2.1")).await.status, 200);
    }
    let refused = client.request(&genuine("192.0.2.1")).await;
    assert_eq!(refused.status, 429);
    let retry_after = seconds(&refused, "retry-after");
    assert!((1..=31).contains(&retry_after), "{retry_after}");
    assert_eq!(
        refused.header("ratelimit-policy"),
        Some("\"default\";q=2;w=60")
    );
    let expected = format!("\"default\";r=0;t={retry_after}");
    assert_eq!(refused.header("ratelimit"), Some(expected.as_str()));
    assert_eq!(client.request(&genuine("192.0.2.2")).await.status, 200);
    assert_eq!(backend.count(), 3, "a refused request leaves no trace");
    let labels = [
        ("route", "hooks"),
        ("verdict", "refused"),
        ("reason", "rate_limited"),
    ];
    gateway
        .wait_for_metric("hookgate_requests_total", &labels, 1.0)
        .await;
}

#[tokio::test]
async fn a_version_6_client_is_its_network() {
    let backend = FakeBackend::start().await;
    let gateway = start(&backend, "{rate: 1/h}").await;
    let requests = [
        genuine("2001:db8:1:2::1"),
        genuine("2001:db8:1:2:ffff::9"),
        genuine("2001:db8:1:3::1"),
    ];
    assert_eq!(statuses(&gateway, &requests).await, [200, 429, 200]);
}

#[tokio::test]
async fn requests_are_counted_by_header_path_and_content() {
    let check = async |limit: &str, requests: [Request; 3]| {
        let backend = FakeBackend::start().await;
        let gateway = start(&backend, limit).await;
        assert_eq!(
            statuses(&gateway, &requests).await,
            [200, 429, 200],
            "{limit}"
        );
    };
    let header = |value: &str| github::post("/hooks/a", "{}").header("X-Account", value);
    check(
        "{by: {header: X-Account}, rate: 1/h}",
        [header("a"), header("a"), header("b")],
    )
    .await;
    let path = |tenant: &str| github::post(&format!("/hooks/{tenant}"), "{}");
    check(
        "{by: {path: tenant}, rate: 1/h}",
        [path("a"), path("a"), path("b")],
    )
    .await;
    let json = |account: &str| github::post("/hooks/a", format!(r#"{{"account":"{account}"}}"#));
    check(
        "{by: $.account, rate: 1/h}",
        [json("a"), json("a"), json("b")],
    )
    .await;
}

#[tokio::test]
async fn a_limit_after_verification_cannot_be_used_up_by_forgers() {
    let backend = FakeBackend::start().await;
    let forged = Request::post("/hooks/a").body("{}");
    let check = async |stage: &str, expected: [u16; 3]| {
        let gateway = start(
            &backend,
            &format!("{{by: route, rate: 1/h, stage: {stage}}}"),
        )
        .await;
        let requests = [forged.clone(), genuine("192.0.2.1"), genuine("192.0.2.2")];
        assert_eq!(statuses(&gateway, &requests).await, expected, "{stage}");
    };
    check("after", [401, 200, 429]).await;
    check("before", [401, 429, 429]).await;
}

#[tokio::test]
async fn who_is_refused_by_his_own_limit_takes_nothing_from_everybodys() {
    let backend = FakeBackend::start().await;
    let limits = "[{by: route, rate: 3/h}, {by: client_ip, rate: 1/h}]";
    let gateway = start(&backend, limits).await;
    let mut requests = vec![genuine("192.0.2.1"); 10];
    requests.extend([
        genuine("192.0.2.2"),
        genuine("192.0.2.3"),
        genuine("192.0.2.4"),
    ]);
    let mut expected = vec![200];
    expected.extend([429; 9]);
    expected.extend([200, 200, 429]);
    assert_eq!(statuses(&gateway, &requests).await, expected);
}
