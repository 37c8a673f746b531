//! How far chance moves a time.

use std::fmt::{self, Display};
use std::str::FromStr;

use super::{Percent, Period, UnitError, unit_in_a_file};

/// How far chance moves a time: a share of what it is counted from, like `10%`, or a length of time,
/// like `20s`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Spread {
    /// A share.
    Share(Percent),
    /// A length of time.
    Length(Period),
}

impl Spread {
    const HINT: &str = "write it like `10%` or `20s`";
}

impl FromStr for Spread {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let share = text.parse().map(Self::Share);
        share
            .or_else(|_| text.parse().map(Self::Length))
            .map_err(|_| {
                let message = format!("`{text}` is neither a percentage nor a length of time");
                UnitError::new(message, Self::HINT)
            })
    }
}

impl Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Share(share) => share.fmt(f),
            Self::Length(length) => length.fmt(f),
        }
    }
}

unit_in_a_file! { Spread, "a percentage or a length of time, like `10%` or `20s`", {
    "description": "How far chance moves a time.",
    "type": "string",
    "pattern": r"^((\d{1,2}(\.\d+)?|100(\.0+)?) *%|(\d+(\.\d+)? *(ms|s|m|min|h|d|w) *)+)$",
    "examples": ["10%", "20s"],
} }

#[cfg(test)]
mod tests {
    use super::super::tests::check;
    use super::*;

    #[test]
    fn spreads_are_shares_or_lengths() {
        check::<Spread>("10%", Ok("10%"));
        check::<Spread>("0 %", Ok("0%"));
        check::<Spread>("20s", Ok("20s"));
        check::<Spread>("1h 30m", Ok("1h30m"));
        for wrong in ["10", "101%", "-5s", "%", "", "some"] {
            let message = format!("`{wrong}` is neither a percentage nor a length of time");
            check::<Spread>(wrong, Err(&message));
        }
    }
}
