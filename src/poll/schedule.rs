//! When a source is polled: pauses, times of a clock, long polls.
//!
//! Decides the time of the next poll from how the last one ended, and whether that time has come.
//! Does not decide about failed polls, whose longer pauses are `super::backoff`'s, nor about pages
//! that are read at once.
//!
//! Every plan is made from the end of a poll, so that polls of a source never overlap. Plans are
//! stored, and read by a clock that may have been set since: no wait is longer than the schedule
//! can ask for as seen from now, and no poll follows another without a pause.

mod cron;
mod pace;

use std::time::Duration;

use humantime::format_duration as words;
use jiff::Timestamp;

pub use cron::{Cron, CronError, EXPRESSION_BYTES_MAX, Missed};
pub use pace::{
    Adaptive, FACTOR_MAX, Interval, Jitter, LongPoll, PAUSE_MAX, PAUSE_MIN, Pace, PaceError,
    WAIT_MAX,
};

/// The longest time that a whole poll may take.
pub const TIMEOUT_MAX: Duration = Duration::from_secs(60 * 60);
/// How long a whole poll may take where nothing is said.
pub const TIMEOUT_DEFAULT: Duration = Duration::from_secs(45);
/// What a long poll is given beyond its wait where nothing is said.
pub const TIMEOUT_BEYOND_WAIT: Duration = Duration::from_secs(30);
/// The most that an upstream's own pause (`X-Poll-Interval`) counts for.
pub const AT_LEAST_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// The most that a first poll after the start of the program is delayed by chance; the interval,
/// if that is shorter.
pub const START_SPREAD_MAX: Duration = Duration::from_secs(10);
/// The same for long polls, whose events somebody is waiting for.
pub const START_SPREAD_LONG_POLL: Duration = Duration::from_secs(1);
/// The longest sleep before the clock is looked at again: it may have been set meanwhile.
pub const SLEEP_MAX: Duration = Duration::from_secs(60);
/// How late a poll at a time of the clock may be without having been missed.
pub const LATE_MAX: Duration = Duration::from_secs(60);

/// When a source is polled.
#[derive(Debug, Clone)]
pub struct Schedule {
    pace: Pace,
    jitter: Jitter,
    timeout: Duration,
}

/// Why paces and limits do not go together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// A poll would have no time.
    #[error("a poll of no length cannot be made: write a longer timeout")]
    NoTimeout,
    /// A poll could take longer than [`TIMEOUT_MAX`].
    #[error("a poll may take an hour at most")]
    TimeoutTooLong,
    /// A long poll would be broken off before the upstream answers.
    #[error(
        "the upstream holds a poll for {}, and the whole poll may take only {}: write a longer \
         timeout",
        words(*.wait),
        words(*.timeout)
    )]
    WaitTooLong {
        /// How long the upstream may wait.
        wait: Duration,
        /// How long the poll may take.
        timeout: Duration,
    },
    /// Jitter would more than double the pause.
    #[error(
        "a jitter of {} is longer than the pause of {} that it lengthens",
        words(*.jitter),
        words(*.pause)
    )]
    JitterTooLong {
        /// The jitter.
        jitter: Duration,
        /// The pause.
        pause: Duration,
    },
}

/// How a poll went, as far as it matters for the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Polled {
    /// When it began.
    pub started: Timestamp,
    /// When it ended.
    pub ended: Timestamp,
    /// How many polls in a row, this one included, found nothing new.
    pub idle: u32,
    /// How long the upstream wants to be left alone (`X-Poll-Interval`, `Backoff`, `max-age`).
    pub at_least: Option<Duration>,
}

/// When the next poll is due, as it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// When it was made, by the clock of that time.
    pub made_at: Timestamp,
    /// When the poll is due, by the same clock.
    pub poll_at: Timestamp,
    /// How long after `made_at` the upstream wants to be left alone.
    pub at_least: Duration,
}

