//! Reload: the new file compiled completely and swapped at once, or nothing changed.
//!
//! Requests in flight finish on the snapshot they began with. Buckets of rate limits live on where
//! their rule did not change, remembered events always, pooled connections where their backend did
//! not change.

use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use tokio::sync::Mutex as AsyncMutex;

use crate::access::Tokens;
use crate::clock::Clock;
use crate::config::{Config, ConfigFile, LoadError, ServerSettings, StoreSettings};
use crate::delivery::retry::Death;
use crate::dispatch::{Dispatcher, Plan};
use crate::feed::Refresher;
use crate::ingress::service::inbox::Inboxes;
use crate::ingress::service::{Gateway, Snapshot};
use crate::metrics::Metrics;
use crate::outbound::Roads;
use crate::poll::Poller;

/// What a reload brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// Keys whose new value needs a restart.
    pub needs_restart: Vec<&'static str>,
}

/// How the last reload went, for readiness and metrics.
#[derive(Debug, Clone)]
pub struct ReloadStatus {
    /// When the running configuration was applied.
    pub applied_at: Timestamp,
    /// The SHA-256 of the file that it was in, in hexadecimal.
    pub sha256: String,
    /// Why the newest file was not applied; `None` when it was.
    pub fault: Option<String>,
}

/// Reads the file again and swaps what requests are judged by.
pub struct Reloader {
    file: ConfigFile,
    started_with: Started,
    gateway: Arc<Gateway>,
    behind: Behind,
    feeds: Arc<Refresher>,
    metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
    status: Mutex<ReloadStatus>,
    /// One reload at a time.
    turn: AsyncMutex<()>,
}

/// What works behind the requests; `None` without a store.
pub struct Behind {
    /// Delivers what is queued.
    pub dispatcher: Option<Arc<Dispatcher>>,
    /// Polls sources.
    pub poller: Option<Arc<Poller>>,
}

/// The settings that a running process cannot change.
pub struct Started {
    server: ServerSettings,
    admin: crate::config::AdminSettings,
    log: crate::config::raw::server::LogFormat,
    store: Option<StoreSettings>,
    sha256: String,
    tokens: Arc<Tokens>,
}

impl Started {
    /// Notes them.
    pub fn new(config: &Config) -> Self {
        Self {
            server: config.server.clone(),
            admin: config.admin.clone(),
            log: config.log.format,
            store: config.store.clone(),
            sha256: config.sha256.clone(),
            tokens: Arc::new(Tokens::new(config.admin.tokens.clone())),
        }
    }

    /// The tokens that the file named; a reload renews them.
    pub fn tokens(&self) -> &Arc<Tokens> {
        &self.tokens
    }

    fn needs_restart(&self, config: &Config) -> Vec<&'static str> {
        let changed = [
            (self.server.listen != config.server.listen, "server.listen"),
            (
                self.server.threads != config.server.threads,
                "server.threads",
            ),
            (self.server.drain != config.server.drain, "server.drain"),
            (self.admin.listen != config.admin.listen, "admin.listen"),
            (self.log != config.log.format, "log.format"),
            (self.store != config.store, "store"),
        ];
        let keys = changed.into_iter().filter(|(changed, _)| *changed);
        keys.map(|(_, key)| key).collect()
    }

    /// Gives the listeners that run what the new file says about their handshakes.
    fn renew_tls(&self, config: &Config) {
        let new = &config.server.listen;
        for (index, (address, listener)) in self.server.listen.iter().enumerate() {
            // Two listeners with any free port have the same address in the file.
            let same_place = new.get(index).filter(|(other, _)| other == address);
            let same = same_place.or_else(|| new.iter().find(|(other, _)| other == address));
            let renewed = same.and_then(|(_, listener)| listener.tls.as_ref());
            if let (Some(tls), Some(renewed)) = (&listener.tls, renewed) {
                tls.renew(renewed);
            }
        }
    }
}

impl Reloader {
    /// Watches over the file that a gateway was started with.
    pub fn new(
        file: ConfigFile,
        started_with: Started,
        gateway: Arc<Gateway>,
        behind: Behind,
        feeds: Arc<Refresher>,
        metrics: Arc<Metrics>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let applied_at = clock.now();
        metrics.config_applied.set(applied_at.as_second());
        let status = Mutex::new(ReloadStatus {
            applied_at,
            sha256: started_with.sha256.clone(),
            fault: None,
        });
        Self {
            file,
            started_with,
            gateway,
            behind,
            feeds,
            metrics,
            clock,
            status,
            turn: AsyncMutex::default(),
        }
    }

    /// How the last reload went.
    pub fn status(&self) -> ReloadStatus {
        self.status
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Compiles the file and swaps it in.
    ///
    /// # Errors
    /// [`LoadError`] with every fault; then nothing has changed.
    pub async fn reload(&self) -> Result<Applied, LoadError> {
        let _turn = self.turn.lock().await;
        match self.file.load() {
            Ok(config) => {
                let applied = self.apply(config).await;
                if let Err(error) = self.gateway.recall_secrets() {
                    tracing::error!(%error, "secrets of handshakes cannot be read");
                }
                Ok(applied)
            }
            Err(error) => {
                self.metrics
                    .config_reloads
                    .with_label_values(&["faulty"])
                    .inc();
                let fault = error.to_string();
                tracing::error!(
                    fault,
                    "the new configuration is faulty, nothing has changed"
                );
                self.set_status(|status| status.fault = Some(fault));
                Err(error)
            }
        }
    }

    async fn apply(&self, config: Config) -> Applied {
        let needs_restart = self.started_with.needs_restart(&config);
        self.metrics
            .announce(config.route_names(), config.backend_names());
        self.metrics
            .announce_deliveries(config.deliveries(), &Death::ALL.map(Death::label));
        self.metrics.announce_sources(config.source_names());
        self.metrics.announce_inboxes(config.inbox_names());
        let plan = config.plan();
        self.started_with.renew_tls(&config);
        self.started_with.tokens.renew(config.admin.tokens);
        let roads = Roads::renewed(config.backends, &self.gateway.snapshot().roads);
        roads.resolve_new().await;
        if let Some(dispatcher) = &self.behind.dispatcher {
            let roads = roads.beside(&dispatcher.plan().roads);
            dispatcher.swap(Plan::new(plan, roads));
        }
        if let Some(poller) = &self.behind.poller {
            poller.swap(config.sources);
        }
        // Before requests see the new routes: their feeds have the lists that are known.
        self.feeds.swap(config.feeds);
        self.gateway.swap(Snapshot {
            gate: config.gate,
            roads,
            inboxes: Inboxes::of(&config.routes),
            routes: config.routes,
            headers: config.log.headers,
            redaction: config.log.redaction,
            limits: config.server.limits,
            presets: self.gateway.snapshot().presets,
        });
        let now = self.clock.now();
        self.metrics
            .config_reloads
            .with_label_values(&["applied"])
            .inc();
        self.metrics.config_applied.set(now.as_second());
        self.set_status(|status| {
            *status = ReloadStatus {
                applied_at: now,
                sha256: config.sha256,
                fault: None,
            }
        });
        tracing::info!(
            needs_restart = needs_restart.join(", "),
            "the new configuration is applied"
        );
        Applied { needs_restart }
    }

    fn set_status(&self, change: impl FnOnce(&mut ReloadStatus)) {
        change(&mut self.status.lock().unwrap_or_else(PoisonError::into_inner));
    }
}
