//! How long a source waits after something went wrong.
//!
//! Pure: the moment and the chance are arguments. What comes out is a time, not a span, so that it
//! can be stored and a restart does not begin to hammer.

use std::num::NonZeroU32;
use std::time::Duration;

use jiff::Timestamp;

/// The longest that any source waits by itself.
pub const WAIT_MAX: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// The shortest pause, if the base is not shorter: chance alone would make some of them nothing.
pub const PAUSE_MIN: Duration = Duration::from_millis(500);
/// The most attempts within one poll.
pub const ATTEMPTS_MAX: u32 = 20;

/// Pauses that grow.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Backoff {
    base: Duration,
    factor: f64,
    max: Duration,
    jitter: Jitter,
}

/// Whether chance shortens pauses, so that what failed together does not come back together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Jitter {
    /// Any length between the least and the whole pause.
    Full,
    /// The whole pause.
    None,
}

/// Why pauses cannot be made like this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BackoffError {
    /// No pause at all.
    #[error("`base` is zero: a source that fails would be asked without a pause")]
    BaseZero,
    /// Pauses would shrink.
    #[error("`factor` is less than 1: pauses would become shorter")]
    Factor,
    /// The longest is shorter than the first.
    #[error("`max` is shorter than `base`")]
    MaxBelowBase,
    /// The longest is too long.
    #[error("`max` is longer than 7 days")]
    TooLong,
    /// Too many attempts.
    #[error("`attempts` is more than {ATTEMPTS_MAX}")]
    Attempts,
}

/// What was asked for by those who know better than the backoff. It only ever lengthens a pause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Asked {
    /// Nothing.
    #[default]
    Nothing,
    /// A rule of the file says so.
    ByRule(Duration),
    /// The upstream says so, with `Retry-After` or the time of a new budget.
    ByUpstream(Duration),
}

/// The most that an upstream may ask for: `rate_limit.retry_after`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Honour {
    /// At most so long.
    UpTo(Duration),
    /// Not at all.
    Nothing,
}

/// Until when a source waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadline {
    /// The time.
    pub at: Timestamp,
    /// What the upstream asked for, if it was longer than it may be.
    pub cut_from: Option<Duration>,
}

/// How the pause of a failed poll is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// It grows with each failure in a row.
    Growing,
    /// It is the longest at once: the failure will not pass by itself.
    Ceiling,
}

impl Backoff {
    /// Pauses of at most `base`, `base * factor`, and so on up to `max`.
    ///
    /// # Errors
    /// [`BackoffError`].
    pub fn new(
        base: Duration,
        factor: f64,
        max: Duration,
        jitter: Jitter,
    ) -> Result<Self, BackoffError> {
        if base.is_zero() {
            return Err(BackoffError::BaseZero);
        }
        if !factor.is_finite() || factor < 1.0 {
            return Err(BackoffError::Factor);
        }
        if max < base {
            return Err(BackoffError::MaxBelowBase);
        }
        if max > WAIT_MAX {
            return Err(BackoffError::TooLong);
        }
        Ok(Self {
            base,
            factor,
            max,
            jitter,
        })
    }

    /// The pause after so many failures in a row; `chance` is between 0 and 1.
    pub fn pause(&self, failures: u32, chance: f64) -> Duration {
        let exponent = i32::try_from(failures.saturating_sub(1)).unwrap_or(i32::MAX);
        let max = self.max.as_secs_f64();
        let whole = (self.base.as_secs_f64() * self.factor.powi(exponent)).min(max);
        let share = match self.jitter {
            Jitter::Full => chance.clamp(0.0, 1.0),
            Jitter::None => 1.0,
        };
        let pause = Duration::try_from_secs_f64(whole * share).unwrap_or(self.max);
        pause.max(PAUSE_MIN.min(self.base))
    }
}

impl Asked {
    /// The span, and what it was before it was cut.
    fn within(self, honour: Honour) -> (Duration, Option<Duration>) {
        match (self, honour) {
            (Self::Nothing, _) | (Self::ByUpstream(_), Honour::Nothing) => (Duration::ZERO, None),
            (Self::ByRule(asked), _) => (asked.min(WAIT_MAX), None),
            (Self::ByUpstream(asked), Honour::UpTo(max)) => {
                let max = max.min(WAIT_MAX);
                (asked.min(max), (asked > max).then_some(asked))
            }
        }
    }

