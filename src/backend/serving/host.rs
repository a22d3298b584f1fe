//! One model server: its connections, what it is busy with, and whether it is to be trusted with a call.
//!
//! A host goes out of rotation when it cannot be reached, when it fails several times in a row, or when it is silent while
//! calls wait. Once out it is asked for a sign of life by a task of its own, at growing intervals, and comes back with the
//! first one: clients' calls are never spent on finding out whether it is there. A sign of life proves no work: until it has done some, a host
//! that is back, or new, is on trial, with one call at a time where others are free; one that is back goes out again with one
//! failure.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tonic::Request;
use tonic::transport::Channel;

use super::bounded::Bounded;
use super::client::MAX_STATUS;
use super::connector::{Connector, Place};
use super::proto::tensorflow::serving::GetModelStatusRequest;
use super::proto::tensorflow::serving::model_service_client::ModelServiceClient;
use super::standings::Standings;
use super::status::{self, Blame};
use crate::background::Background;
use crate::telemetry::metrics::HostSeries;

/// Failures in a row that put a host out. One that is back has one left.
const MAX_FAILURES: u32 = 3;
/// How long after its return a host is out of rotation at most, as docs/RELIABILITY.md promises.
const RETURN: Duration = Duration::from_secs(2);
/// Between signs of life that are asked for: doubled each time up to the longest.
const SHORTEST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// How long a sign of life may take.
pub(super) const SIGN_PATIENCE: Duration = Duration::from_secs(1);
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
    background: Background,
}

#[derive(Debug)]
struct Health {
    /// When it last answered anything.
    heard: Instant,
    /// When it last did its work.
    worked: Option<Instant>,
    /// Failures since it last did its work.
    failures: u32,
    /// Pause before the next sign of life is asked for.
    pause: Duration,
    /// Why it is out of rotation, where it is.
    out: Option<Reason>,
    /// It is new or back, and has not done any work since.
    is_on_trial: bool,
    /// Whether a task is asking it for a sign of life.
    is_watched: bool,
    /// How often it has come back.
    era: u64,
}

/// Why a host is out of rotation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reason {
    Unreachable,
    Failing,
    Silent,
}

impl Reason {
    fn text(self) -> &'static str {
        match self {
            Self::Unreachable => "it cannot be reached",
            Self::Failing => "it failed several times in a row",
            Self::Silent => "it gives no sign of life",
        }
    }
}

impl Host {
    /// Connects to nothing yet.
    pub(super) fn new(
        place: Place,
        connector: Arc<Connector>,
        channels: usize,
        disturbances: watch::Sender<()>,
        series: Arc<HostSeries>,
        background: Background,
    ) -> Self {
        let made = (0..channels.max(1)).map(|_| connector.channel(&place)).collect();
        let health = Health {
            heard: Instant::now(),
            worked: None,
            failures: 0,
            pause: SHORTEST_PAUSE,
            out: None,
            is_on_trial: true,
            is_watched: false,
            era: 0,
        };
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
            background,
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
        self.health().out.is_none()
    }

    /// Whether it is out of rotation because it says nothing: whoever asks it waits in vain.
    pub(super) fn is_silent(&self) -> bool {
        self.health().out == Some(Reason::Silent)
    }

    /// Whether it is new or back, and has not done any work since.
    pub(super) fn is_on_trial(&self) -> bool {
        self.health().is_on_trial
    }

    /// How often it has come back: its process may be another each time.
    pub(super) fn era(&self) -> u64 {
        self.health().era
    }

    /// Whether it has a call already that is to show whether it works.
    pub(super) fn is_being_tried(&self) -> bool {
        self.load() > 0 && self.is_on_trial()
    }

    /// Whether it has done any work since.
    pub(super) fn has_worked_since(&self, begin: Instant) -> bool {
        self.health().worked.is_some_and(|worked| worked >= begin)
    }

