//! The frames of a camera: one is looked at at a time, and the newest wins.
//!
//! A stream counts as a request when it is opened, and so does each frame that is looked at; of a frame too many the caller
//! is told in its place, and the stream goes on.
//!
//! A stream may be open for as long as its caller sends frames or reads answers (one in which nothing happens is reset after
//! the time that a request and the reading of its answer may take: `http/server/connection.rs`), so it is told when the
//! service drains: the frame that is being looked at is answered, and the caller is to open another stream, which leads
//! elsewhere.

use std::time::Duration;

use tokio::sync::mpsc;
use tonic::{Status, Streaming};
use tracing::Instrument;

use super::answers::{Many, Told, Weighed};
use super::detection::Detector;
use super::proto::v1;
use super::status::Failed;
use super::upload::Rooms;
use super::{message, status};
use crate::access::{Caller, Refusal};
use crate::backend::Call;
use crate::deadline::Deadline;
use crate::detect::Param;
use crate::fault::{Code, Fault, unless_panicked};
use crate::grpc_frame;
use crate::lifecycle::Phase;

/// By then whoever spreads the streams has noticed.
const AGAIN: Duration = Duration::from_secs(1);

/// What is known of a stream from its head.
pub(super) struct Opened {
    /// Its deadline holds for none of the frames.
    pub(super) call: Call,
    pub(super) caller: Caller,
    /// Where the fault is left with which the stream ends, if it does.
    pub(super) failed: Failed,
}

impl Opened {
    fn refuse(&self, fault: Fault) -> Status {
        status::refuse(fault, &self.call.request_id, &self.failed)
    }
}

/// The answers to a stream of frames. Ends when the caller has sent all and been answered, or has gone away: then the frame
/// that is being looked at is abandoned.
pub(super) fn detect(detector: Detector, frames: Frames, opened: Opened) -> Many {
    let (answers, receiver) = mpsc::channel::<Told>(1);
    let looking = async move {
        let looking = unless_panicked(async { Ok(look(detector, frames, &opened, &answers).await) });
        let end = tokio::select! {
            end = looking => end.unwrap_or_else(|panic| Err(opened.refuse(panic))),
            () = answers.closed() => Ok(()),
        };
        if let Err(status) = end {
            // Whoever is gone need not be told.
            let _ = answers.send(status.into()).await;
        }
    };
    tokio::spawn(looking.in_current_span());
    Many::new(receiver)
}

/// The messages of a stream, each frame with the room that it takes.
pub(super) struct Frames {
    messages: Streaming<v1::StreamDetectRequest>,
    rooms: Rooms,
}

impl Frames {
    pub(super) fn new(messages: Streaming<v1::StreamDetectRequest>, rooms: Rooms) -> Self {
        Self { messages, rooms }
    }

    /// The next message; nothing at the end of the stream.
    async fn next(&mut self) -> Result<Option<v1::StreamDetectRequest>, Status> {
        let Some(mut request) = self.messages.message().await? else { return Ok(None) };
        let room = self.rooms.take();
        if let Some(v1::stream_detect_request::Message::Frame(frame)) = &mut request.message {
            frame.image = room.hold(std::mem::take(&mut frame.image));
        }
        Ok(Some(request))
    }
}

/// What each frame is looked at with.
#[derive(Debug, Clone, Default)]
struct Settings {
    model: Option<v1::ModelChoice>,
    params: Vec<Param>,
}

impl From<v1::StreamSettings> for Settings {
    fn from(v1::StreamSettings { model, options }: v1::StreamSettings) -> Self {
        Self { params: message::params(model.as_ref(), options), model }
    }
}

/// What has arrived and was not looked at yet.
#[derive(Default)]
struct Newest {
    settings: Settings,
    frame: Option<v1::Frame>,
    /// Frames that another replaced.
    passed_over: u64,
}

impl Newest {
    /// Takes in what the stream has given; how it ended, where that was its end.
    fn arrived(&mut self, request: Result<Option<v1::StreamDetectRequest>, Status>) -> Option<Result<(), Status>> {
        let request = match request {
            Ok(Some(request)) => request,
            Ok(None) => return Some(Ok(())),
            Err(status) => return Some(Err(status)),
        };
        match request.message {
            Some(v1::stream_detect_request::Message::Settings(settings)) => self.settings = settings.into(),
            Some(v1::stream_detect_request::Message::Frame(frame)) => {
                self.passed_over += u64::from(self.frame.replace(frame).is_some());
            }
            // A kind of message that this version does not know.
            None => {}
        }
        None
    }
}

