//! Archives that ADD unpacks (12.1-12.3): their entries, and where they land.
//!
//! Nothing is unpacked to disk: a compressed archive becomes one plain file without a name, and each entry's content
//! is a part of it. Names are paths below the destination, which stands for the root while they are
//! resolved, so that no entry can reach beyond it.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use super::content::Content;
use super::destination::{Destination, Node, What, parent};
use super::entries::SelectedEntry;
use super::error::CopyError;
use super::land::{Changes, Target};
use super::resolve::join;
use crate::context::glob::clean_inside;
use crate::context::{begins_as_tar, decompressed};
use crate::expansion;
use crate::fsutil::{Kind, Timestamp, Xattrs, random_name};
use crate::layer::{EntryKind, TarEntry, is_carried_xattr};

const BLOCK: usize = 512;

/// An archive and what is in it, in its order.
pub(super) struct Archive {
    name: String,
    entries: Vec<SelectedEntry>,
}

impl Archive {
    /// Reads the archive in a selected file; `None` if the file is none.
    pub(super) fn open(name: &[u8], file: &SelectedEntry, scratch: &Path) -> Result<Option<Self>, CopyError> {
        if !matches!(file.entry.kind, EntryKind::File { size } if size > 0) {
            return Ok(None);
        }
        let name = String::from_utf8_lossy(name).into_owned();
        let reading = |source| CopyError::Io { doing: "read", path: name.clone(), source };
        let reader = file.content.open().map_err(reading)?;
        let Ok(mut plain) = decompressed(reader) else { return Ok(None) };
        let mut first = [0; BLOCK];
        // What cannot be decompressed, or holds something else, is a file like any other.
        if plain.reader.read_exact(&mut first).is_err() || !begins_as_tar(&first) {
            return Ok(None);
        }
        let broken = |error: io::Error| match error.raw_os_error() {
            // The kernel's answer says nothing about the archive: the disk is full, for example.
            Some(_) => CopyError::Io { doing: "unpack", path: name.clone(), source: error },
            None => CopyError::Archive { archive: name.clone(), problem: error.to_string() },
        };
        let mut spool = nameless_file(scratch).map_err(reading)?;
        spool.write_all(&first).and_then(|()| io::copy(&mut plain.reader, &mut spool)).map_err(broken)?;
        drop(plain);
        let entries = index(spool, scratch).map_err(broken)?;
        Ok(Some(Self { name, entries }))
    }

    fn error(&self, problem: impl Into<String>) -> CopyError {
        CopyError::Archive { archive: self.name.clone(), problem: problem.into() }
    }
}

/// Makes a file that is gone when its last handle is closed.
fn nameless_file(directory: &Path) -> io::Result<File> {
    let path = directory.join(random_name());
    let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
    fs::remove_file(&path)?;
    Ok(file)
}

/// Lists the entries of a plain tar.
fn index(mut file: File, scratch: &Path) -> io::Result<Vec<SelectedEntry>> {
    file.seek(SeekFrom::Start(0))?;
    let shared = Arc::new(file.try_clone()?);
    let (reader, allowance) = expansion::sparing(io::BufReader::new(file));
    let mut archive = tar::Archive::new(reader);
    let mut entries = Vec::new();
    for entry in allowance.over(archive.entries_with_seek()?) {
        let mut entry = entry?;
        let Some(kind) = kind_of(&entry)? else { continue };
        let content = match kind {
            EntryKind::File { size: 0 } => Content::Nothing,
            // The parts of a sparse file are not where a plain file's bytes would be.
            EntryKind::File { .. } if entry.header().entry_type().is_gnu_sparse() => {
                let mut whole = nameless_file(scratch)?;
                io::copy(&mut entry, &mut whole)?;
                Content::Part { file: Arc::new(whole), offset: 0 }
            }
            EntryKind::File { .. } => Content::Part { file: shared.clone(), offset: entry.raw_file_position() },
            _ => Content::Nothing,
        };
        let entry = describe(&mut entry, kind)?;
        entries.push(SelectedEntry { content, ..SelectedEntry::new(entry) });
    }
    Ok(entries)
}

/// Returns the type of an entry; `None` for what is no file of its own.
fn kind_of<R: Read>(entry: &tar::Entry<R>) -> io::Result<Option<EntryKind>> {
    let header = entry.header();
    let link = || -> io::Result<Vec<u8>> { Ok(entry.link_name_bytes().unwrap_or_default().into_owned()) };
    let device =
        || -> io::Result<(u32, u32)> { Ok((header.device_major()?.unwrap_or(0), header.device_minor()?.unwrap_or(0))) };
    Ok(Some(match header.entry_type() {
        // Before 1988 a directory was a file whose name ends in a slash.
        tar::EntryType::Regular if entry.path_bytes().ends_with(b"/") => EntryKind::Directory,
        tar::EntryType::Regular | tar::EntryType::Continuous | tar::EntryType::GNUSparse => {
            EntryKind::File { size: entry.size() }
        }
        tar::EntryType::Directory => EntryKind::Directory,
        tar::EntryType::Symlink => EntryKind::Symlink(link()?),
        tar::EntryType::Link => EntryKind::Hardlink(link()?),
        tar::EntryType::Fifo => EntryKind::Fifo,
        tar::EntryType::Char => device().map(|(major, minor)| EntryKind::CharDevice { major, minor })?,
        tar::EntryType::Block => device().map(|(major, minor)| EntryKind::BlockDevice { major, minor })?,
        _ => return Ok(None),
    }))
}

