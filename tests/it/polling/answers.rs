//! What providers answer besides good lists: waits, pages for people, floods, loops.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use hookgate::clock::{Clock, SystemClock};
use serde_json::json;

use super::{Scene, row, rows};
use crate::support::gateway::Gateway;
use crate::support::provider::{Answer, Asked, Provider, Rows};

const LIST: &str = r#"request: UPSTREAM/rows, items: "$[*]", cursor: {start: earliest}"#;

/// A provider whose first answer is this one, and which then lists a row.
async fn busy_once(answer: Answer) -> Scene {
    let count = AtomicUsize::new(0);
    Scene::new(move |_| match count.fetch_add(1, Ordering::SeqCst) {
        0 => answer.clone(),
        _ => Answer::json(&json!([row(1)])),
    })
    .await
}

fn date_in(wait: Duration) -> String {
    let at = SystemClock.now() + wait;
    httpdate::fmt_http_date(SystemTime::from(at))
}

#[tokio::test]
async fn a_source_waits_as_long_as_it_is_asked_to() {
    let second = Duration::from_secs(1);
    for (status, asked) in [(429, "1"), (503, "1"), (403, "1"), (429, "a date")] {
        let asked = match asked {
            // It has no parts of a second: from one and a half to two and a half are asked for.
            "a date" => date_in(2 * second + second / 2),
            seconds => seconds.to_owned(),
        };
        let answer = Answer::new(status).header("Retry-After", &asked);
        let scene = busy_once(answer).await;
        let _gateway = scene.start(LIST).await;
        scene.have_come(1..=1).await;
        let requests = scene.provider.asked();
        let gap = requests[1].at - requests[0].at;
        assert!(gap >= second, "{status}, {asked}: only {gap:?}");
    }
}

/// Kills a gateway that was asked to wait for three seconds, and starts another one.
async fn wait_over_a_restart(schedule: &str) {
    let answer = Answer::new(429).header("Retry-After", "3");
    let scene = busy_once(answer).await;
    let file = scene
        .file(LIST)
        .replace("schedule: {interval: 50ms}", schedule)
        .replace("request: ", "request: {timeout: 900ms, url: ")
        .replace("/rows", "/rows}");
    let gateway = Gateway::start(&file).await;
    scene.provider.wait_for(1).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    gateway.kill().await;
    let _gateway = Gateway::start(&file).await;
    scene.have_come(1..=1).await;
    let requests = scene.provider.asked();
    let gap = requests[1].at - requests[0].at;
    assert!(gap >= Duration::from_secs(3), "only {gap:?}");
}

#[tokio::test]
async fn a_restart_does_not_shorten_a_wait_that_outlasts_the_poll() {
    wait_over_a_restart("schedule: {interval: 50ms, timeout: 1s}").await;
}

#[tokio::test]
async fn a_restart_does_not_shorten_a_wait_within_the_poll() {
    wait_over_a_restart("schedule: {interval: 50ms, timeout: 30s}").await;
}

#[tokio::test]
async fn a_restart_does_not_shorten_the_pause_after_a_failure() {
    let scene = busy_once(Answer::new(418)).await;
    let file = scene
        .file(LIST)
        .replace("{base: 20ms, max: 50ms}", "{base: 20ms, max: 3s}");
    let gateway = Gateway::start(&file).await;
    let failed = [("route", "rows"), ("outcome", "status")];
    gateway
        .wait_for_metric("hookgate_polls_total", &failed, 1.0)
        .await;
    gateway.kill().await;
    let _gateway = Gateway::start(&file).await;
    scene.have_come(1..=1).await;
    let requests = scene.provider.asked();
    let gap = requests[1].at - requests[0].at;
    assert!(gap >= Duration::from_secs(3), "only {gap:?}");
}

