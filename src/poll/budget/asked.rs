//! Reads what upstreams say about waiting: `Retry-After`, resets, intervals.
//!
//! What cannot be read asks for nothing. How long is obeyed is decided elsewhere.

use std::time::Duration;

use jiff::Timestamp;

/// The longest value that is looked at, in bytes.
const VALUE_BYTES_MAX: usize = 128;
/// The longest interval that an upstream may ask for between polls.
const INTERVAL_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// The first value of a header, its name in any case.
pub(super) fn header<'h>(headers: &'h [(String, String)], name: &str) -> Option<&'h str> {
    let named = |(found, _): &&(String, String)| found.eq_ignore_ascii_case(name);
    let value = headers.iter().find(named)?.1.trim();
    (value.len() <= VALUE_BYTES_MAX).then_some(value)
}

/// What a `Retry-After` asks for: seconds, also with a fraction, or a date (RFC 9110, 10.2.3). A
/// date that is past asks for no time.
pub fn retry_after(value: &str, now: Timestamp) -> Option<Duration> {
    let value = value.trim();
    number(value).or_else(|| Some(until(http_date(value)?, now)))
}

/// How many requests an upstream still allows: a whole number, the first of a list.
pub fn remaining(value: &str) -> Option<u64> {
    let first = value.split([',', ';']).next()?.trim();
    let whole = number(first)?.as_secs();
    Some(whole)
}

/// How an upstream writes when it counts anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ResetAs {
    /// In any of these forms; numbers are told apart by their size.
    #[default]
    Auto,
    /// Seconds to wait.
    Seconds,
    /// Seconds since 1970.
    EpochSeconds,
    /// Milliseconds since 1970.
    EpochMillis,
    /// RFC 3339.
    Rfc3339,
    /// The date of HTTP (RFC 9110, 5.6.7).
    HttpDate,
}

impl ResetAs {
    /// How long it is until then; no time if it is past.
    pub fn wait(self, value: &str, now: Timestamp) -> Option<Duration> {
        let value = value.trim();
        match self {
            Self::Auto => {
                let form = match number(value) {
                    Some(count) => Self::of_size(count, now)?,
                    None if value.starts_with(|first: char| first.is_ascii_digit()) => {
                        Self::Rfc3339
                    }
                    None => Self::HttpDate,
                };
                form.wait(value, now)
            }
            Self::Seconds => number(value),
            Self::EpochSeconds => Some(until(epoch(number(value)?), now)),
            Self::EpochMillis => Some(until(epoch(number(value)? / 1000), now)),
            Self::Rfc3339 => Some(until(value.parse().ok()?, now)),
            Self::HttpDate => Some(until(http_date(value)?, now)),
        }
    }

    /// What a number must be, `now` being what it is: between half of now and twice now it is a
    /// time, in seconds or milliseconds, and far below it is a wait.
    fn of_size(count: Duration, now: Timestamp) -> Option<Self> {
        let now = Duration::try_from(now.as_duration()).unwrap_or_default();
        let around = |moment: Duration| count >= moment / 2 && count <= moment.saturating_mul(2);
        if count < now / 2 {
            Some(Self::Seconds)
        } else if around(now) {
            Some(Self::EpochSeconds)
        } else if around(now.saturating_mul(1000)) {
            Some(Self::EpochMillis)
        } else {
            None
        }
    }
}

/// Where an upstream says how long to leave between polls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MinInterval {
    /// In a header of its own, in seconds (`X-Poll-Interval`, `Backoff`).
    Header(String),
    /// By how long its answer stays fresh: `max-age` of `Cache-Control`, less the `Age`.
    CacheControl,
}

impl MinInterval {
    /// The place that the name of a header stands for.
    pub fn named(name: &str) -> Self {
        if name.eq_ignore_ascii_case("cache-control") {
            Self::CacheControl
        } else {
            Self::Header(name.to_owned())
        }
    }

