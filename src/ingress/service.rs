//! The Pingora adapter: connections in, answers out. The only stage that writes to a socket.
//!
//! It sits directly on Pingora's connections instead of its proxy: a verified request needs the
//! whole body in memory before anything is sent on, which the proxy's own path cannot do for
//! bodies above 64 KiB (see ARCHITECTURE.md).

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use bytes::Bytes;
use pingora_core::apps::{HttpServerApp, HttpServerOptions, ReusedHttpStream, ServerApp};
use pingora_core::protocols::Stream;
use pingora_core::protocols::http::ServerSession;
use pingora_core::server::ShutdownWatch;
use pingora_http::ResponseHeader;
use tokio::time::timeout;
use tracing::Level;

use super::body::{self, BodyLimits, BodySource, BrokenOff};
use super::gate::{Admitted, Gate, Judgement, Permit, Refused, Route};
use super::head;
use super::refusal::Refusal;
use crate::clock::Clock;
use crate::delivery::backend::Failure;
use crate::delivery::request::{Via, write_head};
use crate::event::{ClientAddr, Head, Verdict};
use crate::metrics::Metrics;
use crate::outbound::{Answer, Roads};
use crate::request_log::{self, HeaderChoice};
use crate::signature::handshake::Answer as HandshakeAnswer;

/// The first bytes of HTTP/2 with prior knowledge (RFC 9113, 3.4).
const H2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// How much of the preface tells it from every HTTP/1 method. No HTTP/1 request is shorter.
const H2_TELL: usize = 3;
/// How many unread bytes of a refused body are read to save the connection.
const LINGER_BYTES_MAX: usize = 1024 * 1024;
/// How long unread bytes of a refused body are waited for.
const LINGER_TIME_MAX: Duration = Duration::from_secs(2);

/// The limits of one listener's connections.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionLimits {
    /// The most time for a head, and on a new connection for its first byte.
    pub head: Duration,
    /// The most time for a body.
    pub body: Duration,
    /// The most time without a piece of a body.
    pub piece: Duration,
    /// The most time between two requests of one connection.
    pub idle: Duration,
    /// The most time for one write to a client.
    pub write: Duration,
}

/// Everything that a request is judged and served by; swapped as a whole.
pub struct Snapshot {
    /// The routes.
    pub gate: Gate,
    /// The ways to the backends.
    pub roads: Roads,
    /// What the log shows.
    pub headers: HeaderChoice,
    /// The limits of connections.
    pub limits: ConnectionLimits,
}

/// The gateway as Pingora sees it.
pub struct Gateway {
    snapshot: ArcSwap<Snapshot>,
    metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
}

impl Gateway {
    /// Puts a gateway before the routes of a snapshot.
    pub fn new(snapshot: Snapshot, metrics: Arc<Metrics>, clock: Arc<dyn Clock>) -> Self {
        Self {
            snapshot: ArcSwap::from_pointee(snapshot),
            metrics,
            clock,
        }
    }

    /// What requests are judged by at this moment.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// Serves one request whose head is still to be read. Answers whether the connection may be
    /// used again.
    async fn serve(
        &self,
        mut session: ServerSession,
        head_time: Duration,
    ) -> Option<ServerSession> {
        let snapshot = self.snapshot.load_full();
        let exchange = Exchange::new(self, &snapshot, &session);
        match timeout(head_time, session.read_request()).await {
            Ok(Ok(true)) => {}
            Ok(Ok(false)) => return None,
            Ok(Err(error)) => {
                tracing::debug!(%error, "request head");
                let refusal = Refusal::Malformed("the head is not HTTP");
                return exchange.refuse_connection(session, refusal).await;
            }
            Err(_) => return exchange.refuse_connection(session, Refusal::HeadSlow).await,
        }
        session.set_write_timeout(Some(snapshot.limits.write));
        session.set_total_drain_timeout(Some(LINGER_TIME_MAX));
        exchange.run(session).await
    }
}

