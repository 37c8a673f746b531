//! Which rules go together, and when what is read is committed.

use super::super::cursor::{Compare, HasMore};
use super::super::pagination::{Paginator, Stop};
use super::plan::{Plan, id, offsets, pages, time};
use super::*;

fn link() -> Paginator {
    Paginator::LinkHeader {
        rel: "next".to_owned(),
    }
}

#[test]
fn contradictions_are_refused() {
    let check = |plan: Plan, expected: RulesError| {
        assert_eq!(plan.clone().build(), Err(expected), "{plan:?}");
    };
    let numbered = || Plan::new(time(0, 0), pages(20, Stop::Short));
    check(numbered(), RulesError::RowsMove);
    let ignored = |plan| Plan {
        drift: Some(Drift::Ignore),
        ..plan
    };
    check(ignored(numbered()), RulesError::RowsMove);
    check(
        Plan::new(time(0, 0), offsets(20, Stop::Empty)),
        RulesError::RowsMove,
    );
    let anchored = |plan| Plan {
        drift: Some(Drift::Reanchor),
        ..plan
    };
    check(anchored(numbered()), RulesError::NothingToAnchorAt);
    check(anchored(numbered().desc()), RulesError::NothingToAnchorAt);
    let seen = Plan::new(CursorKind::Seen, pages(20, Stop::Short));
    check(anchored(seen.clone().asc()), RulesError::NothingToAnchorAt);
    let known = |plan| Plan {
        stop_when: StopWhen::Known,
        ..plan
    };
    check(known(seen.asc()), RulesError::StopsBeforeNew);
    let more = |plan| Plan {
        has_more: HasMore::Expression,
        ..plan
    };
    check(more(Plan::new(time(0, 0), link())), RulesError::MoreIsOlder);
    check(
        more(Plan::new(time(0, 0), Paginator::None).desc()),
        RulesError::MoreIsOlder,
    );
}

#[test]
fn a_list_that_can_be_re_anchored_is() {
    let check = |plan: Plan, expected: Drift| {
        assert_eq!(plan.clone().rules().drift(), expected, "{plan:?}");
    };
    let numbered = || Plan::new(time(0, 0), pages(20, Stop::Short));
    check(numbered().asc(), Drift::Reanchor);
    check(numbered().desc(), Drift::Ignore);
    check(
        Plan {
            drift: Some(Drift::Ignore),
            ..numbered().asc()
        },
        Drift::Ignore,
    );
    check(Plan::new(time(0, 0), link()).asc(), Drift::Ignore);
    check(
        Plan::new(CursorKind::Seen, pages(20, Stop::Short)).asc(),
        Drift::Ignore,
    );
}

#[test]
fn newest_first_with_a_mark_is_committed_at_the_end() {
    let check = |plan: Plan, expected: Keeping| {
        assert_eq!(plan.clone().rules().keeping(), expected, "{plan:?}");
    };
    let last_id = || CursorKind::LastId(id(Compare::Auto));
    check(Plan::new(time(0, 0), link()).desc(), Keeping::AtEnd);
    check(Plan::new(last_id(), link()).desc(), Keeping::AtEnd);
    check(
        Plan::new(last_id(), Paginator::None).desc(),
        Keeping::PerPage,
    );
    check(Plan::new(last_id(), link()).asc(), Keeping::PerPage);
    check(Plan::new(last_id(), link()), Keeping::CursorAtEnd);
    check(Plan::new(time(0, 0), link()), Keeping::CursorAtEnd);
    check(
        Plan::new(CursorKind::Seen, link()).desc(),
        Keeping::CursorAtEnd,
    );
    check(
        Plan {
            stop_when: StopWhen::Known,
            ..Plan::new(CursorKind::Seen, link())
        },
        Keeping::AtEnd,
    );
}
