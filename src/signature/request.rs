//! A request under judgement: its head, its whole body, and what was agreed on with the provider.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::collections::{BTreeMap, HashMap};

use serde_json::Value;
use serde_json::value::RawValue;
use serde_json_path::{JsonPath, NormalizedPath, PathElement};

use super::form;
use super::known_keys::KnownKeys;
use crate::event::{Fingerprint, Head};

/// What a provider needs besides secrets, by name (`webhook_id`).
pub type Options = BTreeMap<String, String>;

/// A request under judgement.
pub struct Request<'a> {
    head: &'a Head,
    body: &'a [u8],
    /// What JSONPaths are looked up in: the body, or one of the items in it.
    source: &'a [u8],
    public_url: Option<&'a str>,
    options: Option<&'a Options>,
    certificate: Option<&'a Fingerprint>,
    known_keys: Option<&'a KnownKeys>,
    json: OnceCell<Option<Value>>,
}

impl<'a> Request<'a> {
    /// Puts a head and the whole body before the judge.
    pub fn new(head: &'a Head, body: &'a [u8]) -> Self {
        Self {
            head,
            body,
            source: body,
            public_url: None,
            options: None,
            certificate: None,
            known_keys: None,
            json: OnceCell::new(),
        }
    }

    /// Says which URL the provider has configured (for schemes that sign it).
    #[must_use]
    pub fn with_public_url(mut self, url: Option<&'a str>) -> Self {
        self.public_url = url;
        self
    }

    /// Says what else was agreed on with the provider.
    #[must_use]
    pub fn with_options(mut self, options: &'a Options) -> Self {
        self.options = Some(options);
        self
    }

    /// Says which certificate the sender's connection has shown.
    #[must_use]
    pub fn with_certificate(mut self, certificate: Option<&'a Fingerprint>) -> Self {
        self.certificate = certificate;
        self
    }

    /// Says which keys of providers were fetched.
    #[must_use]
    pub fn with_known_keys(mut self, known: &'a KnownKeys) -> Self {
        self.known_keys = Some(known);
        self
    }

    /// The keys of providers that were fetched.
    pub(super) fn known_keys(&self) -> Option<&'a KnownKeys> {
        self.known_keys
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

    /// An option, if it is configured.
    pub(super) fn option(&self, name: &str) -> Option<&'a str> {
        self.options?.get(name).map(String::as_str)
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

    /// The body, or the item in it, as JSON, parsed once; `None` when it is not JSON.
    pub(super) fn json(&self) -> Option<&Value> {
        self.json
            .get_or_init(|| serde_json::from_slice(self.source).ok())
            .as_ref()
    }

    /// The text at the first match of a JSONPath: a string without its quotes, `true`, or a number
    /// as it is written.
    pub(super) fn json_text(&self, path: &JsonPath) -> Option<Vec<u8>> {
        let located = path.query_located(self.json()?);
        let first = located.first()?;
        self.scalar(first.location(), first.node())
    }

    /// The fields of the outermost object that hold a text, a number or a boolean.
    pub(super) fn json_scalars(&self) -> Option<BTreeMap<&str, Vec<u8>>> {
        let Value::Object(fields) = self.json()? else {
            return None;
        };
        let literals: HashMap<String, &RawValue> = serde_json::from_slice(self.source).ok()?;
        let scalars = fields.iter().filter_map(|(name, value)| {
            let literal = literals.get(name).map(|raw| raw.get());
            Some((name.as_str(), scalar(value, || literal)?))
        });
        Some(scalars.collect())
    }

    /// This request with each match of a JSONPath in place of its JSON.
    pub fn items(&self, path: &JsonPath) -> Vec<Self> {
        let Some(json) = self.json() else {
            return Vec::new();
        };
        let located = path.query_located(json);
        let sources = located
            .iter()
            .filter_map(|item| literal(self.source, item.location()));
        sources
            .map(|source| Self {
                source: source.as_bytes(),
                json: OnceCell::new(),
                ..*self
            })
            .collect()
    }

    fn scalar(&self, location: &NormalizedPath<'_>, value: &Value) -> Option<Vec<u8>> {
        scalar(value, || literal(self.source, location))
    }
}

/// A text, a number or a boolean as text. A fraction keeps the digits that it was written with.
fn scalar<'l>(value: &Value, literal: impl FnOnce() -> Option<&'l str>) -> Option<Vec<u8>> {
    let text: Cow<'_, str> = match value {
        Value::String(text) => text.as_str().into(),
        Value::Number(number) if number.is_f64() => literal()?.to_owned().into(),
        Value::Number(number) => number.to_string().into(),
        Value::Bool(flag) => flag.to_string().into(),
        Value::Null | Value::Array(_) | Value::Object(_) => return None,
    };
    Some(text.into_owned().into_bytes())
}

/// What is written at a place in a JSON text.
fn literal<'j>(text: &'j [u8], location: &NormalizedPath<'_>) -> Option<&'j str> {
    let mut value: &RawValue = serde_json::from_slice(text).ok()?;
    for element in location.iter() {
        value = match element {
            PathElement::Name(name) => {
                let mut fields: HashMap<String, &RawValue> =
                    serde_json::from_str(value.get()).ok()?;
                fields.remove(*name)?
            }
            PathElement::Index(index) => {
                let items: Vec<&RawValue> = serde_json::from_str(value.get()).ok()?;
                items.get(*index).copied()?
            }
        };
    }
    Some(value.get())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::event::Headers;

    fn head() -> Head {
        Head {
            method: "POST".into(),
            target: Bytes::from_static(b"/"),
            host: None,
            headers: Headers::default(),
        }
    }

    fn path(text: &str) -> JsonPath {
        JsonPath::parse(text).unwrap()
    }

    #[test]
    fn a_value_keeps_the_digits_that_it_was_written_with() {
        let head = head();
        let body = br#"{"a": 1.50, "b": [true, 12345678901234567890123, {"c": 1e2}], "d": "x", "e": null}"#;
        let request = Request::new(&head, body);
        let check = |at: &str, text: Option<&str>| {
            let found = request.json_text(&path(at));
            assert_eq!(found.as_deref(), text.map(str::as_bytes), "{at}");
        };
        check("$.a", Some("1.50"));
        check("$.b[0]", Some("true"));
        check("$.b[1]", Some("12345678901234567890123"));
        check("$.b[2].c", Some("1e2"));
        check("$.d", Some("x"));
        check("$.e", None);
        check("$.b", None);
        check("$.f", None);
        let scalars = request.json_scalars().unwrap();
        let scalars: Vec<_> = scalars.into_iter().collect();
        assert_eq!(scalars, [("a", b"1.50".to_vec()), ("d", b"x".to_vec())]);
    }

    #[test]
    fn each_item_is_looked_up_by_itself() {
        let head = head();
        let body = br#"{"items": [{"in": {"n": 1.0}}, {"in": {"n": 2}}, {"out": 1}]}"#;
        let request = Request::new(&head, body);
        let found: Vec<_> = request
            .items(&path("$.items[*].in"))
            .iter()
            .map(|item| item.json_text(&path("$.n")).unwrap())
            .collect();
        assert_eq!(found, [b"1.0".to_vec(), b"2".to_vec()]);
        assert!(request.items(&path("$.none[*]")).is_empty());
        assert!(
            Request::new(&head, b"no JSON")
                .items(&path("$[*]"))
                .is_empty()
        );
    }
}