/// One request and its answer: what is known so far, for the metric and the log line at the end.
struct Exchange<'a> {
    gateway: &'a Gateway,
    snapshot: &'a Snapshot,
    peer: ClientAddr,
    scheme: &'static str,
    request_id: String,
    started: Instant,
}

/// How a request ended.
struct Outcome<'a> {
    route: Option<&'a Arc<Route>>,
    client: ClientAddr,
    verdict: Verdict,
    reason: &'static str,
    detail: String,
    level: Level,
    status: u16,
    body_bytes: usize,
    asked_backend: bool,
}

impl<'a> Outcome<'a> {
    fn refused(route: Option<&'a Arc<Route>>, client: ClientAddr, refusal: &Refusal) -> Self {
        let row = refusal.row();
        Self {
            route,
            client,
            verdict: Verdict::Refused,
            reason: row.label,
            detail: refusal.to_string(),
            level: row.level,
            status: row.status,
            body_bytes: 0,
            asked_backend: false,
        }
    }
}

impl<'a> Exchange<'a> {
    fn new(gateway: &'a Gateway, snapshot: &'a Snapshot, session: &ServerSession) -> Self {
        let tls = session
            .digest()
            .is_some_and(|digest| digest.ssl_digest.is_some());
        gateway.metrics.in_flight.inc();
        Self {
            gateway,
            snapshot,
            peer: peer(session),
            scheme: if tls { "https" } else { "http" },
            request_id: request_id(gateway.clock.as_ref()),
            started: Instant::now(),
        }
    }

    /// Refuses what never became a request; the connection ends.
    async fn refuse_connection(
        self,
        mut session: ServerSession,
        refusal: Refusal,
    ) -> Option<ServerSession> {
        session.set_keepalive(None);
        let written = self.write_refusal(&mut session, &refusal).await;
        self.record(None, Outcome::refused(None, self.peer, &refusal));
        if written.is_ok() {
            let _ = session.finish_body().await;
        }
        session.shutdown().await;
        None
    }

    async fn run(self, mut session: ServerSession) -> Option<ServerSession> {
        let head = match read_head(&session) {
            Ok(head) => head,
            Err(refusal) => return self.refuse_connection(session, refusal).await,
        };
        let (outcome, written) = self.answer(&mut session, &head).await;
        self.record(Some(&head), outcome);
        match written {
            Ok(()) => linger(session).await,
            Err(Cut) => {
                session.shutdown().await;
                None
            }
        }
    }

    /// Judges the request, writes the answer.
    async fn answer(&self, session: &mut ServerSession, head: &Head) -> (Outcome<'a>, Written) {
        let declared = declared_bytes(head);
        let admitted = match self.snapshot.gate.admit(head, self.peer, declared) {
            Ok(admitted) => admitted,
            Err(Refused {
                route,
                client,
                refusal,
            }) => {
                let written = self.refuse_early(session, head, &refusal).await;
                return (Outcome::refused(route, client, &refusal), written);
            }
        };
        let route = admitted.route;
        let body = match self.read_body(session, head, route).await {
            Ok(body) => body,
            Err(refusal) => {
                session.set_keepalive(None);
                let written = self.write_refusal(session, &refusal).await;
                return (
                    Outcome::refused(Some(route), admitted.client, &refusal),
                    written,
                );
            }
        };
        self.gateway
            .metrics
            .request_bytes
            .with_label_values(&[&route.name])
            .inc_by(body.len() as u64);
        let (mut outcome, written) = match self.judge(route, head, &body) {
            Err(refusal) => {
                let written = self.write_refusal(session, &refusal).await;
                (
                    Outcome::refused(Some(route), admitted.client, &refusal),
                    written,
                )
            }
            Ok(Judgement::Handshake(answer)) => {
                let written = self.write_handshake(session, &answer).await;
                (self.handshake(&admitted, answer.status), written)
            }
            Ok(Judgement::Event(permit)) => {
                self.forward(session, head, &body, &admitted, permit).await
            }
        };
        outcome.body_bytes = body.len();
        (outcome, written)
    }

