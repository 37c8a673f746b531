//! `poll.request`, and every other request to a provider.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::decode::{Entries, Field, OneOrMany, Template, Tree};
use crate::config::units::{Period, Size};

/// Names and values: a list stands for the name repeated. What is `null`, or an expression without
/// a value, is left out.
pub type Parameters = Entries<Option<OneOrMany<Template>>>;

/// A request to a provider. Its values may hold `${{ … }}`.
#[derive(Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Request {
    /// The method. Default: GET.
    pub method: Option<Field<String>>,
    /// The URL. Its host stands in this file or comes from `session`, never out of an item.
    pub url: Field<Template>,
    /// Parameters behind the URL. A list repeats the name; `null`, or an expression without a value,
    /// leaves it out.
    pub query: Option<Field<Parameters>>,
    /// Headers. `null`, or an expression without a value, leaves one out.
    pub headers: Option<Field<Entries<Option<Template>>>>,
    /// The body: one of `json`, `form` and `raw`. Default: none.
    pub body: Option<Field<Body>>,
    /// The most time until the answer is whole. Default: 15s, or 10s more than `long_poll.wait`.
    pub timeout: Option<Field<Period>>,
    /// The most bytes of an answer. Default: 16MiB.
    pub max_body: Option<Field<Size>>,
    /// Whether an answer is asked for only if it is another than the one before (ETag,
    /// Last-Modified). Default: auto.
    pub conditional: Option<Field<Conditional>>,
    /// Which redirections are followed. Default: same_origin.
    pub redirects: Option<Field<Redirects>>,
    /// Hosts besides the one of `url` that a session, a redirection or a link to the next page may
    /// lead to; `*.domain` for all below a domain. Default: none.
    pub allow_hosts: Option<Field<OneOrMany<String>>>,
    /// How the connection is secured, for https.
    pub tls: Option<Field<RequestTls>>,
}

/// The body of a request.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Body {
    /// JSON. A value that is one `${{ … }}` keeps its type, and is left out where it has no value.
    Json(Field<Tree>),
    /// A form.
    Form(Parameters),
    /// A text.
    Raw(Field<Template>),
}

/// Whether an answer is asked for only if it is another than the one before.
#[derive(Deserialize, JsonSchema, Debug, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Conditional {
    /// When the provider says by what to tell: a 304 is a success without items.
    Auto,
    /// Never.
    Off,
}

/// Which redirections are followed.
#[derive(Deserialize, JsonSchema, Debug, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Redirects {
    /// Those within the same scheme, host and port, and to `allow_hosts`.
    SameOrigin,
    /// None.
    None,
    /// All. Credentials go to the same origin and to `allow_hosts` only.
    Any,
}

/// How the connection to a provider is secured.
#[derive(Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct RequestTls {
    /// A PEM file of authorities to trust besides the system's, relative to this file.
    pub ca: Option<Field<String>>,
    /// A PEM file with the certificate that the gateway shows.
    pub cert: Option<Field<String>>,
    /// A PEM file with that certificate's private key.
    pub key: Option<Field<String>>,
    /// The name that the provider's certificate must carry. Default: the URL's host.
    pub server_name: Option<Field<String>>,
}
