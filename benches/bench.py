"""The benchmarks of docs/PERFORMANCE.md: `make bench`.

Everything that is compared runs in one run, in turns, on the same core; the clients and the model server run on the others.
The figures replace what stands between the markers in docs/PERFORMANCE.md; the rest of that file is written by hand.
"""

import argparse
import dataclasses
import datetime
import json
import os
import platform
import re
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

import onnxruntime
import photos

ROOT = Path(__file__).resolve().parent.parent
PERFORMANCE = ROOT / "docs" / "PERFORMANCE.md"
BEGIN, END = "<!-- measured: written by make bench -->\n", "<!-- end of measured -->\n"

CORES = sorted(os.sched_getaffinity(0))
# What is measured has one core for itself.
MEASURED, OTHERS = {CORES[-1]}, set(CORES[:-1]) or {CORES[0]}
TICK = os.sysconf("SC_CLK_TCK")
MIB = 1 << 20

# As spotter, uvicorn and the programs of this folder announce it.
OWN_ADDRESS = re.compile(r"(?:^|listening +|running on )(http://127\.0\.0\.1:\d+)")

# The Python design lets everybody wait for as long as it takes; compared with it, so does spotter.
PATIENT = ["--max-queue-ms", "60000", "--request-timeout-ms", "120000"]

# Photos whose decode and resize are measured by themselves, with the bounds of their distance to that.
LIMITED = {"12 MP JPEG": ("≤ 1.8", "≤ 1.15"), "3 MP JPEG": None, "0.3 MP JPEG": ("≤ 1.7", "≤ 1.4")}

PYTHON, RUST, C = "Python design", "spotter, all Rust", "spotter, C decoder"
# Of the same parts as spotter, without a single check.
MINIMAL_RUST, MINIMAL_C = "minimal gateway, all Rust", "minimal gateway, C decoder"

# What spotter tells glibc's allocator, for those of the same parts.
TUNABLES = re.search(r'"(glibc\.malloc\.[^"]*)"', (ROOT / "src" / "cli" / "allocator.rs").read_text())[1]


def say(text: str) -> None:
    print(f"[{time.monotonic() - STARTED:4.0f} s] {text}", flush=True)


STARTED = time.monotonic()


