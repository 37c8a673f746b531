//! Keys that a provider publishes: fetched once, from its own hosts alone, and never waited for long.

#![allow(
    clippy::unwrap_used,
    reason = "a broken assumption of a test must fail the test"
)]

use std::time::{Duration, Instant};

use bytes::Bytes;
use hookgate::event::{Head, Headers};
use hookgate::secret::Secret;
use hookgate::signature::algorithm::{Algorithm, EcdsaForm};
use hookgate::signature::key::{Key, KeyEncoding, KeyRule};
use hookgate::signature::place::Place;
use hookgate::signature::public_key::PublicForm;
use hookgate::signature::scheme::{Encoding, SchemeParts};
use hookgate::signature::sign::Stamp;
use hookgate::signature::{Scheme, Terms};
use jiff::Timestamp;
use rcgen::{CertificateParams, KeyPair};

use crate::support::backend::{FakeBackend, Response};
use crate::support::client::{Client, Request};
use crate::support::gateway::Gateway;

const BODY: &str = r#"{"id": "evt_1"}"#;
const ED25519: &str = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n-----END PRIVATE KEY-----\n";
/// Its public half, as RFC 8037 writes it in A.2.
const KEY_SET: &str = r#"{"keys": [{"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;

struct Scene {
    keys: FakeBackend,
    app: FakeBackend,
    gateway: Gateway,
}

impl Scene {
    /// A route whose scheme has `key`, in which `KEYS` stands for the server of the keys.
    async fn start(algorithm: &str, key: &str) -> Self {
        let (keys, app) = (FakeBackend::start().await, FakeBackend::start().await);
        let key = key.replace("KEYS", &keys.url());
        let yaml = format!(
            r#"
server: {{listen: "127.0.0.1:0"}}
admin: {{listen: "off"}}
backends: {{app: {{url: "{}"}}}}
routes:
  acme:
    webhook:
      path: /in
      verify:
        scheme:
          signature: {{from: {{header: X-Signature}}, encoding: base64}}
          algorithm: {algorithm}
          key: {key}
    deliver: {{to: app}}
"#,
            app.url()
        );
        let gateway = Gateway::start(&yaml).await;
        Self { keys, app, gateway }
    }

    async fn send(&self, signature: &str, certificate: &str, body: &str) -> u16 {
        let mut client = Client::connect(self.gateway.addr()).await;
        let request = Request::post("/in")
            .header("X-Signature", signature)
            .header("X-Certificate", certificate)
            .body(body.to_owned());
        client.request(&request).await.status
    }
}

const CERTIFICATE: &str =
    r#"{public: {certificate: {from: {header: X-Certificate}, hosts: ["127.0.0.1"]}}}"#;

/// The signature of [`BODY`].
fn signature(algorithm: Algorithm, private: &str) -> String {
    let place = Place::Header("X-Signature".into());
    let scheme = Scheme::new(SchemeParts {
        encoding: Encoding::Base64,
        key: KeyRule {
            encoding: KeyEncoding::Public(PublicForm::Pem),
            ..KeyRule::plain()
        },
        ..SchemeParts::of_body(place, algorithm)
    });
    let scheme = scheme.unwrap();
    let key = Key::new(algorithm, &scheme.parts().key, &Secret::new(private)).unwrap();
    let mut head = Head {
        method: "POST".into(),
        target: Bytes::from_static(b"/in"),
        host: None,
        headers: Headers::default(),
    };
    let stamp = Stamp {
        at: Timestamp::UNIX_EPOCH,
        id: "1",
    };
    scheme
        .sign(&key, &mut head, BODY.as_bytes(), &stamp, &Terms::default())
        .unwrap();
    let value = head.headers.first("X-Signature").unwrap();
    String::from_utf8(value.to_vec()).unwrap()
}

/// A certificate in PEM, and the signature of [`BODY`] by its key.
fn certified() -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["keys.example.com".to_owned()]).unwrap();
    let certificate = certificate.self_signed(&key).unwrap();
    let algorithm = Algorithm::EcdsaP256Sha256(EcdsaForm::Der);
    (
        certificate.pem(),
        signature(algorithm, &key.serialize_pem()),
    )
}

