//! The signed text, put together from pieces of a request: `v0:{ts}:{body}`.
//!
//! The same grammar writes the answers to handshakes. `{{`, `}}`, `[[` and `]]` stand for the
//! characters themselves; what stands in `[…]` is left out as a whole where a piece in it is not there.

mod grammar;

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use super::algorithm::Hash;
use super::form;
use super::key::Key;
use super::place::Place;
use super::request::Request;

/// One piece of a [`Message`].
#[derive(Debug, Clone)]
enum Segment {
    Literal(Vec<u8>),
    Body,
    BodySha256,
    BodyCrc32,
    SortedForm,
    SortedJson(Option<String>),
    FormLike(String),
    SortedQuery,
    QueryString,
    Timestamp,
    Id,
    Secret,
    KeyId,
    Method,
    Path,
    Url,
    Option(String),
    HeadersIn(String),
    Value(Place),
    Mac(Box<Response>),
    Group(Vec<Segment>),
}

/// How the tag of a MAC is written in the answer to a handshake.
#[derive(Debug, Clone, Copy)]
enum Written {
    Hex,
    Base64,
}

/// What may be answered with a MAC of it.
#[derive(Debug, Clone, Copy)]
enum Challenge {
    /// Letters, digits and what stands in base64: no JSON text and no form with two fields.
    Word,
    /// 20 to 32 hexadecimal digits, where the event itself is such a word.
    Hex,
}

/// A MAC of a challenge, in the answer to a handshake.
#[derive(Debug, Clone)]
struct Response {
    hash: Hash,
    written: Written,
    challenge: Challenge,
    place: Place,
}

/// A text made of literals and pieces of a request.
#[derive(Debug, Clone)]
pub struct Message(Vec<Segment>);

/// Why a text is not a [`Message`].
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum MessageError {
    /// A brace that opens or closes nothing.
    #[error("a single `{{` or `}}` stands alone: write `{{{{` or `}}}}` for the character itself")]
    Brace,
    /// A bracket that opens or closes nothing.
    #[error("a single `[` or `]` stands alone: write `[[` or `]]` for the character itself")]
    Bracket,
    /// A piece nobody knows.
    #[error(
        "`{{{name}}}` is not a piece of a request: known are {}",
        grammar::KNOWN
    )]
    Unknown {
        /// What stood between the braces.
        name: String,
    },
    /// A JSONPath that is none.
    #[error("`{path}` is not a JSONPath (RFC 9535): {reason}")]
    JsonPath {
        /// What was written.
        path: String,
        /// What the parser said.
        reason: String,
    },
}

/// Why a request does not have one piece of a message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PieceError {
    /// It is not there.
    #[error("{0} is missing")]
    Missing(String),
    /// It stands there more than once: a backend might read another one than was signed.
    #[error("{0} stands in the request more than once")]
    Ambiguous(String),
}

/// The values that a message may ask for beside the request's own.
#[derive(Debug, Clone, Copy, Default)]
pub struct Inputs<'a> {
    /// The timestamp exactly as it came.
    pub timestamp: Option<&'a [u8]>,
    /// The id exactly as it came.
    pub id: Option<&'a [u8]>,
    /// The public URL, where another than the request's own is tried.
    pub url: Option<&'a [u8]>,
    /// The key, where its secret or its name is part of the text.
    pub key: Option<&'a Key>,
    /// The field that holds the signature, which no list of all fields has.
    pub without: Option<&'a str>,
    /// The header that a list of signed headers must name: the one with the time.
    pub listed: Option<&'a str>,
}

impl<'a> Inputs<'a> {
    fn secret(&self) -> Option<&'a str> {
        self.key.and_then(Key::secret)
    }
}

impl Message {
    /// Reads the grammar above.
    ///
    /// # Errors
    /// [`MessageError`] names the piece that is wrong.
    pub fn parse(text: &str) -> Result<Self, MessageError> {
        grammar::parse(text).map(Self)
    }

    /// The body and nothing else.
    pub fn body() -> Self {
        Self(vec![Segment::Body])
    }

    /// A text that asks for nothing.
    pub fn literal(text: &str) -> Self {
        match text {
            "" => Self(Vec::new()),
            text => Self(vec![Segment::Literal(text.as_bytes().to_vec())]),
        }
    }

