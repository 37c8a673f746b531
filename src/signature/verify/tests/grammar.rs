//! The parts of the grammar that few providers need, and how each could be abused.

use super::*;
use crate::signature::jwt::{ClaimHash, Issuer, JwtRule};
use crate::signature::key::KeyId;

const SECRET: &str = "s";

fn json_head(body: &[u8]) -> (Head, Vec<u8>) {
    (head(), body.to_vec())
}

fn judge_body(verifier: &Verifier, head: &Head, body: &[u8]) -> Result<(), &'static str> {
    let verified = verifier.verify(&Request::new(head, body), now());
    verified.map(|_| ()).map_err(|reason| reason.label())
}

fn message(text: &str) -> Message {
    Message::parse(text).unwrap()
}

fn list(key: Option<&str>) -> ListForm {
    ListForm {
        item_sep: ",".into(),
        kv_sep: "=".into(),
        key: key.map(str::to_owned),
    }
}

fn header_of(parts: SchemeParts, at: i64) -> String {
    let head = signed(parts, SECRET, at);
    let value = head.headers.first("X-Signature").unwrap();
    String::from_utf8(value.to_vec()).unwrap()
}

#[test]
fn each_set_of_signatures_is_judged_by_its_own_time() {
    let sets = SchemeParts {
        parse: Parse::Sets {
            set_sep: " ".into(),
            list: list(Some("v1")),
        },
        ..parts()
    };
    let verifier = verifier(sets.clone(), &[SECRET]);
    let check = |value: &str, expected: Result<usize, &'static str>| {
        assert_eq!(
            judged(&verifier, &with_header("X-Signature", value)),
            expected,
            "{value}"
        );
    };
    let (fresh, stale) = (header_of(sets.clone(), NOW), header_of(sets, NOW - 600));
    check(&fresh, Ok(0));
    check(&format!("{stale} {fresh}"), Ok(0));
    check(&format!("{fresh} {stale}"), Ok(0));
    check(&stale, Err("timestamp_stale"));
    // The time of one set with the signature of another.
    let (time, _) = fresh.split_once(',').unwrap();
    let (_, old) = stale.split_once(',').unwrap();
    check(&format!("{time},{old}"), Err("signature_mismatch"));
    check(&format!("{time} {old}"), Err("signature_malformed"));
}

#[test]
fn a_header_without_keys_has_the_time_first() {
    let positional = SchemeParts {
        parse: Parse::Positional { sep: ",".into() },
        ..parts()
    };
    let verifier = verifier(positional.clone(), &[SECRET]);
    let check = |value: &str, expected: Result<usize, &'static str>| {
        assert_eq!(
            judged(&verifier, &with_header("X-Signature", value)),
            expected,
            "{value}"
        );
    };
    let value = header_of(positional, NOW);
    let (time, signature) = value.split_once(',').unwrap();
    check(&value, Ok(0));
    check(&format!("{time},00,{signature}"), Ok(0));
    check(&format!("{time},00"), Err("signature_mismatch"));
    check(
        &format!("{},{signature}", NOW + 1),
        Err("signature_mismatch"),
    );
    check(time, Err("signature_malformed"));
}

#[test]
fn a_signature_fits_only_the_key_whose_name_stands_before_it() {
    let named = SchemeParts {
        parse: Parse::List(list(None)),
        key: KeyRule {
            id: Some(KeyId::List),
            ..KeyRule::plain()
        },
        message: message("{body}"),
        timestamp: None,
        ..parts()
    };
    let scheme = Scheme::new(named.clone()).unwrap();
    let key = keys(&scheme, &["one:first"]).remove(0);
    let mut head = head();
    let stamp = Stamp {
        at: now(),
        id: "msg_1",
    };
    scheme
        .sign(&key, &mut head, BODY, &stamp, &Terms::default())
        .unwrap();
    let value = String::from_utf8(head.headers.first("X-Signature").unwrap().to_vec()).unwrap();
    let verifier = verifier(named, &["two:second", "one:first"]);
    let check = |value: &str, expected: Result<usize, &'static str>| {
        assert_eq!(
            judged(&verifier, &with_header("X-Signature", value)),
            expected,
            "{value}"
        );
    };
    check(&value, Ok(1));
    check(&format!("two=00,{value}"), Ok(1));
    check(&value.replace("one=", "two="), Err("signature_mismatch"));
    check(&value.replace("one=", "three="), Err("signature_mismatch"));
}

