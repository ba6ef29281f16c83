//! What every snapshotter must do, and that all of them give the same layers to the byte. Overlays need the right to mount.

use std::fs::{self, OpenOptions, Permissions};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};

use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_string, fsmount, fsopen};

use super::*;
use crate::digest::DiffId;
use crate::fsutil::{Kind, Timestamp, set_mtime, set_xattr, xattrs_of};
use crate::layer::{EntryKind, Limits, Reader, TarEntry, Writer};

/// Does something with a fresh store of each kind.
fn each(test: impl Fn(&Path, &Snapshots)) {
    for (kind, packs) in [(Snapshotter::Overlay, false), (Snapshotter::Overlay, true), (Snapshotter::Copy, false)] {
        let store = tempfile::tempdir().unwrap();
        if kind == Snapshotter::Overlay && !rustix::process::geteuid().is_root() {
            eprintln!("skipped: no right to mount an overlay");
            continue;
        }
        let snapshots = Snapshots::open(store.path(), kind, false).unwrap();
        let snapshots = Snapshots { pack_from: if packs { 0 } else { u64::MAX }, ..snapshots };
        if packs && !snapshots.packs(0) {
            eprintln!("skipped: this kernel cannot mount packed layers");
            continue;
        }
        eprintln!("{kind}, {}", if packs { "packed" } else { "unpacked" });
        test(store.path(), &snapshots);
    }
}

/// Unpacks or packs a tar on top of `chain`; returns the chain with it.
fn unpack(snapshots: &Snapshots, chain: &[ChainId], tar: &[u8]) -> Vec<ChainId> {
    let top = ChainId::on(chain.last().copied(), DiffId(Digest::of(tar)));
    let whole = [chain, &[top]].concat();
    if snapshots.packs(tar.len() as u64) {
        let blob = snapshots.packed.with_file_name("blob");
        fs::write(&blob, tar).unwrap();
        let packed = snapshots.pack(tar, &blob, &whole).unwrap();
        fs::remove_file(&blob).unwrap();
        if packed {
            return whole;
        }
    }
    let unpacked = snapshots.unpack(tar, chain).unwrap_or_else(|error| panic!("{error}"));
    snapshots.commit(unpacked, top).unwrap();
    whole
}

fn tar_of(make: impl Fn(&Path)) -> Vec<u8> {
    let temp = tempfile::tempdir().unwrap();
    fs::set_permissions(temp.path(), Permissions::from_mode(0o755)).unwrap();
    make(temp.path());
    let mut tar = Vec::new();
    layer::write_tree(&Dir::open(temp.path()).unwrap(), &mut tar).unwrap();
    tar
}

fn whole(snapshots: &Snapshots, chain: &[ChainId]) -> Vec<u8> {
    let mut tar = Vec::new();
    layer::write_tree(&snapshots.view(chain).unwrap(), &mut tar).unwrap();
    tar
}

/// The entries of a tar: `name`, `name/`, `name = other name`.
fn names(tar: &[u8]) -> Vec<String> {
    let mut reader = Reader::new(tar, Limits::default());
    let mut names = Vec::new();
    while let Some(entry) = reader.next_entry().unwrap() {
        let end = match &entry.kind {
            EntryKind::Directory => "/".to_owned(),
            EntryKind::Hardlink(target) => format!(" = {}", String::from_utf8_lossy(target)),
            _ => String::new(),
        };
        names.push(String::from_utf8_lossy(&entry.path).into_owned() + &end);
    }
    names
}

/// Lets `step` write a tree on top of `chain` as a RUN would; returns the layer.
fn run(snapshots: &Snapshots, chain: &[ChainId], step: &dyn Fn(&Path)) -> Vec<u8> {
    written(snapshots, chain, step).0
}

/// As [`run`]; returns the tree too.
fn written(snapshots: &Snapshots, chain: &[ChainId], step: &dyn Fn(&Path)) -> (Vec<u8>, Writable) {
    let writable = snapshots.writable(chain).unwrap();
    match writable.lowers() {
        [] => step(writable.scratch().fs()),
        lowers => {
            let mounted = mount(lowers, writable.scratch());
            step(&PathBuf::from(format!("/proc/self/fd/{}", mounted.as_fd().as_raw_fd())));
        }
    }
    let mut tar = Vec::new();
    let below = snapshots.view(chain).unwrap();
    snapshots.difference(&writable, &below, &[PathBuf::from("stub")], &mut tar).unwrap();
    (tar, writable)
}

