//! A call's answers on their way out. tonic would write each message where it is sent, on an async thread, with a copy of every
//! byte: milliseconds for one with crops, during which nobody else of that thread is served. So long ones are written on a core, and
//! all of them are framed here, as the messages of a call are read here ([`super::upload`]).
//!
//! tonic's services are made for messages, so a method answers an empty one, and its bytes go along until [`send`] puts them in its
//! place.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures::stream;
use http::HeaderMap;
use http_body::Frame;
use http_body_util::StreamBody;
use prost::Message;
use tokio::sync::mpsc;
use tonic::Status;

use crate::answering::Held;
use crate::deadline::Deadline;
use crate::fault::{Code, Fault};
use crate::grpc_frame::{self, MAX_MESSAGE};
use crate::workers::Workers;

/// A message up to this long is written where it is made: some tens of microseconds, as long as the way to a core and back.
const SHORT: usize = 64 << 10;

/// What another message around one takes beside it: keys, lengths, a number or two.
const AROUND: usize = 64;

/// A message, and how long it is: with masks, whose numbers are of many lengths, to find that out takes milliseconds.
#[derive(Debug)]
pub(super) struct Weighed<M> {
    pub(super) message: M,
    /// Bytes that it has at most.
    pub(super) at_most: usize,
}

impl<M: Message + 'static> Weighed<M> {
    pub(super) fn new(message: M) -> Self {
        Self { at_most: message.encoded_len(), message }
    }

    /// A message that holds others of these lengths, and nothing else.
    pub(super) fn of_parts(message: M, lengths: impl IntoIterator<Item = usize>) -> Self {
        Self { message, at_most: lengths.into_iter().map(|length| length + AROUND).sum() }
    }

    /// The same within another message.
    pub(super) fn within<N>(self, around: impl FnOnce(M) -> N) -> Weighed<N> {
        Weighed { message: around(self.message), at_most: self.at_most + AROUND }
    }

    /// The message in its frame.
    ///
    /// # Errors
    /// `DEADLINE_EXCEEDED` where no core was free in time, `BATCH_TOO_LARGE` where it is longer than gRPC can say.
    pub(super) async fn framed(self, workers: &Workers, deadline: Deadline) -> Result<Bytes, Fault> {
        let Self { message, at_most } = self;
        if at_most > MAX_MESSAGE {
            let detail = format!(
                "The answer has {at_most} bytes, and a message of gRPC up to {MAX_MESSAGE}. Ask for fewer photos, crops or masks at once."
            );
            return Err(Fault::new(Code::BatchTooLarge, detail).with("max_bytes", MAX_MESSAGE));
        }
        if at_most <= SHORT {
            return Ok(grpc_frame::whole(&message));
        }
        workers.run_ahead(deadline, move || Ok(grpc_frame::whole(&message))).await
    }
}

/// The body of an answer, in place of that which tonic makes.
#[derive(Clone)]
struct Written(Arc<Mutex<Option<Body>>>);

/// What a method answers: nothing of its kind, and the body that is to be sent.
pub(super) fn written<M>(
    nothing: M,
    body: impl http_body::Body<Data = Bytes, Error = Infallible> + Send + 'static,
) -> tonic::Response<M> {
    let mut response = tonic::Response::new(nothing);
    response.extensions_mut().insert(Written(Arc::new(Mutex::new(Some(Body::new(body))))));
    response
}

/// One message, with the room that it takes until it is read.
pub(super) fn one<M: Default>(frame: Bytes, held: Option<Held>) -> tonic::Response<M> {
    // Of a length that nobody outside knows, or it would be counted once more.
    let frames = [Frame::data(frame), Frame::trailers(trailers(&Status::ok("")))];
    let mut response = written(M::default(), StreamBody::new(stream::iter(frames.map(Ok))));
    if let Some(held) = held {
        response.extensions_mut().insert(held);
    }
    response
}

/// Around every service: sends what was written.
pub(super) fn send(mut response: Response) -> Response {
    if let Some(Written(body)) = response.extensions_mut().remove()
        && let Some(body) = body.lock().unwrap_or_else(PoisonError::into_inner).take()
    {
        *response.body_mut() = body;
    }
    response
}

/// What a call ends with.
fn trailers(status: &Status) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    status.add_header(&mut trailers).expect("a status that was made here can be sent");
    trailers
}

/// A message of a stream in its frame, with the room that it takes where it is large; or how the stream ends.
pub(super) struct Told {
    pub(super) answer: Result<Bytes, Status>,
    pub(super) held: Option<Held>,
}

impl From<Status> for Told {
    fn from(status: Status) -> Self {
        Self { answer: Err(status), held: None }
    }
}

/// The messages of a stream. The room of each is kept until the next is asked for: only then the caller has taken it.
pub(super) struct Many {
    answers: mpsc::Receiver<Told>,
    kept: Option<Held>,
    has_ended: bool,
}

impl Many {
    pub(super) fn new(answers: mpsc::Receiver<Told>) -> Self {
        Self { answers, kept: None, has_ended: false }
    }
}

