//! How cursors are compared: values are parsed first, and never compared as text.

use std::cmp::Ordering;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde_json::Value;

use super::Breach;

/// The longest cursor or page token that is kept, in bytes of JSON.
pub const VALUE_BYTES_MAX: usize = 16 * 1024;

/// How two cursors are compared. One that got smaller pauses the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compare {
    /// As integers or times if both are; otherwise not.
    #[default]
    Auto,
    /// As integers of any length.
    Integer,
    /// As times.
    Time,
    /// Not at all: what the last answer says is followed, even to lower values.
    None,
}

impl Compare {
    /// `None` = they are not compared.
    pub(super) fn order(self, one: &Value, other: &Value) -> Result<Option<Ordering>, Breach> {
        let integers = || Some(Integer::of(one)?.cmp(&Integer::of(other)?));
        let times = || Some(time_of(one)?.cmp(&time_of(other)?));
        match self {
            Self::None => Ok(None),
            Self::Auto => Ok(integers().or_else(times)),
            Self::Integer => integers().map(Some).ok_or(Breach::NotComparable),
            Self::Time => times().map(Some).ok_or(Breach::NotComparable),
        }
    }
}

/// An integer of any length: its sign and its digits without zeros in front.
#[derive(PartialEq, Eq)]
struct Integer {
    is_negative: bool,
    digits: String,
}

impl Integer {
    fn of(value: &Value) -> Option<Self> {
        let text = match value {
            Value::Number(number) => number.to_string(),
            Value::String(text) => text.trim().to_owned(),
            _ => return None,
        };
        let (is_negative, digits) = match text.strip_prefix('-') {
            Some(digits) => (true, digits),
            None => (false, text.as_str()),
        };
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let digits = digits.trim_start_matches('0').to_owned();
        Some(Self {
            is_negative: is_negative && !digits.is_empty(),
            digits,
        })
    }
}

impl Ord for Integer {
    fn cmp(&self, other: &Self) -> Ordering {
        let size = |integer: &Self| (integer.digits.len(), integer.digits.clone());
        match (self.is_negative, other.is_negative) {
            (false, true) => Ordering::Greater,
            (true, false) => Ordering::Less,
            (false, false) => size(self).cmp(&size(other)),
            (true, true) => size(other).cmp(&size(self)),
        }
    }
}

impl PartialOrd for Integer {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Whether a value is short enough to be kept.
pub(in super::super) fn fits(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(_) | Value::Number(_) => true,
        Value::String(text) => text.len() <= VALUE_BYTES_MAX,
        Value::Array(_) | Value::Object(_) => value.to_string().len() <= VALUE_BYTES_MAX,
    }
}

/// A time that was written by this gateway or by a source: RFC 3339, the same without offset in
/// UTC, or seconds or milliseconds since 1970.
pub(super) fn time_of(value: &Value) -> Option<Timestamp> {
    /// From here on a number counts milliseconds.
    const MILLISECONDS_FROM: i64 = 100_000_000_000;
    match value {
        Value::Number(number) => match number.as_i64()? {
            seconds if seconds.abs() < MILLISECONDS_FROM => Timestamp::from_second(seconds).ok(),
            milliseconds => Timestamp::from_millisecond(milliseconds).ok(),
        },
        Value::String(text) => text.parse().ok().or_else(|| {
            let local: DateTime = text.parse().ok()?;
            TimeZone::UTC.to_timestamp(local).ok()
        }),
        _ => None,
    }
}
