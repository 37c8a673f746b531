//! What a provider insists on hearing: a status, and words that may repeat what it has sent.

use bytes::Bytes;

use super::message::Message;
use super::request::Request;

/// An answer that is the same for every request but for what it repeats of it.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// Its `Content-Type`, if it has a body.
    pub content_type: Option<String>,
    /// The body.
    pub body: Message,
}

/// An answer of our own, ready to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// Its headers besides those of framing.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Bytes,
}

impl Reply {
    /// A status without a body.
    pub fn empty(status: u16) -> Self {
        Self {
            status,
            content_type: None,
            body: Message::literal(""),
        }
    }

    /// The answer to a request. What it should repeat and is not there is left out; in JSON it is `null`.
    pub fn to(&self, request: &Request<'_>) -> Answer {
        let content_type = self.content_type.as_ref();
        let body = self
            .body
            .fill(request, content_type.is_some_and(|text| is_json(text)));
        Answer {
            status: self.status,
            headers: content_type
                .map(|value| ("Content-Type".to_owned(), value.clone()))
                .into_iter()
                .collect(),
            body: body.into(),
        }
    }
}

/// Whether a media type is one of JSON.
pub(super) fn is_json(content_type: &str) -> bool {
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    media_type.eq_ignore_ascii_case("application/json") || media_type.ends_with("+json")
}
