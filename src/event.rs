//! The nouns that every stage speaks: a request as it came, who sent it, what was decided.
//!
//! Nothing here reads, writes or decides.

pub mod keys;

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use bytes::Bytes;

/// One header line as it came: the name's case and the value's bytes are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The name as the sender wrote it.
    pub name: Bytes,
    /// The value, without the white space around it.
    pub value: Bytes,
}

/// All headers of a request in the order they came, duplicates in their places.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Headers(Vec<Header>);

impl Headers {
    /// Appends one header at the end.
    pub fn push(&mut self, name: impl Into<Bytes>, value: impl Into<Bytes>) {
        self.0.push(Header {
            name: name.into(),
            value: value.into(),
        });
    }

    /// Sets a header to one value: in the place of the first of that name, else at the end.
    pub fn set(&mut self, name: &str, value: impl Into<Bytes>) {
        let place = self.0.iter().position(|header| is_named(header, name));
        self.0.retain({
            let mut seen = false;
            move |header| !is_named(header, name) || !std::mem::replace(&mut seen, true)
        });
        match place.and_then(|index| self.0.get_mut(index)) {
            Some(header) => header.value = value.into(),
            None => self.push(name.to_owned(), value),
        }
    }

    /// Gives the last header of that name another value.
    pub fn set_last(&mut self, name: &str, value: impl Into<Bytes>) {
        if let Some(header) = self
            .0
            .iter_mut()
            .rev()
            .find(|header| is_named(header, name))
        {
            header.value = value.into();
        }
    }

    /// The same headers, but for those called `name`.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.0.retain(|header| !is_named(header, name));
        self
    }

    /// The first value under `name` (any case).
    pub fn first(&self, name: &str) -> Option<&Bytes> {
        self.0
            .iter()
            .find(|header| is_named(header, name))
            .map(|header| &header.value)
    }

    /// Every value under `name` (any case), in order.
    pub fn all<'h, 'n>(&'h self, name: &'n str) -> impl Iterator<Item = &'h Bytes> + use<'h, 'n> {
        self.0
            .iter()
            .filter(move |header| is_named(header, name))
            .map(|header| &header.value)
    }

    /// All header lines in order.
    pub fn iter(&self) -> impl Iterator<Item = &Header> {
        self.0.iter()
    }

    /// How many lines there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<Header> for Headers {
    fn from_iter<I: IntoIterator<Item = Header>>(headers: I) -> Self {
        Self(headers.into_iter().collect())
    }
}

fn is_named(header: &Header, name: &str) -> bool {
    header.name.eq_ignore_ascii_case(name.as_bytes())
}

/// The head of a request: everything before the body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The method as written (`POST`).
    pub method: String,
    /// Path and query as written, percent-encoding untouched (`/hooks/a?b=c`).
    pub target: Bytes,
    /// The authority the sender asked for: `Host`, or `:authority` in HTTP/2.
    pub host: Option<String>,
    /// Every header, `Host` included.
    pub headers: Headers,
}

impl Head {
    /// The target up to the first `?`.
    pub fn path(&self) -> &[u8] {
        self.split_target().0
    }

    /// The target after the first `?`, if there is one.
    pub fn query(&self) -> Option<&[u8]> {
        self.split_target().1
    }

    /// The host asked for in lower case, without its port.
    pub fn hostname(&self) -> Option<String> {
        let host = self.host.as_deref()?;
        let name = match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
            _ => host,
        };
        Some(name.to_ascii_lowercase())
    }

    fn split_target(&self) -> (&[u8], Option<&[u8]>) {
        match self.target.iter().position(|&byte| byte == b'?') {
            Some(at) => {
                let (path, rest) = self.target.split_at(at);
                (path, rest.split_first().map(|(_, query)| query))
            }
            None => (&self.target, None),
        }
    }
}

/// The address a request came from, after trusted proxies were looked through.
///
/// Only [`crate::ingress::source_addr`] makes one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientAddr {
    /// An address of version 4 or 6; a mapped one (`::ffff:a.b.c.d`) is written as version 4.
    Ip(IpAddr),
    /// A unix socket: the sender is on this machine and has no address.
    Unix,
}

