//! The store as other tools see it: skopeo and umoci read the layout as it stands.

// Tests are the edge: they list directories.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

use std::io::Write;
use std::process::Command;

use kiln::content::Store;
use kiln::digest::{DiffId, Digest};
use kiln::oci::{self, Compression, Descriptor, ImageConfig, RootFs, descriptor, media_type, to_json};

fn put(store: &Store, media_type: &str, bytes: &[u8]) -> Descriptor {
    descriptor(media_type, &store.put(bytes).unwrap(), bytes.len() as u64)
}

/// An image of one layer that holds nothing: a tar's two empty blocks.
fn image(store: &Store) -> Descriptor {
    let tar = [0; 1024];
    let layer = put(store, Compression::None.oci_layer(), &tar);
    let config = ImageConfig {
        architecture: "amd64".to_owned(),
        os: "linux".to_owned(),
        rootfs: RootFs::of(vec![DiffId(Digest::of(&tar))]),
        ..ImageConfig::default()
    };
    let config = put(store, media_type::OCI_CONFIG, &to_json(&config));
    let manifest = oci::manifest(media_type::OCI_MANIFEST, config, vec![layer]);
    put(store, media_type::OCI_MANIFEST, &to_json(&manifest))
}

#[track_caller]
fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("cannot run `{program}` (package `{program}`): {error}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn skopeo_and_umoci_read_the_store() {
    let temp = tempfile::tempdir().unwrap();
    let store = Store::open(temp.path()).unwrap();
    let image = image(&store);
    for name in ["app", "host.example:5000/team/app:1.0"] {
        store.set_tag(name, image.clone()).unwrap();
    }
    let layout = store.layout().to_str().unwrap();
    for name in ["app:latest", "host.example:5000/team/app:1.0"] {
        let seen = run("skopeo", &["inspect", &format!("oci:{layout}:{name}")]);
        assert!(seen.contains(image.digest().as_ref()), "{seen}");
    }
    assert_eq!(run("umoci", &["list", "--layout", layout]), "app:latest\nhost.example:5000/team/app:1.0\n");
    let copy = temp.path().join("copy");
    run(
        "skopeo",
        &[
            "copy",
            "-q",
            "--preserve-digests",
            &format!("oci:{layout}:app:latest"),
            &format!("oci:{}:x", copy.display()),
        ],
    );
    assert!(copy.join("blobs/sha256").join(&image.digest().as_ref()[7..]).exists());
}

/// A process that is killed while it writes a blob leaves a file that the next one removes.
#[test]
fn a_killed_writer_leaves_nothing() {
    let temp = tempfile::tempdir().unwrap();
    let store = Store::open(temp.path()).unwrap();
    let mut ingest = store.ingest().unwrap();
    ingest.write_all(b"half").unwrap();
    ingest.flush().unwrap();
    // As a kill does: the lock goes, the file stays.
    let left = std::fs::read_dir(temp.path().join("tmp")).unwrap().next().unwrap().unwrap().path();
    let copy = left.with_file_name("ingest-killed");
    std::fs::copy(&left, &copy).unwrap();
    Store::open(temp.path()).unwrap();
    assert_eq!((copy.exists(), left.exists()), (false, true));
}