    fn judge(&self, route: &Route, head: &Head, body: &[u8]) -> Result<Judgement, Refusal> {
        let started = Instant::now();
        let judgement = route.judge(head, body, self.gateway.clock.now());
        let took = started.elapsed().as_secs_f64();
        self.gateway
            .metrics
            .verify
            .with_label_values(&[&route.name])
            .observe(took);
        judgement
    }

    fn handshake(&self, admitted: &Admitted<'a>, status: u16) -> Outcome<'a> {
        Outcome {
            route: Some(admitted.route),
            client: admitted.client,
            verdict: Verdict::Handshake,
            reason: "",
            detail: String::new(),
            level: Level::INFO,
            status,
            body_bytes: 0,
            asked_backend: false,
        }
    }

    async fn read_body(
        &self,
        session: &mut ServerSession,
        head: &Head,
        route: &Route,
    ) -> Result<Bytes, Refusal> {
        if expects_continue(head) {
            session
                .write_continue_response()
                .await
                .map_err(|_| Refusal::BodyBroken)?;
        }
        let limits = BodyLimits {
            bytes_max: route.body_bytes_max,
            total: self.snapshot.limits.body,
            piece: self.snapshot.limits.piece,
        };
        body::read(&mut SessionBody(session), limits).await
    }

    /// Hands the request to the backend and its answer to the sender. Needs the permit that only
    /// the gate gives.
    async fn forward(
        &self,
        session: &mut ServerSession,
        head: &Head,
        body: &Bytes,
        admitted: &Admitted<'a>,
        permit: Permit,
    ) -> (Outcome<'a>, Written) {
        let route = admitted.route;
        let mut outcome = Outcome {
            route: Some(route),
            client: admitted.client,
            verdict: Verdict::Accepted,
            reason: permit.observed().map_or("", |reason| reason.label()),
            detail: permit
                .observed()
                .map(ToString::to_string)
                .unwrap_or_default(),
            level: if permit.observed().is_some() {
                Level::WARN
            } else {
                Level::INFO
            },
            status: 0,
            body_bytes: 0,
            asked_backend: true,
        };
        let wire = self.wire_head(head, body, admitted, &permit);
        let asked = Instant::now();
        let answer = match self.snapshot.roads.to(&route.deliver.backend) {
            Some(road) => road.send(&head.method, &wire, body).await,
            None => Err(Failure::Unresolved),
        };
        let metrics = &self.gateway.metrics;
        let backend = &route.deliver.backend.name;
        metrics
            .backend
            .with_label_values(&[backend])
            .observe(asked.elapsed().as_secs_f64());
        let result = match answer {
            Ok(answer) => self.relay(session, route, answer).await,
            Err(failure) => self
                .write_failure(session, failure)
                .await
                .map(|()| Relayed::Failed(failure)),
        };
        let (label, written) = match result {
            Ok(Relayed::Whole(status)) => {
                outcome.status = status;
                (status_class(status), Ok(()))
            }
            Ok(Relayed::Failed(failure)) => {
                outcome.fail(failure, failure.status());
                (failure.label(), Ok(()))
            }
            Ok(Relayed::Broken(status, failure)) => {
                outcome.fail(failure, status);
                (failure.label(), Err(Cut))
            }
            Err(Cut) => {
                outcome.detail = "the sender left before the answer".into();
                ("sender_left", Err(Cut))
            }
        };
        metrics
            .backend_answers
            .with_label_values(&[backend, label])
            .inc();
        (outcome, written)
    }

    fn wire_head(
        &self,
        head: &Head,
        body: &Bytes,
        admitted: &Admitted<'_>,
        permit: &Permit,
    ) -> Bytes {
        let deliver = &admitted.route.deliver;
        let path = deliver.path.as_ref();
        let path = path.map(|rewrite| rewrite.fill(|name| admitted.captures.find(name)));
        let via = Via {
            peer: self.peer,
            peer_is_trusted: self.snapshot.gate.trusts(self.peer),
            scheme: self.scheme,
            request_id: &self.request_id,
            route: &admitted.route.name,
            verified: permit.verified(),
        };
        write_head(head, body.len(), deliver, path.as_deref(), via)
    }

    /// Passes the backend's answer on as it is, but for hop-by-hop headers.
    async fn relay(
        &self,
        session: &mut ServerSession,
        route: &Route,
        mut answer: Answer<'_>,
    ) -> Result<Relayed, Cut> {
        let Some(header) = answer.head().map(|header| relayed_header(header, session)) else {
            let failure = Failure::BrokenOff;
            return self
                .write_failure(session, failure)
                .await
                .map(|()| Relayed::Failed(failure));
        };
        let status = header.status.as_u16();
        session
            .write_response_header(Box::new(header))
            .await
            .map_err(|_| Cut)?;
        let bytes = self
            .gateway
            .metrics
            .response_bytes
            .with_label_values(&[&route.name]);
        loop {
            match answer.piece().await {
                Ok(Some(piece)) => {
                    bytes.inc_by(piece.len() as u64);
                    session
                        .write_response_body(piece, false)
                        .await
                        .map_err(|_| Cut)?;
                }
                Ok(None) => break,
                // Half an answer must not look like a whole one: the connection is cut.
                Err(failure) => return Ok(Relayed::Broken(status, failure)),
            }
        }
        session
            .write_response_body(Bytes::new(), true)
            .await
            .map_err(|_| Cut)?;
        answer.finish().await;
        Ok(Relayed::Whole(status))
    }

    /// Refuses before the body was read. A body that is short enough is read and forgotten, so
    /// that the connection lives on; otherwise it ends.
    async fn refuse_early(
        &self,
        session: &mut ServerSession,
        head: &Head,
        refusal: &Refusal,
    ) -> Written {
        let short = declared_bytes(head).is_none_or(|bytes| bytes <= LINGER_BYTES_MAX as u64);
        if short && !expects_continue(head) {
            session.set_close_on_response_before_downstream_finish(false);
        } else {
            session.set_keepalive(None);
        }
        self.write_refusal(session, refusal).await
    }

    async fn write_refusal(&self, session: &mut ServerSession, refusal: &Refusal) -> Written {
        let mut headers = Vec::new();
        if let Refusal::MethodNotAllowed { allow } = refusal {
            headers.push(("Allow", allow.join(", ")));
        }
        write(session, refusal.status(), &headers, Bytes::new()).await
    }

    async fn write_failure(&self, session: &mut ServerSession, failure: Failure) -> Written {
        let headers = [("Hookgate-Reason", failure.label().to_owned())];
        write(session, failure.status(), &headers, Bytes::new()).await
    }

    async fn write_handshake(
        &self,
        session: &mut ServerSession,
        answer: &HandshakeAnswer,
    ) -> Written {
        let body = Bytes::from(answer.body.clone());
        write(session, answer.status, &answer.headers(), body).await
    }

    fn record(&self, head: Option<&Head>, outcome: Outcome<'_>) {
        let metrics = &self.gateway.metrics;
        let route = outcome.route.map_or("", |route| route.name.as_str());
        let labels = [route, outcome.verdict.label(), outcome.reason];
        metrics.requests.with_label_values(&labels).inc();
        let took = self.started.elapsed();
        metrics
            .duration
            .with_label_values(&[route])
            .observe(took.as_secs_f64());
        let backend = outcome.route.filter(|_| outcome.asked_backend);
        let entry = request_log::Entry {
            route,
            head,
            client: outcome.client,
            request_id: &self.request_id,
            verdict: outcome.verdict,
            reason: outcome.reason,
            detail: outcome.detail,
            level: outcome.level,
            status: outcome.status,
            backend: backend.map_or("", |route| route.deliver.backend.name.as_str()),
            body_bytes: outcome.body_bytes,
            took,
        };
        request_log::write(&entry, &self.snapshot.headers);
    }
}

impl Drop for Exchange<'_> {
    fn drop(&mut self) {
        self.gateway.metrics.in_flight.dec();
    }
}

