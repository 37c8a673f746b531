//! Single values: texts, numbers and booleans.

use std::str::FromStr;

use serde::de::{Expected, Visitor};

use super::decoder::Decoder;
use super::error::Error;
use crate::config::yaml::Kind;

/// A scalar after its expressions were replaced.
pub(super) struct Scalar {
    pub(super) text: String,
    /// Whether it may be a number or a boolean.
    untyped: bool,
}

/// A boolean as YAML 1.2 spells it.
pub(super) struct Boolean(pub(super) bool);

/// A number that is neither infinite nor NaN.
pub(super) struct Number(pub(super) f64);

impl FromStr for Boolean {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "true" | "True" | "TRUE" => Ok(Self(true)),
            "false" | "False" | "FALSE" => Ok(Self(false)),
            _ => Err(()),
        }
    }
}

impl FromStr for Number {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        text.parse()
            .ok()
            .filter(|number: &f64| number.is_finite())
            .map(Self)
            .ok_or(())
    }
}

impl Decoder<'_> {
    /// The value as a text; an expression may stand for any type.
    pub(super) fn scalar(&self, expected: &dyn Expected) -> Result<Scalar, Error> {
        match &self.node.kind {
            Kind::Scalar { text, .. } if self.is_expression() => {
                let expanded = (self.context.expand)(text);
                let text = expanded.map_err(|message| self.fault(message))?;
                Ok(Scalar {
                    text,
                    untyped: true,
                })
            }
            Kind::Scalar { text, plain } if !self.node.is_null() => Ok(Scalar {
                text: text.clone(),
                untyped: *plain,
            }),
            _ => Err(self.unexpected(&expected.to_string())),
        }
    }

    pub(super) fn text<'de, V: Visitor<'de>>(&self, visitor: V) -> Result<V::Value, Error> {
        let text = self.scalar(&visitor)?.text;
        visitor
            .visit_str(&text)
            .map_err(|error| self.placed(error, &text))
    }

    /// The text with its expressions left in it.
    pub(super) fn template<'de, V: Visitor<'de>>(&self, visitor: V) -> Result<V::Value, Error> {
        match self.written().filter(|_| !self.node.is_null()) {
            Some(text) => visitor.visit_str(text),
            None => Err(self.unexpected(&(&visitor as &dyn Expected).to_string())),
        }
    }

    /// Decodes a number or a boolean as its Rust type reads it.
    pub(super) fn parsed<'de, T: FromStr, V: Visitor<'de>>(
        &self,
        visitor: V,
        visit: impl FnOnce(V, T) -> Result<V::Value, Error>,
    ) -> Result<V::Value, Error> {
        let expected = (&visitor as &dyn Expected).to_string();
        let Scalar { text, untyped } = self.scalar(&visitor)?;
        let value = text.parse().ok().filter(|_| untyped);
        let value = value.ok_or_else(|| self.unexpected(&expected))?;
        visit(visitor, value).map_err(|error| self.placed(error, &text))
    }

    /// Decodes a value whose type the file decides. What an expression gives is always a text.
    pub(super) fn untyped<'de, V: Visitor<'de>>(&self, visitor: V) -> Result<V::Value, Error> {
        let Scalar { text, untyped } = self.scalar(&visitor)?;
        let visited = if untyped && !self.is_expression() {
            visit_plain(&text, visitor)
        } else {
            visitor.visit_str(&text)
        };
        visited.map_err(|error| self.placed(error, &text))
    }
}

pub(super) fn visit_plain<'de, V: Visitor<'de>>(text: &str, visitor: V) -> Result<V::Value, Error> {
    if let Ok(Boolean(value)) = text.parse() {
        return visitor.visit_bool(value);
    }
    if !is_number(text) {
        return visitor.visit_str(text);
    }
    if let Ok(value) = text.parse() {
        return visitor.visit_u64(value);
    }
    if let Ok(value) = text.parse() {
        return visitor.visit_i64(value);
    }
    match text.parse() {
        Ok(Number(value)) => visitor.visit_f64(value),
        Err(()) => visitor.visit_str(text),
    }
}

/// Whether a plain text is a number as JSON knows it: `01234` is none, because it would lose its
/// zero.
fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let whole = digits.split(['.', 'e', 'E']).next().unwrap_or_default();
    let leading_zero = whole.len() > 1 && whole.starts_with('0');
    digits.starts_with(|c: char| c.is_ascii_digit()) && !leading_zero
}
