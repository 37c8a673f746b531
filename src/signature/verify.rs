//! Judges a request by its schemes and keys, at a moment that is handed in.
//!
//! Comparison is in constant time. The signature is judged before the time, so that "stale" is
//! only ever said of a request that its provider really signed.

use std::borrow::Cow;

use base64::Engine as _;
use jiff::{SignedDuration, Timestamp};
use subtle::ConstantTimeEq;

use super::key::{BASE64, BASE64_URL, Key, MacKey};
use super::message::{Inputs, PieceError};
use super::place::{Place, Request};
use super::scheme::{
    Algorithm, Encoding, Parse, SIGNATURES_MAX, Scheme, TimeUnit, TimestampPlace, TimestampRule,
};

/// Why a request is not authentic. Shown in the log and in metrics, never to the sender.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// There is no signature where it should stand.
    #[error("no signature: {place} is missing")]
    SignatureMissing {
        /// Where it was looked for.
        place: String,
    },
    /// What stands there cannot be a signature of this scheme.
    #[error("malformed signature in {place}: {problem}")]
    SignatureMalformed {
        /// Where it stands.
        place: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The signature was made with another key or over another text.
    #[error("no match: {tried} signature(s) compared with {keys} secret(s)")]
    SignatureMismatch {
        /// How many signatures the request carried.
        tried: usize,
        /// How many secrets are configured.
        keys: usize,
    },
    /// Something that is signed along is not in the request.
    #[error("{what} is missing, and is part of what is signed")]
    InputMissing {
        /// What is missing.
        what: String,
    },
    /// Something that is signed along stands in the request more than once.
    #[error("{what} stands in the request more than once")]
    InputAmbiguous {
        /// What stands there twice.
        what: String,
    },
    /// There is no timestamp where it should stand.
    #[error("no timestamp: {place} is missing")]
    TimestampMissing {
        /// Where it was looked for.
        place: String,
    },
    /// The timestamp is no time in the unit of the scheme.
    #[error("malformed timestamp: not {expected}")]
    TimestampMalformed {
        /// How it should be written.
        expected: &'static str,
    },
    /// Genuine, but older than the tolerance: it may be replayed.
    #[error("stale: signed {} ago, {} allowed{}", whole(.skew), whole(.tolerance), unit_hint(*.looks_like))]
    TimestampStale {
        /// Its age.
        skew: SignedDuration,
        /// The greatest age allowed.
        tolerance: SignedDuration,
        /// The unit that would make it fresh.
        looks_like: Option<&'static str>,
    },
    /// Genuine, but further ahead of our clock than allowed.
    #[error("from the future: signed {} ahead of our clock, {} allowed{}", whole(.skew), whole(.tolerance), unit_hint(*.looks_like))]
    TimestampFuture {
        /// How far ahead.
        skew: SignedDuration,
        /// How far ahead is allowed.
        tolerance: SignedDuration,
        /// The unit that would make it fresh.
        looks_like: Option<&'static str>,
    },
}

impl Reason {
    /// The word for metrics and JSON.
    pub fn label(&self) -> &'static str {
        match self {
            Self::SignatureMissing { .. } => "signature_missing",
            Self::SignatureMalformed { .. } => "signature_malformed",
            Self::SignatureMismatch { .. } => "signature_mismatch",
            Self::InputMissing { .. } => "signed_input_missing",
            Self::InputAmbiguous { .. } => "signed_input_ambiguous",
            Self::TimestampMissing { .. } => "timestamp_missing",
            Self::TimestampMalformed { .. } => "timestamp_malformed",
            Self::TimestampStale { .. } => "timestamp_stale",
            Self::TimestampFuture { .. } => "timestamp_future",
        }
    }

    /// How far the judgement came; of several schemes the furthest tells most.
    fn progress(&self) -> u8 {
        match self {
            Self::SignatureMissing { .. } => 0,
            Self::SignatureMalformed { .. } => 1,
            Self::TimestampMissing { .. } | Self::InputMissing { .. } => 2,
            Self::InputAmbiguous { .. } => 3,
            Self::SignatureMismatch { .. } => 4,
            Self::TimestampMalformed { .. } => 5,
            Self::TimestampStale { .. } | Self::TimestampFuture { .. } => 6,
        }
    }
}

fn whole(duration: &SignedDuration) -> String {
    let duration = SignedDuration::from_secs(duration.as_secs());
    humantime::format_duration(duration.unsigned_abs()).to_string()
}

fn unit_hint(looks_like: Option<&'static str>) -> String {
    looks_like
        .map(|unit| format!(" (the value looks like {unit})"))
        .unwrap_or_default()
}

/// Proof that a request is authentic: only [`Verifier::verify`] makes one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verified {
    /// Which of the schemes accepted it.
    pub scheme: usize,
    /// Which of that scheme's secrets matched.
    pub secret: usize,
}

