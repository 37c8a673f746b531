//! Lists that only ever say what there is: changes become events, and a list that shrinks too much
//! becomes none.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{Scene, body, row, rows};
use crate::support::backend::Recorded;
use crate::support::gateway::Gateway;
use crate::support::operator::told;
use crate::support::provider::{Answer, Rows};

const POLL: &str = r#"request: UPSTREAM/accounts, items: "$[*]", changes: {mode: snapshot,
    emit: [created, updated, deleted], deleted: {after_missing: 2, guard: 50%}}"#;

/// What happened to which item.
fn change(request: &Recorded) -> (String, Value) {
    let kind = request.header("hookgate-change").unwrap().to_owned();
    (kind, body(request)["id"].clone())
}

fn accounts() -> Rows {
    Rows::new((1..=4).map(|id| json!({"id": id, "balance": 10 * id})))
}

#[tokio::test]
async fn what_is_new_changed_or_gone_becomes_an_event() {
    let rows = accounts();
    let scene = Scene::listing(&rows).await;
    let _gateway = scene.start(POLL).await;
    scene.provider.wait_for(3).await;
    assert_eq!(scene.app.count(), 0, "the first list is the baseline");
    rows.change(|rows| rows[1]["balance"] = json!(21));
    let request = scene.app.next().await;
    assert_eq!(change(&request), ("updated".to_owned(), json!(2)));
    assert_eq!(body(&request)["balance"], 21);
    rows.add(json!({"id": 5, "balance": 50}));
    assert_eq!(
        change(&scene.app.next().await),
        ("created".to_owned(), json!(5))
    );
    rows.change(|rows| drop(rows.remove(0)));
    let request = scene.app.next().await;
    assert_eq!(change(&request), ("deleted".to_owned(), json!(1)));
    assert_eq!(body(&request)["balance"], 10, "the item as it last was");
    // A value that comes back is a change like any other.
    rows.change(|rows| rows[0]["balance"] = json!(20));
    assert_eq!(
        change(&scene.app.next().await),
        ("updated".to_owned(), json!(2))
    );
    scene.nothing_more_than(4).await;
    let requests = scene.app.requests();
    let mut names: Vec<_> = requests
        .iter()
        .map(|one| one.header("webhook-id"))
        .collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), 4);
}

#[tokio::test]
async fn a_backend_can_be_told_what_was_before() {
    let rows = accounts();
    let scene = Scene::listing(&rows).await;
    let route = r#"deliver:
      to: app
      transform:
        body: '{"id": ${{ item.id }}, "old": ${{ previous.balance }}, "new": ${{ item.balance }}, "change": "${{ change }}"}'"#;
    let _gateway = Gateway::start(&scene.file_with(POLL, route)).await;
    scene.provider.wait_for(3).await;
    rows.change(|rows| rows[1]["balance"] = json!(21));
    let told = body(&scene.app.next().await);
    assert_eq!(
        told,
        json!({"id": 2, "old": 20, "new": 21, "change": "updated"})
    );
}

#[tokio::test]
async fn what_does_not_matter_is_no_change() {
    let rows = accounts();
    let scene = Scene::listing(&rows).await;
    let poll = POLL.replace("mode: snapshot,", "mode: snapshot, compare: [$.balance],");
    let _gateway = scene.start(&poll).await;
    scene.provider.wait_for(3).await;
    rows.change(|rows| rows[1]["seen_at"] = json!("now"));
    rows.change(|rows| rows.reverse());
    scene.nothing_more_than(0).await;
    rows.change(|rows| rows[0]["balance"] = json!(41));
    assert_eq!(
        change(&scene.app.next().await),
        ("updated".to_owned(), json!(4))
    );
}

#[tokio::test]
async fn a_list_that_loses_too_much_at_once_pauses_the_source() {
    for left in [3, 0] {
        let rows = rows(1..=10);
        let scene = Scene::listing(&rows).await;
        let gateway = scene.start(POLL).await;
        scene.provider.wait_for(3).await;
        rows.change(|rows| rows.truncate(left));
        let labels = [("route", "rows")];
        gateway
            .wait_for_metric("hookgate_poll_paused", &labels, 1.0)
            .await;
        let asked = scene.provider.count();
        let line = gateway
            .wait_for_log(|line| line.contains("is paused"))
            .await;
        assert!(line.contains(&format!("{} of 10", 10 - left)), "{line}");
        gateway.stop().await;
        rows.change(|all| *all = (1..=11).map(row).collect());
        let gateway = scene.start(POLL).await;
        gateway
            .wait_for_metric("hookgate_poll_paused", &labels, 1.0)
            .await;
        assert_eq!(scene.provider.count(), asked, "it waits for somebody");
        assert_eq!(scene.app.count(), 0);
    }
}

#[tokio::test]
async fn deletions_that_somebody_has_looked_at_are_told() {
    let rows = rows(1..=10);
    let scene = Scene::listing(&rows).await;
    let gateway = scene.start(POLL).await;
    scene.provider.wait_for(3).await;
    rows.change(|rows| rows.truncate(2));
    let labels = [("route", "rows")];
    gateway
        .wait_for_metric("hookgate_poll_paused", &labels, 1.0)
        .await;
    let line = gateway
        .wait_for_log(|line| line.contains("hookgate poll accept rows --deletions"))
        .await;
    assert!(line.contains("8 of 10"), "{line}");
    told(&gateway, &["poll", "accept", "rows", "--deletions"]).await;
    let requests = scene.app.wait_for(8).await;
    let changes: BTreeSet<_> = requests.iter().map(|one| change(one).0).collect();
    assert_eq!(changes, BTreeSet::from(["deleted".to_owned()]));
    // That was for once.
    rows.change(|all| *all = (1..=10).map(row).collect());
    scene.app.wait_for(16).await;
    rows.change(|rows| rows.truncate(1));
    gateway
        .wait_for_metric("hookgate_poll_paused", &labels, 1.0)
        .await;
    assert_eq!(scene.app.count(), 16);
}

#[tokio::test]
async fn a_list_that_was_not_read_to_its_end_deletes_nothing() {
    let rows = rows(1..=4);
    let listed = rows.clone();
    let scene = Scene::new(move |asked| {
        let page = asked.number("page").unwrap_or(1);
        Answer::json(&json!(listed.page((page - 1) * 2, 2)))
    })
    .await;
    let poll = POLL.to_owned() + ", pagination: {type: page, size: 2, stop: short}";
    let _gateway = scene.start(&poll).await;
    scene.provider.wait_for(9).await;
    let listed = rows.clone();
    scene
        .provider
        .answer_with(move |asked| match asked.number("page") {
            Some(2..) => Answer::new(500),
            _ => Answer::json(&json!(listed.page(0, 2))),
        });
    scene.provider.wait_for_more(12).await;
    assert_eq!(scene.app.count(), 0);
    let listed = rows.clone();
    rows.add(row(5));
    scene.provider.answer_with(move |asked| {
        let page = asked.number("page").unwrap_or(1);
        Answer::json(&json!(listed.page((page - 1) * 2, 2)))
    });
    assert_eq!(
        change(&scene.app.next().await),
        ("created".to_owned(), json!(5))
    );
    scene.nothing_more_than(1).await;
}
