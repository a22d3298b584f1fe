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

# Only what the step itself does is counted; of decode/* jpeg-decoder's share, to one percent. A JPEG is decoded on a thread of its own, for which callgrind turns counting on by itself;
# that which waits for it is left out, because it waits in another way each time.
count() {
    local report counted='*counted_by_callgrind*'
    [[ $1 != decode/* ]] || counted='*jpeg_decoder*decode_internal*'
    report=$(RAYON_NUM_THREADS=1 valgrind --tool=callgrind --callgrind-out-file=/dev/null --collect-atstart=no \
        --toggle-collect="$counted" "$program" "$1" 1 2>&1) || {
        printf '%s\n' "$report" >&2
        exit 1
    }
    awk '/Collected/ { print $NF }' <<<"$report"
}

for step in "$@"; do
    instructions=$(count "$step")
    # With less it has counted the way to another thread and not what is done there.
    if [[ $step == decode/* ]] && ((instructions < 10000000)); then
        echo "callgrind.sh: $step is no decoding of a photo: $instructions instructions" >&2
        exit 1
    fi
    printf '%-24s %14d instructions\n' "$step" "$instructions"
done
