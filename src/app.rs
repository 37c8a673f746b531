//! From a compiled configuration to a running gateway, and back to rest.
//!
//! Order of starting: bind every socket (so that a port in use is an error and not a panic inside
//! Pingora), resolve the backends, then run. Order of stopping, on SIGTERM: readiness fails, the
//! listeners close, requests in flight finish within `server.drain`, the process ends as soon as
//! there are none. Until then the admin listener tells that the gateway stops.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::os::fd::{IntoRawFd, RawFd};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pingora_core::apps::ServerApp;
use pingora_core::listeners::ListenerConfig;
use pingora_core::protocols::l4::stream::L4BufferSettings;
use pingora_core::server::configuration::ServerConf;
use pingora_core::server::{
    ListenFds, RunArgs, Server, ShutdownSignal, ShutdownSignalWatch, ShutdownWatch,
};
use pingora_core::services::Service as PingoraService;
use pingora_core::services::background::{BackgroundService, background_service};
use pingora_core::services::listening::Service;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::admin::{Admin, Readiness};
use crate::clock::Clock;
use crate::config::{Config, ConfigFile};
use crate::ingress::dedup::memory::MemoryLedger;
use crate::ingress::service::{Desk, Door, Gateway, Listeners, Snapshot};
use crate::metrics::Metrics;
use crate::outbound::{self, Road, Roads};
use crate::reload::{Reloader, Started};

/// How often the drain looks whether the last request is done.
const DRAIN_LOOK: Duration = Duration::from_millis(10);
/// The longest time between SIGTERM and the end that Pingora is told of; `server.drain` ends the
/// process earlier.
const GRACE_SECONDS_MAX: u64 = 24 * 60 * 60;
/// Bytes of read buffer for a connection: the default of 64 KiB is what idle senders would cost.
/// Heads and bodies are read in pieces that are larger, and pass it by.
const READ_BUFFER_BYTES: usize = 4 * 1024;

/// Where a listener listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListenAddress {
    /// Host and port.
    Tcp(String),
    /// A unix socket.
    Unix(PathBuf),
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => f.write_str(address),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Why the gateway cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Somebody else listens there.
    #[error(
        "cannot listen on {address}: the {what} is in use by another process; stop it, or change {key}"
    )]
    InUse {
        /// Where.
        address: String,
        /// `port 8080` or `socket`.
        what: String,
        /// The key of the file to change.
        key: &'static str,
    },
    /// The address cannot be had for another reason.
    #[error("cannot listen on {address}: {reason} (see {key})")]
    Bind {
        /// Where.
        address: String,
        /// What the system said.
        reason: io::Error,
        /// The key of the file to change.
        key: &'static str,
    },
    /// The runtime or the metrics could not be made.
    #[error("cannot start: {0}")]
    Internal(String),
}

/// What happens while the gateway starts, for those who show it to people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// Webhooks are taken here.
    Listening(ListenAddress),
    /// Metrics and health are told here.
    Admin(ListenAddress),
    /// Everything runs.
    Ready,
}

/// A gateway whose sockets are bound.
pub struct App {
    gateway: Arc<Gateway>,
    server: Server,
    listening: Vec<ListenAddress>,
    admin: Option<ListenAddress>,
    drain: Duration,
    readiness: Arc<Readiness>,
    metrics: Arc<Metrics>,
    reloader: Option<Arc<Reloader>>,
}

