//! Runs `hookgate_fuzz::query`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| hookgate_fuzz::query::check(data));
