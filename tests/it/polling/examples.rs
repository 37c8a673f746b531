//! The examples of polling, as they are, against providers that behave as the real ones do.
//!
//! Only addresses and pauses are replaced: nobody waits half an hour for a test.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hookgate::clock::{Clock, SystemClock};
use serde_json::{Value, json};

use super::fakes::{self, SECRET, Vk};
use super::{Scene, body};
use crate::support::backend::Recorded;
use crate::support::gateway::Gateway;
use crate::support::provider::{Answer, Asked, Rows};

/// Where an example lies that has all of these words.
fn example(words: &[&str]) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/examples");
    let files = std::fs::read_dir(folder).unwrap();
    let mut texts = files
        .map(|file| file.unwrap().path())
        .filter(|path| {
            path.file_name()
                .unwrap()
                .to_string_lossy()
                .starts_with("poll-")
        })
        .map(|path| std::fs::read_to_string(path).unwrap());
    let found = texts.find(|text| words.iter().all(|word| text.contains(word)));
    found.unwrap_or_else(|| panic!("no example conf/examples/poll-*.yaml has {words:?}"))
}

/// Puts another value behind each key of this name.
fn set(text: &str, key: &str, value: &str) -> String {
    let key = format!("{key}: ");
    let mut made = String::new();
    for (number, part) in text.split(&key).enumerate() {
        if number == 0 {
            made.push_str(part);
            continue;
        }
        // `jitter: full` is another key, of a backoff.
        let is_meant =
            part.starts_with(|first: char| first.is_ascii_digit() || "\"{".contains(first));
        let is_key = is_meant && made.ends_with([' ', '{', '\n']);
        made.push_str(&key);
        match is_key {
            true => {
                made.push_str(value);
                made.push_str(&part[value_length(part)..]);
            }
            false => made.push_str(part),
        }
    }
    made
}

/// How long a value is: to the end of the line or of the mapping that it stands in.
fn value_length(text: &str) -> usize {
    let (mut depth, mut quoted) = (0, false);
    for (index, byte) in text.bytes().enumerate() {
        match byte {
            b'"' => quoted = !quoted,
            b'\n' => return index,
            _ if quoted => {}
            b'{' | b'[' => depth += 1,
            b'}' | b']' if depth > 0 => depth -= 1,
            b'}' | b']' | b',' if depth == 0 => return index,
            b'#' if depth == 0 => return index,
            _ => {}
        }
    }
    text.len()
}

/// Puts another scheme, host and port into each URL that begins so.
fn lead(text: &str, scheme: &str, to: &str) -> String {
    let mut parts = text.split(scheme);
    let mut made = parts.next().unwrap().to_owned();
    for part in parts {
        let end = part.find(|byte: char| !(byte.is_ascii_alphanumeric() || ".:-".contains(byte)));
        made += to;
        made += &part[end.unwrap_or(part.len())..];
    }
    made
}

/// The names behind `secret.` or `env.`.
fn names<'t>(text: &'t str, kind: &str) -> BTreeSet<&'t str> {
    let rests = text.split(kind).skip(1);
    let name = |rest: &'t str| {
        let end = rest.find(|byte: char| !(byte.is_ascii_alphanumeric() || byte == '_'));
        &rest[..end.unwrap_or(rest.len())]
    };
    rests.map(name).filter(|name| !name.is_empty()).collect()
}

/// Starts an example between a provider and a backend.
async fn start(
    words: &[&str],
    handler: impl Fn(&Asked) -> Answer + Send + Sync + 'static,
) -> (Scene, Gateway) {
    let scene = Scene::new(handler).await;
    let text = example(words);
    let env: Vec<(String, &str)> = names(&text, "secret.")
        .into_iter()
        .map(|name| (format!("HOOKGATE_SECRET_{}", name.to_uppercase()), SECRET))
        .chain(
            names(&text, "env.")
                .into_iter()
                .map(|name| (name.to_owned(), "example")),
        )
        .collect();
    let env: Vec<_> = env.iter().map(|(name, value)| (&**name, *value)).collect();
    // The example's tests are played by `hookgate check`.
    let text = text.split("\ntests:").next().unwrap().to_owned();
    let text = lead(&text, "http://", &scene.app.url());
    let text = lead(&text, "https://", &scene.provider.url());
    let text = text.replace("*.vk.com", "127.0.0.1");
    let lines = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("tls:"));
    let text: String = lines.map(|line| format!("{line}\n")).collect();
    let text = set(&text, "listen", "127.0.0.1:0");
    let text = set(&text, "interval", "100ms");
    let text = set(&text, "cron", "\"* * * * * *\"");
    let text = set(&text, "jitter", "10%");
    let text = set(&text, "adaptive", "{min: 50ms, max: 200ms}");
    // What an example does not say is the default, which all tests would share.
    let missing = ["server", "admin"].map(|key| match text.contains(&format!("\n{key}:")) {
        true => String::new(),
        false => format!("{key}: {{listen: 127.0.0.1:0}}\n"),
    });
    let text = format!("{text}\n{}", missing.concat());
    let gateway = Gateway::start_with_env(&text, &env).await;
    (scene, gateway)
}

