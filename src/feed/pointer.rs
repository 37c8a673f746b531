//! Where the ranges stand in a document: a JSON pointer (RFC 6901) in which `*` is every element.
//!
//! Pure. What the texts mean is decided in `list`.

use std::fmt;
use std::str::FromStr;

use serde_json::Value;

/// A pointer to texts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pointer {
    text: String,
    segments: Vec<Segment>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Segment {
    /// Every element of a list, every value of an object.
    Each,
    /// A member by its name, an element by its number.
    Named(String),
}

/// Why a text is no pointer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PointerError {
    /// It does not begin with a slash.
    #[error("a pointer begins with `/`")]
    NoSlash,
    /// A tilde escapes nothing.
    #[error("`~` stands before 0 (for `~`) or 1 (for `/`) only")]
    Tilde,
}

/// Why a document has no texts where a pointer points.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    /// Nothing is there.
    Nothing,
    /// What is there is neither a text nor a list of texts.
    NoText,
}

impl FromStr for Pointer {
    type Err = PointerError;

    fn from_str(text: &str) -> Result<Self, PointerError> {
        let segments = match text.strip_prefix('/') {
            None if text.is_empty() => Vec::new(),
            None => return Err(PointerError::NoSlash),
            Some(rest) => rest.split('/').map(segment).collect::<Result<_, _>>()?,
        };
        Ok(Self {
            text: text.to_owned(),
            segments,
        })
    }
}

fn segment(text: &str) -> Result<Segment, PointerError> {
    if text == "*" {
        return Ok(Segment::Each);
    }
    let mut parts = text.split('~');
    let mut name = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (sign, rest) = match (part.strip_prefix('0'), part.strip_prefix('1')) {
            (Some(rest), _) => ('~', rest),
            (_, Some(rest)) => ('/', rest),
            (None, None) => return Err(PointerError::Tilde),
        };
        name.push(sign);
        name.push_str(rest);
    }
    Ok(Segment::Named(name))
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Pointer {
    /// The texts that it points to. Elements behind a `*` that have no such member are passed over,
    /// unless none of them has it; a list without elements has no texts.
    pub(super) fn texts<'v>(&self, document: &'v Value) -> Result<Vec<&'v str>, Missing> {
        let mut texts = Vec::new();
        match walk(document, &self.segments, &mut texts)? {
            true => Ok(texts),
            false => Err(Missing::Nothing),
        }
    }
}

/// Whether anything was there.
fn walk<'v>(
    value: &'v Value,
    segments: &[Segment],
    texts: &mut Vec<&'v str>,
) -> Result<bool, Missing> {
    let Some((first, rest)) = segments.split_first() else {
        match value {
            Value::String(text) => texts.push(text),
            Value::Array(list) => {
                for element in list {
                    texts.push(element.as_str().ok_or(Missing::NoText)?);
                }
            }
            _ => return Err(Missing::NoText),
        }
        return Ok(true);
    };
    let children: Vec<&Value> = match (first, value) {
        (Segment::Each, Value::Array(list)) => list.iter().collect(),
        (Segment::Each, Value::Object(members)) => members.values().collect(),
        (Segment::Named(name), Value::Object(members)) => match members.get(name) {
            Some(member) => return walk(member, rest, texts),
            None => return Ok(false),
        },
        (Segment::Named(name), Value::Array(list)) => match index(name).and_then(|at| list.get(at))
        {
            Some(element) => return walk(element, rest, texts),
            None => return Ok(false),
        },
        _ => return Ok(false),
    };
    let mut found = children.is_empty();
    for child in children {
        found |= walk(child, rest, texts)?;
    }
    Ok(found)
}

/// A number without signs and leading zeros (RFC 6901, 4).
fn index(name: &str) -> Option<usize> {
    let is_number = name.bytes().all(|byte| byte.is_ascii_digit());
    let is_plain = name == "0" || !name.starts_with('0');
    (is_number && is_plain).then(|| name.parse().ok())?
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pointer_leads_to_texts() {
        let document = json!({
            "hooks": ["a", "b"],
            "one": "c",
            "prefixes": [{"v4": "d"}, {"v6": "e"}, {"v4": "f"}],
            "by": {"eu": {"list": ["g"]}, "us": {"list": ["h"]}},
            "a/b": {"m~n": ["i"]},
            "none": [],
            "number": 7,
        });
        let check = |pointer: &str, expected: Result<&[&str], Missing>| {
            let pointer: Pointer = pointer.parse().unwrap();
            let found = pointer.texts(&document);
            let expected = expected.map(<[&str]>::to_vec);
            assert_eq!(found, expected, "{pointer}");
        };
        check("/hooks", Ok(&["a", "b"]));
        check("/hooks/*", Ok(&["a", "b"]));
        check("/hooks/1", Ok(&["b"]));
        check("/one", Ok(&["c"]));
        check("/prefixes/*/v4", Ok(&["d", "f"]));
        check("/prefixes/*/v6", Ok(&["e"]));
        check("/by/*/list", Ok(&["g", "h"]));
        check("/a~1b/m~0n", Ok(&["i"]));
        check("/none", Ok(&[]));
        check("/none/*/v4", Ok(&[]));
        check("/prefixes/*/v8", Err(Missing::Nothing));
        check("/nowhere", Err(Missing::Nothing));
        check("/hooks/2", Err(Missing::Nothing));
        check("/hooks/01", Err(Missing::Nothing));
        check("/hooks/-", Err(Missing::Nothing));
        check("/one/*", Err(Missing::Nothing));
        check("/number", Err(Missing::NoText));
        check("/prefixes", Err(Missing::NoText));
        check("", Err(Missing::NoText));
    }

    #[test]
    fn the_whole_document_can_be_the_list() {
        let pointer: Pointer = "".parse().unwrap();
        assert_eq!(pointer.texts(&json!(["a"])), Ok(vec!["a"]));
    }

    #[test]
    fn what_is_no_pointer_is_refused() {
        let check = |text: &str, expected: PointerError| {
            assert_eq!(text.parse::<Pointer>(), Err(expected), "{text}");
        };
        check("hooks", PointerError::NoSlash);
        check("$.hooks", PointerError::NoSlash);
        check("/a~2", PointerError::Tilde);
        check("/a~", PointerError::Tilde);
    }
}
