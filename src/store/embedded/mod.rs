//! The engine inside the gateway: SQLite, one process, one file and its log ahead.
//!
//! Writing is the work of one thread ([`writer`]), which commits whatever waits; reading is done by
//! connections of their own; what is live is in memory ([`queue`]), read from the file at the start.
//! Measured choices are in ARCHITECTURE.md.

mod checkpoint;
mod codec;
mod inbox;
mod load;
mod queue;
mod reader;
mod reading;
mod retention;
mod schema;
mod search;
mod sources;
mod steps;
mod upkeep;
mod weight;
mod writer;

use std::collections::HashMap;
use std::fs::{File, TryLockError};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::sync::{oneshot, watch};

use self::checkpoint::Bell;
use self::codec::{micros, timestamp};
use self::inbox::{AcceptJob, Chore, Inbox, RetainJob, SettleJob};
use self::queue::{Live, Queue, Taken};
pub use self::reading::Reading;
use self::sources::{Leads, Wish};
use self::weight::Weighed;
use self::writer::Writer;
use super::cipher::Cipher;
use super::{
    Accept, Accepted, Act, Acts, Advance, Advanced, CANCELLED, Cancelled, Claimed, DedupClaim,
    Event, EventId, Filter, LaneRule, Lead, Log, Next, Note, Observer, Page, Redelivery,
    Remembered, Retained, Retention, Settled, Settlement, Shelf, Shown, SourceKey, SourceRow,
    Store, StoreError, Token, Usage, Want,
};

/// Where and how large the store is.
#[derive(Debug, Clone)]
pub struct Options {
    /// The folder of its files; made if it is not there.
    pub folder: PathBuf,
    /// The most live deliveries.
    pub depth_max: u64,
    /// The most bytes that the file may hold; what is attempted of the events in it may go a little
    /// beyond.
    pub bytes_max: u64,
    /// Bytes of page cache of the writer; a reader has a quarter of it.
    pub cache_bytes: u64,
    /// What heads and bodies are sealed with.
    pub cipher: Cipher,
    /// The virtual file system of SQLite; `None` = the system's.
    pub vfs: Option<String>,
}

/// What the writer and those who ask it share.
struct Shared {
    options: Arc<Options>,
    observer: Arc<dyn Observer>,
    inbox: Inbox,
    queue: Mutex<Queue>,
    work: watch::Sender<u64>,
    /// Who waits for events of which route.
    arrivals: Mutex<HashMap<Arc<str>, watch::Sender<i64>>>,
    trouble: Mutex<Option<StoreError>>,
    bell: Arc<Bell>,
    file_bytes: AtomicU64,
    wal_bytes: AtomicU64,
}

impl Shared {
    /// A panic elsewhere leaves the queue as it was between two steps.
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn trouble(&self) -> Option<StoreError> {
        let trouble = self.trouble.lock();
        trouble.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_trouble(&self, trouble: Option<StoreError>) {
        let now = self.trouble.lock();
        *now.unwrap_or_else(PoisonError::into_inner) = trouble;
    }

    fn arrivals(&self) -> MutexGuard<'_, HashMap<Arc<str>, watch::Sender<i64>>> {
        self.arrivals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Measures the files; tells how long the log ahead is.
    fn measure(&self) -> u64 {
        let bytes = |path| std::fs::metadata(path).map_or(0, |meta| meta.len());
        let wal = bytes(load::wal_file(&self.options));
        let file = bytes(load::file(&self.options));
        self.wal_bytes.store(wal, Ordering::Relaxed);
        self.file_bytes
            .store(file.saturating_add(wal), Ordering::Relaxed);
        wal
    }

    fn error(&self, error: &rusqlite::Error) -> StoreError {
        store_error(&self.options, error)
    }
}

fn store_error(options: &Options, error: &rusqlite::Error) -> StoreError {
    use rusqlite::ErrorCode;
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => StoreError::Corrupt {
            path: load::file(options).display().to_string(),
            detail: error.to_string(),
        },
        _ => writer::unavailable(error),
    }
}

/// The engine.
pub struct Embedded {
    shared: Arc<Shared>,
    reading: Reading,
    /// Who leads which source.
    leads: Mutex<Leads>,
    /// What the classes take; held while it is looked at, which nobody waits for.
    weighed: tokio::sync::Mutex<Weighed>,
    /// Comes when the writer has ended; taken by who waits for it.
    ended: Mutex<Option<oneshot::Receiver<()>>>,
}

