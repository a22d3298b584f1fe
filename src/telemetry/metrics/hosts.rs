//! Calls of TensorFlow Serving, by host.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::known::Known;
use super::{Seconds, in_seconds, observe};

/// The hosts that are called. Clones share them.
#[derive(Debug, Clone)]
pub struct Hosts {
    calls: Family<Outcome, Counter>,
    seconds: Family<Host, Histogram, Seconds>,
    up: Family<Host, Gauge>,
    /// Those that somebody calls: hosts come and go with every rollout of a model server.
    known: Arc<Mutex<HashMap<Arc<str>, Weak<HostSeries>>>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    host: Arc<str>,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Host {
    host: Arc<str>,
}

/// The series of one host, forgotten when the last that calls it drops this.
#[derive(Debug)]
pub struct HostSeries {
    name: Arc<str>,
    hosts: Hosts,
    calls: Known<&'static str, Counter>,
    seconds: Histogram,
    up: Gauge,
    /// Of those that call it: so many have it out of rotation.
    out: Mutex<usize>,
}

impl Hosts {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let hosts =
            Self { calls: Family::default(), seconds: Seconds::family(), up: Family::default(), known: Arc::default() };
        let help = "Calls of TensorFlow Serving, by host and outcome: ok, the gRPC code, silent where the host said nothing, stuck where it did no work and another was asked, or abandoned with the request";
        registry.register("serving_calls", help, hosts.calls.clone());
        in_seconds(registry, "serving_call_duration", "Calls of TensorFlow Serving, there and back", &hosts.seconds);
        let help = "Whether the host is called: 0 where it is out of rotation until it gives a sign of life, and for a name that was never resolved";
        registry.register("serving_host_up", help, hosts.up.clone());
        hosts
    }

    /// The series of this host.
    pub fn host(&self, name: &str) -> Arc<HostSeries> {
        let mut known = self.known();
        if let Some(series) = known.get(name).and_then(Weak::upgrade) {
            return series;
        }
        let name: Arc<str> = name.into();
        let labels = Host { host: Arc::clone(&name) };
        let up = self.up.get_or_create_owned(&labels);
        up.set(1);
        let series = Arc::new(HostSeries {
            name: Arc::clone(&name),
            hosts: self.clone(),
            calls: Known::default(),
            seconds: self.seconds.get_or_create_owned(&labels),
            up,
            out: Mutex::default(),
        });
        known.insert(name, Arc::downgrade(&series));
        series
    }

    fn known(&self) -> MutexGuard<'_, HashMap<Arc<str>, Weak<HostSeries>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HostSeries {
    /// A call has ended.
    pub fn called(&self, outcome: &'static str, took: Duration) {
        let make = || {
            let labels = Outcome { host: Arc::clone(&self.name), outcome };
            (outcome, self.hosts.calls.get_or_create_owned(&labels))
        };
        self.calls.get_or_make(outcome, make).inc();
        observe(&self.seconds, took);
    }

    /// One of those that call it has put it out of rotation.
    pub fn went_out(&self) {
        self.count(|out| out + 1);
    }

    /// One of those that had put it out has it in rotation again, or calls it no more.
    pub fn came_back(&self) {
        self.count(|out| out.saturating_sub(1));
    }

    /// When the configuration is read again, two pools call the same host for a while.
    fn count(&self, change: impl FnOnce(usize) -> usize) {
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        *out = change(*out);
        self.up.set(i64::from(*out == 0));
    }
}

impl Drop for HostSeries {
    fn drop(&mut self) {
        let mut known = self.hosts.known();
        // Somebody may have begun to call it again meanwhile.
        if known.get(&self.name).is_some_and(|series| series.strong_count() > 0) {
            return;
        }
        known.remove(&self.name);
        let labels = Host { host: Arc::clone(&self.name) };
        self.hosts.seconds.remove(&labels);
        self.hosts.up.remove(&labels);
        for outcome in self.calls.keys() {
            self.hosts.calls.remove(&Outcome { host: Arc::clone(&self.name), outcome });
        }
    }
}
