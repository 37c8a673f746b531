//! Hookgate: a webhook gateway in front of backends that nobody changes.
//!
//! The map, in the order in which a request walks through it:
//!
//! - [`config`]: the YAML file → compiled routes, backends, listeners; every fault in one run
//! - [`app`]: compiled config → services → Pingora; the order of starting and stopping
//! - [`ingress`]: connection → head → route → address → body → signature → hand-off
//! - [`signature`]: the declarative grammar that verifies and signs; providers as data
//! - [`delivery`] and [`outbound`]: what the backend gets, and how it is carried there
//! - [`poll`]: providers that only answer polls, as if they sent webhooks
//! - [`reload`]: a new file in place of the old one, while requests are in flight
//! - [`feed`]: address ranges that others publish, fetched and kept fresh
//! - [`store`] and [`dispatch`]: what was accepted, on disk until it has arrived
//! - [`admin`]: metrics, health, and the API: the log of events, replays, pauses
//! - [`cli`]: one file for each command
//!
//! Beside the walk: [`event`] (the nouns), [`clock`], [`secret`], [`access`], [`redaction`], [`metrics`],
//! [`request_log`].

pub mod access;
pub mod admin;
pub mod app;
pub mod cli;
pub mod clock;
pub mod config;
pub mod delivery;
pub mod dispatch;
pub mod event;
pub mod expr;
pub mod feed;
pub mod inbox;
pub mod ingress;
pub mod metrics;
pub mod outbound;
pub mod poll;
pub mod redaction;
pub mod reload;
pub mod request_log;
pub mod secret;
pub mod signature;
pub mod store;
