//! `spotter serve`.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};

use crate::app::{self, Listening, StartError};
use crate::cli::{Failure, open_files, print};
use crate::config::Settings;

pub(super) async fn run(settings: &Settings) -> Result<(), Failure> {
    app::check_exposure(settings)?;
    open_files::allow_for(settings.max_connections);
    let service = app::build(settings)?;
    let identity = app::identity(settings)?;
    let listening = Listening::bind(service, settings.bounds(), settings.listen)
        .await?
        .with_metrics_at(settings.metrics_listen)
        .await?
        .as_identity(identity.clone());
    let model = listening.service().catalog.default_model();
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
    let key = if listening.service().access.keys.is_some() { " -H \"X-API-Key: $KEY\"" } else { "" };
    print::line(format_args!("  try it         curl -s {url}/example.jpg | curl{key} -F image=@- {url}/v1/detect"));

    let background = listening.service().background.clone();
    if let Some(keys) = &listening.service().access.keys {
        background.spawn("keys", Arc::clone(keys).watch());
    }
    listening.service().catalog.follow_versions(&background, settings.version_pace(), settings.request_timeout());
    background.spawn("warm-up", app::warm_up(Arc::clone(listening.service())));
    let reloads = Arc::new(app::reloads(settings, listening.service(), identity.as_ref()));
    let mut hangup = signal(SignalKind::hangup()).map_err(StartError::Serve)?;
    background.spawn("reload", async move {
        while hangup.recv().await.is_some() {
            let reloads = Arc::clone(&reloads);
            tokio::task::spawn_blocking(move || reloads.run()).await.expect("nothing that is read again panics");
        }
    });
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
    Ok(listening.serve(stop, settings.shutdown()).await?)
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
