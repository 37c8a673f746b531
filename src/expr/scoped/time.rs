//! Filters that read and write times: RFC 3339, or a number since the epoch.
//!
//! A number is in seconds, milliseconds, microseconds or nanoseconds, by how large it is: what is
//! below 10¹¹ is in seconds (until the year 5138), and each further unit begins a thousand times
//! higher. What lies outside the years that jiff knows is not a time.

use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, Zoned};
use minijinja::value::{Value, ValueKind};
use minijinja::{Environment, Error};

use super::filters::{FilterError, is_missing, refuse};

/// The longest format, in bytes.
const FORMAT_BYTES_MAX: usize = 256;

/// Adds the filters of this file.
pub(super) fn add_to(environment: &mut Environment<'static>) {
    environment.add_filter("rfc3339", |value: &Value| {
        read(value, |moment| Ok(Value::from(moment.at.to_string())))
    });
    environment.add_filter("unix", |value: &Value| {
        read(value, |moment| Ok(Value::from(moment.at.as_second())))
    });
    environment.add_filter("unix_ms", |value: &Value| {
        read(value, |moment| Ok(Value::from(moment.at.as_millisecond())))
    });
    environment.add_filter("date", date);
    environment.add_filter("minus", |value: &Value, span: &str| {
        let span = self::span(span)?;
        read(value, |moment| Ok(moment.moved(-span)))
    });
    environment.add_filter("plus", |value: &Value, span: &str| {
        let span = self::span(span)?;
        read(value, |moment| Ok(moment.moved(span)))
    });
}

/// `value | date('%Y-%m-%d', 'Europe/Berlin')`; UTC where no zone is given.
fn date(value: &Value, format: &str, zone: Option<&str>) -> Result<Value, Error> {
    // Also without a value, so that a fault is found when the file is read.
    let zone = match zone {
        None => TimeZone::UTC,
        Some(name) => TimeZone::get(name)
            .map_err(|_| refuse(FilterError::Argument("`date` does not know the time zone")))?,
    };
    let write = |at: Timestamp| {
        let zoned = Zoned::new(at, zone.clone());
        let text = match format.len() {
            ..=FORMAT_BYTES_MAX => jiff::fmt::strtime::format(format, &zoned).ok(),
            _ => None,
        };
        let refused = || refuse(FilterError::Argument("`date` cannot write in its format"));
        text.map(Value::from).ok_or_else(refused)
    };
    write(Timestamp::UNIX_EPOCH)?;
    read(value, |moment| write(moment.at))
}

fn span(text: &str) -> Result<SignedDuration, Error> {
    // humantime reads `M` as a month, which has no fixed length and is easily meant as a minute.
    let parsed: Option<Duration> = humantime::parse_duration(text)
        .ok()
        .filter(|_| !text.contains('M'));
    let span = parsed.and_then(|span| SignedDuration::try_from(span).ok());
    span.ok_or_else(|| {
        refuse(FilterError::Argument(
            "a length of time is written like `30s`, `5m` or `7d`",
        ))
    })
}

/// Applies a filter to a time; what is missing stays missing.
fn read(
    value: &Value,
    filter: impl FnOnce(Moment) -> Result<Value, Error>,
) -> Result<Value, Error> {
    if is_missing(value) {
        return Ok(Value::UNDEFINED);
    }
    let moment = Moment::of(value);
    moment
        .ok_or_else(|| {
            refuse(FilterError::Value(
                "the value is no time: RFC 3339 or a number since the epoch is read",
            ))
        })
        .and_then(filter)
}

/// A time, and how it was written.
#[derive(Debug, Clone, Copy)]
struct Moment {
    at: Timestamp,
    form: Form,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Rfc3339,
    Seconds,
    /// Seconds with a fraction.
    Fraction,
    Milliseconds,
    Microseconds,
    Nanoseconds,
}

impl Moment {
    fn of(value: &Value) -> Option<Self> {
        match value.kind() {
            ValueKind::String => {
                let text = value.as_str()?.trim();
                let number = || text.parse().ok().and_then(Self::of_integer);
                let rfc3339 = || text.parse().ok().map(|at| (at, Form::Rfc3339));
                number().or_else(rfc3339)
            }
            ValueKind::Number => {
                let integer = i64::try_from(value.clone()).ok();
                integer.and_then(Self::of_integer).or_else(|| {
                    let seconds = f64::try_from(value.clone()).ok()?;
                    let since = SignedDuration::try_from_secs_f64(seconds).ok()?;
                    let at = Timestamp::UNIX_EPOCH.checked_add(since).ok()?;
                    Some((at, Form::Fraction))
                })
            }
            _ => None,
        }
        .map(|(at, form)| Self { at, form })
    }

    fn of_integer(number: i64) -> Option<(Timestamp, Form)> {
        const SECONDS: u64 = 100_000_000_000;
        const MILLISECONDS: u64 = SECONDS * 1_000;
        const MICROSECONDS: u64 = MILLISECONDS * 1_000;
        let (at, form) = match number.unsigned_abs() {
            ..SECONDS => (Timestamp::from_second(number), Form::Seconds),
            SECONDS..MILLISECONDS => (Timestamp::from_millisecond(number), Form::Milliseconds),
            MILLISECONDS..MICROSECONDS => (Timestamp::from_microsecond(number), Form::Microseconds),
            _ => (
                Timestamp::from_nanosecond(i128::from(number)),
                Form::Nanoseconds,
            ),
        };
        Some((at.ok()?, form))
    }

    /// The time so much later, written as this one is. It stops at the first and last time there is.
    fn moved(self, span: SignedDuration) -> Value {
        let last = if span.is_negative() {
            Timestamp::MIN
        } else {
            Timestamp::MAX
        };
        let at = self.at.checked_add(span).unwrap_or(last);
        match self.form {
            Form::Rfc3339 => Value::from(at.to_string()),
            Form::Seconds => Value::from(at.as_second()),
            Form::Fraction => Value::from(at.as_duration().as_secs_f64()),
            Form::Milliseconds => Value::from(at.as_millisecond()),
            Form::Microseconds => Value::from(at.as_microsecond()),
            Form::Nanoseconds => {
                i64::try_from(at.as_nanosecond()).map_or(Value::UNDEFINED, Value::from)
            }
        }
    }
}
