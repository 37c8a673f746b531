//! The declarative grammar of signatures: where, how written, over what, with which key.

use std::time::Duration;

use serde_json_path::JsonPath;

use super::algorithm::Algorithm;
use super::jwt::JwtRule;
use super::key::{KeyEncoding, KeyId, KeyRule};
use super::message::Message;
use super::place::Place;

/// How many signatures of one request are looked at: a sender that rolls its secret writes two or
/// three, a stranger might write thousands.
pub const SIGNATURES_MAX: usize = 16;

/// The same where each costs a hundred times what a MAC costs. No sender writes more than one.
pub const PUBLIC_SIGNATURES_MAX: usize = 4;

/// How a signature is written where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Parse {
    /// The whole value.
    Whole,
    /// After a fixed text (`sha256=`).
    Prefix(String),
    /// Items of which one key holds signatures, any number of times (`t=1,v1=…,v1=…`).
    List(ListForm),
    /// Several such lists, each with a time of its own.
    Sets {
        /// What stands between lists.
        set_sep: String,
        /// Each of them.
        list: ListForm,
    },
    /// The time first, and signatures behind it.
    Positional {
        /// What stands between them.
        sep: String,
    },
}

/// Items of which one key holds signatures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListForm {
    /// What stands between items.
    pub item_sep: String,
    /// What stands between a key and its value.
    pub kv_sep: String,
    /// The key of the signatures; every other version is ignored, never a fallback. `None` = the name
    /// of the key that each was made with.
    pub key: Option<String>,
}

impl Parse {
    /// The list, where there is one.
    pub(super) fn list(&self) -> Option<&ListForm> {
        match self {
            Self::List(list) | Self::Sets { list, .. } => Some(list),
            Self::Whole | Self::Prefix(_) | Self::Positional { .. } => None,
        }
    }
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
    /// A date as HTTP writes it (RFC 9110, 5.6.7).
    HttpDate,
}

/// Where the timestamp of a signature stands.
#[derive(Debug, Clone)]
pub enum TimestampPlace {
    /// Somewhere in the request.
    Request(Place),
    /// In the signature's own list, under this key (`t`); the first item where there are no keys.
    Signature(String),
    /// In a token, under this claim.
    Claim(String),
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
    /// The message holds a few fields of the body, as the provider signs no more.
    pub unsigned_body: bool,
    /// What a token must say.
    pub jwt: Option<JwtRule>,
    /// Places and the text that stands there where this scheme was used; another one there asks for
    /// another scheme.
    pub when: Vec<(Place, Message)>,
    /// Every match of this path in the body is signed by itself.
    pub for_each: Option<JsonPath>,
    /// Where the SHA-256 of the body stands in hexadecimal, for a message without the body.
    pub body_hash: Option<Place>,
    /// A place that is empty where this scheme was used; what stands there asks for another one.
    pub absent: Option<Place>,
    /// How `{url}` is written.
    pub url_port: UrlPort,
    /// Sequences such as `%3A` that stand for themselves in `{url}`.
    pub url_decode: Vec<String>,
    /// Where `{id}` stands.
    pub id: Option<Place>,
    /// When it was signed.
    pub timestamp: Option<TimestampRule>,
}

impl SchemeParts {
    /// A signature of the body alone, in hexadecimal, by the text of the secret.
    pub fn of_body(place: Place, algorithm: Algorithm) -> Self {
        Self {
            place,
            parse: Parse::Whole,
            encoding: Encoding::Hex,
            algorithm,
            key: KeyRule::plain(),
            message: Message::body(),
            unsigned_body: false,
            jwt: None,
            when: Vec::new(),
            for_each: None,
            body_hash: None,
            absent: None,
            url_port: UrlPort::AsWritten,
            url_decode: Vec::new(),
            id: None,
            timestamp: None,
        }
    }

    /// The header with the time, where that stands in one.
    pub(super) fn header_with_time(&self) -> Option<&str> {
        match &self.timestamp.as_ref()?.place {
            TimestampPlace::Request(Place::Header(name)) => Some(name),
            _ => None,
        }
    }
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
    #[error("`timestamp.from.signature` needs `signature.parse.list`, `sets` or `positional`")]
    NoList,
    /// A separator of no length cuts nothing.
    #[error("the separators and the `key` of a list must not be empty")]
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
    #[error(
        "`key.public` goes with ed25519, ecdsa-p256-sha256, rsa-pkcs1 and jwt, and the first three with \
         nothing else"
    )]
    KeyKind,
    /// A hash that anybody can make.
    #[error(
        "the message of a plain hash must contain {{secret}}: without it, anybody can make one"
    )]
    SecretNotHashed,
    /// A secret in a text whose MAC needs none.
    #[error("{{secret}} stands in the message of a plain hash alone")]
    SecretInMessage,
    /// A token without a rule, or a rule without a token.
    #[error("`algorithm: jwt` goes with `jwt`, and `jwt` with nothing else")]
    TokenRule,
    /// A token that fits any body.
    #[error("the token has no `body_hash`: it would fit any body")]
    BodyNotInToken,
    /// A name of a key that stands nowhere.
    #[error("`key.id: list` needs a list whose `key` is `{{key_id}}`, and `issuer` needs `jwt`")]
    KeyIdPlace,
    /// An `unsigned_body` whose body is signed.
    #[error("`unsigned_body` is for a message without the body, and this one has it")]
    BodySigned,
}

