//! Serves questions over HTTP/1 that are answered from memory, within the limits of connections.
//!
//! What the operator asks comes this way. A question has no body; one that announces a body is
//! refused before it is read.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::BytesMut;
use http::Response;
use pingora_core::apps::ServerApp;
use pingora_core::apps::http_app::ServeHttp;
use pingora_core::protocols::Stream;
use pingora_core::protocols::http::ServerSession;
use pingora_core::server::ShutdownWatch;
use tokio::time::Instant;

use super::Gateway;
use super::answer::{Cut, Written, close, end, end_with};
use super::arrival::{self, Arrival, Wait};
use super::door::begin_http1;
use super::request::declared_bytes;
use crate::event::Head;
use crate::ingress::slots::Slots;

/// The most connections of one desk. Few ask, and none of them may keep the others out for long.
const CONNECTIONS_MAX: usize = 100;

/// Answers questions by an application, with the gateway's limits of heads and times.
pub struct Desk<A> {
    app: A,
    gateway: Arc<Gateway>,
    slots: Arc<Slots>,
}

impl<A: ServeHttp + Send + Sync> Desk<A> {
    /// Opens a desk.
    pub fn new(app: A, gateway: Arc<Gateway>) -> Self {
        Self {
            app,
            gateway,
            slots: Arc::default(),
        }
    }

    async fn serve(&self, mut stream: Stream) {
        let mut read_ahead = BytesMut::new();
        let mut wait = Wait::Until(Instant::now() + self.gateway.snapshot().limits.head);
        loop {
            let limits = self.gateway.snapshot().limits;
            // The desk is open until the process ends.
            let never = std::future::pending();
            let arrival = arrival::read(&mut stream, read_ahead, wait, &limits, never).await;
            let bytes = match arrival {
                Arrival::Request { head, .. } if has_body(&head) => {
                    return end_with(stream, 413, limits.write).await;
                }
                Arrival::Request { bytes, .. } => bytes,
                Arrival::Nothing => return close(stream, limits.write).await,
                Arrival::Refused(refusal) => {
                    return end_with(stream, refusal.status(), limits.write).await;
                }
            };
            let mut session = begin_http1(stream, bytes, limits.idle);
            if !matches!(session.read_request().await, Ok(true)) {
                return session.shutdown().await;
            }
            session.set_write_timeout(Some(limits.write));
            let answer = self.app.response(&mut session).await;
            let written = write(&mut session, answer).await;
            let Some(session) = end(session, written).await else {
                return;
            };
            let Ok(Some(reusable)) = session.finish().await else {
                return;
            };
            let (same, behind) = reusable.into_parts();
            (stream, read_ahead) = (same, behind.unwrap_or_default());
            wait = Wait::Idle(limits.idle);
        }
    }
}

fn has_body(head: &Head) -> bool {
    let is_chunked = head.headers.first("transfer-encoding").is_some();
    is_chunked || declared_bytes(head).is_some_and(|bytes| bytes > 0)
}

async fn write(session: &mut ServerSession, answer: Response<Vec<u8>>) -> Written {
    let (parts, body) = answer.into_parts();
    let header = session.write_response_header(Box::new(parts.into()));
    header.await.map_err(|_| Cut)?;
    let body = session.write_response_body(body.into(), true);
    body.await.map_err(|_| Cut)
}

#[async_trait]
impl<A: ServeHttp + Send + Sync + 'static> ServerApp for Desk<A> {
    async fn process_new(self: &Arc<Self>, stream: Stream, _: &ShutdownWatch) -> Option<Stream> {
        if let Ok(_slot) = self.slots.take(CONNECTIONS_MAX) {
            self.serve(stream).await;
        }
        None
    }
}
