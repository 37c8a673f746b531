//! Address ranges that a feed brings: a set that is searched by halves, and the one in use.
//!
//! A set never changes; a new one takes its place behind one pointer, so that a request waits for
//! nobody. Where sets come from is no business of this file.

use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use ipnet::IpNet;

/// A set of addresses, in ranges that do not overlap.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ranges {
    /// First and last address of each, in order.
    v4: Vec<(u32, u32)>,
    v6: Vec<(u128, u128)>,
}

impl Ranges {
    /// Puts ranges together, in any order; those that overlap become one.
    pub fn new(nets: impl IntoIterator<Item = IpNet>) -> Self {
        let mut ranges = Self::default();
        for net in nets {
            match net {
                IpNet::V4(net) => ranges
                    .v4
                    .push((net.network().to_bits(), net.broadcast().to_bits())),
                IpNet::V6(net) => ranges
                    .v6
                    .push((net.network().to_bits(), net.broadcast().to_bits())),
            }
        }
        merge(&mut ranges.v4);
        merge(&mut ranges.v6);
        ranges
    }

    /// Whether an address is in one of them.
    pub fn contains(&self, ip: IpAddr) -> bool {
        match ip {
            IpAddr::V4(ip) => is_within(&self.v4, ip.to_bits()),
            IpAddr::V6(ip) => is_within(&self.v6, ip.to_bits()),
        }
    }

    /// How many addresses of version 4 there are in all of them.
    pub fn addresses_v4(&self) -> u64 {
        let count = |(first, last): &(u32, u32)| u64::from(last - first) + 1;
        self.v4.iter().map(count).sum()
    }

    /// How many networks /64 of version 6 there are in all of them, each begun one counted.
    pub fn networks_v6(&self) -> u128 {
        let count = |(first, last): &(u128, u128)| (last >> 64) - (first >> 64) + 1;
        self.v6.iter().map(count).sum()
    }
}

/// Sorts ranges, and makes one of those that overlap.
fn merge<T: Ord + Copy>(ranges: &mut Vec<(T, T)>) {
    ranges.sort_unstable();
    ranges.dedup_by(|next, kept| {
        let overlaps = next.0 <= kept.1;
        if overlaps {
            kept.1 = kept.1.max(next.1);
        }
        overlaps
    });
}

fn is_within<T: Ord>(ranges: &[(T, T)], address: T) -> bool {
    let behind = ranges.partition_point(|(first, _)| *first <= address);
    behind
        .checked_sub(1)
        .and_then(|index| ranges.get(index))
        .is_some_and(|(_, last)| address <= *last)
}

/// What a feed's ranges mean while there are none yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnMissing {
    /// No address is in them.
    #[default]
    Refuse,
    /// Every address is in them.
    Allow,
}

/// The ranges of a feed that are in use: the last good ones.
#[derive(Debug, Default)]
pub struct FeedRanges {
    on_missing: OnMissing,
    current: ArcSwapOption<Ranges>,
}

impl FeedRanges {
    /// None yet.
    pub fn new(on_missing: OnMissing) -> Self {
        Self {
            on_missing,
            current: ArcSwapOption::empty(),
        }
    }

    /// What they mean while there are none.
    pub fn on_missing(&self) -> OnMissing {
        self.on_missing
    }

    /// Whether an address is in them. Waits for nobody.
    pub fn contains(&self, ip: IpAddr) -> bool {
        match &*self.current.load() {
            Some(ranges) => ranges.contains(ip),
            None => self.on_missing == OnMissing::Allow,
        }
    }

    /// Puts others in their place.
    pub fn replace(&self, ranges: Arc<Ranges>) {
        self.current.store(Some(ranges));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranges(texts: &[&str]) -> Ranges {
        Ranges::new(texts.iter().map(|text| text.parse().unwrap()))
    }

    fn contains(ranges: &Ranges, ip: &str) -> bool {
        ranges.contains(ip.parse().unwrap())
    }

    #[test]
    fn an_address_is_found_from_the_first_of_a_range_to_the_last() {
        let some = ranges(&["192.0.2.0/24", "10.0.0.0/8", "10.1.0.0/16", "2001:db8::/32"]);
        let check = |ip: &str, expected: bool| assert_eq!(contains(&some, ip), expected, "{ip}");
        check("9.255.255.255", false);
        check("10.0.0.0", true);
        check("10.1.2.3", true);
        check("10.255.255.255", true);
        check("11.0.0.0", false);
        check("192.0.1.255", false);
        check("192.0.2.255", true);
        check("192.0.3.0", false);
        check("2001:db8::", true);
        check("2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", true);
        check("2001:db9::", false);
        check("::", false);
        assert!(!contains(&Ranges::default(), "10.0.0.0"));
    }

    #[test]
    fn what_overlaps_is_counted_once() {
        let some = ranges(&["10.0.0.0/8", "10.1.0.0/16", "10.0.0.0/8", "192.0.2.7/32"]);
        assert_eq!(some.addresses_v4(), (1 << 24) + 1);
        let some = ranges(&["2001:db8::/63", "2001:db8::/64", "2001:db9::1/128"]);
        assert_eq!(some.networks_v6(), 3);
        assert_eq!(ranges(&["::/0"]).networks_v6(), 1 << 64);
    }

    #[test]
    fn the_search_finds_what_looking_at_all_of_them_finds() {
        let mut chance = fastrand::Rng::with_seed(7);
        for _ in 0..200 {
            let count = chance.usize(0..20);
            let nets: Vec<IpNet> = (0..count)
                .map(|_| {
                    let ip = std::net::Ipv4Addr::from_bits(chance.u32(0..4096));
                    IpNet::new(ip.into(), chance.u8(20..=32)).unwrap().trunc()
                })
                .collect();
            let some = Ranges::new(nets.iter().copied());
            for bits in 0..4200 {
                let ip = IpAddr::V4(std::net::Ipv4Addr::from_bits(bits));
                let expected = nets.iter().any(|net| net.contains(&ip));
                assert_eq!(some.contains(ip), expected, "{ip} {nets:?}");
            }
        }
    }

    #[test]
    fn until_there_are_ranges_the_file_decides() {
        let ip = "192.0.2.7".parse().unwrap();
        let wary = FeedRanges::new(OnMissing::Refuse);
        let open = FeedRanges::new(OnMissing::Allow);
        assert_eq!((wary.contains(ip), open.contains(ip)), (false, true));
        for feed in [&wary, &open] {
            feed.replace(Arc::new(ranges(&["10.0.0.0/8"])));
            assert!(!feed.contains(ip));
            feed.replace(Arc::new(ranges(&["192.0.2.0/24"])));
            assert!(feed.contains(ip));
        }
    }
}
