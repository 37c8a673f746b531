//! Rules for tests, of which each test says what matters to it.

use std::num::NonZeroU32;
use std::time::Duration;

use super::super::cursor::{
    Compare, Confirm, CursorKind, CursorRule, HasMore, IdCursor, LowerBound, Start, TimeCursor,
};
use super::super::page::Order;
use super::super::pagination::{Drift, Pagination, Paginator, Stop, StopWhen};
use super::super::selector::Selector;
use super::{Drain, Rules, RulesError};

/// Everything that rules are made of.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) cursor: CursorKind,
    pub(crate) has_more: HasMore,
    pub(crate) start: Start,
    pub(crate) pages: Paginator,
    pub(crate) pages_max: u32,
    pub(crate) drift: Option<Drift>,
    pub(crate) stop_when: StopWhen,
    pub(crate) order: Order,
    pub(crate) drain: Drain,
}

impl Plan {
    /// Ids that are remembered, everything from the earliest on, one page.
    pub(crate) fn new(cursor: CursorKind, pages: Paginator) -> Self {
        Self {
            cursor,
            has_more: HasMore::Unsaid,
            start: Start::Earliest,
            pages,
            pages_max: 100,
            drift: None,
            stop_when: StopWhen::Exhausted,
            order: Order::None,
            drain: Drain::AtOnce,
        }
    }

    pub(crate) fn asc(self) -> Self {
        Self {
            order: Order::Asc,
            ..self
        }
    }

    pub(crate) fn desc(self) -> Self {
        Self {
            order: Order::Desc,
            ..self
        }
    }

    pub(crate) fn build(self) -> Result<Rules, RulesError> {
        let cursor =
            CursorRule::new(self.cursor, self.has_more, self.start, Confirm::Never).unwrap();
        let pages_max = NonZeroU32::new(self.pages_max).unwrap();
        let pagination =
            Pagination::new(self.pages, pages_max, self.drift, self.stop_when).unwrap();
        Rules::new(cursor, pagination, self.order, self.drain)
    }

    pub(crate) fn rules(self) -> Rules {
        self.build().unwrap()
    }
}

pub(crate) fn selector(text: &str) -> Selector {
    Selector::new(text).unwrap()
}

/// Overlap and settle in seconds.
pub(crate) fn time(overlap: u64, settle: u64) -> CursorKind {
    CursorKind::Timestamp(TimeCursor {
        overlap: Duration::from_secs(overlap),
        settle: Duration::from_secs(settle),
        lower: LowerBound::Inclusive,
    })
}

pub(crate) fn id(compare: Compare) -> IdCursor {
    IdCursor {
        field: selector("$.id"),
        compare,
    }
}

/// Pages `page=1, 2, …` of so many items.
pub(crate) fn pages(size: u32, stop: Stop) -> Paginator {
    Paginator::Page {
        param: "page".to_owned(),
        start: 1,
        size_param: None,
        size: NonZeroU32::new(size),
        stop,
    }
}

/// Pages `offset=0, …` of so many items.
pub(crate) fn offsets(limit: u32, stop: Stop) -> Paginator {
    Paginator::Offset {
        param: "offset".to_owned(),
        limit_param: Some("limit".to_owned()),
        limit: NonZeroU32::new(limit).unwrap(),
        stop,
    }
}
