//! The rules of sections 11 and 12, one test per number or group of numbers, on real trees.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use super::*;
use crate::context::{Ignore, Source};
use crate::dockerfile::chmod::Chmod;
use crate::fsutil::{Dir, Timestamp};

/// A context and a destination.
struct Trees {
    temp: tempfile::TempDir,
}

/// One entry of a layer, short: `d755 0:0`, `f644 0:0 text`, `l -> target`, `h -> path`.
type Layer = BTreeMap<String, String>;

#[derive(Clone, Copy, Default)]
struct Copying<'a> {
    sources: &'a [&'a str],
    to: &'a str,
    directory: &'a str,
    exclude: &'a [&'a str],
    parents: bool,
    owner: Option<Owner>,
    mode: Option<&'a str>,
    unpack: Unpack,
    link: bool,
}

fn copy<'a>(sources: &'a [&'a str], to: &'a str) -> Copying<'a> {
    Copying { sources, to, directory: "/", ..Copying::default() }
}

impl Trees {
    fn new(context: &[&str], root: &[&str]) -> Self {
        let temp = tempfile::tempdir().unwrap();
        let trees = Self { temp };
        for (top, paths) in [("context", context), ("root", root)] {
            fs::create_dir(trees.temp.path().join(top)).unwrap();
            fs::set_permissions(trees.temp.path().join(top), fs::Permissions::from_mode(0o755)).unwrap();
            for path in paths {
                make(&trees.temp.path().join(top), path);
            }
        }
        trees
    }

    fn context(&self) -> std::path::PathBuf {
        self.temp.path().join("context")
    }

    fn root(&self) -> std::path::PathBuf {
        self.temp.path().join("root")
    }

    fn source(&self) -> Source {
        Source::context(&self.context()).unwrap()
    }

    fn run_on(&self, source: &Source, copying: Copying) -> Result<Layer, CopyError> {
        let strings = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let (sources, exclude) = (strings(copying.sources), strings(copying.exclude));
        let selected = select(source, &Request { sources: &sources, exclude: &exclude, parents: copying.parents })?;
        self.write(&selected, copying)
    }

    fn write(&self, selected: &[Selected], copying: Copying) -> Result<Layer, CopyError> {
        let view = Dir::open(&self.root()).unwrap();
        let chmod = copying.mode.map(|text| Chmod::parse(text).unwrap());
        let options = LayerOptions {
            working_directory: copying.directory,
            destination: copying.to,
            owner: copying.owner,
            mode: chmod.as_ref(),
            unpack: copying.unpack,
            time: Timestamp::from_seconds(7),
            scratch: self.temp.path(),
        };
        let mut out = Vec::new();
        let summary = write_layer(selected, (!copying.link).then_some(&view), &options, &mut out, Along::default())?;
        assert_eq!(summary.bytes, out.len() as u64);
        Ok(read(&out))
    }

    fn run(&self, copying: Copying) -> Result<Layer, CopyError> {
        self.run_on(&self.source(), copying)
    }

    fn paths(&self, copying: Copying) -> Vec<String> {
        self.run(copying).unwrap().into_keys().collect()
    }

    fn error(&self, copying: Copying) -> String {
        self.run(copying).unwrap_err().to_string()
    }
}

/// Makes `path/`, `path=text`, `path->target` or an empty file, with the directories above; `:mode` at the end.
fn make(top: &Path, what: &str) {
    let (what, mode) = match what.rsplit_once(':') {
        Some((what, mode)) => (what, Some(u32::from_str_radix(mode, 8).unwrap())),
        None => (what, None),
    };
    let name = what.split_once("->").or(what.split_once('=')).map_or(what, |(name, _)| name);
    let path = top.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    if let Some((_, target)) = what.split_once("->") {
        symlink(target, &path).unwrap();
    } else if name.ends_with('/') {
        fs::create_dir_all(&path).unwrap();
    } else {
        fs::write(&path, what.split_once('=').map_or("", |(_, text)| text)).unwrap();
    }
    if let Some(mode) = mode {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }
}

