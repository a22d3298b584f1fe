//! What a client is told where no request came about: the same problem as everywhere, written by hand, then the end.

use std::time::Duration;

use axum::http::HeaderMap;
use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::fault::{Code, Fault};
use crate::http::problem::{self, MEDIA_TYPE, Problem};
use crate::http::server_timing;
use crate::request_id::RequestId;
use crate::telemetry::Told;

use super::Bounds;

/// A client that is still sending when the connection closes sees a reset instead of the answer; it is heard out this long
/// and this far.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: u64 = 1 << 20;

/// How far and how long the origin is looked for in a head that is refused.
const HEAD_BYTES: usize = 256 << 10;
const HEAD_TIME: Duration = Duration::from_millis(100);

/// What hyper meant by the status that it refused a head with.
pub(super) fn fault(status: u16, bounds: &Bounds) -> Fault {
    match status {
        414 => {
            Fault::new(Code::UriTooLong, "The request's target has more than 65534 bytes. Send options in the body.")
        }
        431 => {
            let Bounds { head_bytes, headers, .. } = *bounds;
            let detail = format!(
                "The request line and the headers have more than {head_bytes} bytes, or there are more than {headers} headers."
            );
            Fault::new(Code::HeadTooLarge, detail).with("max_bytes", head_bytes).with("max_headers", headers)
        }
        _ => {
            Fault::new(Code::InvalidRequest, "What was sent is not HTTP/1.1 or HTTP/2: its first lines cannot be read.")
        }
    }
}

/// A head that does not arrive.
pub(super) fn late_head(bounds: &Bounds) -> Fault {
    let ms = bounds.head_time.as_millis() as u64;
    let detail = format!("The head of the request was not complete within {ms} ms.");
    Fault::new(Code::RequestTimeout, detail).with("max_ms", ms)
}

/// Says what is wrong, in HTTP/1.1, and hangs up.
pub(super) async fn send(
    mut io: impl AsyncRead + AsyncWrite + Unpin,
    fault: &Fault,
    took: Duration,
    headers: &HeaderMap,
) {
    let request_id = RequestId::generate();
    let code = fault.code();
    tracing::info!(%request_id, status = code.row().status, code = code.name(), detail = fault.detail(), "refused");
    let said = async {
        io.write_all(&response(fault, &request_id, took, headers)).await?;
        io.shutdown().await
    };
    // Whether it was heard or not, that was all.
    if let Ok(Ok(())) = tokio::time::timeout(LINGER, said).await {
        hear_out(io).await;
    }
}

/// A head with what goes on coming of it, for a moment: browsers write the origin behind the headers of the page's own.
pub(super) async fn rest_of_head(io: &mut (impl AsyncRead + Unpin), head: &[u8]) -> BytesMut {
    let mut all = BytesMut::from(head);
    let reading = async {
        while all.len() < HEAD_BYTES && memchr::memmem::find(&all, b"\r\n\r\n").is_none() {
            if io.read_buf(&mut all).await.unwrap_or(0) == 0 {
                break;
            }
        }
    };
    // What has come by then is enough, or it is not there.
    let _ = tokio::time::timeout(HEAD_TIME, reading).await;
    all
}

/// Lets in and drops what the client is still sending, after the last word was said to it.
pub(super) async fn hear_out(io: impl AsyncRead + Unpin) {
    let mut rest = io.take(LINGER_BYTES);
    let _ = tokio::time::timeout(LINGER, tokio::io::copy(&mut rest, &mut tokio::io::sink())).await;
}

fn response(fault: &Fault, request_id: &RequestId, took: Duration, headers: &HeaderMap) -> Bytes {
    let body = serde_json::to_string(&Problem::new(fault, request_id)).expect("a problem is plain JSON");
    let status = problem::status(fault.code());
    let mut bytes = format!(
        "HTTP/1.1 {status}\r\ncontent-type: {MEDIA_TYPE}\r\ncontent-length: {}\r\ncache-control: no-store\r\nx-request-id: {request_id}\r\nconnection: close\r\n",
        body.len()
    )
    .into_bytes();
    let mut add = |name: &str, value: &[u8]| bytes.extend([name.as_bytes(), b": ", value, b"\r\n"].concat());
    if let Some(seconds) = fault.retry_seconds() {
        add("retry-after", seconds.to_string().as_bytes());
    }
    add(server_timing::SERVER_TIMING.as_str(), server_timing::header(&Told::default(), took).as_bytes());
    for (name, value) in headers {
        add(name.as_str(), value.as_bytes());
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(body.as_bytes());
    bytes.into()
}
