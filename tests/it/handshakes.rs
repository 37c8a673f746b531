//! Providers ask whether an address is ours; the gateway answers, and no backend hears of it.
//!
//! Each case is judged by `hookgate verify` and by a running gateway, which must agree.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a broken assumption of a test must fail the test"
)]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hookgate::clock::{Clock, SystemClock};
use hookgate::config::presets;
use hookgate::event::{Head, Headers};
use hookgate::secret::Secret;
use hookgate::signature::Terms;
use hookgate::signature::key::Key;
use hookgate::signature::sign::Stamp;
use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::support::backend::FakeBackend;
use crate::support::client::{Request, Response, send};
use crate::support::gateway::{Gateway, run};

const APP_SECRET: &str = "an-app-secret-of-meta";
const VERIFY_TOKEN: &str = "a token that was agreed on";
const SLACK_SECRET: &str = "a-signing-secret-of-slack";
const ASK: &str = "/meta?hub.mode=subscribe";
const TOKEN: &str = "&hub.verify_token=a%20token+that%20was%20agreed%20on";

/// What is awaited: the answer's body, or the status and the reason of a refusal.
type Expected = Result<String, (u16, &'static str)>;

struct Case {
    what: &'static str,
    method: &'static str,
    target: String,
    headers: Vec<(String, String)>,
    body: String,
    expected: Expected,
}

fn configuration(backend: &str) -> String {
    format!(
        r#"
server: {{listen: "127.0.0.1:0"}}
admin: {{listen: "127.0.0.1:0"}}
backends: {{app: {{url: "{backend}"}}}}
routes:
  meta:
    webhook:
      path: /meta
      verify: {{provider: meta, secrets: ["{APP_SECRET}"]}}
      handshake: {{verify_token: "{VERIFY_TOKEN}"}}
    deliver: {{to: app}}
  meta_without_token:
    webhook:
      path: /meta_without_token
      methods: [GET, POST]
      verify: {{provider: meta, secrets: ["{APP_SECRET}"]}}
    deliver: {{to: app}}
  slack:
    webhook:
      path: /slack
      verify: {{provider: slack, secrets: ["{SLACK_SECRET}"]}}
    deliver: {{to: app}}
  slack_observed:
    webhook:
      path: /slack_observed
      verify: {{provider: slack, secrets: ["{SLACK_SECRET}"], enforce: false}}
    deliver: {{to: app}}
"#
    )
}

#[tokio::test]
async fn handshakes_are_answered_or_refused_live_and_no_backend_hears_of_them() {
    let backend = FakeBackend::start().await;
    let gateway = Gateway::start(&configuration(&backend.url())).await;
    for case in cases() {
        let response = send(gateway.addr(), &case.request()).await;
        case.check_response(&response);
    }
    assert_eq!(backend.count(), 0);
    let answered = cases().iter().filter(|case| case.expected.is_ok()).count();
    let name = "hookgate_requests_total";
    let counted = gateway.metric(name, &[("verdict", "handshake")]).await;
    assert_eq!(counted, Some(answered as f64));
    let labels = [("reason", "handshake_refused"), ("verdict", "refused")];
    let counted = gateway.metric(name, &labels).await;
    let refused = |case: &&Case| matches!(case.expected, Err((_, "handshake_refused")));
    assert_eq!(counted, Some(cases().iter().filter(refused).count() as f64));
    // What is no handshake does arrive.
    let genuine = slack(
        "/slack",
        "an event",
        SLACK_SECRET,
        0,
        r#"{"type":"event_callback"}"#,
    );
    assert_eq!(send(gateway.addr(), &genuine.request()).await.status, 200);
    assert_eq!(backend.count(), 1);
    let logs = gateway.logs().join("\n");
    for secret in [APP_SECRET, SLACK_SECRET, VERIFY_TOKEN, "a%20token+that"] {
        assert!(
            !logs.contains(secret),
            "{secret} stands in the log:\n{logs}"
        );
    }
}

#[tokio::test]
async fn hookgate_verify_judges_handshakes_as_the_gateway_does() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("hookgate.yaml");
    std::fs::write(&config, configuration("http://127.0.0.1:9")).unwrap();
    let cases = cases();
    let lines: String = cases
        .iter()
        .map(|case| format!("{}\n", case.recorded()))
        .collect();
    let args = ["verify", "-c", config.to_str().unwrap(), "--requests", "-"];
    let finished = run(&args, lines.as_bytes(), &[]).await;
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    let verdicts: Vec<Value> = finished
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(verdicts.len(), cases.len());
    for (case, verdict) in cases.iter().zip(&verdicts) {
        case.check_verdict(verdict);
    }
}

