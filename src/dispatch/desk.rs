//! What one backend can take now: places, pace, breaker. Pure but for the numbers it keeps.

use std::time::Duration;

use crate::delivery::backend::{Backend, Pace};
use crate::delivery::breaker::{Breaker, State};

/// The state of one backend.
pub(super) struct Desk {
    places: usize,
    busy: usize,
    pace: Option<Pace>,
    /// When the next attempt may be made, by the pace (the theoretical arrival time of GCRA).
    next_at: Duration,
    breaker: Breaker,
    longest: Duration,
}

impl Desk {
    pub(super) fn new(backend: &Backend) -> Self {
        Self {
            places: places(backend),
            busy: 0,
            pace: backend.rate,
            next_at: Duration::ZERO,
            breaker: Breaker::new(backend.breaker),
            longest: longest(backend),
        }
    }

    /// Takes over what the file says now.
    pub(super) fn follow(&mut self, backend: &Backend) {
        self.places = places(backend);
        self.pace = backend.rate;
        self.longest = longest(backend);
        self.breaker.set_rule(backend.breaker);
    }

    pub(super) fn is_busy(&self) -> bool {
        self.busy > 0
    }

    /// The longest that an attempt may take.
    pub(super) fn longest_attempt(&self) -> Duration {
        self.longest
    }

    /// How many attempts may begin at `now`.
    pub(super) fn room(&mut self, now: Duration) -> usize {
        let places = self.places.saturating_sub(self.busy);
        places.min(self.breaker.room(now)).min(self.paced(now))
    }

    /// Whether an attempt may begin at `now`, as far as places and breaker go.
    pub(super) fn has_room(&self, now: Duration) -> bool {
        let is_open = self.breaker.opens_until().is_none_or(|until| until <= now);
        self.busy < self.places && is_open && self.paced(now) > 0
    }

    /// When an attempt may begin again, if only time stands against it.
    pub(super) fn reopens_at(&self, now: Duration) -> Option<Duration> {
        let breaker = self.breaker.opens_until();
        let pace = (self.paced(now) == 0).then(|| self.paced_at());
        breaker.into_iter().chain(pace).max()
    }

    /// How many attempts the pace allows.
    fn paced(&self, now: Duration) -> usize {
        let Some(pace) = self.pace else {
            return usize::MAX;
        };
        let interval = pace.per / pace.count.get();
        let saved = now
            .saturating_add(pace.per)
            .saturating_sub(self.next_at.max(now));
        let count = saved.as_nanos() / interval.as_nanos().max(1);
        usize::try_from(count).unwrap_or(usize::MAX)
    }

    fn paced_at(&self) -> Duration {
        let Some(pace) = self.pace else {
            return Duration::ZERO;
        };
        let interval = pace.per / pace.count.get();
        self.next_at
            .saturating_add(interval)
            .saturating_sub(pace.per)
    }

    /// Notes that an attempt begins.
    pub(super) fn begin(&mut self, now: Duration) {
        self.busy += 1;
        self.breaker.begin();
        if let Some(pace) = self.pace {
            let interval = pace.per / pace.count.get();
            self.next_at = self.next_at.max(now).saturating_add(interval);
        }
    }

    /// Notes that an attempt ended.
    pub(super) fn end(&mut self, is_ill: bool, now: Duration) {
        self.busy = self.busy.saturating_sub(1);
        self.breaker.end(is_ill, now);
    }

    /// The breaker's state, as metrics call it.
    pub(super) fn breaker_label(&self) -> &'static str {
        match self.breaker.state() {
            State::Closed { .. } => "closed",
            State::Open { .. } => "open",
            State::HalfOpen { .. } => "half_open",
        }
    }
}

fn places(backend: &Backend) -> usize {
    usize::try_from(backend.concurrency.get()).unwrap_or(usize::MAX)
}

/// Connecting, waiting for the answer, and reading it.
fn longest(backend: &Backend) -> Duration {
    backend
        .connect_timeout
        .saturating_add(backend.response_timeout.saturating_mul(2))
        .saturating_mul(3)
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;
    use crate::delivery::backend::Origin;

    fn desk(concurrency: u32, pace: Option<(u32, u64)>) -> Desk {
        let origin = Origin::parse("http://127.0.0.1:1").unwrap();
        let mut backend = Backend::at(origin, Duration::from_secs(1));
        backend.concurrency = NonZeroU32::new(concurrency).unwrap();
        backend.rate = pace.map(|(count, seconds)| Pace {
            count: NonZeroU32::new(count).unwrap(),
            per: Duration::from_secs(seconds),
        });
        Desk::new(&backend)
    }

    #[test]
    fn places_are_taken_and_given_back() {
        let mut desk = desk(2, None);
        let now = Duration::from_secs(100);
        assert_eq!(desk.room(now), 2);
        desk.begin(now);
        desk.begin(now);
        assert_eq!(desk.room(now), 0);
        assert!(!desk.has_room(now));
        desk.end(false, now);
        assert_eq!(desk.room(now), 1);
    }

    #[test]
    fn no_more_begin_than_the_pace_allows() {
        let mut desk = desk(1000, Some((10, 1)));
        let mut begun = 0;
        for tick in 0..=300 {
            let now = Duration::from_millis(100_000 + tick * 10);
            for _ in 0..desk.room(now) {
                desk.begin(now);
                begun += 1;
            }
        }
        assert_eq!(begun, 40, "ten at once, then ten in each of three seconds");
        let now = Duration::from_millis(103_000);
        assert!(!desk.has_room(now));
        assert_eq!(desk.reopens_at(now), Some(Duration::from_millis(103_100)));
    }
}
