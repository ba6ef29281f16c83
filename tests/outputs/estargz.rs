//! `compression=estargz`, read by a reader of this test's own, after the specification (stargz-snapshotter, docs/estargz.md),
//! and by the verifier of the stargz library.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;

use base64::Engine as _;
use flate2::read::{GzDecoder, MultiGzDecoder};
use kiln::digest::Digest;
use kiln::layer::estargz;
use serde_json::Value;

use super::support::{self, Kiln, image, tool, write};

const CHUNK: usize = 4 << 20;

/// A layer as the archive of a build has it.
struct Layer {
    blob: Vec<u8>,
    descriptor: Value,
    diff_id: String,
}

fn bytes(length: usize, seed: u32) -> Vec<u8> {
    (0..length as u32).map(|i| (i.wrapping_mul(2_654_435_761).wrapping_add(seed) >> 19) as u8).collect()
}

/// A context with everything that a layer may hold: empty, small and long files, links, owners, a deletion.
fn context() -> tempfile::TempDir {
    let context = support::scratch();
    write(context.path(), "Dockerfile", "FROM scratch\nCOPY --chown=7:8 tree /\nCOPY more /dir/more\n");
    let tree = context.path().join("tree");
    write(&tree, "dir/empty", "");
    write(&tree, "dir/small", "a small file\n");
    write(&tree, "exact", bytes(CHUNK, 1));
    write(&tree, "long", bytes(2 * CHUNK + 12_345, 2));
    write(&tree, &format!("{}/{}", "d".repeat(120), "f".repeat(130)), "a long name");
    write(&tree, "ö ü", "a name that is not ASCII");
    std::os::unix::fs::symlink("dir/small", tree.join("link")).unwrap();
    std::fs::hard_link(tree.join("dir/small"), tree.join("name")).unwrap();
    write(context.path(), "more", "more\n");
    context
}

fn layers(archive: &Path) -> Vec<Layer> {
    let image = image::read(archive).unwrap();
    let manifest = image.manifest.unwrap();
    let blob = |digest: &str| {
        let path = format!("blobs/sha256/{}", digest.strip_prefix("sha256:").unwrap());
        let mut command = tool::tool("tar");
        command.arg("-xOf").arg(archive).arg(path).output().unwrap().stdout
    };
    let descriptors = manifest["layers"].as_array().unwrap();
    let diff_ids = image.config["rootfs"]["diff_ids"].as_array().unwrap();
    let one = |(descriptor, diff_id): (&Value, &Value)| Layer {
        blob: blob(descriptor["digest"].as_str().unwrap()),
        descriptor: descriptor.clone(),
        diff_id: diff_id.as_str().unwrap().to_owned(),
    };
    descriptors.iter().zip(diff_ids).map(one).collect()
}

fn build(kiln: &Kiln, name: &str, attributes: &str) -> std::path::PathBuf {
    let (context, archive) = (context(), kiln.out().join(name));
    let output = format!("type=oci,compression=estargz,dest={}{attributes}", archive.display());
    kiln.build(context.path(), &["-t", "e", "-o", &output]).succeeded();
    archive
}

fn number(row: &Value, key: &str) -> usize {
    usize::try_from(row[key].as_u64().unwrap_or_default()).unwrap()
}

/// The bytes of one member; what follows it is not read.
fn member(blob: &[u8]) -> Vec<u8> {
    let mut content = Vec::new();
    GzDecoder::new(blob).read_to_end(&mut content).unwrap();
    content
}

/// Where the table is, by the footer.
fn table_place(blob: &[u8]) -> usize {
    let footer = &blob[blob.len() - 51..];
    assert_eq!(footer[..4], [0x1f, 0x8b, 8, 4], "a gzip header with an extra field");
    assert_eq!(footer[10..16], [26, 0, b'S', b'G', 22, 0]);
    assert_eq!(&footer[32..38], b"STARGZ");
    assert_eq!(footer[38..], [1, 0, 0, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0], "an empty stored block");
    usize::from_str_radix(std::str::from_utf8(&footer[16..32]).unwrap(), 16).unwrap()
}

/// The files of the layer's tar: header fields and content, by name as the tar has it.
fn tar_files(tar: &[u8]) -> BTreeMap<String, (tar::Header, Vec<u8>)> {
    let mut files = BTreeMap::new();
    for entry in tar::Archive::new(tar).entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = String::from_utf8(entry.path_bytes().into_owned()).unwrap();
        let header = entry.header().clone();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        files.insert(name, (header, content));
    }
    files
}