/// Whether it is time for a poll.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// It is.
    Now,
    /// It is not.
    Later {
        /// What to wait for; it replaces the plan that was asked about.
        plan: Plan,
        /// How long to sleep before asking again, at most [`SLEEP_MAX`].
        sleep: Duration,
    },
}

impl Schedule {
    /// A schedule whose parts go together. Without a timeout a poll gets [`TIMEOUT_DEFAULT`], a
    /// long poll its wait and [`TIMEOUT_BEYOND_WAIT`].
    ///
    /// # Errors
    /// [`ScheduleError`] says which parts do not.
    pub fn new(
        pace: Pace,
        jitter: Jitter,
        timeout: Option<Duration>,
    ) -> Result<Self, ScheduleError> {
        let wait = pace.wait();
        let default = wait.map_or(TIMEOUT_DEFAULT, |wait| wait + TIMEOUT_BEYOND_WAIT);
        let timeout = timeout.unwrap_or(default);
        if timeout.is_zero() {
            return Err(ScheduleError::NoTimeout);
        }
        if timeout > TIMEOUT_MAX {
            return Err(ScheduleError::TimeoutTooLong);
        }
        if let Some(wait) = wait.filter(|wait| *wait >= timeout) {
            return Err(ScheduleError::WaitTooLong { wait, timeout });
        }
        if let (Some(jitter), Some(pause)) = (jitter.most(), pace.pause())
            && jitter > pause
        {
            return Err(ScheduleError::JitterTooLong { jitter, pause });
        }
        Ok(Self {
            pace,
            jitter,
            timeout,
        })
    }

    /// How long a whole poll may take.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// How long the upstream holds a poll for which it has nothing; `None` = it answers at once.
    pub fn wait(&self) -> Option<Duration> {
        self.pace.wait()
    }

    /// The plan when the program starts, from the one that was stored. `chance` is between 0 and 1.
    ///
    /// What is overdue does not begin all at once: it is spread over [`START_SPREAD_MAX`].
    pub fn at_start(&self, stored: Option<&Plan>, now: Timestamp, chance: f64) -> Plan {
        let Some(stored) = stored else {
            return match &self.pace {
                Pace::Cron(cron) => self.at_next_time(cron, now, Duration::ZERO, chance),
                Pace::Interval(_) | Pace::LongPoll(_) => self.spread(now, chance),
            };
        };
        let plan = self.corrected(stored, now, chance);
        match self.skipping(&plan, now) {
            Some(cron) => self.at_next_time(cron, now, Duration::ZERO, chance),
            None if plan.poll_at <= now => self.spread(now, chance),
            None => plan,
        }
    }

    /// The plan after a poll. `chance` is between 0 and 1.
    pub fn after_poll(&self, polled: &Polled, chance: f64) -> Plan {
        let at_least = polled.at_least.unwrap_or_default().min(AT_LEAST_MAX);
        let took = polled.ended.duration_since(polled.started);
        let pause = match &self.pace {
            Pace::Interval(interval) => self
                .jitter
                .lengthen(interval.pause_after(polled.idle), chance),
            Pace::LongPoll(long) => self
                .jitter
                .lengthen(long.pause_after(polled.idle, took), chance),
            Pace::Cron(cron) if missed_one(cron, polled) => PAUSE_MIN,
            Pace::Cron(cron) => return self.at_next_time(cron, polled.ended, at_least, chance),
        };
        Plan::of(polled.ended, pause.max(at_least), at_least)
    }

    /// Whether a poll is due at `now`, and how long to sleep if not. `chance` is between 0 and 1,
    /// and counts only when the plan has to be made anew.
    pub fn due(&self, plan: &Plan, now: Timestamp, chance: f64) -> Due {
        let plan = self.corrected(plan, now, chance);
        let plan = match self.skipping(&plan, now) {
            Some(cron) => self.at_next_time(cron, now, Duration::ZERO, chance),
            None if plan.poll_at <= now => return Due::Now,
            None => plan,
        };
        Due::Later {
            sleep: span(now, plan.poll_at).min(SLEEP_MAX),
            plan,
        }
    }

