"""What the memory allocator does to spotter: `allocators.py`, after `make bench` has built what it runs.

glibc's, as it is and as spotter tells it to be, against others preloaded (Debian: libjemalloc2, libmimalloc2.0), those as
they are and told to keep what is freed: the processor time of small and of large photos in turns, then memory at most and
after a burst of 64 clients with 12 MP photos.
"""

import contextlib
import time
from pathlib import Path

from bench import C, ROOT, TUNABLES, Bench, service_peak

LIBRARIES = Path("/usr/lib/x86_64-linux-gnu")
PLAIN = {"GLIBC_TUNABLES": ""}
JEMALLOC = PLAIN | {"LD_PRELOAD": str(LIBRARIES / "libjemalloc.so.2")}
MIMALLOC = PLAIN | {"LD_PRELOAD": str(LIBRARIES / "libmimalloc.so.2")}
WAYS = {
    "glibc": PLAIN,
    "glibc, MALLOC_ARENA_MAX=2": PLAIN | {"MALLOC_ARENA_MAX": "2"},
    "glibc, as spotter has it": {"GLIBC_TUNABLES": TUNABLES},
    "jemalloc": JEMALLOC,
    "jemalloc, oversize_threshold:0,narenas:2": JEMALLOC | {"MALLOC_CONF": "oversize_threshold:0,narenas:2"},
    "mimalloc": MIMALLOC,
    "mimalloc, MIMALLOC_PURGE_DELAY=1000": MIMALLOC | {"MIMALLOC_PURGE_DELAY": "1000"},
}
PHOTOS = ["0.3 MP JPEG", "3 MP JPEG", "12 MP JPEG"]


def main() -> None:
    bench = Bench(ROOT / "target" / "bench", quick=False)
    bench.seconds, bench.rounds = 1.0, 5
    rows = {way: [way] for way in WAYS}
    with bench.model_server() as model:
        with contextlib.ExitStack() as running:
            services = {
                way: running.enter_context(bench.spotter(C, "--serving", model.url, **environment))
                for way, environment in WAYS.items()
            }
            for photo in PHOTOS:
                turns = bench.in_turns(services, photo, 4)
                for way in services:
                    rows[way].append(f"{turns.of(way).cpu_ms:.2f}")
        for way, environment in WAYS.items():
            with bench.spotter(C, "--serving", model.url, **environment) as service:
                bench.load(service, "0.1 MP JPEG", 1, 0.1, least=2)
                bench.load(service, "12 MP JPEG", 64, 0.1, least=128)
                time.sleep(3)
                rows[way] += [round(service_peak(service)), round(service.memory("VmRSS"))]
    cpu = [f"CPU ms, {photo}" for photo in PHOTOS]
    bench.table(["allocator", *cpu, "RSS MiB at most", "3 s after"], list(rows.values()))


if __name__ == "__main__":
    main()
