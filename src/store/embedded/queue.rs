//! Which deliveries are live, and which of them may be claimed next. In memory only: one process
//! owns the file, and the queue is read from it at the start.
//!
//! A delivery with a lane stands behind those of its lane that were accepted before; only the head
//! of a lane is among those that can be claimed.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, VecDeque};
use std::sync::Arc;

use crate::store::{BackendUsage, LaneRule, Settled, Token};

/// A live delivery. There may be a million of them, so it is small.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Live {
    /// When it is due, in microseconds since 1970. First, since that is the order of claims.
    pub due: i64,
    /// Its event's place in the order of acceptance.
    pub seq: i64,
    /// Which delivery of the event.
    pub slot: u16,
    /// Its lane; 0 = none.
    pub lane: u64,
    /// The partition that holds its event.
    pub part: u32,
    /// The backend, by its place in [`Names`].
    pub backend: u16,
    /// The route, by its place in [`Names`].
    pub route: u16,
    /// How many attempts were made.
    pub attempts: u16,
    /// When it was asked for once more, in seconds since 1970; 0 = it is the first time.
    pub since: u32,
}

impl Live {
    pub(super) fn asked_again(&self) -> Option<jiff::Timestamp> {
        match self.since {
            0 => None,
            since => jiff::Timestamp::from_second(i64::from(since)).ok(),
        }
    }

    pub(super) fn key(&self) -> (i64, u16) {
        (self.seq, self.slot)
    }
}

/// What a settlement does to a live delivery.
#[derive(Debug, Clone, Copy)]
pub(super) enum Change {
    /// It has ended.
    End(LaneRule),
    /// It is due again.
    Retry { due: i64, lane: LaneRule },
}

/// Names that occur often, by small numbers. A number means the same for as long as the process runs.
#[derive(Clone, Default)]
pub(super) struct Names {
    numbers: HashMap<Arc<str>, u16>,
    names: Vec<Arc<str>>,
}

impl Names {
    /// The number of a name. When there are too many, the last number is shared.
    pub(super) fn number(&mut self, name: &str) -> u16 {
        if let Some(number) = self.numbers.get(name) {
            return *number;
        }
        let number = u16::try_from(self.names.len()).unwrap_or(u16::MAX);
        let name: Arc<str> = name.into();
        self.names.push(name.clone());
        self.numbers.insert(name, number);
        number
    }

    pub(super) fn find(&self, name: &str) -> Option<u16> {
        self.numbers.get(name).copied()
    }

    pub(super) fn name(&self, number: u16) -> Arc<str> {
        self.names
            .get(usize::from(number))
            .cloned()
            .unwrap_or_else(|| "".into())
    }
}

#[derive(Debug, Clone, Copy)]
struct Lease {
    live: Live,
    until: i64,
    fence: u64,
    /// Its settlement is being written: it can neither end nor be settled again.
    is_settling: bool,
    /// It was claimed in its turn: the next of its lane follows it.
    is_in_turn: bool,
}

/// What became of a delivery that was to be claimed out of its turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    Now(Token),
    InFlight,
    NotLive,
}

/// All live deliveries.
#[derive(Default)]
pub(super) struct Queue {
    pub(super) names: Names,
    pending: HashMap<u16, BinaryHeap<Reverse<Live>>>,
    /// Who waits behind the head of a lane. A lane is here for as long as it has a head.
    lanes: HashMap<(u16, u64), VecDeque<Live>>,
    leases: HashMap<(i64, u16), Lease>,
    fence: u64,
    depth_by_route: HashMap<u16, u64>,
    depth_by_backend: HashMap<u16, u64>,
    depth_by_part: HashMap<u32, u64>,
    depth: u64,
}

impl Queue {
    /// An empty queue in which the numbers of names are those of another.
    pub(super) fn with_names(names: Names) -> Self {
        Self {
            names,
            ..Self::default()
        }
    }

    /// Gives back the room that growing left over.
    pub(super) fn shrink(&mut self) {
        self.pending
            .values_mut()
            .for_each(BinaryHeap::shrink_to_fit);
    }

    /// Adds a delivery. Those of one lane must come in their order.
    pub(super) fn add(&mut self, live: Live) {
        self.count(&live);
        if live.lane != 0 {
            let lane = (live.backend, live.lane);
            if let Some(waiting) = self.lanes.get_mut(&lane) {
                waiting.push_back(live);
                return;
            }
            self.lanes.insert(lane, VecDeque::new());
        }
        self.make_claimable(live);
    }

    /// Lets a lane wait for a delivery that is not live, until [`Queue::add_head`].
    pub(super) fn park(&mut self, backend: u16, lane: u64) {
        self.lanes.entry((backend, lane)).or_default();
    }

    /// Lets a lane go on that waited for a delivery which is forgotten.
    pub(super) fn unpark(&mut self, backend: u16, lane: u64) {
        self.next_of_lane(backend, lane);
    }

