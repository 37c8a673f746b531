//! What operators ask of a store: refused requests, searches, deliveries made again or given up.

use super::*;
use crate::secret::Secret;

async fn listed(store: &Arc<dyn Store>, filter: Filter) -> Vec<EventId> {
    let page = store.list(filter, None, 100).await.unwrap();
    assert_eq!(page.next, None);
    page.events.iter().map(|shown| shown.event.id).collect()
}

fn refused(reason: &str) -> Refused {
    Refused {
        reason: reason.into(),
        detail: "no secret fits".into(),
        status: 401,
        body_is_whole: true,
    }
}

/// Notes a refusal, and waits until it is in the log.
async fn refuse(store: &Arc<dyn Store>, event: Event, refused: Refused) -> EventId {
    let id = event.id;
    let event = Arc::new(event);
    store.record(Note::Refused { event, refused });
    let noted = async {
        while store.event(id).await.unwrap().is_none() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), noted)
        .await
        .unwrap();
    id
}

#[tokio::test]
async fn refused_requests_stand_between_the_events() {
    let bench = Bench::new();
    let store = bench.open();
    let first = accept_new(&store, new_event(at(0))).await;
    let mut bad = event_at(at(1));
    bad.facts.client = "192.0.2.9".into();
    let bad = refuse(&store, bad, refused("signature")).await;
    let last = accept_new(&store, new_event(at(2))).await;
    let is = |change: &dyn Fn(&mut Filter)| {
        let mut filter = Filter::default();
        change(&mut filter);
        filter
    };
    let check = async |filter: Filter, expected: &[EventId]| {
        assert_eq!(listed(&store, filter.clone()).await, expected, "{filter:?}");
        let count = store.count(filter.clone()).await.unwrap();
        assert_eq!(count, expected.len() as u64, "{filter:?}");
    };
    check(is(&|_| {}), &[last, bad, first]).await;
    check(is(&|f| f.verdict = Some(LogVerdict::Refused)), &[bad]).await;
    check(
        is(&|f| f.verdict = Some(LogVerdict::Accepted)),
        &[last, first],
    )
    .await;
    check(is(&|f| f.reason = Some("signature".into())), &[bad]).await;
    check(is(&|f| f.reason = Some("rate".into())), &[]).await;
    check(is(&|f| f.client = Some("192.0.2.9".into())), &[bad]).await;
    check(is(&|f| f.backend = Some("app".into())), &[last, first]).await;
    check(is(&|f| f.since = Some(at(1))), &[last, bad]).await;
    check(is(&|f| f.until = Some(at(2))), &[bad, first]).await;
    let shown = shown(&store, bad).await;
    assert_eq!(shown.refused, Some(refused("signature")));
    assert!(shown.deliveries.is_empty());
}

#[tokio::test]
async fn a_refused_request_that_is_accepted_is_one_no_more() {
    let bench = Bench::new();
    let store = bench.open();
    let event = event_at(at(0));
    let id = refuse(&store, event.clone(), refused("signature")).await;
    let mut item = from_event(event);
    item.was_refused = true;
    assert_eq!(accept_one(&store, item).await, Accepted::New);
    assert_eq!(listed(&store, Filter::default()).await, [id]);
    assert_eq!(shown(&store, id).await.refused, None);
    assert_eq!(claim_one(&store, at(0)).await.event.id, id);
}

#[tokio::test]
async fn text_is_found_in_heads_and_bodies() {
    let bench = Bench::new();
    let store = bench.open();
    let mut event = event_at(at(0));
    event.body = Bytes::from_static(b"{\"customer\": \"Cus_42\"}");
    let body = accept_new(&store, from_event(event)).await;
    let mut event = event_at(at(1));
    event.head.headers.push("X-Customer", "cus_42");
    let head = refuse(&store, event, refused("signature")).await;
    accept_new(&store, new_event(at(2))).await;
    let text = |text: &str| Filter {
        text: Some(text.into()),
        ..Filter::default()
    };
    assert_eq!(listed(&store, text("CUS_42")).await, [head, body]);
    assert!(listed(&store, text("cus_43")).await.is_empty());
    let both = Filter {
        verdict: Some(LogVerdict::Accepted),
        ..text("cus_42")
    };
    assert_eq!(listed(&store, both).await, [body]);
}

