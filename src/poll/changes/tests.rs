//! Whole lists compared: what is told of them, and what never is.

use serde_json::json;

use super::super::items::id::ItemId;
use super::*;

fn paths(texts: &[&str]) -> Vec<JsonPath> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn spec() -> ChangeSpec {
    ChangeSpec {
        compare: Vec::new(),
        ignore: Vec::new(),
        emit: vec![
            ChangeKind::Created,
            ChangeKind::Updated,
            ChangeKind::Deleted,
        ],
        after_missing: NonZeroU32::new(3).unwrap(),
        guard: 20,
        first: First::Baseline,
    }
}

fn found(item: &Value) -> Found {
    Found {
        id: ItemId::plain(item["id"].as_str().unwrap().to_owned()),
        version: None,
        time: None,
        lane: None,
        change: match item["gone"].as_bool() {
            Some(true) => ChangeKind::Deleted,
            Some(false) | None => ChangeKind::Created,
        },
        item: item.clone(),
    }
}

fn page(items: &[Value]) -> Extracted {
    Extracted {
        raw_count: items.len(),
        rows: items.iter().map(|item| Row::Kept(found(item))).collect(),
        ..Extracted::default()
    }
}

fn complete(items: &[Value]) -> CompletePoll {
    CompletePoll::new([page(items)], Ending::LastPage).unwrap()
}

/// Items `a`, `b`, … that are all alike.
fn letters(letters: &str) -> Vec<Value> {
    let letters = letters.chars();
    letters.map(|id| json!({"id": id.to_string()})).collect()
}

/// A source, and what is stored of it.
struct Source {
    rules: ChangeRules,
    stored: Option<Snapshot>,
}

impl Source {
    fn new(spec: ChangeSpec) -> Self {
        Self {
            rules: ChangeRules::new(spec).unwrap(),
            stored: None,
        }
    }

    /// A source that knows these.
    fn knows(spec: ChangeSpec, items: &[Value]) -> Self {
        let mut source = Self::new(spec);
        source.poll(items);
        source
    }

    fn diff(&mut self, items: &[Value], deletions: Deletions) -> Diff {
        let stored = self.stored.clone();
        let diff = self.rules.diff(stored, complete(items), deletions);
        let diff = diff.unwrap();
        if let Diff::Changes(step) = &diff {
            self.check_written(step);
            self.stored = Some(step.next.clone());
        }
        diff
    }

    /// What is written and removed makes the next snapshot of the stored one.
    fn check_written(&self, step: &Step) {
        let mut made = self.stored.clone().unwrap_or_default();
        for id in &step.removed {
            assert!(made.remove(id).is_some(), "{id}");
        }
        for id in &step.written {
            let entry = step.next[id].clone();
            assert_ne!(made.insert(id.clone(), entry.clone()), Some(entry));
        }
        assert_eq!(made, step.next);
    }

    /// The changes as `kind id`, or `guard gone/of`.
    fn poll(&mut self, items: &[Value]) -> Vec<String> {
        match self.diff(items, Deletions::Guarded) {
            Diff::Guard { gone, of } => vec![format!("guard {gone}/{of}")],
            Diff::Changes(step) => {
                let changes = step.changes.iter();
                changes
                    .map(|change| format!("{} {}", change.kind.label(), change.id))
                    .collect()
            }
        }
    }
}

const NOTHING: [&str; 0] = [];

#[test]
fn the_first_poll_only_learns_or_tells_all() {
    let check = |first: First, expected: &[&str]| {
        let mut source = Source::new(ChangeSpec { first, ..spec() });
        assert_eq!(source.poll(&letters("ba")), expected);
        assert_eq!(source.poll(&letters("ba")), NOTHING);
        assert_eq!(source.poll(&letters("bac")), ["created c"]);
    };
    check(First::Baseline, &[]);
    check(First::Emit, &["created b", "created a"]);
}

#[test]
fn one_empty_answer_does_not_wipe_the_backend() {
    let all = letters("abcdefghij");
    let mut source = Source::knows(spec(), &all);
    assert_eq!(source.poll(&[]), NOTHING);
    assert_eq!(source.poll(&all), NOTHING);
    let entries = source.stored.as_ref().unwrap();
    assert_eq!(entries.len(), 10);
    assert!(entries.values().all(|entry| entry.missing == 0));
}

