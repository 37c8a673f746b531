//! `routes.NAME`.

use schemars::JsonSchema;
use serde::Deserialize;

use super::limits::{Dedup, RateLimit};
use super::verify::Verify;
use crate::config::decode::{Entries, Field, OneOrMany};
use crate::config::units::Size;
use crate::secret::Secret;

/// Where events come from, how they are checked, where they go.
#[derive(Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Route {
    /// How webhooks come in.
    pub webhook: Field<Webhook>,
    /// How events are told apart, so that the same one reaches the backend once.
    pub dedup: Option<Field<Dedup>>,
    /// Where events go.
    pub deliver: Field<Deliver>,
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
    /// Addresses or ranges that may send; `provider` for the ranges the provider publishes.
    /// Default: all.
    pub allow: Option<Field<OneOrMany<String>>>,
    /// Addresses or ranges that may not send, whatever `allow` says.
    pub deny: Option<Field<OneOrMany<String>>>,
    /// The most bytes of a body. Default: 5MiB.
    pub body_max: Option<Field<Size>>,
    /// How requests are authenticated. A route without it passes everything on.
    pub verify: Option<Field<Verify>>,
    /// How many requests may come; one rule or several.
    pub rate_limit: Option<Field<OneOrMany<RateLimit>>>,
    /// What the provider's handshake needs.
    pub handshake: Option<Field<Handshake>>,
}

/// What the provider's handshake needs.
#[derive(Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Handshake {
    /// The token that was agreed on with the provider.
    pub verify_token: Option<Field<Secret>>,
}

/// Where events go.
#[derive(Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Deliver {
    /// The name of a backend.
    pub to: Field<String>,
    /// How: `proxy` = the sender gets the backend's own answer. Default: proxy.
    pub mode: Option<Field<Mode>>,
    /// The path the backend gets; `{name}` and `{*}` stand for what the webhook's path captured.
    /// Default: the sender's path.
    pub path: Option<Field<String>>,
    /// Headers to set, or with `null` to remove, for the backend.
    pub headers: Option<Field<Entries<Option<String>>>>,
}

/// How events are delivered.
#[derive(Deserialize, JsonSchema, Debug, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// The sender gets the backend's own answer.
    Proxy,
}
