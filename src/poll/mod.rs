//! The polled side of routes: providers are asked for what is new, and what is found becomes events.
//!
//! A poll is a transaction. What is asked is made of what is on disk and of nothing else; what is
//! found, the keys it is known by, the cursor and the validators are one step of the store; only
//! afterwards is anything said that tells the provider "done".
//!
//! | file | decides |
//! |---|---|
//! | `poller` | which source is polled, and when |
//! | `reading`, `committing`, `stopping` | one poll: asks and finds, page by page; commits; what is done when it ends early |
//! | `asking` | one request: a session, a token, room in the budget, further attempts |
//! | `schedule`, `times` | when a poll is due; how providers write times |
//! | `request`, `auth`, `expressions` | what is asked |
//! | `fetch`, `decode` | what comes back, within limits |
//! | `errors`, `backoff`, `budget` | what an answer means; how long is waited |
//! | `items`, `keys`, `changes` | what in an answer is an item, and what it is known by |
//! | `walk`, `cursor`, `pagination`, `rules`, `position` | how far is read, and what is asked next |
//! | `again` | which range is read once more, beside the cursor |
//! | `found` | the event that an item becomes |
//! | `state` | what is kept of a source |
//! | `operating` | what operators do to sources |
//! | `trial` | what one request would bring, without keeping anything |

pub mod again;
mod asking;
pub mod auth;
pub mod backoff;
pub mod block;
pub mod budget;
pub mod canonical;
pub mod changes;
mod committing;
pub mod conditions;
pub mod cursor;
pub mod decode;
pub mod errors;
pub mod expressions;
pub mod fetch;
mod found;
pub mod items;
pub mod keys;
pub mod operating;
pub mod page;
pub mod pagination;
pub mod poller;
pub mod position;
pub mod reading;
pub mod request;
pub mod rules;
pub mod schedule;
pub mod selector;
pub mod source;
pub mod state;
mod stopping;
pub mod times;
pub mod trial;
pub mod walk;
mod wire;

pub use poller::Poller;
pub use source::Source;
