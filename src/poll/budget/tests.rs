//! Budgets: rates, holds, what providers say is left.

use super::*;

/// 2026-01-15T12:00:00Z.
const NOW: i64 = 1_768_478_400;

fn at(seconds: f64) -> Timestamp {
    let since = Duration::from_secs_f64(seconds);
    Timestamp::from_second(NOW).unwrap() + since
}

fn count(count: u32) -> NonZeroU32 {
    NonZeroU32::new(count).unwrap()
}

fn rate(number: u32, per: u64) -> Rate {
    Rate::new(count(number), Duration::from_secs(per)).unwrap()
}

fn budget(rules: BudgetRules) -> Budget {
    Budget::new(rules).unwrap()
}

fn rated(rates: &[Rate]) -> Budget {
    budget(BudgetRules {
        rates: rates.to_vec(),
        ..BudgetRules::default()
    })
}

fn reserving(reserve: Reserve) -> Budget {
    budget(BudgetRules {
        headers: LimitHeaders {
            remaining: Some("X-RateLimit-Remaining".to_owned()),
            limit: Some("X-RateLimit-Limit".to_owned()),
            reset: Some("X-RateLimit-Reset".to_owned()),
            reserve,
            ..LimitHeaders::default()
        },
        ..BudgetRules::default()
    })
}

fn headers(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    let owned = |&(name, value): &(&str, &str)| (name.to_owned(), value.to_owned());
    pairs.iter().map(owned).collect()
}

fn seconds(hold: Option<Hold>) -> Option<u64> {
    hold.map(|hold| hold.kept.as_secs())
}

#[test]
fn a_rate_lets_as_many_go_as_it_counts_and_then_one_after_the_other() {
    let budget = rated(&[rate(10, 1)]);
    for _ in 0..10 {
        assert_eq!(budget.take(at(0.0)), Ok(()));
    }
    assert_eq!(budget.take(at(0.0)), Err(at(0.1)));
    assert_eq!(budget.take(at(0.09)), Err(at(0.1)));
    assert_eq!(budget.take(at(0.1)), Ok(()));
    assert_eq!(budget.take(at(0.1)), Err(at(0.2)));
    for _ in 0..10 {
        assert_eq!(budget.take(at(60.0)), Ok(()));
    }
    assert_eq!(budget.take(at(60.0)), Err(at(60.1)));
}

#[test]
fn all_rates_hold_and_what_one_refuses_none_counts() {
    let budget = rated(&[rate(10, 1), rate(12, 3600)]);
    for _ in 0..10 {
        assert_eq!(budget.take(at(0.0)), Ok(()));
    }
    for _ in 0..100 {
        assert_eq!(budget.take(at(0.0)), Err(at(0.1)));
    }
    assert_eq!(budget.take(at(1.0)), Ok(()));
    assert_eq!(budget.take(at(1.0)), Ok(()));
    assert_eq!(budget.take(at(1.0)), Err(at(300.0)));
    assert_eq!(budget.take(at(300.0)), Ok(()));
}

#[test]
fn a_clock_that_is_set_back_costs_one_interval_at_most() {
    let budget = rated(&[rate(2, 10)]);
    assert_eq!(budget.take(at(100_000.0)), Ok(()));
    assert_eq!(budget.take(at(100_000.0)), Ok(()));
    assert_eq!(budget.take(at(0.0)), Err(at(5.0)));
    assert_eq!(budget.take(at(5.0)), Ok(()));
    budget.hold(Duration::from_secs(60), at(100_000.0));
    let latest = at(5.0) + WAIT_MAX;
    assert_eq!(budget.take(at(5.0)), Err(latest));
    assert_eq!(budget.take(latest), Ok(()));
}

#[test]
fn no_rate_is_ever_broken_by_more_than_its_bucket() {
    let (number, per) = (7, 13);
    let budget = rated(&[rate(number, per)]);
    let mut now = 0.0;
    let mut taken = 0;
    for step in 0..10_000 {
        now += f64::from(step % 17) / 10.0;
        match budget.take(at(now)) {
            Ok(()) => taken += 1,
            Err(not_before) => assert!(not_before > at(now)),
        }
        let allowed = f64::from(number) * (1.0 + now / f64::from(u32::try_from(per).unwrap()));
        assert!(f64::from(taken) <= allowed + 1e-6, "{taken} in {now} s");
    }
}

#[test]
fn a_429_holds_everybody() {
    let budget = budget(BudgetRules::default());
    let hold = budget.observe(429, &headers(&[("retry-after", "30")]), at(0.0));
    assert_eq!(seconds(hold), Some(30));
    assert_eq!(budget.held_until(), Some(at(30.0)));
    assert_eq!(budget.take(at(29.0)), Err(at(30.0)));
    budget.observe(503, &headers(&[("retry-after", "5")]), at(1.0));
    assert_eq!(
        budget.take(at(29.0)),
        Err(at(30.0)),
        "the longer pause stays"
    );
    assert_eq!(budget.take(at(30.0)), Ok(()));
    assert_eq!(budget.held_until(), None);
}

