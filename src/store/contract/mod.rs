//! What a store promises, as tests that know nothing of an engine but how it is opened.
//!
//! What only the embedded engine can get wrong (its files, its steps) is in `engine` and `faults`.

mod accepting;
mod delivering;
mod engine;
mod faults;
mod operating;
mod polling;

mod showing;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use tempfile::TempDir;

use super::cipher::Cipher;
use super::embedded::{Embedded, Options};
use super::*;
use crate::event::{Head, Headers};

/// A folder that a store is opened in, more than once if need be.
struct Bench {
    folder: TempDir,
    depth_max: u64,
    bytes_max: u64,
    cipher: Cipher,
    vfs: Option<String>,
}

struct Silent;

impl Observer for Silent {
    fn committed(&self, _: usize, _: f64, _: f64) {}
}

impl Bench {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            depth_max: 1_000_000,
            bytes_max: u64::MAX,
            cipher: Cipher::default(),
            vfs: None,
        }
    }

    fn try_open(&self) -> Result<Arc<dyn Store>, StoreError> {
        let options = Options {
            folder: self.path().to_owned(),
            depth_max: self.depth_max,
            bytes_max: self.bytes_max,
            cache_bytes: 4 * 1024 * 1024,
            cipher: self.cipher.clone(),
            vfs: self.vfs.clone(),
        };
        Ok(Arc::new(Embedded::open(options, at(0), Arc::new(Silent))?))
    }

    fn open(&self) -> Arc<dyn Store> {
        self.try_open().unwrap()
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The file itself, past the store.
    fn file(&self) -> rusqlite::Connection {
        rusqlite::Connection::open(self.path().join("hookgate.db")).unwrap()
    }
}

/// So many seconds after the tests' moment, which is early on a day.
fn at(seconds: i64) -> Timestamp {
    let start: Timestamp = "2026-11-26T01:00:00Z".parse().unwrap();
    start + SignedDuration::from_secs(seconds)
}

/// So many days after it.
fn on_day(day: i64) -> Timestamp {
    at(day * 86_400)
}

fn event_at(received_at: Timestamp) -> Event {
    let mut headers = Headers::default();
    headers.push("Host", "gateway.example");
    Event {
        id: EventId::new(received_at),
        received_at,
        route: "r".into(),
        head: Head {
            method: "POST".into(),
            target: "/hooks/r".into(),
            host: Some("gateway.example".into()),
            headers,
        },
        body: Bytes::from_static(b"{}"),
        facts: Facts::default(),
    }
}

/// An event for `app` that is due at once.
fn new_event(received_at: Timestamp) -> Accept {
    from_event(event_at(received_at))
}

fn from_event(event: Event) -> Accept {
    let due = event.received_at;
    Accept {
        event: Arc::new(event),
        dedup: None,
        deliveries: vec![NewDelivery {
            slot: 0,
            backend: "app".into(),
            due,
            lane: None,
            attempts: 0,
        }],
        attempt: None,
        route_depth_max: None,
        was_refused: false,
    }
}

fn in_lane(lane: u64, received_at: Timestamp) -> Accept {
    let mut item = new_event(received_at);
    item.deliveries[0].lane = Some(lane);
    item
}

/// A key that is remembered for an hour.
fn key(byte: u8) -> DedupClaim {
    DedupClaim {
        scope: 7,
        key: [byte; 16],
        until: at(3600),
    }
}

fn with_key(byte: u8, received_at: Timestamp) -> Accept {
    let mut item = new_event(received_at);
    item.dedup = Some(key(byte));
    item
}

async fn accept_one(store: &Arc<dyn Store>, item: Accept) -> Accepted {
    store.accept(vec![item]).await.unwrap().remove(0)
}

async fn accept_new(store: &Arc<dyn Store>, item: Accept) -> EventId {
    let id = item.event.id;
    assert_eq!(accept_one(store, item).await, Accepted::New);
    id
}

/// Claims for ten seconds what is due to `app`.
async fn claim(store: &Arc<dyn Store>, now: Timestamp) -> Vec<Claimed> {
    let want = Want {
        backend: "app".into(),
        max: 100,
    };
    let until = now + SignedDuration::from_secs(10);
    store.claim(&[want], now, until).await.unwrap()
}

async fn claim_one(store: &Arc<dyn Store>, now: Timestamp) -> Claimed {
    let mut claimed = claim(store, now).await;
    assert_eq!(claimed.len(), 1, "{claimed:?}");
    claimed.remove(0)
}

fn ids(claimed: &[Claimed]) -> Vec<EventId> {
    claimed.iter().map(|claimed| claimed.event.id).collect()
}

fn attempt(number: u32, at: Timestamp) -> Attempt {
    Attempt {
        number,
        at,
        took: Duration::from_millis(20),
        status: Some(503),
        outcome: "5xx".into(),
        answer: Bytes::from_static(b"HTTP/1.1 503 Busy\r\n\r\nlater"),
    }
}

fn settlement(claimed: &Claimed, at: Timestamp, next: Next) -> Settlement {
    Settlement {
        token: claimed.token,
        at,
        attempt: Some(attempt(claimed.attempts + 1, at)),
        next,
        follows: None,
    }
}

async fn settle(store: &Arc<dyn Store>, claimed: &Claimed, now: Timestamp, next: Next) -> Settled {
    let item = settlement(claimed, now, next);
    store.settle(vec![item]).await.unwrap().remove(0)
}

fn retry(due: Timestamp, lane: LaneRule) -> Next {
    Next::Retry { due, lane }
}

fn dead(lane: LaneRule) -> Next {
    Next::Dead {
        reason: "attempts_exhausted".into(),
        lane,
    }
}

async fn shown(store: &Arc<dyn Store>, id: EventId) -> Shown {
    store.event(id).await.unwrap().unwrap()
}

fn depth(store: &Arc<dyn Store>) -> u64 {
    store.usage().backends.iter().map(|usage| usage.depth).sum()
}
