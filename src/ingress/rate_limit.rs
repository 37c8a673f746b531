//! How many requests may come: buckets by route, client, header, path or content.
//!
//! The table of buckets is bounded. When it is full, buckets that have filled up again (and so
//! mean nothing) make room; keys that find none share a few overflow buckets. So whoever sends
//! from a million addresses only slows down the other newcomers, and no bucket that is in use is
//! forgotten, which would hand its owner a fresh burst.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use governor::clock::Clock as GovernorClock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::keyed::{HashMapStateStore, ShrinkableKeyedStateStore};
use governor::state::{InMemoryState, NotKeyed, StateStore};
use governor::{Quota, RateLimiter};

use super::refusal::Refusal;
use super::router::Captures;
use crate::clock::{Clock, SystemClock};
use crate::event::ClientAddr;
use crate::signature::Request;
use crate::signature::place::Place;

/// How many keys one rule remembers.
const KEYS_MAX: usize = 100_000;
/// How many buckets the keys share that find no room.
const OVERFLOW_BUCKETS: usize = 64;
/// The shortest time between two searches for buckets that have filled up again.
const RECLAIM_INTERVAL: Duration = Duration::from_secs(1);
/// The part of a version 6 address that one subscriber has for himself.
const IPV6_PREFIX: u32 = 64;

/// What requests are counted by.
#[derive(Debug, Clone)]
pub enum LimitBy {
    /// All requests of the route together.
    Route,
    /// The client behind trusted proxies; version 6 by /64.
    ClientIp,
    /// What a named segment of the path captured.
    Path(String),
    /// A header, a query parameter or a JSONPath; requests without it share one bucket.
    Place(Place),
}

/// When a limit is taken from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitStage {
    /// Before the body is read: spares the work, but anybody can use it up.
    Before,
    /// After verification: only genuine requests count.
    After,
}

/// How many requests may come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitQuota {
    /// How many in `per`.
    pub count: NonZeroU32,
    /// The time in which the bucket gets `count` back.
    pub per: Duration,
    /// How many at once.
    pub burst: NonZeroU32,
}

/// One rule of a route.
pub struct LimitRule {
    /// What requests are counted by.
    pub by: LimitBy,
    /// When.
    pub stage: LimitStage,
    /// How many.
    pub quota: LimitQuota,
    /// The buckets.
    pub limiter: Arc<dyn Limiter>,
}

/// What a limiter says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// There was room.
    Granted,
    /// There is none before this time has passed.
    Denied {
        /// How long to wait.
        retry_after: Duration,
    },
}

/// Takes one request from the bucket of a key. A store that several gateways share can stand
/// behind it.
pub trait Limiter: Send + Sync {
    /// Takes one, or says when there will be one.
    fn take(&self, key: u64) -> Decision;
}

impl LimitRule {
    /// Takes one request from its bucket.
    ///
    /// # Errors
    /// [`Refusal::RateLimited`] when the bucket is empty.
    pub fn check(
        &self,
        request: &Request<'_>,
        client: ClientAddr,
        captures: &Captures,
    ) -> Result<(), Refusal> {
        let key = self.by.key(request, client, captures);
        match self.limiter.take(key) {
            Decision::Granted => Ok(()),
            Decision::Denied { retry_after } => Err(Refusal::RateLimited {
                retry_after,
                quota: self.quota,
            }),
        }
    }
}

impl LimitBy {
    fn key(&self, request: &Request<'_>, client: ClientAddr, captures: &Captures) -> u64 {
        match self {
            Self::Route => hash(b""),
            Self::ClientIp => match client {
                ClientAddr::Unix => hash(b"unix"),
                ClientAddr::Ip(IpAddr::V4(ip)) => hash(&ip.octets()),
                ClientAddr::Ip(IpAddr::V6(ip)) => {
                    let network = ip.to_bits() & (u128::MAX << (u128::BITS - IPV6_PREFIX));
                    hash(&network.to_be_bytes())
                }
            },
            Self::Path(name) => hash(captures.find(name).unwrap_or_default().as_bytes()),
            Self::Place(place) => hash(&place.read(request).unwrap_or_default()),
        }
    }

    /// Whether the whole body is needed to know the key.
    pub fn needs_body(&self) -> bool {
        matches!(self, Self::Place(Place::Json(_) | Place::Form(_)))
    }

