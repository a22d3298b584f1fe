//! The moment by which a request must be answered, carried from the socket to the model server.

use std::future::Future;
use std::time::Duration;

use tokio::time::Instant;

/// An absolute point in time; every stage sees what is left of it.
#[derive(Debug, Clone, Copy)]
pub struct Deadline(Instant);

impl Deadline {
    /// That long from now.
    pub fn after(budget: Duration) -> Self {
        Self(Instant::now() + budget)
    }

    /// What is left; zero when it has passed.
    pub fn left(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }

    /// Whether it has passed.
    pub fn passed(self) -> bool {
        self.left().is_zero()
    }

    /// The earlier of this and that long from now.
    #[must_use]
    pub fn at_most(self, budget: Duration) -> Self {
        Self(self.0.min(Instant::now() + budget))
    }

    /// Waits for the work, but not past the deadline.
    pub async fn bound<F: Future>(self, work: F) -> Result<F::Output, Passed> {
        tokio::time::timeout_at(self.0, work).await.map_err(|_| Passed)
    }
}

/// The deadline passed before the work was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Passed;
