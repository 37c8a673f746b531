//! `poll.items` and `poll.changes`.

use std::num::NonZeroU32;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::decode::{Field, OneOrMany, Template};
use crate::config::units::Percent;

/// What in an answer is an item, and what is known of it.
#[derive(Deserialize, JsonSchema, Default)]
#[schemars(deny_unknown_fields)]
pub struct Items {
    /// A JSONPath to the items (`$.data[*]`); a list stands for its elements. Default: `$`.
    pub select: Option<Field<String>>,
    /// What an item is known by: a JSONPath within it, or a list of which all are needed.
    /// Default: `$.id`.
    pub id: Option<Field<OneOrMany<String>>>,
    /// Instead of `id`, JSONPaths of which the first that exists counts.
    pub id_any: Option<Field<OneOrMany<String>>>,
    /// Instead of `id`, JSONPaths whose values are hashed together, for items without an id.
    pub id_hash: Option<Field<OneOrMany<String>>>,
    /// A JSONPath to an item's type, which its event gets. Default: none.
    #[serde(rename = "type")]
    pub item_type: Option<Field<String>>,
    /// A JSONPath to an item's time, for the cursor and to see how fresh the source is.
    /// Default: none.
    pub time: Option<Field<String>>,
    /// How times are written: `auto` (RFC 3339, RFC 2822, or seconds or milliseconds since 1970) or a
    /// pattern like `%Y-%m-%d %H:%M:%S`. Default: auto.
    pub time_format: Option<Field<String>>,
    /// The time zone of times that are written without one, by its IANA name. Default: UTC.
    pub time_zone: Option<Field<String>>,
    /// The order that the provider promises; what breaks it is counted and logged. Default: none.
    pub order: Option<Field<ItemOrder>>,
    /// Which items become events: an expression over `item` (`item.status == 'PAID'`). The others are
    /// counted, and move the cursor all the same. Default: all.
    #[serde(rename = "where")]
    pub condition: Option<Field<Template>>,
    /// Events of one value here are delivered one after the other: a JSONPath within the item, or a
    /// list of which the first that exists counts. Default: no order.
    pub order_key: Option<Field<OneOrMany<String>>>,
    /// Which items say that something is gone: an expression over `item`. They become events of the
    /// kind `deleted`. Default: none.
    pub deleted: Option<Field<Template>>,
}

/// The order of items.
#[derive(Deserialize, JsonSchema, Debug, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum ItemOrder {
    /// The oldest first.
    Asc,
    /// The newest first.
    Desc,
    /// Any.
    None,
}

/// Events for what has changed in a list that is always asked for as a whole.
#[derive(Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Changes {
    /// `snapshot` = each whole list is compared with the one before. Default: off.
    pub mode: Option<Field<ChangesMode>>,
    /// JSONPaths to what must differ for an item to have changed. Default: the whole item.
    pub compare: Option<Field<OneOrMany<String>>>,
    /// Without `compare`, JSONPaths to what may differ all the same. Default: none.
    pub ignore: Option<Field<OneOrMany<String>>>,
    /// Which changes become events. Default: created and updated.
    pub emit: Option<Field<OneOrMany<Change>>>,
    /// When an item that is missing counts as deleted.
    pub deleted: Option<Field<Deleted>>,
    /// What the first whole list is. Default: baseline.
    pub first: Option<Field<First>>,
}

/// Whether lists are compared.
#[derive(Deserialize, JsonSchema, Debug, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum ChangesMode {
    /// They are not.
    Off,
    /// Each with the one before.
    Snapshot,
}

/// What has happened to an item.
#[derive(Deserialize, JsonSchema, Debug, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// It is new.
    Created,
    /// It is another than before.
    Updated,
    /// It is gone.
    Deleted,
}

/// When an item that is missing counts as deleted.
#[derive(Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Deleted {
    /// In how many whole lists in a row it must be missing. Default: 3.
    pub after_missing: Option<Field<NonZeroU32>>,
    /// When more than this share of all items is gone at once, nothing is emitted and the source is
    /// paused. Default: 20%.
    pub guard: Option<Field<Percent>>,
}

/// What the first whole list is.
#[derive(Deserialize, JsonSchema, Debug, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum First {
    /// What later ones are compared with.
    Baseline,
    /// An event for each of its items.
    Emit,
}
