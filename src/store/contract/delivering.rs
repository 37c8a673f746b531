//! Deliveries are claimed by one at a time, in order where that was asked for, and settled once.

use super::*;

#[tokio::test]
async fn the_longest_due_is_claimed_first_and_no_more_than_wanted() {
    let bench = Bench::new();
    let store = bench.open();
    let mut due = Vec::new();
    for seconds in [30, 10, 20] {
        due.push(accept_new(&store, new_event(at(seconds))).await);
    }
    let want = |max| Want {
        backend: "app".into(),
        max,
    };
    let first = store.claim(&[want(1)], at(25), at(99)).await.unwrap();
    let second = store.claim(&[want(5)], at(25), at(99)).await.unwrap();
    assert_eq!(ids(&first), [due[1]]);
    assert_eq!(ids(&second), [due[2]]);
    assert_eq!(store.next_due(&["app".into()]), Some(at(30)));
}

#[tokio::test]
async fn who_comes_after_the_end_of_a_lease_settles_nothing() {
    let bench = Bench::new();
    let store = bench.open();
    let id = accept_new(&store, new_event(at(0))).await;
    let late = claim_one(&store, at(0)).await;
    let extended = store.extend(&[late.token], at(15)).await.unwrap();
    assert_eq!(extended, [Settled::Done]);
    assert!(claim(&store, at(14)).await.is_empty(), "it was extended");
    let now = claim_one(&store, at(15)).await;
    assert_eq!(
        settle(&store, &late, at(16), Next::Delivered).await,
        Settled::LostLease
    );
    let extended = store.extend(&[late.token], at(99)).await.unwrap();
    assert_eq!(extended, [Settled::LostLease]);
    assert!(shown(&store, id).await.deliveries[0].attempts.is_empty());
    assert_eq!(
        settle(&store, &now, at(16), Next::Delivered).await,
        Settled::Done
    );
    assert_eq!(
        settle(&store, &now, at(16), Next::Delivered).await,
        Settled::LostLease
    );
    assert!(claim(&store, at(999)).await.is_empty());
}

#[tokio::test]
async fn a_batch_of_settlements_is_answered_one_by_one() {
    let bench = Bench::new();
    let store = bench.open();
    for _ in 0..2 {
        accept_new(&store, new_event(at(0))).await;
    }
    let claimed = claim(&store, at(0)).await;
    let mut items: Vec<_> = claimed
        .iter()
        .map(|claimed| settlement(claimed, at(1), Next::Delivered))
        .collect();
    items.insert(1, items[0].clone());
    let settled = store.settle(items).await.unwrap();
    assert_eq!(settled, [Settled::Done, Settled::LostLease, Settled::Done]);
    assert_eq!(depth(&store), 0);
}

#[tokio::test]
async fn a_lane_keeps_its_order_through_retries_and_a_restart() {
    let bench = Bench::new();
    let mut store = bench.open();
    let mut lane = Vec::new();
    for second in 0..3 {
        lane.push(accept_new(&store, in_lane(9, at(second))).await);
    }
    let other = accept_new(&store, in_lane(8, at(3))).await;
    let first = claim(&store, at(5)).await;
    assert_eq!(ids(&first), [lane[0], other]);
    settle(&store, &first[1], at(5), Next::Delivered).await;
    settle(&store, &first[0], at(5), retry(at(60), LaneRule::Hold)).await;
    assert!(claim(&store, at(59)).await.is_empty(), "the lane waits");
    store.close().await;
    store = bench.open();
    assert!(claim(&store, at(59)).await.is_empty(), "it still waits");
    for id in lane {
        let head = claim_one(&store, at(60)).await;
        assert_eq!(head.event.id, id);
        assert_eq!(head.lane, Some(9));
        settle(&store, &head, at(60), Next::Delivered).await;
    }
}

#[tokio::test]
async fn what_leaves_its_lane_lets_the_next_go() {
    let bench = Bench::new();
    let mut store = bench.open();
    let first = accept_new(&store, in_lane(9, at(0))).await;
    let second = accept_new(&store, in_lane(9, at(0))).await;
    let head = claim_one(&store, at(0)).await;
    settle(&store, &head, at(0), retry(at(60), LaneRule::Leave)).await;
    store.close().await;
    store = bench.open();
    assert_eq!(ids(&claim(&store, at(59)).await), [second]);
    let late = claim_one(&store, at(60)).await;
    assert_eq!((late.event.id, late.lane, late.attempts), (first, None, 1));
}

