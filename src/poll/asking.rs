//! One request to a provider, and everything that has to come before its answer is good: a session, a
//! token, room in the budget, further attempts.
//!
//! What an answer means is decided in `errors`; here it is done.

use std::time::Duration;

use http::HeaderMap;
use jiff::Timestamp;
use serde_json::Value;

use super::auth::{Auth, AuthError, PreparedRequest};
use super::backoff::{Asked, Pace};
use super::budget;
use super::decode::Format;
use super::errors::{
    AfterRenewal, AnswerContext, Answered, Judged, Judgement, Network, Renewals, Seen,
};
use super::fetch::{FetchError, Request, Response};
use super::pagination::PageRequest;
use super::reading::Reading;
use super::request::RequestRules;
use super::wire::{header_map, value_of, wired};
use crate::expr::scoped::{Name, Scope};

/// A good answer.
pub(super) enum Answer {
    /// With a body.
    Page {
        /// The answer.
        response: Response,
        /// Its body, decoded.
        body: Value,
    },
    /// Without: it says nothing about what there is.
    Empty,
}

/// Why there is no good answer.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Stop {
    /// The poll has failed.
    Failed(Failure),
    /// The provider, or the budget, wants to be left alone until then.
    NotBefore(Timestamp),
    /// Reading goes on from another cursor.
    SetCursor {
        /// The cursor.
        cursor: Value,
        /// Whether events were lost at the provider.
        gap: bool,
    },
    /// Reading begins anew.
    Restart {
        /// Whether events were lost at the provider.
        gap: bool,
    },
    /// Somebody must look.
    Paused(String),
    /// Another poll of this source came in between.
    Fenced,
}

/// How a poll has failed.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Failure {
    /// A word for metrics.
    pub label: &'static str,
    /// A sentence without secrets.
    pub text: String,
    /// How the pause after it is chosen.
    pub pace: Pace,
    /// What pause was asked for.
    pub asked: Asked,
}

impl Failure {
    /// One that may pass by itself.
    pub(super) fn passing(label: &'static str, text: impl ToString) -> Stop {
        Stop::Failed(Self {
            label,
            text: text.to_string(),
            pace: Pace::Growing,
            asked: Asked::Nothing,
        })
    }

    /// One that will not.
    pub(super) fn lasting(label: &'static str, text: impl ToString) -> Stop {
        Stop::Failed(Self {
            label,
            text: text.to_string(),
            pace: Pace::Ceiling,
            asked: Asked::Nothing,
        })
    }
}

/// What is done after an answer.
pub(super) enum Turn {
    /// It is taken.
    Good(Answer),
    /// The request is sent once more.
    Again,
    /// The poll ends.
    Stop(Stop),
}