impl Outcome<'_> {
    fn fail(&mut self, failure: Failure, status: u16) {
        self.status = status;
        self.reason = failure.label();
        self.detail = failure.to_string();
        self.level = Level::ERROR;
    }
}

/// The connection to the sender cannot carry an answer any more.
struct Cut;
type Written = Result<(), Cut>;

/// How relaying an answer ended.
enum Relayed {
    /// All of it, with this status.
    Whole(u16),
    /// There was none; the sender was told so.
    Failed(Failure),
    /// It began with this status and broke off.
    Broken(u16, Failure),
}

struct SessionBody<'a>(&'a mut ServerSession);

impl BodySource for SessionBody<'_> {
    async fn piece(&mut self) -> Result<Option<Bytes>, BrokenOff> {
        self.0.read_request_body().await.map_err(|error| {
            tracing::debug!(%error, "request body");
            BrokenOff
        })
    }
}

fn read_head(session: &ServerSession) -> Result<Head, Refusal> {
    match session.as_http1() {
        Some(http1) => head::from_http1(&http1.get_headers_raw_bytes()),
        None => {
            let header = session.req_header();
            Ok(head::from_http2(
                &header.method,
                &header.uri,
                &header.headers,
            ))
        }
    }
}

fn peer(session: &ServerSession) -> ClientAddr {
    match session.client_addr().and_then(|addr| addr.as_inet()) {
        Some(addr) => ClientAddr::Ip(IpAddr::to_canonical(&addr.ip())),
        None => ClientAddr::Unix,
    }
}

