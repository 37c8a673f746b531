//! Carries requests to backends: pooled connections, time-outs, retries of stale connections.
//!
//! Built on Pingora's transport connector. The head is written by us in the order the sender
//! chose (Pingora's own writer goes through a header map, which pulls duplicates together);
//! answers are read by Pingora's HTTP/1 client.

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Buf, Bytes};
use pingora_core::connectors::{ConnectorOptions, TransportConnector};
use pingora_core::protocols::Stream;
use pingora_core::protocols::http::v1::client::HttpSession;
use pingora_core::upstreams::peer::{HttpPeer, Peer};
use pingora_core::{ErrorType, OrErr};
use pingora_http::ResponseHeader;
use pingora_load_balancing::discovery::ServiceDiscovery;
use pingora_load_balancing::health_check::{HealthCheck, HttpHealthCheck, TcpHealthCheck};
use pingora_load_balancing::selection::RoundRobin;
use pingora_load_balancing::{Backend as Address, Backends, LoadBalancer};
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, timeout_at};

use crate::delivery::backend::{Authority, Backend, Failure, Health};

/// How many addresses are tried for one request before it fails.
const CONNECTS_MAX: usize = 3;
/// How many stale pooled connections are given up for one request before a fresh one is made.
const STALE_MAX: usize = 3;
/// How many interim answers (1xx) are read before the final one.
const INTERIM_MAX: usize = 16;
/// How many unused connections are kept, over all addresses of a backend.
const POOL_SIZE: usize = 512;
/// How many addresses the balancer looks at for one that is healthy and not yet tried.
const SELECT_MAX: usize = 64;
/// How much of an answer is read that nobody wants, to use its connection again.
const REST_BYTES_MAX: usize = 256 * 1024;
/// How often host names are resolved again.
const RESOLVE_INTERVAL: Duration = Duration::from_secs(30);

/// The road to one backend: its addresses, their health, its connections.
pub struct Road {
    backend: Arc<Backend>,
    balancer: Arc<LoadBalancer<RoundRobin>>,
    connector: TransportConnector,
    began: Instant,
    /// Milliseconds from its beginning to its last good answer; 0 = none yet.
    last_success: AtomicU64,
}

impl Road {
    /// Prepares the road; [`Road::refresh`] must have run once before it carries anything.
    pub fn new(backend: Arc<Backend>) -> Self {
        let mut addresses = Backends::new(Box::new(Discovery {
            backend: backend.clone(),
        }));
        if let Some(health) = &backend.health {
            addresses.set_health_check(health_check(&backend, health));
        }
        Self::by(backend, Arc::new(LoadBalancer::from_backends(addresses)))
    }

    fn by(backend: Arc<Backend>, balancer: Arc<LoadBalancer<RoundRobin>>) -> Self {
        let mut options = ConnectorOptions::new(POOL_SIZE);
        let ca = backend.tls.as_ref().and_then(|tls| tls.ca.as_ref());
        options.ca_file = ca.map(|path| path.display().to_string());
        Self {
            backend,
            balancer,
            connector: TransportConnector::new(Some(options)),
            began: Instant::now(),
            last_success: AtomicU64::default(),
        }
    }

    /// The backend it leads to.
    pub fn backend(&self) -> &Backend {
        &self.backend
    }

    /// The same, to keep.
    pub fn shared_backend(&self) -> Arc<Backend> {
        self.backend.clone()
    }

    /// How long ago it answered well; `None` = not yet.
    pub fn last_success(&self) -> Option<Duration> {
        let millis = self.last_success.load(Ordering::Relaxed);
        let at = self.began.checked_add(Duration::from_millis(millis))?;
        (millis > 0).then(|| at.elapsed())
    }

    fn note_success(&self) {
        let millis = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_success.store(millis.max(1), Ordering::Relaxed);
    }

    /// Resolves the host names anew; keeps the known addresses when that fails.
    pub async fn refresh(&self) {
        if let Err(error) = self.balancer.update().await {
            tracing::warn!(backend = self.backend.name, %error, "no address found");
        }
    }

    /// Asks every address for its health, once.
    pub async fn ask_health(&self) {
        self.balancer.backends().run_health_check(true).await;
    }

    /// How many addresses there are, and how many of them are healthy.
    pub fn health(&self) -> (usize, usize) {
        let backends = self.balancer.backends();
        let all = backends.get_backend();
        let healthy = all.iter().filter(|address| backends.ready(address)).count();
        (all.len(), healthy)
    }

