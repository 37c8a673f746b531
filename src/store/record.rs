//! What a store keeps: events, their deliveries, the attempts that were made.
//!
//! These are facts as they were at the time. What they mean for the next step is decided elsewhere.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::log::Refused;
use crate::event::Head;

/// The id of an event: a UUID of version 7, so that ids sort by time.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventId(Uuid);

impl EventId {
    /// A new id for an event of the moment `now`.
    pub fn new(now: Timestamp) -> Self {
        let seconds = u64::try_from(now.as_second()).unwrap_or_default();
        let nanoseconds = u32::try_from(now.subsec_nanosecond()).unwrap_or_default();
        let timestamp = uuid::Timestamp::from_unix(uuid::NoContext, seconds, nanoseconds);
        Self(Uuid::new_v7(timestamp))
    }

    /// The id of an event that an item became at the moment `now`: what is not its time is the same
    /// for the same item, but for the six bits that say what kind of UUID it is.
    pub fn of_item(now: Timestamp, item: [u8; 10]) -> Self {
        let millis = u64::try_from(now.as_millisecond()).unwrap_or_default();
        Self(uuid::Builder::from_unix_timestamp_millis(millis, &item).into_uuid())
    }

    /// From its 16 bytes.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }

    /// Its 16 bytes, most significant first.
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_hyphenated().fmt(f)
    }
}

impl fmt::Debug for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for EventId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Uuid::from_str(text).map(Self)
    }
}

/// An event as it was received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its id.
    pub id: EventId,
    /// When it was there as a whole.
    pub received_at: Timestamp,
    /// The route that took it.
    pub route: Arc<str>,
    /// Method, target and headers as they came.
    pub head: Head,
    /// The body as it came.
    pub body: Bytes,
    /// What else was known at the time.
    pub facts: Facts,
}

/// What was known of an event besides its bytes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Facts {
    /// The source that polled it; `None` = it came as a webhook.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The address that was connected; `None` = a unix socket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<std::net::IpAddr>,
    /// Whether the peer is a trusted proxy.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub peer_is_trusted: bool,
    /// The address of the client behind trusted proxies, or `unix`.
    pub client: String,
    /// `http` or `https`.
    pub scheme: String,
    /// Whether its signature was verified.
    pub verified: bool,
    /// The provider's id of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_event_id: Option<String>,
    /// The provider's type of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_type: Option<String>,
    /// What the route's path captured.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub captures: Vec<(String, String)>,
    /// Why it was refused at first, if it was accepted later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused_before: Option<String>,
    /// What has happened to the item of a source: `created`, `updated` or `deleted`; [`Facts::GAP`]
    /// is of the source itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<String>,
    /// What its source was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition: Option<serde_json::Value>,
    /// The item as it was before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<serde_json::Value>,
}

impl Facts {
    /// The change of an event that tells of missing ones.
    pub const GAP: &str = "gap";
}

/// A key by which an event is known again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DedupClaim {
    /// The namespace, hashed.
    pub scope: u64,
    /// Namespace and key, hashed.
    pub key: [u8; 16],
    /// Until when it is remembered.
    pub until: Timestamp,
}

/// An answer that was given, for duplicates to come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// The status.
    pub status: u16,
    /// The headers, as the first sender got them.
    pub headers: Vec<(String, Bytes)>,
    /// The body; `None` when it was too long to keep.
    pub body: Option<Bytes>,
}

/// A delivery that an event begins with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewDelivery {
    /// Its place in the route's list of deliveries.
    pub slot: u16,
    /// The backend it goes to.
    pub backend: Arc<str>,
    /// When the next attempt may be made.
    pub due: Timestamp,
    /// Deliveries of one lane to one backend are made in the order of their acceptance.
    pub lane: Option<u64>,
    /// How many attempts were made already (1 for an event that spilled).
    pub attempts: u32,
}

/// An event to be accepted.
#[derive(Debug, Clone)]
pub struct Accept {
    /// The event.
    pub event: Arc<Event>,
    /// The key it is known by.
    pub dedup: Option<DedupClaim>,
    /// Its deliveries.
    pub deliveries: Vec<NewDelivery>,
    /// An attempt that was made before (the live one of an event that spilled).
    pub attempt: Option<(u16, Attempt)>,
    /// The most live deliveries that its route may have.
    pub route_depth_max: Option<u64>,
    /// Whether it is a request of the log that was refused before: it is one no more.
    pub was_refused: bool,
}