#[test]
fn empty_answers_for_good_stop_the_source_and_delete_nothing() {
    let all = letters("abcdefghij");
    let mut source = Source::knows(spec(), &all);
    assert_eq!(source.poll(&[]), NOTHING);
    assert_eq!(source.poll(&[]), NOTHING);
    let before = source.stored.clone();
    for _ in 0..3 {
        assert_eq!(source.poll(&[]), ["guard 10/10"]);
        assert_eq!(source.stored, before);
    }
    // Nothing was deleted, so nothing comes back as new.
    assert_eq!(source.poll(&all), NOTHING);
}

#[test]
fn a_person_can_let_the_deletions_pass() {
    let after_missing = NonZeroU32::MIN;
    let once = ChangeSpec {
        after_missing,
        ..spec()
    };
    let mut source = Source::knows(once, &letters("abcde"));
    assert_eq!(source.poll(&letters("a")), ["guard 4/5"]);
    let Diff::Changes(step) = source.diff(&letters("a"), Deletions::Accepted) else {
        panic!("the guard looked");
    };
    assert_eq!((step.changes.len(), step.next.len()), (4, 1));
}

#[test]
fn only_what_is_missing_often_enough_in_a_row_is_gone() {
    let all = letters("abcdefghij");
    let some = letters("abcdefghi");
    let mut source = Source::knows(spec(), &all);
    assert_eq!(source.poll(&some), NOTHING);
    assert_eq!(source.poll(&some), NOTHING);
    assert_eq!(source.poll(&all), NOTHING);
    assert_eq!(source.poll(&some), NOTHING);
    assert_eq!(source.poll(&some), NOTHING);
    assert_eq!(source.poll(&some), ["deleted j"]);
    assert_eq!(source.poll(&some), NOTHING);
    assert_eq!(source.poll(&all), ["created j"]);
}

#[test]
fn the_guard_looks_at_how_many_go_at_once() {
    let check = |guard: u8, before: &str, after: &str, is_guarded: bool| {
        let after_missing = NonZeroU32::MIN;
        let rules = ChangeSpec {
            after_missing,
            guard,
            ..spec()
        };
        let mut source = Source::knows(rules, &letters(before));
        let changes = source.poll(&letters(after));
        let found = changes.iter().any(|change| change.starts_with("guard"));
        assert_eq!(found, is_guarded, "{guard} {before} {after}");
    };
    // 3 of 15 are 20%, not more.
    check(20, "abcdefghijklmno", "abcdefghijkl", false);
    check(19, "abcdefghijklmno", "abcdefghijkl", true);
    // Two of a few may go.
    check(20, "abcd", "ab", false);
    check(20, "abcd", "a", true);
    // Everything may not, unless it was one.
    check(20, "ab", "", true);
    check(20, "a", "", false);
    check(0, "abcdefghijklmno", "abcdefghijklmn", false);
    check(0, "abcdefghijklmno", "abcdefghijkl", true);
    check(100, "abcd", "", false);
}

#[test]
fn the_guard_looks_also_when_nobody_is_told_of_deletions() {
    let quiet = ChangeSpec {
        emit: vec![ChangeKind::Created],
        after_missing: NonZeroU32::MIN,
        ..spec()
    };
    let mut source = Source::knows(quiet, &letters("abcd"));
    assert_eq!(source.poll(&[]), ["guard 4/4"]);
    assert_eq!(source.poll(&letters("abcd")), NOTHING);
}

#[test]
fn only_what_is_asked_for_is_told() {
    let check = |emit: ChangeKind, expected: &str| {
        let rules = ChangeSpec {
            emit: vec![emit],
            after_missing: NonZeroU32::MIN,
            ..spec()
        };
        let mut source = Source::knows(rules, &[json!({"id": "a"}), json!({"id": "b"})]);
        let next = [json!({"id": "a", "x": 1}), json!({"id": "c"})];
        assert_eq!(source.poll(&next), [expected]);
        assert_eq!(source.poll(&next), NOTHING);
    };
    check(ChangeKind::Created, "created c");
    check(ChangeKind::Updated, "updated a");
    check(ChangeKind::Deleted, "deleted b");
}

