//! How long a source rests between polls, and by how much chance lengthens that.

use std::num::NonZeroU32;
use std::time::Duration;

use humantime::format_duration as words;
use jiff::SignedDuration;

use super::Cron;

/// The shortest pause between two polls.
pub const PAUSE_MIN: Duration = Duration::from_millis(10);
/// The longest pause between two polls: 366 days.
pub const PAUSE_MAX: Duration = Duration::from_secs(366 * 24 * 60 * 60);
/// The longest that an upstream can be asked to hold a poll.
pub const WAIT_MAX: Duration = Duration::from_secs(10 * 60);
/// The fastest growth of pauses.
pub const FACTOR_MAX: f64 = 100.0;

/// After how many idle long polls that were not held pauses grow.
const UNHELD_MAX: u32 = 3;
/// A long poll that found nothing and took less was not held.
const HELD_MIN: Duration = Duration::from_secs(1);
/// The most that a share delays a poll at a time of the clock: 10 % of a day would be hours.
const TIME_DELAY_MAX: Duration = Duration::from_secs(60);

/// What decides when the next poll is.
#[derive(Debug, Clone)]
pub enum Pace {
    /// A pause after each poll.
    Interval(Interval),
    /// Times of the clock.
    Cron(Cron),
    /// The upstream holds each poll until it has something.
    LongPoll(LongPoll),
}

/// Pauses of one length, or of a length that follows what is found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    pause: Duration,
    adaptive: Option<Adaptive>,
}

/// Pauses that follow what is found: the shortest as long as there is something new, the ordinary
/// one after some idle polls, then longer with every idle one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Adaptive {
    min: Duration,
    max: Duration,
    idle_after: NonZeroU32,
    factor: f64,
}

/// Polls that the upstream holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LongPoll {
    wait: Duration,
    min_gap: Duration,
}

/// By how much chance lengthens pauses. It never shortens them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Jitter(Kind);

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    /// Up to a share of the pause, between 0 and 1.
    Share(f64),
    /// Up to this long, and at most the pause.
    UpTo(Duration),
}

/// Why there can be no such pace.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum PaceError {
    /// A pause is shorter than [`PAUSE_MIN`].
    #[error("a pause of {} is too short: the shortest is {}", words(*.0), words(PAUSE_MIN))]
    TooShort(Duration),
    /// A pause is longer than [`PAUSE_MAX`].
    #[error("a pause of {} is too long: the longest is 366 days", words(*.0))]
    TooLong(Duration),
    /// The shortest pause is longer than the longest.
    #[error(
        "the shortest pause, {}, is longer than the longest, {}",
        words(*.min),
        words(*.max)
    )]
    MinAboveMax {
        /// The shortest.
        min: Duration,
        /// The longest.
        max: Duration,
    },
    /// The ordinary pause is not between the shortest and the longest.
    #[error(
        "the interval, {}, is not between the shortest pause, {}, and the longest, {}",
        words(*.pause),
        words(*.min),
        words(*.max)
    )]
    Outside {
        /// The ordinary pause.
        pause: Duration,
        /// The shortest.
        min: Duration,
        /// The longest.
        max: Duration,
    },
    /// Pauses would shrink, or grow beyond all measure.
    #[error("pauses cannot grow by a factor of {0}: write a number between 1 and {FACTOR_MAX}")]
    Factor(f64),
    /// No poll is held so long, or not at all.
    #[error(
        "an upstream cannot hold a poll for {}: write more than nothing and at most 10 minutes",
        words(*.0)
    )]
    Wait(Duration),
    /// A share is not between 0 and 100 %.
    #[error("a jitter of {0} % is not between 0 and 100 %")]
    Share(f64),
}

impl Pace {
    /// The ordinary pause, if there is one.
    pub(super) fn pause(&self) -> Option<Duration> {
        match self {
            Self::Interval(interval) => Some(interval.pause),
            Self::LongPoll(long) => Some(long.min_gap),
            Self::Cron(_) => None,
        }
    }

    /// How long the upstream holds a poll, if it does.
    pub(super) fn wait(&self) -> Option<Duration> {
        match self {
            Self::LongPoll(long) => Some(long.wait),
            Self::Interval(_) | Self::Cron(_) => None,
        }
    }
}

impl Interval {
    /// A pause after each poll; `adaptive` makes it follow what is found.
    ///
    /// # Errors
    /// [`PaceError`] when the pause has no length that is allowed, or lies outside of `adaptive`.
    pub fn new(pause: Duration, adaptive: Option<Adaptive>) -> Result<Self, PaceError> {
        let pause = allowed(pause)?;
        match adaptive {
            Some(Adaptive { min, max, .. }) if !(min..=max).contains(&pause) => {
                Err(PaceError::Outside { pause, min, max })
            }
            _ => Ok(Self { pause, adaptive }),
        }
    }

    /// The ordinary pause.
    pub fn pause(&self) -> Duration {
        self.pause
    }

    /// The pause after so many idle polls in a row, before chance lengthens it.
    pub fn pause_after(&self, idle: u32) -> Duration {
        let Some(adaptive) = &self.adaptive else {
            return self.pause;
        };
        match idle.checked_sub(adaptive.idle_after.get()) {
            None => adaptive.min,
            Some(times) => grown(self.pause, adaptive.factor, times, adaptive.max),
        }
    }

