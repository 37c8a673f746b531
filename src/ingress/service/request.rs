//! Reads what the stages need off a session.

use std::net::IpAddr;

use bytes::Bytes;
use pingora_core::protocols::http::ServerSession;

use crate::clock::Clock;
use crate::event::{ClientAddr, Head};
use crate::ingress::body::{BodySource, BrokenOff};
use crate::ingress::head;
use crate::ingress::refusal::Refusal;

/// The body of a session, piece by piece.
pub(super) struct SessionBody<'a>(pub(super) &'a mut ServerSession);

impl BodySource for SessionBody<'_> {
    async fn piece(&mut self) -> Result<Option<Bytes>, BrokenOff> {
        self.0.read_request_body().await.map_err(|error| {
            tracing::debug!(kind = ?error.etype(), "request body");
            BrokenOff
        })
    }
}

pub(super) fn read_head(session: &ServerSession) -> Result<Head, Refusal> {
    match session.as_http1() {
        Some(http1) => head::from_http1(&http1.get_headers_raw_bytes()),
        None => {
            let header = session.req_header();
            Ok(head::from_http2(
                &header.method,
                &header.uri,
                &header.headers,
            ))
        }
    }
}

pub(super) fn peer(session: &ServerSession) -> ClientAddr {
    match session.client_addr().and_then(|addr| addr.as_inet()) {
        Some(addr) => ClientAddr::Ip(IpAddr::to_canonical(&addr.ip())),
        None => ClientAddr::Unix,
    }
}

pub(super) fn request_id(clock: &dyn Clock) -> String {
    let now = clock.now();
    let seconds = u64::try_from(now.as_second()).unwrap_or_default();
    let nanoseconds = u32::try_from(now.subsec_nanosecond()).unwrap_or_default();
    let timestamp = uuid::Timestamp::from_unix(uuid::NoContext, seconds, nanoseconds);
    uuid::Uuid::new_v7(timestamp).to_string()
}

pub(super) fn declared_bytes(head: &Head) -> Option<u64> {
    let value = head.headers.first("content-length")?;
    std::str::from_utf8(value).ok()?.trim().parse().ok()
}

pub(super) fn expects_continue(head: &Head) -> bool {
    head.headers
        .first("expect")
        .is_some_and(|value| value.eq_ignore_ascii_case(b"100-continue"))
}

pub(super) fn status_class(status: u16) -> &'static str {
    match status {
        200..=299 => "2xx",
        300..=399 => "3xx",
        400..=499 => "4xx",
        500..=599 => "5xx",
        _ => "other",
    }
}
