//! `cargo bench`: each step of a photo's way by itself, so that a regression names its step.

use criterion::Criterion;

mod steps;

fn main() {
    let mut criterion = Criterion::default().configure_from_args().sample_size(20);
    for (name, make) in steps::STEPS {
        let mut step = make();
        criterion.bench_function(name, |bencher| bencher.iter(&mut step));
    }
    criterion.final_summary();
}
