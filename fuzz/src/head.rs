//! Heads: what was read is written to the backend as the same request, and as one request.
//!
//! Input: a head of HTTP/1, and what follows.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hookgate::delivery::Deliver;
use hookgate::delivery::backend::{Backend, Origin};
use hookgate::delivery::request::{Rewrite, Via, write_head};
use hookgate::event::{ClientAddr, Head};
use hookgate::ingress::head::{HEADERS_CEILING, HeadScan, from_http1, from_http2};
use hookgate::ingress::router::{HostPattern, PathPattern, Router};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};

const BODY_BYTES: usize = 17;
const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
/// What the gateway may add to the headers of the sender.
const ADDED: [&str; 9] = [
    "Content-Length",
    "Hookgate-Route",
    "Hookgate-Verified",
    "Host",
    "X-Forwarded-For",
    "X-Forwarded-Host",
    "X-Forwarded-Proto",
    "X-Request-Id",
    "X-Set",
];
/// What ends at the gateway, and what would let two parsers cut one request differently.
const NEVER: [&str; 9] = [
    "Connection",
    "Expect",
    "Keep-Alive",
    "Proxy-Connection",
    "TE",
    "Trailer",
    "Transfer-Encoding",
    "Upgrade",
    "X-Removed",
];

pub fn check(data: &[u8]) {
    let found = HeadScan::default().end(data);
    let mut scan = HeadScan::default();
    for length in 1..=data.len() {
        let so_far = scan.end(&data[..length]);
        if so_far != Ok(None) || length == data.len() {
            assert_eq!(so_far, found, "piece by piece");
            break;
        }
    }
    let Ok(Some(length)) = found else {
        return;
    };
    let raw = Bytes::copy_from_slice(&data[..length]);
    let Ok(head) = from_http1(&raw, HEADERS_CEILING) else {
        return;
    };
    check_end(data, length);
    check_written(&head);
    if let Some(head) = as_http2(&head) {
        check_written(&head);
    }
}

/// The parser of heads ends a head where the scan ended it.
fn check_end(data: &[u8], length: usize) {
    let mut lines = [httparse::EMPTY_HEADER; HEADERS_CEILING];
    let parsed = httparse::Request::new(&mut lines).parse(data);
    assert_eq!(parsed, Ok(httparse::Status::Complete(length)));
}

fn check_written(head: &Head) {
    let origin = Origin::parse("http://app:3000/base").unwrap();
    let mut backend = Backend::at(origin, Duration::from_secs(1));
    let path = rewritten(head);
    for (host_header, path) in [(None, None), (Some("app.internal"), path.as_deref())] {
        backend.host_header = host_header.map(str::to_owned);
        let mut deliver = Deliver::proxy(Arc::new(backend.clone()));
        deliver.headers = vec![
            ("X-Set".to_owned(), Some("1".to_owned())),
            ("X-Removed".to_owned(), None),
        ];
        for peer_is_trusted in [false, true] {
            let via = Via {
                peer: ClientAddr::Ip(PEER),
                peer_is_trusted,
                scheme: "https",
                request_id: "id",
                route: "route",
                verified: false,
                attempt: None,
                found: None,
            };
            let wire = write_head(head, BODY_BYTES, &deliver, path, via);
            check_wire(head, path, &wire);
        }
    }
}

fn check_wire(head: &Head, path: Option<&str>, wire: &[u8]) {
    let mut lines = vec![httparse::EMPTY_HEADER; head.headers.len() + ADDED.len()];
    let mut request = httparse::Request::new(&mut lines);
    let parsed = request.parse(wire);
    assert_eq!(parsed, Ok(httparse::Status::Complete(wire.len())));
    assert_eq!(request.method, Some(head.method.as_str()));
    let query = head.query().map(|query| [b"?", query].concat());
    let target = match path {
        Some(path) => [path.as_bytes(), &query.unwrap_or_default()].concat(),
        None => head.target.to_vec(),
    };
    let written = request.path.unwrap().as_bytes();
    assert_eq!(written.strip_prefix(b"/base"), Some(&target[..]));
    for line in request.headers.iter() {
        let is = |name: &&str| line.name.eq_ignore_ascii_case(name);
        let is_sent = |sent: &hookgate::event::Header| {
            sent.name == line.name.as_bytes() && sent.value == line.value
        };
        assert!(!NEVER.iter().any(is), "{line:?}");
        assert!(ADDED.iter().any(is) || head.headers.iter().any(is_sent));
    }
    let values = |name: &str| -> Vec<&[u8]> {
        let lines = request.headers.iter();
        lines
            .filter(|line| line.name.eq_ignore_ascii_case(name))
            .map(|line| line.value)
            .collect()
    };
    assert_eq!(
        values("Content-Length"),
        [BODY_BYTES.to_string().as_bytes()]
    );
    assert_eq!(values("Host").len(), 1);
    assert_eq!(values("Hookgate-Route"), [b"route"]);
    assert_eq!(values("Hookgate-Verified"), [b"false"]);
    let forwarded = values("X-Forwarded-For");
    assert!(
        forwarded
            .last()
            .unwrap()
            .ends_with(PEER.to_string().as_bytes())
    );
}

/// The path that a route with captures makes of the sender's.
fn rewritten(head: &Head) -> Option<String> {
    let pattern = PathPattern::parse("/{a}/*").unwrap();
    let rewrite = Rewrite::parse("/in/{a}/{*}", |name| pattern.captures(name)).unwrap();
    let mut router = Router::default();
    let methods = [head.method.clone()];
    router
        .add(HostPattern::Any, &pattern, &methods, ())
        .unwrap();
    let (&(), captures) = router.find(head).ok()?;
    Some(rewrite.fill(|name| captures.find(name)))
}

/// The same request as HTTP/2 would bring it, where HTTP/2 can.
fn as_http2(head: &Head) -> Option<Head> {
    let method = Method::from_bytes(head.method.as_bytes()).ok()?;
    let target = std::str::from_utf8(&head.target).ok()?;
    let uri: Uri = match &head.host {
        Some(host) => format!("https://{host}{target}").parse().ok()?,
        None => target.parse().ok()?,
    };
    let mut map = HeaderMap::new();
    for line in head.headers.iter() {
        let name = HeaderName::from_bytes(&line.name).ok()?;
        map.append(name, HeaderValue::from_bytes(&line.value).ok()?);
    }
    from_http2(&method, &uri, &map, HEADERS_CEILING).ok()
}
