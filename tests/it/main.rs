//! Everything that needs a running gateway, in one binary: one file a story.

mod answers;
mod backend_tls;
mod backends;
mod bytes;
mod client_address;
mod commands;
mod conf;
mod dedup;
mod handshakes;
mod heads;
mod limits;
mod logs;
mod operations;
mod presets;
mod rate_limits;
mod refusals;
mod reloads;
mod rewrites;
mod schema;
mod sdks;
mod send_command;
mod several_urls;
mod support;
mod tidy;
mod verification;
mod verify_command;
