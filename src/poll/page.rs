//! What a walk is shown of an answer.
//!
//! Made by whoever sent the request: decoding, selecting and asking the store are done by then.

use jiff::Timestamp;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::selector::Origin;

/// The order that the source promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// The oldest item first.
    Asc,
    /// The newest item first.
    Desc,
    /// None.
    #[default]
    None,
}

/// Makes the next cursor of the last id: `${{ last + 1 }}`.
pub type NextId<'a> = &'a dyn Fn(&Value) -> Result<Value, String>;

/// An answer that was understood.
#[derive(Clone, Copy)]
pub struct Page<'a> {
    /// The body.
    pub body: &'a Value,
    /// The headers, as they came.
    pub headers: &'a [(String, String)],
    /// The URL that answered; relative ones are resolved against it.
    pub url: &'a str,
    /// How many items came, before any was passed over: decides whether the page is short or empty.
    pub raw_count: usize,
    /// Every item in the source's order, those that are passed over included.
    pub items: &'a [Seen<'a>],
    /// What the expression `cursor.has_more` says; read only if it is one.
    pub has_more: Option<bool>,
    /// The expression `cursor.next`; asked only if the cursor is a next id.
    pub next_id: NextId<'a>,
}

/// An item of a page.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// What it is told by; with its version, if it has one.
    pub id: &'a str,
    /// The item.
    pub item: &'a Value,
    /// The time the cursor goes by.
    pub time: Option<Timestamp>,
    /// Whether it was seen before.
    pub standing: Standing,
}

/// Whether an item was seen before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Never.
    New,
    /// It was, but not by a reading of this source that came to its end: it is staged, or came as a
    /// webhook of the same namespace. It tells nothing of older items.
    Met,
    /// A reading of this source committed it.
    Known,
}

impl<'a> Page<'a> {
    /// The values of a header, whose name is compared in any case.
    pub fn header(&self, name: &str) -> impl Iterator<Item = &'a str> {
        let headers = self.headers.iter();
        headers
            .filter(move |(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// What stands at a place; empty texts, `null` and `false` are nothing.
    pub fn value_at(&self, origin: &Origin) -> Option<Value> {
        let found = match origin {
            Origin::Body(selector) => selector.first(self.body).cloned(),
            Origin::Header(name) => self.header(name.as_str()).next().map(Value::from),
        };
        found.filter(|value| match value {
            Value::Null | Value::Bool(false) => false,
            Value::String(text) => !text.trim().is_empty(),
            _ => true,
        })
    }

    /// Stands for the items in their order; `None` = there are none.
    pub(super) fn digest(&self) -> Option<u64> {
        if self.items.is_empty() {
            return None;
        }
        let mut bytes = Vec::new();
        for seen in self.items {
            seen.write(&mut bytes);
        }
        Some(digest(&bytes))
    }

    /// The first and the last time on the page.
    pub(super) fn span(&self) -> Option<(Timestamp, Timestamp)> {
        let first = self.items.iter().find_map(|seen| seen.time)?;
        let last = self.items.iter().rev().find_map(|seen| seen.time)?;
        Some((first, last))
    }
}

impl Seen<'_> {
    /// Stands for id and time.
    pub(super) fn digest(&self) -> u64 {
        let mut bytes = Vec::new();
        self.write(&mut bytes);
        digest(&bytes)
    }

    /// Id and time in a form that no other item has.
    fn write(&self, bytes: &mut Vec<u8>) {
        let time = self.time.map(Timestamp::as_nanosecond);
        bytes.extend(time.map_or([0; 17], marked));
        bytes.extend((self.id.len() as u64).to_be_bytes());
        bytes.extend(self.id.as_bytes());
    }
}

/// A time that is there, told apart from one that is not.
fn marked(nanoseconds: i128) -> [u8; 17] {
    let mut marked = [1; 17];
    let (_, rest) = marked.split_at_mut(1);
    rest.copy_from_slice(&nanoseconds.to_be_bytes());
    marked
}

/// The first 64 bits of a SHA-256: what is remembered of long things between requests.
pub(super) fn digest(bytes: &[u8]) -> u64 {
    let digest: [u8; 32] = Sha256::digest(bytes).into();
    let mut first = [0; 8];
    first.copy_from_slice(digest.split_at(8).0);
    u64::from_be_bytes(first)
}
