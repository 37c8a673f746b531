//! Is a request what its provider says it is? One declarative grammar answers, and signs too.
//!
//! A [`Scheme`] says where a signature stands, what was signed and how; it is built from data
//! (a preset or the user's own words) and judges with every input explicit: no clock, no I/O.
//! What this folder does not decide: which route a request belongs to, and what is answered.

pub mod algorithm;
mod body_hash;
pub mod certificate;
mod form;
mod found;
pub mod handshake;
pub mod jwt;
pub mod key;
pub mod known_keys;

pub mod message;
pub mod place;
pub mod preset;
pub mod public_key;
pub mod reason;
pub mod reply;
pub mod request;
mod rsa;
pub mod scheme;
pub mod sign;
pub mod terms;
mod url;
pub mod variants;
pub mod verify;
mod window;

pub use preset::{Preset, Presets};
pub use reason::Reason;
pub use request::Request;
pub use scheme::Scheme;
pub use terms::Terms;
pub use verify::{Verified, Verifier};
