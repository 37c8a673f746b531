//! Hands an accepted request to its backend, and the backend's answer to the sender.

use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use jiff::Timestamp;
use pingora_core::protocols::http::ServerSession;
use pingora_http::ResponseHeader;
use tracing::Level;

use super::answer::{Cut, Written, relayed_header};
use super::durable::Genuine;
use super::exchange::{Exchange, Outcome};
use super::request::status_class;
use crate::delivery::backend::Failure;
use crate::delivery::deliver::{Deliver, Mode};
use crate::delivery::outgoing::{self, Outgoing};
use crate::delivery::request::{Via, write_head};
use crate::delivery::retry::{Death, Outcome as RetryOutcome};
use crate::event::Verdict;
use crate::ingress::dedup::{DedupKey, Recorded, Ticket};
use crate::ingress::gate::{Admitted, Permit, Route};
use crate::ingress::refusal::Refusal;
use crate::outbound::Answer;
use crate::signature::reply;
use crate::store::{Attempt, End, Event};

/// The longest body of an answer that is kept for duplicates.
const RECORDED_BYTES_MAX: usize = 64 * 1024;
/// An answer from this status on is a failure: the event may come again.
const FAILURE_FROM: u16 = 400;

/// How relaying an answer ended.
enum Relayed {
    /// All of it, with this status.
    Whole(u16),
    /// There was none; the sender was told so.
    Failed(Failure),
    /// It began with this status and broke off.
    Broken(u16, Failure),
    /// The sender left while it came, with this status.
    SenderLeft(u16),
}

impl<'a> Exchange<'a> {
    /// Hands the request to the backend and its answer to the sender. Needs the permit that only
    /// the gate gives. The ticket is settled with the answer, or dropped where there is none.
    pub(super) async fn forward(
        &self,
        session: &mut ServerSession,
        genuine: &Genuine<'_, 'a>,
        ticket: Option<Ticket>,
    ) -> (Outcome<'a>, Written) {
        let route = genuine.admitted.route;
        let Some(deliver) = route.live() else {
            return self.enqueue(session, genuine).await;
        };
        let event = self.gateway.store().map(|_| self.event(genuine));
        let live = Live {
            deliver,
            event,
            key: ticket.as_ref().map(Ticket::key),
            at: self.gateway.clock.now(),
            asked: Instant::now(),
        };
        let metrics = &self.gateway.metrics;
        let backend = &deliver.backend.name;
        let answer = match self.outgoing(genuine, &live) {
            Ok(outgoing) => match self.snapshot.roads.to(&deliver.backend) {
                Some(road) => {
                    road.send(&outgoing.method, &outgoing.head, &outgoing.body)
                        .await
                }
                None => Err(Failure::Unresolved),
            },
            Err(_) => Err(Failure::Unmakeable),
        };
        let took = live.asked.elapsed().as_secs_f64();
        metrics.backend.with_label_values(&[backend]).observe(took);
        if deliver.mode == Mode::Spill
            && let Some(outcome) = spills(&answer)
        {
            return self.spill(session, genuine, &live, outcome, ticket).await;
        }
        if let Ok(answer) = &answer
            && let Err(refusal) = self.keep_others(genuine, &live, answer).await
        {
            let written = self.write_refusal(session, &refusal).await;
            let client = genuine.admitted.client;
            return (Outcome::refused(Some(route), client, &refusal), written);
        }
        let relayed = match answer {
            Ok(answer) => self.relay(session, route, &live, answer, ticket).await,
            Err(failure) => {
                drop(ticket);
                self.note(route, &live, failure.label(), None, Bytes::new(), None);
                self.fail(session, failure).await
            }
        };
        let mut outcome = accepted(genuine.admitted, genuine.permit);
        let (label, written) = outcome.ended(relayed);
        metrics
            .backend_answers
            .with_label_values(&[backend, label])
            .inc();
        (outcome, written)
    }

