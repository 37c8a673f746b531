//! `webhook.verify`, and schemes written out.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::decode::{Field, OneOrMany};
use crate::config::units::Period;
use crate::secret::Secret;

/// How requests are authenticated: by a `provider`, by a `scheme` written out, by a `client_cert`, or
/// by `any_of` several.
#[derive(Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Verify {
    /// The name of a preset (see `hookgate providers`).
    pub provider: Option<Field<String>>,
    /// A scheme written out, for a provider without a preset.
    pub scheme: Option<Field<Scheme>>,
    /// The certificate that the sender shows in the TLS handshake.
    pub client_cert: Option<Field<ClientCert>>,
    /// Several ways, of which one must accept.
    pub any_of: Option<Field<OneOrMany<Alternative>>>,
    /// The secrets; all are tried, so that one can be rolled without losing an event.
    pub secrets: Option<Field<OneOrMany<Secret>>>,
    /// How old a signature may be. Default: the provider's.
    pub tolerance: Option<Field<Period>>,
    /// The URL that the provider calls, where it signs that.
    pub public_url: Option<Field<String>>,
    /// `false` = let everything pass, and mark and count what would have been refused.
    pub enforce: Option<Field<bool>>,
    /// What a request that is not authentic is answered. Default: 401.
    pub refused_status: Option<Field<u16>>,
}

/// One of several ways to authenticate.
#[derive(Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Alternative {
    /// The name of a preset.
    pub provider: Option<Field<String>>,
    /// A scheme written out.
    pub scheme: Option<Field<Scheme>>,
    /// The certificate that the sender shows in the TLS handshake.
    pub client_cert: Option<Field<ClientCert>>,
    /// The secrets of this way; all are tried.
    pub secrets: Option<Field<OneOrMany<Secret>>>,
    /// How old a signature may be.
    pub tolerance: Option<Field<Period>>,
}

/// Which certificates authenticate. Each is of the `client_ca` of the listener that it came to.
#[derive(Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct ClientCert {
    /// The SHA-256 of each certificate that may (in DER, as hexadecimal digits, with colons or
    /// without). Default: any.
    pub fingerprints: Option<Field<OneOrMany<String>>>,
}

/// A way of signing, in words.
#[derive(Deserialize, JsonSchema, Clone)]
#[schemars(deny_unknown_fields)]
pub struct Scheme {
    /// Where the signature stands. Default for basic and bearer: the header Authorization.
    pub signature: Option<Field<Signature>>,
    /// How it is made.
    pub algorithm: Field<Algorithm>,
    /// How a secret becomes a key. Default: its UTF-8 bytes.
    pub key: Option<Field<KeyRule>>,
    /// What is signed: text with `{body}`, `{sorted_form}`, `{ts}`, `{id}`, `{method}`, `{path}`, `{url}`,
    /// `{header:NAME}`, `{query:NAME}`, `{form:NAME}`, `{json:PATH}`. Default: `{body}`.
    pub message: Option<Field<String>>,
    /// Where the SHA-256 of the body stands in hexadecimal, when the body itself is not signed.
    pub body_hash: Option<Field<From>>,
    /// What is not there where this scheme was used: another one signs what has it.
    pub absent: Option<Field<From>>,
    /// How `{url}` is written.
    pub url: Option<Field<UrlRule>>,
    /// Where `{id}` stands.
    pub id: Option<Field<IdRule>>,
    /// When it was signed.
    pub timestamp: Option<Field<TimestampRule>>,
}

/// Where a signature stands and how it is written.
#[derive(Deserialize, JsonSchema, Clone)]
#[schemars(deny_unknown_fields)]
pub struct Signature {
    /// Where it stands.
    pub from: Field<From>,
    /// How it is written there. Default: whole.
    pub parse: Option<Field<Parse>>,
    /// How its bytes are written. Default: hex.
    pub encoding: Option<Field<Encoding>>,
    /// How the numbers of an ECDSA signature are written. Default: der.
    pub ecdsa: Option<Field<EcdsaForm>>,
}

/// Where a value stands in a request.
#[derive(Deserialize, JsonSchema, Clone, Debug)]
#[serde(rename_all = "lowercase")]
pub enum From {
    /// A header.
    Header(String),
    /// A query parameter.
    Query(String),
    /// A JSONPath in the body.
    Json(String),
    /// A parameter of a form in the body.
    Form(String),
}

/// Where a timestamp stands.
#[derive(Deserialize, JsonSchema, Clone, Debug)]
#[serde(rename_all = "lowercase")]
pub enum TimestampFrom {
    /// A header.
    Header(String),
    /// A query parameter.
    Query(String),
    /// A JSONPath in the body.
    Json(String),
    /// A key of the signature's own list.
    Signature(String),
}

/// How a signature is written where it stands.
#[derive(Deserialize, JsonSchema, Clone, Debug)]
#[serde(rename_all = "lowercase")]
pub enum Parse {
    /// The whole value.
    Whole,
    /// After a fixed text.
    Prefix(String),
    /// In a list of keys and values.
    List(ListRule),
}

