//! What messages and hints say.

use super::super::*;
use super::read;
use crate::config::fault::Report;

fn messages(report: &Report) -> Vec<String> {
    let with_hint = |fault: &Fault| match &fault.hint {
        Some(hint) => format!("{} ({hint})", fault.message),
        None => fault.message.clone(),
    };
    report.faults().iter().map(with_hint).collect()
}

/// Checks the faults of a backend with the given keys in block style.
fn check_backend(keys: &str, expected: &[&str]) {
    let (_, report) = read(&format!("backends:\n  b:\n    url: x\n    {keys}\n"));
    assert_eq!(messages(&report), expected, "{report}");
}

fn check_route(keys: &str, expected: &[&str]) {
    let (_, report) = read(&format!("backends: {{}}\nroutes:\n  r:\n    {keys}\n"));
    assert_eq!(messages(&report), expected, "{report}");
}

#[test]
fn type_faults_say_what_was_found_and_what_was_expected() {
    let port = "`backends.b.port`: expected a whole number between 0 and 65535, found";
    for (written, found) in [
        ("x", "`x`"),
        ("65536", "`65536`"),
        ("-1", "`-1`"),
        ("8.5", "`8.5`"),
        ("[1]", "a list"),
        ("{a: 1}", "a mapping"),
        ("'8'", "`\"8\"` (remove the quotes)"),
        ("\"${{ env.EMPTY }}\"", "the value of `${{ env.EMPTY }}`"),
        ("postgres://a:b@c", "a text that is not shown"),
        ("&a 0x10", "`0x10`"),
    ] {
        check_backend(&format!("port: {written}"), &[&format!("{port} {found}")]);
    }
    let bool = "`backends.b.keepalive`: expected true or false, found";
    check_backend("keepalive: maybe", &[&format!("{bool} `maybe`")]);
    check_backend("keepalive: yes", &[&format!("{bool} `yes` (write `true`)")]);
    check_backend(
        "keepalive: off",
        &[&format!("{bool} `off` (write `false`)")],
    );
    check_backend(
        "keepalive: 'true'",
        &[&format!("{bool} `\"true\"` (remove the quotes)")],
    );
    check_backend(
        "weight: .inf",
        &["`backends.b.weight`: expected a number, found `.inf`"],
    );
    check_backend(
        "weight: inf",
        &["`backends.b.weight`: expected a number, found `inf`"],
    );
    let count = "`backends.b.concurrency`: expected a whole number between 1 and 4294967295, found";
    check_backend("concurrency: 0", &[&format!("{count} `0`")]);
    check_backend("concurrency: many", &[&format!("{count} `many`")]);
    check_backend(
        "timeout: 5s",
        &[
            "`backends.b.timeout`: expected a mapping with the keys `connect`, `response`, found `5s`",
        ],
    );
    check_backend(
        "headers: [a]",
        &["`backends.b.headers`: expected a mapping of names, found a list"],
    );
    check_backend(
        "headers: {a: {}}",
        &["`backends.b.headers.a`: expected a text, found a mapping"],
    );
    let size = "write a number of bytes or a number with a unit, like `512`, `64KiB` or `1MB`";
    check_backend(
        "body_max: big",
        &[&format!(
            "`backends.b.body_max`: `big` is not a size ({size})"
        )],
    );
    check_backend(
        "body_max: []",
        &["`backends.b.body_max`: expected a size, like `64KiB`, found a list"],
    );
}

#[test]
fn a_key_without_a_value_is_a_fault() {
    check_backend("port:", &["`backends.b.port` has no value"]);
    check_backend("port: ~", &["`backends.b.port` has no value"]);
    check_backend("timeout: null", &["`backends.b.timeout` has no value"]);
    check_backend("headers:", &["`backends.b.headers` has no value"]);
    check_backend("headers: {a: }", &[]);
    check_route("deliver:", &["`routes.r.deliver` has no value"]);
    check_route("deliver: [a, ]", &[]);
    check_route(
        "deliver:\n    - a\n    -",
        &["`routes.r.deliver[1]` has no value"],
    );
    check_route("auth:", &["`routes.r.auth` has no value"]);
    check_route("sample:", &[]);
    let (_, report) = read("backends:\n");
    assert_eq!(messages(&report), ["`backends` has no value"]);
}

#[test]
fn every_missing_and_every_unknown_key_is_reported() {
    check_backend(
        "timeout: {}",
        &[
            "missing key `connect` in `backends.b.timeout`",
            "missing key `response` in `backends.b.timeout`",
        ],
    );
    check_route(
        "verify: {secerts: [a], quite_other: 1}",
        &[
            "missing key `provider` in `routes.r.verify`",
            "missing key `secrets` in `routes.r.verify`",
            "unknown key `secerts` in `routes.r.verify` (did you mean `secrets`?)",
            "unknown key `quite_other` in `routes.r.verify` \
             (known keys: provider, secrets, algorithm, parse)",
        ],
    );
    check_route(
        "deliver: [{mode: queue}]",
        &["missing key `to` in `routes.r.deliver[0]`"],
    );
    let (file, report) = read("bakends: {}");
    assert!(file.is_some());
    let hint = "unknown key `bakends` at the top level (did you mean `backends`?)";
    assert_eq!(
        messages(&report),
        [hint, "missing key `backends` at the top level"]
    );
    assert!(
        report
            .to_string()
            .contains("missing key `backends` at the top level\n--> hookgate.yaml")
    );
}

