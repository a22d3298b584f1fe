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

# Beside the overlays, because kustomize takes no absolute paths; gone afterwards.
folder=$(mktemp -d "$k8s/overlays/.render-XXXXXX")
trap 'rm -rf "$folder"' EXIT
cat >"$folder/kustomization.yaml" <<END
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources:
  - ../$overlay
images:
  - name: registry.example.com/spotter
    newName: ${spotter%@*}
    digest: ${spotter#*@}
  - name: registry.example.com/detector
    newName: ${detector%@*}
    digest: ${detector#*@}
END
kubectl kustomize "$folder"
