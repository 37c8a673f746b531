//! What expressions of `poll:` make, what they refuse, and where they end.

use serde_json::{Value as Json, json};

use super::*;

mod limits;

const ALL: Names = Names::new(&[
    Name::Cursor,
    Name::Last,
    Name::Item,
    Name::Change,
    Name::Previous,
    Name::Body,
    Name::Headers,
    Name::Status,
    Name::Partition,
    Name::Session,
    Name::Secret,
    Name::Env,
    Name::Now,
    Name::PollStarted,
    Name::State,
    Name::Signature,
    Name::Method,
    Name::Path,
    Name::Url,
]);

fn engine() -> Engine {
    Engine::new(Arc::new(|kind, name| match (kind, name) {
        (_, "none") => Err(format!("`{name}` is not set")),
        (Kind::Secret, name) => Ok(format!("the-{name}")),
        (Kind::Variable, name) => Ok(name.to_lowercase()),
    }))
}

fn scope() -> Scope {
    let at = |text: &str| text.parse().unwrap();
    let item = json!({
        "callback_query": null, "type": "invoice.paid", "title": "T", "status": "DELIVERED",
        "links": [{"href": "https://a/1"}, {"href": "https://a/2"}], "iban": "DE1", "balance": 12.5,
        "zero": 0, "text": "ab", "least": i64::MIN, "many": 100_000_000, "big": u64::MAX,
        "lines": [{"sku": "x", "n": 2}, {"sku": "y", "n": 3}], "updated_at": "2026-03-01T10:00:00Z",
        "said": "\"}, {", "id": "41",
    });
    Scope::default()
        .with(Name::Cursor, &"2026-01-02T03:04:05Z")
        .with(Name::Last, &41)
        .with(Name::Item, &item)
        .with(Name::Previous, &json!({"balance": 10}))
        .with(Name::Change, &"updated")
        .with(
            Name::Body,
            &json!({"failed": 1, "ts": 77, "parameters": {"retry_after": 3}, "err": "SESSION",
                "error": {"code": "resource_missing"}}),
        )
        .with_headers([("X-Kind".to_owned(), "push".to_owned())])
        .with(Name::Status, &200)
        .with(Name::Partition, &"acme/api")
        .with(
            Name::Session,
            &json!({"server": "https://lp.vk.com/x", "key": "k", "ts": "5", "token": "t"}),
        )
        .with(Name::State, &json!({"started_at": "2026-01-01T00:00:00Z"}))
        .with(Name::Signature, &"abcd")
        .with(Name::Method, &"GET")
        .with(Name::Path, &"/v1/accounts")
        .with_time(Name::Now, at("2026-11-26T10:00:00Z"))
        .with_time(Name::PollStarted, at("2026-11-26T09:59:59Z"))
        .with_chance(0.75)
}

