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

/// How often tasks of this runtime have been polled for how long, as `[at most so many microseconds, polls]`; the last has no
/// bound. Tokio tells only where it is built with `--cfg tokio_unstable` (`benches/poll_times.py`).
#[cfg(tokio_unstable)]
fn polls(runtime: &tokio::runtime::Handle) -> serde_json::Value {
    let metrics = runtime.metrics();
    let buckets = (0..metrics.poll_time_histogram_num_buckets()).map(|bucket| {
        let end = metrics.poll_time_histogram_bucket_range(bucket).end.as_secs_f64() * 1e6;
        let polls: u64 =
            (0..metrics.num_workers()).map(|worker| metrics.poll_time_histogram_bucket_count(worker, bucket)).sum();
        serde_json::json!([end, polls])
    });
    buckets.collect()
}

#[cfg(not(tokio_unstable))]
fn polls(_: &tokio::runtime::Handle) -> serde_json::Value {
    serde_json::Value::Null
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    #[cfg(tokio_unstable)]
    runtime.enable_metrics_poll_time_histogram();
    #[cfg(tokio_unstable)]
    runtime.metrics_poll_time_histogram_configuration(tokio::runtime::HistogramConfiguration::log(
        tokio::runtime::LogHistogram::default(),
    ));
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
    let runtime = tokio::runtime::Handle::current();
    std::thread::spawn(move || {
        for _ in std::io::stdin().lock().lines().map_while(Result::ok) {
            let report = serde_json::json!({
                "task": task.report(), "thread": thread.report(), "polls": polls(&runtime),
            });
            println!("{report}");
        }
        std::process::exit(0);
    });
    listening.serve(std::future::pending(), settings.shutdown()).await?;
    Ok(())
}
