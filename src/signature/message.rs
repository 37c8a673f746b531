//! The signed text, put together from pieces of a request: `v0:{ts}:{body}`.
//!
//! The same grammar writes the answers to handshakes. `{{` and `}}` stand for the braces.

use std::borrow::Cow;

use serde_json_path::JsonPath;

use super::place::{Place, Request};

/// One piece of a [`Message`].
#[derive(Debug, Clone)]
enum Segment {
    Literal(Vec<u8>),
    Body,
    SortedForm,
    Timestamp,
    Id,
    Method,
    Path,
    Url,
    Value(Place),
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
    /// A piece nobody knows.
    #[error(
        "`{{{name}}}` is not a piece of a request: known are {{body}}, {{sorted_form}}, {{ts}}, {{id}}, \
         {{method}}, {{path}}, {{url}}, {{header:NAME}}, {{query:NAME}}, {{form:NAME}} and \
         {{json:PATH}}"
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

/// The values of one request that a message may ask for.
#[derive(Debug, Clone, Copy, Default)]
pub struct Inputs<'a> {
    /// The timestamp exactly as it came.
    pub timestamp: Option<&'a [u8]>,
    /// The id exactly as it came.
    pub id: Option<&'a [u8]>,
    /// The public URL, where another than the request's own is tried.
    pub url: Option<&'a [u8]>,
}

impl Message {
    /// Reads the grammar above.
    ///
    /// # Errors
    /// [`MessageError`] names the piece that is wrong.
    pub fn parse(text: &str) -> Result<Self, MessageError> {
        let mut segments = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            let (before, from) = rest.split_at(at);
            literal.push_str(before);
            if let Some(after) = from.strip_prefix("{{") {
                literal.push('{');
                rest = after;
            } else if let Some(after) = from.strip_prefix("}}") {
                literal.push('}');
                rest = after;
            } else {
                let (name, after) = from
                    .strip_prefix('{')
                    .and_then(|from| from.split_once('}'))
                    .ok_or(MessageError::Brace)?;
                push_literal(&mut segments, &mut literal);
                segments.push(segment(name)?);
                rest = after;
            }
        }
        literal.push_str(rest);
        push_literal(&mut segments, &mut literal);
        Ok(Self(segments))
    }

    /// Whether `{url}` is asked for.
    pub fn needs_url(&self) -> bool {
        self.0.iter().any(|segment| matches!(segment, Segment::Url))
    }

    /// Whether `{ts}` is asked for.
    pub fn needs_timestamp(&self) -> bool {
        self.0
            .iter()
            .any(|segment| matches!(segment, Segment::Timestamp))
    }

    /// Whether `{id}` is asked for.
    pub fn needs_id(&self) -> bool {
        self.0.iter().any(|segment| matches!(segment, Segment::Id))
    }

    /// Whether the body is part of it, or all that a form says.
    pub fn binds_body(&self) -> bool {
        self.0
            .iter()
            .any(|segment| matches!(segment, Segment::Body | Segment::SortedForm))
    }

    /// Whether the value in a place is part of it: a query parameter is part of the URL.
    pub fn covers(&self, place: &Place) -> bool {
        self.0.iter().any(|segment| match (segment, place) {
            (Segment::Body, Place::Json(_) | Place::Form(_)) | (Segment::Url, Place::Query(_)) => {
                true
            }
            (Segment::Value(Place::Header(a)), Place::Header(b)) => a.eq_ignore_ascii_case(b),
            (Segment::Value(Place::Query(a)), Place::Query(b)) => a == b,
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
}

impl Segment {
    fn read<'r>(
        &'r self,
        request: &'r Request<'_>,
        inputs: Inputs<'r>,
    ) -> Result<Cow<'r, [u8]>, PieceError> {
        let found = match self {
            Self::Literal(text) => Some(Cow::Borrowed(&text[..])),
            Self::Body => Some(Cow::Borrowed(request.body())),
            Self::SortedForm => request.sorted_form().map(Cow::Owned),
            Self::Timestamp => inputs.timestamp.map(Cow::Borrowed),
            Self::Id => inputs.id.map(Cow::Borrowed),
            Self::Method => Some(Cow::Borrowed(request.head().method.as_bytes())),
            Self::Path => Some(Cow::Borrowed(request.head().path())),
            Self::Url => match inputs.url {
                Some(url) => Some(Cow::Borrowed(url)),
                None => request.url().map(|url| Cow::Owned(url.into_bytes())),
            },
            Self::Value(place) => read_once(place, request)?,
        };
        found.ok_or_else(|| PieceError::Missing(self.describe()))
    }

    fn describe(&self) -> String {
        match self {
            Self::Timestamp => "timestamp".into(),
            Self::Id => "id".into(),
            Self::Url => "public URL".into(),
            Self::SortedForm => "form (application/x-www-form-urlencoded)".into(),
            Self::Value(place) => place.describe(),
            Self::Literal(_) | Self::Body | Self::Method | Self::Path => "request".into(),
        }
    }
}

