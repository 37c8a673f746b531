//! Runs `hookgate_fuzz::head`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| hookgate_fuzz::head::check(data));