fn describe<R: Read>(entry: &mut tar::Entry<R>, kind: EntryKind) -> io::Result<TarEntry> {
    let header = entry.header();
    let number = |number: u64| u32::try_from(number).map_err(|_| io::Error::other("an owner's number is out of range"));
    let mut described = TarEntry {
        path: entry.path_bytes().into_owned(),
        kind,
        mode: header.mode()? & 0o7777,
        uid: number(header.uid()?)?,
        gid: number(header.gid()?)?,
        mtime: Timestamp::from_seconds(i64::try_from(header.mtime()?).unwrap_or(0)),
        xattrs: Xattrs::new(),
    };
    let Some(extensions) = entry.pax_extensions()? else { return Ok(described) };
    for extension in extensions {
        let extension = extension?;
        let text = || String::from_utf8_lossy(extension.value_bytes());
        match extension.key_bytes() {
            b"uid" => described.uid = text().parse().unwrap_or(described.uid),
            b"gid" => described.gid = text().parse().unwrap_or(described.gid),
            b"mtime" => {
                let seconds = text().split('.').next().and_then(|seconds| seconds.parse().ok());
                described.mtime = seconds.map_or(described.mtime, Timestamp::from_seconds);
            }
            key => {
                if let Some(name) = key.strip_prefix(b"SCHILY.xattr.").filter(|name| is_carried_xattr(name)) {
                    described.xattrs.insert(name.to_vec(), extension.value_bytes().to_vec());
                }
            }
        }
    }
    Ok(described)
}

/// Lays the entries of an archive over the destination, as source number `number`.
pub(super) fn land(
    destination: &mut Destination,
    number: usize,
    archive: &Archive,
    target: &Target,
    changes: Changes,
) -> Result<(), CopyError> {
    let top = destination.follow(b"", &target.path)?;
    destination.make_directories(&top)?;
    // Where each name of the archive landed, for the hard links to it.
    let mut landed: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    for (at, entry) in archive.entries.iter().enumerate() {
        let name = inside(archive, &entry.entry.path)?;
        if name.is_empty() {
            continue;
        }
        let directory = destination.follow(&top, parent(&name))?;
        destination.make_directories(&directory)?;
        let path = join(&directory, name.rsplit(|byte| *byte == b'/').next().unwrap_or_default());
        let mut node = match &entry.entry.kind {
            EntryKind::Hardlink(first) => {
                let first = inside(archive, first)?;
                linked(destination, archive, &top, &first, landed.get(&first))?
            }
            _ => {
                let identity = Some((u64::MAX, at as u64)).filter(|_| entry.entry.kind != EntryKind::Directory);
                Node::own(number, SelectedEntry { identity, ..entry.clone() })
            }
        };
        if let What::Own(own, _) = &mut node.what {
            changes.apply(&mut own.entry);
        }
        let there = destination.there(&path)?;
        landed.insert(name, path.clone());
        destination.put(path, node, there);
    }
    Ok(())
}

/// Returns a name of the archive as a clean path below the destination.
fn inside(archive: &Archive, name: &[u8]) -> Result<Vec<u8>, CopyError> {
    clean_inside(name).ok_or_else(|| {
        archive.error(format!("the entry `{}` is outside of it", String::from_utf8_lossy(name).escape_debug()))
    })
}

/// Makes another name of a file that is already at its place, or was there before.
fn linked(
    destination: &Destination,
    archive: &Archive,
    top: &[u8],
    first: &[u8],
    landed: Option<&Vec<u8>>,
) -> Result<Node, CopyError> {
    let missing = || {
        archive.error(format!("a hard link to `{}`, which is not there", String::from_utf8_lossy(first).escape_debug()))
    };
    let at = match landed {
        Some(at) => at.clone(),
        None => join(
            &destination.follow(top, parent(first))?,
            first.rsplit(|byte| *byte == b'/').next().unwrap_or_default(),
        ),
    };
    if let Some(node) = destination.node(&at).filter(|node| !node.is_dir()) {
        return Ok(node.clone());
    }
    // The file is of a layer below, which cannot be linked to: its content is copied.
    let metadata =
        destination.metadata_below(&at)?.filter(|metadata| metadata.kind == Kind::File).ok_or_else(missing)?;
    let view = destination.view().ok_or_else(missing)?.try_clone().map_err(CopyError::io("open", b""))?;
    let entry = TarEntry {
        path: Vec::new(),
        kind: EntryKind::File { size: metadata.size },
        mode: metadata.mode,
        uid: metadata.uid,
        gid: metadata.gid,
        mtime: metadata.mtime,
        xattrs: Xattrs::new(),
    };
    let content = Content::Tree { root: Arc::new(view), path: at };
    Ok(Node::own(0, SelectedEntry { content, ..SelectedEntry::new(entry) }))
}