    /// The end of a pause that is no shorter than what was asked for.
    fn deadline(self, honour: Honour, pause: Duration, now: Timestamp) -> Deadline {
        let (asked, cut_from) = self.within(honour);
        Deadline {
            at: now
                .saturating_add(pause.max(asked))
                .unwrap_or(Timestamp::MAX),
            cut_from,
        }
    }
}

/// `on_error`: what a source does between polls that fail.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OnError {
    /// The pauses.
    pub backoff: Backoff,
    /// After how many failures in a row a person has to look; `None` = never.
    pub pause_after: Option<NonZeroU32>,
    /// What an upstream may ask for.
    pub honour: Honour,
}

/// How a poll failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FailedPoll {
    /// How many failed in a row, this one included.
    pub failures: u32,
    /// How the pause is chosen.
    pub pace: Pace,
    /// What was asked for.
    pub asked: Asked,
}

/// What a source does after a poll that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rest {
    /// It waits.
    Until(Deadline),
    /// It stops until a person resumes it.
    Paused,
}

impl OnError {
    /// What is next after a poll that failed at `now`; `chance` is between 0 and 1.
    pub fn after(&self, failed: &FailedPoll, now: Timestamp, chance: f64) -> Rest {
        let enough = |after: NonZeroU32| failed.failures >= after.get();
        if self.pause_after.is_some_and(enough) {
            return Rest::Paused;
        }
        let pause = match failed.pace {
            Pace::Growing => self.backoff.pause(failed.failures, chance),
            Pace::Ceiling => self.backoff.max,
        };
        Rest::Until(failed.asked.deadline(self.honour, pause, now))
    }
}

/// `retry`: what happens within one poll. Whether its request may be repeated at all is for those
/// to say who made it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RetryRule {
    attempts: NonZeroU32,
    backoff: Backoff,
    honour: Honour,
}

impl RetryRule {
    /// At most so many attempts, the first included.
    ///
    /// # Errors
    /// [`BackoffError::Attempts`].
    pub fn new(
        attempts: NonZeroU32,
        backoff: Backoff,
        honour: Honour,
    ) -> Result<Self, BackoffError> {
        if attempts.get() > ATTEMPTS_MAX {
            return Err(BackoffError::Attempts);
        }
        Ok(Self {
            attempts,
            backoff,
            honour,
        })
    }

