//! How a provider writes times: reading them from items, writing them into requests.
//!
//! Decides which instant a value stands for, never whether that instant makes sense. Also reads
//! where a new source begins ([`Start`]).

use std::str::FromStr;
use std::time::Duration;

use jiff::civil::{self, DateTime};
use jiff::fmt::strtime::BrokenDownTime;
use jiff::fmt::{rfc2822, strtime};
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use serde_json::Value;

/// The longest pattern, in bytes.
pub const PATTERN_BYTES_MAX: usize = 128;
/// The longest text that is read as a time, in bytes.
pub const TEXT_BYTES_MAX: usize = 128;
/// How far back a source may begin: 100 years.
pub const START_AGO_MAX: Duration = Duration::from_secs(100 * 366 * 24 * 60 * 60);

/// How one provider writes times.
#[derive(Debug, Clone)]
pub struct TimeFormat {
    kind: Kind,
    zone: TimeZone,
}

#[derive(Debug, Clone)]
enum Kind {
    Auto,
    /// A count of units since 1970.
    Epoch(Epoch),
    Rfc3339,
    Pattern(Pattern),
}

/// The unit that times are counted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Epoch {
    Seconds,
    Millis,
    Micros,
    Nanos,
}

/// A strptime pattern that reads what it writes.
#[derive(Debug, Clone)]
struct Pattern {
    text: String,
    unit: Duration,
    reference: Reference,
}

/// What a time is relative to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reference {
    /// It names its offset, or counts from 1970.
    Absolute,
    /// It is a wall clock's.
    Local,
}

/// Why a time format cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TimeFormatError {
    /// Nobody keeps a time zone of this name.
    #[error("there is no time zone `{0}`: write an IANA name, like `Europe/Berlin`")]
    UnknownZone(String),
    /// It is neither a known word nor a pattern.
    #[error(
        "`{0}` is no time format: write `auto`, `unix`, `unix_ms`, `rfc3339` or a strptime \
         pattern, like `%Y-%m-%d %H:%M:%S`"
    )]
    Unknown(String),
    /// The pattern is longer than [`PATTERN_BYTES_MAX`].
    #[error("the pattern is longer than {PATTERN_BYTES_MAX} bytes")]
    TooLong,
    /// The pattern has something that cannot be written or read.
    #[error("the pattern cannot be used: {0}")]
    Pattern(String),
    /// The pattern loses a part without which the instant is not known.
    #[error(
        "the pattern `{0}` does not read back the time that it writes: it lacks a part of the \
         date, or has `%I` without `%p`"
    )]
    Incomplete(String),
}

impl TimeFormat {
    /// Reads `auto`, `unix`, `unix_ms`, `rfc3339` or a strptime pattern. Times without an offset
    /// are those of `zone`, an IANA name.
    ///
    /// # Errors
    /// [`TimeFormatError`] says what is wrong with which of them.
    pub fn new(format: &str, zone: &str) -> Result<Self, TimeFormatError> {
        let zone =
            TimeZone::get(zone).map_err(|_| TimeFormatError::UnknownZone(zone.to_owned()))?;
        let kind = match format {
            "auto" => Kind::Auto,
            "unix" => Kind::Epoch(Epoch::Seconds),
            "unix_ms" => Kind::Epoch(Epoch::Millis),
            "rfc3339" => Kind::Rfc3339,
            pattern => Kind::Pattern(Pattern::new(pattern, &zone)?),
        };
        Ok(Self { kind, zone })
    }

    /// The instant that a provider's value stands for; `None` when it is no time in this format.
    ///
    /// A local time that a zone repeats is the earlier of both, so that a cursor never runs ahead;
    /// one that it skips is as long after the gap as it would have been after its beginning.
    pub fn read(&self, value: &Value) -> Option<Timestamp> {
        let text = written(value)?;
        let text = text.trim();
        if text.is_empty() || text.len() > TEXT_BYTES_MAX {
            return None;
        }
        match &self.kind {
            Kind::Auto => self.guess(text, value),
            Kind::Epoch(epoch) => epoch.instant(&Decimal::read(text)?),
            Kind::Rfc3339 => text.parse().ok(),
            Kind::Pattern(pattern) => pattern.read(text, &self.zone),
        }
    }

