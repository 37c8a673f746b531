//! Bodies that can be read, and the words for those that cannot.

use serde_json::json;

use super::*;

fn decoded(format: Format, body: &[u8], content_type: Option<&str>) -> Result<Value, DecodeError> {
    format.decode(body, content_type)
}

#[test]
fn json_is_read_as_it_stands() {
    let check = |body: &[u8], expected: Value| {
        assert_eq!(decoded(Format::Json, body, None), Ok(expected), "{body:?}");
    };
    check(
        b"{\"b\": 1, \"a\": [null, true, 1.5]}",
        json!({"b": 1, "a": [null, true, 1.5]}),
    );
    check(b"\xef\xbb\xbf [1]\n", json!([1]));
    check(b"\xff\xfe[\x001\x00]\x00", json!([1]));
    check("\"é\"".as_bytes(), json!("é"));
    check(b"18446744073709551615", json!(u64::MAX));
}

#[test]
fn what_is_not_json_is_refused_with_its_place() {
    let check = |body: &str, line: usize, column: usize, fault: JsonFault| {
        let found = decoded(Format::Json, body.as_bytes(), None);
        let expected = DecodeError::Json {
            line,
            column,
            fault,
        };
        assert_eq!(found, Err(expected), "{body:.40}");
    };
    check("[1,\n2,", 2, 2, JsonFault::CutShort);
    check("{\"a\": secret}", 1, 7, JsonFault::Syntax);
    check("[1] [2]", 1, 5, JsonFault::Syntax);
    check("[1e999]", 1, 6, JsonFault::Syntax);
    check(&"[".repeat(100_000), 1, 128, JsonFault::TooDeep);
    check(&"{\"a\":".repeat(100_000), 1, 636, JsonFault::TooDeep);
}

#[test]
fn lines_become_a_list() {
    let check = |body: &str, expected: Value| {
        let found = decoded(Format::Ndjson, body.as_bytes(), None);
        assert_eq!(found, Ok(expected), "{body:?}");
    };
    check("", json!([]));
    check("\u{feff}\r\n \n", json!([]));
    check("{\"a\":1}\n{\"a\":2}", json!([{"a": 1}, {"a": 2}]));
    check("1\r\n\r\n2\r\n", json!([1, 2]));
}

#[test]
fn a_line_that_is_not_json_is_named() {
    let check = |body: &str, line: usize, column: usize, fault: JsonFault| {
        let found = decoded(Format::Ndjson, body.as_bytes(), None);
        let expected = DecodeError::Json {
            line,
            column,
            fault,
        };
        assert_eq!(found, Err(expected), "{body:.40}");
    };
    check("1\n\n{\"a\":\n2", 3, 5, JsonFault::CutShort);
    check("1\n2 3", 2, 3, JsonFault::Syntax);
    check("1\nx", 2, 1, JsonFault::Syntax);
    check(
        &format!("1\n{}", "[".repeat(1000)),
        2,
        128,
        JsonFault::TooDeep,
    );
}

#[test]
fn a_body_that_cannot_be_what_it_should_has_its_reason() {
    let check = |format: Format, body: &[u8], content_type: Option<&str>, expected: &str| {
        let found = decoded(format, body, content_type).map_err(DecodeError::label);
        assert_eq!(found, Err(expected), "{format:?} {body:?}");
    };
    for format in [Format::Json, Format::Feed] {
        check(format, b"", None, "empty_body");
        check(format, b"\xef\xbb\xbf \r\n", None, "empty_body");
    }
    for format in [Format::Json, Format::Ndjson, Format::Feed] {
        check(format, b"\n<!DOCTYPE html><p>", None, "html_page");
        check(format, b"\xef\xbb\xbf<HTML lang=en>", None, "html_page");
        check(
            format,
            b"<!-- x --><p>",
            Some("Text/HTML; charset=utf-8"),
            "html_page",
        );
        check(format, b"\xff\xff\xff", None, "not_text");
    }
    check(Format::Json, b"<p>", None, "not_json");
    check(Format::Json, b"<!doctyp\xc3\xa9", None, "not_json");
    check(Format::Feed, b"[]", None, "not_xml");
}

#[test]
fn json_that_is_called_html_is_json() {
    let found = decoded(Format::Json, b"{\"ok\": true}", Some("text/html"));
    assert_eq!(found, Ok(json!({"ok": true})));
}

#[test]
fn any_text_is_text() {
    let check = |body: &[u8], content_type: Option<&str>, expected: &str| {
        let found = decoded(Format::Text, body, content_type);
        assert_eq!(found, Ok(json!({ "text": expected })), "{body:?}");
    };
    check(b"", None, "");
    check(b"\xef\xbb\xbfa", None, "a");
    check(b"<html>", Some("text/html"), "<html>");
    check(b"\xe9", Some("text/plain; charset=latin1"), "é");
    check(b"\xe9!", None, "\u{fffd}!");
}

#[test]
fn no_body_becomes_more_values_than_the_limit() {
    for format in [Format::Json, Format::Ndjson] {
        let many = "1,\n".repeat(VALUES_MAX / 2 + 1);
        assert_eq!(
            decoded(format, many.as_bytes(), None),
            Err(DecodeError::TooManyValues)
        );
    }
}

#[test]
fn no_error_quotes_the_body() {
    for format in [Format::Json, Format::Ndjson, Format::Feed] {
        for body in [
            "{\"a\": s3cret}",
            "<s3cret>",
            "<rss></s3cret>",
            "s3cret",
            "[\"s3cret",
        ] {
            let error = decoded(format, body.as_bytes(), Some("s3cret/x")).unwrap_err();
            let shown = format!("{error} {error:?}");
            assert!(!shown.contains("s3cret"), "{shown}");
        }
    }
}

#[test]
fn a_feed_is_read_in_its_own_encoding() {
    let feed = |declared: &str| {
        let start = format!("<?xml version='1.0'{declared}?><rss><channel><title>");
        [
            start.as_bytes(),
            b"\xcf\xf0\xe8\xe2\xe5\xf2</title></channel></rss>",
        ]
        .concat()
    };
    let check = |body: &[u8], content_type: Option<&str>| {
        let found = decoded(Format::Feed, body, content_type).unwrap();
        assert_eq!(found["feed"]["title"], "Привет", "{content_type:?}");
    };
    check(&feed(" encoding='windows-1251'"), None);
    check(&feed(""), Some("application/rss+xml; charset=windows-1251"));
}
