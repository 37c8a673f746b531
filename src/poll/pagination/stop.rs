//! How the last of numbered pages is told.

use std::num::NonZeroU32;

use serde_json::Value;

use super::super::page::Page;
use super::super::selector::Selector;
use super::End;

/// How the last of numbered pages is told. An empty page always is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    /// It is empty.
    Empty,
    /// It is not full, counted before any item is passed over.
    Short,
    /// Its number: how many pages there are; with offsets, how many items.
    Total(Selector),
    /// It says that there is no more.
    HasMore(Selector),
}

impl Stop {
    /// `read` is how many pages, or items, were read with this one.
    pub(super) fn end(&self, page: &Page<'_>, size: Option<NonZeroU32>, read: u64) -> Option<End> {
        if page.raw_count == 0 {
            return Some(End::Empty);
        }
        match self {
            Self::Empty => None,
            Self::Short => {
                let size = size.map_or(0, |size| u64::from(size.get()));
                (count(page) < size).then_some(End::Short)
            }
            // Without a total, the first empty page is the last.
            Self::Total(selector) => {
                let total = selector.first(page.body).and_then(whole)?;
                (read >= total).then_some(End::LastPage)
            }
            Self::HasMore(selector) => (!selector.says_yes(page.body)).then_some(End::LastPage),
        }
    }
}

/// How many items came.
pub(super) fn count(page: &Page<'_>) -> u64 {
    u64::try_from(page.raw_count).unwrap_or(u64::MAX)
}

fn whole(value: &Value) -> Option<u64> {
    match value {
        Value::String(text) => text.trim().parse().ok(),
        value => value.as_u64(),
    }
}
