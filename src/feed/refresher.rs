//! Fetches lists in the background, and puts each in its place.
//!
//! One task a feed. Under one lock it is known which feeds there are and what their lists are, so that
//! a list which arrives while a reload goes on is neither lost nor given to the wrong feed.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, HeaderName, HeaderValue, IF_MODIFIED_SINCE, IF_NONE_MATCH};
use http::{HeaderMap, Method};
use jiff::Timestamp;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::Feed;
use super::kept::{self, Known};
use super::list::{List, ListError};
use super::schedule::{age, until_refresh, until_retry};
use crate::clock::Clock;
use crate::ingress::ranges::OnMissing;
use crate::metrics::Metrics;
use crate::poll::budget::retry_after;
use crate::poll::fetch::{FetchError, Fetcher, Request, Response};

/// The longest validator that is sent back, in bytes.
const VALIDATOR_BYTES_MAX: usize = 1024;

/// Keeps the lists of feeds fresh.
pub struct Refresher {
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    /// The folder of the store; `None` = lists end with the process.
    store: Option<PathBuf>,
    /// A number between 0 and 1.
    chance: fn() -> f64,
    entries: Mutex<Vec<Entry>>,
    /// Counts how often the feeds were swapped.
    swapped: watch::Sender<u64>,
}

/// A feed and its list.
struct Entry {
    feed: Arc<Feed>,
    known: Option<Known>,
    /// Since when there is this feed.
    since: Timestamp,
}

/// What operators see of a feed.
#[derive(Debug, Clone, PartialEq)]
pub struct View {
    /// Its name.
    pub name: String,
    /// How many ranges its list has; 0 = there is none yet.
    pub ranges: usize,
    /// How long ago the list was fetched, or said to be unchanged; without a list, since when one is
    /// waited for.
    pub age: Duration,
}

/// Why a refresh failed.
#[derive(Debug, thiserror::Error)]
enum RefreshError {
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error("it answered {status}{}", hint(*.status))]
    Status {
        status: u16,
        retry_after: Option<Duration>,
    },
    #[error(transparent)]
    List(#[from] ListError),
}

/// What a refresh brought.
enum Refreshed {
    Changed,
    Unchanged,
}

fn hint(status: u16) -> &'static str {
    match status {
        300..=399 => ", and redirects are not followed: write where it leads into `url`",
        _ => "",
    }
}

impl RefreshError {
    fn label(&self) -> &'static str {
        match self {
            Self::Fetch(error) => error.label(),
            Self::Status { .. } => "status",
            Self::List(error) => error.label(),
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            Self::Fetch(_) | Self::List(_) => None,
        }
    }
}

impl Refresher {
    /// Keeps lists in the folder of the store, if there is one.
    pub fn new(
        store: Option<PathBuf>,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
        chance: fn() -> f64,
    ) -> Self {
        Self {
            clock,
            metrics,
            store,
            chance,
            entries: Mutex::default(),
            swapped: watch::Sender::new(0),
        }
    }

    /// Takes other feeds in place of those there were. A feed that stands where it stood keeps its
    /// list, a new one gets what is on disk, all before this returns.
    pub fn swap(&self, feeds: Vec<Arc<Feed>>) {
        let now = self.clock.now();
        let mut entries = self.entries();
        let before = std::mem::take(&mut *entries);
        let is_gone = |name: &str| !feeds.iter().any(|feed| feed.name() == name);
        for entry in &before {
            if is_gone(entry.feed.name()) {
                self.metrics.feeds.forget(entry.feed.name());
            }
        }
        *entries = feeds
            .into_iter()
            .map(|feed| match of_same_list(&before, &feed) {
                Some(entry) => Entry {
                    feed,
                    known: entry.known.clone(),
                    since: entry.since,
                },
                None => Entry {
                    known: self.restored(&feed),
                    feed,
                    since: now,
                },
            })
            .collect();
        for entry in entries.iter() {
            self.metrics
                .feeds
                .announce(entry.feed.name(), entry.feed.refresh());
            entry.open();
        }
        drop(entries);
        self.swapped.send_modify(|count| *count += 1);
    }

    fn restored(&self, feed: &Feed) -> Option<Known> {
        let store = self.store.as_ref()?;
        match kept::read(feed, store) {
            Ok(known) => known,
            Err(error) => {
                let error = error.to_string();
                tracing::warn!(
                    feed = feed.name(),
                    error,
                    "the list that was kept of a feed cannot be used, it is fetched anew"
                );
                None
            }
        }
    }