    /// Sends a request and waits for the head of the answer.
    ///
    /// `head` is the complete head for the wire. An address that cannot be reached is replaced by
    /// another one. A pooled connection that turns out to be dead before anything was answered is
    /// replaced by another connection.
    ///
    /// # Errors
    /// [`Failure`] when no address answered.
    pub async fn send(
        &self,
        method: &str,
        head: &Bytes,
        body: &Bytes,
    ) -> Result<Answer<'_>, Failure> {
        let mut tried = BTreeSet::new();
        let mut stale = 0;
        loop {
            let address = self.pick(&tried)?;
            let peer = address.ext.get::<Arc<HttpPeer>>();
            let peer = peer.ok_or(Failure::Unresolved)?.as_ref();
            let (stream, reused) = match self.connect(peer).await {
                Ok(connection) => connection,
                Err(failure) => {
                    tried.insert(address.addr.to_string());
                    let exhausted = tried.len() >= CONNECTS_MAX || self.pick(&tried).is_err();
                    if exhausted {
                        return Err(failure);
                    } else {
                        continue;
                    }
                }
            };
            match self.exchange(stream, method, head, body).await {
                Ok(session) => {
                    if session
                        .get_status()
                        .is_some_and(|status| status.is_success())
                    {
                        self.note_success();
                    }
                    let is_head = method == "HEAD";
                    return Ok(Answer {
                        road: self,
                        session: Some(session),
                        key: peer.reuse_hash(),
                        is_head,
                    });
                }
                Err(Broken::Unanswered) if reused && stale < STALE_MAX => stale += 1,
                Err(Broken::Unanswered) => return Err(Failure::BrokenOff),
                Err(Broken::Failed(failure)) => return Err(failure),
            }
        }
    }

    /// The next address in turn that is healthy; when none is, any: a wrong health check must not
    /// be what loses an event.
    fn pick(&self, tried: &BTreeSet<String>) -> Result<Address, Failure> {
        let untried =
            |address: &Address| tried.is_empty() || !tried.contains(&address.addr.to_string());
        self.balancer
            .select_with(b"", SELECT_MAX, |address, healthy| {
                healthy && untried(address)
            })
            .or_else(|| {
                self.balancer
                    .select_with(b"", SELECT_MAX, |address, _| untried(address))
            })
            .ok_or(if tried.is_empty() {
                Failure::Unresolved
            } else {
                Failure::Unreachable
            })
    }

    async fn connect(&self, peer: &HttpPeer) -> Result<(Stream, bool), Failure> {
        self.connector
            .get_stream(peer)
            .await
            .map_err(|error| match error.etype() {
                ErrorType::ConnectTimedout | ErrorType::TLSHandshakeTimedout => {
                    Failure::ConnectTimeout
                }
                _ => {
                    tracing::debug!(backend = self.backend.name, kind = ?error.etype(), "connect");
                    Failure::Unreachable
                }
            })
    }

    async fn exchange(
        &self,
        mut stream: Stream,
        method: &str,
        head: &Bytes,
        body: &Bytes,
    ) -> Result<HttpSession, Broken> {
        let deadline = Instant::now() + self.backend.response_timeout;
        let written = timeout_at(deadline, write(&mut stream, head, body)).await;
        let written = written.map_err(|_| Broken::Failed(Failure::ResponseTimeout))?;
        let mut session = HttpSession::new(stream);
        let read = timeout_at(deadline, read_head(&mut session, method)).await;
        match (written, read) {
            // A backend may answer before it has read everything, and close: its answer counts.
            (_, Ok(Ok(()))) => Ok(session),
            (_, Ok(Err(broken))) => Err(broken),
            (Ok(()), Err(_)) => Err(Broken::Failed(Failure::ResponseTimeout)),
            (Err(_), Err(_)) => Err(Broken::Failed(Failure::BrokenOff)),
        }
    }
}

/// How an exchange ended without an answer.
enum Broken {
    /// The connection ended before one byte came back: if it was pooled, it was stale.
    Unanswered,
    /// The backend said or withheld something: it may have acted on the request.
    Failed(Failure),
}

/// Head and body go out in one system call where the connection can do that.
async fn write(stream: &mut Stream, head: &Bytes, body: &Bytes) -> std::io::Result<()> {
    let mut both = head.clone().chain(body.clone());
    stream.write_all_buf(&mut both).await?;
    stream.flush().await
}

/// Reads the head of the final answer; interim ones are for this hop and end here.
async fn read_head(session: &mut HttpSession, method: &str) -> Result<(), Broken> {
    for interim in 0..INTERIM_MAX {
        session.read_response().await.map_err(|error| {
            tracing::debug!(kind = ?error.etype(), method, "read answer");
            if interim == 0 && is_unanswered(&error) {
                Broken::Unanswered
            } else {
                Broken::Failed(Failure::BrokenOff)
            }
        })?;
        match session.get_status() {
            Some(status) if status.is_informational() => {}
            Some(_) => return Ok(()),
            None => break,
        }
    }
    Err(Broken::Failed(Failure::BrokenOff))
}

