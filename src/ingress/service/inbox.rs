//! Inboxes over HTTP: `/inbox/ROUTE` for consumers, `/botTOKEN/METHOD` for Telegram's bots.
//!
//! What is read here is no webhook: it is counted by a metric of its own, and stands in no log of
//! events.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use pingora_core::protocols::http::ServerSession;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::answer::Written;
use super::exchange::Exchange;
use super::request::SessionBody;
use crate::delivery::deliver::Deliver;
use crate::delivery::outgoing;
use crate::event::{Head, Headers};
use crate::inbox::consumer::Denied;
use crate::inbox::telegram::{Facade, GetUpdates, Updates};
use crate::inbox::{Asked, Handed, Inbox, InboxError, LIMIT_MAX, Start};
use crate::ingress::body::{self, BodyLimits};
use crate::ingress::gate::Route;
use crate::ingress::refusal::Refusal;
use crate::store::{Event, EventId, Facts};

/// Where inboxes are read.
const PREFIX: &str = "/inbox/";
/// Where a bot calls methods.
const BOT_PREFIX: &str = "/bot";
/// The most bytes of what a consumer sends.
const BODY_BYTES_MAX: usize = 1024 * 1024;
/// The most bytes of what a bot sends, a file for instance.
const BOT_BODY_BYTES_MAX: usize = 50 * 1024 * 1024;
/// The longest wait for an event.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// How many events come if nobody says how many.
const LIMIT: usize = 100;

/// The inboxes of a file.
#[derive(Default)]
pub struct Inboxes {
    by_route: HashMap<String, Arc<Inbox>>,
    has_bots: bool,
}

/// What a path asks for.
pub(super) enum Door<'i> {
    /// An inbox, and what is done with it.
    Consumer(&'i Inbox, Act),
    /// A bot's method.
    Bot(&'i Inbox, &'i Facade, String),
}

/// What is done with an inbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    Read,
    Commit,
    Seek,
}

/// An answer of our own.
struct Reply {
    status: u16,
    outcome: &'static str,
    media: String,
    body: Bytes,
}

/// What `POST /inbox/ROUTE/commit` takes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Commit {
    consumer: String,
    lease: String,
    #[serde(default)]
    offset: Option<i64>,
    #[serde(default)]
    offsets: Vec<i64>,
}

/// What `POST /inbox/ROUTE/seek` takes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Seek {
    consumer: String,
    to: Value,
}

/// An event as consumers get it.
#[derive(Serialize)]
struct Shown<'e> {
    offset: i64,
    id: String,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    event_type: Option<&'e str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    provider_event_id: Option<&'e str>,
    received_at: String,
    method: &'e str,
    path: String,
    headers: Vec<(String, String)>,
    /// The body, where it is text.
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<&'e str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body_base64: Option<String>,
}

impl Inboxes {
    /// The inboxes of these routes.
    pub fn of(routes: &[Arc<Route>]) -> Self {
        let inboxes = routes
            .iter()
            .filter_map(|route| Some((route.name.clone(), route.inbox.clone()?)));
        let by_route: HashMap<_, _> = inboxes.collect();
        Self {
            has_bots: by_route.values().any(|inbox| inbox.telegram.is_some()),
            by_route,
        }
    }

    /// What a path asks for; `None` = it is a route's, or nobody's.
    pub(super) fn find(&self, head: &Head) -> Option<Door<'_>> {
        if self.by_route.is_empty() {
            return None;
        }
        let path = std::str::from_utf8(head.path()).ok()?;
        if let Some(rest) = path.strip_prefix(PREFIX) {
            let (name, act) = rest.split_once('/').unwrap_or((rest, ""));
            let act = match (&*head.method, act) {
                ("GET", "") => Act::Read,
                ("POST", "commit") => Act::Commit,
                ("POST", "seek") => Act::Seek,
                _ => return None,
            };
            return Some(Door::Consumer(self.by_route.get(name)?, act));
        }
        let called = path.strip_prefix(BOT_PREFIX).filter(|_| self.has_bots)?;
        let (token, method) = called.split_once('/')?;
        if !method.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return None;
        }
        let mut inboxes = self.by_route.values();
        let bot = inboxes.find_map(|inbox| {
            let facade = inbox.telegram.as_ref()?;
            let is_his = facade.token.matches(token.as_bytes());
            is_his.then_some((&**inbox, facade))
        });
        let (inbox, facade) = bot?;
        Some(Door::Bot(inbox, facade, method.to_owned()))
    }
}

