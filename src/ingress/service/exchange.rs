//! One request and its answer, through the stages in their order.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use bytes::Bytes;
use pingora_core::protocols::Stream;
use pingora_core::protocols::http::ServerSession;
use pingora_core::server::ShutdownWatch;
use tokio::time::timeout;
use tracing::Level;

use super::answer::{self, Cut, LINGER_BYTES_MAX, Written, end, end_with};
use super::durable::Genuine;
use super::request::{Caller, SessionBody, declared_bytes, expects_continue};
use super::tail::Line;
use super::{Gateway, Snapshot};
use crate::delivery::backend::Failure;
use crate::event::{ClientAddr, Fingerprint, Head, Verdict};
use crate::ingress::body::{self, BodyLimits};
use crate::ingress::dedup::Standing;
use crate::ingress::gate::{Admitted, Judgement, Permit, Refused, Route};
use crate::ingress::rate_limit::LimitStage;
use crate::ingress::refusal::Refusal;
use crate::request_log;
use crate::signature::reply::Answer;
use crate::store::EventId;

/// One request and its answer: what is known so far, for the metric and the log line at the end.
pub(super) struct Exchange<'a> {
    pub(super) gateway: &'a Gateway,
    pub(super) snapshot: &'a Snapshot,
    pub(super) peer: ClientAddr,
    pub(super) scheme: &'static str,
    pub(super) event_id: EventId,
    certificate: Option<Fingerprint>,
    pub(super) request_id: String,
    pub(super) started: Instant,
    pub(super) stopping: &'a ShutdownWatch,
}

/// How a request ended.
pub(super) struct Outcome<'a> {
    pub(super) route: Option<&'a Arc<Route>>,
    pub(super) client: ClientAddr,
    pub(super) verdict: Verdict,
    pub(super) reason: &'static str,
    pub(super) detail: String,
    pub(super) level: Level,
    pub(super) status: u16,
    pub(super) body_bytes: usize,
    pub(super) asked_backend: bool,
}

/// What is known of a request while it is answered, for when its time is over.
#[derive(Default)]
struct Known<'a> {
    admitted: OnceLock<(&'a Arc<Route>, ClientAddr)>,
    body: OnceLock<Bytes>,
    asked_backend: OnceLock<()>,
}

impl<'a> Outcome<'a> {
    pub(super) fn refused(
        route: Option<&'a Arc<Route>>,
        client: ClientAddr,
        refusal: &Refusal,
    ) -> Self {
        let row = refusal.row();
        Self {
            route,
            client,
            verdict: Verdict::Refused,
            reason: row.label,
            detail: refusal.to_string(),
            level: row.level,
            status: row.status,
            body_bytes: 0,
            asked_backend: false,
        }
    }
}

impl<'a> Exchange<'a> {
    /// Begins when the head of a request is there.
    pub(super) fn new(
        gateway: &'a Gateway,
        snapshot: &'a Snapshot,
        caller: Caller,
        stopping: &'a ShutdownWatch,
    ) -> Self {
        gateway.metrics.in_flight.inc();
        let event_id = EventId::new(gateway.clock.now());
        Self {
            gateway,
            snapshot,
            peer: caller.peer,
            scheme: caller.scheme,
            event_id,
            request_id: event_id.to_string(),
            certificate: caller.certificate,
            started: Instant::now(),
            stopping,
        }
    }

    /// Refuses what never became a request of HTTP/1; the connection ends.
    pub(super) async fn refuse_connection(self, stream: Stream, refusal: Refusal) {
        self.record(None, None, Outcome::refused(None, self.peer, &refusal));
        end_with(stream, refusal.status(), self.snapshot.limits.write).await;
    }

    /// Refuses what never became a request, for want of a head that can be judged.
    pub(super) async fn refuse_head(
        self,
        mut session: ServerSession,
        refusal: Refusal,
    ) -> Option<ServerSession> {
        session.set_keepalive(None);
        let written = self.write_refusal(&mut session, &refusal).await;
        self.record(None, None, Outcome::refused(None, self.peer, &refusal));
        end(session, written).await
    }

