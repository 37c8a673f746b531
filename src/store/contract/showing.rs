//! The log shows what happened, page by page, for as long as it is kept.

use super::*;

async fn pages(store: &Arc<dyn Store>, filter: &Filter, limit: usize) -> Vec<EventId> {
    let (mut all, mut next) = (Vec::new(), None);
    loop {
        let page = store.list(filter.clone(), next, limit).await.unwrap();
        assert!(page.events.len() <= limit);
        assert!(
            !page.events.is_empty() || all.is_empty(),
            "a page that was promised is empty"
        );
        all.extend(page.events.iter().map(|shown| shown.event.id));
        next = page.next;
        if next.is_none() {
            return all;
        }
    }
}

#[tokio::test]
async fn an_event_shows_its_deliveries_and_attempts() {
    let bench = Bench::new();
    let store = bench.open();
    let mut item = new_event(at(0));
    let mut second = item.deliveries[0].clone();
    second.slot = 1;
    second.backend = "crm".into();
    second.due = at(50);
    item.deliveries.push(second);
    let id = accept_new(&store, item).await;
    let states = async || -> Vec<_> {
        let shown = shown(&store, id).await;
        shown
            .deliveries
            .iter()
            .map(|one| (one.state, one.at))
            .collect()
    };
    use DeliveryState::{Dead, Delivered, Leased, Pending};
    assert_eq!(states().await, [(Pending, at(0)), (Pending, at(50))]);
    let claimed = claim_one(&store, at(0)).await;
    assert_eq!(states().await, [(Leased, at(0)), (Pending, at(50))]);
    settle(&store, &claimed, at(1), retry(at(9), LaneRule::Leave)).await;
    assert_eq!(states().await, [(Pending, at(9)), (Pending, at(50))]);
    let claimed = claim_one(&store, at(9)).await;
    settle(&store, &claimed, at(10), dead(LaneRule::Leave)).await;
    let want = Want {
        backend: "crm".into(),
        max: 1,
    };
    let other = store.claim(&[want], at(50), at(99)).await.unwrap();
    settle(&store, &other[0], at(51), Next::Delivered).await;
    assert_eq!(states().await, [(Dead, at(10)), (Delivered, at(51))]);
    let shown = shown(&store, id).await;
    assert_eq!(
        shown.deliveries[0].reason.as_deref(),
        Some("attempts_exhausted")
    );
    assert_eq!(
        shown.deliveries[0].attempts,
        [attempt(1, at(1)), attempt(2, at(10))]
    );
    assert_eq!(shown.deliveries[1].attempts, [attempt(1, at(51))]);
    assert_eq!(store.event(EventId::new(at(0))).await, Ok(None));
    assert_eq!(store.event(EventId::new(on_day(900))).await, Ok(None));
}

#[tokio::test]
async fn pages_stay_as_they_are_while_events_arrive() {
    let bench = Bench::new();
    let store = bench.open();
    let mut all = Vec::new();
    for second in 0..7 {
        all.push(accept_new(&store, new_event(at(second))).await);
    }
    all.reverse();
    let filter = Filter::default();
    let first = store.list(filter.clone(), None, 3).await.unwrap();
    accept_new(&store, new_event(at(8))).await;
    let second = store
        .list(filter.clone(), first.next.clone(), 3)
        .await
        .unwrap();
    accept_new(&store, new_event(at(9))).await;
    let third = store
        .list(filter.clone(), second.next.clone(), 3)
        .await
        .unwrap();
    assert_eq!(third.next, None);
    let listed = [first, second, third];
    let listed = listed.iter().flat_map(|page| &page.events);
    assert_eq!(listed.map(|shown| shown.event.id).collect::<Vec<_>>(), all);
    let foreign = store.list(filter, Some("x".into()), 3).await;
    assert_eq!(foreign, Err(StoreError::Page));
}

#[tokio::test]
async fn pages_miss_nothing_around_midnight() {
    let bench = Bench::new();
    let store = bench.open();
    let midnight: Timestamp = "2026-11-27T00:00:00Z".parse().unwrap();
    let mut all = Vec::new();
    for seconds in [-1, 1, -2, 2, -3, 3] {
        let moment = midnight + SignedDuration::from_secs(seconds);
        all.push(accept_new(&store, new_event(moment)).await);
    }
    all.sort();
    for limit in 1..=6 {
        let mut listed = pages(&store, &Filter::default(), limit).await;
        listed.sort();
        assert_eq!(listed, all, "by {limit}");
    }
}