#[test]
fn what_asks_for_a_pause_is_told_from_what_does_not() {
    let check = |status: u16, pairs: &[(&str, &str)], expected: Option<u64>| {
        let budget = reserving(Reserve::default());
        let hold = budget.observe(status, &headers(pairs), at(0.0));
        assert_eq!(seconds(hold), expected, "{status} {pairs:?}");
    };
    let remaining = "x-ratelimit-remaining";
    let reset = "x-ratelimit-reset";
    check(200, &[("retry-after", "30")], None);
    check(403, &[("retry-after", "30")], Some(30));
    check(429, &[], None);
    check(429, &[("retry-after", "0")], None);
    check(429, &[("retry-after", "-5")], None);
    check(429, &[(reset, "40")], Some(40));
    check(429, &[(reset, "40"), ("retry-after", "60")], Some(60));
    check(429, &[(reset, "40"), (remaining, "7")], None);
    check(200, &[(reset, "40"), (remaining, "7")], None);
    check(200, &[(reset, "40"), (remaining, "0")], Some(40));
    check(200, &[(reset, "1768478440"), (remaining, "0")], Some(40));
    check(200, &[(reset, "1768478440000"), (remaining, "0")], Some(40));
    check(200, &[(reset, "1768478000"), (remaining, "0")], None);
    check(200, &[(remaining, "0")], None);
    check(200, &[(reset, "40"), (remaining, "none")], None);
}

#[test]
fn an_ask_longer_than_the_longest_pause_is_cut_and_told() {
    let check = |asked: &str, kept: u64, is_cut: bool| {
        let budget = budget(BudgetRules::default());
        let hold = budget.observe(429, &headers(&[("retry-after", asked)]), at(0.0));
        let hold = hold.unwrap();
        assert_eq!(
            (hold.kept.as_secs(), hold.is_cut()),
            (kept, is_cut),
            "{asked}"
        );
        assert_eq!(hold.until, at(0.0) + hold.kept);
        assert_eq!(budget.take(at(0.0)), Err(hold.until));
    };
    check("3600", 3600, false);
    check("3601", 3600, true);
    check("99999999999999999999", 3600, true);
}

#[test]
fn a_retry_after_that_is_not_honoured_holds_nobody() {
    let budget = budget(BudgetRules {
        retry_after: RetryAfter::Ignored,
        ..BudgetRules::default()
    });
    let hold = budget.observe(429, &headers(&[("retry-after", "30")]), at(0.0));
    assert_eq!((hold, budget.take(at(0.0))), (None, Ok(())));
}

#[test]
fn the_reserve_is_left_to_others() {
    let check = |reserve: Reserve, limit: Option<&str>, left: &[(&str, Option<u64>)]| {
        let budget = reserving(reserve);
        for &(left, expected) in left {
            let mut pairs = vec![("x-ratelimit-remaining", left), ("x-ratelimit-reset", "40")];
            pairs.extend(limit.map(|limit| ("x-ratelimit-limit", limit)));
            let hold = budget.observe(200, &headers(&pairs), at(0.0));
            assert_eq!(seconds(hold), expected, "{reserve:?} {limit:?} {left}");
            assert_eq!(budget.left(), left.parse().ok());
        }
    };
    let tenth = Reserve::Percent(10);
    check(Reserve::Count(5), None, &[("6", None), ("5", Some(40))]);
    check(tenth, Some("5000"), &[("501", None), ("500", Some(40))]);
    check(
        tenth,
        None,
        &[("1000", None), ("101", None), ("100", Some(40))],
    );
    let renewed = [
        ("1000", None),
        ("100", Some(40)),
        ("400", None),
        ("41", None),
        ("40", Some(40)),
    ];
    check(tenth, None, &renewed);
    check(Reserve::Percent(255), Some("10"), &[("10", Some(40))]);
}

#[test]
fn no_more_ask_at_once_than_may() {
    let budget = budget(BudgetRules {
        concurrency: count(2),
        ..BudgetRules::default()
    });
    let one = budget.try_enter();
    let two = budget.try_enter();
    assert!(one.is_some() && two.is_some());
    assert!(budget.try_enter().is_none());
    drop(one);
    assert!(
        budget.try_enter().is_some(),
        "what is given up is free again"
    );
}

#[tokio::test]
async fn who_waits_gets_the_turn_that_is_given_up() {
    let budget = Arc::new(budget(BudgetRules::default()));
    let first = budget.enter().await;
    let waiting = tokio::spawn({
        let budget = budget.clone();
        async move { drop(budget.enter().await) }
    });
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    drop(first);
    waiting.await.unwrap();
}

#[test]
fn many_threads_together_take_what_is_there() {
    let budget = rated(&[rate(100, 3600)]);
    let take = || (0..100).filter(|_| budget.take(at(0.0)).is_ok()).count();
    let taken: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(take)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .sum()
    });
    assert_eq!(taken, 100);
}

#[test]
fn what_is_no_rate_is_refused() {
    let check = |per: Duration, expected: Result<(), BudgetError>| {
        assert_eq!(Rate::new(count(1), per).map(|_| ()), expected, "{per:?}");
    };
    check(Duration::ZERO, Err(BudgetError::Per));
    check(Duration::from_nanos(1), Ok(()));
    check(PER_MAX, Ok(()));
    check(Duration::MAX, Err(BudgetError::Per));
    let rules = BudgetRules {
        rates: vec![rate(1, 1); RATES_MAX + 1],
        ..BudgetRules::default()
    };
    assert_eq!(Budget::new(rules).err(), Some(BudgetError::TooManyRates));
}

#[test]
fn no_moment_is_too_early_or_too_late() {
    for now in [Timestamp::MIN, Timestamp::UNIX_EPOCH, Timestamp::MAX] {
        let budget = rated(&[rate(1, 1)]);
        assert_eq!(budget.take(now), Ok(()));
        let _ = budget.take(now);
        budget.hold(Duration::MAX, now);
        let pairs = headers(&[("retry-after", "1"), ("x-ratelimit-reset", "1768478430")]);
        budget.observe(429, &pairs, now);
        let _ = budget.take(now);
    }
}
