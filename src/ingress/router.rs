//! Finds the route of a request: by host, then by path, then by method.
//!
//! The most specific pattern wins, whatever the order in the file: an exact host before
//! `*.domain` before any host; in a path, text before `{name}` before `/*`. So one route can hide
//! another only by being the same, which [`Router::add`] refuses.

use std::collections::HashMap;
use std::net::Ipv6Addr;

use crate::event::Head;

use super::refusal::Refusal;

/// A path as a route writes it: exact, with `{name}` segments, or ending in `/*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathPattern {
    text: String,
    names: Vec<String>,
    ends_open: bool,
}

/// Why a text is not a [`PathPattern`].
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PatternError {
    /// It does not begin with a slash.
    #[error("a path begins with `/`")]
    NoSlash,
    /// `*` in the middle.
    #[error("`*` may only stand at the end, after a `/`")]
    Star,
    /// A brace that is not a whole segment.
    #[error("`{{name}}` must be a whole segment, with a name of letters, digits and `_`")]
    Brace,
    /// The same name twice.
    #[error("`{{{0}}}` stands there twice")]
    Twice(String),
    /// A character that never stands in the path of a request.
    #[error("`{0}` cannot stand in a path")]
    Character(char),
    /// A segment that clients and backends resolve.
    #[error("`.` and `..` are not segments that can be matched")]
    Dots,
}

impl PathPattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// [`PatternError`] says what no request could ever match.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let inner = text.strip_prefix('/').ok_or(PatternError::NoSlash)?;
        let odd = |c: &char| !c.is_ascii_graphic() || matches!(c, '?' | '#');
        if let Some(character) = text.chars().find(odd) {
            return Err(PatternError::Character(character));
        }
        let (inner, ends_open) = match inner.strip_suffix('*') {
            Some(rest) if rest.is_empty() || rest.ends_with('/') => (rest, true),
            Some(_) => return Err(PatternError::Star),
            None => (inner, false),
        };
        let mut names = Vec::new();
        for segment in inner.split('/') {
            check_segment(segment, &mut names)?;
        }
        Ok(Self {
            text: text.to_owned(),
            names,
            ends_open,
        })
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What a rewrite may ask for (`*` is the open end).
    pub fn capture_names(&self) -> impl Iterator<Item = &str> {
        let open = self.ends_open.then_some("*");
        self.names.iter().map(String::as_str).chain(open)
    }

    /// Whether a rewrite may ask for this capture (`*` is the open end).
    pub fn captures(&self, name: &str) -> bool {
        self.names.iter().any(|known| known == name) || (name == "*" && self.ends_open)
    }
}

fn check_segment(segment: &str, names: &mut Vec<String>) -> Result<(), PatternError> {
    if is_dot_segment(segment) {
        return Err(PatternError::Dots);
    }
    if segment.contains('*') {
        return Err(PatternError::Star);
    }
    if !segment.contains(['{', '}']) {
        return Ok(());
    }
    let name = segment
        .strip_prefix('{')
        .and_then(|rest| rest.strip_suffix('}'))
        .filter(|name| !name.is_empty())
        .filter(|name| name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'))
        .ok_or(PatternError::Brace)?;
    if names.iter().any(|known| known == name) {
        return Err(PatternError::Twice(name.to_owned()));
    }
    names.push(name.to_owned());
    Ok(())
}

/// A host as a route writes it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum HostPattern {
    /// Any host.
    Any,
    /// One host, in lower case, without a port.
    Exact(String),
    /// Every host below a domain (`*.example.com`), the domain itself not included.
    Below(String),
}

impl HostPattern {
    /// Reads `name` or `*.name`; `None` when it is neither.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.to_ascii_lowercase();
        let (below, name) = match text.strip_prefix("*.") {
            Some(rest) => (true, rest.to_owned()),
            None => (false, text),
        };
        let letters = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        if name.is_empty() || !(is_ipv6(&name) || name.chars().all(letters)) {
            return None;
        }
        Some(if below {
            Self::Below(name)
        } else {
            Self::Exact(name)
        })
    }
}

/// An address as it stands in `Host`: in brackets.
fn is_ipv6(name: &str) -> bool {
    let bare = name
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    bare.is_some_and(|bare| bare.parse::<Ipv6Addr>().is_ok())
}

/// What the path of a request captured: the values of `{name}` segments and of `*`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Captures(Vec<(String, String)>);

impl Captures {
    /// All of them, in their order.
    pub fn to_vec(&self) -> Vec<(String, String)> {
        self.0.clone()
    }

    /// The value captured under `name`.
    pub fn find(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }
}

struct Entry<T> {
    methods: Vec<String>,
    names: Vec<String>,
    target: T,
}

