//! Notes refused requests in the log, as many as are of use.

use std::sync::Arc;

use bytes::Bytes;
use governor::{Quota, RateLimiter};
use std::num::NonZeroU32;

use super::exchange::{Exchange, Outcome};
use crate::event::Head;
use crate::store::{Event, Facts, Note, Refused};

/// How many refused requests are noted in a second, when there are many.
const PER_SECOND: NonZeroU32 = NonZeroU32::MIN.saturating_add(99);
/// How many are noted at once.
const BURST: NonZeroU32 = NonZeroU32::MIN.saturating_add(999);

/// Lets so many refusals into the log that a flood of them neither fills it nor hides the rest.
pub(super) struct Spell(governor::DefaultDirectRateLimiter);

impl Default for Spell {
    fn default() -> Self {
        let quota = Quota::per_second(PER_SECOND).allow_burst(BURST);
        Self(RateLimiter::direct(quota))
    }
}

impl Exchange<'_> {
    /// Notes a refused request behind its answer. Of its body the log keeps what its route says.
    pub(super) fn note_refusal(&self, head: &Head, body: Option<&Bytes>, outcome: &Outcome<'_>) {
        let Some(store) = self.gateway.store() else {
            return;
        };
        if self.gateway.refusals_logged.0.check().is_err() {
            self.gateway.metrics.refusals_unlogged.inc();
            return;
        }
        let route = outcome.route;
        let kept_max = route.map_or(0, |route| route.refused_body_max);
        let kept = body.map_or(Bytes::new(), |body| body.slice(..body.len().min(kept_max)));
        let body_is_whole = body.is_some_and(|body| body.len() == kept.len());
        let event = Event {
            id: self.event_id,
            received_at: self.gateway.clock.now(),
            route: route.map_or("", |route| route.name.as_str()).into(),
            head: head.clone(),
            facts: Facts {
                peer: self.peer.ip(),
                peer_is_trusted: self.snapshot.gate.trusts(self.peer),
                client: outcome.client.to_string(),
                scheme: self.scheme.to_owned(),
                provider_event_id: route.and_then(|route| route.event_id(head, &kept)),
                event_type: route.and_then(|route| route.event_type(head, &kept)),
                ..Facts::default()
            },
            body: kept,
        };
        store.record(Note::Refused {
            event: Arc::new(event),
            refused: Refused {
                reason: outcome.reason.to_owned(),
                detail: outcome.detail.clone(),
                status: outcome.status,
                body_is_whole,
            },
        });
    }
}
