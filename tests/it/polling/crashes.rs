//! The process dies at the worst moments, and nothing is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{Scene, row, rows};
use crate::support::gateway::Gateway;
use crate::support::provider::{Answer, Asked, Rows};

/// How long a gateway runs that comes to no point at which it ends.
const PATIENCE: Duration = Duration::from_millis(1500);
/// The most crashes that are played at once.
const AT_ONCE: usize = 3;

/// Every commit of a short life, and the two sides of it.
fn faults() -> Vec<String> {
    let points = ["before_sync", "after_sync"];
    let all = points.map(|point| (1..=4).map(move |count| format!("{point}:{count}")));
    all.into_iter().flatten().collect()
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