#[tokio::test]
async fn a_list_shows_what_was_asked_for() {
    let bench = Bench::new();
    let store = bench.open();
    let mut event = event_at(at(0));
    event.route = "other".into();
    event.facts.provider_event_id = Some("evt_1".into());
    let other = accept_new(&store, from_event(event)).await;
    let claimed = claim_one(&store, at(0)).await;
    settle(&store, &claimed, at(0), Next::Delivered).await;
    let mut item = new_event(at(10));
    let mut second = item.deliveries[0].clone();
    (second.slot, second.backend) = (1, "crm".into());
    item.deliveries.push(second);
    let both = accept_new(&store, item).await;
    let claimed = claim_one(&store, at(10)).await;
    settle(&store, &claimed, at(10), dead(LaneRule::Leave)).await;

    let check = async |change: &dyn Fn(&mut Filter), expected: &[EventId]| {
        let mut filter = Filter::default();
        change(&mut filter);
        assert_eq!(pages(&store, &filter, 10).await, expected, "{filter:?}");
    };
    check(&|_| {}, &[both, other]).await;
    check(&|f| f.route = Some("other".into()), &[other]).await;
    check(&|f| f.route = Some("none".into()), &[]).await;
    check(&|f| f.provider_event_id = Some("evt_1".into()), &[other]).await;
    check(&|f| f.backend = Some("app".into()), &[both, other]).await;
    check(&|f| f.backend = Some("crm".into()), &[both]).await;
    check(&|f| f.since = Some(at(10)), &[both]).await;
    check(&|f| f.until = Some(at(10)), &[other]).await;
    check(&|f| f.since = Some(on_day(3)), &[]).await;
    check(&|f| f.state = Some(DeliveryState::Pending), &[both]).await;
    check(&|f| f.state = Some(DeliveryState::Dead), &[both]).await;
    check(&|f| f.state = Some(DeliveryState::Delivered), &[other]).await;
    let of = |backend: &str, state| {
        let backend = Some(backend.to_owned());
        move |f: &mut Filter| (f.backend, f.state) = (backend.clone(), Some(state))
    };
    check(&of("app", DeliveryState::Dead), &[both]).await;
    check(&of("crm", DeliveryState::Dead), &[]).await;
    check(&of("crm", DeliveryState::Pending), &[both]).await;
    check(&of("app", DeliveryState::Pending), &[]).await;
}

#[tokio::test]
async fn retention_keeps_what_is_live_and_gives_room_back() {
    let bench = Bench::new();
    let store = bench.open();
    let live = accept_new(&store, new_event(on_day(1))).await;
    let mut old = Vec::new();
    for _ in 0..100 {
        let mut event = event_at(on_day(0));
        event.body = vec![b'x'; 64 * 1024].into();
        let mut item = from_event(event);
        item.deliveries.clear();
        old.push(accept_new(&store, item).await);
    }
    let new = accept_new(&store, new_event(on_day(5))).await;
    let policy = Retention::of_all(on_day(4));
    let retained = store.retain(policy, on_day(5)).await.unwrap();
    let expected = Retained {
        partitions_dropped: 1,
        partitions_held: 1,
        rows_dropped: 0,
    };
    assert_eq!(retained, expected);
    assert_eq!(pages(&store, &Filter::default(), 10).await, [new, live]);
    assert_eq!(store.event(old[0]).await, Ok(None));
    let shrunk = async {
        while store.usage().file_bytes > 2 * 1024 * 1024 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), shrunk)
        .await
        .unwrap();
    for claimed in claim(&store, on_day(5)).await {
        settle(&store, &claimed, on_day(5), Next::Delivered).await;
    }
    let retained = store.retain(policy, on_day(5)).await.unwrap();
    assert_eq!(retained.partitions_dropped, 1, "it is live no more");
}

#[tokio::test]
async fn the_oldest_goes_first_when_there_is_too_much() {
    let bench = Bench::new();
    let store = bench.open();
    for day in 0..3 {
        for _ in 0..20 {
            let mut event = event_at(on_day(day));
            event.body = vec![b'x'; 64 * 1024].into();
            let mut item = from_event(event);
            item.deliveries.clear();
            accept_new(&store, item).await;
        }
    }
    let policy = Retention {
        bytes_max: Some(3 * 1024 * 1024),
        ..Retention::of_all(on_day(-10))
    };
    let retained = store.retain(policy, on_day(3)).await.unwrap();
    assert_eq!(retained.partitions_dropped, 1);
    let kept = pages(&store, &Filter::default(), 100).await;
    assert_eq!(kept.len(), 40);
}

#[tokio::test]
async fn a_lane_goes_on_when_its_dead_head_is_dropped() {
    let bench = Bench::new();
    let store = bench.open();
    accept_new(&store, in_lane(9, on_day(0))).await;
    let head = claim_one(&store, on_day(0)).await;
    settle(&store, &head, on_day(0), dead(LaneRule::Hold)).await;
    let next = accept_new(&store, in_lane(9, on_day(5))).await;
    assert!(claim(&store, on_day(5)).await.is_empty());
    let policy = Retention::of_all(on_day(4));
    store.retain(policy, on_day(5)).await.unwrap();
    assert_eq!(claim_one(&store, on_day(5)).await.event.id, next);
}

#[tokio::test(flavor = "multi_thread")]
async fn reading_does_not_hold_up_writing() {
    let bench = Bench::new();
    let store = bench.open();
    let reader = {
        let store = store.clone();
        tokio::spawn(async move {
            loop {
                let listed = pages(&store, &Filter::default(), 7).await;
                if listed.len() >= 200 {
                    return;
                }
            }
        })
    };
    for second in 0..200 {
        accept_new(&store, new_event(at(second))).await;
    }
    reader.await.unwrap();
}
