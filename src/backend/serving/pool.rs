//! The model servers behind the configured addresses, and which of them a call goes to.
//!
//! Every call is balanced by itself, over HTTP/2 connections that all calls share: of two hosts the one with fewer calls in
//! flight (docs/adr/0007). Names are resolved again and again, so that hosts which appear are used and hosts which
//! vanish finish what they have and are forgotten.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};
use tower::retry::budget::{Budget, TpsBudget};

use super::address::Address;
use super::connector::{Connector, Place};
use super::host::{Host, Lease};
use super::resolve::{Resolve, System};
use super::status::Blame;
use super::tls;
use crate::background::Background;
use crate::deadline::Deadline;
use crate::telemetry::metrics;

/// How the pool is built.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where the model servers are; a name stands for all addresses that it resolves to.
    pub addresses: Vec<Address>,
    /// HTTP/2 connections to each host: more than one, because a connection is one TCP stream and one lock.
    pub channels: usize,
    /// Patience for a connection.
    pub connect_timeout: Duration,
    /// How often names are resolved again.
    pub resolve_interval: Duration,
    /// How long a host may be silent while calls wait, before it is asked for a sign of life.
    pub silence: Duration,
    /// How often a call is made again at most.
    pub retries: u32,
    /// The largest message to send.
    pub max_request_bytes: usize,
    /// The largest message to accept.
    pub max_answer_bytes: usize,
    /// For `https://` addresses.
    pub tls: tls::Files,
    /// Who resolves names.
    pub resolver: Arc<dyn Resolve>,
}

/// Whether a pool of the one is one of the other. Who resolves names is no part of it.
impl PartialEq for Settings {
    fn eq(&self, other: &Self) -> bool {
        // In full, so that a new field is thought of here.
        let Self {
            addresses,
            channels,
            connect_timeout,
            resolve_interval,
            silence,
            retries,
            max_request_bytes,
            max_answer_bytes,
            tls,
            resolver: _,
        } = self;
        *addresses == other.addresses
            && *channels == other.channels
            && *connect_timeout == other.connect_timeout
            && *resolve_interval == other.resolve_interval
            && *silence == other.silence
            && *retries == other.retries
            && *max_request_bytes == other.max_request_bytes
            && *max_answer_bytes == other.max_answer_bytes
            && *tls == other.tls
    }
}

impl Settings {
    /// The system's resolver.
    pub fn system_resolver() -> Arc<dyn Resolve> {
        Arc::new(System)
    }
}

/// Of the calls of the last ten seconds, one in five may be asked twice, and ten a second whatever the traffic: enough to
/// hide a host that dies, too little to turn an outage into a flood.
const BUDGET_WINDOW: Duration = Duration::from_secs(10);
const BUDGET_FLOOR: u32 = 10;
const BUDGET_RATIO: f32 = 0.2;

/// Before the same host is asked once more, in milliseconds: long enough for a process behind one address to be told apart from
/// the one that broke, and not the same for all whose connection broke at once.
const PAUSE_BEFORE_THE_SAME: std::ops::RangeInclusive<u64> = 5..=50;

/// Names are resolved early when a host cannot be reached, but not more often than this.
const RESOLVE_AT_MOST_EVERY: Duration = Duration::from_millis(500);

/// All hosts at one moment.
type Hosts = Arc<[Arc<Host>]>;

/// The model servers.
pub(super) struct Pool {
    addresses: Vec<Address>,
    /// None until the names are resolved for the first time.
    hosts: watch::Receiver<Option<Hosts>>,
    turn: AtomicUsize,
    budget: TpsBudget,
    stale: Arc<Notify>,
    disturbances: watch::Sender<()>,
    retries: u32,
    _resolving: Option<DropGuard>,
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pool").field(&*self.hosts.borrow()).finish()
    }
}

