//! Images written by `export` and read by other tools: skopeo, umoci, podman, a real registry.

// Tests are the edge: they list directories, and their helpers may fail.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use kiln::content::Store;
use kiln::digest::{DiffId, Digest};
use kiln::export::{self, Codec, Format, Image, ImageSet, MediaTypes, Report};
use kiln::fsutil::Dir;
use kiln::oci::{self, Compression, ImageConfig, Layer, Reference, media_type};
use kiln::registry::{Client, Settings};
use serde_json::Value;

use support::tool::{run, tool};

/// A store with layers in it, and a directory for what is written.
struct Bench {
    temp: tempfile::TempDir,
    store: Store,
}

impl Bench {
    fn new() -> Self {
        let temp = tempfile::tempdir().unwrap();
        let store = Store::open(&temp.path().join("store")).unwrap();
        Self { temp, store }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.temp.path().join(name)
    }

    /// A new layer of one file, as a build leaves it: a plain tar in the store.
    fn layer(&self, name: &str, content: &[u8]) -> Layer {
        let tar = one_file_tar(name, content);
        let digest = self.store.put(&tar).unwrap();
        let descriptor = oci::descriptor(media_type::OCI_LAYER, &digest, tar.len() as u64);
        Layer { diff_id: DiffId(digest), descriptor, origin: None }
    }

    /// A layer of a base image: compressed by somebody else.
    fn pulled_layer(&self, name: &str, content: &[u8]) -> Layer {
        let tar = one_file_tar(name, content);
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(9));
        gzip.write_all(&tar).unwrap();
        let blob = gzip.finish().unwrap();
        let digest = self.store.put(&blob).unwrap();
        let descriptor = oci::descriptor(media_type::DOCKER_LAYER_GZIP, &digest, blob.len() as u64);
        Layer { diff_id: DiffId(Digest::of(&tar)), descriptor, origin: None }
    }

    fn layers(&self) -> Vec<Layer> {
        let noise: Vec<u8> = (0..3_000_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        vec![self.pulled_layer("base", b"from the base image"), self.layer("noise", &noise), self.layer("app", b"app")]
    }

    fn compressed(&self, layers: &[Layer], codec: Codec, threads: usize) -> Vec<Layer> {
        let records = self.path("store/cache/compressed");
        export::compressed(layers, &self.store, codec, &records, threads, &Report::silent()).unwrap()
    }

    fn image(&self, architecture: &str, media: MediaTypes) -> Image {
        let layers = self.compressed(&self.layers(), GZIP, 2);
        export::assemble(config(architecture, layers.len()), &layers, media, &BTreeMap::new())
    }

    fn unpacked(&self, archive: &Path) -> PathBuf {
        let directory = self.path("unpacked");
        tar::Archive::new(std::fs::File::open(archive).unwrap()).unpack(&directory).unwrap();
        directory
    }
}

const GZIP: Codec = Codec { format: Format::Gzip, level: None, force: false };

fn one_file_tar(name: &str, content: &[u8]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    tar.append_data(&mut header, name, content).unwrap();
    tar.into_inner().unwrap()
}

fn config(architecture: &str, layers: usize) -> ImageConfig {
    let mut config = ImageConfig {
        created: Some("2024-01-02T03:04:05Z".to_owned()),
        architecture: architecture.to_owned(),
        os: "linux".to_owned(),
        ..ImageConfig::default()
    };
    config.config.cmd = vec!["/app".to_owned()];
    config.history = vec![oci::History::default(); layers];
    config
}

fn names(texts: &[&str]) -> Vec<Reference> {
    texts.iter().map(|text| Reference::parse(text).unwrap()).collect()
}

/// Writes to a file in the bench, twice, and says that both are the same bytes.
fn written(bench: &Bench, write: impl Fn(&mut Vec<u8>)) -> PathBuf {
    let (mut first, mut second) = (Vec::new(), Vec::new());
    write(&mut first);
    write(&mut second);
    assert!(first == second, "two archives of one image differ");
    let path = bench.path("archive.tar");
    std::fs::write(&path, first).unwrap();
    path
}

fn oci_archive(bench: &Bench, set: &ImageSet, names: &[Reference]) -> PathBuf {
    written(bench, |out| {
        export::write_oci_tar(set, names, &bench.store, out, &Report::silent()).unwrap();
    })
}

