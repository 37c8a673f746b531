//! What an attempt's outcome means for its delivery: arrived, once more, or given up.
//!
//! Pure: the moment and the chance are arguments.

use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

use jiff::Timestamp;

use super::backend::Failure;
use super::status::{NoStatus, Statuses};

/// How often and how long a delivery is tried.
#[derive(Debug, Clone, PartialEq)]
pub struct RetryPolicy {
    /// The most attempts.
    pub attempts: NonZeroU32,
    /// The pauses between them.
    pub backoff: Backoff,
    /// How long after its acceptance an event is given up.
    pub give_up_after: Duration,
    /// The most that a `Retry-After` may ask for; `None` = it is not honoured.
    pub retry_after_max: Option<Duration>,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts: NonZeroU32::new(12).unwrap_or(NonZeroU32::MIN),
            backoff: Backoff::default(),
            give_up_after: Duration::from_secs(3 * 24 * 60 * 60),
            retry_after_max: Some(Duration::from_secs(60 * 60)),
        }
    }
}

/// Pauses that grow.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Backoff {
    /// The longest first pause.
    pub base: Duration,
    /// How many times as long each next one may be.
    pub factor: f64,
    /// The longest pause of all.
    pub max: Duration,
    /// Whether chance shortens them.
    pub jitter: Jitter,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            base: Duration::from_secs(5),
            factor: 3.0,
            max: Duration::from_secs(6 * 60 * 60),
            jitter: Jitter::Full,
        }
    }
}

/// Whether chance shortens pauses, so that what failed together does not come back together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Jitter {
    /// Any length between nothing and the whole pause.
    Full,
    /// The whole pause.
    None,
}

impl Backoff {
    /// The pause after so many attempts; `chance` is between 0 and 1.
    pub fn pause(&self, attempts: u32, chance: f64) -> Duration {
        let exponent = i32::try_from(attempts.saturating_sub(1)).unwrap_or(i32::MAX);
        let max = self.max.as_secs_f64();
        let whole = (self.base.as_secs_f64() * self.factor.powi(exponent)).min(max);
        let share = match self.jitter {
            Jitter::Full => chance.clamp(0.0, 1.0),
            Jitter::None => 1.0,
        };
        Duration::try_from_secs_f64(whole * share).unwrap_or(self.max)
    }
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The backend answered.
    Answered {
        /// The status.
        status: u16,
        /// What it asked for with `Retry-After`.
        retry_after: Option<Duration>,
    },
    /// It answered well, but not as the provider wants it to.
    Unacknowledged,
    /// It did not.
    Failed(Failure),
}

impl Outcome {
    /// The word for metrics, JSON and the log.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Answered { status, .. } => match status {
                200..=299 => "2xx",
                300..=399 => "3xx",
                400..=499 => "4xx",
                500..=599 => "5xx",
                _ => "other",
            },
            Self::Unacknowledged => "unacknowledged",
            Self::Failed(failure) => failure.label(),
        }
    }

    /// Whether it tells that the backend is ill, rather than that it dislikes this event.
    pub fn is_ill(&self) -> bool {
        match self {
            Self::Answered { status, .. } => (500..=599).contains(status),
            Self::Unacknowledged => false,
            Self::Failed(_) => true,
        }
    }
}

/// Reads statuses to try again on, from 300 to 599.
///
/// # Errors
/// [`StatusError`] when the text names none, or some that are final.
pub fn tried_again(text: &str) -> Result<Statuses, StatusError> {
    let statuses: Statuses = text.parse()?;
    if statuses == Statuses::one(GONE) {
        return Err(StatusError::Gone);
    }
    if statuses.are_successes() {
        return Err(StatusError::Arrived(text.to_owned()));
    }
    Ok(statuses)
}

/// Never again, says the backend.
const GONE: u16 = 410;

/// Why a text names no status to try again on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StatusError {
    /// It is neither a status nor a class of them.
    #[error(transparent)]
    Shape(#[from] NoStatus),
    /// The event has arrived.
    #[error("`{0}` means that the event has arrived, and would make it arrive again")]
    Arrived(String),
    /// 410.
    #[error("410 is final: the backend says that it never wants the event")]
    Gone,
}

