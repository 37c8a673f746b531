//! Which routes and backends somebody has paused.

use std::collections::BTreeSet;
use std::sync::Arc;

use arc_swap::ArcSwap;

/// What is paused at a moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Paused {
    /// Routes that take nothing: senders are told to come again.
    pub routes: BTreeSet<String>,
    /// Backends to which no delivery from the queue is attempted.
    pub backends: BTreeSet<String>,
}

/// What is paused now; everybody looks at it, and operators change it.
#[derive(Debug, Default)]
pub struct Pauses(ArcSwap<Paused>);

impl Pauses {
    /// What is paused now.
    pub fn now(&self) -> Arc<Paused> {
        self.0.load_full()
    }

    /// Whether a route takes nothing.
    pub fn has_route(&self, name: &str) -> bool {
        self.0.load().routes.contains(name)
    }

    /// Pauses these, and nothing else.
    pub fn set(&self, paused: Paused) {
        self.0.store(Arc::new(paused));
    }
}
