//! Where a value stands in a request: a header, a query or form parameter, a JSON path.

use std::borrow::Cow;
use std::cell::OnceCell;

use serde_json::Value;
use serde_json_path::JsonPath;

use super::form;
use crate::event::{Fingerprint, Head};

/// A request under judgement: its head, its whole body, and what the provider calls our URL.
pub struct Request<'a> {
    head: &'a Head,
    body: &'a [u8],
    public_url: Option<&'a str>,
    certificate: Option<&'a Fingerprint>,
    json: OnceCell<Option<Value>>,
}

impl<'a> Request<'a> {
    /// Puts a head and the whole body before the judge.
    pub fn new(head: &'a Head, body: &'a [u8]) -> Self {
        Self {
            head,
            body,
            public_url: None,
            certificate: None,
            json: OnceCell::new(),
        }
    }

    /// Says which URL the provider has configured (for schemes that sign it).
    #[must_use]
    pub fn with_public_url(mut self, url: Option<&'a str>) -> Self {
        self.public_url = url;
        self
    }

    /// Says which certificate the sender's connection has shown.
    #[must_use]
    pub fn with_certificate(mut self, certificate: Option<&'a Fingerprint>) -> Self {
        self.certificate = certificate;
        self
    }

    /// The certificate that the sender's connection has shown.
    pub(super) fn certificate(&self) -> Option<&'a Fingerprint> {
        self.certificate
    }

    /// The head.
    pub fn head(&self) -> &'a Head {
        self.head
    }

    /// The whole body as it came.
    pub fn body(&self) -> &'a [u8] {
        self.body
    }

    /// The configured public URL with the query of this request, if it has none of its own.
    pub(super) fn url(&self) -> Option<String> {
        let url = self.public_url?;
        match self.head.query() {
            Some(query) if !url.contains('?') => {
                Some(format!("{url}?{}", String::from_utf8_lossy(query)))
            }
            _ => Some(url.to_owned()),
        }
    }

    /// Names and values of a form, sorted; empty of an empty body, `None` of anything else.
    pub(super) fn sorted_form(&self) -> Option<Vec<u8>> {
        if self.body.is_empty() {
            return Some(Vec::new());
        }
        form::is_form(self.head).then(|| form::sorted(self.body))
    }

    /// The body as JSON, parsed once; `None` when it is not JSON.
    fn json(&self) -> Option<&Value> {
        self.json
            .get_or_init(|| serde_json::from_slice(self.body).ok())
            .as_ref()
    }
}

/// Where a value stands in a request.
#[derive(Debug, Clone)]
pub enum Place {
    /// A header, by its name in any case.
    Header(String),
    /// A query parameter, percent-decoded.
    Query(String),
    /// The first match of a JSONPath (RFC 9535) in the body: a string, number or boolean.
    Json(JsonPath),
    /// A parameter of a form in the body (`application/x-www-form-urlencoded`), decoded.
    Form(String),
}

impl Place {
    /// The first value there, if there is one.
    pub fn read<'r>(&self, request: &'r Request<'_>) -> Option<Cow<'r, [u8]>> {
        match self {
            Self::Header(name) => request
                .head
                .headers
                .first(name)
                .map(|value| Cow::Borrowed(&value[..])),
            Self::Query(name) => query_values(request, name)
                .into_iter()
                .next()
                .map(Cow::Owned),
            Self::Json(path) => json_text(path, request.json()?).map(Cow::Owned),
            Self::Form(name) => form_values(request, name).into_iter().next(),
        }
    }

    /// Every value there: a header may be repeated, and so may a query parameter.
    pub fn read_all<'r>(&self, request: &'r Request<'_>) -> Vec<Cow<'r, [u8]>> {
        match self {
            Self::Header(name) => request
                .head
                .headers
                .all(name)
                .map(|value| Cow::Borrowed(&value[..]))
                .collect(),
            Self::Query(name) => query_values(request, name)
                .into_iter()
                .map(Cow::Owned)
                .collect(),
            Self::Json(_) => self.read(request).into_iter().collect(),
            Self::Form(name) => form_values(request, name),
        }
    }

    /// How a person would name it.
    pub fn describe(&self) -> String {
        match self {
            Self::Header(name) => format!("header {name}"),
            Self::Query(name) => format!("query parameter {name}"),
            Self::Json(path) => format!("JSON path {path}"),
            Self::Form(name) => format!("form parameter {name}"),
        }
    }
}

fn query_values(request: &Request<'_>, name: &str) -> Vec<Vec<u8>> {
    let query = request.head.query().unwrap_or_default();
    form_urlencoded::parse(query)
        .filter(|(key, _)| key == name)
        .map(|(_, value)| value.into_owned().into_bytes())
        .collect()
}

fn form_values<'r>(request: &'r Request<'_>, name: &str) -> Vec<Cow<'r, [u8]>> {
    if !form::is_form(request.head) {
        return Vec::new();
    }
    form::parameters(request.body)
        .filter(|(key, _)| **key == *name.as_bytes())
        .map(|(_, value)| value)
        .collect()
}

fn json_text(path: &JsonPath, json: &Value) -> Option<Vec<u8>> {
    match path.query(json).first()? {
        Value::String(text) => Some(text.clone().into_bytes()),
        Value::Number(number) => Some(number.to_string().into_bytes()),
        Value::Bool(flag) => Some(flag.to_string().into_bytes()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}
