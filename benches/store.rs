//! The store by itself: durable accepts beside the disk's own speed, the drain of a long queue, and
//! how soon it is ready again.
//!
//!     cargo bench --bench store [-- --events 1000000]
//!
//! The folder is made in the current one, so that the disk of the project is measured and not a
//! file system in memory.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a program for people: what goes wrong ends it, and figures have three digits"
)]

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hookgate::clock::{Clock, SystemClock};
use hookgate::event::{Head, Headers};
use hookgate::store::cipher::Cipher;
use hookgate::store::embedded::{Embedded, Options};
use hookgate::store::{
    Accept, Accepted, DedupClaim, Event, EventId, Facts, NewDelivery, Next, Observer, Retention,
    Settlement, Store, Want,
};
use jiff::{SignedDuration, Timestamp};

/// How long each figure is measured.
const MEASURE: Duration = Duration::from_secs(3);
/// The most deliveries of one claim.
const CLAIM: usize = 256;

struct Silent;

impl Observer for Silent {
    fn committed(&self, _: usize, _: f64, _: f64) {}
}

fn main() {
    let events = argument("--events").unwrap_or(1_000_000);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    println!("| senders | body | accepts/s | CPU µs/event | × fdatasync/s of the disk |");
    println!("|---|---|---|---|---|");
    for (name, bytes) in [("1 KiB", 1024), ("16 KiB", 16 * 1024)] {
        for senders in [1, 16, 64, 256] {
            let folder = tempfile::tempdir_in(".").unwrap();
            let disk = disk_syncs(folder.path());
            let store = open(folder.path());
            let (rate, cpu) = runtime.block_on(accepts(&store, senders, bytes));
            runtime.block_on(store.close());
            println!(
                "| {senders} | {name} | {rate:.0} | {cpu:.1} | {:.2} |",
                rate / disk
            );
        }
    }
    println!();
    long_queue(&runtime, events);
}

fn argument(name: &str) -> Option<u64> {
    let mut arguments = std::env::args().skip_while(|argument| argument != name);
    arguments.nth(1)?.parse().ok()
}

fn open(folder: &Path) -> Arc<dyn Store> {
    let options = Options {
        folder: folder.to_owned(),
        depth_max: u64::MAX,
        bytes_max: u64::MAX,
        cache_bytes: 64 * 1024 * 1024,
        cipher: Cipher::default(),
        vfs: None,
    };
    Arc::new(Embedded::open(options, SystemClock.now(), Arc::new(Silent)).unwrap())
}

/// How often the disk can sync an append of 4 KiB in a second.
fn disk_syncs(folder: &Path) -> f64 {
    let mut file = File::create(folder.join("disk")).unwrap();
    let started = Instant::now();
    let mut count = 0;
    while started.elapsed() < Duration::from_secs(1) {
        file.write_all(&[7; 4096]).unwrap();
        file.sync_data().unwrap();
        count += 1;
    }
    f64::from(count) / started.elapsed().as_secs_f64()
}

fn item(body: &Bytes) -> Accept {
    item_at(body, SystemClock.now())
}

fn item_at(body: &Bytes, now: Timestamp) -> Accept {
    let id = EventId::new(now);
    let mut headers = Headers::default();
    for (name, value) in [
        ("Host", "hooks.example.com"),
        ("Content-Type", "application/json"),
        ("User-Agent", "GitHub-Hookshot/abc"),
        ("X-GitHub-Delivery", "72d3162e-cc78-11e3-81ab-4c9367dc0958"),
    ] {
        headers.push(name, value);
    }
    let event = Event {
        id,
        received_at: now,
        route: "bench".into(),
        head: Head {
            method: "POST".into(),
            target: Bytes::from_static(b"/hooks"),
            host: Some("hooks.example.com".into()),
            headers,
        },
        body: body.clone(),
        facts: Facts {
            client: "192.0.2.1".into(),
            scheme: "https".into(),
            verified: true,
            provider_event_id: Some(id.to_string()),
            ..Facts::default()
        },
    };
    Accept {
        event: Arc::new(event),
        dedup: Some(DedupClaim {
            scope: 1,
            key: *id.as_bytes(),
            until: now.saturating_add(Duration::from_secs(86_400)).unwrap(),
        }),
        deliveries: vec![NewDelivery {
            slot: 0,
            backend: "app".into(),
            due: now,
            lane: None,
            attempts: 0,
        }],
        attempt: None,
        route_depth_max: None,
        was_refused: false,
    }
}