impl ClientAddr {
    /// The address, where there is one.
    pub fn ip(self) -> Option<IpAddr> {
        match self {
            Self::Ip(ip) => Some(ip),
            Self::Unix => None,
        }
    }
}

impl fmt::Display for ClientAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(ip) => ip.fmt(f),
            Self::Unix => f.write_str("unix"),
        }
    }
}

/// The SHA-256 of a client's certificate in DER, once its listener has found it genuine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Wraps a hash.
    pub fn new(sha256: [u8; 32]) -> Self {
        Self(sha256)
    }
}

/// A text that is no fingerprint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the SHA-256 of a certificate")]
pub struct NoFingerprint;

/// 64 hexadecimal digits, in pairs with colons between them or not.
impl FromStr for Fingerprint {
    type Err = NoFingerprint;

    fn from_str(text: &str) -> Result<Self, NoFingerprint> {
        let mut hash = [0; 32];
        let digits: String = text.split(':').collect();
        let is_even = text.split(':').all(|part| part.len() % 2 == 0);
        match hex::decode_to_slice(digits, &mut hash) {
            Ok(()) if is_even => Ok(Self(hash)),
            Ok(()) | Err(_) => Err(NoFingerprint),
        }
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

/// What was decided about a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It was checked and handed on.
    Accepted,
    /// It was seen before, and got the answer of the first time.
    Duplicate,
    /// It was turned away with a reason.
    Refused,
    /// It was the provider's way of asking whether the address is ours; the gateway answered.
    Handshake,
}

impl Verdict {
    /// The word for metrics, logs and JSON.
    pub fn label(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Duplicate => "duplicate",
            Self::Refused => "refused",
            Self::Handshake => "handshake",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(target: &str, host: &str) -> Head {
        Head {
            method: "POST".into(),
            target: Bytes::copy_from_slice(target.as_bytes()),
            host: Some(host.into()),
            headers: Headers::default(),
        }
    }

    #[test]
    fn path_and_query_are_split_at_the_first_question_mark() {
        let check = |target: &str, path: &str, query: Option<&str>| {
            let head = head(target, "a");
            assert_eq!(head.path(), path.as_bytes());
            assert_eq!(head.query(), query.map(str::as_bytes));
        };
        check("/a", "/a", None);
        check("/a?", "/a", Some(""));
        check("/a?b=?c", "/a", Some("b=?c"));
    }

    #[test]
    fn a_hostname_has_no_port_and_no_capitals() {
        let check = |host: &str, name: &str| assert_eq!(head("/", host).hostname().unwrap(), name);
        check("Example.COM", "example.com");
        check("example.com:8080", "example.com");
        check("[::1]:8080", "[::1]");
        check("[::1]", "[::1]");
    }

    #[test]
    fn a_fingerprint_is_written_with_colons_or_without() {
        let digits = "0a".repeat(32);
        let colons = vec!["0A"; 32].join(":");
        let check = |text: &str, expected: Result<Fingerprint, NoFingerprint>| {
            assert_eq!(text.parse(), expected, "{text}");
        };
        check(&digits, Ok(Fingerprint::new([10; 32])));
        check(&colons, Ok(Fingerprint::new([10; 32])));
        check(&digits[2..], Err(NoFingerprint));
        check(&format!("{digits}0a"), Err(NoFingerprint));
        check(&digits.replace('a', ":"), Err(NoFingerprint));
        check("", Err(NoFingerprint));
        assert_eq!(Fingerprint::new([10; 32]).to_string(), digits);
    }

    #[test]
    fn set_replaces_in_place_and_keeps_the_order() {
        let mut headers = Headers::default();
        for (name, value) in [("A", "1"), ("b", "2"), ("a", "3"), ("C", "4")] {
            headers.push(name, value);
        }
        headers.set("a", "9");
        headers.set("D", "5");
        let lines: Vec<_> = headers
            .iter()
            .map(|h| (&h.name[..], &h.value[..]))
            .collect();
        assert_eq!(
            lines,
            [
                (&b"A"[..], &b"9"[..]),
                (b"b", b"2"),
                (b"C", b"4"),
                (b"D", b"5")
            ]
        );
    }
}
