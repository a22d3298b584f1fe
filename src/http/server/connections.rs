//! How many connections there are, and which gives way when there are too many.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::pulse::Pulse;

/// A hundredth of the connections gives way at a time: they are found by looking at all of them, which is not for every
/// single newcomer.
const SHARE: usize = 100;

/// The connections that are open.
pub(super) struct Connections {
    free: Arc<Semaphore>,
    open: Mutex<HashMap<u64, Arc<Pulse>>>,
    next: AtomicU64,
    waiting: AtomicUsize,
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

    /// A place, as soon as one is free.
    pub(super) async fn enter_when_free(self: &Arc<Self>, pulse: Arc<Pulse>) -> Place {
        let permit = Arc::clone(&self.free).acquire_owned().await.expect("the semaphore is never closed");
        self.place(permit, pulse)
    }

    /// The right to wait for a place, for that many at once.
    pub(super) fn wait(self: &Arc<Self>, most: usize) -> Option<Waiting> {
        let waiting = Waiting(Arc::clone(self));
        (self.waiting.fetch_add(1, Ordering::Relaxed) < most).then_some(waiting)
    }

    /// Asks those connections to end that have been without a request the longest.
    pub(super) fn make_room(&self) {
        let open = self.open();
        let mut idle: Vec<_> = open.values().filter_map(|pulse| Some((pulse.idle_since()?, pulse))).collect();
        let count = open.len().div_ceil(SHARE).min(idle.len());
        if count < idle.len() {
            idle.select_nth_unstable_by_key(count, |(since, _)| *since);
        }
        idle[..count].iter().for_each(|(_, pulse)| pulse.give_way());
    }

    fn place(self: &Arc<Self>, permit: OwnedSemaphorePermit, pulse: Arc<Pulse>) -> Place {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        self.open().insert(id, pulse);
        Place { connections: Arc::clone(self), id, _permit: permit }
    }

    fn open(&self) -> MutexGuard<'_, HashMap<u64, Arc<Pulse>>> {
        // Whole after every statement.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.connections.open().remove(&self.id);
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
        connections.make_room();
        pulses[1].asked_to_give_way().await;
        drop(places);
        assert!(connections.enter(Arc::new(Pulse::new())).is_some(), "free again");
        assert_eq!(connections.open().len(), 0, "the last place is given back as well");
    }
}
