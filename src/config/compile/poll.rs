//! Compiles `routes.NAME.poll`.
//!
//! Every section is compiled by a file of its own; here they are put together, and what spans several
//! of them is checked.

mod auth;
mod budget;
mod changes;
mod cursor;
mod errors;
mod fetch;
mod items;
mod keys;
mod pages;
mod partitions;
mod request;
mod schedule;
mod texts;

use std::num::NonZeroU32;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;

use super::{Compiler, value};
use crate::config::raw::deliver::Mode;
use crate::config::raw::poll::{self as raw, Decode};
use crate::config::raw::route::Route;
use crate::config::yaml::Span;
use crate::delivery::deliver::Deliver;
use crate::poll::Source;
use crate::poll::auth::Auth;
use crate::poll::backoff::{OnError, RetryRule};
use crate::poll::changes::ChangeRules;
use crate::poll::cursor::CursorRule;
use crate::poll::decode::Format;
use crate::poll::errors::ErrorRules;
use crate::poll::expressions::IN_REQUESTS;
use crate::poll::fetch::Fetcher;
use crate::poll::pagination::Pagination;
use crate::poll::request::RequestRules;
use crate::poll::rules::{Drain, Rules, RulesError};
use crate::poll::source::{Login, OnGap, Partition, Pending, Role};
use crate::secret::Secret;
use schedule::Times;

/// How often a provider is asked how much waits there.
const PENDING_EVERY: Duration = Duration::from_secs(60);

impl Compiler<'_> {
    /// The polled side of a route; `deliver` is `None` where it has faults.
    pub(super) fn source(&mut self, name: &str, raw: &Route, deliver: Option<&[Arc<Deliver>]>) {
        self.keys_of_the_other_side(raw);
        let Some(poll) = value(&raw.poll) else { return };
        let faults = self.faults.len();
        self.all_queued(raw);
        let source = SourceCompiler {
            compiler: self,
            uses: Uses::default(),
        };
        let source = source.source(name, raw, poll, deliver);
        if self.faults.len() == faults {
            self.sources.extend(source.map(Arc::new));
        }
    }

    /// What a poll finds waits in the queue, so what comes beside it must, too.
    fn all_queued(&mut self, raw: &Route) {
        if raw.webhook.is_none() {
            return;
        }
        for field in value(&raw.deliver).into_iter().flatten() {
            let Some(entry) = field.get() else { continue };
            let span = entry.mode.as_ref().map_or(field.span, |mode| mode.span);
            if value(&entry.mode) != Some(&Mode::Queue)
                && entry.mode.as_ref().is_none_or(|mode| mode.get().is_some())
            {
                let message = "the events of a poll are queued, and duplicates are told apart on \
                               disk";
                self.fault_with_help(span, message, "write `mode: queue`");
            }
        }
    }
}

/// Compiles one source.
struct SourceCompiler<'c, 'a> {
    compiler: &'c mut Compiler<'a>,
    uses: Uses,
}

/// What the expressions of a source name that not every source has.
#[derive(Default)]
struct Uses {
    session: Vec<Span>,
    /// What they name of it.
    session_parts: Vec<(Span, String)>,
    partition: Vec<Span>,
    cursor: Vec<Span>,
    /// Secrets that stand in the file itself.
    literals: Vec<Secret>,
}

/// What is asked, and by what.
struct Asking {
    request: RequestRules,
    session: Option<Login>,
    auth: Auth,
    fetcher: Fetcher,
}

/// What is found in answers, and how far they are read.
struct Finding {
    items: items::Items,
    cursor: cursor::Cursor,
    rules: Rules,
    changes: Option<ChangeRules>,
}

/// What answers mean, and what follows those that are bad.
struct Judging {
    errors: ErrorRules,
    retry: RetryRule,
    on_error: OnError,
}

impl<'a> Deref for SourceCompiler<'_, 'a> {
    type Target = Compiler<'a>;

    fn deref(&self) -> &Compiler<'a> {
        self.compiler
    }
}

impl<'a> DerefMut for SourceCompiler<'_, 'a> {
    fn deref_mut(&mut self) -> &mut Compiler<'a> {
        self.compiler
    }
}

