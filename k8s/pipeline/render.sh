#!/usr/bin/env bash
# Prints the manifests of an overlay with both images named by digest.
#
#   k8s/pipeline/render.sh OVERLAY SPOTTER@sha256:… DETECTOR@sha256:… [K8S_FOLDER]
#
# Needs kubectl.
set -euo pipefail

fail() {
    printf 'render: %s\n' "$*" >&2
    exit 64
}

[ $# -ge 3 ] || fail "OVERLAY SPOTTER@sha256:… DETECTOR@sha256:… [K8S_FOLDER]"
overlay=$1 spotter=$2 detector=$3
k8s=$(realpath "${4:-$(dirname "${BASH_SOURCE[0]}")/..}")
[ -d "$k8s/overlays/$overlay" ] || fail "no overlay $overlay in $k8s/overlays"

digest='^[^@]+@sha256:[0-9a-f]{64}$'
for image in "$spotter" "$detector"; do
    [[ $image =~ $digest ]] || fail "'$image' is not named by digest: NAME@sha256:…"
done

# pinned NAME IMAGE: a patch of the container NAME in the Deployment NAME, where the overlay has one.
pinned() {
    cat <<END
  - target:
      kind: Deployment
      name: $1
    patch: |-
      apiVersion: apps/v1
      kind: Deployment
      metadata:
        name: $1
      spec:
        template:
          spec:
            containers:
              - name: $1
                image: $2
END
}

# Beside the overlays, because kustomize takes no absolute paths; gone afterwards. The containers are found by their names, and not
# the images by theirs, which begin with whatever registry an overlay, or one of a release before, writes.
folder=$(mktemp -d "$k8s/overlays/.render-XXXXXX")
trap 'rm -rf "$folder"' EXIT
cat >"$folder/kustomization.yaml" <<END
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources:
  - ../$overlay
patches:
$(pinned spotter "$spotter")
$(pinned detector "$detector")
END
manifests=$(kubectl kustomize "$folder")

# Nothing is printed that would run another image than those given.
images=$(sed -n 's/^ *\(- \)\?image: *//p' <<<"$manifests")
[ -n "$images" ] || fail "$overlay has no image"
others=$(grep --invert-match --line-regexp --fixed-strings --regexp "$spotter" --regexp "$detector" <<<"$images") || true
[ -z "$others" ] || fail "$overlay runs $others beside the two images given: pin it here, or take it out of the overlay"
printf '%s\n' "$manifests"
