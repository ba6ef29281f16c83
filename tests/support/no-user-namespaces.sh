#!/usr/bin/env bash
# Runs a command, as root, where no user namespace can be made: inside one that allows none below it.
#
#   no-user-namespaces.sh COMMAND ARGUMENT...
set -euo pipefail

directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
mkfifo "$directory/mapped"

# A new user namespace has no ids; who is in it is nobody until they are mapped from outside, and becomes root by the
# next exec.
unshare --user sh -c 'read -r _ <"$0"; exec sh -c "echo 0 >/proc/sys/user/max_user_namespaces && exec \"\$@\"" sh "$@"' \
  "$directory/mapped" "$@" &
inside=$!
while [ "$(readlink "/proc/$inside/ns/user")" = "$(readlink /proc/self/ns/user)" ]; do sleep 0.01; done
echo '0 0 4294967295' >"/proc/$inside/uid_map"
echo '0 0 4294967295' >"/proc/$inside/gid_map"
echo >"$directory/mapped"
wait "$inside"
