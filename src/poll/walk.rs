//! Reading a source without loss: which request comes next, and what may be committed when its
//! answer is there.
//!
//! A state machine without I/O. Between requests there is nothing but the [`Position`]: a walk that
//! is built from the committed one asks what the walk that was lost would have asked. How items are
//! stored, sent on or staged is not decided here.
//!
//! ```text
//! Walk::new(position) → request() → (send, decode, select) → see(page) → (commit) → request() → …
//! ```

use jiff::Timestamp;
use serde_json::Value;

use super::block::{After, Block};
use super::cursor::value::fits;
use super::cursor::{Breach, CursorKind, NoValue, PositionError};
use super::page::{Order, Page, Standing, digest};
use super::pagination::{Drift, End, Onward, PageRequest, StopWhen, Stuck};
use super::position::{Place, Position, Resume};
use super::rules::{Drain, Keeping, Rules};

pub use step::{Commit, Next, Remark, Step, Take};

mod step;

/// One poll's reading of a source.
#[derive(Debug, Clone)]
pub struct Walk<'r> {
    rules: &'r Rules,
    /// What is read so far; the unfinished walk is in `at`.
    position: Position,
    at: Resume,
    is_first: bool,
    pages: u32,
    until: Timestamp,
}

/// What a page means for the walk.
enum Turn {
    /// The list goes on.
    Onward,
    /// It is read, and nothing follows in this poll.
    Over(End),
    /// It is read, and the source has more for the new cursor.
    Anew(End),
}

/// Why a page ends the walk early.
enum Halt {
    Stuck(Stuck),
    Breach(Breach),
}

impl<'r> Walk<'r> {
    /// Begins where the last poll was; `None` = there was none. From `until` on, no page is followed
    /// by another.
    ///
    /// # Errors
    /// [`PositionError`] when the stored cursor is not of the kind that is configured.
    pub fn new(
        rules: &'r Rules,
        committed: Option<Position>,
        poll_started: Timestamp,
        until: Timestamp,
    ) -> Result<Self, PositionError> {
        let mut position = committed.unwrap_or_else(|| rules.cursor.first(poll_started));
        let bound = rules.cursor.bound(&position)?;
        let unfinished = position.resume.take();
        let unfinished = unfinished.filter(|resume| rules.pagination.knows(&resume.place));
        Ok(Self {
            rules,
            position,
            is_first: unfinished.is_none(),
            at: match unfinished {
                Some(resume) => rules.refreshed(resume, poll_started),
                None => Resume::begin(poll_started, bound),
            },
            pages: 0,
            until,
        })
    }

    /// The next request.
    pub fn request(&self) -> PageRequest {
        let cursor = self
            .rules
            .cursor
            .asked(self.at.bound.as_ref(), self.at.anchor);
        let mut request = PageRequest {
            cursor,
            is_first: self.is_first,
            ..PageRequest::default()
        };
        self.rules.pagination.ask(&self.at.place, &mut request);
        request
    }

    /// Takes the answer to the request.
    pub fn see(&mut self, page: &Page<'_>, now: Timestamp) -> Step {
        self.pages = self.pages.saturating_add(1);
        self.is_first = false;
        let take = self.take();
        let mut remarks = Vec::new();
        if self.is_out_of_order(page) {
            remarks.push(Remark::OutOfOrder);
            self.at.is_held = true;
        }
        let turn = self.turn(page, &mut remarks);
        let (commit, next) = self.outcome(turn, now);
        Step {
            commit,
            take,
            next,
            remarks,
        }
    }

    fn is_out_of_order(&self, page: &Page<'_>) -> bool {
        let rules = self.rules;
        // Pages that overlap, or that were taken up at a time, begin with what was read.
        let follows = rules.order == Order::Asc
            && rules.drift == Drift::Ignore
            && rules.pagination.is_paged();
        let high = rules.cursor.time(self.at.high.as_ref());
        let goes_back = match (high, page.span()) {
            (Some(high), Some((first, _))) => follows && first < high,
            _ => false,
        };
        goes_back || rules.cursor.is_out_of_order(page.items, rules.order)
    }

    fn take(&self) -> Take {
        if self.position.is_learning {
            return Take::Learn;
        }
        let bound = self.rules.cursor.time(self.at.bound.as_ref());
        // A cursor that is no time does not hold the oldest time that is wanted.
        let since = bound.or(self.position.floor);
        since.map_or(Take::All, Take::Since)
    }

    fn turn(&mut self, page: &Page<'_>, remarks: &mut Vec<Remark>) -> Result<Turn, Halt> {
        let was_in_block = self.at.block.is_some();
        let onward = self.onward(page, remarks);
        // Rows may hide before a page of a block, and before one that drifted.
        let waits = self.at.is_held
            || was_in_block
            || self.at.block.is_some()
            || remarks.contains(&Remark::Drifted);
        let mark = self.mark(page)?;
        if self.rules.keeping == Keeping::PerPage && !waits {
            self.advance(mark)?;
        }
        match onward? {
            Onward::End(end) => self.finish(page, end),
            Onward::Next(_) if self.is_known_ground(page, remarks) => self.finish(page, End::Known),
            Onward::Next(place) => {
                if place
                    .named()
                    .is_some_and(|name| self.at.guard.is_back(name))
                {
                    return Err(Halt::Stuck(Stuck::SameToken));
                }
                self.at.place = place;
                Ok(Turn::Onward)
            }
        }
    }

