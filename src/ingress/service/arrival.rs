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
use crate::ingress::chunks::ChunkWatch;
use crate::ingress::head::{self, HeadScan};
use crate::ingress::refusal::Refusal;

/// How much room for a head is made at once; an idle connection has none.
const ROOM: usize = 4096;

/// What came over a connection.
pub(super) enum Arrival {
    /// A head, the bytes that begin with it, and who watches a chunked body.
    Request {
        head: Head,
        bytes: BytesMut,
        watch: Option<ChunkWatch>,
    },
    /// What can be no head.
    Refused(Refusal),
    /// Nothing, for as long as a connection may idle, or until it was closed.
    Nothing,
}

/// How long a head is waited for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Wait {
    /// On a new connection, which was opened to send it.
    Until(Instant),
    /// For its first byte; from there on for as long as a head may take.
    Idle(Duration),
}

/// Reads a head. `bytes` is what was read of it already. With `leave`, waiting ends, but only for
/// its first byte: a head that has begun is read to its end.
pub(super) async fn read(
    stream: &mut Stream,
    mut bytes: BytesMut,
    wait: Wait,
    limits: &ConnectionLimits,
    leave: impl Future<Output = ()>,
) -> Arrival {
    tokio::pin!(leave);
    let mut scan = HeadScan::default();
    let first_byte = match wait {
        Wait::Until(deadline) => deadline,
        Wait::Idle(idle) => Instant::now() + idle,
    };
    let mut deadline = match wait {
        Wait::Idle(_) if !bytes.is_empty() => Instant::now() + limits.head,
        _ => first_byte,
    };
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
                if bytes.is_empty() {
                    deadline = first_byte;
                }
                continue;
            }
            Some(end) => return whole(bytes, end, limits),
            None => {}
        }
        let was_idle = bytes.is_empty();
        if !was_idle {
            bytes.reserve(ROOM);
        }
        let read = timeout_at(deadline, stream.read_buf(&mut bytes));
        let read = tokio::select! {
            biased;
            read = read => read,
            () = &mut leave, if was_idle => return Arrival::Nothing,
        };
        match read {
            Ok(Ok(0) | Err(_)) if was_idle => return Arrival::Nothing,
            Ok(Ok(0) | Err(_)) => {
                return Arrival::Refused(Refusal::Malformed("the head is cut off"));
            }
            Err(_) if was_idle => return Arrival::Nothing,
            Err(_) => return Arrival::Refused(Refusal::HeadSlow),
            Ok(Ok(_)) => {
                if was_idle && matches!(wait, Wait::Idle(_)) {
                    deadline = Instant::now() + limits.head;
                }
            }
        }
    }
}

fn whole(bytes: BytesMut, end: usize, limits: &ConnectionLimits) -> Arrival {
    let (raw, rest) = bytes.split_at_checked(end).unwrap_or_default();
    let head = match head::from_http1(&Bytes::copy_from_slice(raw), limits.headers) {
        Ok(head) => head,
        Err(refusal) => return Arrival::Refused(refusal),
    };
    let is_chunked = head.headers.first("transfer-encoding").is_some();
    let mut watch = is_chunked.then(ChunkWatch::default);
    if let Some(watch) = &mut watch
        && watch.see(rest).is_err()
    {
        return Arrival::Refused(Refusal::Malformed("a chunk that is none"));
    }
    Arrival::Request { head, bytes, watch }
}
