//! Where a value stands in a request: a header, a query or form parameter, a JSON path.

use std::borrow::Cow;

use serde_json_path::JsonPath;
use smallvec::SmallVec;

use super::form;
use super::message::{Inputs, Message};
use super::request::Request;

/// The values in a place: nearly always one.
pub type Values<'r> = SmallVec<[Cow<'r, [u8]>; 1]>;

/// Where a value stands in a request.
#[derive(Debug, Clone)]
pub enum Place {
    /// A header, by its name in any case.
    Header(String),
    /// Every header whose name is this text and a number behind it.
    HeaderFamily(String),
    /// A query parameter, percent-decoded.
    Query(String),
    /// The first match of a JSONPath (RFC 9535) in the body: a string, number or boolean.
    Json(JsonPath),
    /// A parameter of a form in the body, decoded.
    Form(String),
    /// The first match of a JSONPath in the JSON that a parameter of a form holds.
    FormJson(String, JsonPath),
    /// A text put together from several places.
    Template(Box<Message>),
}

impl Place {
    /// The first value there, if there is one.
    pub fn read<'r>(&'r self, request: &'r Request<'_>) -> Option<Cow<'r, [u8]>> {
        match self {
            Self::Header(name) => request
                .head()
                .headers
                .first(name)
                .map(|value| Cow::Borrowed(&value[..])),
            Self::Query(name) => query_values(request, name)
                .into_iter()
                .next()
                .map(Cow::Owned),
            Self::Json(path) => request.json_text(path).map(Cow::Owned),
            Self::Form(name) => form_values(request, name).into_iter().next(),
            Self::HeaderFamily(_) | Self::FormJson(..) | Self::Template(_) => {
                self.read_all(request).into_iter().next()
            }
        }
    }

    /// Every value there: a header may be repeated, and so may a parameter.
    pub fn read_all<'r>(&'r self, request: &'r Request<'_>) -> Values<'r> {
        match self {
            Self::Header(name) => request
                .head()
                .headers
                .all(name)
                .map(|value| Cow::Borrowed(&value[..]))
                .collect(),
            Self::HeaderFamily(prefix) => request
                .head()
                .headers
                .iter()
                .filter(|header| is_of_family(&header.name, prefix))
                .map(|header| Cow::Borrowed(&header.value[..]))
                .collect(),
            Self::Query(name) => query_values(request, name)
                .into_iter()
                .map(Cow::Owned)
                .collect(),
            Self::Json(_) => self.read(request).into_iter().collect(),
            Self::Form(name) => form_values(request, name).into(),
            Self::FormJson(name, path) => form_values(request, name)
                .iter()
                .filter_map(|json| Request::new(request.head(), json).json_text(path))
                .map(Cow::Owned)
                .collect(),
            Self::Template(message) => message
                .render(request, Inputs::default())
                .ok()
                .filter(|text| !text.is_empty())
                .map(Cow::Owned)
                .into_iter()
                .collect(),
        }
    }

    /// Whether another place is the same one.
    pub(super) fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Header(a), Self::Header(b)) | (Self::HeaderFamily(a), Self::HeaderFamily(b)) => {
                a.eq_ignore_ascii_case(b)
            }
            (Self::Query(a), Self::Query(b)) | (Self::Form(a), Self::Form(b)) => a == b,
            (Self::Json(a), Self::Json(b)) => a == b,
            (Self::FormJson(a, at), Self::FormJson(b, there)) => a == b && at == there,
            _ => false,
        }
    }

    /// The name of the field, where it is one of the outermost of a JSON body.
    pub(super) fn field(&self) -> Option<String> {
        let Self::Json(path) = self else { return None };
        let mut names = names(path)?;
        let name = names.pop();
        name.filter(|_| names.is_empty())
    }

    /// How a person would name it.
    pub fn describe(&self) -> String {
        match self {
            Self::Header(name) => format!("header {name}"),
            Self::HeaderFamily(prefix) => format!("headers {prefix}1, {prefix}2, …"),
            Self::Query(name) => format!("query parameter {name}"),
            Self::Json(path) => format!("JSON path {path}"),
            Self::Form(name) => format!("form parameter {name}"),
            Self::FormJson(name, path) => format!("JSON path {path} in form parameter {name}"),
            Self::Template(message) => message.describe(),
        }
    }
}

/// The names on the way to a single value; `None` of a path that may have several.
pub(super) fn names(path: &JsonPath) -> Option<Vec<String>> {
    let path = path.to_string();
    let mut rest = path.strip_prefix('$')?;
    let mut names = Vec::new();
    while !rest.is_empty() {
        let (name, after) = match rest.strip_prefix("['") {
            Some(quoted) => quoted.split_once("']")?,
            None => {
                let plain = rest.strip_prefix('.')?;
                plain.split_at(plain.find(['.', '[']).unwrap_or(plain.len()))
            }
        };
        let is_plain = !name.is_empty() && !name.contains(['\\', '*', '\'']);
        names.push(is_plain.then(|| name.to_owned())?);
        rest = after;
    }
    Some(names)
}

fn is_of_family(name: &[u8], prefix: &str) -> bool {
    name.split_at_checked(prefix.len())
        .is_some_and(|(start, number)| {
            start.eq_ignore_ascii_case(prefix.as_bytes())
                && !number.is_empty()
                && number.iter().all(u8::is_ascii_digit)
        })
}

fn query_values(request: &Request<'_>, name: &str) -> Vec<Vec<u8>> {
    let query = request.head().query().unwrap_or_default();
    form_urlencoded::parse(query)
        .filter(|(key, _)| key == name)
        .map(|(_, value)| value.into_owned().into_bytes())
        .collect()
}

fn form_values<'r>(request: &'r Request<'_>, name: &str) -> Vec<Cow<'r, [u8]>> {
    form::fields(request.head(), request.body())
        .into_iter()
        .filter(|(key, _)| **key == *name.as_bytes())
        .map(|(_, value)| value)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_to_a_single_value_is_known_by_its_names() {
        let check = |text: &str, expected: Option<&[&str]>| {
            let found = names(&JsonPath::parse(text).unwrap());
            let expected = expected.map(|names| names.iter().map(ToString::to_string).collect());
            assert_eq!(found, expected, "{text}");
        };
        check("$.a", Some(&["a"]));
        check("$.a.b_c", Some(&["a", "b_c"]));
        check("$['a-b'].c", Some(&["a-b", "c"]));
        check("$", Some(&[]));
        check("$.a[0]", None);
        check("$.a.*", None);
        check("$..a", None);
        let field = |text| Place::Json(JsonPath::parse(text).unwrap()).field();
        assert_eq!(field("$.Token").as_deref(), Some("Token"));
        assert_eq!(field("$.a.b"), None);
    }
}
