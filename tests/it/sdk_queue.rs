//! What a provider's SDK signed still verifies with its SDK behind the queue, after a restart and a
//! retry; where the signature has a time, a fresh one does when the provider's own is too old.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a broken assumption of a test must fail the test"
)]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hookgate::clock::{Clock, SystemClock};
use serde_json::{Value, json};

use crate::support::backend;
use crate::support::client::{Request, send};
use crate::support::gateway::Gateway;
use crate::support::sdk::Sdk;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
/// Spaces, escapes and numbers that no parser gives back as they were.
const BODY: &str = r#"{ "id": "evt_1",  "type": "paid", "text": "ża\u00e9 \/", "n": 1.10 }"#;
const HOUR_SECONDS: i64 = 3600;

/// How the deliveries of a route are signed and how old its events are.
#[derive(Clone, Copy, PartialEq)]
enum Signed {
    Fresh,
    /// The provider's own signature, an hour old.
    AnHourAgo,
    /// An hour old, and signed anew for each attempt.
    Anew,
}

fn yaml(store: &str, backend: &str, routes: &[(&str, Signed)]) -> String {
    let mut yaml = format!(
        "
server: {{listen: 127.0.0.1:0}}
admin: {{listen: 127.0.0.1:0}}
store: {{path: {store}}}
backends:
  sdk: {{url: \"{backend}\", breaker: off, retry: {{backoff: {{base: 50ms, max: 500ms}}}}}}
routes:
"
    );
    for (index, (provider, signed)) in routes.iter().enumerate() {
        let sign = match signed {
            Signed::Anew => format!(", sign: {{provider: {provider}, secret: {SECRET}}}"),
            Signed::Fresh | Signed::AnHourAgo => String::new(),
        };
        let tolerance = match signed {
            Signed::Fresh => "",
            Signed::AnHourAgo | Signed::Anew => ", tolerance: 2h",
        };
        yaml += &format!(
            "  r{index}:
    webhook: {{path: /{provider}/{index}, verify: {{provider: {provider}, secrets: [{SECRET}]{tolerance}}}}}
    deliver: {{to: sdk, mode: queue{sign}}}
"
        );
    }
    yaml
}

fn request(path: &str, signed: &Value) -> Request {
    let headers: Vec<(String, String)> = serde_json::from_value(signed["headers"].clone()).unwrap();
    let request = Request::post(path)
        .header("Content-Type", "application/json")
        .body(BODY);
    headers.into_iter().fold(request, |request, (name, value)| {
        request.header(&name, value)
    })
}

/// Takes events while the backend is down, is killed, and delivers them to the SDK.
async fn travel(sdk: Sdk, routes: &[(&str, Signed)]) {
    let now = SystemClock.now().as_second();
    let questions: Vec<_> = routes
        .iter()
        .map(|(provider, signed)| {
            let at = if *signed == Signed::Fresh {
                now
            } else {
                now - HOUR_SECONDS
            };
            let body = STANDARD.encode(BODY);
            json!({"provider": provider, "secret": SECRET, "body_base64": body, "now": at})
        })
        .collect();
    let secrets: Vec<_> = routes
        .iter()
        .map(|(provider, _)| (*provider, SECRET))
        .collect();
    let (signed, app) = tokio::join!(sdk.ask("sign-many", &questions), sdk.backend(&secrets));

    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().display().to_string();
    let down = backend::refuse();
    let gateway = Gateway::start(&yaml(&store, &down.url(), routes)).await;
    for (index, ((provider, _), signed)) in routes.iter().zip(&signed).enumerate() {
        let path = format!("/{provider}/{index}");
        let response = send(gateway.addr(), &request(&path, signed)).await;
        assert_eq!(response.status, 202, "{provider}");
    }
    let failed = [("backend", "sdk"), ("outcome", "backend_unreachable")];
    let all = routes.iter().map(|_| 1.0).sum();
    gateway
        .wait_for_metric("hookgate_attempts_total", &failed, all)
        .await;
    gateway.kill().await;

    let gateway = Gateway::start(&yaml(&store, &app.url(), routes)).await;
    for (index, (provider, signed)) in routes.iter().enumerate() {
        let route = format!("r{index}");
        let labels = [("route", &route[..]), ("backend", "sdk")];
        let rejected = [labels[0], labels[1], ("reason", "rejected")];
        // The SDK's backend answers 400 to what does not verify, which is final.
        if *signed == Signed::AnHourAgo {
            let dead = "hookgate_deliveries_dead_total";
            gateway.wait_for_metric(dead, &rejected, 1.0).await;
        } else {
            let delivered = "hookgate_deliveries_delivered_total";
            let count = gateway.wait_for_metric(delivered, &labels, 1.0).await;
            assert_eq!(count, 1.0, "{provider}");
        }
    }
}

#[tokio::test]
async fn the_python_sdks_verify_what_was_queued() {
    let providers = ["stripe", "slack", "standardwebhooks", "svix"];
    travel(
        Sdk::Python,
        &providers.map(|provider| (provider, Signed::Fresh)),
    )
    .await;
}

#[tokio::test]
async fn the_node_sdks_verify_what_was_queued() {
    let providers = ["github", "shopify", "stripe", "standardwebhooks", "svix"];
    travel(
        Sdk::Node,
        &providers.map(|provider| (provider, Signed::Fresh)),
    )
    .await;
}

#[tokio::test]
async fn an_hour_later_stripes_sdk_verifies_what_is_signed_anew_and_nothing_else() {
    let routes = [("stripe", Signed::AnHourAgo), ("stripe", Signed::Anew)];
    travel(Sdk::Python, &routes).await;
    travel(Sdk::Node, &routes).await;
}