    /// The request that the backend gets while the sender waits.
    fn outgoing(&self, genuine: &Genuine<'_, 'a>, live: &Live<'_>) -> Result<Outgoing, Death> {
        let deliver = live.deliver;
        let number = (deliver.mode == Mode::Spill).then_some(1);
        if let Some(event) = &live.event
            && (number.is_some() || deliver.transform.is_some() || deliver.sign.is_some())
        {
            return outgoing::single(event, deliver, number, live.at);
        }
        let Genuine {
            head,
            body,
            admitted,
            permit,
        } = genuine;
        let path = admitted.rewritten_path(deliver);
        let via = Via {
            peer: self.peer,
            peer_is_trusted: self.snapshot.gate.trusts(self.peer),
            scheme: self.scheme,
            request_id: &self.request_id,
            route: &admitted.route.name,
            verified: permit.verified(),
            attempt: None,
            found: None,
        };
        Ok(Outgoing {
            method: head.method.clone(),
            head: write_head(head, body.len(), deliver, path.as_deref(), via),
            body: (*body).clone(),
        })
    }

    /// Queues what the live attempt did not get done; the sender is answered once it is on disk.
    async fn spill(
        &self,
        session: &mut ServerSession,
        genuine: &Genuine<'_, 'a>,
        live: &Live<'_>,
        tried: RetryOutcome,
        ticket: Option<Ticket>,
    ) -> (Outcome<'a>, Written) {
        let route = genuine.admitted.route;
        let Some(event) = live.event.clone() else {
            let refusal = Refusal::StoreUnavailable("there is no store until a restart".into());
            let written = self.write_refusal(session, &refusal).await;
            let client = genuine.admitted.client;
            return (Outcome::refused(Some(route), client, &refusal), written);
        };
        let metrics = &self.gateway.metrics;
        let backend = &live.deliver.backend.name;
        let labels = [backend.as_str(), tried.label()];
        metrics.backend_answers.with_label_values(&labels).inc();
        let status = match tried {
            RetryOutcome::Answered { status, .. } => Some(status),
            RetryOutcome::Unacknowledged | RetryOutcome::Failed(_) => None,
        };
        let attempt = live.attempt(tried.label(), status, Bytes::new());
        let mut deliveries = self.deliveries(&event, genuine, |_| true);
        let now = self.gateway.clock.now();
        let pause = live.deliver.backend.retry.backoff.pause(1, fastrand::f64());
        let due = now.saturating_add(pause).unwrap_or(now);
        for delivery in &mut deliveries {
            if delivery.slot == live.deliver.slot {
                delivery.attempts = 1;
                delivery.due = due;
            }
        }
        let attempt = Some((live.deliver.slot, attempt));
        match self.keep(route, event, live.key, deliveries, attempt).await {
            Ok(_) => {
                if let Some(ticket) = ticket {
                    ticket.settle(recorded(genuine.answer(&route.duplicate)));
                }
                let mut outcome = accepted(genuine.admitted, genuine.permit);
                outcome.status = route.accepted.status;
                outcome.reason = "spilled";
                let answer = genuine.answer(&route.accepted);
                (outcome, self.write_answer(session, &answer).await)
            }
            Err(refusal) => {
                drop(ticket);
                let written = self.write_refusal(session, &refusal).await;
                let client = genuine.admitted.client;
                (Outcome::refused(Some(route), client, &refusal), written)
            }
        }
    }

    /// Queues the other deliveries of an event that the backend has taken, before the sender hears
    /// of it.
    async fn keep_others(
        &self,
        genuine: &Genuine<'_, 'a>,
        live: &Live<'_>,
        answer: &Answer<'_>,
    ) -> Result<(), Refusal> {
        let route = genuine.admitted.route;
        let is_taken = answer
            .head()
            .is_some_and(|head| head.status.as_u16() < FAILURE_FROM);
        if !is_taken || route.deliver.len() == 1 {
            return Ok(());
        }
        let Some(event) = live.event.clone() else {
            return Err(Refusal::StoreUnavailable(
                "there is no store until a restart".into(),
            ));
        };
        let others = self.deliveries(&event, genuine, |one| one.slot != live.deliver.slot);
        self.keep(route, event, None, others, None)
            .await
            .map(|_| ())
    }