fn read(tar: &[u8]) -> Layer {
    let mut layer = Layer::new();
    for entry in tar::Archive::new(tar).entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = String::from_utf8(entry.path_bytes().into_owned()).unwrap();
        let link = String::from_utf8(entry.link_name_bytes().unwrap_or_default().into_owned()).unwrap();
        let header = entry.header();
        let owner = format!("{}:{}", header.uid().unwrap(), header.gid().unwrap());
        let mode = header.mode().unwrap();
        let text = match header.entry_type() {
            tar::EntryType::Directory => format!("d{mode:o} {owner}"),
            tar::EntryType::Symlink => format!("l -> {link}"),
            tar::EntryType::Link => format!("h -> {link}"),
            tar::EntryType::Regular => {
                let mut bytes = Vec::new();
                entry.read_to_end(&mut bytes).unwrap();
                format!("f{mode:o} {owner} {}", String::from_utf8_lossy(&bytes))
            }
            other => format!("{other:?}"),
        };
        layer.insert(path.trim_end_matches('/').to_owned(), text);
    }
    layer
}

#[test]
fn sources_are_clamped_to_the_top_11_1() {
    let trees = Trees::new(&["a=A:644"], &[]);
    for source in ["a", "./a", "/a", "../../a", "x/../a"] {
        assert_eq!(trees.paths(copy(&[source], "/n")), ["n"], "{source}");
    }
}

#[test]
fn destinations_are_files_or_directories_11_2_11_3() {
    let trees = Trees::new(&["a=A:644", "d/f=F:644"], &["tmp/:1777", "w/"]);
    assert_eq!(trees.run(copy(&["a"], "/x")).unwrap()["x"], "f644 0:0 A");
    assert_eq!(trees.paths(copy(&["a"], "/y/")), ["y", "y/a"]);
    assert_eq!(trees.paths(copy(&["a"], "/deep/er/z")), ["deep", "deep/er", "deep/er/z"]);
    assert_eq!(trees.run(copy(&["a"], "/deep/er/z")).unwrap()["deep"], "d755 0:0");
    let existing = trees.run(copy(&["a"], "/tmp")).unwrap();
    assert!(existing["tmp"].starts_with("d1777 "), "{existing:?}");
    assert!(existing.contains_key("tmp/a"));
    for (to, expected) in [("rel", "w/rel"), (".", "w/a"), ("", "w/a"), ("e/.", "w/e/a"), ("/m/.", "m/a")] {
        let copying = Copying { directory: "/w", ..copy(&["a"], to) };
        assert!(trees.paths(copying).contains(&expected.to_owned()), "{to}");
    }
    assert_eq!(trees.paths(copy(&["d"], "/n/.")), ["n", "n/f"]);
}

#[test]
fn the_content_of_a_directory_is_copied_11_4() {
    let trees = Trees::new(&["d/:700", "d/f=f:600", "d/sub/:700", "d/sub/g=g:4755"], &[]);
    for source in ["d", "d/", "d/.", "./d"] {
        let layer = trees.run(copy(&[source], "/n")).unwrap();
        let expected = [("n", "d755 0:0"), ("n/f", "f600 0:0 f"), ("n/sub", "d700 0:0"), ("n/sub/g", "f4755 0:0 g")];
        assert_eq!(layer, expected.map(|(path, text)| (path.to_owned(), text.to_owned())).into(), "{source}");
    }
    assert_eq!(trees.run(copy(&["d/sub"], "/p/q/")).unwrap()["p/q"], "d755 0:0");
}

#[test]
fn later_sources_overwrite_11_5() {
    let trees = Trees::new(&["a=A:644", "b=B:644", "d/f"], &[]);
    assert_eq!(trees.run(copy(&["a", "b"], "/dst")).unwrap()["dst"], "f644 0:0 B");
    assert_eq!(trees.paths(copy(&["d", "a"], "/dst")), ["dst", "dst/a", "dst/f"]);
    assert_eq!(trees.error(copy(&["a", "d"], "/dst")), "cannot copy to non-directory: /dst");
}