#[tokio::test]
async fn a_search_for_text_is_bounded_and_goes_on() {
    let bench = Bench::new();
    let store = bench.open();
    let mut event = event_at(at(0));
    event.body = Bytes::from_static(b"needle");
    let wanted = accept_new(&store, from_event(event)).await;
    let mut many: Vec<Accept> = (0..25_000).map(|_| new_event(at(1))).collect();
    many.iter_mut().for_each(|item| item.deliveries.clear());
    while !many.is_empty() {
        let some = many.split_off(many.len().saturating_sub(500));
        store.accept(some).await.unwrap();
    }
    let filter = Filter {
        text: Some("needle".into()),
        ..Filter::default()
    };
    let first = store.list(filter.clone(), None, 10).await.unwrap();
    assert!(first.events.is_empty());
    assert!(first.next.is_some(), "it stopped on the way");
    let second = store.list(filter, first.next, 10).await.unwrap();
    assert_eq!(second.next, None);
    assert_eq!(second.events[0].event.id, wanted);
}

#[tokio::test]
async fn an_event_is_delivered_anew_and_to_others() {
    let bench = Bench::new();
    let store = bench.open();
    let id = accept_new(&store, new_event(at(0))).await;
    let claimed = claim_one(&store, at(0)).await;
    settle(&store, &claimed, at(0), Next::Delivered).await;
    let to = |slot, backend: &str| Place {
        slot,
        backend: backend.into(),
    };
    let again = Redelivery {
        id,
        to: vec![to(0, "app"), to(7, "copy")],
    };
    let unknown = Redelivery {
        id: EventId::new(on_day(90)),
        to: vec![to(0, "app")],
    };
    let items = vec![again.clone(), unknown];
    assert_eq!(store.redeliver(items, at(5)).await, Ok(2));
    assert_eq!(
        store.redeliver(vec![again], at(5)).await,
        Ok(0),
        "both are live"
    );
    assert_eq!(depth(&store), 2);
    let claimed = claim_one(&store, at(5)).await;
    assert_eq!((claimed.event.id, claimed.attempts), (id, 0));
    let want = Want {
        backend: "copy".into(),
        max: 1,
    };
    let copy = store.claim(&[want], at(5), at(9)).await.unwrap();
    assert_eq!((copy[0].event.id, copy[0].token.slot), (id, 7));
}

#[tokio::test]
async fn a_delivery_that_waits_can_be_cancelled() {
    let bench = Bench::new();
    let store = bench.open();
    let id = accept_new(&store, new_event(at(100))).await;
    let cancelled = store.cancel(id, 0, at(50)).await;
    assert_eq!(cancelled, Ok(Cancelled::Done));
    assert!(claim(&store, at(200)).await.is_empty());
    assert_eq!(depth(&store), 0);
    let one = shown(&store, id).await.deliveries.remove(0);
    assert_eq!((one.state, one.at), (DeliveryState::Dead, at(50)));
    assert_eq!(one.reason.as_deref(), Some(CANCELLED));
    let again = store.cancel(id, 0, at(60)).await;
    assert_eq!(again, Ok(Cancelled::NotLive));
    let unknown = store.cancel(EventId::new(at(0)), 0, at(60)).await;
    assert_eq!(unknown, Ok(Cancelled::NotLive));
    store.close().await;
    assert_eq!(depth(&bench.open()), 0, "after a restart, too");
}

#[tokio::test]
async fn an_attempt_that_is_being_made_cannot_be_cancelled() {
    let bench = Bench::new();
    let store = bench.open();
    let id = accept_new(&store, new_event(at(0))).await;
    let claimed = claim_one(&store, at(0)).await;
    let cancelled = store.cancel(id, 0, at(1)).await;
    assert_eq!(cancelled, Ok(Cancelled::InFlight));
    let settled = settle(&store, &claimed, at(2), Next::Delivered).await;
    assert_eq!(settled, Settled::Done);
}

#[tokio::test]
async fn a_parked_lane_goes_on_when_its_dead_head_is_discarded() {
    let bench = Bench::new();
    let store = bench.open();
    let first = accept_new(&store, in_lane(9, at(0))).await;
    let second = accept_new(&store, in_lane(9, at(1))).await;
    let head = claim_one(&store, at(1)).await;
    settle(&store, &head, at(1), dead(LaneRule::Hold)).await;
    assert!(claim(&store, at(2)).await.is_empty());
    assert_eq!(store.cancel(first, 0, at(3)).await, Ok(Cancelled::Done));
    assert_eq!(claim_one(&store, at(3)).await.event.id, second);
}

