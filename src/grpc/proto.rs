//! What build.rs makes of proto/spotter. Public for clients in tests.
#![allow(missing_docs, clippy::large_enum_variant, clippy::pedantic, unreachable_pub)]

/// Package `spotter.v1`.
pub mod v1 {
    tonic::include_proto!("spotter.v1");
}

/// The descriptors of package `spotter.v1`, for reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/spotter.v1.bin"));
