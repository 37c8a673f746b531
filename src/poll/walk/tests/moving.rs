//! Lists that move while they are read.

use super::*;

#[test]
fn a_list_that_moves_is_taken_up_at_the_last_time_seen() {
    let rules = Plan::new(time(10, 0), pages(20, Stop::Short)).asc().rules();
    let mut reader = Reader::new(Staging::InMemory);
    let mut source = |request: &PageRequest| page_of(&table(50), request, 20);
    assert_eq!(
        reader.poll(&rules, 100, &mut source),
        Some(Next::Done(End::Short))
    );
    assert_eq!(asked(&reader), [(None, 1), (Some(19), 1), (Some(38), 1)]);
    assert_eq!(reader.delivered.len(), 50);
    assert_eq!(reader.cursor(), Some(json!("1970-01-01T00:00:49Z")));
    reader.poll(&rules, 200, &mut source);
    assert_eq!(asked(&reader).last(), Some(&(Some(39), 1)));
    assert_eq!(reader.delivered.len(), 50);
}

#[test]
fn a_page_of_one_time_is_walked_until_two_passes_are_alike() {
    let rules = Plan::new(time(0, 0), pages(2, Stop::Short)).asc().rules();
    let rows = [(1, 5), (2, 5), (3, 5), (4, 6), (5, 7)];
    let rows: Vec<Row> = rows
        .into_iter()
        .map(|(id, time)| (id, Some(time)))
        .collect();
    let mut reader = Reader::new(Staging::InMemory);
    let mut source = |request: &PageRequest| page_of(&rows, request, 2);
    assert_eq!(
        reader.poll(&rules, 100, &mut source),
        Some(Next::Done(End::Short))
    );
    let from_five = [(Some(5), 2), (Some(5), 1), (Some(5), 2)];
    let rest = [(Some(6), 1), (Some(7), 1)];
    assert_eq!(
        asked(&reader),
        [&[(None, 1)][..], &from_five, &rest].concat()
    );
    assert_eq!(reader.delivered.len(), 5);
}

#[test]
fn a_row_that_hides_behind_one_that_left_is_found() {
    let rules = Plan::new(time(0, 0), pages(2, Stop::Short)).asc().rules();
    let mut reader = Reader::new(Staging::InMemory);
    let mut asked = 0;
    let mut source = |request: &PageRequest| {
        asked += 1;
        // Row 1 changes after the first page was read; row 3 moves onto that page.
        let first = if asked == 1 { 5 } else { 9 };
        let rows = [(1, first), (2, 5), (3, 5), (4, 5), (6, 6)];
        let mut rows: Vec<Row> = rows
            .into_iter()
            .map(|(id, time)| (id, Some(time)))
            .collect();
        rows.sort_by_key(|(_, time)| *time);
        page_of(&rows, request, 2)
    };
    assert_eq!(
        reader.poll(&rules, 100, &mut source),
        Some(Next::Done(End::Short))
    );
    assert!(reader.is_known(&(3, Some(5))), "{:?}", reader.delivered);
    assert_eq!(reader.delivered.len(), 6);
}

/// Rows by their ids, each with the time beside it, the oldest first.
fn by_time(rows: &[(u64, i64)]) -> Vec<Row> {
    let mut rows: Vec<Row> = rows.iter().map(|(id, time)| (*id, Some(*time))).collect();
    rows.sort_by_key(|(id, time)| (*time, *id));
    rows
}

#[test]
fn what_follows_rows_of_one_time_is_read_from_where_it_was_seen() {
    let rules = Plan::new(time(0, 0), pages(2, Stop::Short)).asc().rules();
    let mut reader = Reader::new(Staging::InMemory);
    let mut asked = 0;
    let mut source = |request: &PageRequest| {
        asked += 1;
        // All rows of the one time leave while the second pass reads the rows after them.
        let one = if asked < 6 { 5 } else { 50 };
        let block = [(1, one), (2, one), (3, one), (4, one)];
        let rest = [(5, 6), (6, 7), (7, 8), (8, 9), (9, 10), (10, 11), (11, 12)];
        page_of(&by_time(&[&block[..], &rest].concat()), request, 2)
    };
    let next = reader.poll(&rules, 100, &mut source);
    assert_eq!(next, Some(Next::Done(End::Empty)));
    for row in [(7, Some(8)), (8, Some(9))] {
        assert!(reader.is_known(&row), "{row:?} of {:?}", reader.delivered);
    }
}

#[test]
fn the_cursor_waits_until_rows_of_one_time_are_read() {
    let rules = Plan::new(time(0, 0), pages(2, Stop::Short)).asc().rules();
    let mut walk = Walk::new(&rules, None, at(100), at(200)).unwrap();
    let rows = by_time(&[(1, 5), (2, 5), (3, 6), (4, 7), (5, 8)]);
    let mut cursors = Vec::new();
    loop {
        let answer = page_of(&rows, &walk.request(), 2);
        let step = answer.show(&mut walk, at(100), |_| Standing::New);
        let Commit::Now(position) = step.commit else {
            panic!("{step:?}");
        };
        let cursor = position
            .cursor
            .map(|cursor| cursor.as_str().unwrap().to_owned());
        let second = cursor.map(|cursor| cursor.parse::<Timestamp>().unwrap().as_second());
        cursors.push(second);
        if step.next != Next::More {
            break;
        }
    }
    // One page, two passes of which the first has begun, the rest.
    assert_eq!(cursors, [None, None, None, None, Some(8), Some(8)]);
}

