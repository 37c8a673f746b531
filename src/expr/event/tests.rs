//! What expressions see of an event, what they make of it, and where they end.

use super::*;

const BODY: &str = r#"{"type": "paid", "amount": 5, "tags": ["a"], "none": null, "live": true,
    "zeta": {"b": 1, "a": 2}, "said": "\"}, {\"admin\": \"yes\""}"#;

fn view() -> EventView<'static> {
    EventView {
        raw: BODY.into(),
        body: serde_json::from_str(BODY).unwrap(),
        headers: headers([("X-Kind".to_owned(), "push".to_owned())]),
        query: BTreeMap::from([("a".to_owned(), "1".to_owned())]),
        event: EventFacts {
            id: "0199".into(),
            provider_event_id: Some("evt_1"),
            event_type: Some("invoice.paid"),
            route: "stripe",
            received_at: "2026-11-26T10:00:00Z".into(),
        },
        found: None,
    }
}

#[test]
fn what_a_poll_has_found_has_names_of_its_own() {
    let found = FoundFacts {
        item: Some(serde_json::json!({"iban": "X"})),
        change: Some("updated"),
        previous: None,
        partition: None,
    };
    let view = EventView {
        found: Some(found),
        ..view()
    };
    let predicate = Predicate::compile("item.iban == 'X' and change == 'updated'").unwrap();
    assert_eq!(predicate.holds(&view), Ok(true));
    let predicate = Predicate::compile("previous.iban == 'X'").unwrap();
    assert_eq!(predicate.holds(&view), Ok(false));
}

#[test]
fn a_predicate_sees_the_event() {
    let check = |text: &str, expected: bool| {
        let predicate = Predicate::compile(text).unwrap();
        assert_eq!(predicate.holds(&view()), Ok(expected), "{text}");
    };
    check("body.type == 'paid'", true);
    check("${{ body.type == 'paid' }}", true);
    check("  ${{body.live}} ", true);
    check("body.amount > 5 or 'a' in body.tags", true);
    check("body.nothing.at.all == 1", false);
    check("body.nothing", false);
    check("not body.none", true);
    check("headers['x-kind'] == 'push' and query.a == '1'", true);
    check("headers['X-KIND'] == 'push'", true);
    check("headers.nothing", false);
    check("event.type is startingwith 'invoice.'", true);
    check("event.route == 'stripe' and event.id == '0199'", true);
    check("event.provider_event_id != 'evt_1'", false);
    check("'\"amount\": 5' in raw", true);
}

#[test]
fn what_no_event_could_satisfy_is_a_fault_of_the_file() {
    let check = |text: &str, part: &str| {
        let message = Predicate::compile(text).unwrap_err().to_string();
        assert!(message.contains(part), "{text}: {message}");
    };
    check("", "empty");
    check("${{  }}", "empty");
    check("body.type ==", "line 1");
    check("body.type = 'paid'", "line 1");
    check("body.a) or (body.b", "line 1");
    check("true or\n\n body. == 1", "line 3");
    check("${{ body.type == 'paid'", "no end");
    check("${{ body.a }} and ${{ body.b }}", "text stands beside");
    check("is ${{ body.a }}", "text stands beside");
    check("bdoy.type == 'paid'", "no variable `bdoy`");
    check("body.a | shout", "shout");
    check("body.a is odder", "odder");
    let check = |text: &str, part: &str| {
        let message = EventTemplate::compile(text).unwrap_err().to_string();
        assert!(message.contains(part), "{text}: {message}");
    };
    check("${{ body.a ", "no end");
    check("one\n${{ body. }}", "line 2");
    check("${{ bdoy.type }}", "no variable `bdoy`");
    check("${{ body.type | shout }}", "shout");
    check("${% for a in b %}x${% endfor %}", "no variable `b`");
    check("${% if body.a %}", "line 1");
}

#[test]
fn neither_the_environment_nor_a_secret_is_a_variable() {
    for name in ["env", "secret"] {
        let expected = ExpressionError::Unknown(name.to_owned());
        let template = EventTemplate::compile(&format!("${{{{ {name}.A }}}}"));
        assert_eq!(template.err(), Some(expected.clone()));
        let predicate = Predicate::compile(&format!("{name}.A == 'a'"));
        assert_eq!(predicate.err(), Some(expected));
    }
}

fn render(text: &str, form: Form) -> Result<String, ExprError> {
    let bytes = EventTemplate::compile(text)
        .unwrap()
        .render(&view(), form)?;
    Ok(String::from_utf8(bytes).unwrap())
}