    /// The interval that an answer asks for, a day at most.
    pub fn read(&self, headers: &[(String, String)]) -> Option<Duration> {
        let asked = match self {
            Self::Header(name) => number(header(headers, name)?)?,
            Self::CacheControl => {
                let age = header(headers, "age").and_then(number).unwrap_or_default();
                max_age(header(headers, "cache-control")?)?.saturating_sub(age)
            }
        };
        Some(asked.min(INTERVAL_MAX))
    }
}

fn max_age(value: &str) -> Option<Duration> {
    value.split(',').find_map(|directive| {
        let (name, value) = directive.split_once('=')?;
        let is_meant = name.trim().eq_ignore_ascii_case("max-age");
        is_meant.then(|| number(value.trim().trim_matches('"')))?
    })
}

/// Digits, with a fraction or without. More of them than fit are as many as there can be.
fn number(value: &str) -> Option<Duration> {
    let (whole, fraction) = value.split_once('.').unwrap_or((value, "0"));
    let are_digits =
        |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !are_digits(whole) || !are_digits(fraction) {
        return None;
    }
    let seconds = Duration::from_secs(whole.parse().unwrap_or(u64::MAX));
    let nanos: String = fraction
        .chars()
        .chain("000000000".chars())
        .take(9)
        .collect();
    Some(seconds.saturating_add(Duration::from_nanos(nanos.parse().ok()?)))
}

fn http_date(value: &str) -> Option<Timestamp> {
    Timestamp::try_from(httpdate::parse_http_date(value).ok()?).ok()
}

fn epoch(since: Duration) -> Timestamp {
    Timestamp::UNIX_EPOCH
        .saturating_add(since)
        .unwrap_or(Timestamp::MAX)
}

