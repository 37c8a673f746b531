//! `backends.NAME`.

use std::num::NonZeroU32;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::decode::{Field, OneOrMany, TextOr};
use crate::config::units::{Period, Rate, Size};

/// An application behind the gateway.
#[derive(Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Backend {
    /// Its URL, or a list of URLs of equal instances, used in turn. Scheme and path must be the
    /// same in all of them; the path stands before the path of every request.
    pub url: Field<OneOrMany<String>>,
    /// How patient the gateway is.
    pub timeout: Option<Field<BackendTimeouts>>,
    /// What it gets as Host. Default: what the sender wrote.
    pub host_header: Option<Field<String>>,
    /// How its certificate is checked, for https.
    pub tls: Option<Field<BackendTls>>,
    /// How its health is asked. Default: by connecting, if there are several URLs.
    pub health: Option<Field<Health>>,
    /// How queued deliveries are tried again.
    pub retry: Option<Field<Retry>>,
    /// The most queued deliveries that are tried at once. Default: 32.
    pub concurrency: Option<Field<NonZeroU32>>,
    /// The most attempts for queued deliveries in how long (`100/s`). Default: no limit.
    pub rate: Option<Field<Rate>>,
    /// When it is left alone after failures, or `off`.
    pub breaker: Option<Field<TextOr<Breaker>>>,
    /// How much of the body of an answer is kept with an attempt, up to 64KiB. Default: 4KiB.
    pub answer_max: Option<Field<Size>>,
}

/// How queued deliveries are tried again.
#[derive(Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Retry {
    /// The most attempts. Default: 12.
    pub attempts: Option<Field<NonZeroU32>>,
    /// The pauses between them.
    pub backoff: Option<Field<Backoff>>,
    /// How long after its acceptance an event is given up. Default: 3d.
    pub give_up_after: Option<Field<Period>>,
    /// Whether a backend may ask for longer pauses.
    pub retry_after: Option<Field<RetryAfter>>,
}

/// The pauses between attempts.
#[derive(Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Backoff {
    /// The first pause. Default: 5s.
    pub base: Option<Field<Period>>,
    /// How many times as long each next one is, from 1 to 100. Default: 3.
    pub factor: Option<Field<f64>>,
    /// The longest pause. Default: 6h.
    pub max: Option<Field<Period>>,
    /// `full` = chance takes any part of a pause, so that what failed together does not come back
    /// together; `none` = the whole pause. Default: full.
    pub jitter: Option<Field<Jitter>>,
}

/// Whether chance shortens pauses.
#[derive(Deserialize, JsonSchema, Debug, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Jitter {
    /// Any part of them.
    Full,
    /// The whole pause.
    None,
}

/// Whether a backend may ask for longer pauses.
#[derive(Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct RetryAfter {
    /// Whether `Retry-After` is honoured. Default: true.
    pub honour: Option<Field<bool>>,
    /// The most it may ask for. Default: 1h.
    pub max: Option<Field<Period>>,
}

/// When a backend is left alone.
#[derive(Deserialize, JsonSchema, Debug)]
#[schemars(deny_unknown_fields)]
pub struct Breaker {
    /// After how many failures in a row (no answer, or 5xx). Default: 10.
    pub failures: Option<Field<NonZeroU32>>,
    /// For how long. Default: 30s.
    pub open: Option<Field<Period>>,
    /// How many attempts then show whether it is well. Default: 1.
    pub probes: Option<Field<NonZeroU32>>,
}

/// How patient the gateway is with a backend.
#[derive(Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct BackendTimeouts {
    /// For a connection, TLS included. Default: 2s.
    pub connect: Option<Field<Period>>,
    /// Until the answer begins, and between two pieces of it. Default: 10s.
    pub response: Option<Field<Period>>,
    /// How long an unused connection is kept; shorter than the backend keeps it. Default: 30s.
    pub idle: Option<Field<Period>>,
}

/// How a backend's certificate is checked.
#[derive(Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct BackendTls {
    /// A PEM file of authorities to trust instead of the system's, relative to this file.
    pub ca: Option<Field<String>>,
    /// The name the certificate must carry. Default: the URL's host.
    pub server_name: Option<Field<String>>,
}

/// How a backend's health is asked.
#[derive(Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Health {
    /// A path that answers 200 when all is well. Default: a connection is enough.
    pub path: Option<Field<String>>,
    /// The time between two questions. Default: 5s.
    pub interval: Option<Field<Period>>,
    /// The most time for an answer. Default: 1s.
    pub timeout: Option<Field<Period>>,
    /// How many failures in a row make it unhealthy. Default: 3.
    pub failures: Option<Field<u8>>,
}
