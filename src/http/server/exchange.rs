//! One request and its answer, as the connection sees them.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::{Body, Bytes};
use axum::extract::ConnectInfo;
use axum::http::{HeaderValue, Request, Response, Version, header};
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use tower::ServiceExt;

use super::Shared;
use super::pulse::{Pulse, Underway};
use crate::answering::Held;
use crate::lifecycle::Phase;

/// An answer goes to hyper in pieces of this size: what hyper has taken it keeps until the client takes it, beyond what the
/// answer's room and the request's end are known by.
const PIECE: usize = 64 << 10;

/// Has the router answer, and the connection know how long that takes.
pub(super) async fn answer(
    request: Request<Incoming>,
    peer: SocketAddr,
    shared: Arc<Shared>,
    pulse: Arc<Pulse>,
) -> Result<Response<Answer>, Infallible> {
    let mut underway = pulse.begin();
    let version = request.version();
    let mut request = request.map(Body::new);
    request.extensions_mut().insert(ConnectInfo(peer));
    let mut response = shared.routes.current().oneshot(request).await?;
    if response.extensions().get::<BodyLeft>().is_some() {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        pulse.leaves_body();
    }
    // Whoever asks now has not noticed yet that this service is leaving. HTTP/2 is told by GOAWAY, which loses nothing.
    if version < Version::HTTP_2 && shared.lifecycle.phase() >= Phase::Draining {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    if let Some(held) = response.extensions_mut().remove::<Held>() {
        underway.holds(held);
    }
    Ok(response.map(|body| Answer { body, rest: Bytes::new(), _underway: underway }))
}

/// Marks an answer that is given without a look at the request's body, over HTTP/1. The connection ends with it, so that the
/// body need not be read to find the next request; what goes on arriving is let in for a moment, so that the answer is seen.
#[derive(Debug, Clone, Copy)]
pub(in crate::http) struct BodyLeft;

impl BodyLeft {
    /// Marks an answer.
    pub(in crate::http) fn mark(answer: &mut axum::response::Response) {
        answer.extensions_mut().insert(Self);
    }
}

/// An answer's body. When it is over hyper has all of it, and the connection knows whether the client has (see
/// [`Pulse::flushed`]).
pub(super) struct Answer {
    body: Body,
    /// Of the last piece of the body, what was not handed on yet.
    rest: Bytes,
    _underway: Underway,
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.rest.is_empty() {
            let frame = match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => frame,
                other => return Poll::Ready(other),
            };
            match frame.into_data() {
                Ok(data) if data.len() > PIECE => self.rest = data,
                Ok(data) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
            }
        }
        let length = self.rest.len().min(PIECE);
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(length)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (hint, rest) = (self.body.size_hint(), self.rest.len() as u64);
        let mut whole = SizeHint::new();
        whole.set_lower(hint.lower() + rest);
        if let Some(upper) = hint.upper() {
            whole.set_upper(upper + rest);
        }
        whole
    }
}
