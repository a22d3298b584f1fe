//! The memory for what model servers answer to Predict: bytes are counted as they arrive, then those of the numbers in them, until
//! the photo is answered.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// So much of each answer takes no room: a hundred boxes are some kilobytes, and there are no more answers than photos in flight have
/// views.
const FREE: usize = 64 << 10;

/// The room for all answers; clones share it.
#[derive(Debug, Clone)]
pub struct ModelAnswers {
    room: Arc<Semaphore>,
    bytes: usize,
}

/// What one answer takes of it, given back when this is dropped.
#[derive(Debug)]
pub struct AnswerRoom {
    answers: ModelAnswers,
    taken: Option<OwnedSemaphorePermit>,
}

/// There is no room for an answer, which is not its host's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the answers of model servers take the {max_bytes} bytes that there are for them")]
pub struct NoRoom {
    /// What all answers may have together.
    pub max_bytes: usize,
}

impl ModelAnswers {
    /// Room for that many bytes.
    pub fn new(bytes: u64) -> Self {
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        Self { room: Arc::new(Semaphore::new(bytes)), bytes }
    }

    /// Bytes of the answers that are there, and as many as there may be.
    pub fn bytes(&self) -> (u64, u64) {
        let taken = self.bytes.saturating_sub(self.room.available_permits());
        (taken as u64, self.bytes as u64)
    }

    /// Nothing yet, for an answer that begins.
    pub fn begin(&self) -> AnswerRoom {
        AnswerRoom { answers: self.clone(), taken: None }
    }
}

impl AnswerRoom {
    /// Takes as much as an answer of so many bytes needs, or gives back what it needs no longer. One larger than all the room takes all
    /// of it.
    ///
    /// # Errors
    /// When there is not as much: waiting for it would keep what is taken already.
    pub fn resize(&mut self, bytes: usize) -> Result<(), NoRoom> {
        let ModelAnswers { room, bytes: max_bytes } = &self.answers;
        let needed = bytes.saturating_sub(FREE).min(*max_bytes);
        let has = self.taken.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        if let Some(surplus) = has.checked_sub(needed) {
            drop(self.taken.as_mut().and_then(|taken| taken.split(surplus)));
            return Ok(());
        }
        let no_room = NoRoom { max_bytes: *max_bytes };
        let more = u32::try_from(needed - has).map_err(|_| no_room)?;
        let more = Arc::clone(room).try_acquire_many_owned(more).map_err(|_| no_room)?;
        match &mut self.taken {
            Some(taken) => taken.merge(more),
            None => self.taken = Some(more),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_take_what_goes_beyond_a_small_one_and_give_it_back() {
        let answers = ModelAnswers::new(100_000);
        let (mut first, mut second) = (answers.begin(), answers.begin());
        first.resize(FREE).expect("a small one takes none");
        assert_eq!(answers.bytes(), (0, 100_000));
        first.resize(FREE + 60_000).expect("room");
        assert_eq!(second.resize(FREE + 40_001), Err(NoRoom { max_bytes: 100_000 }));
        second.resize(FREE + 40_000).expect("what is left");
        first.resize(FREE + 10_000).expect("less");
        assert_eq!(answers.bytes().0, 50_000);
        second.resize(FREE + 90_000).expect("what was given back");
        drop(second);
        first.resize(usize::MAX).expect("one larger than the room takes all of it");
        assert_eq!(answers.bytes().0, 100_000);
        answers.begin().resize(FREE).expect("small ones go on");
        drop(first);
        assert_eq!(answers.bytes().0, 0);
    }
}
