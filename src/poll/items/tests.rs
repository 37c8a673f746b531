//! What on a page is an item, and what it is known by.

use serde_json::json;

use super::*;

/// A condition on the item alone.
struct Of(fn(&Value) -> Result<bool, String>);

impl Holds<ItemContext<'_>> for Of {
    fn holds(&self, context: &ItemContext<'_>) -> Result<bool, String> {
        (self.0)(context.item)
    }
}

fn paths(texts: &[&str]) -> Vec<JsonPath> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

fn seconds(value: &Value) -> Option<Timestamp> {
    Timestamp::from_second(value.as_i64()?).ok()
}

fn spec(select: &str) -> ItemSpec {
    ItemSpec {
        select: Selection::new(select).unwrap(),
        id: IdRule::One("$.id".parse().unwrap()),
        without_id: WithoutId::Fail,
        time: None,
        version: Vec::new(),
        order: Order::None,
        wanted: None,
        deleted: None,
        order_key: Vec::new(),
        lane_of: vec![b"orders".to_vec()],
    }
}

fn extract(spec: ItemSpec, body: &Value) -> Result<Extracted, ItemsError> {
    ItemRules::new(spec).unwrap().extract(&Page {
        body,
        partition: None,
        poll_started: at(0),
    })
}

fn kept(extracted: &Extracted) -> Vec<&Found> {
    extracted.rows.iter().filter_map(Row::kept).collect()
}

#[test]
fn items_come_in_the_order_of_the_source() {
    let body = json!({"data": [{"id": 2}, {"id": "a"}, {"id": 1.0}]});
    let extracted = extract(spec("$.data[*]"), &body).unwrap();
    let ids: Vec<_> = kept(&extracted)
        .iter()
        .map(|found| found.id.text())
        .collect();
    assert_eq!(ids, ["2", "a", "1.0"]);
    assert_eq!(extracted.raw_count, 3);
    assert_eq!(extracted.rows[0].item(), &json!({"id": 2}));
    assert_eq!(kept(&extracted)[0].change, ChangeKind::Created);
    assert_eq!(kept(&extracted)[0].version, None);
}

#[test]
fn a_missing_list_fails_and_an_empty_one_does_not() {
    let check = |body: Value, expected: Result<usize, ItemsError>| {
        let found = extract(spec("$.data[*]"), &body);
        assert_eq!(found.map(|extracted| extracted.raw_count), expected);
    };
    let missing = ItemsError::SelectMissing {
        path: "$.data[*]".to_owned(),
    };
    check(json!({"data": []}), Ok(0));
    check(json!({"data": [{"id": 1}]}), Ok(1));
    check(json!({"error": "maintenance"}), Err(missing.clone()));
    check(json!([]), Err(missing));
}

#[test]
fn an_item_without_id_is_never_dropped_silently() {
    let body = json!([{"id": 1}, {"id": null}, {"name": "x"}]);
    let fails = extract(spec("$"), &body);
    assert_eq!(fails, Err(ItemsError::MissingId { index: 1 }));
    let passes = ItemSpec {
        without_id: WithoutId::Pass,
        ..spec("$")
    };
    let extracted = extract(passes.clone(), &body).unwrap();
    assert_eq!((extracted.raw_count, extracted.without_id), (3, 2));
    assert_eq!((extracted.rows.len(), kept(&extracted).len()), (3, 1));

    // Many big numbers would be one id after rounding: nobody may pass over that.
    let rounded: Value = serde_json::from_str(r#"[{"id": 36893488147419103233}]"#).unwrap();
    let expected = ItemsError::Rounded {
        key: "id",
        index: 0,
    };
    assert_eq!(extract(passes, &rounded), Err(expected));
}

#[test]
fn what_is_not_wanted_counts_and_moves_the_cursor() {
    let rules = ItemSpec {
        wanted: Some(Arc::new(Of(|item| Ok(item["state"] == "DONE")))),
        time: Some(("$.at".parse().unwrap(), Arc::new(seconds))),
        ..spec("$")
    };
    // The one that is not wanted needs no id.
    let body = json!([{"id": 1, "state": "DONE", "at": 5}, {"state": "NEW", "at": 6}]);
    let extracted = extract(rules, &body).unwrap();
    assert_eq!((extracted.raw_count, extracted.filtered), (2, 1));
    assert_eq!(kept(&extracted).len(), 1);
    assert_eq!(extracted.rows[1].time(), Some(at(6)));
}

#[test]
fn an_item_that_cannot_be_judged_fails_the_page() {
    let refuses = || -> ItemCondition { Arc::new(Of(|_| Err("too many steps".to_owned()))) };
    let check = |rules: ItemSpec, key: &'static str| {
        let expected = ItemsError::Condition {
            key,
            index: 0,
            reason: "too many steps".to_owned(),
        };
        assert_eq!(extract(rules, &json!([{"id": 1}])), Err(expected));
    };
    let wanted = Some(refuses());
    check(
        ItemSpec {
            wanted,
            ..spec("$")
        },
        "where",
    );
    let deleted = Some(refuses());
    check(
        ItemSpec {
            deleted,
            ..spec("$")
        },
        "deleted",
    );
}

