//! Judges a refused request of the log again, by what is in force now and as of when it came.

use std::sync::Arc;

use super::Gateway;
use super::durable::claim_of;
use crate::delivery::deliver::deliveries_of;
use crate::event::ClientAddr;
use crate::ingress::gate::Judgement;
use crate::store::{Accept, Accepted, Event, Facts, Shown};

/// What became of a request that was judged again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Again {
    /// It is an event now, with so many deliveries.
    Accepted {
        /// The deliveries.
        deliveries: u64,
    },
    /// Its event was accepted before.
    Duplicate,
}

impl Gateway {
    /// Judges a refused request again and queues it if it is genuine.
    ///
    /// # Errors
    /// A sentence on why it is refused again, or cannot be judged.
    pub async fn judge_again(&self, shown: &Shown) -> Result<Again, String> {
        let Some(refused) = &shown.refused else {
            return Err("it was not refused".to_owned());
        };
        if !refused.body_is_whole {
            return Err(
                "the log has not its whole body: set `webhook.refused_body` for those to come"
                    .to_owned(),
            );
        }
        let Some(store) = self.store() else {
            return Err("there is no store".to_owned());
        };
        let old = shown.event.as_ref();
        let snapshot = self.snapshot();
        let peer = old.facts.peer.map_or(ClientAddr::Unix, ClientAddr::Ip);
        let bytes = u64::try_from(old.body.len()).ok();
        let admitted = snapshot.gate.admit(&old.head, peer, bytes);
        let admitted = admitted.map_err(|refused| refused.refusal.to_string())?;
        let route = admitted.route;
        let at = old.received_at;
        let judgement = self.keys.judge(route, &old.head, &old.body, None, at).await;
        let permit = match judgement.map_err(|refusal| refusal.to_string())? {
            Judgement::Event(permit) => permit,
            Judgement::Handshake { .. } => return Err("it is a handshake".to_owned()),
        };
        let rule = route.dedup.as_ref().filter(|_| permit.observed().is_none());
        let key = rule.map_or(Ok(None), |rule| rule.key_of(&old.head, &old.body));
        let key = key.map_err(|refusal| refusal.to_string())?;
        let event = Arc::new(Event {
            route: route.name.as_str().into(),
            facts: Facts {
                verified: permit.verified(),
                provider_event_id: route.event_id(&old.head, &old.body),
                event_type: route.event_type(&old.head, &old.body),
                captures: admitted.captures.to_vec(),
                refused_before: Some(refused.reason.clone()),
                ..old.facts.clone()
            },
            ..old.clone()
        });
        let now = self.clock.now();
        let mut deliveries = deliveries_of(&route.name, &route.deliver, &event, |_| true);
        for delivery in &mut deliveries {
            delivery.due = now;
        }
        let count = deliveries.len() as u64;
        let queued: Vec<Arc<str>> = deliveries.iter().map(|one| one.backend.clone()).collect();
        let item = Accept {
            dedup: claim_of(route, key, now),
            event,
            deliveries,
            attempt: None,
            route_depth_max: route.depth_max,
            was_refused: true,
        };
        let accepted = store.accept(vec![item]).await;
        match accepted.map_err(|error| error.to_string())?.first() {
            Some(Accepted::New) => {
                self.metrics.count_queued(&route.name, &queued);
                Ok(Again::Accepted { deliveries: count })
            }
            Some(Accepted::Duplicate { .. }) => Ok(Again::Duplicate),
            Some(Accepted::Full(_)) | None => Err("the queue is full".to_owned()),
        }
    }
}
