//! The clock of the machine is set, by hand or by whoever keeps the time.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::Scene;
use crate::support::gateway::Gateway;
use crate::support::provider::{Answer, Rows};

/// A library that comes between a process and its clock.
fn faketime() -> PathBuf {
    let folders = std::fs::read_dir("/usr/lib").unwrap().flatten();
    let mut paths = folders.map(|folder| folder.path().join("faketime/libfaketime.so.1"));
    let found = paths.find(|path| path.exists());
    found.expect("`scripts/deps.sh test` installs libfaketime")
}

/// A gateway whose clock is what a file says.
async fn gateway(file: &str, clock: &std::path::Path) -> Gateway {
    let library = faketime().display().to_string();
    let clock = clock.display().to_string();
    let env = [
        ("LD_PRELOAD", &*library),
        ("FAKETIME_TIMESTAMP_FILE", &*clock),
        ("FAKETIME_NO_CACHE", "1"),
        // Only what the clock on the wall says is set; how long something takes is not.
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
    ];
    Gateway::start_in(TempDir::new().unwrap(), file, &env).await
}

fn timed(id: i64, at: &str) -> Value {
    json!({"id": id, "at": at})
}

#[tokio::test]
async fn a_clock_that_jumps_loses_nothing_and_stops_nothing() {
    let rows = Rows::new([timed(1, "2026-01-01T00:00:00Z")]);
    let listed = rows.clone();
    let scene = Scene::new(move |asked| {
        let since = asked.param("since").map(str::to_owned).unwrap_or_default();
        let mut all = listed.all();
        all.retain(|row| row["at"].as_str() >= Some(&*since));
        Answer::json(&json!(all))
    })
    .await;
    let poll = r#"request: {url: UPSTREAM/rows, query: {since: "${{ cursor }}"}},
        items: {select: "$[*]", time: $.at, order: asc},
        cursor: {type: timestamp, start: earliest}"#;
    let clock = scene.folder.path().join("clock");
    std::fs::write(&clock, "+0").unwrap();
    let gateway = gateway(&scene.file(poll), &clock).await;
    scene.have_come(1..=1).await;
    for (id, offset) in [(2, "+3600"), (3, "+0"), (4, "-3600"), (5, "+0")] {
        // What is on its way when the clock is set may come twice: its lease seems to be over.
        tokio::time::sleep(Duration::from_millis(300)).await;
        std::fs::write(&clock, offset).unwrap();
        rows.add(timed(id, &format!("2026-01-01T00:00:0{id}Z")));
        let begun = scene.provider.count();
        scene.have_come(1..=id).await;
        // Polls go on as often as before: neither a rest of an hour nor an hour's worth at once.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let polls = scene.provider.count() - begun;
        assert!((3..60).contains(&polls), "{offset}: {polls} polls");
    }
    let asked = scene.provider.asked();
    let cursors: Vec<_> = asked.iter().filter_map(|one| one.param("since")).collect();
    assert!(cursors.is_sorted(), "{cursors:?}");
    scene.nothing_more_than(5).await;
    drop(gateway);
}
