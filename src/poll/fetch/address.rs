//! Which addresses a host may have.
//!
//! The check is made on the addresses that are about to be connected to, not on an earlier answer
//! of the name service: a name that changes its address in between gains nothing. Which hosts may
//! be asked at all is decided in `rules`.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use async_trait::async_trait;
use ipnet::{Ipv4Net, Ipv6Net};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

use super::rules::{HostPattern, matches_any};

/// The most addresses of one name that are tried.
const ADDRESSES_MAX: usize = 16;

/// Finds the addresses of a name.
#[async_trait]
pub(super) trait Lookup: Send + Sync {
    /// All addresses of a name; the port is 0.
    async fn lookup(&self, name: &str) -> io::Result<Vec<SocketAddr>>;
}

/// Asks the machine.
pub(super) struct SystemLookup;

#[async_trait]
impl Lookup for SystemLookup {
    async fn lookup(&self, name: &str) -> io::Result<Vec<SocketAddr>> {
        Ok(tokio::net::lookup_host((name, 0)).await?.collect())
    }
}

/// Gives the HTTP client only those addresses of a name that it may connect to.
#[derive(Clone)]
pub(super) struct Guard {
    trusted: Arc<[HostPattern]>,
    lookup: Arc<dyn Lookup>,
}

impl Guard {
    /// Lets `trusted` hosts alone have private addresses.
    pub(super) fn new(trusted: &[HostPattern], lookup: Arc<dyn Lookup>) -> Self {
        Self {
            trusted: trusted.into(),
            lookup,
        }
    }

    /// Whether a URL may be asked as far as can be said without the name service: one that holds an
    /// address never gets there. A trusted address is what the file says, whatever it is.
    pub(super) fn allows(&self, url: &Url) -> bool {
        let address = match url.host() {
            Some(Host::Ipv4(address)) => IpAddr::V4(address),
            Some(Host::Ipv6(address)) => IpAddr::V6(address),
            Some(Host::Domain(_)) => return true,
            None => return false,
        };
        let host = url.host_str().unwrap_or_default();
        kind(address) == Kind::Public || matches_any(&self.trusted, host)
    }

    async fn addresses(
        self,
        name: String,
    ) -> Result<Addrs, Box<dyn std::error::Error + Send + Sync>> {
        let found = self.lookup.lookup(&name).await?;
        let is_trusted = matches_any(&self.trusted, &name);
        let may = |address: &SocketAddr| match kind(address.ip()) {
            Kind::Public => true,
            Kind::Private => is_trusted,
            Kind::Special => false,
        };
        let allowed: Vec<_> = found
            .iter()
            .copied()
            .filter(may)
            .take(ADDRESSES_MAX)
            .collect();
        if allowed.is_empty() && !found.is_empty() {
            return Err(Box::new(NoPublicAddress));
        }
        Ok(Box::new(allowed.into_iter()))
    }
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(self.clone().addresses(name.as_str().to_owned()))
    }
}

/// A name has no address that may be connected to.
#[derive(Debug, thiserror::Error)]
#[error("no address of the host is public")]
pub(super) struct NoPublicAddress;

/// Who can be behind an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Anybody.
    Public,
    /// This machine or its network.
    Private,
    /// Nobody whom a name should lead to: metadata services, groups, examples, unroutable ranges.
    Special,
}

const fn v4(a: u8, b: u8, c: u8, d: u8, length: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), length)
}

const fn v6(a: u16, b: u16, c: u16, d: u16, length: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0), length)
}

/// RFC 1918, RFC 6598 and loopback.
const PRIVATE_V4: [Ipv4Net; 5] = [
    v4(10, 0, 0, 0, 8),
    v4(100, 64, 0, 0, 10),
    v4(127, 0, 0, 0, 8),
    v4(172, 16, 0, 0, 12),
    v4(192, 168, 0, 0, 16),
];

/// The rest of the IANA registry of special addresses that is not reachable by anybody, and what is
/// no address of one machine.
const SPECIAL_V4: [Ipv4Net; 10] = [
    v4(0, 0, 0, 0, 8),
    v4(169, 254, 0, 0, 16),
    v4(192, 0, 0, 0, 24),
    v4(192, 0, 2, 0, 24),
    v4(192, 88, 99, 0, 24),
    v4(198, 18, 0, 0, 15),
    v4(198, 51, 100, 0, 24),
    v4(203, 0, 113, 0, 24),
    v4(224, 0, 0, 0, 4),
    v4(240, 0, 0, 0, 4),
];

/// RFC 4193.
const PRIVATE_V6: Ipv6Net = v6(0xfc00, 0, 0, 0, 7);
/// All of the global addresses are in here.
const GLOBAL_V6: Ipv6Net = v6(0x2000, 0, 0, 0, 3);
/// Parts of it that are not: protocol assignments with Teredo and ORCHID, and documentation.
const SPECIAL_V6: [Ipv6Net; 3] = [
    v6(0x2001, 0, 0, 0, 23),
    v6(0x2001, 0xdb8, 0, 0, 32),
    v6(0x3fff, 0, 0, 0, 20),
];
/// Translation to version 4 (RFC 6052): the address is in the last 32 bits.
const NAT64: Ipv6Net = v6(0x64, 0xff9b, 0, 0, 96);
/// 6to4 (RFC 3056): the address is in the 32 bits after the first 16.
const SIX_TO_FOUR: Ipv6Net = v6(0x2002, 0, 0, 0, 16);

fn kind(address: IpAddr) -> Kind {
    match address {
        IpAddr::V4(address) => kind_v4(address),
        IpAddr::V6(address) => kind_v6(address),
    }
}

