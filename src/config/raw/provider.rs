//! `conf/providers/NAME.yaml`: what is known about a provider.

use schemars::JsonSchema;
use serde::Deserialize;

use super::feed::Feed;
use super::verify::{From, Scheme};
use crate::config::decode::{Entries, Field, OneOrMany};
use crate::config::units::Period;

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
    /// What must be configured besides secrets (`verify.options`), by name, and what that is.
    pub options: Option<Field<Entries<String>>>,
    /// The ways it signs; one that accepts is enough.
    pub schemes: Option<Field<OneOrMany<Scheme>>>,
    /// What else proves that a request is its own; for providers without `schemes`.
    pub proof: Option<Field<Proof>>,
    /// Why its requests cannot be checked here, and what to do instead.
    pub unsupported: Option<Field<String>>,
    /// Where the id and the type of an event stand.
    pub event: Option<Field<EventRule>>,
    /// How it asks whether an address is ours.
    pub handshakes: Option<Field<OneOrMany<HandshakeRule>>>,
    /// What it insists on hearing.
    pub reply: Option<Field<Replies>>,
    /// How long it waits for an answer.
    pub deadline: Option<Field<Period>>,
    /// The address ranges it publishes.
    pub addresses: Option<Field<OneOrMany<String>>>,
    /// Where it publishes ranges that change.
    pub feed: Option<Field<Feed>>,
    /// A realistic event.
    pub sample: Option<Field<Sample>>,
    /// Genuine requests, and what must be decided about them.
    pub vectors: Option<Field<OneOrMany<Vector>>>,
}

/// What proves that a request is a provider's own, if nothing in it does.
#[derive(Deserialize, JsonSchema, Clone, Copy, Debug)]
#[serde(rename_all = "lowercase")]
pub enum Proof {
    /// The address that it comes from.
    Address,
    /// Nothing.
    Nothing,
}

/// What a provider insists on hearing.
#[derive(Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Replies {
    /// Once an event is on disk.
    pub accepted: Option<Field<Reply>>,
    /// Of a request that is not authentic.
    pub refused: Option<Field<Reply>>,
}

/// An answer to a provider.
#[derive(Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Reply {
    /// The status.
    pub status: Field<u16>,
    /// The media type of the body. Default: text/plain.
    pub content_type: Option<Field<String>>,
    /// The body, in the words of a scheme's message. Default: none.
    pub body: Option<Field<String>>,
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
    /// Headers and their values.
    pub header: Option<Field<Entries<String>>>,
    /// Places that hold something, whatever it is.
    pub present: Option<Field<OneOrMany<From>>>,
    /// JSONPaths that hold no text, number or boolean: what has one of them is an event.
    pub absent: Option<Field<OneOrMany<String>>>,
    /// Where `webhook.handshake.verify_token` stands.
    pub verify_token: Option<Field<From>>,
    /// What authenticates it, where that is no `verify_token`. Default: the signature.
    pub require: Option<Field<Require>>,
    /// The status of the answer. Default: 200.
    pub status: Option<Field<u16>>,
    /// The media type of the answer. Default: text/plain.
    pub content_type: Option<Field<String>>,
    /// An address in it that is to be visited before it is answered.
    pub visit: Option<Field<Visit>>,
    /// A secret in it that is to be kept for the operator.
    pub keep: Option<Field<From>>,
    /// Headers of the answer, in the words of a scheme's message.
    pub headers: Option<Field<Entries<String>>>,
    /// The body of the answer, in the words of a scheme's message.
    pub body: Field<String>,
}

/// An address that is to be visited.
#[derive(Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Visit {
    /// Where it stands.
    pub from: Field<From>,
    /// The hosts that it may be at; `*` stands for one label of a name.
    pub hosts: Field<OneOrMany<String>>,
}

/// What authenticates a handshake.
#[derive(Deserialize, JsonSchema, Clone, Copy, Debug)]
#[serde(rename_all = "lowercase")]
pub enum Require {
    /// The signature, as for any event.
    Signature,
    /// Nothing: the provider shows nothing that could be checked.
    Nothing,
}

/// A realistic event, unsigned.
#[derive(Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Sample {
    /// A secret of the right form.
    pub secret: Option<Field<String>>,
    /// The headers it comes with.
    pub headers: Field<Entries<String>>,
    /// The URL that it is sent to, where that is signed.
    pub public_url: Option<Field<String>>,
    /// What else was agreed on, where the provider needs it.
    pub options: Option<Field<Entries<String>>>,
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
    /// What else was agreed on with it.
    pub options: Option<Field<Entries<String>>>,
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