#[test]
fn existing_directories_are_merged_11_6() {
    let trees = Trees::new(&["d/sub/:711", "d/sub/f=new:644"], &["t/:700", "t/sub/:750", "t/sub/f=old", "t/keep"]);
    let layer = trees.run(copy(&["d"], "/t")).unwrap();
    assert!(layer["t"].starts_with("d700"));
    assert_eq!(layer["t/sub"], "d711 0:0");
    assert_eq!(layer["t/sub/f"], "f644 0:0 new");
    assert!(!layer.contains_key("t/keep"));
}

#[test]
fn directories_and_files_do_not_replace_each_other_11_7() {
    let trees = Trees::new(&["a=A", "d/s/f"], &["d/a/", "f", "t/s", "u/s->/d"]);
    assert_eq!(trees.error(copy(&["a"], "/d/")), "cannot replace to directory /d/a with file");
    assert_eq!(trees.error(copy(&["d"], "/t")), "cannot copy to non-directory: /t/s");
    assert_eq!(trees.error(copy(&["d"], "/u")), "cannot copy to non-directory: /u/s");
    assert_eq!(trees.error(copy(&["a"], "/f/x")), "mkdir /f: not a directory");
    assert_eq!(trees.error(copy(&["a"], "/f/")), "mkdir /f: not a directory");
    assert_eq!(trees.paths(copy(&["a"], "/f")), ["f"]);
}

#[test]
fn destination_links_are_followed_11_8() {
    let root = ["real/", "real2/", "lnk->/real", "rel->real2", "tf=old", "fl->/tf", "dang->/not/there", "d/a->/tf"];
    let trees = Trees::new(&["a=A:644", "d/f=f"], &root);
    assert_eq!(trees.paths(copy(&["a"], "/lnk/")), ["real", "real/a"]);
    assert_eq!(trees.paths(copy(&["d"], "/rel")), ["real2", "real2/f"]);
    assert_eq!(trees.paths(copy(&["a"], "/fl")), ["tf"]);
    assert_eq!(trees.paths(copy(&["a"], "/lnk/new/x")), ["real", "real/new", "real/new/x"]);
    assert_eq!(trees.paths(copy(&["a"], "/dang")), ["not", "not/there"]);
    assert_eq!(trees.run(copy(&["a"], "/d/")).unwrap()["d/a"], "f644 0:0 A");
}

#[test]
fn source_links_are_followed_only_where_they_are_written_11_9() {
    let trees = Trees::new(
        &[
            "file=F:644",
            "real/f=rf:644",
            "link->file",
            "dlink->real",
            "dir/in->../file",
            "dir/gone->/nowhere",
            "abs->/file",
            "out->../../../etc/hostname",
        ],
        &[],
    );
    assert_eq!(trees.run(copy(&["link"], "/l1")).unwrap()["l1"], "f644 0:0 F");
    assert_eq!(trees.run(copy(&["abs"], "/l/")).unwrap()["l/abs"], "f644 0:0 F");
    assert_eq!(trees.paths(copy(&["dlink"], "/l2")), ["l2", "l2/f"]);
    assert_eq!(trees.paths(copy(&["dlink/f"], "/l5")), ["l5"]);
    assert_eq!(trees.paths(copy(&["li*"], "/l4/")), ["l4", "l4/link"]);
    let layer = trees.run(copy(&["dir"], "/l3")).unwrap();
    assert_eq!((layer["l3/in"].as_str(), layer["l3/gone"].as_str()), ("l -> ../file", "l -> /nowhere"));
    assert_eq!(trees.error(copy(&["out"], "/x")), "\"/out\": not found");
}

#[test]
fn wildcards_match_names_11_10_11_11() {
    let trees =
        Trees::new(&["1.txt", ".hid.txt", "a.md", "d1/f1", "d2/f2", "d2/s/f3", "adir/in", "[x].q=lit:644"], &[]);
    assert_eq!(trees.paths(copy(&["*.txt"], "/t/")), ["t", "t/.hid.txt", "t/1.txt"]);
    assert_eq!(trees.paths(copy(&["d?/f*"], "/u/")), ["u", "u/f1", "u/f2"]);
    assert_eq!(trees.paths(copy(&["a*", "none?*"], "/x/")), ["x", "x/a.md", "x/in"]);
    assert_eq!(trees.paths(copy(&["**/f3"], "/y/")), Vec::<String>::new());
    assert_eq!(trees.paths(copy(&["*nomatch*"], "/w/")), Vec::<String>::new());
    assert_eq!(trees.run(copy(&["[[]x].q"], "/lit")).unwrap()["lit"], "f644 0:0 lit");
    assert_eq!(trees.error(copy(&["["], "/w/")), "`[`: syntax error in pattern");
}