impl Pool {
    /// Must be called inside a tokio runtime. Connects to nothing yet. Its tasks run in the `background` until it is dropped.
    ///
    /// # Errors
    /// When the files of TLS cannot be used.
    pub(super) fn new(
        settings: &Settings,
        series: &metrics::Hosts,
        background: &Background,
    ) -> Result<Self, tls::Error> {
        let files = settings.addresses.iter().any(Address::is_tls).then_some(&settings.tls);
        let connector = Arc::new(Connector::new(settings.connect_timeout, files)?);
        let stale = Arc::new(Notify::new());
        let (sender, hosts) = watch::channel(None);
        let disturbances = watch::Sender::new(());
        let mut directory = Directory {
            connector,
            channels: settings.channels,
            resolver: Arc::clone(&settings.resolver),
            series: series.clone(),
            found: settings.addresses.iter().map(|address| (address.clone(), places_by_number(address))).collect(),
            unresolved: HashMap::new(),
            hosts: sender,
            disturbances: disturbances.clone(),
            background: background.clone(),
        };
        let has_names = directory.found.iter().any(|(_, places)| places.is_none());
        let resolving = if has_names {
            let (stale, interval) = (Arc::clone(&stale), settings.resolve_interval);
            let token = CancellationToken::new();
            let end = token.clone().drop_guard();
            background.spawn("resolver", async move {
                // Either way it is over.
                let _ = token.run_until_cancelled(directory.keep(interval, &stale)).await;
            });
            Some(end)
        } else {
            directory.publish();
            None
        };
        Ok(Self {
            addresses: settings.addresses.clone(),
            hosts,
            turn: AtomicUsize::new(0),
            budget: TpsBudget::new(BUDGET_WINDOW, BUDGET_FLOOR, BUDGET_RATIO),
            stale,
            disturbances,
            retries: settings.retries,
            _resolving: resolving,
        })
    }

    /// The hosts that a call may go to. Waits where no name has been resolved yet.
    pub(super) async fn route(&self, deadline: Deadline) -> Route<'_> {
        let mut hosts = self.hosts.clone();
        let known = deadline.bound(hosts.wait_for(Option::is_some)).await;
        let hosts = match known {
            Ok(Ok(hosts)) => hosts.clone(),
            Ok(Err(_)) | Err(_) => None,
        };
        self.route_among(hosts.unwrap_or_default())
    }

    /// To this host and no other.
    pub(super) fn route_to(&self, host: &Arc<Host>) -> Route<'_> {
        self.route_among(Arc::from([Arc::clone(host)]))
    }

    fn route_among(&self, hosts: Hosts) -> Route<'_> {
        self.budget.deposit();
        Route { pool: self, hosts, tried: Vec::new(), attempts: 0, retries: 0, any_host: false }
    }

    /// The hosts that calls go to, and those where calls wait for a version.
    pub(super) fn in_use(&self) -> Vec<Arc<Host>> {
        let hosts = self.hosts.borrow().clone().unwrap_or_default();
        hosts.iter().filter(|host| host.is_sound() || host.standings().any_vacant()).cloned().collect()
    }

    /// A version is gone, a host has appeared or is back.
    pub(super) fn disturbances(&self) -> &watch::Sender<()> {
        &self.disturbances
    }

    /// Where the hosts are, for people.
    pub(super) fn addresses(&self) -> String {
        self.addresses.iter().map(Address::to_string).collect::<Vec<_>>().join(", ")
    }
}

/// The way of one call from host to host.
pub(super) struct Route<'a> {
    pool: &'a Pool,
    hosts: Hosts,
    tried: Vec<Arc<Host>>,
    attempts: usize,
    /// Those of them that were made again, and not only because a host lacks the version.
    retries: u32,
    /// No host was in rotation when the call began, so that it may go to any.
    any_host: bool,
}

