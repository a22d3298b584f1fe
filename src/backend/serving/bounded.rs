//! A channel on which answers end. tonic bounds a message; behind that of a call it reads on, and drops what it reads, for as long as
//! there is more.

use std::pin::Pin;
use std::task::{Context, Poll};

use http_body_util::Limited;
use tonic::body::Body;
use tonic::client::GrpcService;
use tonic::transport::Channel;

use crate::grpc_frame::PREFIX_BYTES;

/// For calls that are answered with one message of up to so many bytes; one that is longer breaks off.
pub(super) struct Bounded {
    channel: Channel,
    most: usize,
}

impl Bounded {
    pub(super) fn new(channel: Channel, message: usize) -> Self {
        Self { channel, most: PREFIX_BYTES + message }
    }
}

impl tower::Service<http::Request<Body>> for Bounded {
    type Response = http::Response<Body>;
    type Error = tonic::transport::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        GrpcService::poll_ready(&mut self.channel, cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let (answer, most) = (GrpcService::call(&mut self.channel, request), self.most);
        Box::pin(async move { Ok(answer.await?.map(|body| Body::new(Limited::new(body, most)))) })
    }
}
