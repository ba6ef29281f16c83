//! What the kernel shows of an image must be what unpacking gives. They need the right to mount.

use std::fs::{self, File};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::Path;

use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_string, fsmount, fsopen};

use super::*;
use crate::fsutil::{Dir, Timestamp, Xattrs, xattrs_of};
use crate::layer::{ApplyOptions, Writer, apply, write_tree};

/// A tar, and what it holds as a directory and as a mount.
struct Both {
    temp: tempfile::TempDir,
    packed: Dir,
}

impl Both {
    /// `None` without the right to mount, or on a kernel that cannot.
    fn of(tar: &[u8]) -> Option<Self> {
        let temp = tempfile::tempdir().unwrap();
        let unpacked = temp.path().join("unpacked");
        fs::create_dir(&unpacked).unwrap();
        fs::set_permissions(&unpacked, fs::Permissions::from_mode(0o755)).unwrap();
        apply(tar, &Dir::open(&unpacked).unwrap(), None, &ApplyOptions::default()).unwrap();
        fs::write(temp.path().join("tar"), tar).unwrap();
        let image = image_of(tar, &root(), Limits::default()).unwrap().expect("it can be packed");
        image.write(File::create(temp.path().join("names")).unwrap()).unwrap();
        let packed = mount(temp.path()).inspect_err(|error| eprintln!("skipped: {error}")).ok()?;
        Some(Self { temp, packed })
    }

    fn unpacked(&self) -> Dir {
        Dir::open(&self.temp.path().join("unpacked")).unwrap()
    }

    fn packed_path(&self, name: &str) -> std::path::PathBuf {
        format!("/proc/self/fd/{}/{name}", self.packed.as_fd().as_raw_fd()).into()
    }
}

fn root() -> TarEntry {
    TarEntry { mtime: Timestamp::from_seconds(7), ..TarEntry::plain_directory(Vec::new()) }
}

fn mount(directory: &Path) -> std::io::Result<Dir> {
    let config = fsopen("erofs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(config.as_fd(), "source", directory.join("names"))?;
    fsconfig_set_string(config.as_fd(), "device", directory.join("tar"))?;
    fsconfig_create(config.as_fd())?;
    let mounted = fsmount(config.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())?;
    Ok(Dir::from_fd(rustix::fs::openat(&mounted, ".", rustix::fs::OFlags::DIRECTORY, rustix::fs::Mode::empty())?))
}

fn entry(path: &str, kind: EntryKind) -> TarEntry {
    let mtime = Timestamp::from_seconds(1_600_000_000);
    TarEntry { kind, mtime, mode: 0o640, ..TarEntry::plain_directory(path.into()) }
}

fn tar(make: impl FnOnce(&mut Writer<Vec<u8>>)) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    writer.append(&TarEntry { path: Vec::new(), ..entry("", EntryKind::Directory) }, &mut std::io::empty()).unwrap();
    make(&mut writer);
    writer.finish().unwrap()
}

fn add(writer: &mut Writer<Vec<u8>>, entry: TarEntry, data: &[u8]) {
    writer.append(&entry, &mut &*data).unwrap();
}

fn file(writer: &mut Writer<Vec<u8>>, path: &str, data: &[u8]) {
    add(writer, entry(path, EntryKind::File { size: data.len() as u64 }), data);
}

fn as_layer(dir: &Dir) -> Vec<u8> {
    let mut tar = Vec::new();
    write_tree(dir, &mut tar).unwrap();
    tar
}

fn entries(tar: &[u8]) -> Vec<TarEntry> {
    let mut reader = Reader::new(tar, Limits::default());
    std::iter::from_fn(|| reader.next_entry().unwrap()).collect()
}

