//! The official SDKs of providers that sign fields of the body, URLs or tokens, or with a private key:
//! what they sign comes through, forgeries do not, and they accept what Hookgate signs.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a broken assumption of a test must fail the test"
)]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hookgate::config::presets;
use hookgate::event::{Head, Headers};
use hookgate::signature::sign::Stamp;
use hookgate::signature::{Preset, Terms, Verifier};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::support::client::Request;
use crate::support::sdk::{
    Age, Change, ED25519, Judged, OTHER_ED25519, OTHER_P256, OTHER_RSA, P256, Pair, RSA, Route,
    STALE_AFTER, Sdk, Signed, Trip, Verdicts, headers_for, judge, key, shared, travel,
};
use Change::{Field, Header, Method, Target, Text, Url, Without};

const ADYEN: &str = concat!(
    r#"{"live":"false","note":1.10,"notificationItems":[{"NotificationRequestItem":{"#,
    r#""additionalData":{"cardSummary":"1111"},"amount":{"currency":"EUR","value":1130},"#,
    r#""eventCode":"AUTHORISATION","eventDate":"2026-01-01T00:00:00+01:00","#,
    r#""merchantAccountCode":"TestMerchant","merchantReference":"order Zażółć 🦀","#,
    r#""pspReference":"7914073381342284","reason":"1234:7777:12/2030","success":"true"}},"#,
    r#"{"NotificationRequestItem":{"additionalData":{},"amount":{"currency":"EUR","value":500},"#,
    r#""eventCode":"REFUND","merchantAccountCode":"TestMerchant","originalReference":"7914073381342284","#,
    r#""merchantReference":"second","pspReference":"8835143381342285","success":"true"}}]}"#,
);
const BRAINTREE: &str = concat!(
    r#"<notification><timestamp type="datetime">2026-01-01T00:00:00Z</timestamp>"#,
    r#"<kind>check</kind><subject><check type="boolean">true</check></subject></notification>"#,
);
const MAILGUN: &str = concat!(
    r#"{"signature":{"token":"9e5dda09d9591cfb71061ea737b13a080a6c1fe16fcf2662bd","timestamp":"0"},"#,
    r#""event-data":{"id":"hookgate1-eNbkxnJ","timestamp":1767225600.10,"event":"opened","#,
    r#""recipient":"a@example.com","subject":"Zażółć 🦀"}}"#,
);
const DROPBOX_SIGN: &str = concat!(
    r#"{"event":{"event_type":"signature_request_sent","event_time":"0","event_hash":"","#,
    r#""event_metadata":{"related_signature_id":null,"reported_for_account_id":"615266b8"}},"#,
    r#""account_guid":"615266b8","#,
    r#""signature_request":{"signature_request_id":"21bb8f94","title":"Zażółć 🦀"}}"#,
);
const MERCADOPAGO: &str = concat!(
    r#"{"action":"payment.updated","data":{"id":"123456"},"date_created":"2026-01-01T00:00:00Z","#,
    r#""id":112233441,"type":"payment"}"#,
);
const MESSAGE: &str =
    "{\"type\":\"message.created\", \"text\":\"Zażółć 🦀 \\u00e9\", \"n\":1.10}\n";
const CALLBACK: &str = concat!(
    "MessageUUID=0f8c2a1e-8f0e&From=15551234567&To=15557654321&Status=delivered&",
    "Text=Za%C5%BC%C3%B3%C5%82%C4%87+%F0%9F%A6%80"
);
const ENTRY: &str =
    "{ \"sys\":{\"type\":\"Entry\",\"id\":\"59wcGlRD\"}, \"title\":\"Zażółć 🦀 \\u00e9\"}\n";
const MEETING: &str = concat!(
    r#"{"event":"meeting.started","payload":{"account_id":"AAAAAABBBB","#,
    r#""object":{"id":"1234567890","topic":"Zażółć 🦀"}},"event_ts":1767225600000}"#,
);
const MAILS: &str =
    "[{\"sg_event_id\":\"evt_1\",\"event\":\"delivered\",\"text\":\"Zażółć 🦀\"}]\r\n";
