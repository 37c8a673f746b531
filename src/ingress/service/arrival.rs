//! Reads the head of a request of HTTP/1, within its limits.
//!
//! Pingora gets a head only when it is whole: its own reading allows a megabyte, knows no total
//! time, takes a bare LF for the end of a line, and rewrites targets that are not right.

use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use pingora_core::protocols::Stream;
use tokio::io::AsyncReadExt;
use tokio::time::{Instant, timeout_at};

use super::ConnectionLimits;
use crate::event::Head;
use crate::ingress::head::{self, HeadScan};
use crate::ingress::refusal::Refusal;

/// How much room for a head is made at once; an idle connection has none.
const ROOM: usize = 4096;

/// What came over a connection.
pub(super) enum Arrival {
    /// A head, and the bytes that begin with it.
    Request { head: Head, bytes: BytesMut },
    /// What can be no head.
    Refused(Refusal),
    /// Nothing, for as long as a connection may idle, or until it was closed.
    Nothing,
}

/// Reads a head. `bytes` is what was read of it along with the request before; `idle` how long its
/// first byte is waited for.
pub(super) async fn read(
    stream: &mut Stream,
    mut bytes: BytesMut,
    idle: Duration,
    limits: &ConnectionLimits,
) -> Arrival {
    let mut scan = HeadScan::default();
    let mut deadline = Instant::now() + if bytes.is_empty() { idle } else { limits.head };
    loop {
        let end = match scan.end(&bytes) {
            Ok(end) => end,
            Err(refusal) => return Arrival::Refused(refusal),
        };
        if end.unwrap_or(bytes.len()) > limits.head_bytes {
            let max = limits.head_bytes;
            return Arrival::Refused(Refusal::HeadTooLarge { max });
        }
        match end {
            // Some senders put an empty line behind a body (RFC 9112, 2.2).
            Some(2) => {
                bytes.advance(2);
                scan = HeadScan::default();
                continue;
            }
            Some(end) => return whole(bytes, end, limits),
            None => {}
        }
        let was_idle = bytes.is_empty();
        if !was_idle {
            bytes.reserve(ROOM);
        }
        match timeout_at(deadline, stream.read_buf(&mut bytes)).await {
            Ok(Ok(0) | Err(_)) if was_idle => return Arrival::Nothing,
            Ok(Ok(0) | Err(_)) => {
                return Arrival::Refused(Refusal::Malformed("the head is cut off"));
            }
            Err(_) if was_idle => return Arrival::Nothing,
            Err(_) => return Arrival::Refused(Refusal::HeadSlow),
            Ok(Ok(_)) if was_idle => deadline = Instant::now() + limits.head,
            Ok(Ok(_)) => {}
        }
    }
}

fn whole(bytes: BytesMut, end: usize, limits: &ConnectionLimits) -> Arrival {
    let raw = Bytes::copy_from_slice(bytes.get(..end).unwrap_or_default());
    match head::from_http1(&raw, limits.headers) {
        Ok(head) => Arrival::Request { head, bytes },
        Err(refusal) => Arrival::Refused(refusal),
    }
}