    /// The time as the provider reads it: a number for `unix` and `unix_ms`, a text otherwise.
    /// `auto` writes RFC 3339 in UTC. What is finer than [`unit`](Self::unit) is cut off, so that
    /// what is read back is never later.
    pub fn write(&self, time: Timestamp) -> Value {
        match &self.kind {
            Kind::Epoch(epoch) => Value::from(epoch.count(time)),
            Kind::Auto | Kind::Rfc3339 | Kind::Pattern(_) => Value::from(self.text(time)),
        }
    }

    /// What [`write`](Self::write) makes, as a text for a URL or a header.
    pub fn text(&self, time: Timestamp) -> String {
        match &self.kind {
            Kind::Epoch(epoch) => epoch.count(time).to_string(),
            Kind::Auto | Kind::Rfc3339 => time.to_string(),
            Kind::Pattern(pattern) => {
                let zoned = pattern.cut(time).to_zoned(self.zone.clone());
                // A pattern that cannot be written is refused when it is made.
                strtime::format(&pattern.text, &zoned).unwrap_or_default()
            }
        }
    }

    /// The finest difference that survives writing; a second where the provider decides.
    pub fn unit(&self) -> Duration {
        match &self.kind {
            Kind::Auto | Kind::Rfc3339 => Duration::from_secs(1),
            Kind::Epoch(epoch) => Duration::from_nanos(epoch.nanos()),
            Kind::Pattern(pattern) => pattern.unit,
        }
    }

    /// Whether times can be those of a clock that is put back: a pattern without an offset, or
    /// `auto`, in a zone that still changes its offset.
    pub fn is_local(&self) -> bool {
        let reads_local = match &self.kind {
            Kind::Auto => true,
            Kind::Epoch(_) | Kind::Rfc3339 => false,
            Kind::Pattern(pattern) => pattern.reference == Reference::Local,
        };
        reads_local && changes_offset(&self.zone)
    }

    /// Reads a value whose format nobody told.
    fn guess(&self, text: &str, value: &Value) -> Option<Timestamp> {
        let epoch = || {
            let decimal = Decimal::read(text)?;
            Epoch::guess(&decimal)?.instant(&decimal)
        };
        if value.is_number() {
            return epoch();
        }
        epoch()
            .or_else(|| text.parse().ok())
            .or_else(|| RFC_2822.parse_timestamp(text).ok())
            .or_else(|| local(text.parse().ok()?, &self.zone))
    }
}

/// Feeds often name the wrong weekday.
const RFC_2822: rfc2822::DateTimeParser = rfc2822::DateTimeParser::new().relaxed_weekday(true);

/// After which time a zone's changes of offset matter: cursors are of our days.
const CHANGES_SINCE: Timestamp = Timestamp::constant(1_735_689_600, 0);

fn changes_offset(zone: &TimeZone) -> bool {
    zone.following(CHANGES_SINCE).next().is_some()
}

