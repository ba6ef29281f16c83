//! The real registry behind a proxy that cuts, waits, answers itself and changes bytes: what is moved is right, or an error that says
//! why, and nothing damaged is kept on either side.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use kiln::digest::{DiffId, Digest};
use kiln::oci::{self, Descriptor, ImageConfig, RootFs, descriptor, media_type, to_json};
use kiln::registry::{BlobSource, Cause, Client, RegistryError};

use super::real::noise;
use super::{amd64, assert_empty, client, reference, store};
use crate::support::registry::Registry;

/// What the proxy does to a connection.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    None,
    /// Ends it after so many bytes of answers.
    CutAnswers(usize),
    /// Ends it after so many bytes of requests.
    CutRequests(usize),
    /// Waits before each piece, in milliseconds.
    Wait(u64),
    /// Answers in place of the registry.
    Answer(&'static str),
    /// Changes a bit of the answers, so far in.
    ChangeAnswers(usize),
    /// Changes a bit of the requests, so far in.
    ChangeRequests(usize),
}

/// A proxy of TCP connections. Its threads end with the process.
struct Proxy {
    address: String,
    connections: Arc<AtomicUsize>,
}

impl Proxy {
    /// `faults` is told the number of the connection, from 0.
    fn start(to: &str, faults: impl Fn(usize) -> Fault + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let connections = Arc::new(AtomicUsize::new(0));
        let (to, counted, faults) = (to.to_owned(), connections.clone(), Arc::new(faults));
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (to, faults, counted) = (to.clone(), faults.clone(), counted.clone());
                std::thread::spawn(move || connect(client, &to, &counted, &*faults));
            }
        });
        Self { address, connections }
    }
}

fn connect(mut client: TcpStream, to: &str, count: &AtomicUsize, faults: &dyn Fn(usize) -> Fault) {
    // The first bytes are waited for: a connection that asks nothing does not count.
    let mut first = vec![0; 64 << 10];
    let Ok(length @ 1..) = client.read(&mut first) else { return };
    let fault = faults(count.fetch_add(1, Ordering::Relaxed));
    if let Fault::Answer(text) = fault {
        let _ = client.write_all(text.as_bytes());
        // What comes is read: closing with unread bytes would take the answer along.
        let _ = client.set_read_timeout(Some(Duration::from_millis(200)));
        while let Ok(1..) = client.read(&mut first) {}
        return;
    }
    let Ok(mut server) = TcpStream::connect(to) else { return };
    let (mut back, mut answers) = (client.try_clone().unwrap(), server.try_clone().unwrap());
    let down = std::thread::spawn(move || {
        pump(
            &mut answers,
            &mut back,
            Vec::new(),
            match fault {
                Fault::CutAnswers(_) | Fault::ChangeAnswers(_) | Fault::Wait(_) => fault,
                _ => Fault::None,
            },
        );
    });
    first.truncate(length);
    pump(
        &mut client,
        &mut server,
        first,
        match fault {
            Fault::CutRequests(_) | Fault::ChangeRequests(_) => fault,
            _ => Fault::None,
        },
    );
    let _ = down.join();
}

fn pump(from: &mut TcpStream, to: &mut TcpStream, first: Vec<u8>, fault: Fault) {
    let (mut moved, mut piece) = (0, first);
    loop {
        let end = moved + piece.len();
        match fault {
            Fault::CutAnswers(at) | Fault::CutRequests(at) if end > at => {
                let _ = to.write_all(&piece[..at - moved]);
                break;
            }
            Fault::ChangeAnswers(at) | Fault::ChangeRequests(at) if (moved..end).contains(&at) => {
                piece[at - moved] ^= 1;
            }
            Fault::Wait(millis) => std::thread::sleep(Duration::from_millis(millis)),
            _ => {}
        }
        if to.write_all(&piece).is_err() {
            break;
        }
        moved = end;
        piece.resize(64 << 10, 0);
        match from.read(&mut piece) {
            Ok(length @ 1..) => piece.truncate(length),
            _ => break,
        }
    }
    let _ = (to.shutdown(Shutdown::Both), from.shutdown(Shutdown::Both));
}

/// An image of one layer, longer than goes in one request with its digest.
struct Image {
    layer: Vec<u8>,
    config: Vec<u8>,
    manifest: Vec<u8>,
}

impl Image {
    fn new() -> Self {
        let layer = noise(6 << 20);
        let config = ImageConfig {
            architecture: "amd64".to_owned(),
            os: "linux".to_owned(),
            rootfs: RootFs::of(vec![DiffId(Digest::of(&layer))]),
            ..ImageConfig::default()
        };
        let config = to_json(&config);
        let blobs = (blob(media_type::OCI_CONFIG, &config), blob(media_type::OCI_LAYER, &layer));
        let manifest = to_json(&oci::manifest(media_type::OCI_MANIFEST, blobs.0, vec![blobs.1]));
        Self { layer, config, manifest }
    }

    async fn push(&self, client: &Client, name: &str) -> Result<(), RegistryError> {
        for (kind, bytes) in [(media_type::OCI_LAYER, &self.layer), (media_type::OCI_CONFIG, &self.config)] {
            let source = BlobSource::Bytes(bytes.clone());
            client.push_blob(&reference(name), &blob(kind, bytes), &source, None, &|_| {}).await?;
        }
        client.put_manifest(&reference(name), media_type::OCI_MANIFEST, &self.manifest).await.map(|_| ())
    }