#[test]
fn while_a_secret_is_rolled_both_sign_the_same_request() {
    let scheme = Scheme::new(parts()).unwrap();
    let both = keys(&scheme, &["new", "old"]);
    let stamp = Stamp {
        at: now(),
        id: "msg_1",
    };
    let mut signed = head();
    scheme
        .sign_with(&both, &mut signed, BODY, &stamp, &Terms::default())
        .unwrap();
    let value = signed.headers.first("X-Signature").unwrap();
    assert_eq!(value.windows(3).filter(|part| *part == b"v1=").count(), 2);
    for (secret, expected) in [
        ("new", Ok(0)),
        ("old", Ok(0)),
        ("older", Err("signature_mismatch")),
    ] {
        assert_eq!(judged(&verifier(parts(), &[secret]), &signed), expected);
    }
    let whole = SchemeParts {
        message: message("{body}"),
        timestamp: None,
        parse: Parse::Whole,
        ..parts()
    };
    let whole = Scheme::new(whole).unwrap();
    let refused = whole.sign_with(&both, &mut signed, BODY, &stamp, &Terms::default());
    assert_eq!(refused, Err(SignError::OneKey));
}

#[test]
fn what_was_agreed_on_must_stand_in_the_request() {
    let parts = SchemeParts {
        when: vec![(Place::Header("X-Topic".into()), message("{option:topic}"))],
        ..untimed(Parse::Whole, Encoding::Hex, Algorithm::Hmac(Hash::Sha1))
    };
    let scheme = Scheme::new(parts).unwrap();
    let key = Key::new(
        Algorithm::Hmac(Hash::Sha1),
        &KeyRule::plain(),
        &Secret::new(SECRET),
    );
    let key = key.unwrap();
    let schemes = || vec![(scheme.clone(), vec![key.clone()])];
    let missing = Verifier::new(schemes(), None).err();
    let name = "topic".to_owned();
    assert_eq!(missing, Some(VerifierError::NoOption { name }));
    let mut terms = Terms::default();
    terms.options.insert("topic".into(), "orders".into());
    let verifier = Verifier::new(schemes(), terms.clone()).unwrap();
    let mut head = head();
    let stamp = Stamp { at: now(), id: "1" };
    let signed = scheme.sign(&key, &mut head, BODY, &stamp, &terms);
    signed.unwrap();
    let judged = |head: &Head| {
        let request = verifier.terms().request(head, BODY);
        let verified = verifier.verify(&request, now());
        verified.map(|_| ()).map_err(|reason| reason.to_string())
    };
    assert_eq!(judged(&head), Ok(()));
    head.headers.set("X-Topic", "payments");
    let refused =
        "malformed signature in header X-Topic: what stands there asks for another scheme";
    assert_eq!(judged(&head), Err(refused.to_owned()));
}

#[test]
fn a_scheme_is_looked_at_only_when_the_request_asks_for_it() {
    let asked = SchemeParts {
        when: vec![(Place::Header("X-Alg".into()), Message::literal("sha1"))],
        ..untimed(Parse::Whole, Encoding::Hex, Algorithm::Hmac(Hash::Sha1))
    };
    let verifier = verifier(asked.clone(), &[SECRET]);
    let genuine = signed(asked, SECRET, NOW);
    assert_eq!(judged(&verifier, &genuine), Ok(0));
    let mut other = genuine.clone();
    other.headers.set("X-Alg", "none");
    assert_eq!(judged(&verifier, &other), Err("signature_malformed"));
    let mut twice = genuine.clone();
    twice.headers.push("X-Alg", "none");
    assert_eq!(judged(&verifier, &twice), Err("signature_malformed"));
    let mut without = genuine;
    without.headers = without.headers.without("X-Alg");
    assert_eq!(judged(&verifier, &without), Err("signature_malformed"));
}

