//! The official SDKs of providers that sign more than the body, or with a private key: Twilio,
//! Square, HubSpot, Discord, Telnyx, SendGrid, and LINE and Paddle beside them.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a broken assumption of a test must fail the test"
)]
#![allow(clippy::print_stdout, reason = "the table is for people")]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hookgate::clock::{Clock, SystemClock};
use hookgate::config::presets;
use hookgate::event::Head;
use hookgate::signature::Terms;
use hookgate::signature::sign::Stamp;
use serde_json::{Value, json};

use crate::support::client::{Client, Request};
use crate::support::gateway::Gateway;
use crate::support::sdk::{
    ED25519, OTHER_ED25519, OTHER_P256, P256, Pair, Route, Sdk, configuration, headers_for,
    headers_of, is_signature, key, shared,
};

const JSON: &str = "application/json";
const FORM: &str = "application/x-www-form-urlencoded";
const TEXT: &str =
    "[{\"event_id\":\"evt_1\",\"sg_event_id\":\"evt_1\",\"text\":\"Zażółć 🦀\"}]\r\n";
const OBJECT: &str = "{\"event_id\":\"evt_1\",\"id\":\"evt_1\", \"text\":\"Zażółć 🦀 \\u00e9\"}\n";
const SMS: &str = "MessageSid=evt_1&Body=1%2B1%3D2+%F0%9F%A6%80&FromZip=&Media=b&Media=a&Media=b";

const ED25519_BASE64: &str = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";

/// An SDK and what it needs; `provider` is its name in the harness.
struct Party {
    provider: &'static str,
    preset: &'static str,
    content_type: &'static str,
    body: &'static str,
    /// What signs, and what verifies.
    secret: Pair,
}

const SHARED: Pair = shared("a shared secret");
const TELNYX: Pair = Pair {
    signs: ED25519.signs,
    verifies: ED25519_BASE64,
};

#[rustfmt::skip]
const PARTIES: [Party; 10] = [
    party("twilio", "twilio", FORM, SMS, SHARED),
    party("twilio_sha256", "twilio", FORM, SMS, SHARED),
    party("twilio_json", "twilio", JSON, OBJECT, SHARED),
    party("square", "square", JSON, OBJECT, SHARED),
    party("hubspot", "hubspot", JSON, OBJECT, SHARED),
    party("line", "line", JSON, OBJECT, SHARED),
    party("paddle", "paddle", JSON, OBJECT, SHARED),
    party("discord", "discord", JSON, OBJECT, ED25519),
    party("telnyx", "telnyx", JSON, OBJECT, TELNYX),
    party("sendgrid", "sendgrid", JSON, TEXT, P256),
];

const fn party(
    provider: &'static str,
    preset: &'static str,
    content_type: &'static str,
    body: &'static str,
    secret: Pair,
) -> Party {
    Party {
        provider,
        preset,
        content_type,
        body,
        secret,
    }
}

impl Party {
    fn signs_url(&self) -> bool {
        matches!(self.preset, "twilio" | "square" | "hubspot")
    }

    fn public_url(&self) -> String {
        format!("https://hooks.example.com/{}/in", self.provider)
    }

    fn question(&self, secret: &str, url: &str) -> Value {
        json!({
            "provider": self.provider,
            "secret": secret,
            "body_base64": STANDARD.encode(self.body),
            "url": url,
        })
    }

    /// A secret of the same form that did not sign.
    fn other_secret(&self) -> &'static str {
        match self.preset {
            "discord" => OTHER_ED25519.verifies,
            "telnyx" => "iDbkS8oo4+L3G5lZuM8Q0+JvtT4Czz7uZ7RKid8hGpM=",
            "sendgrid" => OTHER_P256.verifies,
            _ => "another secret",
        }
    }
}

/// What a forger changes, and how the gateway answers.
const SENT: [(&str, u16); 6] = [
    ("unsigned", 401),
    ("body longer", 401),
    ("body empty", 401),
    ("query changed", 401),
    ("other secret", 401),
    ("genuine", 200),
];

#[tokio::test]
async fn what_the_sdks_sign_verifies_behind_the_gateway_and_forgeries_stay_out() {
    let questions: Vec<_> = PARTIES
        .iter()
        .map(|party| party.question(party.secret.signs, &party.public_url()))
        .collect();
    let secrets: Vec<_> = PARTIES
        .iter()
        .map(|party| (party.provider, party.secret.verifies))
        .collect();
    let urls: Vec<_> = PARTIES
        .iter()
        .map(|party| (party.provider, party.public_url()))
        .collect();
    let (signed, backend) = tokio::join!(
        Sdk::Python.ask("sign-many", &questions),
        Sdk::Python.backend_at(&secrets, &urls),
    );
    let gateway = Gateway::start(&configuration(&backend.url(), &routes())).await;
    let mut client = Client::connect(gateway.addr()).await;
    let mut seen = 0;
    for (party, signed) in PARTIES.iter().zip(&signed) {
        for (sent, status) in SENT {
            if sent == "query changed" && !party.signs_url() {
                continue;
            }
            let response = client.request(&request(party, signed, sent)).await;
            let what = format!("{} {sent}: {response:?}", party.provider);
            assert_eq!(response.status, status, "{what}");
            if status == 200 {
                seen += 1;
                let verdict = response.json();
                assert_eq!(verdict["verified"], true, "{what}");
                assert_eq!(verdict["seen"], seen, "a forgery arrived: {what}");
                println!("{:14} verified by {}", party.provider, verdict["sdk"]);
            }
        }
    }
}

