//! Numbers of bytes.

use std::fmt::{self, Display};
use std::str::FromStr;

use bytesize::ByteSize;

use super::{UnitError, unit_in_a_file};

/// A number of bytes, like `64KiB`, `1MB` or `512`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Size(u64);

impl Size {
    const HINT: &str =
        "write a number of bytes or a number with a unit, like `512`, `64KiB` or `1MB`";

    /// Units that a size is written in, largest first.
    const UNITS: [(u64, &str); 8] = [
        (bytesize::TIB, "TiB"),
        (bytesize::TB, "TB"),
        (bytesize::GIB, "GiB"),
        (bytesize::GB, "GB"),
        (bytesize::MIB, "MiB"),
        (bytesize::MB, "MB"),
        (bytesize::KIB, "KiB"),
        (bytesize::KB, "KB"),
    ];

    /// A size of a known number of bytes.
    pub const fn new(bytes: u64) -> Self {
        Self(bytes)
    }

    /// The number of bytes.
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// The number of bytes; the largest there is, where a machine cannot count as far.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl FromStr for Size {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        // The parser answers a number that is too large with the largest there is.
        let parsed = text
            .parse()
            .ok()
            .filter(|ByteSize(bytes)| *bytes < u64::MAX);
        let refused = || UnitError::new(format!("`{text}` is not a size"), Self::HINT);
        parsed
            .map(|ByteSize(bytes)| Self(bytes))
            .ok_or_else(refused)
    }
}

impl Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fits = |(bytes, _): &&(u64, &str)| self.0 >= *bytes && self.0.is_multiple_of(*bytes);
        match Self::UNITS.iter().find(fits) {
            Some((bytes, unit)) => write!(f, "{}{unit}", self.0 / bytes),
            None => write!(f, "{}", self.0),
        }
    }
}

unit_in_a_file! { Size, "a size, like `64KiB`", {
    "description": "A number of bytes.",
    "type": ["string", "integer"],
    "pattern": r"^\d+(\.\d+)? *([kKmMgGtT]([iI]?[bB])?|[bB])?$",
    "minimum": 0,
    "examples": ["64KiB", "1MB", 512],
} }

#[cfg(test)]
mod tests {
    use super::super::tests::check;
    use super::*;

    #[test]
    fn sizes_are_exact() {
        check::<Size>("0", Ok("0"));
        check::<Size>("512", Ok("512"));
        check::<Size>("64KiB", Ok("64KiB"));
        check::<Size>("1MB", Ok("1MB"));
        check::<Size>("1 MiB", Ok("1MiB"));
        check::<Size>("1.5KiB", Ok("1536"));
        check::<Size>("1000001", Ok("1000001"));
        check::<Size>("10 bananas", Err("`10 bananas` is not a size"));
        check::<Size>("99999999999TiB", Err("`99999999999TiB` is not a size"));
        check::<Size>("-1", Err("`-1` is not a size"));
        check::<Size>("", Err("`` is not a size"));
    }
}