const NOTIFICATION: &str = concat!(
    r#"{"Type":"Notification","MessageId":"22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324","#,
    r#""TopicArn":"arn:aws:sns:us-east-1:123456789012:hookgate","Subject":"Zażółć 🦀","#,
    r#""Message":"{\"id\": 1}\n"}"#,
);
const INTERACTION: &str = "{\"id\":\"1\", \"type\":2, \"text\":\"Zażółć 🦀 \\u00e9\"}\n";

/// What Hookgate is asked to sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Open {
    /// The same body as the SDK.
    Asked,
    /// That of the preset's sample, as the SDK makes another form of what it is asked about.
    Sample,
}

/// An SDK and what it needs; `provider` is its name in the harness and that of the preset.
#[derive(Debug)]
struct Party {
    sdk: Sdk,
    provider: &'static str,
    age: Age,
    body: &'static str,
    open: Open,
    signs_url: bool,
    /// What Hookgate is asked to sign with; an SDK adds it by itself.
    query: &'static str,
    options: &'static [(&'static str, &'static str)],
    secret: Pair,
    other: Pair,
    /// What neither side accepts.
    signed: &'static [Change],
    /// What both accept, as the provider signs nothing of it.
    unsigned: &'static [Change],
}

const PARTY: Party = Party {
    sdk: Sdk::Python,
    provider: "",
    age: Age::Unlimited,
    body: "",
    open: Open::Asked,
    signs_url: false,
    query: "",
    options: &[],
    secret: shared("a shared secret of thirty-two bytes"),
    other: shared("another secret of thirty-two bytes"),
    signed: &[],
    unsigned: &[],
};

