//! The same verifier with one thing otherwise, to find out what would have made a signature right.

use super::algorithm::Algorithm;
use super::key::{Key, KeyEncoding, KeyRule};
use super::scheme::Scheme;
use super::terms::Terms;
use super::verify::Verifier;
use crate::secret::Secret;

/// A prefix that several providers write before a secret in base64.
const PREFIX: &str = "whsec_";

/// One secret of a verifier, read in another way.
pub struct Reading {
    /// A verifier that has this reading alone.
    pub verifier: Verifier,
    /// Which secret it is, counted from 0.
    pub secret: usize,
    /// How it is read.
    pub how: &'static str,
}

impl Verifier {
    /// Every secret in every other way that people write secrets.
    pub fn readings(&self) -> Vec<Reading> {
        let mut readings = Vec::new();
        for (scheme, keys) in self.schemes() {
            for (secret, key) in keys.iter().enumerate() {
                for (how, key) in otherwise(scheme, key) {
                    let keyed = vec![(scheme.clone(), vec![key])];
                    if let Ok(verifier) = Self::new(keyed, self.terms().clone()) {
                        readings.push(Reading {
                            verifier,
                            secret,
                            how,
                        });
                    }
                }
            }
        }
        readings
    }

    /// The same for another public URL.
    #[must_use]
    pub fn at(&self, public_url: String) -> Self {
        self.clone().on(Terms {
            public_url: Some(public_url),
            ..self.terms().clone()
        })
    }

    /// The headers that its signatures stand in.
    pub fn signature_headers(&self) -> impl Iterator<Item = &str> {
        let schemes = self.schemes();
        schemes.filter_map(|(scheme, _)| scheme.signature_header())
    }

    /// Whether one of its schemes signs the public URL.
    pub fn needs_url(&self) -> bool {
        self.schemes().any(|(scheme, _)| scheme.needs_url())
    }
}

/// A key made of the same secret by other rules.
fn otherwise(scheme: &Scheme, key: &Key) -> Vec<(&'static str, Key)> {
    let parts = scheme.parts();
    let (Some(secret), Algorithm::Hmac(_)) = (key.text(), parts.algorithm) else {
        return Vec::new();
    };
    let text = secret.expose();
    let trimmed = text.trim();
    let rule = |encoding, prefix: Option<&str>| KeyRule {
        encoding,
        strip_prefix: prefix.map(str::to_owned),
        ..parts.key.clone()
    };
    let own = &parts.key;
    let mut ways: Vec<(&'static str, &str, KeyRule)> = Vec::new();
    if trimmed != text {
        ways.push(("without the white space at its ends", trimmed, own.clone()));
    }
    for (encoding, how, behind) in [
        (
            KeyEncoding::Utf8,
            "as plain text",
            "as plain text without `whsec_` before it",
        ),
        (
            KeyEncoding::Base64,
            "as base64",
            "as base64 behind `whsec_`",
        ),
        (KeyEncoding::Hex, "as hex", "as hex behind `whsec_`"),
    ] {
        if encoding != own.encoding || own.strip_prefix.is_some() {
            ways.push((how, trimmed, rule(encoding, None)));
        }
        if trimmed.starts_with(PREFIX) && (encoding != own.encoding || own.strip_prefix.is_none()) {
            ways.push((behind, trimmed, rule(encoding, Some(PREFIX))));
        }
    }
    let made = ways.into_iter().filter_map(|(how, text, rule)| {
        let key = Key::new(parts.algorithm, &rule, &Secret::new(text)).ok()?;
        Some((how, key))
    });
    made.collect()
}
