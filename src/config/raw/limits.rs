//! `webhook.rate_limit` and `dedup`.

use std::num::NonZeroU32;

use schemars::JsonSchema;
use serde::Deserialize;

use super::verify::From;
use crate::config::decode::{Field, OneOrMany, TextOr};
use crate::config::units::{Period, Rate};

/// How many requests may come.
#[derive(Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct RateLimit {
    /// What requests are counted by: `client_ip` (version 6 by /64), `route` (all together), a
    /// JSONPath (`$.account`), `{header: NAME}`, `{query: NAME}`, or `{path: NAME}` for what a
    /// segment captured. Default: client_ip.
    pub by: Option<Field<TextOr<By>>>,
    /// How many in how long: `50/s`, `600/min`, `10/h`, `5/d`.
    pub rate: Field<Rate>,
    /// How many at once. Default: the number of `rate`.
    pub burst: Option<Field<NonZeroU32>>,
    /// `before` verification (spares the work) or `after` it (only genuine requests count).
    /// Default: before; after for a JSONPath.
    pub stage: Option<Field<Stage>>,
}

/// What requests are counted by, written out.
#[derive(Deserialize, JsonSchema, Debug)]
#[serde(rename_all = "lowercase")]
pub enum By {
    /// A header.
    Header(String),
    /// A query parameter.
    Query(String),
    /// A JSONPath in the body.
    Json(String),
    /// What a named segment of the path captured.
    Path(String),
}

/// When a limit is taken from.
#[derive(Deserialize, JsonSchema, Debug, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Before the body is read.
    Before,
    /// After verification.
    After,
}

/// How events are told apart; the same event twice reaches the backend once.
#[derive(Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Dedup {
    /// What an event is known by: a JSONPath (`$.id`), `header:NAME`, `{header: NAME}`,
    /// `{query: NAME}`, a list of them (all together), or `body_hash`. Default: the provider's
    /// event id.
    pub key: Option<Field<OneOrMany<TextOr<From>>>>,
    /// How long an event is remembered. Default: 3d.
    pub window: Option<Field<Period>>,
    /// Routes of one namespace share their keys. Default: the route's name.
    pub namespace: Option<Field<String>>,
    /// What makes an item of a poll a new event though its id is known: a JSONPath within the item, or
    /// a list of them. Default: nothing.
    pub version: Option<Field<OneOrMany<String>>>,
    /// How long a duplicate waits for the first one that is still in flight. Default: 30s.
    pub wait: Option<Field<Period>>,
    /// What lets a deliberate redelivery through.
    pub let_through: Option<Field<LetThrough>>,
}

/// What lets a deliberate redelivery through.
#[derive(Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct LetThrough {
    /// A header that the redelivery carries.
    pub header: Field<String>,
    /// The value it must have. Default: any.
    pub value: Option<Field<String>>,
}
