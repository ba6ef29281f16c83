//! Against the real registry.

use std::process::Command;
use std::sync::Mutex;

use kiln::content::Store;
use kiln::digest::{DiffId, Digest};
use kiln::oci::{self, Descriptor, ImageConfig, RootFs, descriptor, media_type, to_json};
use kiln::registry::{BlobSource, Cause, Client, Pushed};

use super::{amd64, client, reference, store};
use crate::support::registry::Registry;

/// Bytes that do not repeat.
pub fn noise(length: usize) -> Vec<u8> {
    let mut state = 1u64;
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        state.to_le_bytes()[7]
    };
    std::iter::repeat_with(next).take(length).collect()
}

fn blob(media_type: &str, bytes: &[u8]) -> Descriptor {
    descriptor(media_type, &Digest::of(bytes), bytes.len() as u64)
}

async fn push(client: &Client, name: &str, kind: &str, bytes: &[u8]) -> Descriptor {
    let blob = blob(kind, bytes);
    let source = BlobSource::Bytes(bytes.to_vec());
    client.push_blob(&reference(name), &blob, &source, None, &|_| {}).await.unwrap();
    blob
}

/// Pushes an image of one layer and returns its manifest's descriptor.
async fn push_image(client: &Client, name: &str, architecture: &str, layer: &[u8]) -> Descriptor {
    let layer_blob = push(client, name, media_type::OCI_LAYER, layer).await;
    let config = ImageConfig {
        architecture: architecture.to_owned(),
        os: "linux".to_owned(),
        rootfs: RootFs::of(vec![DiffId(Digest::of(layer))]),
        ..ImageConfig::default()
    };
    let config = push(client, name, media_type::OCI_CONFIG, &to_json(&config)).await;
    let manifest = to_json(&oci::manifest(media_type::OCI_MANIFEST, config, vec![layer_blob]));
    client.put_manifest(&reference(name), media_type::OCI_MANIFEST, &manifest).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_goes_there_and_back() {
    let registry = Registry::start();
    let (client, (_temp, store)) = (client(), store());
    let name = format!("{}/team/app:1", registry.address);
    let layer = noise(10 << 20);
    let pushed = push_image(&client, &name, "amd64", &layer).await;

    let resolved = client.resolve(&reference(&name), &amd64()).await.unwrap();
    assert_eq!(resolved.descriptor, pushed);
    assert_eq!(client.describe(&reference(&name)).await.unwrap(), pushed);
    assert_eq!(Digest::of(&resolved.manifest_bytes).to_string(), pushed.digest().to_string());
    assert_eq!(Digest::of(&resolved.config_bytes), resolved.config_digest);
    assert!(resolved.index.is_none());

    let told = Mutex::new(Vec::new());
    let wanted = &resolved.manifest.layers()[0];
    let tell = |bytes| told.lock().unwrap().push(bytes);
    client.fetch_blob(&reference(&name), wanted, &store, &tell).await.unwrap();
    assert_eq!(store.read_blob(&Digest::of(&layer), u64::MAX).unwrap(), layer);
    let told = told.into_inner().unwrap();
    assert!(told.is_sorted() && told.last() == Some(&(10 << 20)), "{told:?}");

    let by_digest = format!("{}/team/app@{}", registry.address, pushed.digest());
    assert_eq!(client.resolve(&reference(&by_digest), &amd64()).await.unwrap().descriptor, pushed);
    let inspected =
        Command::new("skopeo").args(["inspect", "--tls-verify=false", &format!("docker://{name}")]).output();
    assert!(inspected.unwrap().status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn blobs_are_found_mounted_or_uploaded() {
    let registry = Registry::start();
    let client = client();
    let (first, second) = (format!("{}/first", registry.address), format!("{}/second", registry.address));
    let (first, second) = (reference(&first), reference(&second));
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("layer");
    for length in [0, 1, 5 << 20] {
        let bytes = noise(length);
        std::fs::write(&path, &bytes).unwrap();
        let (blob, source) = (blob(media_type::OCI_LAYER, &bytes), BlobSource::File(path.clone()));
        let push = async |to, from| client.push_blob(to, &blob, &source, from, &|_| {}).await.unwrap();
        assert_eq!(push(&first, None).await, Pushed::Uploaded);
        assert_eq!(push(&first, None).await, Pushed::WasThere);
        assert_eq!(push(&second, Some(&first)).await, Pushed::Mounted);
        let (_temp, store) = store();
        client.fetch_blob(&second, &blob, &store, &|_| {}).await.unwrap();
        assert_eq!(store.read_blob(&Digest::of(&bytes), u64::MAX).unwrap(), bytes);
    }
    // A mount that cannot be becomes an upload.
    let bytes = noise(100);
    let (blob, source) = (blob(media_type::OCI_LAYER, &bytes), BlobSource::Bytes(bytes));
    let nowhere = reference(&format!("{}/nowhere", registry.address));
    assert_eq!(client.push_blob(&second, &blob, &source, Some(&nowhere), &|_| {}).await.unwrap(), Pushed::Uploaded);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_pushed_while_it_is_made() {
    let registry = Registry::start();
    let client = client();
    let name = reference(&format!("{}/streamed", registry.address));
    let bytes = noise(3_000_000);
    let (sender, pieces) = tokio::sync::mpsc::channel(2);
    let made = bytes.clone();
    tokio::spawn(async move {
        for piece in made.chunks(100_000) {
            sender.send(Ok(piece.to_vec())).await.unwrap();
        }
    });
    let (digest, length) = client.push_stream(&name, pieces).await.unwrap();
    assert_eq!((digest, length), (Digest::of(&bytes), 3_000_000));
    let (_temp, store) = store();
    client.fetch_blob(&name, &blob(media_type::OCI_LAYER, &bytes), &store, &|_| {}).await.unwrap();

    let (sender, pieces) = tokio::sync::mpsc::channel(2);
    sender.send(Ok(vec![1])).await.unwrap();
    sender.send(Err(std::io::Error::other("the compressor broke"))).await.unwrap();
    let error = client.push_stream(&name, pieces).await.unwrap_err();
    assert!(matches!(*error.cause, Cause::Stream(_)) && error.to_string().contains("the compressor broke"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_gives_the_image_of_the_platform() {
    let registry = Registry::start();
    let client = client();
    let name = format!("{}/many:latest", registry.address);
    let mut manifests = Vec::new();
    for architecture in ["amd64", "arm64"] {
        let mut image = push_image(&client, &name, architecture, architecture.as_bytes()).await;
        image.set_platform(Some(format!("linux/{architecture}").parse::<oci::Platform>().unwrap().to_spec()));
        manifests.push(image);
    }
    let index = to_json(&oci::index(media_type::OCI_INDEX, manifests.clone()));
    let pushed = client.put_manifest(&reference(&name), media_type::OCI_INDEX, &index).await.unwrap();
    for (platform, expected) in [("linux/amd64", &manifests[0]), ("linux/arm64", &manifests[1])] {
        let resolved = client.resolve(&reference(&name), &platform.parse().unwrap()).await.unwrap();
        assert_eq!(resolved.descriptor.digest(), expected.digest());
        assert_eq!(resolved.index.as_ref(), Some(&pushed));
        assert_eq!(resolved.index_bytes.as_ref(), Some(&index));
    }
    let error = client.resolve(&reference(&name), &"linux/s390x".parse().unwrap()).await.unwrap_err();
    let text = error.to_string();
    assert!(text.ends_with("no image for platform linux/s390x; there is linux/amd64, linux/arm64"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_not_found() {
    let registry = Registry::start();
    let (client, (_temp, store)) = (client(), store());
    let name = reference(&format!("{}/nothing:here", registry.address));
    let error = client.resolve(&name, &amd64()).await.unwrap_err();
    assert!(matches!(*error.cause, Cause::NotFound { .. }) && !error.is_temporary());
    let expected =
        format!("cannot resolve `{name}` at registry {}: not found (404 Not Found: MANIFEST_UNKNOWN", registry.address);
    assert!(error.to_string().starts_with(&expected), "{error}");
    assert!(matches!(*client.describe(&name).await.unwrap_err().cause, Cause::NotFound { .. }));
    let missing = blob(media_type::OCI_LAYER, b"missing");
    let error = client.fetch_blob(&name, &missing, &store, &|_| {}).await.unwrap_err();
    assert!(matches!(*error.cause, Cause::NotFound { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn blobs_are_moved_at_once() {
    let registry = Registry::start();
    let client = client();
    let name = format!("{}/parallel", registry.address);
    let contents: Vec<Vec<u8>> = (1..=12).map(|n| noise(n * 100_000)).collect();
    let tasks = contents.iter().map(|bytes| {
        let (client, name, bytes) = (client.clone(), name.clone(), bytes.clone());
        tokio::spawn(async move {
            let (temp, store) = store();
            let blob = push(&client, &name, media_type::OCI_LAYER, &bytes).await;
            client.fetch_blob(&reference(&name), &blob, &store, &|_| {}).await.unwrap();
            drop((temp, store));
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
}

/// Images that other tools pushed, of Docker's media types as well.
#[tokio::test(flavor = "multi_thread")]
async fn images_of_other_tools_are_read() {
    let registry = Registry::start();
    let temp = tempfile::tempdir().unwrap();
    let layout = temp.path().join("layout");
    let layout = layout.to_str().unwrap();
    let run = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).output();
        let output = output.unwrap_or_else(|error| panic!("cannot run `{program}` (package `{program}`): {error}"));
        assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    };
    std::fs::write(temp.path().join("layer.tar"), [0; 10240]).unwrap();
    run("umoci", &["init", "--layout", layout]);
    run("umoci", &["new", "--image", &format!("{layout}:x")]);
    run(
        "umoci",
        &["raw", "add-layer", "--image", &format!("{layout}:x"), temp.path().join("layer.tar").to_str().unwrap()],
    );
    for (format, kind) in [("oci", media_type::OCI_MANIFEST), ("v2s2", media_type::DOCKER_MANIFEST)] {
        let name = format!("{}/umoci:{format}", registry.address);
        let to = format!("docker://{name}");
        run("skopeo", &["copy", "-q", "--format", format, "--dest-tls-verify=false", &format!("oci:{layout}:x"), &to]);
        let client = client();
        let resolved = client.resolve(&reference(&name), &amd64()).await.unwrap();
        assert_eq!(resolved.descriptor.media_type().as_ref(), kind);
        let (_temp, store): (_, Store) = store();
        for layer in resolved.manifest.layers() {
            client.fetch_blob(&reference(&name), layer, &store, &|_| {}).await.unwrap();
        }
    }
}
