//! Walks over pages: what is committed when, and what comes next.

use std::collections::VecDeque;

use serde_json::json;

use super::super::cursor::{Compare, HasMore, IdCursor, Start};
use super::super::pagination::{Paginator, Stop, TokenPlace};
use super::super::rules::plan::{Plan, id, offsets, pages, selector, time};
use super::super::selector::Origin;
use super::fixture::{Answer, Reader, Row, Staging, at, number, second};
use super::*;

mod feeds;
mod marks;
mod moving;

/// A table of so many rows, one second apart, that does not move.
fn table(count: u64) -> Vec<Row> {
    (0..count).map(|id| (id, i64::try_from(id).ok())).collect()
}

fn untimed(count: u64) -> Vec<Row> {
    (0..count).map(|id| (id, None)).collect()
}

/// The rows from a request's cursor on, of its page.
fn page_of(rows: &[Row], request: &PageRequest, size: usize) -> Answer {
    let since = second(request);
    let rows = rows
        .iter()
        .filter(|(_, time)| since.is_none() || *time >= since);
    Answer::of(
        rows.copied()
            .skip((number(request, "page") - 1) * size)
            .take(size),
    )
}

fn offset_of(rows: &[Row], request: &PageRequest) -> Answer {
    let since = second(request);
    let rows = rows
        .iter()
        .filter(|(_, time)| since.is_none() || *time >= since);
    let (offset, limit) = (number(request, "offset"), number(request, "limit"));
    Answer::of(rows.copied().skip(offset).take(limit))
}

/// Answers one after the other, whatever is asked.
fn script(answers: impl IntoIterator<Item = Answer>) -> impl FnMut(&PageRequest) -> Answer {
    let mut answers: VecDeque<Answer> = answers.into_iter().collect();
    move |_| answers.pop_front().unwrap()
}

fn token(from: &str) -> Paginator {
    Paginator::Token {
        from: Origin::new(from).unwrap(),
        into: TokenPlace::Query("after".to_owned()),
        has_more: None,
    }
}

fn delta(compare: Compare) -> CursorKind {
    CursorKind::Token {
        from: Origin::new("$.ts").unwrap(),
        compare,
    }
}

/// What each request's cursor was, in seconds, and its page.
fn asked(reader: &Reader) -> Vec<(Option<i64>, usize)> {
    let requests = reader.requests.iter();
    requests
        .map(|request| (second(request), number(request, "page")))
        .collect()
}

fn cursors(reader: &Reader) -> Vec<Value> {
    let requests = reader.requests.iter();
    requests
        .map(|request| request.cursor.clone().unwrap_or_default())
        .collect()
}

#[test]
fn a_list_is_read_to_its_end() {
    let check = |paginator: Paginator, mut source: Box<dyn FnMut(&PageRequest) -> Answer>, end| {
        let rules = Plan::new(CursorKind::Seen, paginator.clone()).rules();
        let mut reader = Reader::new(Staging::InMemory);
        let next = reader.poll(&rules, 0, &mut source);
        assert_eq!(next, Some(Next::Done(end)), "{paginator:?}");
        assert_eq!(reader.delivered.len(), 50, "{paginator:?}");
        assert_eq!(
            reader.position(),
            Some(Position::default()),
            "{paginator:?}"
        );
        let firsts = reader.requests.iter().filter(|request| request.is_first);
        assert_eq!(firsts.count(), 1, "{paginator:?}");
    };
    let numbered = || Box::new(|request: &PageRequest| page_of(&untimed(50), request, 20));
    let rows = || Box::new(|request: &PageRequest| offset_of(&untimed(50), request));
    check(pages(20, Stop::Short), numbered(), End::Short);
    check(pages(20, Stop::Empty), numbered(), End::Empty);
    check(offsets(20, Stop::Short), rows(), End::Short);
    check(offsets(20, Stop::Empty), rows(), End::Empty);
    let all = Box::new(|_: &PageRequest| Answer::of(untimed(50)));
    check(Paginator::None, all, End::Single);
    let by_token = Box::new(|request: &PageRequest| {
        let from = match request.query.first() {
            Some((_, token)) => token.parse().unwrap(),
            None => 0,
        };
        let next = (from < 40).then_some(from + 20);
        let rows = untimed(50).into_iter().skip(from).take(20);
        Answer::of(rows).with(json!({"next": next}))
    });
    check(token("$.next"), by_token, End::NoToken);
    let by_link = Box::new(|request: &PageRequest| {
        let from = match &request.url {
            Some(url) => url.rsplit_once('=').unwrap().1.parse().unwrap(),
            None => 0,
        };
        let mut answer = Answer::of(untimed(50).into_iter().skip(from).take(20));
        if from < 40 {
            let link = format!("<?from={}>; rel=next", from + 20);
            answer.headers.push(("Link".to_owned(), link));
        }
        answer
    });
    let rel = "next".to_owned();
    check(Paginator::LinkHeader { rel }, by_link, End::NoToken);
}

