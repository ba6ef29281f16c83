#!/usr/bin/env bash
# Builds kiln, builds an image with it, and runs that image with other people's tools (umoci and runc).
#
#   bash tests/demo.sh
#
# The base is busybox from Docker Hub where that can be reached, else Debian's static busybox.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf '\n== %s\n' "$*"; }
show() { printf '+ %s\n' "$*"; "$@"; }

bash tests/packages.sh run

say "kiln itself"
cargo build --locked --release
kiln=${CARGO_TARGET_DIR:-target}/release/kiln

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export KILN_ROOT=$work/store

build() { "$kiln" build -t hello:latest --build-arg WHO="$(id -un)" "$@" testdata/demo; }

say "an image"
base=(--build-arg BASE=busybox:latest)
if ! timeout 60 "$kiln" build -q --target base-only "${base[@]}" testdata/demo >/dev/null 2>&1; then
  echo "Docker Hub does not answer: the base is Debian's busybox-static."
  mkdir "$work/programs"
  cp /bin/busybox "$work/programs/"
  base=(--build-arg BASE=busybox-static --build-context programs="$work/programs")
fi
build "${base[@]}"

say "the same again, all of it cached, as an OCI layout for other tools"
build "${base[@]}" -o type=oci,tar=false,dest="$work/layout"

say "what the image does when it runs"
unpack=(umoci unpack)
[ "$(id -u)" = 0 ] || unpack+=(--rootless)
"${unpack[@]}" --image "$work/layout:latest" "$work/bundle"
sed -i 's/"terminal": *true/"terminal": false/' "$work/bundle/config.json"
runc --root "$work/runc" run --bundle "$work/bundle" "kiln-demo-$$" </dev/null
