//! From a compiled configuration to a running gateway, and back to rest.
//!
//! Order of starting: bind every socket (so that a port in use is an error and not a panic inside
//! Pingora), resolve the backends, then run. Order of stopping, on SIGTERM: readiness fails, the
//! listeners close, requests in flight finish within `server.drain`, the process ends as soon as
//! there are none. Until then the admin listener tells that the gateway stops.

mod background;
mod socket;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pingora_core::apps::ServerApp;
use pingora_core::listeners::ListenerConfig;
use pingora_core::protocols::l4::stream::L4BufferSettings;
use pingora_core::server::configuration::ServerConf;
use pingora_core::server::{ListenFds, RunArgs, Server, ShutdownWatch};
use pingora_core::services::Service as PingoraService;
use pingora_core::services::background::background_service;
use pingora_core::services::listening::Service;
use tokio::sync::watch;

use self::background::{Delivering, Drain, Feeding, Polling, Replaying, Signals, Upkeep, Watch};
pub use self::socket::{ListenAddress, Socket};
use crate::admin::api::Api;
use crate::admin::live::{self, Live};
use crate::admin::replay::Replays;
use crate::admin::{Admin, Readiness};
use crate::clock::Clock;
use crate::config::presets;
use crate::config::{Config, ConfigFile, StoreSettings};
use crate::delivery::retry::Death;
use crate::dispatch::{Dispatcher, Plan};
use crate::feed::Refresher;
use crate::ingress::Route;
use crate::ingress::dedup::memory::{KEYS_MAX, MemoryLedger};
use crate::ingress::dedup::{DedupKey, DedupRule, Recorded};
use crate::ingress::service::inbox::Inboxes;
use crate::ingress::service::{Desk, Door, Gateway, Listeners, Snapshot};
use crate::metrics::Metrics;
use crate::outbound::Roads;
use crate::poll::Poller;
use crate::poll::reading::Tools;
use crate::reload::{Behind, Reloader, Started};
use crate::store::embedded::{Embedded, Options};
use crate::store::{Store, StoreError};

/// The longest time between SIGTERM and the end that Pingora is told of; `server.drain` ends the
/// process earlier.
const GRACE_SECONDS_MAX: u64 = 24 * 60 * 60;
/// Bytes of read buffer for a connection: the default of 64 KiB is what idle senders would cost.
/// Heads and bodies are read in pieces that are larger, and pass it by.
const READ_BUFFER_BYTES: usize = 4 * 1024;

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
    /// The providers that are compiled in have a fault.
    #[error("{0}")]
    Presets(String),
    /// A secret that a handshake has brought cannot be read.
    #[error("cannot read a secret that a handshake has brought: {0}")]
    Handshakes(io::Error),
    /// The store cannot be opened.
    #[error("{0}")]
    Store(#[from] StoreError),
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
    /// The process ends now.
    Stopped,
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
    replays: Option<Arc<Replays>>,
    keeping: Option<Keeping>,
    feeds: Arc<Refresher>,
    clock: Arc<dyn Clock>,
}

