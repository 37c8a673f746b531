//! What is known about a provider: its schemes, where its event ids stand, how it shakes hands.
//!
//! Presets are data (`conf/providers/NAME.yaml`, compiled in); [`crate::config`] reads them.

use std::collections::BTreeMap;
use std::time::Duration;

use ipnet::IpNet;

use super::handshake::Handshake;
use super::place::Place;
use super::reply::Reply;
use super::request::Options;
use super::scheme::Scheme;
use crate::event::Headers;

/// One provider.
#[derive(Debug, Clone)]
pub struct Preset {
    /// The name to write in a route.
    pub name: String,
    /// The name people use.
    pub title: String,
    /// What kind of provider it is (`payments`, `chat`, …).
    pub category: String,
    /// Where the provider documents its signatures.
    pub docs: String,
    /// What an operator should know.
    pub notes: Option<String>,
    /// How it proves that it sends.
    pub proof: Proof,
    /// The ways it signs; one that accepts is enough.
    pub schemes: Vec<Scheme>,
    /// Where the id of an event stands; the first place that has one.
    pub event_id: Vec<Place>,
    /// Where the type of an event stands; the first place that has one.
    pub event_type: Vec<Place>,
    /// What it needs besides secrets, by name, and what that is.
    pub options: Options,
    /// How it asks whether an address is ours.
    pub handshakes: Vec<Handshake>,
    /// What it insists on hearing once an event is on disk.
    pub accepted: Option<Reply>,
    /// What it insists on hearing of a request that is not authentic.
    pub refused: Option<Reply>,
    /// How long it waits for an answer.
    pub deadline: Option<Duration>,
    /// The address ranges it publishes; empty when it publishes none.
    pub addresses: Vec<IpNet>,
    /// Where it publishes ranges that change.
    pub feed: Option<PublishedFeed>,
    /// A secret of the right form, for samples.
    pub sample_secret: String,
    /// A realistic event.
    pub sample: Sample,
}

/// Where a provider publishes ranges, as its preset says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishedFeed {
    /// The URL.
    pub url: String,
    /// JSON pointers to the ranges; none = plain lines.
    pub pointers: Vec<String>,
}

/// How a provider proves that a request is its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proof {
    /// By a signature or a secret.
    Scheme,
    /// By the address that it sends from.
    Address,
    /// Not at all: what a request says is to be asked for at the provider.
    Nothing,
    /// By something that cannot be checked here, for this reason.
    Unsupported(String),
}

/// A realistic event of a provider, unsigned.
#[derive(Debug, Clone, Default)]
pub struct Sample {
    /// The headers it comes with.
    pub headers: Headers,
    /// The URL that it is sent to, where that is signed.
    pub public_url: Option<String>,
    /// What else was agreed on, where the provider needs it.
    pub options: Options,
    /// The body.
    pub body: String,
}

/// Every provider that is known, by name.
#[derive(Debug, Clone, Default)]
pub struct Presets(BTreeMap<String, Preset>);

impl Presets {
    /// The preset called `name`.
    pub fn find(&self, name: &str) -> Option<&Preset> {
        self.0.get(name)
    }

    /// All of them in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = &Preset> {
        self.0.values()
    }

    /// All names in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

impl FromIterator<Preset> for Presets {
    fn from_iter<I: IntoIterator<Item = Preset>>(presets: I) -> Self {
        Self(
            presets
                .into_iter()
                .map(|preset| (preset.name.clone(), preset))
                .collect(),
        )
    }
}
