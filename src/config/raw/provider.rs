//! `conf/providers/NAME.yaml`: what is known about a provider.

use schemars::JsonSchema;
use serde::Deserialize;

use super::verify::{From, Scheme};
use crate::config::decode::{Entries, Field, OneOrMany};

/// What is known about a provider.
#[derive(Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Provider {
    /// The name people use.
    pub title: Field<String>,
    /// What kind of provider it is.
    pub category: Field<String>,
    /// Where the provider documents its signatures.
    pub docs: Field<String>,
    /// What an operator should know.
    pub notes: Option<Field<String>>,
    /// The ways it signs; one that accepts is enough.
    pub schemes: Field<OneOrMany<Scheme>>,
    /// Where the id and the type of an event stand.
    pub event: Option<Field<EventRule>>,
    /// How it asks whether an address is ours.
    pub handshakes: Option<Field<OneOrMany<HandshakeRule>>>,
    /// The address ranges it publishes.
    pub addresses: Option<Field<OneOrMany<String>>>,
    /// A realistic event.
    pub sample: Field<Sample>,
    /// Genuine requests, and what must be decided about them.
    pub vectors: Field<OneOrMany<Vector>>,
}

/// Where the id and the type of an event stand; the first place that has one counts.
#[derive(Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct EventRule {
    /// The id that is the same when the provider sends an event again.
    pub id: Option<Field<OneOrMany<From>>>,
    /// The type.
    #[serde(rename = "type")]
    pub event_type: Option<Field<OneOrMany<From>>>,
}

/// One handshake.
#[derive(Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct HandshakeRule {
    /// The method it comes with.
    pub method: Field<String>,
    /// Query parameters and their values.
    pub query: Option<Field<Entries<String>>>,
    /// JSONPaths and their values.
    pub json: Option<Field<Entries<String>>>,
    /// JSONPaths that hold no text, number or boolean: what has one of them is an event.
    pub absent: Option<Field<OneOrMany<String>>>,
    /// Where `webhook.handshake.verify_token` stands; without it the signature is required.
    pub verify_token: Option<Field<From>>,
    /// The status of the answer. Default: 200.
    pub status: Option<Field<u16>>,
    /// The media type of the answer. Default: text/plain.
    pub content_type: Option<Field<String>>,
    /// The body of the answer, in the words of a scheme's message.
    pub body: Field<String>,
}

/// A realistic event, unsigned.
#[derive(Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Sample {
    /// A secret of the right form.
    pub secret: Field<String>,
    /// The headers it comes with.
    pub headers: Field<Entries<String>>,
    /// The URL that it is sent to, where that is signed.
    pub public_url: Option<Field<String>>,
    /// The body.
    pub body: Field<String>,
}

/// A genuine request, and what must be decided about it.
#[derive(Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Vector {
    /// What it shows.
    pub name: Field<String>,
    /// Who made it.
    pub source: Field<String>,
    /// The secret it was signed with.
    pub secret: Field<String>,
    /// The moment of judging, in seconds since 1970.
    pub now: Field<i64>,
    /// The method. Default: POST.
    pub method: Option<Field<String>>,
    /// Path and query. Default: /hooks/in.
    pub target: Option<Field<String>>,
    /// The URL that the provider has, where it signs that.
    pub public_url: Option<Field<String>>,
    /// The headers.
    pub headers: Field<Entries<String>>,
    /// The body.
    pub body: Field<String>,
    /// The event's id, where it has one.
    pub event_id: Option<Field<String>>,
    /// The event's type, where it has one.
    pub event_type: Option<Field<String>>,
    /// `accepted`, or the reason of the refusal. Default: accepted.
    pub expect: Option<Field<String>>,
}