impl Exchange<'_> {
    /// Answers somebody who reads an inbox.
    pub(super) async fn serve_inbox(
        &self,
        session: &mut ServerSession,
        head: &Head,
        door: Door<'_>,
    ) -> Written {
        let (inbox, reply) = match door {
            Door::Consumer(inbox, act) => {
                let served = self.consumer(session, head, inbox, act).await;
                (inbox, served.unwrap_or_else(|reply| reply))
            }
            Door::Bot(inbox, facade, method) => {
                let served = self.bot(session, head, (inbox, facade), &method).await;
                (inbox, served.unwrap_or_else(|reply| reply))
            }
        };
        let labels = [&*inbox.route, reply.outcome];
        let metrics = &self.gateway.metrics;
        metrics.inbox_requests.with_label_values(&labels).inc();
        let headers = [("Content-Type", reply.media)];
        self.write(session, reply.status, &headers, reply.body)
            .await
    }

    async fn consumer(
        &self,
        session: &mut ServerSession,
        head: &Head,
        inbox: &Inbox,
        act: Act,
    ) -> Result<Reply, Reply> {
        if !may_read(head, inbox) {
            let text = "send `Authorization: Bearer TOKEN`, with one of the inbox's tokens";
            return Err(Reply::problem(401, "denied", text));
        }
        let Some(reader) = &self.gateway.reader else {
            let text = "there is no store until a restart";
            return Err(Reply::problem(503, "unavailable", text));
        };
        match act {
            Act::Read => {
                let query = pairs(head.query().unwrap_or_default());
                let asked = asked(&query)?;
                let mut stopping = self.stopping.clone();
                let handed = tokio::select! {
                    handed = reader.read(inbox, asked) => handed?,
                    // Whoever waits comes back to the next process.
                    _ = stopping.changed() => {
                        reader.read(inbox, Asked { wait: Duration::ZERO, ..asked }).await?
                    }
                };
                Ok(Reply::json(200, "read", &shown(&handed)))
            }
            Act::Commit => {
                let commit: Commit = self.sent(session).await?;
                let bad = || Reply::problem(400, "bad", "`lease` is what a read has given");
                let lease = commit.lease.parse().map_err(|_| bad())?;
                let mut offsets = commit.offsets;
                offsets.extend(commit.offset);
                if offsets.is_empty() {
                    return Err(Reply::problem(400, "bad", "say `offset`, or `offsets`"));
                }
                if inbox.is_shared && commit.offset.is_some() {
                    let text = "several readers share this consumer: say `offsets`, each of them";
                    return Err(Reply::problem(400, "bad", text));
                }
                let offset = reader
                    .commit(inbox, &commit.consumer, lease, &offsets)
                    .await?;
                Ok(Reply::json(200, "committed", &json!({"offset": offset})))
            }
            Act::Seek => {
                let seek: Seek = self.sent(session).await?;
                let text = "`to` is `earliest`, `latest`, a time, or an offset";
                let bad = || Reply::problem(400, "bad", text);
                let to = place(&seek.to).ok_or_else(bad)?;
                let offset = reader.seek(inbox, &seek.consumer, to).await?;
                Ok(Reply::json(200, "sought", &json!({"offset": offset})))
            }
        }
    }

    async fn bot(
        &self,
        session: &mut ServerSession,
        head: &Head,
        (inbox, facade): (&Inbox, &Facade),
        method: &str,
    ) -> Result<Reply, Reply> {
        let body = self.body(session, BOT_BODY_BYTES_MAX).await?;
        let done =
            |result: Value| Reply::json(200, "answered", &json!({"ok": true, "result": result}));
        match method.to_ascii_lowercase().as_str() {
            "getupdates" => {
                let Some(reader) = &self.gateway.reader else {
                    return Err(Reply::telegram(503, "there is no store until a restart"));
                };
                let asked = GetUpdates::of(&arguments(head, &body));
                let mut stopping = self.stopping.clone();
                let updates = tokio::select! {
                    updates = reader.updates(inbox, facade, asked) => updates,
                    _ = stopping.changed() => Ok(Updates::Found(Vec::new())),
                };
                match updates {
                    Ok(Updates::Found(updates)) => Ok(done(updates.into())),
                    Ok(Updates::Terminated) => {
                        let text = "Conflict: terminated by other getUpdates request; make sure that \
                                    only one bot instance is running";
                        Err(Reply::telegram(409, text))
                    }
                    Err(error) => Err(Reply::telegram(503, &error.to_string())),
                }
            }
            // How updates come here is not the bot's business.
            "setwebhook" | "deletewebhook" | "logout" | "close" => Ok(done(json!(true))),
            "getwebhookinfo" => Ok(done(json!({
                "url": "", "has_custom_certificate": false, "pending_update_count": 0
            }))),
            _ => self.passed_on(head, body, &facade.backend, method).await,
        }
    }

    /// Passes a method on to the Bot API.
    async fn passed_on(
        &self,
        head: &Head,
        body: Bytes,
        backend: &str,
        method: &str,
    ) -> Result<Reply, Reply> {
        let Some(road) = self.snapshot.roads.named(backend) else {
            return Err(Reply::telegram(502, "there is no such backend"));
        };
        let mut headers = Headers::default();
        if let Some(media) = head.headers.first("content-type") {
            headers.push("Content-Type", media.clone());
        }
        let query = head.query().map(String::from_utf8_lossy);
        let target = match query {
            Some(query) => format!("/{method}?{query}"),
            None => format!("/{method}"),
        };
        let now = self.gateway.clock.now();
        let event = Event {
            id: EventId::new(now),
            received_at: now,
            route: Arc::from(""),
            head: Head {
                method: head.method.clone(),
                target: target.into(),
                host: None,
                headers,
            },
            body,
            facts: Facts {
                client: self.peer.to_string(),
                scheme: self.scheme.to_owned(),
                ..Facts::default()
            },
        };
        let deliver = Deliver::proxy(road.shared_backend());
        let failed = |text: &str| Reply::telegram(502, text);
        let outgoing =
            outgoing::single(&event, &deliver, None, now).map_err(|death| failed(death.label()))?;
        let answer = road
            .send(&outgoing.method, &outgoing.head, &outgoing.body)
            .await
            .map_err(|failure| failed(failure.label()))?;
        let received = answer
            .receive_some(BOT_BODY_BYTES_MAX)
            .await
            .map_err(|failure| failed(failure.label()))?;
        let mut headers = received.headers.into_iter();
        let media = headers.find(|(name, _)| name.eq_ignore_ascii_case("content-type"));
        Ok(Reply {
            status: received.status,
            outcome: "passed_on",
            media: media.map_or_else(|| "application/json".to_owned(), |(_, media)| media),
            body: received.body.into(),
        })
    }

    /// What a consumer has sent, as JSON.
    async fn sent<T: for<'d> Deserialize<'d>>(
        &self,
        session: &mut ServerSession,
    ) -> Result<T, Reply> {
        let body = self.body(session, BODY_BYTES_MAX).await?;
        let bad = |error: serde_json::Error| Reply::problem(400, "bad", &error.to_string());
        serde_json::from_slice(&body).map_err(bad)
    }

    async fn body(&self, session: &mut ServerSession, bytes_max: usize) -> Result<Bytes, Reply> {
        let limits = &self.snapshot.limits;
        let limits = BodyLimits {
            bytes_max,
            total: limits.body,
            piece: limits.piece,
            rate_min: limits.body_rate_min,
        };
        let read = body::read(&mut SessionBody(session), limits).await;
        read.map_err(|refusal: Refusal| {
            session.set_keepalive(None);
            Reply::problem(refusal.status(), "bad", &refusal.to_string())
        })
    }
}

