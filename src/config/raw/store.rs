//! `store`.

use std::num::NonZeroU64;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::decode::{Field, OneOrMany};
use crate::config::units::{Period, Size};
use crate::secret::Secret;

/// Where events are kept until they have arrived, and remembered afterwards.
#[derive(Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Store {
    /// A folder, relative to this file. Default: data.
    pub path: Option<Field<String>>,
    /// The most deliveries that may wait, over all routes. Default: 1000000.
    pub depth_max: Option<Field<NonZeroU64>>,
    /// The most bytes of the store; beyond, the oldest events that have arrived are forgotten, and
    /// when there are none left nothing is accepted. Default: 10GiB.
    pub size_max: Option<Field<Size>>,
    /// Bytes of page cache. Default: 64MiB.
    pub cache: Option<Field<Size>>,
    /// Secrets that headers and bodies are sealed with on disk (XChaCha20-Poly1305): the first seals,
    /// all of them open. Each of 16 characters or more. Default: nothing is sealed.
    pub encryption: Option<Field<OneOrMany<Secret>>>,
    /// How long events are remembered that have arrived. Default: 7d.
    pub keep: Option<Field<Period>>,
    /// How long events are remembered that were given up. Default: as long as `keep`.
    pub keep_dead: Option<Field<Period>>,
    /// How long requests are remembered that were refused. Default: as long as `keep`.
    pub keep_refused: Option<Field<Period>>,
    /// How long the attempts for an event are remembered. Default: as long as `keep`.
    pub keep_attempts: Option<Field<Period>>,
    /// How many bytes of heads, bodies and answers are remembered of each class, within `size_max`.
    pub keep_bytes: Option<Field<KeepBytes>>,
}

/// How many bytes are remembered of each class; beyond, its oldest are forgotten.
#[derive(Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct KeepBytes {
    /// Of events that have arrived. Default: no limit.
    pub delivered: Option<Field<Size>>,
    /// Of events that were given up. Default: no limit.
    pub dead: Option<Field<Size>>,
    /// Of requests that were refused. Default: no limit.
    pub refused: Option<Field<Size>>,
    /// Of the answers to attempts. Default: no limit.
    pub attempts: Option<Field<Size>>,
}
