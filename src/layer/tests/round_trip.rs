//! What is written is read, by us and by others.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::process::{Command, Stdio};

use proptest::collection::{btree_map, btree_set, vec};
use proptest::prelude::*;

use super::*;

fn name() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![4 => b'a'..=b'e', 1 => any::<u8>().prop_filter("not in names", |b| ![0, b'/'].contains(b))];
    vec(byte, 1..90).prop_filter("no dots, no marks", |name| name != b"." && name != b".." && !is_reserved_name(name))
}

fn path() -> impl Strategy<Value = Vec<u8>> {
    vec(name(), 1..6).prop_map(|names| names.join(&b'/'))
}

fn kind() -> impl Strategy<Value = EntryKind> {
    prop_oneof![
        (0u64..2000).prop_map(|size| EntryKind::File { size }),
        Just(EntryKind::Directory),
        path().prop_map(EntryKind::Symlink),
        path().prop_map(EntryKind::Hardlink),
        (0u32..4096, 0u32..1 << 20).prop_map(|(major, minor)| EntryKind::CharDevice { major, minor }),
        (0u32..4096, 0u32..1 << 20).prop_map(|(major, minor)| EntryKind::BlockDevice { major, minor }),
        Just(EntryKind::Fifo),
    ]
}

prop_compose! {
    fn any_entry()(
        path in path(),
        kind in kind(),
        mode in 0u32..0o10000,
        uid in prop_oneof![0u32..70_000, any::<u32>()],
        gid in prop_oneof![0u32..70_000, any::<u32>()],
        seconds in prop_oneof![0i64..1 << 33, any::<i64>()],
        xattrs in btree_map(name().prop_map(|name| [b"user.".to_vec(), name].concat())
            .prop_filter("not in attribute names", |name| !name.contains(&b'=')), vec(any::<u8>(), 0..300), 0..3),
    ) -> TarEntry {
        let xattrs = if matches!(kind, EntryKind::Hardlink(_)) { Xattrs::new() } else { xattrs };
        TarEntry { path, kind, mode, uid, gid, mtime: Timestamp::from_seconds(seconds), xattrs }
    }
}

fn content(entry: &TarEntry) -> Vec<u8> {
    (0..entry.size()).map(|at| (at % 251) as u8).collect()
}

fn write_all(entries: &[TarEntry]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    for entry in entries {
        writer.append(entry, &mut content(entry).as_slice()).unwrap();
    }
    writer.finish().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn what_is_written_is_read(mut entries in vec(any_entry(), 0..12)) {
        entries.sort_by(|a, b| path_order(&a.path, &b.path));
        entries.dedup_by(|a, b| a.path == b.path);
        let tar = write_all(&entries);
        let mut reader = Reader::new(tar.as_slice(), Limits::default());
        for expected in &entries {
            let entry = reader.next_entry().unwrap().unwrap();
            prop_assert_eq!(&entry, expected);
            let mut data = Vec::new();
            io::Read::read_to_end(&mut reader, &mut data).unwrap();
            prop_assert_eq!(data, content(expected));
        }
        prop_assert!(reader.next_entry().unwrap().is_none());
        let mut other = tar::Archive::new(tar.as_slice());
        let mut count = 0;
        for (entry, expected) in other.entries().unwrap().zip(&entries) {
            let entry = entry.unwrap();
            let trimmed = entry.path_bytes().strip_suffix(b"/").map(<[u8]>::to_vec).unwrap_or(entry.path_bytes().to_vec());
            // That crate ends a pax record at the first newline, whatever its length.
            let link = match &expected.kind {
                EntryKind::Symlink(target) | EntryKind::Hardlink(target) => target,
                _ => &expected.path,
            };
            let mut texts = expected.xattrs.values().chain(expected.xattrs.keys()).chain([&expected.path, link]);
            prop_assert!(trimmed == expected.path || texts.any(|text| text.contains(&b'\n')));
            count += 1;
        }
        prop_assert_eq!(count, entries.len());
    }

    #[test]
    fn garbage_never_panics(mut bytes in vec(any::<u8>(), 0..3000), entries in vec(any_entry(), 1..4), at in any::<usize>()) {
        let mut sorted = entries;
        sorted.sort_by(|a, b| path_order(&a.path, &b.path));
        sorted.dedup_by(|a, b| a.path == b.path);
        let mut tar = write_all(&sorted);
        let at = at % tar.len();
        tar[at] ^= 0x55;
        bytes.extend_from_slice(&tar);
        for input in [&tar, &bytes] {
            let mut reader = Reader::new(input.as_slice(), Limits { entries: 100, bytes: 1 << 20 });
            while let Ok(Some(_)) = reader.next_entry() {
                let _ = io::copy(&mut reader, &mut io::sink());
            }
        }
    }

    #[test]
    fn the_order_of_creation_does_not_matter(names in btree_set("[a-c./-]{1,6}", 1..8), seed in any::<u64>()) {
        let mut paths: Vec<String> = names.into_iter().filter_map(|name| {
            let clean = crate::layer::read::clean_path(name.as_bytes())?;
            Some(String::from_utf8(clean).unwrap()).filter(|path| !path.is_empty())
        }).collect();
        let build = |paths: &[String]| {
            let temp = tempfile::tempdir().unwrap();
            for path in paths {
                fs::create_dir_all(temp.path().join(path)).unwrap();
            }
            for path in paths {
                fs::write(temp.path().join(path).join("file"), path).unwrap();
            }
            settle(temp.path());
            whole(temp.path())
        };
        let sorted = build(&paths);
        let turn = (seed as usize) % paths.len().max(1);
        paths.rotate_left(turn);
        paths.reverse();
        prop_assert_eq!(build(&paths), sorted);
    }
}