/// A tree of segments; what a segment leads to is found in the order text, name, open end.
struct Tree<T> {
    texts: HashMap<String, Tree<T>>,
    named: Option<Box<Tree<T>>>,
    /// What ends here.
    here: Vec<Entry<T>>,
    /// What takes everything from here on.
    open: Vec<Entry<T>>,
}

impl<T> Default for Tree<T> {
    fn default() -> Self {
        Self {
            texts: HashMap::new(),
            named: None,
            here: Vec::new(),
            open: Vec::new(),
        }
    }
}

impl<T> Tree<T> {
    /// The place of a pattern, made if need be.
    fn place(&mut self, pattern: &PathPattern) -> &mut Vec<Entry<T>> {
        let inner = pattern.text.strip_prefix('/').unwrap_or_default();
        let mut segments: Vec<&str> = inner.split('/').collect();
        if pattern.ends_open {
            segments.pop(); // the `*`
        }
        let mut node = self;
        for segment in segments {
            node = if segment.starts_with('{') {
                node.named.get_or_insert_default()
            } else {
                node.texts.entry(segment.to_owned()).or_default()
            };
        }
        if pattern.ends_open {
            &mut node.open
        } else {
            &mut node.here
        }
    }

    /// What the segments lead to, the most specific place first that answers to the method;
    /// `allow` collects the methods of the places that do not.
    fn find<'t>(
        &'t self,
        segments: &[&str],
        captured: &mut Vec<String>,
        method: &str,
        allow: &mut Vec<String>,
    ) -> Option<(&'t T, Captures)> {
        let Some((first, rest)) = segments.split_first() else {
            return choose(&self.here, captured, "", method, allow);
        };
        let text = self.texts.get(*first);
        if let Some(found) = text.and_then(|node| node.find(rest, captured, method, allow)) {
            return Some(found);
        }
        if let Some(node) = self.named.as_ref().filter(|_| !first.is_empty()) {
            captured.push((*first).to_owned());
            let found = node.find(rest, captured, method, allow);
            captured.pop();
            if found.is_some() {
                return found;
            }
        }
        choose(&self.open, captured, &segments.join("/"), method, allow)
    }
}

/// The entry of a place that answers to the method, with what was captured on the way.
fn choose<'t, T>(
    entries: &'t [Entry<T>],
    captured: &[String],
    rest: &str,
    method: &str,
    allow: &mut Vec<String>,
) -> Option<(&'t T, Captures)> {
    let Some(entry) = entries
        .iter()
        .find(|entry| entry.methods.iter().any(|m| m == method))
    else {
        allow.extend(entries.iter().flat_map(|entry| entry.methods.clone()));
        return None;
    };
    let mut captures: Vec<_> = entry
        .names
        .iter()
        .cloned()
        .zip(captured.iter().cloned())
        .collect();
    captures.push(("*".to_owned(), rest.to_owned()));
    Some((&entry.target, Captures(captures)))
}

/// Finds what is to be done with a request.
pub struct Router<T> {
    exact: HashMap<String, Tree<T>>,
    below: HashMap<String, Tree<T>>,
    any: Tree<T>,
}

impl<T> Default for Router<T> {
    fn default() -> Self {
        Self {
            exact: HashMap::new(),
            below: HashMap::new(),
            any: Tree::default(),
        }
    }
}

impl<T: Clone> Router<T> {
    /// Adds what is to be done for a host, a path and methods.
    ///
    /// # Errors
    /// Gives back the target that already answers to one of these methods there.
    pub fn add(
        &mut self,
        host: HostPattern,
        path: &PathPattern,
        methods: &[String],
        target: T,
    ) -> Result<(), T> {
        let entries = self.tree(host).place(path);
        let is_taken = |entry: &&Entry<T>| methods.iter().any(|m| entry.methods.contains(m));
        if let Some(entry) = entries.iter().find(is_taken) {
            return Err(entry.target.clone());
        }
        entries.push(Entry {
            methods: methods.to_vec(),
            names: path.names.clone(),
            target,
        });
        Ok(())
    }

    fn tree(&mut self, host: HostPattern) -> &mut Tree<T> {
        match host {
            HostPattern::Any => &mut self.any,
            HostPattern::Exact(name) => self.exact.entry(name).or_default(),
            HostPattern::Below(name) => self.below.entry(name).or_default(),
        }
    }
}

