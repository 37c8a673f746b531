//! The only reader of time.
//!
//! Deciding code takes `now` as an argument; whoever calls it asks a [`Clock`].

use jiff::Timestamp;

/// Tells what time it is.
pub trait Clock: Send + Sync {
    /// The present moment in UTC, to the nanosecond.
    fn now(&self) -> Timestamp;
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
}

/// A clock that stands still at one moment: recorded requests are judged at the time they came.
#[derive(Debug, Clone, Copy)]
pub struct FixedClock(pub Timestamp);

impl Clock for FixedClock {
    fn now(&self) -> Timestamp {
        self.0
    }
}
