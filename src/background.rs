//! Tasks beside the requests. One that breaks takes the process with it: half a service is worse than none, and whatever
//! started the process starts a whole one.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt;
use tokio::sync::watch;

/// Where such tasks are started; clones share it.
#[derive(Debug, Clone, Default)]
pub struct Background {
    crashed: Arc<watch::Sender<Option<&'static str>>>,
}

impl Background {
    /// Starts a task. It may end; it must not panic.
    pub fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let crashed = Arc::clone(&self.crashed);
        tokio::spawn(async move {
            // What the task has left half done is not looked at any more.
            if AssertUnwindSafe(task).catch_unwind().await.is_err() {
                crashed.send_replace(Some(name));
            }
        });
    }

    /// Waits until a task has panicked, and says which.
    pub async fn crashed(&self) -> &'static str {
        let mut watched = self.crashed.subscribe();
        // The sender lives as long as this handle.
        let crashed = watched.wait_for(Option::is_some).await;
        crashed.ok().and_then(|name| *name).unwrap_or("unknown")
    }
}
