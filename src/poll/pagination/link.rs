//! Links to further pages: the `Link` header (RFC 8288), and URLs that stand for others (RFC 3986).
//!
//! Whether a URL may be followed at all (its origin, its address) is decided by whoever sends it.

use std::iter::Peekable;
use std::str::CharIndices;

/// The longest header or URL that is read, in bytes.
pub const TEXT_BYTES_MAX: usize = 16 * 1024;
/// The most links of one header.
const LINKS_MAX: usize = 64;
/// The most parameters of one link.
const PARAMS_MAX: usize = 16;

/// The first link with this relation. Links whose context is another resource (`anchor`) do not
/// count. A header ends where it stops being well formed.
pub fn linked<'a>(lines: impl Iterator<Item = &'a str>, relation: &str) -> Option<&'a str> {
    lines
        .filter(|line| line.len() <= TEXT_BYTES_MAX)
        .flat_map(|line| Links { rest: line }.take(LINKS_MAX))
        .find(|link| link.is_related(relation))
        .map(|link| link.url)
}

struct Link<'a> {
    url: &'a str,
    relations: Option<String>,
    has_anchor: bool,
}

impl Link<'_> {
    fn is_related(&self, relation: &str) -> bool {
        let relations = self.relations.as_deref().unwrap_or_default();
        let mut relations = relations.split_ascii_whitespace();
        !self.has_anchor && relations.any(|known| known.eq_ignore_ascii_case(relation))
    }
}

struct Links<'a> {
    rest: &'a str,
}

impl<'a> Iterator for Links<'a> {
    type Item = Link<'a>;

    fn next(&mut self) -> Option<Link<'a>> {
        let rest = self.rest.trim_start_matches([' ', '\t', ',']);
        let (url, mut rest) = rest.strip_prefix('<')?.split_once('>')?;
        let mut link = Link {
            url,
            relations: None,
            has_anchor: false,
        };
        for _ in 0..PARAMS_MAX {
            let Some(params) = rest.trim_start().strip_prefix(';') else {
                break;
            };
            let (name, value, after) = param(params)?;
            // A second `rel` does not count (RFC 8288, 3.3).
            if name.eq_ignore_ascii_case("rel") {
                link.relations.get_or_insert(value);
            } else if name.eq_ignore_ascii_case("anchor") {
                link.has_anchor = true;
            }
            rest = after;
        }
        self.rest = rest;
        Some(link)
    }
}

/// Name and value of a parameter, and what follows it.
fn param(text: &str) -> Option<(&str, String, &str)> {
    let text = text.trim_start();
    let end = text.find(['=', ';', ',']).unwrap_or(text.len());
    let (name, rest) = text.split_at_checked(end)?;
    let Some(value) = rest.strip_prefix('=') else {
        return Some((name.trim_end(), String::new(), rest));
    };
    let value = value.trim_start();
    let (value, rest) = match value.strip_prefix('"') {
        Some(quoted) => unquoted(quoted)?,
        None => {
            let end = value.find([';', ',']).unwrap_or(value.len());
            let (value, rest) = value.split_at_checked(end)?;
            (value.trim_end().to_owned(), rest)
        }
    };
    Some((name.trim_end(), value, rest))
}

/// What stands before the closing quote, and what after it.
fn unquoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut letters: Peekable<CharIndices<'_>> = text.char_indices().peekable();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Some((value, text.get(at.saturating_add(1)..)?)),
            '\\' => value.push(letters.next()?.1),
            letter => value.push(letter),
        }
    }
    None
}

/// The URL that a reference stands for in an answer that came from `base`; without fragment.
/// `None` = it is no `http` or `https` URL, or longer than [`TEXT_BYTES_MAX`].
pub fn resolved(base: &str, reference: &str) -> Option<String> {
    let reference = reference.trim();
    let reference = reference.split('#').next().unwrap_or_default();
    // Clients disagree about a backslash, which some take for a slash.
    let is_bad = |byte: u8| byte <= b' ' || byte == 0x7f || byte == b'\\';
    if reference.is_empty() || reference.bytes().any(is_bad) {
        return None;
    }
    let url = match scheme(reference) {
        Some(_) => reference.to_owned(),
        None => joined(base, reference)?,
    };
    let scheme = scheme(&url)?.to_ascii_lowercase();
    let is_web = matches!(scheme.as_str(), "http" | "https") && url.contains("://");
    (is_web && url.len() <= TEXT_BYTES_MAX).then_some(url)
}

/// The scheme of an absolute URL.
fn scheme(url: &str) -> Option<&str> {
    let end = url.find([':', '/', '?'])?;
    let (scheme, rest) = url.split_at_checked(end)?;
    let is_scheme = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme
            .chars()
            .all(|letter| letter.is_ascii_alphanumeric() || matches!(letter, '+' | '-' | '.'));
    (rest.starts_with(':') && is_scheme).then_some(scheme)
}

