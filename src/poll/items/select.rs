//! Where the items of an answer stand, and whether there are none or their place is missing.

use serde_json::Value;
use serde_json_path::JsonPath;

/// The longest path, in bytes.
pub const PATH_BYTES_MAX: usize = 1024;

/// `items.select`: a JSONPath (RFC 9535).
///
/// What leads to one place (`$`, `$.data`) means the elements of an array that stands there, an
/// object itself, and nothing of `null`, which some languages write for an empty list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    text: String,
    path: JsonPath,
    reach: Reach,
    /// The paths to everything above, the longest first, each with the segment that follows it.
    above: Vec<(JsonPath, Segment)>,
}

/// Why a text selects nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectError {
    /// It is no path.
    #[error("`{text}` is no JSONPath: {detail}")]
    Path {
        /// The text.
        text: String,
        /// What was found.
        detail: String,
    },
    /// It is too long.
    #[error("the path has more than {PATH_BYTES_MAX} bytes")]
    TooLong,
}

/// How many places a path leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    One,
    Many,
}

/// What one segment of a path does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Segment {
    /// It asks for a member, which is there or missing.
    Name,
    /// It asks for an element by its number.
    Index,
    /// It takes what there is, which may be nothing.
    List,
}

impl Selection {
    /// Reads a path.
    ///
    /// # Errors
    /// [`SelectError`].
    pub fn new(text: &str) -> Result<Self, SelectError> {
        if text.len() > PATH_BYTES_MAX {
            return Err(SelectError::TooLong);
        }
        let path = parse(text)?;
        let mut above = Vec::new();
        let starts = starts(text);
        let mut end = text.len();
        for start in starts.into_iter().rev() {
            let (front, segment) = (text.get(..start), text.get(start..end));
            if let (Some(front), Some(segment)) = (front, segment) {
                above.push((parse(front.trim_end())?, Segment::of(segment.trim_end())));
            }
            end = start;
        }
        let is_one = above.iter().all(|(_, segment)| *segment != Segment::List);
        Ok(Self {
            text: text.to_owned(),
            path,
            reach: if is_one { Reach::One } else { Reach::Many },
            above,
        })
    }

    /// The path as it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The items of an answer in their order; `None` when the place where they should stand is
    /// missing, which is not the same as none.
    pub fn find<'v>(&self, body: &'v Value) -> Option<Vec<&'v Value>> {
        let found = self.path.query(body).all();
        match (self.reach, &found[..]) {
            (Reach::One, [Value::Array(elements)]) => Some(elements.iter().collect()),
            (Reach::One, [Value::Null]) => Some(Vec::new()),
            (_, []) => self.may_be_empty(body).then(Vec::new),
            _ => Some(found),
        }
    }

    /// Nothing was found: whether the last thing that is there could have led on, but is empty.
    fn may_be_empty(&self, body: &Value) -> bool {
        let last = self.above.iter().find_map(|(path, next)| {
            let found = path.query(body).all();
            (!found.is_empty()).then_some((found, *next))
        });
        let could_hold = |value: &&Value| value.is_array() || value.is_object() || value.is_null();
        match last {
            Some((found, Segment::List | Segment::Index)) => found.iter().any(could_hold),
            Some((_, Segment::Name)) | None => false,
        }
    }
}

impl Segment {
    fn of(text: &str) -> Self {
        let inside = text
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'));
        match inside.map(str::trim) {
            Some(inside) if inside.parse::<i64>().is_ok() => Self::Index,
            Some(inside) if is_one_name(inside) => Self::Name,
            Some(_) => Self::List,
            None if text.starts_with("..") || text == ".*" => Self::List,
            None => Self::Name,
        }
    }
}

/// Whether a text is one name between quotes, and not several.
fn is_one_name(text: &str) -> bool {
    let mut rest = text.chars();
    let Some(quote @ ('\'' | '"')) = rest.next() else {
        return false;
    };
    while let Some(next) = rest.next() {
        match next {
            '\\' => _ = rest.next(),
            _ if next == quote => return rest.as_str().is_empty(),
            _ => {}
        }
    }
    false
}

fn parse(text: &str) -> Result<JsonPath, SelectError> {
    JsonPath::parse(text).map_err(|error| SelectError::Path {
        text: text.to_owned(),
        detail: error.to_string(),
    })
}

