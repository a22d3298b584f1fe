//! `spotter health [URL]`: the health check of an image that has neither a shell nor curl.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use http::{Request, Uri, header};
use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::cli::{Failure, print};
use crate::config::Settings;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// What to ask, such as `http://127.0.0.1:8080/readyz`; without it /livez of the address in --listen. Over https no
    /// certificate is looked at
    #[arg(value_name = "URL")]
    url: Option<Uri>,

    #[command(flatten)]
    pub(super) settings: Settings,
}

/// Container runtimes give up after 30 s by default; who waits that long is not healthy.
const PATIENCE: Duration = Duration::from_secs(3);

/// Succeeds where the answer is a 2xx.
pub(super) async fn run(arguments: &Arguments) -> Result<(), Failure> {
    let url = arguments.url.clone().unwrap_or_else(|| own(&arguments.settings));
    let failed = match tokio::time::timeout(PATIENCE, ask(&url)).await {
        Ok(Ok(status)) if status.is_success() => {
            print::line(format_args!("{url} answers {status}"));
            return Ok(());
        }
        Ok(Ok(status)) => format!("{url} answers {status}"),
        Ok(Err(error)) => format!("{url} cannot be asked: {error}"),
        Err(_) => format!("{url} does not answer within {} s", PATIENCE.as_secs()),
    };
    eprintln!("spotter: {failed}");
    Err(Failure::Said)
}

/// A service of the same settings on this machine.
fn own(settings: &Settings) -> Uri {
    let address = super::serve::reachable(settings.listen);
    let scheme = if settings.tls_certificate.is_some() { "https" } else { "http" };
    format!("{scheme}://{address}/livez").parse().expect("an address and a path make a URI")
}

async fn ask(url: &Uri) -> Result<http::StatusCode, Box<dyn std::error::Error>> {
    let host = url.host().ok_or("it names no host")?.trim_matches(['[', ']']);
    let connect = async |port| TcpStream::connect((host, url.port_u16().unwrap_or(port))).await;
    match url.scheme_str() {
        Some("http") => ask_over(connect(80).await?, url).await,
        Some("https") => {
            let name = ServerName::try_from(host.to_owned())?;
            let stream = TlsConnector::from(whoever()).connect(name, connect(443).await?).await?;
            ask_over(stream, url).await
        }
        _ => Err("write it as http://host:port/path".into()),
    }
}

async fn ask_over(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    url: &Uri,
) -> Result<http::StatusCode, Box<dyn std::error::Error>> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let path = url.path_and_query().map_or("/", |path| path.as_str());
    let authority = url.authority().ok_or("it names no host")?.as_str();
    let request = Request::get(path).header(header::HOST, authority).body(Empty::<Bytes>::new())?;
    // The connection is driven beside the request and ends with it.
    let answer = tokio::select! {
        answer = sender.send_request(request) => answer?,
        ended = connection => {
            ended?;
            return Err("the connection was closed before an answer".into());
        }
    };
    Ok(answer.status())
}

/// TLS with a service that is not asked who it is: nothing is sent that is not for everybody, its certificate is made out to
/// the name that its clients know, and its authority may be known to them alone.
fn whoever() -> Arc<ClientConfig> {
    let provider = Arc::new(ring::default_provider());
    let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = versions.expect("ring knows both versions").dangerous();
    Arc::new(config.with_custom_certificate_verifier(Arc::new(Anybody)).with_no_client_auth())
}

#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ring::default_provider().signature_verification_algorithms.supported_schemes()
    }
}