/// The schemes of a route with their keys; any one of them may accept a request.
#[derive(Clone)]
pub struct Verifier {
    schemes: Vec<(Scheme, Vec<Key>)>,
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
        if schemes.is_empty() {
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
        Ok(Self {
            schemes,
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
    /// The [`Reason`] of the scheme that came furthest.
    pub fn verify(&self, request: &Request<'_>, now: Timestamp) -> Result<Verified, Reason> {
        let mut furthest: Option<Reason> = None;
        for (index, (scheme, keys)) in self.schemes.iter().enumerate() {
            match judge(scheme, keys, request, now) {
                Ok(secret) => {
                    return Ok(Verified {
                        scheme: index,
                        secret,
                    });
                }
                Err(reason) => {
                    if furthest
                        .as_ref()
                        .is_none_or(|best| best.progress() < reason.progress())
                    {
                        furthest = Some(reason);
                    }
                }
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
        | Algorithm::HmacSha512 => {
            let tags = found.decode(scheme.parts().encoding)?;
            match_mac(scheme, keys, request, &found, &tags)?
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
        Key::Mac(_) => false,
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

fn match_mac(
    scheme: &Scheme,
    keys: &[Key],
    request: &Request<'_>,
    found: &Found<'_>,
    tags: &[Vec<u8>],
) -> Result<Option<usize>, Reason> {
    for (index, key) in keys.iter().enumerate() {
        let Key::Mac(mac) = key else { continue };
        let inputs = Inputs {
            timestamp: found.timestamp.as_deref(),
            id: found.id.as_deref(),
        };
        let expected = compute(scheme, MacKey::clone(mac), request, inputs)?;
        if tags.iter().any(|tag| tag.ct_eq(&expected).into()) {
            return Ok(Some(index));
        }
    }
    Ok(None)
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
        .map_err(|error| match error {
            PieceError::Missing(what) => Reason::InputMissing { what },
            PieceError::Ambiguous(what) => Reason::InputAmbiguous { what },
        })?;
    Ok(mac.tag())
}

fn check_time(rule: &TimestampRule, text: &[u8], now: Timestamp) -> Result<(), Reason> {
    let signed_at = parse_time(rule.unit, text)?;
    let age = now.as_duration().saturating_sub(signed_at);
    let limit = |limit: Option<std::time::Duration>| {
        limit.and_then(|limit| SignedDuration::try_from(limit).ok())
    };
    if let Some(tolerance) = limit(rule.max_past).filter(|tolerance| age > *tolerance) {
        let looks_like = other_unit(rule.unit, text, now, tolerance);
        return Err(Reason::TimestampStale {
            skew: age,
            tolerance,
            looks_like,
        });
    }
    let ahead = signed_at.saturating_sub(now.as_duration());
    if let Some(tolerance) = limit(rule.max_future).filter(|tolerance| ahead > *tolerance) {
        let looks_like = other_unit(rule.unit, text, now, tolerance);
        return Err(Reason::TimestampFuture {
            skew: ahead,
            tolerance,
            looks_like,
        });
    }
    Ok(())
}

/// The time since 1970. Not a calendar date: a number in the wrong unit lies in no calendar.
fn parse_time(unit: TimeUnit, text: &[u8]) -> Result<SignedDuration, Reason> {
    let text = std::str::from_utf8(text).ok();
    let (time, expected) = match unit {
        TimeUnit::Seconds => (
            text.and_then(digits).map(SignedDuration::from_secs),
            "whole seconds",
        ),
        TimeUnit::Milliseconds => (
            text.and_then(digits).map(SignedDuration::from_millis),
            "whole milliseconds",
        ),
        TimeUnit::Rfc3339 => {
            let time = text.and_then(|text| text.parse::<Timestamp>().ok());
            (time.map(Timestamp::as_duration), "an RFC 3339 time")
        }
    };
    time.ok_or(Reason::TimestampMalformed { expected })
}

fn digits(text: &str) -> Option<i64> {
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())?
}

/// Tells whether the number would be fresh in the other unit.
fn other_unit(
    unit: TimeUnit,
    text: &[u8],
    now: Timestamp,
    tolerance: SignedDuration,
) -> Option<&'static str> {
    let number = digits(std::str::from_utf8(text).ok()?)?;
    let (time, name) = match unit {
        TimeUnit::Seconds => (SignedDuration::from_millis(number), "milliseconds"),
        TimeUnit::Milliseconds => (SignedDuration::from_secs(number), "seconds"),
        TimeUnit::Rfc3339 => return None,
    };
    let skew = now.as_duration().saturating_sub(time).abs();
    (skew <= tolerance).then_some(name)
}

#[cfg(test)]
mod tests;
