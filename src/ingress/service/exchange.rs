//! One request and its answer, through the stages in their order.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use pingora_core::protocols::http::ServerSession;
use tracing::Level;

use super::answer::{Cut, LINGER_BYTES_MAX, Written, linger, relayed_header, write};
use super::request::{
    SessionBody, declared_bytes, expects_continue, peer, read_head, request_id, status_class,
};
use super::{Gateway, Snapshot};
use crate::delivery::backend::Failure;
use crate::delivery::request::{Via, write_head};
use crate::event::{ClientAddr, Head, Verdict};
use crate::ingress::body::{self, BodyLimits};
use crate::ingress::gate::{Admitted, Judgement, Permit, Refused, Route};
use crate::ingress::refusal::Refusal;
use crate::outbound::Answer;
use crate::request_log;
use crate::signature::handshake::Answer as HandshakeAnswer;

/// One request and its answer: what is known so far, for the metric and the log line at the end.
pub(super) struct Exchange<'a> {
    gateway: &'a Gateway,
    snapshot: &'a Snapshot,
    peer: ClientAddr,
    scheme: &'static str,
    request_id: String,
    started: Instant,
}

/// How a request ended.
struct Outcome<'a> {
    route: Option<&'a Arc<Route>>,
    client: ClientAddr,
    verdict: Verdict,
    reason: &'static str,
    detail: String,
    level: Level,
    status: u16,
    body_bytes: usize,
    asked_backend: bool,
}

impl<'a> Outcome<'a> {
    fn refused(route: Option<&'a Arc<Route>>, client: ClientAddr, refusal: &Refusal) -> Self {
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
        session: &ServerSession,
    ) -> Self {
        let tls = session
            .digest()
            .is_some_and(|digest| digest.ssl_digest.is_some());
        gateway.metrics.in_flight.inc();
        Self {
            gateway,
            snapshot,
            peer: peer(session),
            scheme: if tls { "https" } else { "http" },
            request_id: request_id(gateway.clock.as_ref()),
            started: Instant::now(),
        }
    }

    /// Refuses what never became a request; the connection ends.
    pub(super) async fn refuse_connection(
        self,
        mut session: ServerSession,
        refusal: Refusal,
    ) -> Option<ServerSession> {
        session.set_keepalive(None);
        let written = self.write_refusal(&mut session, &refusal).await;
        self.record(None, Outcome::refused(None, self.peer, &refusal));
        if written.is_ok() {
            let _ = session.finish_body().await;
        }
        session.shutdown().await;
        None
    }

    /// Walks the request through the stages. Gives the session back if its connection can be used
    /// again.
    pub(super) async fn run(self, mut session: ServerSession) -> Option<ServerSession> {
        let head = match read_head(&session) {
            Ok(head) => head,
            Err(refusal) => return self.refuse_connection(session, refusal).await,
        };
        let (outcome, written) = self.answer(&mut session, &head).await;
        self.record(Some(&head), outcome);
        match written {
            Ok(()) => linger(session).await,
            Err(Cut) => {
                session.shutdown().await;
                None
            }
        }
    }

    /// Judges the request, writes the answer.
    async fn answer(&self, session: &mut ServerSession, head: &Head) -> (Outcome<'a>, Written) {
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
        let (mut outcome, written) = match self.judge(route, head, &body) {
            Err(refusal) => {
                let written = self.write_refusal(session, &refusal).await;
                (
                    Outcome::refused(Some(route), admitted.client, &refusal),
                    written,
                )
            }
            Ok(Judgement::Handshake(answer)) => {
                let written = self.write_handshake(session, &answer).await;
                (self.handshake(&admitted, answer.status), written)
            }
            Ok(Judgement::Event(permit)) => {
                self.forward(session, head, &body, &admitted, permit).await
            }
        };
        outcome.body_bytes = body.len();
        (outcome, written)
    }