    /// Whether it says nothing at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `{url}` is asked for.
    pub fn needs_url(&self) -> bool {
        self.any(|segment| matches!(segment, Segment::Url))
    }

    /// Whether `{ts}` is asked for.
    pub fn needs_timestamp(&self) -> bool {
        self.any(|segment| matches!(segment, Segment::Timestamp))
    }

    /// Whether `{id}` is asked for.
    pub fn needs_id(&self) -> bool {
        self.any(|segment| matches!(segment, Segment::Id))
    }

    /// Whether the secret is part of it.
    pub fn needs_secret(&self) -> bool {
        self.any(|segment| matches!(segment, Segment::Secret | Segment::SortedJson(Some(_))))
    }

    /// The options that it asks for.
    pub fn options(&self) -> impl Iterator<Item = &str> {
        let segments = self.0.iter().flat_map(Segment::with_inner);
        segments.filter_map(|segment| match segment {
            Segment::Option(name) => Some(name.as_str()),
            _ => None,
        })
    }

    /// Whether the body is part of it, or all that it says.
    pub fn binds_body(&self) -> bool {
        self.any(|segment| {
            matches!(
                segment,
                Segment::Body
                    | Segment::BodySha256
                    | Segment::BodyCrc32
                    | Segment::SortedForm
                    | Segment::SortedJson(_)
            )
        })
    }

    /// Whether the value in a place is part of it: a query parameter is part of the URL.
    pub fn covers(&self, place: &Place) -> bool {
        self.any(|segment| match (segment, place) {
            (
                Segment::Body | Segment::BodySha256 | Segment::BodyCrc32,
                Place::Json(_) | Place::Form(_) | Place::FormJson(..),
            )
            | (Segment::SortedForm, Place::Form(_) | Place::FormJson(..))
            | (Segment::Url | Segment::QueryString | Segment::SortedQuery, Place::Query(_)) => true,
            // Another list would be another text.
            (Segment::HeadersIn(_), Place::Header(_)) => true,
            (Segment::Value(signed), place) => signed.is(place),
            _ => false,
        })
    }

    /// Hands every piece to `take` in order.
    ///
    /// # Errors
    /// [`PieceError`] names the piece that this request does not have, or has twice.
    pub fn feed(
        &self,
        request: &Request<'_>,
        inputs: Inputs<'_>,
        mut take: impl FnMut(&[u8]),
    ) -> Result<(), PieceError> {
        for segment in &self.0 {
            take(&segment.read(request, inputs)?);
        }
        Ok(())
    }

    /// The whole text.
    ///
    /// # Errors
    /// [`PieceError`] names the piece that this request does not have, or has twice.
    pub fn render(&self, request: &Request<'_>, inputs: Inputs<'_>) -> Result<Vec<u8>, PieceError> {
        let mut text = Vec::new();
        self.feed(request, inputs, |piece| text.extend_from_slice(piece))?;
        Ok(text)
    }

    /// The whole text, with what it asks for as it stands within the quotes of a JSON string.
    ///
    /// # Errors
    /// [`PieceError`] names the piece that this request does not have, or has twice.
    pub fn render_json(
        &self,
        request: &Request<'_>,
        inputs: Inputs<'_>,
    ) -> Result<Vec<u8>, PieceError> {
        let mut text = Vec::new();
        for segment in &self.0 {
            let piece = segment.read(request, inputs)?;
            segment.push_json(&piece, &mut text);
        }
        Ok(text)
    }

    /// The whole text, without what is not there: nothing, or `null` in JSON.
    pub fn fill(&self, request: &Request<'_>, in_json: bool) -> Vec<u8> {
        let mut text = Vec::new();
        for segment in &self.0 {
            match (segment.read(request, Inputs::default()), in_json) {
                (Ok(piece), true) => segment.push_json(&piece, &mut text),
                (Ok(piece), false) => text.extend_from_slice(&piece),
                (Err(_), true) => text.extend_from_slice(b"null"),
                (Err(_), false) => {}
            }
        }
        text
    }

    /// The places that it asks for, in the words of a person.
    pub(super) fn describe(&self) -> String {
        let places = self.0.iter().flat_map(Segment::with_inner);
        let places = places.filter_map(|segment| match segment {
            Segment::Value(place) => Some(place.describe()),
            _ => None,
        });
        places.collect::<Vec<_>>().join(" and ")
    }

