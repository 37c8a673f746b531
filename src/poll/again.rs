//! A range of a source that is read once more, beside its cursor.
//!
//! It is part of the source's state: it goes on after a restart, page by page as any walk does, and
//! leaves the cursor, the validators and what is confirmed as they are.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::asking::Stop;
use super::items::{Extracted, Row};
use super::keys::digest;
use super::page::Order;
use super::position::Position;
use super::reading::{Ended, Reading};
use super::walk::Next;
use crate::event::keys::front;

/// So many polls may fail in a row before a range is given up: the source itself must go on.
pub const FAILURES_MAX: u32 = 3;

/// A range that is read once more.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Again {
    /// Items from before this time are not wanted; `None` = from the earliest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Timestamp>,
    /// Items from after this time are not wanted; `None` = up to the newest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Timestamp>,
    /// Whether items become events that were found before.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_forced: bool,
    /// When it was asked for.
    pub asked_at: Timestamp,
    /// How far it is read; `None` = it was not begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<Position>,
    /// Items that became events.
    #[serde(default)]
    pub new: u64,
    /// Items that were known.
    #[serde(default)]
    pub duplicates: u64,
    /// How many polls in a row have failed.
    #[serde(default)]
    pub failures: u32,
    /// How it has ended; `None` = it has not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<End>,
}

/// How the second reading of a range has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// When.
    pub at: Timestamp,
    /// Why it was given up; `None` = it was read whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub given_up: Option<String>,
}

impl Again {
    /// A range that was not begun.
    pub fn new(
        from: Option<Timestamp>,
        to: Option<Timestamp>,
        is_forced: bool,
        asked_at: Timestamp,
    ) -> Self {
        Self {
            from,
            to,
            is_forced,
            asked_at,
            position: None,
            new: 0,
            duplicates: 0,
            failures: 0,
            end: None,
        }
    }

    /// Whether there is something left to read.
    pub fn is_open(&self) -> bool {
        self.end.is_none()
    }

    /// Whether items are staged that belong to it.
    pub fn is_unfinished(&self) -> bool {
        let position = self.position.as_ref();
        self.is_open() && position.is_some_and(|position| position.resume.is_some())
    }

    /// Whether an item of this time is in the range; one without a time is, unless the range has an
    /// end.
    pub fn wants(&self, time: Option<Timestamp>) -> bool {
        match time {
            Some(time) => {
                self.from.is_none_or(|from| time >= from) && self.to.is_none_or(|to| time <= to)
            }
            None => self.to.is_none(),
        }
    }

    /// What an item of it is known by: by force, by a key of this reading alone, since pages overlap and
    /// a crash repeats one.
    pub(super) fn key(&self, key: [u8; 16]) -> [u8; 16] {
        if !self.is_forced {
            return key;
        }
        let asked_at = self.asked_at.to_string();
        front(&digest([&b"again"[..], asked_at.as_bytes(), &key]))
    }

    /// Whether what follows this page lies behind the range.
    pub fn is_passed(&self, page: &Extracted, order: Order) -> bool {
        let Some(to) = self.to.filter(|_| order == Order::Asc) else {
            return false;
        };
        let last = page.rows.iter().rev().find_map(Row::time);
        last.is_some_and(|last| last > to)
    }
}

impl Reading<'_> {
    /// Whether this poll reads a range once more: what is new and was begun comes first.
    pub(super) fn reads_again(&self) -> bool {
        let position = self.state.position.as_ref();
        let is_begun = position.is_some_and(|position| position.resume.is_some());
        self.state.again.as_ref().is_some_and(Again::is_open) && !is_begun
    }

    /// The range that this poll reads once more.
    pub(super) fn range(&mut self) -> Option<&mut Again> {
        self.state.again.as_mut().filter(|_| self.is_again)
    }

    /// Where the walk of this poll is.
    pub(super) fn position(&self) -> Option<Position> {
        match &self.state.again {
            Some(again) if self.is_again => {
                let begin = || self.source.rules.since(again.from);
                Some(again.position.clone().unwrap_or_else(begin))
            }
            _ => self.state.position.clone(),
        }
    }

    /// Whether what follows this page lies behind the range that is read once more.
    pub(super) fn is_passed(&self, page: &Extracted) -> bool {
        let again = self.state.again.as_ref().filter(|_| self.is_again);
        again.is_some_and(|again| again.is_passed(page, self.source.rules.order()))
    }

    /// Ends the poll, and the second reading with it if it has come to its end. The next poll reads on,
    /// or what is new.
    pub(super) async fn again_read(&mut self, next: Next, is_passed: bool) -> Result<Ended, Stop> {
        match next {
            Next::Done(end) if end.is_truncated() && !is_passed => {}
            Next::Stuck(stuck) => self.end_again(Some(stuck.label().to_owned())).await?,
            Next::More | Next::Done(_) | Next::Pause(_) => self.end_again(None).await?,
        }
        Ok(Ended::More)
    }

    /// Notes that a range is read, or why it is not. What is staged of it is forgotten.
    pub(super) async fn end_again(&mut self, given_up: Option<String>) -> Result<(), Stop> {
        let at = self.tools.clock.now();
        let source = self.source.label(self.partition);
        let end = End { at, given_up };
        if let Some(again) = self.range() {
            let (new, duplicates) = (again.new, again.duplicates);
            match &end.given_up {
                None => tracing::info!(source, new, duplicates, "the range is read once more"),
                Some(why) => {
                    tracing::warn!(source, new, duplicates, "the range is given up: {why}")
                }
            }
            again.end = Some(end);
            again.position = None;
        }
        let had_staged = !self.attic.staged.is_empty();
        self.attic.staged.clear();
        let attic = had_staged.then(|| self.attic.text());
        self.advance(Vec::new(), Vec::new(), attic).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_range_has_both_its_ends() {
        let check = |from: Option<i64>, to: Option<i64>, time: Option<i64>, expected: bool| {
            let again = Again::new(from.map(at), to.map(at), false, at(0));
            assert_eq!(
                again.wants(time.map(at)),
                expected,
                "{from:?} {to:?} {time:?}"
            );
        };
        check(Some(5), Some(9), Some(4), false);
        check(Some(5), Some(9), Some(5), true);
        check(Some(5), Some(9), Some(9), true);
        check(Some(5), Some(9), Some(10), false);
        check(None, Some(9), Some(-100), true);
        check(Some(5), None, Some(100), true);
        check(Some(5), None, None, true);
        check(Some(5), Some(9), None, false);
    }

    #[test]
    fn it_outlasts_the_process() {
        let again = Again {
            position: Some(Position::default()),
            end: Some(End {
                at: at(7),
                given_up: Some("why".to_owned()),
            }),
            ..Again::new(Some(at(1)), Some(at(2)), true, at(3))
        };
        let text = serde_json::to_string(&again).unwrap();
        assert_eq!(serde_json::from_str::<Again>(&text).unwrap(), again);
        assert!(!again.is_open() && Again::new(None, None, false, at(0)).is_open());
    }
}
