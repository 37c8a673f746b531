//! The API: versioned JSON for operators and their tools.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode, header};
use jiff::Timestamp;
use percent_encoding::percent_decode_str;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;

use super::access::{Access, Visitor};
use super::explain::Explanation;
use super::filter::Filter;
use super::live::{BackendList, ConfigState, Live, RouteList};
use super::operation::{self, BASE, Found, Operation, Row};
use super::problem::Problem;
use super::query::Query;
use super::replay::{Config, NewReplay, Replay, ReplayState, Replays};
use super::sources::{NewAcceptance, NewPause, NewRange, NewState, Order, Sources};
use super::wire::{
    self, ActList, AttemptList, Cancelled, Detail, Event, EventList, Made, NewDelivery, ReplayList,
};
use super::{explain, openapi, respond};
use crate::access::{Level, Tokens};
use crate::clock::Clock;
use crate::ingress::service::Gateway;
use crate::ingress::service::desk::{Question, Reply};
use crate::redaction::Redaction;
use crate::store::{self, Act, EventId, Log, Redelivery, Shown, Store};

/// The most entries of a page.
const LIMIT_MAX: usize = 500;
/// The entries of a page, if nobody says how many.
const LIMIT: usize = 50;
/// How many lines of a tail may wait for a slow reader; beyond, it is cut off.
const TAIL_LINES_MAX: usize = 256;
/// How often a tail without lines says that it lives.
const TAIL_PAUSE: Duration = Duration::from_secs(15);

/// Answers what is asked of the API.
pub struct Api {
    access: Access,
    gateway: Arc<Gateway>,
    replays: Option<Arc<Replays>>,
    live: Live,
    clock: Arc<dyn Clock>,
}

type Answer = Result<Response<Vec<u8>>, Problem>;

