//! Signatures: a request is accepted only if what was signed is what was genuinely signed.
//!
//! Input: the moment of judging in seconds, a line break, a request as HTTP/1 with its body. The
//! committed corpus has a genuine request of each party, whose signed parts the fuzzer may change
//! as it likes: it does not know how to sign.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use bytes::Bytes;
use hookgate::config::compile::CompiledVector;
use hookgate::config::presets;
use hookgate::event::{Head, Headers};
use hookgate::ingress::head::{HEADERS_CEILING, from_http1};
use hookgate::secret::Secret;
use hookgate::signature::algorithm::{Algorithm, Hash};
use hookgate::signature::handshake::{ANSWER_BYTES_MAX, Require};
use hookgate::signature::key::{Key, KeyEncoding, KeyRule};
use hookgate::signature::message::Message;
use hookgate::signature::place::Place;
use hookgate::signature::preset::Proof;
use hookgate::signature::scheme::{
    Encoding, ListForm, Parse, SchemeParts, TimeUnit, TimestampPlace, TimestampRule, UrlPort,
};
use hookgate::signature::sign::Stamp;
use hookgate::signature::{Preset, Request, Scheme, Terms, Verified, Verifier};
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
    terms: Terms,
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
        let request = self.terms.request(head, body);
        let verified = self.verifier.verify(&request, now).ok();
        if let Some(Verified::Signature { scheme, .. }) = verified {
            let scheme = &self.schemes[scheme];
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
        scheme: &Scheme,
        request: &Request<'_>,
        now: Timestamp,
    ) -> bool {
        let parts = scheme.parts();
        let original = self.terms.request(&genuine.head, genuine.body.as_bytes());
        if let Some(path) = &parts.for_each {
            let originals = original.items(path);
            let items = request.items(path);
            return items.iter().all(|item| {
                let mut originals = originals.iter();
                originals.any(|original| self.repeats_one(genuine, scheme, item, original, now))
            });
        }
        self.repeats_one(genuine, scheme, request, &original, now)
    }

    fn repeats_one(
        &self,
        genuine: &Genuine,
        scheme: &Scheme,
        request: &Request<'_>,
        original: &Request<'_>,
        now: Timestamp,
    ) -> bool {
        let parts = scheme.parts();
        let same = |place: &Place| place.read_all(request) == place.read_all(original);
        let same_body = request.body() == original.body();
        match parts.algorithm {
            Algorithm::Static | Algorithm::Basic | Algorithm::Bearer => {
                return presents(parts, &genuine.secret, request);
            }
            Algorithm::Jwt => return same(&parts.place) && (parts.unsigned_body || same_body),
            _ => {}
        }
        let is_fresh = |rule: &TimestampRule| {
            let age = now.as_duration() - genuine.signed_at.as_duration();
            let within = |limit: Option<Duration>, age: SignedDuration| {
                limit.is_none_or(|limit| age <= SignedDuration::try_from(limit).unwrap())
            };
            within(rule.max_past, age) && within(rule.max_future, -age)
        };
        let same_time = |rule: &TimestampRule| match &rule.place {
            TimestampPlace::Request(place) => same(place),
            TimestampPlace::Signature(_) | TimestampPlace::Claim(_) => true,
        };
        let same_head = |of: fn(&Head) -> Option<&[u8]>| of(request.head()) == of(&genuine.head);
        let key = Key::new(parts.algorithm, &parts.key, &genuine.secret);
        let same_text = key.is_ok_and(|key| {
            let texts = |request| scheme.signed_texts(&key, request).unwrap_or_default();
            let originals = texts(original);
            texts(request).iter().any(|text| originals.contains(text))
        });
        same_text
            && (parts.body_hash.is_none() || same_body)
            && parts.id.as_ref().is_none_or(same)
            && self.signed.places.iter().all(same)
            && parts
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

/// An answer is short, plain, and given to nobody who does not know the token.
fn check_handshakes(preset: &Preset, request: &Request<'_>) {
    let token = Secret::new(VERIFY_TOKEN);
    for handshake in &preset.handshakes {
        if !handshake.is(request) {
            continue;
        }
        let Ok(answer) = handshake.answer(request, Some(&token), None) else {
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
        let presets = files().into_iter().filter_map(|path| {
            let name = path.file_stem().unwrap().to_str().unwrap();
            let text = std::fs::read_to_string(&path).unwrap();
            let compiled = presets::compile(name, &text).unwrap();
            let signs = compiled.preset.proof == Proof::Scheme;
            signs.then(|| of_preset(compiled.preset, &compiled.vectors))
        });
        presets
            .chain([with_everything(), in_query_and_body()])
            .collect()
    })
}

/// The presets with their vectors. This file is part of two crates, one in a folder of the other.
fn files() -> Vec<PathBuf> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = own.join("conf/providers");
    let folder = match folder.exists() {
        true => folder,
        false => own.join("../conf/providers"),
    };
    let files = std::fs::read_dir(folder).unwrap();
    let mut files: Vec<_> = files.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// A verifier knows one public URL, so only the vectors with the first one count.
fn of_preset(preset: Preset, vectors: &[CompiledVector]) -> Party {
    let accepted = vectors.iter().filter(|vector| vector.expect == "accepted");
    let mut terms = accepted.clone().next().unwrap().terms.clone();
    let genuine = accepted
        .filter(|vector| vector.terms.public_url == terms.public_url)
        .filter(|vector| vector.terms.options == terms.options)
        .map(|vector| genuine(&preset, vector))
        .collect();
    terms
        .public_url
        .get_or_insert_with(|| PUBLIC_URL.to_owned());
    let (name, schemes) = (preset.name.clone(), preset.schemes.clone());
    party(
        name,
        Some(preset),
        terms,
        schemes,
        genuine,
        Signed::default(),
    )
}

fn party(
    name: String,
    preset: Option<Preset>,
    terms: Terms,
    mut schemes: Vec<Scheme>,
    genuine: Vec<Genuine>,
    signed: Signed,
) -> Party {
    schemes.retain(|scheme| !keys(scheme, &genuine).is_empty());
    let keyed = schemes
        .iter()
        .map(|scheme| (scheme.clone(), keys(scheme, &genuine)));
    let verifier = Verifier::new(keyed.collect(), terms.clone()).unwrap();
    Party {
        name,
        preset,
        terms,
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
        let rule = scheme.parts().timestamp.as_ref()?;
        let text = scheme.timestamp(&request)?;
        time(rule.unit, &text)
    });
    let signed_at = times.min_by_key(|time| time.duration_since(vector.now).abs());
    let signed_at = signed_at.unwrap_or(vector.now);
    Genuine {
        secret: vector.secret.clone(),
        signed_at,
        body: vector.body.clone(),
        head,
    }
}

