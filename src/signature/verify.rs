//! Judges a request by its schemes and keys, at a moment that is handed in.
//!
//! Comparison is in constant time. The signature is judged before the time, so that "stale" is
//! only ever said of a request that its provider really signed.

use std::borrow::Cow;

use base64::Engine as _;
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::certificate::CertificateRule;
use super::key::{BASE64, BASE64_URL, Key, MacKey};
use super::message::{Inputs, PieceError};
use super::place::{Place, Request};
use super::reason::Reason;
use super::scheme::{
    Algorithm, Encoding, PUBLIC_SIGNATURES_MAX, Parse, SIGNATURES_MAX, Scheme, TimestampPlace,
    TimestampRule, UrlPort,
};
use super::url::with_and_without_port;
use super::window::check_time;

/// Proof that a request is authentic: only [`Verifier::verify`] makes one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verified {
    /// By its signature.
    Signature {
        /// Which of the schemes accepted it.
        scheme: usize,
        /// Which of that scheme's secrets matched.
        secret: usize,
    },
    /// By the certificate that its connection has shown.
    Certificate,
}

/// The schemes of a route with their keys; any one of them may accept a request.
#[derive(Clone)]
pub struct Verifier {
    schemes: Vec<(Scheme, Vec<Key>)>,
    certificates: Vec<CertificateRule>,
    public_url: Option<String>,
}

/// Why a [`Verifier`] cannot be made.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum VerifierError {
    /// Nothing could ever be accepted.
    #[error("there is no scheme to verify with")]
    NoScheme,
    /// A scheme that no secret was given for.
    #[error("there is no secret to verify with")]
    NoSecret,
    /// The scheme signs the URL and nobody said which one.
    #[error("the scheme signs the URL: set `public_url` to the URL that the provider calls")]
    NoPublicUrl,
    /// The query of the request is not what is signed.
    #[error(
        "`public_url` must not have a query: the provider puts the hash of the body there, and the \
         query of each request is used"
    )]
    PublicUrlQuery,
}

impl Verifier {
    /// Joins schemes and the keys made for each of them.
    ///
    /// # Errors
    /// [`VerifierError`] when a check would be void.
    pub fn new(
        schemes: Vec<(Scheme, Vec<Key>)>,
        public_url: Option<String>,
    ) -> Result<Self, VerifierError> {
        Self::with_certificates(schemes, Vec::new(), public_url)
    }

    /// Joins schemes, the keys made for each of them, and rules of certificates.
    ///
    /// # Errors
    /// [`VerifierError`] when a check would be void.
    pub fn with_certificates(
        schemes: Vec<(Scheme, Vec<Key>)>,
        certificates: Vec<CertificateRule>,
        public_url: Option<String>,
    ) -> Result<Self, VerifierError> {
        if schemes.is_empty() && certificates.is_empty() {
            return Err(VerifierError::NoScheme);
        }
        if schemes.iter().any(|(_, keys)| keys.is_empty()) {
            return Err(VerifierError::NoSecret);
        }
        let signs_url = schemes
            .iter()
            .any(|(scheme, _)| scheme.parts().message.needs_url());
        if signs_url && public_url.is_none() {
            return Err(VerifierError::NoPublicUrl);
        }
        let hash_in_query = schemes
            .iter()
            .any(|(scheme, _)| matches!(scheme.parts().body_hash, Some(Place::Query(_))));
        if hash_in_query && public_url.as_ref().is_some_and(|url| url.contains('?')) {
            return Err(VerifierError::PublicUrlQuery);
        }
        Ok(Self {
            schemes,
            certificates,
            public_url,
        })
    }

    /// The URL that the provider calls, where it is configured.
    pub fn public_url(&self) -> Option<&str> {
        self.public_url.as_deref()
    }

    /// The first scheme with its first key: what signs samples and route tests.
    pub fn signer(&self) -> Option<(&Scheme, &Key)> {
        let (scheme, keys) = self.schemes.first()?;
        Some((scheme, keys.first()?))
    }