impl Api {
    /// Answers for a gateway, to those who have one of these tokens.
    pub fn new(
        tokens: Arc<Tokens>,
        live: Live,
        replays: Option<Arc<Replays>>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            access: Access::new(tokens),
            gateway: live.gateway.clone(),
            replays,
            live,
            clock,
        }
    }

    /// Answers a question below [`BASE`].
    pub(super) async fn answer(&self, question: &Question) -> Reply {
        match self.reply(question).await {
            Ok(reply) => reply,
            Err(problem) => Reply::Whole(problem.response()),
        }
    }

    async fn reply(&self, question: &Question) -> Result<Reply, Problem> {
        let path = String::from_utf8_lossy(question.head.path()).into_owned();
        let below = path.strip_prefix(BASE).unwrap_or_default();
        let (row, values) = match operation::find(&question.head.method, below) {
            Found::Row(row, values) => (row, values),
            Found::OtherMethods(methods) => {
                // Whoever may not ask is not told what there is.
                self.access.admit(question, Level::Read)?;
                let allow = methods.join(", ");
                let detail = format!("only {allow}");
                return Err(Problem {
                    allow: Some(allow),
                    ..Problem::new(StatusCode::METHOD_NOT_ALLOWED, detail)
                });
            }
            Found::Nothing => {
                self.access.admit(question, Level::Read)?;
                let detail = format!("there is no {path}; {BASE}/openapi.json lists what there is");
                return Err(Problem::missing(detail));
            }
        };
        let visitor = self.access.admit(question, row.level)?;
        let values = decoded(&values)?;
        let query = Query::parse(question.head.query().unwrap_or_default(), row.query)?;
        if row.operation == Operation::Tail {
            return Ok(self.tail(query));
        }
        let asked = Asked {
            row,
            values: &values,
            query,
            body: &question.body,
            visitor: &visitor,
        };
        self.done(asked).await.map(Reply::Whole)
    }

    async fn done(&self, asked: Asked<'_>) -> Answer {
        let value = |index: usize| asked.values.get(index).map_or("", String::as_str);
        match asked.row.operation {
            Operation::ListEvents => self.list(asked.query).await,
            Operation::ListDead => {
                let dead = asked.query.with("state", "dead")?;
                self.list(dead).await
            }
            Operation::ShowEvent => {
                let shown = self.event(value(0)).await?;
                let mut event = Event::new(&shown, &self.redaction(), Detail::All);
                if shown.refused.is_some() {
                    event.findings = self.explained(shown).await?.findings;
                }
                json(&event)
            }
            Operation::EventBody => {
                let shown = self.event(value(0)).await?;
                let body = self.redaction().body(&shown.event.body);
                Ok(respond(StatusCode::OK, "application/octet-stream", body))
            }
            Operation::EventAttempts => {
                let shown = self.event(value(0)).await?;
                let event = Event::new(&shown, &self.redaction(), Detail::All);
                json(&AttemptList {
                    deliveries: event.deliveries,
                })
            }
            Operation::ExplainEvent => {
                let shown = self.event(value(0)).await?;
                json(&self.explained(shown).await?)
            }
            Operation::ReplayEvent => self.replay_event(value(0), &asked).await,
            Operation::RetryDelivery => self.retry(value(0), value(1), &asked).await,
            Operation::CancelDelivery => self.cancel(value(0), value(1), &asked).await,
            Operation::BeginReplay => self.begin_replay(&asked).await,
            Operation::ListReplays => json(&ReplayList {
                replays: self.replays()?.list(),
            }),
            Operation::ShowReplay => json(&self.replays()?.one(value(0))?),
            Operation::PauseReplay => self.turn(value(0), ReplayState::Paused, &asked).await,
            Operation::ResumeReplay => self.turn(value(0), ReplayState::Running, &asked).await,
            Operation::CancelReplay => self.turn(value(0), ReplayState::Cancelled, &asked).await,
            Operation::ListRoutes => json(&self.live.routes()),
            Operation::ListBackends => json(&self.live.backends(self.clock.now())),
            Operation::PauseRoute | Operation::ResumeRoute => {
                self.live.known_route(value(0))?;
                self.noted(&asked, value(0)).await?;
                let is_paused = asked.row.operation == Operation::PauseRoute;
                json::<RouteList>(&self.live.pause_route(value(0), is_paused).await?)
            }
            Operation::PauseBackend | Operation::ResumeBackend => {
                self.live.known_backend(value(0))?;
                self.noted(&asked, value(0)).await?;
                let is_paused = asked.row.operation == Operation::PauseBackend;
                let now = self.clock.now();
                json::<BackendList>(&self.live.pause_backend(value(0), is_paused, now).await?)
            }
            Operation::ListSources => json(&self.sources().list(self.clock.now()).await?),
            Operation::SourceState => json(&self.sources().states(value(0)).await?),
            Operation::PutSourceState => self.put_state(value(0), &asked).await,
            Operation::RunSource
            | Operation::PauseSource
            | Operation::ResumeSource
            | Operation::AcceptSource
            | Operation::ReplaySource
            | Operation::ResetSource => self.turn_source(value(0), &asked).await,
            Operation::ListActs => {
                let limit = limit(asked.query.number("limit")?)?;
                let acts = self.store()?.acts(asked.query.text("page"), limit).await?;
                json(&ActList::from(acts))
            }
            Operation::ShowConfig => json::<ConfigState>(&self.live.config()),
            Operation::Document => json(&openapi::document()),
            Operation::Tail => Err(Problem::missing("a tail is no document")),
        }
    }

    fn redaction(&self) -> Redaction {
        self.gateway.snapshot().redaction.clone()
    }

    fn store(&self) -> Result<&Arc<dyn Store>, Problem> {
        let none = "this gateway has no store: name one in the file under `store`";
        self.gateway.store().ok_or_else(|| Problem::conflict(none))
    }

    fn replays(&self) -> Result<&Arc<Replays>, Problem> {
        let none = "this gateway has no store: name one in the file under `store`";
        self.replays.as_ref().ok_or_else(|| Problem::conflict(none))
    }

    async fn list(&self, query: Query) -> Answer {
        let now = self.clock.now();
        let redaction = self.redaction();
        json(&list(self.store()?.as_ref(), &query, &redaction, now).await?)
    }

    async fn event(&self, id: &str) -> Result<Shown, Problem> {
        event(self.store()?.as_ref(), id).await
    }

    /// Notes what somebody is about to do: nothing is done that is not noted.
    async fn noted(&self, asked: &Asked<'_>, detail: &str) -> Result<(), Problem> {
        let Some(store) = self.gateway.store() else {
            return Ok(());
        };
        let act = Act {
            at: self.clock.now(),
            who: asked.visitor.name.clone(),
            what: openapi::name(asked.row.operation),
            detail: detail.to_owned(),
        };
        tracing::info!(who = act.who, what = act.what, detail, "operator");
        Ok(store.act(act).await?)
    }

    async fn replay_event(&self, id: &str, asked: &Asked<'_>) -> Answer {
        let shown = self.event(id).await?;
        let new: NewDelivery = asked.body_or_default()?;
        let replays = self.replays()?;
        if let Some(to) = &new.to {
            replays.known_backend(to)?;
        }
        let detail = match &new.to {
            Some(to) => format!("{id} to {to}"),
            None => id.to_owned(),
        };
        self.noted(asked, &detail).await?;
        if shown.refused.is_some() {
            use crate::ingress::service::again::Again;
            let again = self.gateway.judge_again(&shown).await;
            return match again.map_err(Problem::conflict)? {
                Again::Accepted { deliveries } => json(&Made { deliveries }),
                Again::Duplicate => Err(Problem::conflict("its event was accepted before")),
            };
        }
        let replay = Replay::of_one(new.to, new.config, asked.visitor.name.clone());
        let made = replays.make(&[shown], &replay).await?;
        if made.deliveries == 0 {
            return Err(Problem::conflict(
                "nothing was made: its deliveries wait already, or its route makes none",
            ));
        }
        let deliveries = made.deliveries;
        json(&Made { deliveries })
    }

    async fn retry(&self, id: &str, slot: &str, asked: &Asked<'_>) -> Answer {
        let shown = self.event(id).await?;
        let slot = slot_of(slot)?;
        let known = shown.deliveries.iter().find(|one| one.slot == slot);
        let known = known.ok_or_else(|| no_delivery(id, slot))?;
        self.noted(asked, &format!("{id}/{slot}")).await?;
        let item = Redelivery {
            id: shown.event.id,
            to: vec![store::Place {
                slot,
                backend: known.backend.clone(),
            }],
        };
        let now = self.clock.now();
        match self.store()?.redeliver(vec![item], now).await? {
            0 => Err(Problem::conflict("this delivery waits already")),
            deliveries => json(&Made { deliveries }),
        }
    }

    async fn cancel(&self, id: &str, slot: &str, asked: &Asked<'_>) -> Answer {
        let shown = self.event(id).await?;
        let slot = slot_of(slot)?;
        let known = shown.deliveries.iter().find(|one| one.slot == slot);
        let known = known.ok_or_else(|| no_delivery(id, slot))?;
        self.noted(asked, &format!("{id}/{slot}")).await?;
        let now = self.clock.now();
        match self.store()?.cancel(shown.event.id, slot, now).await? {
            store::Cancelled::Done => {
                let labels = [&*shown.event.route, &*known.backend, store::CANCELLED];
                let dead = &self.live.metrics.delivery.dead;
                dead.with_label_values(&labels).inc();
                json(&Cancelled { cancelled: true })
            }
            store::Cancelled::InFlight => Err(Problem::conflict(
                "an attempt is being made; ask again when it has ended",
            )),
            store::Cancelled::NotLive => Err(Problem::conflict("this delivery has ended")),
        }
    }

    async fn begin_replay(&self, asked: &Asked<'_>) -> Answer {
        let new: NewReplay = asked.body()?;
        if !new.preview {
            let detail = serde_json::to_string(&new).unwrap_or_default();
            self.noted(asked, &detail).await?;
        }
        let is_preview = new.preview;
        let replay = self.replays()?.begin(new, &asked.visitor.name).await?;
        let mut response = json(&replay)?;
        if !is_preview {
            *response.status_mut() = StatusCode::CREATED;
        }
        Ok(response)
    }

    async fn turn(&self, id: &str, to: ReplayState, asked: &Asked<'_>) -> Answer {
        self.replays()?.one(id)?;
        self.noted(asked, id).await?;
        json(&self.replays()?.turn(id, to).await?)
    }

    fn sources(&self) -> Sources<'_> {
        Sources(self.live.poller.as_deref())
    }

    async fn put_state(&self, name: &str, asked: &Asked<'_>) -> Answer {
        self.sources().known(name)?;
        let new: NewState = asked.body()?;
        let put = new.parsed()?;
        self.noted(asked, &format!("{name}: {put}")).await?;
        self.sources().put(name, put).await?;
        json(&self.sources().states(name).await?)
    }

    async fn turn_source(&self, name: &str, asked: &Asked<'_>) -> Answer {
        self.sources().known(name)?;
        let order = match asked.row.operation {
            Operation::PauseSource => {
                let new: NewPause = asked.body_or_default()?;
                Order::Pause(new.checked()?)
            }
            Operation::ResumeSource => Order::Resume,
            Operation::AcceptSource => {
                let new: NewAcceptance = asked.body_or_default()?;
                match new.deletions {
                    true => Order::AcceptDeletions,
                    false => Order::Accept,
                }
            }
            Operation::ReplaySource => {
                let new: NewRange = asked.body()?;
                Order::ReadAgain(Box::new(new.parsed(self.clock.now())?))
            }
            Operation::ResetSource => Order::Reset,
            _ => Order::Run,
        };
        self.sources().check(name, &order).await?;
        let detail = match &order {
            Order::Pause(Some(why)) => format!("{name}: {why}"),
            Order::AcceptDeletions => format!("{name}: deletions"),
            Order::ReadAgain(range) => format!("{name}: {range}"),
            _ => name.to_owned(),
        };
        self.noted(asked, &detail).await?;
        self.sources().obey(name, order).await?;
        json(&self.sources().one(name, self.clock.now()).await?)
    }

    /// Lines of requests as they are answered, until the reader leaves or does not keep up.
    async fn explained(&self, shown: Shown) -> Result<Explanation, Problem> {
        let (snapshot, now) = (self.gateway.snapshot(), self.clock.now());
        let known = self.gateway.known_keys().clone();
        // A long body is hashed many times.
        let explained =
            tokio::task::spawn_blocking(move || explain::explain(&shown, &snapshot, &known, now));
        let broken = |_| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "it broke off");
        explained.await.map_err(broken)
    }

    fn tail(&self, query: Query) -> Reply {
        let (sender, pieces) = mpsc::channel(TAIL_LINES_MAX);
        let mut lines = self.gateway.tail().subscribe();
        let (route, verdict) = (query.text("route"), query.text("verdict"));
        tokio::spawn(async move {
            loop {
                let piece = tokio::select! {
                    line = lines.recv() => {
                        let Ok(line) = line else { return };
                        let is = |wanted: &Option<String>, value: &str| {
                            wanted.as_deref().is_none_or(|wanted| wanted == value)
                        };
                        if !is(&route, &line.route) || !is(&verdict, line.verdict) {
                            continue;
                        }
                        let text = serde_json::to_string(&wire::TailLine::from(&*line));
                        format!("data: {}\n\n", text.unwrap_or_default())
                    }
                    () = tokio::time::sleep(TAIL_PAUSE) => ":\n\n".to_owned(),
                };
                if sender.try_send(Bytes::from(piece)).is_err() {
                    return;
                }
            }
        });
        let mut head = Response::new(());
        let headers = head.headers_mut();
        let value = header::HeaderValue::from_static;
        headers.insert(header::CONTENT_TYPE, value("text/event-stream"));
        headers.insert(header::CACHE_CONTROL, value("no-store"));
        headers.insert(header::TRANSFER_ENCODING, value("chunked"));
        Reply::Stream(head, pieces)
    }
}