impl Scheme {
    /// Puts a scheme together.
    ///
    /// # Errors
    /// [`SchemeError`] names the contradiction.
    pub fn new(parts: SchemeParts) -> Result<Self, SchemeError> {
        check_form(&parts)?;
        if (parts.algorithm == Algorithm::Jwt) != parts.jwt.is_some() {
            return Err(SchemeError::TokenRule);
        }
        let public = matches!(parts.key.encoding, KeyEncoding::Public(_));
        if public != parts.algorithm.is_public() && parts.algorithm != Algorithm::Jwt {
            return Err(SchemeError::KeyKind);
        }
        if let Some(jwt) = &parts.jwt
            && jwt.body_hash.is_none()
            && !parts.unsigned_body
        {
            return Err(SchemeError::BodyNotInToken);
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

    /// The header that its signature stands in, if it stands in one.
    pub fn signature_header(&self) -> Option<&str> {
        match &self.parts.place {
            Place::Header(name) => Some(name),
            _ => None,
        }
    }

    /// The options that it asks for.
    pub fn options(&self) -> impl Iterator<Item = &str> {
        let conditions = self.parts.when.iter().map(|(_, value)| value);
        let messages = conditions.chain([&self.parts.message]);
        messages.flat_map(Message::options)
    }

    /// Whether the public URL is signed.
    pub fn needs_url(&self) -> bool {
        let jwt = self.parts.jwt.as_ref();
        let in_token = jwt.is_some_and(|jwt| {
            jwt.url_hash.is_some() || jwt.audience.as_ref().is_some_and(Message::needs_url)
        });
        in_token || (self.parts.algorithm.signs() && self.parts.message.needs_url())
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

/// Whether the parts of a header fit together.
fn check_form(parts: &SchemeParts) -> Result<(), SchemeError> {
    let list = parts.parse.list();
    let empty = match &parts.parse {
        Parse::Sets { set_sep: sep, .. } | Parse::Positional { sep } => sep.is_empty(),
        Parse::Whole | Parse::Prefix(_) | Parse::List(_) => false,
    };
    let empty_list = list.is_some_and(|list| {
        let key = list.key.as_ref();
        list.item_sep.is_empty() || list.kv_sep.is_empty() || key.is_some_and(String::is_empty)
    });
    if empty || empty_list {
        return Err(SchemeError::EmptySeparator);
    }
    let has_times = list.is_some() || matches!(parts.parse, Parse::Positional { .. });
    match parts.timestamp.as_ref().map(|rule| &rule.place) {
        Some(TimestampPlace::Signature(_)) if !has_times => return Err(SchemeError::NoList),
        Some(TimestampPlace::Claim(_)) if parts.jwt.is_none() => {
            return Err(SchemeError::TokenRule);
        }
        _ => {}
    }
    let names_keys = list.is_some_and(|list| list.key.is_none());
    let in_list = matches!(parts.key.id, Some(KeyId::List));
    let issues = matches!(parts.key.id, Some(KeyId::Issuer));
    if names_keys != in_list || (issues && parts.jwt.is_none()) {
        return Err(SchemeError::KeyIdPlace);
    }
    Ok(())
}

fn check_message(parts: &SchemeParts) -> Result<(), SchemeError> {
    let message = &parts.message;
    let hashes = matches!(parts.algorithm, Algorithm::Hash(_));
    match (hashes, message.needs_secret()) {
        (true, false) => return Err(SchemeError::SecretNotHashed),
        (false, true) => return Err(SchemeError::SecretInMessage),
        (true, true) | (false, false) => {}
    }
    if message.needs_timestamp() && parts.timestamp.is_none() {
        return Err(SchemeError::NoTimestamp);
    }
    if message.needs_id() && parts.id.is_none() {
        return Err(SchemeError::NoId);
    }
    if let Some(rule) = &parts.timestamp {
        let covered = match &rule.place {
            TimestampPlace::Request(place) => message.covers(place),
            TimestampPlace::Signature(_) | TimestampPlace::Claim(_) => false,
        };
        if !message.needs_timestamp() && !covered {
            return Err(SchemeError::TimestampNotSigned);
        }
    }
    match &parts.body_hash {
        Some(place) if !message.covers(place) => Err(SchemeError::BodyHashNotSigned {
            place: place.describe(),
        }),
        None if parts.unsigned_body && message.binds_body() => Err(SchemeError::BodySigned),
        None if !parts.unsigned_body && !message.binds_body() => Err(SchemeError::BodyNotSigned),
        Some(_) | None => Ok(()),
    }
}