    /// Walks the request through the stages. Gives the session back if its connection can be used
    /// again.
    pub(super) async fn run(
        self,
        mut session: ServerSession,
        head: &Head,
    ) -> Option<ServerSession> {
        if let Some(door) = self.snapshot.inboxes.find(head) {
            let written = self.serve_inbox(&mut session, head, door).await;
            return end(session, written).await;
        }
        let known = Known::default();
        let answer = self.answer(&mut session, head, &known);
        let (outcome, written) = match timeout(self.snapshot.limits.request, answer).await {
            Ok(answered) => answered,
            Err(_) => self.out_of_time(&mut session, &known).await,
        };
        self.record(Some(head), known.body.get(), outcome);
        end(session, written).await
    }

    /// Ends a request whose time is over: with a status, if the answer has not begun.
    async fn out_of_time(
        &self,
        session: &mut ServerSession,
        known: &Known<'a>,
    ) -> (Outcome<'a>, Written) {
        let route = known.admitted.get().map(|(route, _)| *route);
        let client = known
            .admitted
            .get()
            .map_or(self.peer, |(_, client)| *client);
        let mut outcome = Outcome::refused(route, client, &Refusal::RequestSlow);
        if let Some(route) = route.filter(|_| known.asked_backend.get().is_some()) {
            outcome.fail(Failure::RequestTimeout, Failure::RequestTimeout.status());
            outcome.verdict = Verdict::Accepted;
            outcome.asked_backend = true;
            let backend = route.live().map_or("", |live| live.backend.name.as_str());
            let labels = [backend, Failure::RequestTimeout.label()];
            self.gateway
                .metrics
                .backend_answers
                .with_label_values(&labels)
                .inc();
        }
        let begun = session.response_written().map(|header| header.status);
        if let Some(status) = begun.filter(|status| !status.is_informational()) {
            outcome.status = status.as_u16();
            return (outcome, Err(Cut));
        }
        session.set_keepalive(None);
        let headers: &[(&str, &str)] = match outcome.asked_backend {
            true => &[("Hookgate-Reason", outcome.reason)],
            false => &[],
        };
        let written = self
            .write(session, outcome.status, headers, Bytes::new())
            .await;
        (outcome, written)
    }

    /// Judges the request, writes the answer.
    async fn answer(
        &self,
        session: &mut ServerSession,
        head: &Head,
        known: &Known<'a>,
    ) -> (Outcome<'a>, Written) {
        let declared = declared_bytes(head);
        let admitted = match self.snapshot.gate.admit(head, self.peer, declared) {
            Ok(admitted) => admitted,
            Err(Refused {
                route,
                client,
                refusal,
            }) => {
                let written = self.refuse_early(session, head, &refusal).await;
                return (Outcome::refused(route, client, &refusal), written);
            }
        };
        let route = admitted.route;
        let _ = known.admitted.set((route, admitted.client));
        if self.gateway.pauses.has_route(&route.name) {
            let refusal = Refusal::Paused;
            let written = self.refuse_early(session, head, &refusal).await;
            let outcome = Outcome::refused(Some(route), admitted.client, &refusal);
            return (outcome, written);
        }
        if let Err(refusal) = admitted.limit(LimitStage::Before, head, b"") {
            let written = self.refuse_early(session, head, &refusal).await;
            return (
                Outcome::refused(Some(route), admitted.client, &refusal),
                written,
            );
        }
        let body = match self.read_body(session, head, route).await {
            Ok(body) => body,
            Err(refusal) => {
                session.set_keepalive(None);
                let written = self.write_refusal(session, &refusal).await;
                return (
                    Outcome::refused(Some(route), admitted.client, &refusal),
                    written,
                );
            }
        };
        self.gateway
            .metrics
            .request_bytes
            .with_label_values(&[&route.name])
            .inc_by(body.len() as u64);
        let _ = known.body.set(body.clone());
        let (mut outcome, written) = match self.judge(route, head, &body).await {
            Err(refusal) => {
                let written = self.write_refusal(session, &refusal).await;
                (
                    Outcome::refused(Some(route), admitted.client, &refusal),
                    written,
                )
            }
            Ok(Judgement::Handshake { answer, effect }) => {
                match self.gateway.carry_out(&route.name, effect).await {
                    Ok(()) => {
                        let written = self.write_answer(session, &answer).await;
                        (self.handshake(&admitted, answer.status), written)
                    }
                    Err(refusal) => {
                        let written = self.write_refusal(session, &refusal).await;
                        let client = admitted.client;
                        (Outcome::refused(Some(route), client, &refusal), written)
                    }
                }
            }
            Ok(Judgement::Event(permit)) => {
                self.accept(session, head, &body, &admitted, permit, known)
                    .await
            }
        };
        outcome.body_bytes = body.len();
        (outcome, written)
    }

