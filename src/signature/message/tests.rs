//! Pieces, groups, and what is no message.

use bytes::Bytes;

use super::*;
use crate::event::{Head, Headers};
use crate::signature::request::Request;

fn head() -> Head {
    let mut headers = Headers::default();
    headers.push("X-Id", "abc");
    Head {
        method: "POST".into(),
        target: Bytes::from_static(b"/a/b?q=%20x&r=1&r=2"),
        host: None,
        headers,
    }
}

#[test]
fn pieces_are_put_together_in_order() {
    let head = head();
    let request = Request::new(&head, br#"{"n": 1.50, "s": "t"}"#)
        .with_public_url(Some("https://pub.example/in"));
    let inputs = Inputs {
        timestamp: Some(b"17"),
        id: Some(b"msg_1"),
        ..Inputs::default()
    };
    let check = |message: &str, text: &str| {
        let rendered = Message::parse(message)
            .unwrap()
            .render(&request, inputs)
            .unwrap();
        assert_eq!(String::from_utf8(rendered).unwrap(), text, "{message}");
    };
    check("v0:{ts}:{header:x-id}", "v0:17:abc");
    check("{id}.{ts}.{method}", "msg_1.17.POST");
    check("{path} {query:q}", "/a/b  x");
    check("{url}", "https://pub.example/in?q=%20x&r=1&r=2");
    check("{json:$.s}", "t");
    check("{{}}{{{method}}}", "{}{POST}");
    check("", "");
}

#[test]
fn a_missing_piece_is_named_and_so_is_a_repeated_one() {
    let head = head();
    let request = Request::new(&head, b"not json");
    let check = |message: &str, problem: &str| {
        let message = Message::parse(message).unwrap();
        let error = message.render(&request, Inputs::default()).unwrap_err();
        assert_eq!(error.to_string(), problem);
    };
    check("{ts}", "timestamp is missing");
    check("{id}", "id is missing");
    check("{url}", "public URL is missing");
    check("{header:x-none}", "header x-none is missing");
    check("{json:$.id}", "JSON path $.id is missing");
    let twice = "query parameter r stands in the request more than once";
    check("{query:r}", twice);
}

#[test]
fn a_text_that_is_no_message_is_refused() {
    let check = |text: &str, part: &str| {
        let message = Message::parse(text).unwrap_err().to_string();
        assert!(message.contains(part), "{text}: {message}");
    };
    check("{bodi}", "`{bodi}` is not a piece of a request");
    check("{header:}", "`{header:}`");
    check("{body", "a single `{` or `}` stands alone");
    check("body}", "a single `{` or `}` stands alone");
    check("{json:id}", "`id` is not a JSONPath");
}

#[test]
fn a_group_is_left_out_where_a_piece_of_it_is_not_there() {
    let head = head();
    let request = Request::new(&head, br#"{"a": "1", "b": ""}"#);
    let check = |message: &str, text: &str| {
        let rendered = Message::parse(message).unwrap();
        let rendered = rendered.render(&request, Inputs::default()).unwrap();
        assert_eq!(String::from_utf8(rendered).unwrap(), text, "{message}");
    };
    check("[a={json:$.a};][b={json:$.b};][c={json:$.c};]", "a=1;");
    check("{json:$.a}:[{json:$.c}]:", "1::");
    check("[[x]]{json:$.a}", "[x]1");
    let twice = Message::parse("[{query:r}]").unwrap();
    let error = twice.render(&request, Inputs::default()).unwrap_err();
    assert!(matches!(error, PieceError::Ambiguous(_)), "{error}");
    for (text, part) in [
        ("[a", "[[`"),
        ("a]", "[[`"),
        ("[a[b]]", "[[`"),
        ("[{body}", "[[`"),
    ] {
        let message = Message::parse(text).unwrap_err().to_string();
        assert!(message.contains(part), "{text}: {message}");
    }
}

#[test]
fn a_mac_for_a_handshake_is_made_of_a_plain_word_alone() {
    use crate::secret::Secret;
    use crate::signature::algorithm::Algorithm;
    use crate::signature::key::{Key, KeyRule};

    let key = Key::new(
        Algorithm::Hmac(Hash::Sha256),
        &KeyRule::plain(),
        &Secret::new("key"),
    );
    let key = key.unwrap();
    let inputs = Inputs {
        key: Some(&key),
        ..Inputs::default()
    };
    let answer = |message: &str, word: &str| {
        let target = format!("/in?token={word}");
        let head = Head {
            target: Bytes::from(target),
            ..head()
        };
        let request = Request::new(&head, b"");
        let text = Message::parse(message).unwrap().render(&request, inputs);
        text.ok().map(|text| String::from_utf8(text).unwrap())
    };
    let hex = "{hmac-sha256-hex:query:token}";
    // RFC 4231 has no such case; the value is of OpenSSL: printf abc | openssl dgst -sha256 -hmac key
    let expected = "9c196e32dc0175f86f4b1cb89289d6619de6bee699e4c378e68309ed97a1a6ab";
    assert_eq!(answer(hex, "abc").as_deref(), Some(expected));
    // Nobody learns the signature of an event from us, nor that of a long text.
    assert_eq!(answer(hex, "%7B%22type%22%3A1%7D"), None);
    assert_eq!(answer(hex, "a%20b"), None);
    assert_eq!(answer(hex, &"a".repeat(65)), None);
    // Where an event is a plain word, only a challenge of its provider is answered.
    let challenge = "{hmac-sha256-hex:hex:query:token}";
    let digits = "20f9f8ed05f77439fe955c977e4c8a53";
    assert_eq!(answer(challenge, digits), answer(hex, digits));
    assert!(answer(challenge, digits).is_some());
    for word in [
        "PG5vdGlmaWNhdGlvbj48",
        "20f9f8ed05f77439fe9",
        &"a".repeat(33),
    ] {
        assert_eq!(answer(challenge, word), None, "{word}");
    }
    // Another hash than the key's own would be another key.
    assert_eq!(answer("{hmac-sha1-hex:query:token}", "abc"), None);
}

#[test]
fn what_is_repeated_in_json_cannot_leave_its_quotes() {
    let head = head();
    let request = Request::new(&head, br#"{"a": "\"},{\"b\":\"\u0000", "n": 1}"#);
    let check = |message: &str, text: &str| {
        let message = Message::parse(message).unwrap();
        let rendered = message.render_json(&request, Inputs::default()).unwrap();
        assert_eq!(String::from_utf8(rendered).unwrap(), text);
        let filled = message.fill(&request, true);
        assert_eq!(String::from_utf8(filled).unwrap(), text);
    };
    check(r#"{{"x":"{json:$.a}"}}"#, r#"{"x":"\"},{\"b\":\"\u0000"}"#);
    check(r#"{{"id":{json:$.n}}}"#, r#"{"id":1}"#);
    let missing = Message::parse(r#"{{"id":{json:$.none}}}"#).unwrap();
    assert_eq!(missing.fill(&request, true), br#"{"id":null}"#);
    let missing = Message::parse("OK{form:InvId}").unwrap();
    assert_eq!(missing.fill(&request, false), b"OK");
}
