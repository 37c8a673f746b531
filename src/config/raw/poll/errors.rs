//! `poll.errors` and `poll.on_error`.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;

use super::limits::Backoff;
use crate::config::decode::{Entries, Field, OneOrMany, Template};

/// What some answers mean.
#[derive(Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct ErrorRule {
    /// Which answers.
    pub when: Field<When>,
    /// What is done.
    #[serde(rename = "do")]
    pub action: Field<Action>,
    /// How long is waited first: a length of time, with `${{ … }}` or without. Default: what
    /// `retry`, `rate_limit` or `on_error` say.
    pub wait: Option<Field<Template>>,
    /// The cursor to go on with, for `set_cursor` and `renew_session`: an expression over `body`,
    /// `headers` and `session`.
    pub cursor: Option<Field<Template>>,
    /// Whether it means that events were lost at the provider; it is counted and logged.
    /// Default: false.
    pub gap: Option<Field<bool>>,
    /// What the operator is told.
    pub note: Option<Field<String>>,
}

/// Which answers; all that is written must hold.
#[derive(Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct When {
    /// Their status: numbers (`404`) or classes (`5xx`).
    #[serde(default)]
    #[schemars(schema_with = "statuses")]
    pub status: Option<Field<OneOrMany<String>>>,
    /// An expression over `body`, `headers` and `status` that holds (`body.code == 'BUSY'`).
    pub body: Option<Field<Template>>,
    /// Headers and the values that they have.
    pub header: Option<Field<Entries<String>>>,
    /// A text that stands in their body, whatever that is.
    pub body_contains: Option<Field<String>>,
    /// Why there is no answer; nothing else can hold then.
    pub network: Option<Field<Network>>,
}

/// A number is read as the text that it is written with.
fn statuses(_: &mut SchemaGenerator) -> Schema {
    let status = json_schema!({"type": ["string", "integer"], "pattern": "^[1-5]([0-9]{2}|xx)$"});
    json_schema!({"anyOf": [status, {"type": "array", "items": status}]})
}

/// Why there is no answer.
#[derive(Deserialize, JsonSchema, Debug, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Network {
    /// For any reason.
    Any,
    /// It did not come in time.
    Timeout,
    /// No connection could be made.
    Connect,
    /// A connection was made, but not a secure one.
    Tls,
    /// The host has no address.
    Dns,
    /// The connection broke, or what came was no HTTP.
    Broken,
}

/// What is done about an answer.
#[derive(Deserialize, JsonSchema, Debug, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// The request is tried again, as `retry` says.
    Retry,
    /// The source waits as the provider asks, and no failure is counted.
    RateLimited,
    /// `session` is asked for again, then the request is.
    RenewSession,
    /// A new access token is asked for, then the request is tried again.
    RenewToken,
    /// It is a success without items.
    Empty,
    /// The cursor becomes what `cursor` says.
    SetCursor,
    /// The cursor is forgotten: `cursor.on_lost` says where polling goes on.
    Restart,
    /// The source waits for somebody.
    Pause,
    /// The poll has failed.
    Fail,
}

/// What happens after a poll that failed.
#[derive(Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct OnError {
    /// The pauses before the next one; they outlast a restart. Default: from 5s to 30m, each twice
    /// as long as the one before.
    pub backoff: Option<Field<Backoff>>,
    /// After how many failures in a row the source is paused; 0 = never. Default: 0.
    pub pause_after: Option<Field<u32>>,
}
