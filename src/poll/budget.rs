//! How often an upstream may be asked: our own rates, and what it says itself.
//!
//! A [`Budget`] is shared by all sources that name it, because upstreams count by credential. It
//! decides *not before when*, and says so; whoever asks does the waiting. Pure: the moment is an
//! argument. What headers mean is read in `asked`.
//!
//! A rate is a token bucket: after a rest, as many as it counts may go at once.

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use self::asked::header;

pub use self::asked::{MinInterval, ResetAs, remaining, retry_after};

mod asked;

/// The most rates of one budget.
const RATES_MAX: usize = 8;
/// The longest time of a rate.
const PER_MAX: Duration = Duration::from_secs(31 * 24 * 60 * 60);
/// The status of a limit that is used up.
const TOO_MANY: u16 = 429;
/// How long an upstream is obeyed unless the file says otherwise.
const WAIT_MAX: Duration = Duration::from_secs(60 * 60);

/// How often something may happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    count: NonZeroU32,
    per: Duration,
}

impl Rate {
    /// `count` in each `per`.
    ///
    /// # Errors
    /// [`BudgetError::Per`] when `per` is no time, or longer than 31 days.
    pub fn new(count: NonZeroU32, per: Duration) -> Result<Self, BudgetError> {
        if per.is_zero() || per > PER_MAX {
            return Err(BudgetError::Per);
        }
        Ok(Self { count, per })
    }
}

/// What an upstream says about its limit, and how much of it is left alone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LimitHeaders {
    /// The header that tells how many more requests are allowed.
    pub remaining: Option<String>,
    /// The header that tells how many are allowed from reset to reset; without it the most that was
    /// seen since the last reset stands for it.
    pub limit: Option<String>,
    /// The header that tells when they are counted anew.
    pub reset: Option<String>,
    /// In which form.
    pub reset_as: ResetAs,
    /// How many are left to others.
    pub reserve: Reserve,
}

/// How many of the allowed requests are left to others who use the same credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reserve {
    /// So many.
    Count(u64),
    /// So many of a hundred.
    Percent(u8),
}

impl Default for Reserve {
    fn default() -> Self {
        Self::Count(0)
    }
}

impl Reserve {
    fn of(self, limit: u64) -> u64 {
        match self {
            Self::Count(count) => count,
            Self::Percent(percent) => {
                let share = u128::from(limit) * u128::from(percent.min(100)) / 100;
                u64::try_from(share).unwrap_or(u64::MAX)
            }
        }
    }
}

/// The rules of a budget.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BudgetRules {
    /// How often may be asked; all of them hold.
    pub rates: Vec<Rate>,
    /// How many may be asking at once.
    pub concurrency: NonZeroU32,
    /// The longest that the upstream's wishes are obeyed.
    pub wait_max: Duration,
    /// Whether `Retry-After` is one of them.
    pub retry_after: RetryAfter,
    /// What the upstream says about its limit.
    pub headers: LimitHeaders,
}

impl Default for BudgetRules {
    fn default() -> Self {
        Self {
            rates: Vec::new(),
            concurrency: NonZeroU32::MIN,
            wait_max: WAIT_MAX,
            retry_after: RetryAfter::Honoured,
            headers: LimitHeaders::default(),
        }
    }
}

/// Whether `Retry-After` is obeyed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryAfter {
    /// It is.
    Honoured,
    /// It is not.
    Ignored,
}

/// Why there can be no such budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BudgetError {
    /// A rate is counted in no time, or in too long a one.
    #[error("a rate is counted in a time between nothing and 31 days")]
    Per,
    /// Too many rates.
    #[error("a budget has {RATES_MAX} rates at most")]
    TooManyRates,
}

/// A pause that an upstream asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hold {
    /// How long it wants to be left alone.
    pub asked: Duration,
    /// How long it is.
    pub kept: Duration,
    /// Until when.
    pub until: Timestamp,
}

impl Hold {
    /// Whether it asked for more than the longest pause, so that it will be asked too early.
    pub fn is_cut(&self) -> bool {
        self.kept < self.asked
    }
}

/// How often an upstream may be asked, by everybody together.
pub struct Budget {
    rules: BudgetRules,
    permits: Arc<Semaphore>,
    state: Mutex<State>,
}

struct State {
    buckets: Vec<Bucket>,
    held_until: Option<Timestamp>,
    left: Option<u64>,
    /// The most that was left since the upstream last counted anew.
    most_left: u64,
}

/// The right to be asking. Gives itself back.
#[must_use]
pub struct Permit {
    _held: Option<OwnedSemaphorePermit>,
}

impl Budget {
    /// Begins with full rates.
    ///
    /// # Errors
    /// [`BudgetError::TooManyRates`].
    pub fn new(rules: BudgetRules) -> Result<Self, BudgetError> {
        if rules.rates.len() > RATES_MAX {
            return Err(BudgetError::TooManyRates);
        }
        let concurrency = usize::try_from(rules.concurrency.get()).unwrap_or(usize::MAX);
        let permits = concurrency.min(Semaphore::MAX_PERMITS);
        Ok(Self {
            permits: Arc::new(Semaphore::new(permits)),
            state: Mutex::new(State {
                buckets: rules.rates.iter().map(Bucket::new).collect(),
                held_until: None,
                left: None,
                most_left: 0,
            }),
            rules,
        })
    }

