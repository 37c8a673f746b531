//! `backends.NAME`.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::decode::{Field, OneOrMany};
use crate::config::units::Period;

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