    /// When to try again after so many attempts, the last of which failed at `now`. `None` when
    /// there were enough, or when the poll is over (`poll_ends`) before the time.
    pub fn again(
        &self,
        made: u32,
        asked: Asked,
        now: Timestamp,
        poll_ends: Timestamp,
        chance: f64,
    ) -> Option<Timestamp> {
        if made >= self.attempts.get() {
            return None;
        }
        let pause = self.backoff.pause(made, chance);
        let deadline = asked.deadline(self.honour, pause, now);
        (deadline.at < poll_ends).then_some(deadline.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 60 * 60;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn backoff(jitter: Jitter) -> Backoff {
        Backoff::new(secs(5), 2.0, secs(30 * 60), jitter).unwrap()
    }

    fn on_error() -> OnError {
        OnError {
            backoff: backoff(Jitter::None),
            pause_after: None,
            honour: Honour::UpTo(secs(HOUR)),
        }
    }

    fn failed(failures: u32) -> FailedPoll {
        FailedPoll {
            failures,
            pace: Pace::Growing,
            asked: Asked::Nothing,
        }
    }

    #[test]
    fn pauses_grow_up_to_the_longest() {
        let check = |failures: u32, expected: u64| {
            let pause = backoff(Jitter::None).pause(failures, 0.0);
            assert_eq!(pause, secs(expected), "{failures}");
        };
        check(0, 5);
        check(1, 5);
        check(2, 10);
        check(3, 20);
        check(9, 1280);
        check(10, 1800);
        check(u32::MAX, 1800);
    }

    #[test]
    fn chance_shortens_a_pause_but_never_to_nothing() {
        let check = |chance: f64, expected: Duration| {
            assert_eq!(backoff(Jitter::Full).pause(2, chance), expected, "{chance}");
        };
        check(1.0, secs(10));
        check(0.5, secs(5));
        check(0.0, PAUSE_MIN);
        check(-1.0, PAUSE_MIN);
        check(7.0, secs(10));
        check(f64::NAN, secs(1800));
        let short = Duration::from_millis(10);
        let quick = Backoff::new(short, 2.0, secs(1), Jitter::Full).unwrap();
        assert_eq!(quick.pause(1, 0.0), short);
    }

    #[test]
    fn what_is_asked_for_only_lengthens_and_is_capped() {
        let check = |asked: Asked, expected: i64, cut_from: Option<Duration>| {
            let failed = FailedPoll { asked, ..failed(2) };
            let at = at(expected);
            let rest = on_error().after(&failed, self::at(0), 0.5);
            assert_eq!(rest, Rest::Until(Deadline { at, cut_from }), "{asked:?}");
        };
        check(Asked::Nothing, 10, None);
        check(Asked::ByUpstream(secs(3)), 10, None);
        check(Asked::ByUpstream(secs(90)), 90, None);
        check(Asked::ByUpstream(secs(HOUR)), 3600, None);
        let long = secs(3 * HOUR);
        check(Asked::ByUpstream(long), 3600, Some(long));
        check(Asked::ByUpstream(Duration::MAX), 3600, Some(Duration::MAX));
        check(Asked::ByRule(secs(3)), 10, None);
        check(Asked::ByRule(long), 3 * 3600, None);
        check(Asked::ByRule(Duration::MAX), 7 * 24 * 3600, None);
    }

    #[test]
    fn what_is_not_honoured_is_not_heard() {
        let deaf = OnError {
            honour: Honour::Nothing,
            ..on_error()
        };
        let asked = Asked::ByUpstream(secs(90));
        let rest = deaf.after(&FailedPoll { asked, ..failed(1) }, at(0), 0.5);
        let cut_from = None;
        assert_eq!(
            rest,
            Rest::Until(Deadline {
                at: at(5),
                cut_from
            })
        );
    }

    #[test]
    fn what_will_not_pass_by_itself_rests_at_the_ceiling() {
        let pace = Pace::Ceiling;
        let rest = on_error().after(&FailedPoll { pace, ..failed(1) }, at(100), 0.0);
        let (at, cut_from) = (at(1900), None);
        assert_eq!(rest, Rest::Until(Deadline { at, cut_from }));
    }

    #[test]
    fn a_person_has_to_look_after_so_many_failures() {
        let check = |pause_after: u32, failures: u32, is_paused: bool| {
            let rule = OnError {
                pause_after: NonZeroU32::new(pause_after),
                ..on_error()
            };
            let rest = rule.after(&failed(failures), at(0), 0.5);
            assert_eq!(rest == Rest::Paused, is_paused, "{pause_after} {failures}");
        };
        check(0, u32::MAX, false);
        check(3, 2, false);
        check(3, 3, true);
        check(3, 4, true);
    }

    #[test]
    fn the_end_of_time_is_no_overflow() {
        let rest = on_error().after(&failed(1), Timestamp::MAX, 1.0);
        let (at, cut_from) = (Timestamp::MAX, None);
        assert_eq!(rest, Rest::Until(Deadline { at, cut_from }));
    }

    #[test]
    fn a_poll_tries_again_only_while_it_lasts() {
        let attempts = NonZeroU32::new(4).unwrap();
        let honour = Honour::UpTo(secs(HOUR));
        let rule = RetryRule::new(attempts, backoff(Jitter::None), honour).unwrap();
        let check = |made: u32, asked: Asked, ends: i64, expected: Option<i64>| {
            let again = rule.again(made, asked, at(100), at(ends), 0.5);
            assert_eq!(again, expected.map(at), "{made} {asked:?} {ends}");
        };
        check(1, Asked::Nothing, 145, Some(105));
        check(3, Asked::Nothing, 145, Some(120));
        check(4, Asked::Nothing, 145, None);
        check(1, Asked::Nothing, 105, None);
        check(1, Asked::ByUpstream(secs(30)), 145, Some(130));
        check(1, Asked::ByUpstream(secs(60)), 145, None);
    }

    #[test]
    fn pauses_that_cannot_be_are_refused() {
        let check = |base: u64, factor: f64, max: u64, expected: BackoffError| {
            let made = Backoff::new(secs(base), factor, secs(max), Jitter::Full);
            assert_eq!(made, Err(expected));
        };
        check(0, 2.0, 60, BackoffError::BaseZero);
        check(5, 0.5, 60, BackoffError::Factor);
        check(5, f64::NAN, 60, BackoffError::Factor);
        check(5, f64::INFINITY, 60, BackoffError::Factor);
        check(5, 2.0, 4, BackoffError::MaxBelowBase);
        check(5, 2.0, 8 * 24 * HOUR, BackoffError::TooLong);
        let many = NonZeroU32::new(ATTEMPTS_MAX + 1).unwrap();
        let made = RetryRule::new(many, backoff(Jitter::Full), Honour::Nothing);
        assert_eq!(made, Err(BackoffError::Attempts));
    }
}
