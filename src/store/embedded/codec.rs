//! Between the types of records and the columns of tables.
//!
//! A head is kept as HTTP/1.1 writes it, name by name and byte by byte, so that a person who opens
//! the file with `sqlite3` can read it.

use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use jiff::Timestamp;
use rusqlite::Row;

use crate::event::{Head, Headers};
use crate::store::{Attempt, Event, EventId, Facts, Recorded};

const MICROSECONDS_PER_HOUR: i64 = 3_600_000_000;
/// Hours of a partition.
const HOURS_PER_DAY: i64 = 24;

pub(super) fn micros(at: Timestamp) -> i64 {
    at.as_microsecond()
}

pub(super) fn timestamp(micros: i64) -> Timestamp {
    Timestamp::from_microsecond(micros).unwrap_or(Timestamp::MAX)
}

/// The day of a moment, since 1970.
pub(super) fn day(micros: i64) -> u32 {
    u32::try_from(micros.div_euclid(MICROSECONDS_PER_HOUR * HOURS_PER_DAY)).unwrap_or_default()
}

/// The moment that an id holds, in microseconds since 1970.
pub(super) fn id_micros(id: &EventId) -> i64 {
    let [a, b, c, d, e, f, ..] = *id.as_bytes();
    i64::from_be_bytes([0, 0, a, b, c, d, e, f]).saturating_mul(1000)
}

/// A head as text of HTTP/1.1. `Host` is always there.
pub(super) fn encode_head(head: &Head) -> Bytes {
    let mut text = BytesMut::with_capacity(512);
    text.put_slice(head.method.as_bytes());
    text.put_u8(b' ');
    text.put_slice(&head.target);
    text.put_slice(b" HTTP/1.1\r\n");
    if head.headers.first("host").is_none()
        && let Some(host) = &head.host
    {
        text.put_slice(b":authority: ");
        text.put_slice(host.as_bytes());
        text.put_slice(b"\r\n");
    }
    for header in head.headers.iter() {
        text.put_slice(&header.name);
        text.put_slice(b": ");
        text.put_slice(&header.value);
        text.put_slice(b"\r\n");
    }
    text.freeze()
}

/// A head from its text; `None` when it is none.
pub(super) fn decode_head(text: &Bytes) -> Option<Head> {
    let mut lines = Lines(text.clone());
    let first = lines.next()?;
    let method_end = first.iter().position(|&byte| byte == b' ')?;
    let target_end = first.iter().rposition(|&byte| byte == b' ')?;
    let mut head = Head {
        method: String::from_utf8(first.slice(..method_end).to_vec()).ok()?,
        target: first.slice((method_end + 1).min(target_end)..target_end),
        host: None,
        headers: Headers::default(),
    };
    for line in lines {
        let start = usize::from(line.first() == Some(&b':'));
        let colon = start + line.iter().skip(start).position(|&byte| byte == b':')?;
        let name = line.slice(..colon);
        let value = line.slice((colon + 2).min(line.len())..);
        let text = || String::from_utf8_lossy(&value).into_owned();
        if start == 1 {
            head.host = Some(text());
            continue;
        }
        if head.host.is_none() && name.eq_ignore_ascii_case(b"host") {
            head.host = Some(text());
        }
        head.headers.push(name, value);
    }
    Some(head)
}

/// The lines of a text, without their ends.
struct Lines(Bytes);

impl Iterator for Lines {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        let end = self.0.windows(2).position(|pair| pair == b"\r\n")?;
        let line = self.0.split_to(end);
        let _ = self.0.split_to(2.min(self.0.len()));
        Some(line)
    }
}

pub(super) fn encode_facts(facts: &Facts) -> String {
    // A struct of texts and numbers always has a JSON form.
    serde_json::to_string(facts).unwrap_or_default()
}

/// Columns `id, at, route, facts, head, body` of a row, from `first` on.
pub(super) fn event(row: &Row<'_>, first: usize) -> rusqlite::Result<Event> {
    let facts: String = row.get(first + 3)?;
    let head: Vec<u8> = row.get(first + 4)?;
    let body: Vec<u8> = row.get(first + 5)?;
    let broken = |column: usize, what: &str| {
        let detail = format!("{what} cannot be read");
        rusqlite::Error::FromSqlConversionFailure(
            column,
            rusqlite::types::Type::Blob,
            detail.into(),
        )
    };
    Ok(Event {
        id: EventId::from_bytes(row.get(first)?),
        received_at: timestamp(row.get(first + 1)?),
        route: row.get::<_, Arc<str>>(first + 2)?,
        head: decode_head(&Bytes::from(head)).ok_or_else(|| broken(first + 4, "a head"))?,
        body: Bytes::from(body),
        facts: serde_json::from_str(&facts).map_err(|_| broken(first + 3, "facts"))?,
    })
}