/// A text, or a number as it is written; nothing else is a time.
fn written(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(match number.as_f64() {
            // A float's own text may have an exponent.
            Some(float) if number.is_f64() => float.to_string(),
            _ => number.to_string(),
        }),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// The instant of a wall clock time: the earlier of a repeated one, the later for a skipped one.
fn local(civil: DateTime, zone: &TimeZone) -> Option<Timestamp> {
    zone.to_ambiguous_timestamp(civil).compatible().ok()
}

/// A decimal number, exactly.
#[derive(Debug, Clone, Copy)]
struct Decimal {
    /// Billionths.
    billionths: i128,
    /// How many digits stand before the point, leading zeros left out.
    digits: usize,
    sign: Sign,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sign {
    Plus,
    Minus,
}

impl Decimal {
    const WHOLE_DIGITS_MAX: usize = 20;
    const FRACTION_DIGITS: usize = 9;

    /// Reads digits, with or without a fraction; digits after the ninth of it are cut off.
    fn read(text: &str) -> Option<Self> {
        let (sign, unsigned) = match text.strip_prefix('-') {
            Some(rest) => (Sign::Minus, rest),
            None => (Sign::Plus, text),
        };
        let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, "0"));
        let are_digits =
            |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        let significant = whole.trim_start_matches('0');
        if !are_digits(whole) || !are_digits(fraction) || significant.len() > Self::WHOLE_DIGITS_MAX
        {
            return None;
        }
        let fraction: String = fraction
            .chars()
            .chain(std::iter::repeat('0'))
            .take(Self::FRACTION_DIGITS)
            .collect();
        let magnitude: i128 = format!("{whole}{fraction}").parse().ok()?;
        Some(Self {
            billionths: match sign {
                Sign::Plus => magnitude,
                Sign::Minus => magnitude.checked_neg()?,
            },
            digits: significant.len(),
            sign,
        })
    }
}

impl Epoch {
    /// Tells the unit by the number of digits, for times from March 1973 to November 2286. Numbers
    /// of 8, 14 or 17 digits are rather a date in digits, smaller ones an id or nothing.
    fn guess(decimal: &Decimal) -> Option<Self> {
        match (decimal.sign, decimal.digits) {
            (Sign::Plus, 9 | 10) => Some(Self::Seconds),
            (Sign::Plus, 12 | 13) => Some(Self::Millis),
            (Sign::Plus, 15 | 16) => Some(Self::Micros),
            (Sign::Plus, 18 | 19) => Some(Self::Nanos),
            _ => None,
        }
    }

    fn nanos(self) -> u64 {
        match self {
            Self::Seconds => 1_000_000_000,
            Self::Millis => 1_000_000,
            Self::Micros => 1_000,
            Self::Nanos => 1,
        }
    }

    fn instant(self, count: &Decimal) -> Option<Timestamp> {
        let nanos = count
            .billionths
            .checked_mul(i128::from(self.nanos()))?
            .div_euclid(1_000_000_000);
        Timestamp::from_nanosecond(nanos).ok()
    }

    /// How many whole units lie before a time.
    fn count(self, time: Timestamp) -> i64 {
        let count = time.as_nanosecond().div_euclid(i128::from(self.nanos()));
        i64::try_from(count).unwrap_or(i64::MAX)
    }
}

impl Pattern {
    /// The steps by which the unit of a pattern is found, in nanoseconds, finest first.
    const STEPS: [u64; 6] = [
        1,
        1_000,
        1_000_000,
        1_000_000_000,
        60 * 1_000_000_000,
        3_600 * 1_000_000_000,
    ];
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    /// Tries the pattern on a sample: it must read what it writes.
    fn new(text: &str, zone: &TimeZone) -> Result<Self, TimeFormatError> {
        if text.len() > PATTERN_BYTES_MAX {
            return Err(TimeFormatError::TooLong);
        }
        if !text.contains('%') {
            return Err(TimeFormatError::Unknown(text.to_owned()));
        }
        let unusable = |error: jiff::Error| TimeFormatError::Pattern(error.to_string());
        let sample = sample(zone).map_err(unusable)?;
        let written = strtime::format(text, &sample).map_err(unusable)?;
        let parsed = BrokenDownTime::parse(text, written.trim()).map_err(unusable)?;
        let pattern = Self {
            unit: Self::unit(text, &sample, &written),
            reference: reference(&parsed),
            text: text.to_owned(),
        };
        let read = pattern.read(written.trim(), zone);
        match read.map(|read| sample.timestamp().duration_since(read)) {
            Some(lost) if Duration::try_from(lost).is_ok_and(|lost| lost < pattern.unit) => {
                Ok(pattern)
            }
            _ => Err(TimeFormatError::Incomplete(text.to_owned())),
        }
    }

