//! When a feed is asked.
//!
//! Pure: the moment and the chance are arguments. Chance only ever makes a refresh earlier, and a
//! retry later than half of its pause, so that gateways that began together do not ask together.

use std::time::Duration;

use jiff::Timestamp;

/// The pause after the first failure, if the feed is not refreshed more often.
const RETRY_MIN: Duration = Duration::from_secs(60);
/// The part of the time between two refreshes that chance takes away at most.
const JITTER: f64 = 0.1;

/// How long to wait for the next refresh after one that went well at `confirmed_at`; nothing if there
/// is no list yet.
pub(super) fn until_refresh(
    confirmed_at: Option<Timestamp>,
    now: Timestamp,
    refresh: Duration,
    chance: f64,
) -> Duration {
    let Some(confirmed_at) = confirmed_at else {
        return Duration::ZERO;
    };
    // A list from the future was written by another clock.
    let age = age(confirmed_at.min(now), now);
    let whole = refresh.mul_f64(1.0 - JITTER * chance.clamp(0.0, 1.0));
    whole.saturating_sub(age)
}

/// How long to wait after so many failures in a row. What the feed asks for lengthens it, both up to
/// the time between two refreshes.
pub(super) fn until_retry(
    failures: u32,
    refresh: Duration,
    asked: Option<Duration>,
    chance: f64,
) -> Duration {
    let doublings = failures.saturating_sub(1).min(30);
    let first = RETRY_MIN.min(refresh);
    let whole = first.saturating_mul(1 << doublings).min(refresh);
    let pause = whole.mul_f64(0.5 + chance.clamp(0.0, 1.0) / 2.0);
    pause.max(asked.unwrap_or_default().min(refresh))
}

/// How old a list is that was confirmed at some time.
pub(super) fn age(confirmed_at: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(confirmed_at)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    fn at(hours: i64) -> Timestamp {
        Timestamp::from_second(hours * 3_600).unwrap()
    }

    #[test]
    fn a_refresh_is_due_when_the_list_has_its_age() {
        let check = |confirmed_at: Option<i64>, chance: f64, expected: Duration| {
            let found = until_refresh(confirmed_at.map(at), at(100), 6 * HOUR, chance);
            assert_eq!(found, expected, "{confirmed_at:?} {chance}");
        };
        check(None, 1.0, Duration::ZERO);
        check(Some(100), 0.0, 6 * HOUR);
        check(Some(100), 1.0, 6 * HOUR * 9 / 10);
        check(Some(98), 0.0, 4 * HOUR);
        check(Some(90), 0.0, Duration::ZERO);
        check(Some(200), 0.0, 6 * HOUR);
    }

    #[test]
    fn retries_come_less_and_less_often() {
        let check = |failures: u32, asked: Option<Duration>, chance: f64, expected: Duration| {
            let found = until_retry(failures, 6 * HOUR, asked, chance);
            assert_eq!(found, expected, "{failures} {asked:?} {chance}");
        };
        let minute = Duration::from_secs(60);
        check(1, None, 1.0, minute);
        check(1, None, 0.0, minute / 2);
        check(2, None, 1.0, 2 * minute);
        check(9, None, 1.0, 256 * minute);
        check(10, None, 1.0, 6 * HOUR);
        check(u32::MAX, None, 1.0, 6 * HOUR);
        check(1, Some(HOUR), 1.0, HOUR);
        check(1, Some(100 * HOUR), 1.0, 6 * HOUR);
        check(10, Some(minute), 0.0, 3 * HOUR);
        let often = until_retry(1, Duration::from_secs(1), None, 1.0);
        assert_eq!(often, Duration::from_secs(1));
    }
}