#[test]
fn every_item_must_be_genuine_and_there_must_be_one() {
    let each = SchemeParts {
        place: Place::Json("$.sig".parse().unwrap()),
        parse: Parse::Whole,
        message: message("{json:$.n}:[{json:$.note}]"),
        unsigned_body: true,
        for_each: Some("$.items[*]".parse().unwrap()),
        timestamp: None,
        ..parts()
    };
    let scheme = Scheme::new(each.clone()).unwrap();
    let key = keys(&scheme, &[SECRET]).remove(0);
    let stamp = Stamp {
        at: now(),
        id: "msg_1",
    };
    let (mut head, mut body) =
        json_head(br#"{"items": [{"n": 1.50}, {"n": 2, "note": "x"}], "more": 1}"#);
    scheme
        .sign(&key, &mut head, &mut body, &stamp, &Terms::default())
        .unwrap();
    let verifier = verifier(each, &[SECRET]);
    let check = |body: &str, expected: Result<(), &'static str>| {
        assert_eq!(
            judge_body(&verifier, &head, body.as_bytes()),
            expected,
            "{body}"
        );
    };
    let body = String::from_utf8(body).unwrap();
    check(&body, Ok(()));
    // What is not signed may change.
    check(&body.replace("\"more\":1", "\"more\":2"), Ok(()));
    check(
        &body.replace("\"n\":2", "\"n\":3"),
        Err("signature_mismatch"),
    );
    check(
        &body.replace("\"note\":\"x\"", "\"note\":\"\""),
        Err("signature_mismatch"),
    );
    check(
        &body.replace("[{", "[{\"n\": 9}, {"),
        Err("signature_missing"),
    );
    check(r#"{"items": []}"#, Err("signature_missing"));
    check("{}", Err("signature_missing"));
    check("no JSON", Err("signature_missing"));
    let sealed = scheme.sign(
        &key,
        &mut head.clone(),
        body.as_bytes(),
        &stamp,
        &Terms::default(),
    );
    assert_eq!(
        sealed,
        Ok(()),
        "what stands there already need not be written"
    );
}

#[test]
fn a_plain_hash_has_the_secret_in_it() {
    let hash = SchemeParts {
        message: message("{secret}{body}"),
        ..untimed(Parse::Whole, Encoding::Hex, Algorithm::Hash(Hash::Md5))
    };
    // RFC 1321, A.5: the hash of `abc`.
    let genuine = with_header("X-Signature", "900150983cd24fb0d6963f7d28e17f72");
    let verifier = verifier(hash.clone(), &["ab", "a"]);
    assert_eq!(judge_body(&verifier, &genuine, b"c"), Ok(()));
    assert_eq!(judge_body(&verifier, &genuine, b"bc"), Ok(()));
    assert_eq!(
        judge_body(&verifier, &genuine, b"abc"),
        Err("signature_mismatch")
    );
    let check = |parts: SchemeParts, error: SchemeError| {
        assert_eq!(Scheme::new(parts).err(), Some(error));
    };
    check(
        SchemeParts {
            message: message("{body}"),
            ..hash
        },
        SchemeError::SecretNotHashed,
    );
    check(
        SchemeParts {
            message: message("{secret}{ts}{body}"),
            ..parts()
        },
        SchemeError::SecretInMessage,
    );
}

#[test]
fn a_list_of_signed_headers_names_the_one_with_the_time() {
    let header = |name: &str| Place::Header(name.to_owned());
    let listed = SchemeParts {
        parse: Parse::Whole,
        message: message("{headers_in:X-Signed}\n{body}"),
        timestamp: Some(TimestampRule {
            place: TimestampPlace::Request(header("X-Time")),
            ..parts().timestamp.unwrap()
        }),
        ..parts()
    };
    let scheme = Scheme::new(listed.clone()).unwrap();
    let key = keys(&scheme, &[SECRET]).remove(0);
    let mut genuine = head();
    genuine.headers.push("X-Signed", "x-time, X-Note");
    genuine.headers.push("X-Note", "one");
    let stamp = Stamp {
        at: now(),
        id: "msg_1",
    };
    scheme
        .sign(&key, &mut genuine, BODY, &stamp, &Terms::default())
        .unwrap();
    let verifier = verifier(listed, &[SECRET]);
    let check = |change: &dyn Fn(&mut Headers), expected: Result<usize, &'static str>| {
        let mut head = genuine.clone();
        change(&mut head.headers);
        assert_eq!(judged(&verifier, &head), expected);
    };
    check(&|_| {}, Ok(0));
    check(&|headers| headers.push("X-More", "unsigned"), Ok(0));
    check(
        &|headers| headers.set("X-Note", "two"),
        Err("signature_mismatch"),
    );
    check(
        &|headers| headers.push("X-Note", "two"),
        Err("signed_input_ambiguous"),
    );
    // One header that swallows the text of the others would leave the time free to change.
    check(
        &|headers| {
            headers.set("X-Signed", "x-note");
            headers.set("X-Note", format!("one;x-time:{NOW}"));
            headers.set("X-Time", (NOW + 60).to_string());
        },
        Err("signed_input_missing"),
    );
}

