//! What an answer, or the lack of one, means for a poll: the rules of the file, then the built-in
//! table. Every answer is looked at, `200` too: some sources say their errors with it.
//!
//! Pure. What is found is data; nothing here waits, renews or moves a cursor.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use serde_json::Value;

use super::backoff::{Asked, Pace};
use super::conditions::Holds;
use rule::{Act, Rule, Wait};

pub mod rule;

/// The most rules of one source.
pub const RULES_MAX: usize = 64;
/// The longest note for an operator, in characters, whoever wrote it.
pub const NOTE_CHARS_MAX: usize = 512;

/// What rules may ask about an answer.
#[derive(Debug, Clone, Copy)]
pub struct AnswerContext<'a> {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: &'a HeaderMap,
    /// The body, decoded; `None` when there is none or it cannot be.
    pub body: Option<&'a Value>,
    /// The outputs of the session, if there is one.
    pub session: Option<&'a Value>,
    /// The committed cursor, if there is one.
    pub cursor: Option<&'a Value>,
    /// Between 0 and 1.
    pub chance: f64,
}

/// A condition on an answer.
pub type AnswerCondition = Arc<dyn for<'a> Holds<AnswerContext<'a>>>;
/// How long an answer asks to wait. An error says why that is not known, and quotes nothing.
pub type ReadWait =
    Arc<dyn for<'a> Fn(&AnswerContext<'a>) -> Result<Duration, String> + Send + Sync>;
/// Which cursor an answer gives. An error says why there is none, and quotes nothing.
pub type ReadCursor =
    Arc<dyn for<'a> Fn(&AnswerContext<'a>) -> Result<Value, String> + Send + Sync>;

/// What came of a request.
#[derive(Debug, Clone, Copy)]
pub enum Seen<'a> {
    /// An answer.
    Answered(&'a Answered<'a>),
    /// None.
    Failed(Network),
}

/// An answer.
#[derive(Debug, Clone, Copy)]
pub struct Answered<'a> {
    /// What rules may ask about it.
    pub context: AnswerContext<'a>,
    /// The body as it came.
    pub raw: &'a [u8],
    /// What it asks for with `Retry-After`.
    pub retry_after: Option<Duration>,
    /// What is left of the budget (`rate_limit.headers.remaining`).
    pub remaining: Option<u64>,
    /// How long until there is a new budget (`rate_limit.headers.reset`).
    pub reset: Option<Duration>,
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// It did not come in time.
    Timeout,
    /// No connection could be made.
    Connect,
    /// A connection was made, but not a secure one.
    Tls,
    /// The host has no address.
    Dns,
    /// The connection broke, or spoke no HTTP, before the answer was whole.
    Broken,
}

/// What can be renewed, or was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Renewals {
    /// The token of `auth`.
    pub token: bool,
    /// The session.
    pub session: bool,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub enum Judgement {
    /// The answer is good: its items are to be taken.
    Fine,
    /// The answer is good and has no items. It says nothing about what there is upstream.
    Empty,
    /// The request is to be made again, within the poll if there is time.
    Retry {
        /// What was asked for.
        wait: Asked,
    },
    /// The source, and everybody on its budget, is to wait.
    RateLimited {
        /// What was asked for.
        wait: Asked,
    },
    /// The session is to be renewed, then the request made again.
    RenewSession {
        /// Whether [`ErrorRules::cursor_after`] then gives a new cursor.
        cursor: AfterRenewal,
        /// Whether events were lost upstream.
        gap: bool,
    },
    /// The token is to be renewed, then the request made again.
    RenewToken,
    /// The source is to go on from here.
    SetCursor {
        /// The cursor.
        cursor: Value,
        /// Whether events were lost upstream.
        gap: bool,
    },
    /// The source is to begin anew, as `on_lost` or `start` say.
    Restart {
        /// Whether events were lost upstream.
        gap: bool,
    },
    /// The source stops until a person resumes it.
    Pause,
    /// The poll has failed.
    Fail {
        /// How the pause after it is chosen.
        pace: Pace,
    },
}

/// What becomes of the cursor when a session was renewed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterRenewal {
    /// It stays.
    Kept,
    /// This rule gives a new one.
    FromRule(usize),
}

