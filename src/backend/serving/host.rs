//! One model server: its connections, what it is busy with, and whether it is to be trusted with a call.
//!
//! A host goes out of rotation when it cannot be reached, when it fails several times in a row, or when it is silent while
//! calls wait. Once out it is asked for a sign of life by a task of its own, at growing intervals, and comes back with the
//! first one: clients' calls are never spent on finding out.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tonic::transport::Channel;

use super::connector::{Connector, Place};
use super::proto::tensorflow::serving::GetModelStatusRequest;
use super::proto::tensorflow::serving::model_service_client::ModelServiceClient;
use super::standings::Standings;
use super::status::Blame;
use crate::telemetry::metrics::HostSeries;

/// Failures in a row that put a host out. One that has just come back has one left.
const MAX_FAILURES: u32 = 3;
/// How long after its return a host is out of rotation at most, as docs/RELIABILITY.md promises.
const RETURN: Duration = Duration::from_secs(2);
/// Between signs of life that are asked for: doubled each time up to the longest.
const SHORTEST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// How long a sign of life may take.
const SIGN_PATIENCE: Duration = Duration::from_secs(1);
/// At worst a host returns while a question is lost that was put before; the next one comes after the longest pause.
const _: () = assert!(SIGN_PATIENCE.as_millis() + LONGEST_PAUSE.as_millis() < RETURN.as_millis());

/// A model server.
#[derive(Debug)]
pub(super) struct Host {
    place: Place,
    connector: Arc<Connector>,
    channels: Mutex<Vec<Channel>>,
    turn: AtomicUsize,
    in_flight: AtomicUsize,
    health: Mutex<Health>,
    standings: Standings,
    /// Told when it is back in rotation.
    disturbances: watch::Sender<()>,
    series: Arc<HostSeries>,
}

#[derive(Debug)]
struct Health {
    /// When it last answered anything.
    heard: Instant,
    /// Failures since it last did its work.
    failures: u32,
    /// Pause before the next sign of life is asked for.
    pause: Duration,
    is_out: bool,
    /// Whether a task is asking it for a sign of life.
    is_watched: bool,
}

impl Host {
    /// Connects to nothing yet.
    pub(super) fn new(
        place: Place,
        connector: Arc<Connector>,
        channels: usize,
        disturbances: watch::Sender<()>,
        series: Arc<HostSeries>,
    ) -> Self {
        let made = (0..channels.max(1)).map(|_| connector.channel(&place)).collect();
        let health =
            Health { heard: Instant::now(), failures: 0, pause: SHORTEST_PAUSE, is_out: false, is_watched: false };
        Self {
            place,
            connector,
            channels: Mutex::new(made),
            turn: AtomicUsize::new(0),
            in_flight: AtomicUsize::new(0),
            health: Mutex::new(health),
            standings: Standings::default(),
            disturbances,
            series,
        }
    }

    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    /// What "latest" and labels stand for here.
    pub(super) fn standings(&self) -> &Standings {
        &self.standings
    }