#[tokio::test]
async fn what_was_done_is_listed_latest_first() {
    let bench = Bench::new();
    let store = bench.open();
    let act = |number: i64| Act {
        at: at(number),
        who: "ann".into(),
        what: "replay".into(),
        detail: format!("number {number}"),
    };
    for number in 0..5 {
        store.act(act(number)).await.unwrap();
    }
    store.close().await;
    let store = bench.open();
    let first = store.acts(None, 3).await.unwrap();
    assert_eq!(first.acts, [act(4), act(3), act(2)]);
    let second = store.acts(first.next, 3).await.unwrap();
    assert_eq!(second.acts, [act(1), act(0)]);
    assert_eq!(second.next, None);
    let foreign = store.acts(Some("x".into()), 3).await;
    assert_eq!(foreign, Err(StoreError::Page));
}

#[tokio::test]
async fn documents_stay_until_they_are_taken_away() {
    let bench = Bench::new();
    let store = bench.open();
    let put = async |store: &Arc<dyn Store>, key: &str, text: Option<&str>| {
        let text = text.map(str::to_owned);
        store.put(Shelf::Pauses, key.into(), text).await.unwrap();
    };
    put(&store, "b", Some("1")).await;
    put(&store, "a", Some("2")).await;
    put(&store, "b", Some("3")).await;
    store.close().await;
    let store = bench.open();
    let pair = |key: &str, text: &str| (key.to_owned(), text.to_owned());
    let both = store.shelf(Shelf::Pauses).await.unwrap();
    assert_eq!(both, [pair("a", "2"), pair("b", "3")]);
    assert!(store.shelf(Shelf::Replays).await.unwrap().is_empty());
    put(&store, "a", None).await;
    assert_eq!(store.shelf(Shelf::Pauses).await.unwrap(), [pair("b", "3")]);
}

#[tokio::test]
async fn each_class_is_kept_for_its_own_time() {
    let bench = Bench::new();
    let store = bench.open();
    let delivered = accept_new(&store, new_event(on_day(0))).await;
    let claimed = claim_one(&store, on_day(0)).await;
    settle(&store, &claimed, on_day(0), Next::Delivered).await;
    let given_up = accept_new(&store, new_event(on_day(0))).await;
    let claimed = claim_one(&store, on_day(0)).await;
    settle(&store, &claimed, on_day(0), dead(LaneRule::Leave)).await;
    let bad = refuse(&store, event_at(on_day(0)), refused("signature")).await;
    let attempts = async |id| shown(&store, id).await.deliveries[0].attempts.len();
    let keep_all = Retention::of_all(on_day(-5));
    let retain = async |policy: Retention| {
        while store
            .retain(policy, on_day(9))
            .await
            .unwrap()
            .may_have_more()
        {}
    };
    retain(Retention {
        refused_before: on_day(3),
        ..keep_all
    })
    .await;
    assert_eq!(store.event(bad).await, Ok(None));
    assert_eq!(attempts(given_up).await, 1);
    retain(Retention {
        attempts_before: on_day(3),
        ..keep_all
    })
    .await;
    assert_eq!(attempts(given_up).await, 0);
    retain(Retention {
        delivered_before: on_day(3),
        ..keep_all
    })
    .await;
    assert_eq!(store.event(delivered).await, Ok(None));
    assert_eq!(shown(&store, given_up).await.event.id, given_up);
    retain(Retention::of_all(on_day(3))).await;
    assert_eq!(store.event(given_up).await, Ok(None));
}

