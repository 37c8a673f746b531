//! Makes the request of one attempt: the event as it was received, but for what its delivery says.

use bytes::Bytes;
use jiff::Timestamp;

use super::deliver::Deliver;
use super::request::{AttemptId, FoundBy, Via, write_head};
use super::retry::Death;
use super::view::view_of;
use crate::event::{ClientAddr, Head};
use crate::expr::event::Form;
use crate::store::{Event, Facts};

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

/// One request for several events: a JSON array of what each would have got, byte for byte; what is
/// no JSON is a text in it. The head is that of the first; `Hookgate-Event-Ids` names all of them in
/// their order.
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
    let mut head = with_body_of_another(first.head.clone());
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
    // A transform is made for items, and what tells that some are missing is none.
    let is_gap = event.facts.change.as_deref() == Some(Facts::GAP);
    let Some(transform) = deliver.transform.as_ref().filter(|_| !is_gap) else {
        let dressed = deliver.profile.dressed(event);
        return Ok(dressed.unwrap_or_else(|| (event.head.clone(), event.body.clone())));
    };
    let mut head = with_body_of_another(event.head.clone());
    if let Some(content_type) = &transform.content_type {
        head.headers.set("Content-Type", content_type.clone());
    }
    let form = head.headers.first("content-type");
    let form = form.map_or(Form::Text, |content_type| Form::of(content_type));
    let rendered = transform.body.render(&view_of(event), form);
    let body = rendered.map_err(|error| {
        tracing::warn!(route = &*event.route, event = %event.id, %error, "deliver.transform");
        Death::TransformFailed
    })?;
    Ok((head, body.into()))
}

/// What says something of a body's bytes, and would lie of another body's.
const OF_THE_BODY: [&str; 5] = [
    "content-encoding",
    "content-md5",
    "content-digest",
    "repr-digest",
    "digest",
];

fn with_body_of_another(mut head: Head) -> Head {
    for name in OF_THE_BODY {
        head.headers = head.headers.without(name);
    }
    head
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
    // A signature may cover the path, and then it is the one that the backend sees.
    let base_path = deliver.backend.base_path.as_bytes();
    head.target = [base_path, &target(event, deliver, &head)].concat().into();
    if let Some(sign) = &deliver.sign {
        sign.sign(&mut head, &body, &id, now).map_err(|error| {
            tracing::warn!(route = &*event.route, event = %event.id, %error, "deliver.sign");
            Death::SignFailed
        })?;
    }
    head.target = head.target.split_off(base_path.len());
    let via = Via {
        peer: event.facts.peer.map_or(ClientAddr::Unix, ClientAddr::Ip),
        peer_is_trusted: event.facts.peer_is_trusted,
        scheme: &event.facts.scheme,
        request_id: &id,
        route: &event.route,
        verified: event.facts.verified,
        attempt: attempt.map(|number| AttemptId { event: &id, number }),
        found: event.facts.source.as_deref().map(|source| FoundBy {
            source,
            change: event.facts.change.as_deref().unwrap_or_default(),
        }),
    };
    Ok(Outgoing {
        method: head.method.clone(),
        head: write_head(&head, body.len(), deliver, None, via),
        body,
    })
}

