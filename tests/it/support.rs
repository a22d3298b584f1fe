//! What the tests stand on.

pub mod collector;
pub mod photos;
pub mod proxy;
pub mod scripted_serving;
pub mod service;
pub mod serving_process;

use std::path::PathBuf;

/// A file of this checkout.
pub fn repo(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)
}