    /// Notes how a proxied event ended, in the log of events.
    fn note(
        &self,
        route: &Route,
        live: &Live<'_>,
        outcome: &str,
        status: Option<u16>,
        answer: Bytes,
        recorded: Option<Recorded>,
    ) {
        let Some(event) = live.event.clone() else {
            return;
        };
        let end = match status {
            Some(status) if status < FAILURE_FROM => End::Delivered,
            Some(_) | None => End::Dead(outcome.to_owned()),
        };
        let attempt = live.attempt(outcome, status, answer);
        let recorded = live.key.zip(recorded);
        self.log_event(event, route, live.deliver, attempt, end, recorded);
    }

    /// Passes the backend's answer on as it is, but for hop-by-hop headers.
    async fn relay(
        &self,
        session: &mut ServerSession,
        route: &Route,
        live: &Live<'_>,
        mut answer: Answer<'_>,
        ticket: Option<Ticket>,
    ) -> Relayed {
        let Some(header) = answer.head().map(|header| relayed_header(header, session)) else {
            return self.fail(session, Failure::BrokenOff).await;
        };
        let status = header.status.as_u16();
        // A failed answer lets go of the ticket here: who waits for it may try at once.
        let ticket = ticket.filter(|_| status < FAILURE_FROM);
        let is_noted = ticket.is_some() || live.event.is_some();
        let mut record = is_noted.then(|| Record::new(&header));
        let bytes = self
            .gateway
            .metrics
            .response_bytes
            .with_label_values(&[&route.name]);
        answer.release_if_whole().await;
        self.announce_stop(session);
        let mut sent = session
            .write_response_header(Box::new(header))
            .await
            .is_ok();
        while sent {
            match answer.piece().await {
                Ok(Some(piece)) => {
                    bytes.inc_by(piece.len() as u64);
                    if let Some(record) = &mut record {
                        record.push(&piece);
                    }
                    sent = session.write_response_body(piece, false).await.is_ok();
                }
                Ok(None) => {
                    sent = session
                        .write_response_body(Bytes::new(), true)
                        .await
                        .is_ok();
                    break;
                }
                // Half an answer must not look like a whole one: the connection is cut.
                Err(failure) => {
                    self.note(route, live, failure.label(), None, Bytes::new(), None);
                    return Relayed::Broken(status, failure);
                }
            }
        }
        if let Some(record) = record {
            let text = match live.event {
                Some(_) => record.text(live.deliver.backend.answer_bytes_max),
                None => Bytes::new(),
            };
            let answer = ticket.as_ref().map(|_| record.answer(sent));
            // The backend has done its work, whether or not the sender is still there.
            self.note(
                route,
                live,
                status_class(status),
                Some(status),
                text,
                answer.clone(),
            );
            if let (Some(ticket), Some(answer)) = (ticket, answer) {
                ticket.settle(answer);
            }
        }
        if !sent {
            return Relayed::SenderLeft(status);
        }
        Relayed::Whole(status)
    }

    async fn fail(&self, session: &mut ServerSession, failure: Failure) -> Relayed {
        let headers = [("Hookgate-Reason", failure.label().to_owned())];
        let written = self
            .write(session, failure.status(), &headers, Bytes::new())
            .await;
        match written {
            Ok(()) => Relayed::Failed(failure),
            Err(Cut) => Relayed::SenderLeft(failure.status()),
        }
    }

    /// Gives a duplicate the answer of the first.
    pub(super) async fn repeat(
        &self,
        session: &mut ServerSession,
        admitted: &Admitted<'a>,
        permit: &Permit,
        recorded: Recorded,
    ) -> (Outcome<'a>, Written) {
        let mut outcome = accepted(admitted, permit);
        outcome.verdict = Verdict::Duplicate;
        outcome.asked_backend = false;
        outcome.status = recorded.status;
        let body = recorded.body.unwrap_or_default();
        let written = self
            .write(session, recorded.status, &recorded.headers, body)
            .await;
        (outcome, written)
    }
}

pub(super) fn accepted<'a>(admitted: &Admitted<'a>, permit: &Permit) -> Outcome<'a> {
    let observed = permit.observed();
    Outcome {
        route: Some(admitted.route),
        client: admitted.client,
        verdict: Verdict::Accepted,
        reason: observed.map_or("", |reason| reason.label()),
        detail: observed.map(ToString::to_string).unwrap_or_default(),
        level: if observed.is_some() {
            Level::WARN
        } else {
            Level::INFO
        },
        status: 0,
        body_bytes: 0,
        asked_backend: true,
    }
}

