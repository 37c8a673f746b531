//! Plans: how they are made, kept, and corrected when a clock jumps.

use std::num::NonZeroU32;

use super::*;

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);
const NONE: Duration = Duration::ZERO;

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn noon() -> Timestamp {
    at("2026-07-15T12:00:00Z")
}

fn every(pause: Duration, percent: f64) -> Schedule {
    let interval = Interval::new(pause, None).unwrap();
    let jitter = Jitter::percent(percent).unwrap();
    Schedule::new(Pace::Interval(interval), jitter, None).unwrap()
}

fn adaptive() -> Schedule {
    let idle_after = NonZeroU32::new(3).unwrap();
    let adaptive = Adaptive::new(seconds(5), seconds(600), idle_after, 2.0).unwrap();
    let interval = Interval::new(seconds(60), Some(adaptive)).unwrap();
    Schedule::new(Pace::Interval(interval), Jitter::default(), None).unwrap()
}

fn cron(expression: &str, missed: Missed, percent: f64) -> Schedule {
    let cron = Cron::new(expression, "UTC", missed).unwrap();
    let jitter = Jitter::percent(percent).unwrap();
    Schedule::new(Pace::Cron(cron), jitter, None).unwrap()
}

fn long_poll() -> Schedule {
    let long = LongPoll::new(seconds(25), Duration::from_millis(200)).unwrap();
    Schedule::new(Pace::LongPoll(long), Jitter::default(), None).unwrap()
}

fn polled(started: Timestamp, ended: Timestamp) -> Polled {
    Polled {
        started,
        ended,
        idle: 0,
        at_least: None,
    }
}

fn plan(made_at: &str, poll_at: &str) -> Plan {
    Plan {
        made_at: at(made_at),
        poll_at: at(poll_at),
        at_least: NONE,
    }
}

#[test]
fn parts_that_do_not_go_together_are_refused() {
    let interval = || Pace::Interval(Interval::new(seconds(60), None).unwrap());
    let long = || Pace::LongPoll(LongPoll::new(seconds(25), seconds(1)).unwrap());
    let check = |pace: Pace, jitter: Jitter, timeout: Option<Duration>, part: &str| {
        let error = Schedule::new(pace, jitter, timeout)
            .unwrap_err()
            .to_string();
        assert!(error.contains(part), "{error}");
    };
    let default = Jitter::default();
    check(interval(), default, Some(NONE), "no length");
    check(
        interval(),
        default,
        Some(TIMEOUT_MAX * 2),
        "an hour at most",
    );
    check(
        long(),
        default,
        Some(seconds(25)),
        "holds a poll for 25s, and the whole poll may take only 25s",
    );
    let minutes = Jitter::up_to(seconds(90)).unwrap();
    check(
        interval(),
        minutes,
        None,
        "a jitter of 1m 30s is longer than the pause of 1m",
    );
    check(long(), minutes, None, "is longer than the pause of 1s");
}

#[test]
fn a_poll_has_time_for_what_the_upstream_holds() {
    assert_eq!(every(seconds(60), 0.0).timeout(), seconds(45));
    assert_eq!(every(seconds(60), 0.0).wait(), None);
    assert_eq!(long_poll().timeout(), seconds(55));
    assert_eq!(long_poll().wait(), Some(seconds(25)));
}

#[test]
fn a_pause_begins_when_the_poll_has_ended() {
    let check = |schedule: &Schedule, idle: u32, chance: f64, expected: &str| {
        let polled = Polled {
            idle,
            ..polled(noon() - seconds(100), noon())
        };
        let plan = schedule.after_poll(&polled, chance);
        let expected = Plan {
            made_at: noon(),
            poll_at: at(expected),
            at_least: NONE,
        };
        assert_eq!(plan, expected, "{schedule:?}");
    };
    check(&every(seconds(60), 10.0), 9, 0.0, "2026-07-15T12:01:00Z");
    check(&every(seconds(60), 10.0), 9, 0.5, "2026-07-15T12:01:03Z");
    check(&adaptive(), 0, 0.0, "2026-07-15T12:00:05Z");
    check(&adaptive(), 3, 0.0, "2026-07-15T12:01:00Z");
    check(&adaptive(), 99, 0.5, "2026-07-15T12:10:30Z");
    check(&long_poll(), 0, 0.0, "2026-07-15T12:00:00.2Z");
    check(&long_poll(), 99, 0.0, "2026-07-15T12:00:00.2Z");
}

