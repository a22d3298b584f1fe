//! spotter's service in this process, with a probe on its async threads: how late a task is woken that sleeps for a
//! millisecond, and how late a thread is that does the same. What the task is later than the thread, other tasks held it up.
//!
//! `stalls http://model-server:port` prints the service's address. Then, for every line that it reads, the delays since the
//! line before, as JSON; ends with its input.

use std::io::BufRead;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use clap::{Args, FromArgMatches};
use spotter::app::{self, Listening};
use spotter::config::Settings;

const PACE: Duration = Duration::from_millis(1);

/// Delays in milliseconds.
#[derive(Default)]
struct Delays(Mutex<Vec<f64>>);

impl Delays {
    fn note(&self, since: Instant) {
        let late = since.elapsed().saturating_sub(PACE).as_secs_f64() * 1e3;
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(late);
    }

    fn report(&self) -> serde_json::Value {
        let mut delays = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        delays.sort_by(f64::total_cmp);
        let at = |share: f64| delays.get((delays.len() as f64 * share) as usize).or(delays.last()).copied();
        serde_json::json!({ "probes": delays.len(), "p50_ms": at(0.5), "p99_ms": at(0.99), "p999_ms": at(0.999) })
    }
}

/// How long each poll of a task takes, by the clock and on its core: what it waits for a core is in the one and not in the other.
/// Tokio tells only where it is built with `--cfg tokio_unstable` (`benches/poll_times.py`).
#[cfg(tokio_unstable)]
mod polls {
    use std::cell::Cell;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::{Duration, Instant};

    use rustix::time::{ClockId, clock_gettime};

    /// Polls of at most 1, 2, 4, ... microseconds, the last without a bound.
    type Histogram = [AtomicU64; 24];

    static BY_CLOCK: Histogram = [const { AtomicU64::new(0) }; 24];
    static ON_CORE: Histogram = [const { AtomicU64::new(0) }; 24];

    thread_local! {
        static BEGIN: Cell<(Instant, Duration)> = Cell::new(now());
    }

    fn now() -> (Instant, Duration) {
        let on_core = clock_gettime(ClockId::ThreadCPUTime);
        (Instant::now(), Duration::new(on_core.tv_sec as u64, on_core.tv_nsec as u32))
    }

    fn count(histogram: &Histogram, took: Duration) {
        let micros = took.as_nanos().div_ceil(1000).max(1);
        let bucket = micros.next_power_of_two().ilog2() as usize;
        histogram[bucket.min(histogram.len() - 1)].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn watch(runtime: &mut tokio::runtime::Builder) {
        runtime.on_before_task_poll(|_| BEGIN.set(now())).on_after_task_poll(|_| {
            let (begin, end) = (BEGIN.get(), now());
            count(&BY_CLOCK, end.0 - begin.0);
            count(&ON_CORE, end.1 - begin.1);
        });
    }

    /// `[at most so many microseconds, polls by the clock, polls on the core]` for each.
    pub(super) fn report() -> serde_json::Value {
        let counts = BY_CLOCK.iter().zip(&ON_CORE).enumerate();
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        counts.map(|(bucket, (clock, core))| serde_json::json!([1 << bucket, count(clock), count(core)])).collect()
    }
}

#[cfg(not(tokio_unstable))]
mod polls {
    pub(super) fn watch(_: &mut tokio::runtime::Builder) {}

    pub(super) fn report() -> serde_json::Value {
        serde_json::Value::Null
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    polls::watch(&mut runtime);
    runtime.enable_all().build()?.block_on(serve())
}

async fn serve() -> Result<(), Box<dyn std::error::Error>> {
    let serving = std::env::args().nth(1).ok_or("usage: stalls http://model-server:port")?;
    let command = Settings::augment_args(clap::Command::new("stalls"));
    let matches = command.get_matches_from(["stalls", "--serving", &serving, "--listen", "127.0.0.1:0"]);
    let settings = Settings::from_arg_matches(&matches)?;
    let listening = Listening::bind(app::build(&settings)?, settings.bounds(), settings.listen).await?;
    println!("http://{}", listening.address());
    let (task, thread) = (Arc::new(Delays::default()), Arc::new(Delays::default()));
    tokio::spawn({
        let task = Arc::clone(&task);
        async move {
            loop {
                let begin = Instant::now();
                tokio::time::sleep(PACE).await;
                task.note(begin);
            }
        }
    });
    std::thread::spawn({
        let thread = Arc::clone(&thread);
        move || {
            loop {
                let begin = Instant::now();
                std::thread::sleep(PACE);
                thread.note(begin);
            }
        }
    });
    std::thread::spawn(move || {
        for _ in std::io::stdin().lock().lines().map_while(Result::ok) {
            let report = serde_json::json!({
                "task": task.report(), "thread": thread.report(), "polls": polls::report(),
            });
            println!("{report}");
        }
        std::process::exit(0);
    });
    listening.serve(std::future::pending(), settings.shutdown()).await?;
    Ok(())
}
