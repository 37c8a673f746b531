//! What is known about a provider: its schemes, where its event ids stand, how it shakes hands.
//!
//! Presets are data (`conf/providers/NAME.yaml`, compiled in); [`crate::config`] reads them.

use std::collections::BTreeMap;

use ipnet::IpNet;

use super::handshake::Handshake;
use super::place::Place;
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
    /// The ways it signs; one that accepts is enough.
    pub schemes: Vec<Scheme>,
    /// Where the id of an event stands; the first place that has one.
    pub event_id: Vec<Place>,
    /// Where the type of an event stands; the first place that has one.
    pub event_type: Vec<Place>,
    /// How it asks whether an address is ours.
    pub handshakes: Vec<Handshake>,
    /// The address ranges it publishes; empty when it publishes none.
    pub addresses: Vec<IpNet>,
    /// A secret of the right form, for samples.
    pub sample_secret: String,
    /// A realistic event.
    pub sample: Sample,
}

/// A realistic event of a provider, unsigned.
#[derive(Debug, Clone)]
pub struct Sample {
    /// The headers it comes with.
    pub headers: Headers,
    /// The URL that it is sent to, where that is signed.
    pub public_url: Option<String>,
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