impl Embedded {
    /// Opens the store in a folder, making it if need be. `now` keeps the order of acceptance growing
    /// even after everything was forgotten.
    ///
    /// # Errors
    /// [`StoreError`] when the folder cannot be used, another process writes it, the file is damaged
    /// or newer than this version.
    pub fn open(
        options: Options,
        now: Timestamp,
        observer: Arc<dyn Observer>,
    ) -> Result<Self, StoreError> {
        let folder = options.folder.display().to_string();
        let failed = |detail: String| StoreError::Open {
            path: folder.clone(),
            detail,
        };
        std::fs::create_dir_all(&options.folder).map_err(|error| failed(error.to_string()))?;
        let lock = lock(&options)?;
        let options = Arc::new(options);
        let (work, _) = watch::channel(0);
        let shared = Arc::new(Shared {
            options: options.clone(),
            observer,
            inbox: Inbox::default(),
            queue: Mutex::default(),
            work,
            arrivals: Mutex::default(),
            trouble: Mutex::default(),
            bell: Arc::default(),
            file_bytes: AtomicU64::default(),
            wal_bytes: AtomicU64::default(),
        });
        let refused = |error: rusqlite::Error| match shared.error(&error) {
            corrupt @ StoreError::Corrupt { .. } => corrupt,
            other => failed(other.to_string()),
        };
        let mut connection = load::open_writer(&options).map_err(refused)?;
        let found = schema::version(&connection).map_err(refused)?;
        if found > schema::VERSION {
            return Err(StoreError::Newer {
                path: load::file(&options).display().to_string(),
                found,
                known: schema::VERSION,
            });
        }
        schema::migrate(&mut connection).map_err(refused)?;
        let today = codec::day(micros(now));
        if let Some(id) = load::keys(&connection, &options.cipher, today).map_err(refused)? {
            return Err(StoreError::Key { path: folder, id });
        }
        let (queue, tables, last_seq) = writer::opened(&connection).map_err(refused)?;
        let used_bytes = writer::used_bytes(&connection).map_err(refused)?;
        *shared.queue() = queue;
        shared.measure();
        let writer = Writer {
            shared: shared.clone(),
            connection,
            tables,
            next_seq: last_seq.saturating_add(1).max(micros(now)),
            has_free_pages: true,
            used_bytes,
            trimmed_until: HashMap::new(),
        };
        let (end, ended) = oneshot::channel();
        let (bell, of_helper) = (shared.bell.clone(), options.clone());
        let thread = |name: &str| std::thread::Builder::new().name(name.into());
        let helper = thread("checkpoint").spawn(move || checkpoint::help(&of_helper, &bell));
        helper.map_err(|error| failed(error.to_string()))?;
        let bell = shared.bell.clone();
        let writing = thread("store").spawn(move || {
            writer.run();
            bell.end();
            // Only now may another process have the file.
            drop(lock);
            let _ = end.send(());
        });
        writing.map_err(|error| failed(error.to_string()))?;
        let of_queue = shared.clone();
        let is_leased = move |key| of_queue.queue().is_leased(key);
        Ok(Self {
            shared,
            reading: Reading::new(options, Arc::new(is_leased)),
            leads: Mutex::default(),
            weighed: tokio::sync::Mutex::default(),
            ended: Mutex::new(Some(ended)),
        })
    }

    /// A panic elsewhere leaves whole entries.
    fn leads(&self) -> MutexGuard<'_, Leads> {
        self.leads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn take_lead(&self, key: SourceKey) -> Result<Lead, StoreError> {
        let (answer, coming) = oneshot::channel();
        self.shared.inbox.chore(Chore::Lead { key, answer })?;
        answered(coming).await
    }

    fn lease(&self, wants: &[Want], now: i64, until: i64) -> Vec<(Token, Live)> {
        let mut claimed = Vec::new();
        let mut queue = self.shared.queue();
        queue.end_leases(now);
        for want in wants {
            queue.claim(&want.backend, want.max, now, until, &mut claimed);
        }
        claimed
    }
}

fn lock(options: &Options) -> Result<File, StoreError> {
    let path = options.folder.join("hookgate.lock");
    let folder = || options.folder.display().to_string();
    let failed = |error: std::io::Error| StoreError::Open {
        path: folder(),
        detail: error.to_string(),
    };
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::InUse { path: folder() }),
        // A file system without locks, for instance.
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

/// The answer of the writer.
async fn answered<T>(answer: oneshot::Receiver<Result<T, StoreError>>) -> Result<T, StoreError> {
    let stopped = || StoreError::Unavailable("the writer has stopped".into());
    answer.await.unwrap_or_else(|_| Err(stopped()))
}

#[async_trait]
impl Log for Embedded {
    async fn list(
        &self,
        filter: Filter,
        page: Option<String>,
        limit: usize,
    ) -> Result<Page, StoreError> {
        self.reading.list(filter, page, limit).await
    }