#[tokio::test]
async fn each_class_is_kept_up_to_its_own_size() {
    let bench = Bench::new();
    let store = bench.open();
    let of_bytes = |second: i64| {
        let mut event = event_at(at(second));
        event.body = vec![b'x'; 1000].into();
        event
    };
    let (mut delivered, mut given_up, mut refusals) = (Vec::new(), Vec::new(), Vec::new());
    for second in 0..150 {
        let end = if second % 3 == 0 {
            given_up.push(accept_new(&store, from_event(of_bytes(second))).await);
            dead(LaneRule::Leave)
        } else {
            delivered.push(accept_new(&store, from_event(of_bytes(second))).await);
            Next::Delivered
        };
        let claimed = claim_one(&store, at(second)).await;
        settle(&store, &claimed, at(second), end).await;
        let (event, refused) = (Arc::new(of_bytes(second)), refused("signature"));
        refusals.push(event.id);
        store.record(Note::Refused { event, refused });
    }
    refusals.push(refuse(&store, of_bytes(150), refused("signature")).await);
    let waits = accept_new(&store, from_event(of_bytes(150))).await;
    let retain = async |class_bytes_max, now| {
        let policy = Retention {
            class_bytes_max,
            ..Retention::of_all(at(-9))
        };
        while store.retain(policy, now).await.unwrap().may_have_more() {}
    };
    let left = async |ids: &[EventId]| {
        let mut left = Vec::new();
        for &id in ids {
            left.push(store.event(id).await.unwrap().is_some());
        }
        left.iter().filter(|&&is_left| is_left).count()
    };
    let counts = async || {
        let attempts = shown(&store, given_up[49]).await.deliveries[0]
            .attempts
            .len();
        let delivered = left(&delivered).await;
        (
            delivered,
            left(&given_up).await,
            left(&refusals).await,
            attempts,
        )
    };
    retain(ClassBytes::default(), at(200)).await;
    assert_eq!(counts().await, (100, 50, 151, 1));
    let none = ClassBytes::default();
    let to = |bytes| Some(bytes);
    retain(
        ClassBytes {
            refused: to(30_000),
            ..none
        },
        at(300),
    )
    .await;
    assert_eq!(counts().await, (100, 50, 28, 1));
    retain(
        ClassBytes {
            delivered: to(30_000),
            ..none
        },
        at(400),
    )
    .await;
    assert_eq!(counts().await, (28, 50, 28, 1));
    // What was there is known; more of it is counted on top.
    refuse(&store, of_bytes(151), refused("signature")).await;
    let max = ClassBytes {
        delivered: to(50_000),
        dead: to(13_000),
        refused: to(30_000),
        ..none
    };
    retain(max, at(500)).await;
    assert_eq!(counts().await, (28, 12, 27, 1));
    retain(
        ClassBytes {
            attempts: to(0),
            ..none
        },
        at(600),
    )
    .await;
    assert_eq!(counts().await, (28, 12, 27, 0));
    assert_eq!(claim_one(&store, at(600)).await.event.id, waits);
}

/// A file as version 1 made it, with an event that waits.
#[tokio::test]
async fn a_file_of_the_first_version_is_brought_up_to_date() {
    let bench = Bench::new();
    let event = event_at(at(0));
    let file = bench.file();
    file.execute_batch(include_str!("version_1.sql")).unwrap();
    let facts = r#"{"client":"192.0.2.7","scheme":"https","verified":true,"event_type":"paid"}"#;
    file.execute(
        "INSERT INTO event_20783 VALUES(5, ?1, ?2, 'r', 'evt_1', ?3)",
        rusqlite::params![event.id.as_bytes(), at(0).as_microsecond(), facts],
    )
    .unwrap();
    file.execute_batch(
        "INSERT INTO payload_20783 VALUES(5,
            CAST('POST /hooks/r HTTP/1.1' || char(13, 10) AS BLOB), CAST('{}' AS BLOB));
         INSERT INTO queue VALUES(5, 0, 20783, 0, 'r', 'app', 0, 2);",
    )
    .unwrap();
    drop(file);
    let store = bench.open();
    let by_type = Filter {
        event_type: Some("paid".into()),
        ..Filter::default()
    };
    let by_client = Filter {
        client: Some("192.0.2.7".into()),
        ..Filter::default()
    };
    assert_eq!(listed(&store, by_type).await, [event.id]);
    assert_eq!(listed(&store, by_client).await, [event.id]);
    let claimed = claim_one(&store, at(0)).await;
    assert_eq!((claimed.event.id, claimed.attempts), (event.id, 2));
    let bad = refuse(&store, event_at(at(1)), refused("signature")).await;
    assert_eq!(listed(&store, Filter::default()).await, [bad, event.id]);
}

fn cipher(secrets: &[&str]) -> Cipher {
    let secrets: Vec<Secret> = secrets.iter().map(|&secret| Secret::new(secret)).collect();
    Cipher::new(&secrets)
}

/// Everything that lies in a folder, in one piece.
fn bytes_of(bench: &Bench) -> Vec<u8> {
    let entries = std::fs::read_dir(bench.path()).unwrap();
    let files = entries.map(|entry| std::fs::read(entry.unwrap().path()).unwrap());
    files.collect::<Vec<_>>().concat()
}

