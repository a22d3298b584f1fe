//! One connection, from the first byte to the last.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use hyper::rt::Executor;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulConnection;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::server::TlsStream;

use super::connections::Place;
use super::pulse::{Overdue, Pulse};
use super::wire::Wire;
use super::{Bounds, Shared, exchange, refusal};
use crate::fault::Fault;
use crate::lifecycle::Phase;

/// What HTTP/2 begins with (RFC 9113, 3.4); HTTP/1 never does.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The HTTP/2 windows: how much of an upload may be on its way before it is read. A phone's photo of some megabytes crosses a
/// long line in few turns, and a stream with all of its own on its way leaves the others of its connection three quarters.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 4 << 20;

/// A connection that was taken.
pub(super) struct Connection {
    stream: TcpStream,
    peer: SocketAddr,
    shared: Arc<Shared>,
    pulse: Arc<Pulse>,
}

/// What HTTP is spoken over.
trait Socket: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    /// Forgets what the peer has not taken yet. Otherwise the system goes on offering it, connection and all, long after
    /// this process has closed its end.
    fn forget(&self);
}

impl Socket for TcpStream {
    fn forget(&self) {
        // If it cannot be done the system gives up by itself one day.
        let _ = self.set_zero_linger();
    }
}

impl Socket for TlsStream<TcpStream> {
    fn forget(&self) {
        self.get_ref().0.forget();
    }
}

/// How serving a connection came to its end.
#[derive(Debug)]
enum End {
    /// HTTP has ended it, well or not.
    Over,
    /// A head began and did not end.
    LateHead,
    /// The client has gone, or might as well have.
    CutOff,
}

impl Connection {
    pub(super) fn new(stream: TcpStream, peer: SocketAddr, shared: Arc<Shared>) -> Self {
        Self { stream, peer, shared, pulse: Arc::new(Pulse::new()) }
    }

    pub(super) fn pulse(&self) -> Arc<Pulse> {
        Arc::clone(&self.pulse)
    }

    /// Tells the client why it is not served. Over TLS that would take a handshake first, which is work.
    pub(super) async fn refuse(self, fault: &Fault) {
        if self.shared.tls.is_none() {
            self.shared.refuse(self.stream, fault, &[], self.pulse.elapsed()).await;
        }
    }

    /// Serves it to its end.
    pub(super) async fn serve(self, place: Place) {
        let Self { stream, peer, shared, pulse } = self;
        match &shared.tls {
            None => speak(stream, peer, shared, pulse).await,
            Some(tls) => match at_first(tls.accept(stream), &pulse, &shared).await {
                Ok(Ok(stream)) => speak(stream, peer, shared, pulse).await,
                Ok(Err(error)) => tracing::debug!(%peer, %error, "no TLS came about"),
                Err(_) => {}
            },
        }
        drop(place);
    }
}

/// What comes before the first request, where it does; else what was waited for too long, if it was that. A service that
/// stops waits for it a moment longer: whoever has connected is not hung up on.
async fn at_first<T>(step: impl Future<Output = T>, pulse: &Pulse, shared: &Shared) -> Result<T, Option<Overdue>> {
    let mut step = pin!(step);
    let mut leaving = false;
    loop {
        tokio::select! {
            biased;
            done = step.as_mut() => return Ok(done),
            why = pulse.overdue(&shared.bounds) => return Err(Some(why)),
            () = pulse.asked_to_give_way() => return Err(None),
            () = shared.lifecycle.reached(Phase::Stopping), if !leaving => {
                pulse.leave();
                leaving = true;
            }
        }
    }
}

/// Finds out which HTTP it is, and speaks it.
async fn speak(mut io: impl Socket, peer: SocketAddr, shared: Arc<Shared>, pulse: Arc<Pulse>) {
    let first = at_first(first_bytes(&mut io, &pulse), &pulse, &shared).await;
    match first {
        Ok(Ok(ahead)) if ahead == PREFACE => http2(io, ahead, peer, shared, pulse).await,
        Ok(Ok(ahead)) if !ahead.is_empty() => http1(io, ahead, peer, shared, pulse).await,
        Err(Some(Overdue::Head)) => shared.refuse(io, &refusal::late_head(&shared.bounds), &[], pulse.elapsed()).await,
        // It came to nothing. One that said nothing at all is told nothing.
        Ok(Ok(_) | Err(_)) | Err(_) => {}
    }
}