/// Everything that a layer can say of a file.
fn everything(writer: &mut Writer<Vec<u8>>) {
    let xattrs = |pairs: &[(&str, &[u8])]| -> Xattrs {
        pairs.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.to_vec())).collect()
    };
    let capability: &[u8] = &[1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    file(writer, "a", b"short");
    file(writer, "block", &[1; 512]);
    add(writer, TarEntry { mode: 0o4755, ..entry("capable", EntryKind::File { size: 3 }) }, b"cap");
    let several = xattrs(&[("security.capability", capability), ("user.long", &[7; 900]), ("user.mine", b"x")]);
    add(writer, TarEntry { xattrs: several, ..entry("capable2", EntryKind::File { size: 3 }) }, b"cap");
    add(writer, entry("char", EntryKind::CharDevice { major: 511, minor: 70_000 }), b"");
    let odd = TarEntry { mode: 0o1777, uid: 70_000, gid: 4_000_000_000, ..entry("dir", EntryKind::Directory) };
    add(writer, TarEntry { xattrs: xattrs(&[("user.of", b"a directory")]), ..odd }, b"");
    file(writer, "dir/!before the dots", b"1");
    file(writer, &format!("dir/{}", "n".repeat(255)), b"2");
    add(writer, entry("dir/sub", EntryKind::Directory), b"");
    file(writer, "empty", b"");
    add(writer, entry("fifo", EntryKind::Fifo), b"");
    let large: Vec<u8> = (0..1_000_003u32).map(|n| (n / 7) as u8).collect();
    file(writer, "large", &large);
    add(writer, entry("link", EntryKind::Symlink(b"nowhere/at/all".to_vec())), b"");
    add(writer, entry("link2", EntryKind::Symlink(vec![b'l'; 4000])), b"");
    add(writer, entry("many", EntryKind::Directory), b"");
    for number in 0..1000 {
        file(writer, &format!("many/{number:04}"), number.to_string().as_bytes());
    }
    add(writer, entry("zname", EntryKind::Hardlink(b"a".to_vec())), b"");
    let old = Timestamp { seconds: -3, nanoseconds: 0 };
    add(writer, TarEntry { mtime: old, ..entry("zold", EntryKind::File { size: 1 }) }, b"o");
}

#[test]
fn a_mount_is_what_unpacking_gives() {
    let tar = tar(everything);
    let Some(both) = Both::of(&tar) else { return };
    for (packed, unpacked) in entries(&as_layer(&both.packed)).iter().zip(entries(&as_layer(&both.unpacked()))) {
        assert_eq!(*packed, unpacked);
    }
    assert!(as_layer(&both.packed) == as_layer(&both.unpacked()), "the trees differ");
    let (one, other) = (fs::metadata(both.packed_path("a")).unwrap(), fs::metadata(both.packed_path("zname")).unwrap());
    assert_eq!((one.ino(), one.nlink()), (other.ino(), 2));
    assert_eq!(fs::metadata(both.packed_path("dir")).unwrap().nlink(), 3);
    let device = fs::symlink_metadata(both.packed_path("char")).unwrap().rdev();
    assert_eq!((rustix::fs::major(device), rustix::fs::minor(device)), (511, 70_000));
    assert!(
        fs::metadata(both.packed_path("many/0999")).is_ok() && fs::metadata(both.packed_path("many/1000")).is_err()
    );
    assert!(fs::metadata(both.packed_path("dir/..")).unwrap().ino() == both.packed.metadata().unwrap().inode);
}

#[test]
fn parts_of_seconds_are_kept() {
    let mut tar = tar(|writer| file(writer, "a", b"a"));
    // Writers of layers drop them; other programs do not. A record for the file, before its header.
    let record = b"30 mtime=1600000000.123456789\n";
    let mut header = super::super::header::Header::new(b'x');
    header.set_number(super::super::header::SIZE, record.len() as u64);
    let mut pax = header.finish().to_vec();
    pax.extend_from_slice(record);
    pax.resize(1024, 0);
    tar.splice(512..512, pax);
    let Some(both) = Both::of(&tar) else { return };
    let found = both.packed.child_metadata("a".as_ref()).unwrap().unwrap();
    assert_eq!(found.mtime, Timestamp { seconds: 1_600_000_000, nanoseconds: 123_456_789 });
}

#[test]
fn deletions_are_marked_as_overlays_do() {
    let tar = tar(|writer| {
        add(writer, entry("dir", EntryKind::Directory), b"");
        writer.opaque(b"dir").unwrap();
        file(writer, "dir/new", b"new");
        writer.whiteout(b"gone").unwrap();
    });
    let Some(both) = Both::of(&tar) else { return };
    for dir in [&both.packed, &both.unpacked()] {
        let gone = dir.child_metadata("gone".as_ref()).unwrap().unwrap();
        assert_eq!((gone.kind, gone.device_node, gone.mode), (crate::fsutil::Kind::CharDevice, (0, 0), 0));
        let marked = xattrs_of(dir.child_dir("dir".as_ref()).unwrap(), |_| true).unwrap();
        assert_eq!(marked.get(&b"trusted.overlay.opaque"[..]).map(Vec::as_slice), Some(&b"y"[..]));
    }
}

