//! Why an expression cannot be used, and why it has no value.

use std::error::Error as _;

use minijinja::{Error, ErrorKind};

use super::VALUE_BYTES_MAX;
use super::filters::FilterError;

/// Why an expression cannot be used, in words about the file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExpressionError {
    /// It is no expression.
    #[error("line {line} of the expression: {detail}")]
    Syntax {
        /// The line within the text, from 1.
        line: usize,
        /// What was found.
        detail: String,
    },
    /// Its end is missing.
    #[error("the expression has no end: write `}}}}` after it")]
    NoEnd,
    /// There is nothing in it.
    #[error("the expression is empty")]
    Empty,
    /// Something stands beside the expression of a condition.
    #[error("text stands beside the expression: together they are neither true nor false")]
    NotOne,
    /// A statement or a remark, which have a place in `transform` only.
    #[error("line {line}: only expressions in `${{{{ … }}}}` are evaluated here, no statements")]
    Statement {
        /// The line within the text, from 1.
        line: usize,
    },
    /// A variable, filter, test or function that is not known there.
    #[error("there is no {what} `{name}` here{hint}")]
    Unknown {
        /// `variable`, `filter`, `test` or `function`.
        what: &'static str,
        /// As written.
        name: String,
        /// What may be meant, with what goes before it, or nothing.
        hint: String,
    },
    /// It is longer than anybody writes.
    #[error("the expression is longer than {max} bytes, or has too many parts")]
    TooLong {
        /// The limit.
        max: usize,
    },
    /// It has more operators than anybody writes.
    #[error("the expression has more than {max} operators")]
    TooManyOperators {
        /// The limit.
        max: usize,
    },
    /// A secret or a variable of the environment is not there.
    #[error("{0}")]
    Lookup(String),
}

impl ExpressionError {
    pub(super) fn unknown(what: &'static str, name: &str, known: &[&str]) -> Self {
        let letters = name.chars().count();
        let distances = known.iter().map(|known| {
            let distance = strsim::damerau_levenshtein(&name.to_lowercase(), known);
            (distance, known)
        });
        let nearest = distances
            .filter(|(distance, _)| *distance <= (letters / 3).max(1))
            .min_by_key(|(distance, _)| *distance);
        let hint = match nearest {
            Some((_, near)) => format!(": did you mean `{near}`?"),
            None if what == "variable" && !known.is_empty() => {
                format!(": known are {}", known.join(", "))
            }
            None => String::new(),
        };
        Self::Unknown {
            what,
            name: name.to_owned(),
            hint,
        }
    }
}

/// Why an expression has no value, in words that hold nothing of what it works on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExprError {
    /// It takes too many steps.
    #[error("the expression takes too many steps")]
    TooManySteps,
    /// It makes more than may be sent.
    #[error("the expression makes more than {VALUE_BYTES_MAX} bytes")]
    TooLong,
    /// It makes bytes that are no text.
    #[error("the expression makes bytes that are not UTF-8")]
    NotText,
    /// A filter has no answer.
    #[error("line {line} of the expression: {reason}")]
    Filter {
        /// The line within the text, from 1.
        line: usize,
        /// What the filter says.
        reason: FilterError,
    },
    /// It does something that does not go with the values.
    #[error("line {line} of the expression: {kind}")]
    Failed {
        /// The line within the text, from 1.
        line: usize,
        /// The kind of the trouble. The engine's own details may quote values.
        kind: String,
    },
}

pub(super) fn filter_error(error: &Error) -> Option<FilterError> {
    error.source()?.downcast_ref().copied()
}

fn line_of(error: &Error, first: usize) -> usize {
    first + error.line().unwrap_or(1).saturating_sub(1)
}

pub(super) fn refused(error: &Error, first: usize) -> ExpressionError {
    ExpressionError::Syntax {
        line: line_of(error, first),
        detail: error
            .detail()
            .map_or_else(|| error.kind().to_string(), str::to_owned),
    }
}

pub(super) fn failed(error: &Error, first: usize) -> ExprError {
    let line = line_of(error, first);
    match (error.kind(), filter_error(error)) {
        (ErrorKind::OutOfFuel, _) => ExprError::TooManySteps,
        (_, Some(reason)) => ExprError::Filter { line, reason },
        (kind, None) => ExprError::Failed {
            line,
            kind: kind.to_string(),
        },
    }
}