#[test]
fn a_missing_source_names_what_is_near_11_11() {
    let trees = Trees::new(&["src/main.rs", "secret.txt"], &[]);
    match trees.run(copy(&["src/mian.rs"], "/x")).unwrap_err() {
        CopyError::NotFound { path, ignored_by, nearest } => {
            assert_eq!((path.as_str(), ignored_by, nearest), ("/src/mian.rs", None, vec!["src/main.rs".to_owned()]));
        }
        other => panic!("{other}"),
    }
    let source = trees.source().with_ignore(Ignore::parse("# c\n*.txt\n").unwrap());
    match trees.run_on(&source, copy(&["secret.txt"], "/x")).unwrap_err() {
        CopyError::NotFound { ignored_by, nearest, .. } => {
            assert_eq!((ignored_by, nearest), (Some(("*.txt".to_owned(), 2)), Vec::new()));
        }
        other => panic!("{other}"),
    }
}

#[test]
fn what_is_preserved_11_12() {
    let trees = Trees::new(&["d/a=same:2644"], &[]);
    fs::hard_link(trees.context().join("d/a"), trees.context().join("d/b")).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, trees.context().join("d/fifo"), rustix::fs::FileType::Fifo, 0o600.into(), 0)
        .unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(trees.context().join("d/socket")).unwrap();
    let layer = trees.run(copy(&["d"], "/n")).unwrap();
    assert_eq!(layer["n/a"], "f2644 0:0 same");
    assert_eq!(layer["n/b"], "h -> n/a");
    assert_eq!(layer["n/fifo"], "Fifo");
    assert!(layer["n/socket"].starts_with('f'), "{layer:?}");
}

#[test]
fn chown_and_chmod_11_14_11_15() {
    let trees = Trees::new(&["a=A:755", "d/f=F:600", "d/s/:700", "d/l->f"], &["have/:711"]);
    let owner = Some(Owner { uid: 9, gid: 8 });
    let layer = trees.run(Copying { owner, mode: Some("600"), ..copy(&["d"], "/p/q") }).unwrap();
    for (path, text) in [("p", "d600 9:8"), ("p/q", "d600 9:8"), ("p/q/s", "d600 9:8"), ("p/q/f", "f600 9:8 F")] {
        assert_eq!(layer[path], text);
    }
    let layer = trees.run(Copying { owner, mode: Some("0"), ..copy(&["a"], "/have/") }).unwrap();
    assert!(layer["have"].starts_with("d711 "));
    assert_ne!(layer["have"], "d711 9:8");
    assert_eq!(layer["have/a"], "f0 9:8 A");
    let layer = trees.run(Copying { mode: Some("go=rX"), ..copy(&["d"], "/m") }).unwrap();
    assert_eq!(["m", "m/s", "m/f"].map(|path| layer[path].as_str()), ["d755 0:0", "d755 0:0", "f644 0:0 F"]);
    let layer = trees.run(Copying { mode: Some("u=rwx,go="), ..copy(&["a"], "/new/a") }).unwrap();
    assert_eq!((layer["new"].as_str(), layer["new/a"].as_str()), ("d755 0:0", "f700 0:0 A"));
    let layer = trees.run(Copying { mode: Some("4711"), ..copy(&["d"], "/n") }).unwrap();
    assert_eq!((layer["n"].as_str(), layer["n/s"].as_str()), ("d711 0:0", "d4711 0:0"));
}