impl App {
    /// Binds the sockets and resolves the backends. `file` is what a reload reads again.
    ///
    /// # Errors
    /// [`StartError`] names the address that cannot be had.
    pub fn new(
        config: Config,
        file: Option<ConfigFile>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, StartError> {
        let mut sockets = Vec::new();
        let mut listeners = Listeners::default();
        for (address, listener) in &config.server.listen {
            let socket = Socket::bind(address, "server.listen")?;
            match &socket.address {
                ListenAddress::Tcp(bound) => match bound.parse() {
                    Ok(bound) => listeners.add_tcp(bound, listener.clone()),
                    Err(error) => return Err(StartError::Internal(format!("{bound}: {error}"))),
                },
                ListenAddress::Unix(path) => listeners.add_unix(path.clone(), listener.clone()),
            }
            sockets.push(socket);
        }
        let admin_socket = match &config.admin.listen {
            Some(address) => Some(Socket::bind(address, "admin.listen")?),
            None => None,
        };
        let metrics = Metrics::new().map_err(|error| StartError::Internal(error.to_string()))?;
        metrics.announce(config.route_names(), config.backend_names());
        let metrics = Arc::new(metrics);
        let started_with = Started::new(&config);
        let roads = Roads::new(config.backends);
        resolve(&roads)?;
        let snapshot = Snapshot {
            gate: config.gate,
            roads,
            headers: config.log.headers,
            limits: config.server.limits,
        };
        let ledger = MemoryLedger::new();
        let gateway = Arc::new(Gateway::new(
            snapshot,
            metrics.clone(),
            clock.clone(),
            ledger,
        ));
        let reloader = file.map(|file| {
            let (gateway, metrics) = (gateway.clone(), metrics.clone());
            Arc::new(Reloader::new(file, started_with, gateway, metrics, clock))
        });
        let readiness = Arc::new(Readiness::default());
        let mut server = Server::new_with_opt_and_conf(None, server_conf(config.server.threads));
        server.bootstrap();
        let listening = sockets
            .iter()
            .map(|socket| socket.address.clone())
            .collect();
        server.add_service(Bound::new(
            "hookgate",
            Door::new(gateway.clone(), listeners),
            sockets,
        ));
        let mut admin = None;
        if let Some(socket) = admin_socket {
            admin = Some(socket.address.clone());
            let app = Admin {
                gateway: gateway.clone(),
                metrics: metrics.clone(),
                readiness: readiness.clone(),
                reloader: reloader.clone(),
            };
            let desk = Desk::new(app, gateway.clone());
            let mut service = Bound::new("admin", desk, vec![socket]).until_the_exit();
            service.inner.threads = Some(1);
            server.add_service(service);
        }
        let drain = config.server.drain;
        Ok(Self {
            gateway,
            server,
            listening,
            admin,
            drain,
            readiness,
            metrics,
            reloader,
        })
    }

    /// Where webhooks are taken; a port 0 of the file has become a real one.
    pub fn listening(&self) -> &[ListenAddress] {
        &self.listening
    }

    /// Where metrics and health are told.
    pub fn admin(&self) -> Option<&ListenAddress> {
        self.admin.as_ref()
    }

    /// Adds another application to the same process (the demo's toy backend).
    pub fn add<A: ServerApp + Send + Sync + 'static>(
        &mut self,
        name: &str,
        socket: Socket,
        app: A,
    ) {
        self.server.add_service(Bound::new(name, app, vec![socket]));
    }

    /// Runs until a signal ends it; tells `progress` what happens.
    pub fn run(mut self, progress: impl Fn(Progress) + Send + Sync + 'static) {
        for address in &self.listening {
            progress(Progress::Listening(address.clone()));
        }
        if let Some(address) = &self.admin {
            progress(Progress::Admin(address.clone()));
        }
        self.server.add_service(background_service(
            "roads",
            Watch {
                gateway: self.gateway.clone(),
                reloader: self.reloader,
                progress: Box::new(progress),
            },
        ));
        self.server.add_service(background_service(
            "drain",
            Drain {
                metrics: self.metrics.clone(),
                limit: self.drain,
            },
        ));
        let signals = Signals {
            readiness: self.readiness.clone(),
        };
        self.server.run(RunArgs {
            shutdown_signal: Box::new(signals),
        });
    }
}

fn server_conf(threads: Option<usize>) -> ServerConf {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    ServerConf {
        threads: threads.unwrap_or(cores),
        grace_period_seconds: Some(GRACE_SECONDS_MAX),
        graceful_shutdown_timeout_seconds: Some(1),
        ..ServerConf::default()
    }
}