#[rustfmt::skip]
const PARTIES: [Party; 13] = [
    Party {
        provider: "adyen",
        body: ADYEN,
        secret: shared("4444444444444444444444444444444444444444444444444444444444444444"),
        other: shared("4545454545454545454545454545454545454545454545454545454545454545"),
        signed: &[
            Field("pspReference"), Field("merchantAccountCode"), Field("merchantReference"),
            Field("value"), Field("currency"), Field("eventCode"), Field("success"), Field("hmacSignature"),
            // The second item has a signature of its own.
            Text("REFUND", "CHARGEBACK"), Field("originalReference"), Text("500", "50"),
            Text("hmacSignature", "signature"), Text("NotificationRequestItem", "item"),
        ],
        unsigned: &[Field("live"), Field("note"), Field("reason"), Field("eventDate"), Field("cardSummary")],
        ..PARTY
    },
    Party {
        provider: "braintree",
        body: BRAINTREE,
        open: Open::Sample,
        secret: shared("hookgate_public:a private key"),
        other: shared("hookgate_public:another key"),
        signed: &[
            Field("bt_payload="), Field("hookgate_public%7C"), Text("hookgate_public", "another_public"),
            Text("bt_signature", "bt_"),
        ],
        unsigned: &[Text("bt_payload", "more=1&bt_payload")],
        ..PARTY
    },
    Party {
        provider: "mailgun",
        age: Age::Limited,
        body: MAILGUN,
        signed: &[
            Field("signature/token"), Field("signature/timestamp"), Field("signature/signature"),
            Text("signature", "signed"),
        ],
        unsigned: &[Field("event-data/id"), Field("event-data/timestamp"), Text("opened", "clicked")],
        ..PARTY
    },
    Party {
        provider: "dropbox_sign",
        body: DROPBOX_SIGN,
        open: Open::Sample,
        signed: &[
            Text("signature_request_sent", "signature_request_viewed"),
            Field("event_time"), Field("event_hash"), Text("event_hash", "event"),
        ],
        unsigned: &[Field("account_guid"), Field("signature_request_id"), Field("title")],
        ..PARTY
    },
    Party {
        provider: "mercadopago",
        body: MERCADOPAGO,
        query: "?data.id=123456",
        signed: &[
            Target("data.id=123456", "data.id=123457"), Target("data.id", "id"),
            Header("x-request-id", ""), Without("x-request-id"),
            Header("x-signature", "ts="), Header("x-signature", "v1="), Without("x-signature"),
        ],
        unsigned: &[Field("date_created"), Field("action"), Text("123456", "123457"), Target("?", "?more=1&")],
        ..PARTY
    },
    Party {
        provider: "messagebird",
        age: Age::Limited,
        body: MESSAGE,
        signs_url: true,
        signed: &[
            Field("text"), Text("\n", ""), Target("/in", "/in?more=1"), Url,
            Header("MessageBird-Signature-JWT", "."), Without("MessageBird-Signature-JWT"),
        ],
        ..PARTY
    },
    Party {
        provider: "plivo",
        body: CALLBACK,
        signs_url: true,
        signed: &[
            Field("Status"), Text("&To", "&more=1&To"), Text("&Status=delivered", ""),
            Target("/in", "/in?more=1"), Url,
            Header("X-Plivo-Signature-V3-Nonce", ""), Without("X-Plivo-Signature-V3-Nonce"),
            Header("X-Plivo-Signature-V3", ""), Without("X-Plivo-Signature-V3"),
        ],
        ..PARTY
    },
    Party {
        provider: "plivo_v2",
        body: CALLBACK,
        signs_url: true,
        signed: &[
            Url,
            Header("X-Plivo-Signature-V2-Nonce", ""), Without("X-Plivo-Signature-V2-Nonce"),
            Header("X-Plivo-Signature-V2", ""), Without("X-Plivo-Signature-V2"),
        ],
        unsigned: &[Field("Status"), Text("&To", "&more=1&To")],
        ..PARTY
    },
    Party {
        sdk: Sdk::Node,
        provider: "contentful",
        age: Age::Limited,
        body: ENTRY,
        signs_url: true,
        secret: shared("hookgate-sample-contentful-secret-hookgate-sample-contentful-sec"),
        other: shared("another--sample-contentful-secret-hookgate-sample-contentful-sec"),
        signed: &[
            Field("title"), Text("\n", ""), Target("/in", "/in?more=1"), Url, Method,
            Header("X-Contentful-Topic", ""), Header("X-Contentful-Timestamp", ""),
            Header("X-Contentful-Signed-Headers", "timestamp,x-contentful-"), Without("X-Contentful-Signed-Headers"),
            Header("X-Contentful-Signature", ""), Without("X-Contentful-Signature"),
        ],
        ..PARTY
    },
    Party {
        sdk: Sdk::Node,
        provider: "zoom",
        age: Age::LimitedHere,
        body: MEETING,
        signed: &[
            Field("topic"), Field("event_ts"), Header("x-zm-request-timestamp", ""),
            Without("x-zm-request-timestamp"), Header("x-zm-signature", "v0="), Without("x-zm-signature"),
        ],
        ..PARTY
    },
    Party {
        sdk: Sdk::Node,
        provider: "sendgrid",
        age: Age::LimitedHere,
        body: MAILS,
        secret: P256,
        other: OTHER_P256,
        signed: &[
            Field("text"), Text("\r\n", "\n"), Header("X-Twilio-Email-Event-Webhook-Timestamp", ""),
            Header("X-Twilio-Email-Event-Webhook-Signature", ""),
            Without("X-Twilio-Email-Event-Webhook-Timestamp"),
            Without("X-Twilio-Email-Event-Webhook-Signature"),
        ],
        ..PARTY
    },
    Party {
        sdk: Sdk::Node,
        provider: "discord",
        age: Age::LimitedHere,
        body: INTERACTION,
        secret: ED25519,
        other: OTHER_ED25519,
        signed: &[
            Field("text"), Text("\n", ""), Header("X-Signature-Timestamp", ""),
            Without("X-Signature-Timestamp"), Header("X-Signature-Ed25519", ""), Without("X-Signature-Ed25519"),
        ],
        ..PARTY
    },
    Party {
        sdk: Sdk::Node,
        provider: "aws_sns",
        age: Age::LimitedHere,
        body: NOTIFICATION,
        open: Open::Sample,
        options: &[("topic_arn", "arn:aws:sns:us-east-1:123456789012:hookgate")],
        secret: RSA,
        other: OTHER_RSA,
        signed: &[
            Field("\"Message\""), Field("MessageId"), Field("Subject"), Field("Timestamp"), Field("TopicArn"),
            Field("Type"), Field("SignatureVersion"), Field("\"Signature\""),
            Text("\"Signature\"", "\"signature\""), Text("\"Subject\"", "\"subject\""),
        ],
        unsigned: &[Field("UnsubscribeURL")],
        ..PARTY
    },
];

