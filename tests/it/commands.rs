//! The commands that need no gateway: what they print, and what they end with.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a broken assumption of a test must fail the test"
)]

use hookgate::config::presets;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::gateway::{Finished, run};

const CANARY: &str = "canary-that-nobody-may-see-4711";

/// Runs a command; nothing it prints is coloured, for nobody looks on.
async fn hookgate(args: &[&str]) -> Finished {
    hookgate_with(args, &[]).await
}

async fn hookgate_with(args: &[&str], env: &[(&str, &str)]) -> Finished {
    let finished = run(args, b"", env).await;
    let output = format!("{}{}", finished.stdout, finished.stderr);
    assert!(!output.contains('\x1b'), "colour in a pipe: {output:?}");
    assert!(!output.contains(CANARY), "a secret is shown: {output}");
    finished
}

fn json_of(finished: &Finished) -> Value {
    serde_json::from_str(&finished.stdout).unwrap()
}

#[tokio::test]
async fn providers_lists_every_preset_in_a_table() {
    let finished = hookgate(&["providers"]).await;
    assert_eq!((finished.code, &finished.stderr[..]), (Some(0), ""));
    let lines: Vec<_> = finished.stdout.lines().collect();
    assert!(lines[0].starts_with("name "), "{}", lines[0]);
    let presets = presets::builtin().unwrap();
    assert_eq!(lines.len(), 1 + presets.iter().count());
    for (line, preset) in lines[1..].iter().zip(presets.iter()) {
        assert_eq!(line.split(' ').next(), Some(&preset.name[..]));
        assert!(line.contains(&preset.title), "{line}");
    }
}

#[tokio::test]
async fn providers_tells_about_one_preset_how_to_use_it() {
    let finished = hookgate(&["providers", "slack"]).await;
    assert_eq!((finished.code, &finished.stderr[..]), (Some(0), ""));
    for part in [
        "Slack (slack)",
        "hmac-sha256 in header X-Slack-Signature",
        "tolerance 5m",
        "JSON path $.event_id",
        "POST, signed",
        "https://docs.slack.dev/",
        r#"verify: {provider: slack, secrets: ["${{ secret.slack }}"]}"#,
    ] {
        assert!(
            finished.stdout.contains(part),
            "{part}: {}",
            finished.stdout
        );
    }
}

#[tokio::test]
async fn providers_prints_json_for_machines() {
    let all = json_of(&hookgate(&["providers", "--json"]).await);
    let names: Vec<_> = all
        .as_array()
        .unwrap()
        .iter()
        .map(|preset| preset["name"].as_str().unwrap().to_owned())
        .collect();
    let known: Vec<_> = presets::builtin().unwrap().names().collect();
    assert_eq!(names, known);
    let one = json_of(&hookgate(&["providers", "stripe", "--json"]).await);
    assert_eq!(one["name"], "stripe");
    assert_eq!(one["schemes"][0]["tolerance_seconds"], 300);
    assert!(all.as_array().unwrap().contains(&one));
}

#[tokio::test]
async fn an_unknown_provider_brings_the_near_names() {
    for args in [
        &["providers", "strpe"][..],
        &["providers", "strpe", "--json"],
        &["send", "strpe", "--to", "http://127.0.0.1:9/"],
    ] {
        let finished = hookgate(args).await;
        assert_eq!((finished.code, &finished.stdout[..]), (Some(1), ""));
        let expected = "error: there is no provider `strpe`; did you mean `stripe`?\n";
        assert_eq!(finished.stderr, expected, "{args:?}");
    }
}

#[tokio::test]
async fn what_is_not_understood_ends_with_2() {
    for args in [
        &[][..],
        &["serv"],
        &["check"],
        &["check", "-c"],
        &["check", "--config", "a", "--jason"],
        &["verify", "-c", "a"],
        &["send", "stripe"],
        &[
            "send",
            "stripe",
            "--to",
            "http://127.0.0.1:9/",
            "--age",
            "soon",
        ],
        &["demo", "--twice"],
    ] {
        let finished = hookgate(args).await;
        assert_eq!(finished.code, Some(2), "{args:?}: {finished:?}");
        assert_eq!(finished.stdout, "", "{args:?}");
        assert!(finished.stderr.contains("--help"), "{args:?}: {finished:?}");
    }
}