    fn judge(&self, route: &Route, head: &Head, body: &[u8]) -> Result<Judgement, Refusal> {
        let started = Instant::now();
        let judgement = route.judge(head, body, self.gateway.clock.now());
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
        };
        body::read(&mut SessionBody(session), limits).await
    }

    /// Hands the request to the backend and its answer to the sender. Needs the permit that only
    /// the gate gives.
    async fn forward(
        &self,
        session: &mut ServerSession,
        head: &Head,
        body: &Bytes,
        admitted: &Admitted<'a>,
        permit: Permit,
    ) -> (Outcome<'a>, Written) {
        let route = admitted.route;
        let mut outcome = Outcome {
            route: Some(route),
            client: admitted.client,
            verdict: Verdict::Accepted,
            reason: permit.observed().map_or("", |reason| reason.label()),
            detail: permit
                .observed()
                .map(ToString::to_string)
                .unwrap_or_default(),
            level: if permit.observed().is_some() {
                Level::WARN
            } else {
                Level::INFO
            },
            status: 0,
            body_bytes: 0,
            asked_backend: true,
        };
        let wire = self.wire_head(head, body, admitted, &permit);
        let asked = Instant::now();
        let answer = match self.snapshot.roads.to(&route.deliver.backend) {
            Some(road) => road.send(&head.method, &wire, body).await,
            None => Err(Failure::Unresolved),
        };
        let metrics = &self.gateway.metrics;
        let backend = &route.deliver.backend.name;
        metrics
            .backend
            .with_label_values(&[backend])
            .observe(asked.elapsed().as_secs_f64());
        let result = match answer {
            Ok(answer) => self.relay(session, route, answer).await,
            Err(failure) => self
                .write_failure(session, failure)
                .await
                .map(|()| Relayed::Failed(failure)),
        };
        let (label, written) = match result {
            Ok(Relayed::Whole(status)) => {
                outcome.status = status;
                (status_class(status), Ok(()))
            }
            Ok(Relayed::Failed(failure)) => {
                outcome.fail(failure, failure.status());
                (failure.label(), Ok(()))
            }
            Ok(Relayed::Broken(status, failure)) => {
                outcome.fail(failure, status);
                (failure.label(), Err(Cut))
            }
            Err(Cut) => {
                outcome.detail = "the sender left before the answer".into();
                ("sender_left", Err(Cut))
            }
        };
        metrics
            .backend_answers
            .with_label_values(&[backend, label])
            .inc();
        (outcome, written)
    }

    fn wire_head(
        &self,
        head: &Head,
        body: &Bytes,
        admitted: &Admitted<'_>,
        permit: &Permit,
    ) -> Bytes {
        let deliver = &admitted.route.deliver;
        let path = deliver.path.as_ref();
        let path = path.map(|rewrite| rewrite.fill(|name| admitted.captures.find(name)));
        let via = Via {
            peer: self.peer,
            peer_is_trusted: self.snapshot.gate.trusts(self.peer),
            scheme: self.scheme,
            request_id: &self.request_id,
            route: &admitted.route.name,
            verified: permit.verified(),
        };
        write_head(head, body.len(), deliver, path.as_deref(), via)
    }

    /// Passes the backend's answer on as it is, but for hop-by-hop headers.
    async fn relay(
        &self,
        session: &mut ServerSession,
        route: &Route,
        mut answer: Answer<'_>,
    ) -> Result<Relayed, Cut> {
        let Some(header) = answer.head().map(|header| relayed_header(header, session)) else {
            let failure = Failure::BrokenOff;
            return self
                .write_failure(session, failure)
                .await
                .map(|()| Relayed::Failed(failure));
        };
        let status = header.status.as_u16();
        answer.release_if_whole().await;
        session
            .write_response_header(Box::new(header))
            .await
            .map_err(|_| Cut)?;
        let bytes = self
            .gateway
            .metrics
            .response_bytes
            .with_label_values(&[&route.name]);
        loop {
            match answer.piece().await {
                Ok(Some(piece)) => {
                    bytes.inc_by(piece.len() as u64);
                    session
                        .write_response_body(piece, false)
                        .await
                        .map_err(|_| Cut)?;
                }
                Ok(None) => break,
                // Half an answer must not look like a whole one: the connection is cut.
                Err(failure) => return Ok(Relayed::Broken(status, failure)),
            }
        }
        session
            .write_response_body(Bytes::new(), true)
            .await
            .map_err(|_| Cut)?;
        Ok(Relayed::Whole(status))
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

    async fn write_refusal(&self, session: &mut ServerSession, refusal: &Refusal) -> Written {
        let mut headers = Vec::new();
        if let Refusal::MethodNotAllowed { allow } = refusal {
            headers.push(("Allow", allow.join(", ")));
        }
        write(session, refusal.status(), &headers, Bytes::new()).await
    }

    async fn write_failure(&self, session: &mut ServerSession, failure: Failure) -> Written {
        let headers = [("Hookgate-Reason", failure.label().to_owned())];
        write(session, failure.status(), &headers, Bytes::new()).await
    }

    async fn write_handshake(
        &self,
        session: &mut ServerSession,
        answer: &HandshakeAnswer,
    ) -> Written {
        let headers = [
            ("Content-Type", answer.content_type.clone()),
            ("X-Content-Type-Options", "nosniff".to_owned()),
        ];
        write(
            session,
            answer.status,
            &headers,
            Bytes::from(answer.body.clone()),
        )
        .await
    }

    fn record(&self, head: Option<&Head>, outcome: Outcome<'_>) {
        let metrics = &self.gateway.metrics;
        let route = outcome.route.map_or("", |route| route.name.as_str());
        let labels = [route, outcome.verdict.label(), outcome.reason];
        metrics.requests.with_label_values(&labels).inc();
        let took = self.started.elapsed();
        metrics
            .duration
            .with_label_values(&[route])
            .observe(took.as_secs_f64());
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
            backend: backend.map_or("", |route| route.deliver.backend.name.as_str()),
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

impl Outcome<'_> {
    fn fail(&mut self, failure: Failure, status: u16) {
        self.status = status;
        self.reason = failure.label();
        self.detail = failure.to_string();
        self.level = Level::ERROR;
    }
}

/// How relaying an answer ended.
enum Relayed {
    /// All of it, with this status.
    Whole(u16),
    /// There was none; the sender was told so.
    Failed(Failure),
    /// It began with this status and broke off.
    Broken(u16, Failure),
}