fn until(then: Timestamp, now: Timestamp) -> Duration {
    then.duration_since(now).try_into().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-01-15T12:00:00Z.
    const NOW: i64 = 1_768_478_400;

    fn now() -> Timestamp {
        Timestamp::from_second(NOW).unwrap()
    }

    fn secs(seconds: f64) -> Option<Duration> {
        Some(Duration::from_secs_f64(seconds))
    }

    fn headers(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        let owned = |&(name, value): &(&str, &str)| (name.to_owned(), value.to_owned());
        pairs.iter().map(owned).collect()
    }

    #[test]
    fn a_retry_after_is_read_in_all_its_forms() {
        let check = |value: &str, expected: Option<Duration>| {
            assert_eq!(retry_after(value, now()), expected, "{value:?}");
        };
        check("0", secs(0.0));
        check("120", secs(120.0));
        check(" 120 ", secs(120.0));
        check("0.25", secs(0.25));
        check("1.5000000009999", secs(1.5));
        check("Thu, 15 Jan 2026 12:01:00 GMT", secs(60.0));
        check("Thursday, 15-Jan-26 12:01:00 GMT", secs(60.0));
        check("Thu Jan 15 12:01:00 2026", secs(60.0));
        check("Thu, 15 Jan 2026 11:00:00 GMT", secs(0.0));
        check(
            "99999999999999999999999",
            Some(Duration::from_secs(u64::MAX)),
        );
        for garbage in [
            "",
            "-1",
            "+1",
            "1e3",
            "inf",
            "NaN",
            ".",
            "1.",
            ".5",
            "1.2.3",
            "1,5",
            "5, 10",
            "soon",
            "2026-01-15T12:01:00Z",
            "Thu, 35 Jan 2026 12:01:00 GMT",
            "１２",
        ] {
            check(garbage, None);
        }
    }

    #[test]
    fn a_reset_is_told_apart_by_its_size() {
        let check = |value: &str, expected: Option<Duration>| {
            assert_eq!(ResetAs::Auto.wait(value, now()), expected, "{value:?}");
        };
        check("0", secs(0.0));
        check("30", secs(30.0));
        check("2.5", secs(2.5));
        check("86400", secs(86_400.0));
        check("1768478430", secs(30.0));
        check("1768478430.5", secs(30.5));
        check("1768478000", secs(0.0));
        check("1768478430000", secs(30.0));
        check("1768478430250", secs(30.25));
        check("1768478000000", secs(0.0));
        check("2026-01-15T12:00:30Z", secs(30.0));
        check("2026-01-15T13:00:30+01:00", secs(30.0));
        check("2026-01-15T11:00:00Z", secs(0.0));
        check("Thu, 15 Jan 2026 12:00:30 GMT", secs(30.0));
        for garbage in [
            "",
            "-5",
            "soon",
            "1768478430000000",
            "99999999999999999999",
            "2026",
        ] {
            let expected = if garbage == "2026" {
                secs(2026.0)
            } else {
                None
            };
            check(garbage, expected);
        }
    }

    #[test]
    fn a_reset_with_a_form_is_read_in_no_other() {
        let check = |form: ResetAs, value: &str, expected: Option<Duration>| {
            assert_eq!(form.wait(value, now()), expected, "{form:?} {value:?}");
        };
        check(ResetAs::Seconds, "1768478430", secs(1_768_478_430.0));
        check(ResetAs::Seconds, "2026-01-15T12:00:30Z", None);
        check(ResetAs::EpochSeconds, "30", secs(0.0));
        check(ResetAs::EpochSeconds, "1768478430", secs(30.0));
        check(ResetAs::EpochMillis, "1768478430000", secs(30.0));
        check(ResetAs::EpochMillis, "1768478430", secs(0.0));
        check(ResetAs::Rfc3339, "2026-01-15T12:00:30Z", secs(30.0));
        check(ResetAs::Rfc3339, "30", None);
        check(
            ResetAs::HttpDate,
            "Thu, 15 Jan 2026 12:00:30 GMT",
            secs(30.0),
        );
        check(ResetAs::HttpDate, "30", None);
        check(ResetAs::EpochSeconds, "18446744073709551615", {
            Some(until(Timestamp::MAX, now()))
        });
    }

    #[test]
    fn what_is_left_is_a_whole_number() {
        let check = |value: &str, expected: Option<u64>| {
            assert_eq!(remaining(value), expected, "{value:?}");
        };
        check("4999", Some(4999));
        check("0", Some(0));
        check("99.0", Some(99));
        check("10, 5;w=60", Some(10));
        check("99999999999999999999", Some(u64::MAX));
        for garbage in ["", "-1", "many", "1 2"] {
            check(garbage, None);
        }
    }

    #[test]
    fn an_interval_is_read_where_the_file_says() {
        let check = |name: &str, pairs: &[(&str, &str)], expected: Option<Duration>| {
            let found = MinInterval::named(name).read(&headers(pairs));
            assert_eq!(found, expected, "{name} {pairs:?}");
        };
        check("X-Poll-Interval", &[("x-poll-interval", "60")], secs(60.0));
        check(
            "Backoff",
            &[("backoff", "10"), ("backoff", "20")],
            secs(10.0),
        );
        check("Backoff", &[("backoff", "-10")], None);
        check("Backoff", &[], None);
        check("Backoff", &[("backoff", "9999999")], Some(INTERVAL_MAX));
        let cache = |value, expected| check("Cache-Control", &[("cache-control", value)], expected);
        cache("max-age=300", secs(300.0));
        cache("public, Max-Age = \"300\" , must-revalidate", secs(300.0));
        cache("no-cache", None);
        cache("s-maxage=60", None);
        cache("max-age=-1", None);
        cache("max-age=31536000", Some(INTERVAL_MAX));
        let aged = |age| [("cache-control", "max-age=300"), ("age", age)];
        check("cache-control", &aged("100"), secs(200.0));
        check("cache-control", &aged("400"), secs(0.0));
        check("cache-control", &aged("x"), secs(300.0));
    }

    #[test]
    fn a_value_that_is_too_long_is_not_read() {
        let long = "1".repeat(VALUE_BYTES_MAX + 1);
        assert_eq!(header(&headers(&[("a", &long)]), "A"), None);
        assert_eq!(header(&headers(&[("a", " 1 ")]), "A"), Some("1"));
    }
}