    fn any(&self, is: impl Fn(&Segment) -> bool) -> bool {
        self.0.iter().flat_map(Segment::with_inner).any(is)
    }
}

impl Segment {
    /// The segment and what stands in it, if it is a group: a group has no groups.
    fn with_inner(&self) -> impl Iterator<Item = &Self> {
        let inner = match self {
            Self::Group(segments) => segments.as_slice(),
            _ => &[],
        };
        std::iter::once(self).chain(inner)
    }

    fn read<'r>(
        &'r self,
        request: &'r Request<'_>,
        inputs: Inputs<'r>,
    ) -> Result<Cow<'r, [u8]>, PieceError> {
        let found = match self {
            Self::Literal(text) => Some(Cow::Borrowed(&text[..])),
            Self::Body => Some(Cow::Borrowed(request.body())),
            Self::BodySha256 => Some(
                hex::encode(Sha256::digest(request.body()))
                    .into_bytes()
                    .into(),
            ),
            Self::BodyCrc32 => Some(
                crc32fast::hash(request.body())
                    .to_string()
                    .into_bytes()
                    .into(),
            ),
            Self::SortedForm => request.sorted_form().map(Cow::Owned),
            Self::SortedJson(secret_as) => {
                sorted_json(request, secret_as.as_deref(), inputs).map(Cow::Owned)
            }
            Self::FormLike(prefix) => {
                Some(form::like(request.head(), request.body(), prefix).into())
            }
            Self::SortedQuery => {
                Some(form::sorted(request.head().query().unwrap_or_default()).into())
            }
            Self::QueryString => Some(request.head().query().unwrap_or_default().into()),
            Self::Timestamp => inputs.timestamp.map(Cow::Borrowed),
            Self::Id => inputs.id.map(Cow::Borrowed),
            Self::Secret => inputs.secret().map(|text| text.as_bytes().into()),
            Self::KeyId => inputs
                .key
                .and_then(Key::id)
                .map(|text| text.as_bytes().into()),
            Self::Method => Some(Cow::Borrowed(request.head().method.as_bytes())),
            Self::Path => Some(Cow::Borrowed(request.head().path())),
            Self::Url => match inputs.url {
                Some(url) => Some(Cow::Borrowed(url)),
                None => request.url().map(|url| Cow::Owned(url.into_bytes())),
            },
            Self::Option(name) => request.option(name).map(|text| text.as_bytes().into()),
            Self::HeadersIn(list) => headers_in(request, list, inputs.listed)?.map(Cow::Owned),
            Self::Value(place) => read_once(place, request)?,
            Self::Mac(response) => response.read(request, inputs)?,
            Self::Group(segments) => Some(read_group(segments, request, inputs)?),
        };
        found.ok_or_else(|| PieceError::Missing(self.describe()))
    }

    /// Writes a piece into a JSON text: what is not our own words is escaped.
    fn push_json(&self, piece: &[u8], text: &mut Vec<u8>) {
        if matches!(self, Self::Literal(_)) {
            return text.extend_from_slice(piece);
        }
        let quoted = serde_json::Value::from(String::from_utf8_lossy(piece)).to_string();
        let inner = quoted
            .strip_prefix('"')
            .and_then(|rest| rest.strip_suffix('"'));
        text.extend_from_slice(inner.unwrap_or_default().as_bytes());
    }

    fn describe(&self) -> String {
        match self {
            Self::Timestamp => "timestamp".into(),
            Self::Id => "id".into(),
            Self::Url => "public URL".into(),
            Self::Secret => "secret".into(),
            Self::KeyId => "id of the key".into(),
            Self::SortedForm => "form (application/x-www-form-urlencoded)".into(),
            Self::SortedJson(_) => "JSON object".into(),
            Self::Option(name) => format!("option `{name}`"),
            Self::HeadersIn(list) => format!("header {list}"),
            Self::Value(place) => place.describe(),
            Self::Mac(response) => response.place.describe(),
            Self::Literal(_)
            | Self::Body
            | Self::BodySha256
            | Self::BodyCrc32
            | Self::FormLike(_)
            | Self::SortedQuery
            | Self::QueryString
            | Self::Method
            | Self::Path
            | Self::Group(_) => "request".into(),
        }
    }
}