fn cases() -> Vec<Case> {
    let mut cases = meta_cases();
    cases.extend(slack_cases());
    cases
}

fn meta_cases() -> Vec<Case> {
    let refused = Err((403, "handshake_refused"));
    let longest = "7".repeat(1024);
    let get = |what, target: String, expected: &Expected| Case {
        what,
        method: "GET",
        target,
        headers: Vec::new(),
        body: String::new(),
        expected: expected.clone(),
    };
    let challenge = |what, challenge: &str, expected: &Expected| {
        get(
            what,
            format!("{ASK}{TOKEN}&hub.challenge={challenge}"),
            expected,
        )
    };
    vec![
        challenge("the right token", "1158201444", &Ok("1158201444".into())),
        challenge("a challenge with spaces", "a+b%20c", &Ok("a b c".into())),
        challenge("markup is plain text", "%3Cb%3E", &Ok("<b>".into())),
        challenge("the longest challenge", &longest, &Ok(longest.clone())),
        challenge("a longer challenge", &format!("{longest}7"), &refused),
        challenge("a line break", "1%0d%0aX-Injected:%201", &refused),
        challenge("a zero byte", "1%00", &refused),
        challenge("no ASCII", "%C5%BC", &refused),
        get("no challenge", format!("{ASK}{TOKEN}"), &refused),
        get("no token", format!("{ASK}&hub.challenge=1"), &refused),
        get(
            "an empty token",
            format!("{ASK}&hub.verify_token=&hub.challenge=1"),
            &refused,
        ),
        get(
            "another token",
            format!("{ASK}&hub.verify_token=x&hub.challenge=1"),
            &refused,
        ),
        get(
            "part of the token",
            format!("{ASK}&hub.verify_token=a&hub.challenge=1"),
            &refused,
        ),
        get(
            "the app secret as token",
            format!("{ASK}&hub.verify_token={APP_SECRET}&hub.challenge=1"),
            &refused,
        ),
        get(
            "no token was agreed on",
            format!("/meta_without_token?hub.mode=subscribe{TOKEN}&hub.challenge=1"),
            &refused,
        ),
        get(
            "no handshake",
            format!("/meta?hub.mode=unsubscribe{TOKEN}&hub.challenge=1"),
            &Err((401, "signature_missing")),
        ),
        signed_with_the_verify_token(),
    ]
}

/// Whoever knows the verify token can ask, but not sign.
fn signed_with_the_verify_token() -> Case {
    let body = r#"{"object":"page"}"#;
    let mut case = signed("meta", "/meta", VERIFY_TOKEN, 0, body);
    case.what = "an event signed with the verify token";
    case.expected = Err((401, "signature_mismatch"));
    case
}

fn slack_cases() -> Vec<Case> {
    let ask = |challenge: &str| {
        json!({"token": "x", "type": "url_verification", "challenge": challenge}).to_string()
    };
    let challenge = "3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P";
    let refused = Err((403, "handshake_refused"));
    let case = |what, secret, age, body: String, expected: Expected| Case {
        expected,
        ..slack("/slack", what, secret, age, &body)
    };
    let genuine = |what, body: String, expected: &Expected| {
        case(what, SLACK_SECRET, 0, body, expected.clone())
    };
    let unsigned = |path: &str| Case {
        headers: Vec::new(),
        expected: Err((401, "signature_missing")),
        ..slack(path, "unsigned", SLACK_SECRET, 0, &ask(challenge))
    };
    let longest = "7".repeat(1024);
    vec![
        genuine("signed", ask(challenge), &Ok(challenge.into())),
        genuine("the longest challenge", ask(&longest), &Ok(longest.clone())),
        genuine("a longer challenge", ask(&format!("{longest}7")), &refused),
        genuine("a line break", ask("1\r\nX-Injected: 1"), &refused),
        genuine("no ASCII", ask("ż"), &refused),
        genuine(
            "no challenge",
            r#"{"type":"url_verification"}"#.into(),
            &refused,
        ),
        genuine(
            "a challenge that is no text",
            r#"{"type":"url_verification","challenge":["a"]}"#.into(),
            &refused,
        ),
        case(
            "another secret",
            "x",
            0,
            ask(challenge),
            Err((401, "signature_mismatch")),
        ),
        case(
            "stale",
            SLACK_SECRET,
            10,
            ask(challenge),
            Err((401, "timestamp_stale")),
        ),
        unsigned("/slack"),
        // Observing lets events pass, but never answers a stranger's question.
        unsigned("/slack_observed"),
    ]
}

