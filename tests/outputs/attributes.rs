//! The attributes of each `--output`, through the program.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use serde_json::Value;

use super::support::{self, Kiln, image, registry, tool, write};

const DOCKERFILE: &str = "FROM scratch\nCOPY file /dir/file\n";

/// A context of one file.
fn context(dockerfile: &str) -> tempfile::TempDir {
    let context = support::scratch();
    write(context.path(), "Dockerfile", dockerfile);
    write(context.path(), "file", "a file\n");
    context
}

fn build(kiln: &Kiln, output: &str, more: &[&str]) -> support::Output {
    let context = context(DOCKERFILE);
    let arguments = [&["-o", output], more].concat();
    let built = kiln.build(context.path(), &arguments);
    built.succeeded();
    built
}

fn metadata(kiln: &Kiln, output: &str, more: &[&str]) -> Value {
    let file = kiln.out().join("metadata");
    build(kiln, output, &[more, &["--metadata-file", file.to_str().unwrap()]].concat());
    serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap()
}

/// The manifest that the store has under `name`, or under its digest.
fn kept(kiln: &Kiln, digest: &str) -> Value {
    let blob = kiln.store().join("content/blobs/sha256").join(digest.strip_prefix("sha256:").unwrap());
    serde_json::from_slice(&std::fs::read(blob).unwrap()).unwrap()
}

fn listing(directory: &Path) -> Vec<String> {
    let text = tool::run(tool::tool("find").arg(directory).args(["-mindepth", "1", "-printf", "%P\n"]));
    let mut all: Vec<String> = text.lines().map(str::to_owned).collect();
    all.sort();
    all
}

#[test]
fn canonical_and_dangling_names_are_those_of_the_digest() {
    let kiln = Kiln::new();
    let found = metadata(&kiln, "type=image,name=app:1,name-canonical=true,dangling-name-prefix=nameless", &[]);
    let digest = found["containerimage.digest"].as_str().unwrap();
    let names = format!("docker.io/library/app:1,docker.io/library/nameless@{digest}");
    assert_eq!(found["image.name"], Value::String(names));
    let index: Value =
        serde_json::from_slice(&std::fs::read(kiln.store().join("content/index.json")).unwrap()).unwrap();
    let mut names: Vec<&str> = index["manifests"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["annotations"]["io.containerd.image.name"].as_str().unwrap())
        .collect();
    names.sort_unstable();
    let canonical = format!("docker.io/library/app@{digest}");
    assert_eq!(names, ["docker.io/library/app:1", &canonical, &format!("docker.io/library/nameless@{digest}")]);
    // The canonical name stays when the other one moves on.
    build(&kiln, "type=image,name=app:1,annotation.a=b", &[]);
    let inspected = kiln.run(["inspect", &canonical]);
    assert!(inspected.succeeded().stdout.contains(digest), "{}", inspected.both());
    kiln.run(["images"]).succeeded();
}

#[test]
fn an_image_with_a_dangling_name_is_pushed_by_digest() {
    let kiln = Kiln::new();
    let repository = format!("{}/dangling", registry::shared().address);
    let found = metadata(&kiln, &format!("type=registry,dangling-name-prefix={repository}"), &[]);
    let name = format!("docker://{repository}@{}", found["containerimage.digest"].as_str().unwrap());
    tool::run(tool::tool("skopeo").args(["inspect", "--raw", "--tls-verify=false", &name]));
}

#[test]
fn the_store_keeps_what_the_output_asks_for() {
    let kiln = Kiln::new();
    let kept_as = |attributes: &str| {
        let found = metadata(&kiln, &format!("type=image,name=app{attributes}"), &[]);
        let manifest = kept(&kiln, found["containerimage.digest"].as_str().unwrap());
        let types = [&manifest["mediaType"], &manifest["layers"][0]["mediaType"]];
        types.map(|text| text.as_str().unwrap().to_owned())
    };
    let oci = "application/vnd.oci.image.manifest.v1+json";
    assert_eq!(kept_as(""), [oci, "application/vnd.oci.image.layer.v1.tar"]);
    assert_eq!(kept_as(",compression=zstd"), [oci, "application/vnd.oci.image.layer.v1.tar+zstd"]);
    assert_eq!(kept_as(",compression-level=9"), [oci, "application/vnd.oci.image.layer.v1.tar+gzip"]);
    let docker = "application/vnd.docker.distribution.manifest.v2+json";
    assert_eq!(kept_as(",oci-mediatypes=false"), [docker, "application/vnd.docker.image.rootfs.diff.tar"]);
    kiln.run(["inspect", "app"]).succeeded();
}

