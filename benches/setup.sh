#!/usr/bin/env bash
# Prepares the benchmarks: a virtual environment with the services that spotter is compared with, and Debian's cmake and
# nasm, which build libjpeg-turbo. Safe to run before every run.
#
#   BENCH_VENV   where the environment goes (default: target/bench-venv in the repository)
#   PYTHON       the interpreter to build it with, 3.11 to 3.13 (default: python3)
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
venv=${BENCH_VENV:-$here/../target/bench-venv}
stamp=$venv/requirements.sha256

say() { printf 'bench setup: %s\n' "$*"; }

for tool in cmake nasm; do
    command -v "$tool" >/dev/null && continue
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        say "$tool is missing, and installing it takes root: apt-get install $tool" >&2
        exit 1
    fi
    say "installing Debian's $tool"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends "$tool" >/dev/null
done

fingerprint() { sha256sum <"$here/requirements.txt"; }
if [ -x "$venv/bin/python" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$(fingerprint)" ]; then
    say "$venv is up to date"
    exit
fi
say "building $venv (about 1.9 GB, a minute or two)"
"${PYTHON:-python3}" -m venv --clear "$venv"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --requirement "$here/requirements.txt"
# Written last, so that an interrupted run starts over.
fingerprint >"$stamp"