fn slack(path: &str, what: &'static str, secret: &str, age_minutes: i64, body: &str) -> Case {
    Case {
        what,
        ..signed("slack", path, secret, age_minutes, body)
    }
}

fn signed(provider: &str, path: &str, secret: &str, age_minutes: i64, body: &str) -> Case {
    let preset = presets::builtin().unwrap().find(provider).unwrap();
    let scheme = &preset.schemes[0];
    let parts = scheme.parts();
    let key = Key::new(parts.algorithm, &parts.key, &Secret::new(secret)).unwrap();
    let mut head = Head {
        method: "POST".into(),
        target: Bytes::copy_from_slice(path.as_bytes()),
        host: None,
        headers: Headers::default(),
    };
    let at = SystemClock.now() - SignedDuration::from_mins(age_minutes);
    let stamp = Stamp { at, id: "" };
    scheme
        .sign(&key, &mut head, body.as_bytes(), &stamp, &Terms::default())
        .unwrap();
    let text = |bytes: &Bytes| String::from_utf8(bytes.to_vec()).unwrap();
    let headers = head.headers.iter();
    Case {
        what: "",
        method: "POST",
        target: path.to_owned(),
        headers: headers
            .map(|header| (text(&header.name), text(&header.value)))
            .collect(),
        body: body.to_owned(),
        expected: Ok(String::new()),
    }
}

impl Case {
    fn request(&self) -> Request {
        let mut request = Request::new(self.method, &self.target);
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        if self.method == "POST" {
            request = request.body(self.body.clone());
        }
        request
    }

    fn recorded(&self) -> Value {
        json!({
            "id": self.what,
            "method": self.method,
            "url": self.target,
            "headers": self.headers,
            "body_base64": STANDARD.encode(&self.body),
        })
    }

    fn check_response(&self, response: &Response) {
        let what = format!("{}: {response:?}", self.what);
        assert_eq!(response.header("x-injected"), None, "{what}");
        match &self.expected {
            Ok(body) => {
                assert_eq!(
                    (response.status, response.text()),
                    (200, &body[..]),
                    "{what}"
                );
                assert_eq!(
                    response.header("content-type"),
                    Some("text/plain"),
                    "{what}"
                );
                let nosniff = response.header("x-content-type-options");
                assert_eq!(nosniff, Some("nosniff"), "{what}");
            }
            Err((status, _)) => {
                assert_eq!((response.status, response.text()), (*status, ""), "{what}");
            }
        }
    }

    fn check_verdict(&self, verdict: &Value) {
        assert_eq!(verdict["id"], self.what);
        match &self.expected {
            Ok(body) => {
                assert_eq!(verdict["verdict"], "handshake", "{verdict}");
                assert_eq!(verdict["reason"], Value::Null, "{verdict}");
                let headers =
                    json!({"Content-Type": "text/plain", "X-Content-Type-Options": "nosniff"});
                let response = json!({"status": 200, "headers": headers, "body": body});
                assert_eq!(verdict["response"], response);
            }
            Err((_, reason)) => {
                assert_eq!(verdict["verdict"], "refused", "{verdict}");
                assert_eq!(verdict["reason"], *reason, "{verdict}");
                assert_eq!(verdict.get("response"), None, "{verdict}");
            }
        }
    }
}
