//! A disk that takes no more: nothing is acknowledged that is not on it, and it is used again as soon
//! as it has room.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a broken assumption of a test must fail the test"
)]

use std::collections::HashSet;

use crate::support::backend;
use crate::support::client::{Client, Request, send};
use crate::support::gateway::Gateway;

/// What the store's files may grow to.
const FILE_BYTES_MAX: u64 = 1_000_000;
const SENDERS: usize = 8;
const EVENTS_PER_SENDER: usize = 30;
const EVENT_BYTES: usize = 16 * 1024;

fn event(id: &str) -> Request {
    Request::post("/hooks")
        .header("X-Id", id)
        .body(vec![b'x'; EVENT_BYTES])
}

#[tokio::test]
async fn a_full_disk_takes_nothing_back_and_works_again_when_it_has_room() {
    let refusing = backend::refuse();
    let gateway = Gateway::start_with_files_of(
        FILE_BYTES_MAX,
        &format!(
            "
server: {{listen: 127.0.0.1:0}}
admin: {{listen: 127.0.0.1:0}}
store: {{path: data}}
backends: {{app: {{url: {url}, breaker: off, retry: {{backoff: {{base: 50ms, max: 200ms}}}}}}}}
routes:
  hooks: {{webhook: {{path: /hooks}}, deliver: {{to: app, mode: queue}}}}
",
            url = refusing.url(),
        ),
    )
    .await;

    let address = gateway.addr();
    let senders: Vec<_> = (0..SENDERS)
        .map(|sender| {
            tokio::spawn(async move {
                let mut client = Client::connect(address).await;
                let mut answered = Vec::new();
                for number in 0..EVENTS_PER_SENDER {
                    let id = format!("{sender}-{number}");
                    let response = client.request(&event(&id)).await;
                    let retry_after = response.header("retry-after").is_some();
                    answered.push((id, response.status, retry_after));
                }
                answered
            })
        })
        .collect();
    let mut acknowledged = HashSet::new();
    let mut refused = 0;
    for sender in senders {
        for (id, status, says_when) in sender.await.unwrap() {
            match status {
                202 => assert!(acknowledged.insert(id)),
                503 => {
                    assert!(says_when, "a 503 says when to come again");
                    refused += 1;
                }
                other => panic!("{id} was answered {other}"),
            }
        }
    }
    assert!(!acknowledged.is_empty() && refused > 0, "{refused} of all");
    let unavailable = [("route", "hooks"), ("reason", "store_unavailable")];
    gateway
        .wait_for_metric("hookgate_requests_total", &unavailable, f64::from(refused))
        .await;
    gateway.wait_for_fall("hookgate_store_up", &[], 0.0).await;
    let ready = send(gateway.admin(), &Request::get("/readyz")).await;
    let trouble = ready.json()["store"]["trouble"].clone();
    assert!(trouble.is_string(), "{trouble}");

    gateway.let_files_grow().await;
    gateway.wait_for_metric("hookgate_store_up", &[], 1.0).await;
    let response = send(address, &event("later")).await;
    assert_eq!(response.status, 202);
    acknowledged.insert("later".to_owned());

    let app = refusing.start();
    let mut arrived = HashSet::new();
    while !acknowledged.is_subset(&arrived) {
        let request = app.next().await;
        assert_eq!(request.body.len(), EVENT_BYTES);
        arrived.insert(request.header("x-id").unwrap().to_owned());
    }
    assert_eq!(gateway.stop().await.status.code(), Some(0));
}