/// What is to be done, and why.
#[derive(Debug, Clone, PartialEq)]
pub struct Judged {
    /// What is to be done.
    pub judgement: Judgement,
    /// The rule that says so, from 0; `None` = the built-in table.
    pub rule: Option<usize>,
    /// A note for the operator. It quotes nothing of the answer.
    pub note: Option<String>,
}

/// The rules of a source, in order, and the built-in table after them.
pub struct ErrorRules {
    rules: Vec<Rule>,
    renewable: Renewals,
}

/// Why rules do not go together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ErrorRulesError {
    /// Too many.
    #[error("`errors` has more than {RULES_MAX} rules")]
    TooMany,
    /// A rule renews what the source does not have.
    #[error("rule {} renews a {what}, and the source has none", rule + 1)]
    NothingToRenew {
        /// Its place, from 0.
        rule: usize,
        /// `token` or `session`.
        what: &'static str,
    },
}

/// Why a renewed session gives no cursor.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CursorError {
    /// The rule has none, or there is no such rule.
    #[error("the rule has no cursor")]
    NoCursor,
    /// It cannot be evaluated.
    #[error("`cursor` cannot be evaluated: {0}")]
    Failed(String),
    /// It is nothing, with which a source would begin anew.
    #[error("`cursor` is nothing in this answer")]
    Nothing,
}

impl ErrorRules {
    /// Puts rules in order for a source of which this can be renewed.
    ///
    /// # Errors
    /// [`ErrorRulesError`].
    pub fn new(rules: Vec<Rule>, renewable: Renewals) -> Result<Self, ErrorRulesError> {
        if rules.len() > RULES_MAX {
            return Err(ErrorRulesError::TooMany);
        }
        for (rule, one) in rules.iter().enumerate() {
            let what = match one.act {
                Act::RenewToken if !renewable.token => "token",
                Act::RenewSession { .. } if !renewable.session => "session",
                _ => continue,
            };
            return Err(ErrorRulesError::NothingToRenew { rule, what });
        }
        Ok(Self { rules, renewable })
    }

    /// Judges what came of a request. `renewed` is what was renewed since the poll began: nothing is
    /// renewed twice for the same answer.
    pub fn judge(&self, seen: &Seen<'_>, renewed: Renewals) -> Judged {
        for (index, rule) in self.rules.iter().enumerate() {
            let judged = match rule.when.matches(seen) {
                Ok(false) => continue,
                Ok(true) => rule.apply(index, seen, renewed),
                // What cannot be judged must not pass for a good answer.
                Err(reason) => failed("its condition cannot be evaluated", &reason),
            };
            return Judged {
                rule: Some(index),
                ..judged
            };
        }
        match seen {
            Seen::Failed(_) => plain(Judgement::Retry {
                wait: Asked::Nothing,
            }),
            Seen::Answered(answered) => self.built_in(answered, renewed),
        }
    }

    /// The cursor that a rule gives once its session was renewed: `context` has the new session.
    ///
    /// # Errors
    /// [`CursorError`]; then the cursor stays.
    pub fn cursor_after(
        &self,
        rule: usize,
        context: &AnswerContext<'_>,
    ) -> Result<Value, CursorError> {
        match self.rules.get(rule).map(|rule| &rule.act) {
            Some(Act::RenewSession {
                cursor: Some(read), ..
            }) => cursor(read, context),
            _ => Err(CursorError::NoCursor),
        }
    }

    fn built_in(&self, answered: &Answered<'_>, renewed: Renewals) -> Judged {
        let asks_to_wait = answered.retry_after.is_some() || answered.remaining == Some(0);
        let judgement = match answered.context.status {
            204 | 205 | 304 => Judgement::Empty,
            200..=299 if answered.context.body.is_some() => Judgement::Fine,
            200..=299 => return noted(fail(Pace::Growing), "the body cannot be decoded"),
            429 => rate_limited(answered),
            // On a good answer it is for the budget to wait: what came is not thrown away.
            403 | 503 if asks_to_wait => rate_limited(answered),
            401 => return self.refused(renewed),
            408 | 425 | 500..=599 => Judgement::Retry {
                wait: asked(answered.retry_after),
            },
            status @ 300..=399 => {
                let note = format!("the answer is {status}, a redirect that is not followed");
                return noted(fail(Pace::Ceiling), &note);
            }
            status => return noted(fail(Pace::Ceiling), &format!("the answer is {status}")),
        };
        plain(judgement)
    }

