//! `routes.NAME.deliver`.

use std::num::NonZeroU32;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;

use super::verify::From;
use crate::config::decode::{Entries, Field, OneOrMany, Template, TextOr};
use crate::config::units::Period;
use crate::secret::Secret;

/// Where events go.
#[derive(Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Deliver {
    /// The name of a backend.
    pub to: Field<String>,
    /// How: `proxy` = the sender gets the backend's own answer; `queue` = the sender is answered as
    /// soon as the event is on disk; `spill` = the backend's answer if it is good and in time,
    /// otherwise as `queue`. Default: proxy.
    pub mode: Option<Field<Mode>>,
    /// The path the backend gets; `{name}` and `{*}` stand for what the webhook's path captured.
    /// Default: the sender's path.
    pub path: Option<Field<String>>,
    /// Headers to set, or with `null` to remove, for the backend.
    pub headers: Option<Field<Entries<Option<String>>>>,
    /// Which events it gets: an expression over `body`, `raw`, `headers`, `query` and `event`
    /// (`body.type == 'paid'`). Default: all.
    pub when: Option<Field<Template>>,
    /// Events of one value here arrive one after the other: a JSONPath (`$.account`),
    /// `header:NAME`, `{header: NAME}` or `{query: NAME}`. Default: no order.
    pub order_key: Option<Field<TextOr<From>>>,
    /// What the events behind one that fails do: `block` = wait until it has arrived or is given
    /// up, `park` = wait until it has arrived or somebody has looked after it, `skip` = go past it.
    /// Default: block.
    pub order: Option<Field<Order>>,
    /// What the backend gets instead of the original body: a text with `${{ … }}` over `body`,
    /// `raw`, `headers`, `query` and `event`.
    pub transform: Option<Field<Transform>>,
    /// Signs each attempt anew, as a provider does.
    pub sign: Option<Field<Sign>>,
    /// Several events in one request, as a JSON array of their bodies.
    pub batch: Option<Field<Batch>>,
    /// How long after its acceptance an event is of no use any more: a length of time, or an expression
    /// over what `when` sees, like `${{ '150s' if item.callback_query else '24h' }}`. Default: never.
    pub expire: Option<Field<Template>>,
    /// What the backend takes for the provider itself: the form of what a poll has found, the provider's
    /// signature (`sign.secret`), and what counts as arrived. Default: raw, the item as JSON.
    pub profile: Option<Field<Profile>>,
    /// With `profile: telegram`, the backend that methods in the answers to updates are sent to
    /// (`url: https://api.telegram.org/bot${{ secret.NAME }}`). Default: answers are only noted.
    pub replies: Option<Field<String>>,
    /// Statuses to try again on, besides 408, 409, 425, 429 and 5xx: numbers (`404`) or classes
    /// (`4xx`). A 410 is always final.
    #[serde(default)]
    #[schemars(schema_with = "statuses")]
    pub retry_on: Option<Field<OneOrMany<String>>>,
}

/// A number is read as the text that it is written with.
fn statuses(_: &mut SchemaGenerator) -> Schema {
    let status = json_schema!({"type": ["string", "integer"], "pattern": "^[345]([0-9]{2}|xx)$"});
    json_schema!({"anyOf": [status, {"type": "array", "items": status}]})
}

/// What a backend takes for the provider itself.
#[derive(Deserialize, JsonSchema, Debug, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Profile {
    /// The item as JSON.
    Raw,
    /// `{type, timestamp, data}` (standardwebhooks.com).
    StandardWebhooks,
    /// A Telegram update.
    Telegram,
    /// An event of VK's Callback API, with `sign.secret` in it; the backend answers `ok`.
    VkCallback,
    /// A Stripe event.
    Stripe,
    /// A GitHub event, as far as the list of events tells it.
    Github,
}

/// How events are delivered.
#[derive(Deserialize, JsonSchema, Debug, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// The sender gets the backend's own answer.
    Proxy,
    /// The sender is answered as soon as the event is on disk.
    Queue,
    /// The backend's answer if it is good and in time, otherwise as `queue`.
    Spill,
}

/// What the events behind one that fails do.
#[derive(Deserialize, JsonSchema, Debug, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// They wait until it has arrived or is given up.
    Block,
    /// They wait until it has arrived or somebody has looked after it.
    Park,
    /// They go past it.
    Skip,
}

/// What the backend gets instead of the original body.
#[derive(Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Transform {
    /// The body. Where the Content-Type is JSON, values are escaped as they must be between
    /// quotes (`"${{ body.name }}"`), lists and mappings are written as JSON, and what is not JSON
    /// as a whole is not sent.
    pub body: Field<Template>,
    /// Its Content-Type. Default: the original's.
    pub content_type: Option<Field<String>>,
}

/// How each attempt is signed anew.
#[derive(Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Sign {
    /// The provider whose signature the backend knows (`hookgate providers`). Default: that of
    /// `profile`.
    pub provider: Option<Field<String>>,
    /// The secret that the backend knows; several while it is rolled, each of which then signs.
    pub secret: Field<OneOrMany<Secret>>,
    /// The URL to sign, where the provider signs one.
    pub public_url: Option<Field<String>>,
    /// What else the provider signs (`hookgate providers NAME` says what).
    pub options: Option<Field<Entries<String>>>,
}

/// Several events in one request.
#[derive(Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Batch {
    /// The most events.
    pub max: Field<NonZeroU32>,
    /// How long the first waits for others. Default: 1s.
    pub wait: Option<Field<Period>>,
}
