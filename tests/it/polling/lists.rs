//! Lists in pages, by every kind of cursor, and sources that are asked for several values.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use super::{Scene, ids, row, rows};
use crate::support::provider::{Answer, Asked, Rows};

/// So many rows on a page.
const PAGE: usize = 10;

/// Answers a page of a list, in any of the ways in which providers have pages.
fn paged(rows: &Rows) -> impl Fn(&Asked) -> Answer + Send + Sync + use<> {
    let rows = rows.clone();
    move |asked| {
        let by_number = asked.number("page").map(|page| (page - 1) * PAGE);
        let by_token = asked
            .param("cursor")
            .and_then(|text| text.strip_prefix("from-"));
        let by_token = by_token.and_then(|text| text.parse().ok());
        let offset = by_number.or(by_token).or(asked.number("offset"));
        let offset = offset.unwrap_or_default();
        let next = offset + PAGE;
        let mut body = json!({"data": rows.page(offset, PAGE), "total": rows.len()});
        let mut link = String::new();
        if next < rows.len() {
            body["next"] = json!(format!("from-{next}"));
            body["url"] = json!(format!("/rows?offset={next}"));
            link = format!("</rows?offset={next}>; rel=\"next\", </rows>; rel=\"first\"");
        }
        body["more"] = json!(next < rows.len());
        let answer = Answer::json(&body);
        match link.is_empty() {
            true => answer,
            false => answer.header("Link", &link),
        }
    }
}

#[tokio::test]
async fn every_kind_of_pages_is_read_to_its_end() {
    for pagination in [
        "type: page",
        "type: page, size: 10, size_param: per_page, stop: short",
        "type: page, stop: {has_more: $.more}",
        "type: offset, limit: 10",
        "type: offset, limit: 10, stop: {total: $.total}",
        "type: token, token: $.next",
        "type: token, token: $.next, has_more: $.more",
        "type: next_url, url: $.url",
        "type: link_header",
    ] {
        let rows = rows(1..=35);
        let scene = Scene::new(paged(&rows)).await;
        let poll = format!(
            r#"request: UPSTREAM/rows, items: "$.data[*]", cursor: {{start: earliest}},
               pagination: {{{pagination}}}"#
        );
        let gateway = scene.start(&poll).await;
        scene.have_come(1..=35).await;
        rows.add(row(36));
        scene.have_come(1..=36).await;
        let failed = gateway.metrics().await;
        let failed = failed
            .lines()
            .filter(|line| line.starts_with("hookgate_polls_total"));
        let failed: Vec<_> = failed.filter(|line| !line.contains("\"done\"")).collect();
        assert!(failed.is_empty(), "{pagination}: {failed:?}");
    }
}

#[tokio::test]
async fn a_poll_that_is_full_goes_on_in_the_next() {
    let rows = rows(1..=35);
    let scene = Scene::new(paged(&rows)).await;
    let poll = r#"request: UPSTREAM/rows, items: "$.data[*]", cursor: {start: earliest},
        pagination: {type: token, token: $.next, max_pages: 1}"#;
    let _gateway = scene.start(poll).await;
    scene.have_come(1..=35).await;
    let asked = scene.provider.asked();
    let cursors: Vec<_> = asked
        .iter()
        .take(4)
        .map(|one| one.param("cursor"))
        .collect();
    assert_eq!(
        cursors,
        [None, Some("from-10"), Some("from-20"), Some("from-30")]
    );
}

fn timed(id: i64, second: i64) -> Value {
    json!({"id": id, "at": 1_700_000_000 + second})
}

/// Lists what changed since a time, oldest first, in pages.
fn since(rows: &Rows) -> impl Fn(&Asked) -> Answer + Send + Sync + use<> {
    let rows = rows.clone();
    move |asked| {
        let since = asked.number("since").unwrap_or_default();
        let mut all = rows.all();
        all.retain(|row| row["at"].as_u64() >= u64::try_from(since).ok());
        all.sort_by_key(|row| row["at"].as_u64());
        let page = asked.number("page").unwrap_or(1);
        let part = all.into_iter().skip((page - 1) * PAGE).take(PAGE);
        Answer::json(&part.collect())
    }
}

