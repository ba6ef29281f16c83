//! Directories that are looked at piece by piece, with and without a stat cache.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::context::{Ignore, Source, StatCache, hash_bytes};
use crate::fsutil::Timestamp;
use crate::layer::path_order;

/// A directory of several pieces, with files, directories with more in them, links, and a name with odd bytes.
fn wide() -> (tempfile::TempDir, Vec<Vec<u8>>) {
    let temp = tempfile::tempdir().unwrap();
    let top = temp.path().join("context");
    let mut paths = Vec::new();
    let mut add = |path: &str, make: &dyn Fn(&Path)| {
        make(&top.join(path));
        paths.push(path.as_bytes().to_vec());
    };
    for number in 0..900 {
        let path = format!("wide/{number:03}");
        match number % 50 {
            7 => {
                add(&path, &|path| fs::create_dir_all(path).unwrap());
                add(&format!("{path}/in \n it"), &|path| fs::write(path, b"inside").unwrap());
                add(&format!("{path}/below"), &|path| fs::create_dir(path).unwrap());
                add(&format!("{path}/below/x"), &|path| fs::write(path, b"").unwrap());
            }
            8 => add(&path, &|path| symlink("nowhere", path).unwrap()),
            9 => add(&path, &|path| fs::hard_link(top.join("wide/000"), path).unwrap()),
            _ => add(&path, &|path| {
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, number.to_string()).unwrap();
            }),
        }
    }
    // Too much to be read where it is found.
    for name in ["large-1", "large-2"] {
        add(&format!("wide/{name}"), &|path| fs::write(path, vec![1; 900_000]).unwrap());
    }
    paths.push(b"wide".to_vec());
    paths.sort_by(|one, other| path_order(one, other));
    (temp, paths)
}

fn source(temp: &tempfile::TempDir) -> Source {
    Source::context(&temp.path().join("context")).unwrap()
}

/// A cache of a build that began so late that all files are settled.
fn cached(temp: &tempfile::TempDir) -> (Source, Arc<StatCache>) {
    let now = Timestamp { seconds: 1 << 40, nanoseconds: 5 };
    let cache = Arc::new(StatCache::open(&temp.path().join("cache"), now));
    (source(temp).with_cache(cache.clone()), cache)
}

fn all(source: &Source) -> Vec<Selected> {
    select(source, &Request { sources: &["/".to_owned()], ..Request::default() }).unwrap()
}

#[test]
fn every_entry_is_there_once_and_in_order() {
    let (temp, paths) = wide();
    let selected = all(&source(&temp));
    let entries = &selected[0].entries;
    let found: Vec<Vec<u8>> = (0..entries.len()).map(|at| entries.get(at).entry.path).collect();
    assert_eq!(found, paths);
    for at in 0..entries.len() {
        let one = entries.get(at);
        let path = std::str::from_utf8(&one.entry.path).unwrap();
        let on_disk = temp.path().join("context").join(path);
        let is_file = fs::symlink_metadata(&on_disk).unwrap().is_file();
        assert_eq!(one.hash, is_file.then(|| hash_bytes(&fs::read(&on_disk).unwrap())), "{path}");
        assert_eq!(
            one.identity.is_some(),
            path == "wide/000" || path.ends_with("09") || path.ends_with("59"),
            "{path}"
        );
    }
}

#[test]
fn what_is_only_there_for_what_is_below_it_goes_without_it() {
    let (temp, _) = wide();
    let ignore = Ignore::parse("*\n!wide/*/below\n!wide/large-2\n!wide/*/nothing").unwrap();
    let selected = all(&source(&temp).with_ignore(ignore));
    let entries = &selected[0].entries;
    let found: Vec<String> =
        (0..entries.len()).map(|at| String::from_utf8(entries.get(at).entry.path).unwrap()).collect();
    let mut expected = vec!["wide".to_owned()];
    for number in (7..900).step_by(50) {
        expected.extend(["", "/below", "/below/x"].map(|below| format!("wide/{number:03}{below}")));
    }
    expected.push("wide/large-2".to_owned());
    assert_eq!(found, expected);
}

#[test]
fn a_changed_file_is_never_missed() {
    let (temp, paths) = wide();
    let uncached = || content_key(&all(&source(&temp)));
    let (first, cache) = cached(&temp);
    let before = content_key(&all(&first));
    cache.save().unwrap();
    assert_eq!(before, uncached());
    let (again, cache) = cached(&temp);
    assert_eq!(content_key(&all(&again)), before);
    for (path, hash) in [("wide/001", hash_bytes(b"1")), ("wide/899", hash_bytes(b"899"))] {
        let (directory, name) = path.split_once('/').unwrap();
        let metadata = again.root.stat_in_root(Path::new(path)).unwrap().unwrap();
        assert_eq!(cache.directory(directory.as_bytes()).find(name.as_bytes(), &metadata), Some(hash), "{path}");
    }
    // One byte of each kind of file, its length and its time as they were.
    for path in ["wide/001", "wide/307/in \n it", "wide/899", "wide/large-1"] {
        assert!(paths.contains(&path.as_bytes().to_vec()));
        let path = temp.path().join("context").join(path);
        let (mut bytes, time) = (fs::read(&path).unwrap(), fs::metadata(&path).unwrap().modified().unwrap());
        bytes[0] ^= 1;
        fs::write(&path, &bytes).unwrap();
        fs::File::open(&path).unwrap().set_modified(time).unwrap();
        let changed = uncached();
        assert_ne!(changed, before);
        assert_eq!(content_key(&all(&cached(&temp).0)), changed, "{}", path.display());
        bytes[0] ^= 1;
        fs::write(&path, bytes).unwrap();
        assert_eq!(content_key(&all(&cached(&temp).0)), before);
    }
}
