//! What is refused when it is compiled, and what ends when it is evaluated.

use super::*;

#[test]
fn what_can_be_known_is_refused_when_it_is_compiled() {
    let check = |text: &str, part: &str| {
        let message = ValueTemplate::compile(text, ALL, &engine());
        let message = message.unwrap_err().to_string();
        assert!(message.contains(part), "{text}: {message}");
    };
    check(
        "${{ curser }}",
        "no variable `curser` here: did you mean `cursor`?",
    );
    check("${{ wholly_other }}", "known are cursor, last");
    check("${{ 1 if true else itme.x }}", "did you mean `item`");
    check("${{ chance }}", "no variable `chance`");
    check(
        "${{ cursor | rfc3993 }}",
        "no filter `rfc3993` here: did you mean `rfc3339`?",
    );
    check("${{ 1 if true else cursor | shout }}", "no filter `shout`");
    check("${{ cursor | guard_part }}", "no filter `guard_part`");
    check("${{ cursor is odder }}", "no test `odder`");
    check("${{ cursor is not defned }}", "did you mean `defined`");
    check("${{ range(10) }}", "no function `range`");
    check("${{ debug() }}", "no function `debug`");
    check("${{ randon(10) }}", "did you mean `random`");
    check("${{ cursor | indent(4) }}", "no filter `indent`");
    check("${{ cursor | map('upper') }}", "takes an attribute");
    check("${{ item.items() }}", "no methods");
    check("${{ (item)() }}", "cannot be called");
    check("${{ item.text[::-1] }}", "a slice has no step");
    check("${{ item.text[0:5:1] }}", "a slice has no step");
    check("${{ 1 - -item.n }}", "like `-(item.price)`");
    check("${{ secret[item.x] }}", "write the name out");
    check("${{ secret }}", "write the name out");
    check("${{ secret.none }}", "`none` is not set");
    check("${{ 1 if true else env.none }}", "`none` is not set");
    check("${{ cursor | date('%Y', 'Europe/Belrin') }}", "time zone");
    check("${{ cursor | date('%!') }}", "format");
    check("${{ cursor | minus('5 monts') }}", "length of time");
    check("${{ cursor | minus('5M') }}", "length of time");
    check("${{ cursor | date }}", "argument");
    check("${{ item | jsonpath('$[') }}", "JSONPath");
    check("${{ item | jsonpath('$..*..*') }}", "one `..` at most");
    check("${{ item | jsonpath('$..a\\'..*') }}", "one `..` at most");
    check("${{ item | jsonpath(item.path) }}", "one path in quotes");
    check("${{ random(0) }}", "at least 1");
    check("${{ cursor", "no end");
    check("${{ 'a }}", "no closing quote");
    check("${{ (1 }}", "closes what is not open");
    check("${{ }}", "empty");
    check("a\n${{ 1 + }}", "line 2");
    check("a\n${{\n * 2 }}", "line 3");
    check("${{ 'x' | unix }}", "the value is no time");
    check("${{ cursor == and }}", "a value is missing before a word");
    check("${{ or }}", "a value is missing before a word");
    check("${{ cursor ~ if }}", "a value is missing before a word");
    check(
        "${{ cursor ~ * 2 }}",
        "a value is missing before an operator",
    );
    check("${{ a b }}", "no variable `a`");
    check("${{ 1 2 }}", "line 1");
    check("${{ dict(**item) }}", "function `dict`");
    check("${% if x %}", "no statements");
    check("${# x #}", "no statements");
    check(
        &format!("${{{{ {}1 }}}}", "1 + ".repeat(65)),
        "64 operators",
    );
    check(
        &format!("${{{{ {}1 }}}}", "not ".repeat(600)),
        "too many parts",
    );
    check(&format!("${{{{ '{}' }}}}", "x".repeat(5000)), "longer than");
    check(&format!("${{{{ {}1 }}}}", "(".repeat(40)), "too deep");
    let check = |text: &str, part: &str| {
        let message = Condition::compile(text, ALL, &engine());
        let message = message.unwrap_err().to_string();
        assert!(message.contains(part), "{text}: {message}");
    };
    check("", "empty");
    check("${{ 1 }} or ${{ 2 }}", "text stands beside");
    check("item.status = 'a'", "line 1");
    check("(item.status", "not closed");
}

#[test]
fn a_place_has_its_own_variables() {
    const URL: Names = Names::new(&[Name::Session, Name::Secret]);
    let compile = |text: &str| ValueTemplate::compile(text, URL, &engine());
    assert!(compile("https://${{ session.host }}/${{ secret.a }}").is_ok());
    let message = compile("https://${{ item.host }}/")
        .unwrap_err()
        .to_string();
    assert_eq!(
        message,
        "there is no variable `item` here: known are session, secret"
    );
    let template = compile("${{ session.host }}").unwrap();
    assert!(template.uses(Name::Session) && !template.uses(Name::Secret));
}

