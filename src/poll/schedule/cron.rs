//! The times that a cron expression names, on a clock that is put forward and back.
//!
//! croner reads the expression and finds the next wall clock time. Which instant that is where the
//! clock is changed is decided here, for expressions that name hours; those for every hour go by
//! real time, as croner does. Does not decide when to poll.

use std::fmt;
use std::time::Duration;

use croner::errors::CronError as CronerError;
use croner::parser::{CronParser, Seconds, Year};
use jiff::Timestamp;
use jiff::civil::{self, DateTime};
use jiff::tz::{AmbiguousOffset, TimeZone};

use super::{PAUSE_MAX, later, span};

/// The longest expression, in bytes.
pub const EXPRESSION_BYTES_MAX: usize = 256;

/// How many wall clock times one search tries: a repeated stretch is at most a day of seconds.
const TRIES_MAX: usize = 24 * 60 * 60 + 1;

/// Times named by a cron expression in a time zone.
///
/// An expression that names hours (`30 2 * * *`, `*/5 8-20 * * *`) runs at each of its wall clock
/// times once: what falls into a skipped hour runs together, once, right after the gap; what falls
/// into a repeated hour runs in the first of both. An expression for every hour (`*/5 * * * *`)
/// goes on by real time, in both of them: to poll nothing for an hour would be worse.
#[derive(Debug, Clone)]
pub struct Cron {
    rule: Box<croner::Cron>,
    zone: TimeZone,
    hours: Hours,
    missed: Missed,
}

/// What becomes of times that passed while nobody could poll.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Missed {
    /// Nothing: the next poll is at the next time.
    #[default]
    Skip,
    /// One poll, as soon as possible, however many passed: it fetches all that is new.
    RunOnce,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hours {
    Every,
    Named,
}

/// Why an expression names no times.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CronError {
    /// It is longer than [`EXPRESSION_BYTES_MAX`].
    #[error("the cron expression is longer than {EXPRESSION_BYTES_MAX} bytes")]
    TooLong,
    /// It has another number of fields.
    #[error(
        "a cron expression has 5 or 6 fields, not {0}: write minute, hour, day, month and weekday, \
         with the second before them if need be"
    )]
    Fields(usize),
    /// A field has something that it cannot have.
    #[error("the cron expression `{expression}` cannot be read: {detail}")]
    Field {
        /// The expression.
        expression: String,
        /// What is wrong with it.
        detail: String,
    },
    /// No day is like that.
    #[error("no time is ever like `{0}`")]
    Impossible(String),
    /// Nobody keeps a time zone of this name.
    #[error("there is no time zone `{0}`: write an IANA name, like `Europe/Berlin`")]
    UnknownZone(String),
}

impl Cron {
    /// Reads an expression of 5 fields, or of 6 with the seconds first; its times are those of
    /// `zone`, an IANA name.
    ///
    /// # Errors
    /// [`CronError`] says what is wrong with which of them.
    pub fn new(expression: &str, zone: &str, missed: Missed) -> Result<Self, CronError> {
        if expression.len() > EXPRESSION_BYTES_MAX {
            return Err(CronError::TooLong);
        }
        let fields = expression.split_whitespace().count();
        if !(5..=6).contains(&fields) {
            return Err(CronError::Fields(fields));
        }
        let zone = TimeZone::get(zone).map_err(|_| CronError::UnknownZone(zone.to_owned()))?;
        let rule = parsed(expression).map_err(|detail| CronError::Field {
            expression: expression.to_owned(),
            detail,
        })?;
        next_civil(&rule, SOME_YEAR.to_datetime(civil::Time::midnight()))
            .ok_or_else(|| CronError::Impossible(expression.to_owned()))?;
        Ok(Self {
            hours: hours(&rule),
            rule: Box::new(rule),
            zone,
            missed,
        })
    }

    /// What becomes of times that passed.
    pub fn missed(&self) -> Missed {
        self.missed
    }

    /// The first of its times after an instant; after the year 5000 there is none.
    pub fn next(&self, after: Timestamp) -> Option<Timestamp> {
        match self.hours {
            Hours::Every => self.next_of_every_hour(after),
            Hours::Named => self.next_of_named_hours(after),
        }
    }

    /// The first of its times after an instant, and how long after that the second one is. Where
    /// there is none, the longest pause stands for it.
    pub(super) fn next_and_gap(&self, after: Timestamp) -> (Timestamp, Duration) {
        let first = self.next(after).unwrap_or(later(after, PAUSE_MAX));
        let gap = self.next(first).map(|second| span(first, second));
        (first, gap.unwrap_or(PAUSE_MAX))
    }

    fn next_of_every_hour(&self, after: Timestamp) -> Option<Timestamp> {
        // croner looks at whole seconds.
        let after =
            Timestamp::from_second(after.as_nanosecond().div_euclid(NANOS).try_into().ok()?)
                .ok()?
                .to_zoned(self.zone.clone());
        let next = self.rule.find_next_occurrence(&after, false).ok()?;
        Some(next.timestamp())
    }

    fn next_of_named_hours(&self, after: Timestamp) -> Option<Timestamp> {
        let mut civil = self.zone.to_datetime(after);
        for _ in 0..TRIES_MAX {
            civil = next_civil(&self.rule, civil)?;
            let instant = self.instant(civil)?;
            if instant > after {
                return Some(instant);
            }
        }
        None
    }

    /// The instant of a wall clock time: the first of a repeated one, the end of the gap for a
    /// skipped one.
    fn instant(&self, civil: DateTime) -> Option<Timestamp> {
        let ambiguous = self.zone.to_ambiguous_timestamp(civil);
        match ambiguous.offset() {
            AmbiguousOffset::Gap { after, .. } => {
                let before_gap = after.to_timestamp(civil).ok()?;
                let change = self.zone.following(before_gap).next()?;
                Some(change.timestamp())
            }
            AmbiguousOffset::Unambiguous { .. } | AmbiguousOffset::Fold { .. } => {
                ambiguous.earlier().ok()
            }
        }
    }
}

impl fmt::Display for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.rule.as_str())
    }
}

const NANOS: i128 = 1_000_000_000;

/// From when on an expression must name some time; which year it is does not matter.
const SOME_YEAR: civil::Date = civil::date(2000, 1, 1);

/// The next time on a wall clock that is never changed.
fn next_civil(rule: &croner::Cron, after: DateTime) -> Option<DateTime> {
    rule.find_next_occurrence(&after, false).ok()
}

fn hours(rule: &croner::Cron) -> Hours {
    let every = (0..24).all(|hour| rule.pattern.hour_match(hour).unwrap_or(false));
    if every { Hours::Every } else { Hours::Named }
}

/// What croner reads, or what is wrong with the expression.
fn parsed(expression: &str) -> Result<croner::Cron, String> {
    // croner reads over an empty place; a field of nothing else it would try for all years.
    let has_gap = |field: &&str| field.split(',').any(str::is_empty);
    if let Some(field) = expression.split_whitespace().find(has_gap) {
        return Err(format!("`{field}` has an empty place"));
    }
    CronParser::builder()
        .seconds(Seconds::Optional)
        .year(Year::Disallowed)
        .build()
        .parse(expression)
        .map_err(|error| match error {
            CronerError::InvalidPattern(detail)
            | CronerError::IllegalCharacters(detail)
            | CronerError::ComponentError(detail) => detail,
            other => other.to_string(),
        })
}

#[cfg(test)]
mod tests;
