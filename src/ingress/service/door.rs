//! Takes connections: counts them, asks proxies whom they speak for, makes handshakes, tells HTTP/1
//! from HTTP/2, closes what is idle.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Buf, BytesMut};
use pingora_core::apps::{HttpServerApp, HttpServerOptions, ReusedHttpStream, ServerApp};
use pingora_core::protocols::http::ServerSession;
use pingora_core::protocols::http::v2::server::{H2Options, default_h2_options};
use pingora_core::protocols::l4::socket::SocketAddr;
use pingora_core::protocols::l4::stream::Stream as L4Stream;
use pingora_core::protocols::tls::TlsStream;
use pingora_core::protocols::{ALPN, GetSocketDigest, SocketDigest, Ssl, Stream, UniqueID};
use pingora_core::server::ShutdownWatch;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::{Instant, sleep, timeout_at};

use super::answer::{LINGER_TIME_MAX, close};
use super::arrival::{self, Arrival, Wait};
use super::exchange::Exchange;
use super::listener::{Listeners, Origin};
use super::request::{Caller, read_http2_head};
use super::wrapped::Wrapped;
use super::{Gateway, Snapshot};
use crate::event::{ClientAddr, Head};
use crate::ingress::proxy_protocol::{self, Announced, NoHeader};
use crate::ingress::refusal::Refusal;
use crate::ingress::slots::{Full, Slot};
use crate::metrics::Metrics;

/// The first bytes of HTTP/2 with prior knowledge (RFC 9113, 3.4).
const H2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The most requests that one HTTP/2 connection has in flight.
const H2_STREAMS_MAX: u32 = 100;
/// How long a connection without a request lives on when the gateway stops: what its sender has
/// just sent is still answered.
const LAST_REQUEST_TIME_MAX: Duration = Duration::from_millis(500);

/// Tells HTTP/1 from HTTP/2 on each new connection and serves its requests one after another.
pub struct Door {
    gateway: Arc<Gateway>,
    listeners: Listeners,
    http2: Arc<Http2>,
}

impl Door {
    /// Opens a door to the gateway, for connections that come to these listeners.
    pub fn new(gateway: Arc<Gateway>, listeners: Listeners) -> Self {
        let mut options = HttpServerOptions::default();
        options.h2c = true;
        options.h2_idle_timeout = Some(gateway.snapshot().limits.idle);
        let http2 = Arc::new(Http2 {
            gateway: gateway.clone(),
            options,
        });
        Self {
            gateway,
            listeners,
            http2,
        }
    }

    /// Lets a connection in, if there is a place for it and it says what its listener asks for.
    async fn admit(
        &self,
        stream: Stream,
        snapshot: &Snapshot,
        deadline: Instant,
    ) -> Result<(Admitted, Slot), Turned> {
        let limits = &snapshot.limits;
        let mut slot = self.gateway.slots.take(limits.connections)?;
        let stream = stream.into_any().downcast::<L4Stream>();
        let mut stream = stream.map_err(|_| Turned::Lost)?;
        let socket = stream.get_socket_digest().ok_or(Turned::Lost)?;
        let listener = self.listeners.of(&socket).ok_or(Turned::Lost)?;
        if listener.origin == Origin::ProxyProtocol {
            let peer = Caller::of_socket(&socket);
            if !snapshot.gate.trusts(peer) {
                return Err(Turned::ProxyUntrusted);
            }
            let announced = timeout_at(deadline, read_proxy_header(&mut stream)).await;
            let client = announced.map_err(|_| Turned::ProxyHeader)??;
            if let Some(client) = client {
                speak_for(&mut stream, client);
            }
        }
        let client = stream.get_socket_digest().ok_or(Turned::Lost)?;
        let client = Caller::of_socket(&client);
        // Behind a trusted proxy stand many clients, which only its requests tell apart.
        if let ClientAddr::Ip(ip) = client
            && !snapshot.gate.trusts(client)
        {
            slot.count_for(ip, limits.connections_per_address)?;
        }
        let Some(tls) = &listener.tls else {
            return Ok((Admitted::Plain(stream), slot));
        };
        let shaken = timeout_at(deadline, tls.handshake(*stream)).await;
        let stream = shaken.ok().flatten().ok_or(Turned::Tls)?;
        Ok((Admitted::Tls(Box::new(stream)), slot))
    }

