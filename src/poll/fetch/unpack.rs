//! Unpacks bodies piece by piece, and stops at a limit: what a body becomes is not known from its
//! length.

use std::io::{self, Write};

use bytes::Bytes;
use flate2::write::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use http::HeaderMap;
use http::header::CONTENT_ENCODING;

/// What is asked for, in the words of `Accept-Encoding`.
pub(super) const ACCEPTED: &str = "gzip, deflate";

/// How a body is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Coding {
    Identity,
    Gzip,
    Deflate,
}

impl Coding {
    /// What the headers of an answer say; `None` = something that was not asked for.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let mut coding = Self::Identity;
        for value in headers.get_all(CONTENT_ENCODING) {
            for word in value.to_str().ok()?.split(',') {
                let next = match word.trim().to_ascii_lowercase().as_str() {
                    "" | "identity" => continue,
                    "gzip" | "x-gzip" => Self::Gzip,
                    "deflate" => Self::Deflate,
                    _ => return None,
                };
                if coding != Self::Identity {
                    return None;
                }
                coding = next;
            }
        }
        Some(coding)
    }
}

/// Why a body cannot be unpacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum UnpackError {
    /// It becomes more than the limit.
    TooLarge,
    /// It is not packed the way it says, or it ends too early.
    Garbled,
}

impl From<io::Error> for UnpackError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::FileTooLarge => Self::TooLarge,
            _ => Self::Garbled,
        }
    }
}

/// Unpacks one body.
pub(super) struct Unpacker(State);

enum State {
    /// Nothing has come yet.
    Unbegun(Coding, Capped),
    Plain(Capped),
    Gzip(MultiGzDecoder<Capped>),
    Zlib(ZlibDecoder<Capped>),
    Raw(DeflateDecoder<Capped>),
}

impl Unpacker {
    /// Unpacks to `bytes_max` bytes at most.
    pub(super) fn new(coding: Coding, bytes_max: usize) -> Self {
        let capped = Capped {
            bytes: Vec::new(),
            bytes_max,
        };
        Self(State::Unbegun(coding, capped))
    }

    /// Takes the next piece.
    pub(super) fn push(mut self, piece: &[u8]) -> Result<Self, UnpackError> {
        let Some(&first) = piece.first() else {
            return Ok(self);
        };
        self.0 = match self.0 {
            State::Unbegun(coding, capped) => State::begin(coding, first, capped),
            begun => begun,
        };
        match &mut self.0 {
            State::Plain(out) | State::Unbegun(_, out) => out.write_all(piece),
            State::Gzip(out) => out.write_all(piece),
            State::Zlib(out) => out.write_all(piece),
            State::Raw(out) => out.write_all(piece),
        }?;
        Ok(self)
    }

    /// The whole of it. A packed body of no bytes is empty.
    pub(super) fn finish(self) -> Result<Bytes, UnpackError> {
        let out = match self.0 {
            State::Plain(out) | State::Unbegun(_, out) => out,
            State::Gzip(packed) => packed.finish()?,
            State::Zlib(packed) => packed.finish()?,
            State::Raw(packed) => packed.finish()?,
        };
        Ok(out.bytes.into())
    }
}

impl State {
    fn begin(coding: Coding, first: u8, capped: Capped) -> Self {
        match coding {
            Coding::Identity => Self::Plain(capped),
            Coding::Gzip => Self::Gzip(MultiGzDecoder::new(capped)),
            // RFC 9110 means the zlib format, whose first byte ends in 8. Some servers leave its
            // frame out; what they send never begins like that.
            Coding::Deflate if first & 0x0f == 8 => Self::Zlib(ZlibDecoder::new(capped)),
            Coding::Deflate => Self::Raw(DeflateDecoder::new(capped)),
        }
    }
}

/// Bytes that do not become too many.
struct Capped {
    bytes: Vec<u8>,
    bytes_max: usize,
}

