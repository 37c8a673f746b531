//! Says in plain words what the YAML parser could not read.

use granit_parser::{ErrorKind, ScanError};

use super::Span;
use crate::config::fault::Fault;

/// The fault for a syntax error, at the parser's position.
pub(super) fn fault(source: &str, error: &ScanError) -> Fault {
    let at = error
        .marker()
        .byte_offset()
        .unwrap_or(source.len())
        .min(source.len());
    let fault = Fault::new(message(error)).at(Span { start: at, end: at });
    match hint(source, at, error.kind()) {
        Some(hint) => fault.help(hint),
        None => fault,
    }
}

fn message(error: &ScanError) -> String {
    match error.kind() {
        ErrorKind::MappingValueNotAllowed => "a `:` is not allowed here".to_owned(),
        ErrorKind::UnknownAnchor => "this alias has no anchor above it".to_owned(),
        ErrorKind::UnclosedQuotedScalar => "this quote is never closed".to_owned(),
        ErrorKind::UnclosedFlowCollection { open } => format!("this `{open}` is never closed"),
        ErrorKind::UnexpectedCharacter { character } => {
            format!("a value cannot begin with `{character}`")
        }
        ErrorKind::TabNotAllowed
        | ErrorKind::TabInBlockIndentation
        | ErrorKind::TabInIndentation => "a tab is not allowed as indentation".to_owned(),
        ErrorKind::ExpectedFlowSequenceSeparator => "expected `,` or `]`".to_owned(),
        ErrorKind::ExpectedFlowMappingSeparator => "expected `,` or `}`".to_owned(),
        ErrorKind::ExpectedBlockMappingKey => "expected a key".to_owned(),
        ErrorKind::ExpectedBlockSequenceEntry => "expected an item that begins with `-`".to_owned(),
        ErrorKind::MisplacedFlowCollectionEnd => "nothing was opened that ends here".to_owned(),
        ErrorKind::InvalidTrailingSingleQuotedScalar
        | ErrorKind::InvalidTrailingDoubleQuotedScalar => {
            "there is more text after the closing quote".to_owned()
        }
        ErrorKind::RecursionLimitExceeded => "lists and mappings are nested too deeply".to_owned(),
        _ => error.info(),
    }
}

fn hint(source: &str, at: usize, kind: &ErrorKind) -> Option<&'static str> {
    match kind {
        ErrorKind::UnexpectedCharacter { .. } => Some("put the value in quotes"),
        ErrorKind::TabNotAllowed
        | ErrorKind::TabInBlockIndentation
        | ErrorKind::TabInIndentation => Some("indent with spaces"),
        ErrorKind::UnclosedFlowCollection { .. } | ErrorKind::UnclosedQuotedScalar => None,
        _ if line_at(source, at).contains("${{") => {
            Some("inside `[ ]` and `{ }`, put `\"` around a value with `${{ … }}`")
        }
        ErrorKind::ExpectedBlockMappingKey | ErrorKind::ExpectedBlockSequenceEntry => {
            Some("check the indentation")
        }
        ErrorKind::MappingValueNotAllowed => {
            Some("check the indentation; a text that contains `: ` needs quotes")
        }
        _ => None,
    }
}

fn line_at(source: &str, at: usize) -> &str {
    let before = source.get(..at).unwrap_or_default();
    let start = before.rfind('\n').map_or(0, |newline| newline + 1);
    source
        .get(start..)
        .and_then(|rest| rest.lines().next())
        .unwrap_or_default()
}
