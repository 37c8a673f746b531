//! How a source is read: the rules for its cursor, its pages and its order, checked against each
//! other. Says when what is read may be committed; the walk sees to it.

use std::time::Duration;

use jiff::Timestamp;

use super::block::Passes;
use super::cursor::{CursorKind, CursorRule};
use super::page::Order;
use super::pagination::{Drift, Pagination, StopWhen};
use super::position::{Position, Resume};

/// How a source is read: cursor and pages, checked against each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    pub(super) cursor: CursorRule,
    pub(super) pagination: Pagination,
    pub(super) order: Order,
    pub(super) drain: Drain,
    pub(super) drift: Drift,
    pub(super) keeping: Keeping,
    pub(super) passes: Passes,
    limit: Limit,
}

/// Whether a source that says that there is more is asked again at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Drain {
    /// It is.
    #[default]
    AtOnce,
    /// The schedule decides.
    OnSchedule,
}

/// When what was read is committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keeping {
    /// Items and cursor page by page.
    PerPage,
    /// Items page by page, the cursor with the last.
    CursorAtEnd,
    /// Items are staged, and committed with the cursor when known ground is reached: a newer item
    /// must not make the older ones look known.
    AtEnd,
}

/// Whether the cursor stays behind the start of the walk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Limit {
    /// It does.
    Kept,
    /// It does not, to show what is lost then.
    #[cfg(test)]
    Lifted,
}

/// Why rules for cursor, pages and order contradict each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RulesError {
    /// Rows that change move from page to page, and some are never seen.
    #[error(
        "rows of a list without order move between numbered pages, and a timestamp cursor loses \
         them: let the source sort by that time and write `order: asc`, which re-anchors"
    )]
    RowsMove,
    /// There is no time to take the list up at.
    #[error("`drift: reanchor` needs numbered pages, `order: asc` and a timestamp cursor")]
    NothingToAnchorAt,
    /// New items stand at the end of the list, which would never be reached.
    #[error("`stop_when: known` stops before the new items of a list with `order: asc`")]
    StopsBeforeNew,
    /// What is left out of an answer may be older than what is in it.
    #[error("`has_more` with a timestamp cursor needs `order: asc`")]
    MoreIsOlder,
}

impl Rules {
    /// Checks cursor, pages and order against each other.
    ///
    /// # Errors
    /// [`RulesError`] says which contradict each other.
    pub fn new(
        cursor: CursorRule,
        pagination: Pagination,
        order: Order,
        drain: Drain,
    ) -> Result<Self, RulesError> {
        let is_time = matches!(cursor.kind(), CursorKind::Timestamp(_));
        let can_anchor = is_time && order == Order::Asc && pagination.is_numbered();
        let drift = match pagination.drift() {
            Some(Drift::Reanchor) if !can_anchor => return Err(RulesError::NothingToAnchorAt),
            Some(drift) => drift,
            None if can_anchor => Drift::Reanchor,
            None => Drift::Ignore,
        };
        if is_time && pagination.is_numbered() && order == Order::None {
            return Err(RulesError::RowsMove);
        }
        if pagination.is_paged() && pagination.stop_when() == StopWhen::Known && order == Order::Asc
        {
            return Err(RulesError::StopsBeforeNew);
        }
        if is_time && cursor.may_have_more() && order != Order::Asc {
            return Err(RulesError::MoreIsOlder);
        }
        Ok(Self {
            keeping: Keeping::of(&cursor, &pagination, order),
            cursor,
            pagination,
            order,
            drain,
            drift,
            passes: Passes::UntilSteady,
            limit: Limit::Kept,
        })
    }

    /// The cursor's rules.
    pub fn cursor(&self) -> &CursorRule {
        &self.cursor
    }

    /// When what was read is committed.
    pub fn keeping(&self) -> Keeping {
        self.keeping
    }

    /// Whether the walk has to be told which items were seen before.
    pub fn asks_what_is_known(&self) -> bool {
        self.keeping == Keeping::AtEnd || self.pagination.stop_when() == StopWhen::Known
    }

    /// Whether items come with the newest first.
    pub fn is_newest_first(&self) -> bool {
        self.order == Order::Desc
    }

    /// The position of a source that begins anew: from this long ago on, or from the earliest.
    pub fn from_ago(&self, now: Timestamp, ago: Option<Duration>) -> Position {
        self.since(ago.map(|ago| now.saturating_sub(ago).unwrap_or(Timestamp::MIN)))
    }

    /// The position from which everything is read that is not older than this.
    pub fn since(&self, floor: Option<Timestamp>) -> Position {
        Position {
            floor,
            ..Position::default()
        }
    }

    /// The order that the source promises.
    pub fn order(&self) -> Order {
        self.order
    }

    /// What is done about items that move.
    pub fn drift(&self) -> Drift {
        self.drift
    }

    /// The last time that a walk which began then may move the cursor to.
    pub(super) fn limit(&self, started: Timestamp) -> Timestamp {
        match self.limit {
            Limit::Kept => self.cursor.limit(started),
            #[cfg(test)]
            Limit::Lifted => Timestamp::MAX,
        }
    }

    /// An unfinished walk in a new poll. What was read so far had long appeared when it was read:
    /// then the cursor need not stay behind the start of a poll that is over.
    pub(super) fn refreshed(&self, resume: Resume, poll_started: Timestamp) -> Resume {
        let is_settled = |time| self.cursor.is_settled(time, resume.started);
        let started = match resume.anchor {
            Some(anchor) if is_settled(anchor) && !resume.is_held => {
                resume.started.max(poll_started)
            }
            _ => resume.started,
        };
        Resume { started, ..resume }
    }
}

impl Keeping {
    fn of(cursor: &CursorRule, pagination: &Pagination, order: Order) -> Self {
        if !pagination.is_paged() {
            return Self::PerPage;
        }
        if pagination.stop_when() == StopWhen::Known {
            return Self::AtEnd;
        }
        match (cursor.kind(), order) {
            (CursorKind::Seen | CursorKind::None | CursorKind::Token { .. }, _) => {
                Self::CursorAtEnd
            }
            (_, Order::Asc) => Self::PerPage,
            (_, Order::Desc) => Self::AtEnd,
            (_, Order::None) => Self::CursorAtEnd,
        }
    }
}

#[cfg(test)]
impl Rules {
    /// The same, with one pass over rows of one time.
    pub(super) fn with_one_pass(self) -> Self {
        Self {
            passes: Passes::Once,
            ..self
        }
    }

    /// The same, with a cursor that may pass the start of the walk.
    pub(super) fn without_limit(self) -> Self {
        Self {
            limit: Limit::Lifted,
            ..self
        }
    }
}

#[cfg(test)]
pub(super) mod plan;
#[cfg(test)]
mod tests;