fn request(party: &Party, signed: &Value, sent: &str) -> Request {
    let url = signed["url"].as_str().unwrap();
    let mut target = url.replace("https://hooks.example.com", "");
    if sent == "other secret" {
        target = format!("/other{target}");
    }
    if sent == "query changed" {
        target += if target.contains('?') { "&x=1" } else { "?x=1" };
    }
    let body = match sent {
        "body longer" => format!("{} ", party.body),
        "body empty" => String::new(),
        _ => party.body.to_owned(),
    };
    let mut request = Request::post(&target).body(body);
    let mut headers = headers_of(signed);
    if !headers.iter().any(|(name, _)| name == "Content-Type") {
        headers.push(("Content-Type".to_owned(), party.content_type.to_owned()));
    }
    for (name, value) in headers {
        if !(is_signature(&name) && sent == "unsigned") {
            request = request.header(&name, value);
        }
    }
    request
}

/// Two routes of each party: its own, and one with another secret.
fn routes() -> Vec<Route> {
    let routes = |party: &'static Party| {
        [
            ("", party.secret.verifies),
            ("/other", party.other_secret()),
        ]
        .map(|(prefix, secret)| Route {
            name: format!("{}{}", party.provider, prefix.replace('/', "-")),
            path: format!("{prefix}/{}/in", party.provider),
            preset: party.preset,
            secret,
            public_url: party.signs_url().then(|| party.public_url()),
            options: &[],
            more: "",
        })
    };
    PARTIES.iter().flat_map(routes).collect()
}

#[tokio::test]
async fn the_sdks_accept_what_hookgate_signs() {
    let now = SystemClock.now();
    let signed: Vec<_> = PARTIES
        .iter()
        .map(|party| {
            let preset = presets::builtin().unwrap().find(party.preset).unwrap();
            // The order of the schemes of Twilio: forms and JSON, then both with a shared key.
            let scheme = &preset.schemes[match party.provider {
                "twilio_json" => 1,
                "twilio_sha256" => 2,
                _ => 0,
            }];
            let mut head = Head {
                method: "POST".into(),
                target: Bytes::from(format!("/{}/in", party.provider)),
                host: None,
                headers: preset.sample.headers.clone(),
            };
            head.headers.set("Content-Type", party.content_type);
            if party.provider == "twilio_sha256" {
                let settings = "key=webhooks_sharedkey_1,algorithm=HMAC_SHA256";
                head.headers
                    .push("X-Twilio-Webhooks-Signature-Settings", settings);
            }
            let key = key(scheme, party.secret.signs);
            let stamp = Stamp { at: now, id: "1" };
            let url = party.public_url();
            let body = party.body.as_bytes();
            scheme
                .sign(
                    &key,
                    &mut head,
                    body,
                    &stamp,
                    &Terms::from(Some(url.clone())),
                )
                .unwrap();
            head
        })
        .collect();
    let ask = |changed: &str| -> Vec<Value> {
        let question = |(party, head): (&Party, &Head)| {
            let target = String::from_utf8(head.target.to_vec()).unwrap();
            let url = format!("https://hooks.example.com{target}");
            let mut question = party.question(party.secret.verifies, &url);
            question["headers"] = headers_for(&head.headers);
            question["now"] = json!(now.as_second());
            let body = format!("{}{changed}", party.body);
            question["body_base64"] = json!(STANDARD.encode(body));
            question
        };
        PARTIES.iter().zip(&signed).map(question).collect()
    };
    for (changed, verified) in [("", true), (" ", false)] {
        let answers = Sdk::Python.ask("verify-many", &ask(changed)).await;
        for (party, answer) in PARTIES.iter().zip(&answers) {
            assert_eq!(answer["verified"], verified, "{}: {answer}", party.provider);
        }
    }
}

#[tokio::test]
async fn discords_pings_are_answered_and_its_probes_with_bad_signatures_refused() {
    let interactions = r#"{"application_id":"1","id":"2","token":"t","type":1,"version":1}"#;
    let events = r#"{"version":1,"application_id":"1","type":0}"#;
    let event = r#"{"version":1,"type":1,"event":{"type":"APPLICATION_AUTHORIZED"}}"#;
    let question = |body: &str| {
        json!({
            "provider": "discord",
            "secret": ED25519.signs,
            "body_base64": STANDARD.encode(body),
        })
    };
    let questions: Vec<_> = [interactions, events, event]
        .into_iter()
        .map(question)
        .collect();
    let secrets = [("discord", ED25519.verifies)];
    let (signed, backend) = tokio::join!(
        Sdk::Python.ask("sign-many", &questions),
        Sdk::Python.backend(&secrets),
    );
    let gateway = Gateway::start(&configuration(&backend.url(), &routes())).await;
    let mut client = Client::connect(gateway.addr()).await;
    let mut send = async |signed: &Value, body: &str| {
        let mut request = Request::post("/discord/in").body(body.to_owned());
        for (name, value) in headers_of(signed) {
            request = request.header(&name, value);
        }
        client.request(&request).await
    };
    let ping = send(&signed[0], interactions).await;
    assert_eq!((ping.status, ping.text()), (200, r#"{"type":1}"#));
    let ping = send(&signed[1], events).await;
    assert_eq!((ping.status, ping.text()), (204, ""));
    for (signed, body) in [(&signed[0], events), (&signed[1], interactions)] {
        let probe = send(signed, body).await;
        assert_eq!((probe.status, probe.text()), (401, ""));
    }
    let event = send(&signed[2], event).await;
    assert_eq!((event.status, &event.json()["seen"]), (200, &json!(1)));
}