/// Whether the connection ended with nothing read; Pingora tells that only in words.
fn is_unanswered(error: &pingora_core::Error) -> bool {
    let context = error.context.as_ref();
    matches!(
        error.etype(),
        ErrorType::ConnectionClosed | ErrorType::ReadError
    ) && context.is_some_and(|context| context.as_str().ends_with("already read: 0"))
}

/// A backend's answer: its head is here, its body is still coming.
pub struct Answer<'r> {
    road: &'r Road,
    /// `None` once the answer is whole and its connection is back in the pool.
    session: Option<HttpSession>,
    key: u64,
    is_head: bool,
}

impl Answer<'_> {
    /// The head; gone once the answer is whole.
    pub fn head(&self) -> Option<&ResponseHeader> {
        self.session.as_ref()?.resp_header()
    }

    /// The next piece of the body; `None` after the last.
    ///
    /// # Errors
    /// [`Failure`] when the body breaks off or pauses for too long.
    pub async fn piece(&mut self) -> Result<Option<Bytes>, Failure> {
        self.release_if_whole().await;
        let Some(session) = &mut self.session else {
            return Ok(None);
        };
        let deadline = Instant::now() + self.road.backend.response_timeout;
        let piece = match timeout_at(deadline, session.read_body_bytes()).await {
            Err(_) => return Err(Failure::ResponseTimeout),
            Ok(Err(_)) => return Err(Failure::BrokenOff),
            Ok(Ok(piece)) => piece,
        };
        self.release_if_whole().await;
        Ok(piece)
    }

    /// Gives the connection back to the pool as soon as nothing of the answer is left on it, if
    /// the backend keeps it open. This comes before the last piece is passed on: whoever sees the
    /// whole answer may send the next request at once.
    pub async fn release_if_whole(&mut self) {
        let is_whole = |session: &mut HttpSession| self.is_head || session.is_body_done();
        let Some(mut session) = self.session.take_if(is_whole) else {
            return;
        };
        if self.is_head {
            return;
        }
        session.respect_keepalive();
        if let Some(stream) = session.reuse().await {
            let idle = Some(self.road.backend.idle_timeout);
            self.road.connector.release_stream(stream, self.key, idle);
        }
    }
}

/// A whole answer, as a person is shown it.
#[derive(Debug)]
pub struct Received {
    /// The status.
    pub status: u16,
    /// The headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body up to the limit that was asked for.
    pub body: Vec<u8>,
}

impl Answer<'_> {
    /// Reads the whole answer, of the body `bytes_max` bytes at most.
    ///
    /// # Errors
    /// [`Failure`] when it breaks off.
    pub async fn receive(self, bytes_max: usize) -> Result<Received, Failure> {
        self.read(bytes_max, usize::MAX).await
    }

    /// Reads an answer of which only the beginning matters, `bytes_max` bytes of its body. A long
    /// rest is not worth its connection, which is given up.
    ///
    /// # Errors
    /// [`Failure`] when it breaks off.
    pub async fn receive_some(self, bytes_max: usize) -> Result<Received, Failure> {
        self.read(bytes_max, bytes_max.saturating_add(REST_BYTES_MAX))
            .await
    }

    async fn read(mut self, bytes_max: usize, read_max: usize) -> Result<Received, Failure> {
        let head = self.head().ok_or(Failure::BrokenOff)?;
        let text =
            |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let headers = head
            .headers
            .iter()
            .map(|(name, value)| (name.to_string(), text(value)))
            .collect();
        let mut received = Received {
            status: head.status.as_u16(),
            headers,
            body: Vec::new(),
        };
        let mut read = 0;
        while let Some(piece) = self.piece().await? {
            let room = bytes_max.saturating_sub(received.body.len());
            received.body.extend(piece.iter().take(room));
            read += piece.len();
            if read > read_max {
                break;
            }
        }
        Ok(received)
    }
}

/// All roads, by the name of their backend.
#[derive(Default)]
pub struct Roads(HashMap<String, Arc<Road>>);

impl Roads {
    /// Prepares a road to each backend.
    pub fn new(backends: impl IntoIterator<Item = Arc<Backend>>) -> Self {
        let road = |backend: Arc<Backend>| (backend.name.clone(), Arc::new(Road::new(backend)));
        Self(backends.into_iter().map(road).collect())
    }

    /// Roads to `backends`; those to backends that did not change are the old ones, with their
    /// connections and what is known of their health.
    pub fn renewed(backends: impl IntoIterator<Item = Arc<Backend>>, old: &Self) -> Self {
        let road = |backend: Arc<Backend>| {
            let known = old
                .0
                .get(&backend.name)
                .filter(|road| road.backend == backend);
            let road = known
                .cloned()
                .unwrap_or_else(|| Arc::new(Road::new(backend.clone())));
            (backend.name.clone(), road)
        };
        Self(backends.into_iter().map(road).collect())
    }