fn token_parts() -> SchemeParts {
    SchemeParts {
        place: Place::Header("Authorization".into()),
        parse: Parse::Prefix("Bearer ".into()),
        algorithm: Algorithm::Jwt,
        message: message("{body}"),
        timestamp: None,
        jwt: Some(JwtRule {
            algorithms: vec![jsonwebtoken::Algorithm::HS256],
            issuer: Some(Issuer::Named("acme".into())),
            audience: Some(message("{url}")),
            body_hash: Some(ClaimHash {
                claim: "hash".into(),
                encoding: Encoding::Hex,
            }),
            url_hash: Some("url_hash".into()),
            leeway: jiff::SignedDuration::from_secs(5),
        }),
        ..parts()
    }
}

#[test]
fn a_token_binds_body_url_issuer_and_time() {
    const URL: &str = "https://a.example/in";
    let scheme = Scheme::new(token_parts()).unwrap();
    let key = || keys(&scheme, &[SECRET]).remove(0);
    let terms = |url: &str| Terms::from(Some(url.to_owned()));
    let stamp = Stamp {
        at: now(),
        id: "msg_1",
    };
    let bare = Head {
        target: Bytes::from_static(b"/in"),
        ..head()
    };
    let mut genuine = bare.clone();
    scheme
        .sign(&key(), &mut genuine, BODY, &stamp, &terms(URL))
        .unwrap();
    let judge = |parts: SchemeParts, url: &str, head: &Head, body: &[u8], at: i64| {
        let scheme = Scheme::new(parts).unwrap();
        let keyed = vec![(scheme.clone(), keys(&scheme, &["other", SECRET]))];
        let verifier = Verifier::new(keyed, terms(url)).unwrap();
        let request = verifier.terms().request(head, body);
        let verified = verifier.verify(&request, Timestamp::from_second(at).unwrap());
        verified.map(|_| ()).map_err(|reason| reason.label())
    };
    let own = |head: &Head, body: &[u8], at| judge(token_parts(), URL, head, body, at);
    assert_eq!(own(&genuine, BODY, NOW), Ok(()));
    assert_eq!(own(&genuine, b"other", NOW), Err("body_hash_mismatch"));
    assert_eq!(own(&genuine, b"", NOW), Err("body_hash_mismatch"));
    assert_eq!(own(&genuine, BODY, NOW + 305), Ok(()));
    assert_eq!(own(&genuine, BODY, NOW + 306), Err("token_expired"));
    assert_eq!(own(&genuine, BODY, NOW - 6), Err("timestamp_future"));
    let elsewhere = judge(token_parts(), "https://b.example/in", &genuine, BODY, NOW);
    assert_eq!(elsewhere, Err("token_claim"));
    let with = |change: fn(&mut JwtRule)| {
        let mut parts = token_parts();
        change(parts.jwt.as_mut().unwrap());
        parts
    };
    let unaddressed = with(|rule| rule.audience = None);
    let elsewhere = judge(unaddressed, "https://b.example/in", &genuine, BODY, NOW);
    assert_eq!(elsewhere, Err("url_hash_mismatch"));
    let of_another = with(|rule| rule.issuer = Some(Issuer::Named("another".into())));
    assert_eq!(
        judge(of_another, URL, &genuine, BODY, NOW),
        Err("token_claim")
    );
    // The token's own word chooses among the algorithms that are taken, and never `none`.
    let stronger = with(|rule| rule.algorithms = vec![jsonwebtoken::Algorithm::HS512]);
    assert_eq!(
        judge(stronger, URL, &genuine, BODY, NOW),
        Err("signature_malformed")
    );
    let token =
        String::from_utf8(genuine.headers.first("Authorization").unwrap().to_vec()).unwrap();
    let claims = token.split('.').nth(1).unwrap();
    let none = BASE64.encode(r#"{"alg":"none","typ":"JWT"}"#);
    for forged in [
        format!("Bearer {none}.{claims}."),
        "Bearer a.b.c".to_owned(),
        "Bearer x".to_owned(),
        token.replace("Bearer ", "Basic "),
    ] {
        let mut head = bare.clone();
        head.headers.push("Authorization", forged.clone());
        assert_eq!(
            own(&head, BODY, NOW),
            Err("signature_malformed"),
            "{forged}"
        );
    }
    let mut cut = bare.clone();
    cut.headers
        .push("Authorization", token[..token.len() - 4].to_owned());
    assert_eq!(own(&cut, BODY, NOW), Err("signature_mismatch"));
    let mut twice = genuine.clone();
    twice.headers.push("Authorization", token);
    assert_eq!(own(&twice, BODY, NOW), Err("signed_input_ambiguous"));
}

#[test]
fn a_public_key_of_tokens_is_no_shared_secret() {
    let parts = SchemeParts {
        key: KeyRule {
            encoding: KeyEncoding::Public(PublicForm::Pem),
            ..KeyRule::plain()
        },
        jwt: token_parts().jwt.map(|rule| JwtRule {
            algorithms: vec![
                jsonwebtoken::Algorithm::EdDSA,
                jsonwebtoken::Algorithm::HS256,
            ],
            audience: None,
            url_hash: None,
            ..rule
        }),
        ..token_parts()
    };
    const PRIVATE: &str = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n-----END PRIVATE KEY-----\n";
    const PUBLIC: &str = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n-----END PUBLIC KEY-----\n";
    let scheme = Scheme::new(parts.clone()).unwrap();
    let private = keys(&scheme, &[PRIVATE]).remove(0);
    let stamp = Stamp {
        at: now(),
        id: "msg_1",
    };
    let mut genuine = head();
    scheme
        .sign(&private, &mut genuine, BODY, &stamp, &Terms::default())
        .unwrap();
    let verifier = verifier(parts.clone(), &[PUBLIC]);
    assert_eq!(judged(&verifier, &genuine), Ok(0));
    // Signed with the public key as if it were a secret: the classic confusion of algorithms.
    let shared = Scheme::new(SchemeParts {
        key: KeyRule::plain(),
        jwt: parts.jwt.map(|rule| JwtRule {
            algorithms: vec![jsonwebtoken::Algorithm::HS256],
            ..rule
        }),
        ..parts
    });
    let shared = shared.unwrap();
    let key = keys(&shared, &[PUBLIC]).remove(0);
    let mut forged = head();
    shared
        .sign(&key, &mut forged, BODY, &stamp, &Terms::default())
        .unwrap();
    assert_eq!(judged(&verifier, &forged), Err("signature_mismatch"));
}

#[test]
fn contradictions_of_the_grammar_are_named() {
    let check = |parts: SchemeParts, error: SchemeError| {
        assert_eq!(Scheme::new(parts).err(), Some(error));
    };
    let with_rule = |change: fn(&mut JwtRule)| {
        let mut parts = token_parts();
        change(parts.jwt.as_mut().unwrap());
        parts
    };
    check(
        with_rule(|rule| rule.body_hash = None),
        SchemeError::BodyNotInToken,
    );
    check(
        SchemeParts {
            jwt: None,
            ..token_parts()
        },
        SchemeError::TokenRule,
    );
    check(
        SchemeParts {
            jwt: token_parts().jwt,
            ..parts()
        },
        SchemeError::TokenRule,
    );
    check(
        SchemeParts {
            unsigned_body: true,
            ..parts()
        },
        SchemeError::BodySigned,
    );
    check(
        SchemeParts {
            key: KeyRule {
                id: Some(KeyId::List),
                ..KeyRule::plain()
            },
            ..parts()
        },
        SchemeError::KeyIdPlace,
    );
    check(
        SchemeParts {
            parse: Parse::Positional { sep: String::new() },
            ..parts()
        },
        SchemeError::EmptySeparator,
    );
    check(
        SchemeParts {
            message: message("{json:$.a}"),
            timestamp: None,
            ..parts()
        },
        SchemeError::BodyNotSigned,
    );
}
