//! In which encoding a body is written.
//!
//! A byte order mark wins. What is valid UTF-8 is taken for that, because labels are wrong more
//! often than chance makes UTF-8. Then come the XML declaration and the `Content-Type`.

use std::borrow::Cow;

use encoding_rs::{Encoding, ISO_2022_JP, UTF_8};

/// How much of a body is searched for an XML declaration, in bytes.
const DECLARATION_BYTES_MAX: usize = 256;

/// The encoding of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Charset(&'static Encoding);

impl Charset {
    /// The encoding of a body that came with a `Content-Type`.
    pub(super) fn of(body: &[u8], content_type: Option<&str>) -> Self {
        if let Some((marked, _)) = Encoding::for_bom(body) {
            return Self(marked);
        }
        let labelled = declared(body).or_else(|| charset_of(content_type?));
        Self(match labelled {
            // It is written in seven bits, and so looks like UTF-8.
            Some(label) if label == ISO_2022_JP => label,
            Some(label) if std::str::from_utf8(body).is_err() => label,
            _ => UTF_8,
        })
    }

    /// The text without its mark; `None` = it is not in this encoding.
    pub(super) fn read(self, body: &[u8]) -> Option<Cow<'_, str>> {
        let (text, had_errors) = self.0.decode_with_bom_removal(body);
        (!had_errors).then_some(text)
    }

    /// The text without its mark, with � for what is not in this encoding.
    pub(super) fn read_lossy(self, body: &[u8]) -> Cow<'_, str> {
        self.0.decode_with_bom_removal(body).0
    }
}

/// The encoding in an XML declaration.
fn declared(body: &[u8]) -> Option<&'static Encoding> {
    let start = body.get(..DECLARATION_BYTES_MAX).unwrap_or(body);
    let start = String::from_utf8_lossy(start);
    let declaration = start
        .trim_start()
        .strip_prefix("<?xml")?
        .split("?>")
        .next()?;
    let (_, after) = declaration.split_once("encoding")?;
    let after = after.trim_start().strip_prefix('=')?.trim_start();
    let quote = after
        .chars()
        .next()
        .filter(|quote| matches!(quote, '"' | '\''))?;
    let label = after.strip_prefix(quote)?.split(quote).next()?;
    Encoding::for_label(label.as_bytes())
}

/// The encoding in a `Content-Type`.
fn charset_of(content_type: &str) -> Option<&'static Encoding> {
    content_type.split(';').skip(1).find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        let is_meant = name.trim().eq_ignore_ascii_case("charset");
        let label = value.trim().trim_matches('"');
        is_meant.then(|| Encoding::for_label(label.as_bytes()))?
    })
}

#[cfg(test)]
mod tests {
    use encoding_rs::{SHIFT_JIS, WINDOWS_1251, WINDOWS_1252};

    use super::*;

    #[test]
    fn a_body_is_read_in_its_encoding() {
        let check = |body: &[u8], content_type: Option<&str>, expected: Option<&str>| {
            let found = Charset::of(body, content_type).read(body);
            assert_eq!(found.as_deref(), expected, "{body:x?} {content_type:?}");
        };
        check("é".as_bytes(), None, Some("é"));
        check("\u{feff}é".as_bytes(), None, Some("é"));
        check(
            b"\xff\xfea\0\xe9\0",
            Some("text/plain; charset=utf-8"),
            Some("aé"),
        );
        check(b"\xfe\xff\0a", None, Some("a"));
        check(b"\xe9", None, None);
        check(b"\xe9", Some("text/plain"), None);
        check(b"\xe9", Some("text/plain; charset=iso-8859-1"), Some("é"));
        check(
            b"\xe9",
            Some("text/plain; Charset=\"Windows-1251\""),
            Some("й"),
        );
        check(b"\xe9", Some("text/plain; charset=none"), None);
        check(
            "é".as_bytes(),
            Some("text/plain; charset=latin1"),
            Some("é"),
        );
        check(
            b"\x1b$B$\"\x1b(B",
            Some("text/plain; charset=iso-2022-jp"),
            Some("あ"),
        );
        let (shift, ..) = SHIFT_JIS.encode("<?xml version='1.0' encoding='Shift_JIS'?>日本");
        let read = "<?xml version='1.0' encoding='Shift_JIS'?>日本";
        check(&shift, Some("text/xml; charset=latin1"), Some(read));
    }

    #[test]
    fn a_declaration_is_found_where_xml_has_it() {
        let check = |body: &str, expected: Option<&'static Encoding>| {
            assert_eq!(declared(body.as_bytes()), expected, "{body}");
        };
        check(
            "<?xml version=\"1.0\" encoding = \"windows-1251\" ?>",
            Some(WINDOWS_1251),
        );
        check("\n<?xml encoding='latin1'?>", Some(WINDOWS_1252));
        check("<?xml version=\"1.0\"?><a encoding='latin1'/>", None);
        check("<a encoding='latin1'/>", None);
        check("<?xml encoding=latin1?>", None);
        check("<?xml encoding", None);
        check("", None);
    }
}