fn docker_archive(bench: &Bench, set: &ImageSet, names: &[Reference]) -> PathBuf {
    written(bench, |out| {
        export::write_docker_archive(set, names, &bench.store, out, &Report::silent()).unwrap();
    })
}

fn skopeo(bench: &Bench) -> Command {
    let mut command = tool("skopeo");
    command.arg("--insecure-policy").arg("--tmpdir").arg(bench.temp.path());
    command
}

#[track_caller]
fn is_valid(layout: &Path) {
    assert_eq!(export::validate_layout(layout), []);
}

#[test]
fn an_oci_archive_is_what_it_says() {
    let bench = Bench::new();
    for media in [MediaTypes::Oci, MediaTypes::Docker] {
        let set = ImageSet::single(bench.image("amd64", media));
        let archive = oci_archive(&bench, &set, &names(&["example.com/team/app:1.2"]));
        let mut paths = Vec::new();
        for entry in tar::Archive::new(std::fs::File::open(&archive).unwrap()).entries().unwrap() {
            paths.push(entry.unwrap().path().unwrap().display().to_string());
        }
        assert!(paths.is_sorted(), "{paths:?}");
        assert_eq!(paths[..2], ["blobs/", "blobs/sha256/"]);
        assert_eq!(paths[paths.len() - 2..], ["index.json", "oci-layout"]);
        is_valid(&bench.unpacked(&archive));
        std::fs::remove_dir_all(bench.path("unpacked")).unwrap();
    }
}

#[test]
fn skopeo_and_umoci_read_an_oci_archive() {
    let bench = Bench::new();
    let set = ImageSet::single(bench.image("amd64", MediaTypes::Oci));
    let archive = oci_archive(&bench, &set, &names(&["app:1.2", "app:latest"]));
    let source = format!("oci-archive:{}:1.2", archive.display());
    let inspected = run(skopeo(&bench).args(["inspect", &source]));
    assert!(inspected.contains(&set.root().digest().to_string()), "{inspected}");
    let copied = bench.path("copied");
    run(skopeo(&bench).args(["copy", &source, &format!("oci:{}:v", copied.display())]));
    is_valid(&copied);

    let layout = bench.unpacked(&archive);
    let bundle = bench.path("bundle");
    run(tool("umoci").arg("unpack").arg("--image").arg(format!("{}:latest", layout.display())).arg(&bundle));
    for (file, content) in [("base", "from the base image"), ("app", "app")] {
        assert_eq!(std::fs::read_to_string(bundle.join("rootfs").join(file)).unwrap(), content);
    }
}

#[test]
fn a_docker_archive_is_read_by_skopeo() {
    let bench = Bench::new();
    for media in [MediaTypes::Oci, MediaTypes::Docker] {
        let image = bench.image("amd64", media);
        let config: Value = serde_json::from_slice(&image.config.bytes).unwrap();
        let archive = docker_archive(&bench, &ImageSet::single(image), &names(&["app:1.2", "example.com/app:3"]));
        for tag in ["app:1.2", "example.com/app:3"] {
            let target = bench.path("copied");
            let source = format!("docker-archive:{}:{tag}", archive.display());
            run(skopeo(&bench).args(["copy", &source, &format!("oci:{}:v", target.display())]));
            is_valid(&target);
            // skopeo writes the config anew, with its own order of keys.
            let copied =
                run(skopeo(&bench).args(["inspect", "--config", "--raw", &format!("oci:{}:v", target.display())]));
            let copied: Value = serde_json::from_str(&copied).unwrap();
            for key in ["created", "architecture", "os", "config", "rootfs", "history"] {
                assert_eq!(copied[key], config[key], "{key}");
            }
            std::fs::remove_dir_all(target).unwrap();
        }
    }
}

#[test]
fn a_docker_archive_is_loaded_by_podman() {
    let bench = Bench::new();
    let image = bench.image("amd64", MediaTypes::Oci);
    let config = image.config.digest.hex();
    let archive = docker_archive(&bench, &ImageSet::single(image), &names(&["app:1.2"]));
    let podman = || {
        let mut command = tool("podman");
        command.arg("--root").arg(bench.path("root")).arg("--runroot").arg(bench.path("run"));
        command.args(["--storage-driver", "vfs"]).env("TMPDIR", bench.temp.path());
        command
    };
    run(podman().args(["load", "-i"]).arg(&archive));
    let listed = run(podman().args(["images", "--no-trunc", "--format", "{{.ID}} {{.Repository}}:{{.Tag}}"]));
    assert!(listed.contains(&format!("{config} ")) && listed.contains("/app:1.2"), "{listed}");
}

