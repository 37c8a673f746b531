//! How fast the store is on this machine's disk: durable accepts by the number of senders, deliveries
//! from a long queue, opening with that queue, memory. Beside it, what the disk itself can do.
//!
//! `cargo bench --bench store -- [folder] [queued]`: the folder must be on the disk to be measured
//! (default: the temporary folder), and that many deliveries are queued (default: 1,000,000).

#![expect(clippy::unwrap_used, reason = "a benchmark may stop where it fails")]
#![expect(clippy::print_stdout, reason = "it is there to be read")]
#![expect(
    clippy::disallowed_methods,
    reason = "nobody hands a clock to a benchmark"
)]

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hookgate::event::{Head, Headers};
use hookgate::store::embedded::{Embedded, Options};
use hookgate::store::{
    Accept, Accepted, Attempt, DedupClaim, Event, EventId, Facts, NewDelivery, Next, Observer,
    Settlement, Store, Want,
};
use jiff::{SignedDuration, Timestamp};

const SENDERS: [usize; 4] = [1, 16, 64, 256];
const BODY_BYTES: [usize; 2] = [1024, 16 * 1024];
const MEASURED: Duration = Duration::from_secs(3);
const CLAIMED: usize = 256;

struct Silent;

impl Observer for Silent {
    fn committed(&self, _: usize, _: f64, _: f64) {}
}

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| argument != "--bench")
        .collect();
    let root = arguments
        .first()
        .map_or_else(std::env::temp_dir, PathBuf::from);
    let queued = arguments.get(1).map_or(1_000_000, |n| n.parse().unwrap());

    for bytes in BODY_BYTES {
        let folder = tempfile::tempdir_in(&root).unwrap();
        let rate = sync_rate(folder.path(), bytes);
        println!("disk, {bytes} bytes and fdatasync: {rate:.0}/s");
        for senders in SENDERS {
            let folder = tempfile::tempdir_in(&root).unwrap();
            accept_rate(folder.path(), senders, bytes).await;
        }
    }
    let folder = tempfile::tempdir_in(&root).unwrap();
    drain(folder.path(), queued).await;
}

/// How often this disk can be asked to keep so many bytes.
fn sync_rate(folder: &Path, bytes: usize) -> f64 {
    let mut file = File::create(folder.join("raw")).unwrap();
    let piece = vec![b'x'; bytes];
    let (started, mut count) = (Instant::now(), 0_u32);
    while started.elapsed() < MEASURED {
        file.write_all(&piece).unwrap();
        file.sync_data().unwrap();
        count += 1;
    }
    f64::from(count) / started.elapsed().as_secs_f64()
}

fn open(folder: &Path) -> Arc<Embedded> {
    let options = Options {
        folder: folder.to_owned(),
        depth_max: u64::MAX,
        cache_bytes: 64 * 1024 * 1024,
        vfs: None,
    };
    Arc::new(Embedded::open(options, Timestamp::now(), Arc::new(Silent)).unwrap())
}

fn new_event(body: &Bytes) -> Accept {
    let now = Timestamp::now();
    let id = EventId::new(now);
    let mut headers = Headers::default();
    headers.push("Host", "hooks.example.com");
    headers.push("User-Agent", "GitHub-Hookshot/044aadd");
    headers.push("Content-Type", "application/json");
    headers.push("X-GitHub-Delivery", id.to_string());
    headers.push("X-Hub-Signature-256", format!("sha256={}", "0".repeat(64)));
    let dedup = DedupClaim {
        scope: 1,
        key: *id.as_bytes(),
        until: now + SignedDuration::from_hours(24),
    };
    Accept {
        event: Arc::new(Event {
            id,
            received_at: now,
            route: "github".into(),
            head: Head {
                method: "POST".into(),
                target: Bytes::from_static(b"/hooks/github"),
                host: Some("hooks.example.com".into()),
                headers,
            },
            body: body.clone(),
            facts: Facts {
                client: "192.0.2.1".into(),
                scheme: "https".into(),
                verified: true,
                ..Facts::default()
            },
        }),
        dedup: Some(dedup),
        deliveries: vec![NewDelivery {
            slot: 0,
            backend: "app".into(),
            due: now,
            lane: None,
            attempts: 0,
        }],
        attempt: None,
        route_depth_max: None,
    }
}

