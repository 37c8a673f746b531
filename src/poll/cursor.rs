//! Where a source's cursor goes: what a page says it should become, and whether it may.
//!
//! Values are parsed before they are compared, never compared as text. Knows nothing of pages after
//! this one: when the cursor moves is decided by the walk.

use std::cmp::Ordering;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use super::page::{Order, Page, Seen};
use super::position::Position;
use super::selector::{Origin, Selector};
use value::time_of;

pub use value::{Compare, VALUE_BYTES_MAX};

pub mod value;

/// The longest `overlap`, `settle` or look back of `start`.
pub const SPAN_MAX: Duration = Duration::from_secs(10 * 366 * 24 * 60 * 60);

/// What is remembered of what was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CursorKind {
    /// Nothing: an item is new when its id was not seen before.
    Seen,
    /// The time of the newest item.
    Timestamp(TimeCursor),
    /// What the source should begin with, made of the last id.
    NextId(IdCursor),
    /// The last id.
    LastId(IdCursor),
    /// What the source says, as it says it.
    Token {
        /// Where it says it.
        from: Origin,
        /// How it is checked; [`Compare::Auto`] does not.
        compare: Compare,
    },
    /// Nothing at all.
    None,
}

/// A cursor that is a time. The page's items carry the times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeCursor {
    /// How much is read again every time: at least as long as a row takes to appear.
    pub overlap: Duration,
    /// How far the cursor stays behind the start of the poll.
    pub settle: Duration,
    /// Whether rows of exactly this time come back.
    pub lower: LowerBound,
}

/// Whether a source returns what equals the cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LowerBound {
    /// It does.
    Inclusive,
    /// It does not: one unit earlier is asked for.
    Exclusive {
        /// What the last digit of the time in the request stands for.
        unit: Duration,
    },
}

/// A cursor that is an id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdCursor {
    /// Where it stands in an item.
    pub field: Selector,
    /// How it is checked.
    pub compare: Compare,
}

/// Whether the source has more for the new cursor.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum HasMore {
    /// It does not say.
    #[default]
    Unsaid,
    /// It says so in the body.
    Selected(Selector),
    /// An expression says so; its value comes with the page.
    Expression,
}

/// Where the first poll begins.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Start {
    /// Only what comes from now on is wanted.
    #[default]
    Now,
    /// Everything is wanted.
    Earliest,
    /// What is not older than this is wanted.
    At(Timestamp),
    /// What is not older than this, counted back from the first poll, is wanted.
    Ago(Duration),
    /// The cursor of the first request.
    Value(Value),
}

/// How the source learns that items may be forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Confirm {
    /// Not at all.
    #[default]
    Never,
    /// By the next request.
    NextRequest,
    /// By a request of its own.
    Call,
}

/// Checked rules for a cursor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CursorRule {
    kind: CursorKind,
    has_more: HasMore,
    start: Start,
}

/// Why rules contradict each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CursorError {
    /// A first poll would make the source forget what it has.
    #[error(
        "`start: now` reads what there is without delivering it, and this source forgets what was \
         read: write `start: earliest`"
    )]
    NowErases,
    /// A time to start at, for a cursor that is none.
    #[error("only a timestamp cursor starts at a time: write `start: now`, `earliest` or `value`")]
    StartIsTime,
    /// A value to start at, for a cursor that has none or is a time.
    #[error("a {0} cursor does not start at a value: write `start: now`, `earliest` or a time")]
    StartIsValue(&'static str),
    /// A span that is too long.
    #[error("`{0}` is longer than ten years")]
    SpanTooLong(&'static str),
    /// A unit of nothing.
    #[error("a source that leaves out what equals the cursor needs a unit to step back by")]
    NoUnit,
}

/// Why a stored cursor cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PositionError {
    /// It should be a time.
    #[error("the stored cursor is no time, and the source has a timestamp cursor")]
    NotATime,
}

/// A promise about the cursor that the source broke: the source is paused, and nothing of the page
/// is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Breach {
    /// The cursor got smaller.
    WentBack,
    /// The cursor is not what it should be compared as, or longer than [`VALUE_BYTES_MAX`].
    NotComparable,
}

