//! Events that wait to go in one request.

use std::mem;
use std::sync::Arc;
use std::time::Duration;

use crate::delivery::deliver::Deliver;
use crate::store::Claimed;

/// A route and the place of a delivery in it.
pub(super) type TrayKey = (Arc<str>, u16);

/// Events of one delivery, in the order of their acceptance.
pub(super) struct Tray {
    deliver: Arc<Deliver>,
    claimed: Vec<Claimed>,
    ripe_at: Duration,
    max: usize,
}

impl Tray {
    /// An empty tray, which waits until `ripe_at` (monotonic).
    pub(super) fn new(deliver: Arc<Deliver>, ripe_at: Duration) -> Self {
        let max = deliver.batch.map_or(1, |batch| batch.max.get());
        Self {
            deliver,
            claimed: Vec::new(),
            ripe_at,
            max: usize::try_from(max).unwrap_or(usize::MAX),
        }
    }

    pub(super) fn add(&mut self, claimed: Claimed) {
        self.claimed.push(claimed);
    }

    pub(super) fn ripe_at(&self) -> Duration {
        self.ripe_at
    }

    pub(super) fn is_ripe(&self, now: Duration) -> bool {
        self.ripe_at <= now || self.claimed.len() >= self.max
    }

    /// What goes in each request.
    pub(super) fn into_requests(mut self) -> Vec<(Arc<Deliver>, Vec<Claimed>)> {
        self.claimed.sort_by_key(|claimed| claimed.token.seq);
        let mut requests = Vec::new();
        while !self.claimed.is_empty() {
            let rest = self.claimed.split_off(self.claimed.len().min(self.max));
            let some = mem::replace(&mut self.claimed, rest);
            requests.push((self.deliver.clone(), some));
        }
        requests
    }
}
