//! One structured line for each request: who, when, which route, what was decided, how long.
//!
//! A line never holds a body, a query, or a header that nobody asked for. Headers are shown when
//! the file lists them under `log.headers`, and those that carry secrets show as `[redacted]`.

use std::time::Duration;

use tracing::Level;

use crate::event::{ClientAddr, Head, Verdict};
use crate::redaction::{REDACTED, Redaction};

/// The longest value of one header or path in a line.
const TEXT_CHARS_MAX: usize = 256;

/// Which headers a line shows.
#[derive(Debug, Clone, Default)]
pub struct HeaderChoice {
    shown: Vec<String>,
    redaction: Redaction,
}

impl HeaderChoice {
    /// Shows `shown`, but of those that are hidden only that they were there.
    pub fn new(shown: Vec<String>, redaction: Redaction) -> Self {
        Self { shown, redaction }
    }

    /// The chosen headers of a request, as one text.
    fn render(&self, head: &Head) -> String {
        let mut text = String::new();
        for name in &self.shown {
            for value in head.headers.all(name) {
                let value = if self.redaction.hides(name) {
                    REDACTED.into()
                } else {
                    clip(value)
                };
                if !text.is_empty() {
                    text.push_str("; ");
                }
                text.push_str(&format!("{}: {value}", name.to_ascii_lowercase()));
            }
        }
        text
    }
}

/// What became of a request.
#[derive(Debug)]
pub struct Entry<'a> {
    /// The route, if one was found.
    pub route: &'a str,
    /// The head, if there was one.
    pub head: Option<&'a Head>,
    /// The client behind trusted proxies.
    pub client: ClientAddr,
    /// The id of the request.
    pub request_id: &'a str,
    /// What was decided.
    pub verdict: Verdict,
    /// The word for the reason, empty when there is none.
    pub reason: &'static str,
    /// The reason in a sentence, empty when there is none.
    pub detail: String,
    /// How loud the line is.
    pub level: Level,
    /// The status that was sent; 0 when none could be.
    pub status: u16,
    /// The backend that was asked, if one was.
    pub backend: &'a str,
    /// Bytes of the request's body.
    pub body_bytes: usize,
    /// From the head to the end of the answer.
    pub took: Duration,
}

/// Writes the line.
pub fn write(entry: &Entry<'_>, choice: &HeaderChoice) {
    let head = entry.head;
    // Fields are only made when the line is wanted.
    macro_rules! line {
        ($level:expr) => {
            tracing::event!(
                target: "hookgate::request",
                $level,
                verdict = entry.verdict.label(),
                reason = entry.reason,
                route = entry.route,
                status = entry.status,
                method = head.map(|head| clip(head.method.as_bytes())).unwrap_or_default(),
                path = head.map(|head| clip(head.path())).unwrap_or_default(),
                client = %entry.client,
                request_id = entry.request_id,
                backend = entry.backend,
                body_bytes = entry.body_bytes,
                ms = milliseconds(entry.took),
                headers = head.map(|head| choice.render(head)).unwrap_or_default(),
                detail = entry.detail,
                "request"
            )
        };
    }
    match entry.level {
        Level::ERROR => line!(Level::ERROR),
        Level::WARN => line!(Level::WARN),
        Level::INFO => line!(Level::INFO),
        Level::DEBUG => line!(Level::DEBUG),
        Level::TRACE => line!(Level::TRACE),
    }
}

fn milliseconds(took: Duration) -> f64 {
    (took.as_secs_f64() * 1e6).round() / 1e3
}

/// A sender's bytes as text that cannot break a line or a terminal.
fn clip(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let clean = text
        .chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c });
    clean.take(TEXT_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::event::Headers;

    #[test]
    fn only_chosen_headers_show_and_secrets_never() {
        let mut headers = Headers::default();
        for (name, value) in [
            ("User-Agent", "Stripe/1.0"),
            ("Authorization", "Bearer abc"),
            ("X-Api-Key", "k"),
            ("X-Other", "o"),
            ("user-agent", "a\r\nb"),
        ] {
            headers.push(name, value);
        }
        let head = Head {
            method: "POST".into(),
            target: Bytes::new(),
            host: None,
            headers,
        };
        let choice = HeaderChoice::new(
            vec![
                "User-Agent".into(),
                "authorization".into(),
                "x-api-key".into(),
            ],
            Redaction::new(vec!["X-API-KEY".into()], Vec::new(), Vec::new()),
        );
        assert_eq!(
            choice.render(&head),
            "user-agent: Stripe/1.0; user-agent: a\u{fffd}\u{fffd}b; \
             authorization: [redacted]; x-api-key: [redacted]"
        );
    }
}