impl Party {
    fn of(sdk: Sdk) -> impl Iterator<Item = &'static Self> {
        PARTIES.iter().filter(move |party| party.sdk == sdk)
    }

    fn path(&self) -> String {
        format!("/{}/in", self.provider)
    }

    fn url_of(&self, target: &str) -> String {
        format!("https://hooks.example.com{target}")
    }

    fn preset(&self) -> &'static Preset {
        presets::builtin().unwrap().find(self.provider).unwrap()
    }

    fn terms(&self) -> Terms {
        let mut terms = Terms::from(self.signs_url.then(|| self.url_of(&self.path())));
        let options = self.options.iter();
        let options = options.map(|&(name, text)| (name.to_owned(), text.to_owned()));
        terms.options = options.collect();
        terms
    }

    fn route(&self) -> Route {
        Route {
            name: self.provider.to_owned(),
            path: self.path(),
            preset: self.provider,
            secret: self.secret.verifies,
            public_url: self.terms().public_url,
            options: self.options,
            more: ", methods: [POST, PUT]",
        }
    }
}

/// How a request that an SDK signed is sent, or one that Hookgate signed is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sent {
    Genuine,
    Signed(Change),
    Unsigned(Change),
    OtherSecret,
    Stale,
}

impl Party {
    /// Everything that a forger tries; the last is not forged.
    fn tries(&self) -> impl Iterator<Item = Sent> {
        let forged = self.signed.iter().copied().map(Sent::Signed);
        forged.chain([Sent::OtherSecret, Sent::Stale, Sent::Genuine])
    }
}

#[derive(Debug)]
struct Outbound {
    party: &'static Party,
    sent: Sent,
}

#[tokio::test]
async fn what_the_python_sdks_sign_verifies_behind_the_gateway_and_forgeries_stay_out() {
    outbound(Sdk::Python, Party::tries).await;
}

#[tokio::test]
async fn what_the_node_sdks_sign_verifies_behind_the_gateway_and_forgeries_stay_out() {
    outbound(Sdk::Node, Party::tries).await;
}

/// The provider's rule takes them, so they are no business of the gateway's.
#[tokio::test]
async fn changes_of_what_the_provider_does_not_sign_are_accepted_by_gateway_and_sdk() {
    outbound(Sdk::Python, |party| {
        party.unsigned.iter().copied().map(Sent::Unsigned)
    })
    .await;
}

