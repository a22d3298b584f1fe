//! A body on its way in: in one piece, bounded in bytes, time and memory, or read away where it is refused.

use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::http::{HeaderMap, header};
use bytes::{Bytes, BytesMut};
use futures::StreamExt;

use crate::arriving::Room;
use crate::deadline::Deadline;
use crate::fault::{Code, Fault};

/// Room that is made for a body on its declared length alone.
const ROOM_AT_FIRST: usize = 1 << 20;
/// A refused body is read to its end up to this many bytes and this long, because a client that is still sending when
/// the connection closes sees a reset instead of the answer.
const DRAIN_BYTES: usize = 256 << 20;
const DRAIN_TIME: Duration = Duration::from_secs(5);

/// As much, and for as long, is read of a body whose answer does not depend on it.
const GLANCE_BYTES: usize = 1 << 20;
const GLANCE_TIME: Duration = Duration::from_millis(100);

/// How long a body is waited for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// For the whole of it.
    pub(super) deadline: Deadline,
    /// For the next piece.
    pub(super) pause: Duration,
}

impl Patience {
    fn lost_at(self, bytes: usize) -> Fault {
        let detail = if self.deadline.passed() {
            format!("The upload stopped at {bytes} bytes and did not finish before the request's deadline.")
        } else {
            format!("The upload stopped at {bytes} bytes, and nothing came for {} ms.", self.pause.as_millis())
        };
        Fault::new(Code::UploadTimeout, detail)
    }
}

/// The body in one piece, no longer than the limit.
pub(super) async fn read(
    mut body: Body,
    headers: &HeaderMap,
    limit: usize,
    max_bytes: usize,
    room: &mut Room,
    patience: Patience,
) -> Result<Bytes, Fault> {
    let deadline = patience.deadline;
    let declared = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if let Some(declared) = declared.filter(|&declared| declared > limit as u64) {
        drain(&mut body, headers, 0, deadline).await;
        return Err(too_large(&format!("{declared} bytes"), max_bytes));
    }
    // Room is taken as bytes arrive: a declared length is only a promise.
    let mut bytes = BytesMut::new();
    let mut stream = body.into_data_stream();
    loop {
        let chunk = deadline.at_most(patience.pause).bound(stream.next()).await;
        match chunk.map_err(|_| patience.lost_at(bytes.len()))? {
            None => return Ok(bytes.freeze()),
            Some(Ok(chunk)) if bytes.len() + chunk.len() > limit => {
                let seen = bytes.len() + chunk.len();
                drop(bytes);
                drain(&mut Body::from_stream(stream), headers, seen, deadline).await;
                return Err(too_large(&format!("more than {limit} bytes"), max_bytes));
            }
            Some(Ok(chunk)) => {
                if let Err(fault) = room.take(chunk.len()) {
                    let seen = bytes.len() + chunk.len();
                    drop(bytes);
                    drain(&mut Body::from_stream(stream), headers, seen, deadline).await;
                    return Err(fault);
                }
                if bytes.capacity() - bytes.len() < chunk.len() {
                    let declared = declared.map_or(0, |declared| declared as usize);
                    // All of the rest, once the first of it has come: doubling would make room for up to twice the body.
                    let room = if bytes.is_empty() {
                        declared.min(ROOM_AT_FIRST)
                    } else {
                        declared - declared.min(bytes.len())
                    };
                    bytes.reserve(room.max(chunk.len()));
                }
                bytes.extend_from_slice(&chunk);
            }
            Some(Err(error)) => {
                return Err(Fault::new(Code::InvalidRequest, "The body could not be read to its end.").caused_by(error));
            }
        }
    }
}

fn too_large(found: &str, max: usize) -> Fault {
    let detail = format!(
        "The body has {found}; this server accepts images up to {max} bytes ({:.1} MiB).",
        max as f64 / f64::from(1 << 20)
    );
    Fault::new(Code::PayloadTooLarge, detail).with("max_bytes", max)
}

/// Reads and drops the rest of a body that is refused. A client that waits for 100 Continue has not sent it.
pub(in crate::http) async fn drain(body: &mut Body, headers: &HeaderMap, seen: usize, deadline: Deadline) {
    // Whether it ended or not, the answer is the same.
    let _ = read_away(body, headers, DRAIN_BYTES.saturating_sub(seen), deadline.at_most(DRAIN_TIME)).await;
}

/// Reads and drops what is short and nearly there, so that the connection can be kept. Whether that was all.
pub(super) async fn glance(body: &mut Body, headers: &HeaderMap) -> bool {
    let is_long = body.size_hint().lower() > GLANCE_BYTES as u64;
    !is_long && read_away(body, headers, GLANCE_BYTES, Deadline::after(GLANCE_TIME)).await
}

/// Whether it came to the body's end, within so many bytes and until then.
async fn read_away(body: &mut Body, headers: &HeaderMap, most: usize, until: Deadline) -> bool {
    if headers.contains_key(header::EXPECT) {
        return false;
    }
    let rest = async {
        let mut seen = 0;
        let mut stream = std::mem::take(body).into_data_stream();
        while let Some(Ok(chunk)) = stream.next().await {
            seen += chunk.len();
            if seen > most {
                return false;
            }
        }
        true
    };
    until.bound(rest).await.unwrap_or(false)
}