fn request_id(clock: &dyn Clock) -> String {
    let now = clock.now();
    let seconds = u64::try_from(now.as_second()).unwrap_or_default();
    let nanoseconds = u32::try_from(now.subsec_nanosecond()).unwrap_or_default();
    let timestamp = uuid::Timestamp::from_unix(uuid::NoContext, seconds, nanoseconds);
    uuid::Uuid::new_v7(timestamp).to_string()
}

fn declared_bytes(head: &Head) -> Option<u64> {
    let value = head.headers.first("content-length")?;
    std::str::from_utf8(value).ok()?.trim().parse().ok()
}

fn expects_continue(head: &Head) -> bool {
    head.headers
        .first("expect")
        .is_some_and(|value| value.eq_ignore_ascii_case(b"100-continue"))
}

fn status_class(status: u16) -> &'static str {
    match status {
        200..=299 => "2xx",
        300..=399 => "3xx",
        400..=499 => "4xx",
        500..=599 => "5xx",
        _ => "other",
    }
}

/// The backend's header without what was for its connection to us; framed anew for the sender.
fn relayed_header(header: &ResponseHeader, session: &ServerSession) -> ResponseHeader {
    let mut relayed = header.clone();
    let nominated: Vec<String> = header
        .headers
        .get_all(http::header::CONNECTION)
        .iter()
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','))
        .map(|name| name.trim().to_ascii_lowercase())
        .collect();
    for name in [
        "connection",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "upgrade",
    ] {
        relayed.remove_header(name);
    }
    let framing = |name: &str| name == "content-length" || name == "transfer-encoding";
    for name in nominated.iter().filter(|name| !framing(name)) {
        relayed.remove_header(name.as_str());
    }
    relayed.remove_header("transfer-encoding");
    let bodyless = matches!(header.status.as_u16(), 204 | 304);
    let known = relayed.headers.contains_key(http::header::CONTENT_LENGTH);
    let http11 =
        session.as_http1().is_some() && session.req_header().version == http::Version::HTTP_11;
    if !known && !bodyless && http11 && session.req_header().method != http::Method::HEAD {
        let _ = relayed.insert_header(http::header::TRANSFER_ENCODING, "chunked");
    }
    relayed.set_version(http::Version::HTTP_11);
    relayed
}