fn mount(lowers: &[PathBuf], scratch: &Scratch) -> Dir {
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).unwrap();
    let opened: Vec<_> = lowers.iter().rev().map(|lower| open_lower(lower).unwrap()).collect();
    for lower in &opened {
        fsconfig_set_string(context.as_fd(), "lowerdir+", format!("/proc/self/fd/{}", lower.as_raw_fd())).unwrap();
    }
    for (name, value) in [("upperdir", scratch.fs()), ("workdir", scratch.work())] {
        fsconfig_set_string(context.as_fd(), name, value).unwrap();
    }
    for (name, value) in [("redirect_dir", "nofollow"), ("metacopy", "off"), ("index", "off"), ("xino", "off")] {
        fsconfig_set_string(context.as_fd(), name, value).unwrap();
    }
    fsconfig_create(context.as_fd()).unwrap();
    let mounted = fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty()).unwrap();
    Dir::from_fd(rustix::fs::openat(&mounted, ".", rustix::fs::OFlags::DIRECTORY, rustix::fs::Mode::empty()).unwrap())
}

/// Lets the same step change [`base`] in every kind of store, and compares the layers with each other and, as a list, with
/// what is wanted. The layer shows in the next tree what the step has left.
#[track_caller]
fn check(step: impl Fn(&Path), want: &[&str]) {
    let layers = std::cell::RefCell::new(Vec::new());
    let time = |path: &Path| {
        // So that the moment of the test does not show.
        step(path);
        settle(path);
    };
    each(|_, snapshots| {
        let chain = unpack(snapshots, &[], &tar_of(base));
        let before = whole(snapshots, &chain);
        let tar = run(snapshots, &chain, &time);
        assert_eq!(names(&tar), want);
        assert!(whole(snapshots, &chain) == before, "a finished snapshot was written to");
        let next = unpack(snapshots, &chain, &tar);
        layers.borrow_mut().push((tar, whole(snapshots, &next)));
    });
    let layers = layers.into_inner();
    assert!(layers.windows(2).all(|pair| pair[0] == pair[1]), "the layers differ");
}

/// Gives everything that was changed just now one time.
fn settle(path: &Path) {
    set_times(path, 1_700_000_000);
}

/// Sets all later times to this one, content before directories.
fn set_times(path: &Path, seconds: i64) {
    let mut waiting = vec![path.to_owned()];
    let mut found = Vec::new();
    while let Some(dir) = waiting.pop() {
        for entry in Dir::open(&dir).unwrap().entries().unwrap() {
            if entry.kind == Kind::Directory {
                waiting.push(dir.join(&entry.name));
            }
            found.push((dir.clone(), entry.name));
        }
    }
    for (dir, name) in found.iter().rev() {
        let dir = Dir::open(dir).unwrap();
        if dir.child_metadata(name).unwrap().unwrap().mtime.seconds > seconds {
            dir.set_child_mtime(name, Timestamp::from_seconds(seconds)).unwrap();
        }
    }
    set_mtime(Dir::open(path).unwrap(), Timestamp::from_seconds(seconds)).unwrap();
}

/// With times long ago, so that what a step changes is later.
fn base(root: &Path) {
    for dir in ["etc/deep/er", "gone/sub", "replaced/sub", "same"] {
        fs::create_dir_all(root.join(dir)).unwrap();
    }
    for file in ["etc/passwd", "etc/shadow", "etc/deep/er/file", "gone/sub/file", "replaced/old", "same/file", "top"] {
        fs::write(root.join(file), file).unwrap();
    }
    fs::write(root.join("a"), "several names").unwrap();
    fs::hard_link(root.join("a"), root.join("b")).unwrap();
    fs::hard_link(root.join("a"), root.join("same/c")).unwrap();
    symlink("passwd", root.join("etc/link")).unwrap();
    let tagged = OpenOptions::new().append(true).open(root.join("top")).unwrap();
    set_xattr(&tagged, b"user.mine", b"kept").unwrap();
    let big = fs::File::create(root.join("sparse")).unwrap();
    big.write_all_at(&[7; 100], 5 << 20).unwrap();
    big.set_len(9 << 20).unwrap();
    set_times(root, 1_600_000_000);
}

#[test]
fn a_view_shows_the_upper_layer_over_the_lower() {
    each(|_, snapshots| {
        let write = |names: &'static [&str], text: &'static str| {
            tar_of(move |root| names.iter().for_each(|name| fs::write(root.join(name), text).unwrap()))
        };
        let one = unpack(snapshots, &[], &write(&["one", "two"], "a"));
        let two = unpack(snapshots, &one, &write(&["two"], "b"));
        let view = snapshots.view(&two).unwrap();
        let read = |name| std::io::read_to_string(view.open_file_in_root(Path::new(name)).unwrap()).unwrap();
        assert_eq!((read("one"), read("/two")), ("a".to_owned(), "b".to_owned()));
        assert!(snapshots.has(two[1]) && !snapshots.has(ChainId(Digest::of(b"none"))));
        assert_eq!(snapshots.all().unwrap().len(), 2);
    });
}

