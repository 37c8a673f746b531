//! The metrics of the queue, of deliveries and of the store.

use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounterVec, IntGauge,
};
use prometheus::{IntGaugeVec, Opts, Registry};

use super::{counter, gauge, histogram};

/// Seconds; from a backend that is there to one that was down for days.
const ARRIVAL_BUCKETS: &[f64] = &[
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0, 300.0, 3600.0, 21_600.0, 86_400.0,
    259_200.0,
];
/// Seconds; from memory to a disk that is busy.
const COMMIT_BUCKETS: &[f64] = &[
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0,
];
/// How many steps share a commit.
const COMMIT_SIZES: &[f64] = &[
    1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0,
];

/// The metrics of the queue, of deliveries and of the store.
pub struct DeliveryMetrics {
    /// Deliveries that were queued, by route and backend.
    pub queued: IntCounterVec,
    /// Deliveries that have arrived, by route and backend.
    pub delivered: IntCounterVec,
    /// Deliveries that were given up, by route, backend and reason.
    pub dead: IntCounterVec,
    /// Attempts by backend and outcome.
    pub attempts: IntCounterVec,
    /// Attempts that are being made.
    pub attempts_in_flight: IntGauge,
    /// Seconds from the acceptance of an event to its arrival, by route.
    pub arrival: HistogramVec,
    /// Live deliveries by backend.
    pub depth: IntGaugeVec,
    /// Live deliveries by route.
    pub route_depth: IntGaugeVec,
    /// By how many seconds the longest waiting delivery of a backend is overdue.
    pub due_lag: GaugeVec,
    /// 1 while a backend's breaker is in this state.
    pub breaker: IntGaugeVec,
    /// Steps of a commit.
    pub commit_steps: Histogram,
    /// Seconds of a commit.
    pub commit: Histogram,
    /// Seconds of a commit that the disk took.
    pub sync: Histogram,
    /// Bytes of the store's files.
    pub store_bytes: IntGaugeVec,
    /// Notes of proxied events that found no room.
    pub logs_dropped: IntGauge,
    /// 1 while the store takes events.
    pub store_up: Gauge,
}

impl DeliveryMetrics {
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let one = |name: &str, help: &str, buckets: &[f64]| -> Result<_, prometheus::Error> {
            let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
            let histogram = Histogram::with_opts(options)?;
            registry.register(Box::new(histogram.clone()))?;
            Ok(histogram)
        };
        let gauges = |name: &str, help: &str, labels: &[&str]| -> Result<_, prometheus::Error> {
            let gauges = IntGaugeVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(gauges.clone()))?;
            Ok(gauges)
        };
        let due_lag = GaugeVec::new(
            Opts::new(
                "hookgate_due_lag_seconds",
                "By how much the longest waiting delivery of a backend is overdue.",
            ),
            &["backend"],
        )?;
        registry.register(Box::new(due_lag.clone()))?;
        let store_up = Gauge::new("hookgate_store_up", "Whether the store takes events.")?;
        registry.register(Box::new(store_up.clone()))?;
        Ok(Self {
            queued: counter(
                registry,
                "hookgate_deliveries_queued_total",
                "Deliveries that were queued.",
                &["route", "backend"],
            )?,
            delivered: counter(
                registry,
                "hookgate_deliveries_delivered_total",
                "Queued deliveries that have arrived.",
                &["route", "backend"],
            )?,
            dead: counter(
                registry,
                "hookgate_deliveries_dead_total",
                "Queued deliveries that were given up, by reason.",
                &["route", "backend", "reason"],
            )?,
            attempts: counter(
                registry,
                "hookgate_attempts_total",
                "Attempts for queued deliveries, by outcome.",
                &["backend", "outcome"],
            )?,
            attempts_in_flight: gauge(
                registry,
                "hookgate_attempts_in_flight",
                "Attempts for queued deliveries that are being made.",
            )?,
            arrival: histogram(
                registry,
                "hookgate_delivery_duration_seconds",
                "From the acceptance of an event to its arrival.",
                &["route"],
                ARRIVAL_BUCKETS,
            )?,
            depth: gauges(
                "hookgate_queue_depth",
                "Deliveries that wait or are being tried, by backend.",
                &["backend"],
            )?,
            route_depth: gauges(
                "hookgate_route_depth",
                "Deliveries that wait or are being tried, by route.",
                &["route"],
            )?,
            due_lag,
            breaker: gauges(
                "hookgate_breaker_state",
                "1 for the state that the breaker of a backend is in.",
                &["backend", "state"],
            )?,
            commit_steps: one(
                "hookgate_store_commit_steps",
                "How many steps share a commit.",
                COMMIT_SIZES,
            )?,
            commit: one(
                "hookgate_store_commit_seconds",
                "How long a commit takes.",
                COMMIT_BUCKETS,
            )?,
            sync: one(
                "hookgate_store_sync_seconds",
                "How long the disk takes of a commit.",
                COMMIT_BUCKETS,
            )?,
            store_bytes: gauges(
                "hookgate_store_bytes",
                "Bytes of the files of the store: all of them, and the log ahead among them.",
                &["file"],
            )?,
            logs_dropped: gauge(
                registry,
                "hookgate_store_logs_dropped",
                "Notes of proxied events that were dropped, for want of room.",
            )?,
            store_up,
        })
    }

    /// Makes every series of a route to a backend exist from the start.
    pub(super) fn announce(&self, route: &str, backend: &str, reasons: &[&str]) {
        for reason in reasons {
            self.dead.with_label_values(&[route, backend, reason]);
        }
        self.queued.with_label_values(&[route, backend]);
        self.delivered.with_label_values(&[route, backend]);
        self.arrival.with_label_values(&[route]);
        self.route_depth.with_label_values(&[route]);
    }

    /// Makes every series of a backend exist from the start.
    pub(super) fn announce_backend(&self, backend: &str) {
        self.attempts.with_label_values(&[backend, "2xx"]);
        self.depth.with_label_values(&[backend]);
        self.due_lag.with_label_values(&[backend]);
        self.set_breaker(backend, "closed");
    }

    /// The state of a backend's breaker.
    pub fn breaker_of(&self, backend: &str) -> &'static str {
        let is = |state: &&str| self.breaker.with_label_values(&[backend, state]).get() == 1;
        ["open", "half_open"]
            .into_iter()
            .find(is)
            .unwrap_or("closed")
    }

    /// Notes the state of a backend's breaker.
    pub fn set_breaker(&self, backend: &str, state: &str) {
        for known in ["closed", "open", "half_open"] {
            let gauge = self.breaker.with_label_values(&[backend, known]);
            gauge.set(i64::from(known == state));
        }
    }
}
