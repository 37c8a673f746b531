//! Keeps what was accepted until it has arrived, and remembers it afterwards.
//!
//! The promises of [`Store`], which `contract` holds every engine to:
//!
//! - **A method is one atomic step.** What it reports as done is on disk: [`Store::accept`] and
//!   [`Store::settle`] answer after the commit.
//! - **Time and ids are arguments.** An engine reads no clock and makes no id, so a step can be
//!   repeated: [`StoreError::Unavailable`] means "it may have happened, repeat it".
//! - **No transaction, handle or iterator leaves an engine.** Long lists are read by page.
//!
//! What is due, who may try and what an outcome means is decided by others.

pub mod cipher;
pub mod embedded;
pub mod fault_point;
pub mod log;
pub mod record;
pub mod source;

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::sync::watch;

pub use log::{
    Act, Acts, CANCELLED, Cancelled, Filter, LogVerdict, Logged, Note, Page, Place, Redelivery,
    Refused, Shelf,
};
pub use record::{
    Accept, Accepted, Attempt, Claimed, DedupClaim, DeliveryState, End, Event, EventId, Facts,
    LaneRule, NewDelivery, Next, Recorded, Room, Settled, Settlement, Shown, ShownDelivery, Token,
};
pub use source::{Advance, Advanced, Lead, SourceKey, SourceRow};

/// How many deliveries a backend can take now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Want {
    /// The backend.
    pub backend: Arc<str>,
    /// The most deliveries.
    pub max: usize,
}

/// A key that is remembered, and what its first sender was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remembered {
    /// The key.
    pub claim: DedupClaim,
    /// The answer, where one was recorded.
    pub answer: Option<Recorded>,
}

/// How full the store is, from counters: asking costs nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Usage {
    /// Live deliveries by backend, with the time at which the longest waiting was due first.
    pub backends: Vec<BackendUsage>,
    /// Live deliveries by route.
    pub routes: Vec<(Arc<str>, u64)>,
    /// Bytes of the files, log ahead included.
    pub file_bytes: u64,
    /// Bytes of the log ahead.
    pub wal_bytes: u64,
    /// Notes of proxied events that were dropped, since the store was too slow for them.
    pub logs_dropped: u64,
    /// Why nothing can be accepted now.
    pub trouble: Option<String>,
}

/// The live deliveries to one backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackendUsage {
    /// The backend.
    pub backend: Arc<str>,
    /// How many wait or are leased.
    pub depth: u64,
    /// The earliest time at which one of them is or was due.
    pub due: Option<Timestamp>,
}

/// How long events are kept. What is live stays, however old it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Events that were received before and have arrived are dropped.
    pub delivered_before: Timestamp,
    /// Events that were received before and were given up are dropped.
    pub dead_before: Timestamp,
    /// Refused requests that came before are dropped.
    pub refused_before: Timestamp,
    /// Attempts for events that were received before are dropped.
    pub attempts_before: Timestamp,
    /// The most bytes of the files; beyond, the oldest goes first.
    pub bytes_max: Option<u64>,
    /// The most bytes of each class; beyond, its oldest go first.
    pub class_bytes_max: ClassBytes,
}

/// Bytes of heads, bodies and answers of each class of what has ended; `None` = no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ClassBytes {
    /// Events that have arrived.
    pub delivered: Option<u64>,
    /// Events that were given up.
    pub dead: Option<u64>,
    /// Refused requests.
    pub refused: Option<u64>,
    /// Attempts.
    pub attempts: Option<u64>,
}

impl Retention {
    /// Everything of before a moment is dropped.
    pub fn of_all(before: Timestamp) -> Self {
        Self {
            delivered_before: before,
            dead_before: before,
            refused_before: before,
            attempts_before: before,
            bytes_max: None,
            class_bytes_max: ClassBytes::default(),
        }
    }
}

/// What retention did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Retained {
    /// How many partitions were dropped.
    pub partitions_dropped: usize,
    /// How many partitions should go but hold live deliveries.
    pub partitions_held: usize,
    /// How many events, refused requests and attempts were dropped one by one, since others of their
    /// day are kept.
    pub rows_dropped: usize,
}

impl Retained {
    /// Whether there may be more to drop: so much is done at a time that nobody waits for it.
    pub fn may_have_more(&self) -> bool {
        self.rows_dropped > 0
    }
}

/// Why a step of a store did not happen, or may not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// It may have happened; it is safe to repeat it.
    #[error("the store cannot be written: {0}")]
    Unavailable(String),
    /// The file is damaged.
    #[error(
        "{path} is damaged ({detail}); stop the gateway, keep a copy, and repair it with \
         `sqlite3 {path} .recover`"
    )]
    Corrupt {
        /// The file.
        path: String,
        /// What the engine said.
        detail: String,
    },
    /// Another process writes it.
    #[error("{path} is in use by another gateway; stop it, or choose another `store.path`")]
    InUse {
        /// The folder.
        path: String,
    },
    /// A newer version of the gateway made it.
    #[error("{path} has schema {found}, this version knows {known}: start the newer version again")]
    Newer {
        /// The file.
        path: String,
        /// Its schema.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// Part of it is sealed with a key that is not there.
    #[error(
        "part of the store in {path} is sealed with key {id}, which is not among \
         `store.encryption`: add it back behind the others"
    )]
    Key {
        /// The folder.
        path: String,
        /// The id of the key, a hash of it.
        id: String,
    },
    /// The store cannot be opened.
    #[error("cannot open the store in {path}: {detail}")]
    Open {
        /// The folder.
        path: String,
        /// What the system said.
        detail: String,
    },
    /// A page token of another list.
    #[error("this is not a page of this list")]
    Page,
}

