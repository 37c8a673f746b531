//! Lengths of time.

use std::fmt::{self, Display};
use std::str::FromStr;
use std::time::Duration;

use super::{UnitError, unit_in_a_file};

/// A length of time, like `500ms`, `30s` or `1h30m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Period(Duration);

impl Period {
    const HINT: &str =
        "write a number with a unit, like `500ms`, `30s`, `5m`, `6h`, `3d` or `1h30m`";

    /// Units that a period is written in and their nanoseconds, largest first.
    const UNITS: [(u128, &str); 7] = [
        (86_400_000_000_000, "d"),
        (3_600_000_000_000, "h"),
        (60_000_000_000, "m"),
        (1_000_000_000, "s"),
        (1_000_000, "ms"),
        (1_000, "us"),
        (1, "ns"),
    ];

    /// A period of a known length.
    pub const fn new(duration: Duration) -> Self {
        Self(duration)
    }

    /// The length as the standard library knows it.
    pub const fn as_duration(self) -> Duration {
        self.0
    }
}

impl FromStr for Period {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        if text.parse::<f64>().is_ok() {
            let hint = "write a unit, like `30s`, `500ms` or `5m`";
            return Err(UnitError::new(format!("`{text}` has no unit"), hint));
        }
        // humantime reads `M` as a month, which has no fixed length and is easily meant as a minute.
        let parsed = humantime::parse_duration(text)
            .ok()
            .filter(|_| !text.contains('M'));
        let refused = || UnitError::new(format!("`{text}` is not a length of time"), Self::HINT);
        parsed.map(Self).ok_or_else(refused)
    }
}

impl Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_zero() {
            return f.write_str("0s");
        }
        let mut rest = self.0.as_nanos();
        for (nanos, unit) in Self::UNITS {
            if rest >= nanos {
                write!(f, "{}{unit}", rest / nanos)?;
                rest %= nanos;
            }
        }
        Ok(())
    }
}

unit_in_a_file! { Period, "a length of time, like `30s`", {
    "description": "A length of time.",
    "type": "string",
    "pattern": r"^(\d+(\.\d+)? *(ms|s|m|min|h|d|w) *)+$",
    "examples": ["500ms", "30s", "5m", "6h", "3d", "1h30m"],
} }

#[cfg(test)]
mod tests {
    use super::super::tests::check;
    use super::*;

    #[test]
    fn periods_need_a_unit() {
        check::<Period>("500ms", Ok("500ms"));
        check::<Period>("90s", Ok("1m30s"));
        check::<Period>("1h30m", Ok("1h30m"));
        check::<Period>("1h 30m", Ok("1h30m"));
        check::<Period>("3d", Ok("3d"));
        check::<Period>("0s", Ok("0s"));
        check::<Period>("0", Err("`0` has no unit"));
        check::<Period>("30", Err("`30` has no unit"));
        check::<Period>("1.5", Err("`1.5` has no unit"));
        check::<Period>("", Err("`` is not a length of time"));
        check::<Period>("soon", Err("`soon` is not a length of time"));
        check::<Period>("-5s", Err("`-5s` is not a length of time"));
        check::<Period>("1M", Err("`1M` is not a length of time"));
        check::<Period>(
            "99999999999999999999s",
            Err("`99999999999999999999s` is not a length of time"),
        );
    }
}