/// A page of a log that need not be that of a running gateway.
///
/// # Errors
/// [`Problem`] when the query is none, or the log cannot be read.
pub async fn list(
    log: &(impl Log + ?Sized),
    query: &Query,
    redaction: &Redaction,
    now: Timestamp,
) -> Result<EventList, Problem> {
    let filter = Filter::from_pairs(|key| query.text(key)).map_err(Problem::bad)?;
    let filter = filter.at(now).map_err(Problem::bad)?;
    let limit = limit(query.number("limit")?)?;
    let page = log.list(filter, query.text("page"), limit).await?;
    let line = |shown: &Shown| Event::new(shown, redaction, Detail::Line);
    Ok(EventList {
        events: page.events.iter().map(line).collect(),
        next: page.next,
    })
}

/// One event of a log.
///
/// # Errors
/// [`Problem`] when there is none, or the log cannot be read.
pub async fn event(log: &(impl Log + ?Sized), id: &str) -> Result<Shown, Problem> {
    let parsed: EventId = id
        .parse()
        .map_err(|_| Problem::bad(format!("`{id}` is not the id of an event, a UUID")))?;
    let missing = || Problem::missing(format!("there is no event {id}, or it is forgotten"));
    log.event(parsed).await?.ok_or_else(missing)
}

