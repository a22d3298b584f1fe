//! The frame of a gRPC message: a flag, its length, and the message
//! (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>, Length-Prefixed-Message).
//!
//! tonic writes frames itself, out of messages, where it sends them: on an async thread, with a copy of every byte. Where messages
//! are megabytes, they are framed here (docs/adr/0023).

use bytes::Bytes;
use prost::Message;

/// A flag and the length of the message that follows, in network order.
pub(crate) const PREFIX_BYTES: usize = 5;

/// The longest message that has a prefix.
pub(crate) const MAX_MESSAGE: usize = u32::MAX as usize;

/// What stands before a message of so many bytes that is not compressed.
///
/// # Panics
/// Where it is longer than [`MAX_MESSAGE`].
pub(crate) fn prefix(length: usize) -> [u8; PREFIX_BYTES] {
    let length = u32::try_from(length).expect("no message that is longer comes this far");
    let [a, b, c, d] = length.to_be_bytes();
    [0, a, b, c, d]
}

/// A message with its prefix, in one piece: all of it is copied.
pub(crate) fn whole(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut frame = Vec::with_capacity(PREFIX_BYTES + length);
    frame.extend_from_slice(&prefix(length));
    message.encode(&mut frame).expect("a vector grows");
    frame.into()
}