    /// All of an answer has come, so that it does something; whether it is its work is looked at next.
    pub(super) fn answered(&self) {
        let mut health = self.health();
        health.heard = Instant::now();
        health.worked = Some(health.heard);
    }

    /// It has done its work.
    pub(super) fn worked(&self) {
        let mut health = self.health();
        health.heard = Instant::now();
        health.worked = Some(health.heard);
        health.failures = 0;
        health.pause = SHORTEST_PAUSE;
        health.is_on_trial = false;
        if health.out.take().is_some() {
            health.era += 1;
            self.came_back("model server answers again");
        }
    }

    /// It has answered a question that no work is needed for.
    pub(super) fn lives(&self) {
        let mut health = self.health();
        health.heard = Instant::now();
        if health.out.take().is_some() {
            health.era += 1;
            health.failures = MAX_FAILURES - 1;
            health.is_on_trial = true;
            // Where it goes out again, the next sign of life is asked for later.
            health.pause = longer(health.pause);
            self.came_back("model server back in rotation");
        }
    }

    fn came_back(&self, how: &'static str) {
        self.series.came_back();
        tracing::info!(host = %self.place, "{how}");
        self.disturbances.send_replace(());
    }

    /// It has refused its work.
    pub(super) fn refused(self: &Arc<Self>, blame: Blame) {
        match blame {
            Blame::Unreachable => self.put_out(Reason::Unreachable, Duration::ZERO),
            Blame::Failing => {
                self.health().heard = Instant::now();
                self.failed();
            }
            Blame::Ours => self.worked(),
            Blame::Busy | Blame::Lacking | Blame::Either | Blame::Nobody => {
                self.health().heard = Instant::now();
            }
        }
    }

    /// It has not done its work, whether or not it said so.
    pub(super) fn failed(self: &Arc<Self>) {
        let (too_many, pause) = {
            let mut health = self.health();
            health.failures += 1;
            (health.failures >= MAX_FAILURES, health.pause)
        };
        if too_many {
            self.put_out(Reason::Failing, pause);
        }
    }

    /// A call waits: where nothing was heard for that long, the host is asked for a sign of life and put out without one.
    pub(super) fn doubt(self: &Arc<Self>, silence: Duration) {
        let mut health = self.health();
        if !health.is_watched && health.heard.elapsed() >= silence {
            health.is_watched = true;
            self.background.spawn("signs of life", ask_for_signs(Arc::downgrade(self), Duration::ZERO));
        }
    }

    fn put_out(self: &Arc<Self>, why: Reason, pause: Duration) {
        let mut health = self.health();
        let was_out = health.out.replace(why).is_some();
        if !was_out {
            let why = why.text();
            tracing::warn!(host = %self.place, why, "model server out of rotation until it gives a sign of life");
            health.is_on_trial = false;
            self.series.went_out();
            // A connection whose other end is gone without a word would fail calls long after the host is back.
            let mut channels = self.channels();
            for channel in channels.iter_mut() {
                *channel = self.connector.channel(&self.place);
            }
        }
        if !health.is_watched {
            health.is_watched = true;
            self.background.spawn("signs of life", ask_for_signs(Arc::downgrade(self), pause));
        }
    }

