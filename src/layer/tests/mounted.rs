//! Diffs of real overlay mounts, detached so that nothing can be left behind. They need the right to mount.

use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::PathBuf;

use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_string, fsmount, fsopen};

use super::*;

struct Overlay {
    temp: tempfile::TempDir,
    merged: Dir,
}

impl Overlay {
    /// Mounts an overlay over what `below` makes; `None` without the right to.
    fn new(below: impl Fn(&Path)) -> Option<Self> {
        let temp = tempfile::tempdir().unwrap();
        for name in ["lower", "empty", "upper", "work"] {
            fs::create_dir(temp.path().join(name)).unwrap();
        }
        below(&temp.path().join("lower"));
        let merged = mount(&[temp.path().join("lower")], Some((&temp.path().join("upper"), &temp.path().join("work"))));
        let Ok(merged) = merged else {
            eprintln!("skipped: no right to mount an overlay");
            return None;
        };
        Some(Self { temp, merged })
    }

    fn upper(&self) -> PathBuf {
        self.temp.path().join("upper")
    }

    fn lower(&self) -> PathBuf {
        self.temp.path().join("lower")
    }

    /// A path of this process into the mount.
    fn path(&self, below: &str) -> PathBuf {
        use std::os::fd::AsRawFd;
        PathBuf::from(format!("/proc/self/fd/{}/{below}", self.merged.as_fd().as_raw_fd()))
    }

    fn diff(&self) -> (Vec<u8>, DiffSummary) {
        diff_of(&self.upper(), Some(&Dir::open(&self.lower()).unwrap()), &[])
    }
}

fn mount(lowers: &[PathBuf], upper: Option<(&Path, &Path)>) -> std::io::Result<Dir> {
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    for lower in lowers.iter().rev() {
        fsconfig_set_string(context.as_fd(), "lowerdir+", lower.as_path())?;
    }
    if let Some((upper, work)) = upper {
        fsconfig_set_string(context.as_fd(), "upperdir", upper)?;
        fsconfig_set_string(context.as_fd(), "workdir", work)?;
    }
    fsconfig_create(context.as_fd())?;
    let mount = fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())?;
    let dir = rustix::fs::openat(&mount, ".", rustix::fs::OFlags::DIRECTORY, rustix::fs::Mode::empty())?;
    Ok(Dir::from_fd(dir))
}

fn base(lower: &Path) {
    for dir in ["etc/deep/er", "gone/sub", "replaced/sub", "same"] {
        fs::create_dir_all(lower.join(dir)).unwrap();
    }
    for file in ["etc/passwd", "etc/shadow", "etc/deep/er/file", "gone/sub/file", "replaced/old", "same/file", "top"] {
        fs::write(lower.join(file), file).unwrap();
    }
    symlink("passwd", lower.join("etc/link")).unwrap();
}

#[test]
fn changes_and_deletions_are_found() {
    let Some(overlay) = Overlay::new(base) else { return };
    fs::write(overlay.path("etc/passwd"), "changed").unwrap();
    fs::write(overlay.path("etc/new"), "new").unwrap();
    fs::remove_file(overlay.path("etc/shadow")).unwrap();
    fs::remove_dir_all(overlay.path("gone")).unwrap();
    fs::remove_dir_all(overlay.path("replaced")).unwrap();
    fs::create_dir(overlay.path("replaced")).unwrap();
    fs::write(overlay.path("replaced/fresh"), "").unwrap();
    fs::create_dir_all(overlay.path("added/dir")).unwrap();
    fs::set_permissions(overlay.path("etc/deep/er"), fs::Permissions::from_mode(0o700)).unwrap();
    let (tar, summary) = overlay.diff();
    assert_eq!(summary.warnings, []);
    assert_eq!(
        names(&tar),
        [
            "added/",
            "added/dir/",
            "etc/",
            "etc/deep/",
            "etc/deep/er/",
            "etc/new",
            "etc/passwd",
            "etc/.wh.shadow",
            ".wh.gone",
            "replaced/",
            "replaced/.wh..wh..opq",
            "replaced/fresh",
        ]
    );
    assert_eq!(summary.entries, 12);
}

