//! Polling, as servers that were not written for it are polled: Kinto and `PouchDB`, while records are
//! written and the gateway is killed again and again.
//!
//! What the gateway asks is what it has on disk: a tap on the way shows how far it believes to be.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a broken assumption of a test must fail the test"
)]

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::support::backend::{FakeBackend, Recorded};
use crate::support::client::{Client, Request, send};
use crate::support::gateway::Gateway;
use crate::support::upstream::{Asked, Tap, Upstream};
use crate::support::within;

/// How often the gateway is killed.
const KILLS: usize = 10;
/// The most attempts at once.
const CONCURRENCY: usize = 16;
/// The longest wait for what was written to arrive.
const WAIT_MAX: Duration = Duration::from_secs(20);
/// How often it is looked for.
const PERIOD: Duration = Duration::from_millis(20);
/// The collection of Kinto's records.
const RECORDS: &str = "/v1/buckets/default/collections/orders/records";
/// `hookgate:hookgate`; to Kinto, whoever has a name is somebody.
const KINTO_USER: &str = "Basic aG9va2dhdGU6aG9va2dhdGU=";

/// A record in one of its versions.
type Version = (String, String);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_version_of_kinto_arrives_however_often_the_gateway_is_killed() {
    let kinto = Upstream::kinto(&[]).await;
    let tap = Tap::on(&kinto).await;
    let app = FakeBackend::start().await;
    let yaml = yaml(
        &app,
        &from_kinto(&tap, "", ""),
        "{version: $.last_modified}",
    );
    let (writers, stop) = start_writers(kinto.addr(), write_to_kinto);
    let gateway = kill_again_and_again(&yaml).await;
    let mut written = stop_writers(writers, stop).await;
    assert!(written > 200, "only {written} writes");

    let mut client = Client::connect(kinto.addr()).await;
    let last = all_of_kinto(&mut client).await;
    assert!(last.values().filter(|is_deleted| **is_deleted).count() > 10);
    arrived(&app, &last, kinto_version).await;
    nothing_arrived_twice(&app, kinto_version);
    versions_came_in_order(&app, kinto_version);
    nothing_was_asked_for_again(&tap, since_in_kinto);

    // What is not new is not sent, and does not hide what is.
    let unchanged = |asked: &[Asked]| {
        asked
            .iter()
            .rev()
            .take(3)
            .all(|one| one.status == Some(304))
    };
    wait_until(&tap, "three answers that nothing is new", unchanged).await;
    for _ in 0..3 {
        put_to_kinto(&mut client, "late", written).await;
        written += 1;
        let last = all_of_kinto(&mut client).await;
        arrived(&app, &last, kinto_version).await;
    }
    assert_eq!(gateway.metric("hookgate_poll_paused", &[]).await, Some(0.0));
}

