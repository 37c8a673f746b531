//! What a walk answers when it is shown a page.

use jiff::Timestamp;

use super::super::cursor::Breach;
use super::super::pagination::{End, Stuck};
use super::super::position::Position;

/// What follows a page.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// What may be committed.
    pub commit: Commit,
    /// Which items of the page are wanted.
    pub take: Take,
    /// Whether there is another request.
    pub next: Next,
    /// What is to be counted and logged.
    pub remarks: Vec<Remark>,
}

/// What may be committed.
#[derive(Debug, Clone, PartialEq)]
pub enum Commit {
    /// This position, in one transaction with the items of the page and all that are staged, the
    /// oldest first.
    Now(Position),
    /// Nothing that anybody sees: the items are staged. The position may be stored with the staged
    /// items, and must not be without them.
    Later(Position),
    /// This position, with no item: those of the page and those that are staged are dropped, and will
    /// be read again.
    Drop(Position),
}

/// Which items of a page are wanted. All of them count for what is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Take {
    /// All.
    All,
    /// Those that have no time or are not older than this: what is older was read before, however
    /// little is remembered of it, or lies before the start.
    Since(Timestamp),
    /// None; they are only remembered as known.
    Learn,
}

/// Whether there is another request in this poll.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// There is.
    More,
    /// There is not.
    Done(End),
    /// There should be, but it would lead nowhere.
    Stuck(Stuck),
    /// The source broke a promise that the cursor rests on, and is paused.
    Pause(Breach),
}

/// Something that is counted and logged, and does no harm by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remark {
    /// The items are not in the order that was promised; the cursor waits for the last page.
    OutOfOrder,
    /// Items moved further than pages overlap; the walk steps back.
    Drifted,
}

impl Remark {
    /// The word for metrics, JSON and the log.
    pub fn label(self) -> &'static str {
        match self {
            Self::OutOfOrder => "out_of_order",
            Self::Drifted => "drifted",
        }
    }
}