    /// Counts a genuine request, looks whether it was seen before, and passes on what is new.
    async fn accept(
        &self,
        session: &mut ServerSession,
        head: &Head,
        body: &Bytes,
        admitted: &Admitted<'a>,
        permit: Permit,
        known: &Known<'a>,
    ) -> (Outcome<'a>, Written) {
        let genuine = Genuine {
            head,
            body,
            admitted,
            permit: &permit,
        };
        if admitted.route.live().is_none() {
            if let Err(refusal) = admitted.limit(LimitStage::After, head, body) {
                let written = self.write_refusal(session, &refusal).await;
                let client = admitted.client;
                return (
                    Outcome::refused(Some(admitted.route), client, &refusal),
                    written,
                );
            }
            return self.enqueue(session, &genuine).await;
        }
        // What only passes because its route observes must not suppress a genuine event.
        let is_forged = permit.observed().is_some();
        let standing = match admitted.limit(LimitStage::After, head, body) {
            Err(refusal) => Err(refusal),
            Ok(()) => match admitted.route.dedup.as_ref().filter(|_| !is_forged) {
                None => Ok(Standing::New(None)),
                Some(rule) => {
                    let ledger = self.gateway.ledger.as_ref();
                    rule.claim(ledger, head, body, self.gateway.clock.as_ref())
                        .await
                }
            },
        };
        match standing {
            Ok(Standing::New(ticket)) => {
                let _ = known.asked_backend.set(());
                self.forward(session, &genuine, ticket).await
            }
            Ok(Standing::Duplicate(answer)) => {
                self.repeat(session, admitted, &permit, answer).await
            }
            Err(refusal) => {
                let written = self.write_refusal(session, &refusal).await;
                (
                    Outcome::refused(Some(admitted.route), admitted.client, &refusal),
                    written,
                )
            }
        }
    }

    async fn judge(&self, route: &Route, head: &Head, body: &[u8]) -> Result<Judgement, Refusal> {
        let started = Instant::now();
        let certificate = self.certificate.as_ref();
        let (keys, now) = (&self.gateway.keys, self.gateway.clock.now());
        let judgement = keys.judge(route, head, body, certificate, now).await;
        let took = started.elapsed().as_secs_f64();
        self.gateway
            .metrics
            .verify
            .with_label_values(&[&route.name])
            .observe(took);
        judgement
    }

