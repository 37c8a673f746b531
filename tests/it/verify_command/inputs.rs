//! What may stand in a recorded request: headers, addresses, URLs, times.

use serde_json::{Value, json};

use super::{Files, SIGNATURE, SIGNED_AT, TOKEN, stripe, token, verdicts};

#[tokio::test]
async fn headers_are_an_object_or_lists_in_an_object_or_pairs() {
    let other = "t=1767225600,v1=00";
    let lists = json!({"Stripe-Signature": [SIGNATURE], "X-Number": 7});
    let pairs = json!([
        ["stripe-signature", SIGNATURE],
        ["X-Other", "a"],
        ["X-Other", "b"]
    ]);
    // Both are looked at, and a time that stands there twice is one too many.
    let repeated = json!([["Stripe-Signature", other], ["Stripe-Signature", SIGNATURE]]);
    let table = [
        (json!({"Stripe-Signature": SIGNATURE}), Value::Null),
        (lists, Value::Null),
        (pairs, Value::Null),
        (
            json!({"Stripe-Signature": [other, SIGNATURE]}),
            json!("signed_input_ambiguous"),
        ),
        (repeated, json!("signed_input_ambiguous")),
        (json!({}), json!("signature_missing")),
        (json!([]), json!("signature_missing")),
    ];
    let requests: Vec<_> = table
        .iter()
        .map(|(headers, _)| stripe("h", json!({"headers": headers})))
        .collect();
    let verdicts = Files::new().judge(&requests).await;
    for ((headers, reason), verdict) in table.iter().zip(&verdicts) {
        assert_eq!(verdict["reason"], *reason, "{headers}");
    }
}

#[tokio::test]
async fn the_address_of_the_sender_counts_with_and_without_its_port() {
    let behind = json!({"X-Gitlab-Token": TOKEN, "X-Forwarded-For": "198.51.100.9, 192.0.2.9"});
    let table = [
        (json!({"remote_addr": "192.0.2.1"}), Value::Null),
        (json!({"remote_addr": "192.0.2.1:40000"}), Value::Null),
        (json!({"remote_addr": "::ffff:192.0.2.1"}), Value::Null),
        (
            json!({"remote_addr": "[::ffff:192.0.2.1]:40000"}),
            Value::Null,
        ),
        (json!({"remote_addr": "2001:db8::1"}), Value::Null),
        (json!({"remote_addr": "[2001:db8::1]:40000"}), Value::Null),
        (
            json!({"remote_addr": "10.0.0.1:1", "headers": behind}),
            Value::Null,
        ),
        (
            json!({"remote_addr": "11.0.0.1:1", "headers": behind}),
            json!("address_denied"),
        ),
        (
            json!({"remote_addr": "192.0.3.1:40000"}),
            json!("address_denied"),
        ),
        (
            json!({"remote_addr": "2001:db9::1"}),
            json!("address_denied"),
        ),
        // Nobody said who sends it: this machine.
        (json!({}), json!("address_denied")),
    ];
    let requests: Vec<_> = table
        .iter()
        .map(|(changes, _)| token("t", changes.clone()))
        .collect();
    let verdicts = Files::new().judge(&requests).await;
    for ((changes, reason), verdict) in table.iter().zip(&verdicts) {
        assert_eq!(verdict["reason"], *reason, "{changes}");
    }
}

#[tokio::test]
async fn a_whole_url_tells_the_host_unless_a_header_does() {
    let table = [
        ("https://hooks.example.com/hosted", None, Value::Null),
        (
            "https://HOOKS.example.com:8443/hosted?x=1",
            None,
            Value::Null,
        ),
        ("/hosted", Some("hooks.example.com"), Value::Null),
        (
            "https://hooks.example.com/hosted",
            Some("other.example.com"),
            json!("no_route"),
        ),
        ("https://other.example.com/hosted", None, json!("no_route")),
        ("/hosted", None, json!("no_route")),
    ];
    let requests: Vec<_> = table
        .iter()
        .map(|(url, host, _)| {
            let mut headers = json!({"X-Gitlab-Token": TOKEN});
            if let Some(host) = host {
                headers["host"] = json!(host);
            }
            token("u", json!({"url": url, "headers": headers}))
        })
        .collect();
    let verdicts = Files::new().judge(&requests).await;
    for ((url, host, reason), verdict) in table.iter().zip(&verdicts) {
        assert_eq!(verdict["reason"], *reason, "{url} {host:?}");
    }
}

#[tokio::test]
async fn the_moment_of_judging_comes_from_the_line_else_from_the_flag_else_from_the_clock() {
    let files = Files::new();
    let lines = [
        stripe("flag", json!({})),
        stripe("null", json!({"now": null})),
        stripe("seconds", json!({"now": SIGNED_AT})),
        stripe("fraction", json!({"now": 1_767_225_600.5})),
        stripe("text", json!({"now": "1767225600"})),
        stripe("date", json!({"now": "2026-01-01T00:00:00Z"})),
        stripe("zone", json!({"now": "2026-01-01T01:00:00+01:00"})),
    ];
    let lines: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let line = "accepted";
    for (flag, by_flag) in [
        (&["--now", "1767225600"][..], "accepted"),
        (&["--now", "2026-01-01T00:04:59Z"], "accepted"),
        (&["--now", "2026-01-01T00:05:01Z"], "refused"),
        (&[], "refused"),
    ] {
        let finished = files.verify(&lines, flag).await;
        let found: Vec<_> = verdicts(&finished)
            .iter()
            .map(|verdict| verdict["verdict"].as_str().unwrap().to_owned())
            .collect();
        let expected = [by_flag, by_flag, line, line, line, line, line];
        assert_eq!(found, expected, "{flag:?}: {}", finished.stderr);
    }
    let finished = files.verify(&lines, &["--now", "yesterday"]).await;
    assert_eq!(finished.code, Some(2), "{finished:?}");
    assert!(finished.stderr.contains("`yesterday` is not a time"));
}
