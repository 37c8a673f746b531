//! The way out: what a backend gets, and what its answer means.
//!
//! [`backend`] says where a backend is and how patient we are with it; [`deliver`] where a route's
//! events go; [`request`] writes the request that a backend gets; [`retry`] and [`breaker`] judge
//! what became of it. Nothing here does anything: [`crate::outbound`] carries requests, and
//! [`crate::dispatch`] decides when.

pub mod backend;
pub mod breaker;
pub mod deliver;
pub mod flow;
pub mod outgoing;
pub mod pauses;
pub mod profile;
pub mod request;
pub mod retry;
pub mod status;
pub mod view;

pub use backend::Backend;
pub use deliver::{Deliver, Mode};
