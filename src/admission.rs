//! How much of the service's memory photos may take at once.
//!
//! A photo is small as a file and large as pixels: 50 megapixels can be a file of 60 kB. So what is counted is pixels, from
//! before a photo is decoded until its answer is made. The queue is bounded as well: past it, waiting would only make
//! everybody late.
//!
//! Photos are counted too. Each goes through several jobs, and jobs are done in the order in which they came: with too many
//! photos at once all would be decoded before the first is looked at, and under load none would be finished in time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::deadline::Deadline;
use crate::fault::{Code, Fault};

/// Pixels that one permit stands for: the semaphore counts in 32 bits.
const PIXELS_A_PERMIT: u64 = 4096;
/// Photos that may wait.
const MAX_WAITING: usize = 256;
/// By then a place is free or the service needs replicas.
const RETRY: Duration = Duration::from_secs(1);

/// The budget; clones share it.
#[derive(Debug, Clone)]
pub struct Admission {
    photos: Arc<Semaphore>,
    budget: Arc<Semaphore>,
    permits: u32,
    waiting: Arc<AtomicUsize>,
}

/// A photo's share of the budget, given back when this is dropped.
#[derive(Debug)]
pub struct Admitted {
    _photo: OwnedSemaphorePermit,
    _pixels: OwnedSemaphorePermit,
}

impl Admission {
    /// As many photos and as many pixels at once.
    pub fn new(photos: usize, pixels: u64) -> Self {
        let permits = permits(pixels);
        Self {
            photos: Arc::new(Semaphore::new(photos.max(1))),
            budget: Arc::new(Semaphore::new(permits as usize)),
            permits,
            waiting: Arc::default(),
        }
    }

    /// Waits for room for a photo of this size. One larger than the whole budget takes all of it.
    ///
    /// # Errors
    /// `OVERLOADED` when too many wait already, or when there was no room before the deadline.
    pub async fn admit(&self, pixels: u64, deadline: Deadline) -> Result<Admitted, Fault> {
        let full = |detail: &str| Fault::new(Code::Overloaded, detail).retry_after(RETRY);
        let share = permits(pixels).min(self.permits);
        let waiting = Waiting::enter(&self.waiting)
            .ok_or_else(|| full("This service has more photos waiting than it can answer in time."))?;
        let room = async {
            let photo = Arc::clone(&self.photos).acquire_owned().await;
            (photo, Arc::clone(&self.budget).acquire_many_owned(share).await)
        };
        let room = deadline.bound(room).await;
        drop(waiting);
        let (photo, pixels) =
            room.map_err(|_| full("There was no room for the photo before the request's deadline."))?;
        let open = "the semaphore is never closed";
        Ok(Admitted { _photo: photo.expect(open), _pixels: pixels.expect(open) })
    }
}

fn permits(pixels: u64) -> u32 {
    u32::try_from(pixels.div_ceil(PIXELS_A_PERMIT)).unwrap_or(u32::MAX).max(1)
}

/// A place in the queue, left when this is dropped: also by a client that goes away.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn enter(count: &'a AtomicUsize) -> Option<Self> {
        let place = Self(count);
        (count.fetch_add(1, Ordering::Relaxed) < MAX_WAITING).then_some(place)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_millis(5);
    const LATE: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn photos_wait_for_room_and_give_it_back() {
        let admission = Admission::new(9, 10_000_000);
        let first = admission.admit(6_000_000, Deadline::after(SOON)).await.expect("there is room");
        let fault = admission.admit(6_000_000, Deadline::after(SOON)).await.expect_err("there is none");
        assert_eq!(fault.code(), Code::Overloaded);
        assert!(fault.retry_wait().is_some());
        let waits = admission.clone();
        let second = tokio::spawn(async move { waits.admit(6_000_000, Deadline::after(LATE)).await });
        drop(first);
        second.await.expect("no panic").expect("room again");
    }

    #[tokio::test]
    async fn a_photo_larger_than_the_budget_takes_all_of_it() {
        let admission = Admission::new(9, 1_000_000);
        let all = admission.admit(u64::MAX, Deadline::after(SOON)).await.expect("alone");
        assert_eq!(admission.admit(1, Deadline::after(SOON)).await.expect_err("taken").code(), Code::Overloaded);
        drop(all);
        admission.admit(1, Deadline::after(SOON)).await.expect("free");
    }

    #[tokio::test]
    async fn photos_are_counted_however_small() {
        let admission = Admission::new(1, u64::MAX);
        let first = admission.admit(1, Deadline::after(SOON)).await.expect("free");
        assert_eq!(admission.admit(1, Deadline::after(SOON)).await.expect_err("taken").code(), Code::Overloaded);
        drop(first);
        admission.admit(1, Deadline::after(SOON)).await.expect("free again");
    }

    #[tokio::test]
    async fn a_full_queue_refuses_at_once() {
        let admission = Admission::new(1, 1);
        let _held = admission.admit(1, Deadline::after(LATE)).await.expect("free");
        let waiting = (0..MAX_WAITING).map(|_| {
            let admission = admission.clone();
            tokio::spawn(async move { admission.admit(1, Deadline::after(LATE)).await.map(drop) })
        });
        let waiting: Vec<_> = waiting.collect();
        while admission.waiting.load(Ordering::Relaxed) < MAX_WAITING {
            tokio::task::yield_now().await;
        }
        let fault = admission.admit(1, Deadline::after(LATE)).await.expect_err("full");
        assert_eq!(fault.code(), Code::Overloaded);
        waiting.iter().for_each(tokio::task::JoinHandle::abort);
    }
}
