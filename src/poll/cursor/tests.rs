//! Cursors: how they move, and when they must not.

use serde_json::json;

use super::super::page::Standing;
use super::super::position::Resume;
use super::super::rules::plan::{id, time};
use super::*;

const NOW: &str = "2026-05-01T12:00:00Z";

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn rule(kind: CursorKind, start: Start) -> CursorRule {
    CursorRule::new(kind, HasMore::Unsaid, start, Confirm::Never).unwrap()
}

fn minutes(count: u64) -> Duration {
    Duration::from_secs(count * 60)
}

#[test]
fn contradictions_are_refused() {
    let check = |kind: CursorKind, start: Start, confirm: Confirm, expected: CursorError| {
        let found = CursorRule::new(kind.clone(), HasMore::Unsaid, start.clone(), confirm);
        assert_eq!(found, Err(expected), "{kind:?} {start:?}");
    };
    let next_id = || CursorKind::NextId(id(Compare::None));
    let unit = |unit| {
        CursorKind::Timestamp(TimeCursor {
            overlap: Duration::ZERO,
            settle: Duration::ZERO,
            lower: LowerBound::Exclusive { unit },
        })
    };
    let never = Confirm::Never;
    let value = || Start::Value(json!(1));
    check(
        next_id(),
        Start::Now,
        Confirm::NextRequest,
        CursorError::NowErases,
    );
    check(next_id(), Start::Now, Confirm::Call, CursorError::NowErases);
    check(
        next_id(),
        Start::Ago(minutes(1)),
        never,
        CursorError::StartIsTime,
    );
    check(
        CursorKind::Seen,
        Start::At(at(NOW)),
        never,
        CursorError::StartIsTime,
    );
    check(
        CursorKind::Seen,
        value(),
        never,
        CursorError::StartIsValue("seen"),
    );
    check(
        CursorKind::None,
        value(),
        never,
        CursorError::StartIsValue("none"),
    );
    check(
        time(0, 0),
        value(),
        never,
        CursorError::StartIsValue("timestamp"),
    );
    let too_long = SPAN_MAX.as_secs() + 1;
    check(
        time(too_long, 0),
        Start::Now,
        never,
        CursorError::SpanTooLong("overlap"),
    );
    check(
        time(0, too_long),
        Start::Now,
        never,
        CursorError::SpanTooLong("settle"),
    );
    let ago = Start::Ago(Duration::MAX);
    check(time(0, 0), ago, never, CursorError::SpanTooLong("start"));
    check(unit(Duration::ZERO), Start::Now, never, CursorError::NoUnit);
    check(
        unit(Duration::MAX),
        Start::Now,
        never,
        CursorError::SpanTooLong("unit"),
    );
}

#[test]
fn a_source_begins_where_it_is_told_to() {
    let check = |kind: CursorKind, start: Start, expected: Position| {
        let found = rule(kind.clone(), start.clone()).first(at(NOW));
        assert_eq!(found, expected, "{kind:?} {start:?}");
    };
    let from = |text: &str| Position {
        floor: Some(at(text)),
        ..Position::default()
    };
    let learning = || Position {
        is_learning: true,
        ..Position::default()
    };
    let token = || CursorKind::Token {
        from: Origin::new("$.ts").unwrap(),
        compare: Compare::Auto,
    };
    check(time(60, 0), Start::Now, from(NOW));
    check(
        time(60, 0),
        Start::Ago(minutes(60)),
        from("2026-05-01T11:00:00Z"),
    );
    check(
        time(60, 0),
        Start::At(at("2026-01-01T00:00:00Z")),
        from("2026-01-01T00:00:00Z"),
    );
    check(time(60, 0), Start::Earliest, Position::default());
    check(CursorKind::Seen, Start::Now, learning());
    check(
        CursorKind::LastId(id(Compare::Auto)),
        Start::Now,
        learning(),
    );
    check(CursorKind::None, Start::Now, Position::default());
    check(CursorKind::Seen, Start::Earliest, Position::default());
    check(token(), Start::Value(json!("7")), Position::at(json!("7")));
}

#[test]
fn the_overlap_is_taken_off_the_cursor_and_never_off_the_start() {
    let check = |cursor: Option<&str>, floor: Option<&str>, expected: Option<&str>| {
        let rule = rule(time(300, 0), Start::Now);
        let position = Position {
            cursor: cursor.map(Value::from),
            floor: floor.map(at),
            ..Position::default()
        };
        let bound = rule.bound(&position).unwrap();
        let asked = rule.asked(bound.as_ref(), None);
        assert_eq!(asked, expected.map(Value::from), "{cursor:?} {floor:?}");
        assert_eq!(rule.horizon(&position).unwrap(), expected.map(at));
    };
    check(None, None, None);
    check(Some(NOW), None, Some("2026-05-01T11:55:00Z"));
    check(None, Some(NOW), Some(NOW));
    check(Some("2026-05-01T12:02:00Z"), Some(NOW), Some(NOW));
    check(
        Some("2026-05-01T12:06:00Z"),
        Some(NOW),
        Some("2026-05-01T12:01:00Z"),
    );
    check(
        Some("2026-05-01T14:00:00+02:00"),
        None,
        Some("2026-05-01T11:55:00Z"),
    );
    check(
        Some("-009999-01-02T02:00:00Z"),
        None,
        Some("-009999-01-02T01:59:59Z"),
    );
}

