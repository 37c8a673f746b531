//! What expressions see of an event.

use std::collections::BTreeMap;

use crate::expr::event::{EventFacts, EventView};
use crate::store::Event;

/// An event as expressions see it.
pub fn view_of(event: &Event) -> EventView<'_> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut headers = BTreeMap::new();
    for header in event.head.headers.iter() {
        headers
            .entry(text(&header.name).to_ascii_lowercase())
            .or_insert_with(|| text(&header.value));
    }
    EventView {
        body: body(event),
        raw: String::from_utf8_lossy(&event.body),
        headers,
        query: pairs(event.head.query().unwrap_or_default()),
        event: EventFacts {
            id: event.id.to_string(),
            provider_event_id: event.facts.provider_event_id.as_deref(),
            event_type: event.facts.event_type.as_deref(),
            route: &event.route,
            received_at: event.received_at.to_string(),
        },
    }
}

fn body(event: &Event) -> Option<serde_json::Value> {
    if let Ok(json) = serde_json::from_slice(&event.body) {
        return Some(json);
    }
    let content_type = event.head.headers.first("content-type")?;
    let is_form = content_type
        .to_ascii_lowercase()
        .starts_with(b"application/x-www-form-urlencoded");
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