#[test]
fn parents_are_kept_11_17() {
    let trees = Trees::new(&["x/a.txt", "x/y/b.txt", "x/y/c.md", "z.txt", "x/y/:711", "x/:711"], &[]);
    let paths =
        |sources: &[&str], exclude: &[&str]| trees.paths(Copying { parents: true, exclude, ..copy(sources, "/p") });
    assert_eq!(paths(&["x/a.txt", "x/y/b.txt"], &[]), ["p", "p/x", "p/x/a.txt", "p/x/y", "p/x/y/b.txt"]);
    assert_eq!(paths(&["./x/*/b.txt"], &[]), ["p", "p/x", "p/x/y", "p/x/y/b.txt"]);
    assert_eq!(paths(&["x/./y/b.txt"], &[]), ["p", "p/y", "p/y/b.txt"]);
    assert_eq!(paths(&["x/y"], &[]), ["p", "p/x", "p/x/y", "p/x/y/b.txt", "p/x/y/c.md"]);
    assert_eq!(paths(&["**/*.txt"], &[]), ["p", "p/x", "p/x/a.txt", "p/x/y", "p/x/y/b.txt", "p/z.txt"]);
    assert_eq!(paths(&["x/./**/*.txt"], &[]), ["p", "p/a.txt", "p/y", "p/y/b.txt"]);
    assert_eq!(paths(&["/x/a.txt"], &["*.txt"]), ["p", "p/x", "p/x/a.txt"]);
    assert_eq!(paths(&["x"], &["x/*.txt", "x/y"]), ["p", "p/x"]);
    let layer = trees.run(Copying { parents: true, ..copy(&["x/y/b.txt"], "/p") }).unwrap();
    assert_eq!((layer["p/x"].as_str(), layer["p/x/y"].as_str()), ("d711 0:0", "d711 0:0"));
    assert_eq!(trees.error(Copying { parents: true, ..copy(&["x/nope.txt"], "/p") }), "\"/x/nope.txt\": not found");
    assert!(trees.run(Copying { parents: true, ..copy(&["x/nope*"], "/p") }).is_ok());
}

#[test]
fn exclude_is_relative_to_each_directory_11_18() {
    let trees = Trees::new(&["d/a.md", "d/b.txt", "d/s/c.md", "d/s/k", "r.md", "r.txt"], &[]);
    let paths = |sources: &[&str], exclude: &[&str]| trees.paths(Copying { exclude, ..copy(sources, "/n/") });
    assert_eq!(paths(&["d"], &["*.md", "s/k"]), ["n", "n/b.txt", "n/s", "n/s/c.md"]);
    assert_eq!(paths(&["d"], &["**/*.md"]), ["n", "n/b.txt", "n/s", "n/s/k"]);
    assert_eq!(paths(&["*.md", "*.txt"], &["*.md"]), ["n", "n/r.md", "n/r.txt"]);
    assert_eq!(paths(&["d"], &["s", "!s/k"]), ["n", "n/a.md", "n/b.txt", "n/s", "n/s/k"]);
    assert_eq!(paths(&["d"], &["*"]), ["n"]);
}

#[test]
fn link_sees_no_destination_11_19() {
    let trees = Trees::new(&["a=A:644"], &["real/:700", "lnk->/real"]);
    let layer = trees.run(Copying { link: true, ..copy(&["a"], "/real/a") }).unwrap();
    assert_eq!(layer["real"], "d755 0:0");
    assert_eq!(trees.paths(Copying { link: true, ..copy(&["a"], "/lnk") }), ["lnk"]);
}

#[test]
fn ignored_files_do_not_exist_15_9() {
    let trees = Trees::new(&["a/x", "a/keep", "b.txt", "l->b.txt"], &[]);
    let source = trees.source().with_ignore(Ignore::parse("a\n!a/keep\nl\nb.*").unwrap());
    let paths = |sources: &[&str]| trees.run_on(&source, copy(sources, "/n/")).map(|layer| layer.into_keys().collect());
    assert_eq!(paths(&["."]).unwrap_or_else(|_| vec![]), ["n", "n/a", "n/a/keep"].map(str::to_owned).to_vec());
    assert_eq!(paths(&["a"]).unwrap_or_else(|_| vec![]), ["n", "n/keep"].map(str::to_owned).to_vec());
    assert_eq!(paths(&["*"]).unwrap_or_else(|_| vec![]), ["n", "n/keep"].map(str::to_owned).to_vec());
    assert!(paths(&["l"]).is_err());
    assert!(paths(&["a/x"]).is_err());
}

