//! The process dies at the worst moments, and nothing is lost.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{Scene, row, rows};
use crate::support::gateway::{Gateway, run};
use crate::support::operator::told;
use crate::support::provider::{Answer, Asked, Rows};

/// How long a gateway runs that comes to no point at which it ends.
const PATIENCE: Duration = Duration::from_millis(1500);
/// The most crashes that are played at once.
const AT_ONCE: usize = 3;

/// Every commit of a short life and the two sides of it, and every step of a poll.
fn faults() -> Vec<String> {
    let commits = ["before_sync", "after_sync"];
    let steps = ["poll_answered", "poll_committed", "poll_confirmed"];
    let all = commits.map(|point| (point, 4)).into_iter();
    let all = all.chain(steps.map(|point| (point, 2)));
    let all = all.map(|(point, last)| (1..=last).map(move |count| format!("{point}:{count}")));
    all.flatten().collect()
}

/// Plays a story for each fault, some at once.
async fn at_every_commit<F>(story: impl Fn(String) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut running = JoinSet::new();
    for fault in faults() {
        if running.len() >= AT_ONCE {
            running.join_next().await.unwrap().unwrap();
        }
        running.spawn(story(fault));
    }
    while let Some(ended) = running.join_next().await {
        ended.unwrap();
    }
}

