//! A listener that speaks TLS, and asks for certificates.

use std::io;
use std::time::Duration;

use tempfile::TempDir;
use tokio_rustls::rustls::version::{TLS12, TLS13};

use crate::support::backend::FakeBackend;
use crate::support::client::{Client, Request, Response};
use crate::support::gateway::{Gateway, run};
use crate::support::github::noise;
use crate::support::h2c::H2Client;
use crate::support::tls::{Authority, Identity};
use crate::support::within;

/// The authority's certificate as `ca.pem`, and one for the listener as `own.pem` and `own.key`.
fn files(authority: &Authority) -> TempDir {
    let dir = authority.dir();
    authority.issue(&["127.0.0.1"]).write(dir.path(), "own");
    dir
}

fn yaml(backend: &str, tls: &str, verify: &str) -> String {
    format!(
        "
server:
  listen: {{address: \"127.0.0.1:0\", tls: {{cert: own.pem, key: own.key{tls}}}}}
  timeout: {{head: 500ms}}
admin: {{listen: \"127.0.0.1:0\"}}
backends: {{app: {{url: \"{backend}\"}}}}
routes:
  hooks: {{webhook: {{path: /hooks{verify}}}, deliver: {{to: app}}}}
",
    )
}

/// Posts on a connection of its own; an error is a handshake that failed.
async fn post(
    authority: &Authority,
    gateway: &Gateway,
    identity: Option<&Identity>,
) -> io::Result<Response> {
    let stream = authority.connect(gateway.addr(), "http/1.1", identity);
    let mut client = Client::over(stream.await?, "localhost");
    // Who is not let in learns so after its own side of the handshake.
    client
        .try_request(&Request::post("/hooks").body("{}"))
        .await
}

#[tokio::test]
async fn both_protocols_come_through_tls() {
    let (backend, authority) = (FakeBackend::start().await, Authority::new());
    let yaml = yaml(&backend.url(), "", "");
    let gateway = Gateway::start_in(files(&authority), &yaml, &[]).await;

    let stream = authority.connect(gateway.addr(), "http/1.1", None).await;
    let mut client = Client::over(stream.unwrap(), "localhost");
    for size in [0, 10, 70_000] {
        let body = noise(size);
        let whole = Request::post("/hooks").body(body.clone());
        for request in [whole.clone(), whole.chunked(&[3, 4000])] {
            assert_eq!(client.request(&request).await.status, 200);
            let seen = backend.next().await;
            assert_eq!(seen.body, body);
            assert_eq!(seen.header("x-forwarded-proto"), Some("https"));
        }
    }

    let stream = authority.connect(gateway.addr(), "h2", None).await;
    let client = H2Client::over(stream.unwrap(), "localhost").await;
    for size in [0, 70_000] {
        let body = noise(size);
        let request = Request::post("/hooks").body(body.clone());
        assert_eq!(client.request(&request).await.status, 200);
        let seen = backend.next().await;
        assert_eq!(seen.body, body);
        assert_eq!(seen.header("x-forwarded-proto"), Some("https"));
    }
}

#[tokio::test]
async fn both_versions_of_tls_are_spoken() {
    let (backend, authority) = (FakeBackend::start().await, Authority::new());
    let yaml = yaml(&backend.url(), "", "");
    let gateway = Gateway::start_in(files(&authority), &yaml, &[]).await;
    for versions in [[&TLS12], [&TLS13]] {
        let stream = authority.connect_by(&versions, gateway.addr(), "http/1.1", None);
        let stream = stream.await.unwrap();
        assert_eq!(
            stream.get_ref().1.protocol_version(),
            Some(versions[0].version)
        );
        let mut client = Client::over(stream, "localhost");
        let request = Request::post("/hooks").body("{}");
        assert_eq!(client.request(&request).await.status, 200);
    }
}

#[tokio::test]
async fn a_handshake_that_does_not_come_ends_in_time() {
    let (backend, authority) = (FakeBackend::start().await, Authority::new());
    let yaml = yaml(&backend.url(), "", "");
    let gateway = Gateway::start_in(files(&authority), &yaml, &[]).await;
    let mut silent = Client::connect(gateway.addr()).await;
    let mut plain = Client::connect(gateway.addr()).await;
    let request = Request::post("/hooks").body("{}");
    assert!(plain.try_request(&request).await.is_err());
    assert!(within(Duration::from_secs(3), "the end", silent.is_closed()).await);
    let refused = "hookgate_connections_refused_total";
    gateway
        .wait_for_metric(refused, &[("reason", "tls")], 2.0)
        .await;
    assert_eq!(post(&authority, &gateway, None).await.unwrap().status, 200);
}

#[tokio::test]
async fn who_shows_no_certificate_of_the_authority_is_not_let_in() {
    let (backend, authority) = (FakeBackend::start().await, Authority::new());
    let yaml = yaml(
        &backend.url(),
        ", client_ca: ca.pem",
        ", verify: {client_cert: {}}",
    );
    let gateway = Gateway::start_in(files(&authority), &yaml, &[]).await;
    let stranger = Authority::new().issue(&["stranger.test"]);
    assert!(post(&authority, &gateway, None).await.is_err());
    assert!(post(&authority, &gateway, Some(&stranger)).await.is_err());
    let friend = authority.issue(&["friend.test"]);
    let response = post(&authority, &gateway, Some(&friend)).await;
    assert_eq!(response.unwrap().status, 200);
    let seen = backend.next().await;
    assert_eq!(seen.header("hookgate-verified"), Some("true"));
}

#[tokio::test]
async fn a_route_takes_the_certificates_that_it_lists() {
    let (backend, authority) = (FakeBackend::start().await, Authority::new());
    let [friend, other] = ["friend.test", "other.test"].map(|name| authority.issue(&[name]));
    let listed = format!(
        ", verify: {{client_cert: {{fingerprints: [{}]}}}}",
        friend.fingerprint()
    );
    let tls = ", client_ca: ca.pem, client_cert: request";
    let yaml = yaml(&backend.url(), tls, &listed);
    let gateway = Gateway::start_in(files(&authority), &yaml, &[]).await;
    let status = async |identity| post(&authority, &gateway, identity).await.unwrap().status;
    assert_eq!(status(None).await, 401);
    assert_eq!(status(Some(&other)).await, 401);
    assert_eq!(status(Some(&friend)).await, 200);
    // A certificate that is none of the authority's is worse than none.
    let stranger = Authority::new().issue(&["friend.test"]);
    assert!(post(&authority, &gateway, Some(&stranger)).await.is_err());
}

#[tokio::test]
async fn the_tests_of_a_file_can_show_a_certificate() {
    let authority = Authority::new();
    let dir = files(&authority);
    let [friend, other] = ["ab", "cd"].map(|pair| pair.repeat(32));
    let listed = format!(", verify: {{client_cert: {{fingerprints: [{friend}]}}}}");
    let mut text = yaml("http://127.0.0.1:9", ", client_ca: ca.pem", &listed);
    text += &format!(
        "
tests:
  - name: a friend
    request: {{url: /hooks, client_cert: {friend}}}
    expect: {{verdict: accepted}}
  - name: another
    request: {{url: /hooks, client_cert: {other}}}
    expect: {{verdict: refused, reason: client_certificate}}
  - name: nobody
    request: {{url: /hooks}}
    expect: {{verdict: refused, reason: client_certificate}}
"
    );
    let file = dir.path().join("tested.yaml");
    std::fs::write(&file, text).unwrap();
    let finished = run(&["check", "-c", file.to_str().unwrap()], b"", &[]).await;
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    assert!(finished.stdout.contains("3 of 3 tests passed"));
}

#[tokio::test]
async fn a_reload_renews_what_a_listener_shows() {
    let (backend, old, new) = (
        FakeBackend::start().await,
        Authority::new(),
        Authority::new(),
    );
    let yaml = yaml(&backend.url(), "", "");
    let gateway = Gateway::start_in(files(&old), &yaml, &[]).await;
    let stream = old.connect(gateway.addr(), "http/1.1", None).await;
    let mut open = Client::over(stream.unwrap(), "localhost");
    let request = Request::post("/hooks").body("{}");
    assert_eq!(open.request(&request).await.status, 200);

    new.issue(&["127.0.0.1"]).write(gateway.dir(), "own");
    gateway.signal("HUP").await;
    let reloads = "hookgate_config_reloads_total";
    gateway
        .wait_for_metric(reloads, &[("result", "applied")], 1.0)
        .await;
    assert!(post(&old, &gateway, None).await.is_err());
    assert_eq!(post(&new, &gateway, None).await.unwrap().status, 200);
    assert_eq!(open.request(&request).await.status, 200, "it agreed before");

    // The key of another certificate: what was shown is shown on.
    let other = Authority::new().issue(&["127.0.0.1"]);
    let kept = std::fs::read(gateway.dir().join("own.pem")).unwrap();
    other.write(gateway.dir(), "own");
    std::fs::write(gateway.dir().join("own.pem"), kept).unwrap();
    gateway.signal("HUP").await;
    gateway
        .wait_for_metric(reloads, &[("result", "faulty")], 1.0)
        .await;
    assert_eq!(post(&new, &gateway, None).await.unwrap().status, 200);
}

#[tokio::test]
async fn files_that_cannot_be_used_are_named() {
    let authority = Authority::new();
    let dir = files(&authority);
    authority.issue(&["other.test"]).write(dir.path(), "other");
    std::fs::write(dir.path().join("empty.pem"), "").unwrap();
    let check = async |tls: &str, expected: &[&str]| {
        let text = yaml("http://127.0.0.1:9", "", "").replace("cert: own.pem, key: own.key", tls);
        let file = dir.path().join("faulty.yaml");
        std::fs::write(&file, text).unwrap();
        let finished = run(&["check", "-c", file.to_str().unwrap()], b"", &[]).await;
        assert_eq!(finished.code, Some(1), "{tls}");
        for part in expected {
            assert!(
                finished.stderr.contains(part),
                "{part}: {}",
                finished.stderr
            );
        }
    };
    check(
        "cert: own.pem, key: other.key",
        &["other.key: its private key does not belong"],
    )
    .await;
    check(
        "cert: empty.pem, key: own.key",
        &["empty.pem: there is no certificate in it"],
    )
    .await;
    check(
        "cert: own.pem, key: own.pem",
        &["own.pem: there is no private key in it"],
    )
    .await;
    check("cert: own.pem, key: none.key", &["cannot read", "none.key"]).await;
    check(
        "cert: own.pem, key: own.key, client_ca: empty.pem",
        &["empty.pem: there is no certificate in it"],
    )
    .await;
    check(
        "cert: own.pem, key: own.key, client_cert: request",
        &["no authority", "client_ca: FILE"],
    )
    .await;
    let inline = r#"cert: own.pem, key: "-----BEGIN PRIVATE KEY----- hush""#;
    check(inline, &["a path belongs here, not PEM itself"]).await;
}
