//! The hot loops, one by one: reading a Dockerfile, a step key, a layer out of files, of changes, and files out of a layer.
//!
//! `cargo bench --bench micro`; whole builds are measured by `benches/compare.py`.

use std::io;
use std::path::Path;

use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use kiln::cache::{KeySink, Keyed, key_of};
use kiln::digest::{HashingReader, HashingWriter};
use kiln::dockerfile;
use kiln::fsutil::Dir;
use kiln::layer::{self, ApplyOptions, DiffOptions};
use kiln::source::{SourceFile, Sources};
use tempfile::TempDir;

fn main() {
    divan::main();
}

/// Files of a small source tree: many, and short.
const FILES: usize = 2_000;

/// 200 lines take well below a millisecond.
#[divan::bench(args = [200, 7_000])]
fn parse_a_dockerfile(bencher: Bencher<'_, '_>, lines: usize) {
    let block = "RUN --mount=type=cache,target=/cache apt-get update \\\n  && apt-get install -y one two three\n\
                 ENV NAME=\"a value\" OTHER=${NAME:-none}\nCOPY --chown=1000:1000 src/ /srv/app/\n\
                 RUN <<END\necho in a heredoc\nEND\n";
    let text = format!(
        "# syntax=docker/dockerfile:1\nFROM debian AS base\n{}",
        block.repeat((lines - 2) / block.lines().count())
    );
    let mut sources = Sources::default();
    let id = sources.add(SourceFile::new("Dockerfile", text.clone()));
    bencher.counter(BytesCount::of_str(&text)).bench(|| dockerfile::parse(black_box(&sources), id));
}

/// A step with as many facts as a RUN of a large image has.
struct Step;

impl Keyed for Step {
    fn write_key(&self, sink: &mut dyn KeySink) {
        sink.field("op", "run/1");
        for number in 0..40 {
            sink.field("env", &format!("NAME_{number}=a value of usual length"));
        }
        sink.field("layer", "sha256:0707070707070707070707070707070707070707070707070707070707070707");
    }
}

#[divan::bench]
fn key_of_a_step() -> String {
    key_of(black_box(&Step)).hex()
}

#[divan::bench]
fn files_to_a_layer_and_its_digest(bencher: Bencher<'_, '_>) {
    let tree = source_tree();
    let root = Dir::open(tree.path()).expect("the source tree");
    bencher.counter(ItemsCount::new(FILES)).bench(|| {
        let mut writer = HashingWriter::new(io::sink());
        layer::write_tree(&root, &mut writer).expect("a layer");
        writer.finish().1
    });
}

#[divan::bench]
fn a_layer_and_its_digest_to_files(bencher: Bencher<'_, '_>) {
    let tar = layer_tar();
    bencher.counter(ItemsCount::new(FILES)).with_inputs(scratch).bench_refs(|target| {
        let mut reader = HashingReader::new(tar.as_slice());
        let root = Dir::open(target.path()).expect("a new directory");
        layer::apply(&mut reader, &root, None, &ApplyOptions::default()).expect("the layer's files");
        reader.finish().1
    });
}

/// What a command left in the upper directory of an overlay, above a view that has none of it.
#[divan::bench(args = ["dpkg", "npm"])]
fn changes_to_a_layer_and_its_digest(bencher: Bencher<'_, '_>, shape: &str) {
    let (upper, lower) = (scratch(), scratch());
    let files = if shape == "dpkg" { packages(upper.path()) } else { modules(upper.path()) };
    let open = |directory: &TempDir| Dir::open(directory.path()).expect("a directory");
    let (upper, lower) = (open(&upper), open(&lower));
    bencher.counter(ItemsCount::new(files)).bench(|| {
        let mut writer = HashingWriter::new(io::sink());
        layer::diff(&upper, Some(&lower), &DiffOptions::default(), &mut writer).expect("a layer");
        writer.finish().1
    });
}

/// 200 installed packages: a program, documents, and what dpkg notes of each in one directory. Returns the number of files.
fn packages(root: &Path) -> usize {
    for number in 0..200 {
        let program = root.join(format!("usr/bin/program-{number}"));
        write(&program, &[number as u8; 1024].repeat(30 + number));
        for document in ["copyright", "changelog.Debian.gz"] {
            write(&root.join(format!("usr/share/doc/package-{number}/{document}")), &[b'd'; 2_000]);
        }
        for note in ["list", "md5sums", "postinst", "triggers"] {
            write(&root.join(format!("var/lib/dpkg/info/package-{number}.{note}")), &[b'n'; 300]);
        }
    }
    200 * 7
}

/// 400 modules of 25 short files each, in directories of their own. Returns the number of files.
fn modules(root: &Path) -> usize {
    for number in 0..400 {
        for file in 0..25 {
            let path = format!("srv/app/node_modules/module-{number}/lib/part-{}/file-{file}.js", file % 5);
            write(&root.join(path), &[b'j'; 1_200]);
        }
    }
    400 * 25
}

fn write(path: &Path, content: &[u8]) {
    std::fs::create_dir_all(path.parent().expect("it is below a root")).expect("a directory");
    std::fs::write(path, content).expect("a file");
}

#[divan::bench(args = [1, 2])]
fn gzip_of_a_layer(bencher: Bencher<'_, '_>, threads: usize) {
    let tar = layer_tar();
    bencher.counter(BytesCount::of_slice(&tar)).bench(|| {
        layer::gzip::compress(tar.as_slice(), io::sink(), layer::gzip::DEFAULT_LEVEL, threads, &layer::gzip::NoMemory)
            .expect("a compressed layer");
    });
}

/// Programs are harder to compress than text: kiln's own, one thread. Level 1 is kiln's encoder, 3 is zlib's.
#[divan::bench(args = [1, 3])]
fn deflate(bencher: Bencher<'_, '_>, level: i32) {
    let program = std::fs::read(env!("CARGO_BIN_EXE_kiln")).expect("the program");
    bencher.counter(BytesCount::of_slice(&program)).bench(|| {
        layer::gzip::compress(program.as_slice(), io::sink(), level, 1, &layer::gzip::NoMemory)
            .expect("a compressed layer");
    });
}

fn layer_tar() -> Vec<u8> {
    let tree = source_tree();
    let mut tar = Vec::new();
    layer::write_tree(&Dir::open(tree.path()).expect("the source tree"), &mut tar).expect("a layer");
    tar
}

fn source_tree() -> TempDir {
    let tree = scratch();
    for number in 0..FILES {
        let directory = tree.path().join(format!("directory-{}", number % 50));
        std::fs::create_dir_all(&directory).expect("a directory");
        write_file(&directory.join(format!("file-{number}.txt")), number);
    }
    tree
}

fn write_file(path: &Path, number: usize) {
    std::fs::write(path, format!("line {number} of a file\n").repeat(50)).expect("a file");
}

fn scratch() -> TempDir {
    tempfile::tempdir().expect("a scratch directory")
}
