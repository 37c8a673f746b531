//! The PROXY protocol: a header is found as soon as it is whole and not before, wherever the network
//! cuts it, and it never reaches past itself.

use hookgate::ingress::proxy_protocol::{HEADER_BYTES_MAX, parse};

pub fn check(data: &[u8]) {
    let data = &data[..data.len().min(HEADER_BYTES_MAX)];
    let mut found = None;
    for length in 0..=data.len() {
        match parse(&data[..length]) {
            Ok(None) => assert!(found.is_none(), "a whole header became half of one"),
            Ok(Some(announced)) => {
                assert!(announced.header_bytes <= length);
                let first = *found.get_or_insert(announced);
                assert_eq!(first, announced, "what follows a header changed it");
            }
            Err(_) => {
                assert!(found.is_none(), "what follows a header spoiled it");
                assert!(parse(data).is_err(), "more bytes made a header of none");
                return;
            }
        }
    }
}
