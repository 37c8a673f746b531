//! Everything that needs a running gateway, in one binary: one file a story.

mod commands;
mod handshakes;
mod presets;
mod schema;
mod sdks;
mod send_command;
mod support;
mod verify_command;
