//! The socket as hyper sees it.
//!
//! A head that hyper cannot read never becomes a request: hyper writes a bare status and ends the connection, and there is
//! no hook to say more. So the bare status is taken out on its way to the socket, and the connection that hyper leaves
//! behind is told in full ([`super::refusal`]).

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::pulse::Pulse;

/// A bare refusal is a status line, a length and a date. More than this is something else.
const LONGEST_REFUSAL: usize = 256;

/// A socket that puts back what was read ahead, tells of bytes that come and go, and withholds hyper's own refusals.
#[derive(Debug)]
pub(super) struct Wire<I> {
    io: I,
    ahead: Bytes,
    pulse: Arc<Pulse>,
    withheld: Option<u16>,
}

impl<I> Wire<I> {
    /// `ahead` is read before the rest.
    pub(super) fn new(io: I, ahead: Bytes, pulse: Arc<Pulse>) -> Self {
        Self { io, ahead, pulse, withheld: None }
    }

    /// The socket, and the status that hyper refused the request with.
    pub(super) fn into_parts(self) -> (I, Option<u16>) {
        (self.io, self.withheld)
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Wire<I> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.ahead.is_empty() {
            let count = self.ahead.len().min(buf.remaining());
            buf.put_slice(&self.ahead[..count]);
            self.ahead.advance(count);
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        let read = Pin::new(&mut self.io).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.pulse.heard();
        }
        read
    }
}

/// Not vectored, so that hyper hands over what it has as one piece, in which a refusal can be seen.
impl<I: AsyncWrite + Unpin> AsyncWrite for Wire<I> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = match Refusal::at_end_of(buf) {
            Some(refusal) if refusal.begin == 0 => {
                self.withheld = Some(refusal.status);
                return Poll::Ready(Ok(buf.len()));
            }
            // The rest of the answer before it goes first.
            Some(refusal) => Pin::new(&mut self.io).poll_write(cx, &buf[..refusal.begin]),
            None => Pin::new(&mut self.io).poll_write(cx, buf),
        };
        if let Poll::Ready(Ok(1..)) = written {
            self.pulse.wrote();
        }
        written
    }

    /// hyper flushes once it has written all that it had.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.io).poll_flush(cx);
        if let Poll::Ready(Ok(())) = flushed {
            self.pulse.flushed();
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A client that is still to be told something is not hung up on.
        if self.withheld.is_some() {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// A refusal of hyper's own.
#[derive(Debug, PartialEq)]
struct Refusal {
    status: u16,
    begin: usize,
}

impl Refusal {
    /// It is the last thing on a connection, has no body, and unlike every answer of ours no request id.
    fn at_end_of(buf: &[u8]) -> Option<Self> {
        if !buf.ends_with(b"\r\n\r\n") {
            return None;
        }
        let earliest = buf.len().saturating_sub(LONGEST_REFUSAL);
        let tail = &buf[earliest..];
        let begin = tail.windows(7).rposition(|window| window == b"HTTP/1.")?;
        let head = tail[begin..].to_ascii_lowercase();
        let status = std::str::from_utf8(head.get(9..12)?).ok()?.parse().ok()?;
        let ends_once = head.windows(4).position(|window| window == b"\r\n\r\n") == Some(head.len() - 4);
        let is_ours = head.windows(14).any(|window| window == b"\r\nx-request-id");
        ((400..600).contains(&status) && ends_once && !is_ours).then_some(Self { status, begin: earliest + begin })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_told_from_every_answer() {
        let bare = "HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\ndate: x\r\n\r\n";
        let found = |text: &str| Refusal::at_end_of(text.as_bytes());
        assert_eq!(found(bare), Some(Refusal { status: 431, begin: 0 }));
        let answer = "HTTP/1.1 200 OK\r\nx-request-id: a\r\ncontent-length: 2\r\n\r\n{}";
        assert_eq!(found(&format!("{answer}{bare}")), Some(Refusal { status: 431, begin: answer.len() }));
        for other in [
            answer,
            "HTTP/1.1 100 Continue\r\n\r\n",
            "HTTP/1.1 404 Not Found\r\nX-Request-Id: a\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 404 Not Found\r\ncontent-length: 4\r\n\r\n\r\n\r\n",
            "\r\n\r\n",
            "",
        ] {
            assert_eq!(found(other), None, "{other}");
        }
    }
}
