//! Times of a clock, above all in the nights on which it is put forward or back.

use super::*;

fn cron(expression: &str, zone: &str) -> Cron {
    Cron::new(expression, zone, Missed::Skip).unwrap()
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// The times within half-open limits, on the wall clock of the zone with its offset in hours.
fn times(expression: &str, zone: &str, from: &str, to: &str) -> Vec<String> {
    let cron = cron(expression, zone);
    let written = |time: Timestamp| {
        let local = time.to_zoned(cron.zone.clone());
        assert_eq!(time.subsec_nanosecond(), 0, "{expression}");
        local.strftime("%d %H:%M %:::z").to_string()
    };
    let first = at(from) - Duration::from_nanos(1);
    let all = std::iter::successors(cron.next(first), |time| cron.next(*time));
    all.take_while(|time| *time < at(to)).map(written).collect()
}

/// Nights in which the clock is changed: its zone, and the hours around it in UTC.
const BERLIN_SPRING: [&str; 3] = [
    "Europe/Berlin",
    "2026-03-28T23:00:00Z",
    "2026-03-29T04:00:00Z",
];
const BERLIN_AUTUMN: [&str; 3] = [
    "Europe/Berlin",
    "2026-10-24T22:00:00Z",
    "2026-10-25T04:00:00Z",
];
const NEW_YORK_SPRING: [&str; 3] = [
    "America/New_York",
    "2026-03-08T05:00:00Z",
    "2026-03-08T10:00:00Z",
];
const NEW_YORK_AUTUMN: [&str; 3] = [
    "America/New_York",
    "2026-11-01T04:00:00Z",
    "2026-11-01T10:00:00Z",
];

fn check(expression: &str, night: [&str; 3], expected: &[&str]) {
    let [zone, from, to] = night;
    assert_eq!(
        times(expression, zone, from, to),
        expected,
        "{expression} in {zone}"
    );
}

#[test]
fn a_skipped_hour_runs_once_right_after_the_gap() {
    check("30 2 * * *", BERLIN_SPRING, &["29 03:00 +02"]);
    check("0 2 * * *", BERLIN_SPRING, &["29 03:00 +02"]);
    check("0,30 2 * * *", BERLIN_SPRING, &["29 03:00 +02"]);
    check("*/5 2 * * *", BERLIN_SPRING, &["29 03:00 +02"]);
    check("* * 2 * * *", BERLIN_SPRING, &["29 03:00 +02"]);
    check(
        "30 2,3 * * *",
        BERLIN_SPRING,
        &["29 03:00 +02", "29 03:30 +02"],
    );
    check("0 2,3 * * *", BERLIN_SPRING, &["29 03:00 +02"]);
    check("59 1 * * *", BERLIN_SPRING, &["29 01:59 +01"]);
    check("0 3 * * *", BERLIN_SPRING, &["29 03:00 +02"]);
    check("30 2 * * sun", BERLIN_SPRING, &["29 03:00 +02"]);
    check("30 2 * * sat", BERLIN_SPRING, &[]);
    check("30 2 * * *", NEW_YORK_SPRING, &["08 03:00 -04"]);
    check(
        "0 */2 * * *",
        NEW_YORK_SPRING,
        &["08 00:00 -05", "08 03:00 -04", "08 04:00 -04"],
    );
}

#[test]
fn a_repeated_hour_runs_once() {
    check("30 2 * * *", BERLIN_AUTUMN, &["25 02:30 +02"]);
    check("0 2 * * *", BERLIN_AUTUMN, &["25 02:00 +02"]);
    check(
        "0,30 2 * * *",
        BERLIN_AUTUMN,
        &["25 02:00 +02", "25 02:30 +02"],
    );
    check("0 3 * * *", BERLIN_AUTUMN, &["25 03:00 +01"]);
    check(
        "30 1-3 * * *",
        BERLIN_AUTUMN,
        &["25 01:30 +02", "25 02:30 +02", "25 03:30 +01"],
    );
    check("30 1 * * *", NEW_YORK_AUTUMN, &["01 01:30 -04"]);
    check("30 2 * * *", NEW_YORK_AUTUMN, &["01 02:30 -05"]);
    let expression = "* 2 * * *";
    let [zone, from, to] = BERLIN_AUTUMN;
    assert_eq!(times(expression, zone, from, to).len(), 60);
    assert_eq!(times("* * 2 * * *", zone, from, to).len(), 3600);
}

#[test]
fn every_hour_goes_on_by_real_time() {
    check(
        "0 * * * *",
        BERLIN_SPRING,
        &[
            "29 00:00 +01",
            "29 01:00 +01",
            "29 03:00 +02",
            "29 04:00 +02",
            "29 05:00 +02",
        ],
    );
    check(
        "0 * * * *",
        BERLIN_AUTUMN,
        &[
            "25 00:00 +02",
            "25 01:00 +02",
            "25 02:00 +02",
            "25 02:00 +01",
            "25 03:00 +01",
            "25 04:00 +01",
        ],
    );
    check(
        "30 * * * *",
        NEW_YORK_AUTUMN,
        &[
            "01 00:30 -04",
            "01 01:30 -04",
            "01 01:30 -05",
            "01 02:30 -05",
            "01 03:30 -05",
            "01 04:30 -05",
        ],
    );
    for [zone, from, to] in [
        BERLIN_SPRING,
        BERLIN_AUTUMN,
        NEW_YORK_SPRING,
        NEW_YORK_AUTUMN,
    ] {
        for (expression, gap) in [("*/5 * * * *", 300), ("*/20 * * * * *", 20)] {
            let cron = cron(expression, zone);
            let gap = Duration::from_secs(gap);
            let mut time = at(from);
            while time < at(to) {
                assert_eq!(cron.next(time), Some(time + gap), "{expression} in {zone}");
                time += gap;
            }
        }
    }
}

#[test]
fn midnight_of_the_first_is_that_of_the_zone() {
    let check = |zone: &str, expected: &[&str]| {
        let times = times(
            "0 0 1 * *",
            zone,
            "2026-02-15T00:00:00Z",
            "2026-05-15T00:00:00Z",
        );
        assert_eq!(times, expected, "{zone}");
    };
    check(
        "Europe/Berlin",
        &["01 00:00 +01", "01 00:00 +02", "01 00:00 +02"],
    );
    check(
        "America/New_York",
        &["01 00:00 -05", "01 00:00 -04", "01 00:00 -04"],
    );
    check("UTC", &["01 00:00 +00", "01 00:00 +00", "01 00:00 +00"]);
}

#[test]
fn a_midnight_that_is_skipped_or_repeated_runs_once() {
    let check = |zone: &str, from: &str, to: &str, expected: &[&str]| {
        assert_eq!(times("0 0 * * *", zone, from, to), expected, "{zone}");
    };
    let [from, to] = ["2026-04-23T12:00:00Z", "2026-04-25T12:00:00Z"];
    check("Africa/Cairo", from, to, &["24 01:00 +03", "25 00:00 +03"]);
    let [from, to] = ["2026-10-31T12:00:00Z", "2026-11-02T12:00:00Z"];
    check(
        "America/Havana",
        from,
        to,
        &["01 00:00 -04", "02 00:00 -05"],
    );
    // Samoa had no 30 December in 2011.
    let [from, to] = ["2011-12-29T00:00:00Z", "2012-01-01T00:00:00Z"];
    check(
        "Pacific/Apia",
        from,
        to,
        &["29 00:00 -10", "31 00:00 +14", "01 00:00 +14"],
    );
}

#[test]
fn a_search_from_any_instant_finds_the_same_times() {
    let mut chance = fastrand::Rng::with_seed(3);
    let expressions = [
        "30 2 * * *",
        "*/7 1-3 * * *",
        "*/5 * * * *",
        "0 0 1 * *",
        "15,45 */2 * * *",
    ];
    for [zone, from, to] in [
        BERLIN_SPRING,
        BERLIN_AUTUMN,
        NEW_YORK_SPRING,
        NEW_YORK_AUTUMN,
    ] {
        for expression in expressions {
            let cron = cron(expression, zone);
            let limits = at(from).as_nanosecond()..at(to).as_nanosecond();
            let all: Vec<Timestamp> =
                std::iter::successors(cron.next(at(from)), |time| cron.next(*time))
                    .take_while(|time| *time < at(to) + Duration::from_secs(366 * 24 * 3600))
                    .take(1000)
                    .collect();
            for _ in 0..200 {
                let after = Timestamp::from_nanosecond(chance.i128(limits.clone())).unwrap();
                let expected = all.iter().find(|time| **time > after);
                assert_eq!(
                    cron.next(after).as_ref(),
                    expected,
                    "{expression} {zone} {after}"
                );
            }
        }
    }
}

#[test]
fn seconds_and_names_are_read() {
    let check = |expression: &str, expected: &str| {
        let next = cron(expression, "UTC").next(at("2026-07-15T10:30:00.5Z"));
        assert_eq!(next, Some(at(expected)), "{expression}");
        assert_eq!(
            cron(expression, "UTC").to_string(),
            expression.to_uppercase()
        );
    };
    check("* * * * *", "2026-07-15T10:31:00Z");
    check("* * * * * *", "2026-07-15T10:30:01Z");
    check("15 * * * * *", "2026-07-15T10:30:15Z");
    check("0 0 29 2 *", "2028-02-29T00:00:00Z");
    check("0 0 L * *", "2026-07-31T00:00:00Z");
    check("0 12 1 1 *", "2027-01-01T12:00:00Z");
}

#[test]
fn an_expression_that_names_no_time_says_why() {
    let check = |expression: &str, part: &str| {
        let error = Cron::new(expression, "UTC", Missed::Skip)
            .unwrap_err()
            .to_string();
        assert!(error.contains(part), "{expression}: {error}");
    };
    check("", "has 5 or 6 fields, not 0");
    check("* * * *", "fields, not 4");
    check("* * * * * * *", "fields, not 7");
    check("@hourly", "fields, not 1");
    check("60 * * * *", "cannot be read");
    check("* 24 * * *", "cannot be read");
    check("* * * * mond", "cannot be read");
    check("*/0 * * * *", "cannot be read");
    check("5-1 * * * *", "cannot be read");
    check("1,,2 * * * *", "`1,,2` has an empty place");
    check(", * * * *", "`,` has an empty place");
    check("0 0 30 2 *", "no time is ever like `0 0 30 2 *`");
    check("0 0 31 4,6,9,11 *", "no time is ever");
    check(
        &format!("{} * * * *", "0,".repeat(EXPRESSION_BYTES_MAX)),
        "longer than 256 bytes",
    );
    let error = Cron::new("* * * * *", "Mars/Olympus", Missed::Skip).unwrap_err();
    assert_eq!(error, CronError::UnknownZone("Mars/Olympus".to_owned()));
}

#[test]
fn no_expression_and_no_clock_makes_it_panic() {
    let mut chance = fastrand::Rng::with_seed(5);
    let letters: Vec<char> = "0123456789*/,-LW#?+ monJAN@é   ".chars().collect();
    let fields = [
        "*", "*/7", "5", "1-3", "1,2", "L", "2#5", "29", "15W", "+mon", "?", "fri", "feb", "0",
    ];
    let mut read = 0;
    for _ in 0..3_000 {
        let text: String = match chance.bool() {
            true => (0..chance.usize(4..20))
                .map(|_| letters[chance.usize(0..letters.len())])
                .collect(),
            false => (0..chance.usize(5..=6))
                .map(|_| fields[chance.usize(0..fields.len())].to_owned() + " ")
                .collect(),
        };
        if let Ok(cron) = Cron::new(&text, "Europe/Berlin", Missed::Skip) {
            read += 1;
            for time in [Timestamp::MIN, Timestamp::UNIX_EPOCH, Timestamp::MAX] {
                cron.next_and_gap(time);
            }
        }
    }
    assert!(read > 50, "{read}");
}

#[test]
fn after_the_last_year_the_longest_pause_stands_for_it() {
    let cron = cron("0 0 * * *", "UTC");
    let late = at("6000-01-01T00:00:00Z");
    assert_eq!(cron.next(late), None);
    assert_eq!(cron.next_and_gap(late), (late + PAUSE_MAX, PAUSE_MAX));
}
