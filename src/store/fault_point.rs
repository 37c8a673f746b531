//! Places at which a crash is worst, for the crash suite to end the process at.
//!
//! `HOOKGATE_FAULT=after_sync:7` ends the process at the seventh passage of that point. Builds for
//! release have no such points.

/// A place in the life of an event, or of a poll.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Point {
    /// Before the first row of a batch is written.
    BeforeAppend,
    /// Before a commit.
    BeforeSync,
    /// After a commit, before anybody knows of it.
    AfterSync,
    /// Before the sender is told.
    BeforeAnswer,
    /// Before the outcomes of attempts are written.
    BeforeSettle,
    /// When a provider has answered a poll, and nothing of it is on disk.
    PollAnswered,
    /// When what a poll has found is on disk, before the provider is told.
    PollCommitted,
    /// When the provider was told, before that is noted.
    PollConfirmed,
}

/// Ends the process if this passage was chosen.
#[cfg(debug_assertions)]
pub fn pass(point: Point) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    static CHOSEN: OnceLock<Option<(String, u64)>> = OnceLock::new();
    static PASSED: AtomicU64 = AtomicU64::new(0);
    let chosen = CHOSEN.get_or_init(|| {
        let text = std::env::var("HOOKGATE_FAULT").ok()?;
        let (name, count) = text.split_once(':')?;
        Some((name.to_owned(), count.parse().ok()?))
    });
    let Some((name, count)) = chosen else { return };
    if name == point.name() && PASSED.fetch_add(1, Ordering::Relaxed) + 1 == *count {
        std::process::abort();
    }
}

/// Nothing, in a build for release.
#[cfg(not(debug_assertions))]
pub fn pass(_: Point) {}

impl Point {
    /// Its name in the environment.
    pub fn name(self) -> &'static str {
        match self {
            Self::BeforeAppend => "before_append",
            Self::BeforeSync => "before_sync",
            Self::AfterSync => "after_sync",
            Self::BeforeAnswer => "before_answer",
            Self::BeforeSettle => "before_settle",
            Self::PollAnswered => "poll_answered",
            Self::PollCommitted => "poll_committed",
            Self::PollConfirmed => "poll_confirmed",
        }
    }
}