/// Writes an answer of our own.
async fn write(
    session: &mut ServerSession,
    status: u16,
    headers: &[(&'static str, String)],
    body: Bytes,
) -> Written {
    let mut header = ResponseHeader::build(status, Some(headers.len() + 1)).map_err(|_| Cut)?;
    header
        .insert_header("Content-Length", body.len().to_string())
        .map_err(|_| Cut)?;
    for (name, value) in headers {
        header.insert_header(*name, value).map_err(|_| Cut)?;
    }
    session
        .write_response_header(Box::new(header))
        .await
        .map_err(|_| Cut)?;
    session
        .write_response_body(body, true)
        .await
        .map_err(|_| Cut)
}

/// Ends an exchange: what is left of the body is read within limits, since closing a socket with
/// unread bytes can destroy the answer on its way. Gives the session back if it can be used again.
async fn linger(mut session: ServerSession) -> Option<ServerSession> {
    session.finish_body().await.ok()?;
    let mut left = LINGER_BYTES_MAX;
    let read_rest = async {
        while !session.is_body_done() {
            match session.read_request_body().await {
                Ok(Some(piece)) if piece.len() <= left => left -= piece.len(),
                Ok(None) => break,
                Ok(Some(_)) | Err(_) => return false,
            }
        }
        true
    };
    if timeout(LINGER_TIME_MAX, read_rest).await.unwrap_or(false) {
        return Some(session);
    }
    session.shutdown().await;
    None
}

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
        Self {
            http2: Arc::new(Http2 {
                gateway: gateway.clone(),
                options,
            }),
            gateway,
        }
    }

    async fn serve_http1(&self, stream: Stream, shutdown: &ShutdownWatch) {
        let limits = self.gateway.snapshot().limits;
        let mut stream = Some(stream);
        let mut head_time = limits.head;
        while let Some(current) = stream.take() {
            let mut session = ServerSession::new_http1(current);
            let closing = *shutdown.borrow();
            // Pingora reads the first bytes of a head under this time, whole seconds.
            let first = head_time.as_secs().saturating_add(1);
            session.set_keepalive(if closing { None } else { Some(first) });
            session.set_read_timeout(Some(head_time));
            let Some(session) = self.gateway.serve(session, head_time).await else {
                break;
            };
            stream = match session.finish().await {
                Ok(Some(reusable)) if !*shutdown.borrow() => Some(reusable.into_parts().0),
                Ok(_) | Err(_) => None,
            };
            head_time = limits.idle.saturating_add(limits.head);
        }
    }
}

#[async_trait]
impl ServerApp for Door {
    async fn process_new(
        self: &Arc<Self>,
        mut stream: Stream,
        shutdown: &ShutdownWatch,
    ) -> Option<Stream> {
        let negotiated = stream.get_ssl_digest().is_some();
        let http2 = if negotiated {
            stream.selected_alpn_proto() == Some(pingora_core::protocols::ALPN::H2)
        } else {
            let limit = self.gateway.snapshot().limits.head;
            timeout(limit, begins_http2(&mut stream)).await.ok()??
        };
        if http2 {
            self.http2.process_new(stream, shutdown).await;
        } else {
            self.serve_http1(stream, shutdown).await;
        }
        None
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
        _shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        let head_time = self.gateway.snapshot().limits.head;
        if let Some(session) = self.gateway.serve(session, head_time).await {
            let _ = session.finish().await;
        }
        None
    }

    fn server_options(&self) -> Option<&HttpServerOptions> {
        Some(&self.options)
    }
}
