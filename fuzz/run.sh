#!/usr/bin/env bash
# Fuzzes every target, or those that are named: fuzz/run.sh EXECUTIONS [TARGET...]
#
# Starts from fuzz/seeds/TARGET and what earlier runs found (fuzz/corpus/TARGET). What breaks a target is written to
# fuzz/artifacts/TARGET. Ends with a table, and with 1 where anything broke. docs/FUZZING.md says what to do then.
# FUZZ_FEATURES=turbojpeg puts the C decoder in, which takes cmake and nasm; FUZZ_MAX_LEN is the longest input, in bytes.
set -euo pipefail
cd "$(dirname "$0")"

runs=${1:?how many executions of each target}
shift
targets=("$@")
if [ ${#targets[@]} -eq 0 ]; then
  targets=(image multipart json request signature prediction labels config)
fi
# Half an hour each at most, however slow the machine. An input may take 5 s here, which is a second on a machine that has
# nothing else to do.
limits=(-max_total_time="${FUZZ_SECONDS:-1800}" -timeout=5 -rss_limit_mb=1024 -max_len="${FUZZ_MAX_LEN:-4096}")

# What cargo-fuzz would set, with a compiler of the stable channel; the target is named so that build scripts go without.
export RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares"
# A backtrace takes more memory than a target may have.
export RUST_BACKTRACE=0
host=$(rustc --print host-tuple)
build=${CARGO_TARGET_DIR:-$PWD/target}
# What is fuzzed is what is shipped: the same versions of everything, and beside them what fuzzing alone needs.
cp ../Cargo.lock Cargo.lock
${CARGO:-cargo} build --release --target "$host" --target-dir "$build" --features "${FUZZ_FEATURES:-}"

broken=0
table=$(printf '%-10s %12s %9s  %s' target executions coverage result)
for target in "${targets[@]}"; do
  mkdir -p "corpus/$target" "artifacts/$target"
  log=artifacts/$target.log
  dictionary=()
  [ -e "dictionaries/$target" ] && dictionary=(-dict="dictionaries/$target")
  result=fine
  "$build/$host/release/$target" "corpus/$target" "seeds/$target" -runs="$runs" "${limits[@]}" "${dictionary[@]}" \
    -artifact_prefix="artifacts/$target/" -print_final_stats=1 2>"$log" || { result="broken, see fuzz/$log"; broken=1; }
  executed=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
  coverage=$(grep -o 'cov: [0-9]*' "$log" | tail -1 | cut -d' ' -f2)
  table+=$(printf '\n%-10s %12s %9s  %s' "$target" "${executed:-0}" "${coverage:-0}" "$result")
  echo "$target: ${executed:-0} executions, $result"
done
printf '\n%s\n' "$table"
exit $broken
