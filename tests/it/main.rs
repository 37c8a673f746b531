//! Everything that needs a running gateway, in one binary: one file a story.

mod answers;
mod backend_tls;
mod backends;
mod bytes;
mod client_address;
mod heads;
mod limits;
mod refusals;
mod rewrites;
mod several_urls;
mod support;
mod verification;
