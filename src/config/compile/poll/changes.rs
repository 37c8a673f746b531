//! Compiles `poll.changes`.

use std::num::NonZeroU32;

use super::texts::place;
use super::{SourceCompiler, pages, value};
use crate::config::decode::Field;
use crate::config::raw::poll::Poll;
use crate::config::raw::poll::cursor::CursorType;
use crate::config::raw::poll::items as raw;
use crate::config::units::Percent;
use crate::config::yaml::Span;
use crate::poll::changes::{ChangeRules, ChangeRulesError, ChangeSpec, First};
use crate::poll::items::ChangeKind;

const AFTER_MISSING: NonZeroU32 = NonZeroU32::MIN.saturating_add(2);
const GUARD: u8 = 20;

impl SourceCompiler<'_, '_> {
    /// How whole lists are compared; `Some(None)` = they are not.
    pub(super) fn changes(
        &mut self,
        field: &Field<raw::Changes>,
        poll: &Poll,
    ) -> Option<Option<ChangeRules>> {
        let raw = field.get()?;
        let is_off = match &raw.mode {
            None => true,
            Some(mode) => *mode.get()? == raw::ChangesMode::Off,
        };
        let compare = self.json_paths(raw.compare.as_ref());
        let ignore = self.json_paths(raw.ignore.as_ref());
        if is_off {
            if raw.mode.is_none() {
                let message = "lists are not compared unless `mode` says so";
                self.fault_with_help(field.span, message, "add `mode: snapshot`");
            }
            return Some(None);
        }
        self.whole_lists(field, poll);
        let deleted = value(&raw.deleted);
        let spec = ChangeSpec {
            compare: compare?,
            ignore: ignore?,
            emit: emitted(raw)?,
            after_missing: deleted
                .and_then(|deleted| value(&deleted.after_missing).copied())
                .unwrap_or(AFTER_MISSING),
            guard: deleted
                .and_then(|deleted| value(&deleted.guard).copied())
                .map_or(GUARD, whole),
            first: match value(&raw.first) {
                None | Some(raw::First::Baseline) => First::Baseline,
                Some(raw::First::Emit) => First::Emit,
            },
        };
        let rules = ChangeRules::new(spec);
        let rules = rules.map_err(|error| self.no_changes(field.span, raw, &error));
        rules.ok().map(Some)
    }

    fn no_changes(&mut self, whole: Span, raw: &raw::Changes, error: &ChangeRulesError) {
        let (span, help) = match error {
            ChangeRulesError::NothingEmitted => (
                place(&raw.emit),
                "write created, updated or deleted, or leave it out",
            ),
            ChangeRulesError::Guard => (place(&raw.deleted), "write at most 100%"),
            ChangeRulesError::IgnoreBesideCompare => (place(&raw.ignore), "take one of them away"),
            ChangeRulesError::TooManyPaths { .. } => {
                (place(&raw.compare).or(place(&raw.ignore)), "write fewer")
            }
        };
        self.fault_with_help(span.unwrap_or(whole), error.to_string(), help);
    }

    /// What is missing from a part of a list is not gone.
    fn whole_lists(&mut self, field: &Field<raw::Changes>, poll: &Poll) {
        let message = "a list can only be compared when all of it is read";
        let cursor = value(&poll.cursor).and_then(|cursor| cursor.cursor_type.as_ref());
        let kind = cursor.and_then(|field| field.get());
        if !matches!(kind, None | Some(CursorType::Seen | CursorType::None)) {
            let span = cursor.map_or(field.span, |field| field.span);
            self.fault_with_help(span, message, "take `cursor` away");
        }
        if let Some(span) = pages::stops_when_known(poll) {
            self.fault_with_help(span, message, "take `stop_when` away");
        }
    }
}

fn emitted(raw: &raw::Changes) -> Option<Vec<ChangeKind>> {
    let Some(field) = &raw.emit else {
        return Some(vec![ChangeKind::Created, ChangeKind::Updated]);
    };
    let kinds = field.get()?.iter().map(|field| {
        Some(match field.get()? {
            raw::Change::Created => ChangeKind::Created,
            raw::Change::Updated => ChangeKind::Updated,
            raw::Change::Deleted => ChangeKind::Deleted,
        })
    });
    kinds.collect()
}

/// The next whole number of per cent.
pub(super) fn whole(percent: Percent) -> u8 {
    let mut numbers = 0..100_u8;
    let found = numbers.find(|number| f64::from(*number) >= percent.as_f64());
    found.unwrap_or(100)
}
