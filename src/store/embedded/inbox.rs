//! What waits to be written, in its order of importance. Bounded in number and bytes.

use std::collections::VecDeque;
use std::mem;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::weight::{Surplus, Trimmed};
use crate::store::StoreError;
use crate::store::{
    Accept, Accepted, Act, Advance, Advanced, Lead, Note, Redelivery, Retained, Retention, Settled,
    Settlement, Shelf, SourceKey,
};

/// The most events that wait to be accepted.
const ACCEPTS_MAX: usize = 8192;
/// The most bytes of bodies that wait to be accepted.
const ACCEPT_BYTES_MAX: usize = 256 * 1024 * 1024;
/// The most notes that wait.
const LOGS_MAX: usize = 10_000;
/// The most bytes of bodies of such notes.
const LOG_BYTES_MAX: usize = 64 * 1024 * 1024;
/// How long a note may wait for company.
const LOG_WAIT: Duration = Duration::from_millis(250);
/// The most events of one commit.
const BATCH_ACCEPTS_MAX: usize = 512;
/// The most bytes of bodies of one commit.
const BATCH_BYTES_MAX: usize = 4 * 1024 * 1024;
/// The most settlements, and the most notes, that ride along with one commit.
const BATCH_RIDERS_MAX: usize = 1024;
/// The most steps of chores that ride along with one commit: what operators ask for is not to be
/// felt by senders.
const BATCH_CHORES_MAX: usize = 32;

/// Where the answer to a step goes.
pub(super) type Answer<T> = oneshot::Sender<Result<T, StoreError>>;

pub(super) struct AcceptJob {
    pub items: Vec<Accept>,
    pub answer: Answer<Vec<Accepted>>,
}

impl AcceptJob {
    fn bytes(&self) -> usize {
        self.items.iter().map(|item| item.event.body.len()).sum()
    }
}

pub(super) struct SettleJob {
    pub items: Vec<Settlement>,
    pub answer: Answer<Vec<Settled>>,
}

/// What operators and polls ask for. It rides along with what is written anyway.
pub(super) enum Chore {
    Redeliver {
        items: Vec<Redelivery>,
        due: i64,
        answer: Answer<u64>,
    },
    Discard {
        seq: i64,
        slot: u16,
        answer: Answer<bool>,
    },
    Lead {
        key: SourceKey,
        answer: Answer<Lead>,
    },
    Advance {
        step: Box<Advance>,
        answer: Answer<Advanced>,
    },
    Act {
        act: Act,
        answer: Answer<()>,
    },
    Put {
        shelf: Shelf,
        key: String,
        document: Option<String>,
        answer: Answer<()>,
    },
}

/// What a chore came to.
pub(super) enum Done {
    Count(u64),
    Flag(bool),
    Led(Box<Lead>),
    Advanced(Advanced),
    Noted,
}

impl Chore {
    fn steps(&self) -> usize {
        match self {
            Self::Redeliver { items, .. } => items.len(),
            Self::Advance { step, .. } => step.found.len().max(1),
            Self::Discard { .. } | Self::Lead { .. } | Self::Act { .. } | Self::Put { .. } => 1,
        }
    }

    /// Tells who asked, who may have left.
    pub(super) fn answer(self, done: Result<Done, StoreError>) {
        fn tell<T>(
            answer: Answer<T>,
            done: Result<Done, StoreError>,
            pick: impl FnOnce(Done) -> Option<T>,
        ) {
            let none = || StoreError::Unavailable("the store did not answer".into());
            let _ = answer.send(done.and_then(|done| pick(done).ok_or_else(none)));
        }
        match self {
            Self::Redeliver { answer, .. } => tell(answer, done, |done| match done {
                Done::Count(count) => Some(count),
                _ => None,
            }),
            Self::Discard { answer, .. } => tell(answer, done, |done| match done {
                Done::Flag(flag) => Some(flag),
                _ => None,
            }),
            Self::Lead { answer, .. } => tell(answer, done, |done| match done {
                Done::Led(lead) => Some(*lead),
                _ => None,
            }),
            Self::Advance { answer, .. } => tell(answer, done, |done| match done {
                Done::Advanced(advanced) => Some(advanced),
                _ => None,
            }),
            Self::Act { answer, .. } | Self::Put { answer, .. } => tell(answer, done, |_| Some(())),
        }
    }
}

