//! Whether a chunked body is written as RFC 9112, 7.1 says, byte by byte as it comes.
//!
//! The reader underneath is more generous: to it, a size may be missing (and is zero), an extension
//! may hold a bare LF, and a trailer anything. Whoever stands between the sender and us may see
//! another end of the body there.

use super::head::is_plain;

/// The longest line of a size with its extensions, and all trailers together.
const LINES_BYTES_MAX: usize = 8 * 1024;
/// Sixteen hexadecimal digits would overflow the number; no body needs as many.
const SIZE_DIGITS_MAX: u32 = 15;

/// The bytes cannot belong to a chunked body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadChunk;

/// Where in a chunked body the next byte stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Size { digits: u32 },
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    TrailerStart,
    TrailerName,
    TrailerValue,
    TrailerLf,
    EndLf,
    Done,
}

/// Watches the bytes of one chunked body.
#[derive(Debug)]
pub struct ChunkWatch {
    place: Place,
    left: u64,
    line_bytes: usize,
}

impl Default for ChunkWatch {
    fn default() -> Self {
        Self {
            place: Place::Size { digits: 0 },
            left: 0,
            line_bytes: 0,
        }
    }
}

impl ChunkWatch {
    /// Looks at the next bytes. What stands behind the end of the body is not looked at.
    ///
    /// # Errors
    /// [`BadChunk`] at the first byte that is out of place.
    pub fn see(&mut self, mut bytes: &[u8]) -> Result<(), BadChunk> {
        while let Some((&byte, rest)) = bytes.split_first() {
            if self.place == Place::Done {
                return Ok(());
            }
            if self.place == Place::Data {
                let here = usize::try_from(self.left)
                    .unwrap_or(usize::MAX)
                    .min(bytes.len());
                self.left -= here as u64;
                bytes = bytes.get(here..).unwrap_or_default();
                if self.left == 0 {
                    self.place = Place::DataCr;
                }
                continue;
            }
            self.line_bytes += 1;
            if self.line_bytes > LINES_BYTES_MAX {
                return Err(BadChunk);
            }
            self.place = self.step(byte)?;
            bytes = rest;
        }
        Ok(())
    }

    fn step(&mut self, byte: u8) -> Result<Place, BadChunk> {
        let place = match (self.place, byte) {
            (Place::Size { digits }, _) if byte.is_ascii_hexdigit() => self.digit(byte, digits)?,
            (Place::Size { digits: 1.. }, b'\r') | (Place::Extension, b'\r') => Place::SizeLf,
            (Place::Size { digits: 1.. }, b';') => Place::Extension,
            (Place::Extension, _) if is_text(byte) => Place::Extension,
            (Place::SizeLf, b'\n') if self.left == 0 => Place::TrailerStart,
            (Place::SizeLf, b'\n') => {
                self.line_bytes = 0;
                Place::Data
            }
            (Place::DataCr, b'\r') => Place::DataLf,
            (Place::DataLf, b'\n') => Place::Size { digits: 0 },
            (Place::TrailerStart, b'\r') => Place::EndLf,
            (Place::TrailerStart | Place::TrailerName, _) if is_token(byte) => Place::TrailerName,
            (Place::TrailerName, b':') => Place::TrailerValue,
            (Place::TrailerValue, b'\r') => Place::TrailerLf,
            (Place::TrailerValue, _) if is_text(byte) => Place::TrailerValue,
            (Place::TrailerLf, b'\n') => Place::TrailerStart,
            (Place::EndLf, b'\n') => Place::Done,
            _ => return Err(BadChunk),
        };
        Ok(place)
    }

    fn digit(&mut self, byte: u8, digits: u32) -> Result<Place, BadChunk> {
        let value = char::from(byte).to_digit(16).ok_or(BadChunk)?;
        if digits >= SIZE_DIGITS_MAX {
            return Err(BadChunk);
        }
        self.left = self.left * 16 + u64::from(value);
        Ok(Place::Size { digits: digits + 1 })
    }
}

fn is_text(byte: u8) -> bool {
    byte == b'\t' || is_plain(byte)
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(body: &str, expected: Result<(), BadChunk>) {
        let watched = ChunkWatch::default().see(body.as_bytes());
        assert_eq!(watched, expected, "{body:?} at once");
        let mut watch = ChunkWatch::default();
        let watched = body
            .as_bytes()
            .chunks(1)
            .try_for_each(|byte| watch.see(byte));
        assert_eq!(watched, expected, "{body:?} byte by byte");
        if expected.is_ok() {
            assert_eq!(watch.place, Place::Done, "{body:?}");
        }
    }

    #[test]
    fn a_body_as_the_rfc_writes_it_passes() {
        check("0\r\n\r\n", Ok(()));
        check("5\r\nhello\r\n0\r\n\r\n", Ok(()));
        check("00A\r\n0123456789\r\n1\r\n\r\r\n000\r\n\r\n", Ok(()));
        check("5;a=b;c=\"d e\"\r\nhello\r\n0;x\r\n\r\n", Ok(()));
        check("0\r\nA: b\r\nC:\td\r\nE:\r\n\r\n", Ok(()));
        // The next request is not the body's business.
        check("0\r\n\r\nGET / HTTP/1.1\n\n", Ok(()));
    }

    #[test]
    fn a_body_that_could_end_elsewhere_does_not() {
        for body in [
            "\r\n\r\n",
            ";a\r\n\r\n",
            " 0\r\n\r\n",
            "0 \r\n\r\n",
            "+1\r\na\r\n0\r\n\r\n",
            "0x1\r\na\r\n0\r\n\r\n",
            "1\na\r\n0\r\n\r\n",
            "1\ra\r\n0\r\n\r\n",
            "1;a\nb\r\na\r\n0\r\n\r\n",
            "1;\0\r\na\r\n0\r\n\r\n",
            "1\r\nab\r\n0\r\n\r\n",
            "1\r\na\n0\r\n\r\n",
            "1\r\na0\r\n\r\n",
            "0\r\n\n",
            "0\n\r\n",
            "0\r\nA b\r\n\r\n",
            "0\r\n: b\r\n\r\n",
            "0\r\n folded\r\n\r\n",
            "0\r\nA: b\n\r\n",
            "0\r\nA: b\rc\r\n\r\n",
            "0\r\nA: \0\r\n\r\n",
            "1000000000000000\r\n",
        ] {
            check(body, Err(BadChunk));
        }
        check(&format!("0;{}\r\n\r\n", "x".repeat(9000)), Err(BadChunk));
        check(
            &format!("0\r\n{}\r\n", "A: b\r\n".repeat(2000)),
            Err(BadChunk),
        );
    }
}
