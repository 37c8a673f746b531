//! How a value is reached from the root, and what follows from that.

use std::fmt::Display;

use crate::config::yaml::{Key, Span, hidden};

/// The way to a value.
#[derive(Clone, Default)]
pub(super) struct Place {
    /// Keys and indices, like `routes.stripe.deliver[0].to`; empty at the root.
    path: String,
    /// The key the value stands under, unless it is the root or an item of a list.
    pub(super) key: Option<Span>,
    /// Whether the value must not be shown.
    pub(super) secret: bool,
    /// Whether the value is a member of a struct. There, a key without a value is no absent
    /// option but a fault, because it is more often a mistake than a wish.
    pub(super) member: bool,
    /// A key of the value, a mapping, that already chose the variant of an enum.
    pub(super) tag: Option<&'static str>,
}

impl Place {
    /// The place of a value under a key.
    pub(super) fn under(&self, key: &Key) -> Self {
        let dot = if self.path.is_empty() { "" } else { "." };
        Self {
            path: format!("{}{dot}{}", self.path, key.name),
            key: Some(key.span),
            secret: self.secret || hidden::is_secret_key(&key.name),
            ..Self::default()
        }
    }

    /// The place of an item of a list.
    pub(super) fn item(&self, index: usize) -> Self {
        let path = format!("{}[{index}]", self.path);
        Self {
            path,
            secret: self.secret,
            ..Self::default()
        }
    }

    /// Whether this is the document itself.
    pub(super) fn is_root(&self) -> bool {
        self.path.is_empty()
    }

    /// The value as the subject of a sentence.
    pub(super) fn subject(&self) -> String {
        if self.is_root() {
            "the file".to_owned()
        } else {
            format!("`{}`", self.path)
        }
    }

    /// Where a key of the value stands.
    pub(super) fn inside(&self) -> String {
        if self.is_root() {
            "at the top level".to_owned()
        } else {
            format!("in `{}`", self.path)
        }
    }

    /// A sentence about the value.
    pub(super) fn says(&self, sentence: impl Display) -> String {
        if self.is_root() {
            sentence.to_string()
        } else {
            format!("`{}`: {sentence}", self.path)
        }
    }
}
