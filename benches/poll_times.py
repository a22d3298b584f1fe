"""How long the tasks on the async threads are polled under load, by the runtime's own account: `poll_times.py`, after `make bench`.

Tokio keeps that account only in a build that asks for it:

    RUSTFLAGS="--cfg tokio_unstable" cargo build --locked --release --example stalls --target-dir target/poll-times
"""

import sys
from pathlib import Path

from bench import CORES, ROOT, Bench, Process

SECONDS = 10


def main() -> None:
    stalls = Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "target" / "poll-times" / "release" / "examples" / "stalls")
    bench = Bench(ROOT / "target" / "bench", quick=False)
    with bench.model_server() as model, Process([stalls, model.url], set(CORES)).until_it_names_its_url() as service:
        bench.load(service, "12 MP JPEG", 1, 0.1, least=2)
        before = service.ask()["polls"]
        if before is None:
            raise SystemExit(f"{stalls} was built without --cfg tokio_unstable")
        bench.load(service, "12 MP JPEG", 16, SECONDS)
        after = service.ask()["polls"]
    polls = [(bound, late - early) for (bound, late), (_, early) in zip(after, before, strict=True)]
    total = sum(count for _, count in polls)
    rows, so_far = [], 0
    for bound, count in polls:
        so_far += count
        if count:
            rows.append([f"{bound / 1e3:.3f}", count, f"{100 * so_far / total:.3f} %"])
    bench.table(["polls of at most ms", "polls", "all up to here"], rows)


if __name__ == "__main__":
    main()
