//! Tars made to break out, to fill the machine or to confuse: each refused or contained.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};

use super::*;
use crate::layer::header::{self, Header, flag};

fn link(path: &str, to: &str) -> TarEntry {
    entry(path, EntryKind::Symlink(to.into()))
}

fn hard(path: &str, to: &str) -> TarEntry {
    entry(path, EntryKind::Hardlink(to.into()))
}

struct Place {
    temp: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let temp = tempfile::tempdir().unwrap();
        for name in ["target", "lower", "outside"] {
            fs::create_dir(temp.path().join(name)).unwrap();
        }
        fs::write(temp.path().join("outside/secret"), "secret").unwrap();
        Self { temp }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.temp.path().join(name)
    }

    fn apply(&self, entries: &[(TarEntry, &[u8])]) -> Result<ApplySummary, LayerError> {
        self.apply_bytes(&tar_of(entries))
    }

    fn apply_bytes(&self, tar: &[u8]) -> Result<ApplySummary, LayerError> {
        let result = unpack(tar, &self.path("target"), Some(&self.path("lower")));
        assert_eq!(fs::read(self.path("outside/secret")).unwrap(), b"secret");
        assert_eq!(fs::metadata(self.path("outside/secret")).unwrap().nlink(), 1);
        assert_eq!(listing(&self.path("outside")).len(), 1);
        result
    }

    fn names(&self) -> Vec<String> {
        listing(&self.path("target")).into_keys().collect()
    }
}

/// A header with a raw name, followed by its content.
fn raw(type_flag: u8, name: &[u8], link: &[u8], data: &[u8], change: impl Fn(&mut Header)) -> Vec<u8> {
    let mut header = Header::new(type_flag);
    header.set_bytes(header::NAME, name);
    header.set_bytes(header::LINK, link);
    header.set_number(header::MODE, 0o644);
    header.set_number(header::SIZE, data.len() as u64);
    change(&mut header);
    let mut out = header.finish().to_vec();
    out.extend_from_slice(data);
    out.resize(out.len().next_multiple_of(512), 0);
    out
}

fn plain(name: &str, data: &[u8]) -> Vec<u8> {
    raw(flag::FILE, name.as_bytes(), b"", data, |_| {})
}

