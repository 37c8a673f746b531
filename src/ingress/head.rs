//! Makes a [`Head`] of what stood on the wire, in the order it stood there.
//!
//! HTTP libraries keep headers in maps, which pull duplicates together; a backend that checks a
//! signature over its headers, or reads the last of two, must see them as they came. So HTTP/1
//! heads are read from their raw bytes. HTTP/2 gives only a map: there, duplicates of one name
//! stand together at the place of the first.

use bytes::Bytes;
use http::{HeaderMap, Method, Uri};

use super::refusal::Refusal;
use crate::event::{Head, Header, Headers};

/// The most header lines that any configuration allows; the HTTP parser underneath reads no more.
pub const HEADERS_CEILING: usize = 256;
/// More digits than any body that could be sent; fewer than overflow a number.
const LENGTH_DIGITS_MAX: usize = 18;

/// Looks for the end of an HTTP/1 head while it arrives, and for what no head may hold: two
/// programs that disagree about where a line ends can be made to disagree about where a request
/// ends.
#[derive(Debug, Default)]
pub struct HeadScan {
    seen: usize,
    line: usize,
    line_start: usize,
    last: u8,
}

impl HeadScan {
    /// How long the head is, once `bytes` hold all of it. Each call gets what the one before got,
    /// and more behind it.
    ///
    /// # Errors
    /// [`Refusal::Malformed`] at the first byte that cannot stand in a head.
    pub fn end(&mut self, bytes: &[u8]) -> Result<Option<usize>, Refusal> {
        while let Some(&byte) = bytes.get(self.seen) {
            let last = std::mem::replace(&mut self.last, byte);
            let at = self.seen;
            self.seen += 1;
            match byte {
                b'\n' if last != b'\r' => return Err(Refusal::Malformed("a bare LF in the head")),
                b'\n' if at == self.line_start + 1 => return Ok(Some(self.seen)),
                b'\n' => {
                    self.line += 1;
                    self.line_start = self.seen;
                }
                _ if last == b'\r' => return Err(Refusal::Malformed("a bare CR in the head")),
                b'\r' => {}
                b' ' | b'\t' if at == self.line_start && self.line > 0 => {
                    return Err(Refusal::Malformed("a folded header line"));
                }
                b'\t' => {}
                0..b' ' | 0x7f => {
                    return Err(Refusal::Malformed("a control character in the head"));
                }
                _ if at == 0 && !byte.is_ascii_alphabetic() => {
                    return Err(Refusal::Malformed("the head is not HTTP/1"));
                }
                _ => {
                    // Behind a plain byte, others are fine wherever they stand.
                    let rest = bytes.get(self.seen..).unwrap_or_default();
                    let end = rest.iter().position(|byte| !is_plain(*byte));
                    self.seen += end.unwrap_or(rest.len());
                }
            }
        }
        Ok(None)
    }
}

/// A byte that a line may hold beside tabs (RFC 9110, 5.5).
pub(super) fn is_plain(byte: u8) -> bool {
    byte >= b' ' && byte != 0x7f
}

/// Reads a complete HTTP/1 head, which [`HeadScan`] has seen.
///
/// # Errors
/// [`Refusal::Malformed`] when it is none, does not name exactly one host, or leaves open where
/// its body ends; [`Refusal::HeadersTooMany`].
pub fn from_http1(raw: &Bytes, headers_max: usize) -> Result<Head, Refusal> {
    let too_many = Refusal::HeadersTooMany { max: headers_max };
    let mut lines = [httparse::EMPTY_HEADER; HEADERS_CEILING];
    let mut request = httparse::Request::new(&mut lines);
    match request.parse(raw) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) => return Err(Refusal::Malformed("the head is cut off")),
        Err(httparse::Error::TooManyHeaders) => return Err(too_many),
        Err(_) => return Err(Refusal::Malformed("the head is not HTTP/1")),
    }
    if request.headers.len() > headers_max {
        return Err(too_many);
    }
    let headers: Headers = request
        .headers
        .iter()
        .map(|line| Header {
            name: raw.slice_ref(line.name.as_bytes()),
            value: raw.slice_ref(line.value),
        })
        .collect();
    one_framing(&headers, request.version == Some(0))?;
    let target = raw.slice_ref(request.path.unwrap_or("/").as_bytes());
    let (host_in_target, target) = split_absolute(&target);
    let hosts: Vec<_> = headers.all("host").take(2).collect();
    let host = match (hosts.first(), hosts.get(1)) {
        (Some(host), None) => Some(String::from_utf8_lossy(host).into_owned()),
        (Some(_), Some(_)) => return Err(Refusal::Malformed("more than one Host")),
        (None, _) if request.version == Some(0) => None,
        (None, _) => return Err(Refusal::Malformed("no Host")),
    };
    let method = request.method.unwrap_or_default().to_owned();
    Ok(Head {
        method,
        target,
        host: host_in_target.or(host),
        headers,
    })
}