/// Checks all that the specification says of one layer; returns the names in its table.
fn check(layer: &Layer) -> Vec<String> {
    let blob = &layer.blob;
    let mut whole = Vec::new();
    MultiGzDecoder::new(blob.as_slice()).read_to_end(&mut whole).unwrap();
    assert_eq!(Digest::of(&whole).to_string(), layer.diff_id, "the diff id is that of the tar with the table");
    let annotations = &layer.descriptor["annotations"];
    assert_eq!(annotations[estargz::UNCOMPRESSED_SIZE], whole.len().to_string());
    assert_eq!(layer.descriptor["mediaType"], "application/vnd.oci.image.layer.v1.tar+gzip");
    let at = table_place(blob);
    let last = tar_files(&member(&blob[at..]));
    let (_, table) = &last["stargz.index.json"];
    assert_eq!(last.len(), 1, "the table has a member of its own");
    assert_eq!(annotations[estargz::TABLE_DIGEST], Digest::of(table).to_string());
    let files = tar_files(&whole);
    let table: Value = serde_json::from_slice(table).unwrap();
    assert_eq!(table["version"], 1);
    let rows = table["entries"].as_array().unwrap();
    let firsts: Vec<&Value> = rows.iter().filter(|row| row["type"] != "chunk").collect();
    let names: Vec<String> = firsts.iter().map(|row| row["name"].as_str().unwrap().to_owned()).collect();
    let in_tar: Vec<&String> = files.keys().filter(|name| *name != "stargz.index.json").collect();
    let mut sorted: Vec<&String> = names.iter().collect();
    sorted.sort();
    assert_eq!(sorted, in_tar, "every file is in the table, once");
    assert_eq!(files[".no.prefetch.landmark"].1, [0x0f]);
    for row in firsts {
        check_row(row, rows, blob, &files);
    }
    names
}

fn check_row(row: &Value, rows: &[Value], blob: &[u8], files: &BTreeMap<String, (tar::Header, Vec<u8>)>) {
    let name = row["name"].as_str().unwrap();
    let (header, content) = &files[name];
    assert_eq!(number(row, "mode"), header.mode().unwrap() as usize, "{name}");
    assert_eq!(number(row, "uid"), header.uid().unwrap() as usize, "{name}");
    assert_eq!(number(row, "gid"), header.gid().unwrap() as usize, "{name}");
    let kind = match header.entry_type() {
        tar::EntryType::Directory => "dir",
        tar::EntryType::Regular => "reg",
        tar::EntryType::Symlink => "symlink",
        tar::EntryType::Link => "hardlink",
        tar::EntryType::Char => "char",
        other => panic!("{name}: {other:?}"),
    };
    assert_eq!(row["type"], kind, "{name}");
    match header.link_name().unwrap() {
        Some(link) if kind.ends_with("link") => assert_eq!(row["linkName"], link.to_str().unwrap()),
        _ => assert!(row["linkName"].is_null()),
    }
    if header.mtime().unwrap() > 0 {
        let time = kiln::oci::parse_rfc3339(row["modtime"].as_str().unwrap()).unwrap();
        assert_eq!(time.seconds as u64, header.mtime().unwrap(), "{name}");
    }
    assert_eq!(number(row, "size"), content.len(), "{name}");
    if kind != "reg" {
        return;
    }
    assert_eq!(row["digest"], Digest::of(content).to_string(), "{name}");
    if content.is_empty() {
        assert!(row["offset"].is_null() && row["chunkDigest"].is_null(), "{name}");
        return;
    }
    let pieces: Vec<&Value> = rows.iter().filter(|other| other["name"] == name).collect();
    let mut done = 0;
    for (at, piece) in pieces.iter().enumerate() {
        let is_last = at + 1 == pieces.len();
        assert_eq!(number(piece, "chunkOffset"), done, "{name}");
        assert_eq!(number(piece, "chunkSize") == 0, is_last, "{name}: only the last has no size of its own");
        let length = if is_last { content.len() - done } else { number(piece, "chunkSize") };
        let expected = &content[done..done + length];
        let found = member(&blob[number(piece, "offset")..]);
        assert_eq!(&found[..length], expected, "{name}: a member begins with the piece");
        assert_eq!(piece["chunkDigest"], Digest::of(expected).to_string(), "{name}");
        done += length;
    }
    assert_eq!(done, content.len(), "{name}");
}

