//! A range of a source is read once more, beside its cursor.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::{Value, json};

use super::{Scene, row, rows};
use crate::support::backend::Recorded;
use crate::support::gateway::Gateway;
use crate::support::operator::{ask, command, order, told, wait_for};
use crate::support::provider::{Answer, Asked, Rows};

fn timed(id: i64) -> Value {
    json!({"id": id, "at": format!("2026-01-{id:02}T00:00:00Z")})
}

/// Lists by time, some to a page.
fn since(rows: &Rows) -> impl Fn(&Asked) -> Answer + Send + Sync + use<> {
    let rows = rows.clone();
    move |asked| {
        let since = asked.param("since").map(str::to_owned).unwrap_or_default();
        let page = asked.number("page").unwrap_or(1);
        let mut all = rows.all();
        all.retain(|row| row["at"].as_str() >= Some(&*since));
        all.sort_by_key(|row| row["at"].to_string());
        let page: Vec<Value> = all.into_iter().skip((page - 1) * 3).take(3).collect();
        Answer::json(&json!(page))
    }
}

const POLL: &str = r#"request: {url: UPSTREAM/rows, query: {since: "${{ cursor }}"}},
    items: {select: "$[*]", time: $.at, order: asc},
    pagination: {type: page, size: 3, stop: short}, cursor: {type: timestamp, start: earliest}"#;

async fn cursor(gateway: &Gateway) -> Value {
    let state = ask(gateway, "/sources/rows/state").await;
    state["states"][0]["state"]["position"]["cursor"].clone()
}

#[tokio::test]
async fn what_was_missed_in_a_range_is_found_and_the_cursor_stays() {
    let rows = Rows::new([1, 2, 3, 5, 6, 7, 9, 10].map(timed));
    let scene = Scene::new(since(&rows)).await;
    let gateway = scene.start(POLL).await;
    scene.have_come([1, 2, 3, 5, 6, 7, 9, 10]).await;
    // What appears long after its time is behind the cursor.
    rows.add(timed(4));
    rows.add(timed(8));
    scene.nothing_more_than(8).await;
    let before = cursor(&gateway).await;
    let replay = ["poll", "replay", "rows"];
    let range = [
        "--from",
        "2026-01-02T00:00:00Z",
        "--to",
        "2026-01-06T12:00:00Z",
    ];
    let all = [&replay[..], &range].concat();
    let text = told(&gateway, &all).await;
    assert!(text.contains("done"), "{text}");
    scene.have_come([1, 2, 3, 4, 5, 6, 7, 9, 10]).await;
    let list = ask(&gateway, "/sources").await;
    let range = &list["sources"][0]["partitions"][0]["replay"];
    // Where a page is taken up again, its last rows are read once more.
    assert_eq!(range["new"], 1);
    assert!(range["duplicates"].as_u64() >= Some(4), "{range}");
    assert_eq!(range["given_up"], Value::Null);
    let json = told(
        &gateway,
        &["poll", "replay", "rows", "--from", "earliest", "--json"],
    )
    .await;
    let view: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(view["partitions"][0]["replay"]["new"], 1);
    scene.have_come(1..=10).await;
    assert_eq!(cursor(&gateway).await, before);
    let acts = ask(&gateway, "/acts").await.to_string();
    assert!(
        acts.contains("from 2026-01-02T00:00:00Z to 2026-01-06T12:00:00Z"),
        "{acts}"
    );
    scene.nothing_more_than(10).await;
}

#[tokio::test]
async fn by_force_what_is_known_comes_again_under_another_id() {
    let rows = Rows::new((1..=7).map(timed));
    let scene = Scene::new(since(&rows)).await;
    let gateway = scene.start(POLL).await;
    scene.have_come(1..=7).await;
    let range = [
        "--from",
        "2026-01-03T00:00:00Z",
        "--to",
        "2026-01-04T00:00:00Z",
        "--force",
    ];
    told(
        &gateway,
        &[&["poll", "replay", "rows"][..], &range].concat(),
    )
    .await;
    let requests = scene.app.wait_for(9).await;
    let ids = super::ids(&requests);
    assert_eq!(ids[7..], [json!(3), json!(4)]);
    let name = |index: usize| requests[index].header("webhook-id").unwrap();
    assert_ne!(name(2), name(7));
    scene.nothing_more_than(9).await;
}