impl SourceCompiler<'_, '_> {
    /// Every part is compiled before any is missed: a fault must not hide another.
    fn source(
        mut self,
        name: &str,
        route: &Route,
        poll: &raw::Poll,
        deliver: Option<&[Arc<Deliver>]>,
    ) -> Option<Source> {
        let alias = self.alias(name, route, poll);
        let partitions = self.partitions(poll);
        let concurrency = concurrency(poll);
        let times = self.times(poll);
        let schedule = self.schedule(poll, times);
        let asking = self.asking(poll, times, partitions.as_deref());
        let finding = self.finding(name, route, poll);
        let judging = self.judging(poll);
        let limits = self.limits(poll, concurrency);
        let min_interval = self.min_interval(poll);
        let keys = self.keys(name, route, poll);
        let expected_every = self.expected_every(poll);
        let pending = self.pending(poll);
        self.names_have_values(poll);
        if asking.is_some() {
            self.cursor_is_asked_for(poll);
            self.partitions_are_asked_for(poll);
        }
        let masker = self.engine.masker().with(self.uses.literals.drain(..));
        let (asking, finding, judging, limits) = (asking?, finding?, judging?, limits?);
        Some(Source {
            name: name.into(),
            is_enabled: value(&poll.enabled) != Some(&false),
            role: match route.webhook {
                Some(_) => Role::SafetyNet,
                None => Role::Alone,
            },
            expected_every,
            pending: pending?,
            alias,
            keys,
            deliver: deliver?.to_vec(),
            depth_max: value(&route.depth_max).map(|max| max.get()),
            schedule: schedule?,
            request: asking.request,
            fetcher: Arc::new(asking.fetcher),
            auth: asking.auth,
            session: asking.session,
            decode: format(poll),
            items: finding.items.rules,
            event_type: finding.items.event_type,
            rules: finding.rules,
            cursor: finding.cursor.templates,
            changes: finding.changes,
            partitions: partitions?,
            concurrency,
            errors: judging.errors,
            retry: judging.retry,
            on_error: judging.on_error,
            on_lost: finding.cursor.on_lost,
            retention: finding.cursor.retention,
            on_gap: match value(&poll.on_gap) {
                Some(raw::OnGap::Deliver) => OnGap::Deliver,
                Some(raw::OnGap::Log) | None => OnGap::Log,
            },
            budget: limits.budget,
            shared_budget: limits.shared,
            limit_headers: limits.headers,
            min_interval,
            fingerprint: keys::fingerprint(poll),
            masker,
        })
    }

    /// What is asked, and by what.
    fn asking(
        &mut self,
        poll: &raw::Poll,
        times: Times,
        partitions: Option<&[Partition]>,
    ) -> Option<Asking> {
        let request = self.request(&poll.request, IN_REQUESTS);
        let session = match &poll.session {
            Some(field) => self.login(field).map(Some),
            None => Some(None),
        };
        let auth = self.auth(poll);
        let fetcher = self.fetcher(poll, times, partitions);
        Some(Asking {
            request: request?,
            session: session?,
            auth: auth?,
            fetcher: fetcher?,
        })
    }

    /// What is found in answers, and how far they are read.
    fn finding(&mut self, name: &str, route: &Route, poll: &raw::Poll) -> Option<Finding> {
        let items = self.items(name, route, poll);
        let cursor = self.cursor(poll);
        let pagination = self.pagination(poll);
        let rules = cursor.as_ref().map(|cursor| cursor.rule.clone());
        let rules = rules.zip(pagination);
        let rules = rules.and_then(|(cursor, pagination)| self.rules(poll, cursor, pagination));
        let changes = match &poll.changes {
            Some(field) => self.changes(field, poll),
            None => Some(None),
        };
        Some(Finding {
            items: items?,
            cursor: cursor?,
            rules: rules?,
            changes: changes?,
        })
    }

    /// What answers mean, and what follows those that are bad.
    fn judging(&mut self, poll: &raw::Poll) -> Option<Judging> {
        let errors = self.errors(poll);
        let honour = self.honour(poll);
        let retry = self.retry(poll, honour);
        let on_error = self.on_error(poll, honour);
        Some(Judging {
            errors: errors?,
            retry: retry?,
            on_error: on_error?,
        })
    }

    /// The name that the source had before: nobody else's.
    fn alias(&mut self, name: &str, route: &Route, poll: &raw::Poll) -> Option<String> {
        let help = "write the name that a route had before it was renamed, or take `alias` away";
        let successor = self.sources.iter();
        let successor = successor.filter(|source| source.alias.as_deref() == Some(name));
        let successor = successor.map(|source| source.name.clone()).next();
        if let Some(other) = successor {
            let span = texts::place(&route.poll).unwrap_or_default();
            let message = format!("`{name}` is the `alias` of `{other}`, which takes its state");
            self.fault_with_help(span, message, help);
        }
        let field = poll.alias.as_ref()?;
        let alias = field.get()?;
        let taken = self
            .sources
            .iter()
            .find(|source| source.alias.as_deref() == Some(alias) || *source.name == **alias);
        let message = match taken {
            _ if alias == name => "a route has had another name before, not its own".to_owned(),
            Some(other) if *other.name == **alias => {
                format!("`{alias}` is a route of this file, and keeps its own state")
            }
            Some(other) => format!("`{}` takes over the state of `{alias}` already", other.name),
            None => return Some(alias.clone()),
        };
        self.fault_with_help(field.span, message, help);
        None
    }