    /// Judges a request at the moment `now`.
    ///
    /// # Errors
    /// The [`Reason`] of the way that came furthest.
    pub fn verify(&self, request: &Request<'_>, now: Timestamp) -> Result<Verified, Reason> {
        let by_signature = self
            .schemes
            .iter()
            .enumerate()
            .map(|(scheme, (parts, keys))| {
                let secret = judge(parts, keys, request, now)?;
                Ok(Verified::Signature { scheme, secret })
            });
        let by_certificate = self.certificates.iter().map(|rule| {
            rule.check(request.certificate())
                .map(|()| Verified::Certificate)
        });
        let mut furthest: Option<Reason> = None;
        for judged in by_signature.chain(by_certificate) {
            let reason = match judged {
                Ok(verified) => return Ok(verified),
                Err(reason) => reason,
            };
            if furthest
                .as_ref()
                .is_none_or(|best| best.progress() < reason.progress())
            {
                furthest = Some(reason);
            }
        }
        Err(furthest.unwrap_or(Reason::SignatureMismatch { tried: 0, keys: 0 }))
    }
}

/// Judges by one scheme; answers with the index of the secret that matched.
fn judge(
    scheme: &Scheme,
    keys: &[Key],
    request: &Request<'_>,
    now: Timestamp,
) -> Result<usize, Reason> {
    let found = Found::new(scheme, request)?;
    let absent = scheme.parts().absent.as_ref();
    if absent.is_some_and(|place| place.read(request).is_some()) {
        let problem = "what else the request holds asks for another scheme";
        return Err(malformed(found.place, problem));
    }
    let secret = match scheme.parts().algorithm {
        Algorithm::Static => match_token(keys, &found.signatures),
        Algorithm::Basic => {
            let presented = after_word(&found, "basic");
            let decoded = presented.iter().filter_map(|text| BASE64.decode(text).ok());
            let decoded: Vec<_> = decoded.map(Cow::Owned).collect();
            check_any(&decoded, &found, "not `Basic` with base64")?;
            match_token(keys, &decoded)
        }
        Algorithm::Bearer => {
            let presented = after_word(&found, "bearer");
            check_any(&presented, &found, "not `Bearer` with a token")?;
            match_token(keys, &presented)
        }
        Algorithm::HmacSha1
        | Algorithm::HmacSha256
        | Algorithm::HmacSha384
        | Algorithm::HmacSha512
        | Algorithm::Ed25519
        | Algorithm::EcdsaP256Sha256(_) => {
            let hash = scheme.parts().body_hash.as_ref();
            let hash = hash.map(|place| body_hash(place, request)).transpose()?;
            let tags = found.decode(scheme.parts().encoding)?;
            let matched = match_signature(scheme, keys, request, &found, &tags)?;
            if let (Some(_), Some(hash)) = (matched, hash) {
                hash.check(request)?;
            }
            matched
        }
    };
    let secret = secret.ok_or(Reason::SignatureMismatch {
        tried: found.signatures.len(),
        keys: keys.len(),
    })?;
    if let (Some(rule), Some(text)) = (&scheme.parts().timestamp, &found.timestamp) {
        check_time(rule, text, now)?;
    }
    Ok(secret)
}

/// What stands in the request in the places that the scheme names.
struct Found<'r> {
    place: &'r Place,
    signatures: Vec<Cow<'r, [u8]>>,
    timestamp: Option<Cow<'r, [u8]>>,
    id: Option<Cow<'r, [u8]>>,
}

impl<'r> Found<'r> {
    fn new(scheme: &'r Scheme, request: &'r Request<'_>) -> Result<Self, Reason> {
        let parts = scheme.parts();
        let values = parts.place.read_all(request);
        if values.iter().all(|value| value.is_empty()) {
            return Err(Reason::SignatureMissing {
                place: parts.place.describe(),
            });
        }
        let signatures = signatures(&parts.parse, &values);
        if signatures.is_empty() {
            let problem = match &parts.parse {
                Parse::Prefix(_) => "the prefix is missing",
                Parse::Whole | Parse::List { .. } => "no item holds a signature",
            };
            return Err(malformed(&parts.place, problem));
        }
        let timestamp = match &parts.timestamp {
            None => None,
            Some(rule) => Some(timestamp(rule, &parts.parse, &values, request)?),
        };
        let id = match &parts.id {
            None => None,
            Some(place) => Some(
                read_one(place, request)?.ok_or_else(|| Reason::InputMissing {
                    what: place.describe(),
                })?,
            ),
        };
        Ok(Self {
            place: &parts.place,
            signatures,
            timestamp,
            id,
        })
    }