    fn handshake(&self, admitted: &Admitted<'a>, status: u16) -> Outcome<'a> {
        Outcome {
            route: Some(admitted.route),
            client: admitted.client,
            verdict: Verdict::Handshake,
            reason: "",
            detail: String::new(),
            level: Level::INFO,
            status,
            body_bytes: 0,
            asked_backend: false,
        }
    }

    async fn read_body(
        &self,
        session: &mut ServerSession,
        head: &Head,
        route: &Route,
    ) -> Result<Bytes, Refusal> {
        if expects_continue(head) {
            // Pingora takes the 100 for the answer, and gives the connection up as the body is unread.
            session.set_close_on_response_before_downstream_finish(false);
            session
                .write_continue_response()
                .await
                .map_err(|_| Refusal::BodyBroken)?;
            session.set_close_on_response_before_downstream_finish(true);
        }
        let limits = BodyLimits {
            bytes_max: route.body_bytes_max,
            total: self.snapshot.limits.body,
            piece: self.snapshot.limits.piece,
            rate_min: self.snapshot.limits.body_rate_min,
        };
        body::read(&mut SessionBody(session), limits).await
    }

    /// Refuses before the body was read. A body that is short enough is read and forgotten, so
    /// that the connection lives on; otherwise it ends.
    async fn refuse_early(
        &self,
        session: &mut ServerSession,
        head: &Head,
        refusal: &Refusal,
    ) -> Written {
        let short = declared_bytes(head).is_none_or(|bytes| bytes <= LINGER_BYTES_MAX as u64);
        if short && !expects_continue(head) {
            session.set_close_on_response_before_downstream_finish(false);
        } else {
            session.set_keepalive(None);
        }
        self.write_refusal(session, refusal).await
    }

    pub(super) async fn write_refusal(
        &self,
        session: &mut ServerSession,
        refusal: &Refusal,
    ) -> Written {
        if let Refusal::Signature { answer, .. } = refusal {
            return self.write_answer(session, answer).await;
        }
        self.write(session, refusal.status(), &refusal.headers(), Bytes::new())
            .await
    }

    /// Writes an answer that is ready.
    pub(super) async fn write_answer(
        &self,
        session: &mut ServerSession,
        answer: &Answer,
    ) -> Written {
        self.write(session, answer.status, &answer.headers, answer.body.clone())
            .await
    }

    /// Writes an answer of our own.
    pub(super) async fn write(
        &self,
        session: &mut ServerSession,
        status: u16,
        headers: &[(impl AsRef<str>, impl AsRef<[u8]>)],
        body: Bytes,
    ) -> Written {
        self.announce_stop(session);
        answer::write(session, status, headers, body).await
    }

    /// Makes the answer the last of its connection if the gateway stops. Asked just before its
    /// head is written, so that requests in flight tell it, too.
    pub(super) fn announce_stop(&self, session: &mut ServerSession) {
        if *self.stopping.borrow() {
            session.set_keepalive(None);
        }
    }

    fn record(&self, head: Option<&Head>, body: Option<&Bytes>, outcome: Outcome<'_>) {
        if let Some(head) = head.filter(|_| outcome.verdict == Verdict::Refused) {
            self.note_refusal(head, body, &outcome);
        }
        let metrics = &self.gateway.metrics;
        let route = outcome.route.map_or("", |route| route.name.as_str());
        let labels = [route, outcome.verdict.label(), outcome.reason];
        metrics.requests.with_label_values(&labels).inc();
        let took = self.started.elapsed();
        metrics
            .duration
            .with_label_values(&[route])
            .observe(took.as_secs_f64());
        self.gateway.tail.send(|| Line {
            id: self.event_id,
            at: self.gateway.clock.now(),
            route: route.to_owned(),
            verdict: outcome.verdict.label(),
            reason: outcome.reason,
            status: outcome.status,
            client: outcome.client,
            method: head.map_or_else(String::new, |head| head.method.clone()),
            path: head.map_or_else(String::new, |head| {
                String::from_utf8_lossy(head.path()).into_owned()
            }),
            took,
        });
        let backend = outcome.route.filter(|_| outcome.asked_backend);
        let entry = request_log::Entry {
            route,
            head,
            client: outcome.client,
            request_id: &self.request_id,
            verdict: outcome.verdict,
            reason: outcome.reason,
            detail: outcome.detail,
            level: outcome.level,
            status: outcome.status,
            backend: backend
                .and_then(|route| route.live())
                .map_or("", |live| live.backend.name.as_str()),
            body_bytes: outcome.body_bytes,
            took,
        };
        request_log::write(&entry, &self.snapshot.headers);
    }
}

impl Drop for Exchange<'_> {
    fn drop(&mut self) {
        self.gateway.metrics.in_flight.dec();
    }
}
