//! `conf/schema.json` is what the binary prints, and a validator of other people takes our files
//! by it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a broken assumption of a test must fail the test"
)]

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::process::Command;

use crate::support::gateway::run;
use crate::support::within;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[tokio::test]
async fn the_document_of_the_api_in_conf_is_the_one_of_the_binary() {
    let finished = run(&["schema", "--api"], b"", &[]).await;
    assert_eq!((finished.code, &finished.stderr[..]), (Some(0), ""));
    let written = std::fs::read_to_string(root().join("conf/openapi.json")).unwrap_or_default();
    assert!(
        written == finished.stdout,
        "conf/openapi.json is not what `hookgate schema --api` prints: run `make schema`"
    );
    let document: Value = serde_json::from_str(&written).unwrap();
    assert_eq!(document["openapi"], "3.1.0");
}

#[tokio::test]
async fn the_schema_in_conf_is_the_one_of_the_binary() {
    let finished = run(&["schema"], b"", &[]).await;
    assert_eq!((finished.code, &finished.stderr[..]), (Some(0), ""));
    let written = std::fs::read_to_string(root().join("conf/schema.json")).unwrap_or_default();
    assert!(
        written == finished.stdout,
        "conf/schema.json is not what `hookgate schema` prints: run `make schema`"
    );
    let schema: Value = serde_json::from_str(&written).unwrap();
    let draft = "https://json-schema.org/draft/2020-12/schema";
    assert_eq!(schema["$schema"], draft);
    for key in ["server", "admin", "backends", "routes", "tests"] {
        assert!(schema["properties"][key].is_object(), "{key}");
    }
}

#[tokio::test]
async fn the_schema_takes_every_file_in_conf() {
    let files: Vec<_> = ["conf", "conf/examples"]
        .into_iter()
        .flat_map(yaml_files)
        .collect();
    assert!(!files.is_empty());
    for answer in validate(&files).await {
        assert_eq!(answer["faults"], json!([]), "{answer:#}");
    }
}

#[tokio::test]
async fn the_schema_takes_every_form_of_a_value_and_no_unknown_key() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, yaml: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, yaml).unwrap();
        path
    };
    let unknown = RICH.replace("body_max:", "body_maximum:");
    let typed = RICH.replace("enforce: true", "enforce: [1]");
    let files = [
        write("rich.yaml", RICH),
        write("unknown.yaml", &unknown),
        write("typed.yaml", &typed),
        write("empty.yaml", "{}"),
    ];
    let answers = validate(&files).await;
    let faults = |index: usize| answers[index]["faults"].as_array().unwrap().len();
    assert_eq!(faults(0), 0, "{:#}", answers[0]);
    for (index, answer) in answers.iter().enumerate().skip(1) {
        assert!(faults(index) > 0, "{answer:#}");
    }
    // What the schema takes, the gateway takes too.
    let path = files[0].to_str().unwrap();
    let finished = run(&["check", "-c", path], b"", &[("HOOKGATE_SECRET_A", "a")]).await;
    assert_eq!(finished.code, Some(0), "{finished:?}");
}

/// One value in every form that the file knows.
const RICH: &str = r#"
server:
  listen: ["127.0.0.1:0", "unix:/run/hookgate-test.sock"]
  trusted_proxies: [10.0.0.0/8, unix]
  timeout: {head: 10s, body: 30s, piece: 500ms}
  threads: "${{ env.NONE | default(2) }}"
admin: {listen: "off"}
log: {format: json, headers: X-GitHub-Event, redact: [X-Token]}
secrets_dir: secrets
backends:
  app:
    url: http://127.0.0.1:3000
    timeout: {connect: 2s}
routes:
  github:
    webhook:
      path: /hooks/{name}
      host: [hooks.example.com, "*.example.org"]
      methods: POST
      allow: 192.0.2.0/24
      deny: [192.0.2.7]
      body_max: "${{ env.NONE | default('5MiB') }}"
      verify: {provider: github, secrets: "${{ secret.a }}", enforce: true, refused_status: 403}
      rate_limit:
        - {rate: 50/s, burst: 100}
        - {by: {path: name}, rate: 10/min}
        - {by: $.account, rate: 5/h, stage: after}
    dedup: {key: [$.id, "header:X-Part"], window: 1h, let_through: {header: X-Again}}
    deliver: {to: app, mode: "${{ env.NONE | default('proxy') }}", path: "/in/{name}", headers: {X-Set: a, X-Gone: null}}
  own:
    webhook:
      path: /own/*
      verify:
        any_of:
          - scheme:
              signature: {from: {header: X-Signature}, parse: {list: {key: v1}}, encoding: base64}
              algorithm: hmac-sha512
              key: {encoding: hex, strip_prefix: hex_}
              message: "{ts}.{body}"
              timestamp: {from: {signature: t}, unit: ms, max_past: 5m, max_future: 1m}
            secrets: ["00ff"]
            tolerance: 1m
          - {scheme: {signature: {from: {query: token}, parse: whole}, algorithm: static}, secrets: a}
          - {scheme: {algorithm: basic}, secrets: ["user:password"]}
    deliver: {to: app, path: "/{*}"}
tests:
  name: an address that may not send
  request: {url: "https://hooks.example.com/hooks/a", from: 192.0.2.7, at: "2026-01-01T00:00:00Z"}
  expect: {verdict: refused, reason: address_denied, status: 403}
"#;

fn yaml_files(folder: &str) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(root().join(folder)) else {
        return Vec::new();
    };
    entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "yaml")
        })
        .collect()
}

async fn validate(files: &[PathBuf]) -> Vec<Value> {
    let output = Command::new(root().join(".venv/bin/python"))
        .args(["tests/sdk/python/schema.py", "conf/schema.json"])
        .args(files)
        .current_dir(root())
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .output();
    let output = within(Duration::from_secs(30), "the validator", output).await;
    let output = output.expect("run `make test-deps` first");
    let stdout = String::from_utf8(output.stdout).unwrap();
    let parse = |line| serde_json::from_str(line).unwrap();
    let answers: Vec<_> = stdout.lines().map(parse).collect();
    assert_eq!(answers.len(), files.len(), "{stdout}");
    answers
}