/// Views of tall stacks are mounted on others.
#[test]
fn a_tall_stack_shows_what_it_shows_mounted_as_a_whole() {
    let seen = std::cell::RefCell::new(Vec::new());
    each(|_, snapshots| {
        let mut chain = unpack(snapshots, &[], &tar_of(base));
        let mut trees = Vec::new();
        for number in 0..60 {
            let step = |root: &Path| {
                fs::write(root.join(format!("file {number}")), [number]).unwrap();
                if number % 3 == 1 {
                    fs::remove_file(root.join(format!("file {}", number - 1))).unwrap();
                }
                if number % 7 == 0 {
                    let _ = fs::remove_dir_all(root.join("replaced"));
                    fs::create_dir_all(root.join(format!("replaced/{number}"))).unwrap();
                }
                settle(root);
            };
            chain = unpack(snapshots, &chain, &run(snapshots, &chain, &step));
            let tree = whole(snapshots, &chain);
            let as_a_whole = Snapshots { bases: Arc::default(), ..snapshots.clone() };
            assert!(tree == whole(&as_a_whole, &chain), "{number}");
            trees.push(tree);
        }
        assert!(names(&trees[59]).iter().any(|name| name == "replaced/56/"));
        seen.borrow_mut().push(trees);
    });
    let seen = seen.into_inner();
    assert!(seen.windows(2).all(|pair| pair[0] == pair[1]), "the trees differ");
}

#[test]
fn a_stack_may_be_taller_than_an_overlay() {
    each(|_, snapshots| {
        let mut chain = Vec::new();
        // Views of packed layers are no base for others.
        let packs = snapshots.packs(0);
        for number in 0..bases::MOST_LAYERS + if packs { 0 } else { 20 } {
            chain = unpack(snapshots, &chain, &tar_of(|root| fs::write(root.join(number.to_string()), "").unwrap()));
        }
        if packs {
            assert_eq!(snapshots.view(&chain).unwrap().entries().unwrap().len(), chain.len());
            let taller = [&chain[..], &chain[..1]].concat();
            assert!(matches!(snapshots.view(&taller), Err(SnapshotError::TooTall { layers: 500 })));
            return;
        }
        let fresh = Snapshots { bases: Arc::default(), ..snapshots.clone() };
        for snapshots in [snapshots, &fresh] {
            assert_eq!(snapshots.view(&chain).unwrap().entries().unwrap().len(), chain.len());
        }
        let refused = matches!(snapshots.lowers(&chain), Err(SnapshotError::TooTall { layers: 519 }));
        assert_eq!(refused, snapshots.snapshotter() == Snapshotter::Overlay);
    });
}

#[test]
fn an_empty_chain_is_an_empty_directory() {
    each(|_, snapshots| {
        assert_eq!(snapshots.view(&[]).unwrap().entries().unwrap(), []);
        let writable = snapshots.writable(&[]).unwrap();
        assert_eq!(Dir::open(writable.scratch().fs()).unwrap().entries().unwrap(), []);
    });
}

#[test]
fn a_sweep_takes_the_dead_and_leaves_the_living() {
    each(|store, snapshots| {
        let living = snapshots.scratch().unwrap();
        let dead = store.join("scratch/0123456789abcdef");
        fs::create_dir_all(dead.join("work/work")).unwrap();
        snapshots.sweep().unwrap();
        assert!(living.fs().is_dir());
        assert!(!dead.exists());
    });
}

#[test]
fn a_dropped_scratch_is_gone() {
    each(|_, snapshots| {
        let fs = snapshots.scratch().unwrap().fs().to_owned();
        assert!(!fs.exists());
    });
}

#[test]
fn what_is_removed_is_no_longer_there() {
    each(|store, snapshots| {
        let one = unpack(snapshots, &[], &tar_of(base));
        let two = unpack(snapshots, &one, &tar_of(|root| fs::write(root.join("two"), "two").unwrap()));
        for kind in Snapshots::of_all_kinds(store).unwrap() {
            kind.all().unwrap().into_iter().filter(|id| *id == one[0]).for_each(|id| {
                kind.remove(id).unwrap();
            });
        }
        assert!(!snapshots.has(one[0]));
        assert!(snapshots.has(two[1]), "the other one");
        let lower = Dir::from_fd(open_lower(snapshots.lowers(&two).unwrap().last().unwrap()).unwrap());
        let text = std::io::read_to_string(lower.open_file_in_root(Path::new("two")).unwrap()).unwrap();
        assert_eq!(text, "two");
    });
}

