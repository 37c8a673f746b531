//! Compiles `poll.errors`, `poll.retry` and `poll.on_error`.

use std::num::NonZeroU32;
use std::str::FromStr;
use std::time::Duration;

use super::texts::place;
use super::{SourceCompiler, value};
use crate::config::decode::{Field, Template};
use crate::config::raw::backend::Jitter as RawJitter;
use crate::config::raw::poll::Poll;
use crate::config::raw::poll::auth::Auth;
use crate::config::raw::poll::errors as raw;
use crate::config::raw::poll::limits::Backoff as RawBackoff;
use crate::config::units::Period;
use crate::config::yaml::Span;
use crate::delivery::status::Statuses;
use crate::expr::OPEN;
use crate::poll::backoff::{Backoff, BackoffError, Honour, Jitter, OnError, RetryRule};
use crate::poll::errors::rule::{Action, Networks, Rule, RuleError, RuleSpec, Wait};
use crate::poll::errors::{ErrorRules, ErrorRulesError, Network, Renewals};
use crate::poll::expressions::{OF_ANSWERS, answer_condition, read_cursor, read_wait};

const ATTEMPTS: NonZeroU32 = NonZeroU32::MIN.saturating_add(3);
const FACTOR: f64 = 2.0;
/// The pauses between attempts, and between polls.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
const POLLS: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(30 * 60));

impl SourceCompiler<'_, '_> {
    /// What answers mean.
    pub(super) fn errors(&mut self, poll: &Poll) -> Option<ErrorRules> {
        let fields = value(&poll.errors).into_iter().flatten();
        let rules: Vec<_> = fields.map(|field| self.error_rule(field)).collect();
        let renewable = Renewals {
            token: matches!(value(&poll.auth), Some(Auth::Oauth2(_))),
            session: poll.session.is_some(),
        };
        let span = |rule: usize| {
            let field = value(&poll.errors)?.iter().nth(rule)?;
            Some(field.get()?.action.span)
        };
        let rules = rules.into_iter().collect::<Option<Vec<_>>>()?;
        let error = match ErrorRules::new(rules, renewable) {
            Ok(rules) => return Some(rules),
            Err(error) => error,
        };
        let (at, help) = match error {
            ErrorRulesError::TooMany => (None, "take some of them away"),
            ErrorRulesError::NothingToRenew {
                rule,
                what: "token",
            } => (span(rule), "only `auth: {type: oauth2}` has tokens"),
            ErrorRulesError::NothingToRenew { rule, .. } => {
                (span(rule), "add `session`, or do something else")
            }
        };
        let whole = place(&poll.errors).unwrap_or_default();
        self.fault_with_help(at.unwrap_or(whole), error.to_string(), help);
        None
    }

    fn error_rule(&mut self, field: &Field<raw::ErrorRule>) -> Option<Rule> {
        let raw = field.get()?;
        let spec = self.when(&raw.when);
        let wait = match &raw.wait {
            Some(field) => self.wait(field),
            None => Some(Wait::Unsaid),
        };
        let cursor = match &raw.cursor {
            Some(field) => self
                .formula(field, OF_ANSWERS)
                .map(|template| Some(read_cursor(template))),
            None => Some(None),
        };
        let spec = RuleSpec {
            action: action(*raw.action.get()?),
            wait: wait?,
            cursor: cursor?,
            gap: value(&raw.gap).copied().unwrap_or_default(),
            note: value(&raw.note).cloned(),
            ..spec?
        };
        let error = match Rule::new(spec) {
            Ok(rule) => return Some(rule),
            Err(error) => error,
        };
        let when = || raw.when.span;
        let (span, help) = match &error {
            RuleError::NoCondition => (when(), "write what it is for, like {status: 503}"),
            RuleError::NetworkAndAnswer => (when(), "make two rules of it"),
            RuleError::Header(_) => (
                when(),
                "write names and values, like {X-Error: maintenance}",
            ),
            RuleError::EmptyText => (when(), "write a text, or take it away"),
            RuleError::NetworkMovesCursor(_) => (raw.action.span, "write `do: retry`"),
            RuleError::NoCursor => (raw.action.span, "add `cursor: ${{ body.NAME }}`"),
            RuleError::Needless { key, .. } => (needless(raw, key), "take it away"),
            RuleError::TooLong(_) => (field.span, "make it shorter"),
            RuleError::Network(_) | RuleError::Action(_) => {
                (field.span, "write it like {when: {status: 503}, do: retry}")
            }
        };
        self.fault_with_help(span, error.to_string(), help);
        None
    }

    fn when(&mut self, field: &Field<raw::When>) -> Option<RuleSpec> {
        let raw = field.get()?;
        let statuses = value(&raw.status).into_iter().flatten();
        let statuses: Vec<_> = statuses.map(|field| self.statuses(field)).collect();
        let body = match &raw.body {
            Some(field) => self
                .condition(field, OF_ANSWERS)
                .map(|condition| Some(answer_condition(condition))),
            None => Some(None),
        };
        let network = match &raw.network {
            Some(field) => Some(networks(*field.get()?)),
            None => None,
        };
        let header = value(&raw.header).into_iter().flatten();
        Some(RuleSpec {
            status: statuses.into_iter().collect::<Option<_>>()?,
            body: body?,
            header: header
                .map(|(key, field)| Some((key.name.clone(), field.get()?.clone())))
                .collect::<Option<_>>()?,
            body_contains: value(&raw.body_contains).cloned(),
            network,
            ..RuleSpec::default()
        })
    }

