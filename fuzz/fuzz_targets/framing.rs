#![no_main]
libfuzzer_sys::fuzz_target!(|input: &[u8]| sapi_protocol::fuzz_targets::framing(input));
