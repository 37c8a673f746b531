//! What an item is told by.

use std::borrow::Cow;

use serde_json::Value;
use serde_json_path::JsonPath;

use super::super::{canonical, keys};

/// The longest id, in bytes; a longer one is replaced by its hash.
pub const ID_BYTES_MAX: usize = 1024;

/// The id of an item: one text or several. Never empty.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ItemId {
    parts: Vec<String>,
}

impl ItemId {
    /// An id of one part.
    pub fn plain(text: String) -> Self {
        Self::compound(vec![text])
    }

    /// An id of several parts.
    pub fn compound(parts: Vec<String>) -> Self {
        let id = Self { parts };
        if id.text().len() <= ID_BYTES_MAX {
            return id;
        }
        let hash = hex::encode(keys::digest(&id.parts));
        Self {
            parts: vec![format!("sha256:{hash}")],
        }
    }

    /// Its parts.
    pub fn parts(&self) -> &[String] {
        &self.parts
    }

    /// One part as it is; several with `|` between them, and `\` before a `|` or `\` within one, so
    /// that no two ids of as many parts have the same text.
    pub fn text(&self) -> Cow<'_, str> {
        if let [part] = &self.parts[..] {
            return Cow::Borrowed(part);
        }
        let escaped = |part: &String| part.replace('\\', "\\\\").replace('|', "\\|");
        let parts: Vec<String> = self.parts.iter().map(escaped).collect();
        Cow::Owned(parts.join("|"))
    }
}

/// Where the id of an item comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IdRule {
    /// `id: $.a`: what this path finds.
    One(JsonPath),
    /// `id: [..]`: what these paths find, all of them.
    All(Vec<JsonPath>),
    /// `id_any: [..]`: what the first of these paths finds that finds something.
    Any(Vec<JsonPath>),
    /// `id_hash: [..]`: a hash of everything that these paths find.
    Hash(Vec<JsonPath>),
}

/// Why an item has no id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum IdFault {
    /// There is nothing, or something that is no scalar or empty.
    Missing,
    /// It is a number of more than 64 bits. The parser rounds it: many items would have one id.
    Rounded,
}

impl IdRule {
    /// Its paths.
    pub(super) fn paths(&self) -> &[JsonPath] {
        match self {
            Self::One(path) => std::slice::from_ref(path),
            Self::All(paths) | Self::Any(paths) | Self::Hash(paths) => paths,
        }
    }

    /// The id of an item.
    pub(super) fn read(&self, item: &Value) -> Result<ItemId, IdFault> {
        match self {
            Self::One(path) => part(path, item).map(ItemId::plain),
            Self::All(paths) => {
                let parts: Result<Vec<String>, IdFault> =
                    paths.iter().map(|path| part(path, item)).collect();
                parts.map(ItemId::compound)
            }
            Self::Any(paths) => paths
                .iter()
                .map(|path| part(path, item))
                .find(|read| *read != Err(IdFault::Missing))
                .unwrap_or(Err(IdFault::Missing))
                .map(ItemId::plain),
            Self::Hash(paths) => hashed(paths, item),
        }
    }
}

/// The first node that a path finds, as text.
fn part(path: &JsonPath, item: &Value) -> Result<String, IdFault> {
    let found = path.query(item);
    let value = found.first().ok_or(IdFault::Missing)?;
    if canonical::is_rounded(value) {
        return Err(IdFault::Rounded);
    }
    let text = canonical::scalar(value).filter(|text| !text.is_empty());
    text.ok_or(IdFault::Missing)
}

/// Every node counts. Items in which nothing is found are not all one item: they have no id.
fn hashed(paths: &[JsonPath], item: &Value) -> Result<ItemId, IdFault> {
    let found: Vec<_> = paths.iter().map(|path| path.query(item).all()).collect();
    let mut values = found.iter().flatten();
    if values.clone().any(|value| canonical::is_rounded(value)) {
        return Err(IdFault::Rounded);
    }
    if values.all(|value| value.is_null()) {
        return Err(IdFault::Missing);
    }
    let texts = found.into_iter().map(canonical::list);
    let hash = hex::encode(keys::digest(texts));
    Ok(ItemId::plain(hash.chars().take(HASH_DIGITS).collect()))
}

