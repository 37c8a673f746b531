//! Public keys, signed URLs, hashes of bodies.

use sha2::{Digest, Sha256};

use super::*;

const PRIVATE_KEY: &str = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n-----END PRIVATE KEY-----\n";
const PUBLIC_KEY: &str = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";

pub(super) fn public_rule() -> KeyRule {
    KeyRule {
        encoding: KeyEncoding::Public(PublicForm::RawHex),
        ..KeyRule::plain()
    }
}

#[test]
fn a_private_key_signs_and_its_public_half_verifies_within_a_bound() {
    let ed25519 = SchemeParts {
        algorithm: Algorithm::Ed25519,
        key: public_rule(),
        ..parts()
    };
    let head = signed(ed25519.clone(), PRIVATE_KEY, NOW);
    let verifier = verifier(ed25519.clone(), &[PUBLIC_KEY]);
    assert_eq!(judged(&verifier, &head), Ok(0));
    let text = String::from_utf8(head.headers.first("x-signature").unwrap().to_vec()).unwrap();
    let (time, signature) = text.split_once(',').unwrap();
    let after = |others: usize| {
        let value = format!("{time},{}{signature}", "v1=00,".repeat(others));
        judged(&verifier, &with_header("X-Signature", &value))
    };
    assert_eq!(after(3), Ok(0));
    assert_eq!(after(4), Err("signature_mismatch"));
    let scheme = Scheme::new(ed25519).unwrap();
    let key = keys(&scheme, &[PUBLIC_KEY]).remove(0);
    let stamp = Stamp {
        at: now(),
        id: "msg_1",
    };
    let refused = scheme.sign(&key, &mut self::head(), BODY, &stamp, &Terms::default());
    assert_eq!(refused, Err(SignError::PublicKey));
}

#[test]
fn a_url_is_tried_with_and_without_its_port_where_the_scheme_says_so() {
    let check = |url_port: UrlPort, signed_url: &str, public_url: &str, accepted: bool| {
        let scheme = Scheme::new(SchemeParts {
            message: Message::parse("{url}{body}").unwrap(),
            url_port,
            ..untimed(Parse::Whole, Encoding::Hex, Algorithm::Hmac(Hash::Sha1))
        });
        let scheme = scheme.unwrap();
        let key = keys(&scheme, &["s"]);
        let mut head = head();
        let stamp = Stamp {
            at: now(),
            id: "msg_1",
        };
        scheme
            .sign(
                &key[0],
                &mut head,
                BODY,
                &stamp,
                &Terms::from(Some(signed_url.to_owned())),
            )
            .unwrap();
        let verifier = Verifier::new(vec![(scheme, key)], Some(public_url.into())).unwrap();
        let request = Request::new(&head, BODY).with_public_url(Some(public_url));
        let verdict = verifier.verify(&request, now());
        assert_eq!(verdict.is_ok(), accepted, "{signed_url} {public_url}");
    };
    let (bare, with) = ("https://a.example/in", "https://a.example:443/in");
    let (other, plain) = ("https://a.example:8443/in", "https://a.example:80/in");
    for url in [bare, with, other] {
        check(UrlPort::AsWritten, url, url, true);
        check(UrlPort::Either, url, url, true);
    }
    check(UrlPort::AsWritten, bare, with, false);
    check(UrlPort::Either, bare, with, true);
    check(UrlPort::Either, with, bare, true);
    check(UrlPort::Either, bare, other, true);
    check(UrlPort::Either, other, bare, false);
    check(UrlPort::Either, plain, bare, false);
}

#[test]
fn a_hash_in_the_url_binds_the_body() {
    let scheme = Scheme::new(SchemeParts {
        message: Message::parse("{url}").unwrap(),
        body_hash: Some(Place::Query("hash".into())),
        ..untimed(Parse::Whole, Encoding::Hex, Algorithm::Hmac(Hash::Sha1))
    });
    let scheme = scheme.unwrap();
    let url = Some("https://a.example/in");
    let key = keys(&scheme, &["s"]);
    let mut head = head();
    let stamp = Stamp {
        at: now(),
        id: "msg_1",
    };
    let terms = Terms::from(url.map(str::to_owned));
    scheme
        .sign(&key[0], &mut head, BODY, &stamp, &terms)
        .unwrap();
    let judge = |target: &[u8], body: &[u8]| {
        let head = Head {
            target: Bytes::copy_from_slice(target),
            ..head.clone()
        };
        let keyed = vec![(scheme.clone(), key.clone())];
        let verifier = Verifier::new(keyed, url.map(str::to_owned)).unwrap();
        let verdict = verifier.verify(&Request::new(&head, body).with_public_url(url), now());
        verdict.map(|_| ()).map_err(|reason| reason.label())
    };
    let target = head.target.clone();
    assert_eq!(judge(&target, BODY), Ok(()));
    assert_eq!(judge(&target, b"other"), Err("body_hash_mismatch"));
    assert_eq!(judge(&target, b""), Err("body_hash_mismatch"));
    let bare = b"/in?token=sesame&x=1";
    assert_eq!(judge(bare, BODY), Err("signed_input_missing"));
    let forged = format!(
        "/in?token=sesame&x=1&hash={}",
        hex::encode(Sha256::digest(b"other"))
    );
    assert_eq!(
        judge(forged.as_bytes(), b"other"),
        Err("signature_mismatch")
    );
    let twice = [&target[..], b"&hash=00"].concat();
    assert_eq!(judge(&twice, BODY), Err("signed_input_ambiguous"));
    let keyed = vec![(scheme, key)];
    let with_query = Verifier::new(keyed, Some("https://a.example/in?a=b".into()));
    assert_eq!(with_query.err(), Some(VerifierError::PublicUrlQuery));
}