#[test]
fn heredocs_and_downloads_are_files_3_11_12_4() {
    let trees = Trees::new(&[], &[]);
    let time = Timestamp::from_seconds(9);
    fs::write(trees.temp.path().join("body"), "remote").unwrap();
    let file = fs::File::open(trees.temp.path().join("body")).unwrap();
    let selected = [Selected::download("f.txt", file, time).unwrap(), Selected::heredoc("EOF", b"text\n", time)];
    let layer = trees.write(&selected, copy(&[], "/d/")).unwrap();
    assert_eq!((layer["d/f.txt"].as_str(), layer["d/EOF"].as_str()), ("f600 0:0 remote", "f644 0:0 text\n"));
    let error = trees.write(&[Selected::heredoc("dir/file", b"", time)], copy(&[], "/d/")).unwrap_err();
    assert_eq!(error.to_string(), "open /dir/file: no such file or directory");
}

fn archive(entries: &[(&str, &str)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, what) in entries {
        let mut header = tar::Header::new_gnu();
        header.set_uid(70);
        header.set_gid(71);
        header.set_mode(0o640);
        header.as_gnu_mut().unwrap().name[..path.len()].copy_from_slice(path.as_bytes());
        let (kind, link, text) = match what.split_once(' ') {
            Some(("l", target)) => (tar::EntryType::Symlink, target, ""),
            Some(("h", target)) => (tar::EntryType::Link, target, ""),
            _ if *what == "d" => (tar::EntryType::Directory, "", ""),
            _ => (tar::EntryType::Regular, "", *what),
        };
        header.set_entry_type(kind);
        header.set_size(text.len() as u64);
        header.as_gnu_mut().unwrap().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_cksum();
        builder.append(&header, text.as_bytes()).unwrap();
    }
    builder.into_inner().unwrap()
}

#[test]
fn add_unpacks_archives_by_content_12_1_12_3() {
    let trees = Trees::new(&["empty", "text=no archive"], &["d/in/keep", "real/", "lnk->/real", "f", "d/in/one/x"]);
    let tar = archive(&[("./", "d"), ("in/", "d"), ("in/one", "1"), ("in/l", "l one"), ("in/two", "h in/one")]);
    let zipped = zstd::encode_all(tar.as_slice(), 1).unwrap();
    fs::write(trees.context().join("plain"), &tar).unwrap();
    fs::write(trees.context().join("zipped"), &zipped).unwrap();
    fn add<'a>(sources: &'a [&'a str], to: &'a str) -> Copying<'a> {
        Copying { unpack: Unpack::Local, ..copy(sources, to) }
    }
    for name in [["plain"], ["zipped"]] {
        let layer = trees.run(add(&name, "/p")).unwrap();
        assert_eq!(layer["p"], "d755 0:0");
        assert_eq!(layer["p/in"], "d640 70:71");
        assert_eq!(layer["p/in/one"], "f640 70:71 1");
        assert_eq!(layer["p/in/two"], "h -> p/in/one");
        assert_eq!(layer["p/in/l"], "l -> one");
    }
    let layer = trees.run(Copying { owner: Some(Owner { uid: 1, gid: 2 }), mode: Some("0"), ..add(&["plain"], "/p") });
    let layer = layer.unwrap();
    assert_eq!((layer["p"].as_str(), layer["p/in/one"].as_str()), ("d755 1:2", "f640 1:2 1"));
    assert!(trees.paths(add(&["zipped"], "/lnk")).contains(&"real/in/one".to_owned()));
    assert_eq!(trees.run(add(&["plain"], "/d")).unwrap()["d/in/one"], "f640 70:71 1");
    assert_eq!(trees.error(add(&["plain"], "/f")), "mkdir /f: not a directory");
    assert_eq!(trees.paths(add(&["empty", "text"], "/e/")), ["e", "e/empty", "e/text"]);
    assert_eq!(trees.paths(copy(&["zipped"], "/copied")), ["copied"]);
}