    async fn count(&self, filter: Filter) -> Result<u64, StoreError> {
        self.reading.count(filter).await
    }

    async fn event(&self, id: EventId) -> Result<Option<Shown>, StoreError> {
        self.reading.event(id).await
    }

    async fn acts(&self, page: Option<String>, limit: usize) -> Result<Acts, StoreError> {
        self.reading.acts(page, limit).await
    }

    async fn shelf(&self, shelf: Shelf) -> Result<Vec<(String, String)>, StoreError> {
        self.reading.shelf(shelf).await
    }

    async fn source(&self, source: &str) -> Result<Vec<SourceRow>, StoreError> {
        self.reading.source(source).await
    }
}

#[async_trait]
impl Store for Embedded {
    async fn accept(&self, items: Vec<Accept>) -> Result<Vec<Accepted>, StoreError> {
        if let Some(trouble) = self.shared.trouble() {
            return Err(trouble);
        }
        let (answer, coming) = oneshot::channel();
        self.shared.inbox.accept(AcceptJob { items, answer })?;
        answered(coming).await
    }

    fn record(&self, note: Note) {
        self.shared.inbox.log(note);
    }

    async fn claim(
        &self,
        wants: &[Want],
        now: Timestamp,
        lease_until: Timestamp,
    ) -> Result<Vec<Claimed>, StoreError> {
        if let Some(trouble) = self.shared.trouble() {
            return Err(trouble);
        }
        let leased = self.lease(wants, micros(now), micros(lease_until));
        if leased.is_empty() {
            return Ok(Vec::new());
        }
        let wanted: Vec<Live> = leased.iter().map(|(_, live)| *live).collect();
        let read = self
            .reading
            .read(move |connection| reader::events(connection, &wanted))
            .await;
        let mut queue = self.shared.queue();
        let events: Vec<Option<Arc<Event>>> = match read {
            Ok(events) => events,
            Err(error) => {
                for (token, _) in leased {
                    queue.unclaim(token);
                }
                return Err(error);
            }
        };
        let mut claimed = Vec::with_capacity(leased.len());
        for ((token, live), event) in leased.into_iter().zip(events) {
            let Some(event) = event else {
                // Its lease keeps it from being claimed over and over.
                tracing::error!(seq = live.seq, "a delivery has no event");
                continue;
            };
            claimed.push(Claimed {
                token,
                event,
                backend: queue.names.name(live.backend),
                due: timestamp(live.due),
                asked_again: live.asked_again(),
                attempts: u32::from(live.attempts),
                lane: (live.lane != 0).then_some(live.lane),
            });
        }
        Ok(claimed)
    }

    async fn extend(&self, tokens: &[Token], until: Timestamp) -> Result<Vec<Settled>, StoreError> {
        let mut queue = self.shared.queue();
        let extend = |token: &Token| queue.extend(*token, micros(until));
        Ok(tokens.iter().map(extend).collect())
    }

    async fn settle(&self, items: Vec<Settlement>) -> Result<Vec<Settled>, StoreError> {
        if let Some(trouble) = self.shared.trouble() {
            return Err(trouble);
        }
        let (answer, coming) = oneshot::channel();
        self.shared.inbox.settle(SettleJob { items, answer })?;
        answered(coming).await
    }

    fn next_due(&self, backends: &[Arc<str>]) -> Option<Timestamp> {
        self.shared.queue().next_due(backends).map(timestamp)
    }

    fn watch(&self) -> watch::Receiver<u64> {
        self.shared.work.subscribe()
    }

    async fn redeliver(&self, items: Vec<Redelivery>, due: Timestamp) -> Result<u64, StoreError> {
        let (answer, coming) = oneshot::channel();
        let due = micros(due);
        let redeliver = Chore::Redeliver { items, due, answer };
        self.shared.inbox.chore(redeliver)?;
        answered(coming).await
    }

    async fn cancel(
        &self,
        id: EventId,
        slot: u16,
        now: Timestamp,
    ) -> Result<Cancelled, StoreError> {
        let seq = self
            .reading
            .read(move |connection| reader::seq(connection, &id))
            .await?;
        let Some(seq) = seq else {
            return Ok(Cancelled::NotLive);
        };
        let taken = self.shared.queue().take((seq, slot));
        let token = match taken {
            Taken::Now(token) => token,
            Taken::InFlight => return Ok(Cancelled::InFlight),
            Taken::NotLive => {
                let (answer, coming) = oneshot::channel();
                let discard = Chore::Discard { seq, slot, answer };
                self.shared.inbox.chore(discard)?;
                return Ok(match answered(coming).await? {
                    true => Cancelled::Done,
                    false => Cancelled::NotLive,
                });
            }
        };
        let settlement = Settlement {
            token,
            at: now,
            attempt: None,
            next: Next::Dead {
                reason: CANCELLED.to_owned(),
                lane: LaneRule::Leave,
            },
            follows: None,
        };
        let settled = self.settle(vec![settlement]).await;
        if settled.is_err() {
            self.shared.queue().unclaim(token);
        }
        Ok(match settled?.as_slice() {
            [Settled::Done] => Cancelled::Done,
            _ => Cancelled::NotLive,
        })
    }