#[test]
fn what_the_upstream_asks_for_is_the_least() {
    let check = |schedule: &Schedule, asked: u64, expected: &str| {
        let polled = Polled {
            at_least: Some(seconds(asked)),
            ..polled(noon(), noon())
        };
        let plan = schedule.after_poll(&polled, 0.0);
        assert_eq!(plan.poll_at, at(expected), "{asked} {schedule:?}");
        assert!(plan.at_least <= AT_LEAST_MAX);
    };
    let minute = every(seconds(60), 0.0);
    check(&minute, 30, "2026-07-15T12:01:00Z");
    check(&minute, 90, "2026-07-15T12:01:30Z");
    check(&minute, u64::MAX, "2026-07-16T12:00:00Z");
    let five = cron("*/5 * * * *", Missed::Skip, 0.0);
    check(&five, 60, "2026-07-15T12:05:00Z");
    check(&five, 301, "2026-07-15T12:10:00Z");
    check(&long_poll(), 7, "2026-07-15T12:00:07Z");
}

#[test]
fn times_that_pass_during_a_poll_are_skipped_or_run_once() {
    let check = |missed: Missed, started: &str, ended: &str, expected: &str| {
        let schedule = cron("*/5 * * * *", missed, 0.0);
        let plan = schedule.after_poll(&polled(at(started), at(ended)), 0.0);
        assert_eq!(plan.poll_at, at(expected), "{missed:?} {started} {ended}");
    };
    let [five, four, seventeen] = [
        "2026-07-15T12:05:00Z",
        "2026-07-15T12:04:00Z",
        "2026-07-15T12:17:00Z",
    ];
    check(
        Missed::Skip,
        five,
        "2026-07-15T12:05:09Z",
        "2026-07-15T12:10:00Z",
    );
    check(
        Missed::RunOnce,
        five,
        "2026-07-15T12:05:09Z",
        "2026-07-15T12:10:00Z",
    );
    check(Missed::Skip, four, seventeen, "2026-07-15T12:20:00Z");
    check(Missed::RunOnce, four, seventeen, "2026-07-15T12:17:00.01Z");
    // The clock was put back by an hour during the poll.
    check(
        Missed::RunOnce,
        five,
        "2026-07-15T11:05:09Z",
        "2026-07-15T11:10:00Z",
    );
}

#[test]
fn a_start_is_spread() {
    let check = |schedule: &Schedule, most: Duration| {
        let at_chance = |chance: f64| schedule.at_start(None, noon(), chance).poll_at;
        assert_eq!(at_chance(0.0), noon(), "{schedule:?}");
        assert_eq!(at_chance(0.5), noon() + most / 2, "{schedule:?}");
        assert_eq!(at_chance(1.0), noon() + most, "{schedule:?}");
        let overdue = plan("2026-07-14T12:00:00Z", "2026-07-14T12:01:00Z");
        let again = schedule.at_start(Some(&overdue), noon(), 0.5);
        assert_eq!(again.poll_at, noon() + most / 2, "{schedule:?}");
    };
    check(&every(seconds(4), 10.0), seconds(4));
    check(&every(seconds(60), 10.0), seconds(10));
    check(&every(DAY, 10.0), seconds(10));
    check(&adaptive(), seconds(10));
    check(&long_poll(), seconds(1));
}

#[test]
fn a_start_keeps_a_plan_that_is_still_good() {
    let check = |schedule: &Schedule, stored: Plan, expected: &str| {
        let plan = schedule.at_start(Some(&stored), noon(), 0.5);
        assert_eq!(plan.poll_at, at(expected), "{schedule:?} {stored:?}");
    };
    let good = plan("2026-07-15T11:59:30Z", "2026-07-15T12:00:30Z");
    check(&every(seconds(60), 0.0), good, "2026-07-15T12:00:30Z");
    check(&adaptive(), good, "2026-07-15T12:00:30Z");
    // It was made for an interval of a day.
    let long = plan("2026-07-15T11:00:00Z", "2026-07-16T11:00:00Z");
    check(&every(DAY, 0.0), long, "2026-07-16T11:00:00Z");
    check(&every(seconds(60), 0.0), long, "2026-07-15T12:01:00Z");
    check(&adaptive(), long, "2026-07-15T12:11:00Z");
    check(
        &cron("*/5 * * * *", Missed::Skip, 0.0),
        long,
        "2026-07-15T12:05:00Z",
    );
    // The upstream asked for it.
    let asked = Plan {
        at_least: DAY,
        ..long
    };
    check(&every(seconds(60), 0.0), asked, "2026-07-16T11:00:00Z");
}

