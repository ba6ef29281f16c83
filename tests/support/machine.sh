#!/usr/bin/env bash
# Runs a command where some things of the machine are different, as root; the machine itself stays as it is.
#
#   machine.sh [WORD...] -- COMMAND...
#
#   tun             everybody may open /dev/net/tun, as where a distribution or an administrator says so
#   no-tun          nobody may
#   without=NAME    the program NAME cannot be run
#   file=A:B        the file A is seen in place of B
#   shared          what is mounted arrives wherever a mount was copied to, as where systemd runs
#   etc=DIRECTORY   what is in it is seen in /etc, beside what is there
set -euo pipefail

if [ "${KILN_TEST_MACHINE:-}" != inside ]; then
  exec env KILN_TEST_MACHINE=inside unshare --mount --propagation private bash "$0" "$@"
fi
unset KILN_TEST_MACHINE

# In front of what is there, and gone with the namespace.
instead=/dev/shm/kiln-test-machine
mkdir -p "$instead"
mount -t tmpfs -o mode=0755,dev machine "$instead"

while [ "$1" != -- ]; do
  case $1 in
    tun)
      mknod "$instead/tun" c 10 200
      chmod 0666 "$instead/tun"
      mount --bind "$instead/tun" /dev/net/tun
      ;;
    no-tun)
      : >"$instead/no-tun"
      chmod 0 "$instead/no-tun"
      mount --bind -o ro,nodev "$instead/no-tun" /dev/net/tun
      ;;
    without=*)
      # Through links, as `pasta` is one.
      program=$(realpath "$(command -v "${1#without=}")")
      [ -e "$instead/nothing" ] || : >"$instead/nothing"
      mount --bind "$instead/nothing" "$program"
      ;;
    file=*)
      both=${1#file=}
      mount --bind "${both%%:*}" "$(realpath "${both#*:}")"
      ;;
    shared) mount --make-rshared / ;;
    etc=*) mount -t overlay -o "ro,lowerdir=${1#etc=}:/etc" machine /etc ;;
    *) echo "machine.sh: unknown word $1" >&2; exit 2 ;;
  esac
  shift
done
shift
exec "$@"