/// What was asked of an operation.
struct Asked<'a> {
    row: &'static Row,
    values: &'a [String],
    query: Query,
    body: &'a Bytes,
    visitor: &'a Visitor,
}

impl Asked<'_> {
    fn body<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        let mut body = serde_json::Deserializer::from_slice(self.body);
        wire::object(&mut body)
            .and_then(|read| body.end().map(|()| read))
            .map_err(|error| Problem::bad(format!("the body is not what it should be: {error}")))
    }

    fn body_or_default<T: DeserializeOwned + Default>(&self) -> Result<T, Problem> {
        match self.body.is_empty() {
            true => Ok(T::default()),
            false => self.body(),
        }
    }
}

impl Replay {
    /// A replay of what is at hand.
    fn of_one(to: Option<String>, config: Config, who: String) -> Self {
        Self {
            id: String::new(),
            who,
            created_at: String::new(),
            filter: Filter::default(),
            to,
            config,
            rate: std::num::NonZeroU32::MIN,
            state: None,
            found: 1,
            events: 0,
            deliveries: 0,
            skipped: 0,
            next: None,
        }
    }
}

fn decoded(values: &[&str]) -> Result<Vec<String>, Problem> {
    let decode = |value: &&str| {
        percent_decode_str(value)
            .decode_utf8()
            .map(std::borrow::Cow::into_owned)
            .map_err(|_| Problem::bad("the path is not UTF-8"))
    };
    values.iter().map(decode).collect()
}

fn slot_of(text: &str) -> Result<u16, Problem> {
    text.parse()
        .map_err(|_| Problem::bad(format!("`{text}` is not the place of a delivery, a number")))
}

fn no_delivery(id: &str, slot: u16) -> Problem {
    Problem::missing(format!("event {id} has no delivery in place {slot}"))
}

fn limit(asked: Option<usize>) -> Result<usize, Problem> {
    match asked.unwrap_or(LIMIT) {
        limit @ 1..=LIMIT_MAX => Ok(limit),
        _ => Err(Problem::bad(format!("`limit` is from 1 to {LIMIT_MAX}"))),
    }
}

fn json<T: Serialize>(document: &T) -> Answer {
    let body = serde_json::to_vec(document);
    let body =
        body.map_err(|error| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    Ok(respond(StatusCode::OK, "application/json", body))
}
