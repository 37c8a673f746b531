//! What the file changes about a request on its way to a backend, and nothing else.

use crate::support::backend::FakeBackend;
use crate::support::client::{Client, Request};
use crate::support::gateway::Gateway;

async fn start(backends: &str) -> Gateway {
    let yaml = format!(
        "
server: {{listen: 127.0.0.1:0}}
admin: {{listen: off}}
backends:
  {backends}
routes:
  fixed:
    webhook: {{path: /fixed}}
    deliver: {{to: app, path: /in}}
  filled:
    webhook: {{path: \"/in/{{tenant}}/*\"}}
    deliver: {{to: app, path: \"/t/{{tenant}}/x-{{tenant}}/{{*}}\"}}
  same:
    webhook: {{path: /same/*}}
    deliver: {{to: app}}
  headers:
    webhook: {{path: /headers}}
    deliver:
      to: app
      headers:
        X-Env: prod
        Authorization: \"Bearer ${{{{ env.TOKEN }}}}\"
        X-Internal: null
        Hookgate-Route: null
",
    );
    Gateway::start_with_env(&yaml, &[("TOKEN", "t0ken")]).await
}

#[tokio::test]
async fn a_path_is_rewritten_with_its_captures() {
    let backend = FakeBackend::start().await;
    let gateway = start(&format!("app: {{url: {}}}", backend.url())).await;
    let mut client = Client::connect(gateway.addr()).await;
    for (sent, expected) in [
        ("/fixed", "/in"),
        ("/fixed?a=%2F&b", "/in?a=%2F&b"),
        ("/in/acme/a/b", "/t/acme/x-acme/a/b"),
        (
            "/in/a%2Fb/c%20d//e/?q=/in/",
            "/t/a%2Fb/x-a%2Fb/c%20d//e/?q=/in/",
        ),
        ("/same/%7Ex?", "/same/%7Ex?"),
    ] {
        assert_eq!(
            client.request(&Request::post(sent)).await.status,
            200,
            "{sent}"
        );
        assert_eq!(backend.next().await.target, expected);
    }
}

#[tokio::test]
async fn the_path_of_the_backends_url_comes_first() {
    let backend = FakeBackend::start().await;
    for slash in ["", "/"] {
        let app = format!("app: {{url: {}/base/v1{slash}}}", backend.url());
        let gateway = start(&app).await;
        let mut client = Client::connect(gateway.addr()).await;
        for (sent, expected) in [
            ("/fixed?a", "/base/v1/in?a"),
            ("/same/x", "/base/v1/same/x"),
            ("/in/a/b", "/base/v1/t/a/x-a/b"),
        ] {
            assert_eq!(client.request(&Request::post(sent)).await.status, 200);
            assert_eq!(backend.next().await.target, expected);
        }
    }
}

#[tokio::test]
async fn the_host_is_the_senders_unless_the_file_names_one() {
    let backend = FakeBackend::start().await;
    let request = Request::post("/fixed").header("Host", "outside.example.com");
    let plain = format!("app: {{url: {}}}", backend.url());
    let named = format!(
        "app: {{url: {}, host_header: inside.test:81}}",
        backend.url()
    );
    for (app, host) in [(plain, "outside.example.com"), (named, "inside.test:81")] {
        let gateway = start(&app).await;
        let mut client = Client::connect(gateway.addr()).await;
        assert_eq!(client.request(&request).await.status, 200);
        let recorded = backend.next().await;
        assert_eq!(recorded.headers_named("host"), [host.as_bytes()]);
        assert_eq!(
            recorded.header("x-forwarded-host"),
            Some("outside.example.com")
        );
    }
}

#[tokio::test]
async fn headers_are_set_and_removed_as_the_file_says() {
    let backend = FakeBackend::start().await;
    let gateway = start(&format!("app: {{url: {}}}", backend.url())).await;
    let mut client = Client::connect(gateway.addr()).await;
    let request = Request::post("/headers")
        .header("x-env", "test")
        .header("A", "1")
        .header("X-ENV", "dev")
        .header("x-internal", "1")
        .header("X-Internal", "2")
        .header("B", "2");
    assert_eq!(client.request(&request).await.status, 200);
    let recorded = backend.next().await;
    assert_eq!(recorded.headers_named("x-env"), [b"prod"]);
    assert_eq!(recorded.headers_named("authorization"), [b"Bearer t0ken"]);
    assert_eq!(recorded.header("x-internal"), None);
    assert_eq!(recorded.header("hookgate-route"), None);
    let names: Vec<_> = recorded
        .headers
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(names[..4], ["Host", "x-env", "A", "B"]);
}