/// Gives everything the same time.
fn settle(root: &Path) {
    let status = Command::new("find").arg(root).args(["-exec", "touch", "-h", "-d", "@1000", "{}", "+"]).status();
    assert!(status.unwrap().success());
}

fn sample(root: &Path) {
    fs::create_dir_all(root.join("a/b")).unwrap();
    fs::write(root.join("a/file"), vec![3; 100_000]).unwrap();
    fs::write(root.join("a/b/empty"), "").unwrap();
    fs::write(root.join("a/zeros"), vec![0; 1_000_000]).unwrap();
    fs::hard_link(root.join("a/file"), root.join("z")).unwrap();
    symlink("../nowhere", root.join("a/link")).unwrap();
    fs::write(root.join("n".repeat(200)), "long").unwrap();
    Dir::open(root).unwrap().create_node(OsStr::new("fifo"), Kind::Fifo, (0, 0)).unwrap();
    settle(root);
}

#[test]
fn gnu_tar_reads_and_writes_the_same() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    sample(from.path());
    let tar = whole(from.path());
    let run = |arguments: &[&str]| {
        let mut child = Command::new("tar")
            .args(arguments)
            .current_dir(to.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        io::Write::write_all(&mut child.stdin.take().unwrap(), &tar).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(run(&["-tvf", "-"]).contains("link to a/file"));
    run(&["-xf", "-"]);
    assert_eq!(listing(from.path()), listing(to.path()));
    assert!(whole(to.path()) == tar);
    for format in ["gnu", "pax", "ustar", "v7"] {
        let arguments = ["-c", "--format", format, "--no-recursion", "a", "a/file", "a/link"];
        let output = Command::new("tar").args(arguments).current_dir(from.path()).output().unwrap();
        assert_eq!(names(&output.stdout), ["a/", "a/file", "a/link -> ../nowhere"], "{format}");
        let target = tempfile::tempdir().unwrap();
        unpack(&output.stdout, target.path(), None).unwrap();
        assert_eq!(fs::read(target.path().join("a/file")).unwrap(), [3; 100_000], "{format}");
    }
}

#[test]
fn sparse_tars_of_gnu_are_read() {
    let (from, expected) = (tempfile::tempdir().unwrap(), vec![9u8; 5000]);
    let file = fs::File::create(from.path().join("holes")).unwrap();
    for at in 0..40u64 {
        std::os::unix::fs::FileExt::write_all_at(&file, &expected, at * 1_000_000).unwrap();
    }
    file.set_len(41_000_000).unwrap();
    let plain = fs::read(from.path().join("holes")).unwrap();
    let forms: [&[&str]; 3] =
        [&["--format=gnu"], &["--format=pax", "--sparse-version=1.0"], &["--format=pax", "--sparse-version=0.1"]];
    for form in forms {
        let output =
            Command::new("tar").args(["-c", "--sparse"]).args(form).arg("holes").current_dir(from.path()).output();
        let tar = output.unwrap().stdout;
        assert!(tar.len() < 1_000_000, "the control: it is stored sparse");
        let target = tempfile::tempdir().unwrap();
        unpack(&tar, target.path(), None).unwrap();
        let path = target.path().join("holes");
        assert!(fs::read(&path).unwrap() == plain, "{form:?}");
        assert!(fs::metadata(&path).unwrap().blocks() * 512 < 25_000_000, "holes stay holes");
    }
}

#[test]
fn a_tree_is_unpacked_as_it_was() {
    let (from, to, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    sample(from.path());
    let tar = whole(from.path());
    unpack(&tar, to.path(), None).unwrap();
    assert!(whole(to.path()) == tar);
    assert_eq!(fs::metadata(to.path().join("z")).unwrap().nlink(), 2);
    let summary = copy_tree(&Dir::open(from.path()).unwrap(), &Dir::open(copy.path()).unwrap()).unwrap();
    assert_eq!(summary.entries, 9);
    // Twice: over what is there.
    copy_tree(&Dir::open(from.path()).unwrap(), &Dir::open(copy.path()).unwrap()).unwrap();
    assert!(whole(copy.path()) == tar);
}

#[test]
fn the_writer_wants_order() {
    let mut writer = Writer::new(Vec::new());
    writer.append(&directory("b"), &mut io::empty()).unwrap();
    for path in ["a", "b"] {
        assert!(matches!(writer.append(&file(path, 0), &mut io::empty()), Err(WriteError::Order { .. })));
    }
    assert!(matches!(writer.opaque(b"c"), Err(WriteError::Order { .. })));
    assert!(matches!(writer.append(&file("c/.wh.x", 0), &mut io::empty()), Err(WriteError::ReservedName { .. })));
    let short = writer.append(&file("d", 5), &mut &b"abc"[..]);
    assert!(matches!(short, Err(WriteError::Shrunk { missing: 2, .. })));
}

#[test]
fn compressed_layers_do_not_depend_on_threads() {
    let files = [(file("large", 3 << 20), vec![7; 3 << 20]), (file("small", 9), b"some text".to_vec())];
    let files: Vec<_> = files.iter().map(|(entry, data)| (entry.clone(), data.as_slice())).collect();
    let tar = tar_of(&files);
    let mut data: Vec<u8> = (0..5_300_000u32).map(|at| (at.wrapping_mul(at) >> 13) as u8).collect();
    data.extend_from_slice(&vec![0; 3_000_000]);
    for input in [&data[..], &tar, b"", b"x", &data[..1 << 20], &data[..(1 << 20) + 1]] {
        let pack = |threads| {
            let mut out = Vec::new();
            gzip::compress(input, &mut out, 1, threads, &gzip::NoMemory).unwrap();
            out
        };
        let one = pack(1);
        assert!(one == pack(4));
        let mut member = flate2::bufread::GzDecoder::new(one.as_slice());
        let mut read = Vec::new();
        io::Read::read_to_end(&mut member, &mut read).unwrap();
        assert!(read == input && member.into_inner().is_empty(), "one member, and nothing after it");
        let mut child = Command::new("gzip").arg("-t").stdin(Stdio::piped()).spawn().unwrap();
        io::Write::write_all(&mut child.stdin.take().unwrap(), &one).unwrap();
        assert!(child.wait().unwrap().success());
        let mut zstd = Vec::new();
        zstd::compress(input, &mut zstd, 3, 2).unwrap();
        let twice = [one.as_slice(), &one].concat();
        for (stored, times) in [(&one, 1), (&zstd, 1), (&twice, 2), (&input.to_vec(), 1)] {
            let mut read = Vec::new();
            let stated = crate::oci::Compression::Gzip;
            io::Read::read_to_end(&mut decoder(stated, stored.as_slice()).unwrap(), &mut read).unwrap();
            assert!(read == input.repeat(times));
        }
        if input.len() > 100 {
            let cut = &one[..one.len() - 5];
            assert!(io::copy(&mut decoder(crate::oci::Compression::Gzip, cut).unwrap(), &mut io::sink()).is_err());
        }
    }
    let levels = [0, 6, 9].map(|level| {
        let mut out = Vec::new();
        gzip::compress(data.as_slice(), &mut out, level, 2, &gzip::NoMemory).unwrap();
        let mut read = Vec::new();
        io::Read::read_to_end(&mut flate2::bufread::GzDecoder::new(out.as_slice()), &mut read).unwrap();
        assert!(read == data);
        out.len()
    });
    assert!(levels[0] > data.len() && levels[1] < levels[0], "{levels:?}");
}