    fn outcome(&mut self, turn: Result<Turn, Halt>, now: Timestamp) -> (Commit, Next) {
        let limited = if self.pages >= self.rules.pagination.pages_max() {
            Some(End::PageLimit)
        } else if now >= self.until {
            Some(End::OutOfTime)
        } else {
            None
        };
        let more = limited.map_or(Next::More, Next::Done);
        let unfinished = || Position {
            resume: Some(self.at.clone()),
            ..self.position.clone()
        };
        match turn {
            Ok(Turn::Onward) if self.rules.keeping == Keeping::AtEnd => {
                (Commit::Later(unfinished()), more)
            }
            Ok(Turn::Onward) => (Commit::Now(unfinished()), more),
            Ok(Turn::Anew(_)) if self.rules.drain == Drain::AtOnce => {
                (Commit::Now(unfinished()), more)
            }
            Ok(Turn::Over(end) | Turn::Anew(end)) => {
                (Commit::Now(self.position.clone()), Next::Done(end))
            }
            Err(Halt::Stuck(stuck)) if self.rules.keeping == Keeping::AtEnd => {
                (Commit::Drop(self.position.clone()), Next::Stuck(stuck))
            }
            Err(Halt::Stuck(stuck)) => (Commit::Now(self.position.clone()), Next::Stuck(stuck)),
            Err(Halt::Breach(breach)) => (Commit::Drop(self.position.clone()), Next::Pause(breach)),
        }
    }

    /// Where the list goes on, with what is done about items that move.
    fn onward(&mut self, page: &Page<'_>, remarks: &mut Vec<Remark>) -> Result<Onward, Stuck> {
        let name = page.digest();
        if name.is_some() && self.at.last_page == name {
            return Err(Stuck::SamePage);
        }
        self.at.last_page = name;
        match self.rules.drift {
            // The last time of a page without order is no place to take a list up at.
            Drift::Reanchor if self.at.is_held => self.by_numbers(page),
            Drift::Ignore => self.rules.pagination.onward(page, &self.at.place),
            Drift::Reanchor => {
                let onward = self.rules.pagination.onward(page, &self.at.place)?;
                Ok(self.reanchored(page, onward))
            }
            Drift::OverlapRows(_) => self.overlapped(page, remarks),
        }
    }

    /// Takes the list up at the last time seen, so that rows which left earlier pages hide none.
    fn reanchored(&mut self, page: &Page<'_>, onward: Onward) -> Onward {
        if let Some(block) = self.at.block {
            return self.walked(block, page, onward);
        }
        let Onward::Next(place) = onward else {
            return onward;
        };
        let from = self.anchor();
        let last = match page.span() {
            Some((first, last)) if first < last && from.is_none_or(|from| last > from) => {
                return self.anchored_at(last);
            }
            span => span.map(|(_, last)| last),
        };
        // One time fills the page: what is left of it can only be on the next ones.
        self.at.anchor = from.max(last);
        let mut block = Block::default();
        block.add(page.items, self.at.anchor);
        self.at.block = Some(block);
        Onward::Next(place)
    }

    /// Walks the pages of one time, again and again until nothing moves.
    fn walked(&mut self, mut block: Block, page: &Page<'_>, onward: Onward) -> Onward {
        let is_past = block.add(page.items, self.anchor());
        let end = match onward {
            Onward::Next(place) if !is_past => {
                self.at.block = Some(block);
                return Onward::Next(place);
            }
            Onward::Next(_) => End::Short,
            Onward::End(end) => end,
        };
        let after = block.turn(self.rules.passes);
        self.at.block = Some(block);
        match after {
            After::Again => {
                self.at.last_page = None;
                Onward::Next(Place::First)
            }
            After::Beyond(Some(time)) => self.anchored_at(time),
            After::Beyond(None) => {
                self.at.block = None;
                Onward::End(end)
            }
        }
    }

    /// Reads the rest of the list page by page.
    fn by_numbers(&mut self, page: &Page<'_>) -> Result<Onward, Stuck> {
        let onward = self.rules.pagination.onward(page, &self.at.place)?;
        Ok(match self.at.block.take() {
            Some(_) => {
                self.at.last_page = None;
                Onward::Next(Place::First)
            }
            None => onward,
        })
    }

    fn anchored_at(&mut self, time: Timestamp) -> Onward {
        self.at.anchor = Some(time);
        self.at.block = None;
        self.at.last_page = None;
        Onward::Next(Place::First)
    }

    /// The time that the list is read from.
    fn anchor(&self) -> Option<Timestamp> {
        let bound = self.rules.cursor.time(self.at.bound.as_ref());
        self.at.anchor.or(bound)
    }

