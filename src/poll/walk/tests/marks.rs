//! Where the cursor goes.

use super::super::super::cursor::VALUE_BYTES_MAX;
use super::*;

#[test]
fn a_timestamp_cursor_goes_no_further_than_it_may() {
    let check = |rows: &[i64], started: i64, expected: Option<i64>| {
        let rules = Plan::new(time(0, 10), Paginator::None).asc().rules();
        let mut reader = Reader::new(Staging::InMemory);
        reader.set(&Position::at(json!(at(50).to_string())));
        let rows: Vec<Row> = rows.iter().map(|time| (1, Some(*time))).collect();
        reader.poll(&rules, started, &mut script([Answer::of(rows.clone())]));
        let expected = expected.map(|second| json!(at(second).to_string()));
        assert_eq!(reader.cursor(), expected, "{rows:?} {started}");
        assert_eq!(reader.delivered.len(), rows.len(), "{rows:?} {started}");
    };
    check(&[60, 70], 100, Some(70));
    check(&[60, 90], 100, Some(90));
    check(&[60, 91], 100, Some(60));
    check(&[60, 1_000_000], 100, Some(60));
    check(&[1_000_000], 100, Some(50));
    check(&[], 100, Some(50));
    check(&[60], 10, Some(50));
    check(&[50], 100, Some(50));
}

#[test]
fn rows_from_before_the_bound_are_not_wanted() {
    let check = |start: Start, position: Option<Position>, expected: Take| {
        let plan = Plan {
            start: start.clone(),
            ..Plan::new(time(10, 0), Paginator::None)
        };
        let rules = plan.rules();
        let mut walk = Walk::new(&rules, position, at(100), at(200)).unwrap();
        let step = Answer::of(table(3)).show(&mut walk, at(100), |_| Standing::New);
        assert_eq!(step.take, expected, "{start:?}");
    };
    let cursor = || Some(Position::at(json!(at(50).to_string())));
    check(Start::Now, None, Take::Since(at(100)));
    check(Start::Earliest, None, Take::All);
    check(Start::Earliest, cursor(), Take::Since(at(40)));
}

#[test]
fn a_source_that_starts_now_learns_what_there_is() {
    let plan = Plan {
        start: Start::Now,
        pages_max: 2,
        ..Plan::new(CursorKind::Seen, pages(20, Stop::Short))
    };
    let rules = plan.rules();
    let mut reader = Reader::new(Staging::InMemory);
    let mut rows = untimed(50);
    let poll = |reader: &mut Reader, rows: &[Row]| {
        reader.poll(&rules, 100, &mut |request| page_of(rows, request, 20))
    };
    assert_eq!(poll(&mut reader, &rows), Some(Next::Done(End::PageLimit)));
    assert_eq!(poll(&mut reader, &rows), Some(Next::Done(End::Short)));
    assert_eq!(reader.delivered.len(), 0);
    rows.insert(0, (77, None));
    poll(&mut reader, &rows);
    assert_eq!(reader.delivered, ["77@0"]);
}

#[test]
fn learning_goes_on_while_there_is_more() {
    let plan = Plan {
        start: Start::Now,
        has_more: HasMore::Selected(selector("$.more")),
        ..Plan::new(CursorKind::NextId(id(Compare::Auto)), Paginator::None).asc()
    };
    let rules = plan.rules();
    let mut reader = Reader::new(Staging::InMemory);
    let mut source = script([
        Answer::of([(1, None)]).with(json!({"more": true})),
        Answer::of([(2, None)]),
        Answer::of([(3, None)]),
    ]);
    reader.poll(&rules, 0, &mut source);
    assert_eq!(reader.delivered.len(), 0);
    reader.poll(&rules, 0, &mut source);
    assert_eq!(reader.delivered, ["3@0"]);
}

