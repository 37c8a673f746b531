//! Reads what the stages need off a session.

use bytes::Bytes;
use pingora_core::protocols::http::ServerSession;
use pingora_core::protocols::tls::SslDigest;
use pingora_core::protocols::{SocketDigest, Stream};

use crate::event::{ClientAddr, Fingerprint, Head};
use crate::ingress::body::{BodySource, BrokenOff};
use crate::ingress::head;
use crate::ingress::refusal::Refusal;

/// The body of a session, piece by piece.
pub(super) struct SessionBody<'a>(pub(super) &'a mut ServerSession);

impl BodySource for SessionBody<'_> {
    async fn piece(&mut self) -> Result<Option<Bytes>, BrokenOff> {
        self.0.read_request_body().await.map_err(|error| {
            tracing::debug!(kind = ?error.etype(), "request body");
            BrokenOff
        })
    }
}

/// The head of an HTTP/2 request.
pub(super) fn read_http2_head(
    session: &ServerSession,
    headers_max: usize,
) -> Result<Head, Refusal> {
    let header = session.req_header();
    head::from_http2(&header.method, &header.uri, &header.headers, headers_max)
}

/// Who is at the other end of a connection, and how it came.
#[derive(Debug, Clone, Copy)]
pub(super) struct Caller {
    pub(super) peer: ClientAddr,
    pub(super) scheme: &'static str,
    /// The certificate that it has shown, if its listener asks for one.
    pub(super) certificate: Option<Fingerprint>,
}

impl Caller {
    pub(super) fn of_stream(stream: &Stream) -> Self {
        Self::new(
            stream.get_socket_digest().as_deref(),
            stream.get_ssl_digest().as_deref(),
        )
    }

    pub(super) fn of_session(session: &ServerSession) -> Self {
        let digest = session.digest();
        let socket = digest.and_then(|digest| digest.socket_digest.as_deref());
        Self::new(
            socket,
            digest.and_then(|digest| digest.ssl_digest.as_deref()),
        )
    }

    /// The peer of a socket, or whom it speaks for.
    pub(super) fn of_socket(socket: &SocketDigest) -> ClientAddr {
        let addr = socket.peer_addr().and_then(|addr| addr.as_inet());
        addr.map_or(ClientAddr::Unix, |addr| {
            ClientAddr::Ip(addr.ip().to_canonical())
        })
    }

    fn new(socket: Option<&SocketDigest>, tls: Option<&SslDigest>) -> Self {
        // Only a certificate that the handshake has found genuine comes as far as here.
        let hash = tls.and_then(|tls| tls.cert_digest.as_slice().try_into().ok());
        Self {
            peer: socket.map_or(ClientAddr::Unix, Self::of_socket),
            scheme: if tls.is_some() { "https" } else { "http" },
            certificate: hash.map(Fingerprint::new),
        }
    }
}

pub(super) fn declared_bytes(head: &Head) -> Option<u64> {
    let value = head.headers.first("content-length")?;
    std::str::from_utf8(value).ok()?.trim().parse().ok()
}

pub(super) fn expects_continue(head: &Head) -> bool {
    head.headers
        .first("expect")
        .is_some_and(|value| value.eq_ignore_ascii_case(b"100-continue"))
}

pub(super) fn status_class(status: u16) -> &'static str {
    match status {
        200..=299 => "2xx",
        300..=399 => "3xx",
        400..=499 => "4xx",
        500..=599 => "5xx",
        _ => "other",
    }
}
