#!/usr/bin/env bash
# `make image-test`: lints, builds and runs both images, on a machine without a container engine.
#
# The base images cannot be had everywhere, so they are replaced by stand-ins of the same name that are made from Debian
# packages (debootstrap). They share nothing but the name with the real ones. What is shown: the Dockerfiles build, the
# images run without a shell, as a numbered user, on a read-only root, without capabilities, within a memory limit, and
# the health check works. What is not: that the real bases hold the same libraries, and the real TensorFlow Serving, for
# which the tests' own stand-in answers (tests/e2e/peer).
#
# Takes root, Debian 12 and some gigabytes under target/image-test. SPOTTER_VENV as for the end-to-end tests.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
venv=${SPOTTER_VENV:-$root/target/e2e-venv}
work=$root/target/image-test
debian=$work/debian
suite=bookworm

say() { printf 'image test: %s\n' "$*"; }
fail() {
    say "$*" >&2
    exit 1
}

[ "$(id -u)" = 0 ] || fail "takes root: it mounts and makes namespaces"
[ -x "$venv/bin/hadolint" ] || fail "no hadolint in $venv: run tests/e2e/setup.sh"

tools=(buildah podman runc debootstrap uidmap)
missing=()
for tool in "${tools[@]}"; do
    dpkg-query --show --showformat='${Status}' "$tool" 2>/dev/null | grep --quiet 'ok installed' || missing+=("$tool")
done
if [ "${#missing[@]}" -gt 0 ]; then
    say "installing Debian's ${missing[*]}"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

say "linting"
"$venv/bin/hadolint" "$root/Dockerfile" "$root/k8s/serving/Dockerfile"

mkdir -p "$work"
export BUILDAH_ISOLATION=chroot STORAGE_DRIVER=vfs
# Not shared with podman: each keeps its own books in it.
build() { buildah --root "$work/build" --runroot "$work/build-run" "$@"; }

# What the Dockerfiles call their bases.
base_of() { sed -n "s/^ARG $1=//p" "$2"; }
rust_base=$(base_of RUST_IMAGE "$root/Dockerfile")
runtime_base=$(base_of RUNTIME_IMAGE "$root/Dockerfile")
serving_base=$(base_of SERVING_IMAGE "$root/k8s/serving/Dockerfile")

if [ ! -e "$debian/complete" ]; then
    say "making a Debian $suite to take the stand-ins from (a minute or two)"
    rm -rf "$debian"
    packages=ca-certificates,gcc,g++,libc6-dev,make,cmake,nasm,python3
    # shellcheck disable=SC2016  # apt fills it in.
    mirror=$(apt-get indextargets --format '$(SITE)' | head -n 1)
    debootstrap --variant=minbase --include=$packages $suite "$debian" "${mirror:-http://deb.debian.org/debian}" \
        >"$work/debootstrap.log" 2>&1 || fail "debootstrap failed: $work/debootstrap.log"
    rm -rf "$debian"/var/cache/apt/archives/*.deb
    touch "$debian/complete"
fi

# base NAME FOLDER [buildah config flags]: an image of one layer.
base() {
    local name=$1 folder=$2 container
    shift 2
    ! build inspect --type image "$name" >/dev/null 2>&1 || return 0
    say "making the stand-in for $name"
    container=$(build from scratch)
    build add --quiet "$container" "$folder" / >/dev/null
    [ $# = 0 ] || build config "$@" "$container"
    build commit --quiet --rm "$container" "$name" >/dev/null
}

# Rust's compiler is the machine's own, mounted while it builds; so are its certificates, which a proxy may have added to.
base "$rust_base" "$debian" \
    --env PATH=/usr/local/rust/bin:/usr/sbin:/usr/bin:/sbin:/bin --env CARGO_HOME=/usr/local/cargo

# The C library, GCC's and certificates, as in the real one; no shell.
runtime=$work/runtime
if [ ! -d "$runtime" ]; then
    mkdir -p "$runtime.new/etc/ssl/certs" "$runtime.new/tmp"
    # /lib is a link to /usr/lib in both.
    ln -s usr/lib "$runtime.new/lib"
    ln -s usr/lib64 "$runtime.new/lib64"
    for package in libc6 libgcc-s1; do
        chroot "$debian" dpkg --listfiles $package | sed -n 's,^\(/usr\)\?\(/lib.*\),/usr\2,p'
    done | while read -r file; do
        [ -d "$debian$file" ] || [ ! -e "$debian$file" ] || (cd "$debian" && cp --parents --no-dereference ".$file" "$runtime.new")
    done
    cp "$debian/etc/ssl/certs/ca-certificates.crt" "$runtime.new/etc/ssl/certs/"
    printf 'root:x:0:0::/root:/sbin/nologin\nnonroot:x:65532:65532::/home/nonroot:/sbin/nologin\n' >"$runtime.new/etc/passwd"
    mv "$runtime.new" "$runtime"
fi
base "$runtime_base" "$runtime" --env PATH=/usr/local/bin --user 65532:65532

# Debian with Python and a `tensorflow_model_server` that starts the tests' stand-in, which is mounted when it runs.
serving=$work/serving
if [ ! -d "$serving" ]; then
    cp -a "$debian" "$serving.new"
    install -m 755 "$root/tests/images/tensorflow_model_server" "$serving.new/usr/bin/tensorflow_model_server"
    mv "$serving.new" "$serving"
fi
base "$serving_base" "$serving" --entrypoint '["/usr/bin/tensorflow_model_server"]'

say "building spotter"
# --format docker: the other form has no health check.
build bud --quiet --format docker --pull-never --layers=false \
    --volume "$(rustc --print sysroot):/usr/local/rust:ro" --volume /etc/ssl/certs:/etc/ssl/certs:ro \
    --tag spotter:image-test "$root" >"$work/build-spotter.log" 2>&1 ||
    fail "the build failed: $work/build-spotter.log"

say "building the model image"
models=$work/models
rm -rf "$models" "$work/saved-models"
mkdir -p "$models"
(cd "$root/tests/e2e" && TF_CPP_MIN_LOG_LEVEL=2 "$venv/bin/python" -m peer.saved_models "$work/saved-models" >/dev/null)
cp -r "$work/saved-models/image_tensor/1" "$models/1"
"$venv/bin/python" "$root/k8s/serving/warmup.py" "$models/1" "$root"/tests/photos/*.png
build bud --quiet --format docker --pull-never --layers=false --build-arg MODEL_NAME=detector \
    --file "$root/k8s/serving/Dockerfile" --tag detector:image-test "$models" >"$work/build-detector.log" 2>&1 ||
    fail "the build failed: $work/build-detector.log"

for image in spotter detector; do
    rm -f "$work/$image.tar"
    build push --quiet $image:image-test "docker-archive:$work/$image.tar:$image:image-test"
done

say "running both"
"$venv/bin/python" -m pytest --quiet --config-file="$root/tests/e2e/pytest.ini" --rootdir="$root/tests/e2e" -s \
    "$root/tests/images/test_images.py"
say "all is well; the bases were stand-ins that share only the name with $rust_base, $runtime_base and $serving_base"