#[test]
fn an_image_that_is_not_to_be_stored_is_not() {
    let kiln = Kiln::new();
    build(&kiln, "type=image,name=app,store=false", &[]);
    kiln.run(["inspect", "app"]).failed_saying(&["app"]);
}

#[test]
fn unpack_lays_the_files_out() {
    let kiln = Kiln::new();
    build(&kiln, "type=image,name=app", &[]);
    let snapshots = kiln.store().join("snapshots");
    let unpacked = || listing(&snapshots).iter().any(|path| path.ends_with("dir/file"));
    assert!(!unpacked(), "a COPY needs no files of its own");
    build(&kiln, "type=image,name=app,unpack=true", &[]);
    assert!(unpacked());
}

#[test]
fn annotations_of_an_output_are_on_that_output_only() {
    let kiln = Kiln::new();
    let [plain, annotated] = ["plain", "annotated"].map(|name| kiln.out().join(name));
    let context = context(DOCKERFILE);
    let outputs = [
        format!("type=oci,dest={}", plain.display()),
        format!("type=oci,dest={},annotation.own=1,annotation-manifest[linux/amd64].two=2", annotated.display()),
    ];
    let arguments = ["--annotation", "both=b", "--platform=linux/amd64", "-o", &outputs[0], "-o", &outputs[1]];
    kiln.build(context.path(), &arguments).succeeded();
    let annotations = |archive: &Path| image::read(archive).unwrap().manifest.unwrap()["annotations"].clone();
    assert_eq!(annotations(&plain), serde_json::json!({"both": "b"}));
    assert_eq!(annotations(&annotated), serde_json::json!({"both": "b", "own": "1", "two": "2"}));
}

#[test]
fn files_of_platforms_are_split_or_merged() {
    let kiln = Kiln::new();
    let context = context("FROM scratch\nARG TARGETARCH\nCOPY file /bin/tool-$TARGETARCH\n");
    let export = |attributes: &str, platforms: &str| {
        let dest = kiln.out().join("files");
        let _ = std::fs::remove_dir_all(&dest);
        let output = format!("type=local,dest={}{attributes}", dest.display());
        kiln.build(context.path(), &["--platform", platforms, "-o", &output]).succeeded();
        listing(&dest)
    };
    let both = "linux/amd64,linux/arm64";
    let merged = ["bin", "bin/tool-amd64", "bin/tool-arm64"];
    assert_eq!(export("", "linux/amd64"), ["bin", "bin/tool-amd64"]);
    assert_eq!(export(",platform-split=false", both), merged);
    assert_eq!(export(",platform-split=false,mode=delete", both), merged);
    let one = ["linux_amd64", "linux_amd64/bin", "linux_amd64/bin/tool-amd64"];
    assert_eq!(export(",platform-split=true", "linux/amd64"), one);
    let two = ["linux_arm64", "linux_arm64/bin", "linux_arm64/bin/tool-arm64"];
    assert_eq!(export("", both), [one, two].concat());
    let archive = kiln.out().join("files.tar");
    let output = format!("type=tar,dest={},platform-split=true", archive.display());
    kiln.build(context.path(), &["--platform=linux/arm64", "-o", &output]).succeeded();
    assert!(tool::run(tool::tool("tar").arg("-tf").arg(&archive)).contains("linux_arm64/bin/tool-arm64"));
    let output = format!("type=tar,dest={},platform-split=false", archive.display());
    let refused = kiln.build(context.path(), &["--platform", both, "-o", &output]);
    refused.failed_saying(&["a directory for each", "type=local"]);
}

