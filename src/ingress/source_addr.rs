//! Who sent a request, and whether that address may.
//!
//! `X-Forwarded-For` is written by whoever sends: only what a trusted proxy appended counts, so it
//! is read from the right, and reading stops at the first hop that is not trusted.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ipnet::IpNet;

use super::ranges::FeedRanges;
use super::refusal::Refusal;
use crate::event::{ClientAddr, Headers};

/// The most hops that are looked through.
const HOPS_MAX: usize = 32;

/// The proxies that may say whom they speak for.
#[derive(Debug, Clone, Default)]
pub struct TrustedProxies {
    /// Their addresses.
    pub ranges: Vec<IpNet>,
    /// Whether whoever connects through a unix socket is one.
    pub unix: bool,
}

impl TrustedProxies {
    /// Whether this peer may speak for others.
    pub fn trusts(&self, peer: ClientAddr) -> bool {
        match peer {
            ClientAddr::Ip(ip) => self.ranges.iter().any(|range| range.contains(&ip)),
            ClientAddr::Unix => self.unix,
        }
    }

    /// The client behind the trusted proxies: the rightmost address that is not one of them.
    pub fn client(&self, peer: ClientAddr, headers: &Headers) -> ClientAddr {
        if !self.trusts(peer) {
            return peer;
        }
        let lines: Vec<_> = headers.all("x-forwarded-for").collect();
        let hops = lines
            .iter()
            .rev()
            .flat_map(|line| line.rsplit(|&byte| byte == b','));
        let mut client = peer;
        for hop in hops.take(HOPS_MAX) {
            // A hop that is no address ends the chain: what stands left of it is hearsay.
            let Some(ip) = parse_hop(hop) else { break };
            client = ClientAddr::Ip(ip);
            if !self.trusts(client) {
                break;
            }
        }
        client
    }
}

/// An address as proxies write it: bare, with a port, or in brackets.
fn parse_hop(hop: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(hop).ok()?.trim();
    let bare = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(text);
    bare.parse()
        .ok()
        .or_else(|| text.parse::<SocketAddr>().ok().map(|addr| addr.ip()))
        .map(|ip: IpAddr| ip.to_canonical())
}

/// Which addresses a route accepts.
#[derive(Debug, Clone, Default)]
pub struct AddressRule {
    /// If there are any, or feeds, the only ranges that may send.
    pub allow: Vec<IpNet>,
    /// Ranges that others publish, which may send, too.
    pub feeds: Vec<Arc<FeedRanges>>,
    /// Ranges that may not send, whatever `allow` says.
    pub deny: Vec<IpNet>,
}

