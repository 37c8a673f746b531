//! Everything that needs a running gateway, in one binary: one file a story.

mod bytes;
mod client_address;
mod heads;
mod limits;
mod refusals;
mod support;
mod verification;