    /// Whether it counts all requests together; checked after those that single somebody out, so
    /// that who is refused by his own bucket takes nothing from everybody's.
    pub fn is_common(&self) -> bool {
        matches!(self, Self::Route)
    }
}

/// Keyed by a secret of this process: nobody can choose keys that fall into one bucket.
fn hash(key: &[u8]) -> u64 {
    static STATE: std::sync::OnceLock<RandomState> = std::sync::OnceLock::new();
    STATE.get_or_init(RandomState::new).hash_one(key)
}

impl LimitQuota {
    /// The seconds in which an empty bucket becomes full, rounded up.
    pub fn window_seconds(&self) -> u64 {
        let whole =
            self.per.as_secs_f64() * f64::from(self.burst.get()) / f64::from(self.count.get());
        Duration::try_from_secs_f64(whole.ceil())
            .map_or(u64::MAX, |window| window.as_secs())
            .max(1)
    }

    fn quota(&self) -> Option<Quota> {
        let one = self.per.checked_div(self.count.get())?;
        Quota::with_period(one.max(Duration::from_nanos(1)))
            .map(|quota| quota.allow_burst(self.burst))
    }
}

/// The buckets of one rule in this process's memory.
pub struct LocalLimiter {
    buckets: RateLimiter<u64, BoundedStore, Monotonic, NoOpMiddleware<Duration>>,
    keys_max: usize,
    reclaimed_at: AtomicU64,
}

impl LocalLimiter {
    /// Makes empty tables; `None` when the quota gives nothing back in any measurable time.
    pub fn new(quota: LimitQuota, clock: Arc<dyn Clock>) -> Option<Self> {
        Self::with_keys_max(quota, clock, KEYS_MAX)
    }

    fn with_keys_max(quota: LimitQuota, clock: Arc<dyn Clock>, keys_max: usize) -> Option<Self> {
        let store = BoundedStore::new(keys_max);
        let buckets = RateLimiter::new(quota.quota()?, store, Monotonic(clock));
        Some(Self {
            buckets,
            keys_max,
            reclaimed_at: AtomicU64::new(0),
        })
    }

    /// Makes room when the table is full, now and then.
    fn reclaim(&self) {
        if self.buckets.len() < self.keys_max {
            return;
        }
        let now = u64::try_from(self.buckets.clock().now().as_millis()).unwrap_or(u64::MAX);
        let last = self.reclaimed_at.load(Ordering::Relaxed);
        let interval = RECLAIM_INTERVAL.as_secs() * 1_000;
        let is_due = last == 0 || now.saturating_sub(last) >= interval;
        let mine = is_due
            && self
                .reclaimed_at
                .compare_exchange(last, now.max(1), Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
        if mine {
            self.buckets.retain_recent();
        }
    }
}

impl Limiter for LocalLimiter {
    fn take(&self, key: u64) -> Decision {
        self.reclaim();
        match self.buckets.check_key(&key) {
            Ok(()) => Decision::Granted,
            Err(not_until) => {
                let retry_after = not_until.wait_time_from(self.buckets.clock().now());
                Decision::Denied { retry_after }
            }
        }
    }
}

/// The limiters of all rules, kept over reloads: a rule that did not change keeps its buckets.
pub struct Limiters {
    clock: Arc<dyn Clock>,
    known: Mutex<HashMap<String, Arc<LocalLimiter>>>,
}

impl Limiters {
    /// None yet.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            known: Mutex::default(),
        }
    }

    /// The limiter of a rule; `None` when the quota gives nothing back in any measurable time.
    pub fn limiter(
        &self,
        route: &str,
        by: &LimitBy,
        stage: LimitStage,
        quota: LimitQuota,
    ) -> Option<Arc<dyn Limiter>> {
        let rule = format!("{route}\n{by:?}\n{stage:?}\n{quota:?}");
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(limiter) = known.get(&rule) {
            return Some(limiter.clone());
        }
        let limiter = Arc::new(LocalLimiter::new(quota, self.clock.clone())?);
        known.insert(rule, limiter.clone());
        Some(limiter)
    }

    /// Forgets the limiters of rules that are gone.
    pub fn forget_unused(&self) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, limiter| Arc::strong_count(limiter) > 1);
    }
}

impl Default for Limiters {
    fn default() -> Self {
        Self::new(Arc::new(SystemClock))
    }
}

/// A clock that never goes back, for governor.
#[derive(Clone)]
struct Monotonic(Arc<dyn Clock>);

