//! What a backend gets, byte for byte.

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::delivery::backend::{Backend, Origin};

fn backend() -> Backend {
    let origin = Origin::parse("http://app:3000").unwrap();
    Backend::at(origin, Duration::from_secs(1))
}

fn deliver(backend: Backend) -> Deliver {
    Deliver::proxy(Arc::new(backend))
}

fn head(lines: &[(&str, &str)]) -> Head {
    let mut headers = Headers::default();
    for (name, value) in lines {
        headers.push((*name).to_owned(), (*value).to_owned());
    }
    Head {
        method: "POST".into(),
        target: Bytes::from_static(b"/hooks/%41?a=1&a=%20"),
        host: Some("hooks.example.com".into()),
        headers,
    }
}

fn via() -> Via<'static> {
    Via {
        peer: ClientAddr::Ip("10.0.0.9".parse().unwrap()),
        peer_is_trusted: false,
        scheme: "http",
        request_id: "req-1",
        route: "stripe",
        verified: true,
        attempt: None,
        found: None,
    }
}

fn written(lines: &[(&str, &str)], body: usize, deliver: &Deliver, via: Via<'_>) -> Vec<String> {
    let wire = write_head(&head(lines), body, deliver, None, via);
    String::from_utf8(wire.to_vec())
        .unwrap()
        .trim_end()
        .split("\r\n")
        .map(str::to_owned)
        .collect()
}

const ADDED: [&str; 6] = [
    "X-Forwarded-For: 10.0.0.9",
    "X-Forwarded-Proto: http",
    "X-Forwarded-Host: hooks.example.com",
    "X-Request-Id: req-1",
    "Hookgate-Route: stripe",
    "Hookgate-Verified: true",
];

#[test]
fn everything_keeps_its_place_its_case_and_its_bytes() {
    let lines = [
        ("X-One", "1"),
        ("Host", "Hooks.Example.com"),
        ("x-TWO", "2"),
        ("X-ONE", "3"),
        ("Content-Length", "5"),
        ("Authorization", "Basic eDp5"),
    ];
    let mut expected = vec![
        "POST /hooks/%41?a=1&a=%20 HTTP/1.1",
        "X-One: 1",
        "Host: Hooks.Example.com",
        "x-TWO: 2",
        "X-ONE: 3",
        "Content-Length: 5",
        "Authorization: Basic eDp5",
    ];
    expected.extend(ADDED);
    assert_eq!(written(&lines, 5, &deliver(backend()), via()), expected);
}

#[test]
fn hop_by_hop_headers_and_our_own_names_do_not_pass() {
    let lines = [
        ("Host", "h"),
        ("Connection", "keep-alive, X-Hop, Content-Length"),
        ("Keep-Alive", "timeout=5"),
        ("X-Hop", "1"),
        ("TE", "trailers"),
        ("Trailer", "X"),
        ("Upgrade", "h2c"),
        ("Proxy-Connection", "close"),
        ("Expect", "100-continue"),
        ("HOOKGATE-Verified", "true"),
        ("Hookgate-Anything", "1"),
        ("Content-Length", "3"),
    ];
    let mut expected = vec![
        "POST /hooks/%41?a=1&a=%20 HTTP/1.1",
        "Host: h",
        "Content-Length: 3",
    ];
    expected.extend(ADDED);
    assert_eq!(written(&lines, 3, &deliver(backend()), via()), expected);
}

#[test]
fn a_chunked_body_gets_its_length() {
    let lines = [("Host", "h"), ("Transfer-Encoding", "chunked")];
    let lines_of = |body| written(&lines, body, &deliver(backend()), via());
    assert_eq!(lines_of(7)[2], "Content-Length: 7");
    assert_eq!(lines_of(0)[2], "Content-Length: 0");
    let empty = written(&[("Host", "h")], 0, &deliver(backend()), via());
    assert_eq!(empty[2], "Content-Length: 0");
    let get = Head {
        method: "GET".into(),
        ..head(&[("Host", "h")])
    };
    let get = write_head(&get, 0, &deliver(backend()), None, via());
    assert!(!String::from_utf8_lossy(&get).contains("Content-Length"));
}

