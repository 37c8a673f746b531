//! Webhooks for who cannot be reached: a route's events wait in an inbox, and are read by polling.
//!
//! A consumer reads what lies behind its offset, and says when it has it: only a commit moves the
//! offset, and only what is on disk counts. What was handed out is leased, so that nobody else gets it
//! meanwhile: all of a consumer's to one reader, or with `shared` each event on its own. A lease is in
//! memory; after its end, or the gateway's, what was not committed is handed out again.
//!
//! | file | decides |
//! |---|---|
//! | `consumer` | what a consumer may read and commit |
//! | `telegram` | an inbox as Telegram's `getUpdates` |

pub mod consumer;
pub mod telegram;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{Mutex as AsyncMutex, Semaphore};
use tokio::time::timeout;

use crate::clock::Clock;
use crate::secret::Secret;
use crate::store::{Event, Shelf, Store, StoreError};
use consumer::{Consumer, Denied, Grant, Lease};
use telegram::Facade;

/// The most events of one answer.
pub const LIMIT_MAX: usize = 500;
/// The most bytes of bodies in one answer; one event comes whatever its length.
const BYTES_MAX: usize = 8 * 1024 * 1024;
/// The most consumers of all inboxes.
const CONSUMERS_MAX: usize = 10_000;
/// The most consumers that look into the store at once.
const READS_MAX: usize = 4;
/// The longest name of a consumer.
const NAME_BYTES_MAX: usize = 64;

/// The inbox of a route.
#[derive(Debug)]
pub struct Inbox {
    /// The route.
    pub route: Arc<str>,
    /// Who may read it.
    pub tokens: Vec<Secret>,
    /// Where a new consumer begins.
    pub start: Start,
    /// How long what was handed out belongs to its reader.
    pub lease: Duration,
    /// Whether several readers share a consumer, each with events of its own.
    pub is_shared: bool,
    /// The bot that reads it as if it were Telegram.
    pub telegram: Option<Facade>,
}

/// Where a consumer begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// With the oldest event that is kept.
    Earliest,
    /// With what comes from now on.
    Latest,
    /// With what was received from a time on.
    At(Timestamp),
    /// With what stands behind an offset.
    Behind(i64),
}

impl Start {
    /// Reads `earliest`, `latest` or a time in RFC 3339.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "earliest" => Some(Self::Earliest),
            "latest" => Some(Self::Latest),
            time => time.parse().ok().map(Self::At),
        }
    }
}

/// Events that were handed out.
#[derive(Debug, Clone)]
pub struct Handed {
    /// The events and their offsets, in order.
    pub events: Vec<(i64, Arc<Event>)>,
    /// The lease that they were handed out under; `None` = there are none.
    pub lease: Option<Lease>,
    /// What is committed.
    pub offset: i64,
}

/// Why an inbox does not do what it is asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InboxError {
    /// The store does not take or give it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Others have it, or it is not there to be committed.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// A name that is none.
    #[error("a consumer has a name of 1 to {NAME_BYTES_MAX} letters, digits and `._-`")]
    Name,
    /// There are too many.
    #[error("there are {CONSUMERS_MAX} consumers, and no more are taken")]
    TooMany,
    /// What is stored of it is none of ours.
    #[error("what is stored of the consumer cannot be read; a seek puts it right")]
    Unreadable,
}

/// A route and the name of one of its consumers.
type Key = (Arc<str>, String);

/// Reads inboxes for their consumers.
pub struct Reader {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    consumers: Mutex<HashMap<Key, Arc<AsyncMutex<Option<Consumer>>>>>,
    /// How many look into the store at once: an arrival wakes all who wait.
    turns: Semaphore,
}

/// What a reader asks for.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The consumer.
    pub consumer: &'a str,
    /// The most events.
    pub limit: usize,
    /// How long to wait for one.
    pub wait: Duration,
    /// The lease of what it was handed before and has not committed.
    pub lease: Option<Lease>,
}

impl Reader {
    /// Reads what is in a store.
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Self {
        Self {
            store,
            clock,
            consumers: Mutex::default(),
            turns: Semaphore::new(READS_MAX),
        }
    }

    /// Hands out events; waits for the first of them.
    ///
    /// # Errors
    /// [`InboxError`].
    pub async fn read(&self, inbox: &Inbox, asked: Asked<'_>) -> Result<Handed, InboxError> {
        let mut arrivals = self.store.arrivals(&inbox.route);
        let handed = self.hand_out(inbox, &asked).await?;
        if !handed.events.is_empty() || asked.wait.is_zero() {
            return Ok(handed);
        }
        let arrived = async {
            loop {
                // What somebody else has may come back, too.
                let _ = timeout(inbox.lease, arrivals.changed()).await;
                let handed = self.hand_out(inbox, &asked).await?;
                if !handed.events.is_empty() {
                    return Ok(handed);
                }
            }
        };
        timeout(asked.wait, arrived).await.unwrap_or(Ok(handed))
    }

    async fn hand_out(&self, inbox: &Inbox, asked: &Asked<'_>) -> Result<Handed, InboxError> {
        let known = self.known(inbox, asked.consumer)?;
        let mut known = known.lock().await;
        let _turn = self.turns.acquire().await;
        let consumer = self.loaded(inbox, asked.consumer, &mut known).await?;
        let now = self.clock.now();
        let grant = consumer.grant(asked.lease, inbox.is_shared, now)?;
        let limit = asked.limit.clamp(1, LIMIT_MAX);
        let found = self
            .store
            .behind(
                &inbox.route,
                grant.behind,
                limit.saturating_add(grant.taken),
            )
            .await?;
        let mut bytes = 0;
        let mut events = Vec::new();
        for (offset, event) in found {
            if !consumer.is_free(offset, now) {
                continue;
            }
            bytes += event.body.len();
            if events.len() == limit || bytes > BYTES_MAX && !events.is_empty() {
                break;
            }
            events.push((offset, event));
        }
        let until = now.saturating_add(inbox.lease).unwrap_or(Timestamp::MAX);
        let offsets = events.iter().map(|(offset, _)| *offset);
        let lease = consumer.hand_out(&Grant { until, ..grant }, offsets);
        Ok(Handed {
            lease,
            offset: consumer.offset(),
            events,
        })
    }