#[test]
fn changes_come_in_the_order_of_the_source_and_deletions_last() {
    let rules = ChangeSpec {
        after_missing: NonZeroU32::MIN,
        ..spec()
    };
    let mut source = Source::knows(rules, &letters("pbzma"));
    let next = [
        json!({"id": "y"}),
        json!({"id": "p", "gone": true}),
        json!({"id": "m", "x": 1}),
        json!({"id": "c"}),
        json!({"id": "a"}),
        json!({"id": "z"}),
    ];
    let expected = [
        "created y",
        "updated m",
        "created c",
        "deleted b",
        "deleted p",
    ];
    assert_eq!(source.poll(&next), expected);
}

#[test]
fn a_change_has_the_item_before_and_after() {
    let rules = ChangeSpec {
        after_missing: NonZeroU32::MIN,
        ..spec()
    };
    let old = json!({"id": "a", "balance": 1});
    let new = json!({"id": "a", "balance": 2});
    let mut source = Source::knows(rules, std::slice::from_ref(&old));
    let mut check = |items: &[Value], kind: ChangeKind, item: &Value, previous: Option<&Value>| {
        let Diff::Changes(step) = source.diff(items, Deletions::Guarded) else {
            panic!("the guard looked");
        };
        let expected = Change {
            id: "a".to_owned(),
            kind,
            item: item.clone(),
            previous: previous.cloned(),
        };
        assert_eq!(step.changes, [expected]);
    };
    let tombstone = json!({"id": "a", "gone": true});
    check(
        std::slice::from_ref(&new),
        ChangeKind::Updated,
        &new,
        Some(&old),
    );
    // A value that comes back is a change like any other.
    check(
        std::slice::from_ref(&old),
        ChangeKind::Updated,
        &old,
        Some(&new),
    );
    check(&[], ChangeKind::Deleted, &old, Some(&old));
    check(std::slice::from_ref(&new), ChangeKind::Created, &new, None);
    check(
        std::slice::from_ref(&tombstone),
        ChangeKind::Deleted,
        &tombstone,
        Some(&new),
    );
}

#[test]
fn a_tombstone_of_an_unknown_item_is_nothing() {
    let mut source = Source::knows(spec(), &letters("a"));
    let next = [json!({"id": "a"}), json!({"id": "b", "gone": true})];
    assert_eq!(source.poll(&next), NOTHING);
    assert_eq!(source.stored.unwrap().len(), 1);
}

#[test]
fn only_what_matters_is_compared() {
    let check = |compare: &[&str], ignore: &[&str], old: Value, new: Value, differ: bool| {
        let (compare, ignore) = (paths(compare), paths(ignore));
        let rules = ChangeSpec {
            compare,
            ignore,
            ..spec()
        };
        let mut source = Source::knows(rules, std::slice::from_ref(&old));
        let changes = source.poll(std::slice::from_ref(&new));
        assert_eq!(!changes.is_empty(), differ, "{old} {new}");
    };
    let item = |balance: i64, at: i64| json!({"id": "a", "balance": balance, "at": at});
    let turned = json!({"at": 1, "balance": 1, "id": "a"});
    check(&[], &[], item(1, 1), turned, false);
    check(&[], &[], item(1, 1), item(1, 2), true);
    check(&[], &["$.at"], item(1, 1), item(1, 2), false);
    check(&[], &["$.at"], item(1, 1), item(2, 1), true);
    check(&["$.balance"], &[], item(1, 1), item(1, 2), false);
    check(&["$.balance"], &[], item(1, 1), item(2, 1), true);
    let none = json!({"id": "a"});
    check(&["$.balance"], &[], item(1, 1), none.clone(), true);
    check(&["$.other"], &[], item(1, 1), none, false);
    let pair = |one: Value, other: Value| json!({"id": "a", "x": one, "y": other});
    check(
        &["$.x", "$.y"],
        &[],
        pair(json!(1), json!(2)),
        pair(json!(2), json!(1)),
        true,
    );
    check(
        &["$.x[*]", "$.y[*]"],
        &[],
        pair(json!([1]), json!([2])),
        pair(json!([1, 2]), json!([])),
        true,
    );
    // Numbers are as they are written.
    check(
        &["$.x"],
        &[],
        pair(json!(1), json!(0)),
        pair(json!(1.0), json!(0)),
        true,
    );
}