#[test]
fn an_order_that_breaks_inside_of_one_time_loses_nothing() {
    let rules = Plan::new(time(0, 0), pages(2, Stop::Short)).asc().rules();
    let mut reader = Reader::new(Staging::InMemory);
    let mut asked = 0;
    let mut source = |request: &PageRequest| {
        asked += 1;
        // Row 1 leaves after the first page, and the rest has no order.
        let rows: &[(u64, i64)] = match asked {
            1 => &[(1, 5), (2, 5), (3, 5), (4, 7), (5, 6)],
            _ => &[(2, 5), (3, 5), (4, 7), (5, 6), (1, 9)],
        };
        let rows: Vec<Row> = rows.iter().map(|(id, time)| (*id, Some(*time))).collect();
        page_of(&rows, request, 2)
    };
    let next = reader.poll(&rules, 100, &mut source);
    assert_eq!(next, Some(Next::Done(End::Short)));
    assert!(reader.is_known(&(3, Some(5))), "{:?}", reader.delivered);
}

#[test]
fn ten_thousand_rows_of_one_time_are_read_and_left() {
    let check = |paginator: Paginator, source: fn(&[Row], &PageRequest) -> Answer, stop: End| {
        let rows: Vec<Row> = (0..10_000).map(|id| (id, Some(5))).collect();
        let rules = Plan::new(time(0, 0), paginator.clone()).asc().rules();
        let mut reader = Reader::new(Staging::InMemory);
        let mut polls = Vec::new();
        while polls.last() != Some(&Next::Done(stop)) {
            assert!(polls.len() < 5, "{paginator:?}: {polls:?}");
            let next = reader.poll(&rules, 100, &mut |request| source(&rows, request));
            polls.push(next.unwrap());
        }
        assert_eq!(reader.delivered.len(), 10_000, "{paginator:?}");
        assert_eq!(polls.first(), Some(&Next::Done(End::PageLimit)));
        assert_eq!(reader.requests.len(), 202, "{paginator:?}");
    };
    check(
        pages(100, Stop::Short),
        |rows, request| page_of(rows, request, 100),
        End::Empty,
    );
    check(offsets(100, Stop::Empty), offset_of, End::Empty);
}

#[test]
fn a_source_that_never_answers_twice_alike_is_left() {
    let rules = Plan::new(time(0, 0), pages(2, Stop::Short)).asc().rules();
    let mut reader = Reader::new(Staging::InMemory);
    let mut asked = 0;
    let mut source = |request: &PageRequest| {
        asked += 1;
        let row = |id| (id, Some(5));
        match number(request, "page") {
            1 => Answer::of([row(asked % 7), row(7 + asked % 5)]),
            _ => Answer::of([row(12 + asked % 3)]),
        }
    };
    assert_eq!(
        reader.poll(&rules, 100, &mut source),
        Some(Next::Done(End::Short))
    );
    assert_eq!(reader.delivered.len(), 15);
}

#[test]
fn times_that_a_source_cannot_tell_apart_are_walked() {
    // It takes whole tens only; the re-anchored page has nothing later than the anchor.
    let rules = Plan::new(time(0, 0), pages(3, Stop::Short)).asc().rules();
    let rows: Vec<Row> = table(25);
    let mut reader = Reader::new(Staging::InMemory);
    let mut source = |request: &PageRequest| {
        let since = second(request).unwrap_or(0) / 10 * 10;
        let rows = rows
            .iter()
            .copied()
            .filter(|(_, time)| *time >= Some(since));
        Answer::of(rows.skip((number(request, "page") - 1) * 3).take(3))
    };
    assert_eq!(
        reader.poll(&rules, 100, &mut source),
        Some(Next::Done(End::Short))
    );
    assert_eq!(reader.delivered.len(), 25);
}

#[test]
fn rows_without_time_are_walked() {
    let rules = Plan::new(time(0, 0), pages(20, Stop::Short)).asc().rules();
    let mut reader = Reader::new(Staging::InMemory);
    let mut source = |request: &PageRequest| page_of(&untimed(50), request, 20);
    assert_eq!(
        reader.poll(&rules, 100, &mut source),
        Some(Next::Done(End::Short))
    );
    assert_eq!(reader.delivered.len(), 50);
    assert_eq!(reader.cursor(), None);
}