/// Answers 304 to whoever has what there is.
fn with_etag(rows: &Rows) -> impl Fn(&Asked) -> Answer + Send + Sync + use<> {
    let rows = rows.clone();
    move |asked| {
        let etag = format!("\"v{}\"", rows.len());
        match asked.header("if-none-match") == Some(&etag) {
            true => Answer::new(304).header("ETag", &etag),
            false => Answer::json(&json!(rows.all())).header("ETag", &etag),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_etag_is_never_on_disk_without_its_items() {
    at_every_commit(|fault| async move {
        let rows = rows(1..=3);
        let scene = Scene::new(with_etag(&rows)).await;
        let poll = r#"request: UPSTREAM/rows, items: "$[*]", cursor: {start: earliest}"#;
        let file = scene.file(poll);
        scene.crash(&file, Some(fault), PATIENCE).await;
        let _gateway = Gateway::start(&file).await;
        scene.have_come(1..=3).await;
        rows.add(row(4));
        scene.have_come(1..=4).await;
    })
    .await;
}

/// A provider that forgets what it is told to, at `/ack`.
fn forgetting(rows: &Rows) -> impl Fn(&Asked) -> Answer + Send + Sync + use<> {
    let rows = rows.clone();
    move |asked| match &*asked.path {
        "/ack" => {
            let upto = asked.json()["upto"].as_i64().unwrap_or_default();
            rows.change(|rows| rows.retain(|row| row["id"].as_i64() > Some(upto)));
            Answer::new(204)
        }
        _ => {
            let after = asked.number("after").unwrap_or_default();
            let after = i64::try_from(after).unwrap_or_default();
            let mut all = rows.all();
            all.retain(|row| row["id"].as_i64() > Some(after));
            Answer::json(&json!(all))
        }
    }
}

/// A source of that; `request` is how it is asked.
fn confirmed(request: &str) -> String {
    format!(
        r#"request: {request}, items: {{select: "$[*]", order: asc}},
           cursor: {{type: last_id, field: $.id, start: earliest, confirm: {{request:
             {{method: POST, url: UPSTREAM/ack, body: {{json: {{upto: "${{{{ cursor }}}}"}}}}}}}}}}"#
    )
}

async fn gone(rows: &Rows) {
    for _ in 0..500 {
        if rows.len() == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(rows.all(), Vec::<Value>::new(), "not confirmed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_provider_forgets_when_told_is_on_disk_before_it_is_told() {
    at_every_commit(|fault| async move {
        let rows = rows(1..=3);
        let scene = Scene::new(forgetting(&rows)).await;
        let file = scene.file(&confirmed("UPSTREAM/rows"));
        scene.crash(&file, Some(fault), PATIENCE).await;
        let _gateway = Gateway::start(&file).await;
        scene.have_come(1..=3).await;
        gone(&rows).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_not_confirmed_in_one_life_is_confirmed_in_the_next() {
    at_every_commit(|fault| async move {
        let rows = rows(1..=3);
        let scene = Scene::new(forgetting(&rows)).await;
        let request = r#"{url: UPSTREAM/rows, query: {after: "${{ cursor }}"}}"#;
        let file = scene.file(&confirmed(request));
        scene.crash(&file, Some(fault), PATIENCE).await;
        let _gateway = Gateway::start(&file).await;
        scene.have_come(1..=3).await;
        gone(&rows).await;
    })
    .await;
}

/// The crash table: where the process ends, what is on disk then, and whether the provider was told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_on_disk_after_a_crash_is_what_a_poll_goes_on_from() {
    for (fault, on_disk, told) in [
        ("poll_answered:1", 0, 0),
        ("poll_committed:1", 3, 0),
        ("poll_confirmed:1", 3, 1),
        ("before_settle:1", 3, 1),
    ] {
        let rows = rows(1..=3);
        let scene = Scene::new(forgetting(&rows)).await;
        let request = r#"{url: UPSTREAM/rows, query: {after: "${{ cursor }}"}}"#;
        let file = scene.file(&confirmed(request));
        scene.crash(&file, Some(fault.to_owned()), PATIENCE).await;
        let state = scene.stored(&file).await;
        let cursor = state["position"]["cursor"].as_i64();
        assert_eq!(cursor, (on_disk > 0).then_some(3), "{fault}: {state}");
        assert_eq!(scene.events(&file).await.len(), on_disk, "{fault}");
        assert_eq!(scene.provider.asked_at("/ack").len(), told, "{fault}");
        let before = scene.provider.asked_at("/rows").len();
        let delivered = scene.app.count();
        let _gateway = Gateway::start(&file).await;
        scene.have_come(1..=3).await;
        gone(&rows).await;
        scene.provider.wait_for_more(2).await;
        // The first request after the crash is made of what was on disk.
        let asked = scene.provider.asked_at("/rows");
        let after = asked[before].param("after");
        assert_eq!(after, (on_disk > 0).then_some("3"), "{fault}");
        // Only what was on its way to the backend comes twice, under the same id.
        assert!(scene.app.count() <= 3 + delivered, "{fault}");
        // What is on disk may be delivered already, and nothing else.
        assert!(delivered <= on_disk, "{fault}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cursor_and_events_are_on_disk_together_or_not_at_all() {
    at_every_commit(|fault| async move {
        let rows = rows(1..=3);
        let scene = Scene::new(forgetting(&rows)).await;
        let request = r#"{url: UPSTREAM/rows, query: {after: "${{ cursor }}"}}"#;
        let file = scene.file(&confirmed(request));
        scene.crash(&file, Some(fault.clone()), PATIENCE).await;
        let cursor = scene.stored(&file).await["position"]["cursor"].as_i64();
        let events = scene.events(&file).await.len();
        assert_eq!(cursor.map(|_| 3), (events > 0).then_some(events), "{fault}");
        if !scene.provider.asked_at("/ack").is_empty() {
            assert_eq!(events, 3, "{fault}: the provider was told of what is lost");
        }
    })
    .await;
}

#[tokio::test]
async fn a_store_from_a_backup_reads_again_what_came_since() {
    let rows = rows(1..=2);
    let listed = rows.clone();
    let scene = Scene::new(move |asked| {
        let after = asked.number("after").unwrap_or_default();
        let mut all = listed.all();
        all.retain(|row| row["id"].as_u64() > u64::try_from(after).ok());
        Answer::json(&json!(all))
    })
    .await;
    let poll = r#"request: {url: UPSTREAM/rows, query: {after: "${{ cursor }}"}},
        items: {select: "$[*]", order: asc}, cursor: {type: last_id, field: $.id, start: earliest}"#;
    let gateway = scene.start(poll).await;
    scene.have_come(1..=2).await;
    gateway.stop().await;
    let (data, backup) = (
        scene.folder.path().join("data"),
        scene.folder.path().join("backup"),
    );
    let copied = |from: &Path, to: &Path| {
        std::fs::create_dir_all(to).unwrap();
        for file in std::fs::read_dir(from).unwrap() {
            let file = file.unwrap();
            std::fs::copy(file.path(), to.join(file.file_name())).unwrap();
        }
    };
    copied(&data, &backup);
    rows.add(row(3));
    let gateway = scene.start(poll).await;
    scene.have_come(1..=3).await;
    gateway.stop().await;
    std::fs::remove_dir_all(&data).unwrap();
    copied(&backup, &data);
    rows.add(row(4));
    let _gateway = scene.start(poll).await;
    // What came after the backup comes again, and nothing from before it.
    assert_eq!(scene.ids(5).await, [1, 2, 3, 3, 4]);
    scene.nothing_more_than(5).await;
}

#[tokio::test]
async fn a_poll_that_was_overtaken_commits_nothing() {
    let is_slow = Arc::new(AtomicUsize::new(1));
    let slow = is_slow.clone();
    let scene = Scene::new(move |asked| {
        let after = asked.number("after").unwrap_or_default();
        match (after, slow.load(Ordering::SeqCst)) {
            (0, 1) => Answer::held(),
            (0, _) => Answer::json(&json!([row(1), row(2)])),
            (5, _) => Answer::json(&json!([row(6)])),
            _ => Answer::json(&json!([])),
        }
    })
    .await;
    let poll = r#"request: {url: UPSTREAM/rows, query: {after: "${{ cursor }}"}},
        items: {select: "$[*]", order: asc}, cursor: {type: last_id, field: $.id, start: earliest}"#;
    let gateway = scene.start(poll).await;
    scene.provider.wait_for(1).await;
    // Somebody else moves the cursor while the answer of the poll is awaited.
    told(&gateway, &["poll", "state", "set", "rows", "--cursor", "5"]).await;
    is_slow.store(0, Ordering::SeqCst);
    let elsewhere = [("route", "rows"), ("outcome", "elsewhere")];
    gateway
        .wait_for_metric("hookgate_polls_total", &elsewhere, 1.0)
        .await;
    scene.have_come([6]).await;
    scene.nothing_more_than(1).await;
}

#[tokio::test]
async fn a_gateway_that_stalls_is_followed_by_none_and_loses_nothing() {
    let rows = rows(1..=3);
    let scene = Scene::new(with_etag(&rows)).await;
    let poll = r#"request: {url: UPSTREAM/rows, timeout: 150ms}, items: "$[*]",
        cursor: {start: earliest}, schedule: {interval: 50ms, timeout: 200ms}"#;
    let file = scene
        .file(poll)
        .replacen("schedule: {interval: 50ms}, ", "", 1);
    let gateway = Gateway::start(&file).await;
    scene.have_come(1..=3).await;
    gateway.signal("STOP").await;
    rows.add(row(4));
    // A second process must not poll beside the first: it may go on at any time.
    let path = scene.written(&file).display().to_string();
    let second = run(&["serve", "-c", &path], b"", &[]).await;
    assert_eq!(second.code, Some(1), "{}", second.stderr);
    assert!(second.stderr.contains("in use"), "{}", second.stderr);
    tokio::time::sleep(Duration::from_secs(1)).await;
    gateway.signal("CONT").await;
    scene.have_come(1..=4).await;
    scene.nothing_more_than(4).await;
}

#[tokio::test]
async fn without_a_store_nothing_is_confirmed() {
    const FILE_BYTES_MAX: u64 = 1_000_000;
    let long = "x".repeat(16 * 1024);
    let all = (1..=150).map(|id| json!({"id": id, "long": long}));
    let rows = Rows::new(all);
    let scene = Scene::new(forgetting(&rows)).await;
    let file = scene.file(&confirmed("UPSTREAM/rows"));
    let gateway = Gateway::start_with_files_of(FILE_BYTES_MAX, &file).await;
    let asked = async || scene.provider.wait_for_more(2).await;
    asked().await;
    assert_eq!(scene.provider.asked_at("/ack").len(), 0);
    assert_eq!((rows.len(), scene.app.count()), (150, 0));
    gateway.let_files_grow().await;
    scene.have_come(1..=150).await;
    gone(&rows).await;
}

/// A provider whose refresh tokens are good for one use.
fn rotating() -> (
    Arc<AtomicUsize>,
    impl Fn(&Asked) -> Answer + Send + Sync + use<>,
) {
    let given = Arc::new(AtomicUsize::new(0));
    let counted = given.clone();
    let handler = move |asked: &Asked| match &*asked.path {
        "/token" => {
            let used = asked.form("refresh_token").unwrap_or_default();
            let now = counted.load(Ordering::SeqCst);
            if used != format!("refresh-{now}") {
                return Answer::new(400).with_json(&json!({"error": "invalid_grant"}));
            }
            let next = now + 1;
            counted.store(next, Ordering::SeqCst);
            Answer::json(&json!({
                "access_token": format!("access-{next}"),
                "refresh_token": format!("refresh-{next}"),
                "token_type": "bearer",
                "expires_in": 3600,
            }))
        }
        _ => {
            let now = counted.load(Ordering::SeqCst);
            match asked.header("authorization") == Some(&format!("Bearer access-{now}")) {
                true => Answer::json(&json!([row(1)])),
                false => Answer::new(401),
            }
        }
    };
    (given, handler)
}

const OAUTH: &str = r#"request: UPSTREAM/rows, items: "$[*]", cursor: {start: earliest},
    auth: {type: oauth2, grant: refresh_token, token_url: UPSTREAM/token, client_id: me,
           client_secret: "hush-hush", refresh_token: refresh-0}"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotated_refresh_token_is_on_disk_before_its_access_token_is_used() {
    at_every_commit(|fault| async move {
        let (_, handler) = rotating();
        let scene = Scene::new(handler).await;
        let file = scene.file(OAUTH);
        scene.crash(&file, Some(fault.clone()), PATIENCE).await;
        let before = scene.provider.asked();
        let used = before.iter().any(|asked| asked.path == "/rows");
        let rotated = before.iter().any(|asked| asked.path == "/token");
        let gateway = Gateway::start(&file).await;
        let paused = gateway.wait_for_metric("hookgate_poll_paused", &[("route", "rows")], 1.0);
        tokio::select! {
            () = scene.have_come(1..=1) => {}
            _ = paused => {
                assert!(rotated && !used, "{fault}: a token that was used is lost");
                let log = gateway.wait_for_log(|line| line.contains("is paused")).await;
                assert!(log.contains("invalid_grant"), "{log}");
                assert_eq!(scene.provider.asked_at("/rows").len(), 0);
            }
        }
        let after = scene.provider.asked();
        let asked_with_first = after.iter().skip(before.len()).any(|asked| {
            asked.path == "/token" && asked.form("refresh_token").as_deref() == Some("refresh-0")
        });
        assert!(
            !(used && asked_with_first),
            "{fault}: the new token was not on disk"
        );
        let text = gateway.logs().join("\n");
        assert!(
            !text.contains("refresh-") && !text.contains("hush-hush"),
            "{text}"
        );
    })
    .await;
}

#[tokio::test]
async fn a_refused_token_is_renewed_with_the_newest_refresh_token() {
    let (given, handler) = rotating();
    let scene = Scene::new(handler).await;
    let gateway = scene.start(OAUTH).await;
    scene.have_come(1..=1).await;
    scene.provider.wait_for_more(2).await;
    assert_eq!(given.load(Ordering::SeqCst), 1);
    gateway.kill().await;
    let gateway = scene.start(OAUTH).await;
    scene.provider.wait_for_more(2).await;
    assert_eq!(given.load(Ordering::SeqCst), 1, "a token outlasts a kill");
    // What was given before is worth nothing from now on.
    let uses = Arc::new(AtomicUsize::new(0));
    let counted = uses.clone();
    scene.provider.answer_with(move |asked| match &*asked.path {
        "/token" => {
            assert_eq!(asked.form("refresh_token").as_deref(), Some("refresh-1"));
            Answer::json(&json!({"access_token": "access-x", "expires_in": 3600}))
        }
        _ if asked.header("authorization") == Some("Bearer access-x") => {
            counted.fetch_add(1, Ordering::SeqCst);
            Answer::json(&json!([row(1), row(2)]))
        }
        _ => Answer::new(401),
    });
    scene.have_come(1..=2).await;
    assert!(uses.load(Ordering::SeqCst) > 0);
    drop(gateway);
}

#[tokio::test]
async fn a_list_with_the_newest_first_arrives_oldest_first_even_after_a_kill() {
    let rows = rows((1..=9).rev());
    let listed = rows.clone();
    let is_slow = Arc::new(AtomicUsize::new(1));
    let slow = is_slow.clone();
    let scene = Scene::new(move |asked| {
        let page = asked.number("page").unwrap_or(1);
        match page == 3 && slow.load(Ordering::SeqCst) == 1 {
            true => Answer::held(),
            false => Answer::json(&json!(listed.page((page - 1) * 3, 3))),
        }
    })
    .await;
    let poll = r#"request: UPSTREAM/rows, items: {select: "$[*]", order: desc},
        pagination: {type: page, size: 3, size_param: per_page, stop: short, stop_when: known},
        cursor: {start: earliest}"#;
    let gateway = scene.start(poll).await;
    scene.provider.wait_for(3).await;
    assert_eq!(scene.app.count(), 0, "newer ones wait for older ones");
    gateway.kill().await;
    is_slow.store(0, Ordering::SeqCst);
    // One more has come meanwhile, and moves all pages.
    rows.add_first(row(10));
    let gateway = scene.start(poll).await;
    scene.have_come(1..=10).await;
    let ids = super::ids(&scene.app.requests());
    let mut sorted: Vec<i64> = ids.iter().filter_map(Value::as_i64).take(9).collect();
    assert!(sorted.is_sorted(), "{ids:?}");
    sorted.sort_unstable();
    for id in 11..=15 {
        rows.add_first(row(id));
    }
    let ids = scene.ids(15).await;
    let last: Vec<i64> = ids.iter().filter_map(Value::as_i64).skip(10).collect();
    assert!(last.is_sorted(), "{ids:?}");
    scene.have_come(1..=15).await;
    let asked = scene.provider.wait_for_more(3).await;
    let deepest = asked
        .iter()
        .rev()
        .take(2)
        .filter_map(|one| one.number("page"));
    assert_eq!(deepest.max(), Some(1), "reading stops at what is known");
    drop(gateway);
}
