//! Guesses how a provider hands out further pages, from one answer.
//!
//! Looks at names only, at the top of the answer and one level below. A guess is shown to people, and
//! never used.

use serde_json::{Map, Value};

use super::super::pagination::link::linked;

/// Names of URLs of the next page.
const URLS: [&str; 7] = [
    "next",
    "next_url",
    "next_page_url",
    "nextPageUrl",
    "nextLink",
    "@odata.nextLink",
    "next_link",
];
/// Names of tokens for the next page, with the parameters that providers mostly take them in.
const TOKENS: [(&str, &str); 12] = [
    ("next_cursor", "cursor"),
    ("nextCursor", "cursor"),
    ("next_page_token", "page_token"),
    ("nextPageToken", "pageToken"),
    ("next_token", "next_token"),
    ("nextToken", "nextToken"),
    ("continuation_token", "continuation_token"),
    ("continuationToken", "continuationToken"),
    ("end_cursor", "after"),
    ("endCursor", "after"),
    ("after", "after"),
    ("cursor", "cursor"),
];
/// Names that say how many pages there are.
const TOTALS: [&str; 4] = ["total_pages", "totalPages", "last_page", "page_count"];
/// Names that say that there are further pages.
const MORE: [&str; 3] = ["has_more", "hasMore", "has_next_page"];
/// The most names that are looked at in one place.
const NAMES_MAX: usize = 100;

/// How further pages may be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guess {
    /// What tells.
    pub reason: String,
    /// What to write under `pagination`; `None` = there are pages, but nothing tells how.
    pub yaml: Option<String>,
}

impl Guess {
    fn new(reason: String, yaml: String) -> Self {
        Self {
            reason,
            yaml: Some(yaml),
        }
    }
}

/// Looks for one kind of pages, under a path and the names below it.
type Look = fn(&str, &Map<String, Value>) -> Option<Guess>;

/// What an answer tells of pages behind it; `None` = nothing.
pub fn paginator(body: &Value, headers: &[(String, String)]) -> Option<Guess> {
    let lines = headers
        .iter()
        .filter(|(name, _)| name.eq_ignore_ascii_case("link"))
        .map(|(_, value)| value.as_str());
    if linked(lines, "next").is_some() {
        let reason = "the answer has the header `Link` with `rel=next`".to_owned();
        return Some(Guess::new(reason, "{type: link_header}".to_owned()));
    }
    let places = places(body);
    let guesses: [Look; 4] = [url, token, total, more];
    guesses
        .iter()
        .find_map(|guess| places.iter().find_map(|(path, map)| guess(path, map)))
}

/// The mappings that are looked at, with their paths.
fn places(body: &Value) -> Vec<(String, &Map<String, Value>)> {
    let Value::Object(top) = body else {
        return Vec::new();
    };
    let below = top.iter().take(NAMES_MAX).filter_map(|(name, value)| {
        let map = value.as_object()?;
        Some((child("$", name), map))
    });
    let mut places = vec![("$".to_owned(), top)];
    places.extend(below);
    places
}

fn url(path: &str, map: &Map<String, Value>) -> Option<Guess> {
    let is_url = |text: &str| text.starts_with("http") || text.starts_with(['/', '?']);
    let found = URLS.iter().find(|name| {
        let value = map.get(**name).and_then(Value::as_str);
        value.is_some_and(is_url)
    })?;
    let place = child(path, found);
    let reason = format!("the answer has a URL at `{place}`");
    Some(Guess::new(
        reason,
        format!("{{type: next_url, url: {}}}", quoted(&place)),
    ))
}