impl AddressRule {
    /// Whether this client may send.
    ///
    /// # Errors
    /// [`Refusal::AddressDenied`], or [`Refusal::AddressUnknown`] when there is a rule and the
    /// client has no address to hold against it.
    pub fn check(&self, client: ClientAddr) -> Result<(), Refusal> {
        let is_open = self.allow.is_empty() && self.feeds.is_empty();
        if is_open && self.deny.is_empty() {
            return Ok(());
        }
        let ip = client.ip().ok_or(Refusal::AddressUnknown)?;
        let within = |ranges: &[IpNet]| ranges.iter().any(|range| range.contains(&ip));
        let may = || {
            let in_a_feed = || self.feeds.iter().any(|feed| feed.contains(ip));
            is_open || within(&self.allow) || in_a_feed()
        };
        if within(&self.deny) || !may() {
            return Err(Refusal::AddressDenied);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingress::ranges::Ranges;

    fn ip(text: &str) -> ClientAddr {
        ClientAddr::Ip(text.parse().unwrap())
    }

    fn ranges(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn only_hops_that_trusted_proxies_wrote_count() {
        let proxies = TrustedProxies {
            ranges: ranges(&["10.0.0.0/8", "fd00::/8"]),
            unix: false,
        };
        let check = |peer: &str, lines: &[&str], client: &str| {
            let mut headers = Headers::default();
            for line in lines {
                headers.push("X-Forwarded-For", (*line).to_owned());
            }
            assert_eq!(
                proxies.client(ip(peer), &headers),
                ip(client),
                "{peer} {lines:?}"
            );
        };
        check("1.2.3.4", &[], "1.2.3.4");
        check("1.2.3.4", &["9.9.9.9"], "1.2.3.4");
        check("10.0.0.1", &["9.9.9.9"], "9.9.9.9");
        check("10.0.0.1", &["6.6.6.6, 9.9.9.9"], "9.9.9.9");
        check("10.0.0.1", &["6.6.6.6, 9.9.9.9, 10.0.0.2"], "9.9.9.9");
        check("10.0.0.1", &["6.6.6.6", "9.9.9.9,10.0.0.2"], "9.9.9.9");
        check("10.0.0.1", &["10.0.0.3"], "10.0.0.3");
        check("10.0.0.1", &["6.6.6.6, nonsense, 10.0.0.2"], "10.0.0.2");
        check("10.0.0.1", &[""], "10.0.0.1");
        check("10.0.0.1", &["9.9.9.9:1234"], "9.9.9.9");
        check("10.0.0.1", &["[2001:db8::1]:1234"], "2001:db8::1");
        check("fd00::1", &["::ffff:9.9.9.9"], "9.9.9.9");
    }

    #[test]
    fn a_unix_socket_is_trusted_only_when_the_file_says_so() {
        let mut headers = Headers::default();
        headers.push("X-Forwarded-For", "9.9.9.9");
        let mut proxies = TrustedProxies::default();
        assert_eq!(proxies.client(ClientAddr::Unix, &headers), ClientAddr::Unix);
        proxies.unix = true;
        assert_eq!(proxies.client(ClientAddr::Unix, &headers), ip("9.9.9.9"));
    }

    #[test]
    fn deny_wins_and_a_rule_needs_an_address() {
        let check =
            |allow: &[&str], deny: &[&str], client: ClientAddr, expected: Result<(), Refusal>| {
                let rule = AddressRule {
                    allow: ranges(allow),
                    deny: ranges(deny),
                    ..AddressRule::default()
                };
                assert_eq!(rule.check(client), expected);
            };
        check(&[], &[], ip("1.1.1.1"), Ok(()));
        check(&[], &[], ClientAddr::Unix, Ok(()));
        check(&["1.0.0.0/8"], &[], ip("1.1.1.1"), Ok(()));
        check(
            &["1.0.0.0/8"],
            &[],
            ip("2.1.1.1"),
            Err(Refusal::AddressDenied),
        );
        check(
            &["1.0.0.0/8"],
            &["1.1.0.0/16"],
            ip("1.1.1.1"),
            Err(Refusal::AddressDenied),
        );
        check(&[], &["1.1.0.0/16"], ip("1.2.1.1"), Ok(()));
        check(&["1.0.0.0/8"], &[], ip("::1"), Err(Refusal::AddressDenied));
        check(
            &["1.0.0.0/8"],
            &[],
            ClientAddr::Unix,
            Err(Refusal::AddressUnknown),
        );
    }
    #[test]
    fn a_feed_lets_its_own_addresses_in_and_no_others() {
        let feed = Arc::new(FeedRanges::default());
        let rule = AddressRule {
            allow: ranges(&["10.0.0.0/8"]),
            feeds: vec![feed.clone()],
            deny: ranges(&["192.0.2.66/32"]),
        };
        let alone = AddressRule {
            feeds: vec![feed.clone()],
            ..AddressRule::default()
        };
        let denied = Err(Refusal::AddressDenied);
        assert_eq!(rule.check(ip("10.0.0.1")), Ok(()));
        assert_eq!(rule.check(ip("192.0.2.1")), denied);
        assert_eq!(alone.check(ip("192.0.2.1")), denied);
        assert_eq!(alone.check(ClientAddr::Unix), Err(Refusal::AddressUnknown));
        feed.replace(Arc::new(Ranges::new(ranges(&["192.0.2.0/24"]))));
        assert_eq!(rule.check(ip("192.0.2.1")), Ok(()));
        assert_eq!(alone.check(ip("192.0.2.1")), Ok(()));
        assert_eq!(rule.check(ip("192.0.2.66")), denied);
        assert_eq!(alone.check(ip("10.0.0.1")), denied);
    }
}
