//! Tokens: what an answer gives, and when it may be used.
//!
//! A rotated refresh token that is used and then lost shuts the source out for good. So a token that
//! was just answered is [`Renewed`], which nothing can be done with but [`Renewed::commit`]; what that
//! returns, or what is read back from the store, is a [`TokenState`], and only that one is used.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::session::{later, seconds};
use super::{AuthError, PreparedRequest};
use crate::secret::Secret;

/// The longest token, in bytes.
const TOKEN_BYTES_MAX: usize = 64 * 1024;
/// How long a token is thought to live at most: an answer that says more does not say the truth.
const LIFETIME_MAX: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// Codes of RFC 6749 and its extensions. Another is not repeated: it could be anything.
const CODES: [&str; 18] = [
    "access_denied",
    "authorization_pending",
    "consent_required",
    "expired_token",
    "insufficient_scope",
    "interaction_required",
    "invalid_client",
    "invalid_grant",
    "invalid_request",
    "invalid_scope",
    "invalid_target",
    "invalid_token",
    "login_required",
    "server_error",
    "slow_down",
    "temporarily_unavailable",
    "unauthorized_client",
    "unsupported_grant_type",
];
const CODE_OTHER: &str = "another code";

/// A request for a token, and what is needed to read its answer.
pub struct TokenRequest {
    pub(super) request: PreparedRequest,
    /// The refresh token in it.
    pub(super) refresh: Option<Secret>,
    /// The mark of the configured refresh token.
    pub(super) seed: Option<String>,
    pub(super) rotations: u64,
    pub(super) early_refresh: Duration,
}

impl TokenRequest {
    /// What is sent. It is not repeated after an unknown end: the server may have rotated the token.
    pub fn request(&self) -> &PreparedRequest {
        &self.request
    }

    /// The token that an answer gives, whatever its status.
    ///
    /// # Errors
    /// [`AuthError::Refused`] with the server's code, or [`AuthError::Answer`] when it is no answer.
    pub fn read_answer(&self, body: &Value, now: Timestamp) -> Result<Renewed, AuthError> {
        if let Some(code) = body.get("error").filter(|code| !code.is_null()) {
            let code = CODES.into_iter().find(|known| code == known);
            let code = code.unwrap_or(CODE_OTHER);
            return Err(AuthError::Refused { code });
        }
        let kind = body.get("token_type").and_then(Value::as_str);
        if kind.is_some_and(|kind| !kind.eq_ignore_ascii_case("bearer")) {
            return Err(AuthError::Answer {
                field: "token_type",
            });
        }
        let answer = |field| AuthError::Answer { field };
        let access_token = token(body, "access_token")?.ok_or(answer("access_token"))?;
        let answered = token(body, "refresh_token")?;
        let is_same = |new: &Secret| {
            let old = self.refresh.as_ref();
            old.is_some_and(|old| old.matches(new.expose().as_bytes()))
        };
        let is_rotated =
            self.refresh.is_some() && answered.as_ref().is_some_and(|new| !is_same(new));
        let lifetime = lifetime(body)?;
        // A token that lives shorter than it is renewed early would be renewed for ever.
        let renew_in = |lifetime: Duration| {
            lifetime
                .saturating_sub(self.early_refresh)
                .max(lifetime / 2)
        };
        Ok(Renewed(TokenState {
            access_token,
            expires_at: lifetime.map(|lifetime| later(now, lifetime)),
            renew_at: lifetime.map(|lifetime| later(now, renew_in(lifetime))),
            // RFC 6749, 6: without a new one the old one stays.
            refresh_token: answered.or_else(|| self.refresh.clone()),
            rotations: self.rotations.saturating_add(u64::from(is_rotated)),
            seed: self.seed.clone(),
        }))
    }
}

impl fmt::Debug for TokenRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.request.fmt(f)
    }
}

/// How long the token of an answer lives; `None` when it does not say.
fn lifetime(body: &Value) -> Result<Option<Duration>, AuthError> {
    let found = body.get("expires_in").filter(|value| !value.is_null());
    let refused = || AuthError::Answer {
        field: "expires_in",
    };
    let read = |value| seconds(value).ok_or_else(refused);
    Ok(found
        .map(read)
        .transpose()?
        .map(|life| life.min(LIFETIME_MAX)))
}

