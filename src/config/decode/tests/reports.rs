//! Whole reports, as a person sees them.

use super::read;

fn check(source: &str, expected: &str) {
    let (_, report) = read(source);
    assert_eq!(report.to_string(), expected);
}

#[test]
fn many_faults_in_one_file_are_reported_together() {
    check(
        r#"# Größe: the first line counts too
backends:
  billing:
    ulr: http://127.0.0.1:3000
    port: 99999
    timeout: {connect: 30, response: "${{ env.PORT }}", extra: {a: [topsecret]}}
    timeout: {}
  größe: {url: "${{ env.GONE }}", keepalive: yes, port: "80"}
  empty:
routes:
  stripe:
    verify: {provider: stripe, secerts: [whsec_123], algorithm: sha257}
    deliver:
      - to: billing
        mode: que
      - {mode: queue}
      - []
    auth: {type: basic, username: "käse", retries: 256, pasword: "geheim"}
"#,
        r#"error: missing key `url` in `backends.billing`
 --> hookgate.yaml:3:3
  |
3 |   billing:
  |   ^^^^^^^

error: unknown key `ulr` in `backends.billing`
 --> hookgate.yaml:4:5
  |
4 |     ulr: ***
  |     ^^^
  |
  = help: did you mean `url`?

error: `backends.billing.port`: expected a whole number between 0 and 65535, found `99999`
 --> hookgate.yaml:5:11
  |
5 |     port: 99999
  |           ^^^^^

error: `backends.billing.timeout.connect`: `30` has no unit
 --> hookgate.yaml:6:24
  |
6 |     timeout: {connect: 30, response: "${{ env.PORT }}", extra: {***: [***]}}
  |                        ^^
  |
  = help: write a unit, like `30s`, `500ms` or `5m`

error: `backends.billing.timeout.response`: the value of `${{ env.PORT }}` has no unit
 --> hookgate.yaml:6:38
  |
6 |     timeout: {connect: 30, response: "${{ env.PORT }}", extra: {***: [***]}}
  |                                      ^^^^^^^^^^^^^^^^^
  |
  = help: write a unit, like `30s`, `500ms` or `5m`

error: unknown key `extra` in `backends.billing.timeout`
 --> hookgate.yaml:6:57
  |
6 |     timeout: {connect: 30, response: "${{ env.PORT }}", extra: {***: [***]}}
  |                                                         ^^^^^
  |
  = help: known keys: connect, response

error: key `timeout` is repeated; the first is on line 6
 --> hookgate.yaml:7:5
  |
7 |     timeout: {}
  |     ^^^^^^^
  |
  = help: keep one of them

error: `backends.größe.url`: environment variable `GONE` is not set
 --> hookgate.yaml:8:16
  |
8 |   größe: {url: "${{ env.GONE }}", keepalive: yes, port: "80"}
  |                ^^^^^^^^^^^^^^^^^

error: `backends.größe.keepalive`: expected true or false, found `yes`
 --> hookgate.yaml:8:46
  |
8 |   größe: {url: "${{ env.GONE }}", keepalive: yes, port: "80"}
  |                                              ^^^
  |
  = help: write `true`

error: `backends.größe.port`: expected a whole number between 0 and 65535, found `"80"`
 --> hookgate.yaml:8:57
  |
8 |   größe: {url: "${{ env.GONE }}", keepalive: yes, port: "80"}
  |                                                         ^^^^
  |
  = help: remove the quotes

error: `backends.empty` has no value
 --> hookgate.yaml:9:3
  |
9 |   empty:
  |   ^^^^^

error: missing key `secrets` in `routes.stripe.verify`
  --> hookgate.yaml:12:5
   |
12 |     verify: {provider: stripe, secerts: [***], algorithm: sha257}
   |     ^^^^^^

error: unknown key `secerts` in `routes.stripe.verify`
  --> hookgate.yaml:12:32
   |
12 |     verify: {provider: stripe, secerts: [***], algorithm: sha257}
   |                                ^^^^^^^
   |
   = help: did you mean `secrets`?

error: `routes.stripe.verify.algorithm`: `sha257` is not one of: `sha1`, `sha256`
  --> hookgate.yaml:12:65
   |
12 |     verify: {provider: stripe, secerts: [***], algorithm: sha257}
   |                                                           ^^^^^^
   |
   = help: did you mean `sha256`?

error: `routes.stripe.deliver[0].mode`: `que` is not one of: `proxy`, `queue`
  --> hookgate.yaml:15:15
   |
15 |         mode: que
   |               ^^^
   |
   = help: did you mean `queue`?

error: missing key `to` in `routes.stripe.deliver[1]`
  --> hookgate.yaml:16:9
   |
16 |       - {mode: queue}
   |         ^^^^^^^^^^^^^

error: `routes.stripe.deliver[2]`: expected a mapping with the keys `to`, `mode`, found a list
  --> hookgate.yaml:17:9
   |
17 |       - []
   |         ^^

error: `routes.stripe.auth.retries`: expected a whole number between 0 and 255, found `256`
  --> hookgate.yaml:18:52
   |
18 |     auth: {type: basic, username: ***, retries: 256, pasword: ***}
   |                                                 ^^^

error: unknown key `pasword` in `routes.stripe.auth`
  --> hookgate.yaml:18:57
   |
18 |     auth: {type: basic, username: ***, retries: 256, pasword: ***}
   |                                                      ^^^^^^^
   |
   = help: known keys: username, retries

19 faults in hookgate.yaml"#,
    );
}

