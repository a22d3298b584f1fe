//! The routes that are in force. They may be exchanged while requests are answered: each request goes through those that it
//! met, to its end.

use std::sync::Arc;

use axum::Router;
use tokio::sync::watch;

use crate::http::cors::Refusals;

/// What answers requests, and what is said where no request came about.
#[derive(Debug, Clone)]
pub struct Front {
    /// Answers requests.
    pub router: Router,
    /// What lets pages read refusals.
    pub(in crate::http) refusals: Refusals,
}

impl From<Router> for Front {
    fn from(router: Router) -> Self {
        Self { router, refusals: Refusals::default() }
    }
}

/// A place for a front; clones share it.
#[derive(Debug, Clone)]
pub struct Routes(Arc<watch::Sender<Front>>);

impl Routes {
    /// These, to begin with.
    pub fn new(front: impl Into<Front>) -> Self {
        Self(Arc::new(watch::Sender::new(front.into())))
    }

    /// For a request that has come in.
    pub(super) fn current(&self) -> Router {
        self.0.borrow().router.clone()
    }

    /// For a refusal.
    pub(super) fn refusals(&self) -> Refusals {
        self.0.borrow().refusals.clone()
    }

    /// Others, for every request from now on.
    pub fn replace(&self, front: impl Into<Front>) {
        drop(self.0.send_replace(front.into()));
    }
}
