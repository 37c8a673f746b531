//! Everything that needs a running gateway, in one binary: one file a story.

mod handshakes;
mod presets;
mod sdks;
mod support;
mod verify_command;
