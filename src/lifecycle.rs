//! From serving to stopped, as everybody sees it who has to behave accordingly.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

/// How far the service is; it only goes on, never back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Requests are welcome.
    Serving,
    /// Requests are still answered, and whoever asks is told to go elsewhere: `/readyz` is not ready, and connections are
    /// not kept.
    Draining,
    /// No new connection is taken, and what is in flight is finished.
    Stopping,
}

/// How long the last phases take.
#[derive(Debug, Clone, Copy)]
pub struct Shutdown {
    /// Draining: until whoever sends requests here has noticed that this instance is not ready.
    pub delay: Duration,
    /// Stopping: what is not done by then is cut off.
    pub grace: Duration,
}

/// The phase of one service; clones share it.
#[derive(Debug, Clone)]
pub struct Lifecycle(Arc<watch::Sender<Phase>>);

impl Lifecycle {
    /// A service that serves.
    pub fn new() -> Self {
        Self(Arc::new(watch::Sender::new(Phase::Serving)))
    }

    /// How far it is.
    pub fn phase(&self) -> Phase {
        *self.0.borrow()
    }

    /// Goes on to that phase, unless it is further already.
    pub fn advance(&self, phase: Phase) {
        self.0.send_if_modified(|now| {
            let goes_on = *now < phase;
            *now = phase.max(*now);
            goes_on
        });
    }

    /// Waits for that phase, or a later one.
    pub async fn reached(&self, phase: Phase) {
        let mut watched = self.0.subscribe();
        // The sender lives as long as this handle.
        let _ = watched.wait_for(|now| *now >= phase).await;
    }
}

impl Default for Lifecycle {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn phases_only_go_on_and_everybody_hears_of_it() {
        let lifecycle = Lifecycle::new();
        let waiting = tokio::spawn({
            let lifecycle = lifecycle.clone();
            async move { lifecycle.reached(Phase::Draining).await }
        });
        lifecycle.advance(Phase::Stopping);
        lifecycle.advance(Phase::Draining);
        assert_eq!(lifecycle.phase(), Phase::Stopping);
        waiting.await.expect("a later phase is reached as well");
    }
}
