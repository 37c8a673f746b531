//! The metrics of feeds.

use std::time::Duration;

use prometheus::{GaugeVec, IntCounterVec, IntGaugeVec, Opts, Registry};

use super::counter;

/// The metrics of feeds.
pub struct FeedMetrics {
    /// Ranges of the list in use, by feed.
    ranges: IntGaugeVec,
    /// Seconds since the list was confirmed, by feed.
    age: GaugeVec,
    /// Seconds between two refreshes, by feed.
    refresh: GaugeVec,
    /// Refreshes by feed and outcome.
    pub refreshes: IntCounterVec,
}

impl FeedMetrics {
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let gauges = |name: &str, help: &str| -> Result<_, prometheus::Error> {
            let gauges = GaugeVec::new(Opts::new(name, help), &["feed"])?;
            registry.register(Box::new(gauges.clone()))?;
            Ok(gauges)
        };
        let ranges = IntGaugeVec::new(
            Opts::new(
                "hookgate_feed_ranges",
                "Ranges of the list of a feed that is in use; 0 = there is none yet.",
            ),
            &["feed"],
        )?;
        registry.register(Box::new(ranges.clone()))?;
        Ok(Self {
            ranges,
            age: gauges(
                "hookgate_feed_age_seconds",
                "Since the list of a feed was fetched, or said to be unchanged.",
            )?,
            refresh: gauges(
                "hookgate_feed_refresh_seconds",
                "The time between two refreshes of a feed.",
            )?,
            refreshes: counter(
                registry,
                "hookgate_feed_refreshes_total",
                "Refreshes of feeds, by outcome.",
                &["feed", "outcome"],
            )?,
        })
    }

    /// Makes every series of a feed exist from the start.
    pub fn announce(&self, feed: &str, refresh: Duration) {
        self.ranges.with_label_values(&[feed]);
        self.age.with_label_values(&[feed]);
        let gauge = self.refresh.with_label_values(&[feed]);
        gauge.set(refresh.as_secs_f64());
        for outcome in ["changed", "unchanged"] {
            self.refreshes.with_label_values(&[feed, outcome]);
        }
    }

    /// Notes what a scrape is told.
    pub fn observe(&self, feed: &str, ranges: usize, age: Duration) {
        let gauge = self.ranges.with_label_values(&[feed]);
        gauge.set(i64::try_from(ranges).unwrap_or(i64::MAX));
        self.age.with_label_values(&[feed]).set(age.as_secs_f64());
    }

    /// Ends the series that would tell of a feed that is gone as if it were stale.
    pub fn forget(&self, feed: &str) {
        let _ = self.ranges.remove_label_values(&[feed]);
        let _ = self.age.remove_label_values(&[feed]);
        let _ = self.refresh.remove_label_values(&[feed]);
    }
}