#[test]
fn every_layer_is_what_the_specification_says() {
    let kiln = Kiln::new();
    let layers = layers(&build(&kiln, "image.tar", ""));
    assert_eq!(layers.len(), 2);
    let names = check(&layers[0]);
    for name in [".no.prefetch.landmark", "dir/", "dir/empty", "exact", "long", "link", "name", "ö ü"] {
        assert!(names.iter().any(|found| found == name), "{name}: {names:?}");
    }
    let long = names.iter().filter(|name| *name == "long").count();
    assert_eq!(long, 1);
    check(&layers[1]);
}

/// Compiles the verifier against the library as Debian packages it.
fn verifier(directory: &Path) -> std::path::PathBuf {
    let library = Path::new("/usr/share/gocode");
    let package = library.join("src/github.com/containerd/stargz-snapshotter/estargz");
    assert!(package.is_dir(), "apt-get install golang-github-containerd-stargz-snapshotter-dev");
    let program = directory.join("verify");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/outputs/verify.go");
    let mut go = tool::tool("go");
    go.env("GO111MODULE", "off").env("GOPATH", library).env("GOCACHE", directory.join("cache")).env("HOME", directory);
    tool::run(go.arg("build").arg("-o").arg(&program).arg(source));
    program
}

#[test]
fn the_verifier_of_the_stargz_library_accepts_it() {
    let (kiln, scratch) = (Kiln::new(), support::scratch());
    let program = verifier(scratch.path());
    let layers = layers(&build(&kiln, "image.tar", ""));
    let blob = scratch.path().join("blob");
    let run = |layer: &Layer, bytes: &[u8]| {
        std::fs::write(&blob, bytes).unwrap();
        let table = layer.descriptor["annotations"][estargz::TABLE_DIGEST].as_str().unwrap();
        std::process::Command::new(&program).arg(&blob).arg(table).output().unwrap()
    };
    for (layer, at_least) in layers.iter().zip([9, 2]) {
        let output = run(layer, &layer.blob);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let pieces: u32 = String::from_utf8_lossy(&output.stdout).trim().parse().unwrap();
        assert!(pieces >= at_least, "{pieces} pieces");
    }
    // It is one that can say no.
    let mut damaged = layers[0].blob.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    assert!(!run(&layers[0], &damaged).status.success());
}

#[test]
fn the_bytes_depend_on_nothing_but_layer_and_level() {
    let source = bytes(3 * CHUNK + 1, 3);
    let mut tar = tar::Builder::new(Vec::new());
    for name in ["a", "b/c", "stargz.index.json", "d"] {
        let mut header = tar::Header::new_ustar();
        header.set_size(if name == "a" { source.len() as u64 } else { 3 });
        header.set_mode(0o644);
        tar.append_data(&mut header, name, if name == "a" { source.as_slice() } else { b"abc" }).unwrap();
    }
    let tar = tar.into_inner().unwrap();
    let with = |level, threads| {
        let mut blob = Vec::new();
        let written = estargz::compress(tar.as_slice(), &mut blob, level, threads).unwrap();
        (blob, written)
    };
    let (blob, written) = with(3, 1);
    for threads in [2, 5] {
        assert!(with(3, threads) == (blob.clone(), written), "{threads} threads");
    }
    // A layer that has a table already gets another one.
    let mut whole = Vec::new();
    MultiGzDecoder::new(blob.as_slice()).read_to_end(&mut whole).unwrap();
    let names: Vec<String> = tar_files(&whole).into_keys().collect();
    assert_eq!(names, [".no.prefetch.landmark", "a", "b/c", "d", "stargz.index.json"]);
    let mut again = Vec::new();
    assert_eq!(estargz::compress(whole.as_slice(), &mut again, 3, 2).unwrap(), written);
    assert!(again == blob, "what was eStargz stays it");
}