    /// Refreshes until `stop` comes true.
    pub async fn run(self: Arc<Self>, stop: impl Future<Output = ()>) {
        tokio::select! {
            () = self.clone().keep_all() => {}
            () = stop => {}
        }
    }

    async fn keep_all(self: Arc<Self>) {
        let mut swapped = self.swapped.subscribe();
        let mut kept: Vec<Keeper> = Vec::new();
        loop {
            swapped.mark_unchanged();
            let feeds: Vec<_> = self
                .entries()
                .iter()
                .map(|entry| entry.feed.clone())
                .collect();
            kept.retain(|keeper| feeds.iter().any(|feed| keeper.keeps(feed)));
            for feed in feeds {
                if !kept.iter().any(|keeper| keeper.keeps(&feed)) {
                    let task = tokio::spawn(self.clone().keep(feed.clone()));
                    kept.push(Keeper { feed, task });
                }
            }
            if swapped.changed().await.is_err() {
                return;
            }
        }
    }

    /// Refreshes one feed for ever.
    async fn keep(self: Arc<Self>, feed: Arc<Feed>) {
        let mut failures = 0_u32;
        let mut asked = None;
        // Made with the first request: what it needs of the machine can be missing for a while.
        let mut fetcher = None;
        loop {
            let chance = (self.chance)();
            let pause = match failures {
                0 => {
                    let confirmed_at = self.known(&feed).map(|known| known.confirmed_at);
                    until_refresh(confirmed_at, self.clock.now(), feed.refresh, chance)
                }
                failures => until_retry(failures, feed.refresh, asked, chance),
            };
            tokio::time::sleep(pause).await;
            let outcome = self.refresh(&feed, &mut fetcher).await;
            let label = match &outcome {
                Ok(Refreshed::Changed) => "changed",
                Ok(Refreshed::Unchanged) => "unchanged",
                Err(error) => error.label(),
            };
            let labels = [feed.name(), label];
            self.metrics
                .feeds
                .refreshes
                .with_label_values(&labels)
                .inc();
            match outcome {
                Ok(_) => (failures, asked) = (0, None),
                Err(error) => {
                    failures = failures.saturating_add(1);
                    asked = error.retry_after();
                    self.tell(&feed, &error);
                }
            }
        }
    }

    /// Fetches a list once, and puts it in its place.
    async fn refresh(
        &self,
        feed: &Arc<Feed>,
        fetcher: &mut Option<Fetcher>,
    ) -> Result<Refreshed, RefreshError> {
        let fetcher = match fetcher {
            Some(fetcher) => fetcher,
            None => fetcher.insert(Fetcher::new(feed.rules())?),
        };
        let before = self.known(feed);
        let answer = fetcher.fetch(request(feed, before.as_ref())).await?;
        let now = self.clock.now();
        let text = |name: &str| header(&answer, name);
        let known = match (answer.status, before.clone()) {
            (200, _) => Known {
                list: List::read(&answer.body, &feed.pointers)?,
                confirmed_at: now,
                etag: text("etag"),
                last_modified: text("last-modified"),
            },
            (304, Some(before)) => Known {
                confirmed_at: now,
                ..before
            },
            (status, _) => {
                let asked = text("retry-after").and_then(|value| retry_after(&value, now));
                return Err(RefreshError::Status {
                    status,
                    retry_after: asked,
                });
            }
        };
        let is_same = before
            .as_ref()
            .is_some_and(|before| before.list == known.list);
        if is_same {
            tracing::debug!(feed = feed.name(), "the ranges of a feed are unchanged");
        } else {
            tracing::info!(
                feed = feed.name(),
                ranges = known.list.len(),
                before = before.map_or(0, |before| before.list.len()),
                "the ranges of a feed have changed"
            );
        }
        self.publish(feed, known).await;
        Ok(if is_same {
            Refreshed::Unchanged
        } else {
            Refreshed::Changed
        })
    }