#[test]
fn archives_cannot_reach_beyond_the_destination_12_2() {
    let trees = Trees::new(&[], &["elsewhere/", "p/out->/elsewhere"]);
    let add = Copying { unpack: Unpack::Local, ..copy(&["t"], "/p") };
    fs::write(trees.context().join("t"), archive(&[("../x", "1")])).unwrap();
    assert!(trees.error(add).contains("outside"));
    fs::write(trees.context().join("t"), archive(&[("up", "l ../../.."), ("up/x", "1"), ("out/y", "2")])).unwrap();
    assert_eq!(trees.paths(add), ["p", "p/elsewhere", "p/elsewhere/y", "p/up", "p/x"]);
    fs::write(trees.context().join("t"), archive(&[("a", "h /etc/passwd")])).unwrap();
    assert!(trees.error(add).contains("hard link"));
}

#[test]
fn archive_entries_replace_each_other_12_2() {
    let trees = Trees::new(&[], &["p/d/old", "p/e/old"]);
    let tar = archive(&[("d", "file now"), ("e", "x"), ("e/", "d"), ("e/new", "y")]);
    fs::write(trees.context().join("t"), tar).unwrap();
    let layer = trees.run(Copying { unpack: Unpack::Local, ..copy(&["t"], "/p") }).unwrap();
    let paths: Vec<_> = layer.keys().map(String::as_str).collect();
    assert_eq!(paths, ["p", "p/d", "p/e", "p/e/.wh..wh..opq", "p/e/new"]);
}

#[test]
fn the_key_is_content_not_history_16_4() {
    let trees = Trees::new(&["a=same:644", "b=same:644", "d/f=1:644", "d/l->f", "d/s/"], &[]);
    let key = |source: &str| {
        let sources = [source.to_owned()];
        content_key(&select(&trees.source(), &Request { sources: &sources, ..Request::default() }).unwrap())
    };
    assert_eq!(key("a"), key("./a"));
    assert_eq!(key("a"), key("/a"));
    assert_ne!(key("a"), key("b"));
    let before = key("d");
    let later = fs::FileTimes::new().set_modified(std::time::UNIX_EPOCH);
    fs::File::open(trees.context().join("d/f")).unwrap().set_times(later).unwrap();
    assert_eq!(key("d"), before);
    fs::set_permissions(trees.context().join("d/f"), fs::Permissions::from_mode(0o600)).unwrap();
    let private = key("d");
    assert_ne!(private, before);
    fs::write(trees.context().join("d/f"), "2").unwrap();
    assert_ne!(key("d"), private);
    fs::rename(trees.context().join("d/s"), trees.context().join("d/t")).unwrap();
    assert_ne!(key("d"), private);
}

#[test]
fn a_file_that_changes_in_between_is_noticed() {
    let trees = Trees::new(&["a=one"], &[]);
    let sources = ["a".to_owned()];
    let selected = select(&trees.source(), &Request { sources: &sources, ..Request::default() }).unwrap();
    fs::write(trees.context().join("a"), "two").unwrap();
    assert!(matches!(trees.write(&selected, copy(&[], "/x")), Err(CopyError::Changed { .. })));
}

#[test]
fn workdir_makes_what_is_missing_13_2() {
    let trees = Trees::new(&[], &["real/", "l->/real", "f"]);
    let view = Dir::open(&trees.root()).unwrap();
    let layer = |path: &str| {
        let mut out = Vec::new();
        write_directory_layer(path, Some(&view), Owner { uid: 5, gid: 6 }, Timestamp::default(), &mut out)?;
        Ok::<_, CopyError>(read(&out))
    };
    let made = layer("/l/sub/x").unwrap();
    assert_eq!(made.keys().collect::<Vec<_>>(), ["real", "real/sub", "real/sub/x"]);
    assert_eq!(made["real/sub"], "d755 5:6");
    assert_eq!(layer("/f/x").unwrap_err().to_string(), "mkdir /f: not a directory");
}
