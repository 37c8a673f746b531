//! What `auth:` adds to a request, and which requests for tokens go before it.
//!
//! Pure: a request for a token is data that the caller sends, and its answer is data that the
//! caller brings back. Where tokens and sessions are kept, and when a refused one is renewed, is not
//! decided here. (`jwt` is not there yet.)

mod hmac;
mod oauth2;
mod request;
mod session;
#[cfg(test)]
mod tests;
mod token;

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, COOKIE, HeaderName};

pub use self::hmac::{Algorithm, Encoding, HmacAuth};
pub use self::oauth2::{Client, ClientAuth, Extras, Grant, Oauth2};
pub use self::request::PreparedRequest;
pub use self::session::{Session, SessionState, Ttl};
pub use self::token::{CommitError, Renewed, TokenRequest, TokenState};

use crate::expr::scoped::{ExprError, Scope, ValueTemplate};

/// How a source proves who it is.
#[derive(Debug, Default)]
pub enum Auth {
    /// It does not.
    #[default]
    None,
    /// `Authorization: Bearer …`.
    Bearer(Credential),
    /// `Authorization: Basic …`.
    Basic {
        /// The name.
        username: Credential,
        /// The password, which may be empty.
        password: Credential,
    },
    /// A value under a name, of its own or out of the session.
    Key {
        /// Where.
        place: Place,
        /// The value.
        value: Credential,
    },
    /// `Authorization: Bearer …` with a token that is fetched before.
    Oauth2(Oauth2),
    /// A signature of the request.
    Hmac(HmacAuth),
}

/// A template whose value is a secret, or whose text may be one.
pub struct Credential(ValueTemplate);

impl Credential {
    /// Hides a template.
    pub fn new(template: ValueTemplate) -> Self {
        Self(template)
    }

    /// The value.
    ///
    /// # Errors
    /// [`AuthError`] when it has none: a request without credentials must not look like one with them.
    fn reveal(&self, name: &'static str, scope: &Scope) -> Result<String, AuthError> {
        let value = self.0.text(scope);
        let value = value.map_err(|error| AuthError::Expression { name, error })?;
        value.ok_or(AuthError::Missing { name })
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Where a key stands in a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In a header.
    Header(HeaderName),
    /// In the query.
    Query(String),
    /// In a cookie.
    Cookie(CookieName),
}

impl Place {
    /// A header of this name.
    ///
    /// # Errors
    /// [`AuthFault::Header`] when it is none.
    pub fn header(name: &str) -> Result<Self, AuthFault> {
        header_name(name).map(Self::Header)
    }

    /// A cookie of this name.
    ///
    /// # Errors
    /// [`AuthFault::Cookie`] when it is none.
    pub fn cookie(name: &str) -> Result<Self, AuthFault> {
        // A cookie's name is a token, as a header's is (RFC 6265).
        let is_name = HeaderName::from_bytes(name.as_bytes()).is_ok();
        let refused = || AuthFault::Cookie(name.to_owned());
        let name = is_name.then(|| CookieName(name.to_owned()));
        name.map(Self::Cookie).ok_or_else(refused)
    }
}

/// The name of a cookie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CookieName(String);

/// Why an authentication cannot be used, in words about the file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthFault {
    /// No header has this name.
    #[error("`{0}` is not the name of a header")]
    Header(String),
    /// No cookie has this name.
    #[error("`{0}` is not the name of a cookie")]
    Cookie(String),
    /// A parameter that the grant writes itself.
    #[error("the parameter `{0}` is written by the grant")]
    Reserved(String),
    /// There are too many.
    #[error("there are more than {max} {what}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// The limit.
        max: usize,
    },
    /// Nothing would carry the signature.
    #[error("no header carries the signature: one must use `${{{{ signature }}}}`")]
    Unsigned,
    /// A session that ends at once would be renewed for ever.
    #[error("a session lives for more than no time")]
    NoTime,
}

