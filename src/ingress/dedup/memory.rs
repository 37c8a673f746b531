//! A ledger in this process's memory: it forgets at the end of the process, and its size is bounded.
//!
//! When it is full, what would be forgotten next is forgotten now; keys in flight never are.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::hash::{BuildHasher, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;

use self::kept::Kept;
use super::{Claim, DedupKey, Ledger, Recorded, Settle, Ticket, Waiter};

mod kept;

/// How many keys are remembered.
pub const KEYS_MAX: usize = 1_000_000;
/// How many bytes of answers are remembered.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;
/// What a key costs besides its answer, for the sum of bytes.
const KEY_BYTES: usize = 128;

/// The ledger.
pub struct MemoryLedger {
    table: Mutex<Table>,
    keys_max: usize,
    bytes_max: usize,
    this: Weak<Self>,
}

#[derive(Default)]
struct Table {
    entries: HashMap<DedupKey, Entry, KeyHash>,
    /// Settled keys by the moment at which they are forgotten.
    expiry: BinaryHeap<Reverse<(Duration, DedupKey)>>,
    bytes: usize,
    forgotten_early: u64,
}

enum Entry {
    InFlight {
        /// `None` until somebody waits.
        outcome: Option<watch::Sender<Option<Recorded>>>,
        until: Duration,
    },
    Settled {
        answer: Kept,
        until: Duration,
    },
}

/// Keys are hashes already: a part of them is as good as a hash of them. Who could choose one would
/// have to find many that share eight bytes.
#[derive(Clone, Copy, Default)]
struct KeyHash;

/// Takes the last eight bytes that it is given.
#[derive(Default)]
struct LastBytes(u64);

impl BuildHasher for KeyHash {
    type Hasher = LastBytes;

    fn build_hasher(&self) -> LastBytes {
        LastBytes::default()
    }
}

impl Hasher for LastBytes {
    fn write(&mut self, bytes: &[u8]) {
        if let Some(last) = bytes.last_chunk() {
            self.0 = u64::from_le_bytes(*last);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

impl MemoryLedger {
    /// An empty ledger.
    pub fn new() -> Arc<Self> {
        Self::with_limits(KEYS_MAX, ANSWER_BYTES_MAX)
    }

    fn with_limits(keys_max: usize, bytes_max: usize) -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            table: Mutex::default(),
            keys_max,
            bytes_max,
            this: this.clone(),
        })
    }

    /// Remembers an event of an earlier process, until `until` (monotonic).
    pub fn restore(&self, key: DedupKey, until: Duration, answer: Recorded) {
        let mut table = self.lock();
        let answer = Kept::new(&answer);
        table.bytes += cost(&answer);
        table.expiry.push(Reverse((until, key)));
        table.entries.insert(key, Entry::Settled { answer, until });
        table.shrink(self.keys_max, self.bytes_max);
    }

    /// A panic elsewhere leaves the table as it was between two steps: it is still good.
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Ledger for MemoryLedger {
    async fn claim(&self, key: DedupKey, now: Duration, window: Duration) -> Claim {
        let mut table = self.lock();
        table.forget(now);
        match table.entries.get_mut(&key) {
            Some(Entry::Settled { answer, .. }) => Claim::Seen(answer.recorded()),
            Some(Entry::InFlight { outcome, .. }) => {
                let outcome = outcome.get_or_insert_with(|| watch::channel(None).0);
                Claim::InFlight(Waiter(outcome.subscribe()))
            }
            None => {
                table.entries.insert(
                    key,
                    Entry::InFlight {
                        outcome: None,
                        until: now.saturating_add(window),
                    },
                );
                drop(table);
                match self.this.upgrade() {
                    Some(ledger) => Claim::First(Ticket::new(key, ledger)),
                    // The ledger is being dropped; nobody will ask it again.
                    None => Claim::First(Ticket { key, ledger: None }),
                }
            }
        }
    }

    fn size(&self) -> (usize, u64) {
        let table = self.lock();
        (table.entries.len(), table.forgotten_early)
    }
}

impl Settle for MemoryLedger {
    fn settle(&self, key: DedupKey, answer: Recorded) {
        let kept = Kept::new(&answer);
        let mut table = self.lock();
        let Some(entry) = table.entries.get_mut(&key) else {
            return;
        };
        let Entry::InFlight { outcome, until } = entry else {
            return;
        };
        let (outcome, until) = (outcome.take(), *until);
        let told = outcome.map(|outcome| (outcome, answer));
        let bytes = cost(&kept);
        *entry = Entry::Settled {
            answer: kept,
            until,
        };
        table.bytes += bytes;
        table.expiry.push(Reverse((until, key)));
        table.shrink(self.keys_max, self.bytes_max);
        drop(table);
        if let Some((outcome, answer)) = told {
            outcome.send_replace(Some(answer));
        }
    }