/// A head says in one way where its body ends (RFC 9112, 6.3). What the RFC lets a server mend is
/// refused: whoever stands between the sender and us may have mended it differently.
fn one_framing(headers: &Headers, is_http10: bool) -> Result<(), Refusal> {
    let mut codings = headers.all("transfer-encoding");
    let mut lengths = headers.all("content-length");
    let (coding, length) = (codings.next(), lengths.next());
    let problem = if coding.is_some() && length.is_some() {
        "both Content-Length and Transfer-Encoding"
    } else if codings.next().is_some() {
        "more than one Transfer-Encoding"
    } else if lengths.next().is_some() {
        "more than one Content-Length"
    } else if coding.is_some() && is_http10 {
        "a Transfer-Encoding in HTTP/1.0"
    } else if coding.is_some_and(|coding| !coding.eq_ignore_ascii_case(b"chunked")) {
        "a Transfer-Encoding other than chunked"
    } else if length.is_some_and(|length| !is_length(length)) {
        "a Content-Length that is no number"
    } else {
        return Ok(());
    };
    Err(Refusal::Malformed(problem))
}

fn is_length(text: &[u8]) -> bool {
    (1..=LENGTH_DIGITS_MAX).contains(&text.len()) && text.iter().all(u8::is_ascii_digit)
}

/// `http://host/path` (RFC 9112, 3.2.2) is the host and the path.
fn split_absolute(target: &Bytes) -> (Option<String>, Bytes) {
    let rest = ["http://", "https://"].iter().find_map(|scheme| {
        let (start, rest) = target.split_at_checked(scheme.len())?;
        start
            .eq_ignore_ascii_case(scheme.as_bytes())
            .then_some(rest)
    });
    let Some(rest) = rest else {
        return (None, target.clone());
    };
    let end = rest
        .iter()
        .position(|byte| matches!(byte, b'/' | b'?'))
        .unwrap_or(rest.len());
    let (host, path) = rest.split_at(end);
    let path = match path.first() {
        Some(b'/') => target.slice_ref(path),
        Some(_) => Bytes::from([b"/", path].concat()),
        None => Bytes::from_static(b"/"),
    };
    (Some(String::from_utf8_lossy(host).into_owned()), path)
}