/// As much as it takes to tell HTTP/1 from HTTP/2; nothing where the client left first.
async fn first_bytes(io: &mut (impl AsyncRead + Unpin), pulse: &Pulse) -> io::Result<Bytes> {
    let mut seen = BytesMut::with_capacity(PREFACE.len());
    loop {
        let before = seen.len();
        let room = PREFACE.len() - before;
        if (&mut *io).take(room as u64).read_buf(&mut seen).await? == 0 {
            return Ok(seen.freeze());
        }
        pulse.heard();
        if seen.len() == PREFACE.len() || !PREFACE.starts_with(&seen) {
            return Ok(seen.freeze());
        }
    }
}

async fn http1(io: impl Socket, ahead: Bytes, peer: SocketAddr, shared: Arc<Shared>, pulse: Arc<Pulse>) {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        // It would run from the end of the last request on; a kept connection and a slow head are different things.
        .header_read_timeout(None)
        .max_headers(shared.bounds.headers)
        .max_header_size(shared.bounds.head_bytes);
    let wire = TokioIo::new(Wire::new(io, ahead, Arc::clone(&pulse)));
    let service = {
        let (shared, pulse) = (Arc::clone(&shared), Arc::clone(&pulse));
        service_fn(move |request| exchange::answer(request, peer, Arc::clone(&shared), Arc::clone(&pulse)))
    };
    let mut connection = builder.serve_connection(wire, service);
    let end = accompany(Pin::new(&mut connection), &pulse, &shared).await;
    let left = connection.into_parts();
    let (io, withheld) = left.io.into_inner().into_parts();
    let (head, took) = (left.read_buf, pulse.elapsed());
    match (end, withheld) {
        (End::Over, Some(status)) => shared.refuse(io, &refusal::fault(status, &shared.bounds), &head, took).await,
        (End::LateHead, _) => shared.refuse(io, &refusal::late_head(&shared.bounds), &head, took).await,
        (End::CutOff, _) => io.forget(),
        (End::Over, None) if pulse.is_body_left() => refusal::hear_out(io).await,
        (End::Over, None) => {}
    }
}

/// What is read of a head over HTTP/2: enough for one that is too long to be told so, as over HTTP/1. h2 has no words for it. It
/// counts 32 bytes for each header beside its own (RFC 9113, 6.5.2).
fn most_that_is_read(bounds: &Bounds) -> u32 {
    u32::try_from(2 * bounds.head_bytes + 32 * bounds.headers).unwrap_or(u32::MAX)
}

async fn http2(io: impl Socket, ahead: Bytes, peer: SocketAddr, shared: Arc<Shared>, pulse: Arc<Pulse>) {
    let mut builder = http2::Builder::new(Streams { longest: shared.bounds.longest_exchange() });
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(shared.bounds.streams)
        .max_header_list_size(most_that_is_read(&shared.bounds))
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_pending_accept_reset_streams(shared.bounds.resets)
        .max_local_error_reset_streams(shared.bounds.stream_errors)
        .keep_alive_interval(shared.bounds.ping_every)
        .keep_alive_timeout(shared.bounds.ping_patience);
    let wire = TokioIo::new(Wire::new(io, ahead, Arc::clone(&pulse)));
    let service = {
        let (shared, pulse) = (Arc::clone(&shared), Arc::clone(&pulse));
        service_fn(move |request| exchange::answer(request, peer, Arc::clone(&shared), Arc::clone(&pulse)))
    };
    pulse.greeted();
    let connection = pin!(builder.serve_connection(wire, service));
    accompany(connection, &pulse, &shared).await;
}