fn kind_v4(address: Ipv4Addr) -> Kind {
    if PRIVATE_V4.iter().any(|net| net.contains(&address)) {
        Kind::Private
    } else if SPECIAL_V4.iter().any(|net| net.contains(&address)) {
        Kind::Special
    } else {
        Kind::Public
    }
}

fn kind_v6(address: Ipv6Addr) -> Kind {
    if let Some(inside) = address.to_ipv4_mapped() {
        return kind_v4(inside);
    }
    let [_, _, a, b, c, d, .., w, x, y, z] = address.octets();
    if NAT64.contains(&address) {
        return kind_v4(Ipv4Addr::new(w, x, y, z));
    }
    if SIX_TO_FOUR.contains(&address) {
        return kind_v4(Ipv4Addr::new(a, b, c, d));
    }
    if address.is_loopback() || PRIVATE_V6.contains(&address) {
        return Kind::Private;
    }
    let special = SPECIAL_V6.iter().any(|net| net.contains(&address));
    if special || !GLOBAL_V6.contains(&address) {
        Kind::Special
    } else {
        Kind::Public
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn addresses_are_told_apart() {
        let check = |kind_expected: Kind, addresses: &[&str]| {
            for address in addresses {
                assert_eq!(kind(address.parse().unwrap()), kind_expected, "{address}");
            }
        };
        check(
            Kind::Public,
            &[
                "1.1.1.1",
                "9.255.255.255",
                "11.0.0.0",
                "100.63.255.255",
                "100.128.0.0",
                "172.15.255.255",
                "172.32.0.0",
                "192.167.0.1",
                "169.253.0.1",
                "223.255.255.255",
                "2606:4700::1111",
                "2a00:1450::1",
                "::ffff:8.8.8.8",
                "64:ff9b::808:808",
                "2002:808:808::1",
            ],
        );
        check(
            Kind::Private,
            &[
                "127.0.0.1",
                "127.255.255.254",
                "10.0.0.1",
                "172.16.0.1",
                "172.31.255.255",
                "192.168.1.1",
                "100.64.0.1",
                "100.127.255.255",
                "::1",
                "fc00::1",
                "fdff::1",
                "::ffff:127.0.0.1",
                "::ffff:10.1.2.3",
                "64:ff9b::7f00:1",
                "2002:a00:1::",
            ],
        );
        check(
            Kind::Special,
            &[
                "0.0.0.0",
                "0.1.2.3",
                "169.254.169.254",
                "169.254.0.1",
                "192.0.0.8",
                "192.0.2.1",
                "198.18.0.1",
                "198.51.100.7",
                "203.0.113.9",
                "224.0.0.1",
                "239.1.1.1",
                "240.0.0.1",
                "255.255.255.255",
                "::",
                "fe80::1",
                "fec0::1",
                "ff02::1",
                "2001:db8::1",
                "3fff::1",
                "2001::1",
                "100::1",
                "::127.0.0.1",
                "64:ff9b:1::1",
                "5f00::1",
                "::ffff:169.254.169.254",
                "64:ff9b::a9fe:a9fe",
                "2002:a9fe:a9fe::",
            ],
        );
    }

    #[test]
    fn an_address_in_a_url_is_checked_like_one_of_a_name() {
        let trusted = ["127.0.0.1".parse().unwrap(), "::1".parse().unwrap()];
        let guard = Guard::new(&trusted, Arc::new(SystemLookup));
        let check = |url: &str, expected: bool| {
            assert_eq!(guard.allows(&Url::parse(url).unwrap()), expected, "{url}");
        };
        check("http://1.1.1.1/", true);
        check("http://127.0.0.1:9/", true);
        check("http://127.1/", true);
        check("http://127.0.0.2/", false);
        check("http://[::1]/", true);
        check("http://[::ffff:127.0.0.1]/", false);
        check("http://10.0.0.1/", false);
        check("http://169.254.169.254/latest", false);
        check("http://0/", false);
        check("http://a.example/", true);
    }

    /// Gives the addresses of its list one after the other.
    struct Rebinding(Mutex<Vec<&'static str>>);

    #[async_trait]
    impl Lookup for Rebinding {
        async fn lookup(&self, _: &str) -> io::Result<Vec<SocketAddr>> {
            let next = self.0.lock().unwrap().remove(0);
            Ok(next
                .split_whitespace()
                .map(|address| SocketAddr::new(address.parse().unwrap(), 0))
                .collect())
        }
    }

    #[tokio::test]
    async fn a_name_that_changes_its_address_gains_nothing() {
        let answers = vec![
            "1.1.1.1",
            "127.0.0.1",
            "10.0.0.1 1.1.1.1",
            "169.254.169.254",
            "",
        ];
        let trusted = ["trusted.example".parse().unwrap()];
        let guard = |answers: Vec<&'static str>| {
            Guard::new(&trusted, Arc::new(Rebinding(Mutex::new(answers))))
        };
        let check = async |guard: &Guard, name: &str, expected: Option<&str>| {
            let found = guard.resolve(name.parse().unwrap()).await;
            let found = found.ok().map(|found| {
                let found: Vec<_> = found.map(|address| address.ip().to_string()).collect();
                found.join(" ")
            });
            assert_eq!(found.as_deref(), expected, "{name}");
        };
        let stranger = guard(answers.clone());
        for expected in [Some("1.1.1.1"), None, Some("1.1.1.1"), None, Some("")] {
            check(&stranger, "stranger.example", expected).await;
        }
        let known = guard(answers);
        let all = "10.0.0.1 1.1.1.1";
        for expected in [
            Some("1.1.1.1"),
            Some("127.0.0.1"),
            Some(all),
            None,
            Some(""),
        ] {
            check(&known, "trusted.example", expected).await;
        }
    }
}
