//! The way in: from a connection to a request that may reach a backend.
//!
//! Stages decide and return; only [`service`] writes to the socket. In order: [`slots`], [`proxy_protocol`] → [`head`] (400, 431) →
//! [`router`] (404, 405) → [`source_addr`] with [`ranges`] (403) → [`rate_limit`] (429) → [`body`] (413, 408) → [`gate`]
//! (signature: 401, handshakes) → [`rate_limit`] of the genuine (429) → [`dedup`] → hand-off. Every way to be turned away is one row of [`refusal`].

pub mod body;
pub mod chunks;
pub mod dedup;
pub mod gate;
pub mod head;
pub mod proxy_protocol;
pub mod ranges;
pub mod rate_limit;
pub mod refusal;
pub mod router;
pub mod service;
pub mod slots;
pub mod source_addr;

pub use gate::{Gate, Route};
pub use refusal::Refusal;
