//! What the tests stand on.

pub mod photos;
pub mod scripted_serving;
pub mod service;

use std::path::PathBuf;

/// A file of this checkout.
pub fn repo(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)
}
