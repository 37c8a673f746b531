//! What the reader makes of texts, good and bad.

use super::*;

/// Writes a tree so that kinds, texts and quotes can be compared.
fn written(node: &Node) -> String {
    match &node.kind {
        Kind::Scalar { text, plain: true } => text.clone(),
        Kind::Scalar { text, plain: false } => format!("{text:?}"),
        Kind::Sequence(items) => {
            format!(
                "[{}]",
                items.iter().map(written).collect::<Vec<_>>().join(", ")
            )
        }
        Kind::Mapping(entries) => {
            let entry = |(key, value): &(Key, Node)| {
                let mark = if key.refused { "!" } else { "" };
                format!("{mark}{}: {}", key.name, written(value))
            };
            format!(
                "{{{}}}",
                entries.iter().map(entry).collect::<Vec<_>>().join(", ")
            )
        }
    }
}

fn check(source: &str, expected: &str) {
    let parsed = parse(source);
    assert_eq!(parsed.faults, [], "{source}");
    assert_eq!(
        parsed.root.as_ref().map(written).as_deref(),
        Some(expected),
        "{source}"
    );
}

fn check_faults(source: &str, root: Option<&str>, expected: &[(&str, usize)]) {
    let parsed = parse(source);
    let at = |fault: &Fault| fault.span.map_or(0, |span| span.start);
    let found: Vec<_> = parsed
        .faults
        .iter()
        .map(|f| (f.message.as_str(), at(f)))
        .collect();
    assert_eq!(found, expected, "{source}");
    assert_eq!(
        parsed.root.as_ref().map(written).as_deref(),
        root,
        "{source}"
    );
}

#[test]
fn scalars_stay_as_they_were_written() {
    check("a: 01234", "{a: 01234}");
    check("a: no", "{a: no}");
    check("a: 1.10", "{a: 1.10}");
    check("a: '01'", "{a: \"01\"}");
    check("a: \"x\\ty\"", "{a: \"x\\ty\"}");
    check("a: ~\nb:\nc: ''", "{a: ~, b: , c: \"\"}");
    check(
        "a: |\n  x\n  y\nb: >\n  x\n  y\n",
        "{a: \"x\\ny\\n\", b: \"x y\\n\"}",
    );
    check("just text", "just text");
}

#[test]
fn block_and_flow_style_give_the_same_tree() {
    check("a:\n  b: [1, {c: d}]\n", "{a: {b: [1, {c: d}]}}");
    check("a:\n  b:\n  - 1\n  - c: d\n", "{a: {b: [1, {c: d}]}}");
    check("{a: {b: [1, {c: d}]}}", "{a: {b: [1, {c: d}]}}");
    check("---\na: {b, c}\n", "{a: {b: , c: }}");
    check("\u{feff}a: 1\r\nb: 2\r\n", "{a: 1, b: 2}");
}

#[test]
fn aliases_repeat_values() {
    check(
        "a: &x {b: 1}\nc: *x\nd: [*x, *x]",
        "{a: {b: 1}, c: {b: 1}, d: [{b: 1}, {b: 1}]}",
    );
    check("a: &x b\n*x : c", "{a: b, b: c}");
    check("a: &x 1\nb: &x 2\nc: *x", "{a: 1, b: 2, c: 2}");
}

#[test]
fn spans_cover_the_value_and_nothing_else() {
    let source = "ä: {ö: 'ü', b: [1,  2 ]}\nc:\n  d: |\n    text\n  e: plain text # end\n";
    let spans = |node: &Node| {
        source
            .get(node.span.start..node.span.end)
            .map(str::to_owned)
    };
    let Some(Node {
        kind: Kind::Mapping(root),
        ..
    }) = parse(source).root
    else {
        panic!("no mapping");
    };
    let names: Vec<_> = root
        .iter()
        .map(|(key, _)| &source[key.span.start..key.span.end])
        .collect();
    assert_eq!(names, ["ä", "c"]);
    let values: Vec<_> = root
        .iter()
        .map(|(_, value)| spans(value).unwrap())
        .collect();
    assert_eq!(
        values,
        [
            "{ö: 'ü', b: [1,  2 ]}",
            "d: |\n    text\n  e: plain text # end"
        ]
    );
    let Kind::Mapping(inner) = &root[1].1.kind else {
        panic!("no mapping");
    };
    assert_eq!(spans(&inner[1].1).unwrap(), "plain text");
}

#[test]
fn faults_of_the_tree_do_not_stop_the_reading() {
    let repeated = "key `a` is repeated; the first is on line 1";
    check_faults(
        "a: 1\na: 2\nb: 3\na: 4\n",
        Some("{a: 1, !a: 2, b: 3, !a: 4}"),
        &[(repeated, 5), (repeated, 15)],
    );
    check_faults(
        "a: {<<: {b: 1}, c: 2}",
        Some("{a: {!<<: {b: 1}, c: 2}}"),
        &[("merge keys (`<<`) are not supported", 4)],
    );
    check_faults(
        "a: !include x\nb: !!str 1\n",
        Some("{a: x, b: 1}"),
        &[
            ("tags are not supported", 3),
            ("tags are not supported", 17),
        ],
    );
    check_faults(
        "[a]: 1\n~: 2\nb: 3",
        Some("{!: 1, !: 2, b: 3}"),
        &[
            ("a key must be a text, found a list or a mapping", 0),
            ("a key has no name", 7),
        ],
    );
    check_faults(
        "a: 1\n---\nb: [\n",
        Some("{a: 1}"),
        &[("the file holds a second document", 5)],
    );
}