#[test]
fn missed_times_are_skipped_or_run_once_after_a_start() {
    let check = |missed: Missed, stored: Option<&str>, expected: &str| {
        let schedule = cron("0 3 * * *", missed, 0.0);
        let stored = stored.map(|time| plan("2026-07-01T03:00:09Z", time));
        let plan = schedule.at_start(stored.as_ref(), noon(), 0.5);
        assert_eq!(plan.poll_at, at(expected), "{missed:?} {stored:?}");
    };
    let [next, soon] = ["2026-07-16T03:00:00Z", "2026-07-15T12:00:05Z"];
    check(Missed::Skip, None, next);
    check(Missed::RunOnce, None, next);
    check(Missed::Skip, Some("2026-07-02T03:00:00Z"), next);
    check(Missed::RunOnce, Some("2026-07-02T03:00:00Z"), soon);
    check(Missed::Skip, Some(next), next);
    check(Missed::RunOnce, Some(next), next);
    // Half a minute late is not missed.
    check(Missed::Skip, Some("2026-07-15T11:59:30Z"), soon);
}

#[test]
fn a_poll_is_due_at_its_time_and_not_before() {
    let schedule = every(seconds(300), 0.0);
    let plan = plan("2026-07-15T12:00:00Z", "2026-07-15T12:05:00Z");
    let check = |now: &str, sleep: Option<u64>| {
        let expected = sleep.map_or(Due::Now, |sleep| Due::Later {
            plan,
            sleep: seconds(sleep),
        });
        assert_eq!(schedule.due(&plan, at(now), 0.5), expected, "{now}");
    };
    check("2026-07-15T12:00:00Z", Some(60));
    check("2026-07-15T12:04:30Z", Some(30));
    check("2026-07-15T12:05:00Z", None);
    check("2026-07-15T18:05:00Z", None);
    check("2036-07-15T12:05:00Z", None);
}

#[test]
fn a_clock_that_is_put_back_does_not_stop_a_source() {
    let check = |schedule: &Schedule, back: Duration, most: Duration| {
        let made = schedule.after_poll(&polled(noon(), noon()), 1.0);
        let now = noon() - back;
        let Due::Later { plan, sleep } = schedule.due(&made, now, 0.5) else {
            panic!("due at once: {schedule:?}");
        };
        assert!(plan.poll_at <= now + most, "{schedule:?}: {plan:?}");
        assert!(plan.poll_at > now && sleep > NONE, "{schedule:?}: {plan:?}");
        let again = schedule.due(&plan, now, 0.9);
        assert_eq!(again, Due::Later { plan, sleep }, "a corrected plan stays");
        assert_eq!(schedule.due(&plan, plan.poll_at, 0.5), Due::Now);
    };
    for back in [seconds(1), HOUR, DAY * 3650] {
        check(&every(seconds(60), 10.0), back, seconds(66));
        check(&every(DAY, 10.0), back, DAY + DAY / 10);
        check(&adaptive(), back, seconds(6));
        check(&long_poll(), back, Duration::from_millis(220));
        check(&cron("*/5 * * * *", Missed::Skip, 10.0), back, seconds(330));
        check(
            &cron("0 3 * * *", Missed::RunOnce, 10.0),
            back,
            DAY + seconds(60),
        );
    }
}

#[test]
fn a_clock_that_is_put_back_keeps_what_the_upstream_asked_for() {
    for schedule in [
        every(seconds(60), 0.0),
        cron("*/5 * * * *", Missed::Skip, 0.0),
    ] {
        let asked = Polled {
            at_least: Some(HOUR),
            ..polled(noon(), noon())
        };
        let made = schedule.after_poll(&asked, 0.0);
        let now = noon() - Duration::from_millis(5);
        let Due::Later { plan, .. } = schedule.due(&made, now, 0.0) else {
            panic!("due at once: {schedule:?}");
        };
        assert!(plan.poll_at >= now + HOUR && plan.poll_at <= now + HOUR + seconds(300));
    }
}

#[test]
fn a_clock_that_is_put_forward_polls_once() {
    let skip = cron("*/5 * * * *", Missed::Skip, 0.0);
    let once = cron("*/5 * * * *", Missed::RunOnce, 0.0);
    for forward in [HOUR, DAY * 3650] {
        let now = noon() + forward + seconds(100);
        for schedule in [&every(seconds(60), 0.0), &adaptive(), &long_poll(), &once] {
            let made = schedule.after_poll(&polled(noon(), noon()), 0.5);
            assert_eq!(schedule.due(&made, now, 0.5), Due::Now, "{schedule:?}");
            let next = schedule.after_poll(&polled(now, now), 0.5);
            assert_ne!(schedule.due(&next, now, 0.5), Due::Now, "{schedule:?}");
        }
        let made = skip.after_poll(&polled(noon(), noon()), 0.5);
        let Due::Later { plan, .. } = skip.due(&made, now, 0.5) else {
            panic!("what was missed was not skipped");
        };
        assert_eq!(plan.poll_at, noon() + forward + seconds(300));
    }
}