#[test]
fn a_list_that_leads_in_circles_is_left() {
    let check =
        |paginator: Paginator, place: fn(usize) -> Answer, expected: Stuck, count: usize| {
            let rules = Plan::new(CursorKind::Seen, paginator.clone()).rules();
            let mut reader = Reader::new(Staging::InMemory);
            let mut asked = 0;
            let mut source = |_: &PageRequest| {
                asked += 1;
                place(asked)
            };
            let next = reader.poll(&rules, 0, &mut source);
            assert_eq!(next, Some(Next::Stuck(expected)), "{paginator:?}");
            assert_eq!(asked, count, "{paginator:?}");
            assert_eq!(
                reader.position(),
                Some(Position::default()),
                "{paginator:?}"
            );
            assert!(!reader.delivered.is_empty());
        };
    fn row(asked: usize) -> Answer {
        Answer::of([(asked as u64, None)])
    }
    let url = |from: &str| Paginator::NextUrl {
        from: Origin::new(from).unwrap(),
    };
    check(
        token("$.t"),
        |n| row(n).with(json!({"t": "same"})),
        Stuck::SameToken,
        2,
    );
    check(
        token("$.t"),
        |n| row(n).with(json!({"t": n % 2})),
        Stuck::SameToken,
        4,
    );
    check(
        token("$.t"),
        |n| row(n).with(json!({"t": n % 7})),
        Stuck::SameToken,
        15,
    );
    check(
        url("$.t"),
        |n| row(n).with(json!({"t": "?p=2"})),
        Stuck::SameToken,
        2,
    );
    check(
        token("$.t"),
        |n| row(7).with(json!({"t": n})),
        Stuck::SamePage,
        2,
    );
    check(pages(1, Stop::Short), |_| row(7), Stuck::SamePage, 2);
    check(offsets(1, Stop::Empty), |_| row(7), Stuck::SamePage, 2);
    check(
        token("$.t"),
        |n| row(n).with(json!({"t": {"k": 1}})),
        Stuck::BadToken,
        1,
    );
}

#[test]
fn a_long_circle_ends_in_some_poll() {
    let rules = Plan::new(CursorKind::Seen, token("$.t")).rules();
    let mut reader = Reader::new(Staging::InMemory);
    let mut asked = 0_u64;
    let mut source = |_: &PageRequest| {
        asked += 1;
        Answer::of([(asked, None)]).with(json!({"t": asked % 150}))
    };
    let ends: Vec<Next> = std::iter::repeat_with(|| reader.poll(&rules, 0, &mut source).unwrap())
        .take(5)
        .collect();
    assert!(ends.contains(&Next::Done(End::PageLimit)), "{ends:?}");
    assert!(ends.contains(&Next::Stuck(Stuck::SameToken)), "{ends:?}");
}

#[test]
fn empty_pages_with_tokens_are_followed() {
    let rules = Plan::new(CursorKind::Seen, token("$.t")).rules();
    let mut reader = Reader::new(Staging::InMemory);
    let mut source = script([
        Answer::of([]).with(json!({"t": 1})),
        Answer::of([]).with(json!({"t": 2})),
        Answer::of([(7, None)]),
    ]);
    let next = reader.poll(&rules, 0, &mut source);
    assert_eq!(next, Some(Next::Done(End::NoToken)));
    assert_eq!(reader.delivered.len(), 1);
}