#[test]
fn nothing_done_is_no_layer() {
    check(|_| {}, &[]);
    check(
        |root| {
            drop(OpenOptions::new().append(true).open(root.join("etc/passwd")).unwrap());
            fs::set_permissions(root.join("same"), fs::metadata(root.join("same")).unwrap().permissions()).unwrap();
            fs::write(root.join("etc/temporary"), "x").unwrap();
            fs::remove_file(root.join("etc/temporary")).unwrap();
            fs::write(root.join("stub"), "").unwrap();
        },
        &[],
    );
}

#[test]
fn changes_and_deletions_are_found() {
    check(
        |root| {
            fs::write(root.join("etc/passwd"), "changed").unwrap();
            fs::write(root.join("etc/new"), "new").unwrap();
            fs::remove_file(root.join("etc/shadow")).unwrap();
            fs::remove_dir_all(root.join("gone")).unwrap();
            fs::create_dir_all(root.join("added/dir")).unwrap();
            fs::set_permissions(root.join("etc/deep/er"), Permissions::from_mode(0o700)).unwrap();
            symlink("elsewhere", root.join("etc/link2")).unwrap();
        },
        &[
            "added/",
            "added/dir/",
            "etc/",
            "etc/deep/",
            "etc/deep/er/",
            "etc/link2",
            "etc/new",
            "etc/passwd",
            "etc/.wh.shadow",
            ".wh.gone",
        ],
    );
}

#[test]
fn a_directory_made_anew_hides_the_old_one() {
    check(
        |root| {
            fs::remove_dir_all(root.join("replaced")).unwrap();
            fs::create_dir(root.join("replaced")).unwrap();
            fs::write(root.join("replaced/fresh"), "").unwrap();
            fs::remove_dir_all(root.join("same")).unwrap();
            fs::write(root.join("same"), "a file").unwrap();
            fs::remove_file(root.join("top")).unwrap();
            fs::create_dir(root.join("top")).unwrap();
        },
        &["replaced/", "replaced/.wh..wh..opq", "replaced/fresh", "same", "top/"],
    );
}

#[test]
fn a_file_moved_over_another_is_a_change() {
    check(
        |root| {
            fs::rename(root.join("same/file"), root.join("etc/deep/er/file")).unwrap();
            fs::rename(root.join("etc/passwd"), root.join("etc/shadow")).unwrap();
        },
        &[
            "etc/",
            "etc/deep/",
            "etc/deep/er/",
            "etc/deep/er/file",
            "etc/.wh.passwd",
            "etc/shadow",
            "same/",
            "same/.wh.file",
        ],
    );
}

#[test]
fn a_rewritten_file_with_its_old_time_is_a_change() {
    check(
        |root| {
            let before = fs::metadata(root.join("etc/passwd")).unwrap().modified().unwrap();
            fs::write(root.join("etc/passwd"), "ETC/PASSWD").unwrap();
            OpenOptions::new().append(true).open(root.join("etc/passwd")).unwrap().set_modified(before).unwrap();
            let tagged = OpenOptions::new().append(true).open(root.join("top")).unwrap();
            set_xattr(&tagged, b"user.mine", b"new").unwrap();
        },
        &["etc/", "etc/passwd", "top"],
    );
}

/// A half of a second of the time that everything in [`base`] has.
fn write_again(root: &Path) {
    let half = Timestamp { seconds: 1_600_000_000, nanoseconds: 500_000_000 };
    fs::remove_file(root.join("etc/link")).unwrap();
    symlink("passwd", root.join("etc/link")).unwrap();
    fs::write(root.join("etc/passwd"), "etc/passwd").unwrap();
    for name in ["link", "passwd"] {
        Dir::open(&root.join("etc")).unwrap().set_child_mtime(name.as_ref(), half).unwrap();
    }
}

#[test]
fn a_file_written_again_is_a_change_also_in_the_same_second() {
    check(write_again, &["etc/", "etc/link", "etc/passwd"]);
}

