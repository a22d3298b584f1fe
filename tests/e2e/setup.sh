#!/usr/bin/env bash
# Prepares the end-to-end tests: a virtual environment with TensorFlow, the official TensorFlow Serving
# stubs and the test tools, and of Debian a browser, a proxy, tools for load and Prometheus. Safe to run before every
# test run: when nothing has changed it only says so.
#
#   SPOTTER_VENV   where the environment goes (default: target/e2e-venv in the repository)
#   PYTHON         the interpreter to build it with (default: the first of python3, python3.13, ... that fits)
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
venv=${SPOTTER_VENV:-$root/target/e2e-venv}
requirements=$here/requirements.txt
stamp=$venv/requirements.sha256

say() { printf 'e2e setup: %s\n' "$*"; }
fail() {
    say "$*" >&2
    exit 1
}

# Whether Debian packages can be installed here.
apt_get() { [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; }

install_debian() {
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends "$@" >/dev/null
}

# The pinned NumPy needs 3.11, and TensorFlow 2.21 has no wheel above 3.13.
fits() { "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; }

find_python() {
    local candidate candidates=(python3 python3.13 python3.12 python3.11)
    [ -z "${PYTHON:-}" ] || candidates=("$PYTHON")
    for candidate in "${candidates[@]}"; do
        if command -v "$candidate" >/dev/null && fits "$candidate"; then
            command -v "$candidate"
            return
        fi
    done
    return 1
}

need_python() {
    find_python && return
    if [ -z "${PYTHON:-}" ] && apt_get; then
        say "installing Debian's python3 and python3-venv" >&2
        install_debian python3 python3-venv >&2
        hash -r
        find_python && return
    fi
    fail "Python 3.11, 3.12 or 3.13 is needed; python3 is '$(python3 --version 2>/dev/null || echo not there)'." \
        "Install one of them or name it: PYTHON=/path/to/python3.11 $0"
}

make_venv() {
    local python
    python=$(need_python)
    say "building $venv with $("$python" --version) (about 1.8 GB, a minute or two)"
    if ! "$python" -m venv --clear "$venv" 2>/dev/null && apt_get; then
        say "installing Debian's python3-venv"
        install_debian python3-venv
    fi
    [ -x "$venv/bin/pip" ] || "$python" -m venv --clear "$venv" ||
        fail "'$python -m venv' failed. On Debian and Ubuntu: apt-get install python3-venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --requirement "$requirements"
    # Written last, so that an interrupted run starts over.
    fingerprint >"$stamp"
}

fingerprint() { sha256sum <"$requirements"; }

if [ -x "$venv/bin/python" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$(fingerprint)" ]; then
    say "$venv is up to date"
else
    make_venv
fi

# A browser, a proxy, tools that ask too much, and who watches: program, package.
missing=()
while read -r program package; do
    if command -v "$program" >/dev/null; then
        say "$program is there"
    else
        missing+=("$package")
    fi
done <<'TOOLS'
chromium chromium
haproxy haproxy
slowhttptest slowhttptest
h2load nghttp2-client
prometheus prometheus
promtool prometheus
TOOLS

if [ "${#missing[@]}" -gt 0 ]; then
    apt_get || fail "missing, and installing it takes root: apt-get install ${missing[*]}"
    say "installing Debian's ${missing[*]}"
    install_debian "${missing[@]}"
fi

# What builds libjpeg-turbo, for the feature `turbojpeg`.
for tool in cmake nasm; do
    if command -v "$tool" >/dev/null; then
        say "$(command -v "$tool") is there"
    elif apt_get; then
        say "installing Debian's $tool"
        install_debian "$tool"
    else
        fail "$tool is missing, and installing it takes root: apt-get install $tool"
    fi
done

say "run the tests with: $venv/bin/python -m pytest $here"