/// What is told of each commit.
pub trait Observer: Send + Sync {
    /// A commit of `items` steps took so many seconds, `sync_seconds` of them for the disk.
    fn committed(&self, items: usize, seconds: f64, sync_seconds: f64);
}

/// Shows what is on disk. A log can be read while nobody writes it.
#[async_trait]
pub trait Log: Send + Sync {
    /// Lists events, newest first.
    async fn list(
        &self,
        filter: Filter,
        page: Option<String>,
        limit: usize,
    ) -> Result<Page, StoreError>;

    /// How many events a filter means. The text of a filter is not looked at.
    async fn count(&self, filter: Filter) -> Result<u64, StoreError>;

    /// One event and everything about it.
    async fn event(&self, id: EventId) -> Result<Option<Shown>, StoreError>;

    /// Lists what was done to the gateway, latest first.
    async fn acts(&self, page: Option<String>, limit: usize) -> Result<Acts, StoreError>;

    /// The documents of a shelf with their keys, in the order of these.
    async fn shelf(&self, shelf: Shelf) -> Result<Vec<(String, String)>, StoreError>;

    /// How far a source is read, each of its partitions.
    async fn source(&self, source: &str) -> Result<Vec<SourceRow>, StoreError>;
}

/// Keeps events and deliveries.
#[async_trait]
pub trait Store: Log {
    /// Accepts events, each as one durable step of its own: its key, the event and its deliveries
    /// together or none of them. Answers in the order asked.
    async fn accept(&self, events: Vec<Accept>) -> Result<Vec<Accepted>, StoreError>;

    /// Notes what happened, soon. Never waits; what finds no room is dropped and counted.
    fn record(&self, note: Note);

    /// Leases what is due, of each backend at most what it wants, the longest due first. Of a lane
    /// only the first.
    async fn claim(
        &self,
        wants: &[Want],
        now: Timestamp,
        lease_until: Timestamp,
    ) -> Result<Vec<Claimed>, StoreError>;

    /// Prolongs leases; tells which are lost.
    async fn extend(&self, tokens: &[Token], until: Timestamp) -> Result<Vec<Settled>, StoreError>;

    /// Notes attempts and what is next. Answers in the order asked.
    async fn settle(&self, settlements: Vec<Settlement>) -> Result<Vec<Settled>, StoreError>;

    /// When the next delivery to one of these backends is due, or its lease ends.
    fn next_due(&self, backends: &[Arc<str>]) -> Option<Timestamp>;

    /// Changes whenever there may be something new to claim.
    fn watch(&self) -> watch::Receiver<u64>;

    /// Makes deliveries of events that are in the log, due at `due`, with a fresh count of attempts
    /// and all of their time. Tells how many.
    async fn redeliver(&self, items: Vec<Redelivery>, due: Timestamp) -> Result<u64, StoreError>;

    /// Gives a delivery up that waits, for the reason `cancelled`. One that is dead already holds
    /// its lane up no more.
    async fn cancel(&self, id: EventId, slot: u16, now: Timestamp)
    -> Result<Cancelled, StoreError>;

    /// Notes what somebody did.
    async fn act(&self, act: Act) -> Result<(), StoreError>;

    /// Puts a document on a shelf, in place of what has its key; `None` takes it away.
    async fn put(
        &self,
        shelf: Shelf,
        key: String,
        document: Option<String>,
    ) -> Result<(), StoreError>;

    /// Takes the lead of a source until a time, or keeps it; `None` = somebody else has it. Whoever
    /// takes it over is known by a new epoch from then on, which is on disk.
    async fn lead(
        &self,
        key: SourceKey,
        who: u64,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Option<Lead>, StoreError>;

    /// Accepts what a poll found and notes how far it has come, as one durable step or not at all.
    async fn advance(&self, step: Advance) -> Result<Advanced, StoreError>;

    /// Which of these keys are remembered after a moment, in the order asked.
    async fn known(&self, keys: &[DedupClaim], at: Timestamp) -> Result<Vec<bool>, StoreError>;

    /// The events of a route behind an offset, in the order in which they were accepted. An event that
    /// cannot be read is passed over.
    async fn behind(
        &self,
        route: &str,
        offset: i64,
        limit: usize,
    ) -> Result<Vec<(i64, Arc<Event>)>, StoreError>;

    /// The offset before the first event of a route that was received at a time or after it; without a
    /// time, the offset of its last event. 0 = there is none.
    async fn offset(&self, route: &str, from: Option<Timestamp>) -> Result<i64, StoreError>;

    /// Changes whenever an event of a route was accepted.
    fn arrivals(&self, route: &str) -> watch::Receiver<i64>;

    /// Keys of these scopes that are remembered after `now`, the latest first.
    async fn remembered(
        &self,
        scopes: &[u64],
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<Remembered>, StoreError>;

    /// Drops what was kept for long enough, and gives its room back. A lane that waits for a dead
    /// delivery goes on when that is dropped.
    async fn retain(&self, policy: Retention, now: Timestamp) -> Result<Retained, StoreError>;

    /// How full it is.
    fn usage(&self) -> Usage;

    /// Writes everything that was handed over, and stops.
    async fn close(&self);
}

#[cfg(test)]
mod contract;