/// 128 bits.
const HASH_DIGITS: usize = 32;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn paths(texts: &[&str]) -> Vec<JsonPath> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn read(rule: &IdRule, item: &Value) -> Result<String, IdFault> {
        rule.read(item).map(|id| id.text().into_owned())
    }

    #[test]
    fn only_scalars_become_ids_and_stay_as_they_are_written() {
        let check = |written: &str, expected: Result<&str, IdFault>| {
            let item: Value = serde_json::from_str(&format!(r#"{{"id": {written}}}"#)).unwrap();
            let rule = IdRule::One("$.id".parse().unwrap());
            assert_eq!(read(&rule, &item), expected.map(str::to_owned), "{written}");
        };
        check("7", Ok("7"));
        check("18446744073709551615", Ok("18446744073709551615"));
        check("-9223372036854775808", Ok("-9223372036854775808"));
        check("1.0", Ok("1.0"));
        check("\"007\"", Ok("007"));
        check("\"a|b\\\\\"", Ok("a|b\\"));
        check("true", Ok("true"));
        for written in ["null", "{}", "[]", "[1]", "\"\""] {
            check(written, Err(IdFault::Missing));
        }
        check("18446744073709551616", Err(IdFault::Rounded));
    }

    #[test]
    fn parts_are_joined_so_that_they_can_be_told_apart() {
        let check = |item: Value, expected: Result<&str, IdFault>| {
            let rule = IdRule::All(paths(&["$.a", "$.b"]));
            assert_eq!(read(&rule, &item), expected.map(str::to_owned));
        };
        check(json!({"a": 1, "b": "x"}), Ok("1|x"));
        check(json!({"a": "1|x", "b": "y"}), Ok("1\\|x|y"));
        check(json!({"a": "1", "b": "x|y"}), Ok("1|x\\|y"));
        check(json!({"a": "1\\", "b": "x"}), Ok("1\\\\|x"));
        check(json!({"a": 1}), Err(IdFault::Missing));
        check(json!({"a": 1, "b": null}), Err(IdFault::Missing));
    }

    #[test]
    fn the_first_that_is_not_empty_is_the_id() {
        let check = |item: Value, expected: Result<&str, IdFault>| {
            let rule = IdRule::Any(paths(&["$.id", "$.links[0].href"]));
            assert_eq!(read(&rule, &item), expected.map(str::to_owned));
        };
        check(json!({"id": "a", "links": [{"href": "b"}]}), Ok("a"));
        check(json!({"id": "", "links": [{"href": "b"}]}), Ok("b"));
        check(json!({"id": null, "links": [{"href": "b"}]}), Ok("b"));
        check(json!({"links": []}), Err(IdFault::Missing));
        check(
            json!({"id": 1e30, "links": [{"href": "b"}]}),
            Err(IdFault::Rounded),
        );
    }

    #[test]
    fn a_hash_is_of_everything_that_is_found() {
        let rule = IdRule::Hash(paths(&["$.a", "$.b[*]"]));
        let of = |item: Value| read(&rule, &item);
        let first = of(json!({"a": 1, "b": [1, 2]})).unwrap();
        assert_eq!(first.len(), HASH_DIGITS);
        assert_eq!(of(json!({"b": [1, 2], "a": 1, "c": 3})).unwrap(), first);
        for other in [
            json!({"a": 1, "b": [12]}),
            json!({"a": "1", "b": [1, 2]}),
            json!({"a": 1, "b": [2, 1]}),
            json!({"b": [1, 2]}),
            json!({"a": null, "b": [1, 2]}),
        ] {
            assert_ne!(of(other.clone()).unwrap(), first, "{other}");
        }
        assert_eq!(of(json!({"c": 1})), Err(IdFault::Missing));
        assert_eq!(of(json!({"a": null, "b": []})), Err(IdFault::Missing));
    }

    #[test]
    fn a_long_id_is_hashed() {
        let long = "x".repeat(ID_BYTES_MAX);
        assert_eq!(ItemId::plain(long.clone()).text(), long);
        let longer = ItemId::plain(format!("{long}y"));
        assert!(longer.text().starts_with("sha256:"));
        assert_ne!(longer, ItemId::plain(format!("{long}z")));
        let half = "x".repeat(ID_BYTES_MAX / 2);
        let both = ItemId::compound(vec![half.clone(), half]);
        assert_eq!(both.parts().len(), 1);
    }
}
