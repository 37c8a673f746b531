//! Pages of every kind, and where they end.

use serde_json::json;

use super::super::rules::plan::{offsets, pages, selector};
use super::*;

fn build(
    paginator: Paginator,
    pages_max: u32,
    drift: Option<Drift>,
) -> Result<Pagination, PaginationError> {
    let pages_max = NonZeroU32::new(pages_max).unwrap();
    Pagination::new(paginator, pages_max, drift, StopWhen::Exhausted)
}

fn plain(paginator: Paginator) -> Pagination {
    build(paginator, 100, None).unwrap()
}

fn token(from: &str, into: TokenPlace) -> Paginator {
    Paginator::Token {
        from: Origin::new(from).unwrap(),
        into,
        has_more: None,
    }
}

fn query() -> TokenPlace {
    TokenPlace::Query("after".to_owned())
}

fn body() -> TokenPlace {
    TokenPlace::Body(BodyPath::new("$.page.after").unwrap())
}

fn next_url(from: &str) -> Paginator {
    Paginator::NextUrl {
        from: Origin::new(from).unwrap(),
    }
}

fn link() -> Paginator {
    Paginator::LinkHeader {
        rel: "next".to_owned(),
    }
}

fn overlap(rows: u32) -> Option<Drift> {
    NonZeroU32::new(rows).map(Drift::OverlapRows)
}

#[test]
fn contradictions_are_refused() {
    let check = |paginator: Paginator, drift: Option<Drift>, expected: PaginationError| {
        let found = build(paginator.clone(), 100, drift);
        assert_eq!(found, Err(expected), "{paginator:?} {drift:?}");
    };
    let page = |param: &str, size_param: Option<&str>, stop| Paginator::Page {
        param: param.to_owned(),
        start: 1,
        size_param: size_param.map(str::to_owned),
        size: None,
        stop,
    };
    let long = "x".repeat(NAME_BYTES_MAX + 1);
    check(
        page("page", None, Stop::Short),
        None,
        PaginationError::ShortWithoutSize,
    );
    check(
        page("page", Some("n"), Stop::Empty),
        None,
        PaginationError::SizeParamWithoutSize,
    );
    check(page("", None, Stop::Empty), None, PaginationError::Name);
    check(page(&long, None, Stop::Empty), None, PaginationError::Name);
    let unnamed = Paginator::LinkHeader { rel: String::new() };
    check(unnamed, None, PaginationError::Name);
    check(
        link(),
        Some(Drift::Ignore),
        PaginationError::DriftWithoutNumbers,
    );
    check(
        Paginator::None,
        Some(Drift::Reanchor),
        PaginationError::DriftWithoutNumbers,
    );
    check(
        pages(20, Stop::Short),
        overlap(1),
        PaginationError::OverlapWithoutOffset,
    );
    check(
        offsets(20, Stop::Short),
        overlap(20),
        PaginationError::OverlapTooLong,
    );
    let many = build(link(), PAGES_MAX + 1, None);
    assert_eq!(many, Err(PaginationError::TooManyPages));
}

