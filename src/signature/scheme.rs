//! The declarative grammar of signatures: where, how written, over what, with which key.

use super::key::{KeyEncoding, KeyRule, NewMac, hmac_sha1, hmac_sha256, hmac_sha384, hmac_sha512};
use super::message::Message;
use super::place::Place;
use std::time::Duration;

/// How many signatures of one request are looked at: a sender that rolls its secret writes two or
/// three, a stranger might write thousands.
pub const SIGNATURES_MAX: usize = 16;

/// The same where each costs a hundred times what a MAC costs. No sender writes more than one.
pub const PUBLIC_SIGNATURES_MAX: usize = 4;

/// The ways to authenticate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// HMAC-SHA-1 (RFC 2104).
    HmacSha1,
    /// HMAC-SHA-256.
    HmacSha256,
    /// HMAC-SHA-384.
    HmacSha384,
    /// HMAC-SHA-512.
    HmacSha512,
    /// Ed25519 (RFC 8032).
    Ed25519,
    /// ECDSA over P-256 with SHA-256 (FIPS 186-5).
    EcdsaP256Sha256(EcdsaForm),
    /// The secret itself stands in the request.
    Static,
    /// HTTP basic authentication (RFC 7617); the secret is written `user:password`.
    Basic,
    /// A bearer token (RFC 6750) in the `Authorization` header.
    Bearer,
}

/// How the two numbers of an ECDSA signature are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EcdsaForm {
    /// An ASN.1 sequence of both (RFC 3279).
    Der,
    /// 32 bytes each (IEEE P1363).
    Raw,
}

impl Algorithm {
    /// How to make its MAC; `None` for those that compare the secret itself.
    pub(super) fn mac(self) -> Option<NewMac> {
        match self {
            Self::HmacSha1 => Some(hmac_sha1),
            Self::HmacSha256 => Some(hmac_sha256),
            Self::HmacSha384 => Some(hmac_sha384),
            Self::HmacSha512 => Some(hmac_sha512),
            Self::Ed25519
            | Self::EcdsaP256Sha256(_)
            | Self::Static
            | Self::Basic
            | Self::Bearer => None,
        }
    }

    /// Whether a public key verifies.
    pub fn is_public(self) -> bool {
        matches!(self, Self::Ed25519 | Self::EcdsaP256Sha256(_))
    }

    /// Whether it signs a text, rather than present the secret.
    fn signs(self) -> bool {
        self.mac().is_some() || self.is_public()
    }

    /// Its name, with an article.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::HmacSha1 | Self::HmacSha256 | Self::HmacSha384 | Self::HmacSha512 => "an HMAC",
            Self::Ed25519 => "an Ed25519",
            Self::EcdsaP256Sha256(_) => "a P-256",
            Self::Static | Self::Basic | Self::Bearer => "a token's",
        }
    }
}

/// How a signature is written where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Parse {
    /// The whole value.
    Whole,
    /// After a fixed text (`sha256=`).
    Prefix(String),
    /// Items of which one key holds signatures, any number of times (`t=1,v1=…,v1=…`).
    List {
        /// What stands between items.
        item_sep: String,
        /// What stands between a key and its value.
        kv_sep: String,
        /// The key of the signatures; every other version is ignored, never a fallback.
        key: String,
    },
}

/// How the bytes of a signature are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// Hexadecimal, either case.
    Hex,
    /// Base64, padding optional.
    Base64,
    /// Base64 with the URL-safe alphabet, padding optional.
    Base64Url,
}

/// The unit of a timestamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeUnit {
    /// Whole seconds since 1970.
    Seconds,
    /// Whole milliseconds since 1970.
    Milliseconds,
    /// RFC 3339, any number of digits after the second.
    Rfc3339,
}

/// Where the timestamp of a signature stands.
#[derive(Debug, Clone)]
pub enum TimestampPlace {
    /// Somewhere in the request.
    Request(Place),
    /// In the signature's own list, under this key (`t`).
    Signature(String),
}

/// When a signature is too old or too new.
#[derive(Debug, Clone)]
pub struct TimestampRule {
    /// Where it stands.
    pub place: TimestampPlace,
    /// How it is written.
    pub unit: TimeUnit,
    /// The greatest age; `None` = not checked.
    pub max_past: Option<Duration>,
    /// How far it may lie ahead of our clock; `None` = not checked.
    pub max_future: Option<Duration>,
}

/// Which ports the signed URL may have been written with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum UrlPort {
    /// The one that the public URL is written with, if any.
    #[default]
    AsWritten,
    /// The same, the scheme's default where it has none, or no port at all.
    Either,
}