#[test]
fn what_a_step_wrote_is_the_same_for_the_next_kept_or_unpacked() {
    each(|_, snapshots| {
        let chain = unpack(snapshots, &[], &tar_of(base));
        let (tar, tree) = written(snapshots, &chain, &write_again);
        let next = ChainId::on(chain.last().copied(), DiffId(Digest::of(&tar)));
        snapshots.keep(tree, next).unwrap();
        let chain = if snapshots.has(next) { [&chain[..], &[next]].concat() } else { unpack(snapshots, &chain, &tar) };
        let etc = snapshots.view(&chain).unwrap().open_dir_in_root(Path::new("etc")).unwrap();
        for name in ["link", "passwd"] {
            let metadata = etc.child_metadata(name.as_ref()).unwrap().unwrap();
            assert_eq!(metadata.mtime, Timestamp::from_seconds(1_600_000_000));
        }
        let again = run(snapshots, &chain, &write_again);
        assert_eq!(names(&again), ["etc/", "etc/link", "etc/passwd"]);
        assert_eq!(names(&run(snapshots, &chain, &|_| {})), [""; 0]);
    });
}

#[test]
fn names_of_one_file_part_when_all_of_them_are_changed() {
    check(
        |root| {
            for name in ["a", "b", "same/c"] {
                fs::set_permissions(root.join(name), Permissions::from_mode(0o600)).unwrap();
            }
        },
        &["a", "b", "same/", "same/c"],
    );
}

#[test]
fn new_names_stand_for_one_file() {
    check(
        |root| {
            fs::write(root.join("z"), "content").unwrap();
            fs::hard_link(root.join("z"), root.join("0")).unwrap();
            fs::hard_link(root.join("top"), root.join("zz")).unwrap();
            fs::hard_link(root.join("a"), root.join("another")).unwrap();
            fs::remove_file(root.join("same/c")).unwrap();
        },
        &["0", "a", "another = a", "same/", "same/.wh.c", "top", "z = 0", "zz = top"],
    );
}

#[test]
fn a_writable_tree_is_the_tree_below() {
    each(|_, snapshots| {
        let chain = unpack(snapshots, &[], &tar_of(base));
        run(snapshots, &chain, &|root| {
            let (a, c) = (fs::metadata(root.join("a")).unwrap(), fs::metadata(root.join("same/c")).unwrap());
            assert_eq!((a.ino(), a.nlink()), (c.ino(), 3));
            let sparse = fs::metadata(root.join("sparse")).unwrap();
            assert_eq!(sparse.len(), 9 << 20);
            // In a tar there are no holes.
            let is_sparse = sparse.blocks() * 512 < 1 << 20;
            assert_eq!(is_sparse, !snapshots.packs(0), "{} blocks", sparse.blocks());
            let top = fs::File::open(root.join("top")).unwrap();
            assert_eq!(xattrs_of(&top, |name| name.starts_with(b"user.mine")).unwrap().len(), 1);
            assert_eq!(top.metadata().unwrap().mtime(), 1_600_000_000);
        });
    });
}

/// Whatever the order in a tar: a deletion is about the layers below.
#[test]
fn deletions_spare_what_their_own_layer_has() {
    let trees = std::cell::RefCell::new(Vec::new());
    each(|_, snapshots| {
        let chain = unpack(snapshots, &[], &tar_of(base));
        let mut writer = Writer::new(Vec::new());
        let new = tar_of(|root| {
            fs::create_dir_all(root.join("etc")).unwrap();
            fs::create_dir_all(root.join("replaced/sub")).unwrap();
            fs::write(root.join("etc/passwd"), "of the layer").unwrap();
            fs::write(root.join("replaced/sub/new"), "of the layer").unwrap();
            fs::File::open(root.join("etc/passwd")).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
            settle(root);
        });
        writer.whiteout(b"etc/shadow").unwrap();
        writer.whiteout(b"nowhere/at/all").unwrap();
        let early = writer.finish().unwrap();
        let mut writer = Writer::new(Vec::new());
        writer.whiteout(b"etc/passwd").unwrap();
        writer.append(&TarEntry::plain_directory(b"replaced".to_vec()), &mut io::empty()).unwrap();
        writer.opaque(b"replaced").unwrap();
        writer.whiteout(b"same").unwrap();
        let late = writer.finish().unwrap();
        let tar = [&early[..early.len() - 1024], &new[..new.len() - 1024], &late].concat();
        let next = unpack(snapshots, &chain, &tar);
        let found = names(&whole(snapshots, &next));
        assert!(found.contains(&"etc/passwd".to_owned()) && !found.contains(&"etc/shadow".to_owned()), "{found:?}");
        assert!(found.contains(&"replaced/sub/new".to_owned()) && !found.contains(&"replaced/old".to_owned()));
        assert!(!found.contains(&"same/".to_owned()));
        trees.borrow_mut().push(found);
    });
    let trees = trees.into_inner();
    assert!(trees.windows(2).all(|pair| pair[0] == pair[1]), "{trees:?}");
}
