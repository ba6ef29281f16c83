//! What a power loss may have spoiled unseen.
//!
//! ```text
//! <root>/boot    the kernel's id of the boot in which what is unpacked was unpacked
//! ```
//!
//! Snapshots and stat caches appear by rename, but nobody waits until their bytes are on the disk: that would cost more
//! than all else. When power goes, a name may stay whose bytes are lost. Blobs are verified when they are read; the
//! files of a snapshot cannot be. So after a reboot both are taken out and made anew: snapshots from blobs, which
//! takes a second or two, once.

use std::path::Path;

use super::StoreLock;
use crate::fsutil::write_atomically;
use crate::snapshot::{SnapshotError, Snapshots};

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// Takes out of the store at `root` what an earlier boot unpacked. If that fails, or a build is running, which has
/// been here before, the store stays as it is.
pub(super) fn forget_earlier(root: &Path) {
    if let Ok(boot) = std::fs::read(BOOT_ID) {
        forget_other(root, &boot);
    }
}

fn forget_other(root: &Path, boot: &[u8]) {
    let file = root.join("boot");
    let is_current = || std::fs::read(&file).is_ok_and(|known| known == boot);
    if is_current() {
        return;
    }
    let Ok(_alone) = StoreLock::exclusive(root) else { return };
    if !is_current() && forget(root).is_ok() {
        // If it cannot be written, the next build forgets again.
        let _ = write_atomically(&file, boot);
    }
}

fn forget(root: &Path) -> Result<(), SnapshotError> {
    for snapshots in Snapshots::of_all_kinds(root)? {
        for chain in snapshots.all()? {
            snapshots.remove(chain)?;
        }
    }
    match std::fs::remove_dir_all(root.join("cache/stat")) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            Err(SnapshotError::Io { doing: "remove", path: root.join("cache/stat"), source })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::{DiffId, Digest};
    use crate::snapshot::Snapshotter;

    #[test]
    fn what_an_earlier_boot_unpacked_goes() {
        let scratch = tempfile::tempdir().unwrap();
        let root = scratch.path().join("store");
        let snapshots = Snapshots::open(&root, Snapshotter::Overlay, false).unwrap();
        let chain = [DiffId(Digest::of(b"layer"))];
        let unpack = || snapshots.commit(snapshots.scratch().unwrap(), &chain).unwrap();
        unpack();
        forget_other(&root, b"first");
        assert!(snapshots.find(&chain).is_none());
        unpack();
        forget_other(&root, b"first");
        assert!(snapshots.find(&chain).is_some());
        let build = StoreLock::shared(&root).unwrap();
        forget_other(&root, b"second");
        assert!(snapshots.find(&chain).is_some());
        drop(build);
        forget_other(&root, b"second");
        assert!(snapshots.find(&chain).is_none());
    }
}