/// Awaits so many deliveries whose bodies have this text in them.
async fn with_text(scene: &Scene, text: &str, count: usize) -> Vec<Recorded> {
    for all in count.. {
        let requests = scene.app.wait_for(all).await;
        let has = |request: &Recorded| request.text().contains(text);
        let found: Vec<_> = requests.into_iter().filter(has).collect();
        if found.len() >= count {
            return found;
        }
    }
    Vec::new()
}

fn message(update: i64, chat: i64, text: &str) -> Value {
    json!({"update_id": update, "message": {
        "message_id": update, "date": 1_790_000_000, "text": text,
        "chat": {"id": chat, "type": "private"}, "from": {"id": chat, "is_bot": false}}})
}

#[tokio::test]
async fn telegram_updates_arrive_and_are_deleted_only_then() {
    let updates = Rows::new([message(500, 1, "one"), message(501, 2, "two")]);
    let (scene, _gateway) = start(&["getUpdates"], fakes::telegram(&updates)).await;
    with_text(&scene, "\"two\"", 1).await;
    with_text(&scene, "\"one\"", 1).await;
    updates.add(message(502, 1, "three"));
    with_text(&scene, "\"three\"", 1).await;
    // After a quiet week ids begin anew, and may be lower.
    scene.provider.wait_for_more(1).await;
    updates.add(message(17, 1, "four"));
    with_text(&scene, "\"four\"", 1).await;
    assert_eq!(scene.app.count(), 4);
}

#[tokio::test]
async fn vk_events_arrive_and_outlast_a_new_key() {
    let vk = Vk::new();
    let event = |id: &str| {
        json!({"type": "message_new", "event_id": id, "group_id": 1,
               "object": {"message": {"peer_id": 7, "text": id}}})
    };
    let (scene, gateway) = start(&["getLongPollServer"], vk.handler()).await;
    scene.provider.wait_for(2).await;
    vk.events.add(event("one"));
    with_text(&scene, "\"one\"", 1).await;
    vk.key.fetch_add(1, Ordering::SeqCst);
    vk.events.add(event("two"));
    with_text(&scene, "\"two\"", 1).await;
    assert_eq!(
        gateway
            .logs()
            .iter()
            .filter(|line| line.contains("gap"))
            .count(),
        0
    );
    vk.begins.store(100, Ordering::SeqCst);
    gateway.wait_for_log(|line| line.contains("gap")).await;
    vk.begins.store(0, Ordering::SeqCst);
    vk.events.add(event("three"));
    with_text(&scene, "\"three\"", 1).await;
}

#[tokio::test]
async fn stripe_events_arrive_oldest_first() {
    let now = SystemClock.now().as_second();
    let event = |number: i64, at: i64| {
        json!({"id": format!("evt_{number}"), "object": "event", "created": at,
               "type": "payment_intent.succeeded", "data": {"object": {"amount": number}}})
    };
    let events = Rows::new([event(1, now - 3600)]);
    let (scene, _gateway) = start(&["/v1/events"], fakes::stripe(&events)).await;
    scene.provider.wait_for(2).await;
    assert_eq!(scene.app.count(), 0, "what was before is not wanted");
    for number in 2..=4 {
        events.add(event(number, now + 60));
    }
    for number in 2..=4 {
        with_text(&scene, &format!("\"evt_{number}\""), 1).await;
    }
    scene.nothing_more_than(3).await;
}

