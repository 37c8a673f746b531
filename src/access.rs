//! Whose tokens the admin API takes, and what they are good for.

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::secret::Secret;

/// The name of whoever is on this machine and needs no token.
pub const LOCAL: &str = "local";

/// What somebody may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Look.
    Read,
    /// Look and change.
    Full,
}

/// What lets somebody in.
#[derive(Debug, Clone)]
pub struct Token {
    /// Who has it; stands in the list of what was done.
    pub name: String,
    /// The token.
    pub token: Secret,
    /// What it is good for.
    pub level: Level,
}

/// The tokens that are good now: a reload takes one away at once.
#[derive(Debug, Default)]
pub struct Tokens(ArcSwap<Vec<Token>>);

impl Tokens {
    /// These tokens.
    pub fn new(tokens: Vec<Token>) -> Self {
        Self(ArcSwap::from_pointee(tokens))
    }

    /// The tokens at this moment.
    pub fn now(&self) -> Arc<Vec<Token>> {
        self.0.load_full()
    }

    /// Takes these in place of all others.
    pub fn renew(&self, tokens: Vec<Token>) {
        self.0.store(Arc::new(tokens));
    }
}
