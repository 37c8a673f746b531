//! `webhook.verify`, and schemes written out.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::decode::{Entries, Field, OneOrMany};
use crate::config::units::{Period, Window};
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
    /// What else the provider needs (`hookgate providers NAME` says what).
    pub options: Option<Field<Entries<String>>>,
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
    /// What is signed: text with pieces such as `{body}`, `{ts}`, `{url}` and `{header:NAME}`. What stands
    /// in `[…]` is left out where a piece in it is not there. Default: `{body}`.
    pub message: Option<Field<String>>,
    /// The provider signs a few fields only, and the message has no body.
    pub unsigned_body: Option<Field<bool>>,
    /// What a token must say, for the algorithm jwt.
    pub jwt: Option<Field<JwtRule>>,
    /// What stands in the request where this scheme was used, in the words of a message.
    pub when: Option<Field<When>>,
    /// A JSONPath: each of its matches is signed by itself, and `$` is the match in this scheme.
    pub for_each: Option<Field<String>>,
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

/// What stands in a request.
#[derive(Deserialize, JsonSchema, Clone)]
#[schemars(deny_unknown_fields)]
pub struct When {
    /// Headers and their values.
    pub header: Option<Field<Entries<String>>>,
    /// Query parameters and their values.
    pub query: Option<Field<Entries<String>>>,
    /// JSONPaths and their values.
    pub json: Option<Field<Entries<String>>>,
    /// Parameters of a form and their values.
    pub form: Option<Field<Entries<String>>>,
}

/// What a token must say.
#[derive(Deserialize, JsonSchema, Clone)]
#[schemars(deny_unknown_fields)]
pub struct JwtRule {
    /// The algorithms that are taken (HS256, RS256, ES256, EdDSA …).
    pub algorithms: Field<OneOrMany<String>>,
    /// Who issued it; `{key_id}` for the id of the key.
    pub issuer: Option<Field<String>>,
    /// Whom it is for, in the words of a message.
    pub audience: Option<Field<String>>,
    /// Where the SHA-256 of the body stands in it.
    pub body_hash: Option<Field<ClaimHash>>,
    /// The claim with the SHA-256 of the public URL in hexadecimal.
    pub url_hash: Option<Field<String>>,
    /// How far the clocks may differ for its own times. Default: 5s.
    pub leeway: Option<Field<Period>>,
}

/// A claim with the SHA-256 of the body.
#[derive(Deserialize, JsonSchema, Clone)]
#[schemars(deny_unknown_fields)]
pub struct ClaimHash {
    /// Its name.
    pub claim: Field<String>,
    /// How the hash is written. Default: hex.
    pub encoding: Option<Field<Encoding>>,
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
    /// Every header whose name is this text with a number behind it.
    #[serde(rename = "header_family")]
    HeaderFamily(String),
    /// A JSONPath in the JSON that a parameter of a form holds.
    #[serde(rename = "form_json")]
    FormJson(FormJson),
    /// A text put together from several places, in the words of a message.
    Template(String),
}

/// A value in the JSON that a parameter of a form holds.
#[derive(Deserialize, JsonSchema, Clone, Debug)]
#[schemars(deny_unknown_fields)]
pub struct FormJson {
    /// The parameter.
    pub field: Field<String>,
    /// The JSONPath in it.
    pub path: Field<String>,
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
    /// A parameter of a form in the body.
    Form(String),
    /// A key of the signature's own list.
    Signature(String),
    /// A claim of a token.
    Claim(String),
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
    /// In several such lists, each with a time of its own.
    Sets(SetsRule),
    /// The time first, and signatures behind it.
    Positional(PositionalRule),
}

/// Several lists of keys and values (`t=1,v1=… t=2,v1=…`).
#[derive(Deserialize, JsonSchema, Clone, Debug)]
#[schemars(deny_unknown_fields)]
pub struct SetsRule {
    /// What stands between lists. Default: a space.
    pub set_sep: Option<Field<String>>,
    /// What stands between items. Default: `,`.
    pub item_sep: Option<Field<String>>,
    /// What stands between a key and its value. Default: `=`.
    pub kv_sep: Option<Field<String>>,
    /// The key of the signatures; others are ignored.
    pub key: Field<String>,
}

