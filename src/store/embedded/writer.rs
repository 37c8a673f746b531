//! The one thread that writes: it commits whatever waits, all of it at once, and answers afterwards.
//!
//! When the disk fails, everything that waits is told so at once, and the disk is tried again until
//! it works. When it failed at a commit, nobody knows what was written: then memory is made anew
//! from the file.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rusqlite::{Connection, TransactionBehavior};

use super::inbox::{AcceptJob, Batch, Done, RetainJob, SettleJob, Work};
use super::queue::{Names, Queue};
use super::retention::Haste;
use super::steps::{Effects, Steps, Tables, bytes_of};
use super::weight::Class;
use super::{Shared, checkpoint, load, schema};
use crate::store::fault_point::{self, Point};
use crate::store::{Accepted, Settled, StoreError};

/// How often a disk that failed is tried again.
const TRY_AGAIN: Duration = Duration::from_millis(250);
/// How long nothing must come until house is kept.
const IDLE: Duration = Duration::from_millis(500);
/// How many free pages are given back to the file system at a time.
const VACUUM_PAGES: u32 = 2000;

pub(super) struct Writer {
    pub shared: Arc<Shared>,
    pub connection: Connection,
    pub tables: Tables,
    pub next_seq: i64,
    pub has_free_pages: bool,
    /// Bytes of the file that held something after the last commit.
    pub used_bytes: u64,
    /// Up to where the days of classes were looked through for what is too much.
    pub trimmed_until: HashMap<(Class, u32), i64>,
}

/// Why a transaction did not come about.
pub(super) enum Broken {
    /// Before its commit: nothing was written.
    Before(rusqlite::Error),
    /// At its commit: nobody knows.
    AtCommit(rusqlite::Error),
}

impl From<rusqlite::Error> for Broken {
    fn from(error: rusqlite::Error) -> Self {
        Self::Before(error)
    }
}

/// What a batch is answered.
#[derive(Default)]
struct Answers {
    accepted: Vec<Vec<Accepted>>,
    settled: Vec<Vec<Settled>>,
    done: Vec<Done>,
}

impl Writer {
    pub(super) fn run(mut self) {
        loop {
            match self.shared.inbox.next(IDLE) {
                Work::Write(batch) => self.write(batch),
                Work::Retain(job) => self.retain_some(job),
                Work::Idle => self.keep_house(),
                Work::End => break,
            }
        }
        let _ = checkpoint::truncate(&self.connection);
    }

    fn write(&mut self, mut batch: Batch) {
        let wanted = wanted(&batch);
        if wanted >= self.room() {
            self.make_room(wanted);
            if self.room() == 0 {
                self.shared.inbox.drop_logs(batch.logs.len());
                batch.logs.clear();
            }
        }
        match self.try_write(&batch) {
            Ok(answers) => answer(batch, answers),
            Err(broken) if batch.jobs() > 1 => {
                match self.trouble(&broken) {
                    Some(error) => self.fail(batch, broken, error),
                    // One of them is poison: the others must not suffer.
                    None => self.write_apart(batch),
                }
            }
            Err(broken) => {
                let error = self.trouble(&broken);
                let error = error.unwrap_or_else(|| unavailable(broken.error()));
                self.fail(batch, broken, error);
            }
        }
        checkpoint::after_commit(&self.shared, &self.connection);
    }

    fn write_apart(&mut self, batch: Batch) {
        let apart = batch
            .accepts
            .into_iter()
            .map(|job| Batch {
                accepts: vec![job],
                ..Batch::default()
            })
            .chain(batch.settles.into_iter().map(|job| Batch {
                settles: vec![job],
                ..Batch::default()
            }))
            .chain(batch.chores.into_iter().map(|chore| Batch {
                chores: vec![chore],
                ..Batch::default()
            }))
            .chain(batch.logs.into_iter().map(|note| Batch {
                logs: vec![note],
                ..Batch::default()
            }));
        for batch in apart {
            self.write(batch);
        }
    }