async fn accept_rate(folder: &Path, senders: usize, bytes: usize) {
    let store = open(folder);
    let body = Bytes::from(vec![b'x'; bytes]);
    let cpu = cpu_seconds();
    let started = Instant::now();
    let running: Vec<_> = (0..senders)
        .map(|_| {
            let (store, body) = (store.clone(), body.clone());
            tokio::spawn(async move {
                let mut waits = Vec::new();
                while started.elapsed() < MEASURED {
                    let asked = Instant::now();
                    let accepted = store.accept(vec![new_event(&body)]).await.unwrap();
                    assert_eq!(accepted, [Accepted::New]);
                    waits.push(asked.elapsed());
                }
                waits
            })
        })
        .collect();
    let mut waits = Vec::new();
    for sender in running {
        waits.extend(sender.await.unwrap());
    }
    let seconds = started.elapsed().as_secs_f64();
    let cpu = cpu_seconds() - cpu;
    waits.sort_unstable();
    let count = waits.len();
    let wait = |share: usize| {
        let index = (count * share / 100).min(count.saturating_sub(1));
        waits.get(index).copied().unwrap_or_default()
    };
    println!(
        "accept, {bytes} bytes, {senders} senders: {:.0}/s, {:.0} µs CPU each, \
         p50 {:.1?}, p99 {:.1?}",
        count as f64 / seconds,
        cpu * 1e6 / count as f64,
        wait(50),
        wait(99),
    );
    store.close().await;
}

/// Queues many, opens the store with them, and delivers as many as it can for a while.
async fn drain(folder: &Path, queued: usize) {
    let store = open(folder);
    let body = Bytes::from(vec![b'x'; 1024]);
    let started = Instant::now();
    let mut left = queued;
    while left > 0 {
        let some = left.min(512);
        let items = (0..some).map(|_| new_event(&body)).collect();
        store.accept(items).await.unwrap();
        left -= some;
    }
    let rate = queued as f64 / started.elapsed().as_secs_f64();
    println!("accept, 1024 bytes, 512 in a call: {rate:.0}/s");
    store.close().await;
    drop(store);

    let before = resident_kibibytes();
    let started = Instant::now();
    let store = open(folder);
    println!(
        "open with {queued} queued: {:.2?}, {} MiB more in memory",
        started.elapsed(),
        resident_kibibytes().saturating_sub(before) / 1024
    );
    let (started, mut delivered) = (Instant::now(), 0);
    while started.elapsed() < MEASURED && delivered < queued {
        let now = Timestamp::now();
        let want = Want {
            backend: "app".into(),
            max: CLAIMED,
        };
        let until = now + SignedDuration::from_secs(60);
        let claimed = store.claim(&[want], now, until).await.unwrap();
        delivered += claimed.len();
        let settlements = claimed.into_iter().map(|claimed| Settlement {
            token: claimed.token,
            attempt: Some(Attempt {
                number: 1,
                at: now,
                took: Duration::from_millis(1),
                status: Some(200),
                outcome: "2xx".into(),
                answer: Bytes::from_static(b"HTTP/1.1 200 OK\r\n\r\n"),
            }),
            next: Next::Delivered,
        });
        store.settle(settlements.collect()).await.unwrap();
    }
    let rate = delivered as f64 / started.elapsed().as_secs_f64();
    println!("claim and settle, {CLAIMED} at a time: {rate:.0}/s");
    println!(
        "files after that: {} MiB",
        store.usage().file_bytes / 1024 / 1024
    );
    store.close().await;
}

/// Seconds of processor time that this process has used, all threads together.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks: f64 = after_name
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse::<f64>().ok())
        .sum();
    // Linux counts in hundredths on every machine that we know.
    ticks / 100.0
}

/// Memory of this process that is in use.
fn resident_kibibytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    number
        .and_then(|number| number.parse().ok())
        .unwrap_or_default()
}