fn token(path: &str, map: &Map<String, Value>) -> Option<Guess> {
    let is_token = |value: &Value| match value {
        Value::String(text) => !text.is_empty(),
        Value::Number(_) => true,
        _ => false,
    };
    let (name, param) = TOKENS
        .iter()
        .find(|(name, _)| map.get(*name).is_some_and(is_token))?;
    let place = child(path, name);
    let reason = format!("the answer has what may be a page token at `{place}`");
    let more = MORE.iter().find(|name| map.contains_key(**name));
    let more = more.map(|name| format!(", has_more: {}", quoted(&child(path, name))));
    let more = more.unwrap_or_default();
    let place = quoted(&place);
    Some(Guess::new(
        reason,
        format!("{{type: token, token: {place}, param: {param}{more}}}"),
    ))
}

fn total(path: &str, map: &Map<String, Value>) -> Option<Guess> {
    let is_several = |value: &Value| value.as_u64().is_some_and(|count| count > 1);
    let name = TOTALS
        .iter()
        .find(|name| map.get(**name).is_some_and(is_several))?;
    let place = child(path, name);
    let reason = format!("the answer has a number of pages at `{place}`");
    let place = quoted(&place);
    Some(Guess::new(
        reason,
        format!("{{type: page, param: page, stop: {{total: {place}}}}}"),
    ))
}

fn more(path: &str, map: &Map<String, Value>) -> Option<Guess> {
    let name = MORE
        .iter()
        .find(|name| map.get(**name).and_then(Value::as_bool) == Some(true))?;
    Some(Guess {
        reason: format!(
            "the answer says at `{}` that there is more, but not how to ask for it",
            child(path, name)
        ),
        yaml: None,
    })
}

/// The path to a member.
fn child(path: &str, name: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    match !name.starts_with(|c: char| c.is_ascii_digit()) && name.chars().all(is_plain) {
        true => format!("{path}.{name}"),
        false => format!("{path}[{}]", Value::from(name)),
    }
}

/// A path as it stands in a flow mapping of YAML.
fn quoted(path: &str) -> String {
    match path.contains('[') {
        true => format!("'{}'", path.replace('\'', "''")),
        false => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_answer_tells_how_its_pages_follow() {
        let check = |body: Value, link: Option<&str>, expected: Option<&str>| {
            let link = link.map(|link| ("link".to_owned(), link.to_owned()));
            let headers: Vec<_> = link.into_iter().collect();
            let guess = paginator(&body, &headers);
            let yaml = guess.and_then(|guess| guess.yaml);
            assert_eq!(yaml.as_deref(), expected, "{body}");
        };
        let link = Some("<https://a.example/x?page=2>; rel=\"next\"");
        check(json!([1]), link, Some("{type: link_header}"));
        check(
            json!([1]),
            Some("<https://a.example/x>; rel=\"prev\""),
            None,
        );
        check(
            json!({"data": [], "links": {"next": "https://a.example/x?page=2"}}),
            None,
            Some("{type: next_url, url: $.links.next}"),
        );
        check(
            json!({"@odata.nextLink": "https://a.example/x"}),
            None,
            Some("{type: next_url, url: '$[\"@odata.nextLink\"]'}"),
        );
        check(
            json!({"next_cursor": "abc", "has_more": true}),
            None,
            Some("{type: token, token: $.next_cursor, param: cursor, has_more: $.has_more}"),
        );
        check(
            json!({"meta": {"nextPageToken": "abc"}}),
            None,
            Some("{type: token, token: $.meta.nextPageToken, param: pageToken}"),
        );
        check(
            json!({"total_pages": 7}),
            None,
            Some("{type: page, param: page, stop: {total: $.total_pages}}"),
        );
        check(json!({"total_pages": 1}), None, None);
        check(json!({"next": null, "next_cursor": ""}), None, None);
        check(json!({"data": [{"next": "https://a.example"}]}), None, None);
    }

    #[test]
    fn that_there_is_more_is_told_without_a_guess() {
        let guess = paginator(&json!({"data": [], "has_more": true}), &[]).unwrap();
        assert_eq!(guess.yaml, None);
        assert_eq!(paginator(&json!({"has_more": false}), &[]), None);
    }
}