impl Reading<'_> {
    /// Asks for a page until there is a good answer.
    pub(super) async fn ask(&mut self, page: &PageRequest) -> Result<Answer, Stop> {
        let mut attempts = 0;
        loop {
            let fetched = self.fetch_page(page).await?;
            attempts += 1;
            match self.judge(fetched, attempts, page).await? {
                Turn::Good(answer) => return Ok(answer),
                Turn::Again => {}
                Turn::Stop(stop) => return Err(stop),
            }
        }
    }

    /// Sends the request for a page once.
    pub(super) async fn fetch_page(
        &mut self,
        page: &PageRequest,
    ) -> Result<Result<Response, FetchError>, Stop> {
        let source = self.source;
        self.log_in().await?;
        self.have_token().await?;
        let scope = self.scope(page.cursor.as_ref());
        let prepared = source.request.prepare(&scope, page);
        let prepared = prepared.map_err(|error| Failure::lasting("expression", error))?;
        let prepared = self.authenticated(prepared, &scope)?;
        let validators = page.is_first.then(|| self.state.validators.clone());
        let request = wired(prepared, &source.request, validators.as_ref());
        self.fetch(request?).await
    }

    /// The variables of a request.
    pub(super) fn scope(&self, cursor: Option<&Value>) -> Scope {
        let now = self.tools.clock.now();
        let state = serde_json::json!({
            "started_at": self.state.started_at.unwrap_or(self.started).to_string(),
            "last_success_at": self.state.last_success_at.map(|at| at.to_string()),
        });
        let mut scope = Scope::default()
            .with(Name::State, &state)
            .with_time(Name::PollStarted, self.started)
            .with_time(Name::Now, now)
            .with_chance((self.tools.chance)());
        if let Some(cursor) = cursor {
            scope = scope.with(Name::Cursor, &self.written(cursor));
        }
        if let Some(partition) = &self.partition.value {
            scope = scope.with(Name::Partition, partition);
        }
        match &*self.session {
            Some(session) => session.enter(&scope),
            None => scope,
        }
    }

    /// A cursor as requests have it: a time in the form that the file asks for.
    fn written(&self, cursor: &Value) -> Value {
        let time = cursor
            .as_str()
            .and_then(|text| text.parse::<Timestamp>().ok());
        match time.filter(|_| self.source.rules.cursor().is_time()) {
            Some(time) => self.source.cursor.format.write(time),
            None => cursor.clone(),
        }
    }

    fn authenticated(
        &self,
        mut prepared: PreparedRequest,
        scope: &Scope,
    ) -> Result<PreparedRequest, Stop> {
        let tokens = self.state.tokens();
        let applied = self
            .source
            .auth
            .apply(&mut prepared, scope, tokens.as_ref());
        applied.map_err(|error| Failure::lasting("auth", error))?;
        Ok(prepared)
    }

    /// Sends a request when the budget allows it.
    async fn fetch(&mut self, request: Request) -> Result<Result<Response, FetchError>, Stop> {
        let budget = self.source.budget.clone();
        let _permit = budget.enter().await;
        loop {
            let now = self.tools.clock.now();
            if now >= self.ends {
                return Err(Stop::NotBefore(now));
            }
            match budget.take(now) {
                Ok(()) => break,
                Err(at) if at >= self.ends => return Err(Stop::NotBefore(at)),
                Err(at) => pause(now, at).await,
            }
        }
        self.tally.requests += 1;
        let fetched = self.source.fetcher.fetch(request).await;
        if let Ok(response) = &fetched {
            let now = self.tools.clock.now();
            if let Some(hold) = budget.observe(response.status, &response.headers, now)
                && hold.is_cut()
            {
                let (asked, kept) = (hold.asked.as_secs(), hold.kept.as_secs());
                self.tell(&format!(
                    "the provider asks for {asked} s of rest and gets {kept} s"
                ));
            }
            if let Some(header) = &self.source.min_interval {
                self.tally.at_least = header.read(&response.headers).or(self.tally.at_least);
            }
        }
        Ok(fetched)
    }

    pub(super) async fn judge(
        &mut self,
        fetched: Result<Response, FetchError>,
        attempts: u32,
        page: &PageRequest,
    ) -> Result<Turn, Stop> {
        let response = match fetched {
            Ok(response) => response,
            Err(error) => {
                let Some(network) = network(&error) else {
                    return Ok(Turn::Stop(Failure::lasting(error.label(), error)));
                };
                let seen = Seen::Failed(network);
                let judged = self.source.errors.judge(&seen, self.renewed);
                let cause = (error.label(), error.to_string());
                return Ok(self.turn(judged, cause, attempts, None).await);
            }
        };
        let content_type = value_of(&response.headers, "content-type");
        let decoded = self.source.decode.decode(&response.body, content_type);
        let headers = header_map(&response.headers);
        let now = self.tools.clock.now();
        let limits = &self.source.limit_headers;
        let read = |name: &Option<String>| value_of(&response.headers, name.as_deref()?);
        let session = self
            .session
            .as_ref()
            .map(|session| session.values().clone());
        let session = session.map(Value::Object);
        let context = AnswerContext {
            status: response.status,
            headers: &headers,
            body: decoded.as_ref().ok(),
            session: session.as_ref(),
            cursor: page.cursor.as_ref(),
            chance: (self.tools.chance)(),
        };
        let answered = Answered {
            context,
            raw: &response.body,
            retry_after: value_of(&response.headers, "retry-after")
                .and_then(|value| budget::retry_after(value, now)),
            remaining: read(&limits.remaining).and_then(budget::remaining),
            reset: read(&limits.reset).and_then(|value| limits.reset_as.wait(value, now)),
        };
        let judged = self
            .source
            .errors
            .judge(&Seen::Answered(&answered), self.renewed);
        if judged.judgement == Judgement::Fine {
            return Ok(match decoded {
                Ok(body) => Turn::Good(Answer::Page { response, body }),
                Err(error) => Turn::Stop(Failure::passing(error.label(), error)),
            });
        }
        let cause = match (&decoded, response.status) {
            (Err(error), 200..=299) => (error.label(), error.to_string()),
            (_, status) => ("status", format!("the answer is {status}")),
        };
        let later = match judged.judgement {
            Judgement::RenewSession {
                cursor: AfterRenewal::FromRule(rule),
                ..
            } => Some((rule, response.status, decoded.ok(), headers.clone())),
            _ => None,
        };
        Ok(self.turn(judged, cause, attempts, later).await)
    }

    /// Does what was judged.
    async fn turn(
        &mut self,
        judged: Judged,
        (label, text): (&'static str, String),
        attempts: u32,
        after: Option<(usize, u16, Option<Value>, HeaderMap)>,
    ) -> Turn {
        let text = judged.note.unwrap_or(text);
        let failed = |asked, pace| {
            Turn::Stop(Stop::Failed(Failure {
                label,
                text: text.clone(),
                pace,
                asked,
            }))
        };
        match judged.judgement {
            Judgement::Fine | Judgement::Empty => Turn::Good(Answer::Empty),
            Judgement::Retry {
                wait: Asked::ByUpstream(wait),
            } if wait > HELD_MAX => self.limited(Asked::ByUpstream(wait)).await,
            Judgement::Retry { wait } => self
                .again(wait, attempts)
                .await
                .map_or_else(|| failed(wait, Pace::Growing), |()| Turn::Again),
            Judgement::RateLimited { wait } => self.limited(wait).await,
            Judgement::RenewSession { cursor, gap } => {
                self.renewed.session = true;
                *self.session = None;
                match (cursor, after) {
                    (AfterRenewal::FromRule(_), Some(after)) => self.cursor_after(after, gap).await,
                    _ => Turn::Again,
                }
            }
            Judgement::RenewToken => {
                self.renewed.token = true;
                match self.renew_token().await {
                    Ok(()) => Turn::Again,
                    Err(stop) => Turn::Stop(stop),
                }
            }
            Judgement::SetCursor { cursor, gap } => Turn::Stop(Stop::SetCursor { cursor, gap }),
            Judgement::Restart { gap } => Turn::Stop(Stop::Restart { gap }),
            Judgement::Pause => Turn::Stop(Stop::Paused(text)),
            Judgement::Fail { pace } => failed(Asked::Nothing, pace),
        }
    }

    /// Waits for the next attempt; `None` = there is none in this poll.
    async fn again(&mut self, wait: Asked, attempts: u32) -> Option<()> {
        let now = self.tools.clock.now();
        let chance = (self.tools.chance)();
        let at = self
            .source
            .retry
            .again(attempts, wait, now, self.ends, chance)?;
        pause(now, at).await;
        Some(())
    }

    async fn limited(&mut self, wait: Asked) -> Turn {
        let now = self.tools.clock.now();
        let asked = match wait {
            Asked::ByRule(wait) | Asked::ByUpstream(wait) => wait,
            Asked::Nothing => LIMITED_WAIT,
        };
        // Everybody on the budget is to wait.
        let until = self.source.budget.hold(asked, now).until;
        // A longer wait is noted on disk: a restart must not shorten it.
        if until >= self.ends || asked > HELD_MAX {
            return Turn::Stop(Stop::NotBefore(until));
        }
        pause(now, until).await;
        Turn::Again
    }

    /// The cursor that a rule gives once the session is new.
    async fn cursor_after(
        &mut self,
        (rule, status, body, headers): (usize, u16, Option<Value>, HeaderMap),
        gap: bool,
    ) -> Turn {
        if let Err(stop) = self.log_in().await {
            return Turn::Stop(stop);
        }
        let session = self
            .session
            .as_ref()
            .map(|session| session.values().clone());
        let session = session.map(Value::Object);
        let context = AnswerContext {
            status,
            headers: &headers,
            body: body.as_ref(),
            session: session.as_ref(),
            cursor: None,
            chance: (self.tools.chance)(),
        };
        match self.source.errors.cursor_after(rule, &context) {
            Ok(cursor) => Turn::Stop(Stop::SetCursor { cursor, gap }),
            Err(error) => Turn::Stop(Failure::passing("session", error)),
        }
    }

    /// Sends a request of its own, whose answer only has to be a good one.
    pub(super) async fn send(
        &mut self,
        rules: &RequestRules,
        cursor: Option<&Value>,
    ) -> Result<(), Stop> {
        let scope = self.scope(cursor);
        let prepared = rules.prepare(&scope, &PageRequest::default());
        let prepared = prepared.map_err(|error| Failure::lasting("expression", error))?;
        let prepared = self.authenticated(prepared, &scope)?;
        let fetched = self.fetch(wired(prepared, rules, None)?).await?;
        match fetched
            .map_err(|error| Failure::passing("confirm", error))?
            .status
        {
            200..=299 => Ok(()),
            status => Err(Failure::passing(
                "confirm",
                format!("the answer is {status}"),
            )),
        }
    }

    /// Asks the provider how much waits there, if it is time. What it does not tell is not known.
    pub(super) async fn ask_what_waits(&mut self, asked_at: &mut Option<Timestamp>) {
        let Some(pending) = &self.source.pending else {
            return;
        };
        let now = self.tools.clock.now();
        let is_due = |at: Timestamp| now.duration_since(at).unsigned_abs() >= pending.every;
        if !asked_at.is_none_or(is_due) {
            return;
        }
        *asked_at = Some(now);
        let asked = async {
            let scope = self.scope(None);
            let prepared = pending.request.prepare(&scope, &PageRequest::default());
            let prepared = prepared.map_err(|error| Failure::lasting("expression", error))?;
            let prepared = self.authenticated(prepared, &scope)?;
            let request = wired(prepared, &pending.request, None)?;
            self.fetched_json(request, "pending").await
        };
        match asked.await {
            Ok(body) => self.tally.pending = pending.value.first(&body).and_then(Value::as_u64),
            Err(stop) => self.tell(&format!("how much waits there is not known: {stop:?}")),
        }
    }

    /// Begins a session, if the source has one and it is over.
    pub(super) async fn log_in(&mut self) -> Result<(), Stop> {
        let Some(login) = &self.source.session else {
            return Ok(());
        };
        let now = self.tools.clock.now();
        if self
            .session
            .as_ref()
            .is_some_and(|session| session.is_live(now))
        {
            return Ok(());
        }
        let scope = self.scope(None);
        let page = PageRequest::default();
        let prepared = login.request.prepare(&scope, &page);
        let prepared = prepared.map_err(|error| Failure::lasting("session", error))?;
        let body = self
            .fetched_json(wired(prepared, &login.request, None)?, "session")
            .await?;
        let begun = login.session.read_answer(&body, self.tools.clock.now());
        *self.session = Some(begun.map_err(|error| Failure::passing("session", error))?);
        Ok(())
    }

    /// Has a token that can be used, if the source needs one.
    async fn have_token(&mut self) -> Result<(), Stop> {
        let Auth::Oauth2(oauth2) = &self.source.auth else {
            return Ok(());
        };
        let held = self.state.tokens();
        let needs = oauth2.needs(held.as_ref(), &self.scope(None), self.tools.clock.now());
        match needs.map_err(|error| Failure::lasting("auth", error))? {
            None => Ok(()),
            Some(request) => self.take_token(request).await,
        }
    }

    async fn renew_token(&mut self) -> Result<(), Stop> {
        let Auth::Oauth2(oauth2) = &self.source.auth else {
            return Ok(());
        };
        let held = self.state.tokens();
        let renewal = oauth2.renewal(held.as_ref(), &self.scope(None));
        let request = renewal.map_err(|error| Failure::lasting("auth", error))?;
        self.take_token(request).await
    }

    /// Asks for a token and has it on disk before it is used: the old one may be worth nothing now.
    async fn take_token(&mut self, request: super::auth::TokenRequest) -> Result<(), Stop> {
        let wire = wired(request.request().clone(), &self.source.request, None)?;
        let body = self.fetched_json(wire, "token").await?;
        let renewed = match request.read_answer(&body, self.tools.clock.now()) {
            Ok(renewed) => renewed,
            Err(error @ AuthError::Refused { .. }) => {
                let begins_anew = self.state.token.take().is_some() && self.begins_anew();
                return match begins_anew {
                    true => Err(Failure::passing("token", error)),
                    false => Err(Stop::Paused(error.to_string())),
                };
            }
            Err(error) => return Err(Failure::passing("token", error)),
        };
        let this = &mut *self;
        let committed = renewed.commit(async |token: Value| {
            this.state.token = Some(token.clone());
            this.note(|state| state.token = Some(token)).await
        });
        match committed.await {
            Ok(_) => Ok(()),
            Err(super::auth::CommitError::Store { error, .. }) => Err(error),
            Err(super::auth::CommitError::Unwritable(_)) => {
                Err(Failure::passing("token", "the token cannot be written"))
            }
        }
    }

    fn begins_anew(&self) -> bool {
        matches!(&self.source.auth, Auth::Oauth2(oauth2) if oauth2.can_begin_anew())
    }

    /// The JSON body of an answer to a request that comes before the others.
    async fn fetched_json(&mut self, request: Request, label: &'static str) -> Result<Value, Stop> {
        let fetched = self.fetch(request).await?;
        let response = fetched.map_err(|error| Failure::passing(label, error))?;
        let body = Format::Json.decode(&response.body, None);
        match (response.status, body) {
            (200..=299 | 400..=499, Ok(body)) => Ok(body),
            (429 | 500..=599, _) => Err(Failure::passing(
                label,
                format!("the {label} is not given: {}", response.status),
            )),
            (status, Err(_)) => Err(Failure::lasting(
                label,
                format!("the {label} is not given: {status} without JSON"),
            )),
            (status, Ok(_)) => Err(Failure::lasting(
                label,
                format!("the {label} is not given: {status}"),
            )),
        }
    }
}

/// The longest wait that a provider asks for and that is only waited, without a note on disk.
const HELD_MAX: Duration = Duration::from_secs(1);
/// How long a provider is left alone that says "too often" and no more.
const LIMITED_WAIT: Duration = Duration::from_secs(30);

/// Which failure of the network an error is; `None` = it is a rule's.
fn network(error: &FetchError) -> Option<Network> {
    Some(match error {
        FetchError::Timeout { .. } | FetchError::ConnectTimeout { .. } => Network::Timeout,
        FetchError::Connect { .. } => Network::Connect,
        FetchError::Tls { .. } => Network::Tls,
        FetchError::Dns { .. } => Network::Dns,
        error if error.is_transient() => Network::Broken,
        _ => return None,
    })
}

async fn pause(now: Timestamp, until: Timestamp) {
    let wait = Duration::try_from(until.duration_since(now)).unwrap_or_default();
    tokio::time::sleep(wait).await;
}

impl Renewals {
    /// Nothing was renewed.
    pub(super) const NONE: Self = Self {
        token: false,
        session: false,
    };
}