    fn release(&self, key: DedupKey) {
        // Dropping the sender wakes everybody who waits; the first to claim again is the new first.
        self.lock().entries.remove(&key);
    }
}

impl Table {
    /// Forgets what has had its window.
    fn forget(&mut self, now: Duration) {
        let is_over = |next: &Reverse<(Duration, DedupKey)>| next.0.0 <= now;
        while self.expiry.peek().is_some_and(is_over) {
            self.forget_first();
        }
    }

    fn shrink(&mut self, keys_max: usize, bytes_max: usize) {
        while (self.expiry.len() > keys_max || self.bytes > bytes_max) && !self.expiry.is_empty() {
            self.forget_first();
            self.forgotten_early += 1;
        }
    }

    fn forget_first(&mut self) {
        let Some(Reverse((until, key))) = self.expiry.pop() else {
            return;
        };
        match self.entries.remove(&key) {
            Some(Entry::Settled { answer, until: its }) if its == until => {
                self.bytes = self.bytes.saturating_sub(cost(&answer));
            }
            Some(other) => {
                self.entries.insert(key, other);
            }
            None => {}
        }
    }
}

fn cost(answer: &Kept) -> usize {
    KEY_BYTES + answer.len()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    const WINDOW: Duration = Duration::from_secs(60);

    fn key(n: u8) -> DedupKey {
        DedupKey([n; 16])
    }

    fn answer(body: &'static str) -> Recorded {
        Recorded {
            status: 200,
            headers: Vec::new(),
            body: Some(Bytes::from_static(body.as_bytes())),
        }
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    async fn first(ledger: &MemoryLedger, n: u8, now: u64) -> Option<Ticket> {
        match ledger.claim(key(n), at(now), WINDOW).await {
            Claim::First(ticket) => Some(ticket),
            Claim::InFlight(_) | Claim::Seen(_) => None,
        }
    }

    #[tokio::test]
    async fn one_of_many_is_first_and_all_get_its_answer() {
        let ledger = MemoryLedger::new();
        let ticket = first(&ledger, 1, 0).await.unwrap();
        let mut waiting = Vec::new();
        for _ in 0..20 {
            match ledger.claim(key(1), at(0), WINDOW).await {
                Claim::InFlight(waiter) => waiting.push(tokio::spawn(waiter.outcome())),
                Claim::First(_) | Claim::Seen(_) => panic!("claimed twice"),
            }
        }
        ticket.settle(answer("a"));
        for waiter in waiting {
            assert_eq!(waiter.await.unwrap(), Some(answer("a")));
        }
        assert!(
            matches!(ledger.claim(key(1), at(59), WINDOW).await, Claim::Seen(seen) if seen == answer("a"))
        );
        assert!(first(&ledger, 1, 60).await.is_some(), "the window is over");
    }

    #[tokio::test]
    async fn a_dropped_ticket_frees_the_key_and_wakes_who_waits() {
        let ledger = MemoryLedger::new();
        let ticket = first(&ledger, 1, 0).await.unwrap();
        let Claim::InFlight(waiter) = ledger.claim(key(1), at(0), WINDOW).await else {
            panic!()
        };
        let waiting = tokio::spawn(waiter.outcome());
        drop(ticket);
        assert_eq!(waiting.await.unwrap(), None);
        assert!(first(&ledger, 1, 0).await.is_some());
    }

    #[tokio::test]
    async fn a_full_ledger_forgets_what_is_oldest_and_never_what_is_in_flight() {
        let ledger = MemoryLedger::with_limits(2, usize::MAX);
        let flying = first(&ledger, 9, 5).await.unwrap();
        for n in 1..=3 {
            first(&ledger, n, u64::from(n))
                .await
                .unwrap()
                .settle(answer("a"));
        }
        assert_eq!(ledger.size(), (3, 1));
        assert!(
            first(&ledger, 1, 4).await.is_some(),
            "the oldest is forgotten"
        );
        assert!(first(&ledger, 3, 4).await.is_none());
        flying.settle(answer("b"));
        assert!(matches!(
            ledger.claim(key(9), at(6), WINDOW).await,
            Claim::Seen(_)
        ));
    }

    #[tokio::test]
    async fn the_bytes_of_answers_are_bounded_too() {
        let ledger = MemoryLedger::with_limits(usize::MAX, 3 * KEY_BYTES);
        for n in 1..=9 {
            first(&ledger, n, u64::from(n))
                .await
                .unwrap()
                .settle(answer("0123456789"));
        }
        assert_eq!(ledger.size().0, 2);
    }
}
