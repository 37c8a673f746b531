//! Rows that share one time, on a list that moves while it is read.
//!
//! A list cannot be taken up again inside of one time, so its pages are walked, and a row that leaves
//! an earlier page moves another past the reader. The pages are walked again until two passes in a
//! row saw the same rows: had a row left during the first of them, the second would not have it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::page::{Seen, Standing};

/// After so many passes without a new row in a row, a block counts as read: its source never
/// answers twice alike.
const QUIET_PASSES_MAX: u32 = 3;

/// The passes over the rows of one time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Block {
    /// The rows of this pass, in any order.
    rows: u64,
    /// The rows of the pass before.
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<u64>,
    /// Whether this pass had a row that was never seen.
    has_news: bool,
    /// How many passes in a row had none.
    quiet: u32,
    /// The first time after the block, on any pass.
    #[serde(skip_serializing_if = "Option::is_none")]
    beyond: Option<Timestamp>,
    /// The last time that this pass saw after the block.
    #[serde(skip_serializing_if = "Option::is_none")]
    last: Option<Timestamp>,
    /// The same of the pass before.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_before: Option<Timestamp>,
}

/// Whether blocks are walked until nothing moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Passes {
    /// As they should be.
    UntilSteady,
    /// Once, to show what is lost then.
    #[cfg(test)]
    Once,
}

/// What follows a pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum After {
    /// Another one.
    Again,
    /// The list from this time on; `None` = the block is the end of the list.
    Beyond(Option<Timestamp>),
}

impl Block {
    /// Adds a page to the pass; whether the page goes past the block.
    pub(super) fn add(&mut self, items: &[Seen<'_>], anchor: Option<Timestamp>) -> bool {
        let mut is_past = false;
        for seen in items {
            match seen.time {
                Some(time) if anchor.is_none_or(|anchor| time > anchor) => {
                    is_past = true;
                    self.last = self.last.max(Some(time));
                    self.beyond = Some(self.beyond.map_or(time, |beyond| beyond.min(time)));
                }
                Some(_) | None => {
                    self.rows = self.rows.wrapping_add(seen.digest());
                    self.has_news |= seen.standing == Standing::New;
                }
            }
        }
        is_past
    }

    /// Ends the pass.
    pub(super) fn turn(&mut self, passes: Passes) -> After {
        self.quiet = if self.has_news {
            0
        } else {
            self.quiet.saturating_add(1)
        };
        let is_steady = match passes {
            Passes::UntilSteady => self.before == Some(self.rows),
            #[cfg(test)]
            Passes::Once => true,
        };
        if is_steady {
            // Nothing left during the pass before: it saw every row up to its last.
            return After::Beyond(self.last_before.or(self.beyond));
        }
        if self.quiet >= QUIET_PASSES_MAX {
            return After::Beyond(self.beyond);
        }
        *self = Self {
            before: Some(self.rows),
            quiet: self.quiet,
            beyond: self.beyond,
            last_before: self.last,
            ..Self::default()
        };
        After::Again
    }
}