    /// Serves a connection of HTTP/1, of which `read_ahead` was read already.
    async fn serve_http1(
        &self,
        mut stream: Stream,
        mut read_ahead: BytesMut,
        mut wait: Wait,
        shutdown: &ShutdownWatch,
    ) {
        let mut served = 0;
        loop {
            let limits = self.gateway.snapshot().limits;
            let leave = the_end_of_idling(shutdown.clone());
            let arrival = arrival::read(&mut stream, read_ahead, wait, &limits, leave).await;
            // Not before the head has come: it is judged by what is in force then.
            let snapshot = self.gateway.snapshot();
            let (head, bytes, watch) = match arrival {
                Arrival::Request { head, bytes, watch } => (head, bytes, watch),
                Arrival::Nothing => return close(stream, limits.write).await,
                Arrival::Refused(refusal) => {
                    let caller = Caller::of_stream(&stream);
                    let exchange = Exchange::new(&self.gateway, &snapshot, caller, shutdown);
                    return exchange.refuse_connection(stream, refusal).await;
                }
            };
            served += 1;
            let next = if served >= limits.requests_per_connection {
                Next::Close
            } else {
                Next::Keep
            };
            if let Some(watch) = watch {
                stream = Box::new(Wrapped::watched(stream, watch));
            }
            let session = begin_http1(stream, bytes, limits.idle);
            // Boxed, so that an idle connection does not carry the room of an exchange.
            let exchange = Exchange::new(
                &self.gateway,
                &snapshot,
                Caller::of_session(&session),
                shutdown,
            );
            let served = Box::pin(serve_http1(session, exchange, &head, next)).await;
            let Some(session) = served else { return };
            let Ok(Some(reusable)) = session.finish().await else {
                return;
            };
            let (wrapped, behind) = reusable.into_parts();
            let Some(unwrapped) = Wrapped::unwrap(wrapped) else {
                return;
            };
            (stream, read_ahead) = (unwrapped, behind.unwrap_or_default());
            wait = Wait::Idle(limits.idle);
        }
    }
}

/// A connection that was let in.
enum Admitted {
    Plain(Box<L4Stream>),
    Tls(Box<TlsStream<L4Stream>>),
}

/// A connection whose protocol is known.
enum Spoken {
    /// With what was read of it already.
    Http1(Stream, BytesMut),
    Http2(Stream),
}

impl Admitted {
    /// Finds out which protocol comes; `None` when it is not the one that was agreed on.
    async fn listen(self, deadline: Instant, leave: impl Future<Output = ()>) -> Option<Spoken> {
        let mut start = BytesMut::new();
        match self {
            Self::Plain(mut stream) => {
                if begins_http2(&mut stream, &mut start, deadline, leave).await {
                    stream.rewind(&start);
                    return Some(Spoken::Http2(stream));
                }
                Some(Spoken::Http1(stream, start))
            }
            Self::Tls(mut stream) => {
                if stream.selected_alpn_proto() != Some(ALPN::H2) {
                    return Some(Spoken::Http1(stream, start));
                }
                let is_http2 = begins_http2(&mut stream, &mut start, deadline, leave).await;
                is_http2.then(|| Spoken::Http2(Box::new(Wrapped::rewound(stream, start))))
            }
        }
    }
}

/// Why a connection was closed before its first request.
#[derive(Debug, Clone, Copy)]
enum Turned {
    Full(Full),
    /// A peer that may not speak for others, where one must.
    ProxyUntrusted,
    /// No header of the PROXY protocol, or none in time.
    ProxyHeader,
    /// No handshake, or none in time.
    Tls,
    /// It is gone already, or came to no listener of ours.
    Lost,
}