/// # Errors
/// With what the stream as a whole has failed.
async fn look(
    mut detector: Detector,
    mut frames: Frames,
    opened: &Opened,
    answers: &mpsc::Sender<Told>,
) -> Result<(), Status> {
    let mut newest = Newest::default();
    // How the stream ended, once it has.
    let mut end = None;
    let lifecycle = detector.service().lifecycle.clone();
    loop {
        if lifecycle.phase() >= Phase::Draining {
            return Err(opened.refuse(draining()));
        }
        let Some(frame) = newest.frame.take() else {
            match end {
                None => tokio::select! {
                    request = frames.next() => end = newest.arrived(request),
                    () = lifecycle.reached(Phase::Draining) => {}
                },
                // A frame was too large, or too much. A caller whose stream broke is not there to be told.
                Some(end) => return end,
            }
            continue;
        };
        detector = detector.renewed();
        let (passed_over, settings) = (std::mem::take(&mut newest.passed_over), newest.settings.clone());
        // Each frame counts as a request; those that are passed over do not.
        let admitted = match detector.service().access.admit(&opened.caller) {
            Ok(_) => Ok(()),
            Err(refusal @ (Refusal::AddressTooOften(_) | Refusal::KeyTooOften(..))) => Err(refusal.fault()),
            // The key was taken away meanwhile.
            Err(refusal @ (Refusal::NoKey | Refusal::UnknownKey)) => {
                return Err(opened.refuse(refusal.fault()));
            }
        };
        let request_time = detector.service().request_timeout;
        let answer = answer(&detector, admitted, frame, settings, &opened.call);
        let told = async {
            let (frame_id, outcome) = answer.await;
            let whole = |result| v1::StreamDetectResponse { frame_id, passed_over, result: Some(result) };
            let counted = async {
                let answer = outcome?.within(|response| whole(message::result(frame_id, Ok(response))));
                // A frame that was answered in time is not lost to the copying of its answer.
                detector.framed(answer, Deadline::after(request_time)).await
            };
            let (message, held) = counted
                .await
                .unwrap_or_else(|fault| (grpc_frame::whole(&whole(message::result(frame_id, Err(fault)))), None));
            answers.send(Told { answer: Ok(message), held }).await
        };
        tokio::pin!(told);
        // Whatever takes the time, the model or a caller that reads slowly, newer frames go on replacing older ones.
        loop {
            tokio::select! {
                sent = &mut told => match sent {
                    Ok(()) => break,
                    Err(_) => return Ok(()),
                },
                request = frames.next(), if end.is_none() => end = newest.arrived(request),
            }
        }
    }
}

fn draining() -> Fault {
    Fault::new(Code::Draining, "This instance is shutting down. Open the stream again: it will lead to another.")
        .retry_after(AGAIN)
}

/// The frame's id and what became of it.
async fn answer(
    detector: &Detector,
    admitted: Result<(), Fault>,
    frame: v1::Frame,
    Settings { model, params }: Settings,
    stream: &Call,
) -> (u64, Result<Weighed<v1::DetectResponse>, Fault>) {
    let v1::Frame { id, image } = frame;
    // Each frame has a request's time of its own; the stream may go on for as long as the caller likes.
    let call = Call { deadline: Deadline::after(detector.service().request_timeout), ..stream.clone() };
    let image = std::future::ready(Ok(image));
    let outcome = match admitted {
        Ok(()) => unless_panicked(detector.detect(image, model.as_ref(), params, &call)).await,
        Err(fault) => Err(fault),
    };
    (id, outcome)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(id: u64) -> v1::StreamDetectRequest {
        let frame = v1::Frame { id, image: bytes::Bytes::new() };
        v1::StreamDetectRequest { message: Some(v1::stream_detect_request::Message::Frame(frame)) }
    }

    #[test]
    fn a_newer_frame_replaces_an_older_one_and_is_counted() {
        let mut newest = Newest::default();
        for id in 1..=3 {
            assert!(newest.arrived(Ok(Some(frame(id)))).is_none(), "the stream goes on");
        }
        assert_eq!((newest.frame.expect("three came").id, newest.passed_over), (3, 2));
    }
}