#[tokio::test]
async fn a_list_whose_rows_move_while_it_is_read_loses_none() {
    // Several share a time, more than a page of them at one place.
    let rows =
        Rows::new((1..=60).map(|id| timed(id, if (20..=45).contains(&id) { 20 } else { id })));
    let list = since(&rows);
    let moving = rows.clone();
    let scene = Scene::new(move |asked| {
        let answer = list(asked);
        // A row of the page that was just read changes, and moves to the end.
        let second = 100 + i64::try_from(moving.len()).unwrap();
        moving.change(|rows| {
            if let Some(row) = rows.iter_mut().find(|row| row["moved"].is_null()) {
                row["at"] = json!(1_700_000_000 + second);
                row["moved"] = json!(true);
            }
        });
        answer
    })
    .await;
    let poll = r#"request: {url: UPSTREAM/rows, query: {since: "${{ cursor }}"}},
        items: {select: "$[*]", time: $.at, order: asc},
        pagination: {type: page, size: 10, stop: short},
        cursor: {type: timestamp, format: unix, start: earliest}"#;
    let _gateway = scene.start(poll).await;
    let mut come = BTreeSet::new();
    for count in 60.. {
        let requests = scene.app.wait_for(count).await;
        come.extend(ids(&requests).iter().filter_map(Value::as_i64));
        if come.len() == 60 {
            break;
        }
    }
    scene.provider.wait_for_more(5).await;
    let asked = scene.provider.asked();
    let last = asked.last().unwrap().number("since");
    assert!(last > Some(1_700_000_060), "{last:?}");
}

#[tokio::test]
async fn one_row_of_the_future_does_not_drag_the_cursor() {
    let rows = Rows::new([timed(1, 1), timed(2, 3_000_000_000)]);
    let scene = Scene::new(since(&rows)).await;
    let poll = r#"request: {url: UPSTREAM/rows, query: {since: "${{ cursor }}"}},
        items: {select: "$[*]", time: $.at, order: asc},
        cursor: {type: timestamp, format: unix, start: earliest}"#;
    let _gateway = scene.start(poll).await;
    scene.have_come(1..=2).await;
    rows.add(timed(3, 5));
    scene.have_come(1..=3).await;
    scene.nothing_more_than(3).await;
}

#[tokio::test]
async fn an_empty_answer_moves_no_cursor() {
    let rows = Rows::new([timed(1, 1)]);
    let scene = Scene::new(since(&rows)).await;
    let poll = r#"request: {url: UPSTREAM/rows, query: {since: "${{ cursor }}"}},
        items: {select: "$[*]", time: $.at, order: asc},
        cursor: {type: timestamp, format: unix, start: earliest, overlap: 10s}"#;
    let _gateway = scene.start(poll).await;
    scene.have_come(1..=1).await;
    scene.provider.answer_with(|_| Answer::json(&json!([])));
    scene.provider.wait_for_more(3).await;
    scene.provider.answer_with(since(&rows));
    // It appears late, within the overlap.
    rows.add(timed(2, -5));
    scene.have_come(1..=2).await;
    let asked = scene.provider.wait_for_more(2).await;
    assert_eq!(asked.last().unwrap().number("since"), Some(1_699_999_991));
}

#[tokio::test]
async fn a_cursor_that_got_smaller_pauses_the_source() {
    let rows = rows(8..=12);
    let listed = rows.clone();
    let scene = Scene::new(move |_| Answer::json(&json!(listed.all()))).await;
    let poll = r#"request: {url: UPSTREAM/rows, query: {after: "${{ cursor }}"}},
        items: {select: "$[*]", order: asc},
        cursor: {type: last_id, field: $.id, start: earliest, compare: integer}"#;
    let gateway = scene.start(poll).await;
    scene.have_come(8..=12).await;
    let asked = scene.provider.wait_for_more(2).await;
    assert_eq!(asked.last().unwrap().param("after"), Some("12"));
    rows.change(|rows| *rows = vec![row(1)]);
    gateway
        .wait_for_metric("hookgate_poll_paused", &[("route", "rows")], 1.0)
        .await;
    gateway
        .wait_for_log(|line| line.contains("went_back"))
        .await;
    assert_eq!(scene.app.count(), 5);
}

#[tokio::test]
async fn each_partition_has_a_cursor_of_its_own_and_holds_up_no_other() {
    let (one, two) = (rows(1..=3), rows(101..=103));
    let fails = Arc::new(AtomicBool::new(true));
    let lists = (one.clone(), two.clone(), fails.clone());
    let scene = Scene::new(move |asked| {
        let (one, two, fails) = &lists;
        let after = asked.number("after").unwrap_or_default();
        let listed = |rows: &Rows| {
            let mut all = rows.all();
            all.retain(|row| row["id"].as_u64() > u64::try_from(after).ok());
            Answer::json(&json!(all))
        };
        match &*asked.path {
            "/shops/one" => listed(one),
            "/shops/two" if fails.load(Ordering::SeqCst) => Answer::new(500),
            "/shops/two" => listed(two),
            _ => Answer::new(404),
        }
    })
    .await;
    let poll = r#"request: {url: "UPSTREAM/shops/${{ partition }}", query: {after: "${{ cursor }}"}},
        partitions: {list: [one, two]}, items: {select: "$[*]", order: asc},
        cursor: {type: last_id, field: $.id, start: earliest}"#;
    let _gateway = scene.start(poll).await;
    scene.have_come(1..=3).await;
    one.add(row(4));
    scene.have_come(1..=4).await;
    fails.store(false, Ordering::SeqCst);
    scene.have_come((1..=4).chain(101..=103)).await;
    let of = |request: &crate::support::backend::Recorded| {
        request.header("hookgate-source").unwrap().to_owned()
    };
    let sources: BTreeSet<_> = scene.app.requests().iter().map(of).collect();
    assert_eq!(
        sources,
        BTreeSet::from(["rows/one".to_owned(), "rows/two".to_owned()])
    );
    scene.provider.wait_for_more(6).await;
    for (path, last) in [("/shops/one", "4"), ("/shops/two", "103")] {
        let asked = scene.provider.asked_at(path);
        assert_eq!(asked.last().unwrap().param("after"), Some(last));
    }
}