    /// The smallest step that changes what is written.
    fn unit(text: &str, sample: &Zoned, written: &str) -> Duration {
        let mut steps = Self::STEPS.into_iter().map(Duration::from_nanos);
        let changes = |step: &Duration| {
            let next = sample.saturating_add(*step);
            strtime::format(text, &next).is_ok_and(|next| next != written)
        };
        steps.find(changes).unwrap_or(Self::DAY)
    }

    /// The time without what is finer than the pattern: `%s` rounds up what lies before 1970.
    fn cut(&self, time: Timestamp) -> Timestamp {
        let unit = self.unit.as_nanos().clamp(1, 1_000_000_000);
        let unit = i128::try_from(unit).unwrap_or(1);
        let finer = time.as_nanosecond().rem_euclid(unit);
        Timestamp::from_nanosecond(time.as_nanosecond() - finer).unwrap_or(time)
    }

    fn read(&self, text: &str, zone: &TimeZone) -> Option<Timestamp> {
        let parsed = BrokenDownTime::parse(&self.text, text).ok()?;
        if parsed.iana_time_zone().is_some() {
            return parsed.to_zoned().ok().map(|zoned| zoned.timestamp());
        }
        match reference(&parsed) {
            Reference::Absolute => parsed.to_timestamp().ok(),
            Reference::Local => local(parsed.to_datetime().ok()?, zone),
        }
    }
}

/// An afternoon in the middle of a month, far from any change of offset, with a digit of its own in
/// each place.
fn sample(zone: &TimeZone) -> Result<Zoned, jiff::Error> {
    civil::date(2025, 1, 15)
        .at(13, 14, 15, 123_456_789)
        .to_zoned(zone.clone())
}

fn reference(parsed: &BrokenDownTime) -> Reference {
    let names_offset = parsed.offset().is_some() || parsed.iana_time_zone().is_some();
    if names_offset || parsed.timestamp().is_some() {
        Reference::Absolute
    } else {
        Reference::Local
    }
}

/// Where a source without a cursor begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// With what comes after its first poll.
    Now,
    /// With the first item that the provider still has.
    Earliest,
    /// With this instant.
    At(Timestamp),
    /// So long before its first poll.
    Ago(Duration),
}

/// Why a text does not say where a source begins.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// It is none of the forms.
    #[error(
        "`{0}` is no start: write `now`, `earliest`, a time like `2026-01-01T00:00:00Z` or a \
         length of time before now like `-7d`"
    )]
    Shape(String),
    /// It lies further back than [`START_AGO_MAX`].
    #[error("`{0}` lies more than 100 years back: write `earliest`")]
    TooLongAgo(String),
}

impl Start {
    /// Reads `now`, `earliest`, a time in RFC 3339 or a length of time before now, like `-7d`.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn parse(text: &str) -> Result<Self, StartError> {
        let shape = || StartError::Shape(text.to_owned());
        match text {
            "now" => return Ok(Self::Now),
            "earliest" => return Ok(Self::Earliest),
            _ if text.len() > TEXT_BYTES_MAX => return Err(shape()),
            _ => {}
        }
        let Some(ago) = text.strip_prefix('-') else {
            return text.parse().map(Self::At).map_err(|_| shape());
        };
        // humantime reads `M` as a month, which has no fixed length.
        let ago = humantime::parse_duration(ago)
            .ok()
            .filter(|_| !ago.contains('M'))
            .ok_or_else(shape)?;
        if ago > START_AGO_MAX {
            return Err(StartError::TooLongAgo(text.to_owned()));
        }
        Ok(Self::Ago(ago))
    }

    /// The instant to begin with when the first poll is at `now`; `None` = before everything.
    pub fn instant(self, now: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Now => Some(now),
            Self::Earliest => None,
            Self::At(time) => Some(time),
            Self::Ago(ago) => Some(now.saturating_sub(ago).unwrap_or(Timestamp::MIN)),
        }
    }
}

impl FromStr for Start {
    type Err = StartError;

    fn from_str(text: &str) -> Result<Self, StartError> {
        Self::parse(text)
    }
}

#[cfg(test)]
mod tests;