#[test]
fn a_text_that_may_be_a_secret_is_not_shown_as_a_key_or_a_mapping() {
    let no_key = "a text without a key in `routes.r.auth` (a key is followed by `:` and a space)";
    check_route("auth: {type: basic, username: u, hunter22}", &[no_key]);
    check_route(
        "auth: {type: basic, username hunter22}",
        &["missing key `username` in `routes.r.auth`", no_key],
    );
    check_route(
        "verify: hunter22",
        &[
            "`routes.r.verify`: expected a mapping with the keys `provider`, `secrets`, \
           `algorithm`, `parse`, found a text that is not shown",
        ],
    );
}

#[test]
fn the_nearest_name_is_offered() {
    let known = ["url", "timeout", "rate_limit", "body_max", "by"];
    for (written, expected) in [
        ("ulr", Some("url")),
        ("timeouts", Some("timeout")),
        ("rate-limit", Some("rate_limit")),
        ("Rate Limit", Some("rate_limit")),
        ("body", Some("body_max")),
        ("to", None),
        ("", None),
        ("ö", None),
    ] {
        assert_eq!(words::nearest(written, &known), expected, "{written}");
    }
}

#[test]
fn faults_of_enums_list_the_variants() {
    let verify = "verify: {provider: p, secrets: s,";
    let algorithm = "`routes.r.verify.algorithm`:";
    let list = "is not one of: `sha1`, `sha256`";
    check_route(
        &format!("{verify} algorithm: sha257}}"),
        &[&format!(
            "{algorithm} `sha257` {list} (did you mean `sha256`?)"
        )],
    );
    check_route(
        &format!("{verify} algorithm: md5}}"),
        &[&format!("{algorithm} `md5` {list}")],
    );
    check_route(
        &format!("{verify} algorithm: '${{{{ env.PORT }}}}'}}"),
        &[&format!(
            "{algorithm} the value of `${{{{ env.PORT }}}}` {list}"
        )],
    );
    check_route(
        &format!("{verify} algorithm: [sha1]}}"),
        &[&format!(
            "{algorithm} expected one of `sha1`, `sha256`, found a list"
        )],
    );
    check_route(
        &format!("{verify} algorithm: {{sha1: 5}}}}"),
        &["`routes.r.verify.algorithm.sha1`: expected nothing, found `5`"],
    );
    let parse = "`routes.r.verify.parse`:";
    check_route(
        &format!("{verify} parse: prefix}}"),
        &[&format!(
            "{parse} `prefix` needs a value (write `prefix: …`)"
        )],
    );
    check_route(
        &format!("{verify} parse: {{prefx: a}}}}"),
        &[&format!(
            "{parse} `prefx` is not one of: `plain`, `prefix`, `pairs` (did you mean `prefix`?)"
        )],
    );
    check_route(
        &format!("{verify} parse: {{prefix: a, pairs: b}}}}"),
        &[&format!(
            "{parse} expected one of `plain`, `prefix`, `pairs`, found a mapping"
        )],
    );
    check_route(
        &format!("{verify} parse: {{pairs: {{separator: ab}}}}}}"),
        &[
            "missing key `key` in `routes.r.verify.parse.pairs`",
            "`routes.r.verify.parse.pairs.separator`: expected a single character, found `ab`",
        ],
    );
}

#[test]
fn a_tag_chooses_which_keys_are_known() {
    check_route(
        "auth: {type: basic, token: t}",
        &[
            "missing key `username` in `routes.r.auth`",
            "unknown key `token` in `routes.r.auth` (known keys: username, retries)",
        ],
    );
    check_route(
        "auth: {type: none, a: 1}",
        &["unknown key `a` in `routes.r.auth`"],
    );
    check_route(
        "auth: {type: bearr}",
        &[
            "`routes.r.auth.type`: `bearr` is not one of: `basic`, `bearer`, `none` \
           (did you mean `bearer`?)",
        ],
    );
    check_route(
        "auth: {username: u}",
        &["missing key `type` in `routes.r.auth`"],
    );
    check_route(
        "auth: x",
        &["`routes.r.auth`: expected a mapping with the key `type`, found `x`"],
    );
}

#[test]
fn what_an_expression_gives_is_never_shown() {
    check_backend(
        "port: \"${{ env.GONE }}\"",
        &["`backends.b.port`: environment variable `GONE` is not set"],
    );
    check_route(
        "rate: \"${{ secret.long }}\"",
        &[
            "`routes.r.rate`: the value of `${{ secret.long }}` is not a rate \
           (write a whole number of at least 1 per `s`, `min`, `h` or `d`, like `50/s`)",
        ],
    );
    for keys in [
        "port",
        "keepalive",
        "weight",
        "body_max",
        "timeout",
        "concurrency",
    ] {
        let (_, report) = read(&format!(
            "backends: {{b: {{url: x, {keys}: \"${{{{ secret.long }}}}\"}}}}"
        ));
        let text = format!("{report:?}{:?}", report.faults());
        assert!(!report.is_empty() && !text.contains("horse"), "{text}");
    }
}

#[test]
fn words_that_give_a_secret_away_are_dropped() {
    let check = |message: &str, expected: Option<&str>| {
        let cleaned = words::without_text(message, "hunter22", "it");
        assert_eq!(cleaned.as_deref(), expected);
    };
    check("`hunter22` is wrong", Some("it is wrong"));
    check("hunter22 is wrong", None);
    check("unknown unit \"nter\"", None);
    check("it is wrong", Some("it is wrong"));
    assert_eq!(
        words::without_text("bad `5`", "5", "it").as_deref(),
        Some("bad it")
    );
}
