//! Takes connections: tells HTTP/1 from HTTP/2, reads heads, closes what is idle.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pingora_core::apps::{HttpServerApp, HttpServerOptions, ReusedHttpStream, ServerApp};
use pingora_core::protocols::http::ServerSession;
use pingora_core::protocols::{ALPN, Stream};
use pingora_core::server::ShutdownWatch;
use tokio::time::{sleep, timeout};

use super::Gateway;
use super::answer::LINGER_TIME_MAX;
use super::exchange::Exchange;
use crate::ingress::refusal::Refusal;
use crate::metrics::Metrics;

/// The first bytes of HTTP/2 with prior knowledge (RFC 9113, 3.4).
const H2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// How much of the preface tells it from every HTTP/1 method. No HTTP/1 request is shorter.
const H2_TELL: usize = 3;
/// How long a connection without a request lives on when the gateway stops: what its sender has
/// just sent is still answered.
const LAST_REQUEST_TIME_MAX: Duration = Duration::from_millis(500);

/// Tells HTTP/1 from HTTP/2 on each new connection and serves its requests one after another.
pub struct Door {
    gateway: Arc<Gateway>,
    http2: Arc<Http2>,
}

impl Door {
    /// Opens a door to the gateway.
    pub fn new(gateway: Arc<Gateway>) -> Self {
        let mut options = HttpServerOptions::default();
        options.h2c = true;
        options.h2_idle_timeout = Some(gateway.snapshot().limits.idle);
        let http2 = Arc::new(Http2 {
            gateway: gateway.clone(),
            options,
        });
        Self { gateway, http2 }
    }

    async fn serve_http1(&self, stream: Stream, shutdown: &ShutdownWatch) {
        let limits = self.gateway.snapshot().limits;
        let mut next = Some((stream, None));
        let mut wait = HeadWait {
            first: limits.head,
            whole: limits.head,
        };
        // As Pingora rounds it: were the limit of the whole head nearer, an idle connection would
        // get a 408 and be counted as a request.
        let idle = Duration::from_secs(whole_seconds(limits.idle));
        while let Some((stream, read_ahead)) = next.take() {
            let mut session = ServerSession::new_http1(stream);
            // Otherwise a request that came along with the one before is lost with a reset, which
            // can destroy that one's answer on its way.
            session.set_pipelining_enabled(true);
            if let Some(read_ahead) = read_ahead {
                session.set_pipelined_prefix(read_ahead);
            }
            session.set_keepalive(Some(whole_seconds(wait.first)));
            let Some(session) = self.gateway.serve(session, wait, shutdown).await else {
                break;
            };
            next = match session.finish().await {
                Ok(Some(reusable)) => Some(reusable.into_parts()),
                Ok(None) | Err(_) => None,
            };
            wait = HeadWait {
                first: limits.idle,
                whole: idle.saturating_add(limits.head),
            };
        }
    }
}

/// How long a head is waited for.
#[derive(Debug, Clone, Copy)]
struct HeadWait {
    /// For its first bytes: a connection without them is closed without a word.
    first: Duration,
    /// For all of it.
    whole: Duration,
}

/// Pingora's keep-alive is in seconds; rounding up leaves the exact limits to us.
fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs().saturating_add(1)
}

impl Gateway {
    /// Serves one request whose head is still to come. Gives the session back if its connection
    /// can be used again.
    async fn serve(
        &self,
        mut session: ServerSession,
        wait: HeadWait,
        shutdown: &ShutdownWatch,
    ) -> Option<ServerSession> {
        let head = tokio::select! {
            head = timeout(wait.whole, session.read_request()) => head,
            () = the_end_of_idling(shutdown.clone()) => return None,
        };
        let snapshot = self.snapshot();
        let refusal = match head {
            Ok(Ok(true)) => {
                if *shutdown.borrow() {
                    session.set_keepalive(None);
                }
                session.set_write_timeout(Some(snapshot.limits.write));
                session.set_total_drain_timeout(Some(LINGER_TIME_MAX));
                return Exchange::new(self, &snapshot, &session).run(session).await;
            }
            // The sender closed, or sent nothing for as long as a connection may idle.
            Ok(Ok(false)) => return None,
            Ok(Err(error)) => {
                // Not the whole error: it quotes the head, and a head holds secrets.
                tracing::debug!(kind = ?error.etype(), "request head");
                Refusal::Malformed("the head is not HTTP")
            }
            Err(_) => Refusal::HeadSlow,
        };
        Exchange::new(self, &snapshot, &session)
            .refuse_connection(session, refusal)
            .await
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
        mut stream: Stream,
        shutdown: &ShutdownWatch,
    ) -> Option<Stream> {
        let _open = Open::new(&self.gateway.metrics);
        let is_tls = stream.get_ssl_digest().is_some();
        let is_http2 = if is_tls {
            stream.selected_alpn_proto() == Some(ALPN::H2)
        } else {
            let limit = self.gateway.snapshot().limits.head;
            tokio::select! {
                told = timeout(limit, begins_http2(&mut stream)) => told.ok()??,
                () = the_end_of_idling(shutdown.clone()) => return None,
            }
        };
        if is_http2 {
            self.http2.process_new(stream, shutdown).await;
        } else {
            self.serve_http1(stream, shutdown).await;
        }
        None
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

/// Looks at the first bytes without taking them; `None` when the connection ends first.
async fn begins_http2(stream: &mut Stream) -> Option<bool> {
    let mut tell = [0; H2_TELL];
    if !stream.try_peek(&mut tell).await.ok()? || !H2_PREFACE.starts_with(&tell) {
        return Some(false);
    }
    // The whole preface is awaited here, under the caller's time limit: Pingora awaits it without.
    let mut preface = [0; H2_PREFACE.len()];
    stream.try_peek(&mut preface).await.ok()?;
    Some(preface == H2_PREFACE)
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
        // The head of an HTTP/2 request has been read when it gets here.
        let head = self.gateway.snapshot().limits.head;
        let wait = HeadWait {
            first: head,
            whole: head,
        };
        if let Some(session) = self.gateway.serve(session, wait, shutdown).await {
            let _ = session.finish().await;
        }
        None
    }

    fn server_options(&self) -> Option<&HttpServerOptions> {
        Some(&self.options)
    }
}
