//! Events are accepted once, within the limits, byte for byte.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn of_many_who_race_with_one_key_one_is_new() {
    let bench = Bench::new();
    let store = bench.open();
    let racers: Vec<_> = (0..64)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move {
                let item = with_key(1, at(0));
                (item.event.id, accept_one(&store, item).await)
            })
        })
        .collect();
    let mut new = Vec::new();
    let mut firsts = Vec::new();
    for racer in racers {
        match racer.await.unwrap() {
            (id, Accepted::New) => new.push(id),
            (_, Accepted::Duplicate { first, .. }) => firsts.push(first),
            (_, Accepted::Full(depth)) => panic!("{depth:?}"),
        }
    }
    assert_eq!(new.len(), 1);
    assert_eq!(firsts, vec![new[0]; 63]);
    assert_eq!(ids(&claim(&store, at(0)).await), new);
}

#[tokio::test]
async fn duplicates_inside_one_call_are_found() {
    let bench = Bench::new();
    let store = bench.open();
    let items = vec![with_key(1, at(0)), with_key(2, at(0)), with_key(1, at(0))];
    let first = items[0].event.id;
    let accepted = store.accept(items).await.unwrap();
    let duplicate = Accepted::Duplicate {
        first,
        answer: None,
    };
    assert_eq!(accepted, [Accepted::New, Accepted::New, duplicate]);
    assert_eq!(depth(&store), 2);
}

#[tokio::test]
async fn a_repeated_event_is_new_again_and_queued_once() {
    let bench = Bench::new();
    let store = bench.open();
    for mut item in [new_event(at(0)), with_key(1, at(0))] {
        item.route_depth_max = Some(depth(&store) + 1);
        let before = depth(&store);
        for _ in 0..3 {
            accept_new(&store, item.clone()).await;
        }
        assert_eq!(depth(&store), before + 1);
    }
    store.close().await;
    assert_eq!(depth(&bench.open()), 2);
}

#[tokio::test]
async fn a_key_ends_when_it_was_said_to() {
    let bench = Bench::new();
    let store = bench.open();
    let first = accept_new(&store, with_key(1, at(0))).await;
    let late = accept_one(&store, with_key(1, at(3599))).await;
    let answer = None;
    assert_eq!(late, Accepted::Duplicate { first, answer });
    let mut again = with_key(1, at(3600));
    again.dedup = Some(DedupClaim {
        until: on_day(3),
        ..key(1)
    });
    let first = accept_new(&store, again).await;
    let answer = None;
    let late = accept_one(&store, with_key(1, on_day(2))).await;
    assert_eq!(late, Accepted::Duplicate { first, answer });
    accept_new(&store, with_key(1, on_day(3))).await;
}

#[tokio::test]
async fn a_key_and_its_answer_outlive_the_process() {
    let bench = Bench::new();
    let store = bench.open();
    let answer = Recorded {
        status: 202,
        headers: vec![("x-a".into(), Bytes::from_static(b"\xff"))],
        body: Some(Bytes::from_static(b"thanks\0")),
    };
    let event = Arc::new(event_at(at(0)));
    store.record(Note::Proxied(Logged {
        event: event.clone(),
        dedup: Some((key(1), answer.clone())),
        slot: 0,
        backend: "app".into(),
        attempt: attempt(1, at(0)),
        end: End::Delivered,
    }));
    let accepted = accept_new(&store, with_key(2, at(0))).await;
    store.close().await;
    let store = bench.open();
    let answered = Accepted::Duplicate {
        first: event.id,
        answer: Some(answer.clone()),
    };
    assert_eq!(accept_one(&store, with_key(1, at(1))).await, answered);
    let queued = Accepted::Duplicate {
        first: accepted,
        answer: None,
    };
    assert_eq!(accept_one(&store, with_key(2, at(1))).await, queued);
    let mut remembered = store.remembered(&[7], at(1), 10).await.unwrap();
    remembered.sort_by_key(|remembered| remembered.claim.key);
    let answers: Vec<_> = remembered.into_iter().map(|one| one.answer).collect();
    assert_eq!(answers, [Some(answer), None]);
    assert!(
        store
            .remembered(&[7], at(3600), 10)
            .await
            .unwrap()
            .is_empty()
    );
    assert!(store.remembered(&[8], at(1), 10).await.unwrap().is_empty());
}

async fn race(store: &Arc<dyn Store>, item: impl Fn(u8) -> Accept) -> (usize, Vec<Room>) {
    let racers: Vec<_> = (0..16)
        .map(|number| {
            let (store, item) = (store.clone(), item(number));
            tokio::spawn(async move { accept_one(&store, item).await })
        })
        .collect();
    let (mut new, mut full) = (0, Vec::new());
    for racer in racers {
        match racer.await.unwrap() {
            Accepted::New => new += 1,
            Accepted::Full(depth) => full.push(depth),
            other => panic!("{other:?}"),
        }
    }
    (new, full)
}