#[tokio::test]
async fn a_range_goes_on_after_a_kill() {
    let rows = Rows::new((1..=9).map(timed));
    let scene = Scene::new(since(&rows)).await;
    let gateway = scene.start(POLL).await;
    scene.have_come(1..=9).await;
    // From the range's first page on the provider holds whatever it is asked, until the kill.
    let is_holding = Arc::new(AtomicBool::new(false));
    let is_killed = Arc::new(AtomicBool::new(false));
    let (holding, killed, listed) = (is_holding.clone(), is_killed.clone(), since(&rows));
    scene.provider.answer_with(move |asked| {
        let is_of_range = asked.param("since") < Some("2026-01-05");
        match holding.load(Ordering::SeqCst) && !killed.load(Ordering::SeqCst) {
            true => Answer::held(),
            false => {
                holding.fetch_or(is_of_range, Ordering::SeqCst);
                listed(asked)
            }
        }
    });
    let body = json!({"from": "earliest", "force": true});
    let (status, _) = order(&gateway, "/sources/rows/replay", &body).await;
    assert_eq!(status, 200);
    scene.app.wait_for(12).await;
    gateway.kill().await;
    is_killed.store(true, Ordering::SeqCst);
    let gateway = scene.start(POLL).await;
    let is_over =
        |list: &Value| list["sources"][0]["partitions"][0]["replay"]["ended_at"].is_string();
    wait_for(&gateway, "/sources", is_over).await;
    // What was on its way when the gateway was killed comes twice under one id.
    let mut names = std::collections::BTreeSet::new();
    let mut count = 18;
    let again: Vec<i64> = loop {
        let requests = scene.app.wait_for(count).await;
        names.clear();
        let first = |one: &&Recorded| names.insert(one.header("webhook-id").unwrap().to_owned());
        let once: Vec<Recorded> = requests.iter().filter(first).cloned().collect();
        if once.len() == 18 {
            break super::ids(&once[9..])
                .iter()
                .filter_map(Value::as_i64)
                .collect();
        }
        count += 1;
    };
    assert_eq!(
        again,
        (1..=9).collect::<Vec<i64>>(),
        "each once, in its order"
    );
}

#[tokio::test]
async fn a_range_that_cannot_be_read_is_given_up_and_the_source_goes_on() {
    let rows = Rows::new((1..=3).map(timed));
    let listed = since(&rows);
    let scene = Scene::new(move |asked| match asked.param("since") {
        Some(since) if since < "2026" => Answer::new(400),
        _ => listed(asked),
    })
    .await;
    let gateway = scene.start(POLL).await;
    scene.have_come(1..=3).await;
    let replay = ["poll", "replay", "rows", "--from", "2025-01-01T00:00:00Z"];
    let finished = command(&gateway, &replay).await;
    let text = format!("{}{}", finished.stdout, finished.stderr);
    assert_eq!(finished.code, Some(1), "{text}");
    assert!(text.contains("given up") && text.contains("400"), "{text}");
    rows.add(timed(4));
    scene.have_come(1..=4).await;
}

#[tokio::test]
async fn a_range_that_makes_no_sense_is_refused() {
    let check = async |poll: &str, body: Value, why: &str| {
        let scene = Scene::listing(&rows(1..=2)).await;
        let gateway = scene.start(poll).await;
        scene.provider.wait_for_more(1).await;
        let (status, problem) = order(&gateway, "/sources/rows/replay", &body).await;
        let detail = problem["detail"].as_str().unwrap_or_default();
        assert!(
            status == 400 && detail.contains(why),
            "{body}: {status} {problem}"
        );
    };
    let plain = r#"request: UPSTREAM/rows, items: "$[*]""#;
    check(plain, json!({"from": "soon"}), "`from`").await;
    check(plain, json!({"from": "-1d"}), "items.time").await;
    check(plain, json!({"from": "-1d", "to": "-2d"}), "later").await;
    let snapshot = format!("{plain}, changes: {{mode: snapshot}}");
    check(&snapshot, json!({"from": "earliest"}), "whole lists").await;
    let forgets = r#"request: {url: UPSTREAM/rows, query: {after: "${{ cursor }}"}}, items: "$[*]",
        cursor: {type: next_id, next: "${{ last + 1 }}", start: earliest, confirm: next_request}"#;
    check(forgets, json!({"from": "earliest"}), "forgets").await;
    // Without a range, what has no time is read once more, too.
    let list = rows(1..=2);
    let scene = Scene::listing(&list).await;
    let gateway = scene.start(plain).await;
    scene.provider.wait_for_more(2).await;
    list.add(row(3));
    scene.have_come([3]).await;
    told(
        &gateway,
        &["poll", "replay", "rows", "--from", "earliest", "--force"],
    )
    .await;
    assert_eq!(scene.ids(4).await, [3, 1, 2, 3]);
}

#[tokio::test]
async fn what_was_staged_of_a_range_that_is_given_up_is_forgotten() {
    let rows = Rows::new((1..=4).rev().map(timed));
    let fails = Arc::new(AtomicUsize::new(0));
    let (listed, failing) = (rows.clone(), fails.clone());
    let scene = Scene::new(move |asked| {
        let page = asked.number("page").unwrap_or(1);
        match page == 2 && failing.load(Ordering::SeqCst) == 1 {
            true => Answer::new(400),
            false => Answer::json(&json!(listed.page((page - 1) * 2, 2))),
        }
    })
    .await;
    let poll = r#"request: {url: UPSTREAM/rows, query: {since: "${{ cursor }}"}},
        items: {select: "$[*]", time: $.at, order: desc},
        pagination: {type: page, size: 2, stop: short}, cursor: {type: timestamp, start: earliest}"#;
    let gateway = scene.start(poll).await;
    scene.have_come(1..=4).await;
    fails.store(1, Ordering::SeqCst);
    let replay = ["poll", "replay", "rows", "--from", "earliest", "--force"];
    let finished = command(&gateway, &replay).await;
    assert_eq!(finished.code, Some(1), "{}", finished.stdout);
    fails.store(0, Ordering::SeqCst);
    rows.add_first(timed(5));
    assert_eq!(scene.ids(5).await.last(), Some(&json!(5)));
    scene.nothing_more_than(5).await;
}
