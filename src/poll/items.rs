//! What a page of an answer has in it: which items, what each is told by, whether it is wanted.
//!
//! Pure. Does not know which of them were seen before, what follows the page, or where the cursor
//! goes: what it passes over is handed on too, since that moves the cursor as well.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json_path::JsonPath;

use super::conditions::Holds;
use super::page::Order;
use super::{canonical, keys};
use id::{IdFault, IdRule, ItemId};
use select::Selection;

pub mod id;
pub mod select;

/// The most items of one page.
pub const ITEMS_MAX: usize = 100_000;
/// The most paths under one key.
pub const PATHS_MAX: usize = 16;

/// What conditions may ask about an item.
#[derive(Debug, Clone, Copy)]
pub struct ItemContext<'a> {
    /// The item.
    pub item: &'a Value,
    /// The page that it is on.
    pub page: &'a Page<'a>,
}

/// A decoded answer.
#[derive(Debug, Clone, Copy)]
pub struct Page<'a> {
    /// Its body.
    pub body: &'a Value,
    /// The partition that was asked for.
    pub partition: Option<&'a Value>,
    /// When the poll began.
    pub poll_started: Timestamp,
}

/// A condition on an item.
pub type ItemCondition = Arc<dyn for<'a> Holds<ItemContext<'a>>>;
/// Reads a time as the source writes it; `None` when it is none.
pub type ReadTime = Arc<dyn Fn(&Value) -> Option<Timestamp> + Send + Sync>;

/// The keys of `items:`, to be checked by [`ItemRules::new`].
#[derive(Clone)]
pub struct ItemSpec {
    /// `select`.
    pub select: Selection,
    /// `id`, `id_any` or `id_hash`.
    pub id: IdRule,
    /// What happens to an item without id.
    pub without_id: WithoutId,
    /// `time`, and how `time_format` and `time_zone` read it.
    pub time: Option<(JsonPath, ReadTime)>,
    /// `dedup.version`: what makes the same id a new event; none = nothing does.
    pub version: Vec<JsonPath>,
    /// `order`.
    pub order: Order,
    /// `where`.
    pub wanted: Option<ItemCondition>,
    /// `deleted`.
    pub deleted: Option<ItemCondition>,
    /// `order_key`; the first that exists counts.
    pub order_key: Vec<JsonPath>,
    /// Whose lanes they are: hashed before the value of the order key. The name of the route and
    /// the slot of its delivery (2 bytes, big endian) make the lanes those of its webhooks.
    pub lane_of: Vec<Vec<u8>>,
}

/// What happens to an item without id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WithoutId {
    /// The page fails: nothing of it is taken, and the cursor stays.
    #[default]
    Fail,
    /// The item is passed over and counted. It is lost once the cursor is past it.
    Pass,
}

/// Checked rules for the items of a source.
pub struct ItemRules {
    spec: ItemSpec,
}

/// Why rules for items cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ItemRulesError {
    /// No path where at least one is needed.
    #[error("`{key}` has no selector: every item would be the same")]
    NoPath {
        /// The key under `items`.
        key: &'static str,
    },
    /// Too many paths.
    #[error("`{key}` has more than {PATHS_MAX} selectors")]
    TooManyPaths {
        /// The key under `items`.
        key: &'static str,
    },
}

/// Why nothing of a page can be taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ItemsError {
    /// The place where the items should stand is missing, which is not the same as no items.
    #[error("the answer has nothing at `{path}`")]
    SelectMissing {
        /// The path.
        path: String,
    },
    /// More items than a page may have.
    #[error("{count} items are on one page, which may have {ITEMS_MAX}")]
    TooMany {
        /// How many there are.
        count: usize,
    },
    /// An item has no id.
    #[error("item {index} of the page has no id")]
    MissingId {
        /// Its place on the page, from 0.
        index: usize,
    },
    /// An id or version is a number of more than 64 bits, which may stand for several.
    #[error("the {key} of item {index} is a number that cannot be read exactly")]
    Rounded {
        /// `id` or `version`.
        key: &'static str,
        /// The item's place on the page, from 0.
        index: usize,
    },
    /// A condition cannot be evaluated for an item.
    #[error("`{key}` cannot be evaluated for item {index}: {reason}")]
    Condition {
        /// `where` or `deleted`.
        key: &'static str,
        /// The item's place on the page, from 0.
        index: usize,
        /// Why, in words that quote nothing of the item.
        reason: String,
    },
}

