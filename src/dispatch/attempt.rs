//! One request for a delivery, or for several that go together, and what its outcome means.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::{ASKED_SLOT_FIRST, Plan};
use crate::clock::Clock;
use crate::delivery::backend::Failure;
use crate::delivery::deliver::{Deliver, OrderPolicy};
use crate::delivery::outgoing::{self, Outgoing};
use crate::delivery::profile::reply::{self, Call};
use crate::delivery::retry::{Death, Judged, Outcome, Tried, retry_after};
use crate::outbound::Received;
use crate::store::{Accept, Attempt, Claimed, Event, LaneRule, Next, Settlement};

/// An attempt that is to be made.
pub(super) struct Attempting {
    pub plan: Arc<Plan>,
    pub deliver: Arc<Deliver>,
    pub claimed: Vec<Claimed>,
    pub clock: Arc<dyn Clock>,
    pub ended: mpsc::Sender<Ended>,
}

/// An attempt that was made.
pub(super) struct Ended {
    pub backend: String,
    pub outcome: &'static str,
    pub is_ill: bool,
    pub settled: Vec<(Settlement, Claimed)>,
}

/// What came of the request.
struct Tale {
    outcome: Outcome,
    answer: Bytes,
    call: Option<Call>,
}

impl Attempting {
    /// Makes the attempt and tells how it ended.
    pub(super) async fn run(self) {
        let at = self.clock.now();
        let started = Instant::now();
        let tale = match self.outgoing() {
            Ok(outgoing) => Ok(self.carry(&outgoing).await),
            Err(death) => Err(death),
        };
        let took = started.elapsed();
        let (outcome, is_ill) = match &tale {
            Ok(tale) => (tale.outcome.label(), tale.outcome.is_ill()),
            Err(death) => (death.label(), false),
        };
        let settled = self
            .claimed
            .iter()
            .map(|claimed| {
                let attempt = Attempt {
                    number: claimed.attempts.saturating_add(1),
                    at,
                    took,
                    status: match &tale {
                        Ok(Tale {
                            outcome: Outcome::Answered { status, .. },
                            ..
                        }) => Some(*status),
                        Ok(_) | Err(_) => None,
                    },
                    outcome: outcome.to_owned(),
                    answer: tale
                        .as_ref()
                        .map_or_else(|_| Bytes::new(), |tale| tale.answer.clone()),
                };
                let next = self.next(claimed, tale.as_ref().map(|tale| tale.outcome));
                let settlement = Settlement {
                    token: claimed.token,
                    at,
                    attempt: Some(attempt),
                    follows: match (&next, &tale) {
                        (Next::Delivered, Ok(tale)) => self.follows(claimed, tale),
                        _ => None,
                    },
                    next,
                };
                (settlement, claimed.clone())
            })
            .collect();
        let ended = Ended {
            backend: self.deliver.backend.name.clone(),
            outcome,
            is_ill,
            settled,
        };
        // Nobody waits for it any more when the process ends: it is tried again after the start.
        let _ = self.ended.send(ended).await;
    }

    fn outgoing(&self) -> Result<Outgoing, Death> {
        let now = self.clock.now();
        let attempts = self.claimed.iter().map(|claimed| claimed.attempts);
        let number = attempts.max().unwrap_or_default().saturating_add(1);
        match self.claimed.as_slice() {
            [claimed] if self.deliver.batch.is_none() => {
                outgoing::single(&claimed.event, &self.deliver, Some(number), now)
            }
            several => {
                let events: Vec<&Event> = several
                    .iter()
                    .map(|claimed| claimed.event.as_ref())
                    .collect();
                outgoing::batch(&events, &self.deliver, number, now)
            }
        }
    }