class Process:
    """A process on cores of its own, ended with the block."""

    def __init__(self, command: list, cores: set[int] = MEASURED, **environment: str):
        self.child = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=ROOT / "benches",
            env=os.environ | environment,
            preexec_fn=lambda: os.sched_setaffinity(0, cores),
        )
        self.url = ""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.child.send_signal(signal.SIGTERM)
        try:
            self.child.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()

    def until_it_names_its_url(self):
        """Reads its output up to its own address; that of the model server may come before."""
        seen = []
        for line in self.child.stdout:
            seen.append(line)
            if own := OWN_ADDRESS.search(line):
                self.url = own[1]
                return self
        raise SystemExit(f"{self.child.args} ended without an address:\n{''.join(seen)}")

    def ask(self) -> dict:
        """One line there, one line of JSON back."""
        self.child.stdin.write("\n")
        self.child.stdin.flush()
        return json.loads(self.child.stdout.readline())

    def processor_seconds(self) -> float:
        fields = Path(f"/proc/{self.child.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICK

    def forget_peak(self) -> None:
        """VmHWM is what is resident from now on."""
        Path(f"/proc/{self.child.pid}/clear_refs").write_text("5")

    def memory(self, key: str) -> float:
        """MiB resident: VmRSS now, VmHWM at most so far, or since the peak was forgotten."""
        for line in Path(f"/proc/{self.child.pid}/status").read_text().splitlines():
            if line.startswith(key + ":"):
                return int(line.split()[1]) / 1024
        raise KeyError(key)


@dataclasses.dataclass
class Sample:
    """One load, as its client and the kernel saw it."""

    cpu_ms: float
    per_second: float
    p50_ms: float
    p99_ms: float
    rss_mib: float


@dataclasses.dataclass
class Turns:
    """Services loaded one after the other, several rounds of it.

    Ratios are of figures of the same round, and of those the median: a machine that others use as well is not as fast in the
    next round as in this one.
    """

    rounds: dict[str, list[Sample]]
    limits: list[float]
    """CPU ms of the decode and the resize alone, one a round where they are measured."""

    def of(self, name: str) -> Sample:
        """Of each figure the median."""
        fields = [field.name for field in dataclasses.fields(Sample)]
        return Sample(*(statistics.median(getattr(sample, field) for sample in self.rounds[name]) for field in fields))

    def ratio(self, over: str, under: str, field: str = "cpu_ms") -> float:
        pairs = zip(self.rounds[over], self.rounds[under], strict=True)
        return statistics.median(getattr(one, field) / getattr(other, field) for one, other in pairs)

    def beyond_limit(self, name: str) -> float:
        return statistics.median(sample.cpu_ms / limit for sample, limit in zip(self.rounds[name], self.limits, strict=True))


class Bench:
    def __init__(self, binaries: Path, quick: bool):
        self.binaries = binaries
        self.seconds = 0.5 if quick else 1.5
        self.rounds = 1 if quick else 5
        self.quick = quick
        self.photos = photos.make(ROOT / "target" / "bench" / "photos")
        self.lines: list[str] = []
        # Figure, goal for the all-Rust build and for the one with the C decoder, found.
        self.goals: list[tuple[str, str, str]] = []

    # Processes.

    def spotter(self, kind: str, *arguments, **environment: str) -> Process:
        binary = self.binaries / ("spotter-c" if kind == C else "spotter")
        command = [binary, "serve", "--listen", "127.0.0.1:0", "--log", "warn", *PATIENT, *arguments]
        return Process(command, **environment).until_it_names_its_url()

    def minimal(self, kind: str, model_server: str) -> Process:
        binary = self.binaries / ("minimal_gateway-c" if kind == MINIMAL_C else "minimal_gateway")
        return Process([binary, model_server], GLIBC_TUNABLES=TUNABLES).until_it_names_its_url()

    def python(self, service: str, **environment: str) -> Process:
        # The model server's address has no scheme for grpcio.
        command = [sys.executable, "-m", "uvicorn", f"{service}:app", "--port", "0", "--no-access-log"]
        quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "OMP_NUM_THREADS": "1"}
        return Process(command, **quiet, **environment).until_it_names_its_url()

    def model_server(self, form: str = "pixels") -> Process:
        return Process([self.binaries / "model_server", form], OTHERS).until_it_names_its_url()

    # Loads.

    def load(self, service: Process, photo: str, clients: int, seconds: float | None = None, least: int = 8) -> Sample:
        """Loads a service and reads what it cost."""
        command = [self.binaries / "load", f"{service.url}/v1/detect", self.photos[photo], clients, seconds or self.seconds, least]
        before = service.processor_seconds()
        with Process(command, OTHERS) as client:
            output = client.child.communicate()[0]
        spent = service.processor_seconds() - before
        report = json.loads(output)
        if report["failures"]:
            raise SystemExit(f"{service.child.args}: {report}")
        answers = report["answers"]
        return Sample(
            cpu_ms=spent / answers * 1e3,
            per_second=answers / report["seconds"],
            p50_ms=report["p50_ms"],
            p99_ms=report["p99_ms"],
            rss_mib=service.memory("VmRSS"),
        )

    def in_turns(self, services: dict[str, Process], photo: str, clients: int, *, limit_at: int | None = None) -> Turns:
        """Each service loaded in turn, and for this side of the picture the limit measured beside them, several rounds of it."""
        turns = Turns({name: [] for name in services}, [])
        for service in services.values():
            service.forget_peak()
            self.load(service, photo, 1, 0.1, least=2)
        for _ in range(self.rounds):
            if limit_at is not None:
                turns.limits.append(self.limit(photo, limit_at))
            for name, service in services.items():
                turns.rounds[name].append(self.load(service, photo, clients))
        return turns

    def limit(self, photo: str, max_side: int) -> float:
        command = [self.binaries / "limit", self.photos[photo], str(max_side), str(self.seconds)]
        pin = lambda: os.sched_setaffinity(0, MEASURED)  # noqa: E731
        return float(subprocess.run(command, check=True, capture_output=True, text=True, preexec_fn=pin).stdout)

    # Text.

    def write(self, *lines: str) -> None:
        for line in lines:
            print(line, flush=True)
        self.lines.extend(lines)

    def table(self, head: list[str], rows: list[list]) -> None:
        shown = lambda cells: "| " + " | ".join(str(cell) for cell in cells) + " |"  # noqa: E731
        self.write("", shown(head), shown(["---"] * len(head)), *map(shown, rows), "")

    def goal(self, figure: str, bounds: tuple[str, str], found: tuple[float, float]) -> None:
        """A row of the table of goals; a bound is written as it reads: `≥ 5.5`."""
        cells = []
        for bound, value in zip(bounds, found, strict=True):
            sign, number = bound.split()[:2]
            holds = value >= float(number) if sign == "≥" else value <= float(number)
            cells.append(f"{bound}: {digits(value)} {'holds' if holds else '**falls short**'}")
        self.goals.append((figure, *cells))

    # The parts.

    def gateway(self) -> dict[str, Turns]:
        self.write("### Gateway: photo in, Predict out, boxes back", "")
        self.write(
            f"4 clients in a closed loop, multipart forms, `--max-side 1024`, one core; {self.rounds} turns of {self.seconds:g} s, "
            f"of figures the median, of ratios the median of those within a round. The model server answers at once."
        )
        found, rows = {}, []
        names = ["0.3 MP JPEG", "3 MP JPEG", "12 MP JPEG", "3 MP progressive JPEG", "3 MP PNG"]
        with self.model_server() as model:
            address = model.url
            with (
                self.python("article_service", SERVING=address.removeprefix("http://")) as python,
                self.spotter(RUST, "--serving", address) as rust,
                self.spotter(C, "--serving", address) as c,
                self.minimal(MINIMAL_RUST, address) as minimal_rust,
                self.minimal(MINIMAL_C, address) as minimal_c,
            ):
                of_all_formats = {PYTHON: python, RUST: rust, C: c}
                of_jpeg = of_all_formats | {MINIMAL_RUST: minimal_rust, MINIMAL_C: minimal_c}
                for photo in names:
                    services = of_jpeg if photo.endswith("JPEG") else of_all_formats
                    say(f"gateway: {photo}")
                    sent = {}
                    for name, service in services.items():
                        model.ask()
                        self.load(service, photo, 1, 0.1, least=2)
                        received = model.ask()
                        sent[name] = received["bytes"] / received["predicts"]
                    turns = self.in_turns(services, photo, 4, limit_at=1024 if photo in LIMITED else None)
                    found[photo] = turns
                    for name in services:
                        sample = turns.of(name)
                        rows.append([
                            photo, name, digits(sample.cpu_ms), digits(turns.ratio(PYTHON, name)),
                            digits(sample.per_second), digits(sample.p50_ms), digits(sample.p99_ms),
                            f"{sent[name] / 1e6:.2f}", round(service_peak(services[name])),
                        ])
                    if photo == "12 MP JPEG":
                        self.sent_1024 = sent
            say("gateway: max_side 640")
            with self.spotter(RUST, "--serving", address, "--max-side", "640") as small:
                model.ask()
                self.load(small, "12 MP JPEG", 1, 0.1, least=2)
                received = model.ask()
                self.sent_640 = received["bytes"] / received["predicts"]
        self.table(
            ["photo", "service", "CPU ms a request", "Python ÷ this", "requests/s", "p50 ms", "p99 ms", "MB to the model", "peak RSS MiB"],
            rows,
        )
        for photo, bounds in {"12 MP JPEG": ("≥ 5.5", "≥ 9"), "3 MP JPEG": ("≥ 2.8", "≥ 3.7"), "0.3 MP JPEG": ("≥ 2.7", "≥ 3.3")}.items():
            ratio = tuple(found[photo].ratio(PYTHON, kind) for kind in (RUST, C))
            self.goal(f"CPU per {photo}, Python design ÷ spotter", bounds, ratio)
        ratio = tuple(found["0.3 MP JPEG"].ratio(kind, PYTHON, "per_second") for kind in (RUST, C))
        self.goal("requests per second, 0.3 MP JPEG, spotter ÷ Python design", ("≥ 2.7", "≥ 3.3"), ratio)
        for photo in ("12 MP JPEG", "3 MP JPEG", "0.3 MP JPEG"):
            pairs = ((MINIMAL_RUST, RUST), (MINIMAL_C, C))
            ratio = tuple(found[photo].ratio(minimal, kind) for minimal, kind in pairs)
            self.goal(f"CPU per {photo}, minimal gateway ÷ spotter", ("≥ 1", "≥ 1"), ratio)
        bytes_1024 = self.sent_1024[PYTHON] / self.sent_1024[RUST]
        bytes_640 = self.sent_1024[PYTHON] / self.sent_640
        self.goal("bytes to the model server, 12 MP, max_side 1024", ("≥ 15", "≥ 15"), (bytes_1024, bytes_1024))
        self.goal("bytes to the model server, 12 MP, max_side 640", ("≥ 38", "≥ 38"), (bytes_640, bytes_640))

        say("gateway: a model that takes files")
        with self.model_server() as model, self.model_server("files") as files:
            with (
                self.python("article_service", SERVING=model.url.removeprefix("http://")) as python,
                self.spotter(RUST, "--serving", files.url) as rust,
                self.spotter(C, "--serving", files.url) as c,
            ):
                turns = self.in_turns({PYTHON: python, RUST: rust, C: c}, "12 MP JPEG", 4)
        self.write("A model that takes encoded files is sent the client's own bytes: no pixel is decoded.")
        rows = []
        for name in (RUST, C):
            sample = turns.of(name)
            rows.append([name, f"{sample.cpu_ms:.2f}", digits(turns.ratio(PYTHON, name)), digits(sample.per_second)])
        self.table(["12 MP JPEG", "CPU ms a request", "Python design with pixels ÷ this", "requests/s"], rows)
        ratio = tuple(turns.ratio(PYTHON, kind) for kind in (RUST, C))
        self.goal("encoded-string model, CPU per 12 MP JPEG", ("≥ 100", "≥ 100"), ratio)
        return found

    def distance(self, found: dict[str, Turns]) -> None:
        self.write("### Distance to the limit", "")
        self.write(
            "The limit: libjpeg-turbo's scaled decode and the resize to 1024, in a loop, without a service around it, "
            "in turns with the services above."
        )
        rows = []
        for photo, bound in LIMITED.items():
            ratios = tuple(found[photo].beyond_limit(kind) for kind in (RUST, C))
            rows.append([photo, f"{statistics.median(found[photo].limits):.2f}", *map(digits, ratios)])
            if bound:
                self.goal(f"CPU per {photo} ÷ limit", bound, ratios)
        self.table(["photo", "limit, CPU ms", f"{RUST} ÷ limit", f"{C} ÷ limit"], rows)

    def embedded(self) -> None:
        self.write("### Embedded: the detector in the process", "")
        self.write("NanoDet-g 416 on one core, 2 clients; the same weights behind FastAPI and ONNX Runtime. `--onnx-runtime` is the library of the Python service.")
        other = "FastAPI + ONNX Runtime"
        library = next((Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.so*"))
        rows = []
        model = str(ROOT / "models" / "nanodet_g_416.onnx")
        with (
            self.python("onnx_service", MODEL=model) as python,
            self.spotter(RUST) as rust,
            self.spotter(C) as c,
            self.spotter(RUST, "--onnx-runtime", library) as rust_by_library,
            self.spotter(C, "--onnx-runtime", library) as c_by_library,
        ):
            services = {other: python, RUST: rust, C: c}
            services |= {f"{kind}, --onnx-runtime": service for kind, service in {RUST: rust_by_library, C: c_by_library}.items()}
            for photo in ["0.3 MP JPEG", "3 MP JPEG"]:
                say(f"embedded: {photo}")
                turns = self.in_turns(services, photo, 2)
                for name in services:
                    sample = turns.of(name)
                    rows.append([
                        photo, name, digits(sample.cpu_ms), digits(turns.ratio(other, name)),
                        digits(sample.per_second), digits(sample.p50_ms), round(sample.rss_mib),
                    ])
                if photo == "0.3 MP JPEG":
                    built_in = tuple(turns.ratio(other, kind) for kind in (RUST, C))
                    by_library = tuple(turns.ratio(other, f"{kind}, --onnx-runtime") for kind in (RUST, C))
        self.table(["photo", "service", "CPU ms a request", "ONNX Runtime ÷ this", "requests/s", "p50 ms", "RSS MiB"], rows)
        self.goal("embedded, CPU per image, ONNX Runtime service ÷ spotter --onnx-runtime", ("≥ 1", "≥ 1"), by_library)
        self.goal("embedded, CPU per image, ONNX Runtime service ÷ spotter with its own engine", ("≥ 1", "≥ 1"), built_in)

    def growth(self) -> None:
        self.write("### Growth", "")
        self.write("With the number of clients, 3 MP JPEG:")
        clients = [1, 8, 64] if self.quick else [1, 4, 16, 64, 256]
        sizes = ["0.1 MP JPEG", "0.3 MP JPEG", "1 MP JPEG", "3 MP JPEG", "12 MP JPEG", "48 MP JPEG"]
        rows = []
        with self.model_server() as model:
            for count in clients:
                say(f"growth: {count} clients")
                row = [count]
                with (
                    self.python("article_service", SERVING=model.url.removeprefix("http://")) as python,
                    self.spotter(RUST, "--serving", model.url) as rust,
                ):
                    for service in (rust, python):
                        self.load(service, "3 MP JPEG", 1, 0.1, least=2)
                        sample = self.load(service, "3 MP JPEG", count, self.seconds, least=count)
                        row += [digits(sample.cpu_ms), digits(sample.p50_ms), digits(sample.p99_ms), round(service_peak(service))]
                rows.append(row)
            head = ["clients", "spotter CPU ms", "p50 ms", "p99 ms", "peak RSS MiB", "Python CPU ms", "p50 ms", "p99 ms", "peak RSS MiB"]
            self.table(head, rows)
            self.write("With the size of the photo, one client:")
            rows = []
            for photo in sizes:
                say(f"growth: {photo}")
                row = [photo]
                with (
                    self.python("article_service", SERVING=model.url.removeprefix("http://")) as python,
                    self.spotter(RUST, "--serving", model.url) as rust,
                ):
                    for service in (rust, python):
                        self.load(service, "0.1 MP JPEG", 1, 0.1, least=2)
                        sample = self.load(service, photo, 1, self.seconds, least=4)
                        row += [digits(sample.cpu_ms), digits(sample.p50_ms), digits(sample.p99_ms), round(service_peak(service))]
                rows.append(row)
            self.table(["photo", *head[1:]], rows)

    def memory(self) -> None:
        self.write("### Memory: 64 concurrent uploads of 12 MP", "")
        rows, peaks = [], {}
        with self.model_server() as model:
            for name in (RUST, C, PYTHON):
                say(f"memory: {name}")
                if name == PYTHON:
                    service = self.python("article_service", SERVING=model.url.removeprefix("http://"))
                else:
                    service = self.spotter(name, "--serving", model.url)
                with service:
                    self.load(service, "0.1 MP JPEG", 1, 0.1, least=2)
                    idle = service.memory("VmRSS")
                    self.load(service, "12 MP JPEG", 64, 0.1, least=64)
                    peaks[name] = service_peak(service)
                    time.sleep(5)
                    rows.append([name, round(idle), round(peaks[name]), round(service.memory("VmRSS"))])
        self.table(["service", "RSS MiB before", "at most", "5 s after"], rows)
        # In MB, as the goal has it.
        self.goal("peak RSS, 64 concurrent 12 MP uploads, MB", ("≤ 400", "≤ 400"), tuple(peaks[kind] * MIB / 1e6 for kind in (RUST, C)))

    def stalls(self) -> None:
        say("stalls")
        self.write("### Async threads under load", "")
        self.write(
            "A task that sleeps for a millisecond on the async threads, and a thread that does the same, both in spotter's "
            "process under 16 clients with 12 MP photos, on all cores; how late each is woken. What the task is later than the "
            "thread is the time that other tasks kept it waiting."
        )
        with self.model_server() as model:
            with Process([self.binaries / "stalls", model.url], set(CORES)).until_it_names_its_url() as service:
                time.sleep(1)
                idle = service.ask()
                self.load(service, "12 MP JPEG", 16, 2 * self.seconds)
                loaded = service.ask()
        row = lambda name, delays: [name, *(f"{delays[key]:.2f}" for key in ("p50_ms", "p99_ms", "p999_ms"))]  # noqa: E731
        self.table(
            ["late by, ms", "p50", "p99", "p99.9"],
            [
                row("task, idle", idle["task"]), row("thread, idle", idle["thread"]),
                row("task, under load", loaded["task"]), row("thread, under load", loaded["thread"]),
            ],
        )

    def run(self, parts: list[str]) -> None:
        found = {}
        for part in parts:
            if part == "gateway":
                found = self.gateway()
            elif part == "distance":
                self.distance(found)
            else:
                getattr(self, part)()


PARTS = ["gateway", "distance", "embedded", "growth", "memory", "stalls"]


def service_peak(service: Process) -> float:
    return service.memory("VmHWM")


def digits(value: float) -> str:
    """Three digits are what such figures repeat to."""
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"


def machine() -> str:
    processor = next((line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")), "?")
    gigabytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    return f"{processor}, {len(CORES)} cores, {gigabytes:.0f} GiB, Linux {platform.release()}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binaries", type=Path, default=ROOT / "target" / "bench")
    parser.add_argument("--quick", action="store_true", help="short turns, to see that everything runs; writes no file")
    parser.add_argument("--only", choices=PARTS, nargs="+", default=PARTS, help="parts to run; writes no file")
    arguments = parser.parse_args()
    bench = Bench(arguments.binaries.resolve(), arguments.quick)
    load = os.getloadavg()[0]
    bench.run(arguments.only)

    measured, bench.lines = bench.lines, []
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True).stdout.strip()
    bench.write("## Goals", "")
    bench.write(
        f"Measured on {datetime.date.today()} at {commit} on {machine()}; load before the run {load:.1f}; "
        f"{time.monotonic() - STARTED:.0f} s. Ratios compare; milliseconds are this machine's."
    )
    bench.table(["figure", "default build, all Rust", "with the C decoder"], [list(goal) for goal in bench.goals])
    lines = [*bench.lines, "## Figures", "", *measured]
    if not arguments.quick and arguments.only == PARTS:
        text = PERFORMANCE.read_text()
        before, rest = text.split(BEGIN)
        PERFORMANCE.write_text(before + BEGIN + "\n".join(lines).rstrip() + "\n" + END + rest.split(END)[1])
        say(f"written to {PERFORMANCE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
