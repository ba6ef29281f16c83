//! What is unpacked, and can no longer be trusted to be what it was.
//!
//! ```text
//! <root>/boot    the kernel's id of the boot in which what is unpacked was unpacked; a second line `noted` if owners are
//! ```
//!
//! Snapshots and stat caches appear by rename, but nobody waits until their bytes are on the disk: that would cost more
//! than all else. When power goes, a name may stay whose bytes are lost. Blobs are verified when they are read; the
//! files of a snapshot cannot be. So after a reboot both are taken out and made anew: snapshots from blobs, which
//! takes a second or two, once.
//!
//! The same happens when a user is given subordinate ids, or loses them: owners are kept by the kernel with them and noted
//! without, and neither build would understand the other's snapshots.

use std::path::Path;

use super::StoreLock;
use crate::fsutil::{Owners, Removal, write_atomically};
use crate::snapshot::{SnapshotError, Snapshots};

const NOTED: &[u8] = b"noted\n";
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// What another build unpacked can neither be used nor be removed.
#[derive(Debug, thiserror::Error)]
#[error("the layers in the store were unpacked {}, and cannot be removed now: {reason}", theirs(*.owners))]
pub(super) struct OtherOwners {
    /// How this build keeps owners.
    owners: Owners,
    reason: String,
}

fn theirs(ours: Owners) -> &'static str {
    match ours {
        Owners::Noted => "with subordinate ids, which there are no more",
        Owners::Real => "without subordinate ids",
    }
}

/// Takes out of the store at `root` what an earlier boot unpacked, or a build that keeps owners in another way. If it cannot
/// be done, or a build is running, which has been here before, what an earlier boot unpacked stays.
pub(super) fn forget_earlier(root: &Path, owners: Owners) -> Result<(), OtherOwners> {
    forget_other(root, &std::fs::read(BOOT_ID).unwrap_or_default(), owners)
}

fn forget_other(root: &Path, boot: &[u8], owners: Owners) -> Result<(), OtherOwners> {
    let file = root.join("boot");
    let noted: &[u8] = if owners == Owners::Noted { NOTED } else { b"" };
    let current = [boot, noted].concat();
    let known = || std::fs::read(&file).unwrap_or_default();
    if known() == current {
        return Ok(());
    }
    // A prune that runs has not been here before, so it is waited for.
    let alone = Removal::begin(root).map_err(|error| error.to_string());
    let alone = alone.and_then(|removal| {
        StoreLock::exclusive(root).map(|lock| (removal, lock)).map_err(|error| crate::diag::chain(&error))
    });
    let forgotten = alone.and_then(|_alone| {
        if known() != current {
            forget(root).map_err(|error| crate::diag::chain(&error))?;
            // If it cannot be written, the next build forgets again.
            let _ = write_atomically(&file, &current);
        }
        Ok(())
    });
    let known = known();
    match forgotten {
        Err(reason) if !known.is_empty() && known.ends_with(NOTED) != (owners == Owners::Noted) => {
            Err(OtherOwners { owners, reason })
        }
        _ => Ok(()),
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
    use crate::digest::{ChainId, Digest};
    use crate::snapshot::Snapshotter;

    #[test]
    fn what_an_earlier_boot_unpacked_goes() {
        let scratch = tempfile::tempdir().unwrap();
        let root = scratch.path().join("store");
        let snapshots = Snapshots::open(&root, Snapshotter::Overlay, false).unwrap();
        let chain = ChainId(Digest::of(b"layer"));
        let unpack = || snapshots.commit(snapshots.scratch().unwrap(), chain).unwrap();
        unpack();
        forget_other(&root, b"first", Owners::Real).unwrap();
        assert!(!snapshots.has(chain));
        unpack();
        forget_other(&root, b"first", Owners::Real).unwrap();
        assert!(snapshots.has(chain));
        let build = StoreLock::shared(&root).unwrap();
        forget_other(&root, b"second", Owners::Real).unwrap();
        assert!(snapshots.has(chain));
        drop(build);
        forget_other(&root, b"second", Owners::Real).unwrap();
        assert!(!snapshots.has(chain));
    }

    #[test]
    fn what_keeps_owners_otherwise_goes_or_the_build_does_not_begin() {
        let scratch = tempfile::tempdir().unwrap();
        let root = scratch.path().join("store");
        let snapshots = Snapshots::open(&root, Snapshotter::Overlay, false).unwrap();
        let chain = ChainId(Digest::of(b"layer"));
        forget_other(&root, b"boot\n", Owners::Real).unwrap();
        snapshots.commit(snapshots.scratch().unwrap(), chain).unwrap();
        let build = StoreLock::shared(&root).unwrap();
        let refused = forget_other(&root, b"boot\n", Owners::Noted).unwrap_err().to_string();
        assert!(refused.starts_with("the layers in the store were unpacked with subordinate ids"), "{refused}");
        drop(build);
        forget_other(&root, b"boot\n", Owners::Noted).unwrap();
        assert!(!snapshots.has(chain));
        forget_other(&root, b"boot\n", Owners::Noted).unwrap();
        forget_other(&root, b"boot\n", Owners::Real).unwrap();
    }
}
