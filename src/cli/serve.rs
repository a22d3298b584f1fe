//! `spotter serve`.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::signal::unix::{SignalKind, signal};

use crate::app::{self, Assembly, Listening, Reloading, Seen, StartError};
use crate::background::Background;
use crate::cli::{Failure, open_files, print};
use crate::config::{CommandLine, Reading};

pub(super) async fn run(
    command_line: CommandLine,
    reading: Reading,
    beside: impl FnOnce(&Background),
) -> Result<(), Failure> {
    let settings = &reading.settings;
    let seen = Seen::now(&reading);
    // From the start: until somebody listens for it, it ends the process.
    let hangup = signal(SignalKind::hangup()).map_err(StartError::Serve)?;
    app::check_exposure(settings)?;
    open_files::allow_for(settings.max_connections);
    let assembly = Assembly::new(settings)?;
    let service = assembly.service(settings, None)?;
    let identity = app::identity(settings)?;
    let listening = Listening::bind(service, settings.bounds(), settings.listen)
        .await?
        .with_metrics_at(settings.metrics_listen)
        .await?
        .as_identity(identity.clone());
    let service = listening.service();
    let model = service.catalog.default_model();
    let scheme = if identity.is_some() { "https" } else { "http" };
    let url = format!("{scheme}://{}", reachable(listening.address()));
    print::line(format_args!(
        "spotter {} finds objects with {}, run by {}",
        env!("CARGO_PKG_VERSION"),
        model.name(),
        model.backend().describe()
    ));
    print::line(format_args!("  listening      {url}"));
    print::line(format_args!("  documentation  {url}/docs"));
    if let Some(address) = listening.metrics_address() {
        print::line(format_args!("  metrics        http://{}/metrics", reachable(address)));
    }
    let key = if service.access.keys.is_some() { " -H \"X-API-Key: $KEY\"" } else { "" };
    print::line(format_args!("  try it         curl -s {url}/example.jpg | curl{key} -F image=@- {url}/v1/detect"));

    let background = service.background.clone();
    drop(service);
    app::look_after(listening.service(), settings);
    let shutdown = settings.shutdown();
    let reloading = Reloading::new(command_line, reading, seen, assembly, listening.succession(), identity.as_ref());
    background.spawn("reload", reloading.run(hangup));
    beside(&background);
    let mut interrupt = signal(SignalKind::interrupt()).map_err(StartError::Serve)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(StartError::Serve)?;
    let stop = async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        tracing::info!("stopping: requests in flight are finished; a second signal stops at once");
        tokio::spawn(async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            std::process::exit(1);
        });
    };
    Ok(listening.serve(stop, shutdown).await?)
}

/// The address to write into a URL: "every address" is reached at loopback.
pub(super) fn reachable(mut address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        SocketAddr::V4(_) | SocketAddr::V6(_) => {}
    }
    address
}