/// Answers that are no list, and the words for them.
fn bad_answers(elsewhere: &Provider) -> Vec<(&'static str, Answer)> {
    let html = "<!doctype html><html><body>Maintenance</body></html>";
    let deep = "[".repeat(100_000) + &"]".repeat(100_000);
    let redirect = format!("{}/rows", elsewhere.url());
    vec![
        ("html_page", Answer::text("text/html", html)),
        ("html_page", Answer::text("application/json", html)),
        ("too_large", Answer::long(200 << 20)),
        ("too_large", Answer::long(64 << 20).gzip()),
        ("not_json", Answer::text("application/json", deep)),
        ("not_json", Answer::text("application/json", r#"[{"id": 7"#)),
        ("empty_body", Answer::text("application/json", "")),
        ("status", Answer::new(404).with_json(&json!([row(7)]))),
        (
            "redirect_foreign",
            Answer::new(302).header("Location", &redirect),
        ),
    ]
}

#[tokio::test]
async fn what_is_no_list_fails_the_poll_and_moves_nothing() {
    let elsewhere = Provider::start(|_| Answer::json(&json!([row(8)]))).await;
    let rows = rows(1..=1);
    let listing = |rows: &Rows| {
        let rows = rows.clone();
        move |_: &_| {
            Answer::json(&json!(rows.all())).header("ETag", &format!("\"v{}\"", rows.len()))
        }
    };
    let scene = Scene::new(listing(&rows)).await;
    let poll = LIST.to_owned() + ", auth: {type: bearer, token: hush-hush}";
    let gateway = scene.start(&poll).await;
    scene.have_come(1..=1).await;
    for (number, (label, answer)) in (2..).zip(bad_answers(&elsewhere)) {
        let labels = [("route", "rows"), ("outcome", label)];
        let polls = "hookgate_polls_total";
        let before = gateway.metric(polls, &labels).await.unwrap_or_default();
        let bad = answer.clone().header("ETag", "\"bad\"");
        scene.provider.answer_with(move |_| bad.clone());
        gateway.wait_for_metric(polls, &labels, before + 2.0).await;
        rows.add(row(number));
        let from = scene.provider.count();
        scene.provider.answer_with(listing(&rows));
        scene.have_come(1..=number).await;
        let asked = scene.provider.asked();
        let validator = asked[from - 1].header("if-none-match");
        assert_eq!(validator, Some(&*format!("\"v{}\"", number - 1)), "{label}");
    }
    assert_eq!(elsewhere.count(), 0, "nobody is asked elsewhere");
    assert!(gateway.resident_bytes() < 400 << 20);
    let text = gateway.logs().join("\n");
    assert!(!text.contains("hush-hush"), "{text}");
}

#[tokio::test]
async fn no_link_leads_to_another_host() {
    let elsewhere = Provider::start(|_| Answer::json(&json!({"data": [row(8)]}))).await;
    let next = format!("{}/rows?page=2", elsewhere.url());
    let link = format!("<{next}>; rel=\"next\"");
    let pages = |more: &str| {
        format!(
            r#"request: UPSTREAM/rows, items: "$.data[*]", cursor: {{start: earliest}},
               auth: {{type: bearer, token: hush-hush}}, pagination: {{{more}}}"#
        )
    };
    for pagination in [r#"type: next_url, url: "$.next""#, "type: link_header"] {
        let (next, link) = (next.clone(), link.clone());
        let scene = Scene::new(move |_| {
            Answer::json(&json!({"data": [row(1)], "next": next})).header("Link", &link)
        })
        .await;
        let gateway = scene.start(&pages(pagination)).await;
        let labels = [("route", "rows"), ("outcome", "foreign_host")];
        gateway
            .wait_for_metric("hookgate_polls_total", &labels, 1.0)
            .await;
        let text = gateway.logs().join("\n");
        assert!(!text.contains("hush-hush"), "{text}");
        assert_eq!(elsewhere.count(), 0, "{pagination}");
    }
}

/// Runs a source whose pages lead in a circle. It is asked once a second, and says how each poll
/// ended.
async fn goes_in_circles(
    pagination: &str,
    handler: impl Fn(&Asked) -> Answer + Send + Sync + 'static,
    label: &str,
) {
    let scene = Scene::new(handler).await;
    let poll = format!(
        r#"request: UPSTREAM/rows, items: "$.data[*]", cursor: {{start: earliest}},
           pagination: {{{pagination}}}"#
    );
    let file = scene.file(&poll).replace(
        "schedule: {interval: 50ms}",
        "schedule: {cron: \"* * * * * *\"}",
    );
    let gateway = Gateway::start(&file).await;
    gateway.wait_for_log(|line| line.contains(label)).await;
    let asked = scene.provider.count();
    assert!((2..=4).contains(&asked), "{label}: {asked} requests");
    scene.app.wait_for(1).await;
    let labels = [("route", "rows"), ("outcome", label)];
    let polls = "hookgate_polls_total";
    gateway.wait_for_metric(polls, &labels, 1.0).await;
}

#[tokio::test]
async fn a_token_that_comes_again_ends_the_poll() {
    let count = AtomicUsize::new(0);
    let handler = move |_: &Asked| {
        let id = count.fetch_add(1, Ordering::SeqCst);
        Answer::json(&json!({"data": [{"id": id}], "next": "same"}))
    };
    goes_in_circles("type: token, token: $.next", handler, "same_token").await;
}

#[tokio::test]
async fn a_page_that_comes_again_ends_the_poll() {
    let handler = |_: &Asked| Answer::json(&json!({"data": [row(1)]}));
    goes_in_circles("type: page", handler, "same_page").await;
}

#[tokio::test]
async fn an_error_in_a_good_answer_is_an_error() {
    let scene = Scene::new(|_| Answer::json(&json!({"code": "BUSY", "data": [row(7)]}))).await;
    let poll = r#"request: UPSTREAM/rows, items: "$.data[*]", cursor: {start: earliest},
        errors: [{when: {body: "body.code == 'BUSY'"}, do: fail, note: the provider is busy},
                 {when: {body_contains: "gone away"}, do: pause, note: somebody must look}]"#;
    let gateway = scene.start(poll).await;
    gateway
        .wait_for_log(|line| line.contains("the provider is busy"))
        .await;
    assert_eq!(scene.app.count(), 0);
    scene
        .provider
        .answer_with(|_| Answer::json(&json!({"data": [row(1)]})));
    scene.have_come(1..=1).await;
    scene
        .provider
        .answer_with(|_| Answer::json(&json!({"data": [row(2)], "note": "gone away"})));
    gateway
        .wait_for_metric("hookgate_poll_paused", &[("route", "rows")], 1.0)
        .await;
    let line = gateway.wait_for_log(|line| line.contains("is paused"));
    assert!(line.await.contains("somebody must look"));
    assert_eq!(scene.app.count(), 1);
}

#[tokio::test]
async fn a_failed_request_is_repeated_within_the_poll() {
    let count = AtomicUsize::new(0);
    let scene = Scene::new(move |_| match count.fetch_add(1, Ordering::SeqCst) {
        0 | 1 => Answer::new(502),
        _ => Answer::json(&json!([row(1)])),
    })
    .await;
    let file = scene.file(LIST).replace(
        "retry: {attempts: 1}",
        "retry: {attempts: 3, backoff: {base: 20ms, max: 50ms}}",
    );
    let gateway = Gateway::start(&file).await;
    scene.have_come(1..=1).await;
    let done = [("route", "rows"), ("outcome", "done")];
    gateway
        .wait_for_metric("hookgate_polls_total", &done, 1.0)
        .await;
    let failed = [("route", "rows"), ("outcome", "status")];
    let failures = gateway.metric("hookgate_polls_total", &failed).await;
    assert_eq!(failures, None);
}
