//! Structs: which keys are known, which are missing.

use serde::de::Visitor;

use super::access::Pairs;
use super::decoder::Decoder;
use super::error::{Error, collect_missing};
use super::words;
use crate::config::fault::Fault;
use crate::config::yaml::{Key, Kind, Node, Span, hidden};

/// An entry of a mapping.
pub(super) type Entry<'a> = (&'a Key, &'a Node);

impl<'a> Decoder<'a> {
    /// The entries that are fit to be decoded, if the value is a mapping.
    pub(super) fn entries(&self) -> Option<Vec<Entry<'a>>> {
        let Kind::Mapping(entries) = &self.node.kind else {
            return None;
        };
        let fit = entries
            .iter()
            .filter(|(key, _)| !key.refused && !self.is_tag(key));
        Some(fit.map(|(key, value)| (key, value)).collect())
    }

    fn is_tag(&self, key: &Key) -> bool {
        self.place.tag == Some(key.name.as_str())
    }

    /// Decodes a struct. Every unknown and every missing key is reported; only the known ones are
    /// decoded.
    pub(super) fn members<'de, V: Visitor<'de>>(
        &self,
        known: &[&str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let Some(entries) = self.entries() else {
            return Err(self.unexpected_whole(&expected_keys(known)));
        };
        let is_known = |(key, _): &Entry<'_>| known.contains(&key.name.as_str());
        let (entries, unknown): (Vec<_>, Vec<_>) = entries.into_iter().partition(is_known);
        unknown
            .into_iter()
            .for_each(|entry| self.refuse(entry, known));
        let pairs = Pairs::members(self.clone(), entries);
        let (value, missing) = collect_missing(|| visitor.visit_map(pairs));
        missing
            .into_iter()
            .for_each(|name| self.record_missing(name));
        value.map_err(|error| self.placed_whole(error))
    }

    fn refuse(&self, (key, value): Entry<'_>, known: &[&str]) {
        self.hide(value);
        let name = key.name.as_str();
        let fault = if !value.is_null() || words::nearest(name, known).is_some() {
            let hint = words::name_hint(name, known);
            let message = format!("unknown key `{name}` {}", self.place.inside());
            Fault {
                hint,
                ..Fault::new(message)
            }
        } else {
            self.hide_span(key.span);
            let message = format!("a text without a key {}", self.place.inside());
            Fault::new(message).help("a key is followed by `:` and a space")
        };
        self.context.record(fault.at(key.span).into());
    }

    /// Hides a value that nothing will decode, because it may be a secret.
    pub(super) fn hide(&self, value: &Node) {
        hidden::literals(value)
            .into_iter()
            .for_each(|span| self.hide_span(span));
    }

    fn hide_span(&self, span: Span) {
        self.context.hidden.borrow_mut().insert(span);
    }

    /// Hides all values of a mapping whose known keys cannot be told.
    pub(super) fn hide_entries(&self) {
        self.entries()
            .into_iter()
            .flatten()
            .for_each(|(_, value)| self.hide(value));
    }

    /// Reports a missing key, at the key of the mapping that should have it.
    pub(super) fn record_missing(&self, name: &str) {
        let message = format!("missing key `{name}` {}", self.place.inside());
        let span = (!self.place.is_root()).then(|| self.key_or_span());
        self.context.record(
            Fault {
                span,
                ..Fault::new(message)
            }
            .into(),
        );
    }
}

fn expected_keys(known: &[&str]) -> String {
    match known {
        [] => "a mapping".to_owned(),
        [only] => format!("a mapping with the key `{only}`"),
        _ => format!("a mapping with the keys {}", words::quoted_list(known)),
    }
}