impl Turned {
    /// The value of `reason` in the metric.
    fn label(self) -> &'static str {
        match self {
            Self::Full(Full::Total) => "total",
            Self::Full(Full::Address) => "per_address",
            Self::ProxyUntrusted => "proxy_untrusted",
            Self::ProxyHeader => "proxy_header",
            Self::Tls => "tls",
            Self::Lost => "lost",
        }
    }
}

impl From<Full> for Turned {
    fn from(full: Full) -> Self {
        Self::Full(full)
    }
}

impl From<NoHeader> for Turned {
    fn from(NoHeader: NoHeader) -> Self {
        Self::ProxyHeader
    }
}

/// Reads the header of the PROXY protocol; what came behind it is put back.
async fn read_proxy_header(stream: &mut L4Stream) -> Result<Option<IpAddr>, NoHeader> {
    let mut bytes = BytesMut::new();
    loop {
        let room = proxy_protocol::HEADER_BYTES_MAX.saturating_sub(bytes.len());
        let mut source = (&mut *stream).take(room as u64);
        if matches!(source.read_buf(&mut bytes).await, Ok(0) | Err(_)) {
            return Err(NoHeader);
        }
        if let Some(Announced {
            client,
            header_bytes,
        }) = proxy_protocol::parse(&bytes)?
        {
            bytes.advance(header_bytes.min(bytes.len()));
            stream.rewind(&bytes);
            return Ok(client);
        }
    }
}

/// Makes a client the peer of its proxy's connection, for everything that asks from here on.
fn speak_for(stream: &mut L4Stream, client: IpAddr) {
    let digest = SocketDigest::from_raw_fd(stream.id());
    let _ = digest
        .peer_addr
        .set(Some(SocketAddr::Inet((client, 0).into())));
    stream.set_socket_digest(digest);
}

/// What becomes of a connection after a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Keep,
    Close,
}

/// A session of HTTP/1 whose head was read already.
pub(super) fn begin_http1(stream: Stream, bytes: BytesMut, idle: Duration) -> ServerSession {
    let mut session = ServerSession::new_http1(stream);
    // Otherwise a request that came along with the one before is lost with a reset, which can
    // destroy that one's answer on its way.
    session.set_pipelining_enabled(true);
    session.set_pipelined_prefix(bytes);
    // Pingora's keep-alive is in seconds; rounding up leaves the exact limit to us.
    session.set_keepalive(Some(idle.as_secs().saturating_add(1)));
    session
}

/// Serves one request of HTTP/1. Gives the session back if its connection can be used again.
async fn serve_http1(
    mut session: ServerSession,
    exchange: Exchange<'_>,
    head: &Head,
    next: Next,
) -> Option<ServerSession> {
    let read = session.read_request().await;
    if !matches!(read, Ok(true)) {
        // Not the whole error: it quotes the head, and a head holds secrets.
        let kind = read.as_ref().err().map(|error| error.etype());
        tracing::debug!(?kind, "request head");
        let refusal = Refusal::Malformed("the head is ambiguous");
        return exchange.refuse_head(session, refusal).await;
    }
    if next == Next::Close {
        session.set_keepalive(None);
    }
    session.set_write_timeout(Some(exchange.snapshot.limits.write));
    session.set_total_drain_timeout(Some(LINGER_TIME_MAX));
    exchange.run(session, head).await
}

impl Gateway {
    /// Serves one request of HTTP/2, whose head Pingora has read.
    async fn serve_http2(
        &self,
        mut session: ServerSession,
        shutdown: &ShutdownWatch,
    ) -> Option<ServerSession> {
        if !matches!(session.read_request().await, Ok(true)) {
            return None;
        }
        let snapshot = self.snapshot();
        session.set_write_timeout(Some(snapshot.limits.write));
        session.set_total_drain_timeout(Some(LINGER_TIME_MAX));
        let caller = Caller::of_session(&session);
        let exchange = Exchange::new(self, &snapshot, caller, shutdown);
        match read_http2_head(&session, snapshot.limits.headers) {
            Ok(head) => exchange.run(session, &head).await,
            Err(refusal) => exchange.refuse_head(session, refusal).await,
        }
    }
}