/// What a page has in it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Extracted {
    /// How many items the source sent: what decides whether a page is short or empty.
    pub raw_count: usize,
    /// How many of them `where` does not want.
    pub filtered: usize,
    /// How many were passed over because they have no id.
    pub without_id: usize,
    /// How many have something for a time that is none.
    pub unreadable_times: usize,
    /// How many stand on the wrong side of the one before them.
    pub order_breaches: usize,
    /// All of them in the order in which they were sent.
    pub rows: Vec<Row>,
}

/// One item of a page.
#[derive(Debug, Clone, PartialEq)]
pub enum Row {
    /// It is wanted.
    Kept(Found),
    /// It is not, and moves the cursor all the same.
    Passed {
        /// Its time.
        time: Option<Timestamp>,
        /// The item.
        item: Value,
    },
}

/// An item that is wanted.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// What it is told by.
    pub id: ItemId,
    /// Its version; `None` when the rules ask for none, or when it has none.
    pub version: Option<String>,
    /// Its time.
    pub time: Option<Timestamp>,
    /// Its lane.
    pub lane: Option<u64>,
    /// What it says has happened.
    pub change: ChangeKind,
    /// The item.
    pub item: Value,
}

/// What has happened to an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChangeKind {
    /// It is there. Whether it was there before, a page cannot tell.
    Created,
    /// It is known, and another than before.
    Updated,
    /// It is gone.
    Deleted,
}

impl ChangeKind {
    /// The word for expressions, metrics and the log.
    pub fn label(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Updated => "updated",
            Self::Deleted => "deleted",
        }
    }
}

impl Row {
    /// The item.
    pub fn item(&self) -> &Value {
        match self {
            Self::Kept(found) => &found.item,
            Self::Passed { item, .. } => item,
        }
    }

    /// Its time.
    pub fn time(&self) -> Option<Timestamp> {
        match self {
            Self::Kept(found) => found.time,
            Self::Passed { time, .. } => *time,
        }
    }

    /// The item if it is wanted.
    pub fn kept(&self) -> Option<&Found> {
        match self {
            Self::Kept(found) => Some(found),
            Self::Passed { .. } => None,
        }
    }
}

impl Found {
    /// What its dedup key is made of.
    pub fn key_parts(&self, namespace: &str, partition: Option<&str>) -> keys::KeyParts {
        let parts = keys::KeyParts::new(namespace, &self.id)
            .in_partition(partition)
            .of_version(self.version.as_deref());
        match self.change {
            ChangeKind::Deleted => parts.as_tombstone(),
            ChangeKind::Created | ChangeKind::Updated => parts,
        }
    }
}

impl ItemRules {
    /// Whether items have a time.
    pub fn have_time(&self) -> bool {
        self.spec.time.is_some()
    }

    /// Checks the rules.
    ///
    /// # Errors
    /// [`ItemRulesError`].
    pub fn new(spec: ItemSpec) -> Result<Self, ItemRulesError> {
        let paths = spec.id.paths();
        if paths.is_empty() {
            return Err(ItemRulesError::NoPath { key: "id" });
        }
        let keys = [
            ("id", paths),
            ("version", &spec.version),
            ("order_key", &spec.order_key),
        ];
        match keys.iter().find(|(_, paths)| paths.len() > PATHS_MAX) {
            Some((key, _)) => Err(ItemRulesError::TooManyPaths { key }),
            None => Ok(Self { spec }),
        }
    }

    /// Takes a page apart.
    ///
    /// # Errors
    /// [`ItemsError`]; then nothing of the page may be taken.
    pub fn extract(&self, page: &Page<'_>) -> Result<Extracted, ItemsError> {
        let select = &self.spec.select;
        let items = select.find(page.body);
        let items = items.ok_or_else(|| ItemsError::SelectMissing {
            path: select.text().to_owned(),
        })?;
        if items.len() > ITEMS_MAX {
            return Err(ItemsError::TooMany { count: items.len() });
        }
        let mut extracted = Extracted::default();
        let mut before = None;
        for (index, item) in items.into_iter().enumerate() {
            let row = self.row(index, ItemContext { item, page }, &mut extracted)?;
            let rank = self.rank(&row);
            if self.spec.order.is_breached_by(before, rank) {
                extracted.order_breaches += 1;
            }
            before = rank.or(before);
            extracted.raw_count += 1;
            extracted.rows.push(row);
        }
        Ok(extracted)
    }

    /// The lane of an item, `None` when it has no order key. What is empty is no key: strangers
    /// would wait for each other.
    pub fn lane(&self, item: &Value) -> Option<u64> {
        let exists = |value: &&Value| !value.is_null() && **value != "";
        let value = self
            .spec
            .order_key
            .iter()
            .find_map(|path| path.query(item).first().filter(exists))?;
        let text = canonical::scalar(value).unwrap_or_else(|| canonical::text(value));
        let scope = self.spec.lane_of.iter().map(Vec::as_slice);
        Some(keys::lane(scope.chain([text.as_bytes()])))
    }

