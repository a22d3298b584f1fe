//! What no gateway that looks at pixels can go below: libjpeg-turbo's scaled decode of a file and the resize to what a model
//! is sent, in a loop on one thread.
//!
//! `limit FILE MAX_SIDE SECONDS` prints milliseconds of processor time a photo.

use std::hint::black_box;
use std::time::{Duration, Instant};

mod barest;

use barest::{Outcome, photo};

/// Processor time of this process so far, of which it has only one thread.
fn processor_time() -> Outcome<f64> {
    let nanoseconds = std::fs::read_to_string("/proc/self/schedstat")?;
    Ok(nanoseconds.split(' ').next().ok_or("an empty schedstat")?.parse::<f64>()? / 1e6)
}

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [file, max_side, seconds] = &arguments[..] else { return Err("usage: limit FILE MAX_SIDE SECONDS".into()) };
    let (file, max_side) = (std::fs::read(file)?, max_side.parse()?);
    let time = Duration::from_secs_f64(seconds.parse()?);
    black_box(photo(&file, max_side)?);
    let (begin, before, mut count) = (Instant::now(), processor_time()?, 0);
    while begin.elapsed() < time || count < 5 {
        black_box(photo(&file, max_side)?);
        count += 1;
    }
    println!("{:.3}", (processor_time()? - before) / f64::from(count));
    Ok(())
}