    /// Roads to the same addresses with connections of their own: a connection belongs to the
    /// runtime that made it. `old` are those that were made so before, for the backends that did not
    /// change.
    #[must_use]
    pub fn beside(&self, old: &Self) -> Self {
        let road = |road: &Arc<Road>| {
            let known = old.0.get(&road.backend.name);
            let known = known.filter(|known| Arc::ptr_eq(&known.balancer, &road.balancer));
            let beside = || Arc::new(Road::by(road.backend.clone(), road.balancer.clone()));
            (
                road.backend.name.clone(),
                known.cloned().unwrap_or_else(beside),
            )
        };
        Self(self.0.values().map(road).collect())
    }

    /// The road to the backend of a name.
    pub fn named(&self, name: &str) -> Option<&Arc<Road>> {
        self.0.get(name)
    }

    /// Resolves the host names of the backends that have no address yet.
    pub async fn resolve_new(&self) {
        for road in self.0.values().filter(|road| road.health().0 == 0) {
            road.refresh().await;
        }
    }

    /// The road to a backend.
    pub fn to(&self, backend: &Backend) -> Option<&Arc<Road>> {
        self.0.get(&backend.name)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Road>> {
        self.0.values()
    }
}

/// Keeps one road fresh for ever: resolves its names, asks for its health.
pub async fn watch(road: Arc<Road>) {
    let health = road.backend.health.as_ref();
    let pause = health.map_or(RESOLVE_INTERVAL, |health| {
        health.interval.min(RESOLVE_INTERVAL)
    });
    let mut resolved = Instant::now();
    loop {
        if road.backend.health.is_some() {
            road.ask_health().await;
        }
        tokio::time::sleep(pause).await;
        if resolved.elapsed() >= RESOLVE_INTERVAL {
            road.refresh().await;
            resolved = Instant::now();
        }
    }
}

struct Discovery {
    backend: Arc<Backend>,
}

#[async_trait]
impl ServiceDiscovery for Discovery {
    async fn discover(&self) -> pingora_core::Result<(BTreeSet<Address>, HashMap<u64, bool>)> {
        let mut found = BTreeSet::new();
        let mut failed = None;
        for authority in &self.backend.authorities {
            match tokio::net::lookup_host((authority.host.as_str(), authority.port)).await {
                Ok(addresses) => {
                    for address in addresses {
                        found.insert(self.address(authority, address)?);
                    }
                }
                Err(error) => failed = Some((authority, error)),
            }
        }
        match failed {
            Some((authority, error)) if found.is_empty() => Err(error)
                .or_err_with(ErrorType::ConnectNoRoute, || {
                    format!("{authority} has no address")
                }),
            _ => Ok((found, HashMap::new())),
        }
    }
}

impl Discovery {
    fn address(&self, authority: &Authority, address: SocketAddr) -> pingora_core::Result<Address> {
        let mut found = Address::new(&address.to_string())?;
        found
            .ext
            .insert(Arc::new(peer(&self.backend, &authority.host, address)));
        Ok(found)
    }
}

fn peer(backend: &Backend, host: &str, address: SocketAddr) -> HttpPeer {
    let tls = backend.tls.as_ref();
    let server_name = tls.map(|tls| tls.server_name.clone().unwrap_or_else(|| host.to_owned()));
    let mut peer = HttpPeer::new(address, tls.is_some(), server_name.unwrap_or_default());
    peer.options.connection_timeout = Some(backend.connect_timeout);
    peer.options.total_connection_timeout = Some(backend.connect_timeout);
    peer.options.idle_timeout = Some(backend.idle_timeout);
    peer
}

fn health_check(
    backend: &Backend,
    health: &Health,
) -> Box<dyn HealthCheck + Send + Sync + 'static> {
    let host = backend.host_header.clone().or_else(|| {
        backend
            .authorities
            .first()
            .map(|authority| authority.host.clone())
    });
    let host = host.unwrap_or_default();
    let server_name = backend
        .tls
        .as_ref()
        .map(|tls| tls.server_name.clone().unwrap_or_else(|| host.clone()));
    match &health.path {
        None => {
            let mut check = match &server_name {
                Some(name) => TcpHealthCheck::new_tls(name),
                None => TcpHealthCheck::new(),
            };
            check.consecutive_failure = health.failures;
            check.peer_template.options.connection_timeout = Some(health.timeout);
            check
        }
        Some(path) => {
            let mut check = HttpHealthCheck::new(&host, server_name.is_some());
            check.consecutive_failure = health.failures;
            check.peer_template.options.connection_timeout = Some(health.timeout);
            check.peer_template.options.read_timeout = Some(health.timeout);
            if let Ok(uri) = format!("{}{path}", backend.base_path).parse() {
                check.req.set_uri(uri);
            }
            Box::new(check)
        }
    }
}