    /// Waits for its turn among those who ask at once. Comes before [`Budget::take`], which counts.
    pub async fn enter(&self) -> Permit {
        // It is never closed.
        let held = self.permits.clone().acquire_owned().await.ok();
        Permit { _held: held }
    }

    /// The right to be asking, if there is one left.
    pub fn try_enter(&self) -> Option<Permit> {
        let held = self.permits.clone().try_acquire_owned().ok()?;
        Some(Permit { _held: Some(held) })
    }

    /// Counts one request that is about to be made.
    ///
    /// # Errors
    /// The time before which it may not be made; nothing was counted.
    pub fn take(&self, now: Timestamp) -> Result<(), Timestamp> {
        let mut state = self.state();
        let latest = now.saturating_add(self.rules.wait_max);
        let latest = latest.unwrap_or(Timestamp::MAX);
        // A clock that was set back must not make a pause longer than the longest.
        state.held_until = state.held_until.map(|until| until.min(latest));
        let held = state.held_until;
        let free = state.buckets.iter_mut().map(|bucket| bucket.free_at(now));
        let not_before = free.chain(held).max().unwrap_or(now);
        if not_before > now {
            return Err(not_before);
        }
        state.held_until = None;
        for bucket in &mut state.buckets {
            bucket.take();
        }
        Ok(())
    }

    /// Learns from an answer; a pause that it asked for is kept, and told.
    pub fn observe(
        &self,
        status: u16,
        headers: &[(String, String)],
        now: Timestamp,
    ) -> Option<Hold> {
        let rules = &self.rules.headers;
        let read = |name: &Option<String>| header(headers, name.as_deref()?);
        let left = read(&rules.remaining).and_then(remaining);
        let limit = read(&rules.limit).and_then(remaining);
        let reset = read(&rules.reset).and_then(|value| rules.reset_as.wait(value, now));
        let spent = left.map_or(status == TOO_MANY, |left| self.learn(left, limit));
        let wish = self.wish(status, headers, now);
        let asked = wish.max(reset.filter(|_| spent))?;
        (!asked.is_zero()).then(|| self.hold(asked, now))
    }

    /// What an answer that is an error asks for with `Retry-After`.
    fn wish(&self, status: u16, headers: &[(String, String)], now: Timestamp) -> Option<Duration> {
        match self.rules.retry_after {
            RetryAfter::Honoured if status >= 400 => {
                retry_after(header(headers, "retry-after")?, now)
            }
            RetryAfter::Honoured | RetryAfter::Ignored => None,
        }
    }

    /// Lets nobody ask for `asked`, or for the longest pause if that is shorter.
    pub fn hold(&self, asked: Duration, now: Timestamp) -> Hold {
        let kept = asked.min(self.rules.wait_max);
        let until = now.saturating_add(kept).unwrap_or(Timestamp::MAX);
        let mut state = self.state();
        state.held_until = state.held_until.max(Some(until));
        Hold { asked, kept, until }
    }

    /// How many more requests the upstream allows, as it last said.
    pub fn left(&self) -> Option<u64> {
        self.state().left
    }

    /// Until when nobody may ask because the upstream said so; for the stored state of a source.
    pub fn held_until(&self) -> Option<Timestamp> {
        self.state().held_until
    }

    /// Notes how many are left; whether only the reserve is.
    fn learn(&self, left: u64, limit: Option<u64>) -> bool {
        let mut state = self.state();
        // More than before: the upstream counts anew, perhaps to another limit.
        if state.left.is_none_or(|before| left > before) {
            state.most_left = left;
        }
        state.left = Some(left);
        let limit = limit.unwrap_or(state.most_left);
        left <= self.rules.headers.reserve.of(limit)
    }

    /// Nothing in here is left half changed.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A token bucket, kept as the moment at which it is full again (GCRA).
struct Bucket {
    /// Nanoseconds in which one token comes back.
    interval: i128,
    /// Nanoseconds in which all do.
    capacity: i128,
    full_at: i128,
}

impl Bucket {
    fn new(rate: &Rate) -> Self {
        let count = u128::from(rate.count.get());
        let interval = rate.per.as_nanos().div_ceil(count);
        let nanos = |nanos: u128| i128::try_from(nanos).unwrap_or(i128::MAX);
        Self {
            interval: nanos(interval),
            capacity: nanos(interval.saturating_mul(count)),
            full_at: Timestamp::MIN.as_nanosecond(),
        }
    }

    /// When one more may be taken.
    fn free_at(&mut self, now: Timestamp) -> Timestamp {
        let nanos = now.as_nanosecond();
        // A clock that was set back finds a bucket that is empty, not one in debt.
        let emptied = nanos.saturating_add(self.capacity);
        self.full_at = self.full_at.clamp(nanos, emptied);
        let at = self.full_at.saturating_add(self.interval);
        Timestamp::from_nanosecond(at.saturating_sub(self.capacity)).unwrap_or(now)
    }

    fn take(&mut self) {
        self.full_at = self.full_at.saturating_add(self.interval);
    }
}

#[cfg(test)]
mod tests;
