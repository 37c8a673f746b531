//! `routes.NAME`.

use std::num::NonZeroU64;

use schemars::{JsonSchema, Schema};
use serde::Deserialize;
use serde_json::json;

use super::deliver::Deliver;
use super::inbox::Inbox;
use super::limits::{Dedup, RateLimit};
use super::poll::Poll;
use super::verify::Verify;
use crate::config::decode::{Field, OneOrMany};
use crate::config::units::Size;
use crate::secret::Secret;

/// Where events come from, how they are checked, where they go.
#[derive(Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields, transform = has_deliver_or_inbox)]
pub struct Route {
    /// How webhooks come in. A route has this, `poll`, or both: then a poll finds what no webhook has
    /// brought.
    pub webhook: Option<Field<Webhook>>,
    /// How a provider is asked for what is new.
    pub poll: Option<Field<Poll>>,
    /// How events are told apart, so that the same one reaches the backend once.
    pub dedup: Option<Field<Dedup>>,
    /// Where events go: to one backend, or to each of a list. At most one of a list is not
    /// `mode: queue`.
    pub deliver: Option<Field<OneOrMany<Deliver>>>,
    /// Where events wait for who cannot be reached, beside `deliver` or instead of it.
    pub inbox: Option<Field<Inbox>>,
    /// The most deliveries of this route that may wait. Default: only `store.depth_max`.
    pub depth_max: Option<Field<NonZeroU64>>,
}

/// Events go somewhere.
fn has_deliver_or_inbox(schema: &mut Schema) {
    let either = json!([{"required": ["deliver"]}, {"required": ["inbox"]}]);
    schema.insert("anyOf".to_owned(), either);
}

/// How webhooks come in.
#[derive(Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Webhook {
    /// The path: exact, with `{name}` segments, or ending in `/*`.
    pub path: Field<String>,
    /// The host, `*.domain` for all below a domain, or a list. Default: any host.
    pub host: Option<Field<OneOrMany<String>>>,
    /// The methods. Default: POST, and GET where the provider's handshake needs it.
    pub methods: Option<Field<OneOrMany<String>>>,
    /// Addresses or ranges that may send; `provider` for the ranges the provider publishes
    /// (which are fetched where they change),
    /// `feed.NAME` for those of a list that is fetched (`feeds`). Default: all.
    pub allow: Option<Field<OneOrMany<String>>>,
    /// Addresses or ranges that may not send, whatever `allow` says.
    pub deny: Option<Field<OneOrMany<String>>>,
    /// The most bytes of a body. Default: 5MiB.
    pub body_max: Option<Field<Size>>,
    /// The most bytes of a refused request's body that the log of events keeps. One whose body is
    /// there as a whole can be judged again, when a secret was mended for instance. Default: 0.
    pub refused_body: Option<Field<Size>>,
    /// How requests are authenticated. A route without it passes everything on.
    pub verify: Option<Field<Verify>>,
    /// How many requests may come; one rule or several.
    pub rate_limit: Option<Field<OneOrMany<RateLimit>>>,
    /// What the provider's handshake needs.
    pub handshake: Option<Field<Handshake>>,
    /// What senders are answered when their event is on disk (`mode: queue` and `spill`).
    pub respond: Option<Field<Respond>>,
}

/// What the provider's handshake needs.
#[derive(Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Handshake {
    /// The token that was agreed on with the provider.
    pub verify_token: Option<Field<Secret>>,
    /// What the provider wants to hear of an address that it is told of (VK). Without it, the backend is
    /// asked.
    pub confirmation: Option<Field<String>>,
}

/// What senders are answered when their event is on disk.
#[derive(Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Respond {
    /// To a new event. Default: 202 without a body.
    pub accepted: Option<Field<Reply>>,
    /// To an event that was accepted before. Default: 200 without a body.
    pub duplicate: Option<Field<Reply>>,
}

/// An answer to a sender.
#[derive(Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Reply {
    /// The status, from 200 to 299.
    pub status: Option<Field<u16>>,
    /// The body. Default: none.
    pub body: Option<Field<String>>,
    /// The Content-Type of the body. Default: text/plain; charset=utf-8.
    pub content_type: Option<Field<String>>,
}