#[test]
fn other_rules_alone_change_nothing() {
    let old = [json!({"id": "a", "balance": 1, "at": 1})];
    let new = [json!({"id": "a", "balance": 1, "at": 2})];
    let mut source = Source::knows(spec(), &old);
    let compare = paths(&["$.balance"]);
    source.rules = ChangeRules::new(ChangeSpec { compare, ..spec() }).unwrap();
    source.stored = source.stored.map(|stored| source.rules.rehashed(stored));
    assert_eq!(source.poll(&new), NOTHING);
}

#[test]
fn half_a_list_is_never_compared() {
    let check = |ending: Ending, is_complete: bool| {
        let poll = CompletePoll::new([page(&letters("a"))], ending);
        assert_eq!(poll.is_ok(), is_complete, "{ending:?}");
    };
    check(Ending::LastPage, true);
    check(Ending::Cut, false);
    check(Ending::NoContent, false);
}

#[test]
fn an_item_on_two_pages_is_one_and_the_last_counts() {
    let pages = [
        page(&[json!({"id": "a", "x": 1}), json!({"id": "b"})]),
        page(&[json!({"id": "a", "x": 2}), json!({"id": "c"})]),
    ];
    let poll = CompletePoll::new(pages, Ending::LastPage).unwrap();
    assert_eq!(poll.repeated(), 1);
    let ids: Vec<&str> = poll.items.iter().map(|(id, _)| id.as_str()).collect();
    assert_eq!(ids, ["a", "b", "c"]);
    assert_eq!(poll.items[0].1.item["x"], 2);
}

#[test]
fn what_is_not_wanted_is_no_part_of_the_list() {
    let mut page = page(&letters("a"));
    let item = json!({"id": "b"});
    page.rows.push(Row::Passed { time: None, item });
    let poll = CompletePoll::new([page], Ending::LastPage).unwrap();
    assert_eq!(poll.items.len(), 1);
}

#[test]
fn a_list_that_is_too_long_is_refused() {
    let items = |from: usize, count: usize| -> Vec<Value> {
        let ids = from..from + count;
        ids.map(|id| json!({"id": id.to_string()})).collect()
    };
    let poll = CompletePoll::new([page(&items(0, ENTRIES_MAX + 1))], Ending::LastPage);
    assert_eq!(poll.err(), Some(ChangesError::TooMany));

    // What is missing but not gone is still kept.
    let rules = ChangeRules::new(spec()).unwrap();
    let first = rules.diff(None, complete(&items(0, ENTRIES_MAX)), Deletions::Guarded);
    let Ok(Diff::Changes(step)) = first else {
        panic!("the first list is not too long");
    };
    let moved = complete(&items(1, ENTRIES_MAX));
    let next = rules.diff(Some(step.next), moved, Deletions::Guarded);
    assert_eq!(next.err(), Some(ChangesError::TooMany));
}

#[test]
fn rules_that_mean_nothing_are_refused() {
    let check = |spec: ChangeSpec, expected: ChangeRulesError| {
        assert_eq!(ChangeRules::new(spec).err(), Some(expected));
    };
    let emit = Vec::new();
    check(
        ChangeSpec { emit, ..spec() },
        ChangeRulesError::NothingEmitted,
    );
    let guard = 101;
    check(ChangeSpec { guard, ..spec() }, ChangeRulesError::Guard);
    let both = ChangeSpec {
        compare: paths(&["$.a"]),
        ignore: paths(&["$.b"]),
        ..spec()
    };
    check(both, ChangeRulesError::IgnoreBesideCompare);
    let (key, compare) = ("compare", paths(&["$.a"; PATHS_MAX + 1]));
    check(
        ChangeSpec { compare, ..spec() },
        ChangeRulesError::TooManyPaths { key },
    );
}