#[tokio::test]
async fn a_certificate_is_fetched_once_from_the_address_that_the_request_names() {
    let scene = Scene::start("ecdsa-p256-sha256", CERTIFICATE).await;
    let (pem, signature) = certified();
    scene.keys.respond_with(Response::new(200).body(pem));
    let url = format!("{}/cert.pem", scene.keys.url());
    let sent = (0..20).map(|_| scene.send(&signature, &url, BODY));
    for status in futures_util::future::join_all(sent).await {
        assert_eq!(status, 200);
    }
    assert_eq!(scene.send(&signature, &url, "{}").await, 401);
    assert_eq!(scene.keys.requests().len(), 1);
    assert_eq!(scene.keys.requests()[0].target, "/cert.pem");
    assert_eq!(scene.app.requests().len(), 20);
}

#[tokio::test]
async fn an_address_that_is_not_the_providers_is_never_asked() {
    let scene = Scene::start("ecdsa-p256-sha256", CERTIFICATE).await;
    let (pem, signature) = certified();
    scene
        .keys
        .respond_with(Response::new(200).body(pem.clone()));
    let port = scene.keys.url().rsplit(':').next().unwrap().to_owned();
    for url in [
        format!("http://localhost:{port}/cert.pem"),
        format!("http://u:p@127.0.0.1:{port}/cert.pem"),
        format!("http://127.0.0.1.example.com:{port}/cert.pem"),
        "https://evil.example/127.0.0.1".to_owned(),
        "file:///etc/passwd".to_owned(),
        String::new(),
    ] {
        assert_eq!(scene.send(&signature, &url, BODY).await, 401, "{url}");
    }
    assert_eq!(scene.keys.requests().len(), 0);
    assert_eq!(scene.app.requests().len(), 0);
}

#[tokio::test]
async fn an_address_that_gives_no_key_is_left_alone_for_a_while() {
    let scene = Scene::start("ecdsa-p256-sha256", CERTIFICATE).await;
    let (_, signature) = certified();
    let (stranger, _) = certified();
    let long = "x".repeat(300 * 1024);
    let answers = [
        ("404", Response::new(404)),
        ("text", Response::new(200).body("no certificate")),
        ("long", Response::new(200).body(long)),
        (
            "elsewhere",
            Response::new(302).header("Location", "http://127.0.0.1:1/cert.pem"),
        ),
        ("stranger", Response::new(200).body(stranger)),
    ];
    for (name, answer) in answers {
        scene.keys.respond_with(answer);
        let url = format!("{}/{name}", scene.keys.url());
        for _ in 0..3 {
            assert_eq!(scene.send(&signature, &url, BODY).await, 401, "{name}");
        }
        let asked = scene.keys.requests();
        let asked = asked.iter().filter(|one| one.target == format!("/{name}"));
        assert_eq!(asked.count(), 1, "{name}");
    }
    assert_eq!(scene.app.requests().len(), 0);
}

#[tokio::test]
async fn a_server_that_never_answers_holds_a_request_up_for_seconds_alone() {
    let scene = Scene::start("ecdsa-p256-sha256", CERTIFICATE).await;
    let (_, signature) = certified();
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/cert.pem", silent.local_addr().unwrap());
    let started = Instant::now();
    assert_eq!(scene.send(&signature, &url, BODY).await, 401);
    assert!(started.elapsed() < Duration::from_secs(8));
}

#[tokio::test]
async fn a_set_of_keys_is_fetched_from_its_one_address() {
    let scene = Scene::start("ed25519", "{public: {jwks: KEYS/jwks.json}}").await;
    scene.keys.respond_with(Response::new(200).body(KEY_SET));
    let signature = signature(Algorithm::Ed25519, ED25519);
    for _ in 0..3 {
        assert_eq!(scene.send(&signature, "", BODY).await, 200);
        assert_eq!(scene.send(&signature, "", "{}").await, 401);
    }
    assert_eq!(scene.keys.requests().len(), 1);
}