impl GovernorClock for Monotonic {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.0.monotonic()
    }
}

/// A table of buckets that grows no further than `keys_max`.
struct BoundedStore {
    table: HashMapStateStore<u64>,
    overflow: Vec<InMemoryState>,
    keys_max: usize,
}

impl BoundedStore {
    fn new(keys_max: usize) -> Self {
        let overflow = std::iter::repeat_with(InMemoryState::default)
            .take(OVERFLOW_BUCKETS)
            .collect();
        Self {
            table: HashMapStateStore::default(),
            overflow,
            keys_max,
        }
    }

    /// The shared bucket of a key that finds no room.
    fn overflow(&self, key: u64) -> Option<&InMemoryState> {
        let table = self.table.lock();
        if table.len() < self.keys_max || table.contains_key(&key) {
            return None;
        }
        let index = usize::try_from(key % OVERFLOW_BUCKETS as u64).ok()?;
        self.overflow.get(index)
    }
}

impl StateStore for BoundedStore {
    type Key = u64;

    fn measure_and_replace<T, F, E>(&self, key: &u64, f: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        match self.overflow(*key) {
            Some(bucket) => bucket.measure_and_replace(&NotKeyed::NonKey, f),
            None => self.table.measure_and_replace(key, f),
        }
    }
}

impl ShrinkableKeyedStateStore<u64> for BoundedStore {
    fn retain_recent(&self, drop_below: Nanos) {
        self.table.retain_recent(drop_below);
    }

    fn len(&self) -> usize {
        self.table.len()
    }

    fn is_empty(&self) -> bool {
        self.table.is_empty()
    }
}

impl fmt::Debug for LimitRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LimitRule")
            .field("by", &self.by)
            .field("stage", &self.stage)
            .field("quota", &self.quota)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    fn quota(count: u32, seconds: u64, burst: u32) -> LimitQuota {
        LimitQuota {
            count: NonZeroU32::new(count).unwrap(),
            per: Duration::from_secs(seconds),
            burst: NonZeroU32::new(burst).unwrap(),
        }
    }

    fn limiter(quota: LimitQuota, keys_max: usize) -> (LocalLimiter, Arc<ManualClock>) {
        let clock = Arc::new(ManualClock::default());
        (
            LocalLimiter::with_keys_max(quota, clock.clone(), keys_max).unwrap(),
            clock,
        )
    }

    fn granted(limiter: &LocalLimiter, key: u64, tries: usize) -> usize {
        (0..tries)
            .filter(|_| limiter.take(key) == Decision::Granted)
            .count()
    }

    #[test]
    fn a_bucket_gives_its_burst_and_then_its_rate() {
        let (limiter, clock) = limiter(quota(10, 1, 5), 100);
        assert_eq!(granted(&limiter, 1, 20), 5);
        let retry_after = Duration::from_millis(100);
        assert_eq!(limiter.take(1), Decision::Denied { retry_after });
        clock.advance(Duration::from_millis(100));
        assert_eq!(granted(&limiter, 1, 20), 1);
        clock.advance(Duration::from_secs(60));
        assert_eq!(granted(&limiter, 1, 20), 5);
        assert_eq!(granted(&limiter, 2, 20), 5);
    }

    #[test]
    fn a_flood_of_keys_neither_grows_the_table_nor_frees_anybody() {
        let (limiter, clock) = limiter(quota(1, 60, 2), 1_000);
        assert_eq!(granted(&limiter, 7, 5), 2);
        let newcomers: usize = (1_000..101_000).map(|key| granted(&limiter, key, 1)).sum();
        assert!(limiter.buckets.len() <= 1_000);
        assert!(newcomers <= 999 + 2 * OVERFLOW_BUCKETS, "{newcomers}");
        assert_eq!(
            granted(&limiter, 7, 5),
            0,
            "the flood must not free a bucket in use"
        );
        clock.advance(Duration::from_secs(600));
        assert_eq!(granted(&limiter, 999_999, 5), 2);
        assert!(
            limiter.buckets.len() < 10,
            "buckets that are full again make room"
        );
    }

    #[test]
    fn the_window_is_the_time_in_which_a_bucket_fills() {
        let check = |quota: LimitQuota, seconds: u64| assert_eq!(quota.window_seconds(), seconds);
        check(quota(50, 1, 100), 2);
        check(quota(100, 60, 100), 60);
        check(quota(1_000, 1, 1), 1);
    }
}
