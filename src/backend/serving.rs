//! TensorFlow Serving over gRPC. `tonic` and `prost` types stay inside this folder.

mod address;
mod bounded;
mod client;
mod connector;
mod host;
mod pool;
mod replica;
mod resolve;
mod standings;
mod status;
pub mod tls;
mod wire;

#[doc(hidden)]
pub mod answer;
#[doc(hidden)]
pub mod predict;
#[doc(hidden)]
pub mod proto;

pub use address::{Address, AddressError};
pub use client::Serving;
pub use pool::Settings;
pub use resolve::Resolve;
