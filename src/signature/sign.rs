//! Signs a request as its provider would: the same scheme, read in the other direction.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use jiff::Timestamp;
use serde_json::Value;
use serde_json_path::JsonPath;
use sha2::{Digest, Sha256};

use super::algorithm::Algorithm;
use super::form;
use super::jwt;
use super::key::{Key, KeyId, Material};
use super::message::Inputs;
use super::place::{Place, names};
use super::reason::Reason;
use super::request::Request;
use super::scheme::{Encoding, ListForm, Parse, Scheme, TimeUnit, TimestampPlace};
use super::terms::Terms;
use super::url;
use super::verify::{compute, render};
use crate::event::Head;

/// Why a request cannot be signed.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SignError {
    /// The body of an event is never changed; a signature in it is the sender's own business.
    #[error("{place} is neither a header nor a query parameter, and only these can be written")]
    Place {
        /// Where the scheme wants a value.
        place: String,
    },
    /// The message asks for something that this request does not have, or has twice.
    #[error(transparent)]
    Input(#[from] Reason),
    /// A place for one signature.
    #[error("the provider writes one signature, so that one secret signs")]
    OneKey,
    /// A secret that is not in the file.
    #[error("the secret comes with a handshake: name it, to sign with it")]
    Brought,
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

/// The body of what is signed.
#[derive(Debug)]
pub enum Body<'a> {
    /// Somebody's own words: nothing is written into it.
    Sealed(&'a [u8]),
    /// A sample, which a signature may be written into.
    Open(&'a mut Vec<u8>),
}

impl<'a> From<&'a [u8]> for Body<'a> {
    fn from(body: &'a [u8]) -> Self {
        Self::Sealed(body)
    }
}

impl<'a> From<&'a mut Vec<u8>> for Body<'a> {
    fn from(body: &'a mut Vec<u8>) -> Self {
        Self::Open(body)
    }
}

impl Body<'_> {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Sealed(body) => body,
            Self::Open(body) => body,
        }
    }
}