#[test]
fn copy_ups_without_change_add_nothing() {
    let Some(overlay) = Overlay::new(base) else { return };
    drop(fs::OpenOptions::new().append(true).open(overlay.path("etc/passwd")).unwrap());
    fs::set_permissions(overlay.path("same"), fs::metadata(overlay.path("same")).unwrap().permissions()).unwrap();
    fs::write(overlay.path("etc/temporary"), "x").unwrap();
    fs::remove_file(overlay.path("etc/temporary")).unwrap();
    assert!(overlay.upper().join("etc/passwd").exists(), "the control: it was copied up");
    assert!(overlay.upper().join("same").exists());
    let (tar, summary) = overlay.diff();
    assert_eq!((summary.entries, tar), (0, vec![0; 1024]));
}

#[test]
fn touched_and_rewritten_files_are_changes() {
    let Some(overlay) = Overlay::new(base) else { return };
    let before = fs::metadata(overlay.path("etc/passwd")).unwrap();
    fs::write(overlay.path("etc/passwd"), "ETC/PASSWD").unwrap();
    let handle = fs::OpenOptions::new().append(true).open(overlay.path("etc/passwd")).unwrap();
    handle.set_modified(before.modified().unwrap()).unwrap();
    let touched = fs::OpenOptions::new().append(true).open(overlay.path("top")).unwrap();
    touched.set_modified(std::time::UNIX_EPOCH).unwrap();
    assert_eq!(names(&overlay.diff().0), ["etc/", "etc/passwd", "top"]);
}

#[test]
fn several_deletions_are_never_hard_links() {
    let Some(overlay) = Overlay::new(base) else { return };
    for name in ["etc/passwd", "etc/shadow", "etc/link", "top"] {
        fs::remove_file(overlay.path(name)).unwrap();
    }
    let links = fs::symlink_metadata(overlay.upper().join("top")).unwrap().nlink();
    eprintln!("deletions share an inode with {links} names");
    assert_eq!(names(&overlay.diff().0), ["etc/", "etc/.wh.link", "etc/.wh.passwd", "etc/.wh.shadow", ".wh.top"]);
}

#[test]
fn hard_links_have_the_first_name() {
    let Some(overlay) = Overlay::new(base) else { return };
    fs::write(overlay.path("z"), "content").unwrap();
    fs::hard_link(overlay.path("z"), overlay.path("a")).unwrap();
    fs::hard_link(overlay.path("z"), overlay.path("etc/m")).unwrap();
    fs::hard_link(overlay.path("top"), overlay.path("zz")).unwrap();
    assert_eq!(names(&overlay.diff().0), ["a", "etc/", "etc/m = a", "top", "z = a", "zz = top"]);
}

#[test]
fn stubs_are_left_out_while_unchanged() {
    let Some(overlay) = Overlay::new(base) else { return };
    for dir in ["proc", "run/secrets", "used"] {
        fs::create_dir_all(overlay.path(dir)).unwrap();
    }
    for stub in ["etc/hosts", "run/secrets/token", "used/stub", "written"] {
        fs::write(overlay.path(stub), "").unwrap();
    }
    fs::write(overlay.path("used/real"), "").unwrap();
    fs::write(overlay.path("written"), "by the step").unwrap();
    let stubs = ["/proc", "run", "run/secrets", "run/secrets/token", "etc/hosts", "used", "used/stub", "written"];
    let lower = Dir::open(&overlay.lower()).unwrap();
    let (tar, _) = diff_of(&overlay.upper(), Some(&lower), &stubs.map(PathBuf::from));
    assert_eq!(names(&tar), ["used/", "used/real", "written"]);
}

