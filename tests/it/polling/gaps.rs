//! What a provider no longer has is missed, and told.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use super::{Scene, body, row, rows};
use crate::support::backend::Recorded;
use crate::support::client::{Request, send};
use crate::support::gateway::Gateway;
use crate::support::operator::{ask, told};
use crate::support::provider::{Answer, Rows};

fn gaps(requests: &[Recorded]) -> Vec<Value> {
    let gaps = requests
        .iter()
        .filter(|one| one.header("hookgate-change") == Some("gap"));
    gaps.map(body).collect()
}

#[tokio::test]
async fn a_gap_is_told_to_the_backend_once_if_the_file_says_so() {
    for (on_gap, expected) in [("log", 0), ("deliver", 1)] {
        let is_lost = Arc::new(AtomicBool::new(false));
        let lost = is_lost.clone();
        let scene = Scene::new(move |asked| match asked.param("ts") {
            Some("5") if lost.load(Ordering::SeqCst) => {
                Answer::json(&json!({"failed": 1, "ts": "9"}))
            }
            Some("9") => Answer::json(&json!({"updates": [row(9)], "ts": "10"})),
            Some("10") => Answer::json(&json!({"updates": [], "ts": "10"})),
            _ => Answer::json(&json!({"updates": [row(4)], "ts": "5"})),
        })
        .await;
        let poll = format!(
            r#"request: {{url: UPSTREAM/rows, query: {{ts: "${{{{ cursor }}}}"}}}},
               items: "$.updates[*]", cursor: {{type: token, field: $.ts, start: earliest}},
               on_gap: {on_gap},
               errors: [{{when: {{body: "body.failed == 1"}}, do: set_cursor,
                          cursor: "${{{{ body.ts }}}}", gap: true}}]"#
        );
        let route = r#"deliver: {to: app, transform: {body: "{\"id\": ${{ item.id }}}"}}"#;
        let gateway = Gateway::start(&scene.file_with(&poll, route)).await;
        scene.app.wait_for(1).await;
        is_lost.store(true, Ordering::SeqCst);
        let requests = scene.app.wait_for(2 + expected).await;
        let labels = [("route", "rows")];
        let counted = gateway.wait_for_metric("hookgate_poll_gaps_total", &labels, 1.0);
        assert_eq!(counted.await, 1.0);
        let gaps = gaps(&requests);
        assert_eq!(gaps.len(), expected, "{gaps:?}");
        if let Some(gap) = gaps.first() {
            assert_eq!(gap["type"], "gateway.gap");
            assert_eq!(gap["source"], "rows");
            assert_eq!((&gap["from"], &gap["to"]), (&json!("5"), &json!("9")));
            let events = ask(&gateway, "/events?type=gateway.gap").await;
            assert_eq!(events["events"].as_array().unwrap().len(), 1);
        }
        scene.nothing_more_than(2 + expected).await;
    }
}

/// A source of which the last reading is made to be long ago.
async fn long_not_read(on_lost: &str) -> (Scene, Gateway, Rows) {
    let rows = rows(1..=2);
    let listed = rows.clone();
    let scene = Scene::new(move |asked| {
        let after = asked.number("after").unwrap_or_default();
        let mut all = listed.all();
        all.retain(|row| row["id"].as_u64() > u64::try_from(after).ok());
        Answer::json(&json!(all))
    })
    .await;
    let poll = format!(
        r#"request: {{url: UPSTREAM/rows, query: {{after: "${{{{ cursor }}}}"}}}},
           items: {{select: "$[*]", order: asc}}, on_gap: deliver,
           cursor: {{type: last_id, field: $.id, start: earliest, retention: 1d,
                     on_lost: {on_lost}}}"#
    );
    let gateway = scene.start(&poll).await;
    scene.have_come(1..=2).await;
    told(&gateway, &["poll", "pause", "rows"]).await;
    let state = json!({"state": {
        "position": {"cursor": 2},
        "last_success_at": "2026-01-01T00:00:00Z",
        "fingerprint": ask(&gateway, "/sources/rows/state").await["states"][0]["state"]["fingerprint"],
    }});
    let request = Request::new("PUT", "/api/v1/sources/rows/state")
        .header("Hookgate-Admin", "1")
        .body(state.to_string());
    let answer = send(gateway.admin(), &request).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    (scene, gateway, rows)
}

#[tokio::test]
async fn a_source_that_was_not_read_for_too_long_begins_anew_and_says_so() {
    let (scene, gateway, rows) = long_not_read("{do: restart}").await;
    rows.add(row(3));
    told(&gateway, &["poll", "resume", "rows"]).await;
    let requests = scene.app.wait_for(4).await;
    let gaps = gaps(&requests);
    assert_eq!(gaps.len(), 1, "{gaps:?}");
    assert_eq!(
        (&gaps[0]["from"], &gaps[0]["to"]),
        (&json!(2), &Value::Null)
    );
    assert_eq!(gaps[0]["read_at"], "2026-01-01T00:00:00Z");
    assert_eq!(
        body(&requests[3])["id"],
        3,
        "what is known is not told again"
    );
    scene.nothing_more_than(4).await;
}

#[tokio::test]
async fn a_source_that_was_not_read_for_too_long_waits_for_somebody() {
    let (scene, gateway, rows) = long_not_read("pause").await;
    rows.add(row(3));
    let asked = scene.provider.count();
    told(&gateway, &["poll", "resume", "rows"]).await;
    let line = gateway
        .wait_for_log(|line| line.contains("hookgate poll resume rows"))
        .await;
    assert!(line.contains("no longer has"), "{line}");
    assert_eq!(scene.provider.count(), asked);
    // Whoever looks at it may let it go on from where it was.
    told(&gateway, &["poll", "resume", "rows"]).await;
    scene.have_come(1..=3).await;
    scene.nothing_more_than(3).await;
}

#[tokio::test]
async fn what_is_older_than_the_place_to_begin_anew_is_not_wanted() {
    let is_lost = Arc::new(AtomicBool::new(false));
    let lost = is_lost.clone();
    let item = |id: i64, at: &str| json!({"id": id, "at": at});
    let (old, late) = ("2020-01-01T00:00:00Z", "2100-01-01T00:00:00Z");
    let scene = Scene::new(move |asked| match asked.param("before") {
        Some("1") if lost.load(Ordering::SeqCst) => {
            Answer::new(404).with_json(&json!({"error": {"code": "resource_missing"}}))
        }
        Some("1") => Answer::json(&json!([])),
        None if lost.load(Ordering::SeqCst) => {
            Answer::json(&json!([item(4, late), item(3, old), item(1, old)]))
        }
        None => Answer::json(&json!([item(1, old)])),
        Some(_) => Answer::json(&json!([])),
    })
    .await;
    let poll = r#"request: {url: UPSTREAM/rows, query: {before: "${{ cursor }}"}},
        items: {select: "$[*]", time: $.at, order: desc},
        cursor: {type: last_id, field: $.id, start: earliest, on_lost: {do: restart, from: -29d}},
        errors: [{when: {status: [400, 404], body: "body.error.code == 'resource_missing'"},
                  do: restart, gap: true}]"#;
    let _gateway = scene.start(poll).await;
    scene.have_come([1]).await;
    is_lost.store(true, Ordering::SeqCst);
    scene.have_come([1, 4]).await;
    scene.nothing_more_than(2).await;
}