#[test]
fn a_page_is_asked_for_by_its_place() {
    let check = |paginator: Paginator, place: Place, expected: PageRequest| {
        let mut request = PageRequest::default();
        plain(paginator.clone()).ask(&place, &mut request);
        assert_eq!(request, expected, "{paginator:?} {place:?}");
    };
    let asks = |query: &[(&str, &str)]| PageRequest {
        query: query
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect(),
        ..PageRequest::default()
    };
    check(Paginator::None, Place::First, PageRequest::default());
    check(pages(20, Stop::Short), Place::First, asks(&[("page", "1")]));
    check(
        pages(20, Stop::Short),
        Place::Number(7),
        asks(&[("page", "7")]),
    );
    let sized = Paginator::Page {
        param: "p".to_owned(),
        start: 0,
        size_param: Some("n".to_owned()),
        size: NonZeroU32::new(50),
        stop: Stop::Empty,
    };
    check(sized, Place::First, asks(&[("p", "0"), ("n", "50")]));
    let offsets = || offsets(20, Stop::Short);
    check(
        offsets(),
        Place::First,
        asks(&[("offset", "0"), ("limit", "20")]),
    );
    check(
        offsets(),
        Place::Number(40),
        asks(&[("offset", "40"), ("limit", "20")]),
    );
    check(token("$.t", query()), Place::First, PageRequest::default());
    let named = |value: Value| Place::Token(value);
    check(
        token("$.t", query()),
        named(json!("a b")),
        asks(&[("after", "a b")]),
    );
    check(
        token("$.t", query()),
        named(json!(7)),
        asks(&[("after", "7")]),
    );
    let in_body = PageRequest {
        body: vec![(BodyPath::new("$.page.after").unwrap(), json!({"k": 1}))],
        ..PageRequest::default()
    };
    check(token("$.t", body()), named(json!({"k": 1})), in_body);
    let elsewhere = PageRequest {
        url: Some("https://h/2".to_owned()),
        ..PageRequest::default()
    };
    check(link(), Place::Url("https://h/2".to_owned()), elsewhere);
}

/// What follows a page of so many items.
fn after(paginator: Paginator, place: Place, count: usize, body: Value) -> Result<Onward, Stuck> {
    let headers = [
        ("x-next".to_owned(), "t2".to_owned()),
        ("Next-Page".to_owned(), "?page=2".to_owned()),
        ("LINK".to_owned(), "</2>; rel=\"next\"".to_owned()),
    ];
    let page = Page {
        body: &body,
        headers: &headers,
        url: "https://h/list?page=1",
        raw_count: count,
        items: &[],
        has_more: None,
        next_id: &|last| Ok(last.clone()),
    };
    plain(paginator).onward(&page, &place)
}

#[test]
fn numbered_pages_end_as_they_are_told_to() {
    let check = |paginator: Paginator, place: Place, count: usize, body: Value, expected| {
        let found = after(paginator.clone(), place.clone(), count, body.clone());
        assert_eq!(
            found,
            Ok(expected),
            "{paginator:?} {place:?} {count} {body}"
        );
    };
    let next = |number| Onward::Next(Place::Number(number));
    let page = |stop| pages(20, stop);
    let total = || Stop::Total(selector("$.total"));
    let more = || Stop::HasMore(selector("$.more"));
    let first = || Place::First;
    let number = Place::Number;
    check(page(Stop::Empty), first(), 1, json!({}), next(2));
    check(
        page(Stop::Empty),
        number(2),
        0,
        json!({}),
        Onward::End(End::Empty),
    );
    check(page(Stop::Short), first(), 20, json!({}), next(2));
    check(
        page(Stop::Short),
        number(2),
        19,
        json!({}),
        Onward::End(End::Short),
    );
    check(
        page(Stop::Short),
        number(2),
        0,
        json!({}),
        Onward::End(End::Empty),
    );
    check(page(Stop::Short), number(2), 25, json!({}), next(3));
    check(page(total()), first(), 20, json!({"total": 2}), next(2));
    check(
        page(total()),
        number(2),
        3,
        json!({"total": "2"}),
        Onward::End(End::LastPage),
    );
    check(
        page(total()),
        number(2),
        3,
        json!({"total": 0}),
        Onward::End(End::LastPage),
    );
    check(page(total()), number(2), 3, json!({}), next(3));
    check(page(total()), number(2), 3, json!({"total": -1}), next(3));
    check(
        page(total()),
        number(2),
        0,
        json!({"total": 9}),
        Onward::End(End::Empty),
    );
    check(page(more()), first(), 3, json!({"more": true}), next(2));
    check(
        page(more()),
        first(),
        20,
        json!({"more": false}),
        Onward::End(End::LastPage),
    );
    check(
        page(more()),
        first(),
        20,
        json!({}),
        Onward::End(End::LastPage),
    );
    check(
        page(more()),
        first(),
        0,
        json!({"more": true}),
        Onward::End(End::Empty),
    );
    let rows = |stop| offsets(20, stop);
    check(rows(Stop::Short), first(), 20, json!({}), next(20));
    check(rows(Stop::Short), number(20), 20, json!({}), next(40));
    check(
        rows(Stop::Short),
        number(40),
        1,
        json!({}),
        Onward::End(End::Short),
    );
    // A source that caps the limit: what came counts, not what was asked for.
    check(rows(Stop::Empty), number(20), 7, json!({}), next(27));
    check(
        rows(total()),
        number(20),
        20,
        json!({"total": 41}),
        next(40),
    );
    check(
        rows(total()),
        number(40),
        1,
        json!({"total": 41}),
        Onward::End(End::LastPage),
    );
    check(
        page(Stop::Empty),
        number(u64::MAX),
        1,
        json!({}),
        next(u64::MAX),
    );
}

