//! Which extended attributes a layer carries, and which are overlayfs's own notes.

use crate::fsutil::{OVERRIDE, Xattrs};

const CAPABILITY: &[u8] = b"security.capability";

/// Returns whether a layer may carry the attribute, in and out: file capabilities and `user.*`, but never
/// overlayfs's notes or notes of owners. Labels, ACLs and `trusted.*` belong to the machine, and would be refused or, worse,
/// believed by another one. A name with `=` cannot be told from its value in a tar.
pub fn is_carried_xattr(name: &[u8]) -> bool {
    let user = name.starts_with(b"user.") && !name.starts_with(b"user.overlay.") && !name.contains(&b'=');
    user && name != OVERRIDE || name == CAPABILITY
}

/// Keeps what a layer carries, in the form every machine understands.
pub(super) fn carried(mut xattrs: Xattrs) -> Xattrs {
    xattrs.retain(|name, _| is_carried_xattr(name));
    if let Some(value) = xattrs.get_mut(CAPABILITY) {
        without_root_id(value);
    }
    xattrs
}

/// Turns capabilities that hold only below one user namespace's root (revision 3: 24 bytes, the last four
/// that root's id; linux/capability.h) into plain ones (revision 2).
fn without_root_id(value: &mut Vec<u8>) {
    // Little endian: the revision is the most significant byte of the first word.
    if value.len() == 24 && value[3] == 3 {
        value[3] = 2;
        value.truncate(20);
    }
}

/// What overlayfs noted about a file of an upper directory.
#[derive(PartialEq, Eq, Debug, Default)]
pub(super) struct OverlayNotes {
    /// The directory hides what is below.
    pub opaque: bool,
    /// The (empty) file stands for a deletion.
    pub whiteout: bool,
    /// The content is elsewhere: data in a lower file (metacopy), or another directory (redirect).
    pub elsewhere: bool,
}

/// The namespace of attributes an overlay mount uses: `user.` with the mount option `userxattr`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct OverlayNamespace {
    pub userxattr: bool,
}

impl OverlayNamespace {
    fn prefix(self) -> &'static [u8] {
        if self.userxattr { b"user.overlay." } else { b"trusted.overlay." }
    }

    /// Returns the name of the attribute that makes a directory opaque, with value `y`.
    pub(super) fn opaque(self) -> &'static [u8] {
        if self.userxattr { b"user.overlay.opaque" } else { b"trusted.overlay.opaque" }
    }

    /// Returns whether the diff needs to read the attribute.
    pub(super) fn is_wanted(self, name: &[u8]) -> bool {
        is_carried_xattr(name)
            || name
                .strip_prefix(self.prefix())
                .is_some_and(|note| matches!(note, b"opaque" | b"whiteout" | b"metacopy" | b"redirect"))
    }

    /// Reads the notes. The other namespace's attributes, and escaped ones (`overlay.overlay.*`), were set
    /// by a RUN step itself and mean nothing.
    pub(super) fn notes(self, xattrs: &Xattrs) -> OverlayNotes {
        let mut notes = OverlayNotes::default();
        for (name, value) in xattrs {
            match name.strip_prefix(self.prefix()) {
                Some(b"opaque") => notes.opaque = value == b"y",
                Some(b"whiteout") => notes.whiteout = true,
                Some(b"metacopy" | b"redirect") => notes.elsewhere = true,
                _ => {}
            }
        }
        notes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn xattrs(pairs: &[(&str, &[u8])]) -> Xattrs {
        pairs.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.to_vec())).collect()
    }

    #[test]
    fn only_portable_attributes_are_carried() {
        let mut v3 = vec![1, 0, 0, 3];
        v3.extend([9; 16]);
        let v2 = [&[1, 0, 0, 2][..], &[9; 16]].concat();
        v3.extend([1, 0, 0, 0]);
        let all = xattrs(&[
            ("security.capability", &v3),
            ("security.selinux", b"x"),
            ("system.posix_acl_access", b"x"),
            ("trusted.overlay.origin", b"x"),
            ("trusted.x", b"x"),
            ("user.a=b", b"x"),
            ("user.containers.override_stat", b"1:2:0644"),
            ("user.kept", b"x"),
            ("user.overlay.opaque", b"y"),
            ("user.overlay.overlay.opaque", b"y"),
        ]);
        assert_eq!(carried(all), xattrs(&[("security.capability", &v2), ("user.kept", b"x")]));
    }

    #[test]
    fn notes_are_read_from_one_namespace() {
        let root = OverlayNamespace { userxattr: false };
        let rootless = OverlayNamespace { userxattr: true };
        let hostile = xattrs(&[("user.overlay.opaque", b"y"), ("trusted.overlay.overlay.opaque", b"y")]);
        assert_eq!(root.notes(&hostile), OverlayNotes::default());
        assert!(rootless.notes(&hostile).opaque);
        assert!(!rootless.notes(&xattrs(&[("user.overlay.opaque", b"x")])).opaque);
        assert!(root.notes(&xattrs(&[("trusted.overlay.metacopy", b"")])).elsewhere);
    }
}