impl Outcome<'_> {
    /// Notes how it ended; the word for the backend's metric, and whether the answer was written.
    fn ended(&mut self, relayed: Relayed) -> (&'static str, Written) {
        match relayed {
            Relayed::Whole(status) => {
                self.status = status;
                (status_class(status), Ok(()))
            }
            Relayed::Failed(failure) => {
                self.fail(failure, failure.status());
                (failure.label(), Ok(()))
            }
            Relayed::Broken(status, failure) => {
                self.fail(failure, status);
                (failure.label(), Err(Cut))
            }
            Relayed::SenderLeft(status) => {
                self.status = status;
                self.detail = "the sender left before the end of the answer".into();
                ("sender_left", Err(Cut))
            }
        }
    }

    pub(super) fn fail(&mut self, failure: Failure, status: u16) {
        self.status = status;
        self.reason = failure.label();
        self.detail = failure.to_string();
        self.level = Level::ERROR;
    }
}

/// A delivery whose answer the sender waits for.
struct Live<'r> {
    deliver: &'r Deliver,
    /// The event, if there is a store to keep it.
    event: Option<Arc<Event>>,
    key: Option<DedupKey>,
    at: Timestamp,
    asked: Instant,
}

impl Live<'_> {
    fn attempt(&self, outcome: &str, status: Option<u16>, answer: Bytes) -> Attempt {
        Attempt {
            number: 1,
            at: self.at,
            took: self.asked.elapsed(),
            status,
            outcome: outcome.to_owned(),
            answer,
        }
    }
}

/// Whether an event spills, and what the live attempt came to then.
fn spills(answer: &Result<Answer<'_>, Failure>) -> Option<RetryOutcome> {
    match answer {
        Err(failure) => Some(RetryOutcome::Failed(*failure)),
        Ok(answer) => {
            let status = answer.head()?.status.as_u16();
            let is_bad = status == 429 || status >= 500;
            is_bad.then_some(RetryOutcome::Answered {
                status,
                retry_after: None,
            })
        }
    }
}

/// What duplicates of an event on disk are answered.
fn recorded(answer: reply::Answer) -> Recorded {
    let headers = answer.headers.into_iter();
    Recorded {
        status: answer.status,
        headers: headers.map(|(name, value)| (name, value.into())).collect(),
        body: Some(answer.body),
    }
}

/// An answer that is being noted, for duplicates and for the log.
struct Record {
    status: u16,
    headers: Vec<(String, Bytes)>,
    body: BytesMut,
    is_whole: bool,
}

impl Record {
    fn new(header: &ResponseHeader) -> Self {
        let framing = |name: &str| name == "transfer-encoding" || name == "content-length";
        let headers = header
            .headers
            .iter()
            .filter(|(name, _)| !framing(name.as_str()))
            .map(|(name, value)| (name.to_string(), Bytes::copy_from_slice(value.as_bytes())))
            .collect();
        Self {
            status: header.status.as_u16(),
            headers,
            body: BytesMut::new(),
            is_whole: true,
        }
    }

    fn push(&mut self, piece: &[u8]) {
        let room = RECORDED_BYTES_MAX.saturating_sub(self.body.len());
        self.is_whole &= piece.len() <= room;
        let (kept, _) = piece.split_at(piece.len().min(room));
        self.body.extend_from_slice(kept);
    }

    /// What duplicates get. `sent` = the body came to its end.
    fn answer(&self, sent: bool) -> Recorded {
        let is_whole = self.is_whole && sent;
        Recorded {
            status: self.status,
            headers: self.headers.clone(),
            body: is_whole.then(|| self.body.clone().freeze()),
        }
    }

    /// What the log keeps.
    fn text(&self, bytes_max: usize) -> Bytes {
        let headers = self
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), &value[..]));
        let (kept, _) = self.body.split_at(self.body.len().min(bytes_max));
        outgoing::answer_text(self.status, headers, kept)
    }
}