/// Reads an HTTP/2 head; the authority becomes the `Host` header that HTTP/1 backends need.
///
/// # Errors
/// [`Refusal::HeadersTooMany`].
pub fn from_http2(
    method: &Method,
    uri: &Uri,
    map: &HeaderMap,
    headers_max: usize,
) -> Result<Head, Refusal> {
    if map.len() > headers_max {
        return Err(Refusal::HeadersTooMany { max: headers_max });
    }
    let authority = uri
        .authority()
        .map(|authority| authority.as_str().to_owned());
    let mut headers = Headers::default();
    if let (Some(authority), false) = (&authority, map.contains_key(http::header::HOST)) {
        headers.push("Host", authority.clone());
    }
    for (name, value) in map {
        headers.push(
            Bytes::copy_from_slice(name.as_str().as_bytes()),
            Bytes::copy_from_slice(value.as_bytes()),
        );
    }
    let in_map = map
        .get(http::header::HOST)
        .and_then(|host| host.to_str().ok());
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    Ok(Head {
        method: method.as_str().to_owned(),
        target: Bytes::copy_from_slice(target.as_bytes()),
        host: authority.or_else(|| in_map.map(str::to_owned)),
        headers,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(raw: &str) -> Result<Head, Refusal> {
        from_http1(&Bytes::copy_from_slice(raw.as_bytes()), 4)
    }

    #[test]
    fn the_end_of_a_head_is_found_however_it_is_cut() {
        let check = |raw: &str, expected: Result<Option<usize>, &'static str>| {
            let expected = expected.map_err(Refusal::Malformed);
            assert_eq!(
                HeadScan::default().end(raw.as_bytes()),
                expected,
                "{raw:?} at once"
            );
            let mut scan = HeadScan::default();
            let mut found = Ok(None);
            for length in 1..=raw.len() {
                found = scan.end(&raw.as_bytes()[..length]);
                if found != Ok(None) {
                    break;
                }
            }
            assert_eq!(found, expected, "{raw:?} byte by byte");
        };
        check("GET / HTTP/1.1\r\nHost: x\r\n\r\nbody", Ok(Some(27)));
        check("GET / HTTP/1.1\r\n\r\n", Ok(Some(18)));
        check("GET / HTTP/1.1\r\nHost: x\r\n", Ok(None));
        check("GET / HTTP/1.1\r\nA:\tb\r\n\r\n", Ok(Some(24)));
        let lf = "a bare LF in the head";
        check("GET / HTTP/1.1\nHost: x\n\n", Err(lf));
        check("GET / HTTP/1.1\r\nHost: x\n\r\n", Err(lf));
        check("GET / HTTP/1.1\r\nHost: x\r\n\n", Err(lf));
        let cr = "a bare CR in the head";
        check("GET / HTTP/1.1\r\nA: b\rC: d\r\n\r\n", Err(cr));
        check("GET / HTTP/1.1\r\nA: b\r\r\n\r\n", Err(cr));
        let fold = "a folded header line";
        check("GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n", Err(fold));
        check("GET / HTTP/1.1\r\n\tA: b\r\n\r\n", Err(fold));
        let control = "a control character in the head";
        check("GET / HTTP/1.1\r\nA: \0\r\n\r\n", Err(control));
        check("GET /\x7f HTTP/1.1\r\n\r\n", Err(control));
        check("\x16\x03\x01\x02", Err(control));
        check("{}", Err("the head is not HTTP/1"));
    }

    #[test]
    fn a_head_says_in_one_way_where_its_body_ends() {
        let check = |lines: &str, problem: &'static str| {
            let raw = format!("POST / HTTP/1.1\r\nHost: x\r\n{lines}\r\n");
            assert_eq!(
                parse(&raw).map(|_| ()),
                Err(Refusal::Malformed(problem)),
                "{lines}"
            );
        };
        let both = "both Content-Length and Transfer-Encoding";
        check("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", both);
        check("transfer-encoding: chunked\r\ncontent-length: 0\r\n", both);
        let lengths = "more than one Content-Length";
        check("Content-Length: 5\r\nContent-Length: 6\r\n", lengths);
        check("Content-Length: 5\r\ncontent-length: 5\r\n", lengths);
        let codings = "more than one Transfer-Encoding";
        check(
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
            codings,
        );
        for coding in [
            "identity",
            "gzip, chunked",
            "chunked, chunked",
            "xchunked",
            "chunked;q=1",
            "",
        ] {
            let problem = "a Transfer-Encoding other than chunked";
            check(&format!("Transfer-Encoding: {coding}\r\n"), problem);
        }
        for length in [
            "+5",
            "-5",
            "0x5",
            "5, 5",
            "5 5",
            "five",
            "",
            "9999999999999999999",
        ] {
            let problem = "a Content-Length that is no number";
            check(&format!("Content-Length: {length}\r\n"), problem);
        }
        for name in ["Content-Length ", "Transfer-Encoding\t", ""] {
            check(&format!("{name}: chunked\r\n"), "the head is not HTTP/1");
        }
        let old = "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n";
        let problem = Refusal::Malformed("a Transfer-Encoding in HTTP/1.0");
        assert_eq!(parse(old).unwrap_err(), problem);
    }

    #[test]
    fn headers_are_counted() {
        let head = |count: usize| {
            let lines: String = (1..count).map(|n| format!("A{n}: b\r\n")).collect();
            parse(&format!("GET / HTTP/1.1\r\nHost: x\r\n{lines}\r\n")).map(|_| ())
        };
        assert_eq!(head(4), Ok(()));
        for count in [5, 257, 1000] {
            assert_eq!(head(count), Err(Refusal::HeadersTooMany { max: 4 }));
        }
    }

    #[test]
    fn order_case_and_duplicates_are_kept() {
        let head = parse(
            "POST /a?b=%2F HTTP/1.1\r\nHost: x\r\nX-One: 1\r\nx-two:  2 \r\nX-ONE: 3\r\n\r\n",
        )
        .unwrap();
        assert_eq!(&head.target[..], b"/a?b=%2F");
        let lines: Vec<_> = head
            .headers
            .iter()
            .map(|h| (h.name.to_vec(), h.value.to_vec()))
            .collect();
        let expected = [
            ("Host", "x"),
            ("X-One", "1"),
            ("x-two", "2"),
            ("X-ONE", "3"),
        ];
        assert_eq!(
            lines,
            expected.map(|(n, v)| (n.as_bytes().to_vec(), v.as_bytes().to_vec()))
        );
    }

    #[test]
    fn exactly_one_host_is_needed() {
        let check = |raw: &str, problem: &'static str| {
            assert_eq!(parse(raw).unwrap_err(), Refusal::Malformed(problem));
        };
        check("GET / HTTP/1.1\r\n\r\n", "no Host");
        check(
            "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
            "more than one Host",
        );
        check("GET / HTTP/1.1\r\nHost: a\r\n", "the head is cut off");
        check(
            "GET / HTTP/1.1\r\nHost : a\r\n\r\n",
            "the head is not HTTP/1",
        );
        assert_eq!(parse("GET / HTTP/1.0\r\n\r\n").unwrap().host, None);
    }

    #[test]
    fn an_absolute_target_is_host_and_path() {
        let check = |target: &str, host: &str, path: &str| {
            let head = parse(&format!("GET {target} HTTP/1.1\r\nHost: header\r\n\r\n")).unwrap();
            assert_eq!(
                (head.host.as_deref(), &head.target[..]),
                (Some(host), path.as_bytes())
            );
        };
        check("/a", "header", "/a");
        check("http://Other:80/a?b", "Other:80", "/a?b");
        check("HTTP://other", "other", "/");
        check("https://other?x", "other", "/?x");
    }
}