#[tokio::test]
async fn what_is_sealed_is_not_on_disk_and_arrives_all_the_same() {
    let mut bench = Bench::new();
    bench.cipher = cipher(&["the first key of all"]);
    let store = bench.open();
    let event = |second: i64| {
        let mut event = event_at(at(second));
        event.body = Bytes::from_static(b"body-canary");
        event.head.headers.push("X-Canary", "head-canary");
        event
    };
    let mut item = from_event(event(0));
    item.dedup = Some(key(1));
    let first = accept_new(&store, item).await;
    let bad = refuse(&store, event(1), refused("signature")).await;
    let claimed = claim_one(&store, at(0)).await;
    assert_eq!(&claimed.event.body[..], b"body-canary");
    let mut made = settlement(&claimed, at(1), dead(LaneRule::Leave));
    if let Some(attempt) = &mut made.attempt {
        attempt.answer = Bytes::from_static(b"answer-canary");
    }
    store.settle(vec![made]).await.unwrap();
    store.close().await;
    let on_disk = bytes_of(&bench);
    assert!(memchr::memmem::find(&on_disk, b"canary").is_none());

    // Another key seals from now on, the old one still opens.
    bench.cipher = cipher(&["the second key of all", "the first key of all"]);
    let store = bench.open();
    let shown = shown(&store, first).await;
    assert_eq!(&shown.event.body[..], b"body-canary");
    assert_eq!(
        &shown.deliveries[0].attempts[0].answer[..],
        b"answer-canary"
    );
    let refused = store.event(bad).await.unwrap().unwrap();
    let head = refused.event.head.headers.first("x-canary");
    assert_eq!(head.map(|value| &value[..]), Some(&b"head-canary"[..]));
    let text = Filter {
        text: Some("HEAD-canary".into()),
        ..Filter::default()
    };
    assert_eq!(listed(&store, text).await, [bad, first]);
    let to = Place {
        slot: 0,
        backend: "app".into(),
    };
    let again = Redelivery {
        id: first,
        to: vec![to],
    };
    assert_eq!(store.redeliver(vec![again], at(5)).await, Ok(1));
    assert_eq!(
        &claim_one(&store, at(5)).await.event.body[..],
        b"body-canary"
    );
    store.close().await;

    // Without a key that is still needed, nothing is begun.
    bench.cipher = cipher(&["the second key of all"]);
    let refused = bench.try_open().err().unwrap();
    assert!(matches!(refused, StoreError::Key { .. }), "{refused}");
    bench.cipher = Cipher::default();
    assert!(matches!(bench.try_open(), Err(StoreError::Key { .. })));
    bench.cipher = cipher(&["the first key of all", "the second key of all"]);
    assert_eq!(depth(&bench.open()), 1);
}

#[tokio::test]
async fn a_key_is_needed_no_longer_than_what_it_sealed_is_kept() {
    let mut bench = Bench::new();
    bench.cipher = cipher(&["the first key of all"]);
    let store = bench.open();
    let mut item = new_event(on_day(0));
    item.deliveries.clear();
    accept_new(&store, item).await;
    store.close().await;
    bench.cipher = cipher(&["the second key of all", "the first key of all"]);
    let store = bench.open();
    accept_new(&store, new_event(on_day(5))).await;
    store
        .retain(Retention::of_all(on_day(4)), on_day(5))
        .await
        .unwrap();
    store.close().await;
    bench.cipher = cipher(&["the second key of all"]);
    assert_eq!(depth(&bench.open()), 1);
}

#[tokio::test]
async fn a_large_day_goes_in_steps() {
    let bench = Bench::new();
    let store = bench.open();
    let mut items: Vec<Accept> = (0..250).map(|_| new_event(on_day(0))).collect();
    items.iter_mut().for_each(|item| item.deliveries.clear());
    let newest = items.last().map(|item| item.event.id).unwrap();
    store.accept(items).await.unwrap();
    let live = accept_new(&store, new_event(on_day(5))).await;
    let policy = Retention::of_all(on_day(4));
    let mut steps = 0;
    while store
        .retain(policy, on_day(5))
        .await
        .unwrap()
        .may_have_more()
    {
        steps += 1;
        let kept = store.count(Filter::default()).await.unwrap();
        assert_eq!(kept, 251 - 100 * steps);
        assert!(
            store.event(newest).await.unwrap().is_some(),
            "the oldest go first"
        );
    }
    assert_eq!(steps, 2);
    assert_eq!(listed(&store, Filter::default()).await, [live]);
}
