//! The public URL as a provider may have written it: with a port or without, and decoded in part.

use super::scheme::{SchemeParts, UrlPort};

/// The forms in which a provider may have signed a URL.
pub(super) fn written(url: &str, parts: &SchemeParts) -> Vec<String> {
    let url = decoded(url, parts);
    match parts.url_port {
        UrlPort::AsWritten => vec![url],
        UrlPort::Either => with_and_without_port(&url).into(),
    }
}

/// A URL with the sequences decoded that stand for themselves.
pub(super) fn decoded(url: &str, parts: &SchemeParts) -> String {
    let mut url = url.to_owned();
    for sequence in &parts.url_decode {
        let decoded = percent_encoding::percent_decode_str(sequence).decode_utf8_lossy();
        for sequence in [sequence.to_ascii_uppercase(), sequence.to_ascii_lowercase()] {
            url = url.replace(&sequence, &decoded);
        }
    }
    url
}

/// The URLs that differ from `url` in nothing but the port: with one, and without any.
///
/// A port that is written stays as it is; a missing one is the default of the scheme.
fn with_and_without_port(url: &str) -> [String; 2] {
    let Some((scheme, rest)) = url.split_once("://") else {
        return [url.to_owned(), url.to_owned()];
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at(end);
    let (host, port) = match authority.rsplit_once(':') {
        // A colon before `@` belongs to a password, one within `[…]` to an address.
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => (host, Some(port)),
        _ => (authority, None),
    };
    let default = if scheme.eq_ignore_ascii_case("https") {
        "443"
    } else {
        "80"
    };
    let port = port.filter(|port| !port.is_empty()).unwrap_or(default);
    [
        format!("{scheme}://{host}:{port}{tail}"),
        format!("{scheme}://{host}{tail}"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_written_with_and_without_its_port() {
        let check = |url: &str, with: &str, without: &str| {
            assert_eq!(with_and_without_port(url), [with, without], "{url}");
        };
        check(
            "https://a.example/in?b=c:1",
            "https://a.example:443/in?b=c:1",
            "https://a.example/in?b=c:1",
        );
        check(
            "http://a.example",
            "http://a.example:80",
            "http://a.example",
        );
        check(
            "https://a.example:8443?x",
            "https://a.example:8443?x",
            "https://a.example?x",
        );
        check(
            "https://u:p@a.example/",
            "https://u:p@a.example:443/",
            "https://u:p@a.example/",
        );
        check(
            "https://[2001:db8::1]/",
            "https://[2001:db8::1]:443/",
            "https://[2001:db8::1]/",
        );
        check("https://[::1]:444/", "https://[::1]:444/", "https://[::1]/");
        check(
            "https://a.example:/",
            "https://a.example:443/",
            "https://a.example/",
        );
        check("nonsense", "nonsense", "nonsense");
    }
}
