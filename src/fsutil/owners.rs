//! Owners that the kernel cannot keep: who has a single id may give files to nobody, and may make no device nodes.
//!
//! Then the owner, and the numbers of a device, are noted in an extended attribute of the file itself, so that
//! renames, links, copies into an overlay's upper directory and removals take the note along. The mode stays where it is.
//!
//! | type of the file     | attribute                       | value                                                  |
//! |----------------------|---------------------------------|--------------------------------------------------------|
//! | file, directory      | `user.containers.override_stat` | `uid:gid:mode[:char-MAJOR-MINOR]`, as containers/storage and fuse-overlayfs write it |
//! | link, fifo, socket   | `security.capability`           | a set of capabilities (revision 2) that cannot be one: four words, owner and group each followed by a mark |
//!
//! The kernel lets `user.*` be set on files and directories only (xattr(7)). Capabilities mean nothing on a type that cannot be
//! executed, and root of a user namespace may set them on all that is its own. A device is an empty file with a note.
//!
//! No note means root's. A note never gives more than chown(2) and mknod(2) would have: whoever forges one has made what
//! root of that filesystem may make anyway.

use super::{Kind, Metadata};

/// The attribute of files and directories.
pub const OVERRIDE: &[u8] = b"user.containers.override_stat";
const CAPABILITY: &[u8] = b"security.capability";
/// `VFS_CAP_REVISION_2` (linux/capability.h).
const REVISION: u32 = 0x0200_0000;
/// Stands for inheritable capabilities, none of which has such a number.
const MARK: u32 = 0x6e6c_696b;

/// How a tree keeps owners.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Owners {
    /// The kernel does.
    #[default]
    Real,
    /// In notes.
    Noted,
}

/// What is noted of a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Note {
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// The device node that an empty file stands for: its type, major and minor number.
    pub device: Option<(Kind, u32, u32)>,
}

impl Note {
    /// Whether it says no more than its absence would.
    pub fn is_plain(&self) -> bool {
        *self == Self::default()
    }

    /// Returns the attribute that a file of this type has its note in.
    pub fn attribute(kind: Kind) -> &'static [u8] {
        match kind {
            Kind::File | Kind::Directory => OVERRIDE,
            _ => CAPABILITY,
        }
    }

    /// Whether an attribute of a file of this type is a note, and not the file's own.
    pub fn is_note(kind: Kind, name: &[u8], value: &[u8]) -> bool {
        name == OVERRIDE || name == Self::attribute(kind) && Self::parse(kind, value).is_some()
    }

    /// Reads the attribute's value; `None` for what is no note.
    pub fn parse(kind: Kind, value: &[u8]) -> Option<Self> {
        if Self::attribute(kind) == CAPABILITY {
            let (words, []) = value.as_chunks::<4>() else { return None };
            let words: Vec<u32> = words.iter().map(|word| u32::from_le_bytes(*word)).collect();
            return match words[..] {
                [REVISION, uid, MARK, gid, MARK] => Some(Self { uid, gid, device: None }),
                _ => None,
            };
        }
        let mut fields = std::str::from_utf8(value).ok()?.split(':');
        let (uid, gid) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        let device = fields.nth(1).filter(|_| kind == Kind::File).and_then(device);
        Some(Self { uid, gid, device })
    }

    /// Returns the attribute's value for a file of this type and mode.
    pub fn value(&self, kind: Kind, mode: u32) -> Vec<u8> {
        let Self { uid, gid, device } = *self;
        if Self::attribute(kind) == CAPABILITY {
            return [REVISION, uid, MARK, gid, MARK].into_iter().flat_map(u32::to_le_bytes).collect();
        }
        let device = match device {
            Some((Kind::BlockDevice, major, minor)) => format!(":block-{major}-{minor}"),
            Some((_, major, minor)) => format!(":char-{major}-{minor}"),
            None => String::new(),
        };
        format!("{uid}:{gid}:{mode:04o}{device}").into_bytes()
    }

    /// Changes what `stat` said to what it would have said.
    pub fn apply(&self, metadata: &mut Metadata) {
        (metadata.uid, metadata.gid) = (self.uid, self.gid);
        if let Some((kind, major, minor)) = self.device {
            (metadata.kind, metadata.device_node, metadata.size) = (kind, (major, minor), 0);
        }
    }
}

/// Reads `char-MAJOR-MINOR`. Number 0:0 is no device but what an overlay calls a deletion.
fn device(text: &str) -> Option<(Kind, u32, u32)> {
    let mut parts = text.split('-');
    let kind = match parts.next()? {
        "char" => Kind::CharDevice,
        "block" => Kind::BlockDevice,
        _ => return None,
    };
    let (major, minor) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    ((kind, major, minor) != (Kind::CharDevice, 0, 0)).then_some((kind, major, minor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_read_as_they_were_written() {
        let device = Some((Kind::CharDevice, 1, 3));
        for kind in [Kind::File, Kind::Directory, Kind::Symlink, Kind::Fifo] {
            for note in [Note { uid: 33, gid: u32::MAX - 1, device: None }, Note { uid: 0, gid: 1, device }] {
                let read = Note::parse(kind, &note.value(kind, 0o640)).unwrap();
                let device = note.device.filter(|_| kind == Kind::File);
                assert_eq!(read, Note { device, ..note }, "{kind:?}");
            }
        }
        assert_eq!(Note { uid: 1, gid: 2, device }.value(Kind::File, 0o640), b"1:2:0640:char-1-3");
        assert_eq!(Note { uid: 1, gid: 2, device: None }.value(Kind::Directory, 0o1777), b"1:2:1777");
    }

    #[test]
    fn what_others_wrote_is_read_and_nonsense_is_not() {
        let read = |text: &[u8]| Note::parse(Kind::File, text);
        assert_eq!(read(b"5:6:0100644:file"), Some(Note { uid: 5, gid: 6, device: None }));
        assert_eq!(read(b"5:6:0:block-8-1").unwrap().device, Some((Kind::BlockDevice, 8, 1)));
        assert_eq!(read(b"5:6:0:char-0-0").unwrap().device, None);
        for text in [&b""[..], b"5", b"5:x", b"-1:0:0", b"4294967296:0:0", b"\xff:0:0"] {
            assert_eq!(read(text), None, "{text:?}");
        }
        let real = [&REVISION.to_le_bytes()[..], &[0; 16]].concat();
        assert_eq!(Note::parse(Kind::Fifo, &real), None);
        assert!(!Note::is_note(Kind::File, CAPABILITY, &real));
        assert!(Note::is_note(Kind::File, OVERRIDE, b"x"));
    }
}
