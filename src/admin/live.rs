//! What routes and backends are doing, and whether they are paused.

use std::sync::Arc;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::problem::Problem;
use crate::delivery::Mode;
use crate::delivery::pauses::Paused;
use crate::dispatch::Dispatcher;
use crate::ingress::service::Gateway;
use crate::metrics::Metrics;
use crate::reload::Reloader;
use crate::store::{Log, Shelf, StoreError, Usage};

/// All routes, in the order of the file.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct RouteList {
    /// The routes.
    pub routes: Vec<RouteState>,
}

/// A route and what waits of it.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct RouteState {
    /// Its name.
    pub name: String,
    /// Whether it takes nothing.
    pub paused: bool,
    /// Deliveries of its events that wait.
    pub depth: u64,
    /// Where its events go.
    pub deliver: Vec<DeliverState>,
}

/// One of the deliveries of a route.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct DeliverState {
    /// Its place in the list.
    pub slot: u16,
    /// The backend.
    pub backend: String,
    /// `proxy`, `queue` or `spill`.
    pub mode: String,
}

/// All backends, by name.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct BackendList {
    /// The backends.
    pub backends: Vec<BackendState>,
}

/// A backend and how it is.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct BackendState {
    /// Its name.
    pub name: String,
    /// Whether the queued deliveries to it are held.
    pub paused: bool,
    /// Its addresses.
    pub addresses: usize,
    /// Those of them that are healthy.
    pub healthy: usize,
    /// Deliveries to it that wait.
    pub depth: u64,
    /// Seconds by which the longest due delivery to it is late.
    pub lag_seconds: f64,
    /// `closed`, `open` or `half_open`.
    pub breaker: String,
    /// Seconds since it last answered well; absent before the first time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_success_seconds: Option<f64>,
}

/// The configuration that is in use.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ConfigState {
    /// The SHA-256 of the file as it was read; absent when there was none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// Since when it is in use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub applied_at: Option<String>,
    /// Why the last reload changed nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
}

/// Looks at a running gateway, and pauses parts of it.
pub struct Live {
    /// The gateway.
    pub gateway: Arc<Gateway>,
    /// What delivers; `None` without a store.
    pub dispatcher: Option<Arc<Dispatcher>>,
    /// Polls sources; `None` without a store.
    pub poller: Option<Arc<crate::poll::Poller>>,
    /// Knows the file.
    pub reloader: Option<Arc<Reloader>>,
    /// Knows the breakers.
    pub metrics: Arc<Metrics>,
    /// One change of what is paused at a time.
    pub turn: Arc<tokio::sync::Mutex<()>>,
}

impl Live {
    fn usage(&self) -> Usage {
        let store = self.gateway.store();
        store.map(|store| store.usage()).unwrap_or_default()
    }

    pub(super) fn routes(&self) -> RouteList {
        let (usage, paused) = (self.usage(), self.gateway.pauses().now());
        let snapshot = self.gateway.snapshot();
        let routes = snapshot.routes.iter().map(|route| RouteState {
            name: route.name.clone(),
            paused: paused.routes.contains(&route.name),
            depth: usage
                .routes
                .iter()
                .find(|(name, _)| **name == *route.name)
                .map_or(0, |(_, depth)| *depth),
            deliver: route
                .deliver
                .iter()
                .map(|one| DeliverState {
                    slot: one.slot,
                    backend: one.backend.name.clone(),
                    mode: match one.mode {
                        Mode::Proxy => "proxy",
                        Mode::Queue => "queue",
                        Mode::Spill => "spill",
                    }
                    .to_owned(),
                })
                .collect(),
        });
        RouteList {
            routes: routes.collect(),
        }
    }

