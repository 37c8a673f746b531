//! `server`, `admin` and `log`.

use std::num::NonZeroU32;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::decode::{Field, OneOrMany, TextOr};
use crate::config::units::{Period, Size, Throughput};
use crate::secret::Secret;

/// Where webhooks are taken, and the limits of their connections.
#[derive(Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Server {
    /// An address and port (`0.0.0.0:8080`, `[::]:8080`) or a unix socket (`unix:/run/hookgate.sock`),
    /// alone or as `address` with what else is special about it, or a list of them.
    /// Default: 127.0.0.1:8080.
    pub listen: Option<Field<OneOrMany<TextOr<Listen>>>>,
    /// Addresses or ranges of the proxies that may say, through X-Forwarded-For or the PROXY
    /// protocol, whom they speak for; `unix` for whoever connects through a unix socket.
    /// Default: none.
    pub trusted_proxies: Option<Field<OneOrMany<String>>>,
    /// How much there may be of what senders can make us hold.
    pub limits: Option<Field<Limits>>,
    /// The most time that a sender may take.
    pub timeout: Option<Field<Timeouts>>,
    /// How long requests in flight may take to finish when the gateway stops. Default: 30s.
    pub drain: Option<Field<Period>>,
    /// Worker threads. Default: one for each core.
    pub threads: Option<Field<u16>>,
}

/// A listener.
#[derive(Deserialize, JsonSchema, Debug)]
#[schemars(deny_unknown_fields)]
pub struct Listen {
    /// An address and port or a unix socket.
    pub address: Field<String>,
    /// Whether each connection begins with a header of the PROXY protocol (version 1 or 2) from one
    /// of `trusted_proxies`; all others are closed. Default: false.
    pub proxy_protocol: Option<Field<bool>>,
    /// Whether connections are encrypted (TLS 1.2 and 1.3). Default: they are not.
    pub tls: Option<Field<ListenTls>>,
}

/// What a listener shows in a TLS handshake, and what it asks for. Renewed by a reload.
#[derive(Deserialize, JsonSchema, Debug)]
#[schemars(deny_unknown_fields)]
pub struct ListenTls {
    /// A PEM file with the listener's certificate, and behind it those of the authorities between.
    pub cert: Field<String>,
    /// A PEM file with the certificate's private key.
    pub key: Field<String>,
    /// A PEM file with the authorities that issue certificates to clients. Default: clients are not
    /// asked for one.
    pub client_ca: Option<Field<String>>,
    /// `require` = who shows no certificate of `client_ca` is not let in; `request` = who shows none is,
    /// and routes decide (`verify: {client_cert: {}}`). Default: require.
    pub client_cert: Option<Field<ClientCertMode>>,
}

/// Whether a client must show a certificate.
#[derive(Deserialize, JsonSchema, Debug, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum ClientCertMode {
    /// It must.
    Require,
    /// It may.
    Request,
}

/// How much there may be of what senders can make us hold.
#[derive(Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Limits {
    /// Connections. One more is closed at once. Default: 20000.
    pub connections: Option<Field<NonZeroU32>>,
    /// Connections of one address (version 6 by /64) that is not among `trusted_proxies`.
    /// Default: 200.
    pub connections_per_address: Option<Field<NonZeroU32>>,
    /// Requests on one HTTP/1 connection before it is closed. Default: 1000.
    pub requests_per_connection: Option<Field<NonZeroU32>>,
    /// Bytes of a request's head, at most 1023KiB. Default: 64KiB.
    pub head_bytes: Option<Field<Size>>,
    /// Headers of a request, at most 256. Default: 100.
    pub headers: Option<Field<NonZeroU32>>,
    /// How fast a body comes, at least, from five seconds after its beginning on.
    /// Default: 1KiB/s.
    pub body_rate_min: Option<Field<Throughput>>,
}

/// The most time that a sender may take.
#[derive(Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Timeouts {
    /// For the head of a request. Default: 10s.
    pub head: Option<Field<Period>>,
    /// For a whole body. Default: 30s.
    pub body: Option<Field<Period>>,
    /// Between two pieces of a body. Default: 10s.
    pub piece: Option<Field<Period>>,
    /// Between two requests on one connection. Default: 60s.
    pub idle: Option<Field<Period>>,
    /// For taking one piece of an answer. Default: 10s.
    pub write: Option<Field<Period>>,
    /// For a whole request, from its head to the end of its answer, the backend's time included.
    /// Default: 60s.
    pub request: Option<Field<Period>>,
}

/// Where metrics and health are told.
#[derive(Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Admin {
    /// An address and port or a unix socket; `off` for none. Default: 127.0.0.1:9464.
    pub listen: Option<Field<String>>,
    /// Who may ask the API. Without tokens, only whoever is on this machine may; with them,
    /// everybody needs one.
    pub tokens: Option<Field<OneOrMany<Token>>>,
}

/// What lets somebody ask the API.
#[derive(Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Token {
    /// Who has it; stands in the list of what was done.
    pub name: Field<String>,
    /// The token, of 16 characters or more.
    pub token: Field<Secret>,
    /// What it is good for. Default: read.
    pub access: Option<Field<TokenAccess>>,
}

/// What a token is good for.
#[derive(Deserialize, JsonSchema, Debug, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum TokenAccess {
    /// To look.
    Read,
    /// To look and to change: replay, cancel, pause.
    Full,
}

/// How requests are logged: one line each, on standard error.
#[derive(Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Log {
    /// `human`, `json`, or `auto`: human on a terminal, else json. Default: auto.
    pub format: Option<Field<LogFormat>>,
    /// Request headers to show. Default: none.
    pub headers: Option<Field<OneOrMany<String>>>,
    /// Headers of which only the presence is shown, besides those that always carry secrets
    /// (Authorization, Cookie, the headers of static tokens). In the log of events, too.
    pub redact: Option<Field<OneOrMany<String>>>,
    /// What is hidden of JSON bodies where the log of events is shown (JSONPath). What is delivered
    /// is the original.
    pub redact_body: Option<Field<OneOrMany<String>>>,
}

/// The form of a log line.
#[derive(Deserialize, JsonSchema, Debug, Clone, Copy, PartialEq, Eq, Default)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Human on a terminal, else JSON.
    #[default]
    Auto,
    /// For people.
    Human,
    /// One JSON object a line.
    Json,
}