/// Where the segments of a path begin, in bytes. The path is known to be one.
fn starts(path: &str) -> Vec<usize> {
    let mut starts = Vec::new();
    let mut depth = 0_usize;
    let mut quote = None;
    let mut chars = path.char_indices();
    while let Some((index, char)) = chars.next() {
        match (quote, char) {
            (Some(_), '\\') => _ = chars.next(),
            (Some(open), _) if char == open => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(char),
            (None, '[') => {
                if depth == 0 && !ends_with(path, index, "..") {
                    starts.push(index);
                }
                depth = depth.saturating_add(1);
            }
            (None, ']') => depth = depth.saturating_sub(1),
            (None, '.') if depth == 0 && !ends_with(path, index, ".") => starts.push(index),
            (None, _) => {}
        }
    }
    starts
}

fn ends_with(path: &str, index: usize, dots: &str) -> bool {
    path.get(..index).is_some_and(|front| front.ends_with(dots))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn one_place_means_what_stands_there_and_many_mean_each() {
        let check = |path: &str, body: Value, expected: Option<Value>| {
            let found = Selection::new(path)
                .unwrap()
                .find(&body)
                .map(|found| json!(found));
            assert_eq!(found, expected, "{path} {body}");
        };
        let items = Some(json!([{"id": 1}, {"id": 2}]));
        let none = Some(json!([]));
        check("$", json!([{"id": 1}, {"id": 2}]), items.clone());
        check("$", json!({"id": 1}), Some(json!([{"id": 1}])));
        check("$", json!([]), none.clone());
        check("$[*]", json!([{"id": 1}, {"id": 2}]), items.clone());
        check(
            "$.data[*]",
            json!({"data": [{"id": 1}, {"id": 2}]}),
            items.clone(),
        );
        check(
            "$.data",
            json!({"data": [{"id": 1}, {"id": 2}]}),
            items.clone(),
        );
        check(
            "$['data']",
            json!({"data": [{"id": 1}, {"id": 2}]}),
            items.clone(),
        );
        check(
            "$[\"a.b[*]\"][*]",
            json!({"a.b[*]": [{"id": 1}, {"id": 2}]}),
            items,
        );
        check(
            "$.data",
            json!({"data": {"id": 1}}),
            Some(json!([{"id": 1}])),
        );
        check(
            "$.rows[*]",
            json!({"rows": [[1, "a"], [2, "b"]]}),
            Some(json!([[1, "a"], [2, "b"]])),
        );
        check("$.data[0]", json!({"data": [[1], 2]}), Some(json!([1])));
        check(
            "$..id",
            json!([{"id": 1}, {"a": {"id": 2}}]),
            Some(json!([1, 2])),
        );
        check(
            "$['a','b']",
            json!({"a": [1], "b": [2]}),
            Some(json!([[1], [2]])),
        );
    }

    #[test]
    fn an_empty_list_is_not_a_missing_one() {
        let check = |path: &str, body: Value, is_there: bool| {
            let found = Selection::new(path).unwrap().find(&body);
            let expected = is_there.then(Vec::new);
            assert_eq!(found, expected, "{path} {body}");
        };
        for (path, body) in [
            ("$.data[*]", json!({"data": []})),
            ("$.data[*]", json!({"data": {}})),
            ("$.data[*]", json!({"data": null})),
            ("$.data.*", json!({"data": []})),
            ("$ .data [*]", json!({"data": []})),
            ("$.data", json!({"data": []})),
            ("$.data", json!({"data": null})),
            ("$.data[0]", json!({"data": []})),
            ("$.data[?@.a == '].x[' ]", json!({"data": [{"a": 1}]})),
            ("$.data[*].rows[*]", json!({"data": []})),
            ("$.data[*].rows[*]", json!({"data": [{"rows": []}]})),
            ("$.data[*].rows", json!({"data": []})),
            ("$..items[*]", json!({"a": 1})),
            ("$..[?@.x]", json!({"a": 1})),
            ("$", json!(null)),
        ] {
            check(path, body, true);
        }
        for (path, body) in [
            ("$.data[*]", json!({})),
            ("$.data[*]", json!({"error": "no"})),
            ("$.data[*]", json!([])),
            ("$.data[*]", json!({"data": "text"})),
            ("$.data[*]", json!(null)),
            ("$.data", json!({})),
            ("$['data']", json!({})),
            ("$['it\\'s'][*]", json!({})),
            ("$.a.b[*]", json!({"a": {}})),
            ("$.a.b[*]", json!({"a": null})),
            ("$.data[*].rows[*]", json!({"data": [{"other": 1}]})),
        ] {
            check(path, body, false);
        }
    }

    #[test]
    fn what_is_no_path_is_refused() {
        let check = |text: &str| assert!(Selection::new(text).is_err(), "{text}");
        for text in ["", "data", "$.", "$[", "$.a[?]", "$.é[", " $"] {
            check(text);
        }
        check(&format!("$.{}", "a".repeat(PATH_BYTES_MAX)));
        assert!(Selection::new("$.é['ü'][*]").is_ok());
    }
}