#[test]
fn named_pages_end_where_no_name_follows() {
    let check = |paginator: Paginator, body: Value, expected: Result<Onward, Stuck>| {
        let found = after(paginator.clone(), Place::First, 0, body.clone());
        assert_eq!(found, expected, "{paginator:?} {body}");
    };
    let token_is = |value: Value| Ok(Onward::Next(Place::Token(value)));
    let url_is = |url: &str| Ok(Onward::Next(Place::Url(url.to_owned())));
    let last = || Ok(Onward::End(End::NoToken));
    let bad = || Err(Stuck::BadToken);
    check(
        token("$.t", query()),
        json!({"t": "a"}),
        token_is(json!("a")),
    );
    check(token("$.t", query()), json!({"t": 0}), token_is(json!(0)));
    check(
        token("header:X-Next", query()),
        json!({}),
        token_is(json!("t2")),
    );
    check(token("header:X-None", query()), json!({}), last());
    for nothing in [
        json!({}),
        json!({"t": null}),
        json!({"t": ""}),
        json!({"t": false}),
    ] {
        check(token("$.t", query()), nothing, last());
    }
    check(token("$.t", query()), json!({"t": {"k": 1}}), bad());
    check(
        token("$.t", body()),
        json!({"t": {"k": 1}}),
        token_is(json!({"k": 1})),
    );
    let long = json!({"t": "x".repeat(20_000)});
    check(token("$.t", body()), long, bad());
    let until_no = || Paginator::Token {
        from: Origin::new("$.t").unwrap(),
        into: query(),
        has_more: Some(selector("$.more")),
    };
    check(
        until_no(),
        json!({"t": "a", "more": 1}),
        token_is(json!("a")),
    );
    check(
        until_no(),
        json!({"t": "a"}),
        Ok(Onward::End(End::LastPage)),
    );
    check(
        next_url("$.n"),
        json!({"n": "https://x/2"}),
        url_is("https://x/2"),
    );
    check(
        next_url("$.n"),
        json!({"n": "/p?2"}),
        url_is("https://h/p?2"),
    );
    check(
        next_url("header:next-page"),
        json!({}),
        url_is("https://h/list?page=2"),
    );
    check(next_url("$.n"), json!({}), last());
    check(next_url("$.n"), json!({"n": 7}), bad());
    check(next_url("$.n"), json!({"n": "ftp://x"}), bad());
    check(link(), json!({}), url_is("https://h/2"));
    let previous = Paginator::LinkHeader {
        rel: "prev".to_owned(),
    };
    check(previous, json!({}), last());
}

#[test]
fn a_place_of_another_kind_of_list_is_not_known() {
    let check = |paginator: Paginator, place: Place, expected: bool| {
        let found = plain(paginator.clone()).knows(&place);
        assert_eq!(found, expected, "{paginator:?} {place:?}");
    };
    let url = || Place::Url("https://h".to_owned());
    check(Paginator::None, Place::First, true);
    check(Paginator::None, Place::Number(2), false);
    check(pages(20, Stop::Short), Place::Number(2), true);
    check(pages(20, Stop::Short), Place::Token(json!(2)), false);
    check(token("$.t", query()), Place::Token(json!(2)), true);
    check(token("$.t", query()), url(), false);
    check(link(), url(), true);
    check(next_url("$.n"), url(), true);
}
