#!/usr/bin/env bash
# From a checkpoint of the TF Object Detection API to a folder that TensorFlow Serving, fetch_model.py and spotter take.
#
#   k8s/serving/export.sh PIPELINE_CONFIG CHECKPOINT_FOLDER TARGET/1 PHOTO...
#
# The photos are what the version is warmed up with before it answers (warmup.py); of the sizes that will come, if the model
# takes any size.
# INPUT_TYPE is image_tensor (default), float_image_tensor or encoded_image_string_tensor; docs/EXPORT.md says which and why.
# OBJECT_DETECTION names the folder research/object_detection of a checkout of tensorflow/models that is installed; beside it
# PYTHON (default: python3) has tensorflow-serving-api (pip install --no-deps tensorflow-serving-api).
set -euo pipefail

fail() {
    printf 'export: %s\n' "$*" >&2
    exit 64
}

[ $# -ge 4 ] || fail "PIPELINE_CONFIG CHECKPOINT_FOLDER TARGET/1 PHOTO..."
config=$1 checkpoint=$2 target=$3 input_type=${INPUT_TYPE:-image_tensor} python=${PYTHON:-python3}
shift 3
exporter=${OBJECT_DETECTION:?"the folder research/object_detection of tensorflow/models"}/exporter_main_v2.py
warmup=$(dirname "${BASH_SOURCE[0]}")/warmup.py
[ -f "$exporter" ] || fail "no $exporter"
[[ $(basename "$target") =~ ^[0-9]+$ ]] || fail "'$target' has to end with the version's number, such as models/1"
[ ! -e "$target" ] || fail "$target is there already: a version never changes, take the next number"
case $input_type in
image_tensor | float_image_tensor | encoded_image_string_tensor) ;;
*) fail "'$input_type' is no input that photos can be sent to: image_tensor, float_image_tensor, encoded_image_string_tensor" ;;
esac
for photo; do
    [ -f "$photo" ] || fail "no photo at $photo"
done
# The exporter itself notices only once the model is built, and does not say where it looked.
[[ $checkpoint == *://* || -f $checkpoint/checkpoint ]] ||
    fail "no $checkpoint/checkpoint, the file that names the newest of a training's checkpoints: give the folder that has it"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$python" "$exporter" --input_type "$input_type" --pipeline_config_path "$config" \
    --trained_checkpoint_dir "$checkpoint" --output_directory "$work"
[ -f "$work/saved_model/saved_model.pb" ] || fail "the exporter left no saved_model/saved_model.pb"
"$python" "$warmup" "$work/saved_model" "$@" >&2
mkdir -p "$(dirname "$target")"
cp -r "$work/saved_model" "$target"
printf '%s: MODEL_SHA256 is %s\n' "$target" "$(sha256sum <"$target/SHA256SUMS" | cut -d' ' -f1)"
