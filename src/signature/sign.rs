//! Signs a request as its provider would: the same scheme, read in the other direction.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jiff::Timestamp;

use sha2::{Digest, Sha256};

use super::key::{Key, MacKey};
use super::message::Inputs;
use super::place::{Place, Request};
use super::reason::Reason;
use super::scheme::{Algorithm, Encoding, Parse, Scheme, TimeUnit, TimestampPlace};
use super::verify::{compute, render};
use crate::event::Head;

/// Why a request cannot be signed.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SignError {
    /// The body is never changed; a signature in it is the sender's own business.
    #[error("{place} is neither a header nor a query parameter, and only these can be written")]
    Place {
        /// Where the scheme wants a value.
        place: String,
    },
    /// The message asks for something that this request does not have, or has twice.
    #[error(transparent)]
    Input(#[from] Reason),
    /// Half a key.
    #[error("a public key only verifies: signing needs its private key (PKCS#8, PEM)")]
    PublicKey,
}

/// What a signature binds besides the request itself.
#[derive(Debug, Clone)]
pub struct Stamp<'a> {
    /// The moment of signing.
    pub at: Timestamp,
    /// The event's id, for schemes that sign one.
    pub id: &'a str,
}

impl Scheme {
    /// Adds to `head` the headers and query parameters that make it authentic, in place of any it had.
    ///
    /// # Errors
    /// [`SignError`] when the scheme writes into the body, the request lacks a part, or the key is
    /// a public one.
    pub fn sign(
        &self,
        key: &Key,
        head: &mut Head,
        body: &[u8],
        stamp: &Stamp<'_>,
        public_url: Option<&str>,
    ) -> Result<(), SignError> {
        let parts = self.parts();
        if let Some(place) = &parts.id {
            set(head, place, stamp.id.to_owned())?;
        }
        let timestamp = parts
            .timestamp
            .as_ref()
            .map(|rule| write_time(rule.unit, stamp.at));
        if let (Some(rule), Some(text)) = (&parts.timestamp, &timestamp)
            && let TimestampPlace::Request(place) = &rule.place
        {
            set(head, place, text.clone())?;
        }
        if let Some(place) = &parts.body_hash {
            set(head, place, hex::encode(Sha256::digest(body)))?;
        }
        let inputs = Inputs {
            timestamp: timestamp.as_deref().map(str::as_bytes),
            id: Some(stamp.id.as_bytes()),
            url: None,
        };
        let signature = match key {
            Key::Token(secret) => present(parts.algorithm, secret.expose()),
            Key::Mac(mac) => {
                let request = Request::new(head, body).with_public_url(public_url);
                let tag = compute(self, MacKey::clone(mac), &request, inputs)?;
                encode(parts.encoding, &tag)
            }
            Key::Public(public) => {
                let request = Request::new(head, body).with_public_url(public_url);
                let message = render(self, &request, inputs)?;
                let signature = public.sign(&message).ok_or(SignError::PublicKey)?;
                encode(parts.encoding, &signature)
            }
        };
        let value = self.write(&signature, timestamp.as_deref());
        set(head, &parts.place, value)
    }

    /// The signature as it stands in its header.
    fn write(&self, signature: &str, timestamp: Option<&str>) -> String {
        match &self.parts().parse {
            Parse::Whole => signature.to_owned(),
            Parse::Prefix(prefix) => format!("{prefix}{signature}"),
            Parse::List {
                item_sep,
                kv_sep,
                key,
            } => {
                let signed = format!("{key}{kv_sep}{signature}");
                match (&self.parts().timestamp, timestamp) {
                    (Some(rule), Some(time)) => match &rule.place {
                        TimestampPlace::Signature(name) => {
                            format!("{name}{kv_sep}{time}{item_sep}{signed}")
                        }
                        TimestampPlace::Request(_) => signed,
                    },
                    _ => signed,
                }
            }
        }
    }
}

fn set(head: &mut Head, place: &Place, value: String) -> Result<(), SignError> {
    match place {
        Place::Header(name) => {
            head.headers.set(name, value);
            Ok(())
        }
        Place::Query(name) => {
            head.target = with_parameter(head, name, &value).into();
            Ok(())
        }
        Place::Json(_) | Place::Form(_) => Err(SignError::Place {
            place: place.describe(),
        }),
    }
}

/// The target with one query parameter set, at the end of the query.
fn with_parameter(head: &Head, name: &str, value: &str) -> Vec<u8> {
    let mut target = head.path().to_vec();
    let mut separator = b'?';
    let mut push = |pair: &[u8]| {
        target.push(separator);
        target.extend_from_slice(pair);
        separator = b'&';
    };
    let is_named = |pair: &[u8]| {
        form_urlencoded::parse(pair)
            .next()
            .is_some_and(|(key, _)| key == name)
    };
    let query = head.query().unwrap_or_default();
    for pair in query.split(|&byte| byte == b'&') {
        if !pair.is_empty() && !is_named(pair) {
            push(pair);
        }
    }
    let mut pair = form_urlencoded::Serializer::new(String::new());
    push(pair.append_pair(name, value).finish().as_bytes());
    target
}

fn present(algorithm: Algorithm, secret: &str) -> String {
    match algorithm {
        Algorithm::Basic => format!("Basic {}", STANDARD.encode(secret)),
        Algorithm::Bearer => format!("Bearer {secret}"),
        Algorithm::Static
        | Algorithm::HmacSha1
        | Algorithm::HmacSha256
        | Algorithm::HmacSha384
        | Algorithm::HmacSha512
        | Algorithm::Ed25519
        | Algorithm::EcdsaP256Sha256(_) => secret.to_owned(),
    }
}

fn encode(encoding: Encoding, tag: &[u8]) -> String {
    match encoding {
        Encoding::Hex => hex::encode(tag),
        Encoding::Base64 => STANDARD.encode(tag),
        Encoding::Base64Url => URL_SAFE_NO_PAD.encode(tag),
    }
}

fn write_time(unit: TimeUnit, at: Timestamp) -> String {
    match unit {
        TimeUnit::Seconds => at.as_second().to_string(),
        TimeUnit::Milliseconds => at.as_millisecond().to_string(),
        TimeUnit::Rfc3339 => at.to_string(),
    }
}
