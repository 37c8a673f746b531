//! An application behind the gateway: where it is, how patient we are, how its health is asked.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use super::breaker::BreakerRule;
use super::retry::RetryPolicy;

/// How many queued deliveries are tried at once, unless the file says otherwise.
pub const CONCURRENCY: NonZeroU32 = NonZeroU32::MIN.saturating_add(31);
/// How many bytes of an answer are kept, unless the file says otherwise.
pub const ANSWER_BYTES: usize = 4 * 1024;

/// A backend as the file describes it.
#[derive(Debug, Clone, PartialEq)]
pub struct Backend {
    /// Its name in the file.
    pub name: String,
    /// Whether it is reached through TLS.
    pub tls: Option<Tls>,
    /// Its addresses; requests go to the healthy ones in turn.
    pub authorities: Vec<Authority>,
    /// What stands before the path of every request (`/app`), or nothing.
    pub base_path: String,
    /// The most time for a connection, TLS included.
    pub connect_timeout: Duration,
    /// The most time until the answer begins, and between two pieces of it.
    pub response_timeout: Duration,
    /// How long an unused connection is kept.
    pub idle_timeout: Duration,
    /// What it gets as `Host`; `None` = what the sender wrote.
    pub host_header: Option<String>,
    /// How its health is asked; `None` = not at all.
    pub health: Option<Health>,
    /// How queued deliveries are tried.
    pub retry: RetryPolicy,
    /// The most queued deliveries that are tried at once.
    pub concurrency: NonZeroU32,
    /// The most attempts in so much time; `None` = no limit.
    pub rate: Option<Pace>,
    /// When it is left alone; `None` = never.
    pub breaker: Option<BreakerRule>,
    /// How many bytes of the body of an answer are kept with an attempt.
    pub answer_bytes_max: usize,
}

/// How many attempts may be made in how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// How many.
    pub count: NonZeroU32,
    /// In how long.
    pub per: Duration,
}

impl Backend {
    /// A backend of one URL, for a single request.
    pub fn at(origin: Origin, timeout: Duration) -> Self {
        Self {
            name: origin.authority.to_string(),
            tls: origin.tls.then_some(Tls {
                server_name: None,
                ca: None,
            }),
            authorities: vec![origin.authority],
            base_path: origin.base_path,
            connect_timeout: timeout,
            response_timeout: timeout,
            idle_timeout: timeout,
            host_header: None,
            health: None,
            retry: RetryPolicy::default(),
            concurrency: CONCURRENCY,
            rate: None,
            breaker: None,
            answer_bytes_max: ANSWER_BYTES,
        }
    }
}

/// Host and port of one address of a backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authority {
    /// A name or an address (version 6 without brackets).
    pub host: String,
    /// The port.
    pub port: u16,
}

impl std::fmt::Display for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// A URL of a backend, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// Whether it is https.
    pub tls: bool,
    /// Host and port.
    pub authority: Authority,
    /// The path without a slash at its end (`/app`, or nothing).
    pub base_path: String,
    /// The query, if it has one.
    pub query: Option<String>,
}

/// Why a text is not the URL of a backend.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum OriginError {
    /// It is no URL at all.
    #[error("`{0}` is not a URL with a host")]
    NotAUrl(String),
    /// It is a URL of another kind.
    #[error("`{0}` is not http or https")]
    Scheme(String),
    /// Its port is none.
    #[error("`{0}` is not a port: ports go from 1 to 65535")]
    Port(String),
    /// It holds a password. Not quoted.
    #[error("the URL holds credentials, which would be shown wherever the URL is")]
    Credentials,
}

impl Origin {
    /// Takes a URL apart.
    ///
    /// # Errors
    /// [`OriginError`], which never quotes credentials.
    pub fn parse(text: &str) -> Result<Self, OriginError> {
        let not_a_url = || OriginError::NotAUrl(text.to_owned());
        if text.contains('@') {
            return Err(OriginError::Credentials);
        }
        let uri: http::Uri = text.parse().map_err(|_| not_a_url())?;
        let scheme = uri.scheme_str().ok_or_else(not_a_url)?;
        let authority = uri.authority().ok_or_else(not_a_url)?;
        let tls = match scheme {
            "http" => false,
            "https" => true,
            _ => return Err(OriginError::Scheme(scheme.to_owned())),
        };
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        if host.is_empty() {
            return Err(not_a_url());
        }
        let port = match port_text(authority.as_str()) {
            None if tls => 443,
            None => 80,
            // A port that is none must not become the scheme's own.
            Some(text) => match text.parse() {
                Ok(port) if port > 0 => port,
                Ok(_) | Err(_) => return Err(OriginError::Port(text.to_owned())),
            },
        };
        Ok(Self {
            tls,
            authority: Authority { host, port },
            base_path: uri.path().trim_end_matches('/').to_owned(),
            query: uri.query().map(str::to_owned),
        })
    }
}