/// What a group says; nothing where a piece in it is not there, or is empty.
fn read_group<'r>(
    segments: &'r [Segment],
    request: &'r Request<'_>,
    inputs: Inputs<'r>,
) -> Result<Cow<'r, [u8]>, PieceError> {
    let mut text = Vec::new();
    for segment in segments {
        match segment.read(request, inputs) {
            Ok(piece) if !piece.is_empty() => text.extend_from_slice(&piece),
            Ok(_) | Err(PieceError::Missing(_)) => return Ok(Cow::Borrowed(b"")),
            Err(ambiguous) => return Err(ambiguous),
        }
    }
    Ok(text.into())
}

fn read_once<'r>(
    place: &'r Place,
    request: &'r Request<'_>,
) -> Result<Option<Cow<'r, [u8]>>, PieceError> {
    let mut values = place.read_all(request).into_iter();
    let first = values.next();
    match values.next() {
        None => Ok(first),
        Some(_) => Err(PieceError::Ambiguous(place.describe())),
    }
}

/// The values of all simple fields of a JSON object, by the order of their names.
fn sorted_json(
    request: &Request<'_>,
    secret_as: Option<&str>,
    inputs: Inputs<'_>,
) -> Option<Vec<u8>> {
    let mut fields = request.json_scalars()?;
    if let Some(name) = inputs.without {
        fields.remove(name);
    }
    if let Some(name) = secret_as {
        fields.insert(name, inputs.secret()?.as_bytes().to_vec());
    }
    Some(fields.into_values().flatten().collect())
}

/// The headers that another header names, as `name:value` with `;` between, by the order of their names.
fn headers_in(
    request: &Request<'_>,
    list: &str,
    listed: Option<&str>,
) -> Result<Option<Vec<u8>>, PieceError> {
    let place = Place::Header(list.to_owned());
    let Some(names) = read_once(&place, request)? else {
        return Ok(None);
    };
    let names = String::from_utf8_lossy(&names).to_ascii_lowercase();
    let has = |wanted: &str| {
        names
            .split(',')
            .any(|name| name.trim().eq_ignore_ascii_case(wanted))
    };
    if let Some(wanted) = listed.filter(|wanted| !has(wanted)) {
        return Err(PieceError::Missing(format!("{wanted} in header {list}")));
    }
    let mut lines = Vec::new();
    for name in names.split(',') {
        let name = name.trim().to_owned();
        let place = Place::Header(name.clone());
        let value = read_once(&place, request)?;
        let value = value.ok_or_else(|| PieceError::Missing(place.describe()))?;
        let line = [name.as_bytes(), b":", value.trim_ascii()].concat();
        lines.push((name, line));
    }
    lines.sort_unstable();
    let lines: Vec<_> = lines.into_iter().map(|(_, line)| line).collect();
    Ok(Some(lines.join(&b';')))
}

/// The longest text that a MAC is made over for a handshake; challenges have 20 to 50 characters.
const CHALLENGE_BYTES_MAX: usize = 64;

impl Challenge {
    /// Whether nobody learns the signature of an event from the MAC of this text.
    fn admits(self, text: &[u8]) -> bool {
        let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_=+/.".contains(byte);
        match self {
            Self::Word => text.len() <= CHALLENGE_BYTES_MAX && text.iter().all(is_plain),
            Self::Hex => (20..=32).contains(&text.len()) && text.iter().all(u8::is_ascii_hexdigit),
        }
    }
}

impl Response {
    fn read<'r>(
        &self,
        request: &'r Request<'_>,
        inputs: Inputs<'_>,
    ) -> Result<Option<Cow<'r, [u8]>>, PieceError> {
        let key = inputs.key.and_then(|key| key.mac(self.hash));
        let (Some(text), Some(mac)) = (read_once(&self.place, request)?, key) else {
            return Ok(None);
        };
        if !self.challenge.admits(&text) {
            return Ok(None);
        }
        let tag = mac.tag(|take| {
            take(&text);
            Ok::<_, PieceError>(())
        })?;
        let text = match self.written {
            Written::Hex => hex::encode(tag),
            Written::Base64 => STANDARD.encode(tag),
        };
        Ok(Some(text.into_bytes().into()))
    }
}

#[cfg(test)]
mod tests;
