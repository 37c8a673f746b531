//! The file as it is written: one element a file, no rule that spans two of them.
//!
//! Doc comments here are what an editor shows: they become the descriptions in
//! `conf/schema.json`.

pub mod backend;
pub mod deliver;
pub mod feed;
pub mod inbox;
pub mod limits;
pub mod poll;
pub mod provider;
pub mod route;
pub mod server;
pub mod store;
pub mod tests;
pub mod verify;

use schemars::JsonSchema;
use serde::Deserialize;

use super::decode::{Entries, Field, OneOrMany};

/// The configuration of a Hookgate gateway.
#[derive(Deserialize, JsonSchema)]
#[schemars(title = "Hookgate", deny_unknown_fields)]
pub struct File {
    /// Where webhooks are taken, and the limits of their connections.
    pub server: Option<Field<server::Server>>,
    /// Where metrics and health are told.
    pub admin: Option<Field<server::Admin>>,
    /// How requests are logged.
    pub log: Option<Field<server::Log>>,
    /// A folder with one file for each secret, relative to this file. `${{ secret.NAME }}` is the
    /// environment variable HOOKGATE_SECRET_NAME, or else the file NAME in this folder.
    pub secrets_dir: Option<Field<String>>,
    /// Where events are kept. Default: the folder `data` beside this file, if a route queues.
    pub store: Option<Field<store::Store>>,
    /// Lists of address ranges that others publish, by name; `webhook.allow: [feed.NAME]` takes them.
    pub feeds: Option<Field<Entries<feed::Feed>>>,
    /// The applications behind the gateway, by name.
    pub backends: Field<Entries<backend::Backend>>,
    /// Where events come from, how they are checked, where they go; by name.
    pub routes: Field<Entries<route::Route>>,
    /// Sample requests and what must be decided about them; `hookgate check` runs them.
    pub tests: Option<Field<OneOrMany<tests::RouteTest>>>,
}
