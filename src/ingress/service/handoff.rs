//! Hands an accepted request to its backend, and the backend's answer to the sender.

use std::time::Instant;

use bytes::{Bytes, BytesMut};
use pingora_core::protocols::http::ServerSession;
use pingora_http::ResponseHeader;
use tracing::Level;

use super::answer::{Cut, Written, relayed_header};
use super::exchange::{Exchange, Outcome};
use super::request::status_class;
use crate::delivery::backend::Failure;
use crate::delivery::request::{Via, write_head};
use crate::event::{Head, Verdict};
use crate::ingress::dedup::{Recorded, Ticket};
use crate::ingress::gate::{Admitted, Permit, Route};
use crate::outbound::Answer;

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
        head: &Head,
        body: &Bytes,
        admitted: &Admitted<'a>,
        permit: Permit,
        ticket: Option<Ticket>,
    ) -> (Outcome<'a>, Written) {
        let route = admitted.route;
        let wire = self.wire_head(head, body, admitted, &permit);
        let asked = Instant::now();
        let answer = match self.snapshot.roads.to(&route.deliver.backend) {
            Some(road) => road.send(&head.method, &wire, body).await,
            None => Err(Failure::Unresolved),
        };
        let metrics = &self.gateway.metrics;
        let backend = &route.deliver.backend.name;
        let took = asked.elapsed().as_secs_f64();
        metrics.backend.with_label_values(&[backend]).observe(took);
        let relayed = match answer {
            Ok(answer) => self.relay(session, route, answer, ticket).await,
            Err(failure) => {
                drop(ticket);
                self.fail(session, failure).await
            }
        };
        let mut outcome = accepted(admitted, &permit);
        let (label, written) = outcome.ended(relayed);
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
        let path = admitted.rewritten_path();
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
        ticket: Option<Ticket>,
    ) -> Relayed {
        let Some(header) = answer.head().map(|header| relayed_header(header, session)) else {
            return self.fail(session, Failure::BrokenOff).await;
        };
        let status = header.status.as_u16();
        // A failed answer lets go of the ticket here: who waits for it may try at once.
        let ticket = ticket.filter(|_| status < FAILURE_FROM);
        let mut record = ticket.map(|ticket| Record::new(ticket, &header));
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
                Err(failure) => return Relayed::Broken(status, failure),
            }
        }
        if let Some(record) = record {
            // The backend has done its work, whether or not the sender is still there.
            record.settle(sent);
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

fn accepted<'a>(admitted: &Admitted<'a>, permit: &Permit) -> Outcome<'a> {
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

/// An answer that is being noted for duplicates.
struct Record {
    ticket: Ticket,
    status: u16,
    headers: Vec<(String, Bytes)>,
    body: Option<BytesMut>,
}

impl Record {
    fn new(ticket: Ticket, header: &ResponseHeader) -> Self {
        let framing = |name: &str| name == "transfer-encoding" || name == "content-length";
        let headers = header
            .headers
            .iter()
            .filter(|(name, _)| !framing(name.as_str()))
            .map(|(name, value)| (name.to_string(), Bytes::copy_from_slice(value.as_bytes())))
            .collect();
        Self {
            ticket,
            status: header.status.as_u16(),
            headers,
            body: Some(BytesMut::new()),
        }
    }

    fn push(&mut self, piece: &[u8]) {
        let fits = |body: &BytesMut| body.len() + piece.len() <= RECORDED_BYTES_MAX;
        self.body = self.body.take().filter(fits).map(|mut body| {
            body.extend_from_slice(piece);
            body
        });
    }

    /// `whole` = the body came to its end.
    fn settle(self, whole: bool) {
        let body = self.body.filter(|_| whole).map(BytesMut::freeze);
        let answer = Recorded {
            status: self.status,
            headers: self.headers,
            body,
        };
        self.ticket.settle(answer);
    }
}
