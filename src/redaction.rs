//! What of an event is never shown: headers by name, values of JSON bodies by path, and the
//! gateway's own secrets wherever they stand. What is delivered is not touched.

use std::sync::Arc;

use serde_json::Value;
use serde_json_path::JsonPath;

use crate::secret::Secret;

/// What stands in the place of what is not shown.
pub const REDACTED: &str = "[redacted]";
/// Shorter secrets are not looked for: they could be anything.
const MASKED_BYTES_MIN: usize = 6;

/// Headers whose values are secrets wherever they come from.
const ALWAYS: [&str; 6] = [
    "authorization",
    "proxy-authorization",
    "cookie",
    "set-cookie",
    "x-gitlab-token",
    "x-telegram-bot-api-secret-token",
];

/// What is not shown.
#[derive(Debug, Clone, Default)]
pub struct Redaction(Arc<Rules>);

#[derive(Debug, Default)]
struct Rules {
    headers: Vec<String>,
    body: Vec<JsonPath>,
    secrets: Vec<Secret>,
}

impl Redaction {
    /// Hides these headers besides those that always carry secrets, what these paths find in JSON,
    /// and these secrets.
    pub fn new(headers: Vec<String>, body: Vec<JsonPath>, secrets: Vec<Secret>) -> Self {
        let encoded = |secret: &Secret| -> String {
            form_urlencoded::byte_serialize(secret.expose().as_bytes()).collect()
        };
        let mut secrets: Vec<Secret> = secrets
            .into_iter()
            .filter(|secret| secret.expose().len() >= MASKED_BYTES_MIN)
            .flat_map(|secret| [Secret::new(encoded(&secret)), secret])
            .collect();
        // A secret may be the beginning of another.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.expose().len()));
        Self(Arc::new(Rules {
            headers,
            body,
            secrets,
        }))
    }

    /// Whether the values of a header are hidden.
    pub fn hides(&self, name: &str) -> bool {
        let is = |known: &str| known.eq_ignore_ascii_case(name);
        ALWAYS.into_iter().any(is) || self.0.headers.iter().any(|known| is(known))
    }

    /// A header's value as it is shown.
    pub fn header(&self, name: &str, value: &[u8]) -> String {
        match self.hides(name) {
            true => REDACTED.to_owned(),
            false => self.text(value),
        }
    }

    /// A text as it is shown.
    pub fn text(&self, bytes: &[u8]) -> String {
        String::from_utf8_lossy(&self.masked(bytes)).into_owned()
    }

    /// A head and a body in one text of HTTP/1.1, as it is shown.
    pub fn message(&self, bytes: &[u8]) -> String {
        let end = memchr::memmem::find(bytes, b"\r\n\r\n").unwrap_or(bytes.len());
        let (head, body) = bytes.split_at(end);
        let head = String::from_utf8_lossy(head);
        let lines = head.split("\r\n").map(|line| match line.split_once(':') {
            Some((name, value)) => {
                let value = self.header(name, value.trim().as_bytes());
                format!("{name}: {value}")
            }
            None => self.text(line.as_bytes()),
        });
        let head = lines.collect::<Vec<_>>().join("\r\n");
        let body = body.strip_prefix(b"\r\n\r\n").unwrap_or(body);
        match body {
            b"" => head,
            body => format!(
                "{head}\r\n\r\n{}",
                String::from_utf8_lossy(&self.body(body))
            ),
        }
    }

    /// A body as it is shown. One that is not JSON has no paths.
    pub fn body(&self, body: &[u8]) -> Vec<u8> {
        let found = (!self.0.body.is_empty())
            .then(|| serde_json::from_slice::<Value>(body).ok())
            .flatten()
            .and_then(|json| self.without(json));
        match found {
            Some(json) => self.masked(json.to_string().as_bytes()),
            None => self.masked(body),
        }
    }

    /// The document without what is hidden; `None` when nothing is.
    fn without(&self, mut json: Value) -> Option<Value> {
        let pointers: Vec<String> = self
            .0
            .body
            .iter()
            .flat_map(|path| path.query_located(&json))
            .map(|node| node.location().to_json_pointer())
            .collect();
        for pointer in &pointers {
            if let Some(value) = json.pointer_mut(pointer) {
                *value = REDACTED.into();
            }
        }
        (!pointers.is_empty()).then_some(json)
    }

    fn masked(&self, bytes: &[u8]) -> Vec<u8> {
        self.0.secrets.iter().fold(bytes.to_vec(), |text, secret| {
            replaced(&text, secret.expose().as_bytes(), b"***")
        })
    }
}

/// A text with one sequence of bytes in place of another.
pub fn replaced(text: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut replaced = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = memchr::memmem::find(rest, from) {
        let (before, after) = rest.split_at(at);
        replaced.extend_from_slice(before);
        replaced.extend_from_slice(to);
        rest = after.split_at(from.len()).1;
    }
    replaced.extend_from_slice(rest);
    replaced
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redaction() -> Redaction {
        let path = |text: &str| JsonPath::parse(text).unwrap();
        Redaction::new(
            vec!["X-Api-Key".into()],
            vec![path("$.card.number"), path("$..email")],
            vec![Secret::new("s3cret+1"), Secret::new("ab")],
        )
    }

    #[test]
    fn headers_are_hidden_by_name() {
        let check = |name: &str, value: &str, expected: &str| {
            assert_eq!(redaction().header(name, value.as_bytes()), expected);
        };
        check("Authorization", "Bearer x", REDACTED);
        check("x-API-key", "k", REDACTED);
        check("X-Other", "k s3cret+1 ab", "k *** ab");
    }

    #[test]
    fn values_are_hidden_by_path_and_secrets_anywhere() {
        let check = |body: &str, expected: &str| {
            let shown = redaction().body(body.as_bytes());
            assert_eq!(String::from_utf8_lossy(&shown), expected);
        };
        check(
            r#"{"card":{"number":"4242","exp":1},"a":[{"email":"x"}]}"#,
            r#"{"card":{"number":"[redacted]","exp":1},"a":[{"email":"[redacted]"}]}"#,
        );
        check(r#"{"b" : 1}"#, r#"{"b" : 1}"#);
        check("token=s3cret%2B1&x=s3cret+1", "token=***&x=***");
        check("", "");
    }

    #[test]
    fn a_message_is_hidden_line_by_line() {
        let text = "HTTP/1.1 200 OK\r\nSet-Cookie: a=b\r\nX-A: 1\r\n\r\n{\"email\":\"x\"}";
        let expected =
            "HTTP/1.1 200 OK\r\nSet-Cookie: [redacted]\r\nX-A: 1\r\n\r\n{\"email\":\"[redacted]\"}";
        assert_eq!(redaction().message(text.as_bytes()), expected);
        assert_eq!(redaction().message(b"HTTP/1.1 204 No"), "HTTP/1.1 204 No");
    }
}
