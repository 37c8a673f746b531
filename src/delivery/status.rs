//! Statuses of answers as a file names them: one by one, or a class at a time.

use std::str::FromStr;

/// A status or a class of them (`404`, `4xx`), from 200 to 599.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Statuses {
    from: u16,
    to: u16,
}

impl Statuses {
    /// All that say that the backend dislikes what it got.
    pub const DISLIKES: Self = Self { from: 300, to: 499 };

    /// The one status of this number.
    pub const fn one(status: u16) -> Self {
        Self {
            from: status,
            to: status,
        }
    }

    /// Whether a status is among them.
    pub fn contain(&self, status: u16) -> bool {
        (self.from..=self.to).contains(&status)
    }

    /// Whether all of them say that what was asked is done.
    pub fn are_successes(&self) -> bool {
        self.to <= 299
    }
}

/// It is neither a status nor a class of them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is neither a status nor a class of them")]
pub struct NoStatus(pub String);

impl FromStr for Statuses {
    type Err = NoStatus;

    fn from_str(text: &str) -> Result<Self, NoStatus> {
        let shape = || NoStatus(text.to_owned());
        let (digits, width) = match text.strip_suffix("xx") {
            Some(digit) => (digit, 100),
            None => (text, 1),
        };
        // A sign or a zero in front would be read over.
        if text.len() != 3 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(shape());
        }
        let first: u16 = digits.parse().map_err(|_| shape())?;
        let from = first.saturating_mul(width);
        if !(200..=599).contains(&from) {
            return Err(shape());
        }
        Ok(Self {
            from,
            to: from.saturating_add(width - 1),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_read_or_refused() {
        let check = |text: &str, status: u16, is_in: bool| {
            let statuses: Statuses = text.parse().unwrap();
            assert_eq!(statuses.contain(status), is_in, "{text} {status}");
        };
        check("404", 404, true);
        check("404", 405, false);
        check("4xx", 400, true);
        check("4xx", 499, true);
        check("4xx", 500, false);
        check("2xx", 204, true);
        for text in [
            "", "xx", "0xx", "1xx", "6xx", "40x", "+40", "4XX", "099", "600", "5000", "é04",
        ] {
            let expected = NoStatus(text.to_owned());
            assert_eq!(text.parse::<Statuses>(), Err(expected));
        }
    }
}
