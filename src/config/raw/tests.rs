//! `tests`: sample requests and what must be decided about them.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::decode::{Entries, Field};
use crate::config::units::Period;
use crate::secret::Secret;

/// A sample request and what must be decided about it.
#[derive(Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct RouteTest {
    /// What it shows.
    pub name: Field<String>,
    /// The request.
    pub request: Field<SampleRequest>,
    /// What must be decided.
    pub expect: Field<Expectation>,
}

/// A request.
#[derive(Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct SampleRequest {
    /// The method. Default: POST.
    pub method: Option<Field<String>>,
    /// The path and query, or a whole URL.
    pub url: Field<String>,
    /// The headers.
    pub headers: Option<Field<Entries<String>>>,
    /// The body. Default: empty.
    pub body: Option<Field<String>>,
    /// The sender's address. Default: 127.0.0.1.
    pub from: Option<Field<String>>,
    /// The SHA-256 of the certificate that the sender shows. Default: it shows none.
    pub client_cert: Option<Field<String>>,
    /// The moment of judging (RFC 3339). Default: now.
    pub at: Option<Field<String>>,
    /// Sign it as the route's provider would.
    pub sign: Option<Field<Sign>>,
}

/// How a sample is signed.
#[derive(Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Sign {
    /// How long ago. Default: 0s.
    pub age: Option<Field<Period>>,
    /// With which secret. Default: the route's first.
    pub secret: Option<Field<Secret>>,
}

/// What must be decided; what is not written may be anything.
#[derive(Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Expectation {
    /// `accepted`, `refused` or `handshake`.
    pub verdict: Field<ExpectedVerdict>,
    /// The route.
    pub route: Option<Field<String>>,
    /// The reason of a refusal, as in the metrics.
    pub reason: Option<Field<String>>,
    /// The status of a refusal or of a handshake's answer.
    pub status: Option<Field<u16>>,
    /// The event's id.
    pub event_id: Option<Field<String>>,
    /// The event's type.
    pub event_type: Option<Field<String>>,
    /// The path and query that the backend would get.
    pub backend_path: Option<Field<String>>,
}

/// A verdict.
#[derive(Deserialize, JsonSchema, Debug, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum ExpectedVerdict {
    /// Passed on.
    Accepted,
    /// Turned away.
    Refused,
    /// Answered by the gateway.
    Handshake,
}
