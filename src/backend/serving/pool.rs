//! The channels to the model servers, shared by all requests.

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tonic::transport::{Channel, Endpoint};

/// Where a model server listens: `http://host:8500`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address(String);

/// Why a text is no address.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("'{found}' is no address of a model server: {reason}; write it as http://host:8500")]
pub struct AddressError {
    found: String,
    reason: &'static str,
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = |reason| AddressError { found: text.to_owned(), reason };
        let uri: http::Uri = text.trim().parse().map_err(|_| wrong("it is not a URI"))?;
        if uri.scheme_str() != Some("http") {
            return Err(wrong("its scheme is not http"));
        }
        let authority = uri.authority().ok_or_else(|| wrong("it names no host"))?;
        if authority.as_str().contains('@') {
            let found = "an address with a user name".to_owned();
            return Err(AddressError { found, reason: "it may hold a password, and addresses are logged" });
        }
        if authority.port_u16().is_none() {
            return Err(wrong("it names no port"));
        }
        if uri.path_and_query().is_some_and(|path| path.as_str() != "/") {
            return Err(wrong("it has a path"));
        }
        Ok(Self(format!("http://{authority}")))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How the pool is built.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The model servers; calls are spread over them by load.
    pub addresses: Vec<Address>,
    /// HTTP/2 connections to each: more than one, because a connection is one TCP stream and one lock.
    pub channels: usize,
    /// Patience for a connection.
    pub connect_timeout: Duration,
    /// The largest message to send.
    pub max_request_bytes: usize,
    /// The largest message to accept.
    pub max_answer_bytes: usize,
}

/// The HTTP/2 windows: a picture of 1024 x 1024 fits into one, so that it never waits for a window update.
const STREAM_WINDOW: u32 = 4 << 20;
const CONNECTION_WINDOW: u32 = 16 << 20;

/// A connection that is silent while calls wait is pinged; gRPC servers tolerate pings at this pace.
const KEEPALIVE: Duration = Duration::from_secs(30);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// The channels.
#[derive(Debug)]
pub(super) struct Pool {
    hosts: Vec<Arc<Host>>,
    turn: AtomicUsize,
}

/// One model server.
#[derive(Debug)]
struct Host {
    address: Address,
    channels: Vec<Channel>,
    in_flight: AtomicUsize,
    turn: AtomicUsize,
    failed: Mutex<Option<Instant>>,
}

/// How long a host that could not be reached comes last: a host that swallows packets costs whoever meets it the whole
/// connect timeout.
const AVOIDED: Duration = Duration::from_secs(5);

/// A channel in use; the call counts as in flight until this is dropped.
#[derive(Debug)]
pub(super) struct Lease {
    host: Arc<Host>,
    channel: Channel,
}

impl Pool {
    /// Connects to nothing yet: each channel connects on its first call, and again whenever it was lost.
    pub(super) fn new(settings: &Settings) -> Self {
        let hosts = settings.addresses.iter().map(|address| Arc::new(Host::new(address.clone(), settings)));
        Self { hosts: hosts.collect(), turn: AtomicUsize::new(0) }
    }

    /// Every host once, the one with the fewest calls in flight first.
    pub(super) fn leases(&self) -> impl Iterator<Item = Lease> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let mut hosts = self.hosts.clone();
        hosts.rotate_left(turn % self.hosts.len().max(1));
        // Stable: hosts with equal load keep the order of the turn. Each key is read once: others change it meanwhile.
        hosts.sort_by_cached_key(|host| (host.failed_lately(), host.in_flight.load(Ordering::Relaxed)));
        hosts.into_iter().map(Lease::new)
    }

    /// Where the hosts are, for people.
    pub(super) fn addresses(&self) -> String {
        self.hosts.iter().map(|host| host.address.to_string()).collect::<Vec<_>>().join(", ")
    }
}

impl Host {
    fn new(address: Address, settings: &Settings) -> Self {
        let channel = |_| {
            Endpoint::from_shared(address.to_string())
                .expect("an address is a URI with host and port")
                .connect_timeout(settings.connect_timeout)
                .tcp_nodelay(true)
                .initial_stream_window_size(STREAM_WINDOW)
                .initial_connection_window_size(CONNECTION_WINDOW)
                .http2_keep_alive_interval(KEEPALIVE)
                .keep_alive_timeout(KEEPALIVE_TIMEOUT)
                .connect_lazy()
        };
        let channels = (0..settings.channels.max(1)).map(channel).collect();
        Self { address, channels, in_flight: AtomicUsize::new(0), turn: AtomicUsize::new(0), failed: Mutex::new(None) }
    }

    fn failed_lately(&self) -> bool {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|failed| failed.elapsed() < AVOIDED)
    }
}

impl Lease {
    fn new(host: Arc<Host>) -> Self {
        host.in_flight.fetch_add(1, Ordering::Relaxed);
        let turn = host.turn.fetch_add(1, Ordering::Relaxed);
        let channel = host.channels[turn % host.channels.len()].clone();
        Self { host, channel }
    }

    pub(super) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// Notes whether the host could be reached.
    pub(super) fn reached(&self, reached: bool) {
        let failed = (!reached).then(Instant::now);
        *self.host.failed.lock().unwrap_or_else(PoisonError::into_inner) = failed;
    }

    pub(super) fn address(&self) -> &Address {
        &self.host.address
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.host.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_checked_before_anything_connects() {
        assert_eq!("http://tf:8500/".parse::<Address>().expect("fine").to_string(), "http://tf:8500");
        assert!("http://[::1]:8500".parse::<Address>().is_ok());
        for (text, reason) in [
            ("tf:8500", "its scheme is not http"),
            ("https://tf:8500", "its scheme is not http"),
            ("http://tf", "it names no port"),
            ("http://tf:8500/v1", "it has a path"),
            ("http://me:secret@tf:8500", "it may hold a password"),
            ("", "it is not a URI"),
        ] {
            let error = text.parse::<Address>().expect_err(text).to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    #[tokio::test]
    async fn the_host_with_the_fewest_calls_in_flight_comes_first() {
        let settings = Settings {
            addresses: vec!["http://a:1".parse().expect("fine"), "http://b:1".parse().expect("fine")],
            channels: 1,
            connect_timeout: Duration::from_secs(1),
            max_request_bytes: 1,
            max_answer_bytes: 1,
        };
        let pool = Pool::new(&settings);
        let busy = pool.leases().next().expect("two hosts");
        for _ in 0..4 {
            let next = pool.leases().next().expect("two hosts");
            assert_ne!(next.address(), busy.address());
        }
        let failing = pool.leases().next().expect("two hosts");
        failing.reached(false);
        let failing = failing.address().clone();
        assert_eq!(pool.leases().last().expect("two hosts").address(), &failing, "whatever its load");
    }
}
