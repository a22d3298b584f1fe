#!/usr/bin/env bash
# Prints what applying rendered manifests would change since the release before: images, settings, everything.
#
#   k8s/pipeline/diff.sh OVERLAY REGISTRY MANIFESTS
#
# The release before is the last tag v* below HEAD, with the images that the pipeline pushed for it: they are tagged with its
# commit. Where there was none, all is new. Needs git with its history, kubectl, and docker with buildx (DOCKER names another
# that takes the same commands).
set -euo pipefail

fail() {
    printf 'diff: %s\n' "$*" >&2
    exit 64
}

[ $# = 3 ] || fail "OVERLAY REGISTRY MANIFESTS"
overlay=$1 registry=$2 manifests=$(realpath "$3")
here=$(realpath "$(dirname "${BASH_SOURCE[0]}")")
cd "$here/../.."

pushed() {
    local digest
    digest=$("${DOCKER:-docker}" buildx imagetools inspect "$registry/$1:$2" --format '{{.Manifest.Digest}}') || return
    printf '%s/%s@%s' "$registry" "$1" "$digest"
}

before=$(mktemp -d)
trap 'rm -rf "$before"' EXIT
: >"$before/manifests.yaml"

if ! tag=$(git describe --tags --abbrev=0 --match 'v*' HEAD^ 2>/dev/null); then
    tag='no release'
else
    commit=$(git rev-parse "$tag^{commit}")
    if spotter=$(pushed spotter "$commit") && detector=$(pushed detector "$commit"); then
        git archive "$commit" k8s | tar --extract --directory "$before"
        "$here/render.sh" "$overlay" "$spotter" "$detector" "$before/k8s" >"$before/manifests.yaml"
    else
        tag="$tag, whose images are not in $registry"
    fi
fi

# 1 says that there is a difference.
diff --unified --label "$tag" --label now "$before/manifests.yaml" "$manifests" || [ $? = 1 ]