/// Comes when the gateway has been stopping for long enough that idle connections are closed.
async fn the_end_of_idling(mut shutdown: ShutdownWatch) {
    let stops = shutdown.wait_for(|stopping| *stopping).await.is_ok();
    if !stops {
        std::future::pending::<()>().await;
    }
    sleep(LAST_REQUEST_TIME_MAX).await;
}

#[async_trait]
impl ServerApp for Door {
    async fn process_new(
        self: &Arc<Self>,
        stream: Stream,
        shutdown: &ShutdownWatch,
    ) -> Option<Stream> {
        let _open = Open::new(&self.gateway.metrics);
        let snapshot = self.gateway.snapshot();
        let deadline = Instant::now() + snapshot.limits.head;
        let (admitted, _slot) = match self.admit(stream, &snapshot, deadline).await {
            Ok(admitted) => admitted,
            Err(turned) => {
                self.count(turned);
                return None;
            }
        };
        drop(snapshot);
        let leave = the_end_of_idling(shutdown.clone());
        match admitted.listen(deadline, leave).await? {
            Spoken::Http1(stream, start) => {
                let wait = Wait::Until(deadline);
                self.serve_http1(stream, start, wait, shutdown).await;
            }
            Spoken::Http2(stream) => {
                self.http2.process_new(stream, shutdown).await;
            }
        }
        None
    }
}

impl Door {
    fn count(&self, turned: Turned) {
        let reason = turned.label();
        tracing::debug!(reason, "connection closed");
        let refused = &self.gateway.metrics.connections_refused;
        refused.with_label_values(&[reason]).inc();
    }
}

/// Counts a connection for as long as it is open.
struct Open<'a>(&'a Metrics);

impl<'a> Open<'a> {
    fn new(metrics: &'a Metrics) -> Self {
        metrics.connections.inc();
        Self(metrics)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.connections.dec();
    }
}

/// Reads for as long as it could be HTTP/2: at most the whole preface, since Pingora awaits that
/// without a time limit. With `leave`, waiting for the first byte ends.
async fn begins_http2(
    stream: &mut (impl AsyncRead + Unpin),
    start: &mut BytesMut,
    deadline: Instant,
    leave: impl Future<Output = ()>,
) -> bool {
    tokio::pin!(leave);
    while H2_PREFACE.starts_with(start) {
        let left = H2_PREFACE.len().saturating_sub(start.len());
        if left == 0 {
            return true;
        }
        let mut source = (&mut *stream).take(left as u64);
        let is_silent = start.is_empty();
        let read = timeout_at(deadline, source.read_buf(start));
        let read = tokio::select! {
            biased;
            read = read => read,
            () = &mut leave, if is_silent => return false,
        };
        if matches!(read, Ok(Ok(0) | Err(_)) | Err(_)) {
            return false;
        }
    }
    false
}

/// Serves HTTP/2 connections; Pingora takes them apart into requests.
struct Http2 {
    gateway: Arc<Gateway>,
    options: HttpServerOptions,
}

#[async_trait]
impl HttpServerApp for Http2 {
    async fn process_new_http(
        self: &Arc<Self>,
        session: ServerSession,
        shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        if let Some(session) = self.gateway.serve_http2(session, shutdown).await {
            let _ = session.finish().await;
        }
        None
    }

    fn h2_options(&self) -> Option<H2Options> {
        let limits = self.gateway.snapshot().limits;
        let mut options = default_h2_options();
        options.max_header_list_size(u32::try_from(limits.head_bytes).unwrap_or(u32::MAX));
        options.max_concurrent_streams(H2_STREAMS_MAX);
        Some(options)
    }

    fn server_options(&self) -> Option<&HttpServerOptions> {
        Some(&self.options)
    }
}