fn time(unit: TimeUnit, text: &str) -> Option<Timestamp> {
    match unit {
        TimeUnit::Seconds => Timestamp::from_second(text.parse().ok()?).ok(),
        TimeUnit::Milliseconds => Timestamp::from_millisecond(text.parse().ok()?).ok(),
        TimeUnit::Rfc3339 => text.parse().ok(),
        TimeUnit::HttpDate => httpdate::parse_http_date(text).ok()?.try_into().ok(),
    }
}

/// A scheme that signs every piece of a request that stands in its head.
fn with_everything() -> Party {
    let header = |name: &str| Place::Header(name.to_owned());
    let message = "{method}\n{path}\n{url}\n{ts}\n{id}\n{header:x-tenant}\n{query:q}\n{body}";
    let algorithm = Algorithm::Hmac(Hash::Sha512);
    let scheme = Scheme::new(SchemeParts {
        parse: Parse::List(ListForm {
            item_sep: ";".into(),
            kv_sep: "=".into(),
            key: Some("s".into()),
        }),
        encoding: Encoding::Base64Url,
        key: key_rule(KeyEncoding::Base64),
        message: Message::parse(message).unwrap(),
        url_port: UrlPort::Either,
        id: Some(header("X-Id")),
        timestamp: Some(time_rule(
            TimestampPlace::Request(header("X-Time")),
            TimeUnit::Rfc3339,
        )),
        ..SchemeParts::of_body(header("X-Signature"), algorithm)
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
        key: key_rule(KeyEncoding::Hex),
        message: Message::parse("{ts}\n{id}\n{query:q}\n{json:$.n}\n{body}").unwrap(),
        id: Some(Place::Json("$.id".parse().unwrap())),
        timestamp: Some(time_rule(
            TimestampPlace::Request(query("t")),
            TimeUnit::Milliseconds,
        )),
        ..SchemeParts::of_body(query("sig"), Algorithm::Hmac(Hash::Sha1))
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
    let (name, terms) = (name.to_owned(), own_terms());
    party(name, None, terms, vec![scheme], vec![genuine], signed)
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
        .sign(&key, head, body.as_bytes(), &stamp, &own_terms())
        .unwrap();
}

fn own_terms() -> Terms {
    Terms::from(Some(PUBLIC_URL.to_owned()))
}

fn signed_at() -> Timestamp {
    SIGNED_AT.parse().unwrap()
}

fn key_rule(encoding: KeyEncoding) -> KeyRule {
    KeyRule {
        encoding,
        ..KeyRule::plain()
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