    async fn carry(&self, outgoing: &Outgoing) -> Tale {
        let backend = &self.deliver.backend;
        let failed = |failure| Tale {
            outcome: Outcome::Failed(failure),
            answer: Bytes::new(),
            call: None,
        };
        let Some(road) = self.plan.roads.to(backend) else {
            return failed(Failure::Unresolved);
        };
        let answer = road
            .send(&outgoing.method, &outgoing.head, &outgoing.body)
            .await;
        let received = match answer {
            Ok(answer) => {
                let read = answer.receive_some(self.read_max());
                match timeout(backend.response_timeout, read).await {
                    Ok(received) => received,
                    Err(_) => Err(Failure::ResponseTimeout),
                }
            }
            Err(failure) => Err(failure),
        };
        match received {
            Ok(received) => self.tale(&received),
            Err(failure) => failed(failure),
        }
    }

    fn tale(&self, received: &Received) -> Tale {
        let now = self.clock.now();
        let asked = received
            .headers
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case("retry-after"))
            .and_then(|(_, value)| retry_after(value, now));
        let headers = received
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_bytes()));
        let outcome = Outcome::Answered {
            status: received.status,
            retry_after: asked,
        };
        let kept = received
            .body
            .len()
            .min(self.deliver.backend.answer_bytes_max);
        let body = received.body.get(..kept).unwrap_or_default();
        Tale {
            outcome: self.deliver.profile.judged(outcome, &received.body),
            answer: outgoing::answer_text(received.status, headers, body),
            call: self.deliver.replies.as_ref().and_then(|_| {
                let mut headers = received.headers.iter();
                let media = headers.find(|(name, _)| name.eq_ignore_ascii_case("content-type"));
                Call::of(media.map_or("", |(_, value)| value), &received.body)
            }),
        }
    }

    /// How much of an answer is read: what it wants to be called may be longer than what is kept.
    fn read_max(&self) -> usize {
        let kept = self.deliver.backend.answer_bytes_max;
        match self.deliver.replies {
            Some(_) => kept.max(reply::ANSWER_BYTES_MAX),
            None => kept,
        }
    }

    /// What the arrival of an update brings about: a call that its answer asks for.
    fn follows(&self, claimed: &Claimed, tale: &Tale) -> Option<Box<Accept>> {
        let backend = self.deliver.replies.as_deref()?;
        let call = tale.call.clone()?;
        let now = self.clock.now();
        Some(Box::new(call.accept(
            claimed,
            backend,
            ASKED_SLOT_FIRST,
            now,
        )))
    }

    fn next(&self, claimed: &Claimed, outcome: Result<Outcome, &Death>) -> Next {
        let policy = self.deliver.order.as_ref().map(|order| order.policy);
        let dead = |death: Death| Next::Dead {
            reason: death.label().to_owned(),
            lane: match policy {
                Some(OrderPolicy::Park) => LaneRule::Hold,
                Some(OrderPolicy::Block | OrderPolicy::Skip) | None => LaneRule::Leave,
            },
        };
        let outcome = match outcome {
            Ok(outcome) => outcome,
            Err(death) => return dead(*death),
        };
        let began = began(claimed);
        let tried = Tried {
            attempts: claimed.attempts.saturating_add(1),
            received_at: began,
            expires: self.deliver.expires(&claimed.event, began),
            retry_on: &self.deliver.retry_on,
        };
        let retry = &self.deliver.backend.retry;
        match retry.judge(outcome, &tried, self.clock.now(), fastrand::f64()) {
            Judged::Delivered => Next::Delivered,
            Judged::Dead(death) => dead(death),
            Judged::Retry(due) => Next::Retry {
                due,
                lane: match policy {
                    Some(OrderPolicy::Skip) => LaneRule::Leave,
                    Some(OrderPolicy::Block | OrderPolicy::Park) | None => LaneRule::Hold,
                },
            },
        }
    }
}

/// From when on the time of a delivery counts: one that is made once more has all of its time.
pub(super) fn began(claimed: &Claimed) -> Timestamp {
    claimed.asked_again.unwrap_or(claimed.event.received_at)
}
