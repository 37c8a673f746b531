//! Asks upstreams over HTTP.
//!
//! Decides where a request may go and how much of the answer is taken; what the answer means is
//! decided elsewhere. No cookies, no proxy of the environment, no retries. Nothing that is shown
//! of a request holds more of its URL than scheme, host and port: a token can be in the path.

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, HeaderValue};
use http::{HeaderMap, Method};
use tokio::time::timeout;
use url::Url;

use self::address::{Guard, Lookup, NoPublicAddress, SystemLookup};
use self::tls::Configs;
use self::unpack::{ACCEPTED, Coding, UnpackError, Unpacker};

pub use self::rules::{FetchRules, HostPattern, HostPatternError, Origin, Redirects, UrlFault};
pub use self::tls::{Identity, TlsError, TlsRules};

mod address;
mod redirect;
mod rules;
mod tls;
mod unpack;

/// The most redirects of one fetch.
const REDIRECTS_MAX: usize = 5;
/// How many unused connections are kept to one host.
const IDLE_PER_HOST: usize = 4;
/// The longest reason of the TLS library that is shown, in characters.
const REASON_CHARS_MAX: usize = 200;
/// How the gateway introduces itself, unless the request says otherwise.
const USER_AGENT: &str = concat!("hookgate/", env!("CARGO_PKG_VERSION"));

/// A request to an upstream.
#[derive(Clone)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// The whole URL.
    pub url: String,
    /// The headers. Values that are credentials are marked as sensitive.
    pub headers: HeaderMap,
    /// The body; empty = none.
    pub body: Bytes,
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let origin = self.url.parse::<Origin>().map(|origin| origin.to_string());
        f.debug_struct("Request")
            .field("method", &self.method)
            .field("origin", &origin.unwrap_or_default())
            .finish_non_exhaustive()
    }
}

/// An upstream's answer, whole and unpacked.
#[derive(Clone)]
pub struct Response {
    /// The status.
    pub status: u16,
    /// The headers as they came, names in lower case. Length and encoding are those on the wire.
    pub headers: Vec<(String, String)>,
    /// The body, unpacked.
    pub body: Bytes,
    /// The URL that answered, after redirects. Not for logs.
    pub url: String,
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Response")
            .field("status", &self.status)
            .field("body_bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// The URL cannot be asked.
    #[error("the URL cannot be asked: {0}")]
    BadUrl(#[from] UrlFault),
    /// The file does not name the host.
    #[error("`{host}` is neither the host of `url` nor one of `allow_hosts`")]
    ForeignHost {
        /// The host.
        host: String,
    },
    /// The URL leaves TLS.
    #[error("`{host}` would be asked without TLS, which the source uses elsewhere")]
    Insecure {
        /// The host.
        host: String,
    },
    /// The host has no address that may be connected to.
    #[error("`{host}` has no public address, and only hosts written in the file may be private")]
    PrivateAddress {
        /// The host.
        host: String,
    },
    /// The host has no address.
    #[error("no address was found for `{host}`")]
    Dns {
        /// The host.
        host: String,
    },
    /// Nobody took the connection.
    #[error("{origin} cannot be reached: {reason}")]
    Connect {
        /// Where.
        origin: Origin,
        /// What the machine says.
        reason: io::ErrorKind,
    },
    /// No connection in time.
    #[error("{origin} took no connection in time")]
    ConnectTimeout {
        /// Where.
        origin: Origin,
    },
    /// The handshake failed.
    #[error("no TLS with {origin}: {reason}")]
    Tls {
        /// Where.
        origin: Origin,
        /// What the library says.
        reason: String,
    },
    /// No whole answer in time.
    #[error("{origin} sent no whole answer in time")]
    Timeout {
        /// Where the fetch began.
        origin: Origin,
    },
    /// The connection ended, or spoke no HTTP, before the head of an answer.
    #[error("{origin} broke off before it answered")]
    BrokenOff {
        /// Where.
        origin: Origin,
    },
    /// The connection ended in the middle of the body.
    #[error("{origin} broke off in the middle of its answer")]
    Body {
        /// Where.
        origin: Origin,
    },
    /// The body is longer than the limit, packed or unpacked.
    #[error("{origin} sent more than {max} bytes")]
    TooLarge {
        /// Where.
        origin: Origin,
        /// The limit that it broke, in bytes.
        max: usize,
    },
    /// The body is packed in a way that was not asked for.
    #[error("{origin} packed its answer in a way that was not asked for")]
    Encoding {
        /// Where.
        origin: Origin,
    },
    /// The body is not packed the way it says.
    #[error("{origin} did not pack its answer the way it says")]
    Garbled {
        /// Where.
        origin: Origin,
    },
    /// A redirect is not followed.
    #[error("{from} redirects, {fault}")]
    Redirect {
        /// From where.
        from: Origin,
        /// Why not.
        fault: RedirectFault,
    },
    /// The request cannot be written as HTTP.
    #[error("the request cannot be written as HTTP")]
    Unmakeable,
    /// TLS cannot be set up as the file says.
    #[error(transparent)]
    Setup(#[from] TlsError),
}

/// Why a redirect is not followed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RedirectFault {
    /// It does not say where to.
    #[error("and does not say where to")]
    Location,
    /// It leads to another origin.
    #[error("to {to}: write that into `url`, or `redirects: any`")]
    Foreign {
        /// Where it leads.
        to: Origin,
    },
    /// It leaves TLS.
    #[error("to {to}, which is without TLS")]
    Downgrade {
        /// Where it leads.
        to: Origin,
    },
    /// It would carry the body to another origin.
    #[error("to {to}, which would get the body of the request")]
    Body {
        /// Where it leads.
        to: Origin,
    },
    /// There are too many.
    #[error("more than {REDIRECTS_MAX} times")]
    TooMany,
}

impl FetchError {
    /// The word for metrics, JSON and the log.
    pub fn label(&self) -> &'static str {
        match self {
            Self::BadUrl(_) => "bad_url",
            Self::ForeignHost { .. } => "foreign_host",
            Self::Insecure { .. } => "insecure",
            Self::PrivateAddress { .. } => "private_address",
            Self::Dns { .. } => "dns",
            Self::Connect { .. } => "connect",
            Self::ConnectTimeout { .. } => "connect_timeout",
            Self::Tls { .. } => "tls",
            Self::Timeout { .. } => "timeout",
            Self::BrokenOff { .. } => "broken_off",
            Self::Body { .. } => "body",
            Self::TooLarge { .. } => "too_large",
            Self::Encoding { .. } => "encoding",
            Self::Garbled { .. } => "garbled",
            Self::Redirect { fault, .. } => fault.label(),
            Self::Unmakeable => "unmakeable",
            Self::Setup(_) => "tls_setup",
        }
    }

    /// Whether the same request may well be answered later: the network failed, not a rule.
    pub fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::Dns { .. }
                | Self::Connect { .. }
                | Self::ConnectTimeout { .. }
                | Self::Tls { .. }
                | Self::Timeout { .. }
                | Self::BrokenOff { .. }
                | Self::Body { .. }
                | Self::Garbled { .. }
        )
    }
}

