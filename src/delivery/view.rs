//! What expressions see of an event.

use std::collections::BTreeMap;

use crate::expr::event::{EventFacts, EventView, FoundFacts, headers};
use crate::store::Event;

/// An event as expressions see it.
pub fn view_of(event: &Event) -> EventView<'_> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let lines = event.head.headers.iter();
    let body = body(event);
    let facts = &event.facts;
    let found = facts.source.is_some().then(|| FoundFacts {
        item: body.clone(),
        change: facts.change.as_deref(),
        previous: facts.previous.as_ref(),
        partition: facts.partition.as_ref(),
    });
    EventView {
        body,
        raw: String::from_utf8_lossy(&event.body),
        headers: headers(lines.map(|header| (text(&header.name), text(&header.value)))),
        query: pairs(event.head.query().unwrap_or_default()),
        event: EventFacts {
            id: event.id.to_string(),
            provider_event_id: event.facts.provider_event_id.as_deref(),
            event_type: event.facts.event_type.as_deref(),
            route: &event.route,
            received_at: event.received_at.to_string(),
        },
        found,
    }
}

fn body(event: &Event) -> Option<serde_json::Value> {
    if let Ok(json) = serde_json::from_slice(&event.body) {
        return Some(json);
    }
    let content_type = event.head.headers.first("content-type")?;
    let media = content_type.split(|&byte| byte == b';').next()?;
    let is_form = media
        .trim_ascii()
        .eq_ignore_ascii_case(b"application/x-www-form-urlencoded");
    is_form.then(|| serde_json::json!(pairs(&event.body)))
}

/// The first value under each name.
fn pairs(text: &[u8]) -> BTreeMap<String, String> {
    let mut pairs = BTreeMap::new();
    for (name, value) in form_urlencoded::parse(text) {
        pairs
            .entry(name.into_owned())
            .or_insert_with(|| value.into_owned());
    }
    pairs
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use jiff::Timestamp;

    use super::*;
    use crate::event::{Head, Headers};
    use crate::expr::event::Predicate;
    use crate::store::{EventId, Facts};

    fn event(content_type: &str, body: &[u8]) -> Event {
        let mut headers = Headers::default();
        headers.push("Content-Type", content_type.to_owned());
        headers.push("X-Two", "first");
        headers.push("x-two", "second");
        headers.push("X-Odd", Bytes::from_static(b"\xffa"));
        Event {
            id: EventId::from_bytes([7; 16]),
            received_at: Timestamp::constant(1_800_000_000, 0),
            route: "stripe".into(),
            head: Head {
                method: "POST".to_owned(),
                target: Bytes::from_static(b"/in?tenant=a%20b&tenant=c"),
                host: None,
                headers,
            },
            body: Bytes::copy_from_slice(body),
            facts: Facts {
                provider_event_id: Some("evt_1".to_owned()),
                event_type: Some("invoice.paid".to_owned()),
                ..Facts::default()
            },
        }
    }

    #[test]
    fn expressions_see_what_was_stored() {
        let event = event("text/plain", br#"{"type": "paid"}"#);
        for text in [
            "body.type == 'paid'",
            "raw == '{\"type\": \"paid\"}'",
            "headers['x-two'] == 'first' and headers['X-Two'] == 'first'",
            "headers['x-odd'] is endingwith 'a'",
            "query.tenant == 'a b'",
            "event.id == '07070707-0707-0707-0707-070707070707'",
            "event.type == 'invoice.paid' and event.provider_event_id == 'evt_1'",
            "event.route == 'stripe' and event.received_at == '2027-01-15T08:00:00Z'",
        ] {
            let predicate = Predicate::compile(text).unwrap();
            assert_eq!(predicate.holds(&view_of(&event)), Ok(true), "{text}");
        }
    }

    #[test]
    fn a_body_is_taken_apart_if_it_is_json_or_is_called_a_form() {
        let check = |content_type: &str, body: &[u8], expected: Option<serde_json::Value>| {
            let event = event(content_type, body);
            assert_eq!(view_of(&event).body, expected, "{content_type}");
        };
        let form = b"From=%2B49+1&From=2&To=3";
        let taken = Some(serde_json::json!({"From": "+49 1", "To": "3"}));
        check("application/x-www-form-urlencoded", form, taken.clone());
        check(
            "Application/X-WWW-Form-Urlencoded ; charset=utf-8",
            form,
            taken,
        );
        check("application/x-www-form-urlencoded-not", form, None);
        check("text/plain", form, None);
        check("text/plain", b"[1, 2]", Some(serde_json::json!([1, 2])));
        check("application/json", b"{\"a\":", None);
        check("application/json", b"", None);
        check("application/octet-stream", b"\xff\xfe", None);
    }
}
