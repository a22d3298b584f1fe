//! How many connections there are, and which gives way when there are too many.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::FutureExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::pulse::Pulse;

/// Those that give way next are found by looking at all connections, a hundredth of them at a time: not once for every
/// newcomer.
const SHARE: usize = 100;

/// The connections that are open.
pub(super) struct Connections {
    free: Arc<Semaphore>,
    open: Mutex<Open>,
    next: AtomicU64,
    waiting: AtomicUsize,
}

#[derive(Default)]
struct Open {
    pulses: HashMap<u64, Arc<Pulse>>,
    /// Those that have been without a request the longest when this was looked up, and since when; the longest last.
    longest_idle: Vec<(u64, Instant)>,
}

/// A connection's place, given back when this is dropped.
pub(super) struct Place {
    connections: Arc<Connections>,
    id: u64,
    _permit: OwnedSemaphorePermit,
}

/// A connection that waits for a place.
pub(super) struct Waiting(Arc<Connections>);

impl Connections {
    pub(super) fn new(bound: usize) -> Self {
        Self {
            free: Arc::new(Semaphore::new(bound)),
            open: Mutex::default(),
            next: AtomicU64::default(),
            waiting: AtomicUsize::default(),
        }
    }

    /// A place, where one is free.
    pub(super) fn enter(self: &Arc<Self>, pulse: Arc<Pulse>) -> Option<Place> {
        let permit = Arc::clone(&self.free).try_acquire_owned().ok()?;
        Some(self.place(permit, pulse))
    }

    /// A place that another connection leaves.
    pub(super) async fn enter_for_another(self: &Arc<Self>, pulse: Arc<Pulse>) -> Place {
        let mut permit = pin!(Arc::clone(&self.free).acquire_owned());
        // In line first, or the next to come would take the place that is made.
        let permit = if let Some(permit) = permit.as_mut().now_or_never() {
            permit
        } else {
            self.make_room();
            permit.await
        };
        self.place(permit.expect("the semaphore is never closed"), pulse)
    }

    /// The right to wait for a place, for that many at once.
    pub(super) fn wait(self: &Arc<Self>, most: usize) -> Option<Waiting> {
        let waiting = Waiting(Arc::clone(self));
        (self.waiting.fetch_add(1, Ordering::Relaxed) < most).then_some(waiting)
    }

    /// Asks that connection to end that has been without a request the longest.
    pub(super) fn make_room(&self) {
        let mut open = self.open();
        for _ in 0..2 {
            while let Some((id, since)) = open.longest_idle.pop() {
                // It may have had a request meanwhile, or have ended.
                if let Some(pulse) = open.pulses.get(&id).filter(|pulse| pulse.idle_since() == Some(since)) {
                    return pulse.give_way();
                }
            }
            open.find_longest_idle();
        }
    }

    fn place(self: &Arc<Self>, permit: OwnedSemaphorePermit, pulse: Arc<Pulse>) -> Place {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        self.open().pulses.insert(id, pulse);
        Place { connections: Arc::clone(self), id, _permit: permit }
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        // Whole after every statement.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    fn find_longest_idle(&mut self) {
        let idle = self.pulses.iter().filter_map(|(id, pulse)| Some((*id, pulse.idle_since()?)));
        let mut idle: Vec<_> = idle.collect();
        let count = self.pulses.len().div_ceil(SHARE);
        if count < idle.len() {
            idle.select_nth_unstable_by_key(count, |(_, since)| *since);
            idle.truncate(count);
        }
        idle.sort_unstable_by_key(|(_, since)| std::cmp::Reverse(*since));
        self.longest_idle = idle;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.connections.open().pulses.remove(&self.id);
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_longest_idle_gives_way_and_a_busy_one_never() {
        let connections = Arc::new(Connections::new(3));
        let pulses: Vec<_> = (0..3).map(|_| Arc::new(Pulse::new())).collect();
        let places: Vec<_> = pulses.iter().map(|pulse| connections.enter(Arc::clone(pulse)).expect("free")).collect();
        assert!(connections.enter(Arc::new(Pulse::new())).is_none(), "full");
        let _busy = pulses[0].begin();
        // Each is asked once.
        connections.make_room();
        connections.make_room();
        connections.make_room();
        pulses[1].asked_to_give_way().await;
        pulses[2].asked_to_give_way().await;
        assert!(pulses[0].asked_to_give_way().now_or_never().is_none());
        drop(places);
        assert!(connections.enter(Arc::new(Pulse::new())).is_some(), "free again");
        assert_eq!(connections.open().pulses.len(), 0, "the last place is given back as well");
    }
}
