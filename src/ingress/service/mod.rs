//! The Pingora adapter: connections in, answers out. The only stage that writes to a socket.
//!
//! It sits directly on Pingora's connections instead of its proxy: a verified request needs the
//! whole body in memory before anything is sent on, which the proxy's own path cannot do for
//! bodies above 64 KiB (see ARCHITECTURE.md). [`door`] takes connections, [`arrival`] reads heads,
//! [`exchange`] walks one request through the stages, [`answer`] writes.

pub mod again;
mod answer;
mod arrival;
pub mod desk;
pub mod door;
mod durable;
mod effects;
mod exchange;
mod handoff;
pub mod inbox;
mod keys;
pub mod listener;
mod refused;
mod request;
pub mod tail;
pub mod tls;
mod wrapped;

use std::num::NonZeroU64;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use super::dedup::Ledger;
use super::gate::{Gate, Route};
use super::slots::Slots;
use crate::clock::Clock;
use crate::delivery::flow::Flow;
use crate::delivery::pauses::Pauses;
use crate::inbox::Reader;
use crate::metrics::Metrics;
use crate::outbound::Roads;
use crate::redaction::Redaction;
use crate::request_log::HeaderChoice;
use crate::signature::Presets;
use crate::signature::known_keys::KnownKeys;
use crate::store::Store;

use self::inbox::Inboxes;
use self::keys::Keys;
use self::refused::Spell;
use self::tail::Tail;
pub use desk::Desk;
pub use door::Door;
pub use listener::{Listener, Listeners};
pub use tls::Tls;

/// The limits of connections and of what comes over them.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionLimits {
    /// The most time for a head, and on a new connection for its first byte.
    pub head: Duration,
    /// The most time for a body.
    pub body: Duration,
    /// The most time without a piece of a body.
    pub piece: Duration,
    /// The most time between two requests of one connection.
    pub idle: Duration,
    /// The most time for one write to a client.
    pub write: Duration,
    /// The most time for a request, from its head to the end of its answer.
    pub request: Duration,
    /// The most connections.
    pub connections: usize,
    /// The most connections of one address, version 6 by /64.
    pub connections_per_address: usize,
    /// The most requests of one HTTP/1 connection.
    pub requests_per_connection: usize,
    /// The most bytes of a head.
    pub head_bytes: usize,
    /// The most headers.
    pub headers: usize,
    /// The fewest bytes of a body in a second.
    pub body_rate_min: NonZeroU64,
}

/// Everything that a request is judged and served by; swapped as a whole.
pub struct Snapshot {
    /// The routes.
    pub gate: Gate,
    /// The ways to the backends.
    pub roads: Roads,
    /// Every route, in the order of the file.
    pub routes: Vec<Arc<Route>>,
    /// What is read by polling.
    pub inboxes: Inboxes,
    /// What the log shows.
    pub headers: HeaderChoice,
    /// What of an event is never shown.
    pub redaction: Redaction,
    /// The limits of connections.
    pub limits: ConnectionLimits,
    /// The providers that are known, to tell one from another.
    pub presets: &'static Presets,
}

/// The gateway as Pingora sees it.
pub struct Gateway {
    snapshot: ArcSwap<Snapshot>,
    metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
    ledger: Arc<dyn Ledger>,
    store: Option<Arc<dyn Store>>,
    reader: Option<Reader>,
    flow: Arc<Flow>,
    pauses: Arc<Pauses>,
    refusals_logged: Spell,
    tail: Tail,
    swapped: Notify,
    slots: Arc<Slots>,
    keys: Keys,
    /// Where secrets that handshakes bring are kept.
    kept: OnceLock<PathBuf>,
}

impl Gateway {
    /// The keys of providers that were fetched.
    pub fn known_keys(&self) -> &Arc<KnownKeys> {
        self.keys.known()
    }

    /// Puts a gateway before the routes of a snapshot.
    pub fn new(
        snapshot: Snapshot,
        metrics: Arc<Metrics>,
        clock: Arc<dyn Clock>,
        ledger: Arc<dyn Ledger>,
        store: Option<Arc<dyn Store>>,
    ) -> Self {
        let reader = store.clone();
        let reader = reader.map(|store| Reader::new(store, clock.clone()));
        Self {
            snapshot: ArcSwap::from_pointee(snapshot),
            reader,
            metrics,
            clock,
            ledger,
            store,
            flow: Arc::default(),
            pauses: Arc::default(),
            refusals_logged: Spell::default(),
            tail: Tail::default(),
            swapped: Notify::new(),
            slots: Arc::default(),
            keys: Keys::default(),
            kept: OnceLock::new(),
        }
    }

    /// Judges new requests by another snapshot; those in flight finish on theirs.
    pub fn swap(&self, snapshot: Snapshot) {
        self.snapshot.store(Arc::new(snapshot));
        self.swapped.notify_waiters();
    }

    /// Comes when the snapshot is swapped after this call.
    pub fn swapped(&self) -> Notified<'_> {
        self.swapped.notified()
    }

    /// What is remembered of events.
    pub fn ledger(&self) -> &dyn Ledger {
        self.ledger.as_ref()
    }

    /// Where events are kept.
    pub fn store(&self) -> Option<&Arc<dyn Store>> {
        self.store.as_ref()
    }

    /// How fast the queue moves.
    pub fn flow(&self) -> &Arc<Flow> {
        &self.flow
    }

    /// Requests as they are answered.
    pub fn tail(&self) -> &Tail {
        &self.tail
    }

    /// What is paused.
    pub fn pauses(&self) -> &Arc<Pauses> {
        &self.pauses
    }

    /// What requests are judged by at this moment.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }
}