impl Breach {
    /// The word for metrics, JSON and the log.
    pub fn label(self) -> &'static str {
        match self {
            Self::WentBack => "went_back",
            Self::NotComparable => "not_comparable",
        }
    }
}

/// The last item has no value for the cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NoValue;

impl CursorRule {
    /// Checks the keys of `cursor:` against each other.
    ///
    /// # Errors
    /// [`CursorError`] says which contradict each other.
    pub fn new(
        kind: CursorKind,
        has_more: HasMore,
        start: Start,
        confirm: Confirm,
    ) -> Result<Self, CursorError> {
        if start == Start::Now && confirm != Confirm::Never {
            return Err(CursorError::NowErases);
        }
        if let CursorKind::Timestamp(time) = &kind {
            time.check()?;
        }
        match (&kind, &start) {
            (CursorKind::Timestamp(_), Start::Value(_)) => {
                Err(CursorError::StartIsValue("timestamp"))
            }
            (CursorKind::Seen, Start::Value(_)) => Err(CursorError::StartIsValue("seen")),
            (CursorKind::None, Start::Value(_)) => Err(CursorError::StartIsValue("none")),
            (CursorKind::Timestamp(_), Start::Ago(span)) if *span > SPAN_MAX => {
                Err(CursorError::SpanTooLong("start"))
            }
            (CursorKind::Timestamp(_), _) => Ok(()),
            (_, Start::At(_) | Start::Ago(_)) => Err(CursorError::StartIsTime),
            _ => Ok(()),
        }?;
        Ok(Self {
            kind,
            has_more,
            start,
        })
    }

    /// Whether it is a time.
    pub fn is_time(&self) -> bool {
        matches!(self.kind, CursorKind::Timestamp(_))
    }

    /// Its kind.
    pub fn kind(&self) -> &CursorKind {
        &self.kind
    }

    /// The position of a source that was never polled.
    pub fn first(&self, poll_started: Timestamp) -> Position {
        let is_time = matches!(self.kind, CursorKind::Timestamp(_));
        let floor = match &self.start {
            Start::Now if is_time => Some(poll_started),
            Start::At(time) => Some(*time),
            Start::Ago(span) => Some(earlier(poll_started, *span)),
            _ => None,
        };
        let cursor = match &self.start {
            Start::Value(value) => Some(value.clone()),
            _ => None,
        };
        let is_learnt = is_time || matches!(self.kind, CursorKind::None);
        Position {
            cursor,
            floor,
            is_learning: self.start == Start::Now && !is_learnt,
            resume: None,
        }
    }

    /// The oldest time that may still be read. What is remembered of younger items must not be
    /// forgotten, however long ago they were seen. `None` = the cursor is no time, or there is none.
    ///
    /// # Errors
    /// [`PositionError`].
    pub fn horizon(&self, position: &Position) -> Result<Option<Timestamp>, PositionError> {
        let resumed = position.resume.as_ref();
        let resumed = resumed.and_then(|resume| self.time(resume.bound.as_ref()));
        let from = self.since(position)?;
        Ok(match (resumed, from) {
            (Some(resumed), Some(from)) => Some(resumed.min(from)),
            (_, from) => from,
        })
    }

    /// What `${{ cursor }}` is counted from in the requests of a walk that begins here; without the
    /// unit by which an exclusive bound is lowered.
    pub(super) fn bound(&self, position: &Position) -> Result<Option<Value>, PositionError> {
        match &self.kind {
            CursorKind::Timestamp(_) => Ok(self.since(position)?.map(text_of)),
            CursorKind::Seen | CursorKind::None => Ok(None),
            CursorKind::NextId(_) | CursorKind::LastId(_) | CursorKind::Token { .. } => {
                Ok(position.cursor.clone())
            }
        }
    }

