//! TensorFlow Serving over gRPC. `tonic` and `prost` types stay inside this folder.

mod client;
mod pool;
mod status;
mod wire;

#[doc(hidden)]
pub mod proto;

pub use client::Serving;
pub use pool::{Address, AddressError, Settings};
