//! The one table of refusals: status, metric label, log level.
//!
//! There is no wildcard arm: a new reason does not compile until it has its row.

use std::time::Duration;

use tracing::Level;

use super::rate_limit::LimitQuota;
use crate::signature::Reason;
use crate::signature::handshake::HandshakeRefusal;
use crate::signature::reply::Answer;

/// How long a sender is asked to wait when the disk fails.
const STORE_RETRY_SECONDS: u64 = 10;

/// How long a sender is asked to wait while a route is paused.
const PAUSED_RETRY_SECONDS: u64 = 60;

/// Why a request was turned away.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The head is not HTTP, or is ambiguous HTTP.
    #[error("malformed request: {0}")]
    Malformed(&'static str),
    /// The head took longer than `server.timeout.head`.
    #[error("the request head did not arrive in time")]
    HeadSlow,
    /// The head is longer than `server.limits.head_bytes`.
    #[error("the request head is longer than {max} bytes")]
    HeadTooLarge {
        /// The limit in bytes.
        max: usize,
    },
    /// The head has more lines than `server.limits.headers`.
    #[error("more than {max} headers")]
    HeadersTooMany {
        /// The limit.
        max: usize,
    },
    /// The request took longer than `server.timeout.request` before a backend was asked.
    #[error("the request took too long")]
    RequestSlow,
    /// The path could mean another path to the backend (`/a/../b`).
    #[error("the path has dot segments, which a backend may resolve to another path")]
    PathAmbiguous,
    /// No route has this host and path.
    #[error("no route for this host and path")]
    NoRoute,
    /// The route exists, for other methods.
    #[error("method not allowed, only {}", .allow.join(", "))]
    MethodNotAllowed {
        /// The methods that the path answers to.
        allow: Vec<String>,
    },
    /// The client's address is not on `allow`, or is on `deny`.
    #[error("the address is not allowed")]
    AddressDenied,
    /// The route has an address rule and the client has no address (a unix socket).
    #[error("the sender has no address, and the route allows only some addresses")]
    AddressUnknown,
    /// The body is longer than the route's `body_max`.
    #[error("the body is longer than {max} bytes")]
    BodyTooLarge {
        /// The limit in bytes.
        max: usize,
    },
    /// The body took longer than `server.timeout.body`, one piece longer than `.piece`, or it came
    /// slower than `server.limits.body_rate_min`.
    #[error("the body did not arrive in time")]
    BodySlow,
    /// The connection broke, or its framing did, before the body was whole.
    #[error("the body broke off")]
    BodyBroken,
    /// The signature is missing, wrong, or not of this time.
    #[error("{reason}")]
    Signature {
        /// What was wrong.
        reason: Reason,
        /// What the route answers (401 unless it says otherwise).
        answer: Box<Answer>,
    },
    /// More requests than the route allows.
    #[error("over the limit of {}/{}, burst {}; room in {}", .quota.count, humantime::format_duration(.quota.per), .quota.burst, humantime::format_duration(*.retry_after))]
    RateLimited {
        /// How long to wait.
        retry_after: Duration,
        /// The limit.
        quota: LimitQuota,
    },
    /// The request lacks what its event is told by.
    #[error("{place} is missing, and the route tells events apart by it")]
    DedupKeyMissing {
        /// What is missing.
        place: String,
    },
    /// The first request of this event is in flight, and took longer than a duplicate waits.
    #[error("the first request of this event is still in flight")]
    StillInFlight,
    /// So many deliveries wait that no more are taken.
    #[error("more deliveries wait than the {limit} allows")]
    QueueFull {
        /// Whose limit it is (`route`, `store`).
        limit: &'static str,
        /// When there should be room.
        retry_after: Duration,
    },
    /// Somebody has paused the route.
    #[error("the route is paused")]
    Paused,
    /// The disk does not take the event.
    #[error("{0}")]
    StoreUnavailable(String),
    /// A handshake that must not be answered.
    #[error("handshake: {0}")]
    Handshake(HandshakeRefusal),
    /// What the provider's handshake asks for cannot be done now.
    #[error("what the handshake asks for cannot be done: {0}")]
    HandshakeFailed(String),
}

