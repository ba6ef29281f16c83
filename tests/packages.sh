#!/usr/bin/env bash
# Installs the Debian packages that a build of kiln and its tests need, where they are missing.
#
#   packages.sh build     what `cargo build` needs
#   packages.sh run       and what it takes to run an image that kiln built
#   packages.sh test      and what the tests need
#
# Without root it only says what is missing.
set -euo pipefail

build=(build-essential ca-certificates)
run=("${build[@]}" busybox-static runc umoci)
test=(
  "${run[@]}"
  docker-registry skopeo               # a real registry, and strangers who read and copy images
  mmdebstrap                           # makes the Debian base images
  qemu-user-static                     # RUN for another machine
  uidmap                               # builds of an ordinary user: subordinate ids
  passt slirp4netns                    # networks of steps: either program makes them
  bzip2 gzip tar xz-utils zstd         # archives that ADD unpacks
  rpm                                  # a real database of rpm, for SBOMs
  python3-venv                         # and in it, from PyPI, readers of SBOMs and provenance, a store of buckets, a service of remote execution: tests/support/python.rs
  git curl openssl procps python3      # git contexts, HTTP, certificates, processes, benches
  nginx                                # TLS, certificates and tokens before a service of remote execution
  openssh-client openssh-server        # key agents, repositories behind ssh
  containerd docker.io podman          # engines that images are loaded into
  golang-go golang-github-containerd-stargz-snapshotter-dev # the verifier of eStargz layers
  e2fsprogs mount passwd util-linux    # a small file system, test users, setpriv and unshare
)

case ${1:-} in
  build) wanted=("${build[@]}") ;;
  run) wanted=("${run[@]}") ;;
  test) wanted=("${test[@]}") ;;
  *) echo "usage: packages.sh build|run|test" >&2; exit 2 ;;
esac

missing=()
for package in "${wanted[@]}"; do
  [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0

if [ "$(id -u)" != 0 ]; then
  echo "packages.sh: install these Debian packages first: apt-get install ${missing[*]}" >&2
  exit 1
fi
echo "installing ${missing[*]}" >&2
# No server is started for being installed: the tests start their own.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  trap 'rm -f "$policy"' EXIT
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod 755 "$policy"
fi
apt-get update -qq >&2
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" </dev/null >&2