#[test]
fn faults_of_secrets_do_not_show_them() {
    check(
        "\
backends: {}
routes:
  a:
    verify:
      provider: &shared { hidden: wh1 }
      secrets:
        - [wh2]
        - wh3: wh4
        - {wh5, wh6}
      parse: {prefx: wh7}
  b:
    auth: {typ: bearer, token: wh8}
  c:
    auth: {type: bearer, token: {wh9: [wh0]}} # the end
  d: *shared
",
        "\
error: `routes.a.verify.provider`: expected a text, found a mapping
 --> hookgate.yaml:5:7
  |
5 |       provider: &shared { ***: *** }
  |       ^^^^^^^^

error: unknown key `hidden` in `routes.d`
 --> hookgate.yaml:5:27
  |
5 |       provider: &shared { ***: *** }
  |                           ^^^
  |
  = help: known keys: verify, deliver, auth, rate, sample

error: `routes.a.verify.secrets[0]`: expected a text, found a list
 --> hookgate.yaml:7:11
  |
7 |         - [***]
  |           ^^^^^

error: `routes.a.verify.secrets[1]`: expected a text, found a mapping
 --> hookgate.yaml:8:11
  |
8 |         - ***: ***
  |           ^^^^^^^^

error: `routes.a.verify.secrets[2]`: expected a text, found a mapping
 --> hookgate.yaml:9:11
  |
9 |         - {***, ***}
  |           ^^^^^^^^^^

error: `routes.a.verify.parse`: `prefx` is not one of: `plain`, `prefix`, `pairs`
  --> hookgate.yaml:10:15
   |
10 |       parse: {prefx: ***}
   |               ^^^^^
   |
   = help: did you mean `prefix`?

error: missing key `type` in `routes.b.auth`
  --> hookgate.yaml:12:5
   |
12 |     auth: {typ: ***, token: ***}
   |     ^^^^

error: `routes.c.auth.token`: expected a text, found a mapping
  --> hookgate.yaml:14:26
   |
14 |     auth: {type: bearer, token: {***: [***]}}
   |                          ^^^^^

8 faults in hookgate.yaml",
    );
}

#[test]
fn an_alias_of_a_secret_is_a_secret() {
    check(
        "\
backends: {b: {url: x, port: &p hunter22}}
routes:
  r: {verify: {provider: p, secrets: *p}, rate: *p}
",
        "\
error: `backends.b.port`: expected a whole number between 0 and 65535, found a text that is not shown
 --> hookgate.yaml:1:33
  |
1 | backends: {b: {url: x, port: &p ***}}
  |                                 ^^^

error: `routes.r.rate`: a text that is not shown is not a rate
 --> hookgate.yaml:1:33
  |
1 | backends: {b: {url: x, port: &p ***}}
  |                                 ^^^
  |
  = help: write a whole number of at least 1 per `s`, `min`, `h` or `d`, like `50/s`

2 faults in hookgate.yaml",
    );
}

#[test]
fn a_broken_file_has_one_fault_beside_those_above_it() {
    check(
        "\
backends: {}
backends: {}
routes:
  r:
    verify:
      secrets: [abc, \"def]
",
        "\
error: key `backends` is repeated; the first is on line 1
 --> hookgate.yaml:2:1
  |
2 | backends: {}
  | ^^^^^^^^
  |
  = help: keep one of them

error: this quote is never closed
 --> hookgate.yaml:6:22
  |
6 |       secrets: [***, \"***]
  |                      ^

2 faults in hookgate.yaml",
    );
}

#[test]
fn no_slip_makes_decoding_panic_or_shows_a_secret() {
    let source = "\
backends:
  ä: &a {url: 'ü', port: 1, timeout: {connect: 1s, response: 5m}}
routes:
  r:
    verify: {provider: x, secrets: ['hunter22', \"${{ secret.long }}\"]}
    auth:
      type: bearer
      token: |
        hunter22
        hunter22
  s:
    verify:
      secrets:
        - hunter22
        - \"hunter22\"
      provider: y
    auth: {type: basic, username: hunter22}
";
    assert!(read(source).1.is_empty(), "{}", read(source).1);
    let slips = [
        "", "\n", "\r", "x: [", " ]", ",", ": ", "'", "\"", "#", "${{", "\n  x: ", "|\n",
    ];
    for (at, character) in source.char_indices() {
        let (before, after) = source.split_at(at);
        let rest = &after[character.len_utf8()..];
        for slip in slips {
            check_shows_no_secret(&format!("{before}{slip}"));
            check_shows_no_secret(&format!("{before}{slip}{after}"));
            check_shows_no_secret(&format!("{before}{slip}{rest}"));
        }
    }
}

fn check_shows_no_secret(source: &str) {
    let report = read(source).1.to_string();
    assert!(!report.contains("hunter22"), "{source}\n{report}");
}