impl Reply {
    fn json(status: u16, outcome: &'static str, body: &Value) -> Self {
        Self {
            status,
            outcome,
            media: "application/json".to_owned(),
            body: body.to_string().into(),
        }
    }

    /// An error of RFC 9457.
    fn problem(status: u16, outcome: &'static str, detail: &str) -> Self {
        let title = http::StatusCode::from_u16(status).ok();
        let title = title.and_then(|status| status.canonical_reason());
        let body = json!({"title": title, "status": status, "detail": detail});
        Self {
            media: "application/problem+json".to_owned(),
            ..Self::json(status, outcome, &body)
        }
    }

    /// An error as the Bot API says it.
    fn telegram(status: u16, text: &str) -> Self {
        let body = json!({"ok": false, "error_code": status, "description": text});
        Self::json(status, "failed", &body)
    }
}

impl From<InboxError> for Reply {
    fn from(error: InboxError) -> Self {
        let (status, outcome) = match &error {
            InboxError::Store(_) => (503, "unavailable"),
            InboxError::Denied(Denied::NotHanded(_)) | InboxError::Name => (400, "bad"),
            InboxError::Denied(Denied::TooMany) | InboxError::TooMany => (429, "too_many"),
            InboxError::Denied(Denied::Busy { .. }) => (409, "busy"),
            InboxError::Denied(Denied::Over) | InboxError::Unreadable => (409, "over"),
        };
        Self::problem(status, outcome, &error.to_string())
    }
}

