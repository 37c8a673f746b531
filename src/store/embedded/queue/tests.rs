//! Which deliveries can be claimed, and in which order.

use super::*;

fn live(queue: &mut Queue, seq: i64, due: i64, lane: u64) -> Live {
    Live {
        due,
        seq,
        slot: 0,
        lane,
        part: 1,
        backend: queue.names.number("app"),
        route: queue.names.number("r"),
        attempts: 0,
        since: 0,
    }
}

fn claim(queue: &mut Queue, now: i64) -> Vec<(i64, Token)> {
    let mut claimed = Vec::new();
    queue.claim("app", 10, now, now + 100, &mut claimed);
    claimed
        .iter()
        .map(|(token, live)| (live.seq, *token))
        .collect()
}

fn filled(lanes: &[(i64, u64)]) -> Queue {
    let mut queue = Queue::default();
    for &(seq, lane) in lanes {
        let live = live(&mut queue, seq, 0, lane);
        queue.add(live);
    }
    queue
}

fn seqs(claimed: &[(i64, Token)]) -> Vec<i64> {
    claimed.iter().map(|(seq, _)| *seq).collect()
}

#[test]
fn only_the_head_of_a_lane_can_be_claimed() {
    let mut queue = filled(&[(1, 7), (2, 7), (3, 0), (4, 8)]);
    let first = claim(&mut queue, 0);
    assert_eq!(seqs(&first), [1, 3, 4]);
    let (_, token) = first[0];
    queue.begin_settling(token).unwrap();
    queue.settle(
        token,
        Change::Retry {
            due: 50,
            lane: LaneRule::Hold,
        },
        1,
    );
    assert!(claim(&mut queue, 49).is_empty(), "the lane waits");
    let again = claim(&mut queue, 50);
    assert_eq!(seqs(&again), [1]);
    queue.begin_settling(again[0].1).unwrap();
    queue.settle(again[0].1, Change::End(LaneRule::Leave), 2);
    assert_eq!(seqs(&claim(&mut queue, 50)), [2]);
}

#[test]
fn what_leaves_its_lane_holds_nobody_up() {
    let mut queue = filled(&[(1, 7), (2, 7)]);
    let (_, token) = claim(&mut queue, 0)[0];
    queue.begin_settling(token).unwrap();
    let change = Change::Retry {
        due: 50,
        lane: LaneRule::Leave,
    };
    queue.settle(token, change, 1);
    assert_eq!(seqs(&claim(&mut queue, 0)), [2]);
    assert_eq!(seqs(&claim(&mut queue, 50)), [1]);
}

#[test]
fn a_parked_lane_waits_for_its_head() {
    let mut queue = filled(&[(1, 7), (2, 7)]);
    let (_, token) = claim(&mut queue, 0)[0];
    queue.begin_settling(token).unwrap();
    queue.settle(token, Change::End(LaneRule::Hold), 1);
    assert!(claim(&mut queue, 1000).is_empty());
    assert_eq!(queue.depth(), 1);
    let head = live(&mut queue, 1, 0, 7);
    queue.add_head(head);
    let (seq, token) = claim(&mut queue, 1000)[0];
    assert_eq!(seq, 1);
    queue.begin_settling(token).unwrap();
    queue.settle(token, Change::End(LaneRule::Leave), 1);
    assert_eq!(seqs(&claim(&mut queue, 1000)), [2]);
}

#[test]
fn what_is_taken_out_of_its_turn_moves_nobody() {
    let mut queue = filled(&[(1, 7), (2, 7), (3, 7), (4, 0)]);
    assert_eq!(queue.take((9, 0)), Taken::NotLive);
    let Taken::Now(second) = queue.take((2, 0)) else {
        panic!("it waits");
    };
    assert_eq!(queue.take((2, 0)), Taken::InFlight);
    queue.unclaim(second);
    let Taken::Now(second) = queue.take((2, 0)) else {
        panic!("it waits again");
    };
    queue.begin_settling(second).unwrap();
    queue.settle(second, Change::End(LaneRule::Leave), 0);
    let first = claim(&mut queue, 0);
    assert_eq!(seqs(&first), [1, 4]);
    queue.begin_settling(first[0].1).unwrap();
    queue.settle(first[0].1, Change::End(LaneRule::Leave), 1);
    let Taken::Now(third) = queue.take((3, 0)) else {
        panic!("it is the head now");
    };
    queue.begin_settling(third).unwrap();
    queue.settle(third, Change::End(LaneRule::Leave), 0);
    assert_eq!(queue.depth(), 1);
    assert!(queue.lanes.is_empty());
}

#[test]
fn a_lease_that_is_over_is_somebody_elses() {
    let mut queue = filled(&[(1, 0)]);
    let (_, late) = claim(&mut queue, 0)[0];
    queue.end_leases(99);
    assert!(claim(&mut queue, 99).is_empty());
    queue.end_leases(100);
    let (_, token) = claim(&mut queue, 100)[0];
    assert!(queue.begin_settling(late).is_none());
    assert_eq!(queue.extend(late, 500), Settled::LostLease);
    assert!(queue.begin_settling(token).is_some());
    queue.end_leases(10_000);
    assert!(
        claim(&mut queue, 10_000).is_empty(),
        "it is being settled at this moment"
    );
}

#[test]
fn the_longest_due_comes_first() {
    let mut queue = Queue::default();
    for (seq, due) in [(1, 30), (2, 10), (3, 20)] {
        let live = live(&mut queue, seq, due, 0);
        queue.add(live);
    }
    assert_eq!(queue.next_due(&["app".into()]), Some(10));
    assert_eq!(seqs(&claim(&mut queue, 25)), [2, 3]);
    assert_eq!(
        queue.next_due(&["app".into()]),
        Some(30),
        "the leases end at 125"
    );
}
