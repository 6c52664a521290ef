//! What programs inside say to the proxy: no bytes make it panic, and what is passed on is one request to the host it names.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| stockade::proxy_requests(bytes));