/// Why a request has no credentials. Never holds a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// It has no value.
    #[error("`{name}` has no value")]
    Missing {
        /// The key of the file.
        name: &'static str,
    },
    /// It cannot be evaluated.
    #[error("`{name}`: {error}")]
    Expression {
        /// The key of the file.
        name: &'static str,
        /// Why.
        error: ExprError,
    },
    /// A value cannot stand in a header.
    #[error("the value for the header `{name}` cannot stand in one")]
    HeaderValue {
        /// The header.
        name: String,
    },
    /// A value cannot stand in a cookie.
    #[error("the value for the cookie cannot stand in one")]
    CookieValue,
    /// A colon ends the name.
    #[error("`username` holds a colon, which would end it")]
    Colon,
    /// The URL is none.
    #[error("the URL of the request is none")]
    Url,
    /// The key cannot be used.
    #[error("the key cannot sign")]
    Key,
    /// No token was fetched and committed.
    #[error("there is no token yet")]
    NoToken,
    /// The token server said no.
    #[error("the token server refuses with `{code}`")]
    Refused {
        /// The code of RFC 6749, or of one of its extensions.
        code: &'static str,
    },
    /// The answer lacks something.
    #[error("the answer of the token server has no usable `{field}`")]
    Answer {
        /// The field.
        field: &'static str,
    },
    /// The answer to the login lacks something.
    #[error("the answer to the login has nothing for `{name}`")]
    Login {
        /// The name under `extract`, or `ttl`.
        name: String,
    },
    /// The answer to the login has a value that is too long.
    #[error("the answer to the login has too long a value for `{name}`")]
    LongLogin {
        /// The name under `extract`.
        name: String,
    },
}

impl Auth {
    /// Whether tokens are given for it, each of which is on disk before it is used.
    pub fn gets_tokens(&self) -> bool {
        matches!(self, Self::Oauth2(_))
    }

    /// Adds the credentials to a request that is complete but for them.
    ///
    /// # Errors
    /// [`AuthError`] when there are none, or they cannot be added; the request is not to be sent.
    pub fn apply(
        &self,
        request: &mut PreparedRequest,
        scope: &Scope,
        token: Option<&TokenState>,
    ) -> Result<(), AuthError> {
        match self {
            Self::None => Ok(()),
            Self::Bearer(token) => bearer(request, &token.reveal("token", scope)?),
            Self::Basic { username, password } => {
                let username = username.reveal("username", scope)?;
                if username.contains(':') {
                    return Err(AuthError::Colon);
                }
                let password = password.reveal("password", scope)?;
                basic(request, &username, &password)
            }
            Self::Key { place, value } => key(request, place, value.reveal("value", scope)?),
            Self::Oauth2(_) => {
                let token = token.ok_or(AuthError::NoToken)?;
                bearer(request, token.expose())
            }
            Self::Hmac(hmac) => hmac.apply(request, scope),
        }
    }
}

fn bearer(request: &mut PreparedRequest, token: &str) -> Result<(), AuthError> {
    request.set_header(&AUTHORIZATION, format!("Bearer {token}"))
}

fn basic(request: &mut PreparedRequest, name: &str, password: &str) -> Result<(), AuthError> {
    let encoded = STANDARD.encode(format!("{name}:{password}"));
    request.set_header(&AUTHORIZATION, format!("Basic {encoded}"))
}

fn key(request: &mut PreparedRequest, place: &Place, value: String) -> Result<(), AuthError> {
    match place {
        Place::Header(name) => request.set_header(name, value),
        Place::Query(name) => {
            request.set_query(name, value);
            Ok(())
        }
        Place::Cookie(name) => cookie(request, name, &value),
    }
}

fn cookie(request: &mut PreparedRequest, name: &CookieName, value: &str) -> Result<(), AuthError> {
    // What RFC 6265 allows without quotes.
    let is_allowed =
        |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b',' | b';' | b'\\');
    if !value.bytes().all(is_allowed) {
        return Err(AuthError::CookieValue);
    }
    let prefix = format!("{}=", name.0);
    let lines = request.headers.iter();
    let others = lines.filter(|(name, _)| name.eq_ignore_ascii_case(COOKIE.as_str()));
    let pairs = others.flat_map(|(_, value)| value.split(';').map(str::trim));
    let mut pairs: Vec<String> = pairs
        .filter(|pair| !pair.is_empty() && !pair.starts_with(&prefix))
        .map(str::to_owned)
        .collect();
    pairs.push(format!("{prefix}{value}"));
    request.set_header(&COOKIE, pairs.join("; "))
}

fn header_name(name: &str) -> Result<HeaderName, AuthFault> {
    HeaderName::from_bytes(name.as_bytes()).map_err(|_| AuthFault::Header(name.to_owned()))
}
