//! A closed loop of clients for the benchmarks: each sends the same photo again as soon as it has its answer.
//!
//! `load URL FILE CLIENTS SECONDS [LEAST]`; goes on past SECONDS until LEAST answers are there. Prints JSON.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;

const BOUNDARY: &str = "----benchmark-7f3a9c";
/// However slow the answers are.
const AT_MOST: Duration = Duration::from_secs(60);

fn form(photo: &[u8]) -> Bytes {
    let head = format!(
        "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"image\"; filename=\"photo\"\r\nContent-Type: application/octet-stream\r\n\r\n"
    );
    [head.as_bytes(), photo, format!("\r\n--{BOUNDARY}--\r\n").as_bytes()].concat().into()
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [url, file, clients, seconds, rest @ ..] = &arguments[..] else {
        return Err("usage: load URL FILE CLIENTS SECONDS [LEAST]".into());
    };
    let clients: usize = clients.parse()?;
    let least: usize = rest.first().map_or(Ok(0), |least| least.parse())?;
    let body = form(&std::fs::read(file)?);
    let begin = Instant::now();
    let until = begin + Duration::from_secs_f64(seconds.parse()?);
    let answered = Arc::new(AtomicUsize::new(0));
    let client = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(clients).build()?;
    let each = (0..clients).map(|_| {
        let (client, url, body, answered) = (client.clone(), url.clone(), body.clone(), Arc::clone(&answered));
        tokio::spawn(async move {
            let (mut times, mut failures) = (Vec::new(), Vec::new());
            loop {
                let now = Instant::now();
                let is_over = now >= until && answered.load(Ordering::Relaxed) >= least;
                if is_over || now >= begin + AT_MOST {
                    return (times, failures);
                }
                let request = client
                    .post(&url)
                    .header("content-type", format!("multipart/form-data; boundary={BOUNDARY}"))
                    .body(body.clone());
                let outcome = async { request.send().await?.error_for_status()?.bytes().await }.await;
                answered.fetch_add(1, Ordering::Relaxed);
                match outcome {
                    Ok(_) => times.push(now.elapsed()),
                    Err(error) => failures.push(error.to_string()),
                }
            }
        })
    });
    let (mut times, mut failures) = (Vec::new(), Vec::new());
    for client in each.collect::<Vec<_>>() {
        let (more, failed) = client.await?;
        times.extend(more);
        failures.extend(failed);
    }
    times.sort();
    let at = |share: f64| times.get((times.len() as f64 * share) as usize).or(times.last());
    let milliseconds = |time: Option<&Duration>| time.map_or(f64::NAN, |time| time.as_secs_f64() * 1e3);
    let report = serde_json::json!({
        "answers": times.len(),
        "failures": failures.len(),
        "first_failure": failures.first(),
        "seconds": begin.elapsed().as_secs_f64(),
        "p50_ms": milliseconds(at(0.5)),
        "p99_ms": milliseconds(at(0.99)),
    });
    println!("{report}");
    Ok(())
}
