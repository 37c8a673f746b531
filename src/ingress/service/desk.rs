//! Serves questions over HTTP/1, within the limits of connections.
//!
//! What the operator asks comes this way. A question has a short body or none; one that announces
//! a longer body is refused before it is read.

use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use http::Response;
use pingora_core::apps::ServerApp;
use pingora_core::protocols::Stream;
use pingora_core::protocols::http::ServerSession;
use pingora_core::server::ShutdownWatch;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::Gateway;
use super::answer::{Cut, Written, close, end, end_with};
use super::arrival::{self, Arrival, Wait};
use super::door::begin_http1;
use super::request::{Caller, SessionBody, declared_bytes};
use crate::event::{ClientAddr, Head};
use crate::ingress::body::{self, BodyLimits};
use crate::ingress::slots::Slots;

/// The most connections of one desk. Few ask, and none of them may keep the others out for long.
const CONNECTIONS_MAX: usize = 100;

/// The longest body of a question.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// What somebody asks.
pub struct Question {
    /// Method, target and headers.
    pub head: Head,
    /// The body.
    pub body: Bytes,
    /// The address it comes from; `None` = a unix socket.
    pub peer: Option<IpAddr>,
}

impl Question {
    /// Whether whoever asks is on this machine.
    pub fn is_local(&self) -> bool {
        self.peer
            .is_none_or(|peer| peer.to_canonical().is_loopback())
    }
}

/// What is answered.
pub enum Reply {
    /// All of it.
    Whole(Response<Vec<u8>>),
    /// A head, and a body that comes piece by piece until its sender is dropped.
    Stream(Response<()>, mpsc::Receiver<Bytes>),
}

/// Who answers questions.
#[async_trait]
pub trait Clerk: Send + Sync {
    /// Answers one.
    async fn answer(&self, question: Question) -> Reply;
}

/// Answers questions by a clerk, with the gateway's limits of heads and times.
pub struct Desk<A> {
    clerk: A,
    gateway: Arc<Gateway>,
    slots: Arc<Slots>,
}

impl<A: Clerk> Desk<A> {
    /// Opens a desk.
    pub fn new(clerk: A, gateway: Arc<Gateway>) -> Self {
        Self {
            clerk,
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
            let (head, bytes) = match arrival {
                Arrival::Request { head, .. } if is_long(&head) => {
                    return end_with(stream, 413, limits.write).await;
                }
                Arrival::Request { head, bytes, .. } => (head, bytes),
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
            let of_body = BodyLimits {
                bytes_max: BODY_BYTES_MAX,
                total: limits.body,
                piece: limits.piece,
                rate_min: limits.body_rate_min,
            };
            let Ok(body) = body::read(&mut SessionBody(&mut session), of_body).await else {
                return session.shutdown().await;
            };
            let peer = match Caller::of_session(&session).peer {
                ClientAddr::Ip(ip) => Some(ip),
                ClientAddr::Unix => None,
            };
            let is_head = head.method == "HEAD";
            let question = Question { head, body, peer };
            let reply = self.clerk.answer(question).await;
            let written = write(&mut session, reply, is_head).await;
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

fn is_long(head: &Head) -> bool {
    let is_chunked = head.headers.first("transfer-encoding").is_some();
    is_chunked || declared_bytes(head).is_some_and(|bytes| bytes > BODY_BYTES_MAX as u64)
}

async fn write(session: &mut ServerSession, reply: Reply, is_head: bool) -> Written {
    match reply {
        Reply::Whole(answer) => {
            let (parts, body) = answer.into_parts();
            let body = if is_head { Vec::new() } else { body };
            let header = session.write_response_header(Box::new(parts.into()));
            header.await.map_err(|_| Cut)?;
            let body = session.write_response_body(body.into(), true);
            body.await.map_err(|_| Cut)
        }
        Reply::Stream(head, mut pieces) => {
            let (parts, ()) = head.into_parts();
            let header = session.write_response_header(Box::new(parts.into()));
            header.await.map_err(|_| Cut)?;
            while let Some(piece) = pieces.recv().await {
                let written = session.write_response_body(piece, false).await;
                written.map_err(|_| Cut)?;
            }
            let end = session.write_response_body(Bytes::new(), true);
            end.await.map_err(|_| Cut)
        }
    }
}

#[async_trait]
impl<A: Clerk + 'static> ServerApp for Desk<A> {
    async fn process_new(self: &Arc<Self>, stream: Stream, _: &ShutdownWatch) -> Option<Stream> {
        if let Ok(_slot) = self.slots.take(CONNECTIONS_MAX) {
            self.serve(stream).await;
        }
        None
    }
}
