//! The memory for bodies: bytes are counted as they arrive and until the photo made of them is let go of.
//!
//! A declared length is only a promise and takes no room; so a client that promises much and sends nothing keeps nobody out.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::fault::{Code, Fault};

/// By then other uploads are done.
const RETRY: Duration = Duration::from_secs(1);

/// The room for bodies of all requests; clones share it.
#[derive(Debug, Clone)]
pub struct Arriving {
    room: Arc<Semaphore>,
    bytes: u64,
    /// Longest pause between two pieces of a body.
    pause: Duration,
}

/// What one body takes of it, given back when this is dropped.
#[derive(Debug)]
pub struct Room {
    arriving: Arriving,
    taken: Option<OwnedSemaphorePermit>,
}

impl Arriving {
    /// Room for that many bytes, and patience for that long a pause in each body.
    pub fn new(bytes: u64, pause: Duration) -> Self {
        let permits = usize::try_from(bytes).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        Self { room: Arc::new(Semaphore::new(permits)), bytes, pause }
    }

    /// With other bounds; the room is the same where it is as large.
    #[must_use]
    pub fn renewed(&self, bytes: u64, pause: Duration) -> Self {
        let new = Self::new(bytes, pause);
        if bytes == self.bytes { Self { room: Arc::clone(&self.room), ..new } } else { new }
    }

    /// The longest pause in a body.
    pub fn pause(&self) -> Duration {
        self.pause
    }

    /// Bytes that are there, and as many as there may be.
    pub fn bytes(&self) -> (u64, u64) {
        let free = self.room.available_permits() as u64;
        (self.bytes.saturating_sub(free), self.bytes)
    }

    /// Nothing yet, for a body that begins.
    pub fn begin(&self) -> Room {
        Room { arriving: self.clone(), taken: None }
    }
}

impl Room {
    /// Takes room for the next piece.
    ///
    /// # Errors
    /// `OVERLOADED` when there is none: waiting for it would keep the room that is taken already.
    pub fn take(&mut self, piece: usize) -> Result<(), Fault> {
        let full = || {
            let max = self.arriving.bytes;
            let detail = format!("The uploads that are arriving have the {max} bytes that this service takes at once.");
            Fault::new(Code::Overloaded, detail).with("max_bytes_in_flight", max).retry_after(RETRY)
        };
        let piece = u32::try_from(piece).map_err(|_| full())?;
        let more = Arc::clone(&self.arriving.room).try_acquire_many_owned(piece).map_err(|_| full())?;
        match &mut self.taken {
            Some(taken) => taken.merge(more),
            None => self.taken = Some(more),
        }
        Ok(())
    }

    /// Ties the room to a photo: it is given back with the last reference to the bytes of all photos that hold it.
    pub fn hold(self: &Arc<Self>, photo: Bytes) -> Bytes {
        Bytes::from_owner(Held { photo, _room: Arc::clone(self) })
    }
}

struct Held {
    photo: Bytes,
    _room: Arc<Room>,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.photo
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_taken_by_pieces_and_given_back_with_the_photo() {
        let arriving = Arriving::new(10, Duration::ZERO);
        let mut first = arriving.begin();
        first.take(4).expect("room");
        first.take(4).expect("room");
        let mut second = arriving.begin();
        let fault = second.take(4).expect_err("two are left");
        assert_eq!(fault.code(), Code::Overloaded);
        assert_eq!(arriving.bytes(), (8, 10));
        assert!(fault.retry_wait().is_some());
        let first = Arc::new(first);
        let photo = first.hold(Bytes::from_static(b"12345678"));
        drop(first);
        let copy = photo.slice(..2);
        drop(photo);
        second.take(4).expect_err("the photo is still there");
        drop(copy);
        second.take(4).expect("room again");
    }
}
