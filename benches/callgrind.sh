#!/usr/bin/env bash
# Instructions that a step takes, counted by callgrind: a figure that does not depend on what else the machine does, nor on
# its clock. `make instructions` builds what this runs.
set -euo pipefail

program=${1:?usage: callgrind.sh PROGRAM [STEP...]}
shift
[ $# -gt 0 ] || set -- decode/for_416 interpret/nanodet

command -v valgrind >/dev/null || {
    echo "callgrind.sh: valgrind is needed; on Debian and Ubuntu: apt-get install valgrind" >&2
    exit 1
}

# The count of a whole run, in which the step is repeated so often. One thread, because callgrind runs one at a time.
run() {
    local report
    report=$(RAYON_NUM_THREADS=1 valgrind --tool=callgrind --callgrind-out-file=/dev/null "$program" "$1" "$2" 2>&1) || {
        printf '%s\n' "$report" >&2
        exit 1
    }
    awk '/Collected/ { print $NF }' <<<"$report"
}

for step in "$@"; do
    # Start-up falls out of the difference.
    few=$(run "$step" 1)
    more=$(run "$step" 5)
    printf '%-24s %14d instructions\n' "$step" $(((more - few) / 4))
done
