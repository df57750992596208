#!/usr/bin/env bash
# Makes the stack's images on the Docker Engine that DOCKER_HOST names:
#   slipway-base:trixie        Debian from debootstrap; left out when BASE names another image
#   slipway-stack-run:NAME     what apps run on; NAME is the one in controller/buildpacks/stack.yaml
#   slipway-stack-build:NAME   what apps are built in
#
#   BASE=IMAGE         start from this image (Debian trixie) instead of a debootstrap tree
#   MIRROR=URL         Debian mirror, http://deb.debian.org/debian unless set
#   BUILD_NETWORK=NET  network that the builds use, the engine's default unless set
# The debootstrap tree is kept under ${XDG_CACHE_HOME:-~/.cache}/slipway and made again when its recipe changes.
set -euo pipefail
cd "$(dirname "$0")"

suite=trixie
# Packs and images of a stack are published under one name.
name=$(sed -n 's/^name: *//p' ../buildpacks/stack.yaml)
mirror=${MIRROR:-http://deb.debian.org/debian}
cache=${XDG_CACHE_HOME:-$HOME/.cache}/slipway/base

die() {
  printf 'stack-images: %s\n' "$*" >&2
  exit 1
}

step() {
  printf -- '-----> [%3ds] %s\n' "$SECONDS" "$*"
}

command -v docker >/dev/null || die "the docker client is missing (Debian: docker.io)"
docker version >/dev/null 2>&1 || die "no Docker Engine answers at ${DOCKER_HOST:-the default address}; set DOCKER_HOST"

# The classic builder is the one that every supported engine has.
export DOCKER_BUILDKIT=0
network=()
if [[ -n "${BUILD_NETWORK:-}" ]]; then
  network=(--network "$BUILD_NETWORK")
fi

# Prints the path of the archive of a minimal Debian tree, made if the cache does not have it.
base_archive() {
  local key archive work
  key=$({ cat base.sh; printf '%s\n' "$suite" "$mirror"; } | sha256sum | cut -c1-16)
  archive=$cache/$suite-$key.tar
  if [[ ! -s "$archive" ]]; then
    [[ $(id -u) -eq 0 ]] || die "debootstrap needs root; run as root or name an image with BASE="
    command -v debootstrap >/dev/null || die "debootstrap is missing (Debian: debootstrap); or name an image with BASE="
    mkdir -p "$cache"
    work=$(mktemp -d "$cache/.work.XXXXXX")
    # shellcheck disable=SC2064 # the path is wanted as it is now
    trap "rm -rf -- '$work'" EXIT
    step "debootstrap $suite from $mirror (half a minute or more)" >&2
    ./base.sh "$suite" "$mirror" "$work/tree" >"$work/log" 2>&1 || {
      tail -n 20 "$work/log" >&2
      die "debootstrap failed; the end of its log is above"
    }
    tar -C "$work/tree" --numeric-owner --sort=name --one-file-system -cf "$work/tar" .
    mv "$work/tar" "$archive"
    rm -rf -- "$work"
  fi
  printf '%s\n' "$archive"
}

if [[ -z "${BASE:-}" ]]; then
  archive=$(base_archive)
  BASE=slipway-base:$suite
  label=dev.slipway.base=$(basename "$archive" .tar)
  if [[ -z $(docker image ls -q --filter "reference=$BASE" --filter "label=$label") ]]; then
    step "$BASE"
    docker import --change "LABEL $label" --change 'CMD ["bash"]' \
      --change 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' "$archive" "$BASE" >/dev/null
  fi
fi

# A log is shown only when a step fails: apt is talkative.
image() {
  local target=$1 tag=$2 log
  step "$tag"
  log=$(mktemp)
  if ! docker build "${network[@]}" --build-arg "BASE=$BASE" --build-arg "RUN_IMAGE=slipway-stack-run:$name" \
    --build-arg "STACK=$name" -f "$target.Dockerfile" -t "$tag" . >"$log" 2>&1; then
    tail -n 40 "$log" >&2
    rm -f "$log"
    die "$tag could not be built; the end of the log is above"
  fi
  rm -f "$log"
}

image run "slipway-stack-run:$name"
image build "slipway-stack-build:$name"

step "done"
docker image ls --format 'table {{.Repository}}:{{.Tag}}\t{{.Size}}' | grep -E "^(REPOSITORY|slipway-(base:$suite|stack-(run|build):$name)) *"
