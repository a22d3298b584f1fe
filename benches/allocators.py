"""What the memory allocator does to spotter: `allocators.py`, after `make bench` has built what it runs.

glibc's, as it is and with its variables, against others preloaded (Debian: libjemalloc2, libmimalloc2.0): memory at most and
after a burst of 64 clients with 12 MP photos, and the processor time of small and of large ones.
"""

import time
from pathlib import Path

from bench import C, Bench, ROOT

LIBRARIES = Path("/usr/lib/x86_64-linux-gnu")
WAYS = {
    "glibc": {},
    "glibc, MALLOC_ARENA_MAX=2": {"MALLOC_ARENA_MAX": "2"},
    "glibc, MALLOC_MMAP_THRESHOLD_=1048576": {"MALLOC_MMAP_THRESHOLD_": "1048576"},
    "glibc, MALLOC_TRIM_THRESHOLD_=33554432": {"MALLOC_TRIM_THRESHOLD_": "33554432", "MALLOC_MMAP_THRESHOLD_": "33554432"},
    "jemalloc": {"LD_PRELOAD": str(LIBRARIES / "libjemalloc.so.2")},
    "mimalloc": {"LD_PRELOAD": str(LIBRARIES / "libmimalloc.so.2")},
}


def main() -> None:
    bench = Bench(ROOT / "target" / "bench", quick=False)
    rows = []
    with bench.model_server() as model:
        for way, environment in WAYS.items():
            with bench.spotter(C, "--serving", model.url, **environment) as service:
                for photo in ("0.3 MP JPEG", "12 MP JPEG"):
                    bench.load(service, photo, 1, 0.1, least=2)
                small = bench.load(service, "0.3 MP JPEG", 4)
                large = bench.load(service, "12 MP JPEG", 4)
                bench.load(service, "12 MP JPEG", 64, 0.1, least=128)
                peak = service.memory("VmHWM")
                time.sleep(3)
                rows.append([way, f"{small.cpu_ms:.2f}", f"{large.cpu_ms:.1f}", round(peak), round(service.memory("VmRSS"))])
    bench.table(["allocator", "CPU ms, 0.3 MP", "CPU ms, 12 MP", "RSS MiB at most", "3 s after"], rows)


if __name__ == "__main__":
    main()
