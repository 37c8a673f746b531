//! `poll.rate_limit` and `poll.retry`.

use std::num::NonZeroU32;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::decode::{Field, OneOrMany};
use crate::config::raw::backend::{Jitter, RetryAfter};
use crate::config::units::{Percent, Period, Rate};

/// How many requests a provider may get.
#[derive(Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct SourceLimit {
    /// A name: all sources with the same name share what is allowed. Default: the source's own.
    pub budget: Option<Field<String>>,
    /// How many in how long (`60/min`), or a list of which all are kept (`[10/s, 5000/h]`).
    /// Default: no limit.
    pub rate: Option<Field<OneOrMany<Rate>>>,
    /// How many at once. Default: as many as there are `partitions` at once, else 1.
    pub concurrency: Option<Field<NonZeroU32>>,
    /// Whether the provider may ask for longer pauses.
    pub retry_after: Option<Field<RetryAfter>>,
    /// The headers in which the provider says how much is left.
    pub headers: Option<Field<LimitHeaders>>,
    /// A header with the shortest time between two polls in seconds (`X-Poll-Interval`), or
    /// `cache-control` for its max-age. Default: none.
    pub min_interval_header: Option<Field<String>>,
}

/// The headers in which a provider says how much is left.
#[derive(Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct LimitHeaders {
    /// The one with the number of requests that are left.
    pub remaining: Option<Field<String>>,
    /// The one that says when there will be more.
    pub reset: Option<Field<String>>,
    /// How `reset` is written. Default: auto.
    pub reset_as: Option<Field<ResetAs>>,
    /// How much is left for others: asking ends when no more than this share remains.
    /// Default: 10%.
    pub reserve: Option<Field<Percent>>,
}

/// How the time of a reset is written.
#[derive(Deserialize, JsonSchema, Debug, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum ResetAs {
    /// As it looks: a small number is a pause, a large one a time.
    Auto,
    /// Seconds from now.
    Seconds,
    /// Seconds since 1970.
    Unix,
    /// Milliseconds since 1970.
    UnixMs,
}

/// How requests are tried again within one poll.
#[derive(Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
#[schemars(rename = "PollRetry")]
pub struct Retry {
    /// The most attempts for one request. Default: 4.
    pub attempts: Option<Field<NonZeroU32>>,
    /// The pauses between them. Default: from 1s to 60s, each twice as long as the one before, cut
    /// short by chance.
    pub backoff: Option<Field<Backoff>>,
}

/// The pauses between attempts, or between polls that failed.
#[derive(Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
#[schemars(rename = "PollBackoff")]
pub struct Backoff {
    /// The first pause. Default: 1s between attempts, 5s between polls.
    pub base: Option<Field<Period>>,
    /// How many times as long each next one is, from 1 to 100. Default: 2.
    pub factor: Option<Field<f64>>,
    /// The longest pause. Default: 60s between attempts, 30m between polls.
    pub max: Option<Field<Period>>,
    /// `full` = chance takes any part of a pause; `none` = the whole pause. Default: full.
    pub jitter: Option<Field<Jitter>>,
}
