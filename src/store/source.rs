//! How far sources have been read: the polled side of routes.
//!
//! What a poll found and how far it has come are one step. It is fenced twice: by the version that the
//! poll began with, and by the epoch of who leads the source. A store knows nothing of what is in a
//! document; who polls does.

use std::sync::Arc;

use jiff::Timestamp;

use super::record::{Accept, Accepted, DedupClaim, Room};

/// A source, or one partition of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SourceKey {
    /// The source: the name of its route.
    pub source: Arc<str>,
    /// The partition; empty for a source without any.
    pub partition: Arc<str>,
}

/// What is on disk of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceRow {
    /// Which source.
    pub key: SourceKey,
    /// Grows with every step.
    pub version: u64,
    /// Until when its keys are known at least, whatever their window.
    pub held_at: Timestamp,
    /// How far it is read; `None` = it was never read.
    pub document: Option<String>,
    /// What was there when it was last looked at as a whole.
    pub snapshot: Option<String>,
}

/// The right to read a source. It ends with its time, or when somebody else takes it afterwards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lead {
    /// Grows with everybody who takes the source over.
    pub epoch: u64,
    /// What is on disk.
    pub row: SourceRow,
}

/// What a poll came to.
#[derive(Debug, Clone)]
pub struct Advance {
    /// The source.
    pub key: SourceKey,
    /// The epoch of the lead that it was made under.
    pub epoch: u64,
    /// The version that it began with.
    pub version: u64,
    /// What was found, each with its key, in the order in which it is to be delivered.
    pub found: Vec<Accept>,
    /// Keys that are only remembered: nobody wants what is older than the first poll.
    pub learned: Vec<DedupClaim>,
    /// When keys that were remembered at that moment are known still.
    pub known_at: Timestamp,
    /// Until when keys are held from now on.
    pub held_at: Timestamp,
    /// How far it is read now; `None` forgets the source.
    pub document: Option<String>,
    /// What is there now; `None` leaves what is noted.
    pub snapshot: Option<String>,
}

/// What became of a poll.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Advanced {
    /// It is on disk.
    Done {
        /// The version now.
        version: u64,
        /// What became of each that was found: new, or a duplicate.
        accepted: Vec<Accepted>,
    },
    /// Another step came before it, or somebody else leads: nothing was written.
    Fenced,
    /// There is no room for what is new: nothing was written.
    Full(Room),
}
