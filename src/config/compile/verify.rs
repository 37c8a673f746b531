//! Compiles `webhook.verify`, and schemes written out.

use std::time::Duration;

use serde_json_path::JsonPath;

use super::{Compiler, HEADER_SHAPE, value};
use crate::config::decode::{Field, OneOrMany};
use crate::config::raw::verify as raw;
use crate::config::units::Period;
use crate::config::yaml::Span;
use crate::event::Fingerprint;
use crate::ingress::gate::{CheckMode, SignatureCheck};
use crate::secret::Secret;
use crate::signature::certificate::CertificateRule;
use crate::signature::key::{Key, KeyError};
use crate::signature::message::Message;
use crate::signature::place::Place;
use crate::signature::scheme::{
    Algorithm, Encoding, Parse, Scheme, SchemeError, SchemeParts, TimeUnit, TimestampPlace,
    TimestampRule, UrlPort,
};
use crate::signature::{Preset, Verifier};

/// How old, or how far ahead, a signature may be when nobody says otherwise.
const TOLERANCE: Duration = Duration::from_secs(300);
const REFUSED_STATUS: u16 = 401;
const SECRETS_SHAPE: &str = "write `secrets: [\"${{ secret.NAME }}\"]`";
const ZERO_TOLERANCE: &str = "a tolerance of zero would refuse every signature";
pub(super) const FINGERPRINT_SHAPE: &str =
    "write the 64 digits that `openssl x509 -in FILE -noout -fingerprint -sha256` prints";
const WAY: &str = "write `provider: NAME` (`hookgate providers` lists them) or `scheme: {…}`";

/// A compiled `verify`, with the presets it named.
pub(super) struct Check<'p> {
    pub(super) check: SignatureCheck,
    pub(super) presets: Vec<&'p Preset>,
}

/// A scheme with the keys that secrets made for it.
type Keyed = (Scheme, Vec<Key>);

/// One way to authenticate, compiled.
enum Compiled<'p> {
    Signature(Vec<Keyed>, Option<&'p Preset>),
    Certificate(CertificateRule),
}

/// One way to authenticate, as it stands in the file.
struct Way<'r> {
    span: Span,
    provider: &'r Option<Field<String>>,
    scheme: &'r Option<Field<raw::Scheme>>,
    client_cert: &'r Option<Field<raw::ClientCert>>,
    secrets: &'r Option<Field<OneOrMany<Secret>>>,
    tolerance: &'r Option<Field<Period>>,
}

