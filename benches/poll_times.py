"""How long the tasks on the async threads are polled under load, by the clock and on the core: `poll_times.py`, after `make bench`.

Tokio tells when a poll begins and ends only in a build that asks for it:

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
    rows, so_far = [], [0, 0]
    totals = [sum(late[side] - early[side] for late, early in zip(after, before, strict=True)) for side in (1, 2)]
    for late, early in zip(after, before, strict=True):
        counts = [late[side] - early[side] for side in (1, 2)]
        so_far = [all_before + count for all_before, count in zip(so_far, counts, strict=True)]
        if any(counts):
            shares = [f"{100 * part / total:.3f} %" for part, total in zip(so_far, totals, strict=True)]
            rows.append([f"{late[0] / 1e3:.3f}", counts[0], shares[0], counts[1], shares[1]])
    bench.table(["polls of at most ms", "by the clock", "all up to here", "on the core", "all up to here"], rows)


if __name__ == "__main__":
    main()
