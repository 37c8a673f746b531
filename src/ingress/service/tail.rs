//! Lines of requests for whoever follows them, made only while somebody does.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::broadcast;

use crate::event::ClientAddr;
use crate::store::EventId;

/// How many lines a follower may be behind.
const LINES_MAX: usize = 1024;

/// A request as it was answered.
#[derive(Debug)]
pub struct Line {
    /// Its id.
    pub id: EventId,
    /// When it was answered.
    pub at: Timestamp,
    /// The route; empty when there is none.
    pub route: String,
    /// The word for the verdict.
    pub verdict: &'static str,
    /// The word for the reason; empty when there is none.
    pub reason: &'static str,
    /// The status that was sent.
    pub status: u16,
    /// The client behind trusted proxies.
    pub client: ClientAddr,
    /// The method.
    pub method: String,
    /// The path.
    pub path: String,
    /// From the head to the end of the answer.
    pub took: Duration,
}

/// Hands lines to those who follow.
pub struct Tail(broadcast::Sender<Arc<Line>>);

impl Default for Tail {
    fn default() -> Self {
        Self(broadcast::Sender::new(LINES_MAX))
    }
}

impl Tail {
    /// Follows from here on.
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<Line>> {
        self.0.subscribe()
    }

    /// Hands on a line that is only made if somebody follows.
    pub(super) fn send(&self, line: impl FnOnce() -> Line) {
        if self.0.receiver_count() > 0 {
            // The last of them may have left by now.
            let _ = self.0.send(Arc::new(line()));
        }
    }
}
