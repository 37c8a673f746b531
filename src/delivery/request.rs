//! Writes the request that a backend gets: the sender's own, but for what is listed here.
//!
//! Not passed on: hop-by-hop headers (RFC 9110, 7.6.1), `Expect`, and inbound `Hookgate-*`, which
//! nobody but the gateway may say. Added: `X-Forwarded-For|Proto|Host`, `X-Request-Id` where there
//! is none, `Hookgate-Route`, `Hookgate-Verified`; for an event that may be tried again
//! `Hookgate-Event-Id`, `Hookgate-Attempt` and, where there is none, `Webhook-Id`. What a poll has
//! found has no sender: `Hookgate-Source` and `Hookgate-Change` stand in place of `X-Forwarded-*` and
//! `Hookgate-Verified`. A chunked body gets its `Content-Length`.
//! Everything else keeps its place, its case and its bytes.

use std::fmt::Write as _;

use bytes::{Bytes, BytesMut};

use super::deliver::Deliver;
use crate::event::{ClientAddr, Head, Header, Headers};

/// Hop-by-hop headers; those that `Connection` names come on top.
const HOP_BY_HOP: [&str; 8] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authenticate",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// A path with captures in it (`/in/{tenant}/{*}`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rewrite(Vec<RewritePart>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum RewritePart {
    Text(String),
    Capture(String),
}

/// Why a text is not a [`Rewrite`].
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum RewriteError {
    /// It does not begin with a slash.
    #[error("a path begins with `/`")]
    NoSlash,
    /// A brace without its other half.
    #[error("a `{{` or `}}` stands alone")]
    Brace,
    /// The route's path captures nothing of that name.
    #[error("the route's path does not capture `{{{0}}}`")]
    Unknown(String),
    /// A character that cannot stand in the path of a request.
    #[error("`{0}` cannot stand in a path")]
    Character(char),
}

impl Rewrite {
    /// Reads a path in which `{name}` stands for what the route's path captured; `captures` says
    /// which names there are.
    ///
    /// # Errors
    /// [`RewriteError`] names the fault.
    pub fn parse(text: &str, captures: impl Fn(&str) -> bool) -> Result<Self, RewriteError> {
        if !text.starts_with('/') {
            return Err(RewriteError::NoSlash);
        }
        let odd = |c: &char| !c.is_ascii_graphic() || matches!(c, '?' | '#');
        if let Some(character) = text.chars().find(odd) {
            return Err(RewriteError::Character(character));
        }
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let (name, after) = after.split_once('}').ok_or(RewriteError::Brace)?;
            if before.contains('}') {
                return Err(RewriteError::Brace);
            }
            if !captures(name) {
                return Err(RewriteError::Unknown(name.to_owned()));
            }
            parts.push(RewritePart::Text(before.to_owned()));
            parts.push(RewritePart::Capture(name.to_owned()));
            rest = after;
        }
        if rest.contains('}') {
            return Err(RewriteError::Brace);
        }
        parts.push(RewritePart::Text(rest.to_owned()));
        Ok(Self(parts))
    }

    /// The path with its captures filled in by `find`.
    pub fn fill<'a>(&'a self, find: impl Fn(&'a str) -> Option<&'a str>) -> String {
        self.0
            .iter()
            .map(|part| match part {
                RewritePart::Text(text) => text.as_str(),
                RewritePart::Capture(name) => find(name).unwrap_or_default(),
            })
            .collect()
    }
}

/// What the gateway knows about the way a request came.
#[derive(Debug, Clone, Copy)]
pub struct Via<'a> {
    /// Who is connected to the gateway.
    pub peer: ClientAddr,
    /// Whether that is a trusted proxy, whose `X-Forwarded-*` stand.
    pub peer_is_trusted: bool,
    /// `http` or `https`.
    pub scheme: &'a str,
    /// The id of this request, where the sender gave none.
    pub request_id: &'a str,
    /// The name of the route.
    pub route: &'a str,
    /// Whether the signature was verified.
    pub verified: bool,
    /// Which attempt of which event this is; `None` = the sender waits for the answer, and there
    /// will be no other.
    pub attempt: Option<AttemptId<'a>>,
    /// Which source has found it; `None` = somebody has sent it.
    pub found: Option<FoundBy<'a>>,
}

/// What has found an event that nobody has sent.
#[derive(Debug, Clone, Copy)]
pub struct FoundBy<'a> {
    /// The source and its partition.
    pub source: &'a str,
    /// What has happened to the item: `created`, `updated` or `deleted`.
    pub change: &'a str,
}

/// One attempt of an event.
#[derive(Debug, Clone, Copy)]
pub struct AttemptId<'a> {
    /// The id of the event, the same for all its attempts.
    pub event: &'a str,
    /// The number of the attempt, from 1.
    pub number: u32,
}