/// The time first, and signatures behind it (`1700000000,…,…`).
#[derive(Deserialize, JsonSchema, Clone, Debug)]
#[schemars(deny_unknown_fields)]
pub struct PositionalRule {
    /// What stands between them. Default: `,`.
    pub sep: Option<Field<String>>,
}

/// A list of keys and values (`t=1,v1=…,v1=…`).
#[derive(Deserialize, JsonSchema, Clone, Debug)]
#[schemars(deny_unknown_fields)]
pub struct ListRule {
    /// What stands between items. Default: `,`.
    pub item_sep: Option<Field<String>>,
    /// What stands between a key and its value. Default: `=`.
    pub kv_sep: Option<Field<String>>,
    /// The key of the signatures; others are ignored. `{key_id}` for the id of the key that each was made
    /// with.
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
    /// HMAC with MD5.
    #[serde(rename = "hmac-md5")]
    HmacMd5,
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
    /// MD5 of a message with the secret in it.
    #[serde(rename = "hash-md5")]
    HashMd5,
    /// SHA-1 of a message with the secret in it.
    #[serde(rename = "hash-sha1")]
    HashSha1,
    /// SHA-256 of a message with the secret in it.
    #[serde(rename = "hash-sha256")]
    HashSha256,
    /// SHA-512 of a message with the secret in it.
    #[serde(rename = "hash-sha512")]
    HashSha512,
    /// RSA with PKCS#1 v1.5 padding and SHA-1, with `key.public`.
    #[serde(rename = "rsa-pkcs1-sha1")]
    RsaSha1,
    /// The same with SHA-256.
    #[serde(rename = "rsa-pkcs1-sha256")]
    RsaSha256,
    /// The same with SHA-512.
    #[serde(rename = "rsa-pkcs1-sha512")]
    RsaSha512,
    /// A JSON Web Token, with `jwt`.
    Jwt,
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
    /// How it holds a public key, for ed25519, ecdsa-p256-sha256, rsa-pkcs1 and jwt.
    pub public: Option<Field<PublicForm>>,
    /// What is cut off first where it is there.
    pub strip_prefix: Option<Field<String>>,
    /// The key is this hash of the secret.
    pub derive: Option<Field<Derive>>,
    /// Where the request names its key; a secret is then written `id:secret`.
    pub id: Option<Field<KeyId>>,
}

/// A hash that a key is made with.
#[derive(Deserialize, JsonSchema, Clone, Copy, Debug)]
#[serde(rename_all = "lowercase")]
pub enum Derive {
    /// SHA-1.
    Sha1,
    /// SHA-256.
    Sha256,
}

/// Where a request names the key that it was signed with.
#[derive(Deserialize, JsonSchema, Clone, Debug)]
#[serde(rename_all = "lowercase")]
pub enum KeyId {
    /// In a header.
    Header(String),
    /// Before each signature of a list.
    List,
    /// In a token, as its issuer.
    Issuer,
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
    /// The bytes of the text in Unicode's form NFKD.
    #[serde(rename = "utf8_nfkd")]
    Utf8Nfkd,
}

/// How the text of a secret holds a public key, or where the provider publishes it.
#[derive(Deserialize, JsonSchema, Clone, Debug)]
#[serde(rename_all = "snake_case")]
pub enum PublicForm {
    /// A set of keys (JWKS) at an address of the provider.
    Jwks(String),
    /// A certificate at an address that the request names.
    Certificate(CertificateAt),
    /// The key's own bytes in hexadecimal.
    RawHex,
    /// The key's own bytes in base64.
    RawB64,
    /// A SubjectPublicKeyInfo in base64.
    SpkiB64,
    /// A SubjectPublicKeyInfo in PEM.
    Pem,
}

/// A certificate at an address that the request names.
#[derive(Deserialize, JsonSchema, Clone, Debug)]
#[schemars(deny_unknown_fields)]
pub struct CertificateAt {
    /// Where the request names it.
    pub from: Field<From>,
    /// The hosts that it may be at; `*` stands for one label of a name.
    pub hosts: Field<OneOrMany<String>>,
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
    /// Percent-encoded characters that are signed as themselves (`%3A`).
    pub decode: Option<Field<OneOrMany<String>>>,
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
    pub max_past: Option<Field<Window>>,
    /// How far it may lie ahead of our clock. Default: 5m.
    pub max_future: Option<Field<Window>>,
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
    /// A date as HTTP writes it.
    #[serde(rename = "http_date")]
    HttpDate,
}
