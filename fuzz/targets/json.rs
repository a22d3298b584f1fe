#![no_main]

mod memory;

libfuzzer_sys::fuzz_target!(
    init: memory::bound(160, spotter_fuzz::json::run),
    |data: &[u8]| spotter_fuzz::json::run(data)
);
