//! The providers' official SDKs on both sides of the gateway: what they sign comes through and
//! verifies behind it, what is forged does not, and they accept what Hookgate signs.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
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
use hookgate::event::{Head, Headers};
use hookgate::secret::Secret;
use hookgate::signature::key::Key;
use hookgate::signature::place::Place;
use hookgate::signature::sign::Stamp;
use hookgate::signature::{Preset, Request as Judged, Scheme, Terms, Verifier};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::support::client::{Client, Request};
use crate::support::gateway::Gateway;
use crate::support::sdk::Sdk;

/// Holds what each SDK reads once it takes the signature for genuine.
const SMALL: &str = concat!(
    r#"{"id":"evt_1","object":"event","type":"charge.succeeded","data":{"amount":1999},"#,
    r#""event":{"id":"evt_1","type":"charge:confirmed"},"events":[],"#,
    r#""payload":{"resource_type":"check","action":"check.completed"}}"#,
);
const UNICODE: &str = concat!(
    r#"{ "id": "evt_2", "object": "event", "type": "customer.updated","#,
    r#" "event": {"id": "evt_2", "type": "charge:failed"}, "events": [],"#,
    r#" "payload": {"resource_type": "check", "action": "check.completed"},"#,
    r#" "data": {"text": "Zażółć gęślą jaźń, 日本語, 🦀", "n": 1.10,"#,
    r#" "escaped": "\u00e9\u0142 \ud83e\udd80 \u2028 \/ <\/b>"} }"#,
    "\n"
);

/// An SDK and what it needs; `provider` is its name in the harness.
struct Party {
    sdk: Sdk,
    provider: &'static str,
    preset: &'static str,
    timed: bool,
    secret: &'static str,
    other_secret: &'static str,
}

const STRIPE: (&str, &str) = ("whsec_sdk_test_stripe", "whsec_sdk_test_other");
const STANDARD_SECRET: (&str, &str) = (
    "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    "whsec_YW5vdGhlciBzZWNyZXQgb2YgSG9va2dhdGU=",
);
const PLAIN: (&str, &str) = ("8f742231b10e8888abcd99yyyzzz85a5", "another signing secret");

#[rustfmt::skip]
const PARTIES: [Party; 17] = [
    party(Sdk::Python, "stripe", "stripe", true, STRIPE),
    party(Sdk::Python, "slack", "slack", true, PLAIN),
    party(Sdk::Python, "standardwebhooks", "standardwebhooks", true, STANDARD_SECRET),
    party(Sdk::Python, "svix", "svix", true, STANDARD_SECRET),
    party(Sdk::Python, "coinbase_commerce", "coinbase_commerce", false, PLAIN),
    party(Sdk::Python, "gocardless", "gocardless", false, PLAIN),
    party(Sdk::Python, "onfido", "onfido", false, PLAIN),
    party(Sdk::Python, "razorpay", "razorpay", false, PLAIN),
    party(Sdk::Python, "resend", "resend", true, STANDARD_SECRET),
    party(Sdk::Python, "viber", "viber", false, PLAIN),
    party(Sdk::Python, "workos", "workos", true, PLAIN),
    party(Sdk::Node, "github", "github", false, PLAIN),
    party(Sdk::Node, "shopify", "shopify", false, PLAIN),
    party(Sdk::Node, "shopify_events", "shopify", false, PLAIN),
    party(Sdk::Node, "stripe", "stripe", true, STRIPE),
    party(Sdk::Node, "standardwebhooks", "standardwebhooks", true, STANDARD_SECRET),
    party(Sdk::Node, "svix", "svix", true, STANDARD_SECRET),
];

const fn party(
    sdk: Sdk,
    provider: &'static str,
    preset: &'static str,
    timed: bool,
    (secret, other_secret): (&'static str, &'static str),
) -> Party {
    Party {
        sdk,
        provider,
        preset,
        timed,
        secret,
        other_secret,
    }
}

#[tokio::test]
async fn what_the_python_sdks_sign_verifies_behind_the_gateway_and_forgeries_stay_out() {
    travel(Sdk::Python).await;
}

#[tokio::test]
async fn what_the_node_sdks_sign_verifies_behind_the_gateway_and_forgeries_stay_out() {
    travel(Sdk::Node).await;
}

/// How a request that an SDK signed is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sent {
    Genuine,
    BodyChanged,
    BodyShortened,
    Unsigned,
    OtherSecret,
    Stale,
}

const SENT: [Sent; 6] = [
    Sent::BodyChanged,
    Sent::BodyShortened,
    Sent::Unsigned,
    Sent::OtherSecret,
    Sent::Stale,
    // The last: its verdict says how many requests the backend has seen.
    Sent::Genuine,
];

struct Trip {
    party: &'static Party,
    body: &'static str,
    sent: Sent,
}

