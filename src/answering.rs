//! The memory for answers: the bytes of large ones are counted from before they are handed to the connection until it has
//! passed them on.
//!
//! An answer waits for a client that reads slowly, or not at all, long after the photo and its pixels are let go of. What is
//! small is not counted: there is never more of it than was answered within the time that a client may take to read.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::fault::{Code, Fault};

/// An answer of up to this many bytes takes no room. JSON without crops and masks is a tenth of it.
const SMALL: usize = 64 << 10;
/// By then clients have read their answers, or lost them.
const RETRY: Duration = Duration::from_secs(1);

/// The room for large answers; clones share it.
#[derive(Debug, Clone)]
pub struct Answering {
    room: Arc<Semaphore>,
    bytes: usize,
}

/// What one answer takes of it, given back with the last clone of this.
#[derive(Debug, Clone)]
pub struct Held(Vec<Arc<OwnedSemaphorePermit>>);

impl Answering {
    /// Room for that many bytes.
    pub fn new(bytes: u64) -> Self {
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        Self { room: Arc::new(Semaphore::new(bytes)), bytes }
    }

    /// With another bound; the room is the same where it is as large.
    #[must_use]
    pub fn renewed(&self, bytes: u64) -> Self {
        let new = Self::new(bytes);
        if new.bytes == self.bytes { self.clone() } else { new }
    }

    /// Bytes of large answers that are not read yet, and as many as there may be.
    pub fn bytes(&self) -> (u64, u64) {
        let taken = self.bytes.saturating_sub(self.room.available_permits());
        (taken as u64, self.bytes as u64)
    }

    /// Takes room for an answer that is there; nothing for a small one. One larger than all the room takes all of it.
    ///
    /// # Errors
    /// `OVERLOADED` when there is none: to wait for it would keep the answer in memory just the same.
    pub fn take(&self, length: usize) -> Result<Option<Held>, Fault> {
        if length <= SMALL {
            return Ok(None);
        }
        let share = u32::try_from(length.min(self.bytes)).unwrap_or(u32::MAX);
        let permit = Arc::clone(&self.room).try_acquire_many_owned(share).map_err(|_| {
            let max = self.bytes;
            let detail = format!(
                "Answers that are not read yet, the others of this request among them, take the {max} bytes that this service keeps for them. Try again, or ask for fewer photos, crops or masks at once."
            );
            Fault::new(Code::Overloaded, detail).with("max_bytes_in_flight", max).retry_after(RETRY)
        })?;
        Ok(Some(Held(vec![Arc::new(permit)])))
    }

    /// Room for an answer that is put together from parts, which have taken theirs before: that, and what the whole takes beyond
    /// it where that is large and there is any. Never an error, because each part is small or has its own.
    pub fn whole(&self, length: usize, parts: impl IntoIterator<Item = Held>) -> Option<Held> {
        let mut taken: Vec<_> = parts.into_iter().flat_map(|Held(permits)| permits).collect();
        let counted: usize = taken.iter().map(|permit| permit.num_permits()).sum();
        if let Ok(Some(Held(beyond))) = self.take(length.saturating_sub(counted)) {
            taken.extend(beyond);
        }
        (!taken.is_empty()).then_some(Held(taken))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_answers_take_room_until_the_last_clone_is_gone() {
        let answering = Answering::new(300_000);
        assert!(answering.take(SMALL).expect("always").is_none(), "a small one takes none");
        let first = answering.take(200_000).expect("room").expect("it is large");
        let fault = answering.take(100_001).expect_err("too little is left");
        assert_eq!(fault.code(), Code::Overloaded);
        assert!(fault.retry_wait().is_some());
        assert_eq!(answering.bytes(), (200_000, 300_000));
        assert!(answering.take(SMALL).expect("always").is_none());
        let clone = first.clone();
        drop(first);
        answering.renewed(300_000).take(100_001).expect_err("the same room, which is still taken");
        drop(clone);
        let _all = answering.take(1_000_000).expect("one larger than the room takes all of it");
        answering.take(SMALL + 1).expect_err("nothing is left");
    }

    #[test]
    fn a_whole_takes_what_its_parts_have_and_the_rest_where_there_is_any() {
        let answering = Answering::new(300_000);
        let parts = [answering.take(100_000).expect("room"), answering.take(SMALL).expect("room")];
        let whole = answering.whole(170_000, parts.into_iter().flatten()).expect("it is large");
        assert_eq!(answering.bytes().0, 170_000);
        let part = answering.take(120_000).expect("room").expect("it is large");
        let more = answering.whole(220_000, [part]).expect("it is large");
        assert_eq!(answering.bytes().0, 290_000, "there is no room for what goes beyond the part");
        drop((whole, more));
        assert_eq!(answering.bytes().0, 0);
        assert!(answering.whole(SMALL, []).is_none());
    }

    #[test]
    fn the_room_may_be_larger_than_any_answer_is_counted() {
        let answering = Answering::new(3 << 32);
        let _held: Vec<_> =
            (0..3).map(|_| answering.take(u32::MAX as usize).expect("there are three times as many")).collect();
        assert_eq!(answering.bytes(), (3 * u64::from(u32::MAX), 3 << 32));
        answering.take(SMALL + 1).expect_err("three bytes are left");
    }
}