#[test]
fn overlay_notes_sockets_and_reserved_names_stay_out() {
    let Some(overlay) = Overlay::new(base) else { return };
    let _socket = std::os::unix::net::UnixListener::bind(overlay.path("socket")).unwrap();
    fs::write(overlay.path(".wh.top"), "").unwrap();
    fs::create_dir(overlay.path(".wh.dir")).unwrap();
    fs::write(overlay.path(".wh.dir/file"), "").unwrap();
    let file = fs::OpenOptions::new().append(true).open(overlay.path("etc/passwd")).unwrap();
    crate::fsutil::set_xattr(&file, b"user.overlay.opaque", b"y").unwrap();
    crate::fsutil::set_xattr(&file, b"user.mine", b"kept").unwrap();
    crate::fsutil::set_xattr(&file, b"trusted.overlay.opaque", b"y").unwrap();
    let (tar, summary) = overlay.diff();
    assert_eq!(names(&tar), ["etc/", "etc/passwd"]);
    assert_eq!(summary.warnings.len(), 2);
    let mut reader = Reader::new(tar.as_slice(), Limits::default());
    reader.next_entry().unwrap();
    let entry = reader.next_entry().unwrap().unwrap();
    assert_eq!(entry.xattrs, Xattrs::from([(b"user.mine".to_vec(), b"kept".to_vec())]));
}

/// What a step saw is what the next one sees, with its changes unpacked from the tar.
#[test]
fn an_applied_diff_shows_the_same_tree() {
    let Some(overlay) = Overlay::new(base) else { return };
    fs::remove_dir_all(overlay.path("replaced")).unwrap();
    fs::create_dir(overlay.path("replaced")).unwrap();
    fs::write(overlay.path("replaced/sub"), "now a file").unwrap();
    fs::remove_dir_all(overlay.path("gone")).unwrap();
    fs::write(overlay.path("gone"), "a file too").unwrap();
    fs::remove_file(overlay.path("top")).unwrap();
    fs::create_dir(overlay.path("top")).unwrap();
    fs::write(overlay.path("top/x"), vec![0; 3 << 20]).unwrap();
    fs::hard_link(overlay.path("top/x"), overlay.path("top/y")).unwrap();
    symlink("/etc", overlay.path("same/absolute")).unwrap();
    fs::remove_file(overlay.path("etc/shadow")).unwrap();
    let (tar, _) = overlay.diff();
    let target = overlay.temp.path().join("unpacked");
    fs::create_dir(&target).unwrap();
    let summary = unpack(&tar, &target, Some(&overlay.lower())).unwrap();
    assert!(!summary.used_lower);
    let view = mount(&[overlay.lower(), target.clone()], None).unwrap();
    let mut seen = Vec::new();
    write_tree(&view, &mut seen).unwrap();
    let mut expected = Vec::new();
    write_tree(&overlay.merged, &mut expected).unwrap();
    assert_eq!(names(&seen), names(&expected));
    assert!(seen == expected);
    // And the layer, read as an upper directory, is the same layer.
    assert!(diff_of(&target, Some(&Dir::open(&overlay.lower()).unwrap()), &[]).0 == tar);
}

#[test]
fn deep_trees_and_long_paths_walk_without_many_handles() {
    let Some(overlay) = Overlay::new(base) else { return };
    let mut at = overlay.merged.try_clone().unwrap();
    let name = OsStr::new("directory-name");
    for _ in 0..1200 {
        at.create_dir(name, 0o755).unwrap();
        at = at.child_dir(name).unwrap();
    }
    at.create_file(OsStr::new("bottom")).unwrap();
    drop(at);
    let (tar, summary) = overlay.diff();
    assert_eq!(summary.entries, 1201);
    let target = overlay.temp.path().join("unpacked");
    fs::create_dir(&target).unwrap();
    unpack(&tar, &target, Some(&overlay.lower())).unwrap();
    assert!(diff_of(&target, Some(&Dir::open(&overlay.lower()).unwrap()), &[]).0 == tar);
    for dir in [&target, &overlay.upper()] {
        Dir::open(dir).unwrap().remove_tree(name).unwrap();
    }
}