fn joined(base: &str, reference: &str) -> Option<String> {
    let (scheme, rest) = base.split_once("://")?;
    if let Some(network) = reference.strip_prefix("//") {
        return Some(format!("{scheme}://{network}"));
    }
    let rest = rest.split('#').next().unwrap_or_default();
    let (authority, path) = match rest.find(['/', '?']) {
        Some(at) => rest.split_at_checked(at)?,
        None => (rest, ""),
    };
    let path = path.split('?').next().unwrap_or_default();
    let (asked, query) = match reference.find('?') {
        Some(at) => reference.split_at_checked(at)?,
        None => (reference, ""),
    };
    let path = match asked {
        "" => path.to_owned(),
        absolute if absolute.starts_with('/') => without_dots(absolute),
        relative => {
            let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
            without_dots(&format!("{folder}/{relative}"))
        }
    };
    Some(format!("{scheme}://{authority}{path}{query}"))
}

/// A path without `.` and `..` (RFC 3986, 5.2.4).
fn without_dots(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut pieces = path.split('/').skip(1).peekable();
    while let Some(piece) = pieces.next() {
        let is_last = pieces.peek().is_none();
        match piece {
            "." | ".." => {
                if piece == ".." {
                    kept.pop();
                }
                if is_last {
                    kept.push("");
                }
            }
            piece => kept.push(piece),
        }
    }
    format!("/{}", kept.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_link_with_the_relation_is_found() {
        let check = |lines: &[&str], expected: Option<&str>| {
            assert_eq!(linked(lines.iter().copied(), "next"), expected, "{lines:?}");
        };
        check(&[], None);
        check(
            &[r#"<https://a/?page=2>; rel="next""#],
            Some("https://a/?page=2"),
        );
        check(
            &[r#"<https://a/1>; rel=prev, <https://a/3>; rel=next"#],
            Some("https://a/3"),
        );
        check(&["<a>;rel=prev", "<b>;rel=next"], Some("b"));
        check(&[r#"<b>; REL="last Next""#], Some("b"));
        check(&[r#"<b>; title="a, \"b\"; c>"; rel="next""#], Some("b"));
        check(&[r#"<a,b;c>; rel="next""#], Some("a,b;c"));
        check(&["<b> ; foo ; rel = next "], Some("b"));
        check(&[",, <b>; rel=next,"], Some("b"));
        check(&["<b>; rel=prev; rel=next"], None);
        check(&[r#"<b>; rel="next"; anchor="/other""#], None);
        check(&[r#"<b>; rev="next""#], None);
        check(&[r#"<b>; rel="nextish""#], None);
        check(&["<b"], None);
        check(&["b; rel=next"], None);
        check(&[r#"<b>; rel="next"#], None);
        check(&[r#"<b>; rel="\"#], None);
        check(&["<ä>; t=\"ö\"; rel=next"], Some("ä"));
    }

    #[test]
    fn a_header_is_read_within_limits() {
        let many = "<a>; rel=prev, ".repeat(LINKS_MAX) + "<b>; rel=next";
        assert_eq!(linked([many.as_str()].into_iter(), "next"), None);
        let long = format!("<{}>; rel=next", "a".repeat(TEXT_BYTES_MAX));
        assert_eq!(linked([long.as_str()].into_iter(), "next"), None);
        let params = "<a>".to_owned() + &"; x=y".repeat(PARAMS_MAX) + "; rel=next";
        assert_eq!(linked([params.as_str()].into_iter(), "next"), None);
    }

    #[test]
    fn a_reference_is_resolved_against_the_answer() {
        let check = |reference: &str, expected: Option<&str>| {
            let found = resolved("https://h:8443/v1/list?page=1#x", reference);
            assert_eq!(found.as_deref(), expected, "{reference}");
        };
        check("https://other/p?q", Some("https://other/p?q"));
        check("HTTP://other/p", Some("HTTP://other/p"));
        check("//other/p", Some("https://other/p"));
        check("/v2/list?page=2", Some("https://h:8443/v2/list?page=2"));
        check("?page=2", Some("https://h:8443/v1/list?page=2"));
        check("list?page=2#top", Some("https://h:8443/v1/list?page=2"));
        check("../v2/./list", Some("https://h:8443/v2/list"));
        check("../../../x", Some("https://h:8443/x"));
        check(
            "next/?u=https://x/../y",
            Some("https://h:8443/v1/next/?u=https://x/../y"),
        );
        check("..", Some("https://h:8443/"));
        check(" ?page=2 ", Some("https://h:8443/v1/list?page=2"));
        check("", None);
        check("#top", None);
        check("javascript:alert(1)", None);
        check("file:///etc/passwd", None);
        check("https:/x", None);
        check("/a b", None);
        check("/a\r\nHost: b", None);
        check("/\\other", None);
        check(&"a".repeat(TEXT_BYTES_MAX), None);
    }

    #[test]
    fn a_base_without_path_will_do() {
        let check = |base: &str, expected: Option<&str>| {
            assert_eq!(resolved(base, "x?y").as_deref(), expected, "{base}");
        };
        check("https://h", Some("https://h/x?y"));
        check("https://h?a=/b/", Some("https://h/x?y"));
        check("nonsense", None);
    }
}
