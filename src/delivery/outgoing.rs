//! Makes the request of one attempt: the event as it was received, but for what its delivery says.

use bytes::Bytes;
use jiff::Timestamp;

use super::deliver::Deliver;
use super::request::{AttemptId, Via, write_head};
use super::retry::Death;
use super::view::view_of;
use crate::event::{ClientAddr, Head};
use crate::store::Event;

/// A request for the wire.
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// The method.
    pub method: String,
    /// The whole head.
    pub head: Bytes,
    /// The whole body.
    pub body: Bytes,
}

/// The request for one event, made at `now`. `attempt` = its number, from 1; `None` = there will be
/// no other.
///
/// # Errors
/// [`Death`] when it cannot be made, now or ever.
pub fn single(
    event: &Event,
    deliver: &Deliver,
    attempt: Option<u32>,
    now: Timestamp,
) -> Result<Outgoing, Death> {
    let (head, body) = transformed(event, deliver)?;
    finish(event, deliver, head, body, attempt, now)
}

/// One request for several events: a JSON array of what each would have got. The head is that of
/// the first; `Hookgate-Event-Ids` names all of them in their order.
///
/// # Errors
/// [`Death`] when it cannot be made, now or ever.
pub fn batch(
    events: &[&Event],
    deliver: &Deliver,
    attempt: u32,
    now: Timestamp,
) -> Result<Outgoing, Death> {
    let Some(first) = events.first() else {
        return Err(Death::Unrouted);
    };
    let mut array = vec![b'['];
    for (index, event) in events.iter().enumerate() {
        let (_, body) = transformed(event, deliver)?;
        if index > 0 {
            array.push(b',');
        }
        match serde_json::from_slice::<serde::de::IgnoredAny>(&body) {
            Ok(_) => array.extend_from_slice(&body),
            Err(_) => array.extend_from_slice(
                serde_json::Value::from(String::from_utf8_lossy(&body))
                    .to_string()
                    .as_bytes(),
            ),
        }
    }
    array.push(b']');
    let mut head = first.head.clone();
    head.headers.set("Content-Type", "application/json");
    let ids: Vec<String> = events.iter().map(|event| event.id.to_string()).collect();
    let mut outgoing = finish(first, deliver, head, array.into(), Some(attempt), now)?;
    outgoing.head = with_line(
        &outgoing.head,
        &format!("Hookgate-Event-Ids: {}", ids.join(",")),
    );
    Ok(outgoing)
}

/// A head with one more line at its end.
fn with_line(head: &Bytes, line: &str) -> Bytes {
    let lines = head.strip_suffix(b"\r\n").unwrap_or(head);
    [lines, line.as_bytes(), b"\r\n\r\n"].concat().into()
}

fn transformed(event: &Event, deliver: &Deliver) -> Result<(Head, Bytes), Death> {
    let mut head = event.head.clone();
    let Some(transform) = &deliver.transform else {
        return Ok((head, event.body.clone()));
    };
    let body = transform.body.render(&view_of(event)).map_err(|error| {
        tracing::warn!(route = &*event.route, event = %event.id, %error, "deliver.transform");
        Death::TransformFailed
    })?;
    if let Some(content_type) = &transform.content_type {
        head.headers.set("Content-Type", content_type.clone());
    }
    Ok((head, body.into()))
}

fn finish(
    event: &Event,
    deliver: &Deliver,
    mut head: Head,
    body: Bytes,
    attempt: Option<u32>,
    now: Timestamp,
) -> Result<Outgoing, Death> {
    let id = event.id.to_string();
    if let Some(sign) = &deliver.sign {
        sign.sign(&mut head, &body, &id, now).map_err(|error| {
            tracing::warn!(route = &*event.route, event = %event.id, %error, "deliver.sign");
            Death::SignFailed
        })?;
    }
    let captures = &event.facts.captures;
    let path = deliver.path.as_ref().map(|rewrite| {
        rewrite.fill(|name| {
            let found = captures.iter().find(|(known, _)| known == name);
            found.map(|(_, value)| value.as_str())
        })
    });
    let via = Via {
        peer: event.facts.peer.map_or(ClientAddr::Unix, ClientAddr::Ip),
        peer_is_trusted: event.facts.peer_is_trusted,
        scheme: &event.facts.scheme,
        request_id: &id,
        route: &event.route,
        verified: event.facts.verified,
        attempt: attempt.map(|number| AttemptId { event: &id, number }),
    };
    Ok(Outgoing {
        method: head.method.clone(),
        head: write_head(&head, body.len(), deliver, path.as_deref(), via),
        body,
    })
}

/// An answer as it is kept with its attempt: the head and the beginning of the body.
pub fn answer_text<'h>(
    status: u16,
    headers: impl IntoIterator<Item = (&'h str, &'h [u8])>,
    body: &[u8],
) -> Bytes {
    let mut text = format!("HTTP/1.1 {status}\r\n").into_bytes();
    for (name, value) in headers {
        text.extend_from_slice(name.as_bytes());
        text.extend_from_slice(b": ");
        text.extend_from_slice(value);
        text.extend_from_slice(b"\r\n");
    }
    text.extend_from_slice(b"\r\n");
    text.extend_from_slice(body);
    text.into()
}
