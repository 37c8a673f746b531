//! A tester of other people asks the admin API everything that its OpenAPI document allows, and
//! what it does not allow.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a broken assumption of a test must fail the test"
)]

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use crate::support::backend::{FakeBackend, Response};
use crate::support::client::{Request, send};
use crate::support::gateway::Gateway;
use crate::support::operator::{FULL, folder, payment, yaml};
use crate::support::within;

const TIME_MAX: Duration = Duration::from_secs(240);

#[tokio::test]
async fn schemathesis_finds_nothing() {
    let folder = folder();
    let app = FakeBackend::start().await;
    app.respond_once(Response::new(500));
    let tokens = format!(", tokens: [{{name: ann, token: {FULL}, access: full}}]");
    let gateway = Gateway::start(&yaml(&app.url(), &folder, &tokens, "")).await;
    for id in ["evt_1", "evt_2"] {
        let accepted = send(gateway.addr(), &payment(id, "{\"a\": 1}")).await;
        assert_eq!(accepted.status, 202);
    }
    let refused = send(gateway.addr(), &Request::post("/payments").body("{}")).await;
    assert_eq!(refused.status, 401);
    let document = format!("http://{}/api/v1/openapi.json", gateway.admin());
    let schemathesis = Path::new(env!("CARGO_MANIFEST_DIR")).join(".venv/bin/schemathesis");
    let asking = Command::new(schemathesis)
        .args(["run", &document])
        .args(["--header", &format!("Authorization: Bearer {FULL}")])
        .args([
            "--checks",
            "all",
            "--phases",
            "examples,coverage,fuzzing,stateful",
        ])
        // A tail has no end.
        .args(["--exclude-operation-id", "tail"])
        .args(["--max-examples", "25", "--seed", "1", "--workers", "1"])
        .args(["--rate-limit", "150/s", "--warnings", "off", "--no-color"])
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .output();
    let output = within(TIME_MAX, "schemathesis to end", asking)
        .await
        .expect("make test installs it");
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{told}");
    // It may have paused the route.
    let alive = send(gateway.admin(), &Request::get("/healthz")).await;
    assert_eq!(alive.status, 200);
}