#[test]
fn a_template_makes_a_body() {
    let check = |text: &str, expected: &str| {
        assert_eq!(render(text, Form::Text).as_deref(), Ok(expected), "{text}");
    };
    check("${{ body.type }} {{ kept }}\n", "paid {{ kept }}\n");
    check("<${{ body.said }}>", "<\"}, {\"admin\": \"yes\">");
    check("${% for tag in body.tags %}${{ tag }};${% endfor %}", "a;");
    check("${{ body.nothing | default('-') }}", "-");
    check("${% if body.nothing %}x${% endif %}", "");
    check("${{ raw }}", BODY);
    check(
        "${# a remark #}at ${{ event.received_at }}",
        "at 2026-11-26T10:00:00Z",
    );
}

#[test]
fn no_value_breaks_out_of_its_place_in_json() {
    let check = |text: &str, expected: &str| {
        assert_eq!(render(text, Form::Json).as_deref(), Ok(expected), "{text}");
    };
    check(
        r#"{"said": "${{ body.said }}"}"#,
        r#"{"said": "\"}, {\"admin\": \"yes\""}"#,
    );
    check(r#"{"n": ${{ body.amount }}}"#, r#"{"n": 5}"#);
    check("[${{ body.live }}, ${{ body.none }}]", "[true, null]");
    check("${{ body.tags }}", r#"["a"]"#);
    // The engine keeps a mapping in the order of its keys.
    check("${{ body.zeta }}", r#"{"a":2,"b":1}"#);
    check("${{ body.type | tojson }}", r#""paid""#);
    check(
        r#""${{ body.type | upper }}-${{ event.id }}""#,
        r#""PAID-0199""#,
    );
    // Without quotes a text is no JSON, and never a piece of it.
    for text in ["{\"said\": ${{ body.said }}}", "{\"n\": 1"] {
        assert_eq!(render(text, Form::Json), Err(ExprError::NotJson), "{text}");
    }
}

#[test]
fn the_media_type_says_the_form() {
    let check = |content_type: &str, form| assert_eq!(Form::of(content_type.as_bytes()), form);
    check("application/json", Form::Json);
    check("Application/JSON ; charset=utf-8", Form::Json);
    check("application/vnd.api+json", Form::Json);
    check("application/jsonl", Form::Text);
    check("text/plain", Form::Text);
    check("", Form::Text);
}

#[test]
fn what_runs_away_or_lacks_something_fails() {
    let check = |text: &str, expected: ExprError| {
        assert_eq!(render(text, Form::Text), Err(expected), "{text}");
    };
    check("a\n${{ body.missing }}", ExprError::Missing { line: 2 });
    check("${{ body.missing.too }}", ExprError::Missing { line: 1 });
    check(
        "${% for i in range(9999) %}${% for j in range(9999) %}x${% endfor %}${% endfor %}",
        ExprError::TooManySteps,
    );
    check(
        "${% set big = raw * 1000 %}${% for i in range(100) %}${{ big }}${% endfor %}",
        ExprError::TooLong,
    );
    let predicate = Predicate::compile("body.said + 1 > 2").unwrap();
    let message = predicate.holds(&view()).unwrap_err().to_string();
    assert!(
        !message.contains("admin"),
        "nothing of the event: {message}"
    );
}

#[test]
fn the_example_makes_json_of_whatever_is_pushed() {
    let file = include_str!("../../../conf/examples/transform.yaml");
    let (_, block) = file.split_once("body: |\n").unwrap();
    let (block, _) = block.split_once("\n\ntests:").unwrap();
    let template = EventTemplate::compile(block).unwrap();
    let check = |commits: serde_json::Value| {
        let body = serde_json::json!({
            "pusher": {"name": "ada\", \"admin\": \""},
            "repository": {"full_name": "a/b"},
            "commits": commits,
        });
        let view = EventView {
            body: Some(body),
            ..view()
        };
        let made = template.render(&view, Form::Json).unwrap();
        serde_json::from_slice::<serde_json::Value>(&made).unwrap()
    };
    let made = check(serde_json::json!([{"message": "Say \"hello\""}, {"message": "\n"}]));
    let expected = serde_json::json!({
        "text": "ada\", \"admin\": \" pushed to a/b",
        "commits": ["Say \"hello\"", "\n"],
    });
    assert_eq!(made, expected);
    assert_eq!(
        check(serde_json::json!([]))["commits"],
        serde_json::json!([])
    );
}

#[test]
fn what_no_limit_holds_for_is_not_there() {
    for text in [
        "raw | indent(body.n)",
        "raw | batch(body.n)",
        "raw | slice(body.n)",
        "body.n is divisibleby(body.m)",
    ] {
        assert!(Predicate::compile(text).is_err(), "{text}");
    }
    for text in ["range(0, 9, 0)", "range(99999)"] {
        let predicate = Predicate::compile(text).unwrap();
        assert!(predicate.holds(&view()).is_err(), "{text}");
    }
}
