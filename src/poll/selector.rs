//! Where a value stands in an answer, and where one is put in a request's body.
//!
//! Reads and writes single values. What they mean is decided by those who ask.

use std::fmt;

use http::HeaderName;
use serde_json::{Map, Value};
use serde_json_path::JsonPath;

/// The longest path, in bytes.
pub const PATH_BYTES_MAX: usize = 1024;
/// How deep brackets may be nested in a path. The parser calls itself for each, and a long row of them
/// would overflow its stack.
pub const NESTING_MAX: usize = 8;
/// How deep a value may be put into a body.
pub const BODY_DEPTH_MAX: usize = 16;

/// A JSONPath (RFC 9535) that was parsed.
#[derive(Clone, PartialEq, Eq)]
pub struct Selector {
    path: JsonPath,
    source: String,
}

/// Why a text selects nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectorError {
    /// It is too long.
    #[error("the selector is longer than {PATH_BYTES_MAX} bytes")]
    TooLong,
    /// Its brackets are nested too deep.
    #[error("the brackets of the selector are nested more than {NESTING_MAX} deep")]
    TooDeep,
    /// It does not begin at the root.
    #[error("`{0}` does not begin with `$`, which stands for the whole")]
    NoRoot(String),
    /// It is no JSONPath.
    #[error("`{path}` is no JSONPath: {detail}")]
    Syntax {
        /// The text.
        path: String,
        /// What was found.
        detail: String,
    },
    /// `header:` without the name of a header.
    #[error("`{0}` is not the name of a header")]
    Header(String),
    /// A path of a body that is more than names with dots between them.
    #[error("`{0}` is no place in a body: write `$.a.b`, names only, at most {BODY_DEPTH_MAX}")]
    BodyPath(String),
}

impl Selector {
    /// Parses `$.data[*].id`.
    ///
    /// # Errors
    /// [`SelectorError`] says what is wrong with it.
    pub fn new(text: &str) -> Result<Self, SelectorError> {
        if text.len() > PATH_BYTES_MAX {
            return Err(SelectorError::TooLong);
        }
        if !text.starts_with('$') {
            return Err(SelectorError::NoRoot(text.to_owned()));
        }
        if nesting(text) > NESTING_MAX {
            return Err(SelectorError::TooDeep);
        }
        let path = JsonPath::parse(text).map_err(|error| SelectorError::Syntax {
            path: text.to_owned(),
            detail: error.to_string(),
        })?;
        Ok(Self {
            path,
            source: text.to_owned(),
        })
    }

    /// The first value it selects.
    pub fn first<'v>(&self, value: &'v Value) -> Option<&'v Value> {
        self.path.query(value).first()
    }

    /// All values it selects, in the order of the document.
    pub fn all<'v>(&self, value: &'v Value) -> Vec<&'v Value> {
        self.path.query(value).all()
    }

    /// The text it was parsed from.
    pub fn as_str(&self) -> &str {
        &self.source
    }

    /// Whether the first value says yes. Nothing, `null`, `false`, 0, an empty text, list or mapping,
    /// and the texts `false` and `0` say no.
    pub fn says_yes(&self, value: &Value) -> bool {
        match self.first(value) {
            None | Some(Value::Null) => false,
            Some(Value::Bool(yes)) => *yes,
            Some(Value::Number(number)) => number.as_f64() != Some(0.0),
            Some(Value::String(text)) => {
                !(text.is_empty() || text == "0" || text.eq_ignore_ascii_case("false"))
            }
            Some(Value::Array(list)) => !list.is_empty(),
            Some(Value::Object(map)) => !map.is_empty(),
        }
    }
}

/// How deep brackets are nested; those in quotes count too.
fn nesting(text: &str) -> usize {
    let depths = text.bytes().scan(0_usize, |depth, byte| {
        *depth = match byte {
            b'(' | b'[' => depth.saturating_add(1),
            b')' | b']' => depth.saturating_sub(1),
            _ => *depth,
        };
        Some(*depth)
    });
    depths.max().unwrap_or_default()
}

impl fmt::Debug for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)
    }
}

/// Where an answer says something about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// In its body.
    Body(Selector),
    /// In a header.
    Header(HeaderName),
}

impl Origin {
    /// Parses `$.next` or `header:X-Next`.
    ///
    /// # Errors
    /// [`SelectorError`] says what is wrong with it.
    pub fn new(text: &str) -> Result<Self, SelectorError> {
        match text.strip_prefix("header:") {
            None => Selector::new(text).map(Self::Body),
            Some(name) => name
                .trim()
                .parse()
                .map(Self::Header)
                .map_err(|_| SelectorError::Header(name.to_owned())),
        }
    }
}

/// A place in a body of JSON: `$.a.b`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BodyPath(Vec<String>);

