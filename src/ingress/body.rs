//! Reads a body whole, within its limits: size, total time, time of one piece, rate.

use std::future::Future;
use std::num::NonZeroU64;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::time::{Instant, timeout_at};

use super::refusal::Refusal;

/// How long a body may come slower than the minimum rate, and its first byte take.
const GRACE: Duration = Duration::from_secs(5);

/// The connection failed or broke its framing while the body was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BrokenOff;

/// Where the pieces of a body come from.
pub trait BodySource: Send {
    /// The next piece; `None` after the last.
    fn piece(&mut self) -> impl Future<Output = Result<Option<Bytes>, BrokenOff>> + Send;
}

/// The limits of one body.
#[derive(Debug, Clone, Copy)]
pub struct BodyLimits {
    /// The most bytes.
    pub bytes_max: usize,
    /// The most time for all of it.
    pub total: Duration,
    /// The most time without a piece.
    pub piece: Duration,
    /// The fewest bytes a second, after a grace of five seconds.
    pub rate_min: NonZeroU64,
}

impl BodyLimits {
    /// The most time in which this many bytes may have come.
    fn time_for(&self, bytes: usize) -> Duration {
        let millis = (bytes as u64).saturating_mul(1000) / self.rate_min;
        self.total.min(GRACE + Duration::from_millis(millis))
    }
}

/// Reads every piece; the first is kept without copying, as most bodies have only one.
///
/// # Errors
/// [`Refusal::BodyTooLarge`], [`Refusal::BodySlow`] or [`Refusal::BodyBroken`].
pub async fn read(source: &mut impl BodySource, limits: BodyLimits) -> Result<Bytes, Refusal> {
    let start = Instant::now();
    let mut body = Body::Empty;
    loop {
        let end = start + limits.time_for(body.len());
        let deadline = end.min(Instant::now() + limits.piece);
        let piece = match timeout_at(deadline, source.piece()).await {
            Err(_) => return Err(Refusal::BodySlow),
            Ok(Err(BrokenOff)) => return Err(Refusal::BodyBroken),
            Ok(Ok(None)) => return Ok(body.finish()),
            Ok(Ok(Some(piece))) => piece,
        };
        if body.len().saturating_add(piece.len()) > limits.bytes_max {
            return Err(Refusal::BodyTooLarge {
                max: limits.bytes_max,
            });
        }
        body.push(piece);
    }
}

enum Body {
    Empty,
    One(Bytes),
    Many(BytesMut),
}

impl Body {
    fn len(&self) -> usize {
        match self {
            Self::Empty => 0,
            Self::One(piece) => piece.len(),
            Self::Many(pieces) => pieces.len(),
        }
    }

    fn push(&mut self, piece: Bytes) {
        if piece.is_empty() {
            return;
        }
        *self = match std::mem::replace(self, Self::Empty) {
            Self::Empty => Self::One(piece),
            Self::One(first) => {
                let mut pieces = BytesMut::with_capacity(first.len() + piece.len());
                pieces.extend_from_slice(&first);
                pieces.extend_from_slice(&piece);
                Self::Many(pieces)
            }
            Self::Many(mut pieces) => {
                pieces.extend_from_slice(&piece);
                Self::Many(pieces)
            }
        };
    }

    fn finish(self) -> Bytes {
        match self {
            Self::Empty => Bytes::new(),
            Self::One(piece) => piece,
            Self::Many(pieces) => pieces.freeze(),
        }
    }
}