#[test]
fn a_next_id_is_followed_even_to_lower_ids() {
    let plan = Plan {
        has_more: HasMore::Expression,
        ..Plan::new(CursorKind::NextId(id(Compare::None)), Paginator::None).asc()
    };
    let rules = plan.rules();
    let mut reader = Reader::new(Staging::InMemory);
    let more = || json!({"more": true});
    let mut source = script([
        Answer::of([(900, None), (901, None)]).with(more()),
        Answer::of([(902, None)]).with(more()),
        Answer::of([]),
        Answer::of([(17, None)]).with(more()),
        Answer::of([]),
    ]);
    assert_eq!(
        reader.poll(&rules, 0, &mut source),
        Some(Next::Done(End::Single))
    );
    assert_eq!(
        reader.poll(&rules, 0, &mut source),
        Some(Next::Done(End::Single))
    );
    let expected = [json!(null), json!(902), json!(903), json!(903), json!(18)];
    assert_eq!(cursors(&reader), expected);
    assert_eq!(reader.delivered.len(), 4);
}

#[test]
fn a_cursor_that_went_back_pauses_the_source_and_nothing_is_taken() {
    let check = |kind: CursorKind, body: Value, row: Row, expected: Breach| {
        let rules = Plan::new(kind.clone(), Paginator::None).asc().rules();
        let mut reader = Reader::new(Staging::InMemory);
        reader.set(&Position::at(json!("100")));
        let next = reader.poll(&rules, 0, &mut script([Answer::of([row]).with(body)]));
        assert_eq!(next, Some(Next::Pause(expected)), "{kind:?}");
        assert_eq!(reader.position(), Some(Position::at(json!("100"))));
        assert_eq!(reader.delivered.len(), 0);
    };
    let row = (7, None);
    let long = json!({"ts": "x".repeat(VALUE_BYTES_MAX + 1)});
    check(delta(Compare::None), long, row, Breach::NotComparable);
    let next_id = |compare| CursorKind::NextId(id(compare));
    check(next_id(Compare::Auto), json!({}), row, Breach::WentBack);
    check(next_id(Compare::Integer), json!({}), row, Breach::WentBack);
    check(
        delta(Compare::Integer),
        json!({"ts": 99}),
        row,
        Breach::WentBack,
    );
    check(
        delta(Compare::Integer),
        json!({"ts": "x"}),
        row,
        Breach::NotComparable,
    );
}

#[test]
fn items_without_cursor_stop_the_walk_where_it_is() {
    let rules = Plan::new(
        CursorKind::LastId(IdCursor {
            field: selector("$.none"),
            compare: Compare::Auto,
        }),
        Paginator::None,
    );
    let rules = rules.asc().rules();
    let mut reader = Reader::new(Staging::InMemory);
    reader.set(&Position::at(json!(7)));
    let next = reader.poll(&rules, 0, &mut script([Answer::of([(8, None)])]));
    assert_eq!(next, Some(Next::Stuck(Stuck::NoCursor)));
    assert_eq!(reader.cursor(), Some(json!(7)));
    assert_eq!(reader.delivered.len(), 1);
}

#[test]
fn a_token_moves_on_empty_pages_too() {
    let rules = Plan::new(delta(Compare::Auto), Paginator::None)
        .asc()
        .rules();
    let mut reader = Reader::new(Staging::InMemory);
    reader.set(&Position::at(json!("7")));
    let mut source = script([
        Answer::of([]).with(json!({"ts": "8"})),
        Answer::of([(1, None)]).with(json!({})),
    ]);
    reader.poll(&rules, 0, &mut source);
    assert_eq!(reader.cursor(), Some(json!("8")));
    reader.poll(&rules, 0, &mut source);
    assert_eq!(reader.cursor(), Some(json!("8")));
}

#[test]
fn a_newest_first_list_is_read_forward_page_by_page() {
    let plan = Plan {
        has_more: HasMore::Selected(selector("$.has_more")),
        ..Plan::new(CursorKind::LastId(id(Compare::Auto)), Paginator::None).desc()
    };
    let rules = plan.rules();
    let mut reader = Reader::new(Staging::InMemory);
    reader.set(&Position::at(json!(10)));
    let mut source = script([
        Answer::of([(12, None), (11, None)]).with(json!({"has_more": true})),
        Answer::of([(13, None)]).with(json!({"has_more": false})),
    ]);
    assert_eq!(
        reader.poll(&rules, 0, &mut source),
        Some(Next::Done(End::Single))
    );
    assert_eq!(cursors(&reader), [json!(10), json!(12)]);
    assert_eq!(reader.cursor(), Some(json!(13)));
}