#[test]
fn what_a_stranger_says_about_forwarding_is_overruled() {
    let lines = [
        ("Host", "h"),
        ("X-Forwarded-For", "6.6.6.6"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", "evil"),
        ("X-Request-Id", "theirs"),
    ];
    let found = written(&lines, 0, &deliver(backend()), via());
    assert_eq!(
        found[1..6],
        [
            "Host: h",
            "X-Forwarded-For: 6.6.6.6, 10.0.0.9",
            "X-Forwarded-Proto: http",
            "X-Forwarded-Host: hooks.example.com",
            "X-Request-Id: theirs",
        ]
    );
    let trusted = Via {
        peer_is_trusted: true,
        ..via()
    };
    let found = written(&lines, 0, &deliver(backend()), trusted);
    assert_eq!(
        found[3..5],
        ["X-Forwarded-Proto: https", "X-Forwarded-Host: evil"]
    );
}

#[test]
fn the_route_may_change_path_host_and_headers() {
    let backend = Backend {
        base_path: "/app".into(),
        host_header: Some("legacy.local".into()),
        ..backend()
    };
    let mut deliver = deliver(backend);
    deliver.headers = vec![
        ("X-One".into(), Some("9".into())),
        ("Cookie".into(), None),
        ("X-New".into(), Some("n".into())),
        ("X-Forwarded-Host".into(), None),
    ];
    let lines = [
        ("Host", "h"),
        ("X-One", "1"),
        ("Cookie", "a"),
        ("cookie", "b"),
    ];
    let wire = write_head(&head(&lines), 0, &deliver, Some("/in"), via());
    let text = String::from_utf8(wire.to_vec()).unwrap();
    let found: Vec<_> = text.trim_end().split("\r\n").collect();
    assert_eq!(
        found[..3],
        [
            "POST /app/in?a=1&a=%20 HTTP/1.1",
            "Host: legacy.local",
            "X-One: 9"
        ]
    );
    assert_eq!(found.last(), Some(&"X-New: n"));
    assert!(!text.to_lowercase().contains("cookie"));
    assert!(!text.contains("X-Forwarded-Host"));
}

#[test]
fn a_rewrite_is_filled_with_what_the_path_captured() {
    let known = |name: &str| name == "tenant" || name == "*";
    let check = |text: &str, path: &str| {
        let rewrite = Rewrite::parse(text, known).unwrap();
        let find = |name: &str| match name {
            "tenant" => Some("acme"),
            _ => Some("x/y"),
        };
        assert_eq!(rewrite.fill(find), path);
    };
    check("/in", "/in");
    check("/in/{tenant}/{*}", "/in/acme/x/y");
    check("/{tenant}.json", "/acme.json");
    let check = |text: &str, error: RewriteError| {
        assert_eq!(Rewrite::parse(text, known).unwrap_err(), error);
    };
    check("in", RewriteError::NoSlash);
    check("/{other}", RewriteError::Unknown("other".into()));
    check("/{tenant", RewriteError::Brace);
    check("/tenant}", RewriteError::Brace);
    check("/a?b", RewriteError::Character('?'));
}

#[test]
fn an_attempt_says_which_event_and_which_one_it_is() {
    let attempt = |number| Via {
        attempt: Some(AttemptId {
            event: "0199-a",
            number,
        }),
        ..via()
    };
    let deliver = deliver(backend());
    let ours = |lines: &[(&str, &str)], number| -> Vec<String> {
        let written = written(lines, 0, &deliver, attempt(number));
        let is_ours = |line: &String| {
            let name = line.to_ascii_lowercase();
            name.starts_with("webhook-id") || name.starts_with("hookgate-")
        };
        written.into_iter().filter(is_ours).collect()
    };
    assert_eq!(
        ours(&[("Hookgate-Attempt", "99")], 3),
        [
            "Hookgate-Route: stripe",
            "Hookgate-Verified: true",
            "Webhook-Id: 0199-a",
            "Hookgate-Event-Id: 0199-a",
            "Hookgate-Attempt: 3"
        ]
    );
    let kept = ours(&[("webhook-id", "msg_1")], 1);
    assert_eq!(kept.first().unwrap(), "webhook-id: msg_1");
    assert!(!kept.contains(&"Webhook-Id: 0199-a".to_owned()));
}