impl<'a> Compiler<'a> {
    pub(super) fn verify(&mut self, field: &Field<raw::Verify>) -> Option<Check<'a>> {
        let verify = field.get()?;
        // Every part is compiled before any is missed: a fault must not hide another.
        let ways = self.ways(verify, field.span);
        let public_url = self.public_url(verify);
        let refused_status = self.refused_status(verify);
        let mut compiled = Vec::new();
        for way in ways.iter().flatten() {
            compiled.push(self.way(way));
        }
        let span = ways?.first().map_or(field.span, |way| way.span);
        let compiled: Vec<_> = compiled.into_iter().collect::<Option<_>>()?;
        let (mut schemes, mut presets, mut rules) = (Vec::new(), Vec::new(), Vec::new());
        for way in compiled {
            match way {
                Compiled::Signature(keyed, preset) => {
                    schemes.extend(keyed);
                    presets.extend(preset);
                }
                Compiled::Certificate(rule) => rules.push(rule),
            }
        }
        let verifier = Verifier::with_certificates(schemes, rules, public_url);
        let verifier = self.try_at(span, verifier)?;
        let mode = match value(&verify.enforce) {
            Some(false) => CheckMode::Observe,
            Some(true) | None => CheckMode::Enforce,
        };
        let check = SignatureCheck {
            verifier,
            mode,
            refused_status,
        };
        Some(Check { check, presets })
    }

    fn ways<'r>(&mut self, verify: &'r raw::Verify, span: Span) -> Option<Vec<Way<'r>>> {
        let named = [
            ("provider", verify.provider.as_ref().map(|field| field.span)),
            ("scheme", verify.scheme.as_ref().map(|field| field.span)),
            (
                "client_cert",
                verify.client_cert.as_ref().map(|field| field.span),
            ),
            ("any_of", verify.any_of.as_ref().map(|field| field.span)),
        ];
        let span = self.only_one("`verify`", &named, span)?;
        let Some(any_of) = &verify.any_of else {
            return Some(vec![Way {
                span,
                provider: &verify.provider,
                scheme: &verify.scheme,
                client_cert: &verify.client_cert,
                secrets: &verify.secrets,
                tolerance: &verify.tolerance,
            }]);
        };
        for (name, field) in [
            ("secrets", verify.secrets.as_ref().map(|field| field.span)),
            (
                "tolerance",
                verify.tolerance.as_ref().map(|field| field.span),
            ),
        ] {
            if let Some(span) = field {
                let message = format!("with `any_of`, `{name}` stands under each alternative");
                let help = "move it there, beside `provider` or `scheme`";
                self.fault_with_help(span, message, help);
            }
        }
        let alternatives = any_of.get()?;
        if alternatives.is_empty() {
            let message = "`any_of` is empty: nothing could ever be accepted";
            self.fault_with_help(any_of.span, message, WAY);
        }
        let mut ways = Some(Vec::new());
        for field in alternatives {
            let alternative = field.get()?;
            let named = [
                (
                    "provider",
                    alternative.provider.as_ref().map(|field| field.span),
                ),
                (
                    "scheme",
                    alternative.scheme.as_ref().map(|field| field.span),
                ),
                (
                    "client_cert",
                    alternative.client_cert.as_ref().map(|field| field.span),
                ),
            ];
            let Some(span) = self.only_one("an alternative", &named, field.span) else {
                ways = None;
                continue;
            };
            let Some(ways) = &mut ways else { continue };
            ways.push(Way {
                span,
                provider: &alternative.provider,
                scheme: &alternative.scheme,
                client_cert: &alternative.client_cert,
                secrets: &alternative.secrets,
                tolerance: &alternative.tolerance,
            });
        }
        ways.filter(|ways| !ways.is_empty())
    }

    /// The place of the one way that is named.
    fn only_one(
        &mut self,
        what: &str,
        named: &[(&str, Option<Span>)],
        whole: Span,
    ) -> Option<Span> {
        let present: Vec<_> = named
            .iter()
            .filter_map(|(name, span)| Some((*name, (*span)?)))
            .collect();
        match present.as_slice() {
            [(_, span)] => return Some(*span),
            [] => {
                let message = format!("{what} names no way to authenticate");
                self.fault_with_help(whole, message, WAY);
            }
            [(first, _), (second, span), ..] => {
                let message = format!("{what} has both `{first}` and `{second}`");
                let help = "keep one of them; several ways stand under `any_of`, as a list";
                self.fault_with_help(*span, message, help);
            }
        }
        None
    }

    fn way(&mut self, way: &Way<'_>) -> Option<Compiled<'a>> {
        if let Some(field) = way.client_cert {
            return self.client_cert(way, field).map(Compiled::Certificate);
        }
        self.some_secrets(way);
        let (schemes, preset) = match (way.provider, way.scheme) {
            (Some(field), _) => {
                let preset = self.preset(field)?;
                (preset.schemes.clone(), Some(preset))
            }
            (None, Some(field)) => (vec![self.scheme(field)?], None),
            (None, None) => return None,
        };
        let schemes = self.with_tolerance(way, schemes);
        let keyed = self.with_keys(way, schemes)?;
        Some(Compiled::Signature(keyed, preset))
    }

    fn client_cert(
        &mut self,
        way: &Way<'_>,
        field: &Field<raw::ClientCert>,
    ) -> Option<CertificateRule> {
        let secrets = way.secrets.as_ref().map(|field| field.span);
        let tolerance = way.tolerance.as_ref().map(|field| field.span);
        for (name, span) in [("secrets", secrets), ("tolerance", tolerance)] {
            if let Some(span) = span {
                let message = format!("`{name}` says nothing about a certificate");
                self.fault_with_help(span, message, format!("take `{name}` away"));
            }
        }
        if !self.certificates_asked {
            let message = "no listener asks for certificates: nothing could ever be accepted";
            let help = "write `tls: {cert: FILE, key: FILE, client_ca: FILE}` for a listener";
            self.fault_with_help(field.span, message, help);
        }
        let Some(list) = &field.get()?.fingerprints else {
            return Some(CertificateRule::any());
        };
        let mut fingerprints = Vec::new();
        let mut good = true;
        for field in list.get()? {
            let parsed = field.get().map(|text| text.parse::<Fingerprint>());
            match parsed {
                Some(Ok(fingerprint)) => fingerprints.push(fingerprint),
                Some(Err(error)) => {
                    self.fault_with_help(field.span, error.to_string(), FINGERPRINT_SHAPE);
                    good = false;
                }
                None => good = false,
            }
        }
        if !good {
            return None;
        }
        let rule = CertificateRule::one_of(fingerprints);
        rule.map_err(|error| {
            let help = "leave `fingerprints` out to take every certificate of `client_ca`";
            self.fault_with_help(list.span, error.to_string(), help);
        })
        .ok()
    }

    pub(super) fn preset(&mut self, field: &Field<String>) -> Option<&'a Preset> {
        let name = field.get()?;
        let presets = self.presets;
        let found = presets.find(name);
        if found.is_none() {
            self.unknown(field.span, "provider", name, presets.names());
        }
        found
    }

    fn with_tolerance(&mut self, way: &Way<'_>, schemes: Vec<Scheme>) -> Vec<Scheme> {
        let Some(field) = way.tolerance else {
            return schemes;
        };
        let Some(tolerance) = field.get() else {
            return schemes;
        };
        if schemes
            .iter()
            .all(|scheme| scheme.parts().timestamp.is_none())
        {
            let message = "nothing that is signed carries a time, so there is no age to limit";
            self.fault_with_help(field.span, message, "take `tolerance` away");
        }
        let tolerance = tolerance.as_duration();
        if tolerance.is_zero() {
            let help = "leave `tolerance` out for the provider's own";
            self.fault_with_help(field.span, ZERO_TOLERANCE, help);
        }
        schemes
            .into_iter()
            .map(|scheme| scheme.with_tolerance(tolerance))
            .collect()
    }

    /// Reports a way that has no secrets, whatever else is wrong with it.
    fn some_secrets(&mut self, way: &Way<'_>) {
        match way.secrets {
            None => {
                let message = "there are no secrets to verify with";
                self.fault_with_help(way.span, message, SECRETS_SHAPE);
            }
            Some(list) if list.get().is_some_and(|secrets| secrets.is_empty()) => {
                let message = "`secrets` is empty: nothing could ever be accepted";
                self.fault_with_help(list.span, message, SECRETS_SHAPE);
            }
            Some(_) => {}
        }
    }

    /// Gives each scheme the keys that the secrets make for it. A secret must fit one scheme at
    /// least; a scheme that no secret fits is not one that this route uses.
    fn with_keys(&mut self, way: &Way<'_>, schemes: Vec<Scheme>) -> Option<Vec<Keyed>> {
        let secrets = value(way.secrets).filter(|list| !list.is_empty())?;
        let mut keyed: Vec<Keyed> = schemes
            .into_iter()
            .map(|scheme| (scheme, Vec::new()))
            .collect();
        let mut good = true;
        for field in secrets {
            let Some(secret) = field.get() else {
                good = false;
                continue;
            };
            self.secrets.push(secret.clone());
            let mut refused = None;
            let mut fits = false;
            for (scheme, keys) in &mut keyed {
                match Key::new(scheme.parts().algorithm, &scheme.parts().key, secret) {
                    Ok(key) => {
                        keys.push(key);
                        fits = true;
                    }
                    Err(error) => refused = Some(error),
                }
            }
            if let (false, Some(error)) = (fits, refused) {
                let help = match error {
                    KeyError::Empty => SECRETS_SHAPE,
                    KeyError::Encoding { .. } | KeyError::Public { .. } => {
                        "copy the secret once more from the provider; perhaps a part is missing"
                    }
                };
                self.fault_with_help(field.span, error.to_string(), help);
                good = false;
            }
        }
        if !good {
            return None;
        }
        keyed.retain(|(_, keys)| !keys.is_empty());
        Some(keyed)
    }

    fn public_url(&mut self, verify: &raw::Verify) -> Option<String> {
        self.whole_url(verify.public_url.as_ref()?)
    }

    /// A URL with its scheme and host.
    pub(super) fn whole_url(&mut self, field: &Field<String>) -> Option<String> {
        let text = field.get()?;
        let is_url = text.parse::<http::Uri>().is_ok_and(|uri| {
            matches!(uri.scheme_str(), Some("http" | "https")) && uri.authority().is_some()
        });
        if !is_url {
            let help = "write the whole URL as the provider has it (https://hooks.example.com/in)";
            self.fault_with_help(field.span, format!("`{text}` is not a URL"), help);
        }
        Some(text.clone())
    }

    fn refused_status(&mut self, verify: &raw::Verify) -> u16 {
        let Some(field) = &verify.refused_status else {
            return REFUSED_STATUS;
        };
        let Some(status) = field.get().copied() else {
            return REFUSED_STATUS;
        };
        if !(400..=499).contains(&status) {
            let message = format!("the status {status} does not refuse");
            let help = "choose from 400 to 499, or leave it out for the default, 401";
            self.fault_with_help(field.span, message, help);
        }
        status
    }

    pub(super) fn scheme(&mut self, field: &Field<raw::Scheme>) -> Option<Scheme> {
        let raw = field.get()?;
        // Every part is compiled before any is missed: a fault must not hide another.
        let algorithm = self.algorithm(raw);
        let signature = self.signature(raw, algorithm, field.span);
        let key = self.key_rule(value(&raw.key));
        let message = match &raw.message {
            Some(field) => self.message(field),
            None => self.try_at(field.span, Message::parse("{body}")),
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
            body_hash: body_hash?,
            absent: absent?,
            url_port,
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
        let parse = match value(&signature.parse) {
            None | Some(raw::Parse::Whole) => Parse::Whole,
            Some(raw::Parse::Prefix(prefix)) => Parse::Prefix(prefix.clone()),
            Some(raw::Parse::List(list)) => {
                let text = |field: &Option<Field<String>>, default: &str| {
                    value(field).cloned().unwrap_or_else(|| default.to_owned())
                };
                Parse::List {
                    item_sep: text(&list.item_sep, ","),
                    kv_sep: text(&list.kv_sep, "="),
                    key: list.key.get()?.clone(),
                }
            }
        };
        let encoding = match value(&signature.encoding) {
            None | Some(raw::Encoding::Hex) => Encoding::Hex,
            Some(raw::Encoding::Base64) => Encoding::Base64,
            Some(raw::Encoding::Base64url) => Encoding::Base64Url,
        };
        Some((place, parse, encoding))
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
        match JsonPath::parse(path) {
            Ok(path) => Some(Place::Json(path)),
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
            raw::TimestampFrom::Signature(key) => TimestampPlace::Signature(key.clone()),
        };
        let unit = match value(&raw.unit) {
            None | Some(raw::TimeUnit::S) => TimeUnit::Seconds,
            Some(raw::TimeUnit::Ms) => TimeUnit::Milliseconds,
            Some(raw::TimeUnit::Rfc3339) => TimeUnit::Rfc3339,
        };
        if let Some(field) = raw.max_past.as_ref().filter(|field| is_zero(field)) {
            let help = "leave `max_past` out for the default, 5m";
            self.fault_with_help(field.span, ZERO_TOLERANCE, help);
        }
        let limit = |field: &Option<Field<Period>>| {
            value(field).map_or(TOLERANCE, |period| period.as_duration())
        };
        Some(TimestampRule {
            place,
            unit,
            max_past: Some(limit(&raw.max_past)),
            max_future: Some(limit(&raw.max_future)),
        })
    }
}

fn is_zero(field: &Field<Period>) -> bool {
    field
        .get()
        .is_some_and(|period| period.as_duration().is_zero())
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
            "write it as the provider signs it, like `message: \"{ts}.{body}\"`",
        ),
        SchemeError::BodyHashNotSigned { .. } => (
            raw.body_hash.as_ref().map(|field| field.span),
            "put `{url}`, or the place itself, into the message as the provider signs it",
        ),
        SchemeError::KeyKind => (
            raw.key.as_ref().map(|field| field.span),
            "write `key: {public: raw_hex}` (or raw_b64, spki_b64, pem) with these two alone",
        ),
    }
}
