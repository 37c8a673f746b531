//! The only reader of time.
//!
//! Deciding code takes `now` as an argument; whoever calls it asks a [`Clock`].

use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use jiff::Timestamp;

/// Tells what time it is.
pub trait Clock: Send + Sync {
    /// The present moment in UTC, to the nanosecond. It can jump when somebody sets the clock.
    fn now(&self) -> Timestamp;

    /// The time since some moment of this process's past. It never goes back.
    fn monotonic(&self) -> Duration;
}

/// The clock of the machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place that reads the clock"
    )]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn monotonic(&self) -> Duration {
        static START: OnceLock<Instant> = OnceLock::new();
        START.get_or_init(Instant::now).elapsed()
    }
}

/// A clock that moves only when it is told to: recorded requests are judged at the time they came,
/// and a test decides how late it is.
#[derive(Debug, Default)]
pub struct ManualClock {
    state: Mutex<(Timestamp, Duration)>,
}

impl ManualClock {
    /// A clock that stands at `now`.
    pub fn at(now: Timestamp) -> Self {
        Self {
            state: Mutex::new((now, Duration::ZERO)),
        }
    }

    /// Moves on.
    pub fn advance(&self, by: Duration) {
        if let Ok(mut state) = self.state.lock() {
            state.0 = state.0.saturating_add(by).unwrap_or(state.0);
            state.1 = state.1.saturating_add(by);
        }
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        self.state.lock().map(|state| state.0).unwrap_or_default()
    }

    fn monotonic(&self) -> Duration {
        self.state.lock().map(|state| state.1).unwrap_or_default()
    }
}