    fn decode(&self, encoding: Encoding) -> Result<Vec<Vec<u8>>, Reason> {
        let decode = |text: &Cow<'_, [u8]>| match encoding {
            Encoding::Hex => hex::decode(text).ok(),
            Encoding::Base64 => BASE64.decode(text).ok(),
            Encoding::Base64Url => BASE64_URL.decode(text).ok(),
        };
        let tags: Vec<_> = self.signatures.iter().filter_map(decode).collect();
        if tags.is_empty() {
            let problem = match encoding {
                Encoding::Hex => "not hex",
                Encoding::Base64 | Encoding::Base64Url => "not base64",
            };
            return Err(malformed(self.place, problem));
        }
        Ok(tags)
    }
}

fn malformed(place: &Place, problem: &'static str) -> Reason {
    Reason::SignatureMalformed {
        place: place.describe(),
        problem,
    }
}

/// Every signature in the values, [`SIGNATURES_MAX`] at most.
fn signatures<'r>(parse: &Parse, values: &[Cow<'r, [u8]>]) -> Vec<Cow<'r, [u8]>> {
    let found: Vec<Cow<'r, [u8]>> = match parse {
        Parse::Whole => values.to_vec(),
        Parse::Prefix(prefix) => values
            .iter()
            .filter_map(|value| Some(value.strip_prefix(prefix.as_bytes())?.to_vec().into()))
            .collect(),
        Parse::List {
            item_sep,
            kv_sep,
            key,
        } => values
            .iter()
            .flat_map(|value| items(value, item_sep, kv_sep, key))
            .map(|item| Cow::Owned(item.into_bytes()))
            .collect(),
    };
    found.into_iter().take(SIGNATURES_MAX).collect()
}

/// The values of `key` in a list such as `t=1,v1=a,v1=b`.
fn items(value: &[u8], item_sep: &str, kv_sep: &str, key: &str) -> Vec<String> {
    let Ok(text) = std::str::from_utf8(value) else {
        return Vec::new();
    };
    text.split(item_sep)
        .filter_map(|item| item.trim().split_once(kv_sep))
        .filter(|(name, _)| *name == key)
        .map(|(_, value)| value.to_owned())
        .collect()
}

fn timestamp<'r>(
    rule: &TimestampRule,
    parse: &Parse,
    values: &[Cow<'r, [u8]>],
    request: &'r Request<'_>,
) -> Result<Cow<'r, [u8]>, Reason> {
    match (&rule.place, parse) {
        (TimestampPlace::Request(place), _) => {
            read_one(place, request)?.ok_or_else(|| Reason::TimestampMissing {
                place: place.describe(),
            })
        }
        (
            TimestampPlace::Signature(key),
            Parse::List {
                item_sep, kv_sep, ..
            },
        ) => {
            let mut found = values
                .iter()
                .flat_map(|value| items(value, item_sep, kv_sep, key));
            let first = found.next();
            if found.next().is_some() {
                return Err(Reason::InputAmbiguous {
                    what: format!("timestamp `{key}`"),
                });
            }
            first
                .map(|text| Cow::Owned(text.into_bytes()))
                .ok_or_else(|| Reason::TimestampMissing {
                    place: format!("`{key}` in the signature"),
                })
        }
        (TimestampPlace::Signature(key), _) => Err(Reason::TimestampMissing {
            place: format!("`{key}` in the signature"),
        }),
    }
}

/// A value that must stand there once: a second one could be the one the backend reads.
fn read_one<'r>(place: &Place, request: &'r Request<'_>) -> Result<Option<Cow<'r, [u8]>>, Reason> {
    let mut values = place.read_all(request).into_iter();
    let first = values.next().filter(|value| !value.is_empty());
    if values.next().is_some() {
        return Err(Reason::InputAmbiguous {
            what: place.describe(),
        });
    }
    Ok(first)
}

