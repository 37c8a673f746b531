//! Times as providers write them.

use serde_json::json;

use super::*;

fn format(format: &str, zone: &str) -> TimeFormat {
    TimeFormat::new(format, zone).unwrap()
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn checked_in(name: &str, zone: &str) -> impl Fn(Value, Option<&str>) {
    let format = format(name, zone);
    let name = format!("{name} in {zone}");
    move |value, expected| {
        assert_eq!(format.read(&value), expected.map(at), "{name}: {value}");
    }
}

#[test]
fn auto_reads_what_says_its_offset() {
    let check = checked_in("auto", "Europe/Berlin");
    check(json!("2026-03-01T12:30:00Z"), Some("2026-03-01T12:30:00Z"));
    check(json!("2026-03-01t12:30:00z"), Some("2026-03-01T12:30:00Z"));
    check(
        json!(" 2026-03-01 12:30:00.25+01:00 "),
        Some("2026-03-01T11:30:00.25Z"),
    );
    check(
        json!("2026-03-01T12:30:00+0100"),
        Some("2026-03-01T11:30:00Z"),
    );
    check(json!("20260301T123000Z"), Some("2026-03-01T12:30:00Z"));
    check(
        json!("Sun, 01 Mar 2026 12:30:00 GMT"),
        Some("2026-03-01T12:30:00Z"),
    );
    check(
        json!("Mon, 1 Mar 2026 12:30:00 -0500"),
        Some("2026-03-01T17:30:00Z"),
    );
    check(json!("01 Mar 26 12:30 +0100"), Some("2026-03-01T11:30:00Z"));
}

#[test]
fn auto_tells_the_unit_of_a_count_by_its_size() {
    let check = checked_in("auto", "UTC");
    let whole = Some("2026-03-01T12:30:00Z");
    check(json!(1_772_368_200), whole);
    check(json!(1_772_368_200_000_i64), whole);
    check(json!(1_772_368_200_000_000_i64), whole);
    check(json!(1_772_368_200_000_000_000_i64), whole);
    check(json!("1772368200"), whole);
    check(json!("1772368200000"), whole);
    let half = Some("2026-03-01T12:30:00.5Z");
    check(json!(1_772_368_200.5), half);
    check(json!("1772368200.500"), half);
    check(json!(1_772_368_200_500_i64), half);
    check(json!(1_772_368_200_500.0), half);
    check(
        json!("1772368200.000247"),
        Some("2026-03-01T12:30:00.000247Z"),
    );
    check(json!(100_000_000), Some("1973-03-03T09:46:40Z"));
    check(json!(9_999_999_999_i64), Some("2286-11-20T17:46:39Z"));
}

#[test]
fn auto_takes_no_date_in_digits_for_a_count() {
    let check = checked_in("auto", "UTC");
    check(json!("20260301"), Some("2026-03-01T00:00:00Z"));
    for value in [
        json!(20_260_301),
        json!(20_260_301_123_000_i64),
        json!("20260301123000"),
        json!(20_260_301_123_000_250_i64),
        json!(0),
        json!(-1),
        json!(-1_772_368_200),
        json!(42),
        json!(1e300),
        json!(u64::MAX),
    ] {
        check(value, None);
    }
}

#[test]
fn what_is_no_time_is_not_read() {
    for name in ["auto", "unix", "unix_ms", "rfc3339", "%Y-%m-%d %H:%M:%S"] {
        let check = checked_in(name, "Europe/Berlin");
        for value in [
            json!(null),
            json!(true),
            json!([1_772_368_200]),
            json!({"time": 1_772_368_200}),
            json!(""),
            json!("   "),
            json!("soon"),
            json!("2026-13-01 00:00:00"),
            json!("2026-02-30T00:00:00Z"),
            json!("1772368200 s"),
            json!("1e9"),
            json!("."),
            json!("-"),
            json!("1."),
            json!(".5"),
            json!("-.5"),
            json!("NaN"),
            json!("٣٣٣٣٣٣٣٣٣٣"),
            json!("9".repeat(TEXT_BYTES_MAX)),
            json!("9".repeat(TEXT_BYTES_MAX + 1)),
        ] {
            check(value, None);
        }
    }
}

#[test]
fn local_times_are_those_of_the_zone() {
    let check = checked_in("auto", "Europe/Berlin");
    check(json!("2026-01-15 12:30:00"), Some("2026-01-15T11:30:00Z"));
    check(json!("2026-07-15 12:30:00"), Some("2026-07-15T10:30:00Z"));
    check(json!("2026-07-15T12:30"), Some("2026-07-15T10:30:00Z"));
    check(
        json!("2026-07-15T12:30:00.123"),
        Some("2026-07-15T10:30:00.123Z"),
    );
    check(json!("2026-07-15"), Some("2026-07-14T22:00:00Z"));
    let check = checked_in("rfc3339", "Europe/Berlin");
    check(json!("2026-07-15T12:30:00"), None);
    check(json!("2026-07-15T12:30:00Z"), Some("2026-07-15T12:30:00Z"));
    check(json!(1_772_368_200), None);
}

#[test]
fn a_repeated_time_is_the_earlier_and_a_skipped_one_the_later() {
    let night = |name: &str, zone: &str, table: &[(&str, &str)]| {
        let check = checked_in(name, zone);
        for (local, instant) in table {
            check(json!(local), Some(instant));
        }
    };
    let berlin = [
        ("2026-03-29 01:59:59", "2026-03-29T00:59:59Z"),
        ("2026-03-29 02:30:00", "2026-03-29T01:30:00Z"),
        ("2026-03-29 03:00:00", "2026-03-29T01:00:00Z"),
        ("2026-10-25 01:59:59", "2026-10-24T23:59:59Z"),
        ("2026-10-25 02:00:00", "2026-10-25T00:00:00Z"),
        ("2026-10-25 02:59:59", "2026-10-25T00:59:59Z"),
        ("2026-10-25 03:00:00", "2026-10-25T02:00:00Z"),
    ];
    let new_york = [
        ("2026-03-08 02:30:00", "2026-03-08T07:30:00Z"),
        ("2026-03-08 03:00:00", "2026-03-08T07:00:00Z"),
        ("2026-11-01 01:30:00", "2026-11-01T05:30:00Z"),
        ("2026-11-01 02:00:00", "2026-11-01T07:00:00Z"),
    ];
    for name in ["auto", "%Y-%m-%d %H:%M:%S"] {
        night(name, "Europe/Berlin", &berlin);
        night(name, "America/New_York", &new_york);
    }
}

#[test]
fn a_named_format_reads_every_size() {
    let check = checked_in("unix", "UTC");
    check(json!(0), Some("1970-01-01T00:00:00Z"));
    check(json!(-1), Some("1969-12-31T23:59:59Z"));
    check(json!("-1.25"), Some("1969-12-31T23:59:58.75Z"));
    check(json!(20_260_301), Some("1970-08-23T11:51:41Z"));
    check(json!(1_772_368_200_000_i64), None);
    let check = checked_in("unix_ms", "UTC");
    check(json!(0), Some("1970-01-01T00:00:00Z"));
    check(json!(1_772_368_200), Some("1970-01-21T12:19:28.2Z"));
    check(json!("1500"), Some("1970-01-01T00:00:01.5Z"));
}

#[test]
fn patterns_read_numbers_offsets_and_names() {
    let check = |name: &str, value: Value, expected: Option<&str>| {
        checked_in(name, "Europe/Berlin")(value, expected);
    };
    let noon = Some("2026-07-15T10:30:00Z");
    check("%d.%m.%Y %H:%M", json!("15.07.2026 12:30"), noon);
    check("%Y%m%d%H%M%S", json!(20_260_715_123_000_i64), noon);
    check("%F %T %z", json!("2026-07-15 12:30:00 +0200"), noon);
    check("%F %T %:z", json!("2026-07-15 10:30:00 +00:00"), noon);
    check(
        "%F %T %Q",
        json!("2026-07-15 06:30:00 America/New_York"),
        noon,
    );
    check("%F %T %Q", json!("2026-07-15 06:30:00 No/Where"), None);
    check("%b %d, %Y %I:%M %p", json!("Jul 15, 2026 12:30 PM"), noon);
    check("%s", json!("1784111400"), noon);
    check(
        "%Y-%m-%d",
        json!("2026-07-15"),
        Some("2026-07-14T22:00:00Z"),
    );
    check("%Y-%m-%d", json!("2026-07-15 12:30"), None);
}

#[test]
fn a_format_that_cannot_be_used_says_why() {
    let check = |name: &str, zone: &str, part: &str| {
        let error = TimeFormat::new(name, zone).unwrap_err().to_string();
        assert!(error.contains(part), "{name} in {zone}: {error}");
    };
    check("auto", "Mars/Olympus", "no time zone `Mars/Olympus`");
    check("auto", "", "no time zone ``");
    check("auto", "../../etc/passwd", "no time zone");
    check("iso", "UTC", "`iso` is no time format");
    check("", "UTC", "`` is no time format");
    check("%H:%M:%S", "UTC", "lacks a part of the date");
    check("%d.%m. %H:%M", "UTC", "lacks a part of the date");
    check("%F %I:%M:%S", "UTC", "does not read back");
    check("%F %T %", "UTC", "cannot be used");
    check("%F %T %Z", "Europe/Berlin", "cannot be used");
    check(&"%Y".repeat(PATTERN_BYTES_MAX), "UTC", "longer than 128");
}

#[test]
fn times_are_written_as_they_are_read() {
    let time = at("2026-07-15T10:30:00.123456789Z");
    let check = |name: &str, expected: Value| {
        let format = format(name, "Europe/Berlin");
        assert_eq!(format.write(time), expected, "{name}");
        let text = expected.as_str().map(str::to_owned);
        assert_eq!(format.text(time), text.unwrap_or(expected.to_string()));
    };
    check("auto", json!("2026-07-15T10:30:00.123456789Z"));
    check("rfc3339", json!("2026-07-15T10:30:00.123456789Z"));
    check("unix", json!(1_784_111_400));
    check("unix_ms", json!(1_784_111_400_123_i64));
    check("%Y-%m-%d %H:%M:%S", json!("2026-07-15 12:30:00"));
    check(
        "%Y-%m-%dT%H:%M:%S%.3f%:z",
        json!("2026-07-15T12:30:00.123+02:00"),
    );
    check("%Y%m%d", json!("20260715"));
}

#[test]
fn what_is_written_is_never_read_later() {
    let formats = [
        "auto",
        "rfc3339",
        "unix",
        "unix_ms",
        "%F %T",
        "%F %T%.f",
        "%F %H:%M",
        "%F",
        "%FT%T%.3f%z",
        "%a, %d %b %Y %I:%M:%S %p",
        "%s",
    ];
    let mut chance = fastrand::Rng::with_seed(7);
    for zone in [
        "UTC",
        "Europe/Berlin",
        "America/New_York",
        "Australia/Lord_Howe",
    ] {
        for name in formats {
            let format = format(name, zone);
            for _ in 0..500 {
                let nanos = chance.i128(-60 * YEAR..60 * YEAR);
                let time = Timestamp::from_nanosecond(nanos).unwrap();
                let written = format.write(time);
                // `auto` cannot tell a count; everything that it writes has an offset.
                let read = format.read(&written).unwrap();
                assert!(read <= time, "{name} in {zone}: {time} became {read}");
                let lost = Duration::try_from(time.duration_since(read)).unwrap();
                let hour = Duration::from_secs(3600);
                let most = format.unit()
                    + if format.is_local() {
                        hour
                    } else {
                        Duration::ZERO
                    };
                assert!(lost < most, "{name} in {zone}: {time} became {read}");
            }
        }
    }
}

const YEAR: i128 = 366 * 24 * 3600 * 1_000_000_000;

#[test]
fn the_unit_is_what_survives_writing() {
    let check = |name: &str, expected: Duration| {
        for zone in ["UTC", "Europe/Berlin", "Pacific/Kiritimati", "Asia/Kolkata"] {
            assert_eq!(format(name, zone).unit(), expected, "{name} in {zone}");
        }
    };
    let second = Duration::from_secs(1);
    check("auto", second);
    check("rfc3339", second);
    check("unix", second);
    check("unix_ms", Duration::from_millis(1));
    check("%F %T", second);
    check("%F %T%.3f", Duration::from_millis(1));
    check("%F %T%.6f", Duration::from_micros(1));
    check("%F %T%.f", Duration::from_nanos(1));
    check("%F %T%.1f", second);
    check("%s", second);
    check("%F %H:%M", second * 60);
    check("%d.%m.%Y %I %p", second * 3600);
    check("%F", second * 24 * 3600);
}

#[test]
fn only_a_clock_that_is_put_back_is_local() {
    let check = |name: &str, zone: &str, expected: bool| {
        assert_eq!(format(name, zone).is_local(), expected, "{name} in {zone}");
    };
    check("%F %T", "Europe/Berlin", true);
    check("%F %T", "America/New_York", true);
    check("%F %T", "UTC", false);
    check("%F %T", "Etc/GMT-3", false);
    check("%F %T", "Asia/Kolkata", false);
    check("%F %T", "Europe/Moscow", false);
    check("%F %T %z", "Europe/Berlin", false);
    check("%F %T %Q", "Europe/Berlin", false);
    check("%s", "Europe/Berlin", false);
    check("unix", "Europe/Berlin", false);
    check("rfc3339", "Europe/Berlin", false);
    check("auto", "Europe/Berlin", true);
    check("auto", "UTC", false);
}

#[test]
fn no_input_makes_reading_panic() {
    let mut chance = fastrand::Rng::with_seed(11);
    let letters: Vec<char> = "0123456789-+:.TZtz %eEäπ,/[]GMTJanMonu".chars().collect();
    for name in [
        "auto",
        "unix",
        "unix_ms",
        "rfc3339",
        "%F %T%.f %z",
        "%s",
        "%Q %F",
    ] {
        let format = format(name, "America/New_York");
        for _ in 0..5_000 {
            let length = chance.usize(0..40);
            let text: String = (0..length)
                .map(|_| letters[chance.usize(0..letters.len())])
                .collect();
            format.read(&json!(text));
            format.read(&json!(f64::from_bits(chance.u64(..))));
            format.read(&json!(chance.i64(..)));
        }
        for time in [Timestamp::MIN, Timestamp::MAX, Timestamp::UNIX_EPOCH] {
            format.write(time);
        }
    }
}

#[test]
fn no_pattern_makes_a_format_panic() {
    let mut chance = fastrand::Rng::with_seed(13);
    let letters: Vec<char> = "%%%%YmdHMSfzQsIpjGVUWZABaby0123456789:.-_^# é"
        .chars()
        .collect();
    for _ in 0..20_000 {
        let length = chance.usize(0..20);
        let text: String = (0..length)
            .map(|_| letters[chance.usize(0..letters.len())])
            .collect();
        if let Ok(format) = TimeFormat::new(&text, "Europe/Berlin") {
            format.write(Timestamp::MAX);
        }
    }
}

#[test]
fn a_start_is_a_word_a_time_or_a_length() {
    let check = |text: &str, expected: Result<Start, &str>| match (text.parse(), expected) {
        (read, Ok(start)) => assert_eq!(read, Ok(start), "{text}"),
        (Ok::<Start, StartError>(start), Err(_)) => panic!("{text} became {start:?}"),
        (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{text}: {error}"),
    };
    let hours = |hours: u64| Ok(Start::Ago(Duration::from_secs(hours * 3600)));
    check("now", Ok(Start::Now));
    check("earliest", Ok(Start::Earliest));
    check(
        "2026-01-01T00:00:00Z",
        Ok(Start::At(at("2026-01-01T00:00:00Z"))),
    );
    check(
        "2026-01-01T01:00:00+01:00",
        Ok(Start::At(at("2026-01-01T00:00:00Z"))),
    );
    check("-7d", hours(7 * 24));
    check("-1h", hours(1));
    check("-1d12h", hours(36));
    check("7d", Err("`7d` is no start"));
    check("-7", Err("is no start"));
    check("-1M", Err("is no start"));
    check("--1h", Err("is no start"));
    check("-", Err("is no start"));
    check("", Err("is no start"));
    check("Now", Err("is no start"));
    check("2026-01-01", Err("is no start"));
    check("2026-01-01T00:00:00", Err("is no start"));
    check("-101years", Err("more than 100 years"));
    check(&format!("-{}h", "9".repeat(200)), Err("is no start"));
}

#[test]
fn a_start_is_counted_from_the_first_poll() {
    let now = at("2026-07-15T10:30:00Z");
    let check = |text: &str, expected: Option<&str>| {
        let start = Start::parse(text).unwrap();
        assert_eq!(start.instant(now), expected.map(at), "{text}");
    };
    check("now", Some("2026-07-15T10:30:00Z"));
    check("earliest", None);
    check("2026-01-01T00:00:00Z", Some("2026-01-01T00:00:00Z"));
    check("-7d", Some("2026-07-08T10:30:00Z"));
    let old = Start::parse("-100years").unwrap();
    assert_eq!(old.instant(Timestamp::MIN), Some(Timestamp::MIN));
}
