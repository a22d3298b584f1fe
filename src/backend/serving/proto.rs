//! What build.rs makes of proto/. Public for the scripted model server of the tests and for the fuzz targets only.
#![allow(missing_docs, clippy::pedantic, unreachable_pub)]

/// Package `tensorflow`.
pub mod tensorflow {
    tonic::include_proto!("tensorflow");

    /// Package `tensorflow.serving`.
    pub mod serving {
        tonic::include_proto!("tensorflow.serving");
    }
}