    fn try_write(&mut self, batch: &Batch) -> Result<Answers, Broken> {
        let started = Instant::now();
        if !batch.accepts.is_empty() {
            fault_point::pass(Point::BeforeAppend);
        }
        if !batch.settles.is_empty() {
            fault_point::pass(Point::BeforeSettle);
        }
        let shared = self.shared.clone();
        let (answers, effects, sync) = self.transaction(&shared, |steps| {
            let mut answers = Answers::default();
            for job in &batch.accepts {
                let accepted: Result<_, _> =
                    job.items.iter().map(|item| steps.accept(item)).collect();
                answers.accepted.push(accepted?);
            }
            for job in &batch.settles {
                let settled: Result<_, _> =
                    job.items.iter().map(|item| steps.settle(item)).collect();
                answers.settled.push(settled?);
            }
            for chore in &batch.chores {
                answers.done.push(steps.chore(chore)?);
            }
            for note in &batch.logs {
                steps.note(note)?;
            }
            Ok(answers)
        })?;
        self.apply(effects);
        let seconds = started.elapsed().as_secs_f64();
        let observer = &self.shared.observer;
        observer.committed(batch.steps(), seconds, sync.as_secs_f64());
        Ok(answers)
    }

    /// Runs steps in one transaction; what they do to memory comes back for after the commit.
    pub(super) fn transaction<T>(
        &mut self,
        shared: &Shared,
        steps: impl FnOnce(&mut Steps<'_>) -> rusqlite::Result<T>,
    ) -> Result<(T, Effects, Duration), Broken> {
        let room = self.room();
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut next_seq = self.next_seq;
        let mut all = Steps {
            transaction: &transaction,
            tables: &mut self.tables,
            shared,
            next_seq: &mut next_seq,
            room,
            effects: Effects::default(),
        };
        let done = steps(&mut all);
        let effects = all.effects;
        let done = match done {
            Ok(done) => done,
            Err(error) => {
                drop(transaction);
                self.undo(&effects);
                return Err(Broken::Before(error));
            }
        };
        fault_point::pass(Point::BeforeSync);
        let syncing = Instant::now();
        if let Err(error) = transaction.commit() {
            self.undo(&effects);
            return Err(Broken::AtCommit(error));
        }
        let sync = syncing.elapsed();
        fault_point::pass(Point::AfterSync);
        self.next_seq = next_seq;
        self.weigh();
        Ok((done, effects, sync))
    }

    /// Bytes that may still be accepted.
    fn room(&self) -> u64 {
        let max = self.shared.options.bytes_max;
        max.saturating_sub(self.used_bytes)
    }

    pub(super) fn apply(&self, effects: Effects) {
        let arrivals = self.shared.arrivals();
        if !arrivals.is_empty() {
            for (route, seq) in &effects.arrived {
                if let Some(sender) = arrivals.get(route) {
                    sender.send_replace(*seq);
                }
            }
        }
        drop(arrivals);
        let is_new = !(effects.added.is_empty()
            && effects.heads.is_empty()
            && effects.changes.is_empty()
            && effects.unparked.is_empty());
        let mut queue = self.shared.queue();
        for live in effects.added {
            queue.add(live);
        }
        for live in effects.heads {
            queue.add_head(live);
        }
        for (token, change, attempts) in effects.changes {
            queue.settle(token, change, attempts);
        }
        for (backend, lane) in effects.unparked {
            queue.unpark(backend, lane);
        }
        drop(queue);
        if is_new {
            self.shared.work.send_modify(|count| *count += 1);
        }
    }

    /// The leases go on, and tables that were made in a transaction that failed are not there.
    fn undo(&mut self, effects: &Effects) {
        let mut queue = self.shared.queue();
        for token in &effects.settling {
            queue.unsettle(*token);
        }
        drop(queue);
        if let Ok(tables) = load::tables(&self.connection) {
            self.tables = tables;
        }
    }

    /// What a failure means for everybody; `None` = it is the fault of one step.
    fn trouble(&self, broken: &Broken) -> Option<StoreError> {
        let error = self.shared.error(broken.error());
        let is_for_all = match (&error, broken) {
            (StoreError::Corrupt { .. }, _) | (_, Broken::AtCommit(_)) => true,
            (_, Broken::Before(error)) => is_the_disk(error),
        };
        is_for_all.then_some(error)
    }

    /// Tells everybody that nothing can be written, and tries until it can.
    fn fail(&mut self, mut batch: Batch, broken: Broken, error: StoreError) {
        let is_for_all = self.trouble(&broken).is_some();
        if !is_for_all {
            // What cannot be written on a disk that works never can be: it is not tried again.
            tracing::error!(%error, "a step of the store failed");
            self.shared.inbox.drop_logs(batch.logs.len());
            refuse(batch, &error);
            return;
        }
        tracing::error!(%error, "the store cannot be written");
        self.shared.set_trouble(Some(error.clone()));
        self.shared.inbox.put_back(std::mem::take(&mut batch.logs));
        refuse(batch, &error);
        let mut in_doubt = matches!(broken, Broken::AtCommit(_));
        loop {
            let (batch, retains) = self.shared.inbox.take_waiting();
            refuse(batch, &error);
            for job in retains {
                let _ = job.answer.send(Err(error.clone()));
            }
            if self.shared.inbox.is_closed() {
                return;
            }
            std::thread::sleep(TRY_AGAIN);
            match self.recover(in_doubt) {
                Ok(()) => break,
                Err(again) => {
                    in_doubt |= matches!(again, Broken::AtCommit(_));
                    self.shared
                        .set_trouble(Some(self.shared.error(again.error())));
                }
            }
        }
        self.shared.set_trouble(None);
        self.shared.work.send_modify(|count| *count += 1);
        tracing::info!("the store can be written again");
    }

    fn recover(&mut self, in_doubt: bool) -> Result<(), Broken> {
        if in_doubt {
            self.connection = load::open_writer(&self.shared.options)?;
        }
        let probe = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        probe.execute("UPDATE probe SET count = count + 1", [])?;
        probe.commit().map_err(Broken::AtCommit)?;
        self.tables = load::tables(&self.connection)?;
        if in_doubt {
            let names = self.shared.queue().names.clone();
            let mut queue = load::queue(&self.connection, names)?;
            self.next_seq = load::last_seq(&self.connection)?
                .saturating_add(1)
                .max(self.next_seq);
            let mut old = self.shared.queue();
            // What was named since then has not been written.
            queue.names = old.names.clone();
            queue.inherit(&old);
            *old = queue;
        }
        Ok(())
    }

    fn retain_some(&mut self, job: RetainJob) {
        let retained = self.unsynced(|writer| {
            let retained = writer.retain(job.policy, job.now, Haste::InSteps)?;
            Ok((retained, writer.trim(&job.surplus)?))
        });
        let broken = match retained {
            Ok(done) => {
                // Who asked may have left.
                let _ = job.answer.send(Ok(done));
                None
            }
            Err(broken) => {
                let error = self.shared.error(broken.error());
                let _ = job.answer.send(Err(error));
                Some(broken)
            }
        };
        if let Some(broken) = broken
            && let Some(error) = self.trouble(&broken)
        {
            self.fail(Batch::default(), broken, error);
        }
        checkpoint::after_commit(&self.shared, &self.connection);
    }

    /// Runs transactions that nobody waits for: they come to the disk with the next one that is synced,
    /// in their order. What a power cut takes of them is forgotten once more.
    fn unsynced<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, Broken>,
    ) -> Result<T, Broken> {
        schema::sync_commits(&self.connection, false)?;
        let done = work(self);
        // Nothing is acknowledged on a connection that may not sync: it is opened anew.
        schema::sync_commits(&self.connection, true).map_err(Broken::AtCommit)?;
        done
    }