fn resolve(roads: &Roads) -> Result<(), StartError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| StartError::Internal(error.to_string()))?;
    runtime.block_on(roads.resolve_new());
    Ok(())
}

/// A socket that is bound and waits for its service.
pub struct Socket {
    address: ListenAddress,
    fd: RawFd,
}

impl Socket {
    /// Binds an address; `key` is where the file says it.
    ///
    /// # Errors
    /// [`StartError`] names the address that cannot be had.
    pub fn bind(address: &ListenAddress, key: &'static str) -> Result<Self, StartError> {
        let bound = match address {
            ListenAddress::Tcp(text) => bind_tcp(text),
            ListenAddress::Unix(path) => bind_unix(path),
        };
        bound.map_err(|reason| bind_error(address, reason, key))
    }

    /// Where it listens; a port 0 has become a real one.
    pub fn address(&self) -> &ListenAddress {
        &self.address
    }
}

fn bind_error(address: &ListenAddress, reason: io::Error, key: &'static str) -> StartError {
    if reason.kind() != io::ErrorKind::AddrInUse {
        return StartError::Bind {
            address: address.to_string(),
            reason,
            key,
        };
    }
    let what = match address {
        ListenAddress::Tcp(text) => format!("port {}", text.rsplit(':').next().unwrap_or_default()),
        ListenAddress::Unix(_) => "socket".to_owned(),
    };
    StartError::InUse {
        address: address.to_string(),
        what,
        key,
    }
}

fn bind_tcp(text: &str) -> io::Result<Socket> {
    let addresses: Vec<SocketAddr> = text.to_socket_addrs()?.collect();
    let listener = TcpListener::bind(&addresses[..])?;
    listener.set_nonblocking(true)?;
    let address = ListenAddress::Tcp(listener.local_addr()?.to_string());
    Ok(Socket {
        address,
        fd: listener.into_raw_fd(),
    })
}

/// A socket file that nobody listens on any more is left over from a crash, and replaced.
fn bind_unix(path: &Path) -> io::Result<Socket> {
    let is_socket = std::fs::metadata(path).is_ok_and(|meta| meta.file_type().is_socket());
    if is_socket && UnixStream::connect(path).is_err() {
        std::fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    listener.set_nonblocking(true)?;
    Ok(Socket {
        address: ListenAddress::Unix(path.to_owned()),
        fd: listener.into_raw_fd(),
    })
}

/// A Pingora service on sockets that are bound already.
struct Bound<A> {
    inner: Service<A>,
    sockets: Vec<Socket>,
    /// The sender of a watch that never says "stop", for a service that lives until the exit.
    never: Option<watch::Sender<bool>>,
}

impl<A: ServerApp + Send + Sync + 'static> Bound<A> {
    fn new(name: &str, app: A, sockets: Vec<Socket>) -> Self {
        let mut inner = Service::new(name.to_owned(), app);
        for socket in &sockets {
            let listener = match &socket.address {
                ListenAddress::Tcp(address) => ListenerConfig::tcp(address.clone()),
                ListenAddress::Unix(path) => ListenerConfig::uds(path.display().to_string()),
            };
            let buffer = L4BufferSettings::default().read(READ_BUFFER_BYTES);
            inner.add_listener(listener.l4_buffer(buffer));
        }
        Self {
            inner,
            sockets,
            never: None,
        }
    }

    /// Stays open while the process stops.
    fn until_the_exit(self) -> Self {
        Self {
            never: Some(watch::Sender::new(false)),
            ..self
        }
    }
}