#[test]
fn a_docker_archive_holds_one_platform() {
    let bench = Bench::new();
    let images = vec![bench.image("amd64", MediaTypes::Oci), bench.image("arm64", MediaTypes::Oci)];
    let index = export::index(&images, MediaTypes::Oci, &BTreeMap::new());
    let set = ImageSet { images, index: Some(index), attestations: Vec::new() };
    let error = export::write_docker_archive(&set, &[], &bench.store, Vec::new(), &Report::silent()).unwrap_err();
    assert!(error.to_string().contains("type=oci"), "{error}");
}

#[test]
fn an_index_keeps_every_platform() {
    let bench = Bench::new();
    let images = vec![bench.image("amd64", MediaTypes::Oci), bench.image("arm64", MediaTypes::Oci)];
    let index = export::index(&images, MediaTypes::Oci, &BTreeMap::from([("k".to_owned(), "v".to_owned())]));
    let set = ImageSet { images, index: Some(index), attestations: Vec::new() };
    let archive = oci_archive(&bench, &set, &names(&["app"]));
    is_valid(&bench.unpacked(&archive));
    for architecture in ["amd64", "arm64"] {
        let source = format!("oci-archive:{}:latest", archive.display());
        let text = run(skopeo(&bench).args(["--override-arch", architecture, "inspect", "--config", &source]));
        assert!(text.contains(&format!("\"architecture\": \"{architecture}\"")), "{text}");
    }
}

#[test]
fn a_directory_is_added_to() {
    let bench = Bench::new();
    let layout = bench.path("layout");
    let write = |architecture: &str, name: &[&str]| {
        let set = ImageSet::single(bench.image(architecture, MediaTypes::Oci));
        export::write_oci_directory(&set, &names(name), &bench.store, &layout, &Report::silent()).unwrap();
        set.root().digest().to_string()
    };
    let first = write("amd64", &["app:1"]);
    let second = write("arm64", &["app:2"]);
    // What another tool said there, stays, whether kiln knows of it or not.
    let path = layout.join("index.json");
    let mut said: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    said["annotations"] = serde_json::json!({ "of": "all" });
    said["manifests"][1]["platform"]["os.version"] = "10.1".into();
    std::fs::write(&path, said.to_string()).unwrap();
    let third = write("riscv64", &["app:1"]);
    is_valid(&layout);
    let index: oci::Index = serde_json::from_slice(&std::fs::read(layout.join("index.json")).unwrap()).unwrap();
    let listed: Vec<String> = index.manifests().iter().map(|entry| entry.digest().to_string()).collect();
    assert_eq!(listed, [second, third]);
    assert_ne!(listed[1], first);
    let now: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    assert_eq!((&now["annotations"], &now["manifests"][0]), (&said["annotations"], &said["manifests"][1]));
}

#[test]
fn a_directory_that_several_add_to_at_once_lists_all_of_them() {
    let (bench, tags) = (Bench::new(), ["a", "b", "c", "d", "e", "f", "g", "h"]);
    let (layout, set) = (bench.path("layout"), ImageSet::single(bench.image("amd64", MediaTypes::Oci)));
    let add = &|tag: &str| {
        let names = names(&[&format!("app:{tag}")]);
        export::write_oci_directory(&set, &names, &bench.store, &layout, &Report::silent()).unwrap();
    };
    std::thread::scope(|scope| {
        for tag in tags {
            scope.spawn(move || add(tag));
        }
    });
    let index: oci::Index = serde_json::from_slice(&std::fs::read(layout.join("index.json")).unwrap()).unwrap();
    assert_eq!(index.manifests().len(), tags.len());
}

#[test]
fn a_directory_that_is_no_layout_is_left_alone() {
    let bench = Bench::new();
    let layout = bench.path("layout");
    std::fs::create_dir(&layout).unwrap();
    std::fs::write(layout.join("index.json"), "[]").unwrap();
    let set = ImageSet::single(bench.image("amd64", MediaTypes::Oci));
    let error = export::write_oci_directory(&set, &[], &bench.store, &layout, &Report::silent()).unwrap_err();
    assert!(error.to_string().contains("is no image index"), "{error}");
    assert_eq!(std::fs::read_to_string(layout.join("index.json")).unwrap(), "[]");
}