    /// The plan, or another one when the clock was put back since, or when the plan lies further
    /// ahead than this schedule ever plans.
    fn corrected(&self, plan: &Plan, now: Timestamp, chance: f64) -> Plan {
        let at_least = plan.at_least.min(AT_LEAST_MAX);
        if plan.made_at <= now && plan.poll_at <= self.latest(now, at_least) {
            return *plan;
        }
        match &self.pace {
            Pace::Cron(cron) => self.at_next_time(cron, now, at_least, chance),
            Pace::Interval(_) | Pace::LongPoll(_) => {
                let latest = span(now, self.latest(now, at_least));
                let wait = span(plan.made_at, plan.poll_at).clamp(PAUSE_MIN, latest);
                Plan::of(now, wait, at_least)
            }
        }
    }

    /// The latest time that a plan made at `now` can be for.
    fn latest(&self, now: Timestamp, at_least: Duration) -> Timestamp {
        let wait = match &self.pace {
            Pace::Interval(interval) => self.jitter.lengthen(interval.longest(), 1.0),
            Pace::LongPoll(long) => self.jitter.lengthen(long.longest(), 1.0),
            Pace::Cron(cron) => return self.at_next_time(cron, now, at_least, 1.0).poll_at,
        };
        later(now, wait.max(at_least))
    }

    /// A plan for the first time of the clock after which the upstream may be asked again.
    fn at_next_time(&self, cron: &Cron, now: Timestamp, at_least: Duration, chance: f64) -> Plan {
        let (first, gap) = cron.next_and_gap(later(now, at_least));
        Plan {
            made_at: now,
            poll_at: later(first, self.jitter.delay_at_a_time(gap, chance)),
            at_least,
        }
    }

    /// A plan for some moment soon, so that sources do not begin all at once.
    fn spread(&self, now: Timestamp, chance: f64) -> Plan {
        let most = match &self.pace {
            Pace::Interval(interval) => interval.pause().min(START_SPREAD_MAX),
            Pace::LongPoll(long) => long.wait().min(START_SPREAD_LONG_POLL),
            Pace::Cron(cron) => cron.next_and_gap(now).1.min(START_SPREAD_MAX),
        };
        Plan::of(now, pace::share(most, chance), Duration::ZERO)
    }

    /// The times of the clock, if the one of the plan passed and what passed is skipped.
    fn skipping(&self, plan: &Plan, now: Timestamp) -> Option<&Cron> {
        let is_late = span(plan.poll_at, now) > LATE_MAX;
        match &self.pace {
            Pace::Cron(cron) if is_late && cron.missed() == Missed::Skip => Some(cron),
            Pace::Cron(_) | Pace::Interval(_) | Pace::LongPoll(_) => None,
        }
    }
}

impl Plan {
    fn of(made_at: Timestamp, wait: Duration, at_least: Duration) -> Self {
        Self {
            made_at,
            poll_at: later(made_at, wait),
            at_least,
        }
    }
}

/// Whether a time of the clock passed during a poll and has to be made up for.
fn missed_one(cron: &Cron, polled: &Polled) -> bool {
    cron.missed() == Missed::RunOnce
        && cron
            .next(polled.started)
            .is_some_and(|time| time <= polled.ended)
}

fn later(time: Timestamp, by: Duration) -> Timestamp {
    time.saturating_add(by).unwrap_or(Timestamp::MAX)
}

/// How long it is from one time to a later one; nothing if it is not later.
fn span(from: Timestamp, to: Timestamp) -> Duration {
    Duration::try_from(to.duration_since(from)).unwrap_or_default()
}

#[cfg(test)]
mod tests;