async fn travel(sdk: Sdk) {
    let parties: Vec<_> = PARTIES.iter().filter(|party| party.sdk == sdk).collect();
    let trips = trips(&parties);
    let questions: Vec<_> = trips.iter().map(Trip::question).collect();
    let secrets: Vec<_> = parties
        .iter()
        .map(|party| (party.provider, party.secret))
        .collect();
    let (signed, backend) = tokio::join!(sdk.ask("sign-many", &questions), sdk.backend(&secrets));
    let gateway = Gateway::start(&configuration(&parties, &backend.url())).await;
    let mut client = Client::connect(gateway.addr()).await;
    let mut seen = 0;
    let mut refused = 0;
    println!("{:18} {:28} genuine   forged", "provider", "SDK");
    for (trip, signed) in trips.iter().zip(&signed) {
        let response = client.request(&trip.request(signed)).await;
        let what = format!("{} {:?}: {response:?}", trip.party.provider, trip.sent);
        if trip.sent != Sent::Genuine {
            assert_eq!((response.status, response.text()), (401, ""), "{what}");
            refused += 1;
            continue;
        }
        seen += 1;
        assert_eq!(response.status, 200, "{what}");
        let verdict = response.json();
        assert_eq!(verdict["verified"], true, "{what}");
        assert_eq!(verdict["seen"], seen, "a forgery arrived: {what}");
        let by = verdict["sdk"].as_str().unwrap();
        println!(
            "{:18} {by:28} verified  {} refused",
            trip.party.provider,
            std::mem::take(&mut refused)
        );
    }
    assert_eq!(seen, 2 * parties.len());
}

fn trips(parties: &[&'static Party]) -> Vec<Trip> {
    let mut trips = Vec::new();
    for &party in parties {
        for body in [SMALL, UNICODE] {
            for sent in SENT {
                if party.timed || sent != Sent::Stale {
                    trips.push(Trip { party, body, sent });
                }
            }
        }
    }
    trips
}

impl Trip {
    fn question(&self) -> Value {
        let now = SystemClock.now().as_second();
        let secret = match self.sent {
            Sent::OtherSecret => self.party.other_secret,
            _ => self.party.secret,
        };
        json!({
            "provider": self.party.provider,
            "secret": secret,
            "body_base64": STANDARD.encode(self.body),
            "now": if self.sent == Sent::Stale { now - 600 } else { now },
        })
    }

    fn request(&self, signed: &Value) -> Request {
        let mut body = self.body.to_owned();
        match self.sent {
            Sent::BodyChanged => body = body.replace("evt_", "evt-"),
            Sent::BodyShortened => {
                body.pop();
            }
            _ => {}
        }
        let path = format!("/{}/in", self.party.provider);
        let mut request = Request::post(&path)
            .header("Content-Type", "application/json")
            .body(body);
        for (name, value) in pairs(signed) {
            let lower = name.to_lowercase();
            let is_signature = lower.contains("signature") || lower.contains("hmac");
            if !(is_signature && self.sent == Sent::Unsigned) {
                request = request.header(&name, value);
            }
        }
        request
    }
}

/// The headers of a `sign-many` answer.
fn pairs(signed: &Value) -> Vec<(String, String)> {
    serde_json::from_value(signed["headers"].clone())
        .unwrap_or_else(|_| panic!("the SDK did not sign: {signed}"))
}

fn configuration(parties: &[&Party], backend: &str) -> String {
    let mut yaml = format!(
        "server: {{listen: \"127.0.0.1:0\"}}\n\
         admin: {{listen: \"off\"}}\n\
         backends: {{sdk: {{url: \"{backend}\"}}}}\n\
         routes:\n"
    );
    for party in parties {
        yaml += &format!(
            "  {0}:\n    webhook: {{path: /{0}/in, verify: {{provider: {1}, secrets: [\"{2}\"]}}}}\n    \
             deliver: {{to: sdk}}\n",
            party.provider, party.preset, party.secret,
        );
    }
    yaml
}

#[tokio::test]
async fn the_python_sdks_accept_what_hookgate_signs_and_both_refuse_mutations() {
    return_travel(Sdk::Python).await;
}

#[tokio::test]
async fn the_node_sdks_accept_what_hookgate_signs_and_both_refuse_mutations() {
    return_travel(Sdk::Node).await;
}

/// A request that Hookgate signed, and how it is judged.
struct Judge {
    party: &'static Party,
    scheme: Scheme,
    mutation: &'static str,
    head: Head,
    body: String,
    secret: &'static str,
    now: Timestamp,
}

async fn return_travel(sdk: Sdk) {
    // Hookgate signs with the first scheme, and that of Shopify's newer events is the second.
    let judges: Vec<_> = PARTIES
        .iter()
        // Hookgate signs with the first scheme, and that of Shopify's newer events is the second.
        .filter(|party| party.sdk == sdk && party.provider == party.preset)
        .flat_map(judges)
        .collect();
    let questions: Vec<_> = judges.iter().map(Judge::question).collect();
    let answers = sdk.ask("verify-many", &questions).await;
    let mut refused = 0;
    println!("{:18} {:28} genuine   mutations", "provider", "SDK");
    for (judge, answer) in judges.iter().zip(&answers) {
        let what = format!("{} {}", judge.party.provider, judge.mutation);
        let genuine = judge.mutation == "none";
        assert_eq!(answer["verified"], genuine, "{what}: {answer}");
        assert_eq!(judge.hookgate_accepts(), genuine, "{what}");
        if genuine {
            let by = answer["sdk"].as_str().unwrap();
            println!(
                "{:18} {by:28} verified  {} refused",
                judge.party.provider,
                std::mem::take(&mut refused),
            );
        } else {
            refused += 1;
        }
    }
}

/// Every mutation of what Hookgate signs for one party, and the unchanged requests.
fn judges(party: &'static Party) -> Vec<Judge> {
    let preset = presets::builtin().unwrap().find(party.preset).unwrap();
    let scheme = preset.schemes[0].clone();
    let at = Timestamp::from_second(1_767_225_600).unwrap();
    let later = at + SignedDuration::from_mins(10);
    let genuine = |body: &'static str| Judge {
        party,
        head: sign(preset, &scheme, party.secret, body, at),
        scheme: scheme.clone(),
        mutation: "none",
        body: body.to_owned(),
        secret: party.secret,
        now: at,
    };
    let mutated = |mutation, change: &dyn Fn(&mut Judge)| {
        let mut judge = genuine(UNICODE);
        judge.mutation = mutation;
        change(&mut judge);
        judge
    };
    let mut judges = vec![
        mutated("body longer", &|judge| judge.body.push(' ')),
        mutated("body shorter", &|judge| {
            judge.body.pop();
        }),
        mutated("body changed", &|judge| {
            judge.body = judge.body.replace("1.10", "1.1")
        }),
        mutated("other secret", &|judge| judge.secret = party.other_secret),
        mutated("signature changed", &|judge| {
            let place = judge.scheme.parts().place.clone();
            judge.change_a_character(&place)
        }),
        mutated("unsigned", &|judge| {
            let Place::Header(name) = &judge.scheme.parts().place else {
                panic!("the signature stands in a header")
            };
            judge.head.headers = judge.head.headers.clone().without(name);
        }),
    ];
    if party.timed {
        judges.push(mutated("ten minutes later", &|judge| judge.now = later));
    }
    if let Some(place) = scheme.parts().id.clone() {
        judges.push(mutated("id changed", &|judge| {
            judge.change_a_character(&place)
        }));
    }
    // Last, as the row of the table tells of the mutations before it.
    judges.extend([genuine(UNICODE), genuine(SMALL)]);
    judges
}