#[test]
fn compression_is_remembered_and_does_not_depend_on_threads() {
    let bench = Bench::new();
    let layers = bench.layers();
    for (format, compression) in [(Format::Gzip, Compression::Gzip), (Format::Zstd, Compression::Zstd)] {
        let codec = Codec { format, level: Some(3), force: false };
        let once = bench.compressed(&layers, codec, 1);
        assert_eq!(once[0], layers[0], "a base layer stays as it is");
        assert_eq!(once[1].descriptor.media_type().as_ref(), compression.oci_layer());
        assert!(once[1].descriptor.size() < layers[1].descriptor.size());
        // Found in the records: the source is not needed any more.
        assert_eq!(bench.compressed(&layers, codec, 1), once);
        // Made anew, by another number of threads and after the records went bad.
        for record in std::fs::read_dir(bench.path("store/cache/compressed")).unwrap() {
            std::fs::write(record.unwrap().path(), "{ not a descriptor").unwrap();
        }
        assert_eq!(bench.compressed(&layers, codec, 3), once);
    }
}

/// A layer of which most was compressed before, in another layer: same bytes as in a store that knows nothing of it.
#[test]
fn a_layer_does_not_show_what_was_compressed_before_it() {
    let data: Vec<u8> = (0..6_000_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let of = |bench: &Bench, name: &str| bench.compressed(&[bench.layer(name, &data)], GZIP, 2)[0].clone();
    let cold = of(&Bench::new(), "new");
    let damage: [fn(&Path, &Path); 3] = [
        |_, _| {},
        |sidecar, _| std::fs::write(sidecar, "not what it was").unwrap(),
        |_, blob| {
            let mut bytes = std::fs::read(blob).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            std::fs::write(blob, bytes).unwrap();
        },
    ];
    for damage in damage {
        let bench = Bench::new();
        let old = of(&bench, "old");
        let records = Dir::open(&bench.path("store/cache/compressed")).unwrap().entries().unwrap();
        let sidecar = records.iter().find(|entry| entry.name.to_str().unwrap().ends_with(".blocks")).unwrap();
        let sidecar = bench.path("store/cache/compressed").join(&sidecar.name);
        damage(&sidecar, &bench.store.path_of(&old.digest().unwrap()));
        assert_eq!(of(&bench, "new"), cold);
    }
}

#[test]
fn force_writes_base_layers_anew() {
    let bench = Bench::new();
    let layers = bench.layers();
    for (format, compression) in [(Format::Zstd, Compression::Zstd), (Format::Plain, Compression::None)] {
        let codec = Codec { format, level: None, force: true };
        let forced = bench.compressed(&layers, codec, 2);
        assert!(forced.iter().all(|layer| layer.compression() == compression));
        assert_eq!(forced[0].diff_id, layers[0].diff_id);
        let image = export::assemble(config("amd64", 3), &forced, MediaTypes::Oci, &BTreeMap::new());
        let archive = oci_archive(&bench, &ImageSet::single(image), &[]);
        is_valid(&bench.unpacked(&archive));
        std::fs::remove_dir_all(bench.path("unpacked")).unwrap();
    }
}

#[test]
fn a_layer_with_a_wrong_diff_id_is_refused() {
    let bench = Bench::new();
    let mut layer = bench.pulled_layer("base", b"base");
    layer.diff_id = DiffId(Digest::of(b"something else"));
    let codec = Codec { format: Format::Zstd, level: None, force: true };
    let error = export::compressed(&[layer], &bench.store, codec, &bench.path("records"), 1, &Report::silent());
    assert!(error.unwrap_err().to_string().contains("another diff id"));
}

#[test]
fn the_store_is_a_layout_other_tools_read() {
    let bench = Bench::new();
    // As a build keeps it: new layers as plain tars.
    let layers = bench.layers();
    let image = export::assemble(config("amd64", 3), &layers, MediaTypes::Oci, &BTreeMap::new());
    let set = ImageSet::single(image);
    let names = names(&["example.com/app:1"]);
    export::keep(&set, &names, &bench.store).unwrap();
    let layout = bench.path("store/content");
    is_valid(&layout);
    assert_eq!(bench.store.resolve_tag(&names[0].to_string()).unwrap().unwrap().digest(), set.root().digest());
}

#[test]
fn flaws_are_found() {
    let bench = Bench::new();
    let set = ImageSet::single(bench.image("amd64", MediaTypes::Oci));
    let layout = bench.path("layout");
    export::write_oci_directory(&set, &[], &bench.store, &layout, &Report::silent()).unwrap();
    let blob = |digest: &Digest| layout.join("blobs/sha256").join(digest.hex());
    let spoil = |path: &Path, bytes: &[u8]| {
        std::fs::remove_file(path).unwrap();
        std::fs::write(path, bytes).unwrap();
    };
    let app = blob(&set.images[0].layers[2].digest().unwrap());
    let mut bytes = std::fs::read(&app).unwrap();
    bytes.push(0);
    spoil(&app, &bytes);
    std::fs::remove_file(blob(&set.images[0].layers[1].digest().unwrap())).unwrap();
    let flaws = export::validate_layout(&layout);
    assert_eq!(flaws.len(), 2, "{flaws:?}");
    spoil(&blob(&set.images[0].config.digest), b"{}");
    assert_eq!(export::validate_layout(&layout).len(), 1);
}

#[test]
fn times_are_clamped_and_deletions_kept() {
    let bench = Bench::new();
    let tree = bench.path("tree");
    support::write(&tree, "dir/new", "new");
    support::write(&tree, "dir/old", "old");
    let old = std::fs::File::options().write(true).open(tree.join("dir/old")).unwrap();
    old.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(5)).unwrap();
    let mut tar = Vec::new();
    kiln::layer::write_tree(&Dir::open(&tree).unwrap(), &mut tar).unwrap();
    // The same with a deletion before it.
    let mut writer = kiln::layer::Writer::new(Vec::new());
    writer.whiteout(b"a/gone").unwrap();
    let mut reader = kiln::layer::Reader::new(tar.as_slice(), kiln::layer::Limits::default());
    while let Some(entry) = reader.next_entry().unwrap() {
        writer.append(&entry, &mut reader).unwrap();
        if entry.path == b"dir" {
            writer.opaque(b"dir").unwrap();
        }
    }
    let tar = writer.finish().unwrap();
    let digest = bench.store.put(&tar).unwrap();
    let descriptor = oci::descriptor(media_type::OCI_LAYER, &digest, tar.len() as u64);
    let layer = Layer { diff_id: DiffId(digest), descriptor, origin: None };
    let clamp = |latest| {
        let records = bench.path("records");
        let layers = std::slice::from_ref(&layer);
        export::clamped(layers, &bench.store, latest, &records, &Report::silent()).unwrap().remove(0)
    };
    assert_eq!(clamp(i64::from(u32::MAX)), layer, "nothing is later");
    let clamped = clamp(1000);
    assert_eq!(clamp(1000), clamped);
    let blob = bench.store.read_blob(&clamped.digest().unwrap(), 1 << 20).unwrap();
    let mut found = Vec::new();
    for entry in tar::Archive::new(blob.as_slice()).entries().unwrap() {
        let entry = entry.unwrap();
        found.push((entry.path().unwrap().display().to_string(), entry.header().mtime().unwrap()));
    }
    let expected =
        [("a/.wh.gone", 0), ("./", 1000), ("dir/", 1000), ("dir/.wh..wh..opq", 0), ("dir/new", 1000), ("dir/old", 5)];
    for (path, time) in expected.iter().filter(|(path, _)| *path != "./") {
        assert!(found.contains(&((*path).to_owned(), *time)), "{path} {time}: {found:?}");
    }
}