#[tokio::test]
async fn help_and_version_are_asked_for_and_end_with_0() {
    for (args, part) in [
        (&["--help"][..], "Judge recorded requests offline"),
        (&["send", "--help"], "--forge"),
        (&["--version"], env!("CARGO_PKG_VERSION")),
    ] {
        let finished = hookgate(args).await;
        assert_eq!(finished.code, Some(0), "{args:?}");
        assert!(finished.stdout.contains(part), "{args:?}: {finished:?}");
    }
}

/// A configuration file in a folder of its own.
struct File(TempDir);

impl File {
    fn new(yaml: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("hookgate.yaml"), yaml).unwrap();
        Self(dir)
    }

    async fn check(&self, more: &[&str]) -> Finished {
        let path = self.0.path().join("hookgate.yaml");
        let mut args = vec!["check", "-c", path.to_str().unwrap()];
        args.extend(more);
        hookgate_with(&args, &[("HOOKGATE_SECRET_STRIPE", CANARY)]).await
    }
}

const GOOD: &str = r#"
backends: {app: {url: "http://127.0.0.1:9"}}
routes:
  stripe:
    webhook: {path: /hooks/stripe, verify: {provider: stripe, secrets: ["${{ secret.stripe }}"]}}
    deliver: {to: app, path: /in}
  open:
    webhook: {path: /open}
    deliver: {to: app}
tests:
  - name: a signed event is accepted
    request: {url: /hooks/stripe, body: '{"id":"evt_1","type":"a.b"}', sign: {}}
    expect: {verdict: accepted, route: stripe, event_id: evt_1, event_type: a.b, backend_path: /in}
  - name: an old one is refused
    request: {url: /hooks/stripe, body: '{}', sign: {age: 6m}}
    expect: {verdict: refused, reason: timestamp_stale, status: 401}
"#;

#[tokio::test]
async fn check_runs_the_tests_of_the_file() {
    let file = File::new(GOOD);
    let finished = file.check(&[]).await;
    assert_eq!(finished.code, Some(0), "{finished:?}");
    let stdout = &finished.stdout;
    assert!(
        stdout.starts_with("passed a signed event is accepted\npassed an old one is refused\n")
    );
    assert!(stdout.ends_with("hookgate.yaml: 2 routes, 1 backend, 2 of 2 tests passed\n"));
    let warning = "warning: route `open` verifies nothing: it has no `webhook.verify`\n";
    assert_eq!(finished.stderr, warning);
    let passed = |name| json!({"name": name, "passed": true, "problems": []});
    let document = json_of(&file.check(&["--json"]).await);
    let expected = json!({
        "ok": true,
        "routes": ["stripe", "open"],
        "backends": ["app"],
        "tests": [passed("a signed event is accepted"), passed("an old one is refused")],
    });
    assert_eq!(document, expected);
}

#[tokio::test]
async fn check_tells_how_a_test_failed_and_ends_with_1() {
    let file = File::new(
        &GOOD
            .replace("age: 6m", "age: 4m")
            .replace("evt_1, ", "evt_2, "),
    );
    let finished = file.check(&[]).await;
    assert_eq!(finished.code, Some(1), "{finished:?}");
    for part in [
        "failed a signed event is accepted\n       expected event_id evt_2, found evt_1\n",
        "failed an old one is refused\n       expected refused, found accepted\n",
        "0 of 2 tests passed",
    ] {
        assert!(
            finished.stdout.contains(part),
            "{part}: {}",
            finished.stdout
        );
    }
    let finished = file.check(&["--json"]).await;
    assert_eq!(finished.code, Some(1));
    let document = json_of(&finished);
    assert_eq!(document["ok"], false);
    assert_eq!(document["tests"][0]["passed"], false);
    let problems = json!(["expected event_id evt_2, found evt_1"]);
    assert_eq!(document["tests"][0]["problems"], problems);
}

