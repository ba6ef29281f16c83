#!/usr/bin/env bash
# Makes an ordinary user for tests, as root; prints nothing.
#
#   test-user.sh NAME ranges      with 65536 subordinate user and group ids
#   test-user.sh NAME none        without any
set -euo pipefail

name=${1:?usage: test-user.sh NAME ranges|none}
ranges=${2:?usage: test-user.sh NAME ranges|none}

exec 9>/tmp/kiln-test-user.lock
flock 9

id "$name" >/dev/null 2>&1 || useradd --create-home --shell /bin/sh "$name"

# The first id above every range in the file, so that no two users share one.
free_id() { awk -F: 'BEGIN { next_id = 100000 } $2 + $3 > next_id { next_id = $2 + $3 } END { print next_id }' "$1"; }

for kind in uid gid; do
  file=/etc/sub$kind
  [ -e "$file" ] || touch "$file"
  case $ranges in
    none) sed -i "/^$name:/d" "$file" ;;
    ranges) grep -q "^$name:" "$file" || echo "$name:$(free_id "$file"):65536" >>"$file" ;;
    *) echo "test-user.sh: neither 'ranges' nor 'none': $ranges" >&2; exit 2 ;;
  esac
done
