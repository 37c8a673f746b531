//! Every metric name and label, in one place.
//!
//! Labels are bounded: routes and backends are those of the file, reasons those of two tables in
//! the code. Nothing that a sender writes becomes a label.

pub mod delivery;
pub mod feeds;
pub mod polls;

use std::sync::Arc;

use self::delivery::DeliveryMetrics;
use self::feeds::FeedMetrics;
use self::polls::PollMetrics;
use prometheus::{
    Encoder, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder,
};

/// Seconds; from what a local backend needs to what a provider waits.
const DURATION_BUCKETS: &[f64] = &[
    0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];
/// Seconds; hashing takes microseconds for a kilobyte and milliseconds for megabytes.
const VERIFY_BUCKETS: &[f64] = &[
    0.000_002_5,
    0.000_005,
    0.000_01,
    0.000_025,
    0.000_05,
    0.000_1,
    0.000_5,
    0.001,
    0.005,
    0.025,
];

/// The metrics of one gateway.
pub struct Metrics {
    registry: Registry,
    /// Requests by route, verdict and reason; each request once.
    pub requests: IntCounterVec,
    /// Seconds from the head of a request to the end of its answer, by route.
    pub duration: HistogramVec,
    /// Seconds spent on judging a request, by route.
    pub verify: HistogramVec,
    /// Seconds from handing a request to a backend to the head of its answer, by backend.
    pub backend: HistogramVec,
    /// Answers by backend and status class, or by how it failed.
    pub backend_answers: IntCounterVec,
    /// Bytes of request bodies, by route.
    pub request_bytes: IntCounterVec,
    /// Bytes of response bodies, by route.
    pub response_bytes: IntCounterVec,
    /// Requests of consumers of inboxes, by route and what became of them.
    pub inbox_requests: IntCounterVec,
    /// Requests being worked on.
    pub in_flight: IntGauge,
    /// Connections that are open on the webhook listeners.
    pub connections: IntGauge,
    /// Events that are remembered, to know them again.
    pub dedup_keys: IntGauge,
    /// Events that were forgotten before their window ended, for want of room.
    pub dedup_forgotten_early: IntGauge,
    /// Reloads by result (`applied`, `faulty`).
    pub config_reloads: IntCounterVec,
    /// When the running configuration was applied, in seconds since 1970.
    pub config_applied: IntGauge,
    /// Refused requests that came too fast to be noted in the log of events.
    pub refusals_unlogged: IntCounter,
    /// Connections that were closed before their first request, by reason.
    pub connections_refused: IntCounterVec,
    /// Addresses of a backend by state (`healthy`, `unhealthy`).
    pub backend_addresses: IntGaugeVec,
    /// The queue, deliveries and the store.
    pub delivery: DeliveryMetrics,
    /// The sources.
    pub polls: PollMetrics,
    /// The feeds.
    pub feeds: FeedMetrics,
}

