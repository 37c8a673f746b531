//! The PROXY protocol: a header is found at the same place however it arrives, and what stands
//! behind it changes nothing.
//!
//! Input: the first bytes of a connection.

use hookgate::ingress::proxy_protocol::{HEADER_BYTES_MAX, parse};

pub fn check(data: &[u8]) {
    let whole = parse(data);
    let decided = (0..=data.len()).find_map(|length| match parse(&data[..length]) {
        Ok(None) => None,
        told => Some((length, told)),
    });
    let Some((length, told)) = decided else {
        assert_eq!(whole, Ok(None));
        assert!(data.len() < HEADER_BYTES_MAX, "it waits without end");
        return;
    };
    assert_eq!(whole, told, "what came later changed it");
    if let Ok(Some(announced)) = told {
        assert_eq!(announced.header_bytes, length);
        assert!(length <= HEADER_BYTES_MAX);
        let canonical = announced.client.map(|ip| ip.to_canonical());
        assert_eq!(announced.client, canonical, "two ways to write one address");
    }
}