#[test]
fn what_makes_much_of_little_ends() {
    let long = "x".repeat(PART_BYTES_MAX + 1);
    let list: Vec<&str> = vec!["a"; 2000];
    let deep = (0..100).fold(json!("x".repeat(100_000)), |inner, _| json!([inner]));
    let item = json!({"long": long, "half": "x".repeat(600_000), "list": list,
        "many": 100_000_000, "text": "ab", "deep": deep});
    let scope = Scope::default().with(Name::Item, &item);
    let check = |text: &str, expected: FilterError| {
        let text = format!("${{{{ {text} }}}}");
        let made = compile(&text).value(&scope);
        assert_eq!(
            made,
            Err(ExprError::Filter {
                line: 1,
                reason: expected
            }),
            "{text}"
        );
    };
    let numbers =
        FilterError::Value("`* / // % ** -` take numbers: `value | int` makes one of a text");
    check("'a' * item.many", numbers);
    check("item.many * 'a'", numbers);
    check("item.many * ('a' ~ 'b')", numbers);
    check("1 * item.text * item.many", numbers);
    check("-(item.many) * -1 * 'a' 'b'", numbers);
    check("item['text'] * 3", numbers);
    check("[1] * item.many", numbers);
    check("item.text | upper * item.many", numbers);
    check("item.many * item.text | upper", numbers);
    check("[item.many * item.text[0:1]]", numbers);
    check("{'a': item.many * {'b': 'c'}['b']}", numbers);
    check("item.long ~ 'a'", FilterError::TooLong);
    check("'a' + item.long", FilterError::TooLong);
    check("(item.half ~ item.half) ~ 'a'", FilterError::TooLong);
    check("item.list | join(item.half)", FilterError::TooLong);
    check("item.half | replace('x', item.half)", FilterError::TooLong);
    check("item.long | split('')", FilterError::TooLong);
    check("item.deep | jsonpath('$..*')", FilterError::TooLong);
    check(
        "[item, item, item, item, item] | tojson",
        FilterError::TooLong,
    );
    check(
        "[item, item, item, item, item] | hash",
        FilterError::TooLong,
    );
    let check = |text: &str, expected: ExprError| {
        assert_eq!(compile(text).value(&scope), Err(expected), "{text}");
    };
    check(&"${{ item.long }}".repeat(8), ExprError::TooLong);
    let doubled = format!("${{{{ [{}1] }}}}", "item.long, ".repeat(9));
    check(&doubled, ExprError::TooLong);
}

/// As it stands the engine would make 100 MB of it while it is compiled.
#[test]
fn a_text_is_not_repeated_even_when_the_file_is_read() {
    let refused = ValueTemplate::compile("${{ 'a' * 100000000 }}", ALL, &engine());
    let message = refused.unwrap_err().to_string();
    assert!(message.contains("take numbers"), "{message}");
}

/// Words in any order never end the process, neither when they are compiled nor evaluated.
#[test]
fn no_order_of_words_ends_the_process() {
    const WORDS: [&str; 48] = [
        "item.text",
        "item.least",
        "item.zero",
        "item.lines",
        "item.nothing",
        "cursor",
        "last",
        "1",
        "-1",
        "0.5",
        "'a'",
        "\"b\"",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        ",",
        ":",
        "+",
        "-",
        "*",
        "/",
        "//",
        "%",
        "**",
        "~",
        "==",
        "<",
        "in",
        "not",
        "and",
        "or",
        "is",
        "odd",
        "divisibleby",
        "if",
        "else",
        "| int",
        "| unix",
        "| abs",
        "| round(2)",
        "| minus('9999999999d')",
        "| last",
        "| sort",
        "[1:-1]",
        "[item.least]",
    ];
    let mut state: u64 = 0x9E37_79B9_7F4A_7C15;
    let mut next = |below: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        usize::try_from(state >> 33).unwrap() % below
    };
    let (scope, engine) = (scope(), engine());
    let mut compiled = 0;
    for _ in 0..60_000 {
        let words: Vec<&str> = (0..=next(9)).map(|_| WORDS[next(WORDS.len())]).collect();
        let text = format!("${{{{ {} }}}}", words.join(" "));
        if let Ok(template) = ValueTemplate::compile(&text, ALL, &engine) {
            compiled += 1;
            let _ = template.value(&scope);
            let _ = template.text(&scope);
        }
    }
    assert!(compiled > 1000, "{compiled}");
}
