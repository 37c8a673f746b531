//! What is accepted, and why anything else is not.

use bytes::Bytes;

use super::*;
use crate::event::{Head, Headers};
use crate::secret::Secret;
use crate::signature::algorithm::Hash;
use crate::signature::key::{Key, KeyEncoding, KeyRule};
use crate::signature::message::Message;
use crate::signature::public_key::PublicForm;
use crate::signature::scheme::{
    Encoding, ListForm, Parse, SchemeError, SchemeParts, TimeUnit, TimestampPlace, TimestampRule,
    UrlPort,
};
use crate::signature::sign::{SignError, Stamp};

const NOW: i64 = 1_767_225_600;
const BODY: &[u8] = b"{\"a\":1}";

fn now() -> Timestamp {
    Timestamp::from_second(NOW).unwrap()
}

fn head() -> Head {
    Head {
        method: "POST".into(),
        target: Bytes::from_static(b"/in?token=sesame&x=1"),
        host: None,
        headers: Headers::default(),
    }
}

/// A scheme like Stripe's, to be varied.
fn parts() -> SchemeParts {
    let place = Place::Header("X-Signature".into());
    SchemeParts {
        parse: Parse::List(ListForm {
            item_sep: ",".into(),
            kv_sep: "=".into(),
            key: Some("v1".into()),
        }),
        message: Message::parse("{ts}.{body}").unwrap(),
        timestamp: Some(TimestampRule {
            place: TimestampPlace::Signature("t".into()),
            unit: TimeUnit::Seconds,
            max_past: Some(std::time::Duration::from_secs(300)),
            max_future: Some(std::time::Duration::from_secs(300)),
        }),
        ..SchemeParts::of_body(place, Algorithm::Hmac(Hash::Sha256))
    }
}

fn untimed(parse: Parse, encoding: Encoding, algorithm: Algorithm) -> SchemeParts {
    SchemeParts {
        parse,
        encoding,
        algorithm,
        message: Message::parse("{body}").unwrap(),
        timestamp: None,
        ..parts()
    }
}

fn keys(scheme: &Scheme, secrets: &[&str]) -> Vec<Key> {
    let parts = scheme.parts();
    secrets
        .iter()
        .map(|text| Key::new(parts.algorithm, &parts.key, &Secret::new(*text)).unwrap())
        .collect()
}

fn verifier(parts: SchemeParts, secrets: &[&str]) -> Verifier {
    let scheme = Scheme::new(parts).unwrap();
    let keys = keys(&scheme, secrets);
    Verifier::new(vec![(scheme, keys)], None).unwrap()
}

/// A request signed by `parts` with `secret` at `at`.
fn signed(parts: SchemeParts, secret: &str, at: i64) -> Head {
    let scheme = Scheme::new(parts).unwrap();
    let key = keys(&scheme, &[secret]).remove(0);
    let mut head = head();
    let stamp = Stamp {
        at: Timestamp::from_second(at).unwrap(),
        id: "msg_1",
    };
    scheme
        .sign(&key, &mut head, BODY, &stamp, &Terms::default())
        .unwrap();
    head
}

fn judged(verifier: &Verifier, head: &Head) -> Result<usize, &'static str> {
    let verified = verifier.verify(&Request::new(head, BODY), now());
    verified
        .map(|verified| match verified {
            Verified::Signature { secret, .. } => secret,
            Verified::Certificate => unreachable!("there is no rule of certificates"),
        })
        .map_err(|reason| reason.label())
}

fn with_header(name: &str, value: &str) -> Head {
    let mut head = head();
    head.headers.push(name.to_owned(), value.to_owned());
    head
}