#[tokio::test]
async fn a_store_of_its_full_size_takes_nothing_until_something_may_go() {
    let mut bench = Bench::new();
    bench.bytes_max = 2 * 1024 * 1024;
    let store = bench.open();
    let large = |number| {
        let mut item = with_key(number, at(0));
        let mut event = event_at(at(0));
        event.body = vec![b'x'; 64 * 1024].into();
        item.event = Arc::new(event);
        item
    };
    let mut accepted = 0;
    let full = loop {
        match accept_one(&store, large(accepted)).await {
            Accepted::New => accepted += 1,
            other => break other,
        }
    };
    assert_eq!(full, Accepted::Full(Room::Bytes));
    assert!((20..32).contains(&accepted), "{accepted}");
    let small = with_key(100, at(0));
    let mut unqueued = large(101);
    unqueued.deliveries.clear();
    assert_eq!(
        accept_one(&store, unqueued).await,
        full,
        "it takes room too"
    );
    // Everything that was accepted arrives, and what has arrived may go.
    loop {
        let claimed = claim(&store, at(0)).await;
        if claimed.is_empty() {
            break;
        }
        for one in claimed {
            settle(&store, &one, at(0), Next::Delivered).await;
            accepted -= 1;
        }
    }
    assert_eq!(accepted, 0);
    for number in 200..210 {
        assert_eq!(accept_one(&store, large(number)).await, Accepted::New);
    }
    assert_eq!(accept_one(&store, small).await, Accepted::New);
    let known = accept_one(&store, large(0)).await;
    assert!(matches!(known, Accepted::Duplicate { .. }), "{known:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_of_depth_are_exact() {
    let mut bench = Bench::new();
    bench.depth_max = 9;
    let store = bench.open();
    let of_route = |number| {
        let mut item = with_key(number, at(0));
        item.route_depth_max = Some(5);
        item
    };
    assert_eq!(race(&store, of_route).await, (5, vec![Room::Route; 11]));
    let of_all = |number| with_key(100 + number, at(0));
    assert_eq!(race(&store, of_all).await, (4, vec![Room::Total; 12]));
    for claimed in claim(&store, at(0)).await {
        settle(&store, &claimed, at(0), Next::Delivered).await;
    }
    let (mut known, mut new) = (0, 0);
    for number in 0..16 {
        match accept_one(&store, of_route(number)).await {
            Accepted::Duplicate { .. } => known += 1,
            Accepted::New => new += 1,
            Accepted::Full(_) => {}
        }
    }
    assert_eq!((known, new), (5, 5), "what found no room left no key");
}

#[tokio::test]
async fn bytes_are_kept_as_they_came() {
    let bench = Bench::new();
    let store = bench.open();
    let megabyte: Vec<u8> = (0..251_u8).cycle().take(1024 * 1024).collect();
    let mut headers = Headers::default();
    headers.push("X-Sig", &b"v1=\xff\xfe\x80"[..]);
    headers.push("hOST", "gateway.example");
    headers.push("x-sig", "second");
    headers.push("X-Empty", "");
    headers.push("X-Sig", "a: b");
    for body in [Vec::new(), b"\0\xff\r\n\r\n".to_vec(), megabyte] {
        let mut event = event_at(at(0));
        event.head.method = "PURGE".into();
        event.head.target = Bytes::from_static(b"/a%2fb//?q=\xc3\xa4&&");
        event.head.headers = headers.clone();
        event.body = body.into();
        event.facts = Facts {
            peer: Some("10.0.0.1".parse().unwrap()),
            client: "192.0.2.7".into(),
            verified: true,
            provider_event_id: Some("evt_1".into()),
            captures: vec![("tenant".into(), "ä".into())],
            ..Facts::default()
        };
        let id = accept_new(&store, from_event(event.clone())).await;
        assert_eq!(*claim_one(&store, at(0)).await.event, event);
        assert_eq!(*shown(&store, id).await.event, event);
    }
}

#[tokio::test]
async fn what_is_accepted_wakes_who_waits() {
    let bench = Bench::new();
    let store = bench.open();
    let mut work = store.watch();
    assert_eq!(store.next_due(&["app".into()]), None);
    accept_new(&store, new_event(at(5))).await;
    work.changed().await.unwrap();
    assert_eq!(store.next_due(&["app".into()]), Some(at(5)));
    assert_eq!(store.next_due(&["other".into()]), None);
}