/// What is known of a delivery after an attempt.
#[derive(Debug, Clone, Copy)]
pub struct Tried<'a> {
    /// How many attempts were made, this one included.
    pub attempts: u32,
    /// When its event was accepted.
    pub received_at: Timestamp,
    /// When it is of no use any more.
    pub expires: Option<Timestamp>,
    /// What its route tries again besides what everybody does.
    pub retry_on: &'a [Statuses],
}

/// What is next for a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judged {
    /// It has arrived.
    Delivered,
    /// Another attempt, not before this time.
    Retry(Timestamp),
    /// It is given up.
    Dead(Death),
}

/// Why a delivery was given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Death {
    /// The backend said 410: never again.
    Gone,
    /// The backend said that it is wrong.
    Rejected,
    /// The backend said that it belongs elsewhere.
    Redirected,
    /// Every attempt failed.
    Exhausted,
    /// It was too late for another attempt.
    GaveUp,
    /// It was of no use any more.
    Expired,
    /// What the backend should get could not be made of it.
    TransformFailed,
    /// It could not be signed.
    SignFailed,
    /// Its route or delivery is not in the file any more.
    Unrouted,
}

impl Death {
    /// The word for metrics, JSON and the log.
    pub fn label(self) -> &'static str {
        match self {
            Self::Gone => "gone",
            Self::Rejected => "rejected",
            Self::Redirected => "redirected",
            Self::Exhausted => "attempts_exhausted",
            Self::GaveUp => "gave_up",
            Self::Expired => "expired",
            Self::TransformFailed => "transform_failed",
            Self::SignFailed => "sign_failed",
            Self::Unrouted => "unrouted",
        }
    }

    /// All of them, for metrics that begin at zero.
    pub const ALL: [Self; 9] = [
        Self::Gone,
        Self::Rejected,
        Self::Redirected,
        Self::Exhausted,
        Self::GaveUp,
        Self::Expired,
        Self::TransformFailed,
        Self::SignFailed,
        Self::Unrouted,
    ];
}