/// What became of an event that was to be accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Accepted {
    /// It is on disk. So it is when it was there before under the same id.
    New,
    /// Its key was known: nothing was written.
    Duplicate {
        /// The event that had the key first.
        first: EventId,
        /// What the sender of the first was answered, where that was recorded.
        answer: Option<Recorded>,
    },
    /// There is no room: nothing was written.
    Full(Room),
}

/// Which limit was met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// That of live deliveries of the route.
    Route,
    /// That of live deliveries in the store.
    Total,
    /// That of the bytes of the store.
    Bytes,
}

/// One attempt to deliver, and its outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// Its number, from 1.
    pub number: u32,
    /// When it was begun.
    pub at: Timestamp,
    /// How long it took.
    pub took: Duration,
    /// The backend's status, if it answered.
    pub status: Option<u16>,
    /// A word for how it ended (`2xx`, `backend_timeout`).
    pub outcome: String,
    /// The answer's head and the beginning of its body, as text of HTTP/1.1.
    pub answer: Bytes,
}

/// How a delivery ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// The backend has it.
    Delivered,
    /// It will not be tried again by itself; the word says why (`gone`, `attempts_exhausted`).
    Dead(String),
}

/// Proof of having claimed a delivery; a later claim of it makes this one worthless.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Token {
    /// Which delivery: the event's place in the order of acceptance.
    pub seq: i64,
    /// Which delivery of the event.
    pub slot: u16,
    /// Grows with every claim.
    pub fence: u64,
}

/// A delivery that was claimed, until its lease ends.
#[derive(Debug, Clone)]
pub struct Claimed {
    /// What settles it.
    pub token: Token,
    /// The event.
    pub event: Arc<Event>,
    /// The backend it goes to.
    pub backend: Arc<str>,
    /// When it was due.
    pub due: Timestamp,
    /// When it was asked for once more, to the second; `None` = it is the first time.
    pub asked_again: Option<Timestamp>,
    /// How many attempts were made before.
    pub attempts: u32,
    /// The lane it is the head of.
    pub lane: Option<u64>,
}

/// What becomes of a claimed delivery.
#[derive(Debug, Clone)]
pub struct Settlement {
    /// The claim.
    pub token: Token,
    /// When it was decided.
    pub at: Timestamp,
    /// The attempt, if one was made.
    pub attempt: Option<Attempt>,
    /// What is next.
    pub next: Next,
    /// What comes of its arrival, on disk in the same step.
    pub follows: Option<Box<Accept>>,
}

/// What is next for a delivery after an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Nothing, it has arrived.
    Delivered,
    /// Another attempt, not before this time.
    Retry {
        /// The time.
        due: Timestamp,
        /// Whether the rest of its lane waits for it.
        lane: LaneRule,
    },
    /// Nothing, it is given up.
    Dead {
        /// A word for the reason.
        reason: String,
        /// Whether the rest of its lane waits until somebody revives or discards it.
        lane: LaneRule,
    },
}

/// What a delivery that failed does to its lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LaneRule {
    /// The rest waits.
    Hold,
    /// The rest goes on.
    Leave,
}

/// What became of a settlement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// It was noted.
    Done,
    /// The lease had ended and somebody else has the delivery, or it has ended.
    LostLease,
}

/// The state of a delivery, as it is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeliveryState {
    /// It waits for its next attempt.
    Pending,
    /// An attempt is being made.
    Leased,
    /// It has arrived.
    Delivered,
    /// It was given up.
    Dead,
}

/// An event as the log shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// The event, or the request that was refused.
    pub event: Arc<Event>,
    /// Why it was refused; `None` = it was accepted.
    pub refused: Option<Refused>,
    /// Its deliveries.
    pub deliveries: Vec<ShownDelivery>,
}

/// A delivery as the log shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShownDelivery {
    /// Its place in the route's list.
    pub slot: u16,
    /// The backend.
    pub backend: Arc<str>,
    /// Its state.
    pub state: DeliveryState,
    /// Why it is dead.
    pub reason: Option<String>,
    /// When its next attempt is due, or when it ended.
    pub at: Timestamp,
    /// The attempts, first to last.
    pub attempts: Vec<Attempt>,
}
