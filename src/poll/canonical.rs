//! One text for one JSON value, whatever the order of its members, to be compared and hashed.
//!
//! Members are sorted by the bytes of their names, and there is no white space. A number is what
//! the parser made of it: `1` and `1.0` are different texts, `1.50` and `1.5` are one.

use std::collections::HashSet;

use serde_json::Value;
use serde_json_path::JsonPath;
use sha2::{Digest, Sha256};

/// Parts of one value that its text leaves out. They are told by where they stand in memory, so that
/// nothing has to be copied; the value must outlive it unmoved, which its borrow sees to.
#[derive(Debug, Default)]
pub struct Ignored<'v> {
    parts: HashSet<*const Value>,
    _of: std::marker::PhantomData<&'v Value>,
}

impl<'v> Ignored<'v> {
    /// Everything that these paths find in a value.
    pub fn new(value: &'v Value, paths: &[JsonPath]) -> Self {
        let found = paths.iter().flat_map(|path| path.query(value).all());
        Self {
            parts: found.map(std::ptr::from_ref).collect(),
            _of: std::marker::PhantomData,
        }
    }

    fn has(&self, part: &Value) -> bool {
        self.parts.contains(&std::ptr::from_ref(part))
    }
}

/// The text of a value.
pub fn text(value: &Value) -> String {
    text_without(value, &Ignored::default())
}

/// The text of a value without some of its members and elements.
pub fn text_without<'v>(value: &'v Value, ignored: &Ignored<'v>) -> String {
    let mut out = String::new();
    // A list of its own instead of recursion: no depth of a value can overflow the stack.
    let mut steps = vec![Step::Value(value)];
    while let Some(step) = steps.pop() {
        match step {
            Step::Mark(mark) => out.push(mark),
            Step::Name(name) => {
                out.push_str(&Value::from(name).to_string());
                out.push(':');
            }
            Step::Value(Value::Array(elements)) => push_array(&mut steps, elements, ignored),
            Step::Value(Value::Object(members)) => push_object(&mut steps, members, ignored),
            Step::Value(scalar) => out.push_str(&scalar.to_string()),
        }
    }
    out
}

/// The texts of several values as those of one list.
pub fn list<'v>(values: impl IntoIterator<Item = &'v Value>) -> String {
    let texts: Vec<String> = values.into_iter().map(text).collect();
    format!("[{}]", texts.join(","))
}

/// The text of a string, number or boolean as it would stand alone: no quotes. `None` of anything
/// else.
pub fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// Whether a number may be another than was written: the parser rounds what is beyond 64 bits.
pub fn is_rounded(value: &Value) -> bool {
    let Value::Number(number) = value else {
        return false;
    };
    let is_whole = number.is_i64() || number.is_u64();
    !is_whole && number.as_f64().is_none_or(|near| near.abs() >= EXACT_BELOW)
}

/// Every whole number below this (2^53) has a `f64` of its own.
const EXACT_BELOW: f64 = 9_007_199_254_740_992.0;

/// The first 128 bits of the SHA-256 of a text.
pub fn hash(text: &str) -> [u8; 16] {
    let digest: [u8; 32] = Sha256::digest(text.as_bytes()).into();
    let mut hash = [0; 16];
    hash.copy_from_slice(digest.split_at(16).0);
    hash
}

enum Step<'v> {
    Value(&'v Value),
    Name(&'v str),
    Mark(char),
}

// Steps are taken from the end, so they are pushed last to first.

fn push_array<'v>(steps: &mut Vec<Step<'v>>, elements: &'v [Value], ignored: &Ignored<'v>) {
    let kept = elements.iter().filter(|element| !ignored.has(element));
    let kept: Vec<&Value> = kept.collect();
    steps.push(Step::Mark(']'));
    for (index, element) in kept.into_iter().enumerate().rev() {
        steps.push(Step::Value(element));
        push_comma(steps, index);
    }
    steps.push(Step::Mark('['));
}

fn push_object<'v>(
    steps: &mut Vec<Step<'v>>,
    members: &'v serde_json::Map<String, Value>,
    ignored: &Ignored<'v>,
) {
    let kept = members.iter().filter(|(_, value)| !ignored.has(value));
    let mut kept: Vec<(&String, &Value)> = kept.collect();
    kept.sort_unstable_by_key(|(name, _)| *name);
    steps.push(Step::Mark('}'));
    for (index, (name, value)) in kept.into_iter().enumerate().rev() {
        steps.push(Step::Value(value));
        steps.push(Step::Name(name));
        push_comma(steps, index);
    }
    steps.push(Step::Mark('{'));
}

fn push_comma(steps: &mut Vec<Step<'_>>, index: usize) {
    if index > 0 {
        steps.push(Step::Mark(','));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_order_of_members_does_not_matter_and_that_of_elements_does() {
        let check = |written: &str, expected: &str| {
            let value: Value = serde_json::from_str(written).unwrap();
            assert_eq!(text(&value), expected);
        };
        check(
            r#"{"b": 1, "a": [2, {"d": null, "c": true}]}"#,
            r#"{"a":[2,{"c":true,"d":null}],"b":1}"#,
        );
        check("[3, 1, 2]", "[3,1,2]");
        check(
            r#"{"": {}, "é": [], "\"": "\n"}"#,
            r#"{"":{},"\"":"\n","é":[]}"#,
        );
        check("18446744073709551615", "18446744073709551615");
        check("-9223372036854775808", "-9223372036854775808");
        check("1", "1");
        check("1.0", "1.0");
        check("1.50", "1.5");
    }

    #[test]
    fn what_is_ignored_might_as_well_not_be_there() {
        let check = |paths: &[&str], value: Value, expected: &str| {
            let paths: Vec<JsonPath> = paths.iter().map(|path| path.parse().unwrap()).collect();
            let ignored = Ignored::new(&value, &paths);
            assert_eq!(text_without(&value, &ignored), expected, "{paths:?}");
        };
        check(&["$.at"], json!({"id": 1, "at": 2}), r#"{"id":1}"#);
        check(&["$.at"], json!({"id": 1}), r#"{"id":1}"#);
        check(&["$.l[1]"], json!({"l": [1, 2, 3]}), r#"{"l":[1,3]}"#);
        check(
            &["$..at"],
            json!({"at": 1, "b": [{"at": 1, "c": 2}]}),
            r#"{"b":[{"c":2}]}"#,
        );
        check(&["$.a", "$.a.b"], json!({"a": {"b": 1}}), "{}");
    }

    #[test]
    fn no_depth_overflows_the_stack() {
        let mut value = json!(1);
        for _ in 0..2_000 {
            value = Value::Array(vec![value]);
        }
        assert_eq!(text(&value).len(), 4_001);
    }

    #[test]
    fn a_number_that_the_parser_rounds_is_known() {
        let check = |written: &str, expected: bool| {
            let value: Value = serde_json::from_str(written).unwrap();
            assert_eq!(is_rounded(&value), expected, "{written}");
        };
        for written in [
            "0",
            "1.0",
            "-5",
            "1.25",
            "18446744073709551615",
            "\"x\"",
            "1e3",
        ] {
            check(written, false);
        }
        for written in [
            "18446744073709551616",
            "123456789012345678901234567890",
            "1e20",
        ] {
            check(written, true);
        }
    }
}