#[test]
fn a_stored_cursor_that_is_no_time_is_refused() {
    let check = |cursor: Value, is_fine: bool| {
        let rule = rule(time(0, 0), Start::Now);
        let found = rule.bound(&Position::at(cursor.clone()));
        assert_eq!(found.is_ok(), is_fine, "{cursor}");
    };
    check(json!(NOW), true);
    check(json!("2026-05-01 12:00:00"), true);
    check(json!(1_700_000_000), true);
    check(json!(1_700_000_000_000_i64), true);
    check(json!("yesterday"), false);
    check(json!(1.5), false);
    check(json!(null), false);
    check(json!([NOW]), false);
}

#[test]
fn an_exclusive_bound_is_lowered_by_one_unit() {
    let kind = CursorKind::Timestamp(TimeCursor {
        overlap: minutes(5),
        settle: Duration::ZERO,
        lower: LowerBound::Exclusive {
            unit: Duration::from_secs(1),
        },
    });
    let rule = rule(kind, Start::Now);
    let bound = rule.bound(&Position::at(json!(NOW))).unwrap();
    let asked = rule.asked(bound.as_ref(), None);
    assert_eq!(asked, Some(json!("2026-05-01T11:54:59Z")));
    let anchored = rule.asked(bound.as_ref(), Some(at(NOW)));
    assert_eq!(anchored, Some(json!("2026-05-01T11:59:59Z")));
}

#[test]
fn the_horizon_is_not_past_an_unfinished_walk() {
    let rule = rule(time(300, 0), Start::Now);
    let position = Position {
        resume: Some(Resume::begin(at(NOW), Some(json!("2026-05-01T10:00:00Z")))),
        ..Position::at(json!(NOW))
    };
    let horizon = rule.horizon(&position).unwrap();
    assert_eq!(horizon, Some(at("2026-05-01T10:00:00Z")));
}

#[test]
fn values_are_compared_as_what_they_are() {
    use Ordering::{Equal, Greater, Less};
    let check = |compare: Compare, one: Value, other: Value, expected| {
        let found = compare.order(&one, &other);
        assert_eq!(found, expected, "{compare:?} {one} {other}");
    };
    let bad = Err(Breach::NotComparable);
    let integer = Compare::Integer;
    check(integer, json!("9"), json!("10"), Ok(Some(Less)));
    check(integer, json!(10), json!("9"), Ok(Some(Greater)));
    check(integer, json!("007"), json!(7), Ok(Some(Equal)));
    check(integer, json!(-2), json!(1), Ok(Some(Less)));
    check(integer, json!(-2), json!(-10), Ok(Some(Greater)));
    check(integer, json!("-0"), json!(0), Ok(Some(Equal)));
    let long = "9".repeat(60);
    check(
        integer,
        json!(long),
        json!("1".to_owned() + &"0".repeat(60)),
        Ok(Some(Less)),
    );
    check(integer, json!("a"), json!(1), bad);
    check(integer, json!(1.5), json!(1), bad);
    check(integer, json!(""), json!(1), bad);
    check(integer, json!("-"), json!(1), bad);
    check(integer, json!([1]), json!(1), bad);
    check(
        Compare::Time,
        json!("2026-05-01T12:00:00+02:00"),
        json!("2026-05-01T11:00:00Z"),
        Ok(Some(Less)),
    );
    check(Compare::Time, json!("x"), json!(NOW), bad);
    check(Compare::Auto, json!("9"), json!("10"), Ok(Some(Less)));
    check(
        Compare::Auto,
        json!(NOW),
        json!("2026-05-01T14:00:00+02:00"),
        Ok(Some(Equal)),
    );
    check(Compare::Auto, json!("evt_2"), json!("evt_1"), Ok(None));
    check(Compare::Auto, json!("2"), json!("evt_1"), Ok(None));
    check(Compare::None, json!(1), json!(2), Ok(None));
}