#[test]
fn a_file_that_two_platforms_have_is_refused_before_anything_is_written() {
    let kiln = Kiln::new();
    let context = context(DOCKERFILE);
    let dest = kiln.out().join("files");
    let output = format!("type=local,platform-split=false,dest={}", dest.display());
    let refused = kiln.build(context.path(), &["--platform=linux/amd64,linux/arm64", "-o", &output]);
    refused.failed_saying(&["cannot overwrite `dir/file`", "linux/arm64", "split"]);
    assert!(!dest.exists());
}

#[test]
fn mode_delete_leaves_the_result_alone_in_its_directory() {
    let kiln = Kiln::new();
    let dest = kiln.out().join("files");
    write(&dest, "old/file", "old");
    write(&dest, "dir/old", "old");
    let output = format!("type=local,dest={}", dest.display());
    build(&kiln, &output, &[]);
    assert_eq!(listing(&dest), ["dir", "dir/file", "dir/old", "old", "old/file"]);
    build(&kiln, &format!("{output},mode=copy"), &[]);
    assert_eq!(listing(&dest).len(), 5);
    build(&kiln, &format!("{output},mode=delete"), &[]);
    assert_eq!(listing(&dest), ["dir", "dir/file"]);
}

#[test]
fn mode_delete_does_not_take_what_the_build_needs() {
    let kiln = Kiln::new();
    let context = context(DOCKERFILE);
    let inside = context.path().join("inside");
    for (dest, what) in [
        (Path::new("/"), "the store"),
        (kiln.store(), "the store"),
        (context.path(), "the build context"),
        (&inside.join(".."), "the build context"),
    ] {
        std::fs::create_dir_all(&inside).unwrap();
        let output = format!("type=local,mode=delete,dest={}", dest.display());
        kiln.build(context.path(), &["-o", &output]).failed_saying(&["mode=delete would remove", what]);
    }
    assert!(context.path().join("file").exists());
}

#[test]
fn the_epoch_is_the_time_of_files_that_come_out() {
    let kiln = Kiln::new();
    let epoch = "--build-arg=SOURCE_DATE_EPOCH=1000";
    let dest = kiln.out().join("files");
    build(&kiln, &format!("type=local,dest={}", dest.display()), &[epoch]);
    assert_eq!(std::fs::metadata(dest.join("dir/file")).unwrap().mtime(), 1000);
    let archive = kiln.out().join("files.tar");
    build(&kiln, &format!("type=tar,dest={}", archive.display()), &[epoch]);
    for entry in tar::Archive::new(std::fs::File::open(&archive).unwrap()).entries().unwrap() {
        assert_eq!(entry.unwrap().header().mtime().unwrap(), 1000);
    }
}

#[test]
fn rewritten_times_are_in_the_store_too_and_without_an_epoch_there_is_a_notice() {
    let kiln = Kiln::new();
    let output = "type=image,name=app,rewrite-timestamp=true";
    build(&kiln, output, &["--build-arg=SOURCE_DATE_EPOCH=1000"]);
    let files = kiln.out().join("files.tar");
    let copied = tool_output(kiln.command().args(["cp", "app:/", "-"]));
    std::fs::write(&files, copied).unwrap();
    assert!(tool::run(tool::tool("tar").arg("-tf").arg(&files)).contains("dir/file"));
    for entry in tar::Archive::new(std::fs::File::open(&files).unwrap()).entries().unwrap() {
        let entry = entry.unwrap();
        // The top is of no layer.
        if entry.path().unwrap().starts_with("dir") {
            assert_eq!(entry.header().mtime().unwrap(), 1000);
        }
    }
    let told = build(&kiln, output, &["--progress=plain"]);
    assert!(told.stderr.contains("there is no SOURCE_DATE_EPOCH"), "{}", told.both());
}

fn tool_output(command: &mut std::process::Command) -> Vec<u8> {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

#[test]
fn an_insecure_registry_is_one_for_this_output() {
    // On the loopback interface any registry may be insecure; what counts is that the attribute is taken.
    let kiln = Kiln::new();
    let name = format!("{}/insecure:1", registry::shared().address);
    build(&kiln, &format!("type=image,push=true,name={name},registry.insecure=true"), &[]);
}