/// Columns `at, number, took, status, outcome, answer` of a row, from `first` on.
pub(super) fn attempt(row: &Row<'_>, first: usize) -> rusqlite::Result<Attempt> {
    Ok(Attempt {
        at: timestamp(row.get(first)?),
        number: row.get(first + 1)?,
        took: Duration::from_micros(row.get::<_, i64>(first + 2)?.unsigned_abs()),
        status: row.get(first + 3)?,
        outcome: row.get(first + 4)?,
        answer: Bytes::from(row.get::<_, Vec<u8>>(first + 5)?),
    })
}

/// A recorded answer: the status, then headers as lines, an empty line, and the body if it was kept.
pub(super) fn encode_answer(answer: &Recorded) -> Bytes {
    let body = answer.body.as_deref().unwrap_or_default();
    let mut text = BytesMut::with_capacity(256 + body.len());
    let kept = if answer.body.is_some() {
        "kept"
    } else {
        "left"
    };
    text.put_slice(format!("{} {kept}\r\n", answer.status).as_bytes());
    for (name, value) in &answer.headers {
        text.put_slice(name.as_bytes());
        text.put_slice(b": ");
        text.put_slice(value);
        text.put_slice(b"\r\n");
    }
    text.put_slice(b"\r\n");
    text.put_slice(body);
    text.freeze()
}

/// A recorded answer from its text.
pub(super) fn decode_answer(text: &Bytes) -> Option<Recorded> {
    let mut lines = Lines(text.clone());
    let first = String::from_utf8(lines.next()?.to_vec()).ok()?;
    let (status, kept) = first.split_once(' ')?;
    let mut headers = Vec::new();
    loop {
        let line = lines.next()?;
        if line.is_empty() {
            break;
        }
        let colon = line.iter().position(|&byte| byte == b':')?;
        let name = String::from_utf8(line.slice(..colon).to_vec()).ok()?;
        headers.push((name, line.slice((colon + 2).min(line.len())..)));
    }
    Some(Recorded {
        status: status.parse().ok()?,
        headers,
        body: (kept == "kept").then_some(lines.0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(host: Option<&str>, headers: &[(&str, &[u8])]) -> Head {
        let mut all = Headers::default();
        for (name, value) in headers {
            all.push(name.to_string(), value.to_vec());
        }
        Head {
            method: "POST".into(),
            target: Bytes::from_static(b"/a%20b?c=d"),
            host: host.map(str::to_owned),
            headers: all,
        }
    }

    #[test]
    fn a_head_comes_back_byte_for_byte() {
        let check = |head: Head| assert_eq!(decode_head(&encode_head(&head)).unwrap(), head);
        check(head(None, &[]));
        check(head(Some("h2.example"), &[("x-a", b"1")]));
        check(head(
            Some("a.example:8080"),
            &[
                ("X-Sig", b"v1=a, v1=b"),
                ("hOsT", b"a.example:8080"),
                ("x-sig", b"\xff\xfe"),
                ("Empty", b""),
                ("X-Sig", b"a: b"),
            ],
        ));
    }

    #[test]
    fn an_answer_comes_back_byte_for_byte() {
        let check = |body: Option<&'static [u8]>| {
            let answer = Recorded {
                status: 201,
                headers: vec![("content-type".into(), Bytes::from_static(b"a/b"))],
                body: body.map(Bytes::from_static),
            };
            assert_eq!(decode_answer(&encode_answer(&answer)).unwrap(), answer);
        };
        check(None);
        check(Some(b""));
        check(Some(b"\r\n\r\n\0"));
    }

    #[test]
    fn an_id_says_its_day() {
        let now: Timestamp = "2026-11-26T10:00:00Z".parse().unwrap();
        let id = EventId::new(now);
        assert_eq!(day(id_micros(&id)), day(micros(now)));
    }
}