impl Write for Capped {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        if piece.len() > self.bytes_max.saturating_sub(self.bytes.len()) {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(piece);
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
    use http::HeaderValue;

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn zlib(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn raw(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn unpack(
        coding: Coding,
        packed: &[u8],
        pieces: usize,
        max: usize,
    ) -> Result<Bytes, UnpackError> {
        let mut unpacker = Unpacker::new(coding, max);
        for piece in packed.chunks(pieces) {
            unpacker = unpacker.push(piece)?;
        }
        unpacker.finish()
    }

    #[test]
    fn a_body_comes_out_as_it_went_in_whatever_its_pieces() {
        let body: Vec<u8> = (0..50_000u32).flat_map(|n| (n * n).to_le_bytes()).collect();
        for pieces in [1, 2, 7, 4096, usize::MAX] {
            let check = |coding, packed: &[u8]| {
                let found = unpack(coding, packed, pieces, body.len());
                assert!(
                    found.is_ok_and(|found| found == body),
                    "{coding:?} {pieces}"
                );
            };
            check(Coding::Identity, &body);
            check(Coding::Gzip, &gzip(&body));
            check(Coding::Deflate, &zlib(&body));
            check(Coding::Deflate, &raw(&body));
            let (one, two) = body.split_at(1000);
            check(Coding::Gzip, &[gzip(one), gzip(two)].concat());
        }
    }

    #[test]
    fn a_body_that_is_not_what_it_says_is_garbled() {
        let check = |coding, packed: &[u8], expected: Result<&[u8], UnpackError>| {
            let found = unpack(coding, packed, 16, 1000);
            assert_eq!(found.as_deref(), expected.as_deref(), "{packed:x?}");
        };
        let whole = gzip(b"hello hello hello");
        check(
            Coding::Gzip,
            &whole[..whole.len() - 1],
            Err(UnpackError::Garbled),
        );
        check(Coding::Gzip, &whole[..5], Err(UnpackError::Garbled));
        check(Coding::Gzip, b"plain", Err(UnpackError::Garbled));
        check(
            Coding::Deflate,
            &zlib(b"hello")[..6],
            Err(UnpackError::Garbled),
        );
        check(Coding::Deflate, b"\xff\xff", Err(UnpackError::Garbled));
        let mut flipped = whole.clone();
        let crc = flipped.len() - 8;
        flipped[crc] ^= 1;
        check(Coding::Gzip, &flipped, Err(UnpackError::Garbled));
        check(Coding::Gzip, b"", Ok(b""));
        check(Coding::Deflate, b"", Ok(b""));
    }

    #[test]
    fn nothing_becomes_more_than_its_limit() {
        let zeros = vec![0; 10 * 1024 * 1024];
        let max = 1024 * 1024;
        for (coding, packed) in [
            (Coding::Gzip, gzip(&zeros)),
            (Coding::Deflate, zlib(&zeros)),
            (Coding::Deflate, raw(&zeros)),
            (Coding::Identity, zeros.clone()),
        ] {
            let found = unpack(coding, &packed, usize::MAX, max);
            assert_eq!(found, Err(UnpackError::TooLarge), "{coding:?}");
        }
        assert!(unpack(Coding::Gzip, &gzip(&zeros[..max]), 100, max).is_ok());
        assert!(unpack(Coding::Gzip, &gzip(&zeros[..max + 1]), 100, max).is_err());
    }

    #[test]
    fn only_what_was_asked_for_is_unpacked() {
        let check = |values: &[&'static str], expected: Option<Coding>| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(CONTENT_ENCODING, HeaderValue::from_static(value));
            }
            assert_eq!(Coding::of(&headers), expected, "{values:?}");
        };
        check(&[], Some(Coding::Identity));
        check(&["identity"], Some(Coding::Identity));
        check(&["GZIP"], Some(Coding::Gzip));
        check(&["x-gzip"], Some(Coding::Gzip));
        check(&["deflate, identity"], Some(Coding::Deflate));
        check(&["br"], None);
        check(&["gzip, gzip"], None);
        check(&["gzip", "deflate"], None);
    }
}
