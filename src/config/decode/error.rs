//! The error that travels through serde, and the note of missing keys.

use std::cell::RefCell;
use std::fmt::{self, Display};

use serde::de::{self, Expected, Unexpected};

use crate::config::fault::Fault;

/// Why a value could not be decoded.
#[derive(Debug)]
pub(super) enum Error {
    /// Another kind of value was expected; the decoder adds what was found, and where.
    Expected(String),
    /// A type's own words; the decoder adds where.
    Words {
        message: String,
        hint: Option<String>,
    },
    /// Ready to be reported.
    Placed(Fault),
    /// Reported elsewhere: a missing key, for one, by the decoder of the struct.
    Reported,
}

impl Error {
    /// The fault to report, unless it was reported elsewhere.
    pub(super) fn into_fault(self) -> Option<Fault> {
        match self {
            Self::Expected(expected) => Some(Fault::new(format!("expected {expected}"))),
            Self::Words { message, hint } => Some(Fault {
                message,
                span: None,
                hint,
            }),
            Self::Placed(fault) => Some(fault),
            Self::Reported => None,
        }
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        Self::Placed(fault)
    }
}

/// A text for `serde::de::Error::custom` that becomes a message and a hint of its own.
///
/// A type that decodes a text may quote it, but only as a whole between backticks: where the text
/// came from an expression or is a secret, that quotation is replaced.
pub fn hinted(message: impl Display, hint: impl Display) -> String {
    format!("{message}\n{hint}")
}

impl de::Error for Error {
    fn custom<T: Display>(text: T) -> Self {
        let text = text.to_string();
        match text.split_once('\n') {
            Some((message, hint)) => Self::Words {
                message: message.to_owned(),
                hint: Some(hint.to_owned()),
            },
            None => Self::Words {
                message: text,
                hint: None,
            },
        }
    }

    fn invalid_type(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::Expected(expected.to_string())
    }

    fn invalid_value(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::Expected(expected.to_string())
    }

    fn invalid_length(_: usize, expected: &dyn Expected) -> Self {
        Self::Expected(expected.to_string())
    }

    fn missing_field(name: &'static str) -> Self {
        note_missing(name);
        Self::Reported
    }
}

impl Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Expected(expected) => write!(f, "expected {expected}"),
            Self::Words { message, .. } => f.write_str(message),
            Self::Placed(fault) => f.write_str(&fault.message),
            Self::Reported => f.write_str("a fault was reported"),
        }
    }
}

impl std::error::Error for Error {}

thread_local! {
    /// Names of missing keys, one list for each struct that is being decoded on this thread.
    ///
    /// serde gives a field that is absent neither the decoder nor the struct, only its name. The
    /// lists live no longer than the call of [`collect_missing`] that opens them.
    static MISSING: RefCell<Vec<Vec<&'static str>>> = const { RefCell::new(Vec::new()) };
}

fn note_missing(name: &'static str) {
    MISSING.with_borrow_mut(|lists| {
        if let Some(list) = lists.last_mut() {
            list.push(name);
        }
    });
}

/// Decodes one struct, and tells which of its required keys were absent.
pub(super) fn collect_missing<T>(decode: impl FnOnce() -> T) -> (T, Vec<&'static str>) {
    MISSING.with_borrow_mut(|lists| lists.push(Vec::new()));
    let value = decode();
    let names = MISSING.with_borrow_mut(Vec::pop).unwrap_or_default();
    (value, names)
}

/// Whether a struct is being decoded on this thread, so that a missing key is not lost.
pub(super) fn is_collecting() -> bool {
    MISSING.with_borrow(|lists| !lists.is_empty())
}
