//! What was acknowledged survives: the gateway is killed again and again while 64 senders send, at
//! random moments and at the places where a crash is worst.
//!
//! `make crash` plays many more rounds than `make test` and prints what it saw.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a broken assumption of a test must fail the test, and the suite tells what it saw"
)]

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tempfile::TempDir;
use tokio::process::Child;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::support::backend::FakeBackend;
use crate::support::client::Client;
use crate::support::gateway::{Gateway, hookgate};
use crate::support::github;

/// Rounds of `make test`; `HOOKGATE_CRASH_ROUNDS` sets another number.
const ROUNDS: usize = 12;
const SENDERS: usize = 64;
/// The most events that a sender sends in a round.
const EVENTS_MAX: usize = 60;
/// The most attempts at once.
const CONCURRENCY: usize = 32;
/// Where the process ends by itself.
const POINTS: [&str; 5] = [
    "before_append",
    "before_sync",
    "after_sync",
    "before_answer",
    "before_settle",
];

/// What the senders know.
#[derive(Default)]
struct Known {
    acknowledged: HashSet<String>,
    /// Sent, and no answer came.
    open: HashSet<String>,
}

fn rounds() -> usize {
    std::env::var("HOOKGATE_CRASH_ROUNDS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(ROUNDS)
}

fn yaml(listen: &str, app: &FakeBackend, folder: &TempDir) -> String {
    format!(
        "
server: {{listen: \"{listen}\", limits: {{connections_per_address: 1000}}}}
admin: {{listen: 127.0.0.1:0}}
store: {{path: {path}}}
backends:
  app:
    url: {url}
    concurrency: {CONCURRENCY}
    retry: {{backoff: {{base: 20ms, max: 100ms}}}}
routes:
  hooks:
    webhook:
      path: /hooks
      verify: {{provider: github, secrets: [\"{secret}\"]}}
    dedup: {{window: 1d}}
    deliver: {{to: app, mode: queue}}
",
        path = folder.path().join("data").display(),
        url = app.url(),
        secret = github::SECRET,
    )
}

fn free_address() -> SocketAddr {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    socket.local_addr().unwrap()
}

/// Numbers without pattern, the same ones in every run.
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

async fn connect(address: SocketAddr, mut ended: watch::Receiver<bool>) -> Option<Client> {
    loop {
        if let Ok(client) = Client::try_connect(address).await {
            return Some(client);
        }
        if timeout(Duration::from_millis(5), ended.wait_for(|over| *over))
            .await
            .is_ok()
        {
            return None;
        }
    }
}

/// Sends events until the process ends.
async fn send_until_it_ends(
    address: SocketAddr,
    ids: Vec<String>,
    known: Arc<Mutex<Known>>,
    ended: watch::Receiver<bool>,
) {
    let Some(mut client) = connect(address, ended).await else {
        return;
    };
    for id in ids {
        let request = github::post("/hooks", id.clone()).header("X-GitHub-Delivery", &id);
        known.lock().unwrap().open.insert(id.clone());
        let Ok(response) = client.try_request(&request).await else {
            return;
        };
        assert!(
            matches!(response.status, 200 | 202),
            "{id}: {} {}",
            response.status,
            response.text()
        );
        let mut known = known.lock().unwrap();
        known.open.remove(&id);
        known.acknowledged.insert(id);
    }
}

/// Starts the gateway; it may end by itself before it is ready.
fn start(file: &std::path::Path, fault: Option<&str>) -> Child {
    let fault = fault.map(|fault| ("HOOKGATE_FAULT", fault));
    let mut command = hookgate(fault.as_slice());
    command.args(["serve", "-c"]).arg(file);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_however_often_the_process_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let app = FakeBackend::start().await;
    let known = Arc::new(Mutex::new(Known::default()));
    let mut chance = Chance(20_261_126);
    let rounds = rounds();
    for round in 0..rounds {
        let address = free_address();
        let file = folder.path().join("hookgate.yaml");
        std::fs::write(&file, yaml(&address.to_string(), &app, &folder)).unwrap();
        // Every second round ends at one of the points, the others at any moment.
        let point = POINTS[round / 2 % POINTS.len()];
        let fault = (round % 2 == 0).then(|| format!("{point}:{}", 2 + chance.below(80)));
        let mut process = start(&file, fault.as_deref());
        let (end, ended) = watch::channel(false);
        let open: Vec<String> = known.lock().unwrap().open.iter().cloned().collect();
        let senders: Vec<_> = (0..SENDERS)
            .map(|sender| {
                // What was left open comes again, as a provider would send it.
                let again = open.iter().skip(sender).step_by(SENDERS).cloned();
                let new = (0..EVENTS_MAX).map(|n| format!("{round}-{sender}-{n}"));
                let ids = again.chain(new).collect();
                tokio::spawn(send_until_it_ends(
                    address,
                    ids,
                    known.clone(),
                    ended.clone(),
                ))
            })
            .collect();
        let patience = match fault {
            Some(_) => Duration::from_secs(3),
            None => Duration::from_millis(250 + chance.below(500)),
        };
        if timeout(patience, process.wait()).await.is_err() {
            process.start_kill().unwrap();
            process.wait().await.unwrap();
        }
        end.send_replace(true);
        for sender in senders {
            sender.await.unwrap();
        }
    }
    let gateway = Gateway::start(&yaml("127.0.0.1:0", &app, &folder)).await;
    let known = std::mem::take(&mut *known.lock().unwrap());
    every_key_is_remembered(&gateway, &known).await;
    drain(&gateway).await;
    // What arrived is known to the backend before the gateway has noted it.
    sleep(Duration::from_millis(50)).await;
    let mut arrived: HashMap<String, Vec<String>> = HashMap::new();
    for request in app.requests() {
        let id = request.header("webhook-id").unwrap().to_owned();
        arrived
            .entry(request.text().to_owned())
            .or_default()
            .push(id);
    }
    let lost: Vec<_> = known
        .acknowledged
        .iter()
        .filter(|id| !arrived.contains_key(*id))
        .collect();
    assert!(lost.is_empty(), "{} lost: {lost:?}", lost.len());
    let mut repeated = 0;
    for (event, ids) in &arrived {
        let different: HashSet<_> = ids.iter().collect();
        assert_eq!(different.len(), 1, "{event} has several ids: {ids:?}");
        repeated += ids.len() - 1;
    }
    let most = rounds * CONCURRENCY * 4;
    assert!(repeated <= most, "{repeated} were delivered again");
    println!(
        "| {rounds} | {} | {} | 0 | 0 | {repeated} |",
        known.acknowledged.len(),
        arrived.len()
    );
}

/// Awaits that everything has arrived, for as long as something still does.
async fn drain(gateway: &Gateway) {
    let labels = [("backend", "app")];
    loop {
        let depth = gateway.metric("hookgate_queue_depth", &labels).await;
        let depth = depth.unwrap_or_default();
        if depth == 0.0 {
            return;
        }
        gateway
            .wait_for_fall("hookgate_queue_depth", &labels, depth - 1.0)
            .await;
    }
}

/// A sample of what was acknowledged comes again, and is known.
async fn every_key_is_remembered(gateway: &Gateway, known: &Known) {
    let mut client = Client::connect(gateway.addr()).await;
    for id in known.acknowledged.iter().take(500) {
        let request = github::post("/hooks", id.clone()).header("X-GitHub-Delivery", id);
        assert_eq!(
            client.request(&request).await.status,
            200,
            "{id} is forgotten"
        );
    }
}
