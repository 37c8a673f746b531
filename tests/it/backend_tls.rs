//! A backend behind TLS is reached only when its certificate is the one that is expected.

use crate::support::backend::FakeBackend;
use crate::support::client::{Client, Request, send};
use crate::support::gateway::Gateway;
use crate::support::github::noise;
use crate::support::tls::{Authority, TlsFront};

/// Starts with the authority's certificate beside the config, as `ca.pem`.
async fn start(authority: &Authority, url: &str, tls: &str) -> Gateway {
    let dir = authority.dir();
    let yaml = format!(
        "
server: {{listen: 127.0.0.1:0}}
admin: {{listen: off}}
backends: {{app: {{url: \"{url}\", timeout: {{connect: 2s, response: 2s}}{tls}}}}}
routes:
  open: {{webhook: {{path: /open}}, deliver: {{to: app}}}}
",
    );
    Gateway::start_in(dir, &yaml, &[]).await
}

#[tokio::test]
async fn a_certificate_of_the_named_authority_is_trusted() {
    let backend = FakeBackend::start().await;
    let authority = Authority::new();
    let front = TlsFront::start(&authority, &["127.0.0.1", "localhost"], backend.addr()).await;
    for host in ["127.0.0.1", "localhost"] {
        let url = format!("https://{host}:{}", front.port());
        let gateway = start(&authority, &url, ", tls: {ca: ca.pem}").await;
        let before = front.handshakes();
        let mut client = Client::connect(gateway.addr()).await;
        for size in [0, 70_000, 10] {
            let body = noise(size);
            let response = client
                .request(&Request::post("/open").body(body.clone()))
                .await;
            assert_eq!((response.status, response.text()), (200, "ok"), "{host}");
            assert_eq!(backend.next().await.body, body);
        }
        assert_eq!(front.handshakes(), before + 1, "one connection carries all");
    }
}

#[tokio::test]
async fn any_other_certificate_is_refused() {
    let backend = FakeBackend::start().await;
    let [ours, theirs] = [Authority::new(), Authority::new()];
    let good = TlsFront::start(&ours, &["127.0.0.1"], backend.addr()).await;
    let strange = TlsFront::start(&theirs, &["127.0.0.1"], backend.addr()).await;
    let misnamed = TlsFront::start(&ours, &["other.test"], backend.addr()).await;
    for (what, front, tls) in [
        ("of an authority that the system does not know", &good, ""),
        ("of another authority", &strange, ", tls: {ca: ca.pem}"),
        ("of another name", &misnamed, ", tls: {ca: ca.pem}"),
        (
            "not of the expected name",
            &good,
            ", tls: {ca: ca.pem, server_name: other.test}",
        ),
    ] {
        let url = format!("https://127.0.0.1:{}", front.port());
        let gateway = start(&ours, &url, tls).await;
        let response = send(gateway.addr(), &Request::post("/open").body("{}")).await;
        assert_eq!(response.status, 502, "{what}");
        let reason = response.header("Hookgate-Reason");
        assert_eq!(reason, Some("backend_unreachable"), "{what}");
    }
    assert_eq!((backend.count(), backend.connections()), (0, 0));
}

#[tokio::test]
async fn the_name_that_is_expected_can_be_set() {
    let backend = FakeBackend::start().await;
    let authority = Authority::new();
    let front = TlsFront::start(&authority, &["other.test"], backend.addr()).await;
    let url = format!("https://127.0.0.1:{}", front.port());
    let tls = ", tls: {ca: ca.pem, server_name: other.test}";
    let gateway = start(&authority, &url, tls).await;
    let response = send(gateway.addr(), &Request::post("/open").body("{}")).await;
    assert_eq!((response.status, backend.count()), (200, 1));
}

#[tokio::test]
async fn plain_http_is_not_spoken_to_a_tls_backend_or_back() {
    let backend = FakeBackend::start().await;
    let authority = Authority::new();
    let front = TlsFront::start(&authority, &["127.0.0.1"], backend.addr()).await;
    for url in [
        format!("http://127.0.0.1:{}", front.port()),
        format!("https://{}", backend.addr()),
    ] {
        let gateway = start(&authority, &url, "").await;
        let response = send(gateway.addr(), &Request::post("/open").body("{}")).await;
        assert!(matches!(response.status, 502 | 504), "{url}: {response:?}");
    }
    assert_eq!(backend.count(), 0);
}
