//! Shares.

use std::fmt::{self, Display};
use std::str::FromStr;

use super::{UnitError, unit_in_a_file};

/// A share between `0%` and `100%`.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Percent(f64);

impl Percent {
    const HINT: &str = "write a number between 0 and 100 with a `%`, like `50%`";

    /// The share as it is written: 50 for `50%`.
    pub const fn as_f64(self) -> f64 {
        self.0
    }

    /// The share of one: 0.5 for `50%`.
    pub fn fraction(self) -> f64 {
        self.0 / 100.0
    }

    fn read(text: &str) -> Option<Self> {
        let number = text.strip_suffix('%')?.trim_end();
        let share = number
            .parse()
            .ok()
            .filter(|share| (0.0..=100.0).contains(share))?;
        Some(Self(share))
    }
}

impl FromStr for Percent {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let refused = || UnitError::new(format!("`{text}` is not a percentage"), Self::HINT);
        Self::read(text).ok_or_else(refused)
    }
}

impl Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.0)
    }
}

unit_in_a_file! { Percent, "a percentage, like `50%`", {
    "description": "A share between 0% and 100%.",
    "type": "string",
    "pattern": r"^(\d{1,2}(\.\d+)?|100(\.0+)?) *%$",
    "examples": ["5%", "50%"],
} }

#[cfg(test)]
mod tests {
    use super::super::tests::check;
    use super::*;

    #[test]
    fn percentages_lie_between_0_and_100() {
        check::<Percent>("0%", Ok("0%"));
        check::<Percent>("50 %", Ok("50%"));
        check::<Percent>("99.9%", Ok("99.9%"));
        check::<Percent>("100%", Ok("100%"));
        check::<Percent>("100.1%", Err("`100.1%` is not a percentage"));
        check::<Percent>("-1%", Err("`-1%` is not a percentage"));
        check::<Percent>("NaN%", Err("`NaN%` is not a percentage"));
        check::<Percent>("50", Err("`50` is not a percentage"));
    }
}
