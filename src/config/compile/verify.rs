//! Compiles `webhook.verify`, and schemes written out.

use std::time::Duration;

use serde_json_path::JsonPath;

use super::{Compiler, value};
use crate::config::decode::{Field, OneOrMany};
use crate::config::raw::verify as raw;
use crate::config::units::Period;
use crate::config::yaml::Span;
use crate::ingress::gate::{CheckMode, SignatureCheck};
use crate::secret::Secret;
use crate::signature::key::{Key, KeyEncoding, KeyRule};
use crate::signature::message::Message;
use crate::signature::place::Place;
use crate::signature::scheme::{
    Algorithm, Encoding, Parse, Scheme, SchemeParts, TimeUnit, TimestampPlace, TimestampRule,
};
use crate::signature::{Preset, Verifier};

/// How old, or how far ahead, a signature may be when nobody says otherwise.
const TOLERANCE: Duration = Duration::from_secs(300);
const REFUSED_STATUS: u16 = 401;
const ONE_OF: &str = "write one of `provider`, `scheme` and `any_of`";

/// A compiled `verify`, with the presets it named.
pub(super) struct Check<'p> {
    pub(super) check: SignatureCheck,
    pub(super) presets: Vec<&'p Preset>,
}

/// A scheme with the keys that secrets made for it.
type Keyed = (Scheme, Vec<Key>);

/// One way to authenticate, as it stands in the file.
struct Way<'r> {
    span: Span,
    provider: &'r Option<Field<String>>,
    scheme: &'r Option<Field<raw::Scheme>>,
    secrets: &'r Option<Field<OneOrMany<Secret>>>,
    tolerance: &'r Option<Field<Period>>,
}

