//! The Pingora adapter: connections in, answers out. The only stage that writes to a socket.
//!
//! It sits directly on Pingora's connections instead of its proxy: a verified request needs the
//! whole body in memory before anything is sent on, which the proxy's own path cannot do for
//! bodies above 64 KiB (see ARCHITECTURE.md). [`door`] takes connections and reads heads,
//! [`exchange`] walks one request through the stages, [`answer`] writes.

mod answer;
pub mod door;
mod exchange;
mod handoff;
mod request;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use super::dedup::Ledger;
use super::gate::Gate;
use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::outbound::Roads;
use crate::request_log::HeaderChoice;

pub use door::Door;

/// The limits of one listener's connections.
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
}

/// Everything that a request is judged and served by; swapped as a whole.
pub struct Snapshot {
    /// The routes.
    pub gate: Gate,
    /// The ways to the backends.
    pub roads: Roads,
    /// What the log shows.
    pub headers: HeaderChoice,
    /// The limits of connections.
    pub limits: ConnectionLimits,
}

/// The gateway as Pingora sees it.
pub struct Gateway {
    snapshot: ArcSwap<Snapshot>,
    metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
    ledger: Arc<dyn Ledger>,
    swapped: Notify,
}

impl Gateway {
    /// Puts a gateway before the routes of a snapshot.
    pub fn new(
        snapshot: Snapshot,
        metrics: Arc<Metrics>,
        clock: Arc<dyn Clock>,
        ledger: Arc<dyn Ledger>,
    ) -> Self {
        Self {
            snapshot: ArcSwap::from_pointee(snapshot),
            metrics,
            clock,
            ledger,
            swapped: Notify::new(),
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

    /// What requests are judged by at this moment.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }
}
