//! The way out: what a backend gets, and what became of it.
//!
//! [`backend`] says where a backend is and how patient we are with it; [`request`] writes the
//! request that it gets; [`crate::outbound`] carries it there.

pub mod backend;
pub mod request;

pub use backend::Backend;
pub use request::Deliver;