#[test]
fn a_tombstone_is_no_duplicate_of_what_it_deletes() {
    let rules = ItemSpec {
        deleted: Some(Arc::new(Of(|item| Ok(item["gone"] == true)))),
        ..spec("$")
    };
    let body = json!([{"id": 1}, {"id": 1, "gone": true}]);
    let extracted = extract(rules, &body).unwrap();
    let found = kept(&extracted);
    assert_eq!(found[1].change, ChangeKind::Deleted);
    let key = |found: &Found| found.key_parts("orders", None).key();
    assert_ne!(key(found[0]), key(found[1]));
}

#[test]
fn a_version_is_what_it_reads_or_a_hash_of_it() {
    let check = |selectors: &[&str], item: Value, expected: Option<&str>| {
        let version = paths(selectors);
        let body = json!([item]);
        let extracted = extract(
            ItemSpec {
                version,
                ..spec("$")
            },
            &body,
        )
        .unwrap();
        let found = kept(&extracted)[0].version.clone();
        match expected {
            Some("hash") => assert_eq!(found.unwrap().len(), 64),
            _ => assert_eq!(found.as_deref(), expected),
        }
    };
    check(
        &["$.v"],
        json!({"id": 1, "v": "2026-01-01"}),
        Some("2026-01-01"),
    );
    check(&["$.v"], json!({"id": 1, "v": 1.0}), Some("1.0"));
    check(&["$.v"], json!({"id": 1, "v": null}), None);
    check(&["$.v", "$.w"], json!({"id": 1}), None);
    check(&["$.v", "$.w"], json!({"id": 1, "v": 1}), Some("hash"));
    check(&["$.v[*]"], json!({"id": 1, "v": [1, 2]}), Some("hash"));
    check(&["$.v"], json!({"id": 1, "v": {"a": 1}}), Some("hash"));
    check(
        &["$.v"],
        json!({"id": 1, "v": "x".repeat(2000)}),
        Some("hash"),
    );

    let rounded: Value = serde_json::from_str(r#"[{"id": 1, "v": 1e25}]"#).unwrap();
    let version = paths(&["$.v"]);
    let (key, index) = ("version", 0);
    let found = extract(
        ItemSpec {
            version,
            ..spec("$")
        },
        &rounded,
    );
    assert_eq!(found, Err(ItemsError::Rounded { key, index }));
}

#[test]
fn which_of_several_values_changed_changes_the_version() {
    let version = |item: Value| {
        let version = paths(&["$.v", "$.w"]);
        let extracted = extract(
            ItemSpec {
                version,
                ..spec("$")
            },
            &json!([item]),
        )
        .unwrap();
        kept(&extracted)[0].version.clone().unwrap()
    };
    let first = version(json!({"id": 1, "v": 1, "w": 2}));
    assert_eq!(version(json!({"id": 1, "w": 2, "v": 1})), first);
    assert_ne!(version(json!({"id": 1, "v": 2, "w": 1})), first);
    assert_ne!(
        version(json!({"id": 1, "v": 1})),
        version(json!({"id": 1, "w": 1}))
    );
}

#[test]
fn a_broken_promise_of_order_is_counted() {
    let check = |order: Order, times: &[Value], expected: usize| {
        let rules = ItemSpec {
            order,
            time: Some(("$.at".parse().unwrap(), Arc::new(seconds))),
            ..spec("$")
        };
        let items = times.iter().enumerate();
        let items: Vec<Value> = items.map(|(id, at)| json!({"id": id, "at": at})).collect();
        let extracted = extract(rules, &json!(items)).unwrap();
        assert_eq!(extracted.order_breaches, expected, "{order:?} {times:?}");
    };
    let rising = [json!(1), json!(1), json!(2), json!(9)];
    let mixed = [json!(1), json!(5), json!(2), json!(3)];
    let holes = [json!(4), json!(null), json!("soon"), json!(3)];
    check(Order::Asc, &rising, 0);
    check(Order::Desc, &rising, 2);
    check(Order::Asc, &mixed, 1);
    check(Order::Desc, &mixed, 2);
    check(Order::None, &mixed, 0);
    check(Order::Asc, &holes, 1);
    check(Order::Asc, &[], 0);
}

#[test]
fn without_times_whole_numbers_as_ids_are_what_the_order_goes_by() {
    let check = |ids: Value, expected: usize| {
        let order = Order::Asc;
        let ids = ids.as_array().unwrap().iter();
        let items: Vec<Value> = ids.map(|id| json!({"id": id})).collect();
        let extracted = extract(ItemSpec { order, ..spec("$") }, &json!(items)).unwrap();
        assert_eq!(extracted.order_breaches, expected);
    };
    check(json!([9, 10, 11]), 0);
    check(json!(["9", "10", "11"]), 0);
    check(json!([9, 8, 10]), 1);
    check(json!(["b", "a"]), 0);
}

#[test]
fn a_time_that_is_none_is_counted() {
    let rules = ItemSpec {
        time: Some(("$.at".parse().unwrap(), Arc::new(seconds))),
        ..spec("$")
    };
    let body = json!([{"id": 1, "at": 7}, {"id": 2}, {"id": 3, "at": null}, {"id": 4, "at": "x"}]);
    let extracted = extract(rules, &body).unwrap();
    let times: Vec<_> = extracted.rows.iter().map(Row::time).collect();
    assert_eq!(times, [Some(at(7)), None, None, None]);
    assert_eq!(extracted.unreadable_times, 1);
}

#[test]
fn the_first_order_key_that_exists_makes_the_lane() {
    let rules = ItemSpec {
        order_key: paths(&["$.chat.id", "$.from"]),
        ..spec("$")
    };
    let rules = ItemRules::new(rules).unwrap();
    let lane = |item: Value| rules.lane(&item);
    let seven = lane(json!({"chat": {"id": 7}, "from": 8}));
    assert_eq!(seven, Some(keys::lane(["orders", "7"])));
    for same in [
        json!({"chat": {"id": "7"}}),
        json!({"from": 7}),
        json!({"chat": {"id": null}, "from": 7}),
        json!({"chat": {"id": ""}, "from": 7}),
    ] {
        assert_eq!(lane(same.clone()), seven, "{same}");
    }
    assert_ne!(lane(json!({"from": 8})), seven);
    assert_eq!(lane(json!({"from": [1, 2]})), lane(json!({"from": [1, 2]})));
    assert_eq!(lane(json!({"id": 1})), None);
}

#[test]
fn a_page_has_no_more_items_than_it_may() {
    let body = |count: usize| json!(vec![json!({"id": 1}); count]);
    assert!(extract(spec("$"), &body(ITEMS_MAX)).is_ok());
    let count = ITEMS_MAX + 1;
    let found = extract(spec("$"), &body(count));
    assert_eq!(found, Err(ItemsError::TooMany { count }));
}

#[test]
fn rules_need_something_to_tell_items_by() {
    let check = |id: IdRule, expected: ItemRulesError| {
        let rules = ItemRules::new(ItemSpec { id, ..spec("$") });
        assert_eq!(rules.err(), Some(expected));
    };
    let key = "id";
    check(IdRule::All(Vec::new()), ItemRulesError::NoPath { key });
    check(IdRule::Hash(Vec::new()), ItemRulesError::NoPath { key });
    let many = IdRule::Any(paths(&["$.a"; PATHS_MAX + 1]));
    check(many, ItemRulesError::TooManyPaths { key });
}
