#!/usr/bin/env bash
# Runs a command, as root, in a mount namespace whose root is an overlay over the machine's, as in a container.
# What it writes goes to the machine's own directories only below /tmp/kiln-test-*/out.
#
#   on-overlay.sh COMMAND ARGUMENT...
set -euo pipefail

inside() {
  # In this mount namespace only.
  top=/mnt
  mount -t tmpfs -o mode=755 tmpfs "$top"
  mkdir "$top/upper" "$top/work" "$top/root"
  mount -t overlay overlay -o "lowerdir=/,upperdir=$top/upper,workdir=$top/work" "$top/root"
  for directory in proc sys dev; do mount --rbind "/$directory" "$top/root/$directory"; done
  # Results, which the caller reads.
  for directory in /tmp/kiln-test-*/out; do mount --bind "$directory" "$top/root$directory" 2>/dev/null || true; done
  cd "$top/root"
  mkdir -p old-root
  pivot_root . old-root
  cd /
  umount -l old-root
  exec "$@"
}

if [ "${1:-}" = --inside ]; then
  shift
  inside "$@"
fi
exec unshare --mount --propagation private bash "$0" --inside "$@"