fn read_once<'r>(
    place: &Place,
    request: &'r Request<'_>,
) -> Result<Option<Cow<'r, [u8]>>, PieceError> {
    let mut values = place.read_all(request).into_iter();
    let first = values.next();
    match values.next() {
        None => Ok(first),
        Some(_) => Err(PieceError::Ambiguous(place.describe())),
    }
}

fn push_literal(segments: &mut Vec<Segment>, literal: &mut String) {
    if !literal.is_empty() {
        segments.push(Segment::Literal(std::mem::take(literal).into_bytes()));
    }
}

fn segment(name: &str) -> Result<Segment, MessageError> {
    Ok(match name.split_once(':') {
        None => match name {
            "body" => Segment::Body,
            "sorted_form" => Segment::SortedForm,
            "ts" => Segment::Timestamp,
            "id" => Segment::Id,
            "method" => Segment::Method,
            "path" => Segment::Path,
            "url" => Segment::Url,
            _ => {
                return Err(MessageError::Unknown {
                    name: name.to_owned(),
                });
            }
        },
        Some(("header", header)) if !header.is_empty() => {
            Segment::Value(Place::Header(header.to_owned()))
        }
        Some(("query", parameter)) if !parameter.is_empty() => {
            Segment::Value(Place::Query(parameter.to_owned()))
        }
        Some(("form", parameter)) if !parameter.is_empty() => {
            Segment::Value(Place::Form(parameter.to_owned()))
        }
        Some(("json", path)) => Segment::Value(Place::Json(json_path(path)?)),
        Some(_) => {
            return Err(MessageError::Unknown {
                name: name.to_owned(),
            });
        }
    })
}

fn json_path(path: &str) -> Result<JsonPath, MessageError> {
    JsonPath::parse(path).map_err(|error| MessageError::JsonPath {
        path: path.to_owned(),
        reason: error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::event::{Head, Headers};

    fn head() -> Head {
        let mut headers = Headers::default();
        headers.push("X-Id", "abc");
        Head {
            method: "POST".into(),
            target: Bytes::from_static(b"/a/b?q=%20x&r=1&r=2"),
            host: None,
            headers,
        }
    }

    #[test]
    fn pieces_are_put_together_in_order() {
        let head = head();
        let request = Request::new(&head, br#"{"n": 1.50, "s": "t"}"#)
            .with_public_url(Some("https://pub.example/in"));
        let inputs = Inputs {
            timestamp: Some(b"17"),
            id: Some(b"msg_1"),
            url: None,
        };
        let check = |message: &str, text: &str| {
            let rendered = Message::parse(message)
                .unwrap()
                .render(&request, inputs)
                .unwrap();
            assert_eq!(String::from_utf8(rendered).unwrap(), text, "{message}");
        };
        check("v0:{ts}:{header:x-id}", "v0:17:abc");
        check("{id}.{ts}.{method}", "msg_1.17.POST");
        check("{path} {query:q}", "/a/b  x");
        check("{url}", "https://pub.example/in?q=%20x&r=1&r=2");
        check("{json:$.s}", "t");
        check("{{}}{{{method}}}", "{}{POST}");
        check("", "");
    }

    #[test]
    fn a_missing_piece_is_named_and_so_is_a_repeated_one() {
        let head = head();
        let request = Request::new(&head, b"not json");
        let check = |message: &str, problem: &str| {
            let message = Message::parse(message).unwrap();
            let error = message.render(&request, Inputs::default()).unwrap_err();
            assert_eq!(error.to_string(), problem);
        };
        check("{ts}", "timestamp is missing");
        check("{id}", "id is missing");
        check("{url}", "public URL is missing");
        check("{header:x-none}", "header x-none is missing");
        check("{json:$.id}", "JSON path $.id is missing");
        let twice = "query parameter r stands in the request more than once";
        check("{query:r}", twice);
    }

    #[test]
    fn a_text_that_is_no_message_is_refused() {
        let check = |text: &str, part: &str| {
            let message = Message::parse(text).unwrap_err().to_string();
            assert!(message.contains(part), "{text}: {message}");
        };
        check("{bodi}", "`{bodi}` is not a piece of a request");
        check("{header:}", "`{header:}`");
        check("{body", "a single `{` or `}` stands alone");
        check("body}", "a single `{` or `}` stands alone");
        check("{json:id}", "`id` is not a JSONPath");
    }
}