    fn row(
        &self,
        index: usize,
        context: ItemContext<'_>,
        counts: &mut Extracted,
    ) -> Result<Row, ItemsError> {
        let item = context.item;
        let time = match self.time(item) {
            Time::At(time) => Some(time),
            Time::Nothing => None,
            Time::Unreadable => {
                counts.unreadable_times += 1;
                None
            }
        };
        if holds(self.spec.wanted.as_ref(), "where", index, &context)? == Some(false) {
            counts.filtered += 1;
        } else if let Some(id) = self.id(index, item)? {
            return self.found(index, context, id, time).map(Row::Kept);
        } else {
            counts.without_id += 1;
        }
        let item = item.clone();
        Ok(Row::Passed { time, item })
    }

    /// `None` when the item has no id and may be passed over.
    fn id(&self, index: usize, item: &Value) -> Result<Option<ItemId>, ItemsError> {
        match (self.spec.id.read(item), self.spec.without_id) {
            (Ok(id), _) => Ok(Some(id)),
            (Err(IdFault::Rounded), _) => Err(ItemsError::Rounded { key: "id", index }),
            (Err(IdFault::Missing), WithoutId::Fail) => Err(ItemsError::MissingId { index }),
            (Err(IdFault::Missing), WithoutId::Pass) => Ok(None),
        }
    }

    fn found(
        &self,
        index: usize,
        context: ItemContext<'_>,
        id: ItemId,
        time: Option<Timestamp>,
    ) -> Result<Found, ItemsError> {
        let item = context.item;
        let is_deleted = holds(self.spec.deleted.as_ref(), "deleted", index, &context)?;
        Ok(Found {
            id,
            version: self.version(index, item)?,
            time,
            lane: self.lane(item),
            change: match is_deleted {
                Some(true) => ChangeKind::Deleted,
                Some(false) | None => ChangeKind::Created,
            },
            item: item.clone(),
        })
    }

    fn time(&self, item: &Value) -> Time {
        let Some((path, read)) = &self.spec.time else {
            return Time::Nothing;
        };
        match path.query(item).first() {
            None | Some(Value::Null) => Time::Nothing,
            Some(value) => read(value).map_or(Time::Unreadable, Time::At),
        }
    }

    /// One scalar is its own version; of anything else it is a hash.
    fn version(&self, index: usize, item: &Value) -> Result<Option<String>, ItemsError> {
        let paths = self.spec.version.iter();
        let found: Vec<Vec<&Value>> = paths.map(|path| path.query(item).all()).collect();
        let mut values = found.iter().flatten().filter(|value| !value.is_null());
        if values.clone().any(|value| canonical::is_rounded(value)) {
            let key = "version";
            return Err(ItemsError::Rounded { key, index });
        }
        let Some(first) = values.next() else {
            return Ok(None);
        };
        let alone = canonical::scalar(first).filter(|text| text.len() <= id::ID_BYTES_MAX);
        Ok(Some(match (&found[..], alone) {
            ([only], Some(text)) if only.len() == 1 => text,
            _ => hex::encode(keys::digest(found.into_iter().map(canonical::list))),
        }))
    }

    /// What the order of the source goes by: the time if the rules have one, else a whole number
    /// that is the id.
    fn rank(&self, row: &Row) -> Option<i128> {
        if self.spec.time.is_some() {
            return row.time().map(Timestamp::as_nanosecond);
        }
        let IdRule::One(path) = &self.spec.id else {
            return None;
        };
        let found = path.query(row.item());
        canonical::scalar(found.first()?)?.parse().ok()
    }
}

impl Order {
    fn is_breached_by(self, before: Option<i128>, next: Option<i128>) -> bool {
        let (Some(before), Some(next)) = (before, next) else {
            return false;
        };
        match self {
            Self::Asc => next < before,
            Self::Desc => next > before,
            Self::None => false,
        }
    }
}

enum Time {
    At(Timestamp),
    Nothing,
    Unreadable,
}

fn holds(
    condition: Option<&ItemCondition>,
    key: &'static str,
    index: usize,
    context: &ItemContext<'_>,
) -> Result<Option<bool>, ItemsError> {
    let held = condition.map(|condition| condition.holds(context));
    held.transpose()
        .map_err(|reason| ItemsError::Condition { key, index, reason })
}

#[cfg(test)]
mod tests;