    /// Notes on disk that a consumer has events: those of its lease up to an offset.
    ///
    /// # Errors
    /// [`InboxError`]: then nothing is noted.
    pub async fn commit(
        &self,
        inbox: &Inbox,
        consumer: &str,
        lease: Lease,
        offsets: &[i64],
    ) -> Result<i64, InboxError> {
        let known = self.known(inbox, consumer)?;
        let mut known = known.lock().await;
        let loaded = self.loaded(inbox, consumer, &mut known).await?;
        let mut next = loaded.clone();
        let now = self.clock.now();
        next.commit(lease, offsets, inbox.is_shared, now)?;
        self.put(inbox, consumer, &next).await?;
        let offset = next.offset();
        *known = Some(next);
        Ok(offset)
    }

    /// Notes on disk that a consumer has everything up to an offset, whoever leased it.
    ///
    /// # Errors
    /// [`InboxError`].
    pub async fn skip_to(
        &self,
        inbox: &Inbox,
        consumer: &str,
        offset: i64,
    ) -> Result<(), InboxError> {
        let known = self.known(inbox, consumer)?;
        let mut known = known.lock().await;
        let loaded = self.loaded(inbox, consumer, &mut known).await?;
        if offset > loaded.offset() {
            let next = Consumer::at(offset);
            self.put(inbox, consumer, &next).await?;
            *known = Some(next);
        }
        Ok(())
    }

    /// Lets a consumer begin elsewhere. What was handed out is no longer anybody's.
    ///
    /// # Errors
    /// [`InboxError`].
    pub async fn seek(&self, inbox: &Inbox, consumer: &str, to: Start) -> Result<i64, InboxError> {
        let known = self.known(inbox, consumer)?;
        let mut known = known.lock().await;
        let next = Consumer::at(self.begin(inbox, to).await?);
        self.put(inbox, consumer, &next).await?;
        let offset = next.offset();
        *known = Some(next);
        Ok(offset)
    }

    /// What a consumer has committed.
    ///
    /// # Errors
    /// [`InboxError`].
    pub async fn offset(&self, inbox: &Inbox, consumer: &str) -> Result<i64, InboxError> {
        let known = self.known(inbox, consumer)?;
        let mut known = known.lock().await;
        let loaded = self.loaded(inbox, consumer, &mut known).await?;
        Ok(loaded.offset())
    }

    /// Events behind an offset, without handing them out.
    pub(crate) async fn behind(
        &self,
        inbox: &Inbox,
        offset: i64,
        limit: usize,
    ) -> Result<Vec<(i64, Arc<Event>)>, InboxError> {
        let _turn = self.turns.acquire().await;
        Ok(self.store.behind(&inbox.route, offset, limit).await?)
    }

    /// Changes whenever something new is in an inbox.
    pub(crate) fn arrivals(&self, inbox: &Inbox) -> tokio::sync::watch::Receiver<i64> {
        self.store.arrivals(&inbox.route)
    }

    fn known(
        &self,
        inbox: &Inbox,
        name: &str,
    ) -> Result<Arc<AsyncMutex<Option<Consumer>>>, InboxError> {
        let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.bytes().all(is_letter) {
            return Err(InboxError::Name);
        }
        let key = (inbox.route.clone(), name.to_owned());
        let mut consumers = self
            .consumers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = consumers.get(&key) {
            return Ok(known.clone());
        }
        if consumers.len() >= CONSUMERS_MAX {
            return Err(InboxError::TooMany);
        }
        Ok(consumers.entry(key).or_default().clone())
    }

    /// What is known of a consumer; from disk, or as a new one begins.
    async fn loaded<'k>(
        &self,
        inbox: &Inbox,
        name: &str,
        known: &'k mut Option<Consumer>,
    ) -> Result<&'k mut Consumer, InboxError> {
        let consumer = match known.take() {
            Some(consumer) => consumer,
            None => {
                let shelf = self.store.shelf(Shelf::Consumers).await?;
                let key = key_of(inbox, name);
                let stored = shelf.into_iter().find(|(known, _)| *known == key);
                match stored {
                    Some((_, text)) => Consumer::parse(&text).ok_or(InboxError::Unreadable)?,
                    None => {
                        let begun = Consumer::at(self.begin(inbox, inbox.start).await?);
                        // Where it begins must not depend on when it comes back.
                        self.put(inbox, name, &begun).await?;
                        begun
                    }
                }
            }
        };
        Ok(known.insert(consumer))
    }

    async fn begin(&self, inbox: &Inbox, start: Start) -> Result<i64, InboxError> {
        Ok(match start {
            Start::Earliest => 0,
            Start::Latest => self.store.offset(&inbox.route, None).await?,
            Start::At(time) => self.store.offset(&inbox.route, Some(time)).await?,
            Start::Behind(offset) => offset,
        })
    }

    async fn put(&self, inbox: &Inbox, name: &str, consumer: &Consumer) -> Result<(), InboxError> {
        let key = key_of(inbox, name);
        let text = Some(consumer.text());
        Ok(self.store.put(Shelf::Consumers, key, text).await?)
    }
}

fn key_of(inbox: &Inbox, name: &str) -> String {
    format!("{}/{name}", inbox.route)
}
