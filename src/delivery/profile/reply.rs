//! What a backend answers to a Telegram update may be a method that Telegram calls in its stead. A
//! gateway that swallowed it would make the bot mute.
//!
//! The call becomes an event of its own, on disk in the same step as the update's arrival, and is
//! delivered to the Bot API like any other.

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::event::{Head, Headers};
use crate::store::{Accept, Claimed, Event, EventId, Facts, NewDelivery};

/// The most bytes of an answer that is looked at for a call.
pub const ANSWER_BYTES_MAX: usize = 1024 * 1024;
/// The longest name of a method.
const METHOD_BYTES_MAX: usize = 64;
/// What Telegram does not do for a bot that answers.
const REFUSED: [&str; 4] = ["setwebhook", "deletewebhook", "close", "logout"];

/// A method that a backend's answer wants to be called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// The method.
    pub method: String,
    /// The media type of its arguments.
    pub content_type: String,
    /// Its arguments.
    pub body: Bytes,
}

impl Call {
    /// The call in an answer; `None` when there is none.
    pub fn of(content_type: &str, body: &[u8]) -> Option<Self> {
        let media = content_type.split(';').next().unwrap_or_default().trim();
        let method = match media.to_ascii_lowercase().as_str() {
            "application/x-www-form-urlencoded" => in_form(body)?,
            "multipart/form-data" => in_parts(content_type, body)?,
            _ => return in_json(body),
        };
        may_be_called(&method).then(|| Self {
            method,
            content_type: content_type.to_owned(),
            body: Bytes::copy_from_slice(body),
        })
    }

    /// The event that brings the call to the Bot API, in the lane of the update.
    pub fn accept(self, update: &Claimed, backend: &str, slot: u16, now: Timestamp) -> Accept {
        let event = &update.event;
        let mut hash = Sha256::new();
        hash.update(b"reply");
        hash.update(event.id.as_bytes());
        let digest: [u8; 32] = hash.finalize().into();
        let mut suffix = [0; 10];
        suffix.copy_from_slice(digest.split_at(10).0);
        let mut headers = Headers::default();
        headers.push("Content-Type", self.content_type);
        let event = Event {
            id: EventId::of_item(now, suffix),
            received_at: now,
            route: event.route.clone(),
            head: Head {
                method: "POST".to_owned(),
                target: format!("/{}", self.method).into(),
                host: None,
                headers,
            },
            body: self.body,
            facts: Facts {
                client: "reply".to_owned(),
                scheme: "https".to_owned(),
                event_type: Some(format!("telegram.{}", self.method)),
                provider_event_id: event.facts.provider_event_id.clone(),
                ..Facts::default()
            },
        };
        Accept {
            event: Arc::new(event),
            dedup: None,
            deliveries: vec![NewDelivery {
                slot,
                backend: backend.into(),
                due: now,
                lane: update.lane,
                attempts: 0,
            }],
            attempt: None,
            route_depth_max: None,
            was_refused: false,
        }
    }
}

fn may_be_called(method: &str) -> bool {
    let lower = method.to_ascii_lowercase();
    !method.is_empty()
        && method.len() <= METHOD_BYTES_MAX
        && method.bytes().all(|byte| byte.is_ascii_alphanumeric())
        && !lower.starts_with("get")
        && !REFUSED.contains(&lower.as_str())
}

/// The arguments without the method, which stands in the path.
fn in_json(body: &[u8]) -> Option<Call> {
    let mut arguments: Value = serde_json::from_slice(body).ok()?;
    let members = arguments.as_object_mut()?;
    let method = members.shift_remove("method")?.as_str()?.to_owned();
    may_be_called(&method).then(|| Call {
        method,
        content_type: "application/json".to_owned(),
        body: arguments.to_string().into(),
    })
}

fn in_form(body: &[u8]) -> Option<String> {
    let mut pairs = form_urlencoded::parse(body);
    let found = pairs.find(|(name, _)| name == "method");
    found.map(|(_, value)| value.into_owned())
}

/// The part called `method` (RFC 7578).
fn in_parts(content_type: &str, body: &[u8]) -> Option<String> {
    let parameters = content_type.split(';').skip(1);
    let boundary = parameters
        .filter_map(|parameter| parameter.trim().split_once('='))
        .find(|(name, _)| name.eq_ignore_ascii_case("boundary"))
        .map(|(_, value)| value.trim_matches('"'))?;
    let delimiter = format!("--{boundary}");
    let mut rest = body;
    while let Some(at) = memchr::memmem::find(rest, delimiter.as_bytes()) {
        rest = rest.get(at + delimiter.len()..)?;
        let end = memchr::memmem::find(rest, delimiter.as_bytes()).unwrap_or(rest.len());
        let part = rest.get(..end)?;
        let Some(blank) = memchr::memmem::find(part, b"\r\n\r\n") else {
            continue;
        };
        let head = String::from_utf8_lossy(part.get(..blank)?).to_ascii_lowercase();
        if head.contains("name=\"method\"") || head.contains("name=method") {
            let value = part.get(blank + 4..)?;
            return Some(String::from_utf8_lossy(value.trim_ascii()).into_owned());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn method(content_type: &str, body: &str) -> Option<String> {
        Call::of(content_type, body.as_bytes()).map(|call| call.method)
    }

    #[test]
    fn a_method_is_found_in_every_form_of_answer() {
        let call = Call::of(
            "application/json; charset=utf-8",
            br#"{"chat_id": 7, "method": "sendMessage", "text": "a"}"#,
        );
        let expected = Call {
            method: "sendMessage".to_owned(),
            content_type: "application/json".to_owned(),
            body: br#"{"chat_id":7,"text":"a"}"#[..].into(),
        };
        assert_eq!(call, Some(expected));
        let form = "chat_id=7&method=sendMessage&text=a+b";
        let found = Call::of("application/x-www-form-urlencoded", form.as_bytes()).unwrap();
        assert_eq!(
            (&*found.method, &found.body[..]),
            ("sendMessage", form.as_bytes())
        );
        let parts = "--x-1\r\nContent-Type: text/plain\r\nContent-Disposition: form-data; \
                     name=\"text\"\r\n\r\nmethod\r\n--x-1\r\nContent-Disposition: form-data; \
                     name=\"method\"\r\n\r\nsendMessage\r\n--x-1--\r\n";
        let media = "multipart/form-data; boundary=\"x-1\"";
        let found = Call::of(media, parts.as_bytes()).unwrap();
        assert_eq!(
            (&*found.method, &*found.content_type),
            ("sendMessage", media)
        );
        assert_eq!(found.body, parts.as_bytes());
    }

    #[test]
    fn what_is_no_call_is_none() {
        let check = |content_type: &str, body: &str| {
            assert_eq!(method(content_type, body), None, "{content_type} {body}");
        };
        for body in [
            "",
            "ok",
            "{}",
            "[]",
            "{\"method\": 7}",
            "{\"method\": \"\"}",
        ] {
            check("application/json", body);
            check("", body);
        }
        for name in [
            "setWebhook",
            "deleteWebhook",
            "close",
            "logOut",
            "getMe",
            "GETFILE",
            "a/b",
        ] {
            check("application/json", &format!("{{\"method\": \"{name}\"}}"));
            check(
                "application/x-www-form-urlencoded",
                &format!("method={name}"),
            );
        }
        check("multipart/form-data", "--\r\n\r\nsendMessage");
        check(
            "multipart/form-data; boundary=x",
            "--x\r\nname=\"a\"\r\n\r\nb\r\n--x--",
        );
    }
}