fn match_token(keys: &[Key], presented: &[Cow<'_, [u8]>]) -> Option<usize> {
    keys.iter().position(|key| match key {
        Key::Token(secret) => presented.iter().any(|text| secret.matches(text)),
        Key::Mac(_) | Key::Public(_) => false,
    })
}

/// The rest after an authentication word such as `Basic`, in any case.
fn after_word<'a>(found: &'a Found<'_>, word: &str) -> Vec<Cow<'a, [u8]>> {
    let rest = |value: &'a Cow<'_, [u8]>| {
        let (start, rest) = value.split_at_checked(word.len())?;
        let rest = rest.strip_prefix(b" ")?.trim_ascii();
        (start.eq_ignore_ascii_case(word.as_bytes()) && !rest.is_empty())
            .then_some(Cow::Borrowed(rest))
    };
    found.signatures.iter().filter_map(rest).collect()
}

fn check_any<T>(values: &[T], found: &Found<'_>, problem: &'static str) -> Result<(), Reason> {
    if values.is_empty() {
        Err(malformed(found.place, problem))
    } else {
        Ok(())
    }
}

fn match_signature(
    scheme: &Scheme,
    keys: &[Key],
    request: &Request<'_>,
    found: &Found<'_>,
    tags: &[Vec<u8>],
) -> Result<Option<usize>, Reason> {
    let inputs = |url| Inputs {
        timestamp: found.timestamp.as_deref(),
        id: found.id.as_deref(),
        url,
    };
    let urls = match scheme.parts().url_port {
        UrlPort::Either => request.url().map(|url| with_and_without_port(&url)),
        UrlPort::AsWritten => None,
    };
    // `None` stands for the URL as it is written.
    let urls = match &urls {
        Some(urls) => urls.iter().map(|url| Some(url.as_bytes())).collect(),
        None => vec![None],
    };
    for (index, key) in keys.iter().enumerate() {
        for url in &urls {
            if fits(scheme, key, request, inputs(*url), tags)? {
                return Ok(Some(index));
            }
        }
    }
    Ok(None)
}

/// Whether one of the signatures is one that this key makes.
fn fits(
    scheme: &Scheme,
    key: &Key,
    request: &Request<'_>,
    inputs: Inputs<'_>,
    tags: &[Vec<u8>],
) -> Result<bool, Reason> {
    Ok(match key {
        Key::Mac(mac) => {
            let expected = compute(scheme, MacKey::clone(mac), request, inputs)?;
            tags.iter().any(|tag| tag.ct_eq(&expected).into())
        }
        Key::Public(public) => {
            let message = render(scheme, request, inputs)?;
            let mut tags = tags.iter().take(PUBLIC_SIGNATURES_MAX);
            tags.any(|tag| public.verifies(&message, tag))
        }
        Key::Token(_) => false,
    })
}

/// The hash of the body as the request states it.
struct BodyHash<'r> {
    place: &'r Place,
    text: Cow<'r, [u8]>,
}

fn body_hash<'r>(place: &'r Place, request: &'r Request<'_>) -> Result<BodyHash<'r>, Reason> {
    let text = read_one(place, request)?.ok_or_else(|| Reason::InputMissing {
        what: place.describe(),
    })?;
    Ok(BodyHash { place, text })
}

impl BodyHash<'_> {
    fn check(&self, request: &Request<'_>) -> Result<(), Reason> {
        let stated = hex::decode(&self.text).unwrap_or_default();
        if stated.ct_eq(&Sha256::digest(request.body())[..]).into() {
            Ok(())
        } else {
            Err(Reason::BodyHashMismatch {
                place: self.place.describe(),
            })
        }
    }
}

/// The whole message of the scheme.
pub(super) fn render(
    scheme: &Scheme,
    request: &Request<'_>,
    inputs: Inputs<'_>,
) -> Result<Vec<u8>, Reason> {
    let message = &scheme.parts().message;
    let rendered = message.render(request, inputs);
    rendered.map_err(refused)
}

/// The reason behind a piece of the message that this request does not give.
fn refused(error: PieceError) -> Reason {
    match error {
        PieceError::Missing(what) => Reason::InputMissing { what },
        PieceError::Ambiguous(what) => Reason::InputAmbiguous { what },
    }
}

/// The tag that the scheme's message has under a key.
pub(super) fn compute(
    scheme: &Scheme,
    mut mac: MacKey,
    request: &Request<'_>,
    inputs: Inputs<'_>,
) -> Result<Vec<u8>, Reason> {
    scheme
        .parts()
        .message
        .feed(request, inputs, |piece| mac.update(piece))
        .map_err(refused)?;
    Ok(mac.tag())
}

#[cfg(test)]
mod tests;
