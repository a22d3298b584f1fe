//! The routes that are in force. They may be exchanged while requests are answered: each request goes through those that it
//! met, to its end.

use std::sync::Arc;

use axum::Router;
use tokio::sync::watch;

/// A place for a router; clones share it.
#[derive(Debug, Clone)]
pub struct Routes(Arc<watch::Sender<Router>>);

impl Routes {
    /// These, to begin with.
    pub fn new(router: Router) -> Self {
        Self(Arc::new(watch::Sender::new(router)))
    }

    /// For a request that has come in.
    pub(super) fn current(&self) -> Router {
        self.0.borrow().clone()
    }

    /// Others, for every request from now on.
    pub fn replace(&self, router: Router) {
        drop(self.0.send_replace(router));
    }
}