    async fn act(&self, act: Act) -> Result<(), StoreError> {
        let (answer, coming) = oneshot::channel();
        self.shared.inbox.chore(Chore::Act { act, answer })?;
        answered(coming).await
    }

    async fn put(
        &self,
        shelf: Shelf,
        key: String,
        document: Option<String>,
    ) -> Result<(), StoreError> {
        let (answer, coming) = oneshot::channel();
        self.shared.inbox.chore(Chore::Put {
            shelf,
            key,
            document,
            answer,
        })?;
        answered(coming).await
    }

    async fn lead(
        &self,
        key: SourceKey,
        who: u64,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Option<Lead>, StoreError> {
        let wish = self.leads().wish(&key, who, now, until);
        let led = match wish {
            Wish::Refused => return Ok(None),
            Wish::Kept => {
                let of_key = key.clone();
                let read = move |connection: &_| sources::led(connection, &of_key);
                self.reading.read(read).await
            }
            Wish::Taken => self.take_lead(key.clone()).await,
        };
        if led.is_err() {
            self.leads().give_back(&key, who);
        }
        led.map(Some)
    }

    async fn advance(&self, step: Advance) -> Result<Advanced, StoreError> {
        if let Some(trouble) = self.shared.trouble() {
            return Err(trouble);
        }
        let (answer, coming) = oneshot::channel();
        let step = Box::new(step);
        self.shared.inbox.chore(Chore::Advance { step, answer })?;
        answered(coming).await
    }

    async fn known(&self, keys: &[DedupClaim], at: Timestamp) -> Result<Vec<bool>, StoreError> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let keys = keys.to_vec();
        self.reading
            .read(move |connection| reader::known(connection, &keys, micros(at)))
            .await
    }

    async fn behind(
        &self,
        route: &str,
        offset: i64,
        limit: usize,
    ) -> Result<Vec<(i64, Arc<Event>)>, StoreError> {
        let route = route.to_owned();
        self.reading
            .read(move |connection| reader::behind(connection, &route, offset, limit))
            .await
    }

    async fn offset(&self, route: &str, from: Option<Timestamp>) -> Result<i64, StoreError> {
        let route = route.to_owned();
        let from = from.map(micros);
        self.reading
            .read(move |connection| reader::offset(connection, &route, from))
            .await
    }

    fn arrivals(&self, route: &str) -> watch::Receiver<i64> {
        let mut arrivals = self.shared.arrivals();
        let sender = arrivals.entry(route.into()).or_default();
        sender.subscribe()
    }

    async fn remembered(
        &self,
        scopes: &[u64],
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<Remembered>, StoreError> {
        let scopes = scopes.to_vec();
        self.reading
            .read(move |connection| reader::remembered(connection, &scopes, micros(now), limit))
            .await
    }

    async fn retain(&self, policy: Retention, now: Timestamp) -> Result<Retained, StoreError> {
        let mut weighed = self.weighed.lock().await;
        let waiting = self.shared.queue().depth_by_part();
        let max = policy.class_bytes_max;
        let surplus = weighed.surplus(&self.reading, max, waiting, now).await?;
        let (answer, coming) = oneshot::channel();
        self.shared.inbox.retain(RetainJob {
            policy,
            now: micros(now),
            surplus,
            answer,
        })?;
        let (retained, trimmed) = answered(coming).await?;
        Ok(weighed.after(retained, &trimmed))
    }

    fn usage(&self) -> Usage {
        let queue = self.shared.queue();
        Usage {
            backends: queue.backends(),
            routes: queue.routes(),
            file_bytes: self.shared.file_bytes.load(Ordering::Relaxed),
            wal_bytes: self.shared.wal_bytes.load(Ordering::Relaxed),
            logs_dropped: self.shared.inbox.logs_dropped(),
            trouble: self.shared.trouble().map(|trouble| trouble.to_string()),
        }
    }

    async fn close(&self) {
        self.shared.inbox.close();
        let ended = self
            .ended
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(ended) = ended {
            let _ = ended.await;
        }
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.shared.inbox.close();
    }
}