#[test]
fn an_empty_file_is_a_fault() {
    for source in [
        "",
        "\n\n",
        "# nothing\n",
        "---\n",
        "---\n...\n",
        "~",
        "null",
    ] {
        check_faults(source, None, &[("the file is empty", 0)]);
    }
}

#[test]
fn a_syntax_error_is_one_fault_at_its_place() {
    for (source, message, at) in [
        ("a: [b, c", "this `[` is never closed", 3),
        ("a: 'b\nc: d\n", "this quote is never closed", 3),
        ("a: b: c", "a `:` is not allowed here", 4),
        ("a:\n  b: 1\n c: 2\n", "expected a key", 11),
        ("- a\nb: c", "expected an item that begins with `-`", 4),
        ("ä: @x", "a value cannot begin with `@`", 4),
        ("a:\n\tb: 1", "a tab is not allowed as indentation", 4),
        ("a: *b", "this alias has no anchor above it", 3),
        (
            "a: &a [*a]",
            "this alias stands inside the value it repeats",
            7,
        ),
        ("a: }", "nothing was opened that ends here", 3),
        ("a: {b: c\n", "this `{` is never closed", 3),
        ("a: [${{ env.X }}]", "expected `,` or `]`", 5),
    ] {
        check_faults(source, None, &[(message, at)]);
    }
}

#[test]
fn depth_is_limited_with_and_without_aliases() {
    let nested = |count: usize, inner: &str| "[".repeat(count) + inner + &"]".repeat(count);
    assert!(parse(&nested(DEPTH_MAX, "")).faults.is_empty());
    let message = "nested deeper than 64 levels";
    check_faults(&nested(DEPTH_MAX + 1, ""), None, &[(message, DEPTH_MAX)]);
    let source = format!("- &a {}\n- {}\n", nested(40, ""), nested(40, "*a"));
    check_faults(&source, None, &[(message, 128)]);
    assert_eq!(parse(&"[".repeat(100_000)).faults.len(), 1);
    assert_eq!(parse(&"- ".repeat(100_000)).faults.len(), 1);
    assert_eq!(parse(&"{a: ".repeat(100_000)).faults.len(), 1);
}

#[test]
fn aliases_cannot_grow_without_limit() {
    let mut source = "- &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..10 {
        let items = vec![format!("*a{}", level - 1); 10].join(", ");
        source += &format!("- &a{level} [{items}]\n");
    }
    let parsed = parse(&source);
    assert_eq!(parsed.faults.len(), 1);
    assert_eq!(
        parsed.faults[0].message,
        "the file holds more than 100000 values"
    );

    let long = format!(
        "- &a {}\n{}",
        "x".repeat(1_000_000),
        "- *a\n".repeat(50_000)
    );
    assert_eq!(
        parse(&long).faults[0].message,
        "the file holds more than 100000 values"
    );
}

fn check_hidden(source: &str, expected: &[&str]) {
    let mut spans = parse(source).hidden;
    spans.sort();
    spans.dedup();
    let texts: Vec<_> = spans
        .iter()
        .map(|span| &source[span.start..span.end])
        .collect();
    assert_eq!(texts, expected, "{source}");
}

#[test]
fn literal_texts_under_secret_keys_are_hidden() {
    check_hidden("secret: abc\npath: /x", &["abc"]);
    check_hidden("a: {secrets: [x, 'y', \"${{ secret.z }}\"]}", &["x", "'y'"]);
    check_hidden(
        "- username: u\n  password: {a: {b: c}}\n",
        &["u", "a", "b", "c"],
    );
    check_hidden("secrets: {a, b: }", &["a", "", "b", ""]);
    check_hidden("token: 'x-${{ secret.z }}'", &[]);
    check_hidden("token: '${{ secret.z'", &["'${{ secret.z'"]);
    check_hidden("client_secret: x\ntokens: y", &["x"]);
    check_hidden("X-Api-Token: x\nAuthorization: y\nHost: z", &["x", "y"]);
    check_hidden("x: &a abc\nsecret: *a", &["abc"]);
}

#[test]
fn values_of_refused_keys_are_hidden() {
    check_hidden("a: 1\na: {b: 2}", &["b", "2"]);
    check_hidden("{a: b}: c", &["a", "b", "c"]);
    check_hidden("<<: d", &["d"]);
}

#[test]
fn a_broken_line_shows_only_keys_and_marks() {
    check_hidden("secret: \"abc", &["abc"]);
    check_hidden("{path: x, secret: abc", &["x", "abc"]);
    check_hidden(
        "{path: x, secret: abc: 1, y: z",
        &["x", "abc:", "1", "y:", "z"],
    );
    check_hidden("a: 1\nb: [c d, ü", &["c", "d", "ü"]);
    check_hidden(
        "v:\n  secrets:\n    - abc\n    - 'def: g",
        &["abc", "def:", "g"],
    );
    check_hidden("secrets:\n- abc\n- 'def: g", &["abc", "def:", "g"]);
    check_hidden("secrets: [${{ secret.x }}, x${{ y }}z", &["x", "z"]);
    check_hidden("secrets: [${{ 'abc', ${{ secret.x }}]", &["abc"]);
    check_hidden("a:\n  token: x\n  b: [1", &["x", "1"]);
}

#[test]
fn no_text_makes_the_parser_panic() {
    let source =
        "a: &x {b: 'é', c: [1, \"\\u00e9\"]}\nsecret: |\n  ü\n? [d]\n: *x\ne: !t >-\n  f\n";
    for (end, _) in source.char_indices() {
        parse(&source[..end]);
        parse(&source[end..]);
        parse(&format!("{}\t{}", &source[..end], &source[end..]));
        parse(&format!("{}: ]{}", &source[..end], &source[end..]));
    }
}
