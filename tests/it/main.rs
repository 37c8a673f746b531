//! Everything that needs a running gateway, in one binary: one file a story.

mod answers;
mod backends;
mod bytes;
mod client_address;
mod heads;
mod limits;
mod refusals;
mod support;
mod verification;
