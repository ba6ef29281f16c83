use super::*;
use crate::fsutil::Kind;

const NOW: Timestamp = Timestamp { seconds: 1000, nanoseconds: 0 };

fn metadata() -> Metadata {
    let time = |seconds| Timestamp { seconds, nanoseconds: 5 };
    Metadata {
        kind: Kind::File,
        mode: 0o644,
        uid: 0,
        gid: 0,
        size: 3,
        disk: 4096,
        mtime: time(10),
        ctime: time(20),
        inode: 7,
        device: 8,
        links: 1,
        device_node: (0, 0),
    }
}

/// A cache file, opened anew for each thing that is done with it.
struct Bench {
    temp: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        Self { temp: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.temp.path().join("cache/stat/name")
    }

    fn open(&self) -> StatCache {
        StatCache::open(&self.path(), NOW)
    }

    fn add(&self, files: &[(&str, &str, u8)]) {
        let cache = self.open();
        for (directory, name, content) in files {
            // As a build does.
            cache.directory(directory.as_bytes());
            cache.add(directory.as_bytes(), name.as_bytes(), &metadata(), [*content; 32]);
        }
        cache.save().unwrap();
    }

    fn find(&self, directory: &str, name: &str) -> Option<u8> {
        self.open().directory(directory.as_bytes()).find(name.as_bytes(), &metadata()).map(|content| content[0])
    }

    fn bytes(&self) -> Vec<u8> {
        fs::read(self.path()).unwrap()
    }
}

#[test]
fn a_file_is_known_again_only_if_nothing_about_it_changed() {
    let bench = Bench::new();
    assert_eq!(bench.find("", "a"), None);
    bench.add(&[("", "a", 1), ("", "b", 2), ("d", "b", 3), ("d/e", "c", 4)]);
    assert_eq!(bench.find("", "b"), Some(2));
    assert_eq!(bench.find("d", "b"), Some(3));
    assert_eq!(bench.find("d/e", "c"), Some(4));
    for (directory, name) in [("d", "a"), ("", "d"), ("", "c"), ("e", "b"), ("d/e", "")] {
        assert_eq!(bench.find(directory, name), None, "{directory} {name}");
    }
    let later = Timestamp { seconds: 10, nanoseconds: 6 };
    let changes: [fn(&mut Metadata, Timestamp); 5] = [
        |metadata, _| metadata.size = 4,
        |metadata, later| metadata.mtime = later,
        |metadata, later| metadata.ctime = later,
        |metadata, _| metadata.inode = 9,
        |metadata, _| metadata.device = 9,
    ];
    for change in changes {
        let mut changed = metadata();
        change(&mut changed, later);
        assert_eq!(bench.open().directory(b"").find(b"b", &changed), None, "{changed:?}");
    }
}

#[test]
fn names_are_found_in_any_order() {
    let bench = Bench::new();
    let names: Vec<String> = (0..100).map(|number| format!("{number:03}{}", "x".repeat(number % 7))).collect();
    let files: Vec<_> = (0..).zip(&names).map(|(number, name)| ("d", name.as_str(), number)).collect();
    bench.add(&files);
    let mut block = bench.open().directory(b"d");
    let orders = [1, 7, 99, 50];
    for step in orders {
        for at in (0..100).map(|at| at * step % 100) {
            assert_eq!(block.find(names[at].as_bytes(), &metadata()), Some([at as u8; 32]));
            assert_eq!(block.find(b"nothing", &metadata()), None);
        }
    }
}

#[test]
fn what_is_new_replaces_what_was_known_and_the_rest_stays() {
    let bench = Bench::new();
    bench.add(&[("", "a", 1), ("", "b", 2), ("d", "b", 3), ("f", "x", 6)]);
    bench.add(&[("", "b", 7), ("", "aa", 8), ("e", "n", 9), ("z", "n", 9), ("0", "n", 9), ("", "aa", 10)]);
    let expected = [
        ("", "a", 1),
        ("", "b", 7),
        ("", "aa", 10),
        ("d", "b", 3),
        ("f", "x", 6),
        ("e", "n", 9),
        ("z", "n", 9),
        ("0", "n", 9),
    ];
    for (directory, name, content) in expected {
        assert_eq!(bench.find(directory, name), Some(content), "{directory} {name}");
    }
}

#[test]
fn it_is_written_only_when_something_is_new() {
    let bench = Bench::new();
    bench.add(&[]);
    assert!(!bench.path().exists());
    bench.add(&[("", "a", 1)]);
    let inode = || std::os::unix::fs::MetadataExt::ino(&fs::metadata(bench.path()).unwrap());
    let before = (inode(), bench.bytes());
    let cache = bench.open();
    let mut block = cache.directory(b"");
    cache.listed(&block, [&b"a"[..], b"b"].into_iter());
    assert!(block.find(b"a", &metadata()).is_some());
    cache.save().unwrap();
    assert_eq!((inode(), bench.bytes()), before);
}

