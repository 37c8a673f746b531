//! How often something may happen.

use std::fmt::{self, Display};
use std::num::NonZeroU32;
use std::str::FromStr;
use std::time::Duration;

use super::{UnitError, unit_in_a_file};

/// How often something may happen, like `50/s` or `600/min`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rate {
    count: NonZeroU32,
    per: Per,
}

/// What a rate is counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Per {
    Second,
    Minute,
    Hour,
    Day,
}

impl Rate {
    const HINT: &str = "write a whole number of at least 1 per `s`, `min`, `h` or `d`, like `50/s`";

    /// How many are allowed in each [`Rate::per`].
    pub const fn count(self) -> NonZeroU32 {
        self.count
    }

    /// The time in which [`Rate::count`] are allowed.
    pub const fn per(self) -> Duration {
        Duration::from_secs(match self.per {
            Per::Second => 1,
            Per::Minute => 60,
            Per::Hour => 60 * 60,
            Per::Day => 24 * 60 * 60,
        })
    }

    fn read(text: &str) -> Option<Self> {
        let (count, unit) = text.split_once('/')?;
        let per = match unit.trim() {
            "s" => Per::Second,
            "min" => Per::Minute,
            "h" => Per::Hour,
            "d" => Per::Day,
            _ => return None,
        };
        Some(Self {
            count: count.trim().parse().ok()?,
            per,
        })
    }
}

impl FromStr for Rate {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let refused = || UnitError::new(format!("`{text}` is not a rate"), Self::HINT);
        Self::read(text).ok_or_else(refused)
    }
}

impl Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = match self.per {
            Per::Second => "s",
            Per::Minute => "min",
            Per::Hour => "h",
            Per::Day => "d",
        };
        write!(f, "{}/{unit}", self.count)
    }
}

unit_in_a_file! { Rate, "a rate, like `50/s`", {
    "description": "How often something may happen.",
    "type": "string",
    "pattern": r"^ *[1-9]\d* */ *(s|min|h|d) *$",
    "examples": ["50/s", "600/min", "10/h", "5/d"],
} }

#[cfg(test)]
mod tests {
    use super::super::tests::check;
    use super::*;

    #[test]
    fn rates_have_a_count_and_a_time() {
        check::<Rate>("50/s", Ok("50/s"));
        check::<Rate>("600 / min", Ok("600/min"));
        check::<Rate>("10/h", Ok("10/h"));
        check::<Rate>("5/d", Ok("5/d"));
        check::<Rate>("0/s", Err("`0/s` is not a rate"));
        check::<Rate>("5/m", Err("`5/m` is not a rate"));
        check::<Rate>("1.5/s", Err("`1.5/s` is not a rate"));
        check::<Rate>("50", Err("`50` is not a rate"));
        let rate: Rate = "600/min".parse().unwrap();
        assert_eq!(
            (rate.count().get(), rate.per()),
            (600, Duration::from_secs(60))
        );
    }
}
