//! Runs `hookgate_fuzz::config`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| hookgate_fuzz::config::check(data));
