//! Is a timestamp within its window, and if not, in which unit would it be?

use jiff::{SignedDuration, Timestamp};

use super::reason::Reason;
use super::scheme::{TimeUnit, TimestampRule};

/// Judges the text of a timestamp at the moment `now`.
pub(super) fn check_time(rule: &TimestampRule, text: &[u8], now: Timestamp) -> Result<(), Reason> {
    let signed_at = parse_time(rule.unit, text)?;
    let age = now.as_duration().saturating_sub(signed_at);
    let limit = |limit: Option<std::time::Duration>| {
        limit.and_then(|limit| SignedDuration::try_from(limit).ok())
    };
    if let Some(tolerance) = limit(rule.max_past).filter(|tolerance| age > *tolerance) {
        let looks_like = other_unit(rule.unit, text, now, tolerance);
        return Err(Reason::TimestampStale {
            skew: age,
            tolerance,
            looks_like,
        });
    }
    let ahead = signed_at.saturating_sub(now.as_duration());
    if let Some(tolerance) = limit(rule.max_future).filter(|tolerance| ahead > *tolerance) {
        let looks_like = other_unit(rule.unit, text, now, tolerance);
        return Err(Reason::TimestampFuture {
            skew: ahead,
            tolerance,
            looks_like,
        });
    }
    Ok(())
}

/// The time since 1970. Not a calendar date: a number in the wrong unit lies in no calendar.
fn parse_time(unit: TimeUnit, text: &[u8]) -> Result<SignedDuration, Reason> {
    let text = std::str::from_utf8(text).ok();
    let (time, expected) = match unit {
        TimeUnit::Seconds => (
            text.and_then(digits).map(SignedDuration::from_secs),
            "whole seconds",
        ),
        TimeUnit::Milliseconds => (
            text.and_then(digits).map(SignedDuration::from_millis),
            "whole milliseconds",
        ),
        TimeUnit::Rfc3339 => {
            let time = text.and_then(|text| text.parse::<Timestamp>().ok());
            (time.map(Timestamp::as_duration), "an RFC 3339 time")
        }
        TimeUnit::HttpDate => {
            let date = text.and_then(|text| httpdate::parse_http_date(text).ok());
            let time = date.and_then(|date| Timestamp::try_from(date).ok());
            (time.map(Timestamp::as_duration), "a date of HTTP")
        }
    };
    time.ok_or(Reason::TimestampMalformed { expected })
}

fn digits(text: &str) -> Option<i64> {
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())?
}

/// Tells whether the number would be fresh in the other unit.
fn other_unit(
    unit: TimeUnit,
    text: &[u8],
    now: Timestamp,
    tolerance: SignedDuration,
) -> Option<&'static str> {
    let number = digits(std::str::from_utf8(text).ok()?)?;
    let (time, name) = match unit {
        TimeUnit::Seconds => (SignedDuration::from_millis(number), "milliseconds"),
        TimeUnit::Milliseconds => (SignedDuration::from_secs(number), "seconds"),
        TimeUnit::Rfc3339 | TimeUnit::HttpDate => return None,
    };
    let skew = now.as_duration().saturating_sub(time).abs();
    (skew <= tolerance).then_some(name)
}
