//! Signatures: a request is accepted only if what was signed is what was genuinely signed.
//!
//! Input: the moment of judging in seconds, a line break, a request as HTTP/1 with its body. The
//! committed corpus has a genuine request of each party, whose signed parts the fuzzer may change
//! as it likes: it does not know how to sign.

use std::fmt::Write as _;
use std::sync::OnceLock;
use std::time::Duration;

use bytes::Bytes;
use hookgate::config::compile::CompiledVector;
use hookgate::config::presets;
use hookgate::event::{Head, Headers};
use hookgate::ingress::head::{HEADERS_CEILING, from_http1};
use hookgate::secret::Secret;
use hookgate::signature::handshake::{ANSWER_BYTES_MAX, Require};
use hookgate::signature::key::{Key, KeyEncoding, KeyRule};
use hookgate::signature::message::{Inputs, Message};
use hookgate::signature::place::Place;
use hookgate::signature::scheme::{
    Algorithm, Encoding, Parse, SchemeParts, TimeUnit, TimestampPlace, TimestampRule, UrlPort,
};
use hookgate::signature::sign::Stamp;
use hookgate::signature::{Preset, Request, Scheme, Verified, Verifier};
use jiff::{SignedDuration, Timestamp};

const PUBLIC_URL: &str = "https://hooks.example.com/in";
const VERIFY_TOKEN: &str = "a verify token";
/// The moment when the parties without vectors sign.
const SIGNED_AT: &str = "2026-01-01T00:00:00Z";
const TOLERANCE: Duration = Duration::from_secs(300);

/// Somebody who signs, and everything that it ever signed.
struct Party {
    name: String,
    preset: Option<Preset>,
    public_url: String,
    /// Those that one of the secrets fits.
    schemes: Vec<Scheme>,
    verifier: Verifier,
    genuine: Vec<Genuine>,
    /// What the message holds besides timestamp, id and body.
    signed: Signed,
}

/// The parts of a message that the schemes of presets do not have.
#[derive(Default)]
struct Signed {
    places: Vec<Place>,
    method_and_target: bool,
}

struct Genuine {
    secret: Secret,
    signed_at: Timestamp,
    head: Head,
    body: String,
}

pub fn check(data: &[u8]) {
    let Some((now, head, body)) = read(data) else {
        return;
    };
    for party in parties() {
        party.judge(&head, &body, now);
    }
}

/// A genuine request of each party, by the party's name, in the form that [`check`] reads.
pub fn seeds() -> Vec<(String, Vec<u8>)> {
    let seed = |party: &Party| {
        let Genuine {
            signed_at,
            head,
            body,
            ..
        } = &party.genuine[0];
        let (method, target) = (&head.method, String::from_utf8_lossy(&head.target));
        let mut text = format!("{}\n{method} {target} HTTP/1.1\r\n", signed_at.as_second());
        for line in head.headers.iter() {
            let [name, value] = [&line.name, &line.value].map(|part| String::from_utf8_lossy(part));
            let _ = write!(text, "{name}: {value}\r\n");
        }
        (party.name.clone(), format!("{text}\r\n{body}").into_bytes())
    };
    parties().iter().map(seed).collect()
}

/// The names of the parties whose verifiers accept an input.
pub fn accepted_by(data: &[u8]) -> Vec<String> {
    let Some((now, head, body)) = read(data) else {
        return Vec::new();
    };
    let accepts = |party: &&Party| party.judge(&head, &body, now).is_some();
    let names = parties().iter().filter(accepts);
    names.map(|party| party.name.clone()).collect()
}

fn read(data: &[u8]) -> Option<(Timestamp, Head, Vec<u8>)> {
    let (now, request) = super::split_once(data, b"\n")?;
    let seconds = std::str::from_utf8(now).ok()?.parse().ok()?;
    let now = Timestamp::from_second(seconds).ok()?;
    let (head, body) = super::split_once(request, b"\r\n\r\n")?;
    let head = from_http1(&Bytes::from([head, b"\r\n\r\n"].concat()), HEADERS_CEILING).ok()?;
    Some((now, head, body.to_vec()))
}

impl Party {
    fn judge(&self, head: &Head, body: &[u8], now: Timestamp) -> Option<Verified> {
        let request = Request::new(head, body).with_public_url(Some(&self.public_url));
        let verified = self.verifier.verify(&request, now).ok();
        if let Some(Verified::Signature { scheme, .. }) = verified {
            let scheme = self.schemes[scheme].parts();
            let is_meant = |genuine: &&Genuine| self.repeats(genuine, scheme, &request, now);
            let found = self.genuine.iter().find(is_meant);
            assert!(found.is_some(), "{} never signed this", self.name);
        }
        if let Some(preset) = &self.preset {
            check_handshakes(preset, &request);
            for place in preset.event_id.iter().chain(&preset.event_type) {
                assert_eq!(
                    place.read(&request),
                    place.read_all(&request).into_iter().next()
                );
            }
        }
        verified
    }

