//! What a source may ask, and how much of an answer it takes: origins, hosts, limits.
//!
//! Pure. Which addresses a host may have is decided in `address`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use url::{Host, Url};

use super::FetchError;
use super::tls::TlsRules;

/// The longest URL that is asked, in bytes.
const URL_BYTES_MAX: usize = 16 * 1024;

/// What a source may ask, and how much of an answer it takes.
#[derive(Debug, Clone)]
pub struct FetchRules {
    /// The origins that the file names. Empty when they come from a session.
    pub origins: Vec<Origin>,
    /// Further hosts that may be asked, at any port.
    pub allow_hosts: Vec<HostPattern>,
    /// Hosts written in the file: they alone may have addresses that are not public.
    pub trusted_hosts: Vec<HostPattern>,
    /// Which redirects are followed.
    pub redirects: Redirects,
    /// The most of a body that is read, in bytes on the wire.
    pub body_bytes_max: usize,
    /// The most that a body may become when it is unpacked, in bytes.
    pub unpacked_bytes_max: usize,
    /// The longest that a fetch takes, redirects and body included.
    pub timeout: Duration,
    /// The longest that a connection takes, name and handshake included.
    pub connect_timeout: Duration,
    /// How servers are known, and how the gateway is known to them.
    pub tls: TlsRules,
}

impl Default for FetchRules {
    fn default() -> Self {
        Self {
            origins: Vec::new(),
            allow_hosts: Vec::new(),
            trusted_hosts: Vec::new(),
            redirects: Redirects::SameOrigin,
            body_bytes_max: 16 * 1024 * 1024,
            unpacked_bytes_max: 16 * 1024 * 1024,
            timeout: Duration::from_secs(15),
            connect_timeout: Duration::from_secs(5),
            tls: TlsRules::default(),
        }
    }
}

impl FetchRules {
    /// Whether the file lets a URL be asked.
    pub(super) fn check(&self, url: &Url) -> Result<(), FetchError> {
        let origin = Origin::try_from(url)?;
        if self.origins.contains(&origin) {
            return Ok(());
        }
        let host = origin.host;
        if !matches_any(&self.allow_hosts, &host) {
            return Err(FetchError::ForeignHost { host });
        }
        // A link to a further host must not be what takes credentials out of TLS.
        if origin.scheme == Scheme::Http && !self.speaks_plain(&host) {
            return Err(FetchError::Insecure { host });
        }
        Ok(())
    }

    fn speaks_plain(&self, host: &str) -> bool {
        let plain = |origin: &Origin| origin.scheme == Scheme::Http;
        self.origins.iter().any(plain) || matches_any(&self.trusted_hosts, host)
    }
}

/// Which redirects are followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Redirects {
    /// Those that stay at scheme, host and port.
    SameOrigin,
    /// None: the redirect itself is the answer.
    None,
    /// All of them. Credentials stay behind when the origin changes.
    Any,
}

/// Scheme, host and port of a URL: all of it that may be shown.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Origin {
    scheme: Scheme,
    host: String,
    port: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Scheme {
    Http,
    Https,
}

impl Origin {
    /// The host: a name in lower case, or an address, in brackets if it is of version 6.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Whether going from here to `other` leaves TLS.
    pub(super) fn leaves_tls(&self, other: &Self) -> bool {
        (self.scheme, other.scheme) == (Scheme::Https, Scheme::Http)
    }
}

impl TryFrom<&Url> for Origin {
    type Error = UrlFault;

    fn try_from(url: &Url) -> Result<Self, UrlFault> {
        let scheme = match url.scheme() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            _ => return Err(UrlFault::Scheme),
        };
        Ok(Self {
            scheme,
            host: url.host_str().ok_or(UrlFault::Shape)?.to_owned(),
            port: url.port_or_known_default().ok_or(UrlFault::Shape)?,
        })
    }
}

impl FromStr for Origin {
    type Err = UrlFault;

    /// The origin of a whole URL.
    fn from_str(url: &str) -> Result<Self, UrlFault> {
        Self::try_from(&parse(url)?)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, usual) = match self.scheme {
            Scheme::Http => ("http", 80),
            Scheme::Https => ("https", 443),
        };
        write!(f, "{scheme}://{}", self.host)?;
        if self.port == usual {
            return Ok(());
        }
        write!(f, ":{}", self.port)
    }
}

/// Why a text is no URL that can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UrlFault {
    /// It is not a URL with a host.
    #[error("it is not a URL with a host")]
    Shape,
    /// It is neither `http` nor `https`.
    #[error("it is neither http nor https")]
    Scheme,
    /// It holds a user or a password, which belong under `auth`.
    #[error("it holds a user or a password: write them under `auth`")]
    Userinfo,
    /// It is too long.
    #[error("it is longer than {URL_BYTES_MAX} bytes")]
    TooLong,
}

/// Reads a URL that can be asked.
pub(super) fn parse(text: &str) -> Result<Url, UrlFault> {
    if text.len() > URL_BYTES_MAX {
        return Err(UrlFault::TooLong);
    }
    checked(Url::parse(text).map_err(|_| UrlFault::Shape)?)
}

/// Reads where a redirect from `base` leads.
pub(super) fn join(base: &Url, text: &str) -> Result<Url, UrlFault> {
    if text.len() > URL_BYTES_MAX {
        return Err(UrlFault::TooLong);
    }
    checked(base.join(text).map_err(|_| UrlFault::Shape)?)
}

fn checked(mut url: Url) -> Result<Url, UrlFault> {
    Origin::try_from(&url)?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(UrlFault::Userinfo);
    }
    url.set_fragment(None);
    Ok(url)
}