/// The parts a [`Scheme`] is made of.
#[derive(Debug, Clone)]
pub struct SchemeParts {
    /// Where the signature stands.
    pub place: Place,
    /// How it is written there.
    pub parse: Parse,
    /// How its bytes are written.
    pub encoding: Encoding,
    /// How it was made.
    pub algorithm: Algorithm,
    /// How a secret becomes a key.
    pub key: KeyRule,
    /// What was signed.
    pub message: Message,
    /// Where the SHA-256 of the body stands in hexadecimal, for a message without the body.
    pub body_hash: Option<Place>,
    /// A place that is empty where this scheme was used; what stands there asks for another one.
    pub absent: Option<Place>,
    /// How `{url}` is written.
    pub url_port: UrlPort,
    /// Where `{id}` stands.
    pub id: Option<Place>,
    /// When it was signed.
    pub timestamp: Option<TimestampRule>,
}

/// One way to authenticate a request, complete and free of contradictions.
#[derive(Debug, Clone)]
pub struct Scheme {
    parts: SchemeParts,
}

/// Why parts do not make a [`Scheme`].
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SchemeError {
    /// `{ts}` without a timestamp.
    #[error("the message uses {{ts}} but the scheme has no `timestamp`")]
    NoTimestamp,
    /// `{id}` without an id.
    #[error("the message uses {{id}} but the scheme has no `id`")]
    NoId,
    /// A timestamp in a list that is not there.
    #[error("`timestamp.from.signature` needs `signature.parse.list`")]
    NoList,
    /// A separator of no length cuts nothing.
    #[error("`item_sep`, `kv_sep` and `key` of a list must not be empty")]
    EmptySeparator,
    /// A time window over a time that nobody signed.
    #[error("the timestamp is checked but not signed: the message does not contain {{ts}}")]
    TimestampNotSigned,
    /// A MAC over a constant would be a token that anybody can replay with any body.
    #[error(
        "the message contains neither {{body}} nor {{sorted_form}}, and there is no `body_hash`: \
         the signature would fit any body"
    )]
    BodyNotSigned,
    /// A hash that a forger could write to fit another body.
    #[error(
        "`body_hash` stands in {place}, which is not signed: put {{url}} or it into the message"
    )]
    BodyHashNotSigned {
        /// Where the hash stands.
        place: String,
    },
    /// A key of another kind.
    #[error("`key.public` goes with ed25519 and ecdsa-p256-sha256, and these with nothing else")]
    KeyKind,
}

impl Scheme {
    /// Puts a scheme together.
    ///
    /// # Errors
    /// [`SchemeError`] names the contradiction.
    pub fn new(parts: SchemeParts) -> Result<Self, SchemeError> {
        if let Parse::List {
            item_sep,
            kv_sep,
            key,
        } = &parts.parse
            && (item_sep.is_empty() || kv_sep.is_empty() || key.is_empty())
        {
            return Err(SchemeError::EmptySeparator);
        }
        let in_list = parts
            .timestamp
            .as_ref()
            .is_some_and(|rule| matches!(rule.place, TimestampPlace::Signature(_)));
        if in_list && !matches!(parts.parse, Parse::List { .. }) {
            return Err(SchemeError::NoList);
        }
        let public = matches!(parts.key.encoding, KeyEncoding::Public(_));
        if public != parts.algorithm.is_public() {
            return Err(SchemeError::KeyKind);
        }
        if parts.algorithm.signs() {
            check_message(&parts)?;
        }
        Ok(Self { parts })
    }

    /// Its parts.
    pub fn parts(&self) -> &SchemeParts {
        &self.parts
    }

    /// Replaces the tolerance for age (and for the future, where that is checked).
    #[must_use]
    pub fn with_tolerance(mut self, tolerance: Duration) -> Self {
        if let Some(rule) = &mut self.parts.timestamp {
            rule.max_past = Some(tolerance);
            if rule.max_future.is_some() {
                rule.max_future = Some(tolerance);
            }
        }
        self
    }
}

fn check_message(parts: &SchemeParts) -> Result<(), SchemeError> {
    if parts.message.needs_timestamp() && parts.timestamp.is_none() {
        return Err(SchemeError::NoTimestamp);
    }
    if parts.message.needs_id() && parts.id.is_none() {
        return Err(SchemeError::NoId);
    }
    if parts.timestamp.is_some() && !parts.message.needs_timestamp() {
        return Err(SchemeError::TimestampNotSigned);
    }
    match &parts.body_hash {
        Some(place) if !parts.message.covers(place) => Err(SchemeError::BodyHashNotSigned {
            place: place.describe(),
        }),
        None if !parts.message.binds_body() => Err(SchemeError::BodyNotSigned),
        Some(_) | None => Ok(()),
    }
}
