//! The providers' official SDKs on both sides of the gateway: what they sign comes through and
//! verifies behind it, what is forged does not, and they accept what Hookgate signs.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a broken assumption of a test must fail the test"
)]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hookgate::config::presets;
use hookgate::event::{Head, Headers};
use hookgate::signature::place::Place;
use hookgate::signature::sign::Stamp;
use hookgate::signature::{Preset, Request as Asked, Scheme, Terms, Verifier};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::support::client::Request;
use crate::support::sdk::{
    Age, Judged, Route, STALE_AFTER, Sdk, Signed, Trip, Verdicts, headers_for, is_signature, judge,
    key, travel,
};

/// Holds what each SDK reads once it takes the signature for genuine.
const SMALL: &str = concat!(
    r#"{"id":"evt_1","object":"event","type":"storageUpdated","data":{"amount":1999},"#,
    r#""event":EVENT,"events":[],"webhookTimestamp":NOW_MS,"#,
    r#""payload":{"resource_type":"check","action":"check.completed"}}"#,
);
const UNICODE: &str = concat!(
    r#"{ "id": "evt_2", "object": "event", "type": "storageUpdated","#,
    r#" "event": EVENT, "events": [], "webhookTimestamp": NOW_MS,"#,
    r#" "payload": {"resource_type": "check", "action": "check.completed"},"#,
    r#" "data": {"text": "Zażółć gęślą jaźń, 日本語, 🦀", "n": 1.10,"#,
    r#" "escaped": "\u00e9\u0142 \ud83e\udd80 \u2028 \/ <\/b>"} }"#,
    "\n"
);

/// An SDK and what it needs; `provider` is its name in the harness.
#[derive(Debug)]
struct Party {
    sdk: Sdk,
    provider: &'static str,
    preset: &'static str,
    age: Age,
    secret: &'static str,
    other_secret: &'static str,
}

const STRIPE: (&str, &str) = ("whsec_sdk_test_stripe", "whsec_sdk_test_other");
const STANDARD_SECRET: (&str, &str) = (
    "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    "whsec_YW5vdGhlciBzZWNyZXQgb2YgSG9va2dhdGU=",
);
const PLAIN: (&str, &str) = ("8f742231b10e8888abcd99yyyzzz85a5", "another signing secret");
/// As long as HMAC-SHA256 wants it in a token.
const LONG: (&str, &str) = (
    "a shared secret of thirty-two bytes",
    "another secret of thirty-two bytes",
);
const HEX: (&str, &str) = (
    "4444444444444444444444444444444444444444444444444444444444444444",
    "4545454545454545454545454545454545454545454545454545454545454545",
);
/// A key is made of it once its accent and its ligature are taken apart.
const UNCOMPOSED: (&str, &str) = ("sécret ﬁ", "sécret fj");
const PAIR: (&str, &str) = (
    "hookgate_key:a shared secret of thirty-two bytes",
    "hookgate_key:another secret of thirty-two bytes",
);