/// What stands behind the colon of an authority.
fn port_text(authority: &str) -> Option<&str> {
    let after_address = authority.rfind(']').map_or(0, |end| end + 1);
    let (_, port) = authority.get(after_address..)?.split_once(':')?;
    Some(port)
}

/// How a backend's certificate is checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// The name the certificate must carry, where it is not the host's.
    pub server_name: Option<String>,
    /// A PEM file of authorities to trust instead of the system's.
    pub ca: Option<PathBuf>,
}

/// How a backend's health is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// The path that must answer 200; `None` = a TCP connection is enough.
    pub path: Option<String>,
    /// The time between two questions.
    pub interval: Duration,
    /// The most time for an answer.
    pub timeout: Duration,
    /// How many failures in a row make it unhealthy.
    pub failures: usize,
}

/// Why a backend did not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// Its host name has no address.
    #[error("no address of the backend is known")]
    Unresolved,
    /// No connection could be made.
    #[error("no connection to the backend")]
    Unreachable,
    /// The connection was not made in time.
    #[error("no connection to the backend in time")]
    ConnectTimeout,
    /// Connected, but no answer in time.
    #[error("no answer from the backend in time")]
    ResponseTimeout,
    /// `server.timeout.request` passed before the answer was whole.
    #[error("the request took too long while the backend was at it")]
    RequestTimeout,
    /// What it should get could not be made of the event.
    #[error("the request for the backend could not be made")]
    Unmakeable,
    /// Connected, but the connection broke or spoke no HTTP before the answer was whole.
    #[error("the backend broke off before it answered")]
    BrokenOff,
}

impl Failure {
    /// The status the sender sees.
    pub fn status(self) -> u16 {
        match self {
            Self::Unresolved | Self::Unreachable | Self::BrokenOff | Self::Unmakeable => 502,
            Self::ConnectTimeout | Self::ResponseTimeout | Self::RequestTimeout => 504,
        }
    }

    /// The word for metrics, JSON and the `Hookgate-Reason` header.
    pub fn label(self) -> &'static str {
        match self {
            Self::Unresolved => "backend_unresolved",
            Self::Unreachable => "backend_unreachable",
            Self::ConnectTimeout => "backend_connect_timeout",
            Self::ResponseTimeout => "backend_timeout",
            Self::RequestTimeout => "request_timeout",
            Self::BrokenOff => "backend_broken_off",
            Self::Unmakeable => "request_unmakeable",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart() {
        let check = |url: &str, tls: bool, authority: &str, base_path: &str| {
            let origin = Origin::parse(url).unwrap();
            let found = (origin.tls, origin.authority.to_string(), origin.base_path);
            assert_eq!(
                found,
                (tls, authority.to_owned(), base_path.to_owned()),
                "{url}"
            );
        };
        check("http://127.0.0.1:3000", false, "127.0.0.1:3000", "");
        check("http://app", false, "app:80", "");
        check("https://app/base/", true, "app:443", "/base");
        check("http://[::1]:3000/x", false, "[::1]:3000", "/x");
        check("https://[::1]", true, "[::1]:443", "");
    }

    #[test]
    fn a_url_that_leads_nowhere_is_refused() {
        let check = |url: &str, message: &str| {
            assert_eq!(Origin::parse(url).unwrap_err().to_string(), message);
        };
        check(
            "127.0.0.1:3000",
            "`127.0.0.1:3000` is not a URL with a host",
        );
        check("http://:3000", "`http://:3000` is not a URL with a host");
        check("ftp://app", "`ftp` is not http or https");
        check(
            "http://app:99999",
            "`99999` is not a port: ports go from 1 to 65535",
        );
        check(
            "http://[::1]:0",
            "`0` is not a port: ports go from 1 to 65535",
        );
        check(
            "http://user:password@app",
            "the URL holds credentials, which would be shown wherever the URL is",
        );
    }
}