    /// Pulls into a store of its own. What is there afterwards is right.
    async fn pull(&self, client: &Client, name: &str) -> Result<(), RegistryError> {
        let resolved = client.resolve(&reference(name), &amd64()).await?;
        assert!(resolved.manifest_bytes == self.manifest && resolved.config_bytes == self.config);
        let store = store();
        match client.fetch_blob(&reference(name), &resolved.manifest.layers()[0], &store.1, &|_| {}).await {
            Ok(()) => assert!(store.1.read_blob(&Digest::of(&self.layer), u64::MAX).unwrap() == self.layer),
            Err(error) => {
                assert_empty(&store);
                return Err(error);
            }
        }
        Ok(())
    }

    /// skopeo reads it, whole and right.
    fn check_with_skopeo(&self, name: &str) {
        let scratch = crate::support::scratch();
        let to = format!("oci:{}:x", scratch.path().join("layout").display());
        let mut skopeo = Command::new("skopeo");
        skopeo.args(["copy", "-q", "--preserve-digests", "--src-tls-verify=false", &format!("docker://{name}"), &to]);
        let output = skopeo.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let blobs = scratch.path().join("layout/blobs/sha256");
        for bytes in [&self.layer, &self.config, &self.manifest] {
            assert!(std::fs::read(blobs.join(Digest::of(bytes).hex())).unwrap() == *bytes);
        }
    }
}

fn blob(kind: &str, bytes: &[u8]) -> Descriptor {
    descriptor(kind, &Digest::of(bytes), bytes.len() as u64)
}

const BUSY: &str = "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 0\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
const FAILED: &str = "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 4\r\nConnection: close\r\n\r\noops";
/// Says ten bytes and has four.
const HALF: &str = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\nConnection: close\r\n\r\nhalf";
const RUBBISH: &str = "\x16\x03\x01 this is no HTTP\r\n\r\n";

/// One connection of three fails; with patience all gets there.
#[tokio::test(flavor = "multi_thread")]
async fn what_fails_for_a_while_is_moved_in_the_end() {
    let (registry, image) = (Registry::start(), Image::new());
    let faults = [
        Fault::CutAnswers(0),
        Fault::CutAnswers(1 << 20),
        Fault::CutRequests(300),
        Fault::CutRequests(2 << 20),
        Fault::Wait(2),
        Fault::Answer(BUSY),
        Fault::Answer(FAILED),
    ];
    for (place, fault) in faults.into_iter().enumerate() {
        let proxy = Proxy::start(&registry.address, move |number| if number % 3 == 1 { fault } else { Fault::None });
        // A repository for each, so that nothing is there yet.
        let path = format!("faulty-{place}:1");
        let (name, direct) = (format!("{}/{path}", proxy.address), format!("{}/{path}", registry.address));
        image.push(&client(), &name).await.unwrap_or_else(|error| panic!("{fault:?}: {error}"));
        image.check_with_skopeo(&direct);
        image.pull(&client(), &name).await.unwrap_or_else(|error| panic!("{fault:?}: {error}"));
        assert!(proxy.connections.load(Ordering::Relaxed) >= 2, "{fault:?}");
    }
}

/// All connections but the first fail in the same way.
#[tokio::test(flavor = "multi_thread")]
async fn what_fails_for_good_is_told_and_leaves_nothing() {
    let (registry, image) = (Registry::start(), Image::new());
    let direct = format!("{}/there:1", registry.address);
    image.push(&client(), &direct).await.unwrap();
    for (fault, expected) in [
        (Fault::CutAnswers(0), ""),
        (Fault::Answer(BUSY), "too many requests (429 Too Many Requests)"),
        (Fault::Answer(FAILED), "the server failed (500 Internal Server Error"),
        (Fault::Answer(HALF), ""),
        (Fault::Answer(RUBBISH), ""),
    ] {
        let proxy = Proxy::start(&registry.address, move |_| fault);
        let error = image.pull(&client(), &format!("{}/there:1", proxy.address)).await.unwrap_err();
        assert!(error.to_string().contains(expected) && error.is_temporary(), "{fault:?}: {error}");
        let error = image.push(&client(), &format!("{}/other:1", proxy.address)).await.unwrap_err();
        // Half an answer to a look is a whole one, but makes no sense.
        let is_right = error.is_temporary() || fault == Fault::Answer(HALF);
        assert!(error.to_string().contains(expected) && is_right, "{fault:?}: {error}");
        let missing = client().describe(&reference(&format!("{}/other:1", registry.address))).await.unwrap_err();
        assert!(matches!(*missing.cause, Cause::NotFound { .. }));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_bytes_are_noticed_on_both_ways() {
    let (registry, image) = (Registry::start(), Image::new());
    // Far enough in to be in the layer.
    let (up, down) = (Fault::ChangeRequests(2 << 20), Fault::ChangeAnswers(2 << 20));
    let proxy = Proxy::start(&registry.address, move |_| up);
    let (name, direct) = (format!("{}/changed:1", proxy.address), format!("{}/changed:1", registry.address));
    let error = image.push(&client(), &name).await.unwrap_err();
    assert!(error.to_string().contains("DIGEST_INVALID"), "{error}");
    let layer = blob(media_type::OCI_LAYER, &image.layer);
    let there = store();
    assert!(client().fetch_blob(&reference(&direct), &layer, &there.1, &|_| {}).await.is_err());
    image.push(&client(), &direct).await.unwrap();
    image.check_with_skopeo(&direct);

    let proxy = Proxy::start(&registry.address, move |_| down);
    let error = image.pull(&client(), &format!("{}/changed:1", proxy.address)).await.unwrap_err();
    assert!(matches!(*error.cause, Cause::WrongDigest { .. }), "{error}");
}