#[rustfmt::skip]
const PARTIES: [Party; 45] = [
    party(Sdk::Python, "stripe", "stripe", Age::Limited, STRIPE),
    party(Sdk::Python, "slack", "slack", Age::Limited, PLAIN),
    party(Sdk::Python, "standardwebhooks", "standardwebhooks", Age::Limited, STANDARD_SECRET),
    party(Sdk::Python, "svix", "svix", Age::Limited, STANDARD_SECRET),
    party(Sdk::Python, "coinbase_commerce", "coinbase_commerce", Age::Unlimited, PLAIN),
    party(Sdk::Python, "gocardless", "gocardless", Age::Unlimited, PLAIN),
    party(Sdk::Python, "onfido", "onfido", Age::Unlimited, PLAIN),
    party(Sdk::Python, "razorpay", "razorpay", Age::Unlimited, PLAIN),
    party(Sdk::Python, "resend", "resend", Age::Limited, STANDARD_SECRET),
    party(Sdk::Python, "viber", "viber", Age::Unlimited, PLAIN),
    party(Sdk::Python, "workos", "workos", Age::Limited, PLAIN),
    party(Sdk::Python, "openai", "openai", Age::Limited, STANDARD_SECRET),
    party(Sdk::Python, "anthropic", "anthropic", Age::Limited, STANDARD_SECRET),
    party(Sdk::Python, "box", "box", Age::Limited, PLAIN),
    party(Sdk::Python, "easypost", "easypost", Age::Unlimited, UNCOMPOSED),
    party(Sdk::Python, "elevenlabs", "elevenlabs", Age::Limited, PLAIN),
    party(Sdk::Python, "polar", "polar", Age::Limited, PLAIN),
    party(Sdk::Python, "adyen_platform", "adyen_platform", Age::Unlimited, HEX),
    party(Sdk::Python, "vonage", "vonage", Age::OfToken, LONG),
    party(Sdk::Python, "cloudinary", "cloudinary", Age::Limited, PLAIN),
    party(Sdk::Python, "cloudinary_sha256", "cloudinary", Age::Limited, PLAIN),
    party(Sdk::Python, "increase", "increase", Age::Limited, PLAIN),
    party(Sdk::Python, "modern_treasury", "modern_treasury", Age::Unlimited, PLAIN),
    party(Sdk::Python, "retell", "retell", Age::Limited, PLAIN),
    party(Sdk::Node, "github", "github", Age::Unlimited, PLAIN),
    party(Sdk::Node, "shopify", "shopify", Age::Unlimited, PLAIN),
    party(Sdk::Node, "shopify_events", "shopify", Age::Unlimited, PLAIN),
    party(Sdk::Node, "stripe", "stripe", Age::Limited, STRIPE),
    party(Sdk::Node, "standardwebhooks", "standardwebhooks", Age::Limited, STANDARD_SECRET),
    party(Sdk::Node, "svix", "svix", Age::Limited, STANDARD_SECRET),
    party(Sdk::Node, "notion", "notion", Age::Unlimited, PLAIN),
    party(Sdk::Node, "mux", "mux", Age::Limited, PLAIN),
    party(Sdk::Node, "livekit", "livekit", Age::Limited, PAIR),
    party(Sdk::Node, "pusher", "pusher", Age::Unlimited, PAIR),
    party(Sdk::Node, "getstream", "getstream", Age::Unlimited, PLAIN),
    party(Sdk::Node, "twitch", "twitch", Age::LimitedHere, PLAIN),
    party(Sdk::Node, "sanity", "sanity", Age::Unlimited, PLAIN),
    party(Sdk::Node, "line", "line", Age::Unlimited, PLAIN),
    party(Sdk::Node, "paddle", "paddle", Age::Limited, PLAIN),
    party(Sdk::Node, "dodopayments", "dodopayments", Age::Limited, STANDARD_SECRET),
    party(Sdk::Node, "lithic", "lithic", Age::Limited, STANDARD_SECRET),
    party(Sdk::Node, "clerk", "clerk", Age::Limited, STANDARD_SECRET),
    party(Sdk::Node, "replicate", "replicate", Age::LimitedHere, STANDARD_SECRET),
    party(Sdk::Node, "linear", "linear", Age::Limited, PLAIN),
    party(Sdk::Node, "liveblocks", "liveblocks", Age::Limited, STANDARD_SECRET),
];

const fn party(
    sdk: Sdk,
    provider: &'static str,
    preset: &'static str,
    age: Age,
    (secret, other_secret): (&'static str, &'static str),
) -> Party {
    Party {
        sdk,
        provider,
        preset,
        age,
        secret,
        other_secret,
    }
}