/// One row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// The status that the sender sees.
    pub status: u16,
    /// The value of `reason` in metrics and JSON.
    pub label: &'static str,
    /// How loud the log line is.
    pub level: Level,
}

const fn row(status: u16, label: &'static str, level: Level) -> Row {
    Row {
        status,
        label,
        level,
    }
}

impl Refusal {
    /// Its row in the table.
    pub fn row(&self) -> Row {
        match self {
            Self::Malformed(_) => row(400, "malformed_request", Level::INFO),
            Self::HeadSlow => row(408, "head_slow", Level::INFO),
            Self::HeadTooLarge { .. } => row(431, "head_too_large", Level::WARN),
            Self::HeadersTooMany { .. } => row(431, "headers_too_many", Level::WARN),
            Self::RequestSlow => row(408, "request_slow", Level::WARN),
            Self::PathAmbiguous => row(400, "path_ambiguous", Level::WARN),
            Self::NoRoute => row(404, "no_route", Level::INFO),
            Self::MethodNotAllowed { .. } => row(405, "method_not_allowed", Level::INFO),
            Self::AddressDenied => row(403, "address_denied", Level::WARN),
            Self::AddressUnknown => row(403, "address_unknown", Level::WARN),
            Self::BodyTooLarge { .. } => row(413, "body_too_large", Level::WARN),
            Self::BodySlow => row(408, "body_slow", Level::WARN),
            Self::BodyBroken => row(400, "body_broken", Level::INFO),
            Self::Signature { reason, answer } => row(answer.status, reason.label(), Level::WARN),
            Self::RateLimited { .. } => row(429, "rate_limited", Level::WARN),
            Self::DedupKeyMissing { .. } => row(400, "dedup_key_missing", Level::WARN),
            Self::StillInFlight => row(503, "still_in_flight", Level::WARN),
            Self::QueueFull { .. } => row(503, "queue_full", Level::WARN),
            Self::Paused => row(503, "paused", Level::INFO),
            Self::StoreUnavailable(_) => row(503, "store_unavailable", Level::ERROR),
            Self::Handshake(_) => row(403, "handshake_refused", Level::WARN),
            Self::HandshakeFailed(_) => row(502, "handshake_failed", Level::WARN),
        }
    }

    /// The status that the sender sees; everything else stays with the operator.
    pub fn status(&self) -> u16 {
        self.row().status
    }

    /// What the sender is told besides the status, where a header exists for it.
    ///
    /// 429 has `RateLimit` and `RateLimit-Policy` of draft-ietf-httpapi-ratelimit-headers.
    pub fn headers(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::MethodNotAllowed { allow } => vec![("Allow", allow.join(", "))],
            Self::StillInFlight => vec![("Retry-After", "1".to_owned())],
            Self::QueueFull { retry_after, .. } => {
                vec![("Retry-After", retry_after.as_secs().max(1).to_string())]
            }
            Self::Paused => vec![("Retry-After", PAUSED_RETRY_SECONDS.to_string())],
            Self::StoreUnavailable(_) => {
                vec![("Retry-After", STORE_RETRY_SECONDS.to_string())]
            }
            Self::RateLimited { retry_after, quota } => {
                let seconds = retry_after.as_secs().saturating_add(1);
                let (burst, window) = (quota.burst, quota.window_seconds());
                vec![
                    ("Retry-After", seconds.to_string()),
                    (
                        "RateLimit-Policy",
                        format!("\"default\";q={burst};w={window}"),
                    ),
                    ("RateLimit", format!("\"default\";r=0;t={seconds}")),
                ]
            }
            _ => Vec::new(),
        }
    }

    /// The word for metrics and JSON.
    pub fn label(&self) -> &'static str {
        self.row().label
    }
}