/// Durable accepts in a second, and CPU microseconds for each.
async fn accepts(store: &Arc<dyn Store>, senders: usize, bytes: usize) -> (f64, f64) {
    let body = Bytes::from(vec![b'x'; bytes]);
    let cpu = cpu_seconds();
    let started = Instant::now();
    let tasks: Vec<_> = (0..senders)
        .map(|_| {
            let (store, body) = (store.clone(), body.clone());
            tokio::spawn(async move {
                let mut count = 0_u64;
                while started.elapsed() < MEASURE {
                    let accepted = store.accept(vec![item(&body)]).await.unwrap();
                    assert_eq!(accepted, [Accepted::New]);
                    count += 1;
                }
                count
            })
        })
        .collect();
    let mut count = 0;
    for task in tasks {
        count += task.await.unwrap();
    }
    let rate = count as f64 / started.elapsed().as_secs_f64();
    (rate, (cpu_seconds() - cpu) / count as f64 * 1e6)
}

/// A queue of so many events: how soon it is ready again, how much memory it takes, how fast it
/// empties.
fn long_queue(runtime: &tokio::runtime::Runtime, events: u64) {
    let folder = tempfile::tempdir_in(".").unwrap();
    let body = Bytes::from(vec![b'x'; 1024]);
    let store = open(folder.path());
    runtime.block_on(async {
        for _ in 0..events / 500 {
            let batch = (0..500).map(|_| item(&body)).collect();
            store.accept(batch).await.unwrap();
        }
        store.close().await;
    });
    drop(store);
    let before = resident_mib();
    let started = Instant::now();
    let store = open(folder.path());
    let ready = started.elapsed();
    let memory = resident_mib() - before;
    let bytes = store.usage().file_bytes;
    let started = Instant::now();
    let drained = runtime.block_on(drain(&store));
    let rate = drained as f64 / started.elapsed().as_secs_f64();
    let retention = runtime.block_on(forget(&store, &body));
    runtime.block_on(store.close());
    println!("| queued | ready after | memory | file | claimed and settled/s |");
    println!("|---|---|---|---|---|");
    println!(
        "| {drained} | {:.2} s | {memory} MiB | {} MiB | {rate:.0} |",
        ready.as_secs_f64(),
        bytes / 1024 / 1024
    );
    println!("\n{retention}");
}

/// Forgets everything while others come in: how long these wait meanwhile.
async fn forget(store: &Arc<dyn Store>, body: &Bytes) -> String {
    let later = |days: i64| SystemClock.now() + SignedDuration::from_hours(24 * days);
    let paced = async |stop: &AtomicBool| {
        let mut waits = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            let started = Instant::now();
            // Of another day: what is live of a day keeps it.
            store.accept(vec![item_at(body, later(9))]).await.unwrap();
            waits.push(started.elapsed());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        waits.sort_unstable();
        waits
    };
    let stop = AtomicBool::new(false);
    let (before, ()) = tokio::join!(paced(&stop), async {
        tokio::time::sleep(MEASURE).await;
        stop.store(true, Ordering::Relaxed);
    });
    let stop = AtomicBool::new(false);
    let (during, (took, steps)) = tokio::join!(paced(&stop), async {
        let started = Instant::now();
        let mut steps = 0;
        let policy = Retention::of_all(later(2));
        while store
            .retain(policy, later(2))
            .await
            .unwrap()
            .may_have_more()
        {
            steps += 1;
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        stop.store(true, Ordering::Relaxed);
        (started.elapsed(), steps)
    });
    let at = |waits: &[Duration], share: usize| {
        let wait = waits.get(waits.len() * share / 100).copied();
        wait.unwrap_or_default().as_secs_f64() * 1e3
    };
    format!(
        "Forgotten in {:.1} s and {steps} steps; an accept waits p50 / p99 {:.1} / {:.1} ms meanwhile, \
         {:.1} / {:.1} ms before.",
        took.as_secs_f64(),
        at(&during, 50),
        at(&during, 99),
        at(&before, 50),
        at(&before, 99),
    )
}

async fn drain(store: &Arc<dyn Store>) -> u64 {
    let wants = [Want {
        backend: "app".into(),
        max: CLAIM,
    }];
    let mut count = 0;
    loop {
        let now = SystemClock.now();
        let until = now.saturating_add(Duration::from_secs(60)).unwrap();
        let claimed = store.claim(&wants, now, until).await.unwrap();
        if claimed.is_empty() {
            return count;
        }
        count += claimed.len() as u64;
        let settled = claimed.into_iter().map(|claimed| Settlement {
            token: claimed.token,
            at: now,
            attempt: None,
            next: Next::Delivered,
            follows: None,
        });
        store.settle(settled.collect()).await.unwrap();
    }
}

/// User and system time of this process.
fn cpu_seconds() -> f64 {
    let mut total = 0;
    for task in std::fs::read_dir("/proc/self/task").unwrap() {
        let mut text = String::new();
        let file = File::open(task.unwrap().path().join("schedstat"));
        if file
            .and_then(|mut file| file.read_to_string(&mut text))
            .is_ok()
        {
            total += text.split(' ').next().unwrap().parse::<u64>().unwrap();
        }
    }
    total as f64 / 1e9
}

fn resident_mib() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = text.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4 / 1024
}