    /// Whether all that the scheme signs is as it was in a genuine request.
    fn repeats(
        &self,
        genuine: &Genuine,
        scheme: &SchemeParts,
        request: &Request<'_>,
        now: Timestamp,
    ) -> bool {
        if let Algorithm::Static | Algorithm::Basic | Algorithm::Bearer = scheme.algorithm {
            return presents(scheme, &genuine.secret, request);
        }
        let original = Request::new(&genuine.head, genuine.body.as_bytes())
            .with_public_url(Some(&self.public_url));
        let same = |place: &Place| place.read_all(request) == place.read_all(&original);
        let is_fresh = |rule: &TimestampRule| {
            let age = now.as_duration() - genuine.signed_at.as_duration();
            let within = |limit: Option<Duration>, age: SignedDuration| {
                limit.is_none_or(|limit| age <= SignedDuration::try_from(limit).unwrap())
            };
            within(rule.max_past, age) && within(rule.max_future, -age)
        };
        let same_time = |rule: &TimestampRule| match &rule.place {
            TimestampPlace::Request(place) => same(place),
            TimestampPlace::Signature(key) => {
                listed(scheme, key, request) == listed(scheme, key, &original)
            }
        };
        let same_head = |of: fn(&Head) -> Option<&[u8]>| of(request.head()) == of(&genuine.head);
        let same_body = request.body() == genuine.body.as_bytes();
        let same_text = match self.name.as_str() {
            // Nothing stands between the URL, names and values, so that they may be cut elsewhere.
            "twilio" if scheme.body_hash.is_none() => {
                let text = |request| scheme.message.render(request, Inputs::default());
                text(request) == text(&original)
            }
            _ => same_body && (!scheme.message.needs_url() || same_head(Head::query)),
        };
        same_text
            && scheme.id.as_ref().is_none_or(same)
            && self.signed.places.iter().all(same)
            && scheme
                .timestamp
                .as_ref()
                .is_none_or(|rule| is_fresh(rule) && same_time(rule))
            && (!self.signed.method_and_target
                || same_head(|head| Some(head.method.as_bytes()))
                    && same_head(|head| Some(&head.target)))
    }
}

/// Whether the secret itself stands where the scheme looks for it.
fn presents(scheme: &SchemeParts, secret: &Secret, request: &Request<'_>) -> bool {
    let is_secret = |value: &[u8]| match scheme.algorithm {
        Algorithm::Static => value == secret.expose().as_bytes(),
        _ => {
            let mut head = own_head("/in");
            sign(&Scheme::new(scheme.clone()).unwrap(), secret, &mut head, "");
            let written = head.headers.first("Authorization").unwrap();
            word_and_rest(value) == word_and_rest(written)
        }
    };
    let values = scheme.place.read_all(request);
    values.iter().any(|value| is_secret(value))
}

/// `Basic dTpw=`, whose word has any case and whose padding is optional.
fn word_and_rest(value: &[u8]) -> Option<(String, String)> {
    let text = std::str::from_utf8(value).ok()?;
    let (word, rest) = text.split_once(' ')?;
    let rest = rest.trim().trim_end_matches('=').to_owned();
    Some((word.to_ascii_lowercase(), rest))
}

/// The values of a key in the list that the scheme's signature stands in.
fn listed(scheme: &SchemeParts, key: &str, request: &Request<'_>) -> Vec<String> {
    let Parse::List {
        item_sep, kv_sep, ..
    } = &scheme.parse
    else {
        return Vec::new();
    };
    let start = format!("{key}{kv_sep}");
    let mut found = Vec::new();
    for line in scheme.place.read_all(request) {
        let line = String::from_utf8_lossy(&line).into_owned();
        let items = line.split(item_sep.as_str()).map(str::trim);
        found.extend(items.filter_map(|item| item.strip_prefix(&start).map(str::to_owned)));
    }
    found
}

