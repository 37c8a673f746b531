//! `X-Forwarded-For`: whatever a client writes there, it never chooses the address it is taken for.
//!
//! Input: the lines that the client sent.

use bytes::Bytes;
use hookgate::event::{ClientAddr, Headers};
use hookgate::ingress::source_addr::TrustedProxies;

const PROXY: &str = "10.0.0.1";
const SECOND_PROXY: &str = "fd00::2";
const CLIENT: &str = "203.0.113.7";

pub fn check(data: &[u8]) {
    let proxies = TrustedProxies {
        ranges: ["10.0.0.0/8", "fd00::/8"]
            .map(|range| range.parse().unwrap())
            .to_vec(),
        unix: true,
    };
    let lines: Vec<&[u8]> = data.split(|&byte| byte == b'\n').collect();
    let client = |peer: ClientAddr, lines: &[Vec<u8>]| {
        let mut headers = Headers::default();
        for line in lines {
            headers.push("X-Forwarded-For", Bytes::copy_from_slice(line));
        }
        proxies.client(peer, &headers)
    };
    let sent: Vec<Vec<u8>> = lines.iter().map(|line| line.to_vec()).collect();
    assert_eq!(client(ip(CLIENT), &sent), ip(CLIENT), "it spoke for itself");

    // Without a proxy that appends, the client's own words count; they must be words it wrote.
    for peer in [ip(PROXY), ClientAddr::Unix] {
        let taken_for = client(peer, &sent);
        let is_written = |line: &Vec<u8>| {
            line.split(|&byte| byte == b',')
                .any(|hop| reads_as(hop, taken_for))
        };
        assert!(taken_for == peer || sent.iter().any(is_written));
    }

    // A proxy appends to the last line, or writes one of its own.
    let appended = |hop: &str| {
        let mut lines = sent.clone();
        let last = lines.last_mut().unwrap();
        last.extend(format!(", {hop}").bytes());
        lines
    };
    let own = |hop: &str| [&sent[..], &[hop.as_bytes().to_vec()]].concat();
    for peer in [ip(PROXY), ip(SECOND_PROXY), ClientAddr::Unix] {
        for hops in [
            CLIENT.to_owned(),
            format!("{CLIENT}, {SECOND_PROXY}, {PROXY}"),
        ] {
            assert_eq!(client(peer, &appended(&hops)), ip(CLIENT));
            assert_eq!(client(peer, &own(&hops)), ip(CLIENT));
        }
    }
}

fn ip(text: &str) -> ClientAddr {
    ClientAddr::Ip(text.parse().unwrap())
}

/// Whether a hop can be read as this address, by a parser that is more lenient than the gateway's.
fn reads_as(hop: &[u8], client: ClientAddr) -> bool {
    let text = String::from_utf8_lossy(hop);
    let bare = text.trim().trim_start_matches('[');
    let ends = bare.match_indices([']', ':']).map(|(at, _)| at);
    ends.chain([bare.len()])
        .filter_map(|end| bare[..end].parse::<std::net::IpAddr>().ok())
        .any(|ip| Some(ip.to_canonical()) == client.ip())
}