fn pax(records: &[(&str, &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (key, value) in records {
        crate::layer::pax::push(&mut bytes, (key.as_bytes(), b""), value);
    }
    raw(flag::PAX, b"x", b"", &bytes, |_| {})
}

#[test]
fn an_absolute_name_stays_in_the_root() {
    let place = Place::new();
    place.apply_bytes(&plain("/etc/file", b"x")).unwrap();
    assert_eq!(place.names(), ["etc", "etc/file"]);
}

#[test]
fn a_name_that_climbs_is_refused() {
    for name in ["../outside/x", "a/../../outside/x", "..", "a/..", "/../x"] {
        let result = Place::new().apply_bytes(&plain(name, b"x"));
        assert!(matches!(result, Err(LayerError::Read(ReadError::ParentInPath { .. }))), "{name}: {result:?}");
    }
    let result = Place::new().apply_bytes(&raw(flag::HARDLINK, b"a", b"../outside/secret", b"", |_| {}));
    assert!(matches!(result, Err(LayerError::Read(ReadError::ParentInPath { .. }))));
    let result = Place::new().apply_bytes(&[pax(&[("path", b"../x")]), plain("a", b"")].concat());
    assert!(matches!(result, Err(LayerError::Read(ReadError::ParentInPath { .. }))));
}

#[test]
fn a_link_on_the_way_is_followed_inside_only() {
    let place = Place::new();
    let outside = place.path("outside");
    let outside = outside.to_str().unwrap();
    place
        .apply(&[
            (link("absolute", outside), b""),
            (file("absolute/planted", 1), b"x"),
            (link("up", "../../../../outside"), b""),
            (file("up/planted", 1), b"y"),
            (directory("real"), b""),
            (link("real/inner", "."), b""),
            (file("real/inner/inner/file", 1), b"z"),
        ])
        .unwrap();
    let names = place.names();
    assert!(names.contains(&format!("{}/planted", &outside[1..])), "{names:?}");
    assert!(names.contains(&"outside/planted".to_owned()), "{names:?}");
    assert!(names.contains(&"real/file".to_owned()), "{names:?}");
}

#[test]
fn links_in_a_circle_are_refused() {
    let result = Place::new().apply(&[(link("a", "b"), b""), (link("b", "a"), b""), (file("a/x", 0), b"")]);
    assert!(matches!(result, Err(LayerError::TooManyLinks { .. })), "{result:?}");
}

#[test]
fn a_link_below_is_followed_in_the_merged_root() {
    let place = Place::new();
    fs::create_dir_all(place.path("lower/usr/lib")).unwrap();
    fs::set_permissions(place.path("lower/usr"), fs::Permissions::from_mode(0o711)).unwrap();
    symlink("usr/lib", place.path("lower/lib")).unwrap();
    symlink(place.path("outside"), place.path("lower/out")).unwrap();
    let summary = place.apply(&[(file("lib/x", 1), b"x"), (file("out/y", 1), b"y")]).unwrap();
    assert!(summary.used_lower);
    let names = place.names();
    assert!(names.contains(&"usr/lib/x".to_owned()) && !names.contains(&"lib".to_owned()), "{names:?}");
    assert_eq!(fs::metadata(place.path("target/usr")).unwrap().mode() & 0o7777, 0o711);
}

#[test]
fn link_targets_are_kept_as_they_are() {
    let place = Place::new();
    place.apply(&[(link("a", "/etc/../..//passwd"), b""), (link("b", "../../.."), b"")]).unwrap();
    assert_eq!(fs::read_link(place.path("target/a")).unwrap().to_str(), Some("/etc/../..//passwd"));
    assert_eq!(fs::read_link(place.path("target/b")).unwrap().to_str(), Some("../../.."));
}

#[test]
fn hard_links_out_missing_or_to_directories_are_refused() {
    let place = Place::new();
    let outside = place.path("outside");
    let via = (link("via", outside.to_str().unwrap()), &b""[..]);
    let cases: [Vec<(TarEntry, &[u8])>; 7] = [
        vec![via, (hard("a", "via/secret"), b"")],
        vec![(hard("a", "later"), b""), (file("later", 0), b"")],
        vec![(hard("a", "a"), b"")],
        vec![(directory("d"), b""), (hard("a", "d"), b"")],
        vec![(directory("d"), b""), (hard("d/a", "d"), b"")],
        vec![(file("d", 0), b""), (hard("a", "d/x"), b"")],
        vec![(file(".wh.w", 0), b""), (hard("a", "w"), b"")],
    ];
    for case in cases {
        let result = Place::new().apply(&case);
        assert!(matches!(result, Err(LayerError::HardLink { .. })), "{result:?} {case:?}");
    }
}

#[test]
fn a_hard_link_to_a_file_below_copies_it_up() {
    let place = Place::new();
    fs::create_dir(place.path("lower/bin")).unwrap();
    fs::write(place.path("lower/bin/tool"), "tool").unwrap();
    fs::set_permissions(place.path("lower/bin/tool"), fs::Permissions::from_mode(0o4755)).unwrap();
    symlink(place.path("outside"), place.path("lower/out")).unwrap();
    let summary = place.apply(&[(hard("alias", "bin/tool"), b"")]).unwrap();
    assert!(summary.used_lower);
    let (alias, tool) = (place.path("target/alias"), place.path("target/bin/tool"));
    assert_eq!(fs::read(&alias).unwrap(), b"tool");
    assert_eq!(fs::metadata(&alias).unwrap().mode() & 0o7777, 0o4755);
    assert_eq!(fs::metadata(&alias).unwrap().ino(), fs::metadata(&tool).unwrap().ino());
    assert!(place.apply(&[(hard("stolen", "out/secret"), b"")]).is_err());
}

#[test]
fn the_last_entry_of_a_name_wins_whatever_its_type() {
    let kinds = [
        file("x", 3),
        directory("x"),
        link("x", "/outside"),
        hard("x", "other"),
        entry("x", EntryKind::Fifo),
        entry("x", EntryKind::CharDevice { major: 1, minor: 3 }),
    ];
    for first in &kinds {
        for second in &kinds {
            let data = |entry: &TarEntry| if entry.size() > 0 { &b"abc"[..] } else { b"" };
            let place = Place::new();
            let inside = (file("x/inside", 0), &b""[..]);
            let mut entries = vec![(file("other", 0), &b""[..]), (first.clone(), data(first))];
            if first.kind == EntryKind::Directory {
                entries.push(inside);
            }
            entries.push((second.clone(), data(second)));
            place.apply(&entries).unwrap();
            let metadata = fs::symlink_metadata(place.path("target/x")).unwrap();
            let is = metadata.file_type();
            match &second.kind {
                EntryKind::Directory => assert!(is.is_dir()),
                EntryKind::Symlink(_) => assert!(is.is_symlink()),
                EntryKind::Fifo => assert!(is.is_fifo()),
                EntryKind::CharDevice { .. } => assert!(is.is_char_device()),
                EntryKind::File { size } => assert_eq!((is.is_file(), metadata.len()), (true, *size)),
                _ => assert_eq!(metadata.nlink(), 2),
            }
        }
    }
}

#[test]
fn the_root_entry_describes_the_root() {
    let place = Place::new();
    let root = TarEntry { mode: 0o711, ..directory("") };
    place.apply(&[(root, b""), (file("a", 0), b"")]).unwrap();
    let metadata = fs::metadata(place.path("target")).unwrap();
    assert_eq!((metadata.mode() & 0o7777, metadata.mtime()), (0o711, 1_000_000));
}

#[test]
fn a_device_that_is_a_deletion_is_left_out() {
    let place = Place::new();
    let summary = place.apply(&[(entry("x", EntryKind::CharDevice { major: 0, minor: 0 }), b"")]).unwrap();
    assert_eq!(summary.warnings.len(), 1);
    assert!(place.names().is_empty());
}

#[test]
fn setuid_survives_the_change_of_owner() {
    let place = Place::new();
    let tool = TarEntry { mode: 0o6755, uid: 7, gid: 8, ..file("tool", 1) };
    place.apply(&[(tool, b"x")]).unwrap();
    let metadata = fs::metadata(place.path("target/tool")).unwrap();
    assert_eq!((metadata.mode() & 0o7777, metadata.uid(), metadata.gid()), (0o6755, 7, 8));
}

#[test]
fn only_allowed_attributes_arrive() {
    let place = Place::new();
    let names = ["user.mine", "trusted.x", "trusted.overlay.redirect", "user.overlay.opaque", "security.selinux"];
    let xattrs = names.map(|name| (name.as_bytes().to_vec(), b"y".to_vec())).into();
    let with = |entry: TarEntry| TarEntry { xattrs: Xattrs::clone(&xattrs), ..entry };
    place.apply(&[(with(file("f", 0)), b""), (with(directory("d")), b"")]).unwrap();
    for path in ["f", "d"] {
        let kept: Vec<_> = xattrs_at(&place.path("target"), path).into_keys().collect();
        assert_eq!(kept, [b"user.mine".to_vec()], "{path}");
    }
}

#[test]
fn sizes_that_lie_are_refused() {
    let negative = raw(flag::FILE, b"a", b"", b"", |header| header.0[header::SIZE].copy_from_slice(&[0xff; 12]));
    assert!(matches!(Place::new().apply_bytes(&negative), Err(LayerError::Read(ReadError::Malformed { .. }))));
    let huge =
        |header: &mut Header| header.0[header::SIZE].copy_from_slice(b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff");
    let result = Place::new().apply_bytes(&raw(flag::FILE, b"a", b"", b"", huge));
    assert!(matches!(result, Err(LayerError::Read(ReadError::Limit { .. }))), "{result:?}");
    let result = Place::new().apply_bytes(&raw(flag::DIRECTORY, b"a", b"", b"", huge));
    assert!(result.is_ok(), "the size of a directory means nothing: {result:?}");
    let pax_negative = [pax(&[("size", b"-5")]), plain("a", b"")].concat();
    assert!(matches!(Place::new().apply_bytes(&pax_negative), Err(LayerError::Read(ReadError::Malformed { .. }))));
    let more_than_there = raw(flag::FILE, b"a", b"", b"", |header| assert!(header.set_number(header::SIZE, 5000)));
    let result = Place::new().apply_bytes(&more_than_there);
    assert!(matches!(result, Err(LayerError::Read(ReadError::Truncated { .. }))), "{result:?}");
}

#[test]
fn a_sparse_file_may_not_be_larger_than_the_limit() {
    let tar = raw(flag::GNU_SPARSE, b"a", b"", b"", |header| {
        header.0[257..265].copy_from_slice(b"ustar  \0");
        header.0[483..495].copy_from_slice(b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff");
    });
    assert!(matches!(Place::new().apply_bytes(&tar), Err(LayerError::Read(ReadError::Limit { .. }))));
}

#[test]
fn bombs_meet_the_limits() {
    let tar = tar_of(&[(file("a", 3), b"abc"), (file("b", 3), b"abc")]);
    let limited = |limits| {
        let place = Place::new();
        let target = Dir::open(&place.path("target")).unwrap();
        apply(tar.as_slice(), &target, None, &ApplyOptions { limits, ..Default::default() })
    };
    assert!(limited(Limits { entries: 2, bytes: 2000 }).is_ok());
    for limits in [Limits { entries: 1, bytes: 2000 }, Limits { entries: 2, bytes: 5 }] {
        assert!(matches!(limited(limits), Err(LayerError::Read(ReadError::Limit { .. }))));
    }
    let large = raw(flag::PAX, b"x", b"", b"", |header| assert!(header.set_number(header::SIZE, 2 << 20)));
    assert!(matches!(Place::new().apply_bytes(&large), Err(LayerError::Read(ReadError::LargeRecords { .. }))));
    let long = raw(flag::GNU_LONG_NAME, b"x", b"", b"", |header| assert!(header.set_number(header::SIZE, 1 << 32)));
    assert!(matches!(Place::new().apply_bytes(&long), Err(LayerError::Read(ReadError::LargeRecords { .. }))));
}

#[test]
fn names_that_cannot_be_are_refused_and_odd_ones_kept() {
    for tar in [plain("", b""), [pax(&[("path", b"a\0b")]), plain("a", b"")].concat()] {
        assert!(matches!(Place::new().apply_bytes(&tar), Err(LayerError::Read(ReadError::Malformed { .. }))));
    }
    let long = "n".repeat(256);
    let result = Place::new().apply(&[(file(&long, 0), b"")]);
    assert!(matches!(result, Err(LayerError::File { .. })), "{result:?}");
    let place = Place::new();
    let name = b"new\nline \xff\xfe \x1b[31m".to_vec();
    place.apply(&[(TarEntry { path: name.clone(), ..file("", 0) }, b"")]).unwrap();
    let names = Dir::open(&place.path("target")).unwrap().entries().unwrap();
    assert_eq!(std::os::unix::ffi::OsStrExt::as_bytes(names[0].name.as_os_str()), name);
}

#[test]
fn paths_longer_than_the_kernel_takes_are_made() {
    let place = Place::new();
    let path = vec!["d".repeat(200); 40].join("/");
    let linked = format!("{path}/b");
    place
        .apply(&[
            (file(&format!("{path}/a"), 1), b"x"),
            (hard(&linked, &format!("{path}/a")), b""),
            (hard("c", &linked), b""),
        ])
        .unwrap();
    assert_eq!(fs::metadata(place.path("target/c")).unwrap().nlink(), 3);
}

#[test]
fn records_override_headers_globally_and_locally() {
    let mut global = Vec::new();
    crate::layer::pax::push(&mut global, (b"uid", b""), b"5");
    crate::layer::pax::push(&mut global, (b"mtime", b""), b"77.5");
    let tar = [
        raw(flag::PAX_GLOBAL, b"g", b"", &global, |_| {}),
        plain("a", b""),
        pax(&[("uid", b"6"), ("path", b"renamed"), ("linkpath", b"target")]),
        raw(flag::SYMLINK, b"b", b"c", b"", |_| {}),
    ]
    .concat();
    let mut reader = Reader::new(tar.as_slice(), Limits::default());
    let a = reader.next_entry().unwrap().unwrap();
    assert_eq!((a.uid, a.mtime), (5, Timestamp { seconds: 77, nanoseconds: 500_000_000 }));
    let b = reader.next_entry().unwrap().unwrap();
    assert_eq!((b.uid, b.path, b.kind), (6, b"renamed".to_vec(), EntryKind::Symlink(b"target".to_vec())));
    let malformed = [raw(flag::PAX, b"x", b"", b"99 path=a\n", |_| {}), plain("a", b"")].concat();
    assert!(matches!(Place::new().apply_bytes(&malformed), Err(LayerError::Read(ReadError::Malformed { .. }))));
}

#[test]
fn gnu_long_names_are_read() {
    let name = "long/".repeat(60) + "name";
    let tar = [
        raw(flag::GNU_LONG_NAME, b"././@LongLink", b"", format!("{name}\0").as_bytes(), |_| {}),
        raw(flag::GNU_LONG_LINK, b"././@LongLink", b"", b"to/there\0", |_| {}),
        raw(flag::SYMLINK, b"cut", b"cut", b"", |_| {}),
    ]
    .concat();
    assert_eq!(names(&tar), [format!("{name} -> to/there")]);
}

#[test]
fn unknown_types_are_passed_over_with_a_warning() {
    let place = Place::new();
    let tar = [raw(b'V', b"volume", b"", &[1; 600], |_| {}), plain("a", b"x")].concat();
    let summary = place.apply_bytes(&tar).unwrap();
    assert_eq!(summary.warnings, [Warning::UnknownType { path: b"volume".to_vec(), flag: b'V' }]);
    assert_eq!(place.names(), ["a"]);
}

#[test]
fn the_end_may_miss_but_nothing_before_it() {
    let whole = tar_of(&[(file("a", 600), &[1; 600])]);
    let without_end = &whole[..whole.len() - 1024];
    assert!(Place::new().apply_bytes(without_end).is_ok());
    for cut in [100, 511, 513, 1000, without_end.len() - 1] {
        let result = Place::new().apply_bytes(&whole[..cut]);
        assert!(matches!(result, Err(LayerError::Read(ReadError::Truncated { .. }))), "{cut}: {result:?}");
    }
    let mut trailing = whole.clone();
    trailing.extend_from_slice(&[0xaa; 5000]);
    let mut reader = crate::digest::HashingReader::new(trailing.as_slice());
    let place = Place::new();
    apply(&mut reader, &Dir::open(&place.path("target")).unwrap(), None, &ApplyOptions::default()).unwrap();
    assert_eq!(reader.finish().2, trailing.len() as u64, "everything passes the hash");
    let mut hidden = vec![0; 512];
    hidden.extend_from_slice(&plain("a", b""));
    assert!(matches!(Place::new().apply_bytes(&hidden), Err(LayerError::Read(ReadError::NotATar { .. }))));
    assert!(matches!(Place::new().apply_bytes(&[7; 4096]), Err(LayerError::Read(ReadError::NotATar { .. }))));
}

#[test]
fn malformed_deletions_are_refused_and_bookkeeping_ignored() {
    for name in [".wh.", ".wh..", ".wh...", "a/.wh.", ".wh.a/b"] {
        let result = Place::new().apply_bytes(&plain(name, b""));
        assert!(matches!(result, Err(LayerError::MalformedWhiteout { .. })), "{name}: {result:?}");
    }
    let place = Place::new();
    place.apply_bytes(&[plain(".wh..wh.plnk", b""), plain("d/.wh..wh.aufs/x", b"")].concat()).unwrap();
    assert!(place.names().is_empty());
}

#[test]
fn deletions_hide_other_layers_only_in_any_order() {
    let whiteout = |path: &str| (file(path, 0), &b""[..]);
    let orders: [&[usize]; 3] = [&[0, 1, 2, 3, 4, 5], &[5, 4, 3, 2, 1, 0], &[2, 0, 4, 1, 5, 3]];
    for order in orders {
        let place = Place::new();
        let all = [
            (file("d/kept", 0), &b""[..]),
            whiteout("d/.wh..wh..opq"),
            (file("f", 0), &b""[..]),
            whiteout(".wh.f"),
            whiteout(".wh.g"),
            whiteout("d/.wh.kept"),
        ];
        let entries: Vec<_> = order.iter().map(|at| all[*at].clone()).collect();
        place.apply(&entries).unwrap();
        let listing = listing(&place.path("target"));
        let kinds: Vec<_> = listing.iter().map(|(name, (kind, _))| (name.as_str(), *kind)).collect();
        let expected = [("d", Kind::Directory), ("d/kept", Kind::File), ("f", Kind::File), ("g", Kind::CharDevice)];
        assert_eq!(kinds, expected, "{order:?}");
        let opaque = xattrs_at(&place.path("target"), "d");
        assert_eq!(opaque.get(&b"trusted.overlay.opaque"[..]).map(Vec::as_slice), Some(&b"y"[..]), "{order:?}");
    }
}

#[test]
fn an_opaque_root_hides_every_name_below() {
    let place = Place::new();
    fs::create_dir(place.path("lower/dir")).unwrap();
    fs::write(place.path("lower/file"), "").unwrap();
    let summary = place.apply(&[(file(".wh..wh..opq", 0), b""), (file("dir/x", 0), b"")]).unwrap();
    assert!(summary.used_lower);
    assert_eq!(listing(&place.path("target"))["file"].0, Kind::CharDevice);
    assert!(xattrs_at(&place.path("target"), "dir").contains_key(&b"trusted.overlay.opaque"[..]));
}

#[test]
fn a_directory_in_place_of_a_deletion_is_opaque() {
    let place = Place::new();
    place.apply(&[(file(".wh.d", 0), b""), (file("d/x", 0), b"")]).unwrap();
    assert!(xattrs_at(&place.path("target"), "d").contains_key(&b"trusted.overlay.opaque"[..]));
}

#[test]
fn odd_times_are_kept_or_clamped() {
    let place = Place::new();
    let at = |path, seconds| TarEntry { mtime: Timestamp::from_seconds(seconds), ..file(path, 0) };
    place.apply(&[(at("before", -86_400), b""), (at("far", i64::MAX), b""), (at("farther", i64::MIN), b"")]).unwrap();
    assert_eq!(fs::metadata(place.path("target/before")).unwrap().mtime(), -86_400);
}

#[test]
fn directories_have_their_own_time_and_mode_in_the_end() {
    let place = Place::new();
    let closed = TarEntry { mode: 0o555, ..directory("closed") };
    place
        .apply(&[(closed, b""), (file("a", 0), b""), (file("closed/x", 0), b""), (directory("closed/d"), b"")])
        .unwrap();
    for path in ["target/closed", "target/closed/d"] {
        assert_eq!(fs::metadata(place.path(path)).unwrap().mtime(), 1_000_000, "{path}");
    }
    assert_eq!(fs::metadata(place.path("target/closed")).unwrap().mode() & 0o7777, 0o555);
}