#[tokio::test]
async fn kinto_is_left_alone_for_as_long_as_it_asks() {
    let settings = ["kinto.backoff=1", "kinto.retry_after_seconds=3"];
    let mut kinto = Upstream::kinto(&settings).await;
    let tap = Tap::on(&kinto).await;
    let app = FakeBackend::start().await;
    let limit = "rate_limit: {min_interval_header: Backoff}";
    // Shorter than the pause, which is noted then.
    let timeout = ", timeout: 2s";
    let source = from_kinto(&tap, timeout, limit);
    let yaml = yaml(&app, &source, "{version: $.last_modified}");
    let gateway = Gateway::start(&yaml).await;
    let mut client = Client::connect(kinto.addr()).await;
    put_to_kinto(&mut client, "first", 1).await;
    let asked = wait_until(&tap, "three requests", |asked| asked.len() >= 3).await;
    for two in asked.windows(2) {
        let gap = two[1].at - two[0].at;
        assert!(gap >= Duration::from_millis(950), "Backoff: {gap:?}");
    }

    kinto.tell("down").await;
    let is_refused = |asked: &[Asked]| asked.iter().any(|one| one.status == Some(503));
    wait_until(&tap, "a refusal", is_refused).await;
    gateway
        .wait_for_metric("hookgate_polls_total", &[("outcome", "rests")], 1.0)
        .await;
    kinto.tell("up").await;
    put_to_kinto(&mut client, "second", 2).await;
    let stopped = gateway.kill().await;
    let gateway = Gateway::start_in(stopped.dir, &yaml, &[]).await;
    let last = all_of_kinto(&mut client).await;
    arrived(&app, &last, kinto_version).await;
    let asked = tap.asked();
    let refused = asked.iter().position(|one| one.status == Some(503));
    let refused = refused.expect("it was just seen");
    let gap = asked[refused + 1].at - asked[refused].at;
    assert!(gap >= Duration::from_millis(2950), "Retry-After: {gap:?}");
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_revision_of_pouchdb_arrives_however_often_the_gateway_is_killed() {
    let pouchdb = Upstream::pouchdb().await;
    let tap = Tap::on(&pouchdb).await;
    let app = FakeBackend::start().await;
    let made = send(pouchdb.addr(), &Request::new("PUT", "/orders")).await;
    assert_eq!(made.status, 201);
    let source = format!(
        "
      schedule: {{long_poll: {{wait: 200ms, min_gap: 50ms}}}}
      request:
        url: {url}/orders/_changes
        query: {{feed: longpoll, since: \"${{{{ cursor }}}}\", limit: 25, include_docs: true}}
        timeout: 1500ms
      items:
        select: $.results[*]
        id: [$.id, \"$.changes[0].rev\"]
        order: asc
        order_key: $.id
        deleted: ${{{{ item.deleted }}}}
      cursor:
        type: token
        field: $.last_seq
        compare: integer
        start: earliest
        has_more: ${{{{ body.results | length == 25 }}}}
      # It holds a request for as long as nothing is new.
      errors: {{when: {{network: timeout}}, do: empty}}",
        url = tap.url(),
    );
    let yaml = yaml(&app, &source, "{window: 1d}");
    let (writers, stop) = start_writers(pouchdb.addr(), write_to_pouchdb);
    let gateway = kill_again_and_again(&yaml).await;
    let mut written = stop_writers(writers, stop).await;
    assert!(written > 200, "only {written} writes");

    let last = all_of_pouchdb(pouchdb.addr()).await;
    assert!(last.values().filter(|is_deleted| **is_deleted).count() > 10);
    arrived(&app, &last, pouchdb_version).await;
    nothing_arrived_twice(&app, pouchdb_version);
    nothing_was_asked_for_again(&tap, since_in_pouchdb);

    // Nothing comes for longer than a request is held.
    let asked = tap.asked().len();
    wait_until(&tap, "two more requests", |now| now.len() >= asked + 2).await;
    let mut client = Client::connect(pouchdb.addr()).await;
    for _ in 0..3 {
        put_to_pouchdb(&mut client, &format!("late-{written}"), None).await;
        written += 1;
        let last = all_of_pouchdb(pouchdb.addr()).await;
        arrived(&app, &last, pouchdb_version).await;
    }
    nothing_was_asked_for_again(&tap, since_in_pouchdb);
    assert_eq!(gateway.metric("hookgate_poll_paused", &[]).await, Some(0.0));
}

// ---- The gateway

fn yaml(app: &FakeBackend, source: &str, dedup: &str) -> String {
    format!(
        "
server: {{listen: 127.0.0.1:0}}
admin: {{listen: 127.0.0.1:0}}
store: {{path: data}}
backends:
  app:
    url: {url}
    concurrency: {CONCURRENCY}
    retry: {{backoff: {{base: 20ms, max: 100ms}}}}
routes:
  orders:
    poll:{source}
    dedup: {dedup}
    deliver: {{to: app, mode: queue}}
",
        url = app.url(),
    )
}

/// Pages are few and short, so that a poll is cut in pieces by what it may read and by kills.
fn from_kinto(tap: &Tap, schedule: &str, more: &str) -> String {
    format!(
        "
      schedule: {{interval: 100ms{schedule}}}
      request:
        url: {url}{RECORDS}
        query: {{_since: \"${{{{ cursor }}}}\", _sort: last_modified, _limit: 10}}
        timeout: 1500ms
      auth: {{type: basic, username: hookgate, password: hookgate}}
      items:
        select: $.data[*]
        order: asc
        order_key: $.id
        deleted: ${{{{ item.deleted }}}}
      pagination: {{type: next_url, url: \"header:Next-Page\", max_pages: 3}}
      cursor: {{type: last_id, field: $.last_modified, compare: integer, start: {{value: 0}}}}
      {more}",
        url = tap.url(),
    )
}

/// Starts the gateway and kills it at random moments, always on the same data; the one that is
/// returned lives.
async fn kill_again_and_again(yaml: &str) -> Gateway {
    let mut chance = Chance(20_261_126);
    let mut dir = TempDir::new().unwrap();
    for _ in 0..KILLS {
        let gateway = Gateway::start_in(dir, yaml, &[]).await;
        sleep(Duration::from_millis(150 + chance.below(600))).await;
        let stopped = gateway.kill().await;
        let paused = stopped.logs.iter().find(|line| line.contains("is paused"));
        assert_eq!(paused, None);
        dir = stopped.dir;
    }
    Gateway::start_in(dir, yaml, &[]).await
}

// ---- What is claimed

/// Awaits that all these versions are at the backend, each told to be deleted if it is.
async fn arrived(
    app: &FakeBackend,
    expected: &BTreeMap<Version, bool>,
    version: fn(&Recorded) -> Version,
) {
    let mut missing = expected.keys().cloned().collect::<BTreeSet<_>>();
    let all = async {
        let mut seen = 0;
        loop {
            let requests = app.requests();
            for request in &requests[seen..] {
                let version = version(request);
                if let Some(is_deleted) = expected.get(&version) {
                    let change = request.header("hookgate-change");
                    assert_eq!(change == Some("deleted"), *is_deleted, "{version:?}");
                }
                missing.remove(&version);
            }
            seen = requests.len();
            if missing.is_empty() {
                return;
            }
            sleep(PERIOD).await;
        }
    };
    let is_late = tokio::time::timeout(WAIT_MAX, all).await.is_err();
    assert!(
        !is_late,
        "{} of {} lost: {missing:?}",
        missing.len(),
        expected.len()
    );
}

/// A kill may repeat what was in flight, under the same id.
fn nothing_arrived_twice(app: &FakeBackend, version: fn(&Recorded) -> Version) {
    let mut ids: HashMap<Version, BTreeSet<String>> = HashMap::new();
    let requests = app.requests();
    for request in &requests {
        let id = request.header("webhook-id").unwrap().to_owned();
        ids.entry(version(request)).or_default().insert(id);
    }
    for (version, ids) in &ids {
        assert_eq!(ids.len(), 1, "{version:?} has several ids: {ids:?}");
    }
    let repeated = requests.len() - ids.len();
    assert!(repeated <= KILLS * CONCURRENCY, "{repeated} were repeated");
}

fn versions_came_in_order(app: &FakeBackend, version: fn(&Recorded) -> Version) {
    let mut last: HashMap<String, u64> = HashMap::new();
    for request in app.requests() {
        let (id, version) = version(&request);
        let version: u64 = version.parse().unwrap();
        let before = last.insert(id.clone(), version);
        assert!(before <= Some(version), "{id}: {version} after {before:?}");
    }
}

/// No request begins before the one that was made earlier, a killed process's included.
fn nothing_was_asked_for_again(tap: &Tap, since: fn(&Asked) -> u64) {
    let mut last = 0;
    for asked in tap.asked() {
        let since = since(&asked);
        assert!(since >= last, "{since} after {last}: {}", asked.target);
        last = since;
    }
    assert!(last > 0);
}

async fn wait_until(tap: &Tap, what: &str, is: impl Fn(&[Asked]) -> bool) -> Vec<Asked> {
    let asked = async {
        loop {
            let asked = tap.asked();
            if is(&asked) {
                return asked;
            }
            sleep(PERIOD).await;
        }
    };
    within(WAIT_MAX, what, asked).await
}

// ---- What is written meanwhile

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

    fn index(&mut self, length: usize) -> usize {
        let length = u64::try_from(length).unwrap();
        usize::try_from(self.below(length)).unwrap()
    }
}

/// A record of a writer, with its revision where the server wants to be told.
type Records = Vec<(String, Option<String>)>;

/// What a writer does next.
enum Act {
    Create,
    Update(usize),
    Delete(usize),
}

impl Act {
    fn of(chance: &mut Chance, records: &Records) -> Self {
        match chance.below(10) {
            0..5 => Self::Create,
            _ if records.is_empty() => Self::Create,
            5..8 => Self::Update(chance.index(records.len())),
            _ => Self::Delete(chance.index(records.len())),
        }
    }
}

type Writers = Vec<JoinHandle<usize>>;

/// Starts two writers, each with records of its own.
fn start_writers<F>(
    server: SocketAddr,
    write: fn(SocketAddr, u64, watch::Receiver<bool>) -> F,
) -> (Writers, watch::Sender<bool>)
where
    F: Future<Output = usize> + Send + 'static,
{
    let (stop, stopped) = watch::channel(false);
    let writer = |name| tokio::spawn(write(server, name, stopped.clone()));
    ((1..=2).map(writer).collect(), stop)
}

/// How much they have written.
async fn stop_writers(writers: Writers, stop: watch::Sender<bool>) -> usize {
    stop.send_replace(true);
    let mut written = 0;
    for writer in writers {
        written += writer.await.unwrap();
    }
    written
}

async fn write_to_kinto(server: SocketAddr, name: u64, stopped: watch::Receiver<bool>) -> usize {
    let mut client = Client::connect(server).await;
    let mut chance = Chance(name);
    let mut records = Records::new();
    let mut written = 0;
    while !*stopped.borrow() {
        written += 1;
        match Act::of(&mut chance, &records) {
            Act::Create => {
                let id = format!("{name}-{written}");
                put_to_kinto(&mut client, &id, written).await;
                records.push((id, None));
            }
            Act::Update(index) => put_to_kinto(&mut client, &records[index].0, written).await,
            Act::Delete(index) => {
                let (id, _) = records.swap_remove(index);
                let request = kinto("DELETE", &format!("{RECORDS}/{id}"));
                assert_eq!(client.request(&request).await.status, 200);
            }
        }
        sleep(Duration::from_millis(chance.below(30))).await;
    }
    written
}

async fn put_to_kinto(client: &mut Client, id: &str, number: usize) {
    let request = kinto("PUT", &format!("{RECORDS}/{id}"))
        .header("Content-Type", "application/json")
        .body(json!({"data": {"number": number}}).to_string());
    let answer = client.request(&request).await;
    assert!(matches!(answer.status, 200 | 201), "{answer:?}");
}

fn kinto(method: &str, target: &str) -> Request {
    Request::new(method, target).header("Authorization", KINTO_USER)
}

/// Every record in its last version, and whether it is deleted.
async fn all_of_kinto(client: &mut Client) -> BTreeMap<Version, bool> {
    let all = client
        .request(&kinto("GET", &format!("{RECORDS}?_since=0")))
        .await
        .json();
    let each = all["data"].as_array().unwrap().iter();
    each.map(|record| {
        let version = (text(&record["id"]), record["last_modified"].to_string());
        (version, record["deleted"] == true)
    })
    .collect()
}

fn kinto_version(request: &Recorded) -> Version {
    let record: Value = serde_json::from_str(request.text()).unwrap();
    (text(&record["id"]), record["last_modified"].to_string())
}

/// Where a page of Kinto begins; its token says so in JSON.
fn since_in_kinto(asked: &Asked) -> u64 {
    let Some(token) = asked.parameter("_token") else {
        return asked.parameter("_since").unwrap().parse().unwrap();
    };
    let token = STANDARD_NO_PAD.decode(token.trim_end_matches("%3D"));
    let token: Value = serde_json::from_slice(&token.unwrap()).unwrap();
    token["last_object"]["last_modified"].as_u64().unwrap()
}

async fn write_to_pouchdb(server: SocketAddr, name: u64, stopped: watch::Receiver<bool>) -> usize {
    let mut client = Client::connect(server).await;
    let mut chance = Chance(name);
    let mut records = Records::new();
    let mut written = 0;
    while !*stopped.borrow() {
        written += 1;
        match Act::of(&mut chance, &records) {
            Act::Create => {
                let id = format!("{name}-{written}");
                let revision = put_to_pouchdb(&mut client, &id, None).await;
                records.push((id, Some(revision)));
            }
            Act::Update(index) => {
                let (id, revision) = &mut records[index];
                *revision = Some(put_to_pouchdb(&mut client, id, revision.as_deref()).await);
            }
            Act::Delete(index) => {
                let (id, revision) = records.swap_remove(index);
                let target = format!("/orders/{id}?rev={}", revision.unwrap());
                let answer = client.request(&Request::new("DELETE", &target)).await;
                assert_eq!(answer.status, 200, "{answer:?}");
            }
        }
        sleep(Duration::from_millis(chance.below(30))).await;
    }
    written
}

/// Writes a document over this revision of it; its new one.
async fn put_to_pouchdb(client: &mut Client, id: &str, revision: Option<&str>) -> String {
    let document = match revision {
        Some(revision) => json!({"_rev": revision}),
        None => json!({}),
    };
    let request = Request::new("PUT", &format!("/orders/{id}"))
        .header("Content-Type", "application/json")
        .body(document.to_string());
    let answer = client.request(&request).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    text(&answer.json()["rev"])
}

/// Every document in its last revision, and whether it is deleted.
async fn all_of_pouchdb(server: SocketAddr) -> BTreeMap<Version, bool> {
    let request = Request::get("/orders/_changes");
    let all = send(server, &request).await.json();
    let each = all["results"].as_array().unwrap().iter();
    each.map(|change| (version_in(change), change["deleted"] == true))
        .collect()
}

fn since_in_pouchdb(asked: &Asked) -> u64 {
    let since = asked.parameter("since");
    since.map_or(0, |since| since.parse().unwrap())
}

fn pouchdb_version(request: &Recorded) -> Version {
    version_in(&serde_json::from_str(request.text()).unwrap())
}

fn version_in(change: &Value) -> Version {
    (text(&change["id"]), text(&change["changes"][0]["rev"]))
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}
