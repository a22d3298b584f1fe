//! The Predict call on the wire. Its message is nearly all one tensor: that goes to the connection from where it lies, behind a
//! few bytes that are written for it. Its answer may be as long: it is counted as it arrives, and handed on as it came.
//!
//! Fields of a message may stand in any order, and a message ends with its last one
//! (<https://protobuf.dev/programming-guides/encoding/>), so the values of the tensor are put last.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use futures::stream;
use http::uri::PathAndQuery;
use http_body::Frame;
use http_body_util::StreamBody;
use prost::{Message, encode_length_delimiter};
use tonic::body::Body;
use tonic::client::{Grpc, GrpcService};
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::Channel;
use tonic::{Request, Status};

use super::proto::tensorflow::TensorProto;
use super::proto::tensorflow::serving::PredictRequest;
use super::status;
use crate::backend::room::AnswerRoom;
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
#[allow(missing_debug_implementations, reason = "it would print a photo")]
pub struct Framed {
    /// The prefix and all of the message but the tensor's values.
    head: Bytes,
    /// The tensor's values.
    values: Bytes,
}

impl Framed {
    /// A request that has no inputs yet, with this one.
    pub fn new(request: &PredictRequest, input: &str, mut tensor: TensorProto) -> Self {
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
    pub fn message_len(&self) -> usize {
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

/// An answer's message as it came, with the room that it takes among the answers.
pub(super) struct Arrived {
    pub(super) message: Bytes,
    pub(super) room: AnswerRoom,
}

/// Sends a message, and reads the answer, of up to so many bytes, into this room.
///
/// # Errors
/// The status of the call, or [`status::no_room`].
pub(super) async fn call(
    channel: Channel,
    request: Request<Framed>,
    max_answer: usize,
    room: AnswerRoom,
) -> Result<Arrived, Status> {
    let (metadata, extensions, framed) = request.into_parts();
    let filling = Arc::new(Mutex::new(Filling { room, bytes: 0, refused: None }));
    let sending = Sending { channel, framed: Some(framed), max_answer, filling: Arc::clone(&filling) };
    let mut client = Grpc::new(sending).max_decoding_message_size(max_answer);
    client.ready().await.map_err(|error| Status::from_error(error.into()))?;
    let path = PathAndQuery::from_static("/tensorflow.serving.PredictionService/Predict");
    let answer = client.unary(Request::from_parts(metadata, extensions, ()), path, Raw).await;
    drop(client);
    let filling = Arc::into_inner(filling).map(|filling| filling.into_inner().unwrap_or_else(PoisonError::into_inner));
    let Filling { room, refused, .. } = filling.expect("whoever filled it is done");
    match refused {
        Some(refused) => Err(refused),
        None => answer.map(|answer| Arrived { message: answer.into_inner(), room }),
    }
}

/// What has come of an answer.
struct Filling {
    room: AnswerRoom,
    bytes: usize,
    /// Why no more of it is read.
    refused: Option<Status>,
}

/// A channel that sends this message for that which tonic would write, and counts what is answered.
struct Sending {
    channel: Channel,
    /// Until it is sent, once.
    framed: Option<Framed>,
    max_answer: usize,
    filling: Arc<Mutex<Filling>>,
}

impl tower::Service<http::Request<Body>> for Sending {
    type Response = http::Response<Body>;
    type Error = tonic::transport::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        GrpcService::poll_ready(&mut self.channel, cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let framed = self.framed.take().expect("it is made for one call");
        let (most, filling) = (PREFIX_BYTES + self.max_answer, Arc::clone(&self.filling));
        let answer = GrpcService::call(&mut self.channel, request.map(|_| framed.into_body()));
        Box::pin(async move { Ok(answer.await?.map(|body| Body::new(Counted { body, most, filling }))) })
    }
}

/// The body of an answer, of which no more is read than one message may have and there is room for.
struct Counted {
    body: Body,
    most: usize,
    filling: Arc<Mutex<Filling>>,
}

impl Filling {
    fn take(&mut self, piece: usize, most: usize) -> Result<(), Status> {
        self.bytes += piece;
        if self.bytes > most {
            // One message that is too long is found by tonic, in its prefix. These are several.
            return Err(status::undecodable("there is more than one"));
        }
        self.room.resize(self.bytes).map_err(status::no_room)
    }
}

impl http_body::Body for Counted {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(Ok(frame)) = &frame
            && let Some(piece) = frame.data_ref()
        {
            let mut filling = self.filling.lock().unwrap_or_else(PoisonError::into_inner);
            if let Err(refused) = filling.take(piece.len(), self.most) {
                filling.refused = Some(refused);
                return Poll::Ready(Some(Err(Status::cancelled("no more of the answer is read"))));
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
}

/// Writes nothing, because [`Sending`] has the message, and hands on what comes as it is.
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
    fn prost_reads_a_framed_message_as_the_one_that_it_was_made_of() {
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