impl Route<'_> {
    /// The host to begin with; none where no host is known, or each of them is silent: then the name may stand for others by now.
    pub(super) fn first(&mut self) -> Option<Lease> {
        self.any_host = !self.hosts.iter().any(|host| host.is_sound());
        let first = self.choose();
        if first.is_none() {
            self.pool.stale.notify_one();
        }
        first
    }

    /// The next host after one that has refused, as far as the budget for retries goes. A single host is asked twice where its
    /// connection broke or it failed, after a short pause: behind one address there may be many.
    pub(super) async fn next(&mut self, blame: Blame) -> Option<Lease> {
        match blame {
            Blame::Nobody | Blame::Ours => return None,
            Blame::Unreachable => self.pool.stale.notify_one(),
            Blame::Failing | Blame::Busy | Blame::Lacking | Blame::Either => {}
        }
        let is_costly = blame != Blame::Lacking;
        if is_costly && !self.may_repeat() {
            return None;
        }
        let is_used_up = !self.has_candidates();
        if is_used_up {
            if self.attempts >= 2 || !matches!(blame, Blame::Unreachable | Blame::Failing) {
                return None;
            }
            self.tried.clear();
            self.any_host = true;
            if !self.has_candidates() {
                return None;
            }
        }
        if is_costly {
            if !self.pool.budget.withdraw() {
                tracing::debug!("no retry: the budget is spent");
                return None;
            }
            self.retries += 1;
        }
        if is_used_up {
            tokio::time::sleep(Duration::from_millis(fastrand::u64(PAUSE_BEFORE_THE_SAME))).await;
        }
        self.choose()
    }

    /// Whether the call may be made once more, as far as this one goes; the budget of all is seen when it is spent.
    pub(super) fn may_repeat(&self) -> bool {
        self.retries < self.pool.retries
    }

    /// Whether another host is in rotation that this call has not been to.
    pub(super) fn has_another(&self) -> bool {
        self.hosts.iter().any(|host| host.is_sound() && !self.was_tried(host))
    }

    /// Whether another host in rotation has done any work since.
    pub(super) fn another_has_worked_since(&self, host: &Arc<Host>, begin: Instant) -> bool {
        let works = |other: &Host| other.is_sound() && other.has_worked_since(begin);
        self.hosts.iter().any(|other| !Arc::ptr_eq(other, host) && works(other))
    }

    /// Whether all hosts there are say nothing.
    pub(super) fn is_silent(&self) -> bool {
        !self.hosts.is_empty() && self.hosts.iter().all(|host| host.is_silent())
    }

    fn was_tried(&self, host: &Arc<Host>) -> bool {
        self.tried.iter().any(|tried| Arc::ptr_eq(tried, host))
    }

    fn candidates(&self) -> Vec<&Arc<Host>> {
        let may_answer = |host: &Host| host.is_sound() || (self.any_host && !host.is_silent());
        self.hosts.iter().filter(|host| may_answer(host) && !self.was_tried(host)).collect()
    }

    fn has_candidates(&self) -> bool {
        !self.candidates().is_empty()
    }

    /// The less busy of two: the one whose turn it is, so that hosts without load share evenly, and one at random, so that
    /// calls at the same moment do not all flock to the same. One that is being tried is left alone where others are free.
    fn choose(&mut self) -> Option<Lease> {
        let mut candidates = self.candidates();
        if candidates.iter().any(|host| !host.is_being_tried()) {
            candidates.retain(|host| !host.is_being_tried());
        }
        let chosen = match candidates[..] {
            [] => return None,
            [only] => only,
            _ => {
                let one = self.pool.turn.fetch_add(1, Ordering::Relaxed) % candidates.len();
                let other = (one + fastrand::usize(1..candidates.len())) % candidates.len();
                if candidates[other].load() < candidates[one].load() { candidates[other] } else { candidates[one] }
            }
        };
        let chosen = Arc::clone(chosen);
        self.tried.push(Arc::clone(&chosen));
        self.attempts += 1;
        Some(Lease::new(chosen))
    }
}

/// The places that an address stands for without asking anybody; none for a name.
fn places_by_number(address: &Address) -> Option<Vec<Place>> {
    let socket = match address.host_and_port() {
        Some((host, port)) => Some((host.parse::<std::net::IpAddr>().ok()?, port).into()),
        None => None,
    };
    Some(vec![Place { address: address.clone(), socket }])
}