    pub(super) fn backends(&self, now: Timestamp) -> BackendList {
        let (usage, paused) = (self.usage(), self.gateway.pauses().now());
        let snapshot = self.gateway.snapshot();
        let plan = self.dispatcher.as_ref().map(|dispatcher| dispatcher.plan());
        let mut backends: Vec<BackendState> = snapshot
            .roads
            .iter()
            .map(|road| {
                let name = &road.backend().name;
                let (addresses, healthy) = road.health();
                let waits = usage.backends.iter().find(|one| *one.backend == **name);
                let due = waits.and_then(|waits| waits.due);
                // The dispatcher has a road of its own.
                let second = plan.as_ref().and_then(|plan| plan.roads.named(name));
                let second = second.and_then(|road| road.last_success());
                let last = road.last_success().into_iter().chain(second).min();
                BackendState {
                    name: name.clone(),
                    paused: paused.backends.contains(name),
                    addresses,
                    healthy,
                    depth: waits.map_or(0, |waits| waits.depth),
                    lag_seconds: due
                        .map_or(0.0, |due| now.duration_since(due).as_secs_f64().max(0.0)),
                    breaker: self.metrics.delivery.breaker_of(name).to_owned(),
                    last_success_seconds: last.map(|last| last.as_secs_f64()),
                }
            })
            .collect();
        backends.sort_by(|a, b| a.name.cmp(&b.name));
        BackendList { backends }
    }

    pub(super) fn config(&self) -> ConfigState {
        let status = self.reloader.as_ref().map(|reloader| reloader.status());
        ConfigState {
            sha256: status.as_ref().map(|status| status.sha256.clone()),
            applied_at: status.as_ref().map(|status| status.applied_at.to_string()),
            fault: status.and_then(|status| status.fault),
        }
    }

    pub(super) fn known_route(&self, name: &str) -> Result<(), Problem> {
        let snapshot = self.gateway.snapshot();
        let is_known = snapshot.routes.iter().any(|route| route.name == name);
        let missing = || Problem::missing(format!("there is no route `{name}`"));
        is_known.then_some(()).ok_or_else(missing)
    }

    pub(super) fn known_backend(&self, name: &str) -> Result<(), Problem> {
        let snapshot = self.gateway.snapshot();
        let missing = || Problem::missing(format!("there is no backend `{name}`"));
        snapshot.roads.named(name).map(|_| ()).ok_or_else(missing)
    }

    pub(super) async fn pause_route(
        &self,
        name: &str,
        is_paused: bool,
    ) -> Result<RouteList, Problem> {
        let _turn = self.turn.lock().await;
        let mut paused = Paused::clone(&self.gateway.pauses().now());
        change(&mut paused.routes, name, is_paused);
        self.pause(paused, format!("route {name}"), is_paused)
            .await?;
        Ok(self.routes())
    }

    pub(super) async fn pause_backend(
        &self,
        name: &str,
        is_paused: bool,
        now: Timestamp,
    ) -> Result<BackendList, Problem> {
        let _turn = self.turn.lock().await;
        let mut paused = Paused::clone(&self.gateway.pauses().now());
        change(&mut paused.backends, name, is_paused);
        self.pause(paused, format!("backend {name}"), is_paused)
            .await?;
        Ok(self.backends(now))
    }

    async fn pause(&self, paused: Paused, key: String, is_paused: bool) -> Result<(), StoreError> {
        if let Some(store) = self.gateway.store() {
            let document = is_paused.then(String::new);
            store.put(Shelf::Pauses, key, document).await?;
        }
        self.gateway.pauses().set(paused);
        if let Some(dispatcher) = &self.dispatcher {
            dispatcher.wake();
        }
        Ok(())
    }
}

fn change(names: &mut std::collections::BTreeSet<String>, name: &str, is_in: bool) {
    match is_in {
        true => names.insert(name.to_owned()),
        false => names.remove(name),
    };
}

/// What was paused when the process ended.
///
/// # Errors
/// [`StoreError`] when the store cannot be read.
pub async fn paused(log: &(impl Log + ?Sized)) -> Result<Paused, StoreError> {
    let mut paused = Paused::default();
    for (key, _) in log.shelf(Shelf::Pauses).await? {
        match key.split_once(' ') {
            Some(("route", name)) => paused.routes.insert(name.to_owned()),
            Some(("backend", name)) => paused.backends.insert(name.to_owned()),
            _ => false,
        };
    }
    Ok(paused)
}
