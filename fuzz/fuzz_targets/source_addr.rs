//! Runs `hookgate_fuzz::source_addr`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| hookgate_fuzz::source_addr::check(data));