impl<'a> Compiler<'a> {
    pub(super) fn verify(&mut self, field: &Field<raw::Verify>) -> Option<Check<'a>> {
        let verify = field.get()?;
        let ways = self.ways(verify, field.span)?;
        let mut schemes = Vec::new();
        let mut presets = Vec::new();
        for way in &ways {
            let (found, preset) = self.way(way)?;
            schemes.extend(found);
            presets.extend(preset);
        }
        let public_url = self.public_url(verify);
        let verifier = Verifier::new(schemes, public_url);
        let verifier = self.try_at(field.span, verifier)?;
        let mode = match value(&verify.enforce) {
            Some(false) => CheckMode::Observe,
            Some(true) | None => CheckMode::Enforce,
        };
        let check = SignatureCheck {
            verifier,
            mode,
            refused_status: self.refused_status(verify),
        };
        Some(Check { check, presets })
    }

    fn ways<'r>(&mut self, verify: &'r raw::Verify, span: Span) -> Option<Vec<Way<'r>>> {
        let named = [
            verify.provider.is_some(),
            verify.scheme.is_some(),
            verify.any_of.is_some(),
        ];
        if named.iter().filter(|present| **present).count() != 1 {
            self.fault_with_help(
                span,
                "`verify` needs exactly one way to authenticate",
                ONE_OF,
            );
            return None;
        }
        let Some(any_of) = &verify.any_of else {
            return Some(vec![Way {
                span,
                provider: &verify.provider,
                scheme: &verify.scheme,
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
                self.fault(
                    span,
                    format!("with `any_of`, `{name}` stands under each alternative"),
                );
            }
        }
        let mut ways = Vec::new();
        for field in any_of.get()? {
            let alternative = field.get()?;
            if alternative.provider.is_some() == alternative.scheme.is_some() {
                let message = "an alternative needs exactly one way to authenticate";
                self.fault_with_help(field.span, message, "write `provider` or `scheme`");
                return None;
            }
            ways.push(Way {
                span: field.span,
                provider: &alternative.provider,
                scheme: &alternative.scheme,
                secrets: &alternative.secrets,
                tolerance: &alternative.tolerance,
            });
        }
        Some(ways)
    }

    fn way(&mut self, way: &Way<'_>) -> Option<(Vec<Keyed>, Option<&'a Preset>)> {
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
        Some((keyed, preset))
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
            self.fault(
                field.span,
                "nothing that is signed carries a time, so there is no age to limit",
            );
        }
        let tolerance = tolerance.as_duration();
        schemes
            .into_iter()
            .map(|scheme| scheme.with_tolerance(tolerance))
            .collect()
    }

    /// Gives each scheme the keys that the secrets make for it. A secret must fit one scheme at
    /// least; a scheme that no secret fits is not one that this route uses.
    fn with_keys(&mut self, way: &Way<'_>, schemes: Vec<Scheme>) -> Option<Vec<Keyed>> {
        let Some(list) = way.secrets else {
            self.fault_with_help(
                way.span,
                "there are no secrets to verify with",
                "write `secrets: [\"${{ secret.NAME }}\"]`",
            );
            return None;
        };
        let secrets = list.get()?;
        if secrets.is_empty() {
            self.fault(
                list.span,
                "`secrets` is empty: nothing could ever be accepted",
            );
            return None;
        }
        let mut keyed: Vec<Keyed> = schemes
            .into_iter()
            .map(|scheme| (scheme, Vec::new()))
            .collect();
        for field in secrets {
            let secret = field.get()?;
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
                self.fault(field.span, error.to_string());
                return None;
            }
        }
        keyed.retain(|(_, keys)| !keys.is_empty());
        Some(keyed)
    }

    fn public_url(&mut self, verify: &raw::Verify) -> Option<String> {
        let field = verify.public_url.as_ref()?;
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
            self.fault(
                field.span,
                format!("{status} does not refuse: choose from 400 to 499"),
            );
        }
        status
    }

    pub(super) fn scheme(&mut self, field: &Field<raw::Scheme>) -> Option<Scheme> {
        let raw = field.get()?;
        let algorithm = algorithm(*raw.algorithm.get()?);
        let (place, parse, encoding) = self.signature(raw, algorithm, field.span)?;
        let key = raw.key.as_ref().and_then(|field| field.get());
        let message = match &raw.message {
            Some(field) => self.message(field)?,
            None => self.try_at(field.span, Message::parse("{body}"))?,
        };
        let id = match &raw.id {
            Some(field) => Some(self.place(&field.get()?.from)?),
            None => None,
        };
        let timestamp = match &raw.timestamp {
            Some(field) => Some(self.timestamp(field)?),
            None => None,
        };
        let parts = SchemeParts {
            place,
            parse,
            encoding,
            algorithm,
            key: key_rule(key),
            message,
            id,
            timestamp,
        };
        self.try_at(field.span, Scheme::new(parts))
    }

    fn signature(
        &mut self,
        raw: &raw::Scheme,
        algorithm: Algorithm,
        span: Span,
    ) -> Option<(Place, Parse, Encoding)> {
        let Some(field) = &raw.signature else {
            if matches!(algorithm, Algorithm::Basic | Algorithm::Bearer) {
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

    pub(super) fn from(&mut self, span: Span, from: &raw::From) -> Option<Place> {
        match from {
            raw::From::Header(name) => self.header_place(span, name),
            raw::From::Query(name) => Some(Place::Query(name.clone())),
            raw::From::Json(path) => self.json_place(span, path),
        }
    }

    pub(super) fn header_place(&mut self, span: Span, name: &str) -> Option<Place> {
        if http::HeaderName::from_bytes(name.as_bytes()).is_err() {
            self.fault(span, format!("`{name}` is not the name of a header"));
            return None;
        }
        Some(Place::Header(name.to_owned()))
    }

    pub(super) fn json_place(&mut self, span: Span, path: &str) -> Option<Place> {
        match JsonPath::parse(path) {
            Ok(path) => Some(Place::Json(path)),
            Err(error) => {
                self.fault(
                    span,
                    format!("`{path}` is not a JSONPath (RFC 9535): {error}"),
                );
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

fn algorithm(raw: raw::Algorithm) -> Algorithm {
    match raw {
        raw::Algorithm::HmacSha1 => Algorithm::HmacSha1,
        raw::Algorithm::HmacSha256 => Algorithm::HmacSha256,
        raw::Algorithm::HmacSha384 => Algorithm::HmacSha384,
        raw::Algorithm::HmacSha512 => Algorithm::HmacSha512,
        raw::Algorithm::Static => Algorithm::Static,
        raw::Algorithm::Basic => Algorithm::Basic,
        raw::Algorithm::Bearer => Algorithm::Bearer,
    }
}

fn key_rule(raw: Option<&raw::KeyRule>) -> KeyRule {
    let encoding = match raw.and_then(|raw| value(&raw.encoding)) {
        None | Some(raw::KeyEncoding::Utf8) => KeyEncoding::Utf8,
        Some(raw::KeyEncoding::Base64) => KeyEncoding::Base64,
        Some(raw::KeyEncoding::Hex) => KeyEncoding::Hex,
    };
    KeyRule {
        encoding,
        strip_prefix: raw.and_then(|raw| value(&raw.strip_prefix)).cloned(),
    }
}
