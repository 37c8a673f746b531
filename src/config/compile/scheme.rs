//! Compiles schemes written out.

use std::time::Duration;

use jiff::SignedDuration;
use serde_json_path::JsonPath;

use super::verify::ZERO_TOLERANCE;
use super::{Compiler, HEADER_SHAPE, value};
use crate::config::decode::Field;
use crate::config::raw::verify as raw;
use crate::config::units::Window;
use crate::config::yaml::Span;
use crate::signature::algorithm::Algorithm;
use crate::signature::jwt::{ClaimHash, Issuer, JwtRule};
use crate::signature::message::Message;
use crate::signature::place::Place;
use crate::signature::scheme::{
    Encoding, ListForm, Parse, Scheme, SchemeError, SchemeParts, TimeUnit, TimestampPlace,
    TimestampRule, UrlPort,
};

/// How old, or how far ahead, a signature may be when nobody says otherwise.
const TOLERANCE: Duration = Duration::from_secs(300);
/// How far clocks may differ for the times of a token.
const LEEWAY: SignedDuration = SignedDuration::from_secs(5);
/// What stands for the id of the key.
const KEY_ID: &str = "{key_id}";

impl Compiler<'_> {
    pub(super) fn scheme(&mut self, field: &Field<raw::Scheme>) -> Option<Scheme> {
        let raw = field.get()?;
        // Every part is compiled before any is missed: a fault must not hide another.
        let algorithm = self.algorithm(raw);
        let signature = self.signature(raw, algorithm, field.span);
        let key = self.key_rule(value(&raw.key));
        let message = match &raw.message {
            Some(field) => self.message(field),
            None => Some(Message::body()),
        };
        let id = match &raw.id {
            Some(field) => field.get().and_then(|id| self.place(&id.from)).map(Some),
            None => Some(None),
        };
        let timestamp = match &raw.timestamp {
            Some(field) => self.timestamp(field).map(Some),
            None => Some(None),
        };
        let body_hash = self.optional_place(&raw.body_hash);
        let absent = self.optional_place(&raw.absent);
        let jwt = match &raw.jwt {
            Some(field) => self.jwt(field).map(Some),
            None => Some(None),
        };
        let when = self.when(value(&raw.when));
        let for_each = match &raw.for_each {
            Some(field) => field
                .get()
                .and_then(|path| self.json_path(field.span, path))
                .map(Some),
            None => Some(None),
        };
        let url_decode = value(&raw.url).and_then(|rule| value(&rule.decode));
        let url_decode = url_decode.into_iter().flatten();
        let url_decode: Vec<_> = url_decode
            .filter_map(|field| field.get().cloned())
            .collect();
        let url_port = match value(&raw.url).and_then(|rule| value(&rule.port)) {
            None | Some(raw::UrlPort::AsWritten) => UrlPort::AsWritten,
            Some(raw::UrlPort::Either) => UrlPort::Either,
        };
        let (place, parse, encoding) = signature?;
        let (algorithm, message, id, timestamp) = (algorithm?, message?, id?, timestamp?);
        let parts = SchemeParts {
            place,
            parse,
            encoding,
            algorithm,
            key: key?,
            message,
            unsigned_body: value(&raw.unsigned_body).copied().unwrap_or(false),
            jwt: jwt?,
            when: when?,
            for_each: for_each?,
            body_hash: body_hash?,
            absent: absent?,
            url_port,
            url_decode,
            id,
            timestamp,
        };
        match Scheme::new(parts) {
            Ok(scheme) => Some(scheme),
            Err(error) => {
                let (span, help) = contradiction(&error, raw);
                let span = span.unwrap_or(field.span);
                self.fault_with_help(span, error.to_string(), help);
                None
            }
        }
    }

    fn signature(
        &mut self,
        raw: &raw::Scheme,
        algorithm: Option<Algorithm>,
        span: Span,
    ) -> Option<(Place, Parse, Encoding)> {
        let Some(field) = &raw.signature else {
            if matches!(algorithm?, Algorithm::Basic | Algorithm::Bearer) {
                let place = Place::Header("Authorization".to_owned());
                return Some((place, Parse::Whole, Encoding::Hex));
            }
            let help = "write `signature: {from: {header: NAME}}`";
            self.fault_with_help(
                span,
                "the scheme does not say where the signature stands",
                help,
            );
            return None;
        };
        let signature = field.get()?;
        let place = self.place(&signature.from)?;
        let text = |field: &Option<Field<String>>, default: &str| {
            value(field).cloned().unwrap_or_else(|| default.to_owned())
        };
        let key = |field: &Field<String>| {
            let name = field.get()?.clone();
            Some(Some(name).filter(|name| name != KEY_ID))
        };
        let parse = match value(&signature.parse) {
            None | Some(raw::Parse::Whole) => Parse::Whole,
            Some(raw::Parse::Prefix(prefix)) => Parse::Prefix(prefix.clone()),
            Some(raw::Parse::List(list)) => Parse::List(ListForm {
                item_sep: text(&list.item_sep, ","),
                kv_sep: text(&list.kv_sep, "="),
                key: key(&list.key)?,
            }),
            Some(raw::Parse::Sets(sets)) => Parse::Sets {
                set_sep: text(&sets.set_sep, " "),
                list: ListForm {
                    item_sep: text(&sets.item_sep, ","),
                    kv_sep: text(&sets.kv_sep, "="),
                    key: key(&sets.key)?,
                },
            },
            Some(raw::Parse::Positional(rule)) => Parse::Positional {
                sep: text(&rule.sep, ","),
            },
        };
        Some((place, parse, encoding(&signature.encoding)))
    }

    fn jwt(&mut self, field: &Field<raw::JwtRule>) -> Option<JwtRule> {
        let raw = field.get()?;
        let mut algorithms = Vec::new();
        for field in raw.algorithms.get()? {
            let name = field.get()?;
            match name.parse() {
                Ok(algorithm) => algorithms.push(algorithm),
                Err(_) => {
                    let help = "choose from HS256, HS384, HS512, RS256, ES256, EdDSA …";
                    let message = format!("`{name}` is not an algorithm of tokens");
                    self.fault_with_help(field.span, message, help);
                }
            }
        }
        if raw.algorithms.get()?.is_empty() {
            let help = "write `algorithms: [HS256]`, as the provider has it";
            self.fault_with_help(raw.algorithms.span, "no algorithm is taken", help);
        }
        if algorithms.is_empty() {
            return None;
        }
        let audience = match &raw.audience {
            Some(field) => Some(self.message(field)?),
            None => None,
        };
        let body_hash = match value(&raw.body_hash) {
            Some(hash) => Some(ClaimHash {
                claim: hash.claim.get()?.clone(),
                encoding: encoding(&hash.encoding),
            }),
            None => None,
        };
        let leeway = value(&raw.leeway).and_then(|period| period.as_duration().try_into().ok());
        Some(JwtRule {
            algorithms,
            issuer: value(&raw.issuer).map(|issuer| match issuer.as_str() {
                KEY_ID => Issuer::KeyId,
                name => Issuer::Named(name.to_owned()),
            }),
            audience,
            body_hash,
            url_hash: value(&raw.url_hash).cloned(),
            leeway: leeway.unwrap_or(LEEWAY),
        })
    }

    /// Places and what stands there.
    fn when(&mut self, raw: Option<&raw::When>) -> Option<Vec<(Place, Message)>> {
        let mut when = Vec::new();
        let Some(raw) = raw else { return Some(when) };
        let header: fn(String) -> raw::From = raw::From::Header;
        for (list, from) in [
            (&raw.header, header),
            (&raw.query, raw::From::Query),
            (&raw.json, raw::From::Json),
            (&raw.form, raw::From::Form),
        ] {
            for (key, field) in value(list).into_iter().flatten() {
                let place = self.from(key.span, &from(key.name.clone()))?;
                when.push((place, self.message(field)?));
            }
        }
        Some(when)
    }

    pub(super) fn message(&mut self, field: &Field<String>) -> Option<Message> {
        let message = Message::parse(field.get()?);
        self.try_at(field.span, message)
    }

    pub(super) fn place(&mut self, field: &Field<raw::From>) -> Option<Place> {
        self.from(field.span, field.get()?)
    }

    /// `None` when what is written is no place; `Some(None)` when nothing is written.
    fn optional_place(&mut self, field: &Option<Field<raw::From>>) -> Option<Option<Place>> {
        match field {
            Some(field) => self.place(field).map(Some),
            None => Some(None),
        }
    }

    pub(super) fn from(&mut self, span: Span, from: &raw::From) -> Option<Place> {
        match from {
            raw::From::Header(name) => self.header_place(span, name),
            raw::From::Query(name) => Some(Place::Query(name.clone())),
            raw::From::Json(path) => self.json_place(span, path),
            raw::From::Form(name) => Some(Place::Form(name.clone())),
            raw::From::HeaderFamily(prefix) => {
                let Place::Header(prefix) = self.header_place(span, prefix)? else {
                    return None;
                };
                Some(Place::HeaderFamily(prefix))
            }
            raw::From::FormJson(rule) => {
                let path = self.json_path(rule.path.span, rule.path.get()?)?;
                Some(Place::FormJson(rule.field.get()?.clone(), path))
            }
            raw::From::Template(text) => {
                let message = self.try_at(span, Message::parse(text))?;
                Some(Place::Template(Box::new(message)))
            }
        }
    }

    pub(super) fn header_place(&mut self, span: Span, name: &str) -> Option<Place> {
        if http::HeaderName::from_bytes(name.as_bytes()).is_err() {
            let message = format!("`{name}` is not the name of a header");
            self.fault_with_help(span, message, HEADER_SHAPE);
            return None;
        }
        Some(Place::Header(name.to_owned()))
    }

    pub(super) fn json_place(&mut self, span: Span, path: &str) -> Option<Place> {
        self.json_path(span, path).map(Place::Json)
    }

    fn json_path(&mut self, span: Span, path: &str) -> Option<JsonPath> {
        match JsonPath::parse(path) {
            Ok(path) => Some(path),
            Err(error) => {
                let message = format!("`{path}` is not a JSONPath (RFC 9535): {error}");
                let help = "a JSONPath begins with `$`, like `$.data.id` or `$.items[0].id`";
                self.fault_with_help(span, message, help);
                None
            }
        }
    }

    fn timestamp(&mut self, field: &Field<raw::TimestampRule>) -> Option<TimestampRule> {
        let raw = field.get()?;
        let span = raw.from.span;
        let place = match raw.from.get()? {
            raw::TimestampFrom::Header(name) => {
                TimestampPlace::Request(self.header_place(span, name)?)
            }
            raw::TimestampFrom::Query(name) => TimestampPlace::Request(Place::Query(name.clone())),
            raw::TimestampFrom::Json(path) => TimestampPlace::Request(self.json_place(span, path)?),
            raw::TimestampFrom::Form(name) => TimestampPlace::Request(Place::Form(name.clone())),
            raw::TimestampFrom::Signature(key) => TimestampPlace::Signature(key.clone()),
            raw::TimestampFrom::Claim(claim) => TimestampPlace::Claim(claim.clone()),
        };
        let unit = match value(&raw.unit) {
            None | Some(raw::TimeUnit::S) => TimeUnit::Seconds,
            Some(raw::TimeUnit::Ms) => TimeUnit::Milliseconds,
            Some(raw::TimeUnit::Rfc3339) => TimeUnit::Rfc3339,
            Some(raw::TimeUnit::HttpDate) => TimeUnit::HttpDate,
        };
        if let Some(field) = raw.max_past.as_ref().filter(|field| is_zero(field)) {
            let help = "leave `max_past` out for the default, 5m";
            self.fault_with_help(field.span, ZERO_TOLERANCE, help);
        }
        let limit = |field: &Option<Field<Window>>| {
            value(field).map_or(Some(TOLERANCE), |window| window.as_duration())
        };
        Some(TimestampRule {
            place,
            unit,
            max_past: limit(&raw.max_past),
            max_future: limit(&raw.max_future),
        })
    }
}