/// An answer is short, plain, and given to nobody who does not know the token.
fn check_handshakes(preset: &Preset, request: &Request<'_>) {
    let token = Secret::new(VERIFY_TOKEN);
    for handshake in &preset.handshakes {
        if !handshake.is(request) {
            continue;
        }
        let Ok(answer) = handshake.answer(request, Some(&token)) else {
            continue;
        };
        assert!(answer.body.len() <= ANSWER_BYTES_MAX && answer.body.is_ascii());
        if let Require::VerifyToken(place) = &handshake.require {
            assert_eq!(
                place.read(request).as_deref(),
                Some(VERIFY_TOKEN.as_bytes())
            );
        }
    }
}

fn parties() -> &'static [Party] {
    static PARTIES: OnceLock<Vec<Party>> = OnceLock::new();
    PARTIES.get_or_init(|| {
        let presets = presets::files().map(|(name, text)| {
            let compiled = presets::compile(name, text).unwrap();
            of_preset(compiled.preset, &compiled.vectors)
        });
        presets
            .chain([with_everything(), in_query_and_body()])
            .collect()
    })
}

/// A verifier knows one public URL, so only the vectors with the first one count.
fn of_preset(preset: Preset, vectors: &[CompiledVector]) -> Party {
    let accepted = vectors.iter().filter(|vector| vector.expect == "accepted");
    let public_url = accepted.clone().next().unwrap().public_url.clone();
    let genuine = accepted
        .filter(|vector| vector.public_url == public_url)
        .map(|vector| genuine(&preset, vector))
        .collect();
    let public_url = public_url.unwrap_or_else(|| PUBLIC_URL.to_owned());
    let (name, schemes) = (preset.name.clone(), preset.schemes.clone());
    party(
        name,
        Some(preset),
        public_url,
        schemes,
        genuine,
        Signed::default(),
    )
}

fn party(
    name: String,
    preset: Option<Preset>,
    public_url: String,
    mut schemes: Vec<Scheme>,
    genuine: Vec<Genuine>,
    signed: Signed,
) -> Party {
    schemes.retain(|scheme| !keys(scheme, &genuine).is_empty());
    let keyed = schemes
        .iter()
        .map(|scheme| (scheme.clone(), keys(scheme, &genuine)));
    let verifier = Verifier::new(keyed.collect(), Some(public_url.clone())).unwrap();
    Party {
        name,
        preset,
        public_url,
        schemes,
        verifier,
        genuine,
        signed,
    }
}

/// One secret need not fit every scheme of a preset.
fn keys(scheme: &Scheme, genuine: &[Genuine]) -> Vec<Key> {
    let SchemeParts { algorithm, key, .. } = scheme.parts();
    let secrets = genuine.iter().map(|genuine| &genuine.secret);
    secrets
        .filter_map(|secret| Key::new(*algorithm, key, secret).ok())
        .collect()
}

/// All vectors are judged at the moment of signing or within the tolerance, so the time is read
/// from the vector itself.
fn genuine(preset: &Preset, vector: &CompiledVector) -> Genuine {
    let mut headers = Headers::default();
    headers.push("Host", "hooks.example.com");
    for line in vector.headers.iter() {
        headers.push(line.name.clone(), line.value.clone());
    }
    let head = Head {
        method: vector.method.clone(),
        target: Bytes::copy_from_slice(vector.target.as_bytes()),
        host: Some("hooks.example.com".into()),
        headers,
    };
    let request = Request::new(&head, vector.body.as_bytes());
    let times = preset.schemes.iter().filter_map(|scheme| {
        let parts = scheme.parts();
        match &parts.timestamp.as_ref()?.place {
            TimestampPlace::Request(place) => {
                Some(String::from_utf8_lossy(&place.read(&request)?).into_owned())
            }
            TimestampPlace::Signature(key) => listed(parts, key, &request).into_iter().next(),
        }
    });
    let signed_at = times
        .filter_map(|text| Timestamp::from_second(text.parse().ok()?).ok())
        .next();
    let signed_at = signed_at.unwrap_or(vector.now);
    Genuine {
        secret: vector.secret.clone(),
        signed_at,
        body: vector.body.clone(),
        head,
    }
}

