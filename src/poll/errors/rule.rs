//! One rule of `errors:`: when it counts, and what it does.

use std::str::FromStr;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use memchr::memmem;

use super::super::backoff::WAIT_MAX;
use super::{AnswerCondition, NOTE_CHARS_MAX, Network, ReadCursor, ReadWait, Seen};
use crate::delivery::status::Statuses;

/// How much of a body is searched for a text, in bytes.
pub const SCANNED_BYTES_MAX: usize = 1024 * 1024;
/// The longest text that is searched for, in bytes.
pub const TEXT_BYTES_MAX: usize = 1024;
/// The most statuses, and the most headers, of one rule.
pub const ENTRIES_MAX: usize = 64;

/// The keys of one rule, to be checked by [`Rule::new`].
#[derive(Clone, Default)]
pub struct RuleSpec {
    /// `when.status`.
    pub status: Vec<Statuses>,
    /// `when.body`.
    pub body: Option<AnswerCondition>,
    /// `when.header`: names and the values that they must have.
    pub header: Vec<(String, String)>,
    /// `when.body_contains`.
    pub body_contains: Option<String>,
    /// `when.network`.
    pub network: Option<Networks>,
    /// `do`.
    pub action: Action,
    /// `wait`.
    pub wait: Wait,
    /// `cursor`.
    pub cursor: Option<ReadCursor>,
    /// `gap`.
    pub gap: bool,
    /// `message`.
    pub note: Option<String>,
}

/// How long a rule waits.
#[derive(Clone, Default)]
pub enum Wait {
    /// It does not say.
    #[default]
    Unsaid,
    /// Always so long.
    Fixed(Duration),
    /// As long as the answer says.
    Read(ReadWait),
}

/// What a rule does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Action {
    /// `retry`
    #[default]
    Retry,
    /// `rate_limited`
    RateLimited,
    /// `renew_session`
    RenewSession,
    /// `renew_token`
    RenewToken,
    /// `empty`
    Empty,
    /// `set_cursor`
    SetCursor,
    /// `restart`
    Restart,
    /// `pause`
    Pause,
    /// `fail`
    Fail,
}

/// Which failures of the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Networks {
    /// Every one.
    Any,
    /// This one.
    One(Network),
}

/// A checked rule.
pub struct Rule {
    pub(super) when: When,
    pub(super) act: Act,
    pub(super) note: Option<String>,
}

/// Why a rule cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// It would hold for everything.
    #[error("`when` has no condition: the rule would hold for every answer")]
    NoCondition,
    /// No answer comes with a failure of the network.
    #[error("`network` means that there is no answer: nothing else can hold beside it")]
    NetworkAndAnswer,
    /// A failure of the network says nothing about the cursor.
    #[error("`{0}` moves the cursor, about which a failure of the network says nothing")]
    NetworkMovesCursor(&'static str),
    /// No failure of the network is called so.
    #[error("`{0}` is none of timeout, connect, tls, dns and any")]
    Network(String),
    /// Nothing is called so.
    #[error(
        "`{0}` is none of retry, rate_limited, renew_session, renew_token, empty, set_cursor, \
         restart, pause and fail"
    )]
    Action(String),
    /// No header can be called so or have such a value.
    #[error("there can be no header `{0}` like this")]
    Header(String),
    /// It stands in every body.
    #[error("`body_contains` is empty: every body contains that")]
    EmptyText,
    /// A key that the action does nothing with.
    #[error("`{key}` does nothing beside `do: {action}`")]
    Needless {
        /// The key.
        key: &'static str,
        /// The action.
        action: &'static str,
    },
    /// Where to go on from is not said.
    #[error("`do: set_cursor` needs a `cursor`")]
    NoCursor,
    /// It is longer than it may be.
    #[error("`{0}` is longer than it may be")]
    TooLong(&'static str),
}

/// When a rule counts: when all of this holds.
pub(super) struct When {
    status: Vec<Statuses>,
    body: Option<AnswerCondition>,
    header: Vec<(HeaderName, HeaderValue)>,
    body_contains: Option<memmem::Finder<'static>>,
    network: Option<Networks>,
}

/// What a rule does, with all that it needs.
pub(super) enum Act {
    Retry(Wait),
    RateLimited(Wait),
    RenewSession {
        cursor: Option<ReadCursor>,
        gap: bool,
    },
    RenewToken,
    Empty,
    SetCursor {
        cursor: ReadCursor,
        gap: bool,
    },
    Restart {
        gap: bool,
    },
    Pause,
    Fail,
}

impl Rule {
    /// Checks a rule.
    ///
    /// # Errors
    /// [`RuleError`].
    pub fn new(spec: RuleSpec) -> Result<Self, RuleError> {
        check_keys(&spec)?;
        check_network(&spec)?;
        if (spec.note.as_ref()).is_some_and(|note| note.chars().count() > NOTE_CHARS_MAX) {
            return Err(RuleError::TooLong("note"));
        }
        if matches!(spec.wait, Wait::Fixed(wait) if wait > WAIT_MAX) {
            return Err(RuleError::TooLong("wait"));
        }
        let RuleSpec {
            cursor, gap, wait, ..
        } = spec.clone();
        let act = match spec.action {
            Action::Retry => Act::Retry(wait),
            Action::RateLimited => Act::RateLimited(wait),
            Action::RenewSession => Act::RenewSession { cursor, gap },
            Action::RenewToken => Act::RenewToken,
            Action::Empty => Act::Empty,
            Action::SetCursor => Act::SetCursor {
                cursor: cursor.ok_or(RuleError::NoCursor)?,
                gap,
            },
            Action::Restart => Act::Restart { gap },
            Action::Pause => Act::Pause,
            Action::Fail => Act::Fail,
        };
        Ok(Self {
            note: spec.note.clone(),
            when: When::new(spec)?,
            act,
        })
    }
}