#[test]
fn what_a_table_cannot_hold_is_refused() {
    let compress = |header: &mut tar::Header, name: &[u8]| {
        header.as_old_mut().name[..name.len()].copy_from_slice(name);
        header.set_mode(0o644);
        header.set_size(0);
        header.set_cksum();
        let mut tar = tar::Builder::new(Vec::new());
        tar.append(header, std::io::empty()).unwrap();
        let tar = tar.into_inner().unwrap();
        estargz::compress(tar.as_slice(), std::io::sink(), 1, 1).unwrap_err().to_string()
    };
    let text = compress(&mut tar::Header::new_ustar(), b"caf\xe9");
    assert!(text.contains("no UTF-8") && text.contains("another compression"), "{text}");
    let mut sparse = tar::Header::new_gnu();
    sparse.set_entry_type(tar::EntryType::GNUSparse);
    sparse.as_gnu_mut().unwrap().set_real_size(0);
    assert!(compress(&mut sparse, b"s").contains("sparse"));
    // A layer that ends too early is no layer.
    let mut header = tar::Header::new_ustar();
    header.set_path("cut").unwrap();
    header.set_size(1000);
    header.set_cksum();
    let cut = [header.as_bytes().as_slice(), &[1; 600]].concat();
    let error = estargz::compress(cut.as_slice(), std::io::sink(), 1, 2).unwrap_err();
    assert!(error.to_string().contains("ends within `cut`"), "{error}");
}

#[test]
fn extended_attributes_are_in_the_table() {
    let mut writer = kiln::layer::Writer::new(Vec::new());
    let mut entry = kiln::layer::TarEntry::plain_directory(b"d".to_vec());
    entry.xattrs.insert(b"user.k".to_vec(), b"\x00v".to_vec());
    writer.append(&entry, &mut std::io::empty()).unwrap();
    writer.whiteout(b"gone").unwrap();
    let mut blob = Vec::new();
    estargz::compress(writer.finish().unwrap().as_slice(), &mut blob, 3, 1).unwrap();
    let last = tar_files(&member(&blob[table_place(&blob)..]));
    let table: Value = serde_json::from_slice(&last["stargz.index.json"].1).unwrap();
    let value = base64::engine::general_purpose::STANDARD.encode(b"\x00v");
    assert_eq!(table["entries"][1]["xattrs"], serde_json::json!({ "user.k": value }));
    assert_eq!(table["entries"][2]["name"], ".wh.gone");
}

#[test]
fn other_tools_and_kiln_itself_read_it() {
    let kiln = Kiln::new();
    let archive = build(&kiln, "image.tar", "");
    let layout = kiln.out().join("layout");
    let source = format!("oci-archive:{}", archive.display());
    let target = format!("oci:{}:e", layout.display());
    tool::run(tool::tool("skopeo").args(["--insecure-policy", "copy", "-q", &source, &target]));
    let bundle = kiln.out().join("bundle");
    let image = format!("{}:e", layout.display());
    tool::run(tool::tool("umoci").args(["unpack", "--rootless", "--image", &image]).arg(&bundle));
    let file = bundle.join("rootfs/long");
    assert!(std::fs::read(file).unwrap() == bytes(2 * CHUNK + 12_345, 2));
    kiln.run(["load".as_ref(), "-i".as_ref(), archive.as_os_str()]).succeeded();
    let copied = kiln.out().join("copied");
    kiln.run(["cp".as_ref(), "e:/dir/more".as_ref(), copied.as_os_str()]).succeeded();
    assert_eq!(std::fs::read_to_string(copied).unwrap(), "more\n");
}

#[test]
fn the_store_keeps_it_and_layers_of_the_base_are_made_so_by_force() {
    let kiln = Kiln::new();
    let context = support::scratch();
    let [base, plain, forced] = ["base", "plain", "forced"].map(|name| kiln.out().join(name));
    write(context.path(), "Dockerfile", "FROM scratch\nCOPY file /base\n");
    write(context.path(), "file", "file\n");
    let output = format!("type=oci,tar=false,compression=zstd,dest={}", base.display());
    kiln.build(context.path(), &["-t", "base", "-o", &output]).succeeded();
    write(context.path(), "Dockerfile", "FROM base\nCOPY file /own\n");
    let named = format!("base=oci-layout://{}", base.display());
    let output = |dest: &Path, more: &str| format!("type=oci,compression=estargz,dest={}{more}", dest.display());
    let arguments =
        ["--build-context", &named, "-o", &output(&plain, ""), "-o", &output(&forced, ",force-compression=true")];
    kiln.build(context.path(), &arguments).succeeded();
    let plain = layers(&plain);
    assert_eq!(plain[0].descriptor["mediaType"], "application/vnd.oci.image.layer.v1.tar+zstd");
    check(&plain[1]);
    for layer in layers(&forced) {
        check(&layer);
    }
    let arguments = ["--build-context", &named, "-t", "kept", "-o", "type=image,compression=estargz"];
    kiln.build(context.path(), &arguments).succeeded();
    let inspected = kiln.run(["inspect", "kept"]);
    assert!(inspected.succeeded().stdout.contains(&plain[1].diff_id), "{}", inspected.both());
}