async fn outbound<S: Iterator<Item = Sent>>(sdk: Sdk, tries: impl Fn(&'static Party) -> S) {
    let secrets: Vec<_> = Party::of(sdk)
        .map(|party| (party.provider, party.secret.verifies))
        .collect();
    let urls: Vec<_> = Party::of(sdk)
        .map(|party| (party.provider, party.url_of(&party.path())))
        .collect();
    let routes: Vec<_> = Party::of(sdk).map(Party::route).collect();
    let trips: Vec<_> = Party::of(sdk)
        .flat_map(|party| tries(party).map(move |sent| Outbound { party, sent }))
        .collect();
    let backend = sdk.backend_at(&secrets, &urls).await;
    travel(sdk, backend, &routes, &trips).await;
}

impl Trip for Outbound {
    fn provider(&self) -> &'static str {
        self.party.provider
    }

    fn is_refused(&self) -> bool {
        match self.sent {
            Sent::Genuine | Sent::Unsigned(_) => false,
            Sent::Stale => self.party.age.refuses_what_the_sdk_signed(),
            Sent::Signed(_) | Sent::OtherSecret => true,
        }
    }

    fn question(&self, now: i64) -> Value {
        let party = self.party;
        let secret = match self.sent {
            Sent::OtherSecret => party.other,
            _ => party.secret,
        };
        let path = match self.sent {
            Sent::Signed(Url) => party.path().replace("/in", "/other"),
            _ => party.path(),
        };
        json!({
            "provider": party.provider,
            "secret": secret.signs,
            "body_base64": STANDARD.encode(party.body),
            "url": party.url_of(&path),
            "now": if self.sent == Sent::Stale { now - STALE_AFTER } else { now },
        })
    }

    fn request(&self, signed: &Value, _: i64) -> Request {
        let body = match signed["body_base64"].as_str() {
            Some(body) => String::from_utf8(STANDARD.decode(body).unwrap()).unwrap(),
            None => self.party.body.to_owned(),
        };
        // What the SDK added to the URL is its query.
        let query = signed["url"].as_str().unwrap().split_once('?');
        let query = query.map(|(_, query)| format!("?{query}"));
        let target = self.party.path() + &query.unwrap_or_default();
        let mut signed = Signed::by_sdk(signed, target, body);
        if let Sent::Signed(change) | Sent::Unsigned(change) = self.sent
            && change != Url
        {
            signed.change(change);
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
    sent: Sent,
    signed: Signed,
    secret: Pair,
    now: Timestamp,
}

async fn inbound(sdk: Sdk) {
    let judged = |party: &'static Party| {
        let unsigned = party.unsigned.iter().copied().map(Sent::Unsigned);
        party
            .tries()
            .chain(unsigned)
            .map(move |sent| Inbound::new(party, sent))
    };
    let judged: Vec<_> = Party::of(sdk).flat_map(judged).collect();
    judge(sdk, &judged).await;
}

impl Inbound {
    fn new(party: &'static Party, sent: Sent) -> Self {
        let at = Timestamp::from_second(1_767_225_600).unwrap();
        let mut signed = sign(party, at);
        if let Sent::Signed(change) | Sent::Unsigned(change) = sent {
            signed.change(change);
        }
        let later = SignedDuration::from_secs(STALE_AFTER);
        Self {
            party,
            sent,
            signed,
            secret: match sent {
                Sent::OtherSecret => party.other,
                _ => party.secret,
            },
            now: if sent == Sent::Stale { at + later } else { at },
        }
    }
}

/// Has Hookgate sign for a party, with the first of the preset's schemes.
fn sign(party: &Party, at: Timestamp) -> Signed {
    let preset = party.preset();
    let scheme = &preset.schemes[0];
    let mut body = match party.open {
        Open::Asked => party.body,
        Open::Sample => &preset.sample.body,
    }
    .as_bytes()
    .to_vec();
    let mut head = Head {
        method: "POST".into(),
        target: Bytes::from(party.path() + party.query),
        host: None,
        headers: preset.sample.headers.clone(),
    };
    let stamp = Stamp { at, id: "msg_1" };
    let key = key(scheme, party.secret.signs);
    scheme
        .sign(&key, &mut head, &mut body, &stamp, &party.terms())
        .unwrap();
    Signed {
        method: "POST",
        target: String::from_utf8(head.target.to_vec()).unwrap(),
        headers: serde_json::from_value(headers_for(&head.headers)).unwrap(),
        body: String::from_utf8(body).unwrap(),
    }
}

impl Judged for Inbound {
    fn provider(&self) -> &'static str {
        self.party.provider
    }

    fn expected(&self) -> Verdicts {
        match self.sent {
            Sent::Genuine | Sent::Unsigned(_) => Verdicts::ACCEPTED,
            Sent::Stale => self.party.age.verdicts(),
            Sent::Signed(_) | Sent::OtherSecret => Verdicts::REFUSED,
        }
    }

    fn question(&self) -> Value {
        json!({
            "provider": self.party.provider,
            "secret": self.secret.verifies,
            "headers": self.signed.headers,
            "body_base64": STANDARD.encode(&self.signed.body),
            "url": self.party.url_of(&self.signed.target),
            "method": self.signed.method,
            "now": self.now.as_second(),
        })
    }

    fn hookgate_accepts(&self) -> bool {
        let mut headers = Headers::default();
        for (name, value) in &self.signed.headers {
            headers.push(name.clone(), value.clone());
        }
        let head = Head {
            method: self.signed.method.into(),
            target: Bytes::from(self.signed.target.clone()),
            host: None,
            headers,
        };
        // The public URL is the provider's, whatever a forged one was signed for.
        let mut terms = self.party.terms();
        if self.sent == Sent::Signed(Url) {
            let path = self.party.path().replace("/in", "/other");
            terms.public_url = Some(self.party.url_of(&path));
        }
        let schemes = self.party.preset().schemes.iter().map(|scheme| {
            let keys = vec![key(scheme, self.secret.verifies)];
            (scheme.clone(), keys)
        });
        let verifier = Verifier::new(schemes.collect(), terms.clone()).unwrap();
        let request = terms.request(&head, self.signed.body.as_bytes());
        verifier.verify(&request, self.now).is_ok()
    }
}
