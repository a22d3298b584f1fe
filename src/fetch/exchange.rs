//! One request to one host: HTTP/1.1 on a connection to an address that was checked, and nothing that a client library would
//! do by itself: no look-up, no proxy, no redirect, no cookies, no pool.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONNECTION, CONTENT_LENGTH, HOST, LOCATION, USER_AGENT};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::target::{Named, Target};
use super::{Scheme, failed};
use crate::fault::Fault;

/// Patience for one of a host's addresses; the next may do better.
const CONNECT_TIME: Duration = Duration::from_secs(3);
/// Bytes of an answer's head, and of what is read ahead of a body.
const BUFFER_BYTES: usize = 64 << 10;
/// Headers of an answer.
const MAX_HEADERS: usize = 100;

/// Asks hosts, each on a connection of its own.
pub(super) struct Client {
    tls: TlsConnector,
    /// Longest wait for the beginning of an answer and for each piece of it.
    pause: Duration,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("pause", &self.pause).finish_non_exhaustive()
    }
}

/// What TCP and TLS have in common here.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

impl Client {
    pub(super) fn new(roots: RootCertStore, pause: Duration) -> Self {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let tls = versions.expect("ring knows both versions").with_root_certificates(roots).with_no_client_auth();
        Self { tls: TlsConnector::from(Arc::new(tls)), pause }
    }

    /// The head of the host's answer, with its body to be read; the connection ends with it.
    ///
    /// # Errors
    /// `IMAGE_URL_FAILED`.
    pub(super) async fn ask<'a>(&self, target: &'a Target, addresses: &[SocketAddr]) -> Result<Answer<'a>, Fault> {
        let host = target.host_shown();
        let stream = connect(addresses)
            .await
            .map_err(|error| failed(format!("Host '{host}' of image_url cannot be connected to.")).caused_by(error))?;
        let stream: Box<dyn Stream> = match target.scheme() {
            Scheme::Http => Box::new(stream),
            Scheme::Https => {
                let untrusted = |error: io::Error| {
                    failed(format!(
                        "Host '{host}' of image_url has no certificate for its name that this service trusts."
                    ))
                    .caused_by(error)
                };
                let secured = self.tls.connect(server_name(target).map_err(untrusted)?, stream);
                Box::new(self.in_time(secured, &host).await?.map_err(untrusted)?)
            }
        };
        let unheard =
            |error: hyper::Error| failed(format!("Host '{host}' did not answer image_url in HTTP.")).caused_by(error);
        let (mut sender, connection) = http1::Builder::new()
            .max_buf_size(BUFFER_BYTES)
            .max_headers(MAX_HEADERS)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(unheard)?;
        let mut driver = JoinSet::new();
        // Its errors are those of the request and of the body.
        driver.spawn(async move { drop(connection.await) });
        let request = Request::get(target.path())
            .header(HOST, target.authority())
            .header(ACCEPT, "image/*, */*;q=0.1")
            .header(CONNECTION, "close")
            .header(USER_AGENT, concat!("spotter/", env!("CARGO_PKG_VERSION")))
            .body(Empty::<Bytes>::new())
            .map_err(|error| failed("image_url cannot be asked for.").caused_by(error))?;
        let response = self.in_time(sender.send_request(request), &host).await?.map_err(unheard)?;
        Ok(Answer { target, response, pause: self.pause, _driver: driver })
    }

    async fn in_time<T>(&self, work: impl Future<Output = T>, host: &str) -> Result<T, Fault> {
        timeout(self.pause, work).await.map_err(|_| silent(host, self.pause))
    }
}

fn silent(host: &str, pause: Duration) -> Fault {
    failed(format!("Host '{host}' of image_url said nothing for {} ms.", pause.as_millis()))
}

/// Whom the certificate must be for.
fn server_name(target: &Target) -> io::Result<ServerName<'static>> {
    match target.named() {
        Named::Address(address) => Ok(ServerName::from(address)),
        Named::Name(name) => ServerName::try_from(name.to_owned()).map_err(io::Error::other),
    }
}

/// The first of the addresses that takes a connection.
async fn connect(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in addresses {
        match timeout(CONNECT_TIME, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => last = error,
            Err(late) => last = late.into(),
        }
    }
    Err(last)
}

/// What a host has answered so far.
pub(super) struct Answer<'a> {
    target: &'a Target,
    response: Response<Incoming>,
    pause: Duration,
    /// Moves the connection along, until this is dropped.
    _driver: JoinSet<()>,
}

impl Answer<'_> {
    /// Where the host says that the file is instead; nothing where this is the file.
    ///
    /// # Errors
    /// `IMAGE_URL_FAILED` where it is neither.
    pub(super) fn location(&self) -> Result<Option<&str>, Fault> {
        let (status, host) = (self.response.status(), self.target.host_shown());
        match status {
            StatusCode::MOVED_PERMANENTLY
            | StatusCode::FOUND
            | StatusCode::SEE_OTHER
            | StatusCode::TEMPORARY_REDIRECT
            | StatusCode::PERMANENT_REDIRECT => {
                let location = self.response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
                location.map(Some).ok_or_else(|| failed(format!("Host '{host}' redirects image_url to no address.")))
            }
            status if status.is_success() => Ok(None),
            status => Err(failed(format!("Host '{host}' answered image_url with status {}.", status.as_u16()))),
        }
    }

    /// The length that the host promises.
    pub(super) fn declared_length(&self) -> Option<u64> {
        self.response.headers().get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
    }

    /// The next piece of the body; nothing at its end.
    ///
    /// # Errors
    /// `IMAGE_URL_FAILED`.
    pub(super) async fn piece(&mut self) -> Result<Option<Bytes>, Fault> {
        loop {
            let frame = timeout(self.pause, self.response.body_mut().frame());
            let frame = frame.await.map_err(|_| silent(&self.target.host_shown(), self.pause))?;
            match frame {
                None => return Ok(None),
                // Trailers say nothing of the photo.
                Some(Ok(frame)) => {
                    if let Ok(piece) = frame.into_data() {
                        return Ok(Some(piece));
                    }
                }
                Some(Err(error)) => {
                    let host = self.target.host_shown();
                    return Err(failed(format!("Host '{host}' broke off before the photo was whole.")).caused_by(error));
                }
            }
        }
    }
}
