//! The answer to a gRPC call, whose status comes last: with the head nobody knows yet how the call ends, least of all a stream.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::{Body, Bytes, HttpBody};
use axum::http::HeaderMap;
use http_body::{Frame, SizeHint};

use super::Account;
use crate::grpc;

/// The body of such an answer. Dropped before its status, it leaves the account to say that the client has left.
pub(super) struct UntilStatus {
    body: Body,
    account: Option<Account>,
    failed: grpc::Failed,
}

impl UntilStatus {
    pub(super) fn new(body: Body, account: Account, failed: grpc::Failed) -> Self {
        Self { body, account: Some(account), failed }
    }

    /// The status goes out.
    fn close(&mut self, status: &HeaderMap) {
        if let Some(account) = self.account.take() {
            let told = account.record.told();
            account.end(self.failed.get().as_deref(), grpc::refused(status), &told);
        }
    }
}

impl HttpBody for UntilStatus {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let next = ready!(Pin::new(&mut self.body).poll_frame(cx));
        match &next {
            Some(Ok(frame)) => {
                if let Some(status) = frame.trailers_ref() {
                    self.close(status);
                }
            }
            Some(Err(_)) | None => self.close(&HeaderMap::new()),
        }
        Poll::Ready(next)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
