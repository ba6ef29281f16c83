//! Builds of a user with a single id: what such a user builds is what root builds, and nobody is deceived by it.

// Tests are the edge: they look at the clock and the environment.
#![allow(clippy::disallowed_methods)]

mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use support::bases::Base;
use support::kiln::Kiln;
use support::user::User;
use support::{image, registry};

#[test]
fn root_builds_the_same_layers_on_busybox() {
    check_same_layers(Base::Busybox);
}

#[test]
fn root_builds_the_same_layers_on_debian() {
    check_same_layers(Base::Debian);
}

fn check_same_layers(base: Base) {
    if !support::has_root() {
        return;
    }
    let context = context("owners", &[]);
    support::write(context.path(), "secret", "s");
    let secret = format!("id=s,src={}", context.path().join("secret").display());
    let base = format!("BASE={}", registry::base(base));
    let arguments = ["--secret", &secret, "--build-arg", &base];
    let arguments = [&arguments[..], &["--build-arg", "SOURCE_DATE_EPOCH=1700000000"]].concat();
    let [root, single] = builders().map(|kiln| {
        let archive = kiln.out().join("image.tar");
        let output = format!("type=oci,rewrite-timestamp=true,dest={}", archive.display());
        kiln.build(context.path(), &[&arguments[..], &["-o", &output]].concat()).succeeded();
        let image = image::read(&archive).expect("an OCI archive");
        (image.config["rootfs"]["diff_ids"].clone(), image::flatten(&image.layers).expect("whole layers"))
    });
    let listed = |files: &image::Files| -> Vec<String> { files.iter().map(|(path, node)| line(path, node)).collect() };
    assert_eq!(listed(&root.1), listed(&single.1));
    assert_eq!(single.0, root.0);
    let owner = |path: &str| (single.1[path].uid, single.1[path].gid);
    assert_eq!((owner("/all/c"), owner("/all/l"), owner("/all/fifo")), ((33, 44), (9, 10), (7, 8)));
    assert_eq!(
        (owner("/app/by-su"), owner("/app/orphan"), owner("/app/w/link")),
        ((1000, 1000), (1000, 1000), (70, 80))
    );
    assert_eq!((single.1["/all/null"].kind, single.1["/all/block"].kind), ("char", "block"));
}

#[test]
fn packages_that_belong_to_others_are_installed() {
    if !support::has_root() {
        return;
    }
    let context = context("packages", &[]);
    let arguments = support::apt::arguments();
    let [root, single] = builders().map(|kiln| {
        let archive = kiln.build_archive(context.path(), "image.tar", &arguments);
        let image = image::read(&archive).expect("an OCI archive");
        image::flatten(&image.layers).expect("whole layers")
    });
    let owners = |files: &image::Files| -> BTreeMap<String, String> {
        files
            .iter()
            .map(|(path, node)| (path.clone(), format!("{} {:o} {}:{}", node.kind, node.mode, node.uid, node.gid)))
            .collect()
    };
    assert_eq!(owners(&root), owners(&single));
    assert_eq!(single["/usr/bin/crontab"].mode, 0o2755);
    assert_ne!(single["/usr/bin/crontab"].gid, 0);
}

#[test]
fn a_hostile_step_reaches_nothing_and_forges_nothing() {
    if !support::has_root() || !cfg!(target_arch = "x86_64") {
        return;
    }
    let kiln = Kiln::of(User::without_ranges());
    let context = context("hostile", &["attack.pl"]);
    // `exit(0)` by the 32-bit ABI of this machine, which the 64-bit one has a door to.
    support::write(context.path(), "old-abi", program(&[0xb8, 1, 0, 0, 0, 0xbb, 0, 0, 0, 0, 0xcd, 0x80]));
    // The user's own, so that the kernel would let it be given away.
    let victim = kiln.out().join("victim");
    std::fs::write(&victim, "").expect("a victim");
    User::without_ranges().give(&victim);
    let (base, victim_argument) =
        (format!("BASE={}", registry::base(Base::Debian)), format!("VICTIM={}", &victim.display().to_string()[1..]));
    let arguments = ["--build-arg", &base, "--build-arg", &victim_argument];
    let archive = kiln.build_archive(context.path(), "image.tar", &arguments);
    let image = image::read(&archive).expect("an OCI archive");
    let files = image::flatten(&image.layers).expect("whole layers");
    assert_eq!((files["/forged"].kind, files["/forged"].uid), ("file", 0));
    assert_eq!((files["/owned"].uid, files["/owned"].gid), (5, 6));
    assert!(files.values().all(|node| node.xattrs.keys().all(|name| !name.contains("containers"))));
    assert_eq!(files["/old-abi.status"].data, b"159\n");
    let mut buffer = [0; 64];
    let note = rustix::fs::getxattr(&victim, "user.containers.override_stat", &mut buffer[..]);
    assert_eq!(note, Err(rustix::io::Errno::NODATA), "the victim has a note");
}