#[test]
fn short_is_what_came_and_not_what_is_left_of_it() {
    let check = |raw_count: usize, rows: u64, expected: Next| {
        let rules = Plan::new(CursorKind::Seen, pages(20, Stop::Short)).rules();
        let mut walk = Walk::new(&rules, None, at(0), at(9)).unwrap();
        let answer = Answer {
            raw_count: Some(raw_count),
            ..Answer::of(untimed(rows))
        };
        let step = answer.show(&mut walk, at(1), |_| Standing::New);
        assert_eq!(step.next, expected, "{raw_count} {rows}");
    };
    check(20, 0, Next::More);
    check(20, 3, Next::More);
    check(19, 19, Next::Done(End::Short));
    check(0, 0, Next::Done(End::Empty));
}

#[test]
fn a_poll_that_is_cut_short_goes_on_where_it_was() {
    let check = |pages_max: u32, until: i64, expected: End| {
        let plan = Plan {
            pages_max,
            ..Plan::new(CursorKind::Seen, pages(20, Stop::Short))
        };
        let rules = plan.rules();
        let mut walk = Walk::new(&rules, None, at(0), at(until)).unwrap();
        let full = || {
            page_of(
                &untimed(50),
                &PageRequest {
                    query: vec![("page".to_owned(), "1".to_owned())],
                    ..PageRequest::default()
                },
                20,
            )
        };
        let step = full().show(&mut walk, at(5), |_| Standing::New);
        assert_eq!(step.next, Next::Done(expected));
        assert!(expected.is_truncated());
        let Commit::Now(position) = step.commit else {
            panic!("{step:?}");
        };
        let walk = Walk::new(&rules, Some(position), at(60), at(99)).unwrap();
        let request = walk.request();
        assert_eq!(number(&request, "page"), 2);
        assert!(!request.is_first);
    };
    check(1, 9, End::PageLimit);
    check(9, 5, End::OutOfTime);
}

#[test]
fn pages_belong_to_one_query_while_the_cursor_moves() {
    let rules = Plan::new(time(10, 0), token("$.t")).asc().rules();
    let mut reader = Reader::new(Staging::InMemory);
    reader.set(&Position::at(json!(at(50).to_string())));
    let mut cursors = Vec::new();
    let mut asked = 0;
    let mut source = |request: &PageRequest| {
        asked += 1;
        cursors.push(second(request));
        let next = (asked < 3).then_some(asked);
        Answer::of([(asked, Some(60 + asked as i64))]).with(json!({"t": next}))
    };
    reader.dies = Box::new({
        let mut chances = 0;
        move || {
            chances += 1;
            chances == 4
        }
    });
    assert_eq!(reader.poll(&rules, 100, &mut source), None);
    assert_eq!(reader.cursor(), Some(json!(at(62).to_string())));
    assert_eq!(
        reader.poll(&rules, 200, &mut source),
        Some(Next::Done(End::NoToken))
    );
    assert_eq!(cursors, [Some(40), Some(40), Some(40)]);
    assert_eq!(reader.cursor(), Some(json!(at(63).to_string())));
}

#[test]
fn a_walk_of_other_pages_begins_anew() {
    let numbered = Plan::new(time(0, 0), pages(1, Stop::Short)).asc().rules();
    let mut walk = Walk::new(&numbered, None, at(100), at(200)).unwrap();
    let step = Answer::of([(1, Some(5))]).show(&mut walk, at(100), |_| Standing::New);
    let Commit::Now(position) = step.commit else {
        panic!("{step:?}");
    };
    let resume = position.resume.as_ref().unwrap();
    assert_eq!(resume.place, Place::Number(2));
    let by_token = Plan::new(time(0, 0), token("$.t")).asc().rules();
    let walk = Walk::new(&by_token, Some(position), at(100), at(200)).unwrap();
    assert!(walk.request().is_first);
}

#[test]
fn a_cursor_that_is_no_time_is_refused() {
    let rules = Plan::new(time(0, 0), Paginator::None).rules();
    let position = Position::at(json!("soon"));
    let found = Walk::new(&rules, Some(position), at(0), at(1)).map(|walk| walk.request());
    assert_eq!(found, Err(PositionError::NotATime));
}
