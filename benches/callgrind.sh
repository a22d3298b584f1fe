#!/usr/bin/env bash
# Instructions that a step takes, counted by callgrind: a figure that does not depend on what else the machine does, nor on
# its clock. `make instructions` builds what this runs.
set -euo pipefail

program=${1:?usage: callgrind.sh PROGRAM [STEP...]}
shift
[ $# -gt 0 ] || set -- decode/for_416 prepare/416_nchw_f32

command -v valgrind >/dev/null || {
    echo "callgrind.sh: valgrind is needed; on Debian and Ubuntu: apt-get install valgrind" >&2
    exit 1
}

# Only what the step itself does is counted, on its own thread and on the one on which a JPEG is decoded: callgrind turns counting on
# for each thread by itself.
count() {
    local report
    report=$(RAYON_NUM_THREADS=1 valgrind --tool=callgrind --callgrind-out-file=/dev/null --collect-atstart=no \
        --toggle-collect='*counted_by_callgrind*' --toggle-collect='*jpeg_decoder*decode_internal*' "$program" "$1" 1 2>&1) || {
        printf '%s\n' "$report" >&2
        exit 1
    }
    # Below that it has counted the way to another thread and not what is done there.
    awk '/Collected/ { if ($NF < 1000000) { print "callgrind.sh: only " $NF " instructions" > "/dev/stderr"; exit 1 } print $NF }' <<<"$report"
}

for step in "$@"; do
    printf '%-24s %14d instructions\n' "$step" "$(count "$step")"
done
