#![no_main]

mod memory;

libfuzzer_sys::fuzz_target!(
    init: memory::bound(64, spotter_fuzz::config::run),
    |data: &[u8]| spotter_fuzz::config::run(data)
);