    /// In use at once, and on disk afterwards: what is not on disk is fetched again.
    async fn publish(&self, feed: &Arc<Feed>, known: Known) {
        {
            let mut entries = self.entries();
            let entry = entries
                .iter_mut()
                .find(|entry| entry.feed.has_list_of(feed));
            let Some(entry) = entry else { return };
            entry.known = Some(known.clone());
            entry.open();
        }
        let Some(store) = self.store.clone() else {
            return;
        };
        let feed = feed.clone();
        let written = tokio::task::spawn_blocking(move || {
            if let Err(error) = kept::write(&feed, &known, &store) {
                let error = error.to_string();
                tracing::warn!(
                    feed = feed.name(),
                    error,
                    "the list of a feed is in use, but cannot be kept on disk"
                );
            }
        });
        // It ends only with the process.
        let _ = written.await;
    }

    fn tell(&self, feed: &Feed, error: &RefreshError) {
        let ranges = self.known(feed).map_or(0, |known| known.list.len());
        let error = error.to_string();
        let name = feed.name();
        match (ranges, feed.ranges.on_missing()) {
            (0, OnMissing::Refuse) => tracing::error!(
                feed = name,
                error,
                "a feed cannot be refreshed and has no list yet: its addresses do not match"
            ),
            (0, OnMissing::Allow) => tracing::error!(
                feed = name,
                error,
                "a feed cannot be refreshed and has no list yet: EVERY ADDRESS MATCHES (on_missing: allow)"
            ),
            (ranges, _) => tracing::warn!(
                feed = name,
                error,
                ranges,
                "a feed cannot be refreshed, its last list stays in use"
            ),
        }
    }

    /// What operators see of each feed, in the order of the file.
    pub fn views(&self) -> Vec<View> {
        let now = self.clock.now();
        let entries = self.entries();
        let view = |entry: &Entry| {
            let known = entry.known.as_ref();
            View {
                name: entry.feed.name.clone(),
                ranges: known.map_or(0, |known| known.list.len()),
                age: age(known.map_or(entry.since, |known| known.confirmed_at), now),
            }
        };
        entries.iter().map(view).collect()
    }

    /// Writes what changes by itself into the metrics.
    pub fn observe(&self) {
        for view in self.views() {
            self.metrics
                .feeds
                .observe(&view.name, view.ranges, view.age);
        }
    }

    fn known(&self, feed: &Feed) -> Option<Known> {
        of_same_list(&self.entries(), feed)?.known.clone()
    }

    fn entries(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn of_same_list<'e>(entries: &'e [Entry], feed: &Feed) -> Option<&'e Entry> {
    entries.iter().find(|entry| entry.feed.has_list_of(feed))
}

impl Entry {
    /// Shows the door what is known.
    fn open(&self) {
        let name = self.feed.name();
        match &self.known {
            Some(known) => self.feed.ranges.replace(known.list.ranges().clone()),
            None if self.feed.ranges.on_missing() == OnMissing::Allow => tracing::warn!(
                feed = name,
                "a feed has no list yet: EVERY ADDRESS MATCHES until it has one (on_missing: allow)"
            ),
            None => tracing::info!(
                feed = name,
                "a feed has no list yet: its addresses do not match until it has one"
            ),
        }
    }
}

/// The task that refreshes a feed; it ends with this.
struct Keeper {
    feed: Arc<Feed>,
    task: JoinHandle<()>,
}

impl Keeper {
    /// Whether it does what a feed needs.
    fn keeps(&self, feed: &Feed) -> bool {
        self.feed.has_list_of(feed)
            && self.feed.refresh == feed.refresh
            && self.feed.ranges.on_missing() == feed.ranges.on_missing()
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn request(feed: &Feed, known: Option<&Known>) -> Request {
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_static(feed.accept()));
    let mut condition = |name: HeaderName, text: Option<&String>| {
        if let Some(value) = text.and_then(|text| HeaderValue::from_str(text).ok()) {
            headers.insert(name, value);
        }
    };
    if let Some(known) = known {
        condition(IF_NONE_MATCH, known.etag.as_ref());
        condition(IF_MODIFIED_SINCE, known.last_modified.as_ref());
    }
    Request {
        method: Method::GET,
        url: feed.url.clone(),
        headers,
        body: Bytes::new(),
    }
}

/// The first header of this name, unless it is too long.
fn header(answer: &Response, name: &str) -> Option<String> {
    let named = |(found, _): &&(String, String)| found == name;
    let value = &answer.headers.iter().find(named)?.1;
    (value.len() <= VALIDATOR_BYTES_MAX).then(|| value.clone())
}