#[test]
fn a_cursor_that_got_smaller_is_a_breach() {
    let check = |kind: CursorKind, old: Value, new: Value, expected: Result<Value, Breach>| {
        let rule = rule(kind.clone(), Start::Earliest);
        let found = rule.moved(Some(&old), new.clone());
        assert_eq!(found, expected, "{kind:?} {old} {new}");
    };
    let next_id = |compare| CursorKind::NextId(id(compare));
    let token = |compare| CursorKind::Token {
        from: Origin::new("$.ts").unwrap(),
        compare,
    };
    let back = || Err(Breach::WentBack);
    check(next_id(Compare::Auto), json!(9), json!(10), Ok(json!(10)));
    check(next_id(Compare::Auto), json!(10), json!(9), back());
    check(
        next_id(Compare::Auto),
        json!("b"),
        json!("a"),
        Ok(json!("a")),
    );
    check(next_id(Compare::Integer), json!("10"), json!("9"), back());
    check(
        next_id(Compare::Time),
        json!(NOW),
        json!("2026-05-01T11:00:00Z"),
        back(),
    );
    check(next_id(Compare::None), json!(10), json!(9), Ok(json!(9)));
    check(
        token(Compare::Auto),
        json!("10"),
        json!("9"),
        Ok(json!("9")),
    );
    check(token(Compare::Integer), json!("10"), json!("9"), back());
    check(
        token(Compare::Integer),
        json!("10"),
        json!("x"),
        Err(Breach::NotComparable),
    );
    check(
        time(0, 0),
        json!(NOW),
        json!("2026-05-01T11:00:00Z"),
        Ok(json!(NOW)),
    );
}

/// What a page of items with these ids and minutes says.
fn mark(kind: CursorKind, order: Order, items: &[(Value, i64)]) -> Result<Option<Value>, NoValue> {
    let body = json!({"ts": "t9"});
    let values: Vec<Value> = items.iter().map(|(id, _)| json!({"id": id})).collect();
    let seen: Vec<Seen<'_>> = items
        .iter()
        .zip(&values)
        .map(|((_, minute), item)| Seen {
            id: "",
            item,
            time: Timestamp::from_second(minute * 60).ok(),
            standing: Standing::New,
        })
        .collect();
    let page = Page {
        body: &body,
        headers: &[("X-Ts".to_owned(), "h9".to_owned())],
        url: "",
        raw_count: seen.len(),
        items: &seen,
        has_more: None,
        next_id: &|last| match last.as_i64() {
            Some(last) => Ok(json!(last + 1)),
            None => Err("no number".to_owned()),
        },
    };
    let limit = Timestamp::from_second(10 * 60).unwrap();
    rule(kind, Start::Earliest).mark(&page, order, limit)
}

#[test]
fn a_page_says_what_the_cursor_should_become() {
    let check = |kind: CursorKind, order: Order, items: &[(Value, i64)], expected| {
        assert_eq!(
            mark(kind.clone(), order, items),
            expected,
            "{kind:?} {items:?}"
        );
    };
    let next_id = || CursorKind::NextId(id(Compare::Auto));
    let last_id = || CursorKind::LastId(id(Compare::Auto));
    let ids = [(json!(5), 0), (json!(12), 0), (json!(7), 0)];
    check(next_id(), Order::Asc, &ids, Ok(Some(json!(8))));
    check(next_id(), Order::None, &ids, Ok(Some(json!(13))));
    check(last_id(), Order::Asc, &ids, Ok(Some(json!(7))));
    check(last_id(), Order::Desc, &ids, Ok(Some(json!(5))));
    check(next_id(), Order::Asc, &[], Ok(None));
    check(next_id(), Order::Asc, &[(json!("x"), 0)], Err(NoValue));
    check(last_id(), Order::Asc, &[(json!(null), 0)], Err(NoValue));
    check(
        last_id(),
        Order::None,
        &[(json!(1), 0), (json!(null), 0)],
        Err(NoValue),
    );
    let texts = [(json!("b"), 0), (json!("a"), 0)];
    check(last_id(), Order::None, &texts, Ok(Some(json!("a"))));
    let token = |from: &str| CursorKind::Token {
        from: Origin::new(from).unwrap(),
        compare: Compare::Auto,
    };
    check(token("$.ts"), Order::Asc, &[], Ok(Some(json!("t9"))));
    check(token("header:x-ts"), Order::Asc, &[], Ok(Some(json!("h9"))));
    check(token("$.none"), Order::Asc, &ids, Ok(None));
    check(CursorKind::Seen, Order::Asc, &ids, Ok(None));
    check(CursorKind::None, Order::Asc, &ids, Ok(None));
    let minute = |minute: i64| Ok(Timestamp::from_second(minute * 60).ok().map(text_of));
    check(
        time(0, 0),
        Order::None,
        &[(json!(1), 9), (json!(2), 3)],
        minute(9),
    );
    check(
        time(0, 0),
        Order::Asc,
        &[(json!(1), 9), (json!(2), 11)],
        minute(9),
    );
    check(time(0, 0), Order::Asc, &[(json!(1), 10)], minute(10));
    check(time(0, 0), Order::Asc, &[(json!(1), 11)], Ok(None));
    check(time(0, 0), Order::Asc, &[], Ok(None));
    check(
        time(0, 0),
        Order::Asc,
        &[(json!(1), i64::MAX / 60)],
        Ok(None),
    );
}