impl http_body::Body for Many {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.kept = None;
        if self.has_ended {
            return Poll::Ready(None);
        }
        let told = ready!(self.answers.poll_recv(cx)).unwrap_or_else(|| Status::ok("").into());
        let Told { answer, held } = told;
        self.kept = held;
        Poll::Ready(Some(Ok(match answer {
            Ok(message) => Frame::data(message),
            Err(status) => {
                self.has_ended = true;
                Frame::trailers(trailers(&status))
            }
        })))
    }

    fn is_end_stream(&self) -> bool {
        self.has_ended
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use http_body::Body as _;
    use http_body_util::BodyExt;

    use super::super::proto::v1;
    use super::*;
    use crate::answering::Answering;

    #[tokio::test]
    async fn an_answer_gives_its_room_back_when_the_next_is_asked_for() {
        let answering = Answering::new(100_000);
        let (sender, receiver) = mpsc::channel(1);
        let mut many = Many::new(receiver);
        let held = answering.take(80_000).expect("room");
        let told = Told { answer: Ok(Bytes::from_static(b"a message")), held };
        assert!(sender.send(told).await.is_ok());
        let frame = many.frame().await.expect("there is one").expect("an answer");
        assert_eq!(frame.into_data().expect("a message"), "a message");
        answering.take(80_000).expect_err("it is on its way");
        assert!(many.frame().now_or_never().is_none(), "there is no other yet");
        answering.take(80_000).expect("the caller has taken it");
    }

    #[tokio::test]
    async fn a_stream_ends_with_its_status() {
        for (said, code) in [(None, "0"), (Some(Status::unavailable("no more").into()), "14")] {
            let (sender, receiver) = mpsc::channel(1);
            if let Some(told) = said {
                assert!(sender.send(told).await.is_ok());
            }
            drop(sender);
            let mut many = Many::new(receiver);
            let frame = many.frame().await.expect("the end").expect("never fails");
            assert_eq!(frame.into_trailers().expect("trailers")["grpc-status"], code);
            assert!(many.is_end_stream() && many.frame().await.is_none());
        }
    }

    #[test]
    fn no_message_around_another_takes_more_than_is_thought() {
        let response = v1::DetectResponse { request_id: "x".repeat(1 << 20), ..Default::default() };
        let result = |response| v1::Result { outcome: Some(v1::result::Outcome::Response(response)) };
        let answer =
            |result| v1::StreamDetectResponse { frame_id: u64::MAX, passed_over: u64::MAX, result: Some(result) };
        let weighed = Weighed::new(response).within(result).within(answer);
        assert!(weighed.message.encoded_len() <= weighed.at_most);
        let one = Weighed::new(v1::DetectResponse::default()).within(result);
        let batch = v1::DetectBatchResponse { results: vec![one.message; 3] };
        let batch = Weighed::of_parts(batch, [one.at_most; 3]);
        assert!(batch.message.encoded_len() <= batch.at_most);
    }

    #[tokio::test]
    async fn a_long_message_is_written_on_a_core_and_a_short_one_waits_for_none() {
        let workers = Workers::new(1);
        let (release, released) = std::sync::mpsc::channel::<()>();
        let (started, starts) = tokio::sync::oneshot::channel();
        let busy = tokio::spawn({
            let workers = workers.clone();
            let hold = move || {
                started.send(()).expect("the test waits");
                Ok(released.recv().is_ok())
            };
            async move { workers.run_ahead(Deadline::after(std::time::Duration::from_secs(60)), hold).await }
        });
        starts.await.expect("the job starts");
        let framed = async |length| {
            let deadline = Deadline::after(std::time::Duration::from_millis(5));
            Weighed::new("x".repeat(length)).framed(&workers, deadline).await
        };
        framed(1000).await.expect("where it is");
        assert_eq!(framed(2 * SHORT).await.expect_err("there is no core").code(), Code::DeadlineExceeded);
        release.send(()).expect("the job listens");
        busy.await.expect("no panic").expect("runs to its end");
    }

    #[tokio::test]
    async fn a_message_that_is_longer_than_grpc_can_say_is_refused() {
        let message = Weighed { message: String::new(), at_most: MAX_MESSAGE + 1 };
        let fault = message.framed(&Workers::new(1), Deadline::after(std::time::Duration::from_secs(60))).await;
        assert_eq!(fault.expect_err("too long").code(), Code::BatchTooLarge);
    }

    #[tokio::test]
    async fn short_messages_and_long_ones_are_written_alike() {
        let (workers, deadline) = (Workers::new(1), Deadline::after(std::time::Duration::from_secs(60)));
        for length in [0, 10, SHORT, 10 * SHORT] {
            let message = "x".repeat(length);
            let weighed = Weighed::new(message.clone());
            assert!(weighed.at_most >= length);
            let frame = weighed.framed(&workers, deadline).await.expect("in time");
            let (prefix, body) = frame.split_at(grpc_frame::PREFIX_BYTES);
            assert_eq!(prefix, grpc_frame::prefix(body.len()));
            assert_eq!(String::decode(body).expect("a message"), message);
        }
    }
}
