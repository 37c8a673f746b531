//! Pauses of one length, and of a length that follows what is found.

use super::*;

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn adaptive(min: u64, max: u64, idle_after: u32, factor: f64) -> Result<Adaptive, PaceError> {
    let idle_after = NonZeroU32::new(idle_after).unwrap();
    Adaptive::new(seconds(min), seconds(max), idle_after, factor)
}

#[test]
fn a_pace_that_cannot_be_says_why() {
    let check = |error: PaceError, message: &str| assert_eq!(error.to_string(), message);
    let interval = |pause| Interval::new(pause, None).unwrap_err();
    check(
        interval(Duration::ZERO),
        "a pause of 0s is too short: the shortest is 10ms",
    );
    check(
        interval(PAUSE_MAX + seconds(1)),
        "a pause of 1year 18h 1s is too long: the longest is 366 days",
    );
    check(
        adaptive(60, 30, 3, 2.0).unwrap_err(),
        "the shortest pause, 1m, is longer than the longest, 30s",
    );
    for factor in [0.5, 0.0, -1.0, f64::NAN, f64::INFINITY, 100.5] {
        let error = adaptive(5, 60, 3, factor).unwrap_err();
        assert!(matches!(error, PaceError::Factor(_)), "{factor}: {error}");
    }
    check(
        Interval::new(seconds(90), adaptive(5, 60, 3, 2.0).ok()).unwrap_err(),
        "the interval, 1m 30s, is not between the shortest pause, 5s, and the longest, 1m",
    );
    for wait in [Duration::ZERO, WAIT_MAX + seconds(1), Duration::MAX] {
        let error = LongPoll::new(wait, seconds(1)).unwrap_err();
        assert_eq!(error, PaceError::Wait(wait));
    }
    check(
        LongPoll::new(seconds(25), Duration::ZERO).unwrap_err(),
        "a pause of 0s is too short: the shortest is 10ms",
    );
    check(
        Jitter::percent(101.0).unwrap_err(),
        "a jitter of 101 % is not between 0 and 100 %",
    );
    assert!(Jitter::percent(-1.0).is_err());
    assert!(Jitter::percent(f64::NAN).is_err());
    assert!(Jitter::up_to(Duration::MAX).is_err());
}

#[test]
fn pauses_grow_while_idle_and_fall_at_once() {
    let interval = Interval::new(seconds(60), adaptive(5, 600, 3, 2.0).ok()).unwrap();
    let pauses: Vec<u64> = (0..10)
        .map(|idle| interval.pause_after(idle).as_secs())
        .collect();
    assert_eq!(pauses, [5, 5, 5, 60, 120, 240, 480, 600, 600, 600]);
    assert_eq!(interval.pause_after(u32::MAX), seconds(600));
    assert_eq!(interval.pause_after(0), seconds(5));
    let steady = Interval::new(seconds(60), adaptive(5, 600, 1, 1.0).ok()).unwrap();
    assert_eq!(steady.pause_after(0), seconds(5));
    assert_eq!(steady.pause_after(u32::MAX), seconds(60));
    let plain = Interval::new(seconds(60), None).unwrap();
    assert_eq!(plain.pause_after(0), plain.pause_after(u32::MAX));
}

#[test]
fn long_polls_that_are_not_held_get_rarer() {
    let long = LongPoll::new(seconds(25), Duration::from_millis(200)).unwrap();
    let check = |idle: u32, took_ms: i64, expected_ms: u64| {
        let pause = long.pause_after(idle, SignedDuration::from_millis(took_ms));
        assert_eq!(
            pause,
            Duration::from_millis(expected_ms),
            "{idle} {took_ms}"
        );
    };
    check(0, 5, 200);
    check(3, 5, 200);
    check(4, 5, 400);
    check(8, 999, 6_400);
    check(100, 5, 25_000);
    check(u32::MAX, 0, 25_000);
    check(100, 1_000, 200);
    check(100, 25_000, 200);
    check(100, -5_000, 200);
}

#[test]
fn jitter_only_lengthens_and_never_more_than_doubles() {
    let mut chance = fastrand::Rng::with_seed(17);
    for _ in 0..20_000 {
        let pause = Duration::from_nanos(chance.u64(10_000_000..=31_622_400_000_000_000));
        let percent = chance.f64() * 100.0;
        let share = Jitter::percent(percent).unwrap();
        let most = Duration::from_nanos(chance.u64(..=31_622_400_000_000_000));
        let up_to = Jitter::up_to(most).unwrap();
        let part = chance.f64();
        let lengthened = share.lengthen(pause, part);
        let bound = pause.as_secs_f64() * (1.0 + percent / 100.0) + 1e-6;
        assert!(lengthened >= pause && lengthened.as_secs_f64() <= bound);
        let lengthened = up_to.lengthen(pause, part);
        assert!(lengthened >= pause && lengthened <= pause + most.min(pause));
        assert!(share.delay_at_a_time(pause, part) <= pause.min(TIME_DELAY_MAX));
        assert!(up_to.delay_at_a_time(pause, part) <= pause.min(most));
    }
    for part in [f64::NAN, f64::INFINITY, -3.0, 7.0] {
        let lengthened = Jitter::default().lengthen(seconds(100), part);
        assert!(
            lengthened >= seconds(100) && lengthened <= seconds(110),
            "{part}"
        );
    }
    let none = Jitter::percent(0.0).unwrap();
    assert_eq!(none.lengthen(seconds(100), 1.0), seconds(100));
}

#[test]
fn a_daily_poll_is_not_hours_late() {
    let day = seconds(24 * 60 * 60);
    let check = |jitter: Jitter, gap: Duration, expected: Duration| {
        assert_eq!(jitter.delay_at_a_time(gap, 1.0), expected, "{jitter:?}");
    };
    check(Jitter::default(), day, seconds(60));
    check(Jitter::default(), seconds(300), seconds(30));
    check(Jitter::up_to(seconds(3600)).unwrap(), day, seconds(3600));
    check(
        Jitter::up_to(seconds(3600)).unwrap(),
        seconds(60),
        seconds(60),
    );
}