impl RedirectFault {
    fn label(&self) -> &'static str {
        match self {
            Self::Location => "redirect_location",
            Self::Foreign { .. } => "redirect_foreign",
            Self::Downgrade { .. } => "redirect_downgrade",
            Self::Body { .. } => "redirect_body",
            Self::TooMany => "redirect_too_many",
        }
    }
}

/// Asks the upstreams of one source. Its connections belong to the runtime that it is used in.
pub struct Fetcher {
    rules: FetchRules,
    /// For what the rules let be asked: the hosts of the file, which may be private.
    own: Road,
    /// For where redirects lead besides.
    foreign: Road,
}

/// A client and what it may connect to.
struct Road {
    client: reqwest::Client,
    guard: Guard,
}

/// One request on the wire.
#[derive(Clone)]
struct Step {
    method: Method,
    url: Url,
    headers: HeaderMap,
    body: Bytes,
}

impl Fetcher {
    /// Prepares to ask by `rules`.
    ///
    /// # Errors
    /// [`FetchError::Setup`] when certificates or keys cannot be used.
    pub fn new(rules: FetchRules) -> Result<Self, FetchError> {
        Self::with_lookup(rules, Arc::new(SystemLookup))
    }

    fn with_lookup(rules: FetchRules, lookup: Arc<dyn Lookup>) -> Result<Self, FetchError> {
        let configs = Configs::new(&rules.tls, &rules.origins)?;
        let own = Guard::new(&rules.trusted_hosts, lookup.clone());
        let foreign = Guard::new(&[], lookup);
        Ok(Self {
            own: Road::new(&rules, configs.own, own)?,
            foreign: Road::new(&rules, configs.foreign, foreign)?,
            rules,
        })
    }

    /// Asks, follows redirects as the rules say, and takes the whole answer. Every status is an
    /// answer.
    ///
    /// # Errors
    /// [`FetchError`] when there is no whole answer within the limits.
    pub async fn fetch(&self, request: Request) -> Result<Response, FetchError> {
        let url = rules::parse(&request.url)?;
        self.rules.check(&url)?;
        let origin = Origin::try_from(&url)?;
        let mut step = Step {
            url,
            method: request.method,
            headers: request.headers,
            body: request.body,
        };
        let accepted = HeaderValue::from_static(ACCEPTED);
        step.headers.entry(ACCEPT_ENCODING).or_insert(accepted);
        timeout(self.rules.timeout, self.walk(step))
            .await
            .map_err(|_| FetchError::Timeout { origin })?
    }