#[test]
fn files_come_out_as_a_tar() {
    let bench = Bench::new();
    let tree = bench.path("tree");
    support::write(&tree, "bin/tool", "tool");
    let archive = written(&bench, |out| {
        let files = export::Files::One(Dir::open(&tree).unwrap());
        export::write_files_tar(&files, None, out, &Report::silent()).unwrap();
    });
    let listed = run(tool("tar").arg("-tf").arg(&archive));
    assert!(listed.ends_with("bin/\nbin/tool\n"), "{listed}");
    assert_eq!(run(tool("tar").arg("-xOf").arg(&archive).arg("bin/tool")), "tool");
}

fn push(bench: &Bench, set: &ImageSet, names: &[Reference], by_digest: bool) -> Result<(), export::PushError> {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let client = Client::new(Settings::default());
    runtime.block_on(export::push(
        set,
        names,
        export::How { by_digest, new: true },
        &client,
        &bench.store,
        &Report::silent(),
    ))
}

/// Copies an image out of a registry with its digests kept, and checks it.
#[track_caller]
fn pulled(bench: &Bench, name: &str) {
    let target = bench.path("pulled");
    let mut command = skopeo(bench);
    command.args(["copy", "-q", "--all", "--preserve-digests", "--src-tls-verify=false"]);
    run(command.arg(format!("docker://{name}")).arg(format!("oci:{}:v", target.display())));
    is_valid(&target);
    std::fs::remove_dir_all(target).unwrap();
}

