//! Leaves a backend alone that fails again and again, and asks it now and then whether it is well.
//!
//! Pure: time is an argument, monotonic.

use std::num::NonZeroU32;
use std::time::Duration;

/// When a backend is left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerRule {
    /// After how many failures in a row.
    pub failures: NonZeroU32,
    /// For how long.
    pub open: Duration,
    /// How many attempts then show whether it is well; one that fails is enough to show it is not.
    pub probes: NonZeroU32,
}

impl Default for BreakerRule {
    fn default() -> Self {
        Self {
            failures: NonZeroU32::new(10).unwrap_or(NonZeroU32::MIN),
            open: Duration::from_secs(30),
            probes: NonZeroU32::MIN,
        }
    }
}

/// Whether a backend may be tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It may; so many attempts have failed in a row.
    Closed {
        /// The failures.
        failures: u32,
    },
    /// It may not, until this time.
    Open {
        /// The time.
        until: Duration,
    },
    /// A few attempts may be made.
    HalfOpen {
        /// How many are being made.
        trying: u32,
        /// How many have succeeded.
        succeeded: u32,
    },
}

/// The breaker of one backend.
#[derive(Debug, Clone)]
pub struct Breaker {
    rule: Option<BreakerRule>,
    state: State,
}

impl Breaker {
    /// A closed breaker; without a rule it stays closed.
    pub fn new(rule: Option<BreakerRule>) -> Self {
        Self {
            rule,
            state: State::Closed { failures: 0 },
        }
    }

    /// Goes on under another rule.
    pub fn set_rule(&mut self, rule: Option<BreakerRule>) {
        if rule != self.rule {
            *self = Self::new(rule);
        }
    }

    /// Where it stands.
    pub fn state(&self) -> State {
        self.state
    }

    /// How many attempts may be begun at `now`.
    pub fn room(&mut self, now: Duration) -> usize {
        if let State::Open { until } = self.state
            && until <= now
        {
            self.state = State::HalfOpen {
                trying: 0,
                succeeded: 0,
            };
        }
        match (self.rule, self.state) {
            (None, _) | (_, State::Closed { .. }) => usize::MAX,
            (_, State::Open { .. }) => 0,
            (Some(rule), State::HalfOpen { trying, succeeded }) => {
                let left = rule.probes.get().saturating_sub(trying + succeeded);
                usize::try_from(left).unwrap_or(usize::MAX)
            }
        }
    }

    /// When it may be tried again, if it may not now.
    pub fn opens_until(&self) -> Option<Duration> {
        match self.state {
            State::Open { until } => Some(until),
            State::Closed { .. } | State::HalfOpen { .. } => None,
        }
    }

    /// Notes that an attempt begins.
    pub fn begin(&mut self) {
        if let State::HalfOpen { trying, .. } = &mut self.state {
            *trying += 1;
        }
    }

    /// Notes how an attempt ended.
    pub fn end(&mut self, is_ill: bool, now: Duration) {
        let Some(rule) = self.rule else { return };
        let open = State::Open {
            until: now.saturating_add(rule.open),
        };
        self.state = match (self.state, is_ill) {
            (State::Closed { failures }, true) if failures + 1 >= rule.failures.get() => open,
            (State::Closed { failures }, true) => State::Closed {
                failures: failures + 1,
            },
            (State::Closed { .. }, false) => State::Closed { failures: 0 },
            // Begun before it opened: nothing is being tried now.
            (half @ State::HalfOpen { trying: 0, .. }, _) => half,
            (State::HalfOpen { .. }, true) => open,
            (State::HalfOpen { trying, succeeded }, false) => {
                match succeeded + 1 >= rule.probes.get() {
                    true => State::Closed { failures: 0 },
                    false => State::HalfOpen {
                        trying: trying.saturating_sub(1),
                        succeeded: succeeded + 1,
                    },
                }
            }
            // Begun before it opened.
            (open @ State::Open { .. }, _) => open,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPEN: Duration = Duration::from_secs(30);

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn breaker(failures: u32, probes: u32) -> Breaker {
        Breaker::new(Some(BreakerRule {
            failures: NonZeroU32::new(failures).unwrap(),
            open: OPEN,
            probes: NonZeroU32::new(probes).unwrap(),
        }))
    }

    #[test]
    fn failures_in_a_row_open_it() {
        let mut breaker = breaker(3, 1);
        for is_ill in [true, true, false, true, true] {
            breaker.end(is_ill, at(0));
            assert_eq!(breaker.room(at(0)), usize::MAX);
        }
        breaker.end(true, at(7));
        assert_eq!(breaker.room(at(36)), 0);
        assert_eq!(breaker.opens_until(), Some(at(37)));
    }

    #[test]
    fn one_probe_closes_it_or_opens_it_again() {
        let mut breaker = breaker(1, 1);
        breaker.end(true, at(0));
        assert_eq!(breaker.room(at(30)), 1);
        breaker.begin();
        assert_eq!(breaker.room(at(30)), 0);
        breaker.end(true, at(31));
        assert_eq!(breaker.room(at(60)), 0);
        assert_eq!(breaker.room(at(61)), 1);
        breaker.begin();
        breaker.end(false, at(62));
        assert_eq!(breaker.room(at(62)), usize::MAX);
    }

    #[test]
    fn several_probes_must_all_succeed() {
        let mut breaker = breaker(1, 2);
        breaker.end(true, at(0));
        assert_eq!(breaker.room(at(30)), 2);
        breaker.begin();
        breaker.begin();
        breaker.end(false, at(31));
        assert_eq!(breaker.room(at(31)), 0, "one is still being tried");
        breaker.end(false, at(32));
        assert_eq!(breaker.room(at(32)), usize::MAX);
    }

    #[test]
    fn without_a_rule_it_never_opens() {
        let mut breaker = Breaker::new(None);
        for _ in 0..1000 {
            breaker.end(true, at(0));
        }
        assert_eq!(breaker.room(at(0)), usize::MAX);
    }

    #[test]
    fn what_began_before_it_opened_changes_nothing() {
        let mut breaker = breaker(1, 1);
        breaker.end(true, at(0));
        breaker.end(false, at(1));
        assert_eq!(breaker.room(at(2)), 0);
        breaker.end(true, at(20));
        assert_eq!(breaker.room(at(30)), 1);
        for is_ill in [true, false] {
            breaker.end(is_ill, at(31));
            assert_eq!(breaker.room(at(31)), 1, "half open, and no probe is out");
        }
    }
}
