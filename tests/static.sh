#!/usr/bin/env bash
# Builds the static program and tries it, as root, in a root directory that has no library, no shell and no loader.
#
#   bash tests/static.sh
#
# Takes as long as a release build does, and is no part of the other tests.
set -euo pipefail
cd "$(dirname "$0")/.."

target=$(rustc -vV | sed -n 's/^host: //p')
RUSTFLAGS='-C target-feature=+crt-static' cargo build --locked --release --bin kiln --target "$target"
kiln=${CARGO_TARGET_DIR:-target}/$target/release/kiln
ls -l "$kiln"
if readelf --dynamic "$kiln" | grep NEEDED; then
  echo "it needs libraries" >&2
  exit 1
fi

root=$(mktemp -d)
trap 'umount --recursive --lazy "$root" 2>/dev/null || true; rmdir "$root"' EXIT
mount -t tmpfs none "$root"
mkdir "$root"/{context,dev,proc,store,tmp,out}
mount --bind /dev "$root/dev"
mount --bind /proc "$root/proc"
cp "$kiln" /bin/busybox "$root/context"
mv "$root/context/kiln" "$root/kiln"
cat > "$root/context/Dockerfile" <<'END'
FROM scratch
COPY busybox /bin/busybox
RUN --network=none ["/bin/busybox", "sh", "-c", "echo built > /result"]
END
env -i PATH="$PATH" KILN_ROOT=/store chroot "$root" /kiln build --progress=plain -o type=local,dest=/out /context
grep -x built "$root/out/result"
echo "the static program builds without anything around it"
