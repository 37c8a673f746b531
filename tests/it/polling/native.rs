//! What a poll has found is what the provider itself would have sent: its own SDKs say so.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{Scene, body, fakes};
use crate::support::backend::Recorded;
use crate::support::gateway::Gateway;
use crate::support::provider::Rows;
use crate::support::sdk::Sdk;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

fn route(poll: &str, path: &str) -> String {
    format!(
        "
  native:
    poll: {{{poll}, schedule: {{interval: 50ms}}}}
    deliver: {{to: app, path: {path}, sign: {{secret: {SECRET}}}}}"
    )
}

/// A request that arrived, as a question for an SDK.
fn question(provider: &str, request: &Recorded) -> Value {
    let headers = request.headers.iter();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let headers: Vec<_> = headers
        .map(|(name, value)| (name.clone(), text(value)))
        .collect();
    json!({"provider": provider, "secret": SECRET, "headers": headers,
           "body_base64": STANDARD.encode(&request.body)})
}

fn stripe_event(number: i64) -> Value {
    json!({"id": format!("evt_{number}"), "object": "event", "type": "charge.refunded",
           "created": 4_000_000_000_i64 + number, "data": {"object": {"object": "charge"}}})
}

#[tokio::test]
async fn a_stripe_event_is_signed_as_stripe_signs_it() {
    let events = Rows::new((1..=8).map(stripe_event));
    let scene = Scene::new(fakes::stripe(&events)).await;
    // Stripe's own SDK pages through the fake: it behaves as that expects.
    let asked = json!({"provider": "stripe", "url": scene.provider.url(), "key": "sk_test_x"});
    let answers = Sdk::Python.ask("list-many", &[asked]).await;
    let newest_first: Vec<String> = (1..=8)
        .rev()
        .map(|number| format!("evt_{number}"))
        .collect();
    assert_eq!(answers[0]["ids"], json!(newest_first));
    // A first poll only learns what there is.
    let poll = "preset: stripe_events, with: {key: sk_test_x, types: [charge.refunded],
        api: UPSTREAM}";
    let poll = poll.split_whitespace().collect::<Vec<_>>().join(" ");
    let _gateway = Gateway::start(&scene.routes(&route(&poll, "/stripe"))).await;
    scene.provider.wait_for_more(2).await;
    for number in 9..=17 {
        events.add(stripe_event(number));
    }
    let requests = scene.app.wait_for(9).await;
    let ids: Vec<Value> = requests.iter().map(|one| body(one)["id"].clone()).collect();
    let oldest_first: Vec<Value> = (9..=17)
        .map(|number| json!(format!("evt_{number}")))
        .collect();
    assert_eq!(ids, oldest_first);
    let questions: Vec<Value> = requests.iter().map(|one| question("stripe", one)).collect();
    for (answer, id) in Sdk::Python
        .ask("verify-many", &questions)
        .await
        .iter()
        .zip(&ids)
    {
        assert_eq!(
            (&answer["verified"], &answer["id"]),
            (&json!(true), id),
            "{answer}"
        );
    }
    let forged = Recorded {
        body: b"{}".to_vec(),
        ..requests[0].clone()
    };
    let answer = Sdk::Python
        .ask("verify-many", &[question("stripe", &forged)])
        .await;
    assert_eq!(answer[0]["verified"], false);
}

#[tokio::test]
async fn a_github_event_is_signed_and_named_as_github_does() {
    let event = |number: i64, kind: &str, action: &str| {
        json!({"id": number.to_string(), "type": kind, "public": true,
               "created_at": "2026-01-01T00:00:00Z", "actor": {"id": 1, "login": "mona"},
               "repo": {"id": 2, "name": "acme/api"}, "payload": {"action": action}})
    };
    let events = Rows::default();
    let scene = Scene::new(fakes::github(&events)).await;
    let poll = "preset: github_events, with: {token: t, repositories: [acme/api], api: UPSTREAM},
        cursor: {start: earliest}";
    let poll = poll.split_whitespace().collect::<Vec<_>>().join(" ");
    let _gateway = Gateway::start(&scene.routes(&route(&poll, "/github"))).await;
    events.add(event(1, "PullRequestEvent", "opened"));
    events.add(event(2, "IssuesEvent", "closed"));
    let mut requests = scene.app.wait_for(2).await;
    // GitHub promises no order.
    requests.sort_by_key(|one| one.header("x-github-delivery").map(str::to_owned));
    let names: Vec<_> = requests
        .iter()
        .map(|one| one.header("x-github-event"))
        .collect();
    assert_eq!(names, [Some("pull_request"), Some("issues")]);
    let questions: Vec<Value> = requests.iter().map(|one| question("github", one)).collect();
    for (answer, id) in Sdk::Node
        .ask("verify-many", &questions)
        .await
        .iter()
        .zip(["1", "2"])
    {
        assert_eq!(
            (&answer["verified"], &answer["id"]),
            (&json!(true), &json!(id)),
            "{answer}"
        );
    }
    let first = body(&requests[0]);
    assert_eq!(
        (&first["action"], &first["sender"]["login"]),
        (&json!("opened"), &json!("mona"))
    );
    assert_eq!(first["repository"]["full_name"], "acme/api");
}

#[tokio::test]
async fn an_edited_entry_of_a_feed_is_a_new_version() {
    let entry =
        |title: &str, updated: &str| json!({"id": "urn:1", "title": title, "updated": updated});
    let entries = Rows::new([entry("first", "2026-01-01T00:00:00Z")]);
    let scene = Scene::new(fakes::feed(&entries)).await;
    let poll = "preset: feed, with: {url: UPSTREAM/feed.atom}, cursor: {start: earliest}";
    let routes = format!(
        "
  feed:
    poll: {{{poll}, schedule: {{interval: 50ms, adaptive: {{min: 50ms, max: 100ms}}}}}}
    deliver: {{to: app}}"
    );
    let _gateway = Gateway::start(&scene.routes(&routes)).await;
    scene.app.wait_for(1).await;
    entries.change(|all| all[0] = entry("second", "2026-01-02T00:00:00Z"));
    let both = scene.app.wait_for(2).await;
    assert_eq!(both[1].header("hookgate-change"), Some("updated"));
    assert_eq!(body(&both[1])["title"], "second");
    scene.nothing_more_than(2).await;
}