/// What belongs to a store.
struct Keeping {
    store: Arc<dyn Store>,
    dispatcher: Arc<Dispatcher>,
    poller: Arc<Poller>,
    settings: StoreSettings,
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
        metrics.announce_deliveries(config.deliveries(), &Death::ALL.map(Death::label));
        metrics.announce_sources(config.source_names());
        metrics.announce_inboxes(config.inbox_names());
        let metrics = Arc::new(metrics);
        let started_with = Started::new(&config);
        let settings = config.store.clone();
        let store = match &settings {
            Some(settings) => Some(open(settings, clock.as_ref(), &metrics)?),
            None => None,
        };
        let feeds = Arc::new(Refresher::new(
            settings.as_ref().map(|settings| settings.folder.clone()),
            clock.clone(),
            metrics.clone(),
            fastrand::f64,
        ));
        feeds.swap(config.feeds.clone());
        let mut plan = Plan::new(config.plan(), Roads::default());
        let roads = Roads::new(config.backends);
        resolve(&roads)?;
        plan.roads = roads.beside(&Roads::default());
        let snapshot = Snapshot {
            gate: config.gate,
            roads,
            inboxes: Inboxes::of(&config.routes),
            routes: config.routes.clone(),
            headers: config.log.headers,
            redaction: config.log.redaction,
            limits: config.server.limits,
            presets: presets::builtin().map_err(StartError::Presets)?,
        };
        let ledger = MemoryLedger::new();
        if let Some(store) = &store {
            remember(store.as_ref(), &config.routes, &ledger, clock.as_ref())?;
        }
        let gateway = Arc::new(Gateway::new(
            snapshot,
            metrics.clone(),
            clock.clone(),
            ledger,
            store.clone(),
        ));
        if let Some(settings) = &settings {
            let folder = settings.folder.join("handshakes");
            let kept = gateway.keep_secrets_in(folder);
            kept.map_err(StartError::Handshakes)?;
        }
        let keeping = store.zip(settings).map(|(store, settings)| Keeping {
            dispatcher: Arc::new(Dispatcher::new(
                store.clone(),
                plan,
                clock.clone(),
                metrics.clone(),
                gateway.flow().clone(),
                gateway.pauses().clone(),
            )),
            poller: Arc::new(Poller::new(
                tools(store.clone(), clock.clone()),
                metrics.clone(),
                config.sources.clone(),
            )),
            store,
            settings,
        });
        let poller = keeping.as_ref().map(|keeping| keeping.poller.clone());
        let dispatcher = keeping.as_ref().map(|keeping| keeping.dispatcher.clone());
        if let Some(store) = gateway.store() {
            let paused = block_on(live::paused(store.as_ref()))??;
            gateway.pauses().set(paused);
        }
        let replays = keeping.as_ref().map(|keeping| {
            let (store, dispatcher) = (keeping.store.clone(), keeping.dispatcher.clone());
            let replays = Replays::new(store, dispatcher, gateway.clone(), clock.clone());
            Arc::new(replays)
        });
        let live = Live {
            gateway: gateway.clone(),
            dispatcher: dispatcher.clone(),
            reloader: None,
            poller: poller.clone(),
            metrics: metrics.clone(),
            turn: Arc::default(),
        };
        let tokens = started_with.tokens().clone();
        let reloader = file.map(|file| {
            let (gateway, metrics) = (gateway.clone(), metrics.clone());
            let reloader = Reloader::new(
                file,
                started_with,
                gateway,
                Behind {
                    dispatcher,
                    poller: poller.clone(),
                },
                feeds.clone(),
                metrics,
                clock.clone(),
            );
            Arc::new(reloader)
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
                poller,
                feeds: feeds.clone(),
                clock: clock.clone(),
                api: Api::new(
                    tokens,
                    Live {
                        reloader: reloader.clone(),
                        ..live
                    },
                    replays.clone(),
                    clock.clone(),
                ),
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
            replays,
            keeping,
            feeds,
            clock,
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
        let progress: Arc<dyn Fn(Progress) + Send + Sync> = Arc::new(progress);
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
                progress: progress.clone(),
            },
        ));
        let feeding = Feeding { feeds: self.feeds };
        self.server
            .add_service(background_service("feeds", feeding));
        let mut drain = Drain {
            metrics: self.metrics.clone(),
            limit: self.drain,
            progress,
            store: None,
            delivered: None,
            polled: None,
        };
        if let Some(keeping) = self.keeping {
            let (delivering, delivered) = Delivering::new(keeping.dispatcher);
            drain.store = Some(keeping.store.clone());
            drain.delivered = Some(delivered);
            self.server
                .add_service(background_service("dispatch", delivering));
            let (polling, polled) = Polling::new(keeping.poller);
            drain.polled = Some(polled);
            self.server
                .add_service(background_service("polls", polling));
            let upkeep = Upkeep {
                store: keeping.store,
                settings: keeping.settings,
                clock: self.clock,
            };
            self.server
                .add_service(background_service("upkeep", upkeep));
            if let Some(replays) = self.replays {
                let replaying = Replaying { replays };
                self.server
                    .add_service(background_service("replays", replaying));
            }
        }
        self.server.add_service(background_service("drain", drain));
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
        // Pingora's own timer wakes a hundred times a second once it was used.
        fast_timeout_to_tokio_threshold_seconds: Some(0),
        ..ServerConf::default()
    }
}

fn open(
    settings: &StoreSettings,
    clock: &dyn Clock,
    metrics: &Arc<Metrics>,
) -> Result<Arc<dyn Store>, StartError> {
    let options = Options {
        folder: settings.folder.clone(),
        depth_max: settings.depth_max,
        bytes_max: settings.bytes_max,
        cache_bytes: settings.cache_bytes,
        cipher: settings.cipher.clone(),
        vfs: None,
    };
    let store = Embedded::open(options, clock.now(), metrics.clone())?;
    Ok(Arc::new(store))
}

/// What sources are polled with.
fn tools(store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Tools {
    Tools {
        store,
        clock,
        chance: fastrand::f64,
        // Another number for every process: what an earlier one led is taken over.
        who: fastrand::u64(..),
    }
}

/// Knows proxied events of an earlier process again; queued ones the store knows by itself.
fn remember(
    store: &dyn Store,
    routes: &[Arc<Route>],
    ledger: &MemoryLedger,
    clock: &dyn Clock,
) -> Result<(), StartError> {
    let proxied = routes.iter().filter(|route| route.live().is_some());
    let mut scopes: Vec<u64> = proxied
        .filter_map(|route| route.dedup.as_ref())
        .map(DedupRule::scope)
        .collect();
    scopes.sort_unstable();
    scopes.dedup();
    let now = clock.now();
    let remembered = block_on(store.remembered(&scopes, now, KEYS_MAX))??;
    for known in remembered {
        let left = known.claim.until.duration_since(now);
        let left = Duration::try_from(left).unwrap_or_default();
        let answer = known.answer.map_or_else(
            || Recorded {
                status: 200,
                headers: Vec::new(),
                body: None,
            },
            |answer| Recorded {
                status: answer.status,
                headers: answer.headers,
                body: answer.body,
            },
        );
        let key = DedupKey::from_bytes(known.claim.key);
        ledger.restore(key, clock.monotonic().saturating_add(left), answer);
    }
    Ok(())
}

fn resolve(roads: &Roads) -> Result<(), StartError> {
    block_on(roads.resolve_new())
}

/// Waits before there is a server with a runtime.
fn block_on<T>(work: impl Future<Output = T>) -> Result<T, StartError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| StartError::Internal(error.to_string()))?;
    Ok(runtime.block_on(work))
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
