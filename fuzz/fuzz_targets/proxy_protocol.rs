//! Runs `hookgate_fuzz::proxy_protocol`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| hookgate_fuzz::proxy_protocol::check(data));
