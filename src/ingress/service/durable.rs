//! Puts events on disk: those that are queued before their answer, proxied ones behind it.

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use pingora_core::protocols::http::ServerSession;

use super::answer::Written;
use super::exchange::{Exchange, Outcome};
use crate::delivery::deliver::{Deliver, deliveries_of};
use crate::event::{Head, Verdict};
use crate::ingress::dedup::{DedupKey, Recorded};
use crate::ingress::gate::{Admitted, Permit, Route};
use crate::ingress::refusal::Refusal;
use crate::signature::Request;
use crate::signature::reply::{Answer, Reply};
use crate::store::fault_point::{self, Point};
use crate::store::{
    self, Accept, Accepted, Attempt, DedupClaim, End, Event, Facts, Logged, NewDelivery, Note,
    Room, Store,
};

/// What a request is, besides its bytes, once it may be accepted.
pub(super) struct Genuine<'e, 'a> {
    pub(super) head: &'e Head,
    pub(super) body: &'e Bytes,
    pub(super) admitted: &'e Admitted<'a>,
    pub(super) permit: &'e Permit,
}

impl Genuine<'_, '_> {
    /// What its sender is answered.
    pub(super) fn answer(&self, reply: &Reply) -> Answer {
        reply.to(&Request::new(self.head, self.body))
    }
}

/// What became of an event that was to be put on disk.
pub(super) enum Kept {
    /// It is there.
    New,
    /// It was there before; this is what its first sender was answered, if that was noted.
    Duplicate(Option<Recorded>),
}

impl<'a> Exchange<'a> {
    /// Queues an event whose deliveries nobody waits for, and answers.
    pub(super) async fn enqueue(
        &self,
        session: &mut ServerSession,
        genuine: &Genuine<'_, 'a>,
    ) -> (Outcome<'a>, Written) {
        let route = genuine.admitted.route;
        let mut outcome = super::handoff::accepted(genuine.admitted, genuine.permit);
        outcome.asked_backend = false;
        let key = match route.dedup.as_ref() {
            Some(rule) if genuine.permit.observed().is_none() => {
                rule.key_of(genuine.head, genuine.body)
            }
            Some(_) | None => Ok(None),
        };
        let kept = match key {
            Ok(key) => {
                let event = self.event(genuine);
                let deliveries = self.deliveries(&event, genuine, |_| true);
                self.keep(route, event, key, deliveries, None).await
            }
            Err(refusal) => Err(refusal),
        };
        let (verdict, recorded) = match kept {
            Ok(Kept::New) => (Verdict::Accepted, None),
            Ok(Kept::Duplicate(recorded)) => (Verdict::Duplicate, recorded),
            Err(refusal) => {
                let written = self.write_refusal(session, &refusal).await;
                let client = genuine.admitted.client;
                return (Outcome::refused(Some(route), client, &refusal), written);
            }
        };
        outcome.verdict = verdict;
        let written = match (verdict, recorded) {
            (Verdict::Duplicate, Some(recorded)) => {
                outcome.status = recorded.status;
                let body = recorded.body.unwrap_or_default();
                self.write(session, recorded.status, &recorded.headers, body)
                    .await
            }
            (Verdict::Duplicate, None) => {
                outcome.status = route.duplicate.status;
                self.write_answer(session, &genuine.answer(&route.duplicate))
                    .await
            }
            _ => {
                outcome.status = route.accepted.status;
                self.write_answer(session, &genuine.answer(&route.accepted))
                    .await
            }
        };
        (outcome, written)
    }