impl<T> Router<T> {
    /// Finds what is to be done with a request.
    ///
    /// # Errors
    /// [`Refusal::PathAmbiguous`], [`Refusal::NoRoute`] or [`Refusal::MethodNotAllowed`].
    pub fn find(&self, head: &Head) -> Result<(&T, Captures), Refusal> {
        let path = std::str::from_utf8(head.path()).map_err(|_| Refusal::NoRoute)?;
        let inner = path.strip_prefix('/').ok_or(Refusal::NoRoute)?;
        let segments: Vec<&str> = inner.split('/').collect();
        if segments.iter().any(|segment| is_dot_segment(segment)) {
            return Err(Refusal::PathAmbiguous);
        }
        let mut allow: Vec<String> = Vec::new();
        for tree in self.trees(head.hostname().as_deref()) {
            let found = tree.find(&segments, &mut Vec::new(), &head.method, &mut allow);
            if let Some(found) = found {
                return Ok(found);
            }
        }
        if allow.is_empty() {
            return Err(Refusal::NoRoute);
        }
        allow.sort();
        allow.dedup();
        Err(Refusal::MethodNotAllowed { allow })
    }

    /// The trees of a host: its own, those of the domains above it, the one for any host.
    fn trees<'r, 'h>(
        &'r self,
        host: Option<&'h str>,
    ) -> impl Iterator<Item = &'r Tree<T>> + use<'r, 'h, T> {
        let above = |name: &&'h str| name.split_once('.').map(|(_, domain)| domain);
        let domains = std::iter::successors(host.and_then(|host| above(&host)), above);
        let exact = host.and_then(|host| self.exact.get(host));
        let below = domains.filter_map(|domain| self.below.get(domain));
        exact.into_iter().chain(below).chain([&self.any])
    }
}