#[test]
fn a_pushed_image_is_whole_under_every_name() {
    let bench = Bench::new();
    let address = &support::registry::shared().address;
    for (i, media) in [MediaTypes::Oci, MediaTypes::Docker].into_iter().enumerate() {
        let set = ImageSet::single(bench.image("amd64", media));
        let texts = [format!("{address}/one{i}:1"), format!("{address}/one{i}:2"), format!("{address}/two{i}:1")];
        let names = names(&texts.each_ref().map(String::as_str));
        push(&bench, &set, &names, false).unwrap();
        push(&bench, &set, &names, false).unwrap();
        for text in &texts {
            let mut inspect = skopeo(&bench);
            let raw = run(inspect.args(["inspect", "--raw", "--tls-verify=false"]).arg(format!("docker://{text}")));
            assert_eq!(raw.as_bytes(), set.images[0].manifest.bytes);
        }
        if media == MediaTypes::Oci {
            pulled(&bench, &texts[2]);
        }
    }
}

#[test]
fn an_index_is_pushed_with_all_it_lists() {
    let bench = Bench::new();
    let images = vec![bench.image("amd64", MediaTypes::Oci), bench.image("arm64", MediaTypes::Oci)];
    let index = export::index(&images, MediaTypes::Oci, &BTreeMap::new());
    let set = ImageSet { images, index: Some(index), attestations: Vec::new() };
    let repository = format!("{}/several", support::registry::shared().address);
    push(&bench, &set, &names(&[&format!("{repository}:1")]), false).unwrap();
    pulled(&bench, &format!("{repository}:1"));
}

#[test]
fn a_push_by_digest_leaves_no_tag() {
    let bench = Bench::new();
    let set = ImageSet::single(bench.image("amd64", MediaTypes::Oci));
    let repository = format!("{}/nameless", support::registry::shared().address);
    push(&bench, &set, &names(&[&format!("{repository}:1")]), true).unwrap();
    pulled(&bench, &format!("{repository}@{}", set.root().digest()));
    let tag = skopeo(&bench).args(["inspect", "--tls-verify=false"]).arg(format!("docker://{repository}:1")).output();
    assert!(!tag.unwrap().status.success());
}

#[test]
fn a_layer_that_is_not_here_is_mounted_or_fetched() {
    let there = Bench::new();
    let (same, other) = (support::registry::shared(), support::registry::Registry::start());
    let base = format!("{}/base:1", same.address);
    push(&there, &ImageSet::single(there.image("amd64", MediaTypes::Oci)), &names(&[&base]), false).unwrap();
    // Another machine, which knows of the base layer but has it not.
    let here = Bench::new();
    let mut layers = vec![there.layers().remove(0), here.layer("mine", b"mine")];
    layers[0].origin = Some(Reference::parse(&base).unwrap());
    let digest = layers[0].digest().unwrap();
    let layers = here.compressed(&layers, GZIP, 1);
    let absent: Vec<Layer> = export::absent(&layers, &here.store).unwrap().into_iter().cloned().collect();
    assert_eq!(absent, layers[..1]);
    let image = export::assemble(config("amd64", 2), &layers, MediaTypes::Oci, &BTreeMap::new());
    let set = ImageSet::single(image);
    let mounted = format!("{}/mounted:1", same.address);
    push(&here, &set, &names(&[&mounted]), false).unwrap();
    assert_eq!(here.store.length_of(&digest).unwrap(), None, "its bytes did not come here");
    pulled(&here, &mounted);
    let fetched = format!("{}/fetched:1", other.address);
    push(&here, &set, &names(&[&fetched]), false).unwrap();
    assert!(here.store.length_of(&digest).unwrap().is_some());
    pulled(&here, &fetched);
}

#[test]
fn a_registry_that_is_not_there_is_named() {
    let bench = Bench::new();
    let set = ImageSet::single(bench.image("amd64", MediaTypes::Oci));
    let address = support::registry::free_address();
    let error = push(&bench, &set, &names(&[&format!("{address}/app:1")]), false).unwrap_err();
    assert!(error.to_string().contains(&address), "{error}");
}
