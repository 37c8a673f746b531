//! A value to be decoded, and the faults that can be said of any value.

use std::fmt::Display;

use super::error::Error;
use super::place::Place;
use super::{Context, words};
use crate::config::fault::Fault;
use crate::config::yaml::hidden::EXPRESSION_START;
use crate::config::yaml::{Kind, Node, Span};

/// Longest text, in bytes, that is taken for no secret whatever its place.
const SHOWN_MAX: usize = 7;

/// One value of the tree and the way to it.
#[derive(Clone)]
pub(super) struct Decoder<'a> {
    pub(super) context: &'a Context<'a>,
    pub(super) node: &'a Node,
    pub(super) place: Place,
}

impl<'a> Decoder<'a> {
    pub(super) fn new(context: &'a Context<'a>, node: &'a Node, place: Place) -> Self {
        Self {
            context,
            node,
            place,
        }
    }

    /// Another value of the same run.
    pub(super) fn at(&self, node: &'a Node, place: Place) -> Self {
        Self::new(self.context, node, place)
    }

    /// The text as it stands in the file, if the value is a scalar.
    pub(super) fn written(&self) -> Option<&'a str> {
        match &self.node.kind {
            Kind::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }

    pub(super) fn is_expression(&self) -> bool {
        self.written()
            .is_some_and(|text| text.contains(EXPRESSION_START))
    }

    /// Whether messages must not quote the value.
    pub(super) fn is_secret(&self) -> bool {
        let is_hidden = self.context.hidden.borrow().contains(&self.node.span);
        self.place.secret || is_hidden || self.written().is_some_and(words::has_user_info)
    }

    /// Where a fault of this value is shown: a value that is not there has only its key.
    pub(super) fn span(&self) -> Span {
        if self.node.is_null() {
            self.key_or_span()
        } else {
            self.node.span
        }
    }

    pub(super) fn key_or_span(&self) -> Span {
        self.place.key.unwrap_or(self.node.span)
    }

    pub(super) fn found(&self) -> String {
        words::found(self.node, self.is_secret())
    }

    /// A fault of this value.
    pub(super) fn fault(&self, sentence: impl Display) -> Fault {
        Fault::new(self.place.says(sentence)).at(self.span())
    }

    /// The fault for a value of another kind than `expected`, which may be in serde's words.
    pub(super) fn unexpected(&self, expected: &str) -> Error {
        if self.node.is_null() {
            let message = format!("{} has no value", self.place.subject());
            return Fault::new(message).at(self.span()).into();
        }
        if matches!(self.node.kind, Kind::Mapping(_)) {
            self.hide(self.node);
        }
        let expected = words::expected(expected);
        let hint = words::type_hint(self.node, &expected);
        let fault = self.fault(format!("expected {expected}, found {}", self.found()));
        let span = if self.written().is_some() {
            self.span()
        } else {
            self.key_or_span()
        };
        Fault { hint, ..fault }.at(span).into()
    }

    /// The fault for a value that is no list or mapping. A text in such a place may be a secret
    /// that slipped from its own.
    pub(super) fn unexpected_whole(&self, expected: &str) -> Error {
        if self.written().is_some_and(|text| text.len() > SHOWN_MAX) {
            self.hide(self.node);
        }
        self.unexpected(expected)
    }

    /// Gives an error its place. `used` is the text that the type saw: where it must not be
    /// shown, it is taken out of the error's words.
    pub(super) fn placed(&self, error: Error, used: &str) -> Error {
        match error {
            Error::Expected(expected) => self.unexpected(&expected),
            Error::Words { message, hint } => {
                let Some(message) = self.shown(&message, used) else {
                    return self
                        .fault(format!("{} is not accepted here", self.found()))
                        .into();
                };
                let hint = hint.and_then(|hint| self.shown(&hint, used));
                Fault {
                    hint,
                    ..self.fault(message)
                }
                .into()
            }
            settled => settled,
        }
    }

    /// Gives an error of a list or a mapping its place.
    pub(super) fn placed_whole(&self, error: Error) -> Error {
        self.placed(error, self.written().unwrap_or_default())
    }

    fn shown(&self, words: &str, used: &str) -> Option<String> {
        let is_open = self.written().is_none_or(|written| written == used) && !self.is_secret();
        if is_open {
            Some(words.to_owned())
        } else {
            words::without_text(words, used, &self.found())
        }
    }
}
