//! The Predict call on the wire. Its message is nearly all one tensor: that goes to the connection from where it lies, behind a
//! few bytes that are written for it. Its answer may be as long, and is handed on as it came.
//!
//! Fields of a message may stand in any order, and a message ends with its last one
//! (<https://protobuf.dev/programming-guides/encoding/>), so the values of the tensor are put last.

use std::convert::Infallible;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use futures::stream;
use http_body::Frame;
use http_body_util::StreamBody;
use prost::{Message, encode_length_delimiter};
use tonic::body::Body;
use tonic::client::{Grpc, GrpcService};
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

use super::proto::tensorflow::TensorProto;
use super::proto::tensorflow::serving::PredictRequest;
use crate::grpc_frame::{PREFIX_BYTES, prefix};

/// Keys of fields that hold bytes or messages: eight times the number, and two.
mod key {
    pub(super) const REQUEST_INPUTS: u8 = 2 << 3 | 2;
    pub(super) const ENTRY_NAME: u8 = 1 << 3 | 2;
    pub(super) const ENTRY_VALUE: u8 = 2 << 3 | 2;
    pub(super) const TENSOR_CONTENT: u8 = 4 << 3 | 2;
    pub(super) const TENSOR_STRING: u8 = 8 << 3 | 2;
}

/// The message of one call in its frame.
#[derive(Debug, Clone)]
pub(super) struct Framed {
    /// The prefix and all of the message but the tensor's values.
    head: Bytes,
    /// The tensor's values.
    values: Bytes,
}

impl Framed {
    /// A request that has no inputs yet, with this one.
    pub(super) fn new(request: &PredictRequest, input: &str, mut tensor: TensorProto) -> Self {
        // A file goes as the only string; anything else that is long, as content.
        let (values_key, values) = match tensor.string_val.pop() {
            Some(file) if tensor.string_val.is_empty() => (key::TENSOR_STRING, file),
            last => {
                tensor.string_val.extend(last);
                (key::TENSOR_CONTENT, std::mem::take(&mut tensor.tensor_content))
            }
        };
        let mut value = tensor.encode_to_vec();
        delimit(&mut value, values_key, values.len());
        let mut entry = Vec::new();
        delimit(&mut entry, key::ENTRY_NAME, input.len());
        entry.extend_from_slice(input.as_bytes());
        delimit(&mut entry, key::ENTRY_VALUE, value.len() + values.len());
        entry.extend(value);
        let mut message = request.encode_to_vec();
        delimit(&mut message, key::REQUEST_INPUTS, entry.len() + values.len());
        message.extend(entry);
        let head = [&prefix(message.len() + values.len())[..], &message].concat();
        Self { head: head.into(), values }
    }

    /// Bytes of the message.
    pub(super) fn message_len(&self) -> usize {
        self.head.len() - PREFIX_BYTES + self.values.len()
    }

    fn into_body(self) -> Body {
        let pieces = [self.head, self.values].map(|piece| Ok::<_, Infallible>(Frame::data(piece)));
        Body::new(StreamBody::new(stream::iter(pieces)))
    }
}

/// The key of a field, and the length of what follows.
fn delimit(message: &mut Vec<u8>, key: u8, length: usize) {
    message.push(key);
    encode_length_delimiter(length, message).expect("a vector grows");
}

/// The answer's message, as it came.
pub(super) async fn call(
    channel: Channel,
    request: Request<Framed>,
    max_answer: usize,
) -> Result<Response<Bytes>, Status> {
    let (metadata, extensions, framed) = request.into_parts();
    let mut client = Grpc::new(Sending { channel, framed: Some(framed) }).max_decoding_message_size(max_answer);
    client.ready().await.map_err(|error| Status::from_error(error.into()))?;
    let path = http::uri::PathAndQuery::from_static("/tensorflow.serving.PredictionService/Predict");
    client.unary(Request::from_parts(metadata, extensions, ()), path, Raw).await
}

/// A channel that sends this message for that which tonic would write.
struct Sending {
    channel: Channel,
    /// Until it is sent, once.
    framed: Option<Framed>,
}

impl tower::Service<http::Request<Body>> for Sending {
    type Response = http::Response<Body>;
    type Error = tonic::transport::Error;
    type Future = <Channel as GrpcService<Body>>::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        GrpcService::poll_ready(&mut self.channel, cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let framed = self.framed.take().expect("it is made for one call");
        GrpcService::call(&mut self.channel, request.map(|_| framed.into_body()))
    }
}

/// Writes nothing, as [`Sending`] does, and reads nothing into what comes.
struct Raw;

impl Codec for Raw {
    type Encode = ();
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = ();
    type Error = Status;

    fn encode(&mut self, (): (), _: &mut EncodeBuf<'_>) -> Result<(), Status> {
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, message: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(message.copy_to_bytes(message.remaining())))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::super::proto::tensorflow::serving::{ModelSpec, model_spec::VersionChoice};
    use super::super::wire;
    use super::*;
    use crate::tensor::{Tensor, Values};

    #[test]
    fn a_framed_message_is_the_message_that_prost_would_write() {
        let strings = |count: usize| vec![Bytes::from_static(b"a file"); count];
        let spec = ModelSpec {
            name: "model".to_owned(),
            version_choice: Some(VersionChoice::Version(3)),
            signature_name: "detect".to_owned(),
        };
        for (shape, values) in [
            (vec![1, 2, 2, 3], Values::U8(vec![7; 12].into())),
            (vec![0], Values::U8(Bytes::new())),
            (vec![100_000], Values::U8(vec![7; 100_000].into())),
            (vec![3], Values::F32(vec![0.5, -1.0, 2.0])),
            (vec![1], Values::String(strings(1))),
            (vec![3], Values::String(strings(3))),
        ] {
            let tensor = wire::encode(Tensor::new(shape, values).expect("as many values as elements"));
            let request = PredictRequest {
                model_spec: Some(spec.clone()),
                output_filter: vec!["boxes".to_owned(), "scores".to_owned()],
                ..Default::default()
            };
            let framed = Framed::new(&request, "image", tensor.clone());
            let expected = PredictRequest { inputs: HashMap::from([("image".to_owned(), tensor)]), ..request };
            let bytes = [framed.head.clone(), framed.values.clone()].concat();
            let (head, message) = bytes.split_at(PREFIX_BYTES);
            assert_eq!(head, prefix(message.len()));
            assert_eq!(framed.message_len(), message.len());
            assert_eq!(PredictRequest::decode(message).expect("a message"), expected);
        }
    }

    #[test]
    fn the_values_are_not_copied() {
        let pixels = Bytes::from(vec![7; 3000]);
        let tensor = wire::encode(Tensor::new(vec![1000, 3], Values::U8(pixels.clone())).expect("as many"));
        let framed = Framed::new(&PredictRequest::default(), "image", tensor);
        assert_eq!(framed.values.as_ptr(), pixels.as_ptr());
        assert!(framed.head.len() < 100);
    }
}
