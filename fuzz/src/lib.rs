//! What each fuzz target does with its bytes, and what must hold whatever they are.
//!
//! The fuzz targets call these, one a file of `targets/`; so does `tests/seeds.rs`, with the bytes that were found worth
//! keeping, so that every `make test` replays them. Nothing here knows of libFuzzer. docs/FUZZING.md is the way around.

// As in the package that is fuzzed; the targets cannot, whose macro exports a symbol.
#![forbid(unsafe_code)]

pub mod config;
pub mod image;
pub mod json;
pub mod labels;
pub mod multipart;
pub mod prediction;
pub mod request;
pub mod signature;

mod front;
mod model_server;

/// A target's name, which is that of its seeds' folder, and what it does.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: [Target; 8] = [
    ("image", image::run),
    ("multipart", multipart::run),
    ("json", json::run),
    ("request", request::run),
    ("signature", signature::run),
    ("prediction", prediction::run),
    ("labels", labels::run),
    ("config", config::run),
];

/// The first byte, which chooses among so many ways, and the rest.
fn choice(data: &[u8], ways: usize) -> Option<(usize, &[u8])> {
    let (first, rest) = data.split_first()?;
    Some((usize::from(*first) % ways, rest))
}
