//! What runs beside the requests: fresh roads, reloads, deliveries, upkeep, and the end.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pingora_core::server::{ShutdownSignal, ShutdownSignalWatch, ShutdownWatch};
use pingora_core::services::background::BackgroundService;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use super::Progress;
use crate::admin::Readiness;
use crate::admin::replay::Replays;
use crate::clock::Clock;
use crate::config::StoreSettings;
use crate::dispatch::Dispatcher;
use crate::feed::Refresher;
use crate::ingress::service::Gateway;
use crate::metrics::Metrics;
use crate::outbound::{self, Road};
use crate::poll::Poller;
use crate::reload::Reloader;
use crate::store::Store;

/// How often the drain looks whether the last request is done.
const DRAIN_LOOK: Duration = Duration::from_millis(10);
/// How long the store may take to write what it was handed, at the end.
const CLOSE_TIME_MAX: Duration = Duration::from_secs(10);
/// How often the store forgets what was kept for long enough.
const UPKEEP_PAUSE: Duration = Duration::from_secs(60);
/// How often, while there is more to forget than is forgotten at a time.
const UPKEEP_AT_WORK_PAUSE: Duration = Duration::from_millis(25);

/// Keeps the roads to the backends fresh, and the configuration on SIGHUP.
pub(super) struct Watch {
    pub(super) gateway: Arc<Gateway>,
    pub(super) reloader: Option<Arc<Reloader>>,
    pub(super) progress: Arc<dyn Fn(Progress) + Send + Sync>,
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
pub(super) struct Drain {
    pub(super) metrics: Arc<Metrics>,
    pub(super) limit: Duration,
    pub(super) progress: Arc<dyn Fn(Progress) + Send + Sync>,
    pub(super) store: Option<Arc<dyn Store>>,
    /// Comes true when no attempt is being made any more.
    pub(super) delivered: Option<watch::Receiver<bool>>,
    /// Comes true when no source is polled any more.
    pub(super) polled: Option<watch::Receiver<bool>>,
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
            for done in [&self.polled, &self.delivered].into_iter().flatten() {
                // An end of the sender is an end, too.
                let _ = done.clone().wait_for(|done| *done).await;
            }
        };
        let whole = tokio::time::timeout(self.limit, idle).await.is_ok();
        if let Some(store) = &self.store {
            let _ = tokio::time::timeout(CLOSE_TIME_MAX, store.close()).await;
        }
        if whole {
            tracing::info!("stopped: every request in flight was finished");
        } else {
            let left = self.metrics.in_flight.get();
            tracing::error!(left, "stopped: server.drain is over, requests were cut off");
        }
        (self.progress)(Progress::Stopped);
        std::process::exit(if whole { 0 } else { 1 });
    }
}

/// SIGTERM drains, SIGINT (Ctrl-C) too.
pub(super) struct Signals {
    pub(super) readiness: Arc<Readiness>,
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

/// Delivers what is queued, until the end.
pub(super) struct Delivering {
    dispatcher: Arc<Dispatcher>,
    done: watch::Sender<bool>,
}

impl Delivering {
    /// The service, and what tells when it has ended.
    pub(super) fn new(dispatcher: Arc<Dispatcher>) -> (Self, watch::Receiver<bool>) {
        let (done, told) = watch::channel(false);
        (Self { dispatcher, done }, told)
    }
}

#[async_trait]
impl BackgroundService for Delivering {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        let stop = async {
            let _ = shutdown.wait_for(|stopping| *stopping).await;
        };
        self.dispatcher.run(stop).await;
        let _ = self.done.send(true);
    }
}

/// Polls sources, until the end.
pub(super) struct Polling {
    poller: Arc<Poller>,
    done: watch::Sender<bool>,
}

impl Polling {
    /// The service, and what tells when it has ended.
    pub(super) fn new(poller: Arc<Poller>) -> (Self, watch::Receiver<bool>) {
        let (done, told) = watch::channel(false);
        (Self { poller, done }, told)
    }
}

#[async_trait]
impl BackgroundService for Polling {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        let stop = async {
            let _ = shutdown.wait_for(|stopping| *stopping).await;
        };
        self.poller.clone().run(stop).await;
        let _ = self.done.send(true);
    }
}

/// Refreshes feeds, until the end.
pub(super) struct Feeding {
    pub(super) feeds: Arc<Refresher>,
}

#[async_trait]
impl BackgroundService for Feeding {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        let stop = async {
            let _ = shutdown.wait_for(|stopping| *stopping).await;
        };
        self.feeds.clone().run(stop).await;
    }
}

/// Goes on with replays, until the end.
pub(super) struct Replaying {
    pub(super) replays: Arc<Replays>,
}

#[async_trait]
impl BackgroundService for Replaying {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        tokio::select! {
            () = self.replays.clone().run() => {}
            _ = shutdown.changed() => {}
        }
    }
}

/// Lets the store forget what was kept for long enough.
pub(super) struct Upkeep {
    pub(super) store: Arc<dyn Store>,
    pub(super) settings: StoreSettings,
    pub(super) clock: Arc<dyn Clock>,
}

#[async_trait]
impl BackgroundService for Upkeep {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        loop {
            let now = self.clock.now();
            let policy = self.settings.keep.retention(now, self.settings.bytes_max);
            let mut pause = UPKEEP_PAUSE;
            match self.store.retain(policy, now).await {
                Ok(retained) if retained.may_have_more() => pause = UPKEEP_AT_WORK_PAUSE,
                Ok(retained) if retained.partitions_dropped > 0 => {
                    let dropped = retained.partitions_dropped;
                    tracing::info!(dropped, "days of the log were forgotten");
                }
                Ok(_) => {}
                Err(error) => tracing::warn!(%error, "upkeep"),
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _ = shutdown.changed() => return,
            }
        }
    }
}