impl Party {
    fn of(sdk: Sdk) -> impl Iterator<Item = &'static Self> {
        PARTIES.iter().filter(move |party| party.sdk == sdk)
    }

    /// A body that was written at this second.
    fn body(&self, body: &str, now: i64) -> String {
        let event = match self.provider {
            "livekit" => r#""room_started""#,
            _ => r#"{"id":"evt_1","type":"charge:confirmed"}"#,
        };
        body.replace("EVENT", event)
            .replace("NOW_MS", &format!("{now}000"))
    }

    /// The scheme that it signs with, of its preset's.
    fn scheme_index(&self) -> usize {
        usize::from(matches!(
            self.provider,
            "cloudinary_sha256" | "shopify_events"
        ))
    }

    /// The headers that come with a body which Hookgate signs.
    fn sample_headers(&self, preset: &Preset) -> Headers {
        let mut headers = preset.sample.headers.clone();
        if self.provider == "shopify_events" {
            for header in preset.sample.headers.iter() {
                if let Some(name) = header.name.strip_prefix(b"X-") {
                    headers.set(str::from_utf8(name).unwrap(), header.value.clone());
                }
            }
        }
        headers
    }
}

#[tokio::test]
async fn what_the_python_sdks_sign_verifies_behind_the_gateway_and_forgeries_stay_out() {
    outbound(Sdk::Python).await;
}

#[tokio::test]
async fn what_the_node_sdks_sign_verifies_behind_the_gateway_and_forgeries_stay_out() {
    outbound(Sdk::Node).await;
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

#[derive(Debug)]
struct Outbound {
    party: &'static Party,
    body: &'static str,
    sent: Sent,
}

async fn outbound(sdk: Sdk) {
    let secrets: Vec<_> = Party::of(sdk)
        .map(|party| (party.provider, party.secret))
        .collect();
    let route = |party: &Party| Route {
        name: party.provider.to_owned(),
        path: format!("/{}/in", party.provider),
        preset: party.preset,
        secret: party.secret,
        public_url: None,
        options: &[],
        more: "",
    };
    let routes: Vec<_> = Party::of(sdk).map(route).collect();
    let trips: Vec<_> = Party::of(sdk).flat_map(trips).collect();
    travel(sdk, sdk.backend(&secrets).await, &routes, &trips).await;
}

fn trips(party: &'static Party) -> impl Iterator<Item = Outbound> {
    let bodies = [SMALL, UNICODE].into_iter();
    bodies.flat_map(move |body| SENT.map(|sent| Outbound { party, body, sent }))
}

impl Outbound {
    fn signed_at(&self, now: i64) -> i64 {
        match self.sent {
            Sent::Stale => now - STALE_AFTER,
            _ => now,
        }
    }
}

impl Trip for Outbound {
    fn provider(&self) -> &'static str {
        self.party.provider
    }

    fn is_refused(&self) -> bool {
        match self.sent {
            Sent::Genuine => false,
            Sent::Stale => self.party.age.refuses_what_the_sdk_signed(),
            _ => true,
        }
    }

    fn question(&self, now: i64) -> Value {
        let secret = match self.sent {
            Sent::OtherSecret => self.party.other_secret,
            _ => self.party.secret,
        };
        let at = self.signed_at(now);
        json!({
            "provider": self.party.provider,
            "secret": secret,
            "body_base64": STANDARD.encode(self.party.body(self.body, at)),
            "now": at,
        })
    }

    fn request(&self, signed: &Value, now: i64) -> Request {
        let mut body = self.party.body(self.body, self.signed_at(now));
        match self.sent {
            Sent::BodyChanged => body = body.replace("evt_", "evt-"),
            Sent::BodyShortened => {
                body.pop();
            }
            _ => {}
        }
        let target = format!("/{}/in", self.party.provider);
        let mut signed = Signed::by_sdk(signed, target, body);
        if self.sent == Sent::Unsigned {
            signed.headers.retain(|(name, _)| !is_signature(name));
        }
        signed.request()
    }
}

#[tokio::test]
async fn the_python_sdks_accept_what_hookgate_signs_and_both_refuse_mutations() {
    inbound(Sdk::Python).await;
}

#[tokio::test]
async fn the_node_sdks_accept_what_hookgate_signs_and_both_refuse_mutations() {
    inbound(Sdk::Node).await;
}