#[test]
fn a_promise_of_order_that_is_broken_loses_nothing() {
    let check = |paginator: Paginator| {
        // The source lists the newest first, against what is configured.
        let mut rows = table(50);
        rows.reverse();
        let rules = Plan::new(time(0, 0), paginator.clone()).asc().rules();
        let mut reader = Reader::new(Staging::InMemory);
        reader.set(&Position::at(json!(at(1).to_string())));
        let mut source = |request: &PageRequest| page_of(&rows, request, 20);
        assert_eq!(
            reader.poll(&rules, 100, &mut source),
            Some(Next::Done(End::Short))
        );
        assert_eq!(reader.delivered.len(), 49, "{paginator:?}");
        assert!(reader.remarks.contains(&Remark::OutOfOrder));
        assert_eq!(reader.cursor(), Some(json!(at(49).to_string())));
    };
    check(pages(20, Stop::Short));
}

#[test]
fn pages_that_go_back_in_time_are_out_of_order() {
    let rules = Plan::new(time(0, 0), token("$.t")).asc().rules();
    let mut reader = Reader::new(Staging::InMemory);
    let mut source = script([
        Answer::of([(1, Some(60)), (2, Some(70))]).with(json!({"t": 1})),
        Answer::of([(3, Some(50))]),
    ]);
    reader.poll(&rules, 100, &mut source);
    assert_eq!(reader.remarks, [Remark::OutOfOrder]);
}

#[test]
fn pages_that_overlap_find_what_moved() {
    let check = |rows_before: u64, removed: u64, expected: &[usize], remarks: usize| {
        let plan = Plan {
            drift: std::num::NonZeroU32::new(1).map(Drift::OverlapRows),
            ..Plan::new(CursorKind::Seen, offsets(4, Stop::Short))
        };
        let rules = plan.rules();
        let mut reader = Reader::new(Staging::InMemory);
        let mut rows = untimed(rows_before);
        let mut source = |request: &PageRequest| {
            let answer = offset_of(&rows, request);
            // After the first answer, the first rows are deleted.
            if number(request, "offset") == 0 && rows.len() as u64 == rows_before {
                rows.drain(..usize::try_from(removed).unwrap());
            }
            answer
        };
        let next = reader.poll(&rules, 0, &mut source);
        assert!(matches!(next, Some(Next::Done(_))), "{next:?}");
        let requests = reader.requests.iter();
        let offsets: Vec<usize> = requests.map(|request| number(request, "offset")).collect();
        assert_eq!(offsets, expected, "{removed} of {rows_before}");
        assert_eq!(
            reader.delivered.len() as u64,
            rows_before,
            "{removed} of {rows_before}"
        );
        assert_eq!(reader.remarks.len(), remarks);
    };
    check(10, 0, &[0, 3, 6, 9], 0);
    check(9, 0, &[0, 3, 6], 0);
    check(10, 1, &[0, 3, 0, 3, 6], 1);
    check(10, 3, &[0, 3, 0, 3, 6], 1);
    check(2, 0, &[0], 0);
}

#[test]
fn overlapping_pages_end_on_a_page_with_nothing_of_its_own() {
    let plan = Plan {
        drift: std::num::NonZeroU32::new(2).map(Drift::OverlapRows),
        ..Plan::new(CursorKind::Seen, offsets(4, Stop::Empty))
    };
    let rules = plan.rules();
    let mut reader = Reader::new(Staging::InMemory);
    let mut source = |request: &PageRequest| offset_of(&untimed(6), request);
    assert_eq!(
        reader.poll(&rules, 0, &mut source),
        Some(Next::Done(End::Empty))
    );
    assert_eq!(reader.delivered.len(), 6);
    assert_eq!(reader.requests.len(), 3);
}

#[test]
fn the_cursor_waits_where_rows_drifted() {
    let plan = Plan {
        drift: std::num::NonZeroU32::new(1).map(Drift::OverlapRows),
        ..Plan::new(time(0, 0), offsets(4, Stop::Short)).asc()
    };
    let rules = plan.rules();
    let mut walk = Walk::new(&rules, None, at(100), at(200)).unwrap();
    let mut rows = table(12);
    let mut cursors = Vec::new();
    for _ in 0..3 {
        let answer = offset_of(&rows, &walk.request());
        let step = answer.show(&mut walk, at(100), |_| Standing::New);
        let Commit::Now(position) = step.commit else {
            panic!("{step:?}");
        };
        cursors.push(position.cursor);
        // Two rows are gone after the first page, which is further than pages overlap.
        rows.retain(|(id, _)| *id > 1);
    }
    let three = Some(json!(at(3).to_string()));
    let five = Some(json!(at(5).to_string()));
    assert_eq!(cursors, [three.clone(), three, five]);
}

#[test]
fn a_backlog_of_many_polls_does_not_hold_the_cursor_back() {
    let plan = Plan {
        pages_max: 1,
        ..Plan::new(time(10, 5), pages(20, Stop::Short)).asc()
    };
    let rules = plan.rules();
    let mut reader = Reader::new(Staging::InMemory);
    let rows = table(200);
    let mut source = |request: &PageRequest| page_of(&rows, request, 20);
    // Each poll comes a little later than the rows it reads.
    for started in [60, 80, 100, 120, 140] {
        reader.poll(&rules, started, &mut source);
    }
    assert_eq!(reader.cursor(), Some(json!(at(95).to_string())));
}