    /// The longest pause.
    pub(super) fn longest(&self) -> Duration {
        self.adaptive.map_or(self.pause, |adaptive| adaptive.max)
    }
}

impl Adaptive {
    /// `min` as long as fewer than `idle_after` polls in a row found nothing, then the interval,
    /// `factor` times as long with every further idle poll, up to `max`.
    ///
    /// # Errors
    /// [`PaceError`] says which of them is not allowed.
    pub fn new(
        min: Duration,
        max: Duration,
        idle_after: NonZeroU32,
        factor: f64,
    ) -> Result<Self, PaceError> {
        let (min, max) = (allowed(min)?, allowed(max)?);
        if min > max {
            return Err(PaceError::MinAboveMax { min, max });
        }
        if !(1.0..=FACTOR_MAX).contains(&factor) {
            return Err(PaceError::Factor(factor));
        }
        Ok(Self {
            min,
            max,
            idle_after,
            factor,
        })
    }
}

impl LongPoll {
    /// Polls that the upstream holds for up to `wait`, with a pause of `min_gap` after each.
    ///
    /// # Errors
    /// [`PaceError`] says which of them is not allowed.
    pub fn new(wait: Duration, min_gap: Duration) -> Result<Self, PaceError> {
        if wait.is_zero() || wait > WAIT_MAX {
            return Err(PaceError::Wait(wait));
        }
        let min_gap = allowed(min_gap)?;
        Ok(Self { wait, min_gap })
    }

    /// How long the upstream holds a poll for which it has nothing.
    pub fn wait(&self) -> Duration {
        self.wait
    }

    /// The pause after a poll that took so long; it grows while an upstream that has nothing does
    /// not hold polls, up to the time for which it should.
    pub(super) fn pause_after(&self, idle: u32, took: SignedDuration) -> Duration {
        // A clock that was put back tells nothing about how long it took.
        let unheld = Duration::try_from(took).is_ok_and(|took| took < HELD_MIN.min(self.wait / 2));
        if !unheld {
            return self.min_gap;
        }
        let times = idle.saturating_sub(UNHELD_MAX);
        grown(self.min_gap, 2.0, times, self.longest())
    }

    /// The longest pause.
    pub(super) fn longest(&self) -> Duration {
        self.min_gap.max(self.wait)
    }
}

impl Default for Jitter {
    /// Up to 10 % of the pause.
    fn default() -> Self {
        Self(Kind::Share(0.1))
    }
}

impl Jitter {
    /// Up to so many per cent of the pause. For a time of the clock: of the time until the next
    /// one, and at most a minute.
    ///
    /// # Errors
    /// [`PaceError::Share`].
    pub fn percent(percent: f64) -> Result<Self, PaceError> {
        if (0.0..=100.0).contains(&percent) {
            Ok(Self(Kind::Share(percent / 100.0)))
        } else {
            Err(PaceError::Share(percent))
        }
    }

    /// Up to so long, and at most the pause or the time until the next time of the clock.
    ///
    /// # Errors
    /// [`PaceError::TooLong`].
    pub fn up_to(most: Duration) -> Result<Self, PaceError> {
        if most > PAUSE_MAX {
            return Err(PaceError::TooLong(most));
        }
        Ok(Self(Kind::UpTo(most)))
    }

    /// The longest delay, if it is no share.
    pub(super) fn most(self) -> Option<Duration> {
        match self.0 {
            Kind::Share(_) => None,
            Kind::UpTo(most) => Some(most),
        }
    }

    /// A pause with its share of delay; at most twice the pause.
    pub(super) fn lengthen(self, pause: Duration, chance: f64) -> Duration {
        let most = match self.0 {
            Kind::Share(of_pause) => share(pause, of_pause),
            Kind::UpTo(most) => most.min(pause),
        };
        pause.saturating_add(share(most, chance))
    }

    /// How long after a time of the clock to poll, when the next one is `gap` later.
    pub(super) fn delay_at_a_time(self, gap: Duration, chance: f64) -> Duration {
        let most = match self.0 {
            Kind::Share(of_gap) => share(gap, of_gap).min(TIME_DELAY_MAX),
            Kind::UpTo(most) => most.min(gap),
        };
        share(most, chance)
    }
}

/// A part of a length; `part` is between 0 and 1.
pub(super) fn share(whole: Duration, part: f64) -> Duration {
    let part = whole.as_secs_f64() * part.clamp(0.0, 1.0);
    // Seconds as a float can round up.
    Duration::try_from_secs_f64(part).map_or(whole, |part| part.min(whole))
}

/// A pause that was multiplied so many times, up to a limit.
fn grown(pause: Duration, factor: f64, times: u32, max: Duration) -> Duration {
    let times = i32::try_from(times).unwrap_or(i32::MAX);
    let grown = pause.as_secs_f64() * factor.powi(times);
    Duration::try_from_secs_f64(grown).map_or(max, |grown| grown.min(max))
}

fn allowed(pause: Duration) -> Result<Duration, PaceError> {
    if pause < PAUSE_MIN {
        return Err(PaceError::TooShort(pause));
    }
    if pause > PAUSE_MAX {
        return Err(PaceError::TooLong(pause));
    }
    Ok(pause)
}

#[cfg(test)]
mod tests;
