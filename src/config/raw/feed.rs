//! `feeds.NAME`.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::decode::{Field, OneOrMany};
use crate::config::units::Period;

/// A list of address ranges that somebody publishes. `allow: [feed.NAME]` lets them send.
#[derive(Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Feed {
    /// Where the list is: https, or http on this machine. Redirects are not followed.
    pub url: Field<String>,
    /// Where the ranges stand in a JSON document: a JSON pointer (RFC 6901) to a text or a list of
    /// texts, or several; a segment `*` is every element (`/prefixes/*/ip_prefix`). Default: the body
    /// is plain lines, `#` begins a comment.
    pub pointer: Option<Field<OneOrMany<String>>>,
    /// How often it is fetched, at least 1m. Default: 6h.
    pub refresh: Option<Field<Period>>,
    /// What holds while there is no list yet. Default: refuse.
    pub on_missing: Option<Field<OnMissing>>,
}

/// What holds while there is no list yet.
#[derive(Deserialize, JsonSchema, Debug, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum OnMissing {
    /// No address is on it.
    Refuse,
    /// Every address is on it.
    Allow,
}
