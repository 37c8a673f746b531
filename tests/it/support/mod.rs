//! What the integration tests stand on: a fake backend, raw clients for HTTP/1.1 and HTTP/2, and
//! the gateway as a child process.
//!
//! Everything lives on loopback and binds port 0. Every wait has a limit and ends in a panic that
//! says what was awaited. Nothing here decides what the gateway ought to do: tests claim that.

#![allow(
    dead_code,
    reason = "the support is kept whole even where no test needs a helper yet"
)]
#![allow(
    unreachable_pub,
    reason = "a test binary exports nothing; `pub` marks what the tests may use"
)]
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a broken assumption of a test must fail the test"
)]

pub mod backend;
pub mod bot_api;
pub mod bots;
pub mod client;
pub mod gateway;
pub mod github;
pub mod h2c;
pub mod operator;
pub mod provider;
pub mod sdk;
pub mod tls;
pub mod upstream;
pub mod vk;

use std::io;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt};

/// The longest head that is read, in bytes.
const HEAD_BYTES_MAX: usize = 1 << 20;
/// The longest body that is read, in bytes.
const BODY_BYTES_MAX: usize = 256 << 20;
/// The most headers in one head.
const HEADERS_MAX: usize = 512;

/// Header names and values in wire order, the names in wire case.
pub type Headers = Vec<(String, Vec<u8>)>;

/// Awaits `future` for at most `limit`.
///
/// # Panics
///
/// When the limit passes; the message names `what` was awaited.
pub async fn within<F: Future>(limit: Duration, what: &str, future: F) -> F::Output {
    let late = || format!("gave up after {limit:?} waiting for {what}");
    within_or(limit, future, late).await
}

/// Awaits `future` for at most `limit`, then panics with the message that `late` makes.
async fn within_or<F: Future>(
    limit: Duration,
    future: F,
    late: impl FnOnce() -> String,
) -> F::Output {
    tokio::time::timeout(limit, future)
        .await
        .unwrap_or_else(|_| panic!("{}", late()))
}

/// How a message says where its body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// By `Content-Length`.
    ContentLength,
    /// By `Transfer-Encoding: chunked`, also when a length is given beside it.
    Chunked,
    /// Not at all.
    None,
}

impl Framing {
    fn of(headers: &Headers) -> Self {
        let chunked = |value: &[u8]| value.to_ascii_lowercase().ends_with(b"chunked");
        if values(headers, "transfer-encoding").any(chunked) {
            Self::Chunked
        } else if values(headers, "content-length").next().is_some() {
            Self::ContentLength
        } else {
            Self::None
        }
    }
}

/// The values of every header called `name`, whatever its case.
fn values<'a>(headers: &'a Headers, name: &str) -> impl Iterator<Item = &'a [u8]> {
    headers
        .iter()
        .filter(move |(given, _)| given.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.as_slice())
}

/// The first header called `name` as text.
fn first_text<'a>(headers: &'a Headers, name: &str) -> Option<&'a str> {
    let value = values(headers, name).next()?;
    Some(str::from_utf8(value).unwrap_or_else(|_| panic!("header {name} is not UTF-8: {value:?}")))
}

fn owned(parsed: &[httparse::Header<'_>]) -> Headers {
    parsed
        .iter()
        .map(|header| (header.name.to_owned(), header.value.to_vec()))
        .collect()
}

/// An HTTP/1.1 byte stream read piece by piece; what was read too far stays for the next message.
struct Wire<R> {
    source: R,
    pending: BytesMut,
}

impl<R: AsyncRead + Unpin> Wire<R> {
    fn new(source: R) -> Self {
        Self {
            source,
            pending: BytesMut::new(),
        }
    }

    /// Reads a head with its closing blank line; `None` when the peer closed before its first byte.
    async fn head(&mut self) -> io::Result<Option<Vec<u8>>> {
        self.until(b"\r\n\r\n").await
    }

    /// Reads the body that `headers` declare; an undeclared body is empty.
    async fn body(&mut self, headers: &Headers) -> io::Result<Vec<u8>> {
        match Framing::of(headers) {
            Framing::Chunked => self.chunked().await,
            Framing::ContentLength => {
                let length = first_text(headers, "content-length").and_then(|v| v.parse().ok());
                self.exactly(length.ok_or_else(|| malformed("a content-length"))?)
                    .await
            }
            Framing::None => Ok(Vec::new()),
        }
    }

    /// Reads until the peer closes.
    async fn rest(&mut self) -> io::Result<Vec<u8>> {
        while self.fill().await? > 0 {
            self.check_size(BODY_BYTES_MAX)?;
        }
        Ok(self.pending.split().to_vec())
    }

    /// Waits for more bytes and keeps them; `0` means that the peer closed.
    async fn fill(&mut self) -> io::Result<usize> {
        self.source.read_buf(&mut self.pending).await
    }

    async fn chunked(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = self.line().await?;
            let size = line.split(';').next().unwrap_or_default().trim();
            let size = usize::from_str_radix(size, 16).map_err(|_| malformed("a chunk size"))?;
            if size == 0 {
                break;
            }
            body.extend(self.exactly(size).await?);
            if body.len() > BODY_BYTES_MAX {
                return Err(malformed("a body within the limit"));
            }
            if !self.line().await?.is_empty() {
                return Err(malformed("the end of a chunk"));
            }
        }
        while !self.line().await?.is_empty() {}
        Ok(body)
    }

    async fn line(&mut self) -> io::Result<String> {
        let mut line = self.until(b"\r\n").await?.ok_or_else(cut_off)?;
        line.truncate(line.len() - 2);
        String::from_utf8(line).map_err(|_| malformed("a line of text"))
    }

    async fn exactly(&mut self, length: usize) -> io::Result<Vec<u8>> {
        if length > BODY_BYTES_MAX {
            return Err(malformed("a body within the limit"));
        }
        while self.pending.len() < length {
            if self.fill().await? == 0 {
                return Err(cut_off());
            }
        }
        Ok(self.pending.split_to(length).to_vec())
    }

    async fn until(&mut self, end: &[u8]) -> io::Result<Option<Vec<u8>>> {
        loop {
            if let Some(start) = self.pending.windows(end.len()).position(|w| w == end) {
                return Ok(Some(self.pending.split_to(start + end.len()).to_vec()));
            }
            self.check_size(HEAD_BYTES_MAX)?;
            if self.fill().await? == 0 {
                return if self.pending.is_empty() {
                    Ok(None)
                } else {
                    Err(cut_off())
                };
            }
        }
    }

    fn check_size(&self, bytes_max: usize) -> io::Result<()> {
        if self.pending.len() > bytes_max {
            return Err(malformed("a message within the limit"));
        }
        Ok(())
    }
}

fn malformed(expected: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("expected {expected}"))
}

fn cut_off() -> io::Error {
    io::Error::new(
        io::ErrorKind::UnexpectedEof,
        "the peer closed amid a message",
    )
}