/// A request that Hookgate signed, and how it is judged.
#[derive(Debug)]
struct Inbound {
    party: &'static Party,
    scheme: Scheme,
    mutation: &'static str,
    expected: Verdicts,
    head: Head,
    body: String,
    secret: &'static str,
    now: Timestamp,
}

async fn inbound(sdk: Sdk) {
    let judged: Vec<_> = Party::of(sdk).flat_map(judged).collect();
    judge(sdk, &judged).await;
}

/// Every mutation of what Hookgate signs for one party, and the unchanged requests.
fn judged(party: &'static Party) -> Vec<Inbound> {
    let preset = presets::builtin().unwrap().find(party.preset).unwrap();
    let scheme = preset.schemes[party.scheme_index()].clone();
    let at = Timestamp::from_second(1_767_225_600).unwrap();
    let genuine = |body: &'static str| {
        let body = party.body(body, at.as_second());
        Inbound {
            party,
            head: sign(
                party.sample_headers(preset),
                &scheme,
                party.secret,
                &body,
                at,
            ),
            scheme: scheme.clone(),
            mutation: "none",
            expected: Verdicts::ACCEPTED,
            body,
            secret: party.secret,
            now: at,
        }
    };
    let mutated = |mutation, change: &dyn Fn(&mut Inbound)| {
        let mut judged = genuine(UNICODE);
        judged.mutation = mutation;
        judged.expected = Verdicts::REFUSED;
        change(&mut judged);
        judged
    };
    let mut judged = vec![
        genuine(UNICODE),
        genuine(SMALL),
        mutated("body longer", &|judged| judged.body.push(' ')),
        mutated("body shorter", &|judged| {
            judged.body.pop();
        }),
        mutated("body changed", &|judged| {
            judged.body = judged.body.replace("1.10", "1.1")
        }),
        mutated("other secret", &|judged| judged.secret = party.other_secret),
        mutated("signature changed", &|judged| {
            let place = judged.scheme.parts().place.clone();
            judged.change_a_character(&place)
        }),
        mutated("unsigned", &|judged| {
            let Place::Header(name) = &judged.scheme.parts().place else {
                panic!("the signature stands in a header")
            };
            judged.head.headers = judged.head.headers.clone().without(name);
        }),
        mutated("three hours later", &|judged| {
            judged.now = at + SignedDuration::from_secs(STALE_AFTER);
            judged.expected = party.age.verdicts();
        }),
    ];
    if let Some(place) = scheme.parts().id.clone() {
        judged.push(mutated("id changed", &|judged| {
            judged.change_a_character(&place)
        }));
    }
    judged
}

fn sign(headers: Headers, scheme: &Scheme, secret: &str, body: &str, at: Timestamp) -> Head {
    let mut head = Head {
        method: "POST".into(),
        target: Bytes::from_static(b"/in"),
        host: None,
        headers,
    };
    let stamp = Stamp { at, id: "msg_1" };
    let key = key(scheme, secret);
    scheme
        .sign(&key, &mut head, body.as_bytes(), &stamp, &Terms::default())
        .unwrap();
    head
}

impl Judged for Inbound {
    fn provider(&self) -> &'static str {
        self.party.provider
    }

    fn expected(&self) -> Verdicts {
        self.expected
    }

    fn question(&self) -> Value {
        json!({
            "provider": self.party.provider,
            "secret": self.secret,
            "headers": headers_for(&self.head.headers),
            "body_base64": STANDARD.encode(&self.body),
            "now": self.now.as_second(),
        })
    }

    fn hookgate_accepts(&self) -> bool {
        let keyed = (self.scheme.clone(), vec![key(&self.scheme, self.secret)]);
        let verifier = Verifier::new(vec![keyed], None).unwrap();
        let request = Asked::new(&self.head, self.body.as_bytes());
        verifier.verify(&request, self.now).is_ok()
    }
}

impl Inbound {
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