fn encoding(field: &Option<Field<raw::Encoding>>) -> Encoding {
    match value(field) {
        None | Some(raw::Encoding::Hex) => Encoding::Hex,
        Some(raw::Encoding::Base64) => Encoding::Base64,
        Some(raw::Encoding::Base64url) => Encoding::Base64Url,
    }
}

fn is_zero(field: &Field<Window>) -> bool {
    let length = field.get().and_then(|window| window.as_duration());
    length.is_some_and(|length| length.is_zero())
}

/// Where a contradiction stands, and how to mend it.
fn contradiction(error: &SchemeError, raw: &raw::Scheme) -> (Option<Span>, &'static str) {
    let message = raw.message.as_ref().map(|field| field.span);
    let timestamp = raw.timestamp.as_ref().map(|field| field.span);
    let signature = raw.signature.as_ref().map(|field| field.span);
    match error {
        SchemeError::NoTimestamp => (message, "write `timestamp: {from: {header: NAME}}`"),
        SchemeError::NoId => (message, "write `id: {from: {header: NAME}}`"),
        SchemeError::NoList => (
            timestamp,
            "write `parse: {list: {key: v1}}`, or take the time from a header",
        ),
        SchemeError::EmptySeparator => (signature, "leave a separator out for the default"),
        SchemeError::TimestampNotSigned => (
            message.or(timestamp),
            "write it as the provider signs it, like `message: \"{ts}.{body}\"`",
        ),
        SchemeError::BodyNotSigned => (
            message,
            "write it as the provider signs it, like `message: \"{ts}.{body}\"`; where the provider \
             signs a few fields only, add `unsigned_body: true`",
        ),
        SchemeError::BodyHashNotSigned { .. } => (
            raw.body_hash.as_ref().map(|field| field.span),
            "put `{url}`, or the place itself, into the message as the provider signs it",
        ),
        SchemeError::KeyKind => (
            raw.key.as_ref().map(|field| field.span),
            "write `key: {public: raw_hex}` (or raw_b64, spki_b64, pem) with these alone",
        ),
        SchemeError::SecretNotHashed => (
            message,
            "put it where the provider has it: `{secret}{body}`",
        ),
        SchemeError::SecretInMessage => (
            message,
            "take it away, or choose an algorithm such as hash-sha256",
        ),
        SchemeError::TokenRule => (
            raw.jwt.as_ref().map(|field| field.span).or(timestamp),
            "write `algorithm: jwt` and `jwt: {algorithms: [HS256], body_hash: {claim: NAME}}`",
        ),
        SchemeError::BodyNotInToken => (
            raw.jwt.as_ref().map(|field| field.span),
            "write `body_hash: {claim: NAME}`, or `unsigned_body: true` if the provider has none",
        ),
        SchemeError::BodySigned => (
            raw.unsigned_body.as_ref().map(|field| field.span),
            "take `unsigned_body` away",
        ),
        SchemeError::KeyIdPlace => (
            raw.key.as_ref().map(|field| field.span).or(signature),
            "write `key: {id: list}` with `parse: {list: {key: \"{key_id}\"}}`, and neither alone",
        ),
    }
}