impl Scheme {
    /// Adds to `head` the headers and query parameters that make it authentic, in place of any it had,
    /// and to an open body its fields.
    ///
    /// # Errors
    /// [`SignError`] when the scheme writes into a sealed body, the request lacks a part, or the key is
    /// a public one.
    pub fn sign<'b>(
        &self,
        key: &Key,
        head: &mut Head,
        body: impl Into<Body<'b>>,
        stamp: &Stamp<'_>,
        terms: &Terms,
    ) -> Result<(), SignError> {
        self.sign_with(std::slice::from_ref(key), head, body, stamp, terms)
    }

    /// The same with several keys, each of which signs: where a secret is being rolled, who knows the old
    /// one and who knows the new one verify the same request.
    ///
    /// # Errors
    /// [`SignError`] as for one, or when the signature's place holds one alone.
    pub fn sign_with<'b>(
        &self,
        keys: &[Key],
        head: &mut Head,
        body: impl Into<Body<'b>>,
        stamp: &Stamp<'_>,
        terms: &Terms,
    ) -> Result<(), SignError> {
        if keys.len() > 1 && !matches!(self.parts().parse, Parse::List(_)) {
            return Err(SignError::OneKey);
        }
        let draft = &mut Draft {
            head,
            body: body.into(),
            item: None,
        };
        if matches!(self.parts().place, Place::Json(_)) {
            draft.settle();
        }
        let Some(path) = &self.parts().for_each else {
            return self.sign_one(keys, draft, stamp, terms);
        };
        let json = serde_json::from_slice(draft.body.bytes()).unwrap_or(Value::Null);
        let items = path.query_located(&json);
        let items: Vec<_> = items
            .iter()
            .map(|one| one.location().to_json_pointer())
            .collect();
        for (number, pointer) in items.into_iter().enumerate() {
            draft.item = Some(Item {
                path: path.clone(),
                number,
                pointer,
            });
            self.sign_one(keys, draft, stamp, terms)?;
        }
        Ok(())
    }

    fn sign_one(
        &self,
        keys: &[Key],
        draft: &mut Draft<'_, '_>,
        stamp: &Stamp<'_>,
        terms: &Terms,
    ) -> Result<(), SignError> {
        let parts = self.parts();
        for (place, value) in &parts.when {
            let value = draft.read(terms, |request| {
                Ok(render(value, request, Inputs::default())?)
            })?;
            draft.set(place, String::from_utf8_lossy(&value).into_owned(), terms)?;
        }
        if let Some(place) = &parts.id {
            draft.set(place, stamp.id.to_owned(), terms)?;
        }
        let timestamp = parts
            .timestamp
            .as_ref()
            .map(|rule| write_time(rule.unit, stamp.at));
        if let (Some(rule), Some(text)) = (&parts.timestamp, &timestamp)
            && let TimestampPlace::Request(place) = &rule.place
        {
            draft.set(place, text.clone(), terms)?;
        }
        if let Some(place) = &parts.body_hash {
            let hash = hex::encode(Sha256::digest(draft.body.bytes()));
            draft.set(place, hash, terms)?;
        }
        if let Some(KeyId::Request(place)) = &parts.key.id
            && let Some(id) = keys.first().and_then(Key::id)
        {
            draft.set(place, id.to_owned(), terms)?;
        }
        let signatures = keys
            .iter()
            .map(|key| self.with_key(key, draft, stamp, timestamp.as_deref(), terms));
        let signatures: Vec<_> = signatures.collect::<Result<_, _>>()?;
        let value = self.write(&signatures, timestamp.as_deref(), keys);
        draft.set(&parts.place, value, terms)
    }

    /// The signature by one of the keys.
    fn with_key(
        &self,
        key: &Key,
        draft: &Draft<'_, '_>,
        stamp: &Stamp<'_>,
        timestamp: Option<&str>,
        terms: &Terms,
    ) -> Result<String, SignError> {
        let parts = self.parts();
        draft.read(terms, |request| {
            let url = request.url().filter(|_| parts.message.needs_url());
            let url = url.map(|url| url::decoded(&url, parts));
            let field = parts.place.field();
            let inputs = Inputs {
                timestamp: timestamp.map(str::as_bytes),
                id: Some(stamp.id.as_bytes()),
                url: url.as_deref().map(str::as_bytes),
                key: Some(key),
                without: field.as_deref(),
                listed: parts.header_with_time(),
            };
            self.signature(key, request, inputs, stamp)
        })
    }

    fn signature(
        &self,
        key: &Key,
        request: &Request<'_>,
        inputs: Inputs<'_>,
        stamp: &Stamp<'_>,
    ) -> Result<String, SignError> {
        let parts = self.parts();
        Ok(match &key.material {
            Material::Plain(secret) => present(parts.algorithm, secret.expose()),
            Material::Mac(_) | Material::Hash(..) => {
                let tag = compute(self, key, request, inputs)?.unwrap_or_default();
                encode(parts.encoding, &tag)
            }
            Material::Public(public) => {
                let message = render(&self.parts().message, request, inputs)?;
                let signature = public.sign(&message).ok_or(SignError::PublicKey)?;
                encode(parts.encoding, &signature)
            }
            Material::Pinned(_) | Material::Published(_) => return Err(SignError::PublicKey),
            Material::Brought(_) => return Err(SignError::Brought),
            Material::Token(_) => {
                let rule = parts.jwt.as_ref().ok_or(SignError::PublicKey)?;
                let token = jwt::sign(rule, key, request, stamp.id, stamp.at)?;
                token.ok_or(SignError::PublicKey)?
            }
        })
    }

    /// The signatures as they stand in their place.
    fn write(&self, signatures: &[String], timestamp: Option<&str>, keys: &[Key]) -> String {
        let signature = signatures.first().map(String::as_str).unwrap_or_default();
        match &self.parts().parse {
            Parse::Whole => signature.to_owned(),
            Parse::Prefix(prefix) => format!("{prefix}{signature}"),
            Parse::List(list) | Parse::Sets { list, .. } => {
                self.write_list(list, signatures, timestamp, keys)
            }
            Parse::Positional { sep } => {
                format!("{}{sep}{signature}", timestamp.unwrap_or_default())
            }
        }
    }

    fn write_list(
        &self,
        list: &ListForm,
        signatures: &[String],
        timestamp: Option<&str>,
        keys: &[Key],
    ) -> String {
        let ListForm {
            item_sep, kv_sep, ..
        } = list;
        let signed = signatures.iter().zip(keys).map(|(signature, key)| {
            let name = list.key.as_deref().or(key.id()).unwrap_or_default();
            format!("{name}{kv_sep}{signature}")
        });
        let signed = signed.collect::<Vec<_>>().join(item_sep);
        match (&self.parts().timestamp, timestamp) {
            (Some(rule), Some(time)) => match &rule.place {
                TimestampPlace::Signature(name) => {
                    format!("{name}{kv_sep}{time}{item_sep}{signed}")
                }
                TimestampPlace::Request(_) | TimestampPlace::Claim(_) => signed,
            },
            _ => signed,
        }
    }
}

/// A request on its way to being signed.
struct Draft<'h, 'b> {
    head: &'h mut Head,
    body: Body<'b>,
    item: Option<Item>,
}

/// The item in the body that is signed now.
struct Item {
    path: JsonPath,
    number: usize,
    pointer: String,
}