/// A token of an answer; `None` when there is none.
fn token(body: &Value, field: &'static str) -> Result<Option<Secret>, AuthError> {
    let text = match body.get(field) {
        None | Some(Value::Null) => return Ok(None),
        Some(value) => value.as_str(),
    };
    let is_token = |text: &&str| {
        let is_visible = text
            .bytes()
            .all(|byte| byte.is_ascii_graphic() || byte == b' ');
        !text.is_empty() && text.len() <= TOKEN_BYTES_MAX && is_visible
    };
    let text = text.filter(is_token).ok_or(AuthError::Answer { field })?;
    Ok(Some(Secret::new(text)))
}

/// Tokens that were answered and are not in the store yet: not to be used.
#[must_use = "a rotated refresh token that is not committed is lost"]
#[derive(Debug)]
pub struct Renewed(TokenState);

impl Renewed {
    /// Has the caller write the tokens to the state of the source, and makes them usable when that is
    /// on disk. `store` gets them as JSON, and answers after the commit.
    ///
    /// # Errors
    /// [`CommitError`] when the store cannot; it gives the tokens back, since they are nowhere else.
    pub async fn commit<E, F>(
        self,
        store: impl FnOnce(Value) -> F,
    ) -> Result<TokenState, CommitError<E>>
    where
        F: Future<Output = Result<(), E>>,
    {
        let json = match serde_json::to_value(&self.0) {
            Ok(json) => json,
            Err(_) => return Err(CommitError::Unwritable(self)),
        };
        match store(json).await {
            Ok(()) => Ok(self.0),
            Err(error) => Err(CommitError::Store {
                renewed: self,
                error,
            }),
        }
    }

    /// Both tokens, to be masked in logs.
    pub fn secrets(&self) -> impl Iterator<Item = Secret> {
        self.0.secrets()
    }
}

/// Why tokens are not in the store.
#[derive(Debug, thiserror::Error)]
pub enum CommitError<E> {
    /// The store cannot write them now.
    #[error("the tokens cannot be stored: {error}")]
    Store {
        /// The tokens, to try again.
        renewed: Renewed,
        /// What the store says.
        error: E,
    },
    /// They cannot be written as JSON.
    #[error("the tokens cannot be written as JSON")]
    Unwritable(Renewed),
}

/// Committed tokens. Serialised they are secrets.
#[derive(Clone, Serialize, Deserialize)]
pub struct TokenState {
    #[serde(serialize_with = "exposed")]
    access_token: Secret,
    #[serde(default, with = "instant")]
    expires_at: Option<Timestamp>,
    #[serde(default, with = "instant")]
    renew_at: Option<Timestamp>,
    #[serde(default, serialize_with = "exposed_option")]
    pub(super) refresh_token: Option<Secret>,
    /// How often the server has put a new refresh token in the place of an old one.
    #[serde(default)]
    pub(super) rotations: u64,
    /// The mark of the configured refresh token that these descend from.
    #[serde(default)]
    pub(super) seed: Option<String>,
}

impl TokenState {
    /// Whether it is to be renewed before it is used.
    pub fn is_due(&self, now: Timestamp) -> bool {
        self.renew_at.is_some_and(|due| now >= due)
    }

    /// When the token ends; `None` = the server does not say.
    pub fn expires_at(&self) -> Option<Timestamp> {
        self.expires_at
    }

    /// How often the server has put a new refresh token in the place of an old one.
    pub fn rotations(&self) -> u64 {
        self.rotations
    }

    /// Both tokens, to be masked in logs.
    pub fn secrets(&self) -> impl Iterator<Item = Secret> {
        let tokens = [Some(&self.access_token), self.refresh_token.as_ref()];
        tokens.into_iter().flatten().cloned()
    }

    pub(super) fn expose(&self) -> &str {
        self.access_token.expose()
    }
}

impl fmt::Debug for TokenState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenState")
            .field("expires_at", &self.expires_at)
            .field("renew_at", &self.renew_at)
            .field("rotations", &self.rotations)
            .finish_non_exhaustive()
    }
}

fn exposed<S: serde::Serializer>(secret: &Secret, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(secret.expose())
}

fn exposed_option<S: serde::Serializer>(
    secret: &Option<Secret>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    secret.as_ref().map(Secret::expose).serialize(serializer)
}

/// A time as a text in RFC 3339.
pub(super) mod instant {
    use jiff::Timestamp;
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

    pub(in super::super) fn serialize<S: Serializer>(
        time: &Option<Timestamp>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        time.map(|time| time.to_string()).serialize(serializer)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Timestamp>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        let parse = |text: String| text.parse().map_err(de::Error::custom);
        text.map(parse).transpose()
    }
}