/// Keeps the set of hosts as the names say.
struct Directory {
    connector: Arc<Connector>,
    channels: usize,
    resolver: Arc<dyn Resolve>,
    series: metrics::Hosts,
    /// What each address was found to stand for; none until its name is resolved.
    found: Vec<(Address, Option<Vec<Place>>)>,
    /// Names that were never resolved are hosts that are down: else nobody who watches would miss them.
    unresolved: HashMap<String, Arc<metrics::HostSeries>>,
    hosts: watch::Sender<Option<Hosts>>,
    disturbances: watch::Sender<()>,
    background: Background,
}

impl Directory {
    /// Resolves for as long as it is let.
    async fn keep(&mut self, interval: Duration, stale: &Notify) {
        loop {
            self.resolve().await;
            self.publish();
            tokio::time::sleep(RESOLVE_AT_MOST_EVERY.min(interval)).await;
            let rest = interval.saturating_sub(RESOLVE_AT_MOST_EVERY);
            // Either is a reason to look again.
            let _ = tokio::time::timeout(rest, stale.notified()).await;
        }
    }

    async fn resolve(&mut self) {
        let resolver = &self.resolver;
        let lookups = self.found.iter_mut().map(|(address, places)| async move {
            // What is written as a number stays what it is.
            if places_by_number(address).is_some() {
                return;
            }
            let (host, port) = address.host_and_port().expect("a socket's file is no name");
            match resolver.resolve(host, port).await {
                Ok(mut sockets) if !sockets.is_empty() => {
                    sockets.sort();
                    sockets.dedup();
                    let place = |socket| Place { address: address.clone(), socket: Some(socket) };
                    *places = Some(sockets.into_iter().map(place).collect());
                }
                // A sick name server must not take healthy model servers away.
                Ok(_) => tracing::warn!(%address, "the name of the model server has no address; the last known stay in use"),
                Err(error) => tracing::warn!(
                    %address, %error, "the name of the model server cannot be resolved; the last known addresses stay in use"
                ),
            }
        });
        futures::future::join_all(lookups).await;
    }

    /// Hosts that are known already stay as they are; those that are no longer named are dropped, and end with their last
    /// call.
    fn publish(&mut self) {
        self.count_unresolved();
        let old = self.hosts.borrow().clone().unwrap_or_default();
        let known: HashMap<&Place, &Arc<Host>> = old.iter().map(|host| (host.place(), host)).collect();
        let mut new: Vec<Arc<Host>> = Vec::new();
        for place in self.found.iter().filter_map(|(_, places)| places.as_ref()).flatten() {
            if new.iter().any(|host| host.place() == place) {
                continue;
            }
            let host = known.get(place).map_or_else(|| self.appeared(place), |&host| Arc::clone(host));
            new.push(host);
        }
        for gone in old.iter().filter(|old| !new.iter().any(|new| Arc::ptr_eq(old, new))) {
            tracing::info!(host = %gone.place(), "model server gone: its name no longer stands for it");
        }
        let appeared = new.iter().any(|new| !old.iter().any(|old| Arc::ptr_eq(old, new)));
        self.hosts.send_replace(Some(new.into()));
        if appeared {
            self.disturbances.send_replace(());
        }
    }

    fn count_unresolved(&mut self) {
        let unresolved = self.found.iter().filter(|(_, places)| places.is_none());
        let names: Vec<_> = unresolved.map(|(address, _)| address.to_string()).collect();
        self.unresolved.retain(|name, _| names.contains(name));
        for name in names {
            let series = &self.series;
            self.unresolved.entry(name).or_insert_with_key(|name| {
                let series = series.host(name);
                series.went_out();
                series
            });
        }
    }

    fn appeared(&self, place: &Place) -> Arc<Host> {
        tracing::debug!(host = %place, "model server found");
        let (series, disturbances) = (self.series.host(&place.to_string()), self.disturbances.clone());
        let (connector, background) = (Arc::clone(&self.connector), self.background.clone());
        Arc::new(Host::new(place.clone(), connector, self.channels, disturbances, series, background))
    }
}