    async fn walk(&self, mut step: Step) -> Result<Response, FetchError> {
        for _ in 0..=REDIRECTS_MAX {
            let answer = self.road(&step.url).send(&step).await?;
            let redirects = self.rules.redirects;
            match redirect::next(redirects, &step, answer.status(), answer.headers())? {
                None => return self.receive(step.url, answer).await,
                Some(next) => step = next,
            }
        }
        Err(FetchError::Redirect {
            from: Origin::try_from(&step.url)?,
            fault: RedirectFault::TooMany,
        })
    }

    /// A host of the file is trusted at the places of the file only, not wherever a redirect points.
    fn road(&self, url: &Url) -> &Road {
        match self.rules.check(url) {
            Ok(()) => &self.own,
            Err(_) => &self.foreign,
        }
    }

    async fn receive(&self, url: Url, answer: reqwest::Response) -> Result<Response, FetchError> {
        let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let headers = answer.headers().iter();
        let headers = headers.map(|(name, value)| (name.to_string(), text(value)));
        Ok(Response {
            status: answer.status().as_u16(),
            headers: headers.collect(),
            body: self.body(&url, answer).await?,
            url: url.into(),
        })
    }

    async fn body(&self, url: &Url, mut answer: reqwest::Response) -> Result<Bytes, FetchError> {
        let origin = Origin::try_from(url)?;
        let max = self.rules.body_bytes_max;
        let too_large = |max| FetchError::TooLarge {
            origin: origin.clone(),
            max,
        };
        let fits = |bytes: u64| usize::try_from(bytes).is_ok_and(|bytes| bytes <= max);
        if answer.content_length().is_some_and(|bytes| !fits(bytes)) {
            return Err(too_large(max));
        }
        let unpacked = |error| match error {
            UnpackError::TooLarge => too_large(self.rules.unpacked_bytes_max),
            UnpackError::Garbled => FetchError::Garbled {
                origin: origin.clone(),
            },
        };
        let coding = Coding::of(answer.headers()).ok_or_else(|| FetchError::Encoding {
            origin: origin.clone(),
        })?;
        let mut unpacker = Unpacker::new(coding, self.rules.unpacked_bytes_max);
        let mut read = 0_usize;
        let broken = |_| FetchError::Body {
            origin: origin.clone(),
        };
        while let Some(piece) = answer.chunk().await.map_err(broken)? {
            read = read.saturating_add(piece.len());
            if read > max {
                return Err(too_large(max));
            }
            unpacker = unpacker.push(&piece).map_err(unpacked)?;
        }
        unpacker.finish().map_err(unpacked)
    }
}

impl Road {
    fn new(
        rules: &FetchRules,
        tls: rustls::ClientConfig,
        guard: Guard,
    ) -> Result<Self, FetchError> {
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .dns_resolver(guard.clone())
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .no_proxy()
            .user_agent(USER_AGENT)
            .connect_timeout(rules.connect_timeout)
            .pool_max_idle_per_host(IDLE_PER_HOST)
            .build()
            .map_err(|error| TlsError::Setup(error.to_string()))?;
        Ok(Self { client, guard })
    }

    async fn send(&self, step: &Step) -> Result<reqwest::Response, FetchError> {
        let origin = Origin::try_from(&step.url)?;
        if !self.guard.allows(&step.url) {
            let host = origin.host().to_owned();
            return Err(FetchError::PrivateAddress { host });
        }
        let mut request = self
            .client
            .request(step.method.clone(), step.url.clone())
            .headers(step.headers.clone());
        if !step.body.is_empty() {
            request = request.body(step.body.clone());
        }
        request.send().await.map_err(|error| failed(&error, origin))
    }
}

/// The reason behind an error of the HTTP client, whose own words hold the URL.
fn failed(error: &reqwest::Error, origin: Origin) -> FetchError {
    let host = || origin.host().to_owned();
    if causes(error).any(|cause| cause.is::<NoPublicAddress>()) {
        return FetchError::PrivateAddress { host: host() };
    }
    if error.is_dns() {
        return FetchError::Dns { host: host() };
    }
    if error.is_builder() {
        return FetchError::Unmakeable;
    }
    if error.is_connect() && error.is_timeout() {
        return FetchError::ConnectTimeout { origin };
    }
    if let Some(error) = causes(error).find_map(|cause| cause.downcast_ref::<rustls::Error>()) {
        let reason = error.to_string().chars().take(REASON_CHARS_MAX).collect();
        return FetchError::Tls { origin, reason };
    }
    if error.is_connect() {
        let io = causes(error).find_map(|cause| cause.downcast_ref::<io::Error>());
        let reason = io.map_or(io::ErrorKind::Other, io::Error::kind);
        return FetchError::Connect { origin, reason };
    }
    FetchError::BrokenOff { origin }
}

/// An error and what caused it. An I/O error hides what is inside it.
fn causes<'e>(error: &'e (dyn Error + 'static)) -> impl Iterator<Item = &'e (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error: &&'e (dyn Error + 'static)| {
        let inside = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref);
        match inside {
            Some(inside) => Some(inside),
            None => error.source(),
        }
    })
}

#[cfg(test)]
mod tests;