#[tokio::test]
async fn github_events_of_both_repositories_arrive() {
    let event = |id: i64, repository: &str| {
        json!({"id": id.to_string(), "type": "PushEvent", "repo": {"name": repository},
               "created_at": "2026-11-01T00:00:00Z", "payload": {}})
    };
    let text = example(&["X-Poll-Interval"]);
    let listed = text
        .split("list: [")
        .nth(1)
        .unwrap()
        .split(']')
        .next()
        .unwrap();
    let repositories: Vec<&str> = listed.split(',').map(str::trim).collect();
    let events = Rows::new([event(1, repositories[0])]);
    let (scene, _gateway) = start(&["X-Poll-Interval"], fakes::github(&events)).await;
    scene.provider.wait_for(4).await;
    assert_eq!(scene.app.count(), 0, "what was before is learned");
    for (id, repository) in (2..).zip(&repositories) {
        events.add(event(id, repository));
    }
    for (id, _) in (2..).zip(&repositories) {
        with_text(&scene, &format!("\"id\":\"{id}\""), 1).await;
    }
    scene.nothing_more_than(repositories.len()).await;
}

#[tokio::test]
async fn a_new_and_an_edited_entry_of_a_feed_arrive() {
    let entry = |id: &str, title: &str, day: u8| json!({"id": id, "title": title, "updated": format!("2026-11-{day:02}T00:00:00Z")});
    let entries = Rows::new([entry("a-1", "Old", 1)]);
    let (scene, _gateway) = start(&["decode: feed"], fakes::feed(&entries)).await;
    scene.provider.wait_for(3).await;
    entries.add(entry("a-2", "Overflow", 2));
    let request = &with_text(&scene, "Overflow", 1).await[0];
    assert!(request.text().contains("a-2"), "{}", request.text());
    entries.change(|all| all[1] = entry("a-2", "Overflow and more", 3));
    with_text(&scene, "Overflow and more", 1).await;
    scene.nothing_more_than(2).await;
}

#[tokio::test]
async fn orders_of_an_old_system_arrive_with_every_change() {
    let order = |number: i64, status: &str, at: &str| json!({"order_no": number, "status": status, "updated_at": at});
    let orders = Rows::new([
        order(1, "NEW", "2026-02-01 10:00:00"),
        order(2, "NEW", "2026-10-25 02:30:00"),
    ]);
    let sessions = Arc::new(AtomicUsize::new(0));
    let (scene, _gateway) = start(&["updated_since"], fakes::erp(&orders, &sessions)).await;
    let both = scene.app.wait_for(2).await;
    assert!(
        both.iter()
            .all(|one| one.header("hookgate-change").is_some())
    );
    sessions.fetch_add(1, Ordering::SeqCst);
    orders.change(|all| all[1] = order(2, "CANCELLED", "2026-10-25 03:30:00"));
    let cancelled = scene.app.wait_for(3).await;
    assert_eq!(cancelled[2].header("hookgate-change"), Some("deleted"));
    scene.nothing_more_than(3).await;
}

#[tokio::test]
async fn a_balance_that_changes_arrives() {
    let account = |number: i64, balance: i64| json!({"iban": format!("DE{number}"), "balance": balance, "currency": "EUR"});
    let accounts = Rows::new((1..=4).map(|number| account(number, 100)));
    let (scene, _gateway) = start(&["mode: snapshot"], fakes::bank(&accounts)).await;
    scene.provider.wait_for(3).await;
    assert_eq!(scene.app.count(), 0);
    accounts.change(|all| all[2] = account(3, 250));
    let request = &with_text(&scene, "DE3", 1).await[0];
    assert!(request.text().contains("250"), "{}", request.text());
    scene.nothing_more_than(1).await;
}

#[tokio::test]
async fn delivery_reports_arrive_one_for_each_status() {
    let now = SystemClock.now();
    let report = |id: &str, status: &str, ago: i64| {
        let at = now - jiff::SignedDuration::from_secs(ago);
        let at = at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        json!({"message_id": id, "status": status, "status_at": at})
    };
    let reports = Rows::new([
        report("m-1", "SENT", 600),
        report("m-1", "DELIVERED", 500),
        report("m-2", "DELIVERED", 400),
        report("m-3", "FAILED", 300),
    ]);
    let (scene, _gateway) = start(&["client_credentials"], fakes::sms(&reports)).await;
    for id in ["m-1", "m-2", "m-3"] {
        let request = &with_text(&scene, id, 1).await[0];
        assert_ne!(body(request)["status"], "SENT");
    }
    // It comes late, from before what was read.
    reports.add(report("m-0", "EXPIRED", 550));
    with_text(&scene, "m-0", 1).await;
    scene.nothing_more_than(4).await;
}
