//! Values that are written with a unit: lengths of time, sizes, rates, throughputs and shares.
//!
//! A number without a unit is refused where it could be misread. Each type reads what it writes.

mod percent;
mod period;
mod rate;
mod size;
mod spread;
mod throughput;
mod window;

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use serde::de::{self, Visitor};
use thiserror::Error;

use super::decode::hinted;

pub use percent::Percent;
pub use period::Period;
pub use rate::Rate;
pub use size::Size;
pub use spread::Spread;
pub use throughput::Throughput;
pub use window::Window;

/// Why a text is no value of its type, and how to write one.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{message}; {hint}")]
pub struct UnitError {
    message: String,
    hint: String,
}

impl UnitError {
    fn new(message: String, hint: &str) -> Self {
        Self {
            message,
            hint: hint.to_owned(),
        }
    }
}

/// Reads a value from a text, with the value's own words for a fault.
struct TextVisitor<T> {
    expected: &'static str,
    value: PhantomData<T>,
}

impl<T> TextVisitor<T> {
    fn new(expected: &'static str) -> Self {
        Self {
            expected,
            value: PhantomData,
        }
    }
}

impl<T: FromStr<Err = UnitError>> Visitor<'_> for TextVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        text.parse()
            .map_err(|UnitError { message, hint }| E::custom(hinted(message, hint)))
    }
}

/// Lets a unit be written in a file, and describes it in the schema.
macro_rules! unit_in_a_file {
    ($unit:ident, $expected:literal, $schema:tt) => {
        impl<'de> serde::Deserialize<'de> for $unit {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_str(super::TextVisitor::new($expected))
            }
        }

        impl schemars::JsonSchema for $unit {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($unit).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!($schema)
            }
        }
    };
}

use unit_in_a_file;

#[cfg(test)]
mod tests {
    use std::fmt::Display;

    use super::*;

    pub(super) fn check<T: FromStr<Err = UnitError> + Display>(
        text: &str,
        expected: Result<&str, &str>,
    ) {
        let read = text.parse::<T>().map(|value| value.to_string());
        let read = read.as_deref().map_err(|error| error.message.as_str());
        assert_eq!(read, expected, "{text}");
        if let Ok(written) = expected {
            let again = written.parse::<T>().map(|value| value.to_string());
            assert_eq!(
                again.as_deref(),
                Ok(written),
                "what is written must be readable"
            );
        }
    }

    #[test]
    fn errors_say_how_to_write_the_value() {
        let error = "30".parse::<Period>().unwrap_err().to_string();
        assert_eq!(
            error,
            "`30` has no unit; write a unit, like `30s`, `500ms` or `5m`"
        );
    }
}