    /// The cursor less the overlap, but nothing before the start: an overlap is never taken off that.
    fn since(&self, position: &Position) -> Result<Option<Timestamp>, PositionError> {
        let CursorKind::Timestamp(rule) = &self.kind else {
            return Ok(None);
        };
        let Some(cursor) = &position.cursor else {
            return Ok(position.floor);
        };
        let cursor = time_of(cursor).ok_or(PositionError::NotATime)?;
        let since = earlier(cursor, rule.overlap);
        Ok(Some(position.floor.map_or(since, |floor| since.max(floor))))
    }

    /// The time that a bound stands for; `None` = there is none, or the cursor is no time.
    pub(super) fn time(&self, bound: Option<&Value>) -> Option<Timestamp> {
        match &self.kind {
            CursorKind::Timestamp(_) => bound.and_then(time_of),
            _ => None,
        }
    }

    /// What `${{ cursor }}` is for a bound.
    pub(super) fn asked(&self, bound: Option<&Value>, anchor: Option<Timestamp>) -> Option<Value> {
        let CursorKind::Timestamp(rule) = &self.kind else {
            return bound.cloned();
        };
        let time = anchor.or_else(|| bound.and_then(time_of))?;
        Some(text_of(match rule.lower {
            LowerBound::Inclusive => time,
            LowerBound::Exclusive { unit } => earlier(time, unit),
        }))
    }

    /// The last time that a walk which began then may move the cursor to.
    pub(super) fn limit(&self, started: Timestamp) -> Timestamp {
        match &self.kind {
            CursorKind::Timestamp(rule) => earlier(started, rule.settle),
            _ => Timestamp::MAX,
        }
    }

    /// Whether everything up to a time had appeared when a walk began, overlap and all.
    pub(super) fn is_settled(&self, time: Timestamp, started: Timestamp) -> bool {
        match &self.kind {
            CursorKind::Timestamp(rule) => time <= earlier(self.limit(started), rule.overlap),
            _ => false,
        }
    }

    /// What a page says the cursor should become; `None` = it says nothing.
    pub(super) fn mark(
        &self,
        page: &Page<'_>,
        order: Order,
        limit: Timestamp,
    ) -> Result<Option<Value>, NoValue> {
        match &self.kind {
            CursorKind::Seen | CursorKind::None => Ok(None),
            // What lies past the limit does not count at all, so that it cannot drag the cursor.
            CursorKind::Timestamp(_) => {
                let times = page.items.iter().filter_map(|seen| seen.time);
                Ok(times.filter(|time| *time <= limit).max().map(text_of))
            }
            CursorKind::Token { from, .. } => Ok(page.value_at(from)),
            CursorKind::LastId(rule) => rule.last(page, order).map(|last| last.cloned()),
            CursorKind::NextId(rule) => match rule.last(page, order)? {
                Some(last) => (page.next_id)(last).map(Some).map_err(|_| NoValue),
                None => Ok(None),
            },
        }
    }

    /// The mark of a walk after one more page.
    pub(super) fn join(
        &self,
        high: Option<Value>,
        mark: Option<Value>,
        order: Order,
    ) -> Option<Value> {
        let (Some(old), Some(new)) = (&high, &mark) else {
            return high.or(mark);
        };
        let takes_new = match (&self.kind, order) {
            (CursorKind::Timestamp(_), _) => time_of(new) > time_of(old),
            (CursorKind::Token { .. }, _) | (_, Order::Asc) => true,
            (_, Order::Desc) => false,
            (_, Order::None) => self.compare(new, old) != Ok(Some(Ordering::Less)),
        };
        if takes_new { mark } else { high }
    }

    /// The cursor after a move.
    pub(super) fn moved(&self, old: Option<&Value>, new: Value) -> Result<Value, Breach> {
        let Some(old) = old else {
            return Ok(new);
        };
        match (&self.kind, self.compare(&new, old)?) {
            // What was read again is older than the cursor.
            (CursorKind::Timestamp(_), Some(Ordering::Less)) => Ok(old.clone()),
            (_, Some(Ordering::Less)) => Err(Breach::WentBack),
            (_, Some(Ordering::Equal | Ordering::Greater) | None) => Ok(new),
        }
    }

