//! From names to addresses, again and again while serving.

use std::fmt::Debug;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use async_trait::async_trait;

/// Answers a name with the addresses that it stands for now.
#[async_trait]
pub trait Resolve: Debug + Send + Sync {
    /// All addresses of the host, with the port.
    ///
    /// # Errors
    /// When the name is not known or nobody could be asked.
    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>>;
}

/// The system's own resolver.
#[derive(Debug, Clone, Copy)]
pub(super) struct System;

/// A name server that takes longer counts as one that does not answer; the addresses known before stay in use.
const PATIENCE: Duration = Duration::from_secs(5);

#[async_trait]
impl Resolve for System {
    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let found = tokio::time::timeout(PATIENCE, tokio::net::lookup_host((host, port))).await??;
        Ok(found.collect())
    }
}