#[tokio::test]
async fn check_reports_every_fault_with_its_place_and_shows_no_secret() {
    let yaml = format!(
        r#"
backends: {{app: {{url: "http://user:{CANARY}@127.0.0.1:9"}}}}
routes:
  a:
    webhook: {{path: /a, verify: {{provder: stripe, secrets: ["{CANARY}"], tolerance: 5x}}}}
    deliver: {{to: ap}}
  b:
    webhook:
      path: /b
      verify: {{provider: strpe, secrets: ["{CANARY}", "${{{{ secret.nowhere }}}}"]}}
      handshake: {{verify_token: {CANARY}, verify_tokn: {CANARY}}}
    deliver: {{to: app, headers: {{Host: x}}}}
  c:
    webhook: {{path: /c, verify: {{provider: svix, secrets: ["whsec_{CANARY}!"]}}}}
    deliver: {{to: app}}
"#
    );
    let file = File::new(&yaml);
    let finished = file.check(&[]).await;
    assert_eq!((finished.code, &finished.stdout[..]), (Some(1), ""));
    let finished = file.check(&["--json"]).await;
    assert_eq!((finished.code, &finished.stderr[..]), (Some(1), ""));
    let document = json_of(&finished);
    assert_eq!(document["ok"], false);
    let faults = document["faults"].as_array().unwrap();
    for (line, part) in [
        (5, "provder"),
        (5, "5x"),
        (6, "`ap`"),
        (10, "strpe"),
        (10, "nowhere"),
        (11, "verify_tokn"),
        (12, "Host"),
        (14, "base64"),
    ] {
        let found = faults.iter().any(|fault| {
            let message = fault["message"].as_str().unwrap();
            message.contains(part) && fault["line"] == line && fault["column"].is_u64()
        });
        assert!(found, "no fault in line {line} about {part}: {document:#}");
    }
}

#[tokio::test]
async fn a_file_that_is_not_there_is_named() {
    for command in ["check", "serve"] {
        let finished = hookgate(&[command, "-c", "nowhere.yaml"]).await;
        assert_eq!((finished.code, &finished.stdout[..]), (Some(1), ""));
        assert!(finished.stderr.contains("cannot read nowhere.yaml"));
    }
    let finished = hookgate(&["check", "-c", "nowhere.yaml", "--json"]).await;
    assert_eq!(finished.code, Some(1));
    assert_eq!(json_of(&finished)["ok"], false);
}

#[tokio::test]
async fn the_demo_tells_the_whole_story_and_ends() {
    let finished = hookgate(&["demo", "--once"]).await;
    assert_eq!((finished.code, &finished.stderr[..]), (Some(0), ""));
    let mut rest = &finished.stdout[..];
    for part in [
        "Hookgate, in eight steps",
        "1. GitHub pushes, signed\n   200 OK  accepted\n",
        "bytes at /hooks/github, with the provider's own signature header\n",
        "2. Stripe reports a payment, signed\n   200 OK  accepted\n",
        "bytes at /stripe/webhook, with the provider's own signature header\n",
        "3. A forger raises the amount after signing\n   401 Unauthorized  refused: signature_mismatch\n",
        "the backend saw nothing\n",
        "4. A thief replays a genuine request of ten minutes ago\n   401 Unauthorized  refused: timestamp_stale\n",
        "the backend saw nothing\n",
        "5. Somebody guesses an address\n   404 Not Found  refused: no_route\n",
        "6. What it left in the metrics\n",
        "hookgate_requests_total{",
        "7. ",
        "all five, in their order, each once",
        "8. Half of Stripe's webhooks never come, and a poll finds them\n",
        "none is missing, none came twice",
    ] {
        let at = rest.find(part);
        assert!(
            at.is_some(),
            "no {part:?} in its place: {}",
            finished.stdout
        );
        rest = &rest[at.unwrap() + part.len()..];
    }
    assert_eq!(
        finished.stdout.matches("hookgate_requests_total{").count(),
        5
    );
    assert!(!finished.stdout.contains("demo-only-github-secret"));
    assert!(!finished.stdout.contains("whsec_"));
}