/// Writes the head of the request that the backend gets, ready for the wire.
///
/// `path` replaces the sender's path, the query stays; `body_bytes` is the length of the whole body.
pub fn write_head(
    head: &Head,
    body_bytes: usize,
    deliver: &Deliver,
    path: Option<&str>,
    via: Via<'_>,
) -> Bytes {
    let headers = headers(head, body_bytes, deliver, via);
    let mut wire = BytesMut::with_capacity(512 + head.target.len());
    wire.extend_from_slice(head.method.as_bytes());
    wire.extend_from_slice(b" ");
    wire.extend_from_slice(deliver.backend.base_path.as_bytes());
    match path {
        Some(path) => {
            wire.extend_from_slice(path.as_bytes());
            if let Some(query) = head.query() {
                wire.extend_from_slice(b"?");
                wire.extend_from_slice(query);
            }
        }
        None => wire.extend_from_slice(&head.target),
    }
    wire.extend_from_slice(b" HTTP/1.1\r\n");
    for Header { name, value } in headers.iter() {
        wire.extend_from_slice(name);
        wire.extend_from_slice(b": ");
        wire.extend_from_slice(value);
        wire.extend_from_slice(b"\r\n");
    }
    wire.extend_from_slice(b"\r\n");
    wire.freeze()
}

fn headers(head: &Head, body_bytes: usize, deliver: &Deliver, via: Via<'_>) -> Headers {
    let nominated = nominated(&head.headers);
    let passes = |header: &&Header| {
        let name = &header.name;
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        !(HOP_BY_HOP.iter().any(|known| is(known))
            || is("expect")
            || is_ours(name)
            || nominated.iter().any(|known| is(known)))
    };
    let mut headers: Headers = head.headers.iter().filter(passes).cloned().collect();
    set_host(&mut headers, head, deliver);
    set_length(&mut headers, head, body_bytes);
    if via.found.is_none() {
        set_forwarded(&mut headers, head, via);
    }
    if headers.first("x-request-id").is_none() {
        headers.push("X-Request-Id", via.request_id.to_owned());
    }
    headers.push("Hookgate-Route", via.route.to_owned());
    match via.found {
        None => headers.push(
            "Hookgate-Verified",
            if via.verified { "true" } else { "false" },
        ),
        Some(found) => {
            headers.push("Hookgate-Source", found.source.to_owned());
            headers.push("Hookgate-Change", found.change.to_owned());
        }
    }
    if let Some(attempt) = via.attempt {
        if headers.first("webhook-id").is_none() {
            headers.push("Webhook-Id", attempt.event.to_owned());
        }
        headers.push("Hookgate-Event-Id", attempt.event.to_owned());
        headers.push("Hookgate-Attempt", attempt.number.to_string());
    }
    for (name, value) in &deliver.headers {
        match value {
            Some(value) => headers.set(name, value.clone()),
            None => headers = headers.without(name),
        }
    }
    headers
}

/// The header names that `Connection` declares to be for this hop only. `Content-Length` and
/// `Host` are never among them: removing those changes what the request is.
fn nominated(headers: &Headers) -> Vec<String> {
    headers
        .all("connection")
        .filter_map(|line| std::str::from_utf8(line).ok())
        .flat_map(|line| line.split(','))
        .map(|name| name.trim().to_ascii_lowercase())
        .filter(|name| !name.is_empty() && name != "content-length" && name != "host")
        .collect()
}

fn is_ours(name: &[u8]) -> bool {
    const PREFIX: &[u8] = b"hookgate-";
    name.split_at_checked(PREFIX.len())
        .is_some_and(|(start, _)| start.eq_ignore_ascii_case(PREFIX))
}

fn set_host(headers: &mut Headers, head: &Head, deliver: &Deliver) {
    let backend = &deliver.backend;
    if let Some(host) = &backend.host_header {
        headers.set("Host", host.clone());
    } else if headers.first("host").is_none() {
        let own = || {
            backend
                .authorities
                .first()
                .map(ToString::to_string)
                .unwrap_or_default()
        };
        headers.set("Host", head.host.clone().unwrap_or_else(own));
    }
}

/// A body has its length, an empty one too where the method means one (RFC 9110, 8.6); a `GET`
/// that never had a body does not get one.
fn set_length(headers: &mut Headers, head: &Head, body_bytes: usize) {
    let declared = ["content-length", "transfer-encoding"]
        .iter()
        .any(|name| head.headers.first(name).is_some());
    let means_body = matches!(head.method.as_str(), "POST" | "PUT" | "PATCH");
    if declared || body_bytes > 0 || means_body {
        headers.set("Content-Length", body_bytes.to_string());
    }
}

fn set_forwarded(headers: &mut Headers, head: &Head, via: Via<'_>) {
    if let ClientAddr::Ip(peer) = via.peer {
        let chain = headers.all("x-forwarded-for").last().map(|last| {
            let mut chain = String::from_utf8_lossy(last).into_owned();
            let _ = write!(chain, ", {peer}");
            chain
        });
        match chain {
            Some(chain) => headers.set_last("x-forwarded-for", chain),
            None => headers.push("X-Forwarded-For", peer.to_string()),
        }
    }
    let host = head.host.clone().unwrap_or_default();
    for (name, value) in [
        ("X-Forwarded-Proto", via.scheme.to_owned()),
        ("X-Forwarded-Host", host),
    ] {
        let stands = via.peer_is_trusted && headers.first(name).is_some();
        if !stands {
            headers.set(name, value);
        }
    }
}

#[cfg(test)]
mod tests;
