//! Form encoding, as query parameters are read: what the WHATWG URL standard says, and no other
//! reading, because a backend that reads another value would act on what nobody checked.
//!
//! Input: the name of a parameter, a line break, the query.

use bytes::Bytes;
use hookgate::event::{Head, Headers};
use hookgate::signature::Request;
use hookgate::signature::place::Place;

pub fn check(data: &[u8]) {
    let Some((name, query)) = super::split_once(data, b"\n") else {
        return;
    };
    let name = String::from_utf8_lossy(name).into_owned();
    let head = Head {
        method: "GET".into(),
        target: Bytes::from([b"/?", query].concat()),
        host: None,
        headers: Headers::default(),
    };
    let request = Request::new(&head, b"");
    let place = Place::Query(name.clone());
    let found = place.read_all(&request);
    let expected: Vec<_> = pairs(query).filter(|(key, _)| *key == name).collect();
    let expected: Vec<_> = expected.iter().map(|(_, value)| value.as_bytes()).collect();
    assert_eq!(found, expected);
    assert_eq!(place.read(&request), found.into_iter().next());
}

/// `application/x-www-form-urlencoded`, as the standard's own steps say it.
fn pairs(query: &[u8]) -> impl Iterator<Item = (String, String)> {
    let sequences = query.split(|&byte| byte == b'&');
    sequences.filter(|part| !part.is_empty()).map(|part| {
        let (name, value) = super::split_once(part, b"=").unwrap_or((part, b""));
        (decoded(name), decoded(value))
    })
}

fn decoded(text: &[u8]) -> String {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some((&first, after)) = rest.split_first() {
        let pair = after.get(..2).filter(|_| first == b'%').and_then(hex_pair);
        match (first, pair) {
            (_, Some(byte)) => {
                bytes.push(byte);
                rest = &after[2..];
                continue;
            }
            (b'+', None) => bytes.push(b' '),
            (byte, None) => bytes.push(byte),
        }
        rest = after;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn hex_pair(pair: &[u8]) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let value = digit(pair[0])? * 16 + digit(pair[1])?;
    u8::try_from(value).ok()
}
