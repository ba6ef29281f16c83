//! Tests of the whole way: trees to tars, tars to trees, and tars nobody should send.

mod hostile;
mod mounted;
mod round_trip;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io;
use std::path::Path;

use super::*;
use crate::fsutil::{Dir, Kind, Timestamp, Xattrs};

fn file(path: &str, size: u64) -> TarEntry {
    TarEntry {
        kind: EntryKind::File { size },
        mode: 0o644,
        mtime: Timestamp::from_seconds(1_000_000),
        ..TarEntry::plain_directory(path.into())
    }
}

fn entry(path: &str, kind: EntryKind) -> TarEntry {
    TarEntry { kind, ..file(path, 0) }
}

fn directory(path: &str) -> TarEntry {
    TarEntry { mode: 0o755, ..entry(path, EntryKind::Directory) }
}

/// Writes entries in the order given, without the writer's checks of it: what an enemy may send.
fn tar_of(entries: &[(TarEntry, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    for (entry, data) in entries {
        let mut writer = Writer::new(Vec::new());
        if super::whiteout::is_reserved_name(super::entry::split(&entry.path).1) {
            let (parent, name) = super::entry::split(&entry.path);
            match name {
                b".wh..wh..opq" => {
                    writer.append(&TarEntry::plain_directory(parent.to_vec()), &mut io::empty()).unwrap();
                    writer.opaque(parent).unwrap();
                    let all = writer.finish().unwrap();
                    out.extend_from_slice(&all[512..all.len() - 1024]);
                    continue;
                }
                _ => writer.whiteout(&super::entry::join(parent, &name[4..])).unwrap(),
            }
        } else {
            writer.append(entry, &mut &data[..]).unwrap();
        }
        let all = writer.finish().unwrap();
        out.extend_from_slice(&all[..all.len() - 1024]);
    }
    out.extend_from_slice(&[0; 1024]);
    out
}

fn unpack(tar: &[u8], target: &Path, lower: Option<&Path>) -> Result<ApplySummary, LayerError> {
    let lower = lower.map(|lower| Dir::open(lower).unwrap());
    apply(tar, &Dir::open(target).unwrap(), lower.as_ref(), &ApplyOptions::default())
}

fn whole(root: &Path) -> Vec<u8> {
    let mut out = Vec::new();
    write_tree(&Dir::open(root).unwrap(), &mut out).unwrap();
    out
}

fn diff_of(upper: &Path, lower: Option<&Dir>, skip: &[std::path::PathBuf]) -> (Vec<u8>, DiffSummary) {
    let mut out = Vec::new();
    let options = DiffOptions { skip, userxattr: false };
    let summary = diff(&Dir::open(upper).unwrap(), lower, &options, &mut out).unwrap();
    assert_eq!(summary.bytes, out.len() as u64);
    (out, summary)
}

/// Returns the paths in a tar, directories with a slash, links with their target.
fn names(tar: &[u8]) -> Vec<String> {
    let mut reader = Reader::new(tar, Limits::default());
    let mut names = Vec::new();
    while let Some(entry) = reader.next_entry().unwrap() {
        let path = String::from_utf8_lossy(&entry.path).into_owned();
        names.push(match entry.kind {
            EntryKind::Directory => path + "/",
            EntryKind::Symlink(to) => format!("{path} -> {}", String::from_utf8_lossy(&to)),
            EntryKind::Hardlink(to) => format!("{path} = {}", String::from_utf8_lossy(&to)),
            _ => path,
        });
    }
    names
}

/// Returns every path below `root` with its kind and content.
fn listing(root: &Path) -> BTreeMap<String, (Kind, Vec<u8>)> {
    let mut found = BTreeMap::new();
    let mut todo = vec![(root.to_owned(), String::new())];
    while let Some((path, prefix)) = todo.pop() {
        let dir = Dir::open(&path).unwrap();
        for entry in dir.entries().unwrap() {
            let name = format!("{prefix}{}", entry.name.to_string_lossy());
            let content = match entry.kind {
                Kind::File => std::fs::read(path.join(&entry.name)).unwrap(),
                Kind::Symlink => {
                    use std::os::unix::ffi::OsStrExt;
                    dir.child_link(&entry.name).unwrap().as_os_str().as_bytes().to_vec()
                }
                Kind::Directory => {
                    todo.push((path.join(&entry.name), format!("{name}/")));
                    Vec::new()
                }
                _ => Vec::new(),
            };
            found.insert(name, (entry.kind, content));
        }
    }
    found
}

fn xattrs_at(root: &Path, path: &str) -> Xattrs {
    let dir = Dir::open(root.join(path).parent().unwrap()).unwrap();
    dir.child_xattrs(Path::new(path).file_name().unwrap_or(OsStr::new(".")), |_| true).unwrap()
}