/// The path that the delivery asks for, with the sender's query.
fn target(event: &Event, deliver: &Deliver, head: &Head) -> Vec<u8> {
    let Some(rewrite) = &deliver.path else {
        return head.target.to_vec();
    };
    let captures = &event.facts.captures;
    let mut target = rewrite
        .fill(|name| {
            let found = captures.iter().find(|(known, _)| known == name);
            found.map(|(_, value)| value.as_str())
        })
        .into_bytes();
    if let Some(query) = head.query() {
        target.push(b'?');
        target.extend_from_slice(query);
    }
    target
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::config::presets;
    use crate::delivery::Backend;
    use crate::delivery::backend::Origin;
    use crate::delivery::deliver::{Signing, Transform};
    use crate::delivery::request::Rewrite;
    use crate::event::Headers;
    use crate::expr::event::EventTemplate;
    use crate::secret::Secret;
    use crate::signature::Terms;
    use crate::signature::key::Key;
    use crate::signature::{Request, Verifier};
    use crate::store::EventId;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    /// The id of the events is of the same moment.
    const RECEIVED: Timestamp = Timestamp::constant(1_800_000_000, 0);

    fn event(number: u8, lines: &[(&str, &str)], body: &[u8]) -> Event {
        let mut headers = Headers::default();
        for (name, value) in lines {
            headers.push((*name).to_owned(), (*value).to_owned());
        }
        Event {
            id: EventId::from_bytes([number; 16]),
            received_at: RECEIVED,
            route: "stripe".into(),
            head: Head {
                method: "POST".to_owned(),
                target: Bytes::from_static(b"/in/a%20b/x?q=1&q=2"),
                host: Some("hooks.example.com".to_owned()),
                headers,
            },
            body: Bytes::copy_from_slice(body),
            facts: Facts {
                client: "192.0.2.7".to_owned(),
                scheme: "https".to_owned(),
                verified: true,
                captures: vec![("tenant".to_owned(), "a%20b".to_owned())],
                ..Facts::default()
            },
        }
    }

    fn deliver() -> Deliver {
        let origin = Origin::parse("http://app:3000/base").unwrap();
        Deliver::proxy(Arc::new(Backend::at(origin, Duration::from_secs(1))))
    }

    fn transform(body: &str, content_type: Option<&str>) -> Option<Transform> {
        Some(Transform {
            body: EventTemplate::compile(body).unwrap(),
            content_type: content_type.map(str::to_owned),
        })
    }

    /// What stands on the wire, read again.
    fn read(outgoing: &Outgoing) -> Head {
        let text = std::str::from_utf8(&outgoing.head).unwrap();
        let (head, rest) = text.split_once("\r\n\r\n").unwrap();
        assert_eq!(rest, "", "nothing stands behind the head");
        let mut lines = head.split("\r\n");
        let mut first = lines.next().unwrap().split(' ');
        let (method, target) = (first.next().unwrap(), first.next().unwrap());
        let mut headers = Headers::default();
        for line in lines {
            let (name, value) = line.split_once(": ").unwrap();
            headers.push(name.to_owned(), value.to_owned());
        }
        Head {
            method: method.to_owned(),
            target: Bytes::copy_from_slice(target.as_bytes()),
            host: None,
            headers,
        }
    }

    fn header<'h>(head: &'h Head, name: &str) -> Option<&'h str> {
        let values: Vec<_> = head.headers.all(name).collect();
        assert!(values.len() <= 1, "{name} stands there twice");
        values
            .first()
            .map(|value| std::str::from_utf8(value).unwrap())
    }

    #[test]
    fn an_event_reaches_its_backend_as_it_came() {
        let body = b"\xff\x00 not text";
        let event = event(
            1,
            &[("X-Two", "b"), ("x-two", "a"), ("Content-Encoding", "x")],
            body,
        );
        let outgoing = single(&event, &deliver(), Some(3), RECEIVED).unwrap();
        assert_eq!(outgoing.body, &body[..]);
        let head = read(&outgoing);
        assert_eq!(head.target, "/base/in/a%20b/x?q=1&q=2");
        let two: Vec<_> = head.headers.all("x-two").collect();
        assert_eq!(two, ["b", "a"]);
        assert_eq!(header(&head, "content-encoding"), Some("x"));
        let id = event.id.to_string();
        assert_eq!(header(&head, "webhook-id"), Some(&id[..]));
        assert_eq!(header(&head, "hookgate-event-id"), Some(&id[..]));
        assert_eq!(header(&head, "hookgate-attempt"), Some("3"));
        assert_eq!(header(&head, "content-length"), Some("11"));
    }

    #[test]
    fn a_path_is_rewritten_with_what_the_route_captured() {
        let path = Rewrite::parse("/t/{tenant}/events", |name| name == "tenant").unwrap();
        let deliver = Deliver {
            path: Some(path),
            ..deliver()
        };
        let outgoing = single(&event(1, &[], b""), &deliver, Some(1), RECEIVED).unwrap();
        assert_eq!(read(&outgoing).target, "/base/t/a%20b/events?q=1&q=2");
    }

    #[test]
    fn a_transform_replaces_the_body_and_what_was_said_of_it() {
        let lines = [
            ("Content-Type", "application/json"),
            ("Content-Encoding", "identity"),
            ("Digest", "sha-256=old"),
            ("X-Kept", "1"),
        ];
        let event = event(1, &lines, br#"{"name": "a\"b", "n": 7}"#);
        let check = |text: &str, content_type: Option<&str>, expected: &str| {
            let deliver = Deliver {
                transform: transform(text, content_type),
                ..deliver()
            };
            let outgoing = single(&event, &deliver, Some(1), RECEIVED).unwrap();
            assert_eq!(outgoing.body, expected, "{text}");
            let head = read(&outgoing);
            let length = expected.len().to_string();
            assert_eq!(header(&head, "content-length"), Some(&length[..]));
            let media = content_type.unwrap_or("application/json");
            assert_eq!(header(&head, "content-type"), Some(media));
            assert_eq!(header(&head, "content-encoding"), None);
            assert_eq!(header(&head, "digest"), None);
            assert_eq!(header(&head, "x-kept"), Some("1"));
        };
        // The original's media type is JSON, and so is what is made of it.
        check(r#"{"a": "${{ body.name }}"}"#, None, r#"{"a": "a\"b"}"#);
        check(
            "${{ body.name }} ${{ body.n }}",
            Some("text/plain"),
            "a\"b 7",
        );
    }

    #[test]
    fn an_event_that_a_transform_cannot_take_is_dead() {
        for text in ["${{ body.missing }}", "{\"name\": ${{ body.name }}}"] {
            let deliver = Deliver {
                transform: transform(text, Some("application/json")),
                ..deliver()
            };
            let event = event(1, &[], br#"{"name": "a"}"#);
            let made = single(&event, &deliver, Some(1), RECEIVED);
            assert_eq!(made.err(), Some(Death::TransformFailed), "{text}");
        }
    }

    /// Signs as a provider does, and verifies as its customers do.
    fn resigned(provider: &str) -> (Deliver, Verifier) {
        let scheme = presets::builtin().unwrap().find(provider).unwrap().schemes[0].clone();
        let key = || {
            Key::new(
                scheme.parts().algorithm,
                &scheme.parts().key,
                &Secret::new(SECRET),
            )
        };
        let deliver = Deliver {
            sign: Some(
                Signing::new(scheme.clone(), vec![key().unwrap()], Terms::default()).unwrap(),
            ),
            transform: transform(r#"{"n": ${{ body.n }}}"#, Some("application/json")),
            ..deliver()
        };
        let verifier = Verifier::new(vec![(scheme.clone(), vec![key().unwrap()])], None);
        (deliver, verifier.unwrap())
    }

    #[test]
    fn each_attempt_is_signed_by_its_own_time() {
        let stale = [
            ("Stripe-Signature", "t=1,v1=00"),
            ("webhook-id", "msg_of_the_sender"),
            ("webhook-timestamp", "1"),
            ("webhook-signature", "v1,AA=="),
        ];
        let event = event(1, &stale, br#"{"n": 7}"#);
        for provider in ["standardwebhooks", "stripe"] {
            let (deliver, verifier) = resigned(provider);
            let hour = Duration::from_secs(3600);
            for now in [RECEIVED, RECEIVED + hour] {
                let outgoing = single(&event, &deliver, Some(1), now).unwrap();
                let head = read(&outgoing);
                let judge = |body: &[u8], at| {
                    let request = Request::new(&head, body);
                    verifier.verify(&request, at).map(drop)
                };
                assert_eq!(judge(&outgoing.body, now), Ok(()), "{provider}");
                let forged = judge(b"{}", now).unwrap_err();
                assert_eq!(forged.label(), "signature_mismatch", "{provider}");
                assert!(judge(&outgoing.body, now + hour).is_err(), "{provider}");
            }
        }
        let (deliver, _) = resigned("standardwebhooks");
        let head = read(&single(&event, &deliver, Some(2), RECEIVED).unwrap());
        let id = event.id.to_string();
        assert_eq!(header(&head, "webhook-id"), Some(&id[..]));
    }

    #[test]
    fn a_batch_holds_every_body_as_it_is() {
        let lines = [
            ("Content-Type", "text/plain"),
            ("Content-Encoding", "identity"),
        ];
        let events = [
            event(1, &lines, br#"{"b": 1,"a":1.10}"#),
            event(2, &[], b"a=1&b=\"2\""),
            event(3, &[], b" [7]\n"),
            event(4, &[], b""),
        ];
        let events: Vec<&Event> = events.iter().collect();
        let outgoing = batch(&events, &deliver(), 2, RECEIVED).unwrap();
        let expected = concat!(
            r#"[{"b": 1,"a":1.10},"#,
            r#""a=1&b=\"2\"","#,
            " [7]\n",
            r#",""]"#
        );
        assert_eq!(outgoing.body, expected);
        let array: Vec<serde_json::Value> = serde_json::from_slice(&outgoing.body).unwrap();
        assert_eq!(array.len(), events.len());
        let head = read(&outgoing);
        assert_eq!(header(&head, "content-type"), Some("application/json"));
        assert_eq!(header(&head, "content-encoding"), None);
        let length = expected.len().to_string();
        assert_eq!(header(&head, "content-length"), Some(&length[..]));
        assert_eq!(header(&head, "hookgate-attempt"), Some("2"));
        let ids: Vec<_> = events.iter().map(|event| event.id.to_string()).collect();
        assert_eq!(
            header(&head, "hookgate-event-ids"),
            Some(&ids.join(",")[..])
        );
    }

    #[test]
    fn a_batch_is_transformed_event_by_event_and_signed_as_a_whole() {
        let (deliver, verifier) = resigned("standardwebhooks");
        let events = [event(1, &[], br#"{"n": 1}"#), event(2, &[], br#"{"n": 2}"#)];
        let outgoing = batch(&[&events[0], &events[1]], &deliver, 1, RECEIVED).unwrap();
        assert_eq!(outgoing.body, r#"[{"n": 1},{"n": 2}]"#);
        let head = read(&outgoing);
        let request = Request::new(&head, &outgoing.body);
        assert!(verifier.verify(&request, RECEIVED).is_ok());
        assert_eq!(
            batch(&[], &deliver, 1, RECEIVED).err(),
            Some(Death::Unrouted)
        );
    }

    #[test]
    fn an_answer_is_kept_as_text() {
        let headers = [("retry-after", &b"5"[..]), ("x", b"\xff")];
        let kept = answer_text(503, headers, b"busy");
        assert_eq!(
            kept,
            &b"HTTP/1.1 503\r\nretry-after: 5\r\nx: \xff\r\n\r\nbusy"[..]
        );
    }
}