    /// Lets pages overlap, and steps back when what they should share is gone.
    fn overlapped(&mut self, page: &Page<'_>, remarks: &mut Vec<Remark>) -> Result<Onward, Stuck> {
        let onward = self.rules.pagination.onward(page, &self.at.place)?;
        let Some(seam) = self.rules.pagination.seam(&self.at.place) else {
            return Ok(onward);
        };
        if let Some(tail) = self.at.tail.take() {
            let mut shared = page.items.iter().take(seam.rows.get());
            if !shared.any(|seen| seen.digest() == tail) {
                remarks.push(Remark::Drifted);
                self.at.last_page = None;
                return Ok(Onward::Next(seam.back));
            }
            if page.raw_count <= seam.rows.get() {
                return Ok(Onward::End(End::Empty));
            }
        }
        let Onward::Next(next) = onward else {
            return Ok(onward);
        };
        let Some(overlapped) = seam.overlapped(page, &next) else {
            return Ok(Onward::Next(next));
        };
        self.at.tail = page.items.last().map(|seen| seen.digest());
        Ok(Onward::Next(overlapped))
    }

    /// What the page alone says of the cursor; kept for the end of the list as well.
    fn mark(&mut self, page: &Page<'_>) -> Result<Option<Value>, Halt> {
        let rule = &self.rules.cursor;
        let limit = self.rules.limit(self.at.started);
        let mark = rule.mark(page, self.rules.order, limit)?;
        if mark.as_ref().is_some_and(|mark| !fits(mark)) {
            return Err(Halt::Breach(Breach::NotComparable));
        }
        let high = self.at.high.take();
        self.at.high = rule.join(high, mark.clone(), self.rules.order);
        Ok(mark)
    }

    fn advance(&mut self, mark: Option<Value>) -> Result<(), Breach> {
        if let Some(mark) = mark {
            let old = self.position.cursor.as_ref();
            self.position.cursor = Some(self.rules.cursor.moved(old, mark)?);
        }
        Ok(())
    }

    /// Whether everything after this page was read before.
    fn is_known_ground(&self, page: &Page<'_>, remarks: &[Remark]) -> bool {
        if self.rules.keeping != Keeping::AtEnd {
            return false;
        }
        let mut standings = page.items.iter().map(|seen| seen.standing);
        let is_known = self.rules.pagination.stop_when() == StopWhen::Known
            && standings
                .clone()
                .any(|standing| standing == Standing::Known)
            && standings.all(|standing| standing != Standing::New);
        let is_ordered = self.rules.order == Order::Desc && remarks.is_empty();
        let bound = self.rules.cursor.time(self.at.bound.as_ref());
        let is_older = match (bound, page.span()) {
            (Some(bound), Some((_, last))) => last < bound,
            _ => false,
        };
        let is_met = self
            .rules
            .cursor
            .is_met(self.position.cursor.as_ref(), page.items);
        is_known || is_ordered && (is_older || is_met)
    }

    /// Moves the cursor to what the whole list said.
    fn finish(&mut self, page: &Page<'_>, end: End) -> Result<Turn, Halt> {
        let has_more = self.rules.cursor.has_more(page);
        if has_more && self.at.is_held {
            return Err(Halt::Stuck(Stuck::NoProgress));
        }
        let high = self.at.high.take();
        self.advance(high)?;
        if !has_more {
            self.position.is_learning = false;
            if !self.rules.cursor.is_time() {
                // Whatever comes now is new, whatever its time.
                self.position.floor = None;
            }
            return Ok(Turn::Over(end));
        }
        if self.rules.drain == Drain::AtOnce {
            self.begin_anew(page)?;
        }
        Ok(Turn::Anew(end))
    }

    /// Begins another walk at the new cursor.
    fn begin_anew(&mut self, page: &Page<'_>) -> Result<(), Halt> {
        let rule = &self.rules.cursor;
        match rule.kind() {
            // The source hands items out once: the same request brings the next ones.
            CursorKind::Seen | CursorKind::None => {}
            CursorKind::Timestamp(_) => {
                let last = page.span().map(|(_, last)| last);
                if last <= self.anchor() {
                    return Err(Halt::Stuck(Stuck::NoProgress));
                }
                self.at.anchor = last;
            }
            CursorKind::NextId(_) | CursorKind::LastId(_) | CursorKind::Token { .. } => {
                let bound = self.position.cursor.clone();
                if bound == self.at.bound {
                    return Err(Halt::Stuck(Stuck::NoProgress));
                }
                let name = bound.as_ref().map(Value::to_string).unwrap_or_default();
                if self.at.guard.is_back(digest(name.as_bytes())) {
                    return Err(Halt::Stuck(Stuck::SameToken));
                }
                self.at.bound = bound;
            }
        }
        self.at.place = Place::First;
        Ok(())
    }
}

impl From<Stuck> for Halt {
    fn from(stuck: Stuck) -> Self {
        Self::Stuck(stuck)
    }
}

impl From<Breach> for Halt {
    fn from(breach: Breach) -> Self {
        Self::Breach(breach)
    }
}

impl From<NoValue> for Halt {
    fn from(_: NoValue) -> Self {
        Self::Stuck(Stuck::NoCursor)
    }
}

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