    /// Looks how many bytes of the file hold something.
    pub(super) fn weigh(&mut self) {
        // When it cannot be read, the next commit will tell.
        if let Ok(bytes) = used_bytes(&self.connection) {
            self.used_bytes = bytes;
        }
    }

    /// Gives pages back to the file system, a few at a time, and shortens the log.
    fn keep_house(&mut self) {
        if self.has_free_pages {
            self.has_free_pages = self.vacuum_some().unwrap_or(false);
            if !self.has_free_pages {
                // The file itself shrinks only when the log is moved into it.
                let _ = checkpoint::truncate(&self.connection);
                self.shared.measure();
            }
        }
        checkpoint::when_idle(&self.shared, &self.connection);
    }

    /// Tells whether there is more.
    fn vacuum_some(&self) -> rusqlite::Result<bool> {
        let mut statement = self
            .connection
            .prepare(&format!("PRAGMA incremental_vacuum({VACUUM_PAGES})"))?;
        // Each step frees a page: the query must be read to its end.
        let mut rows = statement.query([])?;
        while rows.next()?.is_some() {}
        let free: u32 = self
            .connection
            .pragma_query_value(None, "freelist_count", |row| row.get(0))?;
        Ok(free > 0)
    }
}

impl Broken {
    pub(super) fn error(&self) -> &rusqlite::Error {
        match self {
            Self::Before(error) | Self::AtCommit(error) => error,
        }
    }
}