/// A list of keys and values (`t=1,v1=…,v1=…`).
#[derive(Deserialize, JsonSchema, Clone, Debug)]
#[schemars(deny_unknown_fields)]
pub struct ListRule {
    /// What stands between items. Default: `,`.
    pub item_sep: Option<Field<String>>,
    /// What stands between a key and its value. Default: `=`.
    pub kv_sep: Option<Field<String>>,
    /// The key of the signatures; others are ignored.
    pub key: Field<String>,
}

/// How bytes are written.
#[derive(Deserialize, JsonSchema, Clone, Copy, Debug)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// Hexadecimal.
    Hex,
    /// Base64.
    Base64,
    /// Base64 with the URL-safe alphabet.
    Base64url,
}

/// How a signature is made.
#[derive(Deserialize, JsonSchema, Clone, Copy, Debug)]
#[serde(rename_all = "kebab-case")]
pub enum Algorithm {
    /// HMAC with SHA-1.
    #[serde(rename = "hmac-sha1")]
    HmacSha1,
    /// HMAC with SHA-256.
    #[serde(rename = "hmac-sha256")]
    HmacSha256,
    /// HMAC with SHA-384.
    #[serde(rename = "hmac-sha384")]
    HmacSha384,
    /// HMAC with SHA-512.
    #[serde(rename = "hmac-sha512")]
    HmacSha512,
    /// Ed25519, with `key.public`.
    Ed25519,
    /// ECDSA over P-256 with SHA-256, with `key.public`.
    #[serde(rename = "ecdsa-p256-sha256")]
    EcdsaP256Sha256,
    /// The secret itself stands in the request.
    Static,
    /// HTTP basic authentication; the secret is `user:password`.
    Basic,
    /// A bearer token.
    Bearer,
}

/// How a secret becomes a key.
#[derive(Deserialize, JsonSchema, Clone)]
#[schemars(deny_unknown_fields)]
pub struct KeyRule {
    /// How it is decoded. Default: utf8.
    pub encoding: Option<Field<KeyEncoding>>,
    /// How it holds a public key, for ed25519 and ecdsa-p256-sha256.
    pub public: Option<Field<PublicForm>>,
    /// What is cut off first where it is there.
    pub strip_prefix: Option<Field<String>>,
}

/// How the text of a secret becomes bytes.
#[derive(Deserialize, JsonSchema, Clone, Copy, Debug)]
#[serde(rename_all = "lowercase")]
pub enum KeyEncoding {
    /// The text's own bytes.
    Utf8,
    /// Base64.
    Base64,
    /// Hexadecimal.
    Hex,
}

/// How the text of a secret holds a public key.
#[derive(Deserialize, JsonSchema, Clone, Copy, Debug)]
#[serde(rename_all = "snake_case")]
pub enum PublicForm {
    /// The key's own bytes in hexadecimal.
    RawHex,
    /// The key's own bytes in base64.
    RawB64,
    /// A SubjectPublicKeyInfo in base64.
    SpkiB64,
    /// A SubjectPublicKeyInfo in PEM.
    Pem,
}

/// How the numbers of an ECDSA signature are written.
#[derive(Deserialize, JsonSchema, Clone, Copy, Debug)]
#[serde(rename_all = "lowercase")]
pub enum EcdsaForm {
    /// An ASN.1 sequence.
    Der,
    /// 32 bytes each.
    Raw,
}

/// How a signed URL is written.
#[derive(Deserialize, JsonSchema, Clone)]
#[schemars(deny_unknown_fields)]
pub struct UrlRule {
    /// Which ports are tried. Default: as_written.
    pub port: Option<Field<UrlPort>>,
}

/// Which ports the signed URL may have been written with.
#[derive(Deserialize, JsonSchema, Clone, Copy, Debug)]
#[serde(rename_all = "snake_case")]
pub enum UrlPort {
    /// The one of `public_url`.
    AsWritten,
    /// With a port, which may be the default one, and without.
    Either,
}

/// Where the id that is signed along stands.
#[derive(Deserialize, JsonSchema, Clone)]
#[schemars(deny_unknown_fields)]
pub struct IdRule {
    /// Where it stands.
    pub from: Field<From>,
}

/// When a signature is too old or too new.
#[derive(Deserialize, JsonSchema, Clone)]
#[schemars(deny_unknown_fields)]
pub struct TimestampRule {
    /// Where it stands.
    pub from: Field<TimestampFrom>,
    /// How it is written. Default: s.
    pub unit: Option<Field<TimeUnit>>,
    /// The greatest age. Default: 5m.
    pub max_past: Option<Field<Period>>,
    /// How far it may lie ahead of our clock. Default: 5m.
    pub max_future: Option<Field<Period>>,
}

/// The unit of a timestamp.
#[derive(Deserialize, JsonSchema, Clone, Copy, Debug)]
#[serde(rename_all = "lowercase")]
pub enum TimeUnit {
    /// Seconds since 1970.
    S,
    /// Milliseconds since 1970.
    Ms,
    /// RFC 3339.
    Rfc3339,
}
