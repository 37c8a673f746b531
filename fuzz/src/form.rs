//! Forms: what is read from one stands in its body, and another reader finds the same in it.
//!
//! Input: the value of `Content-Type`, a line break, the body.

use bytes::Bytes;
use hookgate::event::{Head, Headers};
use hookgate::signature::Request;
use hookgate::signature::message::{Inputs, Message};
use hookgate::signature::place::Place;

/// The parameter that is asked for.
const NAME: &str = "a";

pub fn check(data: &[u8]) {
    let Some((content_type, body)) = super::split_once(data, b"\n") else {
        return;
    };
    let mut headers = Headers::default();
    headers.push("Content-Type", content_type.to_vec());
    let head = Head {
        method: "POST".into(),
        target: Bytes::from_static(b"/"),
        host: None,
        headers,
    };
    let request = Request::new(&head, body);
    let place = Place::Form(NAME.to_owned());
    let found = place.read_all(&request);
    let is_multipart = content_type.to_ascii_lowercase().starts_with(b"multipart/");
    match std::str::from_utf8(body) {
        // Bytes that are no UTF-8 stay as they are here, and do not there.
        Ok(text) if !is_multipart && !found.is_empty() && !text.contains('%') => {
            let other = form_urlencoded::parse(body).filter(|(name, _)| name == NAME);
            let other: Vec<_> = other
                .map(|(_, value)| value.into_owned().into_bytes())
                .collect();
            let found: Vec<_> = found.iter().map(|value| value.to_vec()).collect();
            assert_eq!(found, other);
        }
        _ if is_multipart => {
            for value in &found {
                let is_there = value.is_empty() || memchr::memmem::find(body, value).is_some();
                assert!(is_there, "a value that is not in the body");
            }
        }
        _ => {}
    }
    let json = Place::FormJson(NAME.to_owned(), "$.b".parse().unwrap());
    assert!(json.read_all(&request).len() <= found.len());
    let like = Message::parse("{form_like:a}").unwrap();
    let like = like.render(&request, Inputs::default()).unwrap();
    assert!(found.is_empty() || memchr::memmem::find(&like, b":a=").is_some());
}
