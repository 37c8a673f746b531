//! What the fuzz targets promise: each `check` takes any bytes and panics when a promise is broken.
//!
//! One file a target. `fuzz_targets/` hands them what the fuzzer makes up; `tests/it/fuzz_corpora.rs`
//! includes this file and hands them the committed corpora, so that every run of the tests covers
//! those.

#![allow(
    missing_docs,
    unreachable_pub,
    reason = "only the fuzz targets and one test use this"
)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a broken promise must end the run"
)]

pub mod chunks;
pub mod config;
pub mod feed;
pub mod form;
pub mod head;
pub mod keys;
pub mod proxy_protocol;
pub mod query;
pub mod router;
pub mod signature;
pub mod source_addr;

/// Cuts bytes at the first place where `mark` stands.
fn split_once<'a>(bytes: &'a [u8], mark: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let at = bytes.windows(mark.len()).position(|part| part == mark)?;
    Some((&bytes[..at], &bytes[at + mark.len()..]))
}