#[test]
fn what_is_signed_is_verified_in_every_form() {
    let check = |parts: SchemeParts, secret: &str| {
        let head = signed(parts.clone(), secret, NOW);
        assert_eq!(judged(&verifier(parts, &[secret]), &head), Ok(0));
    };
    check(parts(), "s");
    for algorithm in [
        Algorithm::Hmac(Hash::Sha1),
        Algorithm::Hmac(Hash::Sha256),
        Algorithm::Hmac(Hash::Sha384),
        Algorithm::Hmac(Hash::Sha512),
    ] {
        for encoding in [Encoding::Hex, Encoding::Base64, Encoding::Base64Url] {
            check(untimed(Parse::Whole, encoding, algorithm), "s");
            check(
                untimed(Parse::Prefix("sha=".into()), encoding, algorithm),
                "s",
            );
        }
    }
    check(
        untimed(Parse::Whole, Encoding::Hex, Algorithm::Static),
        "token",
    );
    check(
        untimed(Parse::Whole, Encoding::Hex, Algorithm::Basic),
        "user:pass:word",
    );
    check(
        untimed(Parse::Whole, Encoding::Hex, Algorithm::Bearer),
        "token",
    );
    for unit in [TimeUnit::Seconds, TimeUnit::Milliseconds, TimeUnit::Rfc3339] {
        let place = TimestampPlace::Request(Place::Header("X-Time".into()));
        let rule = TimestampRule {
            place,
            unit,
            ..parts().timestamp.unwrap()
        };
        check(
            SchemeParts {
                timestamp: Some(rule),
                ..parts()
            },
            "s",
        );
    }
    let message = Message::parse("{id}.{ts}.{method}.{path}.{query:x}.{body}").unwrap();
    let id = Some(Place::Header("X-Id".into()));
    check(
        SchemeParts {
            message,
            id,
            ..parts()
        },
        "s",
    );
}

#[test]
fn every_secret_and_every_signature_is_tried() {
    let (old, new) = (signed(parts(), "old", NOW), signed(parts(), "new", NOW));
    let rolling = verifier(parts(), &["new", "old"]);
    assert_eq!(judged(&rolling, &old), Ok(1));
    assert_eq!(judged(&rolling, &new), Ok(0));
    let text = |head: &Head| {
        String::from_utf8(head.headers.first("x-signature").unwrap().to_vec()).unwrap()
    };
    let both = format!("{},{}", text(&new), text(&old).split_once(',').unwrap().1);
    assert_eq!(
        judged(
            &verifier(parts(), &["old"]),
            &with_header("X-Signature", &both)
        ),
        Ok(0)
    );
    let mut two_lines = with_header("X-Signature", "v1=00");
    two_lines.headers.push("x-signature", text(&old));
    assert_eq!(judged(&verifier(parts(), &["old"]), &two_lines), Ok(0));
}

#[test]
fn a_forged_request_is_refused_for_a_stated_reason() {
    let list = verifier(parts(), &["s"]);
    let check = |head: &Head, reason: &str| assert_eq!(judged(&list, head), Err(reason));
    check(&head(), "signature_missing");
    check(&with_header("X-Signature", ""), "signature_missing");
    check(
        &with_header("X-Signature", "nonsense"),
        "signature_malformed",
    );
    check(
        &with_header("X-Signature", "t=1767225600,v0=00"),
        "signature_malformed",
    );
    check(
        &with_header("X-Signature", "t=1767225600,v1=zz"),
        "signature_malformed",
    );
    check(&with_header("X-Signature", "v1=00"), "timestamp_missing");
    check(
        &with_header("X-Signature", "t=1767225600,v1=00"),
        "signature_mismatch",
    );
    check(
        &with_header("X-Signature", "t=1767225600,v1="),
        "signature_mismatch",
    );
    check(
        &with_header("X-Signature", "t=1767225600,t=1,v1=00"),
        "signed_input_ambiguous",
    );
    check(&signed(parts(), "other", NOW), "signature_mismatch");
    let head = signed(parts(), "s", NOW);
    let changed = list.verify(&Request::new(&head, b"{\"a\":2}"), now());
    assert_eq!(changed.unwrap_err().label(), "signature_mismatch");
}

