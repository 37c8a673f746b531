//! What polls ask of a store: found and noted in one step, fenced against who comes late.

use super::*;

fn source(partition: &str) -> SourceKey {
    SourceKey {
        source: "r".into(),
        partition: partition.into(),
    }
}

/// Leads a source for a minute.
async fn lead(store: &Arc<dyn Store>, who: u64, now: Timestamp) -> Option<Lead> {
    let until = now + SignedDuration::from_secs(60);
    store.lead(source(""), who, now, until).await.unwrap()
}

fn step(lead: &Lead, found: Vec<Accept>, now: Timestamp, document: &str) -> Advance {
    Advance {
        key: lead.row.key.clone(),
        epoch: lead.epoch,
        version: lead.row.version,
        found,
        learned: Vec::new(),
        known_at: now,
        held_at: now,
        document: Some(document.to_owned()),
        snapshot: None,
    }
}

fn done(version: u64, accepted: &[Accepted]) -> Advanced {
    Advanced::Done {
        version,
        accepted: accepted.to_vec(),
    }
}

async fn row(store: &Arc<dyn Store>) -> SourceRow {
    store.source("r").await.unwrap().remove(0)
}

#[tokio::test]
async fn what_was_found_and_how_far_it_was_read_are_one_step() {
    let bench = Bench::new();
    let store = bench.open();
    let led = lead(&store, 1, at(0)).await.unwrap();
    assert_eq!((led.row.version, &led.row.document), (0, &None));
    let found = vec![with_key(1, at(1)), with_key(2, at(1)), with_key(1, at(1))];
    let (first, second) = (found[0].event.id, found[1].event.id);
    let advanced = store.advance(step(&led, found, at(1), "one")).await;
    let twice = Accepted::Duplicate {
        first,
        answer: None,
    };
    assert_eq!(
        advanced,
        Ok(done(1, &[Accepted::New, Accepted::New, twice.clone()]))
    );
    store.close().await;
    drop(store);
    let store = bench.open();
    let noted = row(&store).await;
    assert_eq!((noted.version, noted.document.as_deref()), (1, Some("one")));
    assert_eq!(ids(&claim(&store, at(1)).await), [first, second]);
    // The same page again, by a process that does not know that it was read.
    let led = lead(&store, 2, at(2)).await.unwrap();
    let again = step(&led, vec![with_key(1, at(2))], at(2), "two");
    assert_eq!(store.advance(again).await, Ok(done(2, &[twice])));
}

#[tokio::test]
async fn who_comes_late_writes_nothing() {
    let bench = Bench::new();
    let store = bench.open();
    let stalled = lead(&store, 1, at(0)).await.unwrap();
    assert_eq!(lead(&store, 2, at(59)).await, None);
    let leader = lead(&store, 2, at(61)).await.unwrap();
    assert!(leader.epoch > stalled.epoch);
    let late = step(&stalled, vec![with_key(1, at(62))], at(62), "late");
    assert_eq!(store.advance(late.clone()).await, Ok(Advanced::Fenced));
    assert_eq!(depth(&store), 0);
    let in_time = step(&leader, vec![with_key(1, at(62))], at(62), "in time");
    assert_eq!(
        store.advance(in_time.clone()).await,
        Ok(done(1, &[Accepted::New]))
    );
    // A step that is repeated finds that it came about.
    assert_eq!(store.advance(in_time).await, Ok(Advanced::Fenced));
    assert_eq!(store.advance(late).await, Ok(Advanced::Fenced));
    assert_eq!(row(&store).await.document.as_deref(), Some("in time"));
    assert_eq!(depth(&store), 1);
}

#[tokio::test]
async fn an_epoch_is_never_given_twice() {
    let bench = Bench::new();
    let mut last = 0;
    for who in 0..3 {
        let store = bench.open();
        let led = lead(&store, who, at(0)).await.unwrap();
        assert!(led.epoch > last);
        last = led.epoch;
        let kept = lead(&store, who, at(50)).await.unwrap();
        assert_eq!(kept.epoch, led.epoch, "it keeps what it has");
        store.close().await;
    }
}

#[tokio::test]
async fn a_page_that_finds_no_room_is_not_read() {
    let mut bench = Bench::new();
    bench.depth_max = 3;
    let store = bench.open();
    let led = lead(&store, 1, at(0)).await.unwrap();
    let page = |from: u8| (from..from + 2).map(|byte| with_key(byte, at(1))).collect();
    let first = step(&led, page(1), at(1), "one");
    let both = [Accepted::New, Accepted::New];
    assert_eq!(store.advance(first).await, Ok(done(1, &both)));
    let led = lead(&store, 1, at(1)).await.unwrap();
    let second = step(&led, page(3), at(1), "two");
    let full = store.advance(second.clone()).await;
    assert_eq!(full, Ok(Advanced::Full(Room::Total)));
    assert_eq!(
        (row(&store).await.document.as_deref(), depth(&store)),
        (Some("one"), 2)
    );
    // What is known takes no room.
    let mut known: Vec<Accept> = page(1);
    known.push(with_key(3, at(1)));
    let advanced = store.advance(step(&led, known, at(1), "known")).await;
    assert!(matches!(advanced, Ok(Advanced::Done { version: 2, .. })));
    for claimed in claim(&store, at(1)).await {
        settle(&store, &claimed, at(1), Next::Delivered).await;
    }
    let led = lead(&store, 1, at(1)).await.unwrap();
    let second = store.advance(step(&led, page(3), at(1), "two")).await;
    assert!(matches!(second, Ok(Advanced::Done { version: 3, .. })));
}