    /// `None` = they are not compared.
    fn compare(&self, new: &Value, old: &Value) -> Result<Option<Ordering>, Breach> {
        match &self.kind {
            CursorKind::Timestamp(_) => Compare::Time.order(new, old),
            CursorKind::NextId(rule) | CursorKind::LastId(rule) => rule.compare.order(new, old),
            CursorKind::Token {
                compare: Compare::Auto,
                ..
            } => Ok(None),
            CursorKind::Token { compare, .. } => compare.order(new, old),
            CursorKind::Seen | CursorKind::None => Ok(None),
        }
    }

    /// Whether the items of a page break the order that was promised.
    pub(super) fn is_out_of_order(&self, items: &[Seen<'_>], order: Order) -> bool {
        let wrong = match order {
            Order::Asc => Ordering::Greater,
            Order::Desc => Ordering::Less,
            Order::None => return false,
        };
        let mut pairs = items.iter().zip(items.iter().skip(1));
        pairs.any(|(one, other)| self.order_of(one, other) == Some(wrong))
    }

    fn order_of(&self, one: &Seen<'_>, other: &Seen<'_>) -> Option<Ordering> {
        if let CursorKind::NextId(rule) | CursorKind::LastId(rule) = &self.kind {
            let (one, other) = (rule.field.first(one.item)?, rule.field.first(other.item)?);
            return rule.compare.order(one, other).ok().flatten();
        }
        Some(one.time?.cmp(&other.time?))
    }

    /// Whether a page has the item that the cursor was made of.
    pub(super) fn is_met(&self, cursor: Option<&Value>, items: &[Seen<'_>]) -> bool {
        let (CursorKind::LastId(rule), Some(cursor)) = (&self.kind, cursor) else {
            return false;
        };
        let mut ids = items.iter().filter_map(|seen| rule.field.first(seen.item));
        ids.any(|id| id == cursor)
    }

    /// Whether the source says that there is more.
    pub(super) fn has_more(&self, page: &Page<'_>) -> bool {
        match &self.has_more {
            HasMore::Unsaid => false,
            HasMore::Selected(selector) => selector.says_yes(page.body),
            HasMore::Expression => page.has_more.unwrap_or(false),
        }
    }

    /// Whether the source can say that there is more.
    pub(super) fn may_have_more(&self) -> bool {
        self.has_more != HasMore::Unsaid
    }
}

impl TimeCursor {
    fn check(&self) -> Result<(), CursorError> {
        let is_long = |span: Duration| span > SPAN_MAX;
        match self.lower {
            _ if is_long(self.overlap) => Err(CursorError::SpanTooLong("overlap")),
            _ if is_long(self.settle) => Err(CursorError::SpanTooLong("settle")),
            LowerBound::Exclusive { unit } if unit.is_zero() => Err(CursorError::NoUnit),
            LowerBound::Exclusive { unit } if is_long(unit) => {
                Err(CursorError::SpanTooLong("unit"))
            }
            LowerBound::Inclusive | LowerBound::Exclusive { .. } => Ok(()),
        }
    }
}

impl IdCursor {
    /// The id of the newest item of a page; `None` = the page is empty.
    fn last<'p>(&self, page: &Page<'p>, order: Order) -> Result<Option<&'p Value>, NoValue> {
        let id = |seen: &Seen<'p>| self.field.first(seen.item).filter(|id| !id.is_null());
        let newest = match order {
            Order::Asc => page.items.last().map(id),
            Order::Desc => page.items.first().map(id),
            Order::None => page.items.iter().map(id).reduce(|high, next| {
                let (Some(old), Some(new)) = (high, next) else {
                    return None;
                };
                match self.compare.order(new, old) {
                    Ok(Some(Ordering::Less)) => high,
                    Ok(_) | Err(_) => next,
                }
            }),
        };
        newest.map(|id| id.ok_or(NoValue)).transpose()
    }
}

fn text_of(time: Timestamp) -> Value {
    Value::String(time.to_string())
}

fn earlier(time: Timestamp, span: Duration) -> Timestamp {
    time.checked_sub(span).unwrap_or(Timestamp::MIN)
}

#[cfg(test)]
mod tests;