    /// Adds a delivery before those that wait in its lane already.
    pub(super) fn add_head(&mut self, live: Live) {
        self.count(&live);
        self.make_claimable(live);
    }

    fn count(&mut self, live: &Live) {
        *self.depth_by_route.entry(live.route).or_default() += 1;
        *self.depth_by_backend.entry(live.backend).or_default() += 1;
        *self.depth_by_part.entry(live.part).or_default() += 1;
        self.depth += 1;
    }

    fn make_claimable(&mut self, live: Live) {
        self.pending
            .entry(live.backend)
            .or_default()
            .push(Reverse(live));
    }

    /// Leases up to `max` of a backend's deliveries that are due, the longest due first.
    pub(super) fn claim(
        &mut self,
        backend: &str,
        max: usize,
        now: i64,
        until: i64,
        claimed: &mut Vec<(Token, Live)>,
    ) {
        let Some(backend) = self.names.find(backend) else {
            return;
        };
        for _ in 0..max {
            let Some(heap) = self.pending.get_mut(&backend) else {
                return;
            };
            if heap.peek().is_none_or(|Reverse(live)| live.due > now) {
                return;
            }
            let Some(Reverse(live)) = heap.pop() else {
                return;
            };
            self.fence += 1;
            let fence = self.fence;
            let lease = Lease {
                live,
                until,
                fence,
                is_settling: false,
                is_in_turn: true,
            };
            self.leases.insert(live.key(), lease);
            let token = Token {
                seq: live.seq,
                slot: live.slot,
                fence,
            };
            claimed.push((token, live));
        }
    }

    /// Makes deliveries claimable again whose lease is over.
    pub(super) fn end_leases(&mut self, now: i64) {
        let is_over = |lease: &Lease| lease.until <= now && !lease.is_settling;
        if !self.leases.values().any(is_over) {
            return;
        }
        let over: Vec<Live> = self
            .leases
            .values()
            .filter(|lease| is_over(lease))
            .map(|lease| lease.live)
            .collect();
        for live in over {
            self.leases.remove(&live.key());
            self.make_claimable(live);
        }
    }

    /// Gives a claim back as if it had not been made.
    pub(super) fn unclaim(&mut self, token: Token) {
        if !self.is_held(token) {
            return;
        }
        let Some(Lease {
            live, is_in_turn, ..
        }) = self.leases.remove(&(token.seq, token.slot))
        else {
            return;
        };
        match self.lanes.get_mut(&(live.backend, live.lane)) {
            Some(waiting) if !is_in_turn => {
                let place = waiting.partition_point(|other| other.key() < live.key());
                waiting.insert(place, live);
            }
            Some(_) | None => self.make_claimable(live),
        }
    }

    /// Claims one delivery for good, whenever it is due and whoever it waits for. Looks through all
    /// of them.
    pub(super) fn take(&mut self, key: (i64, u16)) -> Taken {
        if self.leases.contains_key(&key) {
            return Taken::InFlight;
        }
        let Some((live, is_in_turn)) = self.take_out(key) else {
            return Taken::NotLive;
        };
        self.fence += 1;
        let fence = self.fence;
        let lease = Lease {
            live,
            until: i64::MAX,
            fence,
            is_settling: false,
            is_in_turn,
        };
        self.leases.insert(key, lease);
        let (seq, slot) = key;
        Taken::Now(Token { seq, slot, fence })
    }

    fn take_out(&mut self, key: (i64, u16)) -> Option<(Live, bool)> {
        for heap in self.pending.values_mut() {
            let found = heap.iter().find(|Reverse(live)| live.key() == key);
            if let Some(&Reverse(live)) = found {
                heap.retain(|Reverse(other)| other.key() != key);
                return Some((live, true));
            }
        }
        for waiting in self.lanes.values_mut() {
            if let Some(place) = waiting.iter().position(|live| live.key() == key) {
                return Some((waiting.remove(place)?, false));
            }
        }
        None
    }

    /// Prolongs a lease.
    pub(super) fn extend(&mut self, token: Token, until: i64) -> Settled {
        match self.leases.get_mut(&(token.seq, token.slot)) {
            Some(lease) if lease.fence == token.fence => {
                lease.until = until;
                Settled::Done
            }
            Some(_) | None => Settled::LostLease,
        }
    }

    fn is_held(&self, token: Token) -> bool {
        self.leases
            .get(&(token.seq, token.slot))
            .is_some_and(|lease| lease.fence == token.fence)
    }

    /// The delivery of a claim that is still held; until [`Queue::settle`] or
    /// [`Queue::unsettle`] nobody else gets it.
    pub(super) fn begin_settling(&mut self, token: Token) -> Option<Live> {
        let lease = self.leases.get_mut(&(token.seq, token.slot))?;
        if lease.fence != token.fence || lease.is_settling {
            return None;
        }
        lease.is_settling = true;
        Some(lease.live)
    }