#[test]
fn a_file_above_four_gigabytes_is_whole() {
    const SIZE: u64 = (4 << 30) + 700;
    let temp = tempfile::tempdir().unwrap();
    let tar = File::create_new(temp.path().join("tar")).unwrap();
    tar.set_len(512 + SIZE.next_multiple_of(512)).unwrap();
    tar.write_all_at(b"the end", 512 + SIZE - 7).unwrap();
    let mut tree = Tree::new(&root());
    tree.add(&entry("large", EntryKind::File { size: SIZE }), Some(512)).unwrap();
    let image = Image::new(tree, tar.metadata().unwrap().len()).unwrap();
    image.write(File::create(temp.path().join("names")).unwrap()).unwrap();
    let Ok(packed) = mount(temp.path()) else { return };
    let large = packed.open_file_in_root(Path::new("large")).unwrap();
    let mut end = [0; 7];
    large.read_exact_at(&mut end, SIZE - 7).unwrap();
    assert_eq!((large.metadata().unwrap().len(), &end), (SIZE, b"the end"));
}

/// A tar with entries in any order, which no writer of layers makes.
fn unordered(entries: &[(TarEntry, &[u8])]) -> Vec<u8> {
    let mut all = Vec::new();
    for (entry, data) in entries {
        let mut writer = Writer::new(Vec::new());
        add(&mut writer, entry.clone(), data);
        all.extend(writer.finish().unwrap());
        all.truncate(all.len() - 1024);
    }
    all
}

#[test]
fn what_depends_on_more_is_left_to_unpacking() {
    let link = |target: &str| EntryKind::Hardlink(target.into());
    let cases: [(&str, &[TarEntry]); 10] = [
        ("a parent that is missing", &[entry("a/b", EntryKind::Fifo)]),
        ("a parent that is a link", &[entry("a", EntryKind::Symlink(b".".to_vec())), entry("a/b", EntryKind::Fifo)]),
        ("a parent that is a file", &[entry("a", EntryKind::Fifo), entry("a/b", EntryKind::Fifo)]),
        ("a name that comes twice", &[entry("a", EntryKind::Fifo), entry("a", EntryKind::Fifo)]),
        ("a directory over a file", &[entry("a", EntryKind::Fifo), entry("a", EntryKind::Directory)]),
        ("a file over a directory", &[entry("a", EntryKind::Directory), entry("a", EntryKind::Fifo)]),
        ("a link to a lower file", &[entry("a", link("b"))]),
        ("a link to a directory", &[entry("a", EntryKind::Directory), entry("b", link("a"))]),
        ("a device that is a deletion", &[entry("a", EntryKind::CharDevice { major: 0, minor: 0 })]),
        ("a name that is too long", &[entry(&"n".repeat(256), EntryKind::Fifo)]),
    ];
    for (what, entries) in cases {
        let tar = unordered(&entries.iter().map(|entry| (entry.clone(), &b""[..])).collect::<Vec<_>>());
        assert!(image_of(&tar[..], &root(), Limits::default()).unwrap().is_none(), "{what}");
    }
    let hidden_root = tar(|writer| writer.opaque(b"").unwrap());
    assert!(image_of(&hidden_root[..], &root(), Limits::default()).unwrap().is_none());
}

#[test]
fn a_directory_that_comes_twice_keeps_its_content() {
    let directory = entry("dir", EntryKind::Directory);
    let file = entry("dir/file", EntryKind::File { size: 1 });
    let changed = TarEntry { mode: 0o700, ..directory.clone() };
    let tar = unordered(&[(directory, b""), (file, b"x"), (changed, b"")]);
    let Some(both) = Both::of(&tar) else { return };
    assert!(as_layer(&both.packed) == as_layer(&both.unpacked()));
    assert_eq!(both.packed.child_metadata("dir".as_ref()).unwrap().unwrap().mode, 0o700);
}
