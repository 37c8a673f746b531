//! Rules that can be, and why others cannot.

use std::sync::Arc;

use serde_json::Value;

use super::*;

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn status(texts: &[&str]) -> Vec<Statuses> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

/// A rule that holds for 500.
fn on_500(action: Action) -> RuleSpec {
    RuleSpec {
        status: status(&["500"]),
        action,
        ..RuleSpec::default()
    }
}

#[test]
fn a_rule_that_means_nothing_is_refused() {
    let check = |spec: RuleSpec, expected: RuleError| {
        assert_eq!(Rule::new(spec).err(), Some(expected));
    };
    let never: ReadCursor = Arc::new(|_| Ok(Value::Null));
    let needless = |key, action| RuleError::Needless { key, action };
    let network = || RuleSpec {
        network: Some(Networks::Any),
        ..RuleSpec::default()
    };
    check(RuleSpec::default(), RuleError::NoCondition);
    check(on_500(Action::SetCursor), RuleError::NoCursor);
    let wait = Wait::Fixed(secs(1));
    let pause = on_500(Action::Pause);
    check(RuleSpec { wait, ..pause }, needless("wait", "pause"));
    let cursor = Some(never);
    let restart = on_500(Action::Restart);
    check(
        RuleSpec { cursor, ..restart },
        needless("cursor", "restart"),
    );
    let gap = true;
    let retry = on_500(Action::Retry);
    check(RuleSpec { gap, ..retry }, needless("gap", "retry"));
    let network_and_status = RuleSpec {
        status: status(&["500"]),
        ..network()
    };
    check(network_and_status, RuleError::NetworkAndAnswer);
    let action = Action::Restart;
    let moves = RuleError::NetworkMovesCursor("restart");
    check(
        RuleSpec {
            action,
            ..network()
        },
        moves,
    );
    let wait = Wait::Fixed(Duration::MAX);
    check(RuleSpec { wait, ..network() }, RuleError::TooLong("wait"));
    let note = Some("x".repeat(NOTE_CHARS_MAX + 1));
    check(RuleSpec { note, ..network() }, RuleError::TooLong("note"));
    let contains = |text: &str| RuleSpec {
        body_contains: Some(text.to_owned()),
        ..RuleSpec::default()
    };
    check(contains(""), RuleError::EmptyText);
    let long = "x".repeat(TEXT_BYTES_MAX + 1);
    check(contains(&long), RuleError::TooLong("body_contains"));
    for (name, value) in [("a b", "x"), ("a", "x\ny"), ("", "x")] {
        let header = vec![(name.to_owned(), value.to_owned())];
        let spec = RuleSpec {
            header,
            ..RuleSpec::default()
        };
        check(spec, RuleError::Header(name.to_owned()));
    }
    let status = status(&["500"; ENTRIES_MAX + 1]);
    let spec = RuleSpec {
        status,
        ..RuleSpec::default()
    };
    check(spec, RuleError::TooLong("status"));
}

#[test]
fn failures_of_the_network_are_read_or_refused() {
    let network = RuleError::Network("nap".to_owned());
    assert_eq!("nap".parse::<Networks>(), Err(network));
}