impl BodyPath {
    /// Parses names with dots between them.
    ///
    /// # Errors
    /// [`SelectorError::BodyPath`].
    pub fn new(text: &str) -> Result<Self, SelectorError> {
        let shape = || SelectorError::BodyPath(text.to_owned());
        if text.len() > PATH_BYTES_MAX {
            return Err(SelectorError::TooLong);
        }
        let names = text.strip_prefix("$.").ok_or_else(shape)?;
        let names: Vec<String> = names.split('.').map(str::to_owned).collect();
        let is_name = |name: &String| {
            let mut letters = name.chars();
            letters.all(|letter| letter.is_alphanumeric() || matches!(letter, '_' | '-'))
                && !name.is_empty()
        };
        if names.len() > BODY_DEPTH_MAX || !names.iter().all(is_name) {
            return Err(shape());
        }
        Ok(Self(names))
    }

    /// Puts a value at this place; what is on the way and no mapping becomes one.
    pub fn put(&self, body: &mut Value, value: Value) {
        let mut place = body;
        for name in &self.0 {
            if !place.is_object() {
                *place = Value::Object(Map::new());
            }
            let Value::Object(map) = place else { return };
            place = map.entry(name.as_str()).or_insert(Value::Null);
        }
        *place = value;
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_selector_is_refused_with_a_reason() {
        let check = |text: &str, part: &str| {
            let message = Selector::new(text).unwrap_err().to_string();
            assert!(message.contains(part), "{text}: {message}");
        };
        check("", "does not begin with `$`");
        check("id", "does not begin with `$`");
        check("$.", "is no JSONPath");
        check("$[?(", "is no JSONPath");
        check(&format!("$.{}", "a".repeat(PATH_BYTES_MAX)), "longer than");
        check(&format!("$[?{}", "(".repeat(900)), "nested");
        check(
            &format!("$[?{}", "(".repeat(NESTING_MAX - 1)),
            "is no JSONPath",
        );
        check(&format!("$[?{}", "[?@".repeat(900 / 3)), "nested");
        check(&format!("$[?{}@.a", "!".repeat(900)), "is no JSONPath");
    }

    #[test]
    fn a_selector_finds_the_first_and_all() {
        let body = json!({"data": [{"id": 1}, {"id": 2}], "more": null});
        let ids = Selector::new("$.data[*].id").unwrap();
        assert_eq!(ids.first(&body), Some(&json!(1)));
        assert_eq!(ids.all(&body), [&json!(1), &json!(2)]);
        assert_eq!(Selector::new("$.none").unwrap().first(&body), None);
        assert_eq!(ids.as_str(), "$.data[*].id");
        assert_eq!(format!("{ids:?}"), "$.data[*].id");
    }

    #[test]
    fn yes_and_no_are_told_apart() {
        let check = |value: Value, expected: bool| {
            let more = Selector::new("$.more").unwrap();
            assert_eq!(more.says_yes(&json!({"more": value})), expected, "{value}");
        };
        check(json!(null), false);
        check(json!(false), false);
        check(json!("False"), false);
        check(json!("0"), false);
        check(json!(""), false);
        check(json!(0), false);
        check(json!(0.0), false);
        check(json!([]), false);
        check(json!({}), false);
        check(json!(true), true);
        check(json!(3), true);
        check(json!("yes"), true);
        check(json!([1]), true);
        assert!(!Selector::new("$.none").unwrap().says_yes(&json!({})));
    }

    #[test]
    fn an_origin_is_a_selector_or_a_header() {
        let check = |text: &str, is_fine: bool| {
            assert_eq!(Origin::new(text).is_ok(), is_fine, "{text}");
        };
        check("$.next", true);
        check("header:X-Next", true);
        check("header:", false);
        check("header:a b", false);
        check("next", false);
    }

    #[test]
    fn a_value_is_put_at_its_place() {
        let check = |path: &str, body: Value, expected: Value| {
            let mut body = body;
            BodyPath::new(path).unwrap().put(&mut body, json!("t"));
            assert_eq!(body, expected, "{path}");
        };
        check("$.a", json!({}), json!({"a": "t"}));
        check("$.a", json!({"a": 1, "b": 2}), json!({"a": "t", "b": 2}));
        check(
            "$.a.b",
            json!({"a": {"c": 1}}),
            json!({"a": {"c": 1, "b": "t"}}),
        );
        check("$.a.b", json!([1]), json!({"a": {"b": "t"}}));
        for bad in ["a", "$", "$.", "$.a[0]", "$..a", "$.a.", "$.*"] {
            assert!(BodyPath::new(bad).is_err(), "{bad}");
        }
        let deep = "$.a".to_owned() + &".a".repeat(BODY_DEPTH_MAX);
        assert!(BodyPath::new(&deep).is_err());
    }
}