/// `.` or `..`, percent-encoded or not; a `;parameter` does not hide it. What separates segments or
/// parameters does so percent-encoded too: a backend may decode first and split then.
fn is_dot_segment(segment: &str) -> bool {
    let decoded = segment
        .to_ascii_lowercase()
        .replace("%2e", ".")
        .replace("%2f", "/")
        .replace("%5c", "\\")
        .replace("%3b", ";");
    decoded
        .split(['/', '\\'])
        .any(|part| matches!(part.split(';').next(), Some("." | "..")))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::event::Headers;

    fn head(method: &str, host: &str, target: &str) -> Head {
        Head {
            method: method.into(),
            target: Bytes::copy_from_slice(target.as_bytes()),
            host: Some(host.into()),
            headers: Headers::default(),
        }
    }

    fn router(routes: &[(&str, &str, &str, &'static str)]) -> Router<&'static str> {
        let mut builder = Router::default();
        for (host, path, method, name) in routes {
            let host = match *host {
                "" => HostPattern::Any,
                host => HostPattern::parse(host).unwrap(),
            };
            let path = PathPattern::parse(path).unwrap();
            builder
                .add(host, &path, &[(*method).to_owned()], *name)
                .unwrap();
        }
        builder
    }

    #[test]
    fn the_most_specific_route_wins() {
        let router = router(&[
            ("", "/hooks/*", "POST", "open"),
            ("", "/hooks/{tenant}", "POST", "named"),
            ("", "/hooks/stripe", "POST", "exact"),
            ("", "/hooks/{tenant}/in", "POST", "deep"),
            ("pay.example.com", "/hooks/stripe", "POST", "host"),
            ("*.example.com", "/hooks/stripe", "POST", "below"),
            ("*.eu.example.com", "/hooks/stripe", "POST", "further below"),
            ("", "/hooks/stripe", "GET", "get"),
        ]);
        let check = |method: &str, host: &str, target: &str, name: &str| {
            assert_eq!(
                *router.find(&head(method, host, target)).unwrap().0,
                name,
                "{target}"
            );
        };
        check("POST", "a", "/hooks/stripe", "exact");
        check("POST", "a", "/hooks/stripe?x=1", "exact");
        check("GET", "a", "/hooks/stripe", "get");
        check("POST", "a", "/hooks/github", "named");
        check("POST", "a", "/hooks/github/in", "deep");
        check("POST", "a", "/hooks/github/out", "open");
        check("POST", "a", "/hooks/", "open");
        check("POST", "PAY.example.com:8080", "/hooks/stripe", "host");
        check("POST", "pay.example.com", "/hooks/github", "named");
        check("POST", "x.example.com", "/hooks/stripe", "below");
        check("POST", "x.eu.example.com", "/hooks/stripe", "further below");
        check("POST", "example.com", "/hooks/stripe", "exact");
    }

    #[test]
    fn names_and_the_open_end_are_captured() {
        let router = router(&[("", "/t/{tenant}/*", "POST", "r")]);
        let (_, captures) = router.find(&head("POST", "a", "/t/acme/x/y")).unwrap();
        assert_eq!(captures.find("tenant"), Some("acme"));
        assert_eq!(captures.find("*"), Some("x/y"));
        assert_eq!(captures.find("other"), None);
    }

    #[test]
    fn a_request_that_no_route_wants_is_told_why() {
        let router = router(&[
            ("", "/a", "POST", "a"),
            ("", "/a", "GET", "b"),
            ("", "/o/*", "POST", "o"),
        ]);
        let check = |method: &str, target: &str, refusal: Refusal| {
            assert_eq!(
                router.find(&head(method, "h", target)).unwrap_err(),
                refusal,
                "{target}"
            );
        };
        check("POST", "/b", Refusal::NoRoute);
        check("POST", "/a/", Refusal::NoRoute);
        check("POST", "/A", Refusal::NoRoute);
        let allow = vec!["GET".to_owned(), "POST".to_owned()];
        check("PUT", "/a", Refusal::MethodNotAllowed { allow });
        for hidden in [
            "/o/../a",
            "/o/%2e%2E/a",
            "/o/.%2e",
            "/o/./a",
            "/o/..;x/a",
            "/o/..%2fa",
            "/o/..%5Ca",
        ] {
            check("POST", hidden, Refusal::PathAmbiguous);
        }
    }

    #[test]
    fn the_same_place_cannot_be_taken_twice() {
        let mut builder = Router::default();
        let mut add = |path: &str, method: &str, name: &'static str| {
            let path = PathPattern::parse(path).unwrap();
            builder.add(HostPattern::Any, &path, &[method.to_owned()], name)
        };
        assert_eq!(add("/a/{x}", "POST", "first"), Ok(()));
        assert_eq!(add("/a/{x}", "GET", "other method"), Ok(()));
        assert_eq!(add("/a/{y}", "POST", "second"), Err("first"));
        assert_eq!(add("/a/*", "POST", "open"), Ok(()));
        assert_eq!(add("/a/", "POST", "its root"), Ok(()));
        assert_eq!(add("/a/*", "POST", "open again"), Err("open"));
    }

    #[test]
    fn patterns_that_match_nothing_are_refused() {
        let check = |text: &str, error: PatternError| {
            assert_eq!(PathPattern::parse(text).unwrap_err(), error, "{text}");
        };
        check("hooks", PatternError::NoSlash);
        check("/a*", PatternError::Star);
        check("/*/a", PatternError::Star);
        check("/a{x}", PatternError::Brace);
        check("/{}", PatternError::Brace);
        check("/{x}/{x}", PatternError::Twice("x".into()));
        check("/a?b", PatternError::Character('?'));
        check("/a b", PatternError::Character(' '));
        for dots in ["/a/../b", "/%2e%2E/b", "/a\\..\\b", "/..;x/b"] {
            check(dots, PatternError::Dots);
        }
    }

    #[test]
    fn a_path_with_empty_segments_matched_the_path_without() {
        let router = router(&[
            ("", "//a", "POST", "slashes"),
            ("", "//{x}//*", "POST", "open"),
            ("", "//*", "GET", "any"),
        ]);
        let find = |target| {
            router
                .find(&head("POST", "h", target))
                .map(|found| *found.0)
        };
        assert_eq!(find("//a"), Ok("slashes"));
        assert_eq!(find("/a"), Err(Refusal::NoRoute));
        assert_eq!(find("//b//c"), Ok("open"));
        let found = router.find(&head("GET", "h", "/a"));
        assert_eq!(found.unwrap_err(), Refusal::NoRoute);
    }

    #[test]
    fn dots_after_a_parameter_reached_the_backend() {
        let router = router(&[("", "/hooks/*", "POST", "hooks")]);
        for target in [
            "/hooks/a;b%2f..%2fc",
            "/hooks/a;b\\..\\c",
            "/hooks/..%3Bx/c",
        ] {
            let found = router.find(&head("POST", "x", target));
            assert_eq!(found.unwrap_err(), Refusal::PathAmbiguous, "{target}");
        }
    }

    #[test]
    fn hosts_are_names_or_everything_below_a_name() {
        assert_eq!(
            HostPattern::parse("A.b"),
            Some(HostPattern::Exact("a.b".into()))
        );
        assert_eq!(
            HostPattern::parse("*.b"),
            Some(HostPattern::Below("b".into()))
        );
        assert_eq!(
            HostPattern::parse("[::1]"),
            Some(HostPattern::Exact("[::1]".into()))
        );
        for wrong in [
            "", "*", "*.", "a/b", "a:80", "a*.b", "[", "a[b]", "[a:1", "[::1]:80",
        ] {
            assert_eq!(HostPattern::parse(wrong), None, "{wrong}");
        }
    }
}
