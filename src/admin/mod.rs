//! The operator's side: `/metrics`, `/healthz`, `/readyz`, `/reload` and the API on a listener of its
//! own.
//!
//! [`api`] answers what [`operation`] lists, in the words of [`wire`]; [`access`] says who may ask.

pub mod access;
pub mod api;
pub mod explain;
pub mod filter;
pub mod live;
pub mod openapi;
mod operation;
pub mod problem;
pub mod query;
pub mod replay;
pub mod sources;
pub mod wire;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use http::{Response, StatusCode, header};
use serde_json::json;

use self::api::Api;
pub use self::operation::BASE;
use crate::clock::Clock;
use crate::feed::{self, Refresher};
use crate::ingress::service::Gateway;
use crate::ingress::service::desk::{Clerk, Question, Reply};
use crate::metrics::Metrics;
use crate::poll::poller::View;
use crate::poll::reading::Ended;
use crate::poll::{Poller, Source};
use crate::reload::Reloader;

/// A header that a web page cannot send without asking first.
pub const ADMIN_HEADER: &str = "hookgate-admin";

/// Whether the gateway still takes new work.
#[derive(Debug, Default)]
pub struct Readiness {
    draining: AtomicBool,
}

impl Readiness {
    /// Says that the gateway is about to stop.
    pub fn begin_draining(&self) {
        self.draining.store(true, Ordering::Release);
    }

    /// Whether it is about to stop.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }
}

/// Answers the operator's questions.
pub struct Admin {
    /// What is looked at.
    pub gateway: Arc<Gateway>,
    /// Its metrics.
    pub metrics: Arc<Metrics>,
    /// Whether it takes new work.
    pub readiness: Arc<Readiness>,
    /// Reads the file again; `None` when there is none.
    pub reloader: Option<Arc<Reloader>>,
    /// Polls sources; `None` without a store.
    pub poller: Option<Arc<Poller>>,
    /// Keeps feeds fresh.
    pub feeds: Arc<Refresher>,
    /// Says how late deliveries are.
    pub clock: Arc<dyn Clock>,
    /// Answers what is asked below [`BASE`].
    pub api: Api,
}

impl Admin {
    async fn simple(&self, question: &Question) -> Response<Vec<u8>> {
        let path = String::from_utf8_lossy(question.head.path());
        match (question.head.method.as_str(), &*path) {
            ("POST", "/reload") => self.reload(question).await,
            (_, "/reload") => text(StatusCode::METHOD_NOT_ALLOWED, "only POST\n"),
            ("GET" | "HEAD", path) => self.look(path),
            _ => text(StatusCode::METHOD_NOT_ALLOWED, "only GET\n"),
        }
    }

    fn look(&self, path: &str) -> Response<Vec<u8>> {
        match path {
            "/metrics" => self.metrics(),
            "/healthz" => text(StatusCode::OK, "ok\n"),
            "/readyz" => self.readyz(),
            _ => {
                let known = "known are /metrics, /healthz, /readyz, /reload and /api/v1\n";
                text(StatusCode::NOT_FOUND, known)
            }
        }
    }

    /// Only for whoever is on this machine, and not for a web page that he looks at: a page
    /// cannot send the header without asking first.
    async fn reload(&self, question: &Question) -> Response<Vec<u8>> {
        if !question.is_local() || question.head.headers.first(ADMIN_HEADER).is_none() {
            let how = "only from this machine, with the header `Hookgate-Admin: 1`\n";
            return text(StatusCode::FORBIDDEN, how);
        }
        let Some(reloader) = &self.reloader else {
            return text(
                StatusCode::CONFLICT,
                "this gateway was not started from a file\n",
            );
        };
        let (status, document) = match reloader.reload().await {
            Ok(applied) => {
                let keys = applied.needs_restart;
                (
                    StatusCode::OK,
                    json!({"applied": true, "needs_restart": keys}),
                )
            }
            Err(error) => {
                let report = error.to_string();
                (
                    StatusCode::UNPROCESSABLE_ENTITY,
                    json!({"applied": false, "report": report}),
                )
            }
        };
        respond(
            status,
            "application/json",
            format!("{document}\n").into_bytes(),
        )
    }

    fn metrics(&self) -> Response<Vec<u8>> {
        let (keys, forgotten) = self.gateway.ledger().size();
        self.metrics
            .dedup_keys
            .set(i64::try_from(keys).unwrap_or(i64::MAX));
        self.store_metrics();
        self.feeds.observe();
        self.metrics
            .dedup_forgotten_early
            .set(i64::try_from(forgotten).unwrap_or(i64::MAX));
        for road in self.gateway.snapshot().roads.iter() {
            let (all, healthy) = road.health();
            for (state, count) in [("healthy", healthy), ("unhealthy", all - healthy)] {
                let labels = [road.backend().name.as_str(), state];
                let gauge = self.metrics.backend_addresses.with_label_values(&labels);
                gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
            }
        }
        respond(
            StatusCode::OK,
            "text/plain; version=0.0.4; charset=utf-8",
            self.metrics.exposition(),
        )
    }