/// Whether every other step would fail like this one.
fn is_the_disk(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode;
    matches!(
        error.sqlite_error_code(),
        Some(
            ErrorCode::DiskFull
                | ErrorCode::ReadOnly
                | ErrorCode::SystemIoFailure
                | ErrorCode::CannotOpen
                | ErrorCode::DatabaseBusy
                | ErrorCode::DatabaseLocked
                | ErrorCode::OutOfMemory
        )
    )
}

pub(super) fn unavailable(error: &rusqlite::Error) -> StoreError {
    StoreError::Unavailable(error.to_string())
}

/// Bytes that are to be accepted.
fn wanted(batch: &Batch) -> u64 {
    let items = batch.accepts.iter().flat_map(|job| &job.items);
    items.map(|item| bytes_of(&item.event)).sum()
}

fn answer(batch: Batch, answers: Answers) {
    // Who asked may have left.
    for (AcceptJob { answer, .. }, accepted) in batch.accepts.into_iter().zip(answers.accepted) {
        let _ = answer.send(Ok(accepted));
    }
    for (SettleJob { answer, .. }, settled) in batch.settles.into_iter().zip(answers.settled) {
        let _ = answer.send(Ok(settled));
    }
    for (chore, done) in batch.chores.into_iter().zip(answers.done) {
        chore.answer(Ok(done));
    }
}

fn refuse(batch: Batch, error: &StoreError) {
    for job in batch.accepts {
        let _ = job.answer.send(Err(error.clone()));
    }
    for job in batch.settles {
        let _ = job.answer.send(Err(error.clone()));
    }
    for chore in batch.chores {
        chore.answer(Err(error.clone()));
    }
}

pub(super) fn used_bytes(connection: &Connection) -> rusqlite::Result<u64> {
    let value = |name: &str| -> rusqlite::Result<u64> {
        connection
            .prepare_cached(&format!("PRAGMA {name}"))?
            .query_row([], |row| row.get(0))
    };
    let pages = value("page_count")?.saturating_sub(value("freelist_count")?);
    Ok(pages.saturating_mul(value("page_size")?))
}

/// The queue of an engine that has just been opened.
pub(super) fn opened(connection: &Connection) -> rusqlite::Result<(Queue, Tables, i64)> {
    let queue = load::queue(connection, Names::default())?;
    let tables = load::tables(connection)?;
    Ok((queue, tables, load::last_seq(connection)?))
}