#[async_trait]
impl<A: ServerApp + Send + Sync + 'static> PingoraService for Bound<A> {
    async fn start_service(
        &mut self,
        fds: Option<ListenFds>,
        shutdown: ShutdownWatch,
        listeners_per_fd: usize,
    ) {
        if let Some(fds) = &fds {
            let mut table = fds.lock();
            for socket in &self.sockets {
                let key = match &socket.address {
                    ListenAddress::Tcp(address) => address.clone(),
                    ListenAddress::Unix(path) => path.display().to_string(),
                };
                table.add(key, socket.fd);
            }
        }
        let shutdown = match &self.never {
            Some(never) => never.subscribe(),
            None => shutdown,
        };
        PingoraService::start_service(&mut self.inner, fds, shutdown, listeners_per_fd).await;
    }

    fn name(&self) -> &str {
        PingoraService::name(&self.inner)
    }

    fn threads(&self) -> Option<usize> {
        PingoraService::threads(&self.inner)
    }
}

/// Keeps the roads to the backends fresh, and the configuration on SIGHUP.
struct Watch {
    gateway: Arc<Gateway>,
    reloader: Option<Arc<Reloader>>,
    progress: Box<dyn Fn(Progress) + Send + Sync>,
}

#[async_trait]
impl BackgroundService for Watch {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        // Before anybody is told that we are ready: unwatched, the signal ends the process.
        let mut hangups = signal(SignalKind::hangup()).ok();
        (self.progress)(Progress::Ready);
        let mut watched: Vec<(Arc<Road>, AbortOnDrop)> = Vec::new();
        loop {
            let swapped = self.gateway.swapped();
            let snapshot = self.gateway.snapshot();
            let roads: Vec<_> = snapshot.roads.iter().collect();
            watched.retain(|(road, _)| roads.iter().any(|known| Arc::ptr_eq(known, road)));
            for road in roads {
                if !watched.iter().any(|(known, _)| Arc::ptr_eq(known, road)) {
                    let task = tokio::spawn(outbound::watch(road.clone()));
                    watched.push((road.clone(), AbortOnDrop(task.abort_handle())));
                }
            }
            drop(snapshot);
            tokio::select! {
                () = swapped => {}
                () = hangup(&mut hangups) => self.reload().await,
                _ = shutdown.changed() => return,
            }
        }
    }
}

/// Comes with the next SIGHUP.
async fn hangup(hangups: &mut Option<Signal>) {
    match hangups {
        Some(hangups) => {
            hangups.recv().await;
        }
        None => std::future::pending().await,
    }
}

impl Watch {
    async fn reload(&self) {
        if let Some(reloader) = &self.reloader {
            // Every fault was logged, and stands in the readiness detail.
            let _ = reloader.reload().await;
        }
    }
}

/// Ends a task with the one that wanted it.
struct AbortOnDrop(tokio::task::AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Ends the process when the last request is done, or when the time for that is over.
struct Drain {
    metrics: Arc<Metrics>,
    limit: Duration,
}

#[async_trait]
impl BackgroundService for Drain {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        while !*shutdown.borrow() {
            if shutdown.changed().await.is_err() {
                return;
            }
        }
        let idle = async {
            while self.metrics.connections.get() > 0 {
                tokio::time::sleep(DRAIN_LOOK).await;
            }
        };
        let whole = tokio::time::timeout(self.limit, idle).await.is_ok();
        if whole {
            tracing::info!("stopped: every request in flight was finished");
        } else {
            let left = self.metrics.in_flight.get();
            tracing::error!(left, "stopped: server.drain is over, requests were cut off");
        }
        std::process::exit(if whole { 0 } else { 1 });
    }
}

/// SIGTERM drains, SIGINT (Ctrl-C) too.
struct Signals {
    readiness: Arc<Readiness>,
}

#[async_trait]
impl ShutdownSignalWatch for Signals {
    async fn recv(&self) -> ShutdownSignal {
        let (Ok(mut terminate), Ok(mut interrupt)) = (
            signal(SignalKind::terminate()),
            signal(SignalKind::interrupt()),
        ) else {
            tracing::error!("signals cannot be watched");
            return std::future::pending().await;
        };
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        self.readiness.begin_draining();
        ShutdownSignal::GracefulTerminate
    }
}
