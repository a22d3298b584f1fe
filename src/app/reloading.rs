//! Configuration, label maps, models, keys and certificates, read again while the service runs: on SIGHUP and when their files
//! change (docs/adr/0011).

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::signal::unix::Signal;

use crate::access::key_files::LoadError;
use crate::access::keys::Reloaded;
use crate::app::{self, Assembly, StartError, Succession};
use crate::config::{CommandLine, Mistakes, Reading, Settings};
use crate::fault::chain;
use crate::http::server::Identity;
use crate::reload::{Reloads, Stamp, Which, stamps};

/// Why what was read anew is not used.
#[derive(Debug, thiserror::Error)]
enum Unusable {
    /// So much is wrong with the settings, each of which was told with its line.
    #[error("{0} mistakes, each told above")]
    Mistakes(usize),
    /// A file that they name, or what they would open to all.
    #[error("{}", chain(.0))]
    Start(StartError),
}

/// What is read again.
pub struct Reloading {
    reloads: Reloads,
    pace: Option<Duration>,
}

/// How the files of a service were before any of them was read.
pub struct Seen {
    configuration: Vec<Stamp>,
    keys: Vec<Stamp>,
    pair: Vec<Stamp>,
}

impl Seen {
    /// As they are now.
    pub fn now(reading: &Reading) -> Self {
        let settings = &reading.settings;
        Self { configuration: reading.stamps(), keys: stamps(&keys(settings)), pair: stamps(&pair(settings)) }
    }
}

fn keys(settings: &Settings) -> Vec<PathBuf> {
    settings.api_keys.iter().cloned().collect()
}

fn pair(settings: &Settings) -> Vec<PathBuf> {
    settings.tls_certificate.iter().chain(&settings.tls_key).cloned().collect()
}

/// How the service in force came about.
struct InForce {
    command_line: CommandLine,
    reading: Mutex<Reading>,
    assembly: Assembly,
    succession: Succession,
}

impl Reloading {
    /// Of a service that was assembled from this reading, when its files were like that.
    pub fn new(
        command_line: CommandLine,
        reading: Reading,
        seen: Seen,
        assembly: Assembly,
        succession: Succession,
        identity: Option<&Arc<Identity>>,
    ) -> Self {
        let pace = reading.settings.watch_files();
        let pair = pair(&reading.settings);
        let in_force = Arc::new(InForce { command_line, reading: Mutex::new(reading), assembly, succession });
        let mut reloads = Reloads::default();
        let (files, again) = (Arc::clone(&in_force), Arc::clone(&in_force));
        reloads.add(
            "configuration",
            seen.configuration,
            move || files.reading().settings.files(),
            move || again.configuration(),
        );
        let (files, again) = (Arc::clone(&in_force), in_force);
        reloads.add("keys", seen.keys, move || keys(&files.reading().settings), move || again.keys());
        if let Some(identity) = identity {
            let (identity, files) = (Arc::clone(identity), pair.clone());
            let again = move || {
                let seen = stamps(&files);
                identity.reload().map(|()| seen)
            };
            reloads.add("certificate and key", seen.pair, move || pair.clone(), again);
        }
        Self { reloads, pace }
    }

    /// Reads again for as long as the service runs.
    pub async fn run(self, mut hangup: Signal) {
        let reloads = Arc::new(self.reloads);
        loop {
            let which = tokio::select! {
                Some(()) = hangup.recv() => Which::All,
                () = rest(self.pace) => Which::Changed,
            };
            let reloads = Arc::clone(&reloads);
            tokio::task::spawn_blocking(move || reloads.run(which)).await.expect("panics are caught");
        }
    }
}

async fn rest(pace: Option<Duration>) {
    match pace {
        Some(pace) => tokio::time::sleep(pace).await,
        None => std::future::pending().await,
    }
}

impl InForce {
    fn reading(&self) -> Reading {
        self.reading.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Another service for the settings as they are now.
    fn configuration(&self) -> Result<Vec<Stamp>, Unusable> {
        let old = self.reading();
        let new = self.command_line.read().map_err(|Mistakes(mistakes)| {
            for mistake in &mistakes {
                tracing::error!(%mistake, "a mistake in the configuration");
            }
            Unusable::Mistakes(mistakes.len())
        })?;
        for waits in new.waits_for_a_start(&old) {
            tracing::warn!("{waits}");
        }
        let new = new.keeping_what_waits(&old);
        app::check_exposure(&new.settings).map_err(Unusable::Start)?;
        let seen = new.stamps();
        let current = self.succession.current();
        let service = self.assembly.service(&new.settings, Some(&current)).map_err(Unusable::Start)?;
        drop(current);
        self.succession.install(service);
        app::look_after(self.succession.current(), &new.settings);
        *self.reading.lock().unwrap_or_else(PoisonError::into_inner) = new;
        Ok(seen)
    }

    fn keys(&self) -> Result<Vec<Stamp>, LoadError> {
        let seen = stamps(&keys(&self.reading().settings));
        let Some(keys) = self.succession.current().access.keys.clone() else { return Ok(seen) };
        let said = match keys.reload()? {
            Reloaded::Changed => "other keys hold from now on",
            Reloaded::Unchanged => "the keys are those that held before",
        };
        let names: Vec<_> = keys.ring().names().map(ToString::to_string).collect();
        tracing::info!(path = %keys.path().display(), names = names.join(", "), "{said}");
        Ok(seen)
    }
}
