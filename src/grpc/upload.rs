//! A call's messages on their way in: each bounded by what its method takes, counted among the uploads in flight as it
//! arrives, and not waited for without end. tonic would count nothing, and refuse what is too large in words of its own.
//!
//! So the frames of gRPC are read here as well: five bytes that say how long a message is, then the message.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::{Body, BodyDataStream};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use bytes::Bytes;
use futures::{StreamExt, stream};
use tonic::Status;

use super::status::{self, Failed};
use crate::arriving::{Arriving, Room};
use crate::backend::Call;
use crate::deadline::Deadline;
use crate::fault::{Code, Fault};
use crate::grpc::deadline;
use crate::request_id::RequestId;
use crate::service::Service;

/// Options and framing beside photos, and a message that holds none.
const BESIDE_PHOTOS: usize = 64 << 10;
/// A flag and the length of the message that follows, in network order.
const HEAD_BYTES: usize = 5;

/// What a method takes.
#[derive(Debug, Clone, Copy)]
struct Limit {
    /// Bytes of the photos in one message; none where it holds no photos.
    photos: usize,
    /// Whether the call is one message, to be there by the call's deadline, or goes on for as long as its caller likes.
    is_one: bool,
}

impl Limit {
    fn of(path: &str, service: &Service) -> Self {
        match path.rsplit('/').next() {
            Some("Detect") => Self { photos: service.pipeline.limits.max_bytes, is_one: true },
            Some("DetectBatch") => Self { photos: service.batch.max_bytes, is_one: true },
            Some("StreamDetect") => Self { photos: service.pipeline.limits.max_bytes, is_one: false },
            _ => Self { photos: 0, is_one: false },
        }
    }

    fn message(self) -> usize {
        self.photos + BESIDE_PHOTOS
    }
}

/// The largest message of any method, for tonic, which takes one bound for all.
pub(super) fn largest(service: &Service) -> usize {
    service.pipeline.limits.max_bytes.max(service.batch.max_bytes) + BESIDE_PHOTOS
}

/// The rooms of messages that have arrived and were not read yet.
#[derive(Debug, Clone, Default)]
pub(super) struct Rooms(Arc<Mutex<VecDeque<Arc<Room>>>>);

impl Rooms {
    /// That of the next message. To be taken once for each, in their order.
    pub(super) fn take(&self) -> Arc<Room> {
        self.waiting().pop_front().expect("a message that was read has arrived")
    }

