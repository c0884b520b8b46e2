#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| weir::fuzz::proxy_protocol(bytes));
