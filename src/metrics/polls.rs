//! The metrics of sources.

use prometheus::{GaugeVec, HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry};

use super::{counter, histogram};

/// Seconds; from a source that answers at once to one that holds a request for a minute.
const POLL_BUCKETS: &[f64] = &[
    0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
];

/// The metrics of sources.
pub struct PollMetrics {
    /// Polls by route and outcome.
    pub polls: IntCounterVec,
    /// Requests to providers, by route.
    pub requests: IntCounterVec,
    /// Pages that were read, by route.
    pub pages: IntCounterVec,
    /// Items by route and outcome (`new`, `duplicate`, `filtered`).
    pub items: IntCounterVec,
    /// Events that no webhook had brought, of routes that have both.
    pub recovered: IntCounterVec,
    /// Seconds of a poll, by route.
    pub duration: HistogramVec,
    /// Items that break the order that the provider promises, by route.
    pub order_breaches: IntCounterVec,
    /// Times that events were lost at the provider, by route.
    pub gaps: IntCounterVec,
    /// When a source was last read, in seconds since 1970; the longest ago of its partitions.
    pub last_success: GaugeVec,
    /// When the newest item came about, in seconds since 1970.
    pub newest_item: GaugeVec,
    /// How many partitions of a source wait for somebody.
    pub paused: IntGaugeVec,
    /// How many partitions of a source brought nothing for longer than `expected_every`.
    pub silent: IntGaugeVec,
    /// How many requests the provider allows still, as it last said.
    pub budget_left: GaugeVec,
    /// How much waits at the provider, as it last said.
    pub pending: GaugeVec,
}

impl PollMetrics {
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let route: &[&str] = &["route"];
        let gauges = |name: &str, help: &str| -> Result<_, prometheus::Error> {
            let gauges = IntGaugeVec::new(Opts::new(name, help), route)?;
            registry.register(Box::new(gauges.clone()))?;
            Ok(gauges)
        };
        let times = |name: &str, help: &str| -> Result<_, prometheus::Error> {
            let times = GaugeVec::new(Opts::new(name, help), route)?;
            registry.register(Box::new(times.clone()))?;
            Ok(times)
        };
        let counters = |name: &str, help: &str, labels| counter(registry, name, help, labels);
        Ok(Self {
            polls: counters(
                "hookgate_polls_total",
                "Polls of sources, by outcome.",
                &["route", "outcome"],
            )?,
            requests: counters(
                "hookgate_poll_requests_total",
                "Requests to providers that are polled.",
                route,
            )?,
            pages: counters("hookgate_poll_pages_total", "Pages that were read.", route)?,
            items: counters(
                "hookgate_poll_items_total",
                "Items that polls have found, by what became of them.",
                &["route", "outcome"],
            )?,
            recovered: counters(
                "hookgate_poll_recovered_total",
                "Events that a poll found and no webhook had brought, of routes that have both.",
                route,
            )?,
            duration: histogram(
                registry,
                "hookgate_poll_duration_seconds",
                "A whole poll, its pages and commits included.",
                route,
                POLL_BUCKETS,
            )?,
            order_breaches: counters(
                "hookgate_poll_order_breaches_total",
                "Items that break the order that the provider promises.",
                route,
            )?,
            gaps: counters(
                "hookgate_poll_gaps_total",
                "Times that events were lost at the provider.",
                route,
            )?,
            last_success: times(
                "hookgate_poll_last_success_timestamp_seconds",
                "When a source was last read; the longest ago of its partitions.",
            )?,
            newest_item: times(
                "hookgate_poll_newest_item_timestamp_seconds",
                "The time of the newest item that was found.",
            )?,
            paused: gauges(
                "hookgate_poll_paused",
                "Partitions of a source that wait for somebody.",
            )?,
            silent: gauges(
                "hookgate_poll_silent",
                "Partitions of a source with nothing new for longer than `expected_every`.",
            )?,
            budget_left: times(
                "hookgate_poll_budget_left",
                "Requests that the provider allows still, as it last said.",
            )?,
            pending: times(
                "hookgate_poll_pending",
                "What waits at the provider, as it last said.",
            )?,
        })
    }

    pub(super) fn announce(&self, route: &str) {
        for counters in [
            &self.requests,
            &self.pages,
            &self.recovered,
            &self.order_breaches,
            &self.gaps,
        ] {
            counters.with_label_values(&[route]);
        }
        for outcome in ["new", "duplicate", "filtered"] {
            self.items.with_label_values(&[route, outcome]);
        }
        // What nobody knows yet is no number: no alert compares with it.
        let unknown = [
            &self.last_success,
            &self.newest_item,
            &self.budget_left,
            &self.pending,
        ];
        for unknown in unknown {
            let gauge = unknown.with_label_values(&[route]);
            if gauge.get() == 0.0 {
                gauge.set(f64::NAN);
            }
        }
        self.polls.with_label_values(&[route, "done"]);
        self.duration.with_label_values(&[route]);
        self.paused.with_label_values(&[route]);
        self.silent.with_label_values(&[route]);
    }
}
