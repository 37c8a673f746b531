//! Everything that needs a running gateway, in one binary: one file a story.

mod bytes;
mod heads;
mod idle;
mod limits;
mod proxy_protocol;
mod smuggling;
mod support;