/// A piece of retention, which is a transaction of its own.
pub(super) struct RetainJob {
    pub policy: Retention,
    pub now: i64,
    pub surplus: Surplus,
    pub answer: Answer<(Retained, Vec<Trimmed>)>,
}

/// What one commit writes.
#[derive(Default)]
pub(super) struct Batch {
    pub accepts: Vec<AcceptJob>,
    pub settles: Vec<SettleJob>,
    pub chores: Vec<Chore>,
    pub logs: Vec<Note>,
}

impl Batch {
    /// How many are written together, each of which may fail by itself.
    pub(super) fn jobs(&self) -> usize {
        self.accepts.len() + self.settles.len() + self.chores.len() + self.logs.len()
    }

    pub(super) fn steps(&self) -> usize {
        let accepts = self.accepts.iter().map(|job| job.items.len());
        let settles = self.settles.iter().map(|job| job.items.len());
        let chores = self.chores.iter().map(Chore::steps);
        accepts.sum::<usize>() + settles.sum::<usize>() + chores.sum::<usize>() + self.logs.len()
    }
}

/// What the writer does next.
pub(super) enum Work {
    Write(Batch),
    Retain(RetainJob),
    /// Nothing came for a while.
    Idle,
    /// Everything is written, and nothing will come any more.
    End,
}

#[derive(Default)]
struct Waiting {
    accepts: VecDeque<AcceptJob>,
    accept_bytes: usize,
    settles: VecDeque<SettleJob>,
    logs: VecDeque<Note>,
    log_bytes: usize,
    first_log: Option<Instant>,
    chores: VecDeque<Chore>,
    retains: VecDeque<RetainJob>,
    /// Whether retention goes before what waits to be written, which may never end.
    is_retention_turn: bool,
    logs_dropped: u64,
    is_closed: bool,
}

#[derive(Default)]
pub(super) struct Inbox {
    waiting: Mutex<Waiting>,
    some: Condvar,
}

impl Inbox {
    /// A panic elsewhere leaves whole jobs.
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn accept(&self, job: AcceptJob) -> Result<(), StoreError> {
        let mut waiting = self.lock();
        let bytes = job.bytes();
        let is_full = waiting.accepts.len() >= ACCEPTS_MAX
            || waiting.accept_bytes.saturating_add(bytes) > ACCEPT_BYTES_MAX;
        waiting.check_open()?;
        if is_full {
            let why = "more events wait to be written than the disk keeps up with";
            return Err(StoreError::Unavailable(why.into()));
        }
        waiting.accept_bytes += bytes;
        waiting.accepts.push_back(job);
        drop(waiting);
        self.some.notify_one();
        Ok(())
    }

    pub(super) fn settle(&self, job: SettleJob) -> Result<(), StoreError> {
        let mut waiting = self.lock();
        waiting.check_open()?;
        waiting.settles.push_back(job);
        drop(waiting);
        self.some.notify_one();
        Ok(())
    }

    pub(super) fn log(&self, note: Note) {
        let mut waiting = self.lock();
        let bytes = note.event().body.len();
        let is_full = waiting.logs.len() >= LOGS_MAX
            || waiting.log_bytes.saturating_add(bytes) > LOG_BYTES_MAX;
        if is_full || waiting.is_closed {
            waiting.logs_dropped += 1;
            return;
        }
        waiting.log_bytes += bytes;
        let is_first = waiting.logs.is_empty();
        if is_first {
            waiting.first_log = Some(Instant::now());
        }
        waiting.logs.push_back(note);
        drop(waiting);
        if is_first {
            self.some.notify_one();
        }
    }

    pub(super) fn chore(&self, chore: Chore) -> Result<(), StoreError> {
        let mut waiting = self.lock();
        waiting.check_open()?;
        waiting.chores.push_back(chore);
        drop(waiting);
        self.some.notify_one();
        Ok(())
    }

    pub(super) fn retain(&self, job: RetainJob) -> Result<(), StoreError> {
        let mut waiting = self.lock();
        waiting.check_open()?;
        waiting.retains.push_back(job);
        drop(waiting);
        self.some.notify_one();
        Ok(())
    }

    pub(super) fn close(&self) {
        self.lock().is_closed = true;
        self.some.notify_one();
    }

    pub(super) fn logs_dropped(&self) -> u64 {
        self.lock().logs_dropped
    }

