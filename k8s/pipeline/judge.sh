#!/usr/bin/env bash
# Whether a model image holds what an overlay promises: runs it as the overlay does, and `spotter doctor` against it with the
# overlay's own models, labels and label map.
#
#   k8s/pipeline/judge.sh SPOTTER_IMAGE DETECTOR_IMAGE [OVERLAY]
#
# OVERLAY is serving (default), or canary for an image with both versions. Needs docker (DOCKER names another that takes the
# same commands).
set -euo pipefail

[ $# = 2 ] || [ $# = 3 ] || {
    echo "judge: SPOTTER_IMAGE DETECTOR_IMAGE [OVERLAY]" >&2
    exit 64
}
docker=${DOCKER:-docker}
overlays=$(dirname "${BASH_SOURCE[0]}")/../overlays
overlay=$overlays/${3:-serving}
[ -d "$overlay" ] || {
    echo "judge: no overlay ${3:-} in $overlays" >&2
    exit 64
}

server=''
files=$(mktemp -d)
trap '[ -z "$server" ] || { "$docker" logs "$server"; "$docker" rm --force "$server" >/dev/null; }; rm -rf "$files"' EXIT

# What an overlay does not say anew is as in `serving`. Readable to the images' user, who is nobody here.
chmod 755 "$files"
for file in spotter.toml label_map.pbtxt models.config; do
    from=$overlay/$file
    [ -f "$from" ] || from=$overlays/serving/$file
    install -m 644 "$from" "$files/$file"
done

# No network but its own, which only the doctor shares: nothing is published, and nobody is asked.
server=$("$docker" run --detach --read-only --tmpfs /tmp --cap-drop ALL --network none \
    --volume "$files:/etc/detector:ro" --entrypoint /usr/bin/tensorflow_model_server "$2" \
    --port=8500 --model_config_file=/etc/detector/models.config --allow_version_labels_for_unavailable_models=true)

# Loading and warming up take their time; the verdict of the last try is the one that counts.
verdict=1
for _ in $(seq 60); do
    if "$docker" run --rm --read-only --cap-drop ALL --network "container:$server" \
        --volume "$files:/etc/spotter/config:ro" "$1" doctor \
        --config /etc/spotter/config/spotter.toml --serving http://127.0.0.1:8500; then
        verdict=0
        break
    fi
    [ "$("$docker" inspect --format '{{.State.Running}}' "$server")" = true ] || break
    sleep 2
done
exit $verdict
