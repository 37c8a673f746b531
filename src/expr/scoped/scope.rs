//! What an expression may name, and the values that it finds there.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use minijinja::value::{Object, Value};
use serde::Serialize;

use super::super::event;
use super::filters;

/// A variable that an expression may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Name {
    /// Where the source stands.
    Cursor,
    /// The value of the cursor's field in the last item.
    Last,
    /// One item of an answer.
    Item,
    /// What happened to an item: `created`, `updated` or `deleted`.
    Change,
    /// The item as it was before.
    Previous,
    /// The body of an answer, or of the request that is signed.
    Body,
    /// The headers of an answer.
    Headers,
    /// The status of an answer.
    Status,
    /// The value that a partitioned source runs for.
    Partition,
    /// What a login answered.
    Session,
    /// Secrets, by name.
    Secret,
    /// Variables of the process's environment, by name.
    Env,
    /// The time at which the expression is evaluated.
    Now,
    /// The time at which the poll began.
    PollStarted,
    /// What the gateway keeps of the source.
    State,
    /// The signature of the request.
    Signature,
    /// The request's method.
    Method,
    /// The path of the request's URL.
    Path,
    /// The request's URL.
    Url,
}

impl Name {
    /// As it is written in an expression.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cursor => "cursor",
            Self::Last => "last",
            Self::Item => "item",
            Self::Change => "change",
            Self::Previous => "previous",
            Self::Body => "body",
            Self::Headers => "headers",
            Self::Status => "status",
            Self::Partition => "partition",
            Self::Session => "session",
            Self::Secret => "secret",
            Self::Env => "env",
            Self::Now => "now",
            Self::PollStarted => "poll_started",
            Self::State => "state",
            Self::Signature => "signature",
            Self::Method => "method",
            Self::Path => "path",
            Self::Url => "url",
        }
    }
}

/// The variables that expressions in one place may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Names(&'static [Name]);

impl Names {
    /// These and no others.
    pub const fn new(names: &'static [Name]) -> Self {
        Self(names)
    }

    pub(super) fn iter(self) -> impl Iterator<Item = Name> {
        self.0.iter().copied()
    }

    pub(super) fn find(self, word: &str) -> Option<Name> {
        self.iter().find(|name| name.as_str() == word)
    }
}

/// The variables of one evaluation, with their values.
#[derive(Clone, Default)]
pub struct Scope(Arc<Variables>);

#[derive(Clone, Default)]
struct Variables {
    values: BTreeMap<Name, Value>,
    chance: Option<f64>,
}

impl Scope {
    /// This scope with one more variable, or another value for it. What cannot be serialised fails
    /// when it is used.
    #[must_use]
    pub fn with(&self, name: Name, value: &impl Serialize) -> Self {
        self.holding(name, Value::from_serialize(value))
    }

    /// This scope with a time, as a text in RFC 3339.
    #[must_use]
    pub fn with_time(&self, name: Name, time: Timestamp) -> Self {
        self.holding(name, Value::from(time.to_string()))
    }

    /// This scope with bytes: a text if they are UTF-8, else something to make digests of.
    #[must_use]
    pub fn with_bytes(&self, name: Name, bytes: &[u8]) -> Self {
        let value = match std::str::from_utf8(bytes) {
            Ok(text) => Value::from(text),
            Err(_) => Value::from_bytes(bytes.to_vec()),
        };
        self.holding(name, value)
    }

    /// This scope with the first value of each header, by its name in any case.
    #[must_use]
    pub fn with_headers(&self, lines: impl IntoIterator<Item = (String, String)>) -> Self {
        self.holding(Name::Headers, event::headers(lines))
    }

    /// This scope with the chance that `random(n)` takes, between 0 and 1.
    #[must_use]
    pub fn with_chance(&self, chance: f64) -> Self {
        let mut variables = Variables::clone(&self.0);
        variables.chance = Some(chance);
        Self(Arc::new(variables))
    }

    fn holding(&self, name: Name, value: Value) -> Self {
        let mut variables = Variables::clone(&self.0);
        variables.values.insert(name, value);
        Self(Arc::new(variables))
    }
}

/// Names only: a session is a secret.
impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.0.values.keys().map(|name| name.as_str());
        f.debug_set().entries(names).finish()
    }
}

/// What an expression looked up when it was compiled.
#[derive(Default)]
pub(super) struct Constants {
    pub(super) env: Value,
    pub(super) secret: Value,
}

/// All that one evaluation knows.
pub(super) struct Root {
    scope: Arc<Variables>,
    constants: Arc<Constants>,
}

impl Root {
    pub(super) fn new(scope: &Scope, constants: Arc<Constants>) -> Self {
        let scope = scope.0.clone();
        Self { scope, constants }
    }
}

impl fmt::Debug for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("scope")
    }
}

impl Object for Root {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        match key.as_str()? {
            "env" => Some(self.constants.env.clone()),
            "secret" => Some(self.constants.secret.clone()),
            filters::CHANCE => self.scope.chance.map(Value::from),
            word => {
                let mut values = self.scope.values.iter();
                let found = values.find(|(name, _)| name.as_str() == word);
                found.map(|(_, value)| value.clone())
            }
        }
    }
}