#[test]
fn a_file_changed_just_before_the_build_is_not_remembered() {
    let at = |seconds, nanoseconds| Metadata { ctime: Timestamp { seconds, nanoseconds }, ..metadata() };
    for (ctime, kept) in [((999, 1), true), ((999, 990_000_000), false), ((1000, 1), false), ((999, 0), false)] {
        let bench = Bench::new();
        let (cache, metadata) = (bench.open(), at(ctime.0, ctime.1));
        cache.add(b"", b"a", &metadata, [1; 32]);
        cache.save().unwrap();
        assert_eq!(bench.open().directory(b"").find(b"a", &metadata).is_some(), kept, "{ctime:?}");
    }
}

#[test]
fn what_is_damaged_is_not_known() {
    let bench = Bench::new();
    bench.add(&[("", "a", 1), ("d", "b", 2), ("e", "c", 3)]);
    let whole = bench.bytes();
    let files = [("", "a", 1), ("d", "b", 2), ("e", "c", 3)];
    let mut known = 0;
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        fs::write(bench.path(), bytes).unwrap();
        let found: Vec<bool> = files
            .iter()
            .map(|(directory, name, content)| {
                let found = bench.find(directory, name);
                assert!(found.is_none_or(|found| found == *content), "byte {at}");
                found.is_some()
            })
            .collect();
        assert!(found.contains(&false), "byte {at}");
        known += found.iter().filter(|found| **found).count();
    }
    assert!(known > 0, "one block does not spoil the others");
    for length in 0..whole.len() {
        fs::write(bench.path(), &whole[..length]).unwrap();
        assert!(files.iter().all(|(directory, name, _)| bench.find(directory, name).is_none()), "{length} bytes");
    }
}

#[test]
fn whatever_a_file_says_its_reader_stays_inside() {
    let bench = Bench::new();
    bench.add(&[("", "a", 1)]);
    let key = block::key_of(b"");
    // Blocks with the right seal, whose counts and ends of names are anything.
    let seal = |bytes: &[u8]| [bytes, &blake3::hash(&[bytes, &key].concat()).as_bytes()[..16]].concat();
    for count in [0u32, 1, 2, 3, u32::MAX] {
        for ends in [[0u32, 0], [5, 2], [u32::MAX, 1], [1, u32::MAX]] {
            let mut bytes = count.to_le_bytes().to_vec();
            ends.iter().for_each(|end| bytes.extend([&end.to_le_bytes()[..], &[7; 80]].concat()));
            bytes.extend(b"ab");
            if let Some(mut block) = Block::parse(key, seal(&bytes)) {
                assert!(count < 3);
                for name in [&b""[..], b"a", b"b", b"ab", b"z"] {
                    assert_eq!(block.find(name, &metadata()), None);
                }
                block.without([&b"a"[..]].into_iter());
                Additions::default().over(&block);
            }
        }
    }
    // An index with the right seal, whose blocks are anywhere.
    let whole = bench.bytes();
    let place = whole.len() - END as usize - ENTRY;
    for (offset, length) in [(u64::MAX, 1u32), (0, u32::MAX), (16, u32::MAX), (place as u64, 1), (0, 0)] {
        let mut bytes = whole[..place].to_vec();
        let mut sealed = [&key[..], &offset.to_le_bytes(), &length.to_le_bytes(), &[0]].concat();
        sealed.extend((place as u64).to_le_bytes());
        bytes.extend_from_slice(&sealed);
        bytes.extend_from_slice(blake3::hash(&sealed).as_bytes());
        fs::write(bench.path(), bytes).unwrap();
        assert_eq!(bench.find("", "a"), None);
    }
}

#[test]
fn a_directory_that_nobody_asks_for_is_forgotten_in_time() {
    let bench = Bench::new();
    bench.add(&[("old", "old", 1)]);
    for round in 0..OLDEST {
        bench.add(&[("new", "new", round)]);
    }
    assert_eq!(bench.find("old", "old"), Some(1));
    bench.add(&[("new", "new", 100)]);
    assert_eq!(bench.find("old", "old"), None);
    assert_eq!(bench.find("new", "new"), Some(100));
}

#[test]
fn files_that_are_gone_are_forgotten_before_they_are_more_than_those_that_are_there() {
    let bench = Bench::new();
    for round in 0..20u8 {
        let cache = bench.open();
        let (block, name) = (cache.directory(b"d"), format!("file {round}"));
        cache.listed(&block, [name.as_bytes()].into_iter());
        cache.add(b"d", name.as_bytes(), &metadata(), [round; 32]);
        cache.save().unwrap();
        assert_eq!(bench.find("d", &name), Some(round));
    }
    assert!(bench.open().directory(b"d").len() <= 2);
    assert_eq!(bench.find("d", "file 0"), None);
    let cache = bench.open();
    cache.listed(&cache.directory(b"d"), [].into_iter());
    cache.save().unwrap();
    assert_eq!(bench.open().directory(b"d").len(), 0);
}
