#!/usr/bin/env bash
# Whether a model image holds a model that spotter can use: runs it, and `spotter doctor` against it.
#
#   k8s/pipeline/judge.sh SPOTTER_IMAGE DETECTOR_IMAGE
#
# Needs docker (DOCKER names another that takes the same commands).
set -euo pipefail

[ $# = 2 ] || {
    echo "judge: SPOTTER_IMAGE DETECTOR_IMAGE" >&2
    exit 64
}
docker=${DOCKER:-docker}

server=$("$docker" run --detach --read-only --tmpfs /tmp --cap-drop ALL "$2")
trap '"$docker" logs "$server"; "$docker" rm --force "$server" >/dev/null' EXIT

# Loading and warming up take their time; the verdict of the last try is the one that counts.
verdict=1
for _ in $(seq 60); do
    # In the server's own network: nothing is published.
    if "$docker" run --rm --network "container:$server" "$1" doctor \
        --serving http://127.0.0.1:8500 --model detector --labels coco; then
        verdict=0
        break
    fi
    [ "$("$docker" inspect --format '{{.State.Running}}' "$server")" = true ] || break
    sleep 2
done
exit $verdict
