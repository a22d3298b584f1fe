//! How a connection to a model server is made and kept.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use tonic::transport::{Channel, ClientTlsConfig, Endpoint};

use super::address::Address;
use super::tls;

/// The HTTP/2 windows, which are for what comes from the model server: the answers of a detector, masks and all, fit into one. How
/// much of a picture may be on its way there is for the model server to say.
const STREAM_WINDOW: u32 = 4 << 20;
const CONNECTION_WINDOW: u32 = 16 << 20;

/// A connection that is silent while calls wait is pinged. Not more often: gRPC's C++ server hangs up on a client whose third
/// ping comes before it has answered anything (`grpc.http2.max_ping_strikes`), which a slow model would not have.
const KEEPALIVE: Duration = Duration::from_secs(30);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// Idle connections are kept alive below HTTP/2, so that nothing on the way forgets them.
const TCP_KEEPALIVE: Duration = Duration::from_secs(30);

/// One place where a model server listens: an address, and for a name one of the socket addresses it stands for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Place {
    pub(super) address: Address,
    /// None for a Unix socket.
    pub(super) socket: Option<SocketAddr>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = self.address.to_string();
        match self.socket {
            Some(socket) if !address.ends_with(&socket.to_string()) => write!(f, "{address} ({socket})"),
            Some(_) | None => f.write_str(&address),
        }
    }
}

/// Makes connections, all alike.
#[derive(Debug)]
pub(super) struct Connector {
    connect_timeout: Duration,
    tls: Option<ClientTlsConfig>,
}

impl Connector {
    /// With the files of TLS, where an address asks for it.
    pub(super) fn new(connect_timeout: Duration, tls: Option<&tls::Files>) -> Result<Self, tls::Error> {
        let tls = tls.map(tls::load).transpose()?;
        if let Some(tls) = &tls {
            let any = Endpoint::from_static("https://model-server");
            any.tls_config(tls.clone()).map_err(tls::Error::Unusable)?;
        }
        Ok(Self { connect_timeout, tls })
    }

    /// Connects to nothing yet: on its first call, and again whenever the connection was lost.
    pub(super) fn channel(&self, place: &Place) -> Channel {
        let valid = "an address is a URI with host and port";
        let Place { address, socket } = place;
        let mut endpoint = match socket {
            // Connected to by its number, and called by its name.
            Some(socket) => {
                let scheme = if address.is_tls() { "https" } else { "http" };
                let endpoint = Endpoint::from_shared(format!("{scheme}://{socket}")).expect(valid);
                endpoint.origin(address.to_string().parse().expect(valid))
            }
            None => Endpoint::from_shared(address.to_string()).expect(valid),
        };
        if let (true, Some(tls), Some((host, _))) = (address.is_tls(), &self.tls, address.host_and_port()) {
            let tls = tls.clone().domain_name(host).timeout(self.connect_timeout);
            endpoint = endpoint.tls_config(tls).expect("the files of TLS were tried at the start");
        }
        endpoint
            .connect_timeout(self.connect_timeout)
            .tcp_nodelay(true)
            .tcp_keepalive(Some(TCP_KEEPALIVE))
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .http2_keep_alive_interval(KEEPALIVE)
            .keep_alive_timeout(KEEPALIVE_TIMEOUT)
            .connect_lazy()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::time::Instant;
    use tonic::{Code, Request};

    use super::super::proto::tensorflow::serving::GetModelStatusRequest;
    use super::super::proto::tensorflow::serving::model_service_client::ModelServiceClient;
    use super::*;

    /// RFC 9113, 3.4 and 4.1: what a client says first, and the head of a frame, with a length of three bytes, a type and flags.
    const PREFACE: usize = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".len();
    const HEAD: usize = 9;
    const SETTINGS: u8 = 4;
    const PING: u8 = 6;
    const ACK: u8 = 1;

    /// A peer that takes calls and answers none, and pings if so told. How many of those came until the client hung up.
    async fn pings(mut socket: TcpStream, answers: bool) -> usize {
        let frame =
            |kind, flags, payload: &[u8]| [&[0, 0, payload.len() as u8, kind, flags, 0, 0, 0, 0], payload].concat();
        socket.write_all(&frame(SETTINGS, 0, &[])).await.expect("the client is there");
        socket.read_exact(&mut [0; PREFACE]).await.expect("the client begins");
        let mut count = 0;
        let mut head = [0; HEAD];
        while socket.read_exact(&mut head).await.is_ok() {
            let [_, high, low, kind, flags, ..] = head;
            let mut payload = vec![0; usize::from(u16::from_be_bytes([high, low]))];
            socket.read_exact(&mut payload).await.expect("a whole frame");
            if kind == PING && flags & ACK == 0 {
                count += 1;
                if answers {
                    socket.write_all(&frame(PING, ACK, &payload)).await.expect("the client is there");
                }
            }
        }
        count
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_by_which_nothing_comes_is_given_up_and_one_whose_pings_are_answered_is_kept() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let socket = listener.local_addr().expect("it is bound");
        let place = Place { address: format!("http://{socket}").parse().expect("an address"), socket: Some(socket) };
        let connector = Connector::new(Duration::from_secs(1), None).expect("without TLS");
        let limit = Duration::from_secs(300);
        let ask = async || {
            let mut request = Request::new(GetModelStatusRequest { model_spec: None });
            request.set_timeout(limit);
            let begin = Instant::now();
            let status = ModelServiceClient::new(connector.channel(&place)).get_model_status(request).await;
            (status.expect_err("nobody answers").code(), begin.elapsed())
        };
        let peer = async |answers| pings(listener.accept().await.expect("somebody connects").0, answers).await;

        let ((code, took), count) = tokio::join!(ask(), peer(false));
        assert_eq!((code, count), (Code::Unavailable, 1));
        assert!((KEEPALIVE + KEEPALIVE_TIMEOUT..limit / 2).contains(&took), "{took:?}");
        let ((code, took), count) = tokio::join!(ask(), peer(true));
        assert!(took >= limit && count >= 8, "{code:?} after {took:?}, {count} pings");
    }
}