fn compile(text: &str) -> ValueTemplate {
    let compiled = ValueTemplate::compile(text, ALL, &engine());
    compiled.unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn value(text: &str) -> Result<Option<Json>, ExprError> {
    compile(text).value(&scope())
}

#[test]
fn the_worked_sources_make_what_they_say() {
    let check = |text: &str, expected: Json| {
        assert_eq!(value(text), Ok(Some(expected)), "{text}");
    };
    check(
        "https://api.telegram.org/bot${{ secret.tg_token }}/getUpdates",
        json!("https://api.telegram.org/botthe-tg_token/getUpdates"),
    );
    check("${{ cursor }}", json!("2026-01-02T03:04:05Z"));
    check("${{ last + 1 }}", json!(42));
    check("${{ 5 + random(10) }}s", json!("12s"));
    check("${{ body.parameters.retry_after }}s", json!("3s"));
    check(
        "${{ '150s' if item.callback_query else '24h' }}",
        json!("24h"),
    );
    check("${{ env.VK_GROUP }}", json!("vk_group"));
    check("${{ secret.vk_token }}", json!("the-vk_token"));
    check("${{ session.server }}", json!("https://lp.vk.com/x"));
    check("${{ session.key }}", json!("k"));
    check("${{ session.ts }}", json!("5"));
    check("${{ body.ts }}", json!(77));
    check("${{ item.type }}", json!("invoice.paid"));
    check(
        "https://api.github.com/repos/${{ partition }}/events",
        json!("https://api.github.com/repos/acme/api/events"),
    );
    check("github.${{ item.type }}", json!("github.invoice.paid"));
    check("${{ item.title }}", json!("T"));
    check("${{ item.links[0].href }}", json!("https://a/1"));
    check("${{ change }}", json!("updated"));
    check("order.${{ change }}", json!("order.updated"));
    check(
        "${{ cursor | date('%Y-%m-%d %H:%M:%S', 'Europe/Berlin') }}",
        json!("2026-01-02 04:04:05"),
    );
    check(
        "${{ now | unix }}.GET./v1/accounts",
        json!("1795687200.GET./v1/accounts"),
    );
    check("${{ now | unix }}", json!(1_795_687_200));
    check("${{ signature }}", json!("abcd"));
    check("${{ previous.balance }}", json!(10));
    check("${{ item.balance }}", json!(12.5));
    check("${{ cursor | rfc3339 }}", json!("2026-01-02T03:04:05Z"));
    check("sms.${{ item.status | lower }}", json!("sms.delivered"));
    check(
        "${{ method }}\n${{ path }}\n${{ now | unix }}\n${{ body.err | sha256 }}",
        json!(format!(
            "GET\n/v1/accounts\n1795687200\n{}",
            hex_of("SESSION")
        )),
    );
}

#[test]
fn the_worked_conditions_hold_or_do_not() {
    let check = |text: &str, expected: bool| {
        let condition = Condition::compile(text, ALL, &engine()).unwrap();
        assert_eq!(condition.holds(&scope()), Ok(expected), "{text}");
        let nothing = condition.holds(&Scope::default());
        assert!(nothing.is_ok(), "{text}: {nothing:?}");
    };
    check("${{ body.failed == 1 }}", true);
    check("${{ body.failed == 2 }}", false);
    check("${{ body.error.code == 'resource_missing' }}", true);
    check("${{ body.code == 'BUSY' }}", false);
    check("${{ body.err == 'SESSION' }}", true);
    check("${{ item.status == 'CANCELLED' }}", false);
    check(
        "${{ item.status in ['DELIVERED', 'FAILED', 'EXPIRED'] }}",
        true,
    );
    check(
        "item.status is startingwith 'DEL' and headers['x-kind'] == 'push'",
        true,
    );
    check("headers['X-KIND'] == 'push'", true);
    check("item.nothing.at.all", false);
    check("item.nothing + 1 > 0", false);
    check("not item.nothing", true);
    check("status >= 200 and status < 300", true);
    check("item.zero is divisibleby item.zero", false);
    check(
        "item.lines | map(attribute='sku') | join(',') == 'x,y'",
        true,
    );
}

#[test]
fn what_is_missing_is_left_out() {
    let check = |text: &str| {
        assert_eq!(compile(text).value(&Scope::default()), Ok(None), "{text}");
        assert_eq!(compile(text).text(&Scope::default()), Ok(None), "{text}");
    };
    check("${{ cursor }}");
    check("${{ none }}");
    check("${{ cursor | date('%Y', 'Europe/Berlin') }}");
    check("${{ cursor | rfc3339 }}");
    check("${{ cursor | minus('5m') | unix }}");
    check("${{ last + 1 }}");
    check("${{ 'updated:>' ~ cursor }}");
    check("updated:>${{ cursor }}");
    check("${{ item.status | lower }}");
    check("${{ item.a.b.c | int }}");
    check("${{ item | hash }}");
    check("${{ item | jsonpath('$..id') | first }}");
    check("${{ item.list | map(attribute='id') | join(',') }}");
    check("${{ 'a' if cursor }}");
    let check = |text: &str, expected: Json| {
        let made = compile(text).value(&Scope::default());
        assert_eq!(made, Ok(Some(expected)), "{text}");
    };
    check("${{ cursor | default('0') }}", json!("0"));
    check("${{ (cursor | d(0)) + 1 }}", json!(1));
    check("${{ env.none | default('d') }}", json!("d"));
    assert_eq!(
        value("${{ item.callback_query | default(5) }}"),
        Ok(Some(json!(5)))
    );
    let created = "${{ none if cursor else state.started_at | unix }}";
    assert_eq!(value(created), Ok(None));
    let first = scope().with(Name::Cursor, &Json::Null);
    let made = compile(created).value(&first);
    assert_eq!(made, Ok(Some(json!(1_767_225_600))));
}

#[test]
fn one_expression_keeps_its_type_and_a_mixed_text_is_a_text() {
    let check = |text: &str, expected: Json| {
        assert_eq!(value(text), Ok(Some(expected)), "{text}");
    };
    check("plain", json!("plain"));
    check("", json!(""));
    check(" plain ", json!(" plain "));
    check("${{ 1 }}", json!(1));
    check("  ${{ 1 }}\n", json!(1));
    check("${{1}}${{2}}", json!("12"));
    check("${{ true }}", json!(true));
    check("${{ item.big }}", json!(u64::MAX));
    check("${{ item.lines[1:] }}", json!([{"n": 3, "sku": "y"}]));
    check("n=${{ item.lines[0] }}", json!(r#"n={"n":2,"sku":"x"}"#));
    check("${{ {'a': {'b': 1}} }}", json!({"a": {"b": 1}}));
    check("${{ '}}' ~ \"{{\" }}", json!("}}{{"));
    check("${{ '${{' }}", json!("${{"));
    check("{{ kept }} ${{ '\\'' }}", json!("{{ kept }} '"));
    check("${{ item.said }}", json!("\"}, {"));
}

#[test]
fn operators_work_as_everywhere() {
    let check = |text: &str, expected: Json| {
        let text = format!("${{{{ {text} }}}}");
        assert_eq!(value(&text), Ok(Some(expected)), "{text}");
    };
    check("2 + 3 * 4 - -1", json!(15));
    check("2 * item.lines[1].n ** 2", json!(18));
    check("7 // 2 % 2 * 10", json!(10));
    check("1e-3 * 1_000", json!(1.0));
    check("0x1F * 1", json!(31));
    check("(last + 1) * (last - 1)", json!(1680));
    check("'a' 'b' ~ 1 ~ item.text | upper", json!("ab1AB"));
    check("'a' + 'b'", json!("ab"));
    check("item.id | int + 1", json!(42));
    check("-last * 2", json!(-82));
    check("-(item.balance) * 2", json!(-25.0));
    check("last * -2", json!(-82));
    check("[1, 2 * 3][1]", json!(6));
    check("1 if last is eq 41 and last is not eq -1 else 2", json!(1));
    check(
        "'c' not in item.text and 2 is odd or 2 is not in [1]",
        json!(true),
    );
    check("'b' in item.text and not 'c' in item.text", json!(true));
    check("item.lines | length * 2", json!(4));
    check("cursor | unix - 300", json!(1_767_322_745));
    check("random(1)", json!(0));
    check("random(4)", json!(3));
}

#[test]
fn filters_make_what_they_say() {
    let check = |text: &str, expected: Json| {
        let text = format!("${{{{ {text} }}}}");
        assert_eq!(value(&text), Ok(Some(expected)), "{text}");
    };
    check("1767322745 | rfc3339", json!("2026-01-02T02:59:05Z"));
    check("1767322745123 | rfc3339", json!("2026-01-02T02:59:05.123Z"));
    check("1767322745.5 | unix_ms", json!(1_767_322_745_500_i64));
    check("'1767322745' | unix", json!(1_767_322_745));
    check(
        "'2026-01-02T03:04:05+02:00' | unix_ms",
        json!(1_767_315_845_000_i64),
    );
    check("cursor | minus('5m')", json!("2026-01-02T02:59:05Z"));
    check("cursor | plus('1d 1s')", json!("2026-01-03T03:04:06Z"));
    check("1000 | minus('100s')", json!(900));
    check("1767322745123 | plus('1s')", json!(1_767_322_746_123_i64));
    check(
        "'1970-01-01T00:00:00Z' | minus('9000000000000s')",
        json!("-009999-01-02T01:59:59Z"),
    );
    check("cursor | date('%d.%m.%y %Z')", json!("02.01.26 UTC"));
    check(
        "'a' | sha256",
        json!("ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"),
    );
    check(
        "'what do ya want for nothing?' | hmac_sha256('Jefe')",
        json!("5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"),
    );
    check("'a b+ä' | base64", json!("YSBiK8Ok"));
    check("'a b+ä~' | urlencode", json!("a%20b%2B%C3%A4~"));
    check("item | jsonpath('$.lines[*].n')", json!([2, 3]));
    check("item | jsonpath('$..sku') | last", json!("y"));
    check(
        "{'b': [{'z': 1, 'a': 2}], 'a': 1} | hash",
        json!(hex_of(r#"{"a":1,"b":[{"a":2,"z":1}]}"#)),
    );
    check("'a' | hash", json!(hex_of("\"a\"")));
    check(
        "item.lines | tojson",
        json!(r#"[{"n":2,"sku":"x"},{"n":3,"sku":"y"}]"#),
    );
    check("'a-b-c' | replace('-', '') | upper", json!("ABC"));
    check("('a,b' | split(','))[1]", json!("b"));
    check("item.lines | map(attribute='n') | sum", json!(5));
    check(
        "item.lines | selectattr('n', 'gt', 2) | list | length",
        json!(1),
    );
}

fn hex_of(text: &str) -> String {
    use sha2::Digest;
    hex::encode(sha2::Sha256::digest(text))
}

#[test]
fn errors_and_debug_hold_no_value() {
    let secret = compile("${{ secret.tg_token }}");
    assert_eq!(format!("{secret:?}"), "${{ secret.tg_token }}");
    assert!(!format!("{:?} {:?}", scope(), engine()).contains("lp.vk.com"));
    let check = |text: &str| {
        let error = value(text).unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains("invoice.paid"), "{text}: {shown}");
    };
    check("${{ item.type | unix }}");
    check("${{ item.type | int }}");
    check("${{ item.type < item.type - 1 }}");
    check("${{ -(item.type) }}");
    check("${{ item.type | date('%Y', item.type) }}");
    check("${{ item.lines | join(item.type) | float }}");
}

#[test]
fn the_engine_knows_which_secrets_were_named() {
    let engine = engine();
    for text in ["https://a/${{ secret.one }}", "${{ env.TWO }}"] {
        ValueTemplate::compile(text, ALL, &engine).unwrap();
    }
    let masked = engine.masker().mask("https://a/the-one two");
    assert_eq!(masked, "https://a/*** two");
}

#[test]
fn every_filter_test_and_function_is_known_to_the_engine() {
    for name in filters::FILTERS {
        let error = MACHINE
            .compile_expression_owned(format!("1|{name}"))
            .unwrap()
            .eval(())
            .err();
        let kind = error.map(|error| error.kind());
        assert_ne!(kind, Some(ErrorKind::UnknownFilter), "{name}");
    }
    for name in filters::TESTS {
        let error = MACHINE
            .compile_expression_owned(format!("1 is {name}"))
            .unwrap()
            .eval(())
            .err();
        let kind = error.map(|error| error.kind());
        assert_ne!(kind, Some(ErrorKind::UnknownTest), "{name}");
    }
    let globals: Vec<String> = MACHINE.globals().map(|(name, _)| name.to_owned()).collect();
    assert!(
        filters::FUNCTIONS
            .iter()
            .all(|name| globals.contains(&(*name).to_owned()))
    );
}

#[test]
fn bytes_that_are_no_text_have_a_digest_and_nothing_else() {
    let scope = Scope::default().with_bytes(Name::Body, b"\xff\x00");
    let made = |text: &str| compile(text).value(&scope);
    assert!(made("${{ body | sha256 }}").is_ok_and(|value| value.is_some()));
    assert_eq!(made("${{ body }}"), Err(ExprError::NotText));
    assert_eq!(made("x${{ body }}"), Err(ExprError::NotText));
    let text = Scope::default().with_bytes(Name::Body, b"plain");
    assert_eq!(
        compile("${{ body }}").value(&text),
        Ok(Some(json!("plain")))
    );
}
