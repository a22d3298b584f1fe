//! How much memory a target may have.

use std::alloc::System;

use cap::Cap;

/// Counts what is allocated in Rust; what libFuzzer itself keeps is not.
#[global_allocator]
static MEMORY: Cap<System> = Cap::new(System, usize::MAX);

/// From now on, more than so many MiB at once is a crash. What the target sets up once, it sets up here, so that the time is
/// not that of its first input.
pub(crate) fn bound(mib: usize, target: fn(&[u8])) {
    target(b"GET /\n\n");
    MEMORY.set_limit(mib << 20).expect("what is set up once is less");
}
