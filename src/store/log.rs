//! What operators see of a store, and what they do to it: pages of events, notes behind an answer,
//! deliveries made again, documents of theirs.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::record::{Attempt, DedupClaim, End, Event, EventId, Recorded, Shown};

/// What is noted behind an answer, when the disk has time for it.
#[derive(Debug, Clone)]
pub enum Note {
    /// A proxied event and how it ended.
    Proxied(Logged),
    /// A request that was refused.
    Refused {
        /// The request, as far as it was read.
        event: Arc<Event>,
        /// Why.
        refused: Refused,
    },
}

impl Note {
    /// The request.
    pub fn event(&self) -> &Arc<Event> {
        match self {
            Self::Proxied(logged) => &logged.event,
            Self::Refused { event, .. } => event,
        }
    }
}

/// A proxied event, noted behind its answer.
#[derive(Debug, Clone)]
pub struct Logged {
    /// The event.
    pub event: Arc<Event>,
    /// The key it is known by, and the answer that its sender got.
    pub dedup: Option<(DedupClaim, Recorded)>,
    /// The delivery's place in the route's list, and its backend.
    pub slot: u16,
    /// The backend that answered.
    pub backend: Arc<str>,
    /// The attempt.
    pub attempt: Attempt,
    /// How the delivery ended.
    pub end: End,
}

/// Why a request was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// A word for the reason.
    pub reason: String,
    /// The reason in a sentence.
    pub detail: String,
    /// The status that its sender got.
    pub status: u16,
    /// Whether the body is here as it came: then the request can be judged again.
    pub body_is_whole: bool,
}

/// What was decided about a request that is in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogVerdict {
    /// It became an event.
    Accepted,
    /// It was refused.
    Refused,
}

/// Which events to list. What is not set excludes nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// The route.
    pub route: Option<String>,
    /// What was decided.
    pub verdict: Option<LogVerdict>,
    /// The word for why it was refused; finds nothing but refused requests.
    pub reason: Option<String>,
    /// The backend of a delivery.
    pub backend: Option<String>,
    /// The state of that delivery, or of any; `Pending` and `Leased` find both.
    pub state: Option<super::DeliveryState>,
    /// Received at or after.
    pub since: Option<Timestamp>,
    /// Received before.
    pub until: Option<Timestamp>,
    /// The provider's id.
    pub provider_event_id: Option<String>,
    /// The provider's type.
    pub event_type: Option<String>,
    /// The address of the client.
    pub client: Option<String>,
    /// What stands somewhere in the head or the body, byte for byte but for the case of ASCII.
    pub text: Option<String>,
}

/// A piece of a list, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The events.
    pub events: Vec<Shown>,
    /// What gets the next page; `None` after the last. A search for text stops after so many
    /// events: then there is a next page, and this one may be empty.
    pub next: Option<String>,
}

/// Deliveries to be made for an event that is in the log: those in these places, anew or for the
/// first time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redelivery {
    /// The event.
    pub id: EventId,
    /// The deliveries. One that is still live stays as it is.
    pub to: Vec<Place>,
}

/// Where an event is delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The delivery's place in the route's list.
    pub slot: u16,
    /// The backend.
    pub backend: Arc<str>,
}

/// Why a delivery is dead that somebody has cancelled.
pub const CANCELLED: &str = "cancelled";

/// What became of a delivery that was to be cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cancelled {
    /// It is dead; or it was, and its lane goes on.
    Done,
    /// An attempt is being made: its outcome is not known yet.
    InFlight,
    /// It has ended already, or there is no such delivery.
    NotLive,
}

/// A kind of documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Shelf {
    /// Bulk replays, by their ids.
    Replays,
    /// Routes and backends that are paused.
    Pauses,
    /// How far the consumers of inboxes have read.
    Consumers,
}

impl Shelf {
    /// Its name on disk.
    pub fn name(self) -> &'static str {
        match self {
            Self::Replays => "replay",
            Self::Pauses => "pause",
            Self::Consumers => "consumer",
        }
    }
}

/// What somebody did to the gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Act {
    /// When.
    pub at: Timestamp,
    /// Who: the name of a token, or `local`.
    pub who: String,
    /// What (`replay`, `cancel`, `pause`).
    pub what: String,
    /// To what, and how.
    pub detail: String,
}

/// A piece of the list of acts, latest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acts {
    /// The acts.
    pub acts: Vec<Act>,
    /// What gets the next piece; `None` after the last.
    pub next: Option<String>,
}