    fn statuses(&mut self, field: &Field<String>) -> Option<Statuses> {
        let text = field.get()?;
        let parsed = Statuses::from_str(text);
        if let Err(error) = &parsed {
            let help = "write a number from 200 to 599, or a class like `5xx`";
            self.fault_with_help(field.span, error.to_string(), help);
        }
        parsed.ok()
    }

    /// How long a rule waits: always the same, or what an expression says.
    fn wait(&mut self, field: &Field<Template>) -> Option<Wait> {
        let text = &field.get()?.0;
        if text.contains(OPEN) {
            let template = self.template(field.span, text, OF_ANSWERS)?;
            return Some(Wait::Read(read_wait(template)));
        }
        match Period::from_str(text) {
            Ok(period) => Some(Wait::Fixed(period.as_duration())),
            Err(_) => {
                let message = format!("`{text}` is not a length of time");
                let help = "write it like `30s`, or `${{ body.retry_after }}s`";
                self.fault_with_help(field.span, message, help);
                None
            }
        }
    }

    /// What the provider may ask for.
    pub(super) fn honour(&mut self, poll: &Poll) -> Honour {
        let (is_honoured, max) = self.retry_after(poll);
        match is_honoured {
            true => Honour::UpTo(max),
            false => Honour::Nothing,
        }
    }

    pub(super) fn retry(&mut self, poll: &Poll, honour: Honour) -> Option<RetryRule> {
        let whole = place(&poll.retry).unwrap_or_default();
        let raw = value(&poll.retry);
        let attempts = raw.and_then(|raw| value(&raw.attempts));
        let backoff = self.pauses(whole, raw.and_then(|raw| raw.backoff.as_ref()), RETRY)?;
        match RetryRule::new(attempts.copied().unwrap_or(ATTEMPTS), backoff, honour) {
            Ok(rule) => Some(rule),
            Err(error) => {
                let span = raw.and_then(|raw| place(&raw.attempts)).unwrap_or(whole);
                let help = "the next poll tries again";
                self.fault_with_help(span, error.to_string(), help);
                None
            }
        }
    }

    pub(super) fn on_error(&mut self, poll: &Poll, honour: Honour) -> Option<OnError> {
        let whole = place(&poll.on_error).unwrap_or_default();
        let raw = value(&poll.on_error);
        let backoff = self.pauses(whole, raw.and_then(|raw| raw.backoff.as_ref()), POLLS)?;
        let pause_after = raw.and_then(|raw| value(&raw.pause_after)).copied();
        Some(OnError {
            backoff,
            pause_after: pause_after.and_then(NonZeroU32::new),
            honour,
        })
    }

    fn pauses(
        &mut self,
        whole: Span,
        field: Option<&Field<RawBackoff>>,
        (base, max): (Duration, Duration),
    ) -> Option<Backoff> {
        let raw = match field {
            Some(field) => Some(field.get()?),
            None => None,
        };
        let base_field = raw.and_then(|raw| raw.base.as_ref());
        let max_field = raw.and_then(|raw| raw.max.as_ref());
        let factor_field = raw.and_then(|raw| raw.factor.as_ref());
        let length = |field: Option<&Field<Period>>, default: Duration| match field {
            Some(field) => field.get().map(|period| period.as_duration()),
            None => Some(default),
        };
        let base = length(base_field, base)?;
        let max = length(max_field, max.max(base))?;
        let factor = match factor_field {
            Some(field) => *field.get()?,
            None => FACTOR,
        };
        let jitter = match raw.and_then(|raw| value(&raw.jitter)) {
            None | Some(RawJitter::Full) => Jitter::Full,
            Some(RawJitter::None) => Jitter::None,
        };
        let error = match Backoff::new(base, factor, max, jitter) {
            Ok(backoff) => return Some(backoff),
            Err(error) => error,
        };
        let (span, help) = match error {
            BackoffError::BaseZero => (base_field.map(|field| field.span), "write it like `5s`"),
            BackoffError::Factor => (
                factor_field.map(|field| field.span),
                "write 1 for pauses of the same length, or more",
            ),
            BackoffError::MaxBelowBase => (
                max_field.map(|field| field.span),
                "write at least as much as `base`",
            ),
            BackoffError::TooLong | BackoffError::Attempts => {
                (max_field.map(|field| field.span), "write at most `7d`")
            }
        };
        self.fault_with_help(span.unwrap_or(whole), error.to_string(), help);
        None
    }
}

/// Where a key stands that does nothing.
fn needless(raw: &raw::ErrorRule, key: &str) -> Span {
    let span = match key {
        "wait" => place(&raw.wait),
        "cursor" => place(&raw.cursor),
        _ => place(&raw.gap),
    };
    span.unwrap_or(raw.action.span)
}

fn action(action: raw::Action) -> Action {
    match action {
        raw::Action::Retry => Action::Retry,
        raw::Action::RateLimited => Action::RateLimited,
        raw::Action::RenewSession => Action::RenewSession,
        raw::Action::RenewToken => Action::RenewToken,
        raw::Action::Empty => Action::Empty,
        raw::Action::SetCursor => Action::SetCursor,
        raw::Action::Restart => Action::Restart,
        raw::Action::Pause => Action::Pause,
        raw::Action::Fail => Action::Fail,
    }
}

fn networks(network: raw::Network) -> Networks {
    match network {
        raw::Network::Any => Networks::Any,
        raw::Network::Timeout => Networks::One(Network::Timeout),
        raw::Network::Connect => Networks::One(Network::Connect),
        raw::Network::Tls => Networks::One(Network::Tls),
        raw::Network::Dns => Networks::One(Network::Dns),
        raw::Network::Broken => Networks::One(Network::Broken),
    }
}
