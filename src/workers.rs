//! The bounded place for work that keeps a core busy: decoding, resizing, inference, drawing.
//!
//! Nothing here runs on the async threads, and never more at once than there are cores to run it; what comes before a photo is
//! worked on, and what is left when it has been, has as many threads of its own. Work that waits costs its input only; work whose
//! deadline has passed while it waited is never started.

use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::deadline::Deadline;
use crate::fault::{Code, Fault};

/// A handle to the pool; clones share it.
#[derive(Debug, Clone)]
pub struct Workers {
    slots: Arc<Semaphore>,
    /// As many again, for what does not wait for photos.
    ahead: Arc<Semaphore>,
    count: usize,
}

impl Workers {
    /// That many jobs at once.
    pub fn new(count: usize) -> Self {
        Self { slots: Arc::new(Semaphore::new(count)), ahead: Arc::new(Semaphore::new(count)), count }
    }

    /// How many jobs run at once.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Runs the job on a thread of its own as soon as a slot is free.
    ///
    /// # Errors
    /// `DEADLINE_EXCEEDED` when no slot was free or the job was not done in time, `INTERNAL` when the job panicked, else the job's own fault.
    pub async fn run<T, F>(&self, deadline: Deadline, job: F) -> Result<T, Fault>
    where
        T: Send + 'static,
        F: FnOnce() -> Result<T, Fault> + Send + 'static,
    {
        Self::run_in(&self.slots, deadline, job).await
    }

    /// The same for what decides whether there is work at all, which is reading a header or options, unpacking a body and taking it
    /// apart, and for answers that are there: a model's that is long to read, our own that is long to write. It does not wait for
    /// photos, and takes milliseconds but for the largest bodies, which are bounded by their bytes.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub async fn run_ahead<T, F>(&self, deadline: Deadline, job: F) -> Result<T, Fault>
    where
        T: Send + 'static,
        F: FnOnce() -> Result<T, Fault> + Send + 'static,
    {
        Self::run_in(&self.ahead, deadline, job).await
    }

    async fn run_in<T, F>(slots: &Arc<Semaphore>, deadline: Deadline, job: F) -> Result<T, Fault>
    where
        T: Send + 'static,
        F: FnOnce() -> Result<T, Fault> + Send + 'static,
    {
        let late = || Fault::new(Code::DeadlineExceeded, "The request's time ran out while it waited for a free core.");
        let slot = deadline.bound(Arc::clone(slots).acquire_owned()).await.map_err(|_| late())?;
        let slot = slot.expect("the semaphore is never closed");
        // A slot that is free at once is taken whatever the time.
        if deadline.passed() {
            return Err(late());
        }
        let span = tracing::Span::current();
        // The slot moves into the job: neither a client that goes away nor a deadline that passes makes room for more while
        // the work is still running.
        let job = move || {
            let _slot = slot;
            span.in_scope(job)
        };
        let done = deadline.bound(tokio::task::spawn_blocking(job)).await.map_err(|_| {
            Fault::new(Code::DeadlineExceeded, "The request's time ran out while its photo was worked on.")
        })?;
        done.unwrap_or_else(|panic| Err(Fault::internal(panic)))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_job_that_cannot_start_in_time_is_never_started() {
        let workers = Workers::new(1);
        let (release, released) = mpsc::channel::<()>();
        let (started, starts) = tokio::sync::oneshot::channel();
        let busy = tokio::spawn({
            let workers = workers.clone();
            async move {
                let hold = move || {
                    started.send(()).expect("the test waits");
                    Ok(released.recv().is_ok())
                };
                workers.run(Deadline::after(Duration::from_secs(60)), hold).await
            }
        });
        starts.await.expect("the job starts");
        let late =
            workers.run(Deadline::after(Duration::from_millis(5)), || -> Result<(), Fault> { panic!("must not run") });
        assert_eq!(late.await.expect_err("no slot").code(), Code::DeadlineExceeded);
        let ahead = workers.run_ahead(Deadline::after(Duration::from_secs(60)), || Ok(7));
        assert_eq!(ahead.await.expect("it does not wait for the long one"), 7);
        release.send(()).expect("the job listens");
        assert!(busy.await.expect("no panic").expect("runs to its end"));
    }

    #[tokio::test]
    async fn a_panic_is_an_internal_fault_and_frees_its_slot() {
        let workers = Workers::new(1);
        let deadline = Deadline::after(Duration::from_secs(60));
        let fault = workers.run(deadline, || -> Result<(), Fault> { panic!("boom") }).await.expect_err("panicked");
        assert_eq!(fault.code(), Code::Internal);
        assert_eq!(workers.run(deadline, || Ok(7)).await.expect("the slot is free again"), 7);
    }
}