    /// Any answer at all is a sign of life, to a question that no model is needed for; without one, why the host is out. On a
    /// connection of its own: the others may be stuck.
    async fn gives_sign_of_life(&self) -> Result<(), Reason> {
        let mut client = ModelServiceClient::new(Bounded::new(self.connector.channel(&self.place), MAX_STATUS));
        let mut question = Request::new(GetModelStatusRequest { model_spec: None });
        question.set_timeout(SIGN_PATIENCE);
        match timeout(SIGN_PATIENCE, client.get_model_status(question)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(status)) if status::is_late(&status) => Err(Reason::Silent),
            // "Missing ModelSpec" is an answer; a status with a source is this side's own account of what went wrong.
            Ok(Err(status)) if std::error::Error::source(&status).is_none() => Ok(()),
            Ok(Err(_)) => Err(Reason::Unreachable),
            Err(_) => Err(Reason::Silent),
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

impl Drop for Host {
    fn drop(&mut self) {
        if !self.is_sound() {
            self.series.came_back();
        }
    }
}

/// Asks for signs of life until one comes, a call is answered after all, or nobody needs the host any more.
async fn ask_for_signs(host: Weak<Host>, mut pause: Duration) {
    loop {
        let begin = Instant::now();
        sleep(pause).await;
        let Some(host) = host.upgrade() else { return };
        let sign = host.gives_sign_of_life().await;
        let mut health = host.health();
        // A call may have been answered meanwhile.
        let answers = health.out.is_none() && health.heard >= begin;
        health.is_watched = sign.is_err() && !answers;
        drop(health);
        match sign {
            Ok(()) => return host.lives(),
            Err(_) if answers => return,
            Err(why) => host.put_out(why, Duration::ZERO),
        }
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
    use crate::telemetry::metrics::{Metrics, Now};

    /// When the configuration is read again, the old pool and the new one call the same host for a while.
    #[tokio::test]
    async fn a_host_is_up_again_once_nobody_calls_it_who_has_put_it_out() {
        let metrics = Metrics::new();
        let is = |up: &str| {
            let line = format!("spotter_serving_host_up{{host=\"h\"}} {up}");
            metrics.render(&Now::default()).lines().any(|found| found == line)
        };
        let connector = Arc::new(Connector::new(Duration::from_secs(1), None).expect("without TLS"));
        let address = "http://127.0.0.1:1".parse().expect("an address");
        let place = Place { address, socket: Some(([127, 0, 0, 1], 1).into()) };
        let host = || {
            let (disturbances, series) = (watch::Sender::default(), metrics.hosts.host("h"));
            let connector = Arc::clone(&connector);
            Arc::new(Host::new(place.clone(), connector, 1, disturbances, series, Background::default()))
        };
        let old = host();
        assert!(is("1"));
        old.refused(Blame::Unreachable);
        assert!(is("0"));
        let new = host();
        new.refused(Blame::Unreachable);
        new.worked();
        assert!(is("0"), "the old one has it out");
        drop(old);
        assert!(is("1"), "and calls it no more");
    }

    /// A model server whose cores are all busy may take a call's connection and not the question's.
    #[tokio::test(start_paused = true)]
    async fn an_answer_that_comes_while_a_sign_of_life_is_waited_for_is_one() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let socket = listener.local_addr().expect("it is bound");
        let address = format!("http://{socket}").parse().expect("an address");
        let place = Place { address, socket: Some(socket) };
        let connector = Arc::new(Connector::new(Duration::from_secs(10), None).expect("without TLS"));
        let series = Metrics::new().hosts.host("h");
        let host = Arc::new(Host::new(place, connector, 1, watch::Sender::default(), series, Background::default()));
        let begin = Instant::now();
        let asking = || timeout(SIGN_PATIENCE * 2, ask_for_signs(Arc::downgrade(&host), Duration::ZERO));
        let answered = async {
            sleep(SIGN_PATIENCE / 2).await;
            host.worked();
        };
        let (asked, ()) = tokio::join!(asking(), answered);
        assert!(asked.is_ok() && host.is_sound(), "it was heard while it was asked");
        assert!(begin.elapsed() >= SIGN_PATIENCE, "the question itself was not answered");
        assert!(asking().await.is_err() && host.is_silent(), "it was heard before it was asked, and not since");
    }

    #[test]
    fn however_long_a_host_is_away_it_is_asked_within_the_longest_pause() {
        let pauses: Vec<_> =
            std::iter::successors(Some(longer(Duration::ZERO)), |pause| Some(longer(*pause))).take(1_000).collect();
        assert_eq!(pauses[0], SHORTEST_PAUSE);
        assert!(pauses.is_sorted() && pauses.iter().all(|pause| *pause <= LONGEST_PAUSE));
    }
}
