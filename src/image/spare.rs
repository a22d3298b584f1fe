//! Room for pixels that is used again.
//!
//! A photo's pixels are megabytes that live for milliseconds. Fetched anew for each photo, every page of them is cleared and
//! mapped by the kernel, and cleared again for whoever asks for zeros: a twentieth of what a 12 MP photo costs
//! (docs/PERFORMANCE.md). Only libjpeg-turbo writes into room that it is given; the other decoders make their own.

use std::sync::{LazyLock, Mutex, PoisonError};
use std::thread::available_parallelism;

/// What is worth keeping, in bytes: below, memory is cheap; above, it is too much to hold on to.
const WORTH_KEEPING: std::ops::RangeInclusive<usize> = 1 << 20..=16 << 20;

/// As many as photos are decoded at once on all cores.
static SHELF: LazyLock<Shelf> = LazyLock::new(|| Shelf::new(available_parallelism().map_or(1, usize::from)));

/// So many bytes of anything: the caller writes them all, or gives none of them away.
pub(in crate::image) fn take(length: usize) -> Vec<u8> {
    SHELF.take(length)
}

/// Keeps what is no longer needed for the next who asks.
pub(in crate::image) fn keep(spare: Vec<u8>) {
    SHELF.keep(spare);
}

struct Shelf {
    places: usize,
    /// The one that was kept first comes first.
    spares: Mutex<Vec<Vec<u8>>>,
}

impl Shelf {
    fn new(places: usize) -> Self {
        Self { places, spares: Mutex::new(Vec::new()) }
    }

    fn take(&self, length: usize) -> Vec<u8> {
        let mut spares = self.spares.lock().unwrap_or_else(PoisonError::into_inner);
        // Not for something much smaller, which would keep the rest from those that need it.
        let fitting = spares.iter().position(|spare| (length..=2 * length).contains(&spare.capacity()));
        let spare = fitting.map(|at| spares.remove(at));
        drop(spares);
        let Some(mut spare) = spare else { return vec![0; length] };
        spare.resize(length, 0);
        spare
    }

    fn keep(&self, spare: Vec<u8>) {
        if !WORTH_KEEPING.contains(&spare.capacity()) {
            return;
        }
        let mut spares = self.spares.lock().unwrap_or_else(PoisonError::into_inner);
        spares.push(spare);
        // The next photos are of the size of the last ones. What is given back is given back outside of the lock.
        let given_back = (spares.len() > self.places).then(|| spares.remove(0));
        drop(spares);
        drop(given_back);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEGABYTE: usize = 1 << 20;

    #[test]
    fn what_was_kept_is_used_again_by_those_whom_it_fits() {
        let shelf = Shelf::new(2);
        shelf.keep(vec![7; 3 * MEGABYTE]);
        assert_eq!(shelf.take(MEGABYTE).capacity(), MEGABYTE, "much too large");
        assert_eq!(shelf.take(4 * MEGABYTE).capacity(), 4 * MEGABYTE, "too small");
        let taken = shelf.take(2 * MEGABYTE);
        assert_eq!((taken.len(), taken.capacity()), (2 * MEGABYTE, 3 * MEGABYTE));
        assert_eq!(shelf.take(2 * MEGABYTE).capacity(), 2 * MEGABYTE, "no room is had twice");
    }

    #[test]
    fn no_more_is_kept_than_there_are_places() {
        let shelf = Shelf::new(2);
        for bytes in [2 * MEGABYTE, 3 * MEGABYTE, 4 * MEGABYTE, 1, 17 * MEGABYTE] {
            shelf.keep(vec![0; bytes]);
        }
        let kept: Vec<usize> = shelf.spares.lock().unwrap().iter().map(Vec::capacity).collect();
        assert_eq!(kept, [3 * MEGABYTE, 4 * MEGABYTE]);
    }
}