/// A scheme that signs every piece of a request that stands in its head.
fn with_everything() -> Party {
    let header = |name: &str| Place::Header(name.to_owned());
    let message = "{method}\n{path}\n{url}\n{ts}\n{id}\n{header:x-tenant}\n{query:q}\n{body}";
    let scheme = Scheme::new(SchemeParts {
        place: header("X-Signature"),
        parse: Parse::List {
            item_sep: ";".into(),
            kv_sep: "=".into(),
            key: "s".into(),
        },
        encoding: Encoding::Base64Url,
        algorithm: Algorithm::HmacSha512,
        key: key_rule(KeyEncoding::Base64),
        message: Message::parse(message).unwrap(),
        body_hash: None,
        absent: None,
        url_port: UrlPort::Either,
        id: Some(header("X-Id")),
        timestamp: Some(time_rule(
            TimestampPlace::Request(header("X-Time")),
            TimeUnit::Rfc3339,
        )),
    })
    .unwrap();
    let mut head = own_head("/in?q=a%20b&r=1");
    head.headers.push("X-Tenant", "acme");
    let secret = Secret::new("YSBzZWNyZXQgZm9yIGEgc2NoZW1lIG9mIG91ciBvd24");
    let body = r#"{"everything": "is signed"}"#.to_owned();
    sign(&scheme, &secret, &mut head, &body);
    let places = vec![header("x-tenant"), Place::Query("q".into())];
    own_party(
        "with-everything",
        scheme,
        secret,
        head,
        body,
        Signed {
            places,
            method_and_target: true,
        },
    )
}

/// A scheme whose values stand in the query and in the body.
fn in_query_and_body() -> Party {
    let query = |name: &str| Place::Query(name.to_owned());
    let parts = SchemeParts {
        place: query("sig"),
        parse: Parse::Whole,
        encoding: Encoding::Hex,
        algorithm: Algorithm::HmacSha1,
        key: key_rule(KeyEncoding::Hex),
        message: Message::parse("{ts}\n{id}\n{query:q}\n{json:$.n}\n{body}").unwrap(),
        body_hash: None,
        absent: None,
        url_port: UrlPort::AsWritten,
        id: Some(Place::Json("$.id".parse().unwrap())),
        timestamp: Some(time_rule(
            TimestampPlace::Request(query("t")),
            TimeUnit::Milliseconds,
        )),
    };
    let secret = Secret::new("000102030405060708090a0b0c0d0e0f");
    let body = r#"{"id": "e1", "n": 1.5}"#.to_owned();
    let milliseconds = signed_at().as_millisecond();
    // Only headers can be signed, so the message is signed as if it were a body.
    let mut signed = own_head("/in");
    let message = format!("{milliseconds}\ne1\na b\n1.5\n{body}");
    let over_body = Scheme::new(SchemeParts {
        place: Place::Header("X-Signature".into()),
        message: Message::parse("{body}").unwrap(),
        id: None,
        timestamp: None,
        ..parts.clone()
    });
    sign(&over_body.unwrap(), &secret, &mut signed, &message);
    let tag = String::from_utf8_lossy(signed.headers.first("X-Signature").unwrap()).into_owned();
    let head = own_head(&format!("/in?t={milliseconds}&q=a+b&sig={tag}"));
    let signed = Signed {
        places: vec![query("q")],
        method_and_target: false,
    };
    own_party(
        "in-query-and-body",
        Scheme::new(parts).unwrap(),
        secret,
        head,
        body,
        signed,
    )
}

fn own_party(
    name: &str,
    scheme: Scheme,
    secret: Secret,
    head: Head,
    body: String,
    signed: Signed,
) -> Party {
    let genuine = Genuine {
        secret,
        signed_at: signed_at(),
        head,
        body,
    };
    let (name, url) = (name.to_owned(), PUBLIC_URL.to_owned());
    party(name, None, url, vec![scheme], vec![genuine], signed)
}

fn own_head(target: &str) -> Head {
    let mut headers = Headers::default();
    headers.push("Host", "hooks.example.com");
    Head {
        method: "POST".into(),
        target: Bytes::copy_from_slice(target.as_bytes()),
        host: Some("hooks.example.com".into()),
        headers,
    }
}

fn sign(scheme: &Scheme, secret: &Secret, head: &mut Head, body: &str) {
    let SchemeParts { algorithm, key, .. } = scheme.parts();
    let key = Key::new(*algorithm, key, secret).unwrap();
    let stamp = Stamp {
        at: signed_at(),
        id: "e1",
    };
    scheme
        .sign(&key, head, body.as_bytes(), &stamp, Some(PUBLIC_URL))
        .unwrap();
}

fn signed_at() -> Timestamp {
    SIGNED_AT.parse().unwrap()
}

fn key_rule(encoding: KeyEncoding) -> KeyRule {
    KeyRule {
        encoding,
        strip_prefix: None,
    }
}

fn time_rule(place: TimestampPlace, unit: TimeUnit) -> TimestampRule {
    TimestampRule {
        place,
        unit,
        max_past: Some(TOLERANCE),
        max_future: Some(TOLERANCE),
    }
}
