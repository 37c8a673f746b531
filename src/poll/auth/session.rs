//! What is taken from the answer to a login, and how long it is good for.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use serde_json_path::JsonPath;

use super::{AuthError, AuthFault};
use crate::expr::scoped::{Name, Scope};
use crate::secret::Secret;

/// The most values of a session.
const EXTRACTS_MAX: usize = 32;
/// The longest value of a session, as JSON, in bytes.
const VALUE_BYTES_MAX: usize = 64 * 1024;
/// The shortest value that is masked in logs, in bytes: tokens are longer, counters are shorter.
const SECRET_BYTES_MIN: usize = 16;

/// How a session is read from the answer to its login.
#[derive(Debug, Clone)]
pub struct Session {
    extract: Vec<(String, JsonPath)>,
    ttl: Ttl,
}

/// How long a session is good for.
#[derive(Debug, Clone)]
pub enum Ttl {
    /// Until it is refused.
    UntilRefused,
    /// So long from the login.
    Fixed(Duration),
    /// As the answer says: in seconds, or until a time in RFC 3339.
    From(JsonPath),
}

impl Session {
    /// Takes values by name.
    ///
    /// # Errors
    /// [`AuthFault`] when there are too many, or the session would end at once.
    pub fn new(extract: Vec<(String, JsonPath)>, ttl: Ttl) -> Result<Self, AuthFault> {
        if extract.len() > EXTRACTS_MAX {
            return Err(AuthFault::TooMany {
                what: "values of a session",
                max: EXTRACTS_MAX,
            });
        }
        if matches!(ttl, Ttl::Fixed(ttl) if ttl.is_zero()) {
            return Err(AuthFault::NoTime);
        }
        Ok(Self { extract, ttl })
    }

    /// The session that an answer begins.
    ///
    /// # Errors
    /// [`AuthError::Login`] when a selector finds nothing or null, [`AuthError::LongLogin`] when it
    /// finds too much.
    pub fn read_answer(&self, body: &Value, now: Timestamp) -> Result<SessionState, AuthError> {
        let values = self.extract.iter().map(|(name, path)| {
            let found = path.query(body).first().filter(|value| !value.is_null());
            let login = || AuthError::Login { name: name.clone() };
            let value = found.ok_or_else(login)?;
            match value.to_string().len() {
                ..=VALUE_BYTES_MAX => Ok((name.clone(), value.clone())),
                _ => Err(AuthError::LongLogin { name: name.clone() }),
            }
        });
        Ok(SessionState {
            values: values.collect::<Result<_, AuthError>>()?,
            expires_at: self.expires_at(body, now)?,
        })
    }

    fn expires_at(&self, body: &Value, now: Timestamp) -> Result<Option<Timestamp>, AuthError> {
        let path = match &self.ttl {
            Ttl::UntilRefused => return Ok(None),
            Ttl::Fixed(ttl) => return Ok(Some(later(now, *ttl))),
            Ttl::From(path) => path,
        };
        let found = path.query(body).first();
        let seconds = found.and_then(seconds).map(|ttl| later(now, ttl));
        let until = || found?.as_str()?.trim().parse().ok();
        let expires = seconds.or_else(until);
        expires.map(Some).ok_or_else(|| AuthError::Login {
            name: "ttl".to_owned(),
        })
    }
}

/// A length of time in seconds, as a number or as a text.
pub(super) fn seconds(value: &Value) -> Option<Duration> {
    let seconds = match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    Duration::try_from_secs_f64(seconds?).ok()
}

/// So much later, or the last time that there is.
pub(super) fn later(now: Timestamp, by: Duration) -> Timestamp {
    now.checked_add(by).unwrap_or(Timestamp::MAX)
}

/// A session, as it is kept with the state of its source. Serialised it holds secrets.
#[derive(Clone, Serialize, Deserialize)]
pub struct SessionState {
    values: Map<String, Value>,
    #[serde(default, with = "super::token::instant")]
    expires_at: Option<Timestamp>,
}

impl SessionState {
    /// Whether it may still be used.
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.expires_at.is_none_or(|expires| now < expires)
    }

    /// What it has brought, by name.
    pub fn values(&self) -> &Map<String, Value> {
        &self.values
    }

    /// When it ends; `None` = when it is refused.
    pub fn expires_at(&self) -> Option<Timestamp> {
        self.expires_at
    }

    /// The scope with this session in it.
    #[must_use]
    pub fn enter(&self, scope: &Scope) -> Scope {
        scope.with(Name::Session, &self.values)
    }

    /// What of it is masked in logs: long texts, but not URLs.
    pub fn secrets(&self) -> impl Iterator<Item = Secret> {
        let texts = self.values.values().filter_map(Value::as_str);
        let is_token = |text: &&str| text.len() >= SECRET_BYTES_MIN && !text.contains("://");
        texts.filter(is_token).map(Secret::new)
    }
}

/// Names only.
impl fmt::Debug for SessionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionState")
            .field("values", &self.values.keys().collect::<Vec<_>>())
            .field("expires_at", &self.expires_at)
            .finish()
    }
}