    fn expected_every(&mut self, poll: &raw::Poll) -> Option<Duration> {
        let field = poll.expected_every.as_ref()?;
        let every = field.get()?.as_duration();
        if every.is_zero() {
            let help = "leave `expected_every` out if nobody knows";
            self.fault_with_help(field.span, "this time must be longer than zero", help);
        }
        Some(every)
    }

    /// Where the provider says how much waits there.
    fn pending(&mut self, poll: &raw::Poll) -> Option<Option<Pending>> {
        let Some(field) = &poll.pending else {
            return Some(None);
        };
        let raw = field.get()?;
        let request = self.further_request(&raw.request, IN_REQUESTS);
        let value = self.selector(&raw.value);
        let every = self.period(&raw.every, PENDING_EVERY);
        Some(Some(Pending {
            request: request?,
            value: value?,
            every,
        }))
    }

    /// Checks cursor, pages and order against each other, if all of them are known.
    fn rules(
        &mut self,
        poll: &raw::Poll,
        cursor: CursorRule,
        pagination: Pagination,
    ) -> Option<Rules> {
        let order = items::order(poll)?;
        let drain = match value(&poll.schedule).and_then(|schedule| value(&schedule.drain)) {
            Some(false) => Drain::OnSchedule,
            Some(true) | None => Drain::AtOnce,
        };
        let error = match Rules::new(cursor, pagination, order, drain) {
            Ok(rules) => return Some(rules),
            Err(error) => error,
        };
        let help = match error {
            RulesError::RowsMove => {
                "have the provider sort by that time, and write `items.order: asc`"
            }
            RulesError::NothingToAnchorAt => "take `drift` away",
            RulesError::StopsBeforeNew => "take `stop_when` away",
            RulesError::MoreIsOlder => "write `items.order: asc`, or take `has_more` away",
        };
        let pages = poll.pagination.as_ref().map(|field| field.span);
        let cursor = poll.cursor.as_ref().map(|field| field.span);
        let span = match error {
            RulesError::MoreIsOlder => cursor.or(pages),
            _ => pages.or(cursor),
        };
        self.fault_with_help(span.unwrap_or_default(), error.to_string(), help);
        None
    }

    /// Finds expressions that name what this source does not have.
    fn names_have_values(&mut self, poll: &raw::Poll) {
        if poll.session.is_none() {
            for span in std::mem::take(&mut self.uses.session) {
                let help = "add `session: {request: …, extract: …}`, or take the name away";
                self.fault_with_help(span, "this source has no `session`", help);
            }
        }
        self.session_has_parts(poll);
        if poll.partitions.is_none() {
            for span in std::mem::take(&mut self.uses.partition) {
                let help = "add `partitions: {list: […]}`, or take the name away";
                self.fault_with_help(span, "this source has no `partitions`", help);
            }
        }
    }

    /// Finds names that nothing is taken under from the answer of `session`: what has no value would
    /// be left out of requests without a word.
    fn session_has_parts(&mut self, poll: &raw::Poll) {
        let parts = std::mem::take(&mut self.uses.session_parts);
        let extract = value(&poll.session).and_then(|session| session.extract.get());
        let Some(extract) = extract else { return };
        let known: Vec<&str> = extract.iter().map(|(key, _)| &*key.name).collect();
        for (span, part) in parts {
            if !known.contains(&&*part) {
                let message = format!("nothing is taken from the answer as `session.{part}`");
                let help = format!("`session.extract` takes: {}", known.join(", "));
                self.fault_with_help(span, message, help);
            }
        }
    }
}

/// How many partitions are asked for at once.
fn concurrency(poll: &raw::Poll) -> NonZeroU32 {
    const DEFAULT: NonZeroU32 = NonZeroU32::MIN.saturating_add(3);
    let partitions = value(&poll.partitions);
    partitions.map_or(NonZeroU32::MIN, |partitions| {
        value(&partitions.concurrency).copied().unwrap_or(DEFAULT)
    })
}

fn format(poll: &raw::Poll) -> Format {
    match value(&poll.decode) {
        None | Some(Decode::Json) => Format::Json,
        Some(Decode::Ndjson) => Format::Ndjson,
        Some(Decode::Feed) => Format::Feed,
        Some(Decode::Csv) => Format::Csv,
        Some(Decode::Text) => Format::Text,
    }
}