    fn refused(&self, renewed: Renewals) -> Judged {
        if self.renewable.token && !renewed.token {
            return plain(Judgement::RenewToken);
        }
        if self.renewable.session && !renewed.session {
            return plain(Judgement::RenewSession {
                cursor: AfterRenewal::Kept,
                gap: false,
            });
        }
        noted(Judgement::Pause, "the credentials are refused (401)")
    }
}

impl Rule {
    fn apply(&self, index: usize, seen: &Seen<'_>, renewed: Renewals) -> Judged {
        let judgement = match &self.act {
            Act::Retry(wait) => Judgement::Retry {
                wait: waited(wait, seen),
            },
            Act::RateLimited(wait) => Judgement::RateLimited {
                wait: waited(wait, seen),
            },
            Act::RenewSession { .. } if renewed.session => {
                return failed("the session was just renewed", "that has not helped");
            }
            Act::RenewToken if renewed.token => {
                return failed("the token was just renewed", "that has not helped");
            }
            Act::RenewSession { cursor, gap } => Judgement::RenewSession {
                cursor: match cursor {
                    Some(_) => AfterRenewal::FromRule(index),
                    None => AfterRenewal::Kept,
                },
                gap: *gap,
            },
            Act::RenewToken => Judgement::RenewToken,
            Act::Empty => Judgement::Empty,
            Act::SetCursor { cursor, gap } => match moved(cursor, seen) {
                Ok(cursor) => Judgement::SetCursor { cursor, gap: *gap },
                Err(error) => return noted(fail(Pace::Growing), &error.to_string()),
            },
            Act::Restart { gap } => Judgement::Restart { gap: *gap },
            Act::Pause => Judgement::Pause,
            Act::Fail => fail(Pace::Ceiling),
        };
        Judged {
            judgement,
            rule: Some(index),
            note: self.note.clone(),
        }
    }
}

/// How long a rule waits. Without a wait of its own, or when that cannot be said, the upstream is
/// asked.
fn waited(wait: &Wait, seen: &Seen<'_>) -> Asked {
    match (wait, seen) {
        (Wait::Fixed(wait), _) => Asked::ByRule(*wait),
        (Wait::Unsaid | Wait::Read(_), Seen::Failed(_)) => Asked::Nothing,
        (Wait::Unsaid, Seen::Answered(answered)) => asked_by(answered),
        (Wait::Read(read), Seen::Answered(answered)) => {
            read(&answered.context).map_or_else(|_| asked_by(answered), Asked::ByRule)
        }
    }
}

fn moved(read: &ReadCursor, seen: &Seen<'_>) -> Result<Value, CursorError> {
    match seen {
        Seen::Answered(answered) => cursor(read, &answered.context),
        Seen::Failed(_) => Err(CursorError::Nothing),
    }
}

fn cursor(read: &ReadCursor, context: &AnswerContext<'_>) -> Result<Value, CursorError> {
    match read(context).map_err(CursorError::Failed)? {
        Value::Null => Err(CursorError::Nothing),
        cursor => Ok(cursor),
    }
}

fn rate_limited(answered: &Answered<'_>) -> Judgement {
    Judgement::RateLimited {
        wait: asked_by(answered),
    }
}

/// `Retry-After` is meant for this answer, the new budget for everybody.
fn asked_by(answered: &Answered<'_>) -> Asked {
    asked(answered.retry_after.or(answered.reset))
}

fn asked(span: Option<Duration>) -> Asked {
    span.map_or(Asked::Nothing, Asked::ByUpstream)
}

fn fail(pace: Pace) -> Judgement {
    Judgement::Fail { pace }
}

/// A poll that fails because of a rule, and may succeed another time.
fn failed(what: &str, reason: &str) -> Judged {
    noted(fail(Pace::Growing), &format!("{what}: {reason}"))
}

fn plain(judgement: Judgement) -> Judged {
    Judged {
        judgement,
        rule: None,
        note: None,
    }
}

fn noted(judgement: Judgement, note: &str) -> Judged {
    Judged {
        note: Some(note.chars().take(NOTE_CHARS_MAX).collect()),
        ..plain(judgement)
    }
}

#[cfg(test)]
mod tests;