impl Metrics {
    /// Registers all metrics.
    ///
    /// # Errors
    /// When two of them have one name.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let metrics = Self {
            requests: counter(
                &registry,
                "hookgate_requests_total",
                "Requests by route, verdict and reason.",
                &["route", "verdict", "reason"],
            )?,
            duration: histogram(
                &registry,
                "hookgate_request_duration_seconds",
                "From the head of a request to the end of its answer.",
                &["route"],
                DURATION_BUCKETS,
            )?,
            verify: histogram(
                &registry,
                "hookgate_verify_duration_seconds",
                "Judging a request: signature, time, handshake.",
                &["route"],
                VERIFY_BUCKETS,
            )?,
            backend: histogram(
                &registry,
                "hookgate_backend_duration_seconds",
                "From handing a request to a backend to the head of its answer.",
                &["backend"],
                DURATION_BUCKETS,
            )?,
            backend_answers: counter(
                &registry,
                "hookgate_backend_answers_total",
                "Answers of backends by status class, or by how they failed.",
                &["backend", "outcome"],
            )?,
            request_bytes: counter(
                &registry,
                "hookgate_request_body_bytes_total",
                "Bytes of request bodies that were read.",
                &["route"],
            )?,
            response_bytes: counter(
                &registry,
                "hookgate_response_body_bytes_total",
                "Bytes of response bodies that were passed on.",
                &["route"],
            )?,
            inbox_requests: counter(
                &registry,
                "hookgate_inbox_requests_total",
                "Requests of those who read inboxes, by what became of them.",
                &["route", "outcome"],
            )?,
            in_flight: gauge(
                &registry,
                "hookgate_requests_in_flight",
                "Requests being worked on.",
            )?,
            connections: gauge(
                &registry,
                "hookgate_connections",
                "Connections that are open on the webhook listeners.",
            )?,
            dedup_keys: gauge(
                &registry,
                "hookgate_dedup_keys",
                "Events that are remembered, to know them again.",
            )?,
            dedup_forgotten_early: gauge(
                &registry,
                "hookgate_dedup_forgotten_early",
                "Events that were forgotten before their window ended, for want of room.",
            )?,
            config_reloads: counter(
                &registry,
                "hookgate_config_reloads_total",
                "Reloads of the configuration by result.",
                &["result"],
            )?,
            refusals_unlogged: plain_counter(
                &registry,
                "hookgate_refusals_unlogged_total",
                "Refused requests that came too fast to be noted in the log of events.",
            )?,
            config_applied: gauge(
                &registry,
                "hookgate_config_applied_timestamp_seconds",
                "When the running configuration was applied, in seconds since 1970.",
            )?,
            connections_refused: counter(
                &registry,
                "hookgate_connections_refused_total",
                "Connections that were closed before their first request, by reason.",
                &["reason"],
            )?,
            backend_addresses: IntGaugeVec::new(
                Opts::new(
                    "hookgate_backend_addresses",
                    "Addresses of a backend by state.",
                ),
                &["backend", "state"],
            )?,
            delivery: DeliveryMetrics::new(&registry)?,
            polls: PollMetrics::new(&registry)?,
            feeds: FeedMetrics::new(&registry)?,
            registry,
        };
        metrics
            .registry
            .register(Box::new(metrics.backend_addresses.clone()))?;
        for reason in [
            "total",
            "per_address",
            "proxy_untrusted",
            "proxy_header",
            "tls",
            "lost",
        ] {
            metrics.connections_refused.with_label_values(&[reason]);
        }
        for result in ["applied", "faulty"] {
            metrics.config_reloads.with_label_values(&[result]);
        }
        let build = IntGaugeVec::new(
            Opts::new(
                "hookgate_build_info",
                "The running version; the value is always 1.",
            ),
            &["version"],
        )?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        metrics.registry.register(Box::new(build))?;
        Ok(metrics)
    }

    /// Makes every series of a configuration exist from the start, so that a rate can be taken of
    /// the first event too.
    pub fn announce<'a>(
        &self,
        routes: impl IntoIterator<Item = &'a str>,
        backends: impl IntoIterator<Item = &'a str>,
    ) {
        for route in routes {
            self.announce_route(route);
        }
        for backend in backends {
            self.delivery.announce_backend(backend);
            self.announce_backend(backend);
        }
    }

    /// Makes every series of deliveries exist from the start: `pairs` of route and backend, and
    /// the `reasons` for which a delivery can be given up.
    pub fn announce_deliveries<'a>(
        &self,
        pairs: impl IntoIterator<Item = (&'a str, &'a str)>,
        reasons: &[&str],
    ) {
        for (route, backend) in pairs {
            self.delivery.announce(route, backend, reasons);
        }
    }

    /// Makes every series of sources exist from the start.
    pub fn announce_sources<'a>(&self, routes: impl IntoIterator<Item = &'a str>) {
        for route in routes {
            self.polls.announce(route);
        }
    }

    /// Makes every series of inboxes exist from the start.
    pub fn announce_inboxes<'a>(&self, routes: impl IntoIterator<Item = &'a str>) {
        for route in routes {
            for outcome in ["read", "committed"] {
                self.inbox_requests.with_label_values(&[route, outcome]);
            }
        }
    }

    /// Counts deliveries of a route that were queued.
    pub fn count_queued(&self, route: &str, backends: &[Arc<str>]) {
        for backend in backends {
            self.delivery
                .queued
                .with_label_values(&[route, backend])
                .inc();
        }
    }

    /// Makes every series of a route exist from the start, so that a rate can be taken of the
    /// first refusal too.
    fn announce_route(&self, route: &str) {
        self.requests.with_label_values(&[route, "accepted", ""]);
        self.duration.with_label_values(&[route]);
        self.verify.with_label_values(&[route]);
        self.request_bytes.with_label_values(&[route]);
        self.response_bytes.with_label_values(&[route]);
    }

    /// Makes every series of a backend exist from the start.
    fn announce_backend(&self, backend: &str) {
        self.backend.with_label_values(&[backend]);
        self.backend_answers.with_label_values(&[backend, "2xx"]);
    }

    /// All metrics in Prometheus's text format (version 0.0.4).
    pub fn exposition(&self) -> Vec<u8> {
        let mut text = Vec::new();
        // Encoding fails only when writing fails, and a Vec takes everything.
        let _ = TextEncoder::new().encode(&self.registry.gather(), &mut text);
        text
    }
}

fn gauge(registry: &Registry, name: &str, help: &str) -> Result<IntGauge, prometheus::Error> {
    let gauge = IntGauge::new(name, help)?;
    registry.register(Box::new(gauge.clone()))?;
    Ok(gauge)
}

fn plain_counter(
    registry: &Registry,
    name: &str,
    help: &str,
) -> Result<IntCounter, prometheus::Error> {
    let counter = IntCounter::new(name, help)?;
    registry.register(Box::new(counter.clone()))?;
    Ok(counter)
}

fn counter(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
) -> Result<IntCounterVec, prometheus::Error> {
    let counter = IntCounterVec::new(Opts::new(name, help), labels)?;
    registry.register(Box::new(counter.clone()))?;
    Ok(counter)
}

fn histogram(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
    buckets: &[f64],
) -> Result<HistogramVec, prometheus::Error> {
    let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
    let histogram = HistogramVec::new(options, labels)?;
    registry.register(Box::new(histogram.clone()))?;
    Ok(histogram)
}

impl crate::store::Observer for Metrics {
    fn committed(&self, steps: usize, seconds: f64, sync_seconds: f64) {
        let steps = u32::try_from(steps).unwrap_or(u32::MAX);
        self.delivery.commit_steps.observe(f64::from(steps));
        self.delivery.commit.observe(seconds);
        self.delivery.sync.observe(sync_seconds);
    }
}