#[test]
fn a_second_value_beside_a_signed_one_was_accepted() {
    let parts = SchemeParts {
        message: Message::parse("{ts}.{header:x-tenant}.{query:x}.{body}").unwrap(),
        timestamp: Some(TimestampRule {
            place: TimestampPlace::Request(Place::Header("X-Time".into())),
            unit: TimeUnit::Seconds,
            max_past: None,
            max_future: None,
        }),
        ..untimed(Parse::Whole, Encoding::Hex, Algorithm::Hmac(Hash::Sha256))
    };
    let scheme = Scheme::new(parts.clone()).unwrap();
    let key = keys(&scheme, &["s"]).remove(0);
    let mut genuine = with_header("X-Tenant", "acme");
    let stamp = Stamp {
        at: now(),
        id: "msg_1",
    };
    scheme
        .sign(&key, &mut genuine, BODY, &stamp, &Terms::default())
        .unwrap();
    let verifier = verifier(parts, &["s"]);
    assert_eq!(judged(&verifier, &genuine), Ok(0));
    let mut header = genuine.clone();
    header.headers.push("x-tenant", "other");
    assert_eq!(judged(&verifier, &header), Err("signed_input_ambiguous"));
    let mut query = genuine;
    query.target = Bytes::from_static(b"/in?token=sesame&x=1&x=2");
    assert_eq!(judged(&verifier, &query), Err("signed_input_ambiguous"));
}

#[test]
fn time_is_judged_after_the_signature_and_on_both_sides() {
    let list = verifier(parts(), &["s"]);
    let check = |at: i64, result: Result<usize, &str>| {
        assert_eq!(
            judged(&list, &signed(parts(), "s", at)),
            result,
            "{}",
            at - NOW
        );
    };
    check(NOW - 300, Ok(0));
    check(NOW - 301, Err("timestamp_stale"));
    check(NOW + 300, Ok(0));
    check(NOW + 301, Err("timestamp_future"));
    let forged = signed(parts(), "other", NOW - 3600);
    assert_eq!(judged(&list, &forged), Err("signature_mismatch"));
}

#[test]
fn a_unit_mistake_is_told_with_the_skew() {
    let rule = TimestampRule {
        unit: TimeUnit::Milliseconds,
        ..parts().timestamp.unwrap()
    };
    let milliseconds = SchemeParts {
        timestamp: Some(rule),
        ..parts()
    };
    let message = |sender: SchemeParts, ours: SchemeParts| {
        let head = signed(sender, "s", NOW);
        let reason = verifier(ours, &["s"]).verify(&Request::new(&head, BODY), now());
        reason.unwrap_err().to_string()
    };
    let stale = message(parts(), milliseconds.clone());
    assert!(stale.starts_with("stale: signed 55years"), "{stale}");
    assert!(
        stale.ends_with("5m allowed (the value looks like seconds)"),
        "{stale}"
    );
    let future = message(milliseconds, parts());
    assert!(
        future.ends_with("5m allowed (the value looks like milliseconds)"),
        "{future}"
    );
}

#[test]
fn tokens_are_compared_whole() {
    let bearer = verifier(
        untimed(Parse::Whole, Encoding::Hex, Algorithm::Bearer),
        &["sesame"],
    );
    let basic = verifier(
        untimed(Parse::Whole, Encoding::Hex, Algorithm::Basic),
        &["a:b"],
    );
    let check = |verifier: &Verifier, value: &str, result: Result<usize, &str>| {
        assert_eq!(
            judged(verifier, &with_header("X-Signature", value)),
            result,
            "{value}"
        );
    };
    check(&bearer, "Bearer sesame", Ok(0));
    check(&bearer, "bearer  sesame ", Ok(0));
    check(&bearer, "Bearer sesam", Err("signature_mismatch"));
    check(&bearer, "sesame", Err("signature_malformed"));
    check(&bearer, "Bearersesame", Err("signature_malformed"));
    check(&basic, "Basic YTpi", Ok(0));
    check(&basic, "BASIC YTpi", Ok(0));
    check(&basic, "Basic YTpj", Err("signature_mismatch"));
    check(&basic, "Basic !", Err("signature_malformed"));
    let place = Place::Query("token".into());
    let query = SchemeParts {
        place,
        ..untimed(Parse::Whole, Encoding::Hex, Algorithm::Static)
    };
    assert_eq!(
        judged(&verifier(query.clone(), &["sesame"]), &head()),
        Ok(0)
    );
    assert_eq!(
        judged(&verifier(query, &["x"]), &head()),
        Err("signature_mismatch")
    );
}