    /// From counters in memory: a scrape never reads the store.
    fn store_metrics(&self) {
        let Some(store) = self.gateway.store() else {
            return;
        };
        let usage = store.usage();
        let metrics = &self.metrics.delivery;
        let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        let now = self.clock.now();
        for backend in &usage.backends {
            let labels = [&*backend.backend];
            metrics
                .depth
                .with_label_values(&labels)
                .set(number(backend.depth));
            let lag = backend
                .due
                .map_or(0.0, |due| now.duration_since(due).as_secs_f64().max(0.0));
            metrics.due_lag.with_label_values(&labels).set(lag);
        }
        for (route, depth) in &usage.routes {
            let gauge = metrics.route_depth.with_label_values(&[&**route]);
            gauge.set(number(*depth));
        }
        for (file, bytes) in [("all", usage.file_bytes), ("wal", usage.wal_bytes)] {
            let gauge = metrics.store_bytes.with_label_values(&[file]);
            gauge.set(number(bytes));
        }
        metrics.logs_dropped.set(number(usage.logs_dropped));
        metrics
            .store_up
            .set(if usage.trouble.is_none() { 1.0 } else { 0.0 });
    }

    /// A backend that is down does not make the gateway unready: it still has an answer for the
    /// sender, and other routes have other backends. It is told in the detail.
    fn readyz(&self) -> Response<Vec<u8>> {
        let ready = !self.readiness.is_draining();
        let snapshot = self.gateway.snapshot();
        let mut backends: Vec<_> = snapshot.roads.iter().collect();
        backends.sort_by(|a, b| a.backend().name.cmp(&b.backend().name));
        let backends: serde_json::Map<_, _> = backends
            .into_iter()
            .map(|road| {
                let (addresses, healthy) = road.health();
                let detail = json!({"addresses": addresses, "healthy": healthy});
                (road.backend().name.clone(), detail)
            })
            .collect();
        let config = self.reloader.as_ref().map(|reloader| {
            let status = reloader.status();
            json!({"applied_at": status.applied_at.to_string(), "fault": status.fault})
        });
        let store = self
            .gateway
            .store()
            .map(|store| json!({"trouble": store.usage().trouble}));
        let sources = self.poller.as_ref().map(|poller| self.sources(poller));
        // A stale list is a list: told, and no reason to be unready.
        let feeds: serde_json::Map<_, _> =
            self.feeds.views().into_iter().map(feed_detail).collect();
        let detail = json!({
            "ready": ready,
            "draining": !ready,
            "config": config,
            "store": store,
            "backends": backends,
            "sources": sources,
            "feeds": feeds,
        });
        let status = if ready {
            StatusCode::OK
        } else {
            StatusCode::SERVICE_UNAVAILABLE
        };
        respond(
            status,
            "application/json",
            format!("{detail}\n").into_bytes(),
        )
    }
}

impl Admin {
    /// How many partitions of each source wait for somebody, and how many are silent.
    fn sources(&self, poller: &Poller) -> serde_json::Map<String, serde_json::Value> {
        let now = self.clock.now();
        let one = |source: &Arc<Source>| {
            let views = poller.views(&source.name);
            let count =
                |is: &dyn Fn(&View) -> bool| views.iter().filter(|(_, view)| is(view)).count();
            let paused = count(&|view| matches!(view.last, Some(Ended::Paused(_))));
            let silent = count(&|view| view.is_silent(source, now));
            let detail = json!({"partitions": views.len(), "paused": paused, "silent": silent});
            (source.name.to_string(), detail)
        };
        poller.sources().iter().map(one).collect()
    }
}

fn feed_detail(view: feed::View) -> (String, serde_json::Value) {
    let detail = json!({"ranges": view.ranges, "age_seconds": view.age.as_secs()});
    (view.name, detail)
}

fn text(status: StatusCode, body: &str) -> Response<Vec<u8>> {
    respond(
        status,
        "text/plain; charset=utf-8",
        body.as_bytes().to_vec(),
    )
}

fn respond(status: StatusCode, content_type: &'static str, body: Vec<u8>) -> Response<Vec<u8>> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let length = response.body().len().into();
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        header::HeaderValue::from_static(content_type),
    );
    headers.insert(header::CONTENT_LENGTH, length);
    headers.insert(
        header::CACHE_CONTROL,
        header::HeaderValue::from_static("no-store"),
    );
    response
}

#[async_trait]
impl Clerk for Admin {
    async fn answer(&self, question: Question) -> Reply {
        if question.head.path().starts_with(BASE.as_bytes()) {
            return self.api.answer(&question).await;
        }
        Reply::Whole(self.simple(&question).await)
    }
}