impl fmt::Display for Death {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

impl RetryPolicy {
    /// Judges an attempt that ended at `now`. `chance` is between 0 and 1.
    pub fn judge(
        &self,
        outcome: Outcome,
        tried: &Tried<'_>,
        now: Timestamp,
        chance: f64,
    ) -> Judged {
        let retry_after = match outcome {
            Outcome::Failed(_) | Outcome::Unacknowledged => None,
            Outcome::Answered {
                status,
                retry_after,
            } => match status {
                200..=299 => return Judged::Delivered,
                GONE => return Judged::Dead(Death::Gone),
                _ if tried.retry_on.iter().any(|some| some.contain(status)) => retry_after,
                408 | 409 | 425 | 429 | 500..=599 => retry_after,
                300..=399 => return Judged::Dead(Death::Redirected),
                _ => return Judged::Dead(Death::Rejected),
            },
        };
        if tried.attempts >= self.attempts.get() {
            return Judged::Dead(Death::Exhausted);
        }
        let asked = match (self.retry_after_max, retry_after) {
            (Some(max), Some(asked)) => asked.min(max),
            (None, _) | (_, None) => Duration::ZERO,
        };
        // What a backend asks for may only lengthen the pause.
        let pause = self.backoff.pause(tried.attempts, chance).max(asked);
        let due = now.saturating_add(pause).unwrap_or(Timestamp::MAX);
        let last = tried.received_at.saturating_add(self.give_up_after);
        if last.is_ok_and(|last| due > last) {
            return Judged::Dead(Death::GaveUp);
        }
        if tried.expires.is_some_and(|expires| due > expires) {
            return Judged::Dead(Death::Expired);
        }
        Judged::Retry(due)
    }
}

/// What a `Retry-After` asks for: whole seconds, or a date (RFC 9110, 10.2.3). A date that is past
/// asks for nothing.
pub fn retry_after(value: &str, now: Timestamp) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than fit ask for as long as there is.
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX)));
    }
    let date = Timestamp::try_from(httpdate::parse_http_date(value).ok()?).ok()?;
    Some(date.duration_since(now).try_into().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    fn policy() -> RetryPolicy {
        RetryPolicy {
            backoff: Backoff {
                jitter: Jitter::None,
                ..Backoff::default()
            },
            ..RetryPolicy::default()
        }
    }

    fn answered(status: u16) -> Outcome {
        Outcome::Answered {
            status,
            retry_after: None,
        }
    }

    fn tried(attempts: u32) -> Tried<'static> {
        Tried {
            attempts,
            received_at: at(0),
            expires: None,
            retry_on: &[],
        }
    }

    #[test]
    fn a_status_says_what_is_next() {
        let check = |status: u16, expected: Judged| {
            let judged = policy().judge(answered(status), &tried(1), at(100), 0.5);
            assert_eq!(judged, expected, "{status}");
        };
        let again = Judged::Retry(at(105));
        for status in [200, 202, 204, 299] {
            check(status, Judged::Delivered);
        }
        for status in [408, 409, 425, 429, 500, 502, 503, 599] {
            check(status, again);
        }
        for status in [400, 401, 403, 404, 413, 422] {
            check(status, Judged::Dead(Death::Rejected));
        }
        check(410, Judged::Dead(Death::Gone));
        check(301, Judged::Dead(Death::Redirected));
    }

    #[test]
    fn a_route_may_try_more_again_but_never_what_is_gone() {
        let retry_on: Vec<Statuses> = ["404", "302", "4xx"]
            .map(|text| text.parse().unwrap())
            .to_vec();
        let tried = Tried {
            retry_on: &retry_on,
            ..tried(1)
        };
        let judge = |status| policy().judge(answered(status), &tried, at(0), 0.5);
        assert_eq!(judge(404), Judged::Retry(at(5)));
        assert_eq!(judge(422), Judged::Retry(at(5)));
        assert_eq!(judge(302), Judged::Retry(at(5)));
        assert_eq!(judge(301), Judged::Dead(Death::Redirected));
        assert_eq!(judge(200), Judged::Delivered);
        assert_eq!(judge(410), Judged::Dead(Death::Gone));
    }

    #[test]
    fn what_is_no_failure_cannot_be_tried_again() {
        let check = |text: &str, expected: StatusError| {
            assert_eq!(tried_again(text), Err(expected));
        };
        check("410", StatusError::Gone);
        for text in ["200", "204", "2xx"] {
            check(text, StatusError::Arrived(text.to_owned()));
        }
        for text in [
            "", "xx", "1xx", "6xx", "0xx", "4XX", "40x", "44xx", "99", "600", "0404", "+40", "+xx",
            "-404", "9999999", "timeout", "é04",
        ] {
            check(text, StatusError::Shape(NoStatus(text.to_owned())));
        }
    }

    #[test]
    fn every_reason_to_be_without_an_answer_is_tried_again() {
        for failure in [
            Failure::Unresolved,
            Failure::Unreachable,
            Failure::ConnectTimeout,
            Failure::ResponseTimeout,
            Failure::RequestTimeout,
            Failure::BrokenOff,
        ] {
            let outcome = Outcome::Failed(failure);
            let judged = policy().judge(outcome, &tried(2), at(100), 0.5);
            assert_eq!(judged, Judged::Retry(at(115)), "{failure}");
            assert!(outcome.is_ill(), "{failure}");
        }
    }

    #[test]
    fn only_silence_and_5xx_tell_of_an_ill_backend() {
        for (status, expected) in [
            (200, false),
            (301, false),
            (404, false),
            (429, false),
            (500, true),
        ] {
            assert_eq!(answered(status).is_ill(), expected, "{status}");
        }
    }

    #[test]
    fn no_delay_leaves_its_limits() {
        let mut chance = Chance(7);
        for _ in 0..20_000 {
            let base = Duration::from_secs(1 + chance.below(100));
            let max = base + Duration::from_secs(chance.below(100_000));
            let asked_max = Duration::from_secs(chance.below(10_000));
            let policy = RetryPolicy {
                attempts: NonZeroU32::MAX,
                backoff: Backoff {
                    base,
                    factor: 1.0 + chance.fraction() * 99.0,
                    max,
                    jitter: Jitter::Full,
                },
                give_up_after: Duration::from_secs(1 + chance.below(1_000_000)),
                retry_after_max: Some(asked_max),
            };
            let asked = Duration::from_secs(chance.below(20_000));
            let outcome = Outcome::Answered {
                status: 503,
                retry_after: Some(asked),
            };
            let attempts = u32::try_from(1 + chance.below(4_000_000_000)).unwrap();
            let now = at(i64::try_from(chance.below(1_000_000)).unwrap());
            let patience = asked.min(asked_max);
            match policy.judge(outcome, &tried(attempts), now, chance.fraction()) {
                Judged::Retry(due) => {
                    assert!(due >= now + patience, "{due} {policy:?}");
                    assert!(due <= now + max.max(patience), "{due} {policy:?}");
                    assert!(due <= at(0) + policy.give_up_after, "{due} {policy:?}");
                }
                Judged::Dead(death) => {
                    assert_eq!(death, Death::GaveUp);
                    let latest = now + max.max(patience);
                    assert!(latest > at(0) + policy.give_up_after, "{policy:?}");
                }
                Judged::Delivered => panic!("503 is no success"),
            }
        }
    }

    /// Numbers that look random and are the same in each run (splitmix64).
    struct Chance(u64);

    impl Chance {
        fn next(&mut self) -> u64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            mixed ^ (mixed >> 31)
        }

        fn below(&mut self, end: u64) -> u64 {
            self.next() % end
        }

        fn fraction(&mut self) -> f64 {
            f64::from(u32::try_from(self.next() >> 32).unwrap()) / f64::from(u32::MAX)
        }
    }

    #[test]
    fn pauses_grow_up_to_their_limit() {
        let pauses: Vec<u64> = (1..=9)
            .map(|attempts| policy().backoff.pause(attempts, 0.0).as_secs())
            .collect();
        assert_eq!(pauses, [5, 15, 45, 135, 405, 1215, 3645, 10935, 21600]);
        assert_eq!(policy().backoff.pause(u32::MAX, 0.0).as_secs(), 21600);
    }

    #[test]
    fn full_jitter_takes_any_part_of_the_pause() {
        let backoff = Backoff::default();
        for attempts in 1..40 {
            for step in 0..=10 {
                let chance = f64::from(step) / 10.0;
                let pause = backoff.pause(attempts, chance).as_secs_f64();
                let whole = policy().backoff.pause(attempts, 1.0).as_secs_f64();
                assert!((pause - whole * chance).abs() < 1e-6);
            }
        }
    }

    #[test]
    fn retry_after_is_kept_within_the_limits() {
        let check = |asked: u64, due: i64| {
            let outcome = Outcome::Answered {
                status: 503,
                retry_after: Some(Duration::from_secs(asked)),
            };
            let judged = policy().judge(outcome, &tried(2), at(100), 0.0);
            assert_eq!(judged, Judged::Retry(at(due)), "{asked}");
        };
        check(0, 115);
        check(14, 115);
        check(16, 116);
        check(10_000, 3700);
        check(u64::MAX, 3700);
        let deaf = RetryPolicy {
            retry_after_max: None,
            ..policy()
        };
        let outcome = Outcome::Answered {
            status: 503,
            retry_after: Some(Duration::from_secs(1000)),
        };
        assert_eq!(
            deaf.judge(outcome, &tried(1), at(0), 0.0),
            Judged::Retry(at(5))
        );
    }

    #[test]
    fn every_delivery_ends() {
        let failed = Outcome::Failed(Failure::Unreachable);
        let judge = |tried: Tried<'_>, now| policy().judge(failed, &tried, at(now), 0.0);
        assert_eq!(judge(tried(11), 100), Judged::Retry(at(21_700)));
        assert_eq!(judge(tried(12), 100), Judged::Dead(Death::Exhausted));
        let three_days = 3 * 24 * 60 * 60;
        assert_eq!(
            judge(tried(1), three_days - 5),
            Judged::Retry(at(three_days))
        );
        assert_eq!(judge(tried(1), three_days - 4), Judged::Dead(Death::GaveUp));
        let soon = Tried {
            expires: Some(at(104)),
            ..tried(1)
        };
        assert_eq!(judge(soon, 100), Judged::Dead(Death::Expired));
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now: Timestamp = "1994-11-06T08:49:07Z".parse().unwrap();
        let check = |value: &str, seconds: Option<u64>| {
            let asked = retry_after(value, now).map(|asked| asked.as_secs());
            assert_eq!(asked, seconds, "{value}");
        };
        check("120", Some(120));
        check(" 0 ", Some(0));
        check("99999999999999999999999", Some(u64::MAX));
        check("Sun, 06 Nov 1994 08:49:37 GMT", Some(30));
        check("Sunday, 06-Nov-94 08:49:37 GMT", Some(30));
        check("Sun Nov  6 08:49:37 1994", Some(30));
        check("Sun, 06 Nov 1994 08:00:00 GMT", Some(0));
        check("", None);
        check("-1", None);
        check("1.5", None);
        check("soon", None);
    }
}