    /// Puts an event with some of its deliveries on disk.
    ///
    /// # Errors
    /// [`Refusal::QueueFull`] or [`Refusal::StoreUnavailable`]: then nothing was kept.
    pub(super) async fn keep(
        &self,
        route: &Route,
        event: Arc<Event>,
        key: Option<DedupKey>,
        deliveries: Vec<NewDelivery>,
        attempt: Option<(u16, Attempt)>,
    ) -> Result<Kept, Refusal> {
        let store = self.store()?;
        let queued: Vec<Arc<str>> = deliveries.iter().map(|one| one.backend.clone()).collect();
        let item = Accept {
            dedup: claim_of(route, key, event.received_at),
            event,
            deliveries,
            attempt,
            route_depth_max: route.depth_max,
            was_refused: false,
        };
        let accepted = store.accept(vec![item]).await;
        let accepted = accepted.map_err(|error| Refusal::StoreUnavailable(error.to_string()))?;
        fault_point::pass(Point::BeforeAnswer);
        match accepted.into_iter().next() {
            Some(Accepted::New) => {
                self.gateway.metrics.count_queued(&route.name, &queued);
                Ok(Kept::New)
            }
            Some(Accepted::Duplicate { answer, .. }) => {
                Ok(Kept::Duplicate(answer.map(|answer| Recorded {
                    status: answer.status,
                    headers: answer.headers,
                    body: answer.body,
                })))
            }
            Some(Accepted::Full(depth)) => Err(Refusal::QueueFull {
                limit: match depth {
                    Room::Route => "route",
                    Room::Total => "store",
                    Room::Bytes => "size",
                },
                retry_after: self.gateway.flow.room_in(),
            }),
            None => Err(Refusal::StoreUnavailable("the store did not answer".into())),
        }
    }

    fn store(&self) -> Result<&Arc<dyn Store>, Refusal> {
        let none = || Refusal::StoreUnavailable("there is no store until a restart".into());
        self.gateway.store.as_ref().ok_or_else(none)
    }

    /// The event that a request is.
    pub(super) fn event(&self, genuine: &Genuine<'_, 'a>) -> Arc<Event> {
        let Genuine {
            head,
            body,
            admitted,
            permit,
        } = genuine;
        let route = admitted.route;
        Arc::new(Event {
            id: self.event_id,
            received_at: self.gateway.clock.now(),
            route: route.name.as_str().into(),
            head: (*head).clone(),
            body: (*body).clone(),
            facts: Facts {
                peer: self.peer.ip(),
                peer_is_trusted: self.snapshot.gate.trusts(self.peer),
                client: admitted.client.to_string(),
                scheme: self.scheme.to_owned(),
                verified: permit.verified(),
                provider_event_id: route.event_id(head, body),
                event_type: route.event_type(head, body),
                captures: admitted.captures.to_vec(),
                ..Facts::default()
            },
        })
    }

    /// The deliveries of an event that `which` chooses and whose `when` holds.
    pub(super) fn deliveries(
        &self,
        event: &Event,
        genuine: &Genuine<'_, 'a>,
        which: impl Fn(&Deliver) -> bool,
    ) -> Vec<NewDelivery> {
        let route = genuine.admitted.route;
        deliveries_of(&route.name, &route.deliver, event, which)
    }

    /// Notes a proxied event behind its answer.
    pub(super) fn log_event(
        &self,
        event: Arc<Event>,
        route: &Route,
        deliver: &Deliver,
        attempt: Attempt,
        end: End,
        recorded: Option<(DedupKey, Recorded)>,
    ) {
        let Some(store) = &self.gateway.store else {
            return;
        };
        let dedup = recorded.and_then(|(key, answer)| {
            let claim = claim_of(route, Some(key), event.received_at)?;
            let answer = store::Recorded {
                status: answer.status,
                headers: answer.headers,
                body: answer.body,
            };
            Some((claim, answer))
        });
        store.record(Note::Proxied(Logged {
            event,
            dedup,
            slot: deliver.slot,
            backend: deliver.backend.name.as_str().into(),
            attempt,
            end,
        }));
    }
}

/// What the store remembers an event of a route by.
pub(super) fn claim_of(route: &Route, key: Option<DedupKey>, at: Timestamp) -> Option<DedupClaim> {
    let rule = route.dedup.as_ref()?;
    Some(DedupClaim {
        scope: rule.scope(),
        key: key?.as_bytes(),
        until: at.saturating_add(rule.window).unwrap_or(Timestamp::MAX),
    })
}