/// A host, or all hosts below a domain (`*.example.com`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPattern {
    host: String,
    reach: Reach,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    Exact,
    Below,
}

impl HostPattern {
    /// Whether a host in the form of [`Origin::host`] is meant.
    pub fn matches(&self, host: &str) -> bool {
        match self.reach {
            Reach::Exact => host == self.host,
            Reach::Below => host
                .strip_suffix(&self.host)
                .and_then(|below| below.strip_suffix('.'))
                .is_some_and(|below| !below.is_empty()),
        }
    }
}

pub(super) fn matches_any(patterns: &[HostPattern], host: &str) -> bool {
    patterns.iter().any(|pattern| pattern.matches(host))
}

impl FromStr for HostPattern {
    type Err = HostPatternError;

    fn from_str(text: &str) -> Result<Self, HostPatternError> {
        let refused = || HostPatternError(text.to_owned());
        let (host, reach) = match text.strip_prefix("*.") {
            Some(host) => (host, Reach::Below),
            None => (text, Reach::Exact),
        };
        // The library lets a star be part of a name.
        if host.contains('*') {
            return Err(refused());
        }
        let is_bare_v6 = host.parse::<std::net::Ipv6Addr>().is_ok();
        let parsed = if is_bare_v6 {
            Host::parse(&format!("[{host}]"))
        } else {
            Host::parse(host)
        };
        match (parsed.map_err(|_| refused())?, reach) {
            (Host::Ipv4(_) | Host::Ipv6(_), Reach::Below) => Err(refused()),
            (host, reach) => Ok(Self {
                host: host.to_string(),
                reach,
            }),
        }
    }
}

/// A text that names no host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a host: write it without scheme, port and path, or `*.` and a domain")]
pub struct HostPatternError(String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_scheme_host_and_port_of_a_url_are_shown() {
        let check = |url: &str, expected: &str| {
            let origin: Origin = url.parse().unwrap();
            assert_eq!(origin.to_string(), expected, "{url}");
        };
        check(
            "https://Api.Example.com/bot1:x?y#z",
            "https://api.example.com",
        );
        check("https://a.example:443/", "https://a.example");
        check("http://a.example:443", "http://a.example:443");
        check("http://[::1]:8080/x", "http://[::1]:8080");
        check("http://0x7f.1/", "http://127.0.0.1");
        check("http://2130706433/", "http://127.0.0.1");
    }

    #[test]
    fn what_is_no_url_is_refused_with_its_reason() {
        let check = |url: &str, expected: UrlFault| {
            assert_eq!(url.parse::<Origin>(), Err(expected), "{url}");
        };
        check("", UrlFault::Shape);
        check("/relative", UrlFault::Shape);
        check("http://", UrlFault::Shape);
        check("ftp://a.example/", UrlFault::Scheme);
        check("file:///etc/passwd", UrlFault::Scheme);
        check("https://user@a.example/", UrlFault::Userinfo);
        check("https://:secret@a.example/", UrlFault::Userinfo);
        let long = format!("https://a.example/{}", "x".repeat(URL_BYTES_MAX));
        check(&long, UrlFault::TooLong);
    }

    #[test]
    fn a_pattern_means_a_host_or_all_below_a_domain() {
        let check = |pattern: &str, host: &str, expected: bool| {
            let pattern: HostPattern = pattern.parse().unwrap();
            assert_eq!(pattern.matches(host), expected, "{pattern:?} {host}");
        };
        check("Api.Example.com", "api.example.com", true);
        check("api.example.com", "evil-api.example.com", false);
        check("*.vk.com", "im.vk.com", true);
        check("*.vk.com", "a.b.vk.com", true);
        check("*.vk.com", "vk.com", false);
        check("*.vk.com", ".vk.com", false);
        check("*.vk.com", "evilvk.com", false);
        check("*.vk.com", "vk.com.evil.example", false);
        check("127.1", "127.0.0.1", true);
        check("::1", "[::1]", true);
        check("[0:0::1]", "[::1]", true);
        check("bücher.example", "xn--bcher-kva.example", true);
    }

    #[test]
    fn what_is_no_host_is_no_pattern() {
        for text in [
            "",
            "*",
            "*.",
            "https://a.example",
            "a.example:80",
            "a.example/x",
            "*.127.0.0.1",
            "*.[::1]",
            "a b",
            "::zz",
        ] {
            assert!(text.parse::<HostPattern>().is_err(), "{text}");
        }
    }

    #[test]
    fn only_the_hosts_of_the_file_are_asked() {
        let patterns = |hosts: &[&str]| hosts.iter().map(|host| host.parse().unwrap()).collect();
        let rules = FetchRules {
            origins: vec!["https://a.example/x".parse().unwrap()],
            allow_hosts: patterns(&["*.b.example", "c.internal"]),
            trusted_hosts: patterns(&["c.internal"]),
            ..FetchRules::default()
        };
        let check = |url: &str, expected: Result<(), &str>| {
            let found = rules.check(&parse(url).unwrap());
            assert_eq!(found.map_err(|error| error.label()), expected, "{url}");
        };
        check("https://a.example/other", Ok(()));
        check("https://a.example:8443/", Err("foreign_host"));
        check("http://a.example/", Err("foreign_host"));
        check("https://x.b.example:8443/", Ok(()));
        check("http://x.b.example/", Err("insecure"));
        check("https://b.example/", Err("foreign_host"));
        check("http://c.internal/", Ok(()));
        check("https://evil.example/", Err("foreign_host"));
    }
}