#[tokio::test]
async fn partitions_come_from_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let check = async |name: &str, text: &str, url: &str, expected: [&'static str; 2]| {
        let file = folder.path().join(name);
        std::fs::write(&file, text).unwrap();
        let scene = Scene::new(|asked| Answer::json(&json!([{"id": 1, "path": asked.path}]))).await;
        let file = file.display();
        let poll = format!(
            r#"request: "UPSTREAM{url}", partitions: {{file: "{file}"}}, items: "$[*]",
               cursor: {{start: earliest}}"#
        );
        let _gateway = scene.start(&poll).await;
        let requests = scene.app.wait_for(2).await;
        let path = |one| super::body(one)["path"].as_str().unwrap().to_owned();
        let paths: BTreeSet<String> = requests.iter().map(path).collect();
        assert_eq!(paths, expected.map(str::to_owned).into(), "{name}");
    };
    let lines = "/shops/${{ partition }}";
    check(
        "shops.txt",
        "one\n\n two \n",
        lines,
        ["/shops/one", "/shops/two"],
    )
    .await;
    let columns = "/${{ partition.land }}/${{ partition.id }}";
    let table = "id,land\none,de\n\"t,wo\", pl\n";
    check("shops.csv", table, columns, ["/de/one", "/pl/t,wo"]).await;
}

#[tokio::test]
async fn a_partition_that_hangs_holds_up_no_other() {
    let scene = Scene::new(move |asked| match &*asked.path {
        "/shops/slow" => Answer::held(),
        _ => Answer::json(&json!([row(1)])),
    })
    .await;
    let poll = r#"request: "UPSTREAM/shops/${{ partition }}", partitions: {list: [slow, quick]},
        items: "$[*]", cursor: {start: earliest}, rate_limit: {concurrency: 2}"#;
    let _gateway = scene.start(poll).await;
    scene.have_come(1..=1).await;
    scene.provider.wait_for_more(3).await;
}

#[tokio::test]
async fn a_provider_is_not_asked_more_often_than_the_file_allows() {
    let rows = rows(1..=35);
    let scene = Scene::new(paged(&rows)).await;
    let poll = r#"request: UPSTREAM/rows, items: "$.data[*]", cursor: {start: earliest},
        pagination: {type: page}, rate_limit: {rate: 2/s}"#;
    let _gateway = scene.start(poll).await;
    let asked = scene.provider.wait_for(6).await;
    // Two at once, and then one each half second.
    let took = asked[5].at - asked[0].at;
    assert!(took >= Duration::from_millis(1900), "{took:?}");
}

#[tokio::test]
async fn a_long_poll_brings_an_item_as_soon_as_it_is_there() {
    let rows = Rows::default();
    let listed = rows.clone();
    let scene = Scene::new(move |asked| {
        let after = asked.number("after").unwrap_or_default();
        let mut all = listed.all();
        all.retain(|row| row["id"].as_u64() > u64::try_from(after).ok());
        match all.is_empty() && asked.held < Duration::from_millis(1500) {
            true => Answer::held(),
            false => Answer::json(&json!(all)),
        }
    })
    .await;
    let poll = r#"request: {url: UPSTREAM/rows, query: {after: "${{ cursor }}"}, timeout: 5s},
        items: {select: "$[*]", order: asc},
        cursor: {type: last_id, field: $.id, start: earliest}"#;
    let file = scene.file(poll).replace(
        "schedule: {interval: 50ms}",
        "schedule: {long_poll: {wait: 2s, min_gap: 10ms}}",
    );
    let _gateway = crate::support::gateway::Gateway::start(&file).await;
    for id in 1..=5 {
        scene.provider.wait_for_more(1).await;
        rows.add(row(id));
        let count = usize::try_from(id).unwrap();
        assert_eq!(scene.ids(count).await.last(), Some(&json!(id)));
    }
    let requests = scene.provider.count();
    assert!(requests <= 15, "{requests} requests for five items");
}
