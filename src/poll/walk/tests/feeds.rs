//! Feeds with the newest item first.

use super::*;

/// A feed with the newest first, in pages of two.
fn feed(stop_when: StopWhen, kind: CursorKind) -> Rules {
    let plan = Plan {
        stop_when,
        ..Plan::new(kind, pages(2, Stop::Short)).desc()
    };
    plan.rules()
}

#[test]
fn newest_first_nothing_is_committed_before_known_ground() {
    let check = |rules: Rules, cursor: Option<Value>, expected: Option<Value>| {
        let position = Position {
            cursor,
            ..Position::default()
        };
        let mut walk = Walk::new(&rules, Some(position.clone()), at(100), at(200)).unwrap();
        let known = |id: &str| match id < "5" {
            true => Standing::Known,
            false => Standing::New,
        };
        let page = |ids: [u64; 2]| Answer::of(ids.map(|id| (id, i64::try_from(id).ok())));
        let step = page([8, 7]).show(&mut walk, at(100), known);
        assert_eq!(step.next, Next::More);
        let Commit::Later(staged) = step.commit else {
            panic!("{step:?}");
        };
        assert_eq!(staged.cursor, position.cursor);
        page([6, 5]).show(&mut walk, at(100), known);
        let step = page([4, 3]).show(&mut walk, at(100), known);
        assert_eq!(step.next, Next::Done(End::Known), "{rules:?}");
        let done = Position {
            cursor: expected,
            ..Position::default()
        };
        assert_eq!(step.commit, Commit::Now(done), "{rules:?}");
    };
    let known = StopWhen::Known;
    let all = StopWhen::Exhausted;
    let last_id = || CursorKind::LastId(id(Compare::Auto));
    check(feed(known, CursorKind::Seen), None, None);
    check(feed(known, last_id()), Some(json!(1)), Some(json!(8)));
    check(feed(all, last_id()), Some(json!(4)), Some(json!(8)));
    let time_at = |second| Some(json!(at(second).to_string()));
    check(feed(all, time(0, 0)), time_at(4), time_at(8));
}

#[test]
fn what_was_only_met_is_no_known_ground() {
    let rules = feed(StopWhen::Known, CursorKind::Seen);
    let check = |standings: [Standing; 2], expected: Next| {
        let mut walk = Walk::new(&rules, None, at(0), at(9)).unwrap();
        let step = Answer::of([(0, None), (1, None)]).show(&mut walk, at(1), |id| {
            let [first, other] = standings;
            if id.starts_with('0') { first } else { other }
        });
        assert_eq!(step.next, expected, "{standings:?}");
    };
    use Standing::{Known, Met, New};
    check([New, New], Next::More);
    check([New, Known], Next::More);
    check([Met, Met], Next::More);
    check([Met, Known], Next::Done(End::Known));
    check([Known, Known], Next::Done(End::Known));
}

#[test]
fn a_feed_that_gets_stuck_drops_what_is_staged() {
    let rules = feed(StopWhen::Known, CursorKind::Seen);
    let mut reader = Reader::new(Staging::Durable);
    let page = |first: u64| Answer::of([(first, None), (first - 1, None)]);
    let mut source = script([page(9), page(7), page(7), page(9), page(7), Answer::of([])]);
    assert_eq!(
        reader.poll(&rules, 0, &mut source),
        Some(Next::Stuck(Stuck::SamePage))
    );
    assert_eq!(reader.position(), Some(Position::default()));
    assert_eq!(reader.delivered.len(), 0);
    assert_eq!(
        reader.poll(&rules, 0, &mut source),
        Some(Next::Done(End::Empty))
    );
    assert_eq!(reader.delivered.len(), 4);
}

#[test]
fn a_feed_that_is_cut_short_keeps_what_is_staged() {
    let plan = Plan {
        stop_when: StopWhen::Known,
        pages_max: 2,
        ..Plan::new(CursorKind::Seen, pages(2, Stop::Short)).desc()
    };
    let rules = plan.rules();
    let mut reader = Reader::new(Staging::Durable);
    let page = |first: u64| Answer::of([(first, None), (first - 1, None)]);
    let mut source = script([page(9), page(7), page(5), Answer::of([])]);
    assert_eq!(
        reader.poll(&rules, 0, &mut source),
        Some(Next::Done(End::PageLimit))
    );
    assert_eq!(reader.delivered.len(), 0);
    assert_eq!(
        reader.poll(&rules, 0, &mut source),
        Some(Next::Done(End::Empty))
    );
    assert_eq!(reader.delivered.len(), 6);
}

#[test]
fn a_feed_is_read_to_the_end_of_the_time_where_it_was_left() {
    let rules = feed(StopWhen::Exhausted, time(0, 0));
    let check = |times: [i64; 2], expected: Next| {
        let position = Position::at(json!(at(50).to_string()));
        let mut walk = Walk::new(&rules, Some(position), at(100), at(200)).unwrap();
        let rows = times.map(|time| (time.unsigned_abs(), Some(time)));
        let step = Answer::of(rows).show(&mut walk, at(100), |_| Standing::New);
        assert_eq!(step.next, expected, "{times:?}");
    };
    check([60, 55], Next::More);
    check([60, 50], Next::More);
    check([60, 49], Next::Done(End::Known));
    // A page without order tells nothing of what follows.
    check([49, 60], Next::More);
    check([40, 49], Next::More);
}
