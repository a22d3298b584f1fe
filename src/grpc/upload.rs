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

use super::answers;
use super::beside::{Beside, Photos};
use super::status::{self, Failed};
use crate::arriving::{Arriving, Room};
use crate::backend::Call;
use crate::deadline::Deadline;
use crate::fault::{Code, Fault};
use crate::grpc::deadline;
use crate::grpc_frame::PREFIX_BYTES;
use crate::service::Service;

/// Options and framing beside photos, and a message that holds none.
const BESIDE_PHOTOS: usize = 64 << 10;

/// What a method takes.
#[derive(Debug, Clone, Copy)]
struct Limit {
    /// Bytes of the photos in one message; none where it holds no photos.
    photos: usize,
    /// Where in a message they are.
    photos_at: Photos,
    /// Whether the call is one message, to be there by the call's deadline, or goes on for as long as its caller likes.
    is_one: bool,
}

impl Limit {
    fn of(path: &str, service: &Service) -> Self {
        match path.rsplit('/').next() {
            Some("Detect") => {
                Self { photos: service.pipeline.limits.max_bytes, photos_at: Photos::OF_DETECT, is_one: true }
            }
            Some("DetectBatch") => Self { photos: service.batch.max_bytes, photos_at: Photos::OF_BATCH, is_one: true },
            Some("StreamDetect") => {
                Self { photos: service.pipeline.limits.max_bytes, photos_at: Photos::OF_STREAM, is_one: false }
            }
            _ => Self { photos: 0, photos_at: Photos::None, is_one: false },
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
#[derive(Debug, Clone)]
pub(super) struct Rooms {
    waiting: Arc<Mutex<VecDeque<Arc<Room>>>>,
    arriving: Arriving,
}

impl Rooms {
    fn new(arriving: Arriving) -> Self {
        Self { waiting: Arc::default(), arriving }
    }

    /// That of the next message, in their order; of one that was not counted, a room in which nothing is.
    pub(super) fn take(&self) -> Arc<Room> {
        self.waiting().pop_front().unwrap_or_else(|| Arc::new(self.arriving.begin()))
    }

    fn add(&self, room: Room) {
        self.waiting().push_back(Arc::new(room));
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, VecDeque<Arc<Room>>> {
        // Whole after every statement.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Around every service: puts the caller's deadline into force from the head of the call on, and the bounds around its body.
pub(super) async fn bounded(State(service): State<Arc<Service>>, mut request: Request, next: Next) -> Response {
    let timeout = deadline::of(request.headers());
    let call = request.extensions_mut().get_mut::<Call>().expect("the outermost layer makes one for every request");
    if let Some(timeout) = timeout {
        call.deadline = call.deadline.at_most(timeout);
    }
    let call = call.clone();
    let (deadline, request_id) = (call.deadline, call.request_id.clone());
    let limit = Limit::of(request.uri().path(), &service);
    let failed = request.extensions().get::<Failed>().cloned().unwrap_or_default();
    if let Err(full) = has_room(&service, limit, &call) {
        return status::refuse(full, &request_id, &failed).into_http();
    }
    let rooms = Rooms::new(service.arriving.clone());
    request.extensions_mut().insert(rooms.clone());
    let messages = |body: Body| {
        let room = service.arriving.begin();
        let stage = Stage::Head { seen: [0; PREFIX_BYTES], count: 0 };
        let body = body.into_data_stream();
        let beside = Beside::new(limit.photos_at);
        let arriving = service.arriving.clone();
        let arrival = Messages { body, limit, arriving, deadline, stage, room, rooms, beside, bytes: 0 };
        Body::from_stream(stream::try_unfold(arrival, move |mut arrival| {
            let (request_id, failed) = (request_id.clone(), failed.clone());
            async move {
                match arrival.piece().await {
                    Ok(piece) => Ok(piece.map(|piece| (piece, arrival))),
                    // tonic answers with a status that it finds behind the error of a body.
                    Err(fault) => Err(status::refuse(fault, &request_id, &failed)),
                }
            }
        }))
    };
    answers::send(next.run(request.map(messages)).await)
}

/// That the photos of a call which begins would have their turn in time. Which model is asked stands in the message, so that it
/// is certain only where there is no other.
fn has_room(service: &Service, limit: Limit, call: &Call) -> Result<(), Fault> {
    let mut models = service.catalog.iter();
    match (models.next(), models.next()) {
        (Some(only), None) if limit.is_one && limit.photos > 0 => service.pipeline.has_room(only, call),
        _ => Ok(()),
    }
}

/// Where in a message the body stands.
#[derive(Debug)]
enum Stage {
    /// Within the five bytes in front of one, so many of which are there.
    Head { seen: [u8; PREFIX_BYTES], count: usize },
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
    /// Of the message that is arriving, what is no photo.
    beside: Beside,
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
                    let taken = piece.len().min(PREFIX_BYTES - *count);
                    seen[*count..*count + taken].copy_from_slice(&piece[..taken]);
                    (*count, piece) = (*count + taken, &piece[taken..]);
                    if *count == PREFIX_BYTES {
                        let [_, length @ ..] = *seen;
                        self.begin(u32::from_be_bytes(length) as usize)?;
                    }
                }
                Stage::Message { left } => {
                    let taken = piece.len().min(*left);
                    self.room.take(taken)?;
                    if self.limit.photos > 0 && self.beside.read(&piece[..taken]) > BESIDE_PHOTOS {
                        return Err(too_much_beside());
                    }
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
        self.beside = Beside::new(self.limit.photos_at);
        if length == 0 {
            self.end();
        }
        Ok(())
    }

    fn end(&mut self) {
        self.stage = Stage::Head { seen: [0; PREFIX_BYTES], count: 0 };
        let room = std::mem::replace(&mut self.room, self.arriving.begin());
        // A message without photos is gone once it is read, and nobody asks for its room.
        if self.limit.photos > 0 {
            self.rooms.add(room);
        }
    }
}

/// Options are small. Decoded, a message of nothing else would be many times its size: an empty name is two bytes of it, and two
/// dozen in memory.
fn too_much_beside() -> Fault {
    let detail = format!(
        "The message has more than {BESIDE_PHOTOS} bytes beside its photos: options, addresses, and two or more a photo."
    );
    Fault::new(Code::PayloadTooLarge, detail).with("max_bytes", BESIDE_PHOTOS)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn messages(photos: usize, room: u64) -> Messages {
        let arriving = Arriving::new(room, Duration::from_secs(10));
        Messages {
            body: Body::empty().into_data_stream(),
            limit: Limit { photos, photos_at: Photos::None, is_one: true },
            deadline: Deadline::after(Duration::from_secs(10)),
            stage: Stage::Head { seen: [0; PREFIX_BYTES], count: 0 },
            room: arriving.begin(),
            rooms: Rooms::new(arriving.clone()),
            arriving,
            beside: Beside::new(Photos::None),
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
        let head = |length| framed(&[length])[..PREFIX_BYTES].to_vec();
        messages(300, 1 << 20).read(&head(bound)).expect("on the bound");
        let fault = messages(300, 1 << 20).read(&head(bound + 1)).expect_err("past it");
        assert_eq!((fault.code(), &fault.facts()["max_bytes"]), (Code::PayloadTooLarge, &300.into()));
    }

    #[tokio::test]
    async fn what_is_beside_the_photos_is_bounded_in_each_message() {
        let mut messages = messages(1 << 20, 1 << 20);
        for _ in 0..2 {
            messages.read(&framed(&[BESIDE_PHOTOS as u32])).expect("on the bound, and again");
        }
        let fault = messages.read(&framed(&[BESIDE_PHOTOS as u32 + 1])).expect_err("past it");
        assert_eq!((fault.code(), &fault.facts()["max_bytes"]), (Code::PayloadTooLarge, &BESIDE_PHOTOS.into()));
    }

    #[tokio::test]
    async fn messages_without_photos_keep_no_room() {
        let mut messages = messages(0, 8);
        for _ in 0..100 {
            messages.read(&framed(&[8])).expect("the room of the one before is given back");
        }
    }
}
