#!/usr/bin/env bash
# Makes fuzz/seeds/TARGET the smallest set of inputs that reaches what seeds and corpus reach together: fuzz/keep.sh [TARGET...]
#
# Counts which branches are reached and not how often, so that there are hundreds of seeds and not thousands. Inputs that
# once broke something are named regression-* and stay, whatever they reach.
set -euo pipefail
cd "$(dirname "$0")"

targets=("$@")
if [ ${#targets[@]} -eq 0 ]; then
  targets=(image multipart json request signature prediction labels config)
fi
build=${CARGO_TARGET_DIR:-$PWD/target}/$(rustc --print host-tuple)/release

for target in "${targets[@]}"; do
  least=$(mktemp -d)
  "$build/$target" "$least" "seeds/$target" "corpus/$target" -set_cover_merge=1 -use_counters=0 -max_len=4096 \
    2>"artifacts/$target.merge.log"
  mkdir -p "seeds/$target"
  find "seeds/$target" -type f -not -name 'regression-*' -delete
  cp "$least"/* "seeds/$target/"
  rm -r "$least"
  echo "$target: $(find "seeds/$target" -type f | wc -l) seeds, $(du -bc "seeds/$target"/* | tail -1 | cut -f1) bytes"
done