/// A source on a clock that somebody sets now and then.
struct Walk {
    chance: fastrand::Rng,
    /// The time that really passed.
    real: Duration,
    clock: Timestamp,
}

impl Walk {
    fn pass(&mut self, time: Duration) {
        self.real += time;
        self.clock += time;
    }

    fn set_the_clock(&mut self) -> Timestamp {
        let by = [seconds(1), HOUR, DAY * 400][self.chance.usize(0..3)];
        self.clock = match self.chance.bool() {
            true => self.clock + by,
            false => self.clock - by,
        };
        self.clock
    }

    /// Waits for a poll to be due, as a poller does, and tells how long that took and how often it
    /// asked. Nothing but a set clock makes it shorter or longer than planned.
    fn wait(&mut self, schedule: &Schedule, mut plan: Plan) -> (Duration, u32) {
        let began = self.real;
        let planned = span(plan.made_at, plan.poll_at);
        let jump = self.chance.u32(0..8);
        for asked in 1.. {
            if asked == jump {
                self.set_the_clock();
            }
            match schedule.due(&plan, self.clock, self.chance.f64()) {
                Due::Now => {
                    let waited = self.real - began;
                    assert!(waited == planned || (1..=asked).contains(&jump));
                    return (waited, asked);
                }
                Due::Later { plan: next, sleep } => {
                    assert!(sleep > NONE && sleep <= SLEEP_MAX);
                    plan = next;
                    self.pass(sleep);
                }
            }
        }
        unreachable!()
    }
}

#[test]
fn polls_never_overlap_nor_run_wild_nor_stop() {
    let schedules = [
        (every(seconds(7), 100.0), seconds(14)),
        (every(seconds(600), 10.0), seconds(660)),
        (adaptive(), seconds(660)),
        (long_poll(), seconds(50)),
        (cron("*/5 * * * *", Missed::Skip, 10.0), seconds(330)),
        (cron("*/5 * * * *", Missed::RunOnce, 100.0), seconds(600)),
        (cron("*/20 * * * * *", Missed::RunOnce, 0.0), seconds(20)),
    ];
    for (seed, (schedule, longest)) in schedules.iter().enumerate() {
        let mut walk = Walk {
            chance: fastrand::Rng::with_seed(seed as u64),
            real: NONE,
            clock: at("2500-01-01T00:00:00Z"),
        };
        let mut plan = schedule.at_start(None, walk.clock, walk.chance.f64());
        for step in 0..2_000 {
            let (waited, asked) = walk.wait(schedule, plan);
            assert!(waited <= *longest * 2, "{step}: {waited:?} {schedule:?}");
            assert!(asked <= 40, "{step}: {asked} {schedule:?}");
            let started = walk.clock;
            let took = Duration::from_millis(walk.chance.u64(0..50_000));
            walk.pass(took);
            if walk.chance.u8(..20) == 0 {
                walk.set_the_clock();
            }
            let polled = Polled {
                started,
                ended: walk.clock,
                idle: walk.chance.u32(0..20),
                at_least: None,
            };
            plan = schedule.after_poll(&polled, walk.chance.f64());
            assert!(plan.poll_at > walk.clock, "{step}: {plan:?} {schedule:?}");
            assert!(
                plan.made_at == walk.clock,
                "a pause begins when the poll has ended"
            );
        }
    }
}

#[test]
fn no_stored_plan_makes_it_panic_or_wait_too_long() {
    let mut chance = fastrand::Rng::with_seed(23);
    let ends = [
        Timestamp::MIN,
        Timestamp::MAX,
        Timestamp::UNIX_EPOCH,
        noon(),
    ];
    let schedules = [
        every(seconds(60), 10.0),
        adaptive(),
        long_poll(),
        cron("*/5 * * * *", Missed::Skip, 10.0),
        cron("0 0 29 2 *", Missed::RunOnce, 10.0),
    ];
    for schedule in &schedules {
        for _ in 0..300 {
            let mut time = || ends[chance.usize(0..ends.len())];
            let (made_at, poll_at) = (time(), time());
            let now = time().max(Timestamp::UNIX_EPOCH);
            let stored = Plan {
                made_at,
                poll_at,
                at_least: Duration::from_secs(chance.u64(..)),
            };
            let plan = schedule.at_start(Some(&stored), now, chance.f64());
            assert!(
                span(now, plan.poll_at) <= DAY * 3000,
                "{stored:?} {now} {plan:?}"
            );
            schedule.due(&stored, now, f64::NAN);
            let polled = Polled {
                started: made_at,
                ended: poll_at,
                idle: chance.u32(..),
                at_least: Some(Duration::MAX),
            };
            schedule.after_poll(&polled, f64::NAN);
        }
    }
}
