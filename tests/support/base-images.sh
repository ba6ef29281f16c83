#!/usr/bin/env bash
# Makes the base images of the tests as one OCI image layout, once per machine.
#
#   base-images.sh DIRECTORY [busybox] [debian] [arm64]      (all when none is named)
#
# DIRECTORY/layout then has the tags
#   busybox  Debian's static busybox; /etc/passwd and /etc/group hold root only; PATH in Env, Cmd sh; one layer
#   debian   Debian bookworm, minbase and ca-certificates; no Env; Cmd bash; one layer
#   arm64    Debian bookworm for arm64, only unpacked: dash, the C library and busybox; one layer
# What is already there is kept. Processes that run at once wait for each other.
set -euo pipefail

directory=${1:?usage: base-images.sh DIRECTORY [busybox] [debian] [arm64]}
shift
wanted=("$@")
[ ${#wanted[@]} -gt 0 ] || wanted=(busybox debian arm64)

mkdir -p "$directory"
exec 9>"$directory/lock"
flock 9

has() { [ -e "$directory/$1.done" ]; }
static_busybox() { [ -x /bin/busybox ] && ! ldd /bin/busybox >/dev/null 2>&1; }

missing=()
need() { command -v "$1" >/dev/null || missing+=("$2"); }
need umoci umoci
for image in "${wanted[@]}"; do
  case $image in
    busybox) has busybox || static_busybox || missing+=(busybox-static) ;;
    debian | arm64) has "$image" || need mmdebstrap mmdebstrap ;;
    *) echo "base-images.sh: no such base image: $image" >&2; exit 2 ;;
  esac
done
if [ ${#missing[@]} -gt 0 ]; then
  if [ "$(id -u)" != 0 ]; then
    echo "base-images.sh: missing Debian packages: ${missing[*]}" >&2
    exit 3
  fi
  apt-get update -qq >&2
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >&2
fi

layout=$directory/layout
[ -e "$layout/index.json" ] || umoci init --layout "$layout"
scratch=$(mktemp -d "$directory/making.XXXXXX")
trap 'rm -rf "$scratch"' EXIT

# image TAG ROOTFS-TAR CONFIG-OPTION...
image() {
  local tag=$1 rootfs=$2
  shift 2
  umoci new --image "$layout:$tag"
  umoci raw add-layer --image "$layout:$tag" "$rootfs"
  umoci config --image "$layout:$tag" "$@"
  touch "$directory/$tag.done"
}

make_busybox() {
  local root=$scratch/busybox applet
  mkdir -p "$root"/{bin,etc,root,tmp,usr}
  chmod 1777 "$root/tmp"
  cp /bin/busybox "$root/bin/busybox"
  for applet in $(/bin/busybox --list); do
    [ "$applet" = busybox ] || ln -s busybox "$root/bin/$applet"
  done
  echo 'root:x:0:0:root:/root:/bin/sh' >"$root/etc/passwd"
  echo 'root:x:0:' >"$root/etc/group"
  tar --sort=name --mtime=@1700000000 --owner=0 --group=0 --numeric-owner -C "$root" -cf "$scratch/busybox.tar" .
  image busybox "$scratch/busybox.tar" --config.env PATH=/bin:/usr/bin:/sbin:/usr/sbin --config.cmd sh
}

# The mirrors that this host's own apt uses for bookworm, when it is a bookworm; mmdebstrap's default otherwise.
host_mirrors() {
  command -v apt-get >/dev/null || return 0
  apt-get indextargets --format '$(REPO_URI) $(CODENAME) $(COMPONENT)' 'Created-By: Packages' 2>/dev/null |
    awk '$2 ~ /^bookworm(-updates|-security)?$/ && $3 == "main" { print "deb " $1 " " $2 " main" }' | sort -u
}

make_debian() {
  local mirrors=()
  mapfile -t mirrors < <(host_mirrors)
  mmdebstrap --quiet --variant=minbase --include=ca-certificates bookworm "$scratch/debian.tar" \
    ${mirrors[@]+"${mirrors[@]}"} >&2
  image debian "$scratch/debian.tar" --config.cmd bash
}

# Nothing of it is run here: its programs are another machine's.
make_arm64() {
  local mirrors=()
  mapfile -t mirrors < <(host_mirrors)
  mmdebstrap --quiet --architectures=arm64 --variant=extract --include=dash,busybox-static --skip=check/qemu \
    bookworm "$scratch/arm64.tar" ${mirrors[@]+"${mirrors[@]}"} >&2
  image arm64 "$scratch/arm64.tar" --architecture arm64 --config.cmd sh
}

for image in "${wanted[@]}"; do
  has "$image" || "make_$image"
done