    /// Puts notes back that could not be written.
    pub(super) fn put_back(&self, logs: Vec<Note>) {
        for note in logs {
            self.log(note);
        }
    }

    /// Counts notes that cannot be written.
    pub(super) fn drop_logs(&self, count: usize) {
        self.lock().logs_dropped += u64::try_from(count).unwrap_or(u64::MAX);
    }

    /// Everything that waits for an answer, which will be that there is none.
    pub(super) fn take_waiting(&self) -> (Batch, Vec<RetainJob>) {
        let mut waiting = self.lock();
        waiting.accept_bytes = 0;
        let batch = Batch {
            accepts: mem::take(&mut waiting.accepts).into(),
            settles: mem::take(&mut waiting.settles).into(),
            chores: mem::take(&mut waiting.chores).into(),
            logs: Vec::new(),
        };
        (batch, mem::take(&mut waiting.retains).into())
    }

    pub(super) fn is_closed(&self) -> bool {
        self.lock().is_closed
    }

    /// Waits for work, for `patience` at most.
    pub(super) fn next(&self, patience: Duration) -> Work {
        let mut waiting = self.lock();
        loop {
            let is_ripe = waiting.is_ripe();
            if (waiting.is_retention_turn || !is_ripe)
                && let Some(job) = waiting.retains.pop_front()
            {
                waiting.is_retention_turn = false;
                return Work::Retain(job);
            }
            if is_ripe {
                waiting.is_retention_turn = true;
                return Work::Write(waiting.batch());
            }
            if waiting.is_closed {
                return Work::End;
            }
            let until_ripe = waiting
                .first_log
                .map(|first| LOG_WAIT.saturating_sub(first.elapsed()));
            let wait = until_ripe.unwrap_or(patience).min(patience);
            let (again, timeout) = self
                .some
                .wait_timeout(waiting, wait)
                .unwrap_or_else(PoisonError::into_inner);
            waiting = again;
            if timeout.timed_out() && waiting.is_empty() {
                return Work::Idle;
            }
        }
    }
}

impl Waiting {
    fn check_open(&self) -> Result<(), StoreError> {
        match self.is_closed {
            false => Ok(()),
            true => Err(StoreError::Unavailable("it is closed".into())),
        }
    }

    fn is_empty(&self) -> bool {
        self.accepts.is_empty()
            && self.settles.is_empty()
            && self.logs.is_empty()
            && self.chores.is_empty()
            && self.retains.is_empty()
    }

    /// Whether there is something that need not wait any longer.
    fn is_ripe(&self) -> bool {
        let logs = !self.logs.is_empty()
            && (self.is_closed
                || self.logs.len() >= BATCH_RIDERS_MAX
                || self
                    .first_log
                    .is_none_or(|first| first.elapsed() >= LOG_WAIT));
        let asked = !self.accepts.is_empty() || !self.settles.is_empty() || !self.chores.is_empty();
        asked || logs
    }

    fn batch(&mut self) -> Batch {
        let mut batch = Batch::default();
        let (mut steps, mut bytes) = (0, 0);
        while steps < BATCH_ACCEPTS_MAX && bytes < BATCH_BYTES_MAX {
            let Some(job) = self.accepts.pop_front() else {
                break;
            };
            steps += job.items.len();
            bytes += job.bytes();
            self.accept_bytes = self.accept_bytes.saturating_sub(job.bytes());
            batch.accepts.push(job);
        }
        let mut riders = 0;
        while riders < BATCH_RIDERS_MAX {
            let Some(job) = self.settles.pop_front() else {
                break;
            };
            riders += job.items.len();
            batch.settles.push(job);
        }
        let mut steps = 0;
        while steps < BATCH_CHORES_MAX {
            let Some(chore) = self.chores.pop_front() else {
                break;
            };
            steps += chore.steps();
            batch.chores.push(chore);
        }
        while batch.logs.len() < BATCH_RIDERS_MAX && bytes < 2 * BATCH_BYTES_MAX {
            let Some(note) = self.logs.pop_front() else {
                break;
            };
            let of_note = note.event().body.len();
            bytes += of_note;
            self.log_bytes = self.log_bytes.saturating_sub(of_note);
            batch.logs.push(note);
        }
        if self.logs.is_empty() {
            self.first_log = None;
        }
        batch
    }
}