#[test]
fn of_several_schemes_the_one_that_came_furthest_gives_the_reason() {
    let scheme = |name: &str| {
        let parts = SchemeParts {
            place: Place::Header(name.into()),
            ..parts()
        };
        let scheme = Scheme::new(parts).unwrap();
        let keys = keys(&scheme, &["s"]);
        (scheme, keys)
    };
    let both = Verifier::new(vec![scheme("X-Old"), scheme("X-New")], None).unwrap();
    let stale = SchemeParts {
        place: Place::Header("X-New".into()),
        ..parts()
    };
    let head = signed(stale, "s", NOW - 3600);
    assert_eq!(judged(&both, &head), Err("timestamp_stale"));
}

#[test]
fn a_verifier_that_checks_nothing_cannot_be_made() {
    let scheme = || Scheme::new(parts()).unwrap();
    assert_eq!(
        Verifier::new(Vec::new(), None).err(),
        Some(VerifierError::NoScheme)
    );
    let without_keys = Verifier::new(vec![(scheme(), Vec::new())], None);
    assert_eq!(without_keys.err(), Some(VerifierError::NoSecret));
    let message = Message::parse("{url}{body}{ts}").unwrap();
    let url = Scheme::new(SchemeParts { message, ..parts() }).unwrap();
    let keys = keys(&url, &["s"]);
    assert_eq!(
        Verifier::new(vec![(url, keys)], None).err(),
        Some(VerifierError::NoPublicUrl)
    );
}

#[test]
fn parts_that_contradict_each_other_make_no_scheme() {
    let check = |parts: SchemeParts, error: SchemeError| {
        assert_eq!(Scheme::new(parts).err(), Some(error));
    };
    let message = |text: &str| Message::parse(text).unwrap();
    check(
        SchemeParts {
            timestamp: None,
            ..parts()
        },
        SchemeError::NoTimestamp,
    );
    check(
        SchemeParts {
            message: message("{id}.{ts}.{body}"),
            ..parts()
        },
        SchemeError::NoId,
    );
    check(
        SchemeParts {
            parse: Parse::Whole,
            ..parts()
        },
        SchemeError::NoList,
    );
    check(
        SchemeParts {
            message: message("{body}"),
            ..parts()
        },
        SchemeError::TimestampNotSigned,
    );
    check(
        SchemeParts {
            message: message("{ts}"),
            ..parts()
        },
        SchemeError::BodyNotSigned,
    );
    let hash_not_signed = |hash: Place, message_text: &str| {
        let place = hash.describe();
        check(
            SchemeParts {
                message: message(message_text),
                body_hash: Some(hash),
                ..parts()
            },
            SchemeError::BodyHashNotSigned { place },
        );
    };
    hash_not_signed(Place::Query("hash".into()), "{ts}");
    hash_not_signed(Place::Query("hash".into()), "{ts}{query:other}");
    hash_not_signed(Place::Header("X-Hash".into()), "{ts}{url}");
    let mac_with_a_public_key = SchemeParts {
        key: keys_and_urls::public_rule(),
        ..parts()
    };
    check(mac_with_a_public_key, SchemeError::KeyKind);
    let signature_with_a_mac_key = SchemeParts {
        algorithm: Algorithm::Ed25519,
        ..parts()
    };
    check(signature_with_a_mac_key, SchemeError::KeyKind);
    let parse = Parse::List(ListForm {
        item_sep: String::new(),
        kv_sep: "=".into(),
        key: Some("v1".into()),
    });
    check(
        SchemeParts { parse, ..parts() },
        SchemeError::EmptySeparator,
    );
}

mod grammar;
mod keys_and_urls;
