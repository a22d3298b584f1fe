//! `spotter health [URL]`: the health check of an image that has neither a shell nor curl.

use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use http::{Request, Uri, header};
use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::cli::{Failure, print};
use crate::config::Settings;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// What to ask, such as `http://127.0.0.1:8080/readyz`; without it /livez of the address in --listen
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
    format!("http://{address}/livez").parse().expect("an address and a path make a URI")
}

async fn ask(url: &Uri) -> Result<http::StatusCode, Box<dyn std::error::Error>> {
    if url.scheme_str() != Some("http") {
        return Err("write it as http://host:port/path".into());
    }
    let host = url.host().ok_or("it names no host")?;
    let stream = TcpStream::connect((host.trim_matches(['[', ']']), url.port_u16().unwrap_or(80))).await?;
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
