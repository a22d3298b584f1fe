//! The process, under the names that Prometheus's own client libraries give these metrics. What the system does not tell is
//! left out.

use std::fs;
use std::sync::atomic::AtomicU64;
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::registry::{Registry, Unit};
use rustix::param::{clock_ticks_per_second, page_size};
use rustix::process::{Resource, getrlimit};

/// Its gauges at this moment. `began` is when it started.
pub(super) fn registry(began: SystemTime) -> Registry {
    let mut registry = Registry::with_prefix("process");
    if let Some(bytes) = resident_bytes() {
        registry.register_with_unit("resident_memory", "Memory that is in use", Unit::Bytes, ConstGauge::new(bytes));
    }
    if let Ok(files) = fs::read_dir("/proc/self/fd") {
        registry.register("open_fds", "Open files and sockets", ConstGauge::new(files.count() as u64));
    }
    if let Some(max) = getrlimit(Resource::Nofile).current {
        registry.register("max_fds", "Files and sockets that may be open", ConstGauge::new(max));
    }
    if let Some(seconds) = cpu_seconds() {
        registry.register_with_unit("cpu", "Time that cores have worked", Unit::Seconds, ConstCounter::new(seconds));
    }
    let start = Gauge::<f64, AtomicU64>::default();
    start.set(began.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64());
    registry.register_with_unit("start_time", "When the process started, since 1970", Unit::Seconds, start);
    registry
}

/// proc(5), /proc/pid/statm: the second number is resident pages.
fn resident_bytes() -> Option<u64> {
    let statm = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(pages * page_size() as u64)
}

/// proc(5), /proc/pid/stat: fields 14 and 15 are ticks in user and kernel mode. The second field may hold blanks, and ends
/// with the last parenthesis.
fn cpu_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    let mut ticks = fields.split_ascii_whitespace().skip(11).map(str::parse::<u64>);
    let (user, system) = (ticks.next()?.ok()?, ticks.next()?.ok()?);
    Some((user + system) as f64 / clock_ticks_per_second() as f64)
}
