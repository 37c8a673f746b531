//! Forms: their parameters, and all of them as Twilio signs them, sorted, with nothing between.

use std::borrow::Cow;
use std::convert::Infallible;

use bytes::Bytes;
use futures_util::{FutureExt, stream};
use percent_encoding::percent_decode;

use crate::event::Head;

/// The media type of a form (WHATWG URL, 5).
const MEDIA_TYPE: &[u8] = b"application/x-www-form-urlencoded";

/// Whether the body says that it is a form. Of another body, only a part would be signed.
pub(super) fn is_form(head: &Head) -> bool {
    let Some(value) = head.headers.first("content-type") else {
        return false;
    };
    let media_type = value.split(|&byte| byte == b';').next().unwrap_or_default();
    media_type.trim_ascii().eq_ignore_ascii_case(MEDIA_TYPE)
}

/// Every parameter of the form in a body, decoded, in their order; none of a body that is no form.
pub(super) fn fields<'b>(head: &Head, body: &'b [u8]) -> Vec<Field<'b>> {
    if is_form(head) {
        return parameters(body).collect();
    }
    multipart(head, body).unwrap_or_default()
}

/// A parameter's name and value.
type Field<'b> = (Cow<'b, [u8]>, Cow<'b, [u8]>);

/// The parts of a `multipart/form-data` body (RFC 7578); `None` of any other.
fn multipart<'b>(head: &Head, body: &[u8]) -> Option<Vec<Field<'b>>> {
    let value = std::str::from_utf8(head.headers.first("content-type")?).ok()?;
    let boundary = multer::parse_boundary(value).ok()?;
    let whole = Bytes::copy_from_slice(body);
    let whole = stream::iter([Ok::<_, Infallible>(whole)]);
    let mut parts = multer::Multipart::new(whole, boundary);
    let read = async {
        let mut fields = Vec::new();
        while let Some(part) = parts.next_field().await.ok()? {
            let name = part.name()?.to_owned().into_bytes();
            let text = part.bytes().await.ok()?;
            fields.push((Cow::Owned(name), Cow::Owned(text.to_vec())));
        }
        Some(fields)
    };
    // The whole body is there, so that nothing is ever waited for.
    read.now_or_never()?
}

/// Every parameter whose name begins with `prefix`, as `:name=value`, by the order of their names.
pub(super) fn like(head: &Head, body: &[u8], prefix: &str) -> Vec<u8> {
    let mut fields = fields(head, body);
    fields.retain(|(name, _)| name.starts_with(prefix.as_bytes()));
    fields.sort_unstable();
    let lines = fields
        .iter()
        .map(|(name, value)| [b":", &**name, b"=", &**value].concat());
    lines.flatten().collect()
}

/// Every parameter's name and value, decoded, in their order.
///
/// Bytes that are no UTF-8 stay as they are, so that two forms never become one.
fn parameters(form: &[u8]) -> impl Iterator<Item = (Cow<'_, [u8]>, Cow<'_, [u8]>)> {
    form.split(|&byte| byte == b'&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let at = pair.iter().position(|&byte| byte == b'=');
            let (name, value) = pair.split_at(at.unwrap_or(pair.len()));
            (decode(name), decode(value.get(1..).unwrap_or_default()))
        })
}

/// Name and value of every parameter, sorted by name and then by value; the same pair counts once.
pub(super) fn sorted(form: &[u8]) -> Vec<u8> {
    let mut pairs: Vec<_> = parameters(form).collect();
    pairs.sort_unstable();
    pairs.dedup();
    let mut text = Vec::with_capacity(form.len());
    for (name, value) in &pairs {
        text.extend_from_slice(name);
        text.extend_from_slice(value);
    }
    text
}

fn decode(text: &[u8]) -> Cow<'_, [u8]> {
    if !text.iter().any(|byte| matches!(byte, b'%' | b'+')) {
        return Cow::Borrowed(text);
    }
    let spaced: Vec<u8> = text
        .iter()
        .map(|&byte| if byte == b'+' { b' ' } else { byte })
        .collect();
    Cow::Owned(percent_decode(&spaced).collect())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::event::Headers;

    #[test]
    fn names_and_values_are_decoded_sorted_and_counted_once() {
        let check = |form: &[u8], text: &[u8]| assert_eq!(sorted(form), text);
        check(b"", b"");
        check(b"&&", b"");
        check(b"b=2&a=1", b"a1b2");
        check(b"a=2&a=1&a=2", b"a1a2");
        check(b"From=%2B1555&Body=hi+there%21", b"Bodyhi there!From+1555");
        check(b"B=&A&=x", b"xAB");
        check(b"a=b=c", b"ab=c");
        check(b"a=%zz%4", b"a%zz%4");
        check(b"a=%ff&a=%fe", b"a\xfea\xff");
        // By code point: capitals before small letters, as Python sorts.
        check(b"a=1&B=2&_=3", b"B2_3a1");
    }

    #[test]
    fn only_a_form_is_a_form() {
        let check = |content_type: Option<&str>, is: bool| {
            let mut headers = Headers::default();
            if let Some(value) = content_type {
                headers.push("content-type", value.to_owned());
            }
            let head = Head {
                method: "POST".into(),
                target: Bytes::from_static(b"/"),
                host: None,
                headers,
            };
            assert_eq!(is_form(&head), is, "{content_type:?}");
        };
        check(Some("application/x-www-form-urlencoded"), true);
        check(
            Some("Application/X-WWW-Form-Urlencoded ; charset=UTF-8"),
            true,
        );
        check(Some("application/json"), false);
        check(Some("application/x-www-form-urlencodedx"), false);
        check(None, false);
    }
}