#[test]
fn more_that_leads_nowhere_is_left() {
    let check = |kind: CursorKind, answers: Vec<Answer>, expected: Stuck| {
        let plan = Plan {
            has_more: HasMore::Selected(selector("$.more")),
            ..Plan::new(kind.clone(), Paginator::None).asc()
        };
        let rules = plan.rules();
        let mut reader = Reader::new(Staging::InMemory);
        let mut source = script(answers.into_iter().map(|answer| {
            let body = json!({"more": true, "ts": answer.rows.len()});
            answer.with(body)
        }));
        let next = reader.poll(&rules, 100, &mut source);
        assert_eq!(next, Some(Next::Stuck(expected)), "{kind:?}");
    };
    let page = |times: &[i64]| Answer::of(times.iter().map(|time| (1, Some(*time))));
    let none = || CursorKind::NextId(id(Compare::None));
    check(none(), vec![Answer::of([])], Stuck::NoProgress);
    check(none(), vec![page(&[1]), Answer::of([])], Stuck::NoProgress);
    check(
        time(0, 0),
        vec![page(&[5]), page(&[5, 5])],
        Stuck::NoProgress,
    );
    // The list goes back in time: what is missing may be older.
    check(time(0, 0), vec![page(&[5, 4])], Stuck::NoProgress);
    check(
        CursorKind::None,
        vec![page(&[5]), page(&[5])],
        Stuck::SamePage,
    );
    let back_and_forth = [1, 2, 1, 2, 1].map(|count| page(&vec![9; count])).to_vec();
    check(delta(Compare::None), back_and_forth, Stuck::SameToken);
}

#[test]
fn more_is_asked_for_at_once_or_on_schedule() {
    let check = |drain: Drain, expected: usize| {
        let plan = Plan {
            has_more: HasMore::Selected(selector("$.more")),
            drain,
            ..Plan::new(time(10, 0), Paginator::None).asc()
        };
        let rules = plan.rules();
        let mut reader = Reader::new(Staging::InMemory);
        let mut source = script([
            Answer::of([(1, Some(50))]).with(json!({"more": true})),
            Answer::of([(2, Some(60))]).with(json!({"more": false})),
        ]);
        assert_eq!(
            reader.poll(&rules, 100, &mut source),
            Some(Next::Done(End::Single))
        );
        let seconds: Vec<Option<i64>> = reader.requests.iter().map(second).collect();
        // The overlap is not read again within a poll.
        assert_eq!(seconds, [None, Some(50)][..expected], "{drain:?}");
    };
    check(Drain::AtOnce, 2);
    check(Drain::OnSchedule, 1);
}

#[test]
fn without_order_the_cursor_moves_at_the_end() {
    let rules = Plan::new(time(0, 0), token("$.t")).rules();
    let mut reader = Reader::new(Staging::InMemory);
    let mut cursors = Vec::new();
    for answer in [
        Answer::of([(1, Some(70)), (2, Some(60))]).with(json!({"t": 1})),
        Answer::of([(3, Some(65))]),
    ] {
        let mut walk = Walk::new(&rules, reader.position(), at(100), at(200)).unwrap();
        let step = answer.show(&mut walk, at(100), |_| Standing::New);
        let Commit::Now(position) = step.commit else {
            panic!("{step:?}");
        };
        reader.set(&position);
        cursors.push(position.cursor);
    }
    assert_eq!(cursors, [None, Some(json!(at(70).to_string()))]);
}

#[test]
fn a_delta_token_counts_once_the_list_is_read() {
    let rules = Plan::new(delta(Compare::Auto), token("$.next")).rules();
    let mut reader = Reader::new(Staging::InMemory);
    reader.set(&Position::at(json!("d1")));
    let mut source = script([
        Answer::of([(1, None)]).with(json!({"next": "a", "ts": "early"})),
        Answer::of([(2, None)]).with(json!({"ts": "d2"})),
    ]);
    reader.dies = Box::new({
        let mut chances = 0;
        move || {
            chances += 1;
            chances == 2
        }
    });
    assert_eq!(reader.poll(&rules, 0, &mut source), None);
    assert_eq!(reader.cursor(), Some(json!("d1")));
    reader.poll(&rules, 0, &mut source);
    assert_eq!(reader.cursor(), Some(json!("d2")));
}
