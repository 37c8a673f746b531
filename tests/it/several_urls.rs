//! A backend of several instances: requests are spread, and those that are down are passed over.

use std::collections::BTreeSet;

use crate::support::backend::{FakeBackend, Misbehave, Refusing, Response, refuse};
use crate::support::client::{Client, Request, send};
use crate::support::gateway::Gateway;

async fn start(urls: &[String], health: &str) -> Gateway {
    Gateway::start(&format!(
        "
server: {{listen: 127.0.0.1:0}}
admin: {{listen: 127.0.0.1:0}}
backends:
  app:
    url: [{urls}]
    timeout: {{connect: 1s, response: 2s}}
    health: {health}
routes:
  open: {{webhook: {{path: /open}}, deliver: {{to: app}}}}
",
        urls = urls.join(", "),
    ))
    .await
}

/// Too seldom to matter in a test.
const SELDOM: &str = "{interval: 1h}";
const OFTEN: &str = "{path: /health, interval: 100ms, timeout: 1s, failures: 2}";

async fn wait_for_healthy(gateway: &Gateway, healthy: f64, unhealthy: f64) {
    for (state, count) in [("healthy", healthy), ("unhealthy", unhealthy)] {
        let labels = [("backend", "app"), ("state", state)];
        gateway
            .wait_for_metric("hookgate_backend_addresses", &labels, count)
            .await;
    }
}

fn webhooks(backend: &FakeBackend) -> usize {
    let requests = backend.requests();
    requests
        .iter()
        .filter(|request| request.target == "/open")
        .count()
}

#[tokio::test]
async fn requests_go_to_all_instances_in_turn() {
    let backends = [
        FakeBackend::start().await,
        FakeBackend::start().await,
        FakeBackend::start().await,
    ];
    let gateway = start(&backends.each_ref().map(FakeBackend::url), SELDOM).await;
    let mut client = Client::connect(gateway.addr()).await;
    for _ in 0..30 {
        assert_eq!(client.request(&Request::post("/open")).await.status, 200);
    }
    assert_eq!(backends.each_ref().map(webhooks), [10, 10, 10]);
}

#[tokio::test]
async fn no_sender_notices_an_instance_that_refuses() {
    let backend = FakeBackend::start().await;
    let down = [refuse(), refuse()];
    let [first, second] = down.each_ref().map(Refusing::url);
    let gateway = start(&[first, backend.url(), second], SELDOM).await;
    let mut client = Client::connect(gateway.addr()).await;
    for _ in 0..20 {
        let response = client.request(&Request::post("/open").body("{}")).await;
        assert_eq!((response.status, response.text()), (200, "ok"));
    }
    assert_eq!(backend.count(), 20);
}

#[tokio::test]
async fn what_an_instance_may_have_acted_on_goes_to_no_other() {
    let backends = [FakeBackend::start().await, FakeBackend::start().await];
    for backend in &backends {
        backend.misbehave(Misbehave::CloseBeforeAnswer);
    }
    let gateway = start(&backends.each_ref().map(FakeBackend::url), SELDOM).await;
    let response = send(gateway.addr(), &Request::post("/open")).await;
    assert_eq!(response.status, 502);
    assert_eq!(
        response.header("Hookgate-Reason"),
        Some("backend_broken_off")
    );
    assert_eq!(backends.iter().map(webhooks).sum::<usize>(), 1);
}

#[tokio::test]
async fn health_checks_take_an_instance_out_and_back_in() {
    let backends = [FakeBackend::start().await, FakeBackend::start().await];
    let [steady, sick] = &backends;
    let gateway = start(&backends.each_ref().map(FakeBackend::url), OFTEN).await;
    let mut client = Client::connect(gateway.addr()).await;
    wait_for_healthy(&gateway, 2.0, 0.0).await;

    sick.respond_with(Response::new(503));
    wait_for_healthy(&gateway, 1.0, 1.0).await;
    let before = (webhooks(steady), webhooks(sick));
    for _ in 0..10 {
        assert_eq!(client.request(&Request::post("/open")).await.status, 200);
    }
    assert_eq!(
        (webhooks(steady), webhooks(sick)),
        (before.0 + 10, before.1)
    );

    sick.respond_with(Response::default());
    wait_for_healthy(&gateway, 2.0, 0.0).await;
    for _ in 0..10 {
        assert_eq!(client.request(&Request::post("/open")).await.status, 200);
    }
    assert_eq!(
        (webhooks(steady), webhooks(sick)),
        (before.0 + 15, before.1 + 5)
    );
    let paths: BTreeSet<_> = sick
        .requests()
        .into_iter()
        .map(|request| request.target)
        .collect();
    assert_eq!(
        paths,
        BTreeSet::from(["/health".to_owned(), "/open".to_owned()])
    );
}

#[tokio::test]
async fn an_instance_that_comes_up_is_used() {
    let backend = FakeBackend::start().await;
    let down = refuse();
    let gateway = start(&[backend.url(), down.url()], OFTEN).await;
    wait_for_healthy(&gateway, 1.0, 1.0).await;
    let up = down.start();
    wait_for_healthy(&gateway, 2.0, 0.0).await;
    let mut client = Client::connect(gateway.addr()).await;
    for _ in 0..4 {
        assert_eq!(client.request(&Request::post("/open")).await.status, 200);
    }
    assert_eq!((webhooks(&backend), webhooks(&up)), (2, 2));
}

#[tokio::test]
async fn when_all_are_down_the_sender_gets_502_and_then_service_again() {
    let down = [refuse(), refuse()];
    let gateway = start(&down.each_ref().map(Refusing::url), OFTEN).await;
    wait_for_healthy(&gateway, 0.0, 2.0).await;
    let response = send(gateway.addr(), &Request::post("/open")).await;
    assert_eq!(response.status, 502);
    assert_eq!(
        response.header("Hookgate-Reason"),
        Some("backend_unreachable")
    );
    let [first, second] = down;
    let backend = first.start();
    wait_for_healthy(&gateway, 1.0, 1.0).await;
    assert_eq!(
        send(gateway.addr(), &Request::post("/open")).await.status,
        200
    );
    drop(second);
    assert_eq!(webhooks(&backend), 1);
}

/// A wrong health check must not be what loses an event.
#[tokio::test]
async fn instances_that_are_all_called_unhealthy_are_tried_all_the_same() {
    let backend = FakeBackend::start().await;
    backend.respond_with(Response::new(404));
    let gateway = start(&[backend.url()], OFTEN).await;
    wait_for_healthy(&gateway, 0.0, 1.0).await;
    let response = send(gateway.addr(), &Request::post("/open")).await;
    assert_eq!((response.status, webhooks(&backend)), (404, 1));
}