#[tokio::test]
async fn keys_are_known_for_as_long_as_their_items_can_be_met() {
    let bench = Bench::new();
    let store = bench.open();
    let keyed = |day: i64| {
        let mut item = with_key(1, on_day(day));
        item.dedup = Some(DedupClaim {
            until: on_day(day + 7),
            ..key(1)
        });
        item
    };
    let is_new = |advanced: Result<Advanced, StoreError>| match advanced {
        Ok(Advanced::Done { accepted, .. }) => accepted == [Accepted::New],
        other => panic!("{other:?}"),
    };
    let poll = async |day: i64, known_at: i64| {
        let led = lead(&store, 1, on_day(day)).await.unwrap();
        let mut poll = step(&led, vec![keyed(day)], on_day(day), "x");
        poll.known_at = on_day(known_at);
        let new = is_new(store.advance(poll).await);
        let policy = Retention::of_all(on_day(-90));
        store.retain(policy, on_day(day)).await.unwrap();
        new
    };
    assert!(poll(0, 0).await);
    // Met again and again, it is known beyond its window.
    for day in [3, 6, 9, 12] {
        assert!(!poll(day, day).await, "day {day}");
    }
    // A source that could not be read for a month is where it was.
    let policy = Retention::of_all(on_day(-90));
    store.retain(policy, on_day(42)).await.unwrap();
    assert!(!poll(42, 12).await);
    assert!(
        poll(60, 60).await,
        "nobody met it for longer than its window"
    );
}

#[tokio::test]
async fn what_is_only_learned_is_known_later() {
    let bench = Bench::new();
    let store = bench.open();
    let led = lead(&store, 1, at(0)).await.unwrap();
    let mut first = step(&led, vec![with_key(1, at(0))], at(0), "x");
    first.learned = vec![key(2)];
    store.advance(first).await.unwrap();
    assert_eq!(depth(&store), 1, "what is learned is no event");
    let known = async |now| store.known(&[key(1), key(2), key(3)], now).await.unwrap();
    assert_eq!(known(at(1)).await, [true, true, false]);
    assert_eq!(known(at(3600)).await, [false, false, false]);
    let led = lead(&store, 1, at(1)).await.unwrap();
    let again = step(
        &led,
        vec![with_key(2, at(1)), with_key(3, at(1))],
        at(1),
        "x",
    );
    let Ok(Advanced::Done { accepted, .. }) = store.advance(again).await else {
        panic!("it is not noted");
    };
    assert!(matches!(accepted[0], Accepted::Duplicate { .. }));
    assert_eq!(accepted[1], Accepted::New);
}

#[tokio::test]
async fn a_snapshot_stays_until_there_is_another() {
    let bench = Bench::new();
    let store = bench.open();
    for (version, new, expected) in [
        (0, Some("a"), Some("a")),
        (1, None, Some("a")),
        (2, Some("b"), Some("b")),
    ] {
        let led = lead(&store, 1, at(0)).await.unwrap();
        assert_eq!(led.row.version, version);
        let mut next = step(&led, Vec::new(), at(0), "x");
        next.snapshot = new.map(str::to_owned);
        store.advance(next).await.unwrap();
        assert_eq!(row(&store).await.snapshot.as_deref(), expected);
    }
    let led = lead(&store, 1, at(0)).await.unwrap();
    let mut forget = step(&led, Vec::new(), at(0), "");
    forget.document = None;
    assert_eq!(store.advance(forget).await, Ok(done(4, &[])));
    let forgotten = row(&store).await;
    assert_eq!((forgotten.document, forgotten.snapshot), (None, None));
    assert_eq!(forgotten.version, 4, "who still reads it is fenced off");
}

#[tokio::test]
async fn what_is_known_of_a_source_is_sealed() {
    let mut bench = Bench::new();
    bench.cipher = Cipher::new(&[crate::secret::Secret::new("0123456789abcdef")]);
    let store = bench.open();
    let led = lead(&store, 1, at(0)).await.unwrap();
    let mut first = step(&led, Vec::new(), at(0), "refresh-token");
    first.snapshot = Some("balance".to_owned());
    store.advance(first).await.unwrap();
    let noted = row(&store).await;
    assert_eq!(noted.document.as_deref(), Some("refresh-token"));
    assert_eq!(noted.snapshot.as_deref(), Some("balance"));
    store.close().await;
    let bytes = std::fs::read(bench.path().join("hookgate.db")).unwrap();
    let is_plain = |text: &str| memchr::memmem::find(&bytes, text.as_bytes()).is_some();
    assert!(!is_plain("refresh-token") && !is_plain("balance"));
}