/// Notes that come with an image say nothing, to root and to others.
#[test]
fn an_image_brings_no_notes() {
    if !support::has_root() {
        return;
    }
    let mut layer = tar::Builder::new(Vec::new());
    let note: &[u8] = b"7:8:0777:char-1-3";
    let mut header = tar::Header::new_ustar();
    header.set_size(0);
    header.set_mode(0o644);
    header.set_uid(3);
    header.set_gid(0);
    header.set_mtime(0);
    layer.append_data(&mut header.clone(), "first", &[][..]).expect("an entry");
    layer.append_pax_extensions([("SCHILY.xattr.user.containers.override_stat", note)]).expect("a pax header");
    layer.append_data(&mut header, "forged", &[][..]).expect("an entry");
    let layer = layer.into_inner().expect("a tar");
    let context = support::scratch();
    support::write(context.path(), "layer.tar", layer);
    support::write(
        context.path(),
        "Dockerfile",
        "FROM scratch AS a\nADD layer.tar /\nFROM scratch\nCOPY --from=a / /\n",
    );
    for kiln in builders() {
        let archive = kiln.build_archive(context.path(), "image.tar", &[]);
        let image = image::read(&archive).expect("an OCI archive");
        let files = image::flatten(&image.layers).expect("whole layers");
        let forged = &files["/forged"];
        assert_eq!((forged.kind, forged.uid, forged.gid, forged.xattrs.len()), ("file", 3, 0, 0));
    }
}

/// Root, who can do it all, and a user with a single id. (One with ranges makes no device nodes.)
fn builders() -> [Kiln; 2] {
    [Kiln::new(), Kiln::of(User::without_ranges())]
}

fn line(path: &str, node: &image::Node) -> String {
    let image::Node { kind, mode, uid, gid, target, xattrs, .. } = node;
    format!("{path} {kind} {mode:o} {uid}:{gid} {target} {xattrs:?}")
}

/// A context with that Dockerfile and these files of `testdata/single-id`.
fn context(dockerfile: &str, names: &[&str]) -> tempfile::TempDir {
    let context = support::scratch();
    let dockerfile = format!("{dockerfile}.Dockerfile");
    let files = names.iter().map(|name| (*name, *name)).chain([(dockerfile.as_str(), "Dockerfile")]);
    for (name, to) in files {
        let text = std::fs::read(testdata().join(name)).expect("a file of testdata/single-id");
        support::write(context.path(), to, text);
    }
    context
}

fn testdata() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/single-id")
}

/// The smallest program there is: an ELF header, one segment, and the code.
fn program(code: &[u8]) -> Vec<u8> {
    let (base, head) = (0x40_0000u64, 120u64);
    let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    let push = |file: &mut Vec<u8>, size: usize, value: u64| file.extend_from_slice(&value.to_le_bytes()[..size]);
    let length = head + code.len() as u64;
    // Type, machine, version, entry, offsets of segments and sections, flags, sizes and counts.
    let fields =
        [(2, 2), (2, 62), (4, 1), (8, base + head), (8, 64), (8, 0), (4, 0), (2, 64), (2, 56), (2, 1), (2, 64)];
    // Type, rights, offset, addresses, sizes, alignment.
    let segment = [(4, 1), (4, 5), (8, 0), (8, base), (8, base), (8, length), (8, length), (8, 0x1000)];
    for (size, value) in fields.into_iter().chain([(2, 0), (2, 0)]).chain(segment) {
        push(&mut file, size, value);
    }
    file.extend_from_slice(code);
    file
}