    /// Calls that it has not answered yet.
    pub(super) fn load(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Whether it is in rotation.
    pub(super) fn is_sound(&self) -> bool {
        !self.health().is_out
    }

    /// It has done its work.
    pub(super) fn worked(&self) {
        let mut health = self.health();
        health.heard = Instant::now();
        health.failures = 0;
        health.pause = SHORTEST_PAUSE;
        if std::mem::take(&mut health.is_out) {
            self.series.is_up(true);
            tracing::info!(host = %self.place, "model server answers again");
            self.disturbances.send_replace(());
        }
    }

    /// It has refused its work.
    pub(super) fn refused(self: &Arc<Self>, blame: Blame) {
        match blame {
            Blame::Unreachable => self.put_out("it cannot be reached", Duration::ZERO),
            Blame::Failing => {
                let (too_many, pause) = {
                    let mut health = self.health();
                    health.heard = Instant::now();
                    health.failures += 1;
                    (health.failures >= MAX_FAILURES, health.pause)
                };
                if too_many {
                    self.put_out("it failed several times in a row", pause);
                }
            }
            Blame::Busy | Blame::Lacking | Blame::Nobody => self.health().heard = Instant::now(),
        }
    }

    /// A call waits: where nothing was heard for that long, the host is asked for a sign of life and put out without one.
    pub(super) fn doubt(self: &Arc<Self>, silence: Duration) {
        let mut health = self.health();
        if !health.is_watched && health.heard.elapsed() >= silence {
            health.is_watched = true;
            tokio::spawn(ask_for_signs(Arc::downgrade(self), Duration::ZERO));
        }
    }

    fn put_out(self: &Arc<Self>, why: &'static str, pause: Duration) {
        let mut health = self.health();
        if !health.is_out {
            tracing::warn!(host = %self.place, why, "model server out of rotation until it gives a sign of life");
            health.is_out = true;
            self.series.is_up(false);
            // A connection whose other end is gone without a word would fail calls long after the host is back.
            let mut channels = self.channels();
            for channel in channels.iter_mut() {
                *channel = self.connector.channel(&self.place);
            }
        }
        if !health.is_watched {
            health.is_watched = true;
            tokio::spawn(ask_for_signs(Arc::downgrade(self), pause));
        }
    }

    /// Any answer at all, to a question that no model is needed for. On a connection of its own: the others may be stuck.
    async fn gives_sign_of_life(&self) -> bool {
        let mut client = ModelServiceClient::new(self.connector.channel(&self.place));
        match timeout(SIGN_PATIENCE, client.get_model_status(GetModelStatusRequest { model_spec: None })).await {
            Ok(Ok(_)) => true,
            // "Missing ModelSpec" is an answer; a status with a source is this side's own account of what went wrong.
            Ok(Err(status)) => std::error::Error::source(&status).is_none(),
            Err(_) => false,
        }
    }

    fn health(&self) -> MutexGuard<'_, Health> {
        // Whole after every statement, so a panic elsewhere leaves it usable.
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn channels(&self) -> MutexGuard<'_, Vec<Channel>> {
        self.channels.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks for signs of life until one comes, a call is answered after all, or nobody needs the host any more.
async fn ask_for_signs(host: Weak<Host>, mut pause: Duration) {
    loop {
        sleep(pause).await;
        let Some(host) = host.upgrade() else { return };
        let alive = host.gives_sign_of_life().await;
        let mut health = host.health();
        if alive {
            health.heard = Instant::now();
            health.is_watched = false;
            if std::mem::take(&mut health.is_out) {
                host.series.is_up(true);
                tracing::info!(host = %host.place, "model server back in rotation");
                host.disturbances.send_replace(());
                // Proof is an answered call: until then one failure is enough, and the next pause is longer.
                health.failures = MAX_FAILURES - 1;
                health.pause = longer(health.pause);
            }
            return;
        }
        if !health.is_out && pause > Duration::ZERO {
            // A call was answered meanwhile.
            health.is_watched = false;
            return;
        }
        drop(health);
        host.put_out("it gives no sign of life", Duration::ZERO);
        pause = longer(pause);
    }
}

/// The pause after this one.
fn longer(pause: Duration) -> Duration {
    (pause * 2).clamp(SHORTEST_PAUSE, LONGEST_PAUSE)
}

/// A call at a host; it counts as in flight until this is dropped.
#[derive(Debug)]
pub(super) struct Lease {
    host: Arc<Host>,
    channel: Channel,
    /// When the call began that is under way.
    began: Option<Instant>,
}

/// What a call is counted as that ends with the request it was made for.
const ABANDONED: &str = "abandoned";

impl Lease {
    pub(super) fn new(host: Arc<Host>) -> Self {
        host.in_flight.fetch_add(1, Ordering::Relaxed);
        let turn = host.turn.fetch_add(1, Ordering::Relaxed);
        let channel = {
            let channels = host.channels();
            channels[turn % channels.len()].clone()
        };
        Self { host, channel, began: None }
    }

    /// A call begins, which is counted when it ends.
    pub(super) fn begins(&mut self) {
        self.began = Some(Instant::now());
    }

    /// How the call that began has ended.
    pub(super) fn ended(&mut self, outcome: &'static str) {
        if let Some(began) = self.began.take() {
            self.host.series.called(outcome, began.elapsed());
        }
    }

    pub(super) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    pub(super) fn host(&self) -> &Arc<Host> {
        &self.host
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.host.in_flight.fetch_sub(1, Ordering::Relaxed);
        self.ended(ABANDONED);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn however_long_a_host_is_away_it_is_asked_within_the_longest_pause() {
        let pauses: Vec<_> =
            std::iter::successors(Some(longer(Duration::ZERO)), |pause| Some(longer(*pause))).take(1_000).collect();
        assert_eq!(pauses[0], SHORTEST_PAUSE);
        assert!(pauses.is_sorted() && pauses.iter().all(|pause| *pause <= LONGEST_PAUSE));
    }
}