impl Draft<'_, '_> {
    /// Shows the request, or the item in it, as it stands now.
    fn read<T>(
        &self,
        terms: &Terms,
        work: impl FnOnce(&Request<'_>) -> Result<T, SignError>,
    ) -> Result<T, SignError> {
        let request = terms.request(self.head, self.body.bytes());
        match &self.item {
            None => work(&request),
            Some(item) => {
                let items = request.items(&item.path);
                let item = items.get(item.number).unwrap_or(&request);
                work(item)
            }
        }
    }

    /// Writes the JSON of an open body as it will stand there once more is written into it: a number may
    /// have other digits then.
    fn settle(&mut self) {
        if let Body::Open(body) = &mut self.body
            && let Ok(json) = serde_json::from_slice::<Value>(body)
            && let Ok(written) = serde_json::to_vec(&json)
        {
            **body = written;
        }
    }

    fn set(&mut self, place: &Place, value: String, terms: &Terms) -> Result<(), SignError> {
        let is_there = |request: &Request<'_>| {
            Ok(place
                .read(request)
                .is_some_and(|found| *found == *value.as_bytes()))
        };
        match place {
            Place::Header(name) => self.head.headers.set(name, value),
            Place::HeaderFamily(prefix) => self.head.headers.set(&format!("{prefix}1"), value),
            Place::Query(name) => {
                let query = self.head.query().unwrap_or_default();
                let query = with_parameter(query, name, &value);
                let path = self.head.path().to_vec();
                self.head.target = Bytes::from([path, b"?".to_vec(), query].concat());
            }
            Place::Json(_) | Place::Form(_) if self.read(terms, is_there)? => {}
            Place::Json(path) => self.set_json(path, &value).ok_or_else(|| refused(place))?,
            Place::Form(name) => {
                let Body::Open(body) = &mut self.body else {
                    return Err(refused(place));
                };
                **body = with_parameter(body, name, &value);
            }
            Place::FormJson(name, path) => {
                let written = self.set_form_json(name, path, &value);
                written.ok_or_else(|| refused(place))?;
            }
            Place::Template(_) => return Err(refused(place)),
        }
        Ok(())
    }

    /// Writes a value into the JSON of an open body; `None` when it cannot be.
    fn set_json(&mut self, path: &JsonPath, value: &str) -> Option<()> {
        let Body::Open(body) = &mut self.body else {
            return None;
        };
        let item = self.item.as_ref().map(|item| item.pointer.as_str());
        **body = with_value(body, item.unwrap_or_default(), path, value)?;
        Some(())
    }

    /// Writes a value into the JSON that a parameter of an open form holds; `None` when it cannot be.
    fn set_form_json(&mut self, name: &str, path: &JsonPath, value: &str) -> Option<()> {
        let Body::Open(body) = &mut self.body else {
            return None;
        };
        let fields = form::fields(self.head, body);
        let (_, json) = fields.iter().find(|(key, _)| **key == *name.as_bytes())?;
        let written = with_value(json, "", path, value)?;
        let changed = match form::is_form(self.head) {
            true => with_parameter(body, name, std::str::from_utf8(&written).ok()?),
            false => {
                let at = memchr::memmem::find(body, json)?;
                let (before, rest) = body.split_at(at);
                let after = rest.get(json.len()..)?;
                [before, &written, after].concat()
            }
        };
        **body = changed;
        Some(())
    }
}

/// A JSON text with one value set, below what a pointer (RFC 6901) points at.
fn with_value(json: &[u8], below: &str, path: &JsonPath, value: &str) -> Option<Vec<u8>> {
    let mut json: Value = serde_json::from_slice(json).ok()?;
    let mut target = json.pointer_mut(below)?;
    for name in names(path)? {
        let fields = target.as_object_mut()?;
        target = fields
            .entry(name)
            .or_insert_with(|| Value::Object(Default::default()));
    }
    // A number stays one: a time for instance.
    *target = match (&*target, value.parse::<i64>()) {
        (Value::Number(_), Ok(number)) => number.into(),
        _ => value.into(),
    };
    serde_json::to_vec(&json).ok()
}

fn refused(place: &Place) -> SignError {
    SignError::Place {
        place: place.describe(),
    }
}

/// A query or a form with one parameter set, at its end.
fn with_parameter(query: &[u8], name: &str, value: &str) -> Vec<u8> {
    let is_named = |pair: &[u8]| {
        form_urlencoded::parse(pair)
            .next()
            .is_some_and(|(key, _)| key == name)
    };
    let mut pairs: Vec<_> = query
        .split(|&byte| byte == b'&')
        .filter(|pair| !pair.is_empty() && !is_named(pair))
        .collect();
    let mut pair = form_urlencoded::Serializer::new(String::new());
    let pair = pair.append_pair(name, value).finish();
    pairs.push(pair.as_bytes());
    pairs.join(&b'&')
}

fn present(algorithm: Algorithm, secret: &str) -> String {
    match algorithm {
        Algorithm::Basic => format!("Basic {}", STANDARD.encode(secret)),
        Algorithm::Bearer => format!("Bearer {secret}"),
        _ => secret.to_owned(),
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
        TimeUnit::HttpDate => httpdate::fmt_http_date(at.into()),
    }
}