    fn add(&self, room: Room) {
        self.waiting().push_back(Arc::new(room));
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, VecDeque<Arc<Room>>> {
        // Whole after every statement.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Around every service: puts the caller's deadline into force from the head of the call on, and the bounds around its body.
pub(super) async fn bounded(State(service): State<Arc<Service>>, mut request: Request, next: Next) -> Response {
    let timeout = deadline::of(request.headers());
    let call = request.extensions_mut().get_mut::<Call>().expect("the outermost layer makes one for every request");
    if let Some(timeout) = timeout {
        call.deadline = call.deadline.at_most(timeout);
    }
    let (deadline, request_id) = (call.deadline, call.request_id.clone());
    let limit = Limit::of(request.uri().path(), &service);
    let failed = request.extensions().get::<Failed>().cloned();
    let rooms = Rooms::default();
    request.extensions_mut().insert(rooms.clone());
    let messages = |body: Body| {
        let room = service.arriving.begin();
        let stage = Stage::Head { seen: [0; HEAD_BYTES], count: 0 };
        let body = body.into_data_stream();
        let arrival =
            Messages { body, limit, arriving: service.arriving.clone(), deadline, stage, room, rooms, bytes: 0 };
        Body::from_stream(stream::try_unfold(arrival, move |mut arrival| {
            let (request_id, failed) = (request_id.clone(), failed.clone());
            async move {
                match arrival.piece().await {
                    Ok(piece) => Ok(piece.map(|piece| (piece, arrival))),
                    Err(fault) => Err(told(fault, &request_id, failed)),
                }
            }
        }))
    };
    next.run(request.map(messages)).await
}

/// tonic answers with a status that it finds behind the error of a body.
fn told(fault: Fault, request_id: &RequestId, failed: Option<Failed>) -> Status {
    let status = status::of(&fault, request_id);
    if let Some(failed) = failed {
        failed.with(fault);
    }
    status
}

/// Where in a message the body stands.
#[derive(Debug)]
enum Stage {
    /// Within the five bytes in front of one, so many of which are there.
    Head { seen: [u8; HEAD_BYTES], count: usize },
    /// So many bytes before its end.
    Message { left: usize },
}

/// A call's body.
struct Messages {
    body: BodyDataStream,
    limit: Limit,
    arriving: Arriving,
    deadline: Deadline,
    stage: Stage,
    /// Of the message that is arriving.
    room: Room,
    rooms: Rooms,
    bytes: usize,
}

impl Messages {
    /// The next piece of the body, looked through and counted; nothing at its end.
    async fn piece(&mut self) -> Result<Option<Bytes>, Fault> {
        let next = match self.patience() {
            Some(patience) => patience.bound(self.body.next()).await.map_err(|_| self.lost())?,
            None => self.body.next().await,
        };
        match next {
            None => Ok(None),
            Some(Ok(piece)) => {
                self.read(&piece)?;
                self.bytes += piece.len();
                Ok(Some(piece))
            }
            Some(Err(error)) => {
                Err(Fault::new(Code::InvalidRequest, "The call could not be read to its end.").caused_by(error))
            }
        }
    }

    /// Until when the next piece is waited for: between the messages of a stream, for as long as the caller likes.
    fn patience(&self) -> Option<Deadline> {
        let pause = self.arriving.pause();
        let is_between = matches!(self.stage, Stage::Head { count: 0, .. });
        match (self.limit.is_one, is_between) {
            (true, _) => Some(self.deadline.at_most(pause)),
            (false, true) => None,
            (false, false) => Some(Deadline::after(pause)),
        }
    }

    fn lost(&self) -> Fault {
        let bytes = self.bytes;
        let detail = if self.limit.is_one && self.deadline.passed() {
            format!("The call stopped at {bytes} bytes and did not arrive before its deadline.")
        } else {
            format!("The call stopped at {bytes} bytes, and nothing came for {} ms.", self.arriving.pause().as_millis())
        };
        Fault::new(Code::UploadTimeout, detail)
    }

    fn read(&mut self, mut piece: &[u8]) -> Result<(), Fault> {
        while !piece.is_empty() {
            match &mut self.stage {
                Stage::Head { seen, count } => {
                    let taken = piece.len().min(HEAD_BYTES - *count);
                    seen[*count..*count + taken].copy_from_slice(&piece[..taken]);
                    (*count, piece) = (*count + taken, &piece[taken..]);
                    if *count == HEAD_BYTES {
                        let [_, length @ ..] = *seen;
                        self.begin(u32::from_be_bytes(length) as usize)?;
                    }
                }
                Stage::Message { left } => {
                    let taken = piece.len().min(*left);
                    self.room.take(taken)?;
                    (*left, piece) = (*left - taken, &piece[taken..]);
                    if *left == 0 {
                        self.end();
                    }
                }
            }
        }
        Ok(())
    }

    fn begin(&mut self, length: usize) -> Result<(), Fault> {
        let Limit { photos, .. } = self.limit;
        if length > self.limit.message() {
            let detail = format!(
                "The message has {length} bytes; this method takes {photos} bytes of photos and {BESIDE_PHOTOS} beside them."
            );
            return Err(Fault::new(Code::PayloadTooLarge, detail).with("max_bytes", photos));
        }
        self.stage = Stage::Message { left: length };
        if length == 0 {
            self.end();
        }
        Ok(())
    }

    fn end(&mut self) {
        self.stage = Stage::Head { seen: [0; HEAD_BYTES], count: 0 };
        let room = std::mem::replace(&mut self.room, self.arriving.begin());
        // A message without photos is gone once it is read, and nobody asks for its room.
        if self.limit.photos > 0 {
            self.rooms.add(room);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn messages(photos: usize, room: u64) -> Messages {
        let arriving = Arriving::new(room, Duration::from_secs(10));
        Messages {
            body: Body::empty().into_data_stream(),
            limit: Limit { photos, is_one: true },
            deadline: Deadline::after(Duration::from_secs(10)),
            stage: Stage::Head { seen: [0; HEAD_BYTES], count: 0 },
            room: arriving.begin(),
            arriving,
            rooms: Rooms::default(),
            bytes: 0,
        }
    }

    fn framed(lengths: &[u32]) -> Vec<u8> {
        let message = |&length: &u32| [&[0][..], &length.to_be_bytes(), &vec![7; length as usize]].concat();
        lengths.iter().flat_map(message).collect()
    }

    #[tokio::test]
    async fn messages_are_told_apart_however_they_are_cut() {
        let bytes = framed(&[3, 0, 300, 1]);
        for size in 1..=bytes.len() {
            let mut messages = messages(300, 304);
            bytes.chunks(size).for_each(|piece| messages.read(piece).expect("within its bounds"));
            assert_eq!(messages.rooms.waiting().len(), 4, "in pieces of {size}");
            // All of it is taken until the messages are let go of.
            messages.read(&framed(&[1])).expect_err("no room");
            (0..4).for_each(|_| drop(messages.rooms.take()));
            messages.room.take(304).expect("all the room");
        }
    }

    #[tokio::test]
    async fn a_message_past_the_bound_is_refused_at_its_head() {
        let bound = 300 + BESIDE_PHOTOS as u32;
        let mut messages = messages(300, 1 << 20);
        messages.read(&framed(&[bound])).expect("on the bound");
        let fault = messages.read(&framed(&[bound + 1])[..HEAD_BYTES]).expect_err("past it");
        assert_eq!((fault.code(), &fault.facts()["max_bytes"]), (Code::PayloadTooLarge, &300.into()));
    }

    #[tokio::test]
    async fn messages_without_photos_keep_no_room() {
        let mut messages = messages(0, 8);
        for _ in 0..100 {
            messages.read(&framed(&[8])).expect("the room of the one before is given back");
        }
    }
}
