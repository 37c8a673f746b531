//! What the embedded engine does with its files, and when one of its steps fails.

use super::*;

#[tokio::test]
async fn a_folder_has_one_writer() {
    let bench = Bench::new();
    let store = bench.open();
    let path = bench.path().display().to_string();
    let second = bench.try_open().err();
    assert_eq!(second, Some(StoreError::InUse { path }));
    store.close().await;
    bench.open();
}

#[test]
fn a_file_that_is_no_database_is_named() {
    let bench = Bench::new();
    let file = bench.path().join("hookgate.db");
    std::fs::write(&file, vec![b'x'; 8192]).unwrap();
    let error = bench.try_open().err().unwrap();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains(&file.display().to_string()), "{text}");
    assert!(text.contains("recover"), "{text}");
}

#[tokio::test]
async fn a_file_of_a_newer_version_is_left_alone() {
    let bench = Bench::new();
    bench.open().close().await;
    bench
        .file()
        .pragma_update(None, "user_version", 99)
        .unwrap();
    let error = bench.try_open().err().unwrap();
    assert!(
        matches!(error, StoreError::Newer { found: 99, .. }),
        "{error}"
    );
}

#[test]
fn a_store_that_cannot_be_opened_says_where() {
    let mut bench = Bench::new();
    bench.vfs = Some("no such file system".into());
    let error = bench.try_open().err().unwrap();
    assert!(matches!(error, StoreError::Open { .. }), "{error}");
    let path = bench.path().display().to_string();
    assert!(error.to_string().contains(&path), "{error}");
}

/// Makes the next step that writes an attempt with the outcome `poison` fail, and only that.
fn poison(bench: &Bench) {
    let parts: Vec<String> = {
        let file = bench.file();
        let mut statement = file
            .prepare("SELECT name FROM sqlite_schema WHERE type='table' AND name GLOB 'attempt_*'")
            .unwrap();
        let names = statement.query_map([], |row| row.get(0)).unwrap();
        names.map(Result::unwrap).collect()
    };
    for part in parts {
        let trigger = format!(
            "CREATE TRIGGER poison BEFORE INSERT ON {part} WHEN NEW.outcome = 'poison' \
             BEGIN SELECT RAISE(ABORT, 'poison'); END"
        );
        bench.file().execute_batch(&trigger).unwrap();
    }
}

#[tokio::test]
async fn a_step_that_cannot_be_written_fails_alone_and_keeps_its_lease() {
    let bench = Bench::new();
    let store = bench.open();
    for _ in 0..2 {
        accept_new(&store, new_event(at(0))).await;
    }
    poison(&bench);
    let claimed = claim(&store, at(0)).await;
    let mut bad = settlement(&claimed[0], at(1), Next::Delivered);
    if let Some(attempt) = &mut bad.attempt {
        attempt.outcome = "poison".into();
    }
    let good = settlement(&claimed[1], at(1), Next::Delivered);
    let (failed, settled, accepted) = tokio::join!(
        store.settle(vec![bad]),
        store.settle(vec![good]),
        store.accept(vec![new_event(at(2))]),
    );
    assert!(
        matches!(failed, Err(StoreError::Unavailable(_))),
        "{failed:?}"
    );
    assert_eq!(settled, Ok(vec![Settled::Done]));
    assert_eq!(accepted, Ok(vec![Accepted::New]));
    assert_eq!(store.usage().trouble, None);
    let again = settlement(&claimed[0], at(1), Next::Delivered);
    assert_eq!(store.settle(vec![again]).await, Ok(vec![Settled::Done]));
    assert_eq!(depth(&store), 1);
}

#[tokio::test]
async fn a_note_that_cannot_be_written_is_dropped_and_counted() {
    let bench = Bench::new();
    let store = bench.open();
    accept_new(&store, new_event(at(0))).await;
    poison(&bench);
    let mut bad = attempt(1, at(0));
    bad.outcome = "poison".into();
    let logged = Logged {
        event: Arc::new(event_at(at(0))),
        dedup: None,
        slot: 0,
        backend: "app".into(),
        attempt: bad,
        end: End::Delivered,
    };
    store.record(Note::Proxied(logged));
    store.close().await;
    assert_eq!(store.usage().logs_dropped, 1);
    assert_eq!(store.usage().trouble, None);
}

#[tokio::test]
async fn a_closed_store_says_so() {
    let bench = Bench::new();
    let store = bench.open();
    store.close().await;
    let late = store.accept(vec![new_event(at(0))]).await;
    assert!(matches!(late, Err(StoreError::Unavailable(_))), "{late:?}");
}