fn may_read(head: &Head, inbox: &Inbox) -> bool {
    let presented = head.headers.first("authorization").and_then(|value| {
        let (scheme, token) = value.split_at_checked(7)?;
        scheme
            .eq_ignore_ascii_case(b"bearer ")
            .then(|| token.trim_ascii())
    });
    let Some(presented) = presented else {
        return false;
    };
    // All are looked at, so that time does not tell which.
    let matching = inbox.tokens.iter().filter(|known| known.matches(presented));
    matching.count() > 0
}

fn pairs(text: &[u8]) -> Vec<(String, String)> {
    form_urlencoded::parse(text).into_owned().collect()
}

/// What a query asks for.
fn asked(query: &[(String, String)]) -> Result<Asked<'_>, Reply> {
    let mut asked = Asked {
        consumer: "default",
        limit: LIMIT,
        wait: Duration::ZERO,
        lease: None,
    };
    for (name, value) in query {
        let bad = |shape: &str| Reply::problem(400, "bad", &format!("`{name}` is {shape}"));
        match name.as_str() {
            "consumer" => asked.consumer = value,
            "limit" => {
                let limit = value.parse().ok();
                let limit = limit.filter(|limit| (1..=LIMIT_MAX).contains(limit));
                asked.limit =
                    limit.ok_or_else(|| bad(&format!("a number from 1 to {LIMIT_MAX}")))?;
            }
            "wait" => {
                let wait = match value.parse::<u64>() {
                    Ok(seconds) => Some(Duration::from_secs(seconds)),
                    Err(_) => humantime::parse_duration(value).ok(),
                };
                let wait = wait.filter(|wait| *wait <= WAIT_MAX);
                asked.wait = wait.ok_or_else(|| bad("a time like 25s, up to 60s"))?;
            }
            "lease" => {
                let lease = value.parse().map_err(|_| bad("what a read has given"))?;
                asked.lease = Some(lease);
            }
            _ => {
                let text = format!("`{name}` is none of: consumer, limit, wait, lease");
                return Err(Reply::problem(400, "bad", &text));
            }
        }
    }
    Ok(asked)
}

fn place(to: &Value) -> Option<Start> {
    match to {
        Value::Number(number) => number.as_i64().map(Start::Behind),
        Value::String(text) => Start::parse(text),
        _ => None,
    }
}

fn shown(handed: &Handed) -> Value {
    let events = handed.events.iter();
    let data: Vec<_> = events
        .map(|(offset, event)| event_shown(*offset, event))
        .collect();
    json!({
        "data": data,
        "next": handed.events.last().map_or(handed.offset, |(offset, _)| *offset),
        "committed": handed.offset,
        "lease": handed.lease.map(|lease| lease.to_string()),
    })
}

fn event_shown(offset: i64, event: &Event) -> Value {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let body = std::str::from_utf8(&event.body);
    let headers = event.head.headers.iter();
    let shown = Shown {
        offset,
        id: event.id.to_string(),
        event_type: event.facts.event_type.as_deref(),
        provider_event_id: event.facts.provider_event_id.as_deref(),
        received_at: event.received_at.to_string(),
        method: &event.head.method,
        path: text(&event.head.target),
        headers: headers
            .map(|header| (text(&header.name), text(&header.value)))
            .collect(),
        body: body.ok(),
        body_base64: body.is_err().then(|| STANDARD.encode(&event.body)),
    };
    serde_json::to_value(shown).unwrap_or_default()
}

/// The arguments of a bot's call: of the query, and of a body in a form that bots use for this one.
fn arguments(head: &Head, body: &[u8]) -> Vec<(String, String)> {
    let mut arguments = pairs(head.query().unwrap_or_default());
    match serde_json::from_slice::<Value>(body) {
        Ok(Value::Object(members)) => {
            for (name, value) in members {
                let text = value
                    .as_str()
                    .map_or_else(|| value.to_string(), str::to_owned);
                arguments.push((name, text));
            }
        }
        _ => arguments.extend(pairs(body)),
    }
    arguments
}