/// A key that does nothing is a misunderstanding.
fn check_keys(spec: &RuleSpec) -> Result<(), RuleError> {
    use Action as A;
    let action = spec.action;
    let waits = matches!(action, A::Retry | A::RateLimited);
    let moves = matches!(action, A::SetCursor | A::RenewSession);
    let loses = moves || action == A::Restart;
    let keys = [
        ("wait", !matches!(spec.wait, Wait::Unsaid), waits),
        ("cursor", spec.cursor.is_some(), moves),
        ("gap", spec.gap, loses),
    ];
    let needless = keys.iter().find(|(_, is_set, is_used)| *is_set && !is_used);
    match needless {
        Some((key, ..)) => Err(RuleError::Needless {
            key,
            action: action.label(),
        }),
        None => Ok(()),
    }
}

fn check_network(spec: &RuleSpec) -> Result<(), RuleError> {
    let asks_about_answer = !spec.status.is_empty()
        || !spec.header.is_empty()
        || spec.body.is_some()
        || spec.body_contains.is_some();
    let moves = matches!(spec.action, Action::SetCursor | Action::Restart)
        || spec.cursor.is_some()
        || spec.gap;
    match (spec.network, asks_about_answer) {
        (None, false) => Err(RuleError::NoCondition),
        (Some(_), true) => Err(RuleError::NetworkAndAnswer),
        (Some(_), false) if moves => Err(RuleError::NetworkMovesCursor(spec.action.label())),
        (Some(_), false) | (None, true) => Ok(()),
    }
}

impl When {
    fn new(spec: RuleSpec) -> Result<Self, RuleError> {
        if spec.status.len() > ENTRIES_MAX {
            return Err(RuleError::TooLong("status"));
        }
        if spec.header.len() > ENTRIES_MAX {
            return Err(RuleError::TooLong("header"));
        }
        let header = |(name, value): (String, String)| {
            let parsed = (name.parse().ok(), HeaderValue::from_str(value.trim()).ok());
            match parsed {
                (Some(name), Some(value)) => Ok((name, value)),
                _ => Err(RuleError::Header(name)),
            }
        };
        let finder = |text: String| match text.len() {
            0 => Err(RuleError::EmptyText),
            1..=TEXT_BYTES_MAX => Ok(memmem::Finder::new(&text).into_owned()),
            _ => Err(RuleError::TooLong("body_contains")),
        };
        Ok(Self {
            status: spec.status,
            body: spec.body,
            header: spec
                .header
                .into_iter()
                .map(header)
                .collect::<Result<_, _>>()?,
            body_contains: spec.body_contains.map(finder).transpose()?,
            network: spec.network,
        })
    }

    /// Whether all of it holds; an error says why that cannot be said.
    pub(super) fn matches(&self, seen: &Seen<'_>) -> Result<bool, String> {
        let answered = match (seen, self.network) {
            (Seen::Failed(failure), Some(networks)) => return Ok(networks.contain(*failure)),
            (Seen::Failed(_), None) | (Seen::Answered(_), Some(_)) => return Ok(false),
            (Seen::Answered(answered), None) => answered,
        };
        let context = &answered.context;
        let is_status = |statuses: &Statuses| statuses.contain(context.status);
        let has = |(name, value): &(HeaderName, HeaderValue)| {
            context
                .headers
                .get_all(name)
                .iter()
                .any(|line| line == value)
        };
        let scanned = answered.raw.get(..SCANNED_BYTES_MAX);
        let scanned = scanned.unwrap_or(answered.raw);
        let contains = |finder: &memmem::Finder<'_>| finder.find(scanned).is_some();
        if !(self.status.is_empty() || self.status.iter().any(is_status))
            || !self.header.iter().all(has)
            || !self.body_contains.as_ref().is_none_or(contains)
        {
            return Ok(false);
        }
        match &self.body {
            None => Ok(true),
            // What is not there has nothing that could hold.
            Some(_) if context.body.is_none() => Ok(false),
            Some(condition) => condition.holds(context),
        }
    }
}

impl Networks {
    fn contain(self, failure: Network) -> bool {
        match self {
            Self::Any => true,
            Self::One(one) => one == failure,
        }
    }
}

impl FromStr for Networks {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Self, RuleError> {
        Ok(match text {
            "any" => Self::Any,
            "timeout" => Self::One(Network::Timeout),
            "connect" => Self::One(Network::Connect),
            "tls" => Self::One(Network::Tls),
            "dns" => Self::One(Network::Dns),
            _ => return Err(RuleError::Network(text.to_owned())),
        })
    }
}

impl Action {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Retry,
        Self::RateLimited,
        Self::RenewSession,
        Self::RenewToken,
        Self::Empty,
        Self::SetCursor,
        Self::Restart,
        Self::Pause,
        Self::Fail,
    ];

    /// The word for the file.
    pub fn label(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::RateLimited => "rate_limited",
            Self::RenewSession => "renew_session",
            Self::RenewToken => "renew_token",
            Self::Empty => "empty",
            Self::SetCursor => "set_cursor",
            Self::Restart => "restart",
            Self::Pause => "pause",
            Self::Fail => "fail",
        }
    }
}

impl FromStr for Action {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Self, RuleError> {
        let mut all = Self::ALL.into_iter();
        let found = all.find(|action| action.label() == text);
        found.ok_or_else(|| RuleError::Action(text.to_owned()))
    }
}

#[cfg(test)]
mod tests;
