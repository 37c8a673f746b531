//! `poll.auth` and `poll.session`.

use schemars::JsonSchema;
use serde::Deserialize;

use super::request::Request;
use crate::config::decode::{
    Entries, Field, OneOrMany, SecretTemplate, Template, TemplateOr, TextOr,
};
use crate::config::units::Period;

/// How requests to a provider are authenticated.
#[derive(Deserialize, JsonSchema)]
#[serde(rename = "Auth by type", rename_all = "snake_case")]
#[schemars(rename = "Auth", tag = "type", deny_unknown_fields)]
pub enum Auth {
    /// Not at all.
    None,
    /// By a token in the header Authorization.
    Bearer(Bearer),
    /// By a name and a password (HTTP basic authentication).
    Basic(Basic),
    /// By a key in a header, a query parameter or a cookie.
    ApiKey(ApiKey),
    /// By an access token that an OAuth 2 server gives.
    Oauth2(Box<Oauth2>),
    /// By what `session` has brought.
    Session(SessionAuth),
    /// By a signature over each request.
    Hmac(Box<Hmac>),
}

/// A token in the header Authorization.
#[derive(Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Bearer {
    /// The token.
    pub token: Field<SecretTemplate>,
}

/// A name and a password.
#[derive(Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Basic {
    /// The name.
    pub username: Field<SecretTemplate>,
    /// The password. Default: empty.
    pub password: Option<Field<SecretTemplate>>,
}

/// A key in a header, a query parameter or a cookie.
#[derive(Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct ApiKey {
    /// The name of the header, the parameter or the cookie.
    pub name: Field<String>,
    /// The key, with what stands before it (`Token ${{ secret.NAME }}`).
    pub value: Field<SecretTemplate>,
    /// Where it stands. Default: header.
    #[serde(rename = "in")]
    pub place: Option<Field<KeyPlace>>,
}

/// Where a key stands.
#[derive(Deserialize, JsonSchema, Debug, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum KeyPlace {
    /// In a header.
    Header,
    /// In a query parameter.
    Query,
    /// In a cookie.
    Cookie,
}

/// An access token that an OAuth 2 server gives.
#[derive(Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Oauth2 {
    /// What it is given for.
    pub grant: Field<Grant>,
    /// The URL that gives it.
    pub token_url: Field<Template>,
    /// The id of the client.
    pub client_id: Field<Template>,
    /// The secret of the client. Default: none, for a client that has none.
    pub client_secret: Option<Field<SecretTemplate>>,
    /// The first refresh token, for `grant: refresh_token`. One that the server sends instead is
    /// kept with the source, and used from then on.
    pub refresh_token: Option<Field<SecretTemplate>>,
    /// The name of the user, for `grant: password`.
    pub username: Option<Field<SecretTemplate>>,
    /// The password of the user, for `grant: password`.
    pub password: Option<Field<SecretTemplate>>,
    /// What the token is to be good for. Default: what the server chooses.
    pub scopes: Option<Field<OneOrMany<String>>>,
    /// How the client shows its id and secret. Default: basic.
    pub auth_style: Option<Field<AuthStyle>>,
    /// Further parameters of the request for a token, like `audience`.
    pub params: Option<Field<Entries<Template>>>,
    /// How long before its end a token is replaced. Default: 60s.
    pub early_refresh: Option<Field<Period>>,
}

/// What an access token is given for.
#[derive(Deserialize, JsonSchema, Debug, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Grant {
    /// For the client's own id and secret.
    ClientCredentials,
    /// For a refresh token that a user has once agreed to.
    RefreshToken,
    /// For a user's name and password.
    Password,
}

/// How a client shows its id and secret.
#[derive(Deserialize, JsonSchema, Debug, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum AuthStyle {
    /// In the header Authorization.
    Basic,
    /// As `client_id` and `client_secret` in the body.
    Body,
}

/// What `session` has brought.
#[derive(Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct SessionAuth {
    /// Where it is put. What else the session has brought can stand in `request` itself.
    pub inject: Field<Inject>,
}

/// A value and its place in a request: one of `header`, `query` and `cookie`.
#[derive(Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Inject {
    /// The name of a header.
    pub header: Option<Field<String>>,
    /// The name of a query parameter.
    pub query: Option<Field<String>>,
    /// The name of a cookie.
    pub cookie: Option<Field<String>>,
    /// The value (`${{ session.token }}`).
    pub value: Field<SecretTemplate>,
}

/// A signature over each request.
#[derive(Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Hmac {
    /// The hash. Default: sha256.
    pub algorithm: Option<Field<HashName>>,
    /// The secret that is signed with.
    pub secret: Field<SecretTemplate>,
    /// What is signed: a text with `${{ … }}` over `method`, `url`, `path`, `body` and `now`.
    pub message: Field<Template>,
    /// How the signature is written. Default: hex.
    pub encoding: Option<Field<SignatureEncoding>>,
    /// The header that carries the signature alone.
    pub header: Option<Field<String>>,
    /// Headers with `${{ signature }}` or what was signed along with it (`${{ now | unix }}`).
    pub headers: Option<Field<Entries<Template>>>,
}

/// How a signature is written.
#[derive(Deserialize, JsonSchema, Debug, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum SignatureEncoding {
    /// In hexadecimal, with small letters.
    Hex,
    /// In base64.
    Base64,
}

/// A hash by its name.
#[derive(Deserialize, JsonSchema, Debug, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum HashName {
    /// SHA-1.
    Sha1,
    /// SHA-256.
    Sha256,
    /// SHA-512.
    Sha512,
}

/// A request that comes before the others. What it brings is `${{ session.NAME }}` in them.
#[derive(Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Session {
    /// The request: a URL to GET, or the whole request.
    pub request: Field<TemplateOr<Request>>,
    /// What is taken from its answer: names and JSONPaths.
    pub extract: Field<Entries<String>>,
    /// How long it is good for: a length of time, or where the answer says so (`{from: JSONPATH}`).
    /// Default: until the provider refuses it.
    pub ttl: Option<Field<TextOr<TtlFrom>>>,
}

/// Where an answer says how long it is good for.
#[derive(Deserialize, JsonSchema, Debug)]
#[schemars(deny_unknown_fields)]
pub struct TtlFrom {
    /// A JSONPath to a number of seconds or a time.
    pub from: Field<String>,
}