fn sign(preset: &Preset, scheme: &Scheme, secret: &str, body: &str, at: Timestamp) -> Head {
    let mut head = Head {
        method: "POST".into(),
        target: Bytes::from_static(b"/in"),
        host: None,
        headers: preset.sample.headers.clone(),
    };
    let stamp = Stamp { at, id: "msg_1" };
    let key = key(scheme, secret);
    scheme
        .sign(&key, &mut head, body.as_bytes(), &stamp, &Terms::default())
        .unwrap();
    head
}

fn key(scheme: &Scheme, secret: &str) -> Key {
    let parts = scheme.parts();
    Key::new(parts.algorithm, &parts.key, &Secret::new(secret)).unwrap()
}

impl Judge {
    fn question(&self) -> Value {
        let headers: Vec<_> = texts(&self.head.headers).collect();
        json!({
            "provider": self.party.provider,
            "secret": self.secret,
            "headers": headers,
            "body_base64": STANDARD.encode(&self.body),
            "now": self.now.as_second(),
        })
    }

    fn hookgate_accepts(&self) -> bool {
        let keyed = (self.scheme.clone(), vec![key(&self.scheme, self.secret)]);
        let verifier = Verifier::new(vec![keyed], None).unwrap();
        let request = Judged::new(&self.head, self.body.as_bytes());
        verifier.verify(&request, self.now).is_ok()
    }

    /// Changes a character near the end, where base64 has no padding.
    fn change_a_character(&mut self, place: &Place) {
        let Place::Header(name) = place else {
            panic!("{place:?} is no header")
        };
        let mut value = self.head.headers.first(name).unwrap().to_vec();
        let at = value.len() - 4;
        value[at] = if value[at] == b'0' { b'1' } else { b'0' };
        self.head.headers.set(name, value);
    }
}

fn texts(headers: &Headers) -> impl Iterator<Item = (String, String)> {
    let text = |bytes: &Bytes| String::from_utf8(bytes.to_vec()).unwrap();
    headers
        .iter()
        .map(move |header| (text(&header.name), text(&header.value)))
}
