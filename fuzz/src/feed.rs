//! Lists of feeds: whatever is published, no list lets everybody in, and a good list means its entries
//! and nothing else.
//!
//! Input: JSON pointers, one a line, and behind an empty line the body. Without pointers it is lines.

use std::net::IpAddr;

use hookgate::feed::list::List;
use hookgate::feed::pointer::Pointer;

use super::split_once;

/// One address of each sixteenth of version 4.
const PROBES: u8 = 16;

pub fn check(data: &[u8]) {
    let (head, body) = split_once(data, b"\n\n").unwrap_or((b"", data));
    let Ok(head) = std::str::from_utf8(head) else {
        return;
    };
    let lines = head.lines().filter(|line| !line.is_empty());
    let pointers: Result<Vec<Pointer>, _> = lines.map(str::parse).collect();
    let Ok(pointers) = pointers else { return };
    for pointer in &pointers {
        let again: Pointer = pointer.to_string().parse().expect("it was read before");
        assert_eq!(&again, pointer);
    }
    let Ok(list) = List::read(body, &pointers) else {
        return;
    };
    assert!(!list.is_empty());
    for net in list.entries() {
        assert!(net.prefix_len() >= if net.addr().is_ipv4() { 7 } else { 16 });
        for ip in [net.network(), net.broadcast()] {
            assert!(list.ranges().contains(ip), "{ip} of {net}");
        }
    }
    let texts: Vec<String> = list.entries().map(ToString::to_string).collect();
    let again = List::new(texts.iter().map(String::as_str)).expect("what it says is a list");
    assert_eq!(again, list);
    for ip in (0..PROBES).map(|n| IpAddr::from([n * 16, 1, 2, 3])) {
        let expected = list.entries().any(|net| net.contains(&ip));
        assert_eq!(list.ranges().contains(ip), expected, "{ip}");
    }
    assert!(list.ranges().addresses_v4() <= 1 << 29);
}
