//! `poll.schedule`.

use std::num::NonZeroU32;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::decode::Field;
use crate::config::units::{Period, Spread};

/// When the provider is asked: by one of `interval`, `cron` and `long_poll`.
#[derive(Deserialize, JsonSchema, Default)]
#[schemars(deny_unknown_fields)]
pub struct Schedule {
    /// The pause after the end of the poll before. Default: 60s.
    pub interval: Option<Field<Period>>,
    /// Five fields (minute, hour, day, month, weekday) or six with the second before them, like
    /// `*/5 8-20 * * mon-fri`.
    pub cron: Option<Field<String>>,
    /// The time zone of `cron`, by its IANA name. Default: UTC.
    pub timezone: Option<Field<String>>,
    /// What happens when the time of `cron` has passed while nothing could be asked. Default: skip.
    pub missed: Option<Field<Missed>>,
    /// The provider holds a request until there is something new, and is asked again at once.
    pub long_poll: Option<Field<LongPoll>>,
    /// By how much chance moves each poll, so that sources do not all ask at once: a share of the
    /// interval (`10%`) or a length of time. Default: 10%.
    pub jitter: Option<Field<Spread>>,
    /// Asks less often while nothing comes, and more often while something does.
    pub adaptive: Option<Field<Adaptive>>,
    /// Whether the next poll follows at once while the provider has more. Default: true.
    pub drain: Option<Field<bool>>,
    /// The most time for a whole poll, all its pages included; what was committed by then is kept.
    /// Default: 45s, or longer where one request may take longer.
    pub timeout: Option<Field<Period>>,
}

/// What happens when the time of a poll has passed.
#[derive(Deserialize, JsonSchema, Debug, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Missed {
    /// The next time is waited for.
    Skip,
    /// One poll is made at once, however many were missed.
    RunOnce,
}

/// How long the provider holds a request.
#[derive(Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct LongPoll {
    /// How long it holds one at most; shorter than `request.timeout`. Default: 25s.
    pub wait: Option<Field<Period>>,
    /// The shortest time between the beginnings of two requests. Default: 200ms.
    pub min_gap: Option<Field<Period>>,
}

/// How the interval follows what comes.
#[derive(Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Adaptive {
    /// The shortest interval, taken as soon as there is something new. Default: 5s.
    pub min: Option<Field<Period>>,
    /// The longest. Default: 10m.
    pub max: Option<Field<Period>>,
    /// After how many polls in a row without anything new it grows. Default: 3.
    pub idle_after: Option<Field<NonZeroU32>>,
    /// How many times as long each next one is. Default: 2.
    pub factor: Option<Field<f64>>,
}