    /// The settlement could not be written: the lease goes on.
    pub(super) fn unsettle(&mut self, token: Token) {
        if let Some(lease) = self.leases.get_mut(&(token.seq, token.slot)) {
            lease.is_settling = false;
        }
    }

    /// Applies what was written.
    pub(super) fn settle(&mut self, token: Token, change: Change, attempts: u16) {
        let Some(lease) = self.leases.remove(&(token.seq, token.slot)) else {
            return;
        };
        let mut live = lease.live;
        live.attempts = attempts;
        match change {
            Change::End(lane) => {
                self.forget(&live);
                if lane == LaneRule::Leave && lease.is_in_turn {
                    self.next_of_lane(live.backend, live.lane);
                }
            }
            Change::Retry { due, lane } => {
                if lane == LaneRule::Leave {
                    self.next_of_lane(live.backend, live.lane);
                    live.lane = 0;
                }
                live.due = due;
                self.make_claimable(live);
            }
        }
    }

    fn next_of_lane(&mut self, backend: u16, lane: u64) {
        if lane == 0 {
            return;
        }
        let lane = (backend, lane);
        match self.lanes.get_mut(&lane).and_then(VecDeque::pop_front) {
            Some(next) => self.make_claimable(next),
            None => {
                self.lanes.remove(&lane);
            }
        }
    }

    fn forget(&mut self, live: &Live) {
        for (depths, key) in [
            (&mut self.depth_by_route, live.route),
            (&mut self.depth_by_backend, live.backend),
        ] {
            if let Some(depth) = depths.get_mut(&key) {
                *depth = depth.saturating_sub(1);
            }
        }
        if let Some(depth) = self.depth_by_part.get_mut(&live.part) {
            *depth = depth.saturating_sub(1);
        }
        self.depth = self.depth.saturating_sub(1);
    }

    /// Whether a partition has live deliveries.
    pub(super) fn holds_part(&self, part: u32) -> bool {
        self.depth_by_part
            .get(&part)
            .is_some_and(|&depth| depth > 0)
    }

    /// How many live deliveries the events of each partition have.
    pub(super) fn depth_by_part(&self) -> BTreeMap<u32, u64> {
        let parts = self.depth_by_part.iter();
        parts
            .filter(|&(_, &depth)| depth > 0)
            .map(|(&part, &depth)| (part, depth))
            .collect()
    }

    /// Live deliveries of a route.
    pub(super) fn depth_of_route(&self, route: u16) -> u64 {
        self.depth_by_route.get(&route).copied().unwrap_or_default()
    }

    /// All live deliveries.
    pub(super) fn depth(&self) -> u64 {
        self.depth
    }

    /// When the next of a backend's deliveries is due or its lease ends.
    pub(super) fn next_due(&self, backends: &[Arc<str>]) -> Option<i64> {
        let numbers: Vec<u16> = backends
            .iter()
            .filter_map(|name| self.names.find(name))
            .collect();
        let pending = numbers
            .iter()
            .filter_map(|number| self.pending.get(number)?.peek())
            .map(|Reverse(live)| live.due);
        let leased = self
            .leases
            .values()
            .filter(|lease| numbers.contains(&lease.live.backend))
            .map(|lease| lease.until);
        pending.chain(leased).min()
    }

    /// Whether a delivery is leased.
    pub(super) fn is_leased(&self, key: (i64, u16)) -> bool {
        self.leases.contains_key(&key)
    }

    /// Live deliveries by backend.
    pub(super) fn backends(&self) -> Vec<BackendUsage> {
        self.depth_by_backend
            .iter()
            .map(|(&number, &depth)| {
                let due = self
                    .pending
                    .get(&number)
                    .and_then(|heap| heap.peek())
                    .map(|Reverse(live)| live.due);
                BackendUsage {
                    backend: self.names.name(number),
                    depth,
                    due: due.and_then(|due| jiff::Timestamp::from_microsecond(due).ok()),
                }
            })
            .collect()
    }

    /// Live deliveries by route.
    pub(super) fn routes(&self) -> Vec<(Arc<str>, u64)> {
        self.depth_by_route
            .iter()
            .map(|(&number, &depth)| (self.names.name(number), depth))
            .collect()
    }

    /// Takes over the leases of a queue that was read from the same file before.
    pub(super) fn inherit(&mut self, old: &Self) {
        self.fence = old.fence;
        for heap in self.pending.values_mut() {
            let mut left = BinaryHeap::with_capacity(heap.len());
            for Reverse(live) in heap.drain() {
                match old.leases.get(&live.key()) {
                    Some(lease) => {
                        let lease = Lease {
                            live,
                            is_settling: false,
                            ..*lease
                        };
                        self.leases.insert(live.key(), lease);
                    }
                    None => left.push(Reverse(live)),
                }
            }
            *heap = left;
        }
    }
}

#[cfg(test)]
mod tests;