async fn again(store: &Arc<dyn Store>, id: EventId, due: Timestamp) -> Result<u64, StoreError> {
    let to = Place {
        slot: 0,
        backend: "app".into(),
    };
    let item = Redelivery { id, to: vec![to] };
    store.redeliver(vec![item], due).await
}

#[tokio::test]
async fn a_dead_head_holds_its_lane_until_it_is_revived() {
    let bench = Bench::new();
    let mut store = bench.open();
    let first = accept_new(&store, in_lane(9, at(0))).await;
    let second = accept_new(&store, in_lane(9, at(0))).await;
    let head = claim_one(&store, at(0)).await;
    settle(&store, &head, at(0), dead(LaneRule::Hold)).await;
    assert!(claim(&store, at(99)).await.is_empty());
    store.close().await;
    store = bench.open();
    let third = accept_new(&store, in_lane(9, at(1))).await;
    assert!(claim(&store, at(99)).await.is_empty());
    assert_eq!(again(&store, first, at(100)).await, Ok(1));
    for id in [first, second, third] {
        let head = claim_one(&store, at(100)).await;
        assert_eq!(head.event.id, id);
        settle(&store, &head, at(100), Next::Delivered).await;
    }
}

#[tokio::test]
async fn a_dead_head_that_leaves_holds_nobody_up() {
    let bench = Bench::new();
    let store = bench.open();
    accept_new(&store, in_lane(9, at(0))).await;
    let second = accept_new(&store, in_lane(9, at(0))).await;
    let head = claim_one(&store, at(0)).await;
    settle(&store, &head, at(0), dead(LaneRule::Leave)).await;
    assert_eq!(ids(&claim(&store, at(0)).await), [second]);
}

#[tokio::test]
async fn the_revived_begin_anew_under_their_old_id() {
    let bench = Bench::new();
    let store = bench.open();
    let id = accept_new(&store, new_event(at(0))).await;
    for second in 0..2 {
        let claimed = claim_one(&store, at(second)).await;
        settle(
            &store,
            &claimed,
            at(second),
            retry(at(second + 1), LaneRule::Leave),
        )
        .await;
    }
    let last = claim_one(&store, at(2)).await;
    assert_eq!(last.attempts, 2);
    settle(&store, &last, at(2), dead(LaneRule::Leave)).await;
    let delivered = accept_new(&store, new_event(at(3))).await;
    let claimed = claim_one(&store, at(3)).await;
    settle(&store, &claimed, at(3), Next::Delivered).await;

    assert_eq!(again(&store, id, at(10)).await, Ok(1));
    assert_eq!(again(&store, id, at(10)).await, Ok(0), "it is live");
    let anew = claim_one(&store, at(10)).await;
    assert_eq!((anew.event.id, anew.attempts), (id, 0));
    assert_eq!(anew.asked_again, Some(at(10)));
    settle(&store, &anew, at(10), Next::Delivered).await;
    assert_eq!(shown(&store, id).await.deliveries[0].attempts.len(), 4);
    let arrived = again(&store, delivered, at(11)).await;
    assert_eq!(
        arrived,
        Ok(1),
        "what has arrived can be delivered once more"
    );
    store.close().await;
    let anew = claim_one(&bench.open(), at(11)).await;
    assert_eq!(anew.asked_again, Some(at(11)), "after a restart, too");
}

#[tokio::test]
async fn nothing_is_leased_after_a_restart() {
    let bench = Bench::new();
    let store = bench.open();
    let id = accept_new(&store, new_event(at(0))).await;
    let old = claim_one(&store, at(0)).await;
    store.close().await;
    let store = bench.open();
    assert_eq!(
        settle(&store, &old, at(1), Next::Delivered).await,
        Settled::LostLease
    );
    assert_eq!(claim_one(&store, at(1)).await.event.id, id);
}

#[tokio::test]
async fn usage_counts_what_is_live() {
    let bench = Bench::new();
    let mut store = bench.open();
    for second in [5, 3] {
        accept_new(&store, new_event(at(second))).await;
    }
    let expected = [BackendUsage {
        backend: "app".into(),
        depth: 2,
        due: Some(at(3)),
    }];
    assert_eq!(store.usage().backends, expected);
    store.close().await;
    store = bench.open();
    assert_eq!(store.usage().backends, expected);
    assert_eq!(store.usage().routes, [("r".into(), 2)]);
    for claimed in claim(&store, at(5)).await {
        settle(&store, &claimed, at(5), Next::Delivered).await;
    }
    assert_eq!(depth(&store), 0);
    assert_eq!(store.usage().trouble, None);
    assert!(store.usage().file_bytes > 0);
}