/// Drives a connection until it is over or has waited long enough. One that has no request left is asked to end in
/// HTTP's own way first.
async fn accompany<C: GracefulConnection>(mut connection: Pin<&mut C>, pulse: &Pulse, shared: &Shared) -> End
where
    C::Error: std::fmt::Display,
{
    let mut leaving = false;
    loop {
        tokio::select! {
            biased;
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "a connection ended");
                }
                return End::Over;
            }
            why = pulse.overdue(&shared.bounds) => match why {
                Overdue::Head => return End::LateHead,
                Overdue::Idle if !leaving => {}
                Overdue::Idle | Overdue::Answer => return End::CutOff,
            },
            () = pulse.asked_to_give_way(), if !leaving => {}
            () = shared.lifecycle.reached(Phase::Stopping), if !leaving => {}
        }
        connection.as_mut().graceful_shutdown();
        pulse.leave();
        leaving = true;
    }
}

/// Runs the streams of an HTTP/2 connection. One in which nothing happens for longer than a request may take and its answer
/// be read is given up: its client opens no window. (A stream of frames may go on as long as there are frames.)
#[derive(Debug, Clone)]
struct Streams {
    longest: Duration,
}

impl<F> Executor<F> for Streams
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, stream: F) {
        let longest = self.longest;
        tokio::spawn(async move {
            let (mut stream, mut timer) = (pin!(stream), pin!(tokio::time::sleep(longest)));
            poll_fn(|cx| {
                if stream.as_mut().poll(cx).is_ready() || timer.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(());
                }
                // It was woken by something other than the timer.
                timer.as_mut().reset(Instant::now() + longest);
                timer.as_mut().poll(cx)
            })
            .await;
        });
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::routing::get;
    use tokio::io::{AsyncWriteExt, DuplexStream};

    use super::*;
    use crate::http::server::Routes;
    use crate::lifecycle::Lifecycle;
    use crate::telemetry::metrics::Metrics;

    impl Socket for DuplexStream {
        fn forget(&self) {}
    }

    /// Both ends of a connection that takes a thousand bytes, to a service that answers a hundred thousand; the answer has
    /// begun to arrive.
    async fn reading_slowly() -> (DuplexStream, tokio::task::JoinHandle<()>, Lifecycle) {
        let seconds = Duration::from_secs;
        let bounds = Bounds {
            connections: 1,
            head_bytes: 8192,
            headers: 100,
            head_time: seconds(10),
            keep_alive: seconds(75),
            request_time: seconds(30),
            streams: 1,
            resets: 20,
            stream_errors: 128,
            ping_every: seconds(20),
            ping_patience: seconds(20),
        };
        let router = Router::new().route("/", get(async || vec![b'x'; 100_000]));
        let lifecycle = Lifecycle::new();
        let shared = Shared {
            bounds,
            routes: Routes::new(router),
            lifecycle: lifecycle.clone(),
            tls: None,
            metrics: Arc::new(Metrics::new()),
        };
        let (mut client, server) = tokio::io::duplex(1000);
        let peer = SocketAddr::from(([127, 0, 0, 1], 1));
        let served = tokio::spawn(speak(server, peer, Arc::new(shared), Arc::new(Pulse::new())));
        client.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("it is read");
        client.read_exact(&mut [0; 500]).await.expect("the beginning of an answer");
        (client, served, lifecycle)
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_hyper_has_and_the_client_has_not_is_finished_when_stopping() {
        let (mut client, served, lifecycle) = reading_slowly().await;
        lifecycle.advance(Phase::Stopping);
        tokio::time::sleep(Duration::from_secs(20)).await;
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).await.expect("no reset");
        assert!(rest.len() > 99_500, "{} of a hundred thousand, without the beginning", rest.len());
        served.await.expect("no panic");
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_of_which_the_client_takes_nothing_is_given_up() {
        let (mut client, served, _) = reading_slowly().await;
        let begin = Instant::now();
        served.await.expect("no panic");
        assert_eq!(begin.elapsed().as_secs(), 75);
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).await.expect("the end");
        assert!(rest.len() < 2000, "{}", rest.len());
    }
}
