//! Whom a proxy speaks for, in its own words before the first byte of HTTP: PROXY protocol v1, v2.
//!
//! Decides what a header says, not who may say it.

use std::net::IpAddr;

use ppp::{PartialResult, v1, v2};

/// The longest header that is read. The protocol allows 64 KiB of extensions, which nobody sends.
pub const HEADER_BYTES_MAX: usize = 4096;

/// How a header of version 1 begins.
const V1_PREFIX: &[u8] = b"PROXY ";
/// The longest header of version 1 (section 2.1 of the protocol).
const V1_BYTES_MAX: usize = 107;

/// What a complete header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Announced {
    /// The client; `None` when the proxy speaks for itself or does not know.
    pub client: Option<IpAddr>,
    /// How long the header is.
    pub header_bytes: usize,
}

/// The bytes are no header, and no more bytes will make them one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoHeader;

/// Reads a header; `Ok(None)` while it is not whole.
///
/// # Errors
/// [`NoHeader`].
pub fn parse(bytes: &[u8]) -> Result<Option<Announced>, NoHeader> {
    if begins(bytes, v2::PROTOCOL_PREFIX) {
        parse_v2(bytes)
    } else if begins(bytes, V1_PREFIX) {
        parse_v1(bytes)
    } else {
        Err(NoHeader)
    }
}

/// Whether the bytes begin as this prefix does, as far as they go.
fn begins(bytes: &[u8], prefix: &[u8]) -> bool {
    bytes
        .iter()
        .zip(prefix)
        .all(|(byte, wanted)| byte == wanted)
}

/// The parser gets whole lines only: it takes some halves for faults.
fn parse_v1(bytes: &[u8]) -> Result<Option<Announced>, NoHeader> {
    let line = bytes.split_inclusive(|&byte| byte == b'\n').next();
    let line = line.unwrap_or_default();
    if line.len() > V1_BYTES_MAX {
        return Err(NoHeader);
    }
    if !line.ends_with(b"\n") {
        return Ok(None);
    }
    let header = v1::Header::try_from(line).map_err(|_| NoHeader)?;
    Ok(Some(Announced {
        client: v1_client(header.addresses),
        header_bytes: line.len(),
    }))
}

fn parse_v2(bytes: &[u8]) -> Result<Option<Announced>, NoHeader> {
    let header = v2::Header::try_from(bytes);
    if header.is_incomplete() && bytes.len() < HEADER_BYTES_MAX {
        return Ok(None);
    }
    let header = header.map_err(|_| NoHeader)?;
    Ok(Some(Announced {
        client: v2_client(&header)?,
        header_bytes: header.len(),
    }))
}

fn v1_client(addresses: v1::Addresses) -> Option<IpAddr> {
    let client = match addresses {
        v1::Addresses::Tcp4(addresses) => IpAddr::V4(addresses.source_address),
        v1::Addresses::Tcp6(addresses) => IpAddr::V6(addresses.source_address),
        v1::Addresses::Unknown => return None,
    };
    Some(client.to_canonical())
}

fn v2_client(header: &v2::Header<'_>) -> Result<Option<IpAddr>, NoHeader> {
    if header.command == v2::Command::Local {
        return Ok(None);
    }
    if header.protocol == v2::Protocol::Datagram {
        return Err(NoHeader);
    }
    let client = match header.addresses {
        v2::Addresses::IPv4(addresses) => IpAddr::V4(addresses.source_address),
        v2::Addresses::IPv6(addresses) => IpAddr::V6(addresses.source_address),
        v2::Addresses::Unspecified | v2::Addresses::Unix(_) => return Ok(None),
    };
    Ok(Some(client.to_canonical()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v2(command: u8, family: u8, addresses: &[u8]) -> Vec<u8> {
        let mut bytes = v2::PROTOCOL_PREFIX.to_vec();
        bytes.extend([
            0x20 | command,
            family,
            0,
            u8::try_from(addresses.len()).unwrap(),
        ]);
        bytes.extend(addresses);
        bytes
    }

    #[test]
    fn a_header_names_the_client() {
        let check = |header: &[u8], client: Option<&str>| {
            let announced = Announced {
                client: client.map(|text| text.parse().unwrap()),
                header_bytes: header.len(),
            };
            for rest in ["", "GET / HTTP/1.1\r\n\r\n"] {
                let bytes = [header, rest.as_bytes()].concat();
                assert_eq!(parse(&bytes), Ok(Some(announced)), "{bytes:?}");
            }
            for length in 0..header.len() {
                assert_eq!(parse(&header[..length]), Ok(None), "{length} of {header:?}");
            }
        };
        check(b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n", Some("192.0.2.1"));
        check(
            b"PROXY TCP6 2001:db8::1 ::1 65535 443\r\n",
            Some("2001:db8::1"),
        );
        check(
            b"PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2\r\n",
            Some("192.0.2.1"),
        );
        check(b"PROXY UNKNOWN\r\n", None);
        check(b"PROXY UNKNOWN 192.0.2.1 192.0.2.2 1 2\r\n", None);
        let four = [192, 0, 2, 1, 192, 0, 2, 2, 0, 1, 0, 2];
        check(&v2(1, 0x11, &four), Some("192.0.2.1"));
        check(&v2(0, 0x11, &four), None);
        check(&v2(0, 0x00, &[]), None);
        let with_extension = [&four[..], &[4, 0, 1, 9]].concat();
        check(&v2(1, 0x11, &with_extension), Some("192.0.2.1"));
        let mut six = [0; 36];
        six[15] = 1;
        check(&v2(1, 0x21, &six), Some("::1"));
    }

    #[test]
    fn what_is_no_header_is_told_at_once() {
        let check = |bytes: &[u8]| assert_eq!(parse(bytes), Err(NoHeader), "{bytes:?}");
        check(b"GET / HTTP/1.1\r\n\r\n");
        check(b"PROXY TCP4 192.0.2.1\r\n");
        check(b"PROXY TCP4 192.0.2.256 192.0.2.2 1 2\r\n");
        check(b"PROXY TCP4 2001:db8::1 ::1 1 2\r\n");
        check(b"PROXY TCP4 192.0.2.1 192.0.2.2 1 65536\r\n");
        check(b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\n");
        check(b"PROXY UDP4 192.0.2.1 192.0.2.2 1 2\r\n");
        check(b"proxy TCP4 192.0.2.1 192.0.2.2 1 2\r\n");
        check(&[b"PROXY UNKNOWN ", &[b'x'; 107][..]].concat());
        check(&v2(1, 0x12, &[0; 12]));
        check(&v2(1, 0x11, &[0; 4]));
        check(&v2(7, 0x11, &[0; 12]));
        let endless = [v2::PROTOCOL_PREFIX, &[0x21, 0x11, 0xff, 0xff], &[0; 4092]].concat();
        check(&endless);
    }
}
