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

/// The most header lines of one request; the HTTP parser underneath has the same limit.
const HEADERS_MAX: usize = 256;

/// Reads a complete HTTP/1 head.
///
/// # Errors
/// [`Refusal::Malformed`] when it is none, or does not name exactly one host.
pub fn from_http1(raw: &Bytes) -> Result<Head, Refusal> {
    let mut lines = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut lines);
    match request.parse(raw) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) => return Err(Refusal::Malformed("the head is cut off")),
        Err(_) => return Err(Refusal::Malformed("the head is not HTTP/1")),
    }
    let headers: Headers = request
        .headers
        .iter()
        .map(|line| Header {
            name: raw.slice_ref(line.name.as_bytes()),
            value: raw.slice_ref(line.value),
        })
        .collect();
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
pub fn from_http2(method: &Method, uri: &Uri, map: &HeaderMap) -> Head {
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
    Head {
        method: method.as_str().to_owned(),
        target: Bytes::copy_from_slice(target.as_bytes()),
        host: authority.or_else(|| in_map.map(str::to_owned)),
        headers,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(raw: &str) -> Result<Head, Refusal> {
        from_http1(&Bytes::copy_from_slice(raw.as_bytes()))
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
