//! The listener: connections are taken, bounded, served and let go. What a request is about is the router's.
//!
//! hyper speaks HTTP; what it leaves to its user is here: how many connections ([`connections`]), how long one may wait
//! ([`pulse`]), what a client is told where there is no request yet to answer ([`refusal`]), and the end.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::fault::{Code, Fault};
use crate::lifecycle::{Lifecycle, Phase};
use crate::telemetry::metrics::Metrics;

mod connection;
mod connections;
mod exchange;
mod pulse;
mod refusal;
mod routes;
mod tls;
mod wire;

use connection::Connection;
use connections::Connections;
pub(in crate::http) use exchange::BodyLeft;
pub use routes::{Front, Routes};
pub use tls::{Identity, TlsError};

/// Rest after a connection could not be taken for want of file descriptors or memory: without one the loop would spin.
const BACK_OFF: Duration = Duration::from_millis(50);
/// Patience of a connection past the bound for one that gives way to it.
const ROOM_TIME: Duration = Duration::from_secs(1);
/// Connections past the bound that are told so; further ones are closed without a word.
const MAX_REFUSED: usize = 64;

/// What bounds a connection.
#[derive(Debug, Clone)]
pub struct Bounds {
    /// Connections at once.
    pub connections: usize,
    /// Bytes of a request's head: request line and headers. hyper counts them over HTTP/1; over HTTP/2 [`crate::http::head`] does,
    /// and hyper ends heads that are more than twice as long.
    pub head_bytes: usize,
    /// Headers of a request. hyper counts them over HTTP/1, [`crate::http::head`] over HTTP/2.
    pub headers: usize,
    /// From the first byte of a head to its last; also from a new connection to its first byte.
    pub head_time: Duration,
    /// How long a connection is kept without a request, and an answer that the client does not read.
    pub keep_alive: Duration,
    /// How long a request may take to its answer; the routes see to it, this is so that the connection waits for them.
    pub request_time: Duration,
    /// Requests at once on one HTTP/2 connection.
    pub streams: u32,
    /// Streams of one HTTP/2 connection that the client has reset and the service has not looked at yet (CVE-2023-44487): past
    /// it the connection ends.
    pub resets: usize,
    /// The same for streams that were reset for errors of the client (CVE-2025-8671).
    pub stream_errors: usize,
    /// How often a peer over HTTP/2 is asked for a sign of life.
    pub ping_every: Duration,
    /// How long it may take to give one; past it the peer is gone.
    pub ping_patience: Duration,
}

/// Everything that a connection needs to know.
struct Shared {
    bounds: Bounds,
    routes: Routes,
    lifecycle: Lifecycle,
    tls: Option<TlsAcceptor>,
    metrics: Arc<Metrics>,
}

impl Shared {
    /// Tells a client off that has no request yet, only so much of a head, so long after it began one.
    async fn refuse(&self, mut io: impl AsyncRead + AsyncWrite + Unpin, fault: &Fault, head: &[u8], took: Duration) {
        let row = fault.code().row();
        self.metrics.requests.refused(row.status, row.name);
        let refusals = self.routes.refusals();
        // Hardly any connection comes to this, and each would have room for it.
        Box::pin(async move {
            let headers = if refusals.ask_for_the_origin() {
                refusals.headers(&refusal::rest_of_head(&mut io, head).await)
            } else {
                refusals.headers(head)
            };
            refusal::send(io, fault, took, &headers).await;
        })
        .await;
    }
}

/// A listener with what it serves.
pub struct Server {
    shared: Arc<Shared>,
    connections: Arc<Connections>,
}

impl Server {
    /// Serves these routes within these bounds, over TLS where there is an identity.
    pub fn new(
        routes: Routes,
        bounds: Bounds,
        identity: Option<&Arc<Identity>>,
        lifecycle: Lifecycle,
        metrics: Arc<Metrics>,
    ) -> Self {
        let tls = identity.map(Identity::acceptor);
        let connections = Connections::new(bounds.connections);
        Self {
            shared: Arc::new(Shared { bounds, routes, lifecycle, tls, metrics }),
            connections: Arc::new(connections),
        }
    }

    /// Takes connections until the service stops, and waits until the last has ended. Those that are left when the future
    /// is dropped are cut off.
    pub async fn serve(self, listener: TcpListener) {
        let mut tasks = JoinSet::new();
        let lifecycle = self.shared.lifecycle.clone();
        let mut stopping = std::pin::pin!(lifecycle.reached(Phase::Stopping));
        loop {
            tokio::select! {
                () = &mut stopping => break,
                Some(_) = tasks.join_next() => {}
                accepted = listener.accept() => match accepted {
                    Ok((stream, peer)) => self.take(stream, peer, &mut tasks),
                    Err(error) => self.not_accepted(&error).await,
                },
            }
        }
        // Whoever has connected already is not hung up on.
        while let Some(Ok((stream, peer))) = listener.accept().now_or_never() {
            self.take(stream, peer, &mut tasks);
        }
        // The address is free for the next process while this one finishes.
        drop(listener);
        while tasks.join_next().await.is_some() {}
    }

    fn take(&self, stream: TcpStream, peer: SocketAddr, tasks: &mut JoinSet<()>) {
        // Answers are written whole; waiting for more to send only makes them late.
        let _ = stream.set_nodelay(true);
        let connection = Connection::new(stream, peer, Arc::clone(&self.shared));
        if let Some(place) = self.connections.enter(connection.pulse()) {
            tasks.spawn(connection.serve(place));
            return;
        }
        let Some(waiting) = self.connections.wait(MAX_REFUSED) else { return };
        let connections = Arc::clone(&self.connections);
        tasks.spawn(async move {
            let place = tokio::time::timeout(ROOM_TIME, connections.enter_for_another(connection.pulse())).await;
            match place {
                Ok(place) => {
                    drop(waiting);
                    connection.serve(place).await;
                }
                Err(_) => connection.refuse(&full()).await,
            }
        });
    }

    /// A client that left before its turn is nothing; anything else concerns the process and is ridden out.
    async fn not_accepted(&self, error: &io::Error) {
        use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
        if matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset) {
            return;
        }
        tracing::warn!(%error, "a connection could not be taken; idle ones are closed to make room");
        self.connections.make_room();
        tokio::time::sleep(BACK_OFF).await;
    }
}

fn full() -> Fault {
    Fault::new(
        Code::Overloaded,
        "This service has as many connections as it takes (--max-connections), all of them busy.",
    )
    .retry_after(Duration::from_secs(1))
}
