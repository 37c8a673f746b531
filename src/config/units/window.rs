//! Lengths of time that may be without end.

use std::fmt::{self, Display};
use std::str::FromStr;
use std::time::Duration;

use super::{Period, UnitError, unit_in_a_file};

/// A length of time, like `5m`, or `unlimited`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// That long.
    Within(Period),
    /// Without end.
    Unlimited,
}

impl Window {
    const UNLIMITED: &str = "unlimited";

    /// How long it is; `None` = without end.
    pub const fn as_duration(self) -> Option<Duration> {
        match self {
            Self::Within(period) => Some(period.as_duration()),
            Self::Unlimited => None,
        }
    }
}

impl FromStr for Window {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        match text {
            Self::UNLIMITED => Ok(Self::Unlimited),
            text => text.parse().map(Self::Within),
        }
    }
}

impl Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Within(period) => period.fmt(f),
            Self::Unlimited => f.write_str(Self::UNLIMITED),
        }
    }
}

unit_in_a_file! { Window, "a length of time, like `5m`, or `unlimited`", {
    "type": "string",
    "description": "A length of time: whole numbers with `d`, `h`, `m`, `s`, `ms`, `us` or `ns`, largest first; or `unlimited`.",
    "examples": ["5m", "unlimited"]
}}

#[cfg(test)]
mod tests {
    use super::super::tests::check;
    use super::*;

    #[test]
    fn a_window_may_be_without_end() {
        check::<Window>("90s", Ok("1m30s"));
        check::<Window>("unlimited", Ok("unlimited"));
        check::<Window>("30", Err("`30` has no unit"));
        check::<Window>("ever", Err("`ever` is not a length of time"));
    }
}
