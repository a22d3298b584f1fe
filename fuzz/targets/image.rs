#![no_main]

mod memory;

libfuzzer_sys::fuzz_target!(
    init: memory::bound(96, spotter_fuzz::image::run),
    |data: &[u8]| spotter_fuzz::image::run(data)
);
