//! Deletions: how a layer says that something of the layers below is gone.
//!
//! In a tar (image-spec, layer.md "Whiteouts"): an empty file `.wh.NAME` deletes NAME, and
//! `.wh..wh..opq` in a directory hides everything the layers below have in it. On disk (kernel,
//! overlayfs.rst "whiteouts and opaque directories"): a character device 0:0, and the attribute
//! `{trusted,user}.overlay.opaque` = `y`.

/// Before the name of what is deleted.
pub(super) const PREFIX: &[u8] = b".wh.";
/// The name that makes its directory opaque.
pub(super) const OPAQUE: &[u8] = b".wh..wh..opq";

/// Returns whether a name has a meaning of its own in a layer tar, so that no file can be called so.
pub fn is_reserved_name(name: &[u8]) -> bool {
    name.starts_with(PREFIX)
}

/// What a path of a tar says about the layers below.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Mark<'a> {
    /// It is an ordinary file.
    None,
    /// The directory `parent` hides what is below.
    Opaque {
        /// The directory.
        parent: &'a [u8],
    },
    /// `name` in the directory `parent` is deleted.
    Whiteout {
        /// The directory.
        parent: &'a [u8],
        /// What is deleted.
        name: &'a [u8],
    },
    /// Bookkeeping of another tool (`.wh..wh.plnk`, `.wh..wh.aufs`): without meaning in a layer.
    Ignored,
    /// A deletion that names nothing, or a marker used as a directory.
    Malformed,
}

impl<'a> Mark<'a> {
    pub(super) fn of(path: &'a [u8]) -> Self {
        let (parent, name) = super::entry::split(path);
        let mut reserved = parent.split(|byte| *byte == b'/').filter(|name| is_reserved_name(name));
        if let Some(first) = reserved.next() {
            return if is_bookkeeping(first) { Self::Ignored } else { Self::Malformed };
        }
        if name == OPAQUE {
            return Self::Opaque { parent };
        }
        if is_bookkeeping(name) {
            return Self::Ignored;
        }
        match name.strip_prefix(PREFIX) {
            None => Self::None,
            Some(b"" | b"." | b"..") => Self::Malformed,
            Some(name) => Self::Whiteout { parent, name },
        }
    }
}

fn is_bookkeeping(name: &[u8]) -> bool {
    name.starts_with(b".wh..wh.") && name != OPAQUE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_told_apart() {
        let name: &[u8] = b"b";
        assert_eq!(Mark::of(b"a/b"), Mark::None);
        assert_eq!(Mark::of(b"a/.wh.b"), Mark::Whiteout { parent: b"a", name });
        assert_eq!(Mark::of(b".wh.b"), Mark::Whiteout { parent: b"", name });
        assert_eq!(Mark::of(b"a/.wh..wh..opq"), Mark::Opaque { parent: b"a" });
        assert_eq!(Mark::of(b".wh..wh.plnk/1.2"), Mark::Ignored);
        assert_eq!(Mark::of(b".wh..wh.aufs"), Mark::Ignored);
        for malformed in [&b".wh."[..], b".wh..", b".wh...", b"a/.wh.b/c", b".wh..wh..opq/c"] {
            assert_eq!(Mark::of(malformed), Mark::Malformed, "{malformed:?}");
        }
    }
}
