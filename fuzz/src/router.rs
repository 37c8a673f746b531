//! Routes: what was added is found, what is found fits, and no path that a backend would resolve
//! to another one is found at all.
//!
//! Input: lines `HOST PATH METHOD` for routes (`-` is any host), an empty line, lines of the same
//! form for requests.

use bytes::Bytes;
use hookgate::event::{Head, Headers};
use hookgate::ingress::router::{HostPattern, PathPattern, Router};

const ROUTES_MAX: usize = 16;

struct Route {
    host: HostPattern,
    path: String,
    method: String,
}

pub fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let (routes, requests) = text.split_once("\n\n").unwrap_or((text, ""));
    let mut router = Router::default();
    let mut added: Vec<Route> = Vec::new();
    for (host, path, method) in lines(routes) {
        let host = match host {
            "-" => Some(HostPattern::Any),
            host => HostPattern::parse(host),
        };
        let (Some(host), Ok(pattern)) = (host, PathPattern::parse(path)) else {
            continue;
        };
        let methods = [method.to_owned()];
        match router.add(host.clone(), &pattern, &methods, added.len()) {
            Ok(()) => added.push(Route {
                host,
                path: path.to_owned(),
                method: method.to_owned(),
            }),
            Err(taken) => assert_eq!(added[taken].method, method),
        }
    }
    for route in &added {
        let found = find(&router, &added, &route.request());
        assert!(found, "{} {} is never found", route.method, route.path);
    }
    for (host, path, method) in lines(requests) {
        let found = find(&router, &added, &head(host, path, method));
        assert!(!(found && is_ambiguous(path)), "{path} is ambiguous");
    }
}

fn lines(text: &str) -> impl Iterator<Item = (&str, &str, &str)> {
    text.lines().take(ROUTES_MAX).filter_map(|line| {
        let (host, rest) = line.split_once(' ')?;
        let (path, method) = rest.split_once(' ')?;
        Some((host, path, method))
    })
}

fn head(host: &str, target: &str, method: &str) -> Head {
    Head {
        method: method.to_owned(),
        target: Bytes::copy_from_slice(target.as_bytes()),
        host: Some(host.to_owned()),
        headers: Headers::default(),
    }
}

/// Whether a request has a route, which must then fit it, with all that it captures.
fn find(router: &Router<usize>, routes: &[Route], head: &Head) -> bool {
    let Ok((found, captures)) = router.find(head) else {
        return false;
    };
    let route = &routes[*found];
    let path = std::str::from_utf8(head.path()).unwrap();
    assert_eq!(route.method, head.method);
    assert!(route.fits_host(head), "{:?} {:?}", route.host, head.host);
    let filled = route.filled(|name| captures.find(name).unwrap().to_owned());
    assert_eq!(filled, path, "{} filled with what it captured", route.path);
    true
}

impl Route {
    /// A request that nobody could say this route does not mean.
    fn request(&self) -> Head {
        let host = match &self.host {
            HostPattern::Any => "any.example",
            HostPattern::Exact(name) => name,
            HostPattern::Below(name) => &format!("below.{name}"),
        };
        let value = |name: &str| if name == "*" { "a/b" } else { "a" }.to_owned();
        head(host, &self.filled(value), &self.method)
    }

    fn filled(&self, value: impl Fn(&str) -> String) -> String {
        let fill = |segment: &str| {
            let name = segment
                .strip_prefix('{')
                .map(|rest| rest.trim_end_matches('}'));
            match name {
                Some(name) => value(name),
                None if segment == "*" => value("*"),
                None => segment.to_owned(),
            }
        };
        self.path.split('/').map(fill).collect::<Vec<_>>().join("/")
    }

    fn fits_host(&self, head: &Head) -> bool {
        let name = head.hostname().unwrap_or_default();
        match &self.host {
            HostPattern::Any => true,
            HostPattern::Exact(exact) => *exact == name,
            HostPattern::Below(domain) => name.ends_with(&format!(".{domain}")),
        }
    }
}

/// Whether a backend that decodes a path once, and drops parameters, would see `.` or `..` in it.
fn is_ambiguous(target: &str) -> bool {
    let path = target.split('?').next().unwrap_or_default();
    let mut decoded = String::new();
    let mut rest = path;
    while let Some(first) = rest.chars().next() {
        let code = rest.strip_prefix('%').and_then(|rest| rest.get(..2));
        match code.and_then(|code| u8::from_str_radix(code, 16).ok()) {
            Some(byte) if byte.is_ascii() => {
                decoded.push(char::from(byte));
                rest = &rest[3..];
            }
            _ => {
                decoded.push(first);
                rest = &rest[first.len_utf8()..];
            }
        }
    }
    let segments = decoded.split(['/', '\\']);
    segments
        .map(|segment| segment.split(';').next().unwrap_or_default())
        .any(|segment| segment == "." || segment == "..")
}
