//! Compiles `poll.rate_limit`.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use super::texts::place;
use super::{SourceCompiler, changes, value};
use crate::config::decode::Field;
use crate::config::raw::poll::Poll;
use crate::config::raw::poll::limits as raw;
use crate::config::units;
use crate::poll::budget::{
    Budget, BudgetRules, LimitHeaders, MinInterval, Rate, Reserve, ResetAs, RetryAfter,
};
use crate::poll::source::SharedBudget;

const RETRY_AFTER_MAX: Duration = Duration::from_secs(60 * 60);
const RESERVE: u8 = 10;

/// How many requests a source may make.
pub(super) struct Limits {
    pub(super) budget: Arc<Budget>,
    pub(super) shared: Option<SharedBudget>,
    pub(super) headers: LimitHeaders,
}

impl SourceCompiler<'_, '_> {
    /// The source's own budget, or that of all sources which name it; `partitions` are asked for at
    /// once.
    pub(super) fn limits(&mut self, poll: &Poll, partitions: NonZeroU32) -> Option<Limits> {
        let raw = match &poll.rate_limit {
            Some(field) => Some(field.get()?),
            None => None,
        };
        let rules = self.budget_rules(poll, raw, partitions)?;
        let headers = rules.headers.clone();
        let shared = match raw.and_then(|raw| raw.budget.as_ref()) {
            Some(field) => Some((field, field.get()?)),
            None => None,
        };
        let known = shared.and_then(|(field, name)| self.known_budget(field, name, raw, &rules));
        let budget = match known {
            Some(budget) => budget,
            None => {
                let span = raw.and_then(|raw| place(&raw.rate)).unwrap_or_default();
                Arc::new(self.try_at(span, Budget::new(rules.clone()))?)
            }
        };
        Some(Limits {
            budget,
            shared: shared.map(|(_, name)| SharedBudget {
                name: name.clone(),
                rules,
            }),
            headers,
        })
    }

    fn budget_rules(
        &mut self,
        poll: &Poll,
        raw: Option<&raw::SourceLimit>,
        partitions: NonZeroU32,
    ) -> Option<BudgetRules> {
        let headers = match raw.and_then(|raw| raw.headers.as_ref()) {
            Some(field) => self.limit_headers(field),
            None => Some(LimitHeaders::default()),
        };
        let rates = raw.and_then(|raw| value(&raw.rate)).into_iter().flatten();
        let rates: Vec<_> = rates.map(|field| self.request_rate(field)).collect();
        let concurrency = raw.and_then(|raw| value(&raw.concurrency).copied());
        let (is_honoured, wait_max) = wishes(poll);
        Some(BudgetRules {
            rates: rates.into_iter().collect::<Option<_>>()?,
            concurrency: concurrency.unwrap_or(partitions),
            wait_max,
            retry_after: match is_honoured {
                true => RetryAfter::Honoured,
                false => RetryAfter::Ignored,
            },
            headers: headers?,
        })
    }

    /// The budget that an earlier source has made. Whoever names it again says nothing else of it, or
    /// the same.
    fn known_budget(
        &mut self,
        field: &Field<String>,
        name: &str,
        raw: Option<&raw::SourceLimit>,
        rules: &BudgetRules,
    ) -> Option<Arc<Budget>> {
        let first = self.sources.iter().find_map(|source| {
            let shared = source.shared_budget.as_ref()?;
            (shared.name == name)
                .then(|| (source.name.clone(), shared.clone(), source.budget.clone()))
        });
        let (source, shared, budget) = first?;
        let says_nothing = raw.is_some_and(|raw| {
            raw.rate.is_none()
                && raw.concurrency.is_none()
                && raw.retry_after.is_none()
                && raw.headers.is_none()
        });
        if !says_nothing && shared.rules != *rules {
            let message = format!("the budget `{name}` has other limits in `{source}`");
            let help = format!("write them in `{source}` alone, or choose another name");
            self.fault_with_help(field.span, message, help);
        }
        Some(budget)
    }

    fn request_rate(&mut self, field: &Field<units::Rate>) -> Option<Rate> {
        let rate = field.get()?;
        self.try_at(field.span, Rate::new(rate.count(), rate.per()))
    }

    fn limit_headers(&mut self, field: &Field<raw::LimitHeaders>) -> Option<LimitHeaders> {
        let raw = field.get()?;
        let remaining = self.named_header(&raw.remaining);
        let reset = self.named_header(&raw.reset);
        if raw.remaining.is_none() {
            let keys = [("reserve", place(&raw.reserve))];
            self.needless(&keys, "is for `remaining`, which is not there");
        }
        if raw.reset.is_none() {
            let keys = [("reset_as", place(&raw.reset_as))];
            self.needless(&keys, "is for `reset`, which is not there");
        }
        let reserve = value(&raw.reserve).map_or(RESERVE, |share| changes::whole(*share));
        Some(LimitHeaders {
            limit: None,
            reserve: match raw.remaining {
                Some(_) => Reserve::Percent(reserve),
                None => Reserve::default(),
            },
            remaining: remaining?,
            reset: reset?,
            reset_as: match value(&raw.reset_as) {
                None | Some(raw::ResetAs::Auto) => ResetAs::Auto,
                Some(raw::ResetAs::Seconds) => ResetAs::Seconds,
                Some(raw::ResetAs::Unix) => ResetAs::EpochSeconds,
                Some(raw::ResetAs::UnixMs) => ResetAs::EpochMillis,
            },
        })
    }

    /// The name of a header that may be missing.
    fn named_header(&mut self, field: &Option<Field<String>>) -> Option<Option<String>> {
        let Some(field) = field else {
            return Some(None);
        };
        let name = field.get()?;
        self.header_name(field.span, name)?;
        Some(Some(name.clone()))
    }

    /// Where the provider says how often it may be polled.
    pub(super) fn min_interval(&mut self, poll: &Poll) -> Option<MinInterval> {
        let field = value(&poll.rate_limit)?.min_interval_header.as_ref()?;
        let name = field.get()?;
        self.header_name(field.span, name)?;
        Some(MinInterval::named(name))
    }

    /// Whether the provider may ask for pauses, and for how long.
    pub(super) fn retry_after(&mut self, poll: &Poll) -> (bool, Duration) {
        let asked = value(&poll.rate_limit).and_then(|raw| value(&raw.retry_after));
        if let Some(asked) = asked {
            self.period(&asked.max, RETRY_AFTER_MAX);
        }
        wishes(poll)
    }
}

fn wishes(poll: &Poll) -> (bool, Duration) {
    let asked = value(&poll.rate_limit).and_then(|raw| value(&raw.retry_after));
    let is_honoured = asked.and_then(|asked| value(&asked.honour)) != Some(&false);
    let max = asked.and_then(|asked| value(&asked.max));
    (
        is_honoured,
        max.map_or(RETRY_AFTER_MAX, |max| max.as_duration()),
    )
}
