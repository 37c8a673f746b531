//! Address ranges that others publish: fetched, kept on disk, refreshed.
//!
//! A list replaces the one before it as a whole, or not at all: what cannot be fetched, is empty, has
//! a bad entry or would open the door to everybody changes nothing. Requests see none of this, only
//! [`FeedRanges`].
//!
//! | file | what it decides |
//! |---|---|
//! | `pointer` | where the ranges stand in a document |
//! | `list` | whether a body is a good list |
//! | `schedule` | when a feed is asked |
//! | `kept` | what is on disk |
//! | `refresher` | fetching, and what takes whose place |

mod kept;
pub mod list;
pub mod pointer;
mod refresher;
mod schedule;

use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};
use url::{Host, Url};

pub use self::kept::recall;
use self::pointer::Pointer;
pub use self::refresher::{Refresher, View};
use crate::ingress::ranges::{FeedRanges, OnMissing};
use crate::poll::fetch::{FetchRules, HostPattern, Origin, Redirects, UrlFault};

/// The most of a body that is read, packed and unpacked.
const BODY_BYTES_MAX: usize = 4 * 1024 * 1024;
/// The longest that a fetch takes.
const FETCH_TIME_MAX: Duration = Duration::from_secs(30);
/// The longest that a connection takes.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(10);
/// The shortest time between two refreshes, except on this machine.
const REFRESH_MIN: Duration = Duration::from_secs(60);

/// Where ranges are published, and how often they are fetched.
#[derive(Debug)]
pub struct Feed {
    name: String,
    url: String,
    origin: Origin,
    host: HostPattern,
    pointers: Vec<Pointer>,
    refresh: Duration,
    ranges: Arc<FeedRanges>,
}

/// Why a feed cannot be made like this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FeedError {
    /// The URL cannot be asked.
    #[error("this is not the URL of a list: {0}")]
    BadUrl(&'static str),
    /// Somebody on the way could write the list.
    #[error("a list that says who may send is fetched over https")]
    Plain,
    /// It would be asked too often.
    #[error("a list is not fetched more often than every minute")]
    TooOften,
}

impl Feed {
    /// Describes a feed. `url` is https, or http on this machine; `pointers` lead to the ranges in a
    /// document, none = the body is plain lines.
    ///
    /// # Errors
    /// [`FeedError`].
    pub fn new(
        name: &str,
        url: &str,
        pointers: Vec<Pointer>,
        refresh: Duration,
        on_missing: OnMissing,
    ) -> Result<Self, FeedError> {
        let origin: Origin = url.parse().map_err(|fault| {
            FeedError::BadUrl(match fault {
                UrlFault::Shape => "it has no host",
                UrlFault::Scheme => "it is neither https nor http",
                UrlFault::Userinfo => "it holds a user or a password",
                UrlFault::TooLong => "it is too long",
            })
        })?;
        let shape = |_| FeedError::BadUrl("it has no host");
        let parsed = Url::parse(url).map_err(|_| shape(()))?;
        let is_here = is_this_machine(&parsed);
        if parsed.scheme() != "https" && !is_here {
            return Err(FeedError::Plain);
        }
        if refresh < REFRESH_MIN && !is_here {
            return Err(FeedError::TooOften);
        }
        Ok(Self {
            name: name.to_owned(),
            url: url.to_owned(),
            host: origin.host().parse().map_err(|_| shape(()))?,
            origin,
            pointers,
            refresh,
            ranges: Arc::new(FeedRanges::new(on_missing)),
        })
    }

    /// Its name in the file.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its ranges, for the door.
    pub fn ranges(&self) -> &Arc<FeedRanges> {
        &self.ranges
    }

    /// How often it is refreshed.
    pub fn refresh(&self) -> Duration {
        self.refresh
    }

    /// What its list depends on: a list of another URL is another list.
    fn digest(&self) -> String {
        let mut text = self.url.clone();
        for pointer in &self.pointers {
            text += &format!("\n{pointer}");
        }
        hex::encode(Sha256::digest(text))
    }

    /// Whether the list of another feed is the list of this one.
    fn has_list_of(&self, other: &Self) -> bool {
        let parts = |feed: &Self| (feed.name.clone(), feed.url.clone(), feed.pointers.clone());
        parts(self) == parts(other)
    }

    /// The host stands in the file, so it may be private; redirects would lead to one that does not.
    fn rules(&self) -> FetchRules {
        FetchRules {
            origins: vec![self.origin.clone()],
            trusted_hosts: vec![self.host.clone()],
            redirects: Redirects::None,
            body_bytes_max: BODY_BYTES_MAX,
            unpacked_bytes_max: BODY_BYTES_MAX,
            timeout: FETCH_TIME_MAX,
            connect_timeout: CONNECT_TIME_MAX,
            ..FetchRules::default()
        }
    }

    /// What it is asked to answer with.
    fn accept(&self) -> &'static str {
        if self.pointers.is_empty() {
            "text/plain, */*;q=0.5"
        } else {
            "application/json, */*;q=0.5"
        }
    }
}

/// Whether a URL leads nowhere else.
fn is_this_machine(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feed(url: &str, refresh: u64) -> Result<Feed, FeedError> {
        let refresh = Duration::from_secs(refresh);
        Feed::new("f", url, Vec::new(), refresh, OnMissing::Refuse)
    }

    #[test]
    fn a_list_comes_over_tls_or_from_this_machine() {
        let check = |url: &str, expected: Result<(), FeedError>| {
            assert_eq!(feed(url, 60).map(|_| ()), expected, "{url}");
        };
        check("https://api.github.com/meta", Ok(()));
        check("https://10.0.0.1/list", Ok(()));
        check("http://127.0.0.1:80/list", Ok(()));
        check("http://[::1]/list", Ok(()));
        check("http://localhost/list", Ok(()));
        check("http://localhost.example/list", Err(FeedError::Plain));
        check("http://10.0.0.1/list", Err(FeedError::Plain));
        let bad = |why| Err(FeedError::BadUrl(why));
        check("ftp://a.example/", bad("it is neither https nor http"));
        check("/list", bad("it has no host"));
        check(
            "https://u:p@a.example/",
            bad("it holds a user or a password"),
        );
    }

    #[test]
    fn a_list_is_not_fetched_all_the_time() {
        let often = feed("https://a.example/", 59).map(|_| ());
        assert_eq!(often, Err(FeedError::TooOften));
        assert!(feed("http://127.0.0.1/", 1).is_ok());
    }
}
