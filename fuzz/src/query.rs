//! Form encoding, in the query and in the body: what the WHATWG URL standard says, and no other
//! reading, because a backend that reads another value would act on what nobody checked.
//!
//! Input: the name of a parameter, a line break, the query, which is the body too.

use bytes::Bytes;
use hookgate::event::{Head, Headers};
use hookgate::signature::Request;
use hookgate::signature::place::Place;

pub fn check(data: &[u8]) {
    let Some((name, form)) = super::split_once(data, b"\n") else {
        return;
    };
    let name = String::from_utf8_lossy(name).into_owned();
    let mut headers = Headers::default();
    headers.push("Content-Type", "application/x-www-form-urlencoded");
    let head = Head {
        method: "POST".into(),
        target: Bytes::from([b"/?", form].concat()),
        host: None,
        headers,
    };
    let request = Request::new(&head, form);
    let pairs: Vec<_> = pairs(form).collect();
    let lossy = |text: &[u8]| String::from_utf8_lossy(text).into_owned().into_bytes();
    // A query is text; a form is bytes, because its signature is made over them.
    let of_query = pairs.iter().map(|(key, value)| (lossy(key), lossy(value)));
    check_place(&Place::Query(name.clone()), &request, of_query, &name);
    check_place(
        &Place::Form(name.clone()),
        &request,
        pairs.iter().cloned(),
        &name,
    );
}

fn check_place(
    place: &Place,
    request: &Request<'_>,
    pairs: impl Iterator<Item = (Vec<u8>, Vec<u8>)>,
    name: &str,
) {
    let expected: Vec<_> = pairs.filter(|(key, _)| key == name.as_bytes()).collect();
    let found = place.read_all(request);
    assert!(
        found.iter().eq(expected.iter().map(|(_, value)| value)),
        "{place:?}"
    );
    assert_eq!(place.read(request), found.into_iter().next());
}

/// `application/x-www-form-urlencoded`, as the standard's own steps say it.
fn pairs(form: &[u8]) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> {
    let sequences = form.split(|&byte| byte == b'&');
    sequences.filter(|part| !part.is_empty()).map(|part| {
        let (name, value) = super::split_once(part, b"=").unwrap_or((part, b""));
        (decoded(name), decoded(value))
    })
}

fn decoded(text: &[u8]) -> Vec<u8> {
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
    bytes
}

fn hex_pair(pair: &[u8]) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let value = digit(pair[0])? * 16 + digit(pair[1])?;
    u8::try_from(value).ok()
}
