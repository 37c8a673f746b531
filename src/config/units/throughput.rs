//! How fast bytes come.

use std::fmt::{self, Display};
use std::num::NonZeroU64;
use std::str::FromStr;

use super::{Size, UnitError, unit_in_a_file};

/// How fast bytes come, like `1KiB/s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Throughput(NonZeroU64);

impl Throughput {
    const HINT: &str = "write at least one byte per second, like `1KiB/s` or `512/s`";

    /// A throughput of a known number of bytes a second.
    pub const fn new(bytes_per_second: NonZeroU64) -> Self {
        Self(bytes_per_second)
    }

    /// The number of bytes in a second.
    pub const fn bytes_per_second(self) -> NonZeroU64 {
        self.0
    }

    fn read(text: &str) -> Option<Self> {
        let (size, unit) = text.split_once('/')?;
        let size: Size = size.trim().parse().ok()?;
        let bytes = NonZeroU64::new(size.as_u64())?;
        (unit.trim() == "s").then_some(Self(bytes))
    }
}

impl FromStr for Throughput {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let refused = || UnitError::new(format!("`{text}` is not a throughput"), Self::HINT);
        Self::read(text).ok_or_else(refused)
    }
}

impl Display for Throughput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/s", Size::new(self.0.get()))
    }
}

unit_in_a_file! { Throughput, "a throughput, like `1KiB/s`", {
    "description": "How fast bytes come.",
    "type": "string",
    "pattern": r"^ *\d+(\.\d+)? *([kKmMgGtT]([iI]?[bB])?|[bB])? */ *s *$",
    "examples": ["1KiB/s", "512/s"],
} }

#[cfg(test)]
mod tests {
    use super::super::tests::check;
    use super::*;

    #[test]
    fn throughputs_are_bytes_in_a_second() {
        check::<Throughput>("1KiB/s", Ok("1KiB/s"));
        check::<Throughput>("512 / s", Ok("512/s"));
        check::<Throughput>("1 MB/s", Ok("1MB/s"));
        check::<Throughput>("0/s", Err("`0/s` is not a throughput"));
        check::<Throughput>("1KiB", Err("`1KiB` is not a throughput"));
        check::<Throughput>("1KiB/min", Err("`1KiB/min` is not a throughput"));
        check::<Throughput>("fast/s", Err("`fast/s` is not a throughput"));
    }
}
