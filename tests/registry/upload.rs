//! Uploads that break, are too long for one request, or have to come in chunks.

use std::sync::{Arc, Mutex};

use kiln::digest::Digest;
use kiln::oci::{Descriptor, descriptor, media_type};
use kiln::registry::{BlobSource, Cause, Pushed, RegistryError};

use super::real::noise;
use super::server::{Reply, Request, Server};
use super::{client, reference};

/// A registry that holds one upload, and does to each request what a test wants.
struct Uploads {
    server: Server,
    taken: Arc<Mutex<Vec<u8>>>,
}

/// What becomes of a PATCH.
enum Fate {
    Taken,
    /// This many bytes are taken, then the registry fails.
    Broken(usize),
    Refused(u16),
}

impl Uploads {
    /// `fate` is told the request and the number of those before it; `minimum` is the shortest chunk.
    fn start(minimum: Option<usize>, fate: impl Fn(&Request, usize) -> Fate + Send + Sync + 'static) -> Self {
        let taken = Arc::new(Mutex::new(Vec::new()));
        let shared = taken.clone();
        let server = Server::start(move |request, before| {
            let mut taken = shared.lock().unwrap();
            let here = |status: u16, length: usize| {
                let range = format!("0-{}", length.saturating_sub(1));
                Reply::new(status, "").header("Location", format!("/upload?at={length}")).header("Range", range)
            };
            match request.method.as_str() {
                "HEAD" => Reply::new(404, ""),
                "POST" => {
                    taken.clear();
                    let reply = Reply::new(202, "").header("Location", "/upload");
                    minimum.map_or(reply.clone(), |length| reply.header("OCI-Chunk-Min-Length", length.to_string()))
                }
                "GET" => here(204, taken.len()),
                "PATCH" => match fate(request, before) {
                    Fate::Refused(status) => Reply::new(status, ""),
                    Fate::Broken(length) => {
                        taken.extend_from_slice(&request.body[..length]);
                        Reply::new(500, "")
                    }
                    Fate::Taken => {
                        let range = request.header("content-range");
                        let start = range.split('-').next().and_then(|start| start.parse().ok()).unwrap_or(0);
                        assert_eq!(taken.len(), start, "{range}");
                        taken.extend_from_slice(&request.body);
                        here(202, taken.len())
                    }
                },
                _ if request.target.contains("digest=") => {
                    taken.extend_from_slice(&request.body);
                    Reply::new(201, "").header("Docker-Content-Digest", Digest::of(&taken[..]).to_string())
                }
                other => panic!("{other}"),
            }
        });
        Self { server, taken }
    }

    /// Pushes; returns the methods of all requests, with the ranges that were sent.
    async fn push(&self, bytes: &[u8]) -> (Result<Pushed, RegistryError>, Vec<String>) {
        let blob: Descriptor = descriptor(media_type::OCI_LAYER, &Digest::of(bytes), bytes.len() as u64);
        let scratch = crate::support::scratch();
        let path = scratch.path().join("blob");
        std::fs::write(&path, bytes).unwrap();
        let name = reference(&format!("{}/a", self.server.address));
        let pushed = client().push_blob(&name, &blob, &BlobSource::File(path), None, &|_| {}).await;
        let shown = |request: &Request| format!("{} {}", request.method, request.header("content-range"));
        let seen = self.server.seen();
        (pushed, seen.iter().map(|request| shown(request).trim_end().to_owned()).collect())
    }
}

const LENGTH: usize = 6 << 20;

#[tokio::test]
async fn a_broken_upload_goes_on_where_the_registry_is() {
    let bytes = noise(LENGTH);
    let uploads = Uploads::start(None, |_, before| if before == 2 { Fate::Broken(5 << 20) } else { Fate::Taken });
    let (pushed, lines) = uploads.push(&bytes).await;
    assert_eq!(pushed.unwrap(), Pushed::Uploaded);
    assert_eq!(lines, ["HEAD", "POST", "PATCH", "GET", "PATCH 5242880-6291455", "PUT"]);
    assert!(*uploads.taken.lock().unwrap() == bytes);
}

#[tokio::test]
async fn chunks_are_as_long_as_the_registry_wants() {
    let bytes = noise(LENGTH);
    // The usual chunk is longer than the blob, and the registry's minimum shorter.
    let uploads = Uploads::start(Some(1 << 20), |request, _| match request.body.len() {
        0..=2_000_000 => Fate::Taken,
        _ => Fate::Refused(413),
    });
    let (pushed, lines) = uploads.push(&bytes).await;
    assert_eq!(pushed.unwrap(), Pushed::Uploaded);
    let expected = [
        "HEAD",
        "POST",
        "PATCH",
        "GET",
        "PATCH 0-1572863",
        "PATCH 1572864-3145727",
        "PATCH 3145728-4718591",
        "PATCH 4718592-6291455",
        "PUT",
    ];
    assert_eq!(lines, expected);
    assert!(*uploads.taken.lock().unwrap() == bytes);

    // A proxy in front of the registry that takes no request so long as even the shortest chunk.
    let uploads = Uploads::start(Some(1 << 20), |_, _| Fate::Refused(413));
    let (pushed, lines) = uploads.push(&bytes).await;
    assert!(matches!(*pushed.unwrap_err().cause, Cause::Refused { status: 413, .. }));
    assert!(lines.len() < 12, "{lines:?}");
}

#[tokio::test]
async fn a_wrong_place_is_mended() {
    let bytes = noise(LENGTH);
    let taken = Mutex::new(0);
    // The registry fails once with half of it, then forgets a part of that.
    let uploads = Uploads::start(None, move |_, _| {
        let mut count = taken.lock().unwrap();
        *count += 1;
        match *count {
            1 => Fate::Broken(1 << 20),
            2 => Fate::Refused(416),
            _ => Fate::Taken,
        }
    });
    let (pushed, lines) = uploads.push(&bytes).await;
    // It stays where it was: the same again makes no sense.
    assert!(matches!(*pushed.unwrap_err().cause, Cause::Refused { status: 416, .. }), "{lines:?}");
}

#[tokio::test]
async fn a_registry_that_forgets_gets_it_anew_but_not_forever() {
    let bytes = noise(LENGTH);
    let server = Server::start(|request, _| match request.method.as_str() {
        "HEAD" | "GET" => Reply::new(404, ""),
        "POST" => Reply::new(202, "").header("Location", "/upload"),
        _ => Reply::new(500, "out of disk"),
    });
    let name = reference(&format!("{}/a", server.address));
    let blob = descriptor(media_type::OCI_LAYER, &Digest::of(&bytes), bytes.len() as u64);
    let error = client().push_blob(&name, &blob, &BlobSource::Bytes(bytes), None, &|_| {}).await.unwrap_err();
    assert!(error.to_string().contains("out of disk"), "{error}");
    assert!(server.seen().len() <= 12, "{:?}", server.lines());
}

#[tokio::test]
async fn a_registry_cannot_claim_what_it_did_not_get() {
    let bytes = noise(LENGTH);
    let server = Server::start(|request, _| match request.method.as_str() {
        "HEAD" => Reply::new(404, ""),
        _ => Reply::new(202, "").header("Location", "/upload").header("Range", "0-99999999"),
    });
    let name = reference(&format!("{}/a", server.address));
    let blob = descriptor(media_type::OCI_LAYER, &Digest::of(&bytes), bytes.len() as u64);
    let error = client().push_blob(&name, &blob, &BlobSource::Bytes(bytes), None, &|_| {}).await.unwrap_err();
    assert!(matches!(*error.cause, Cause::Malformed { .. }), "{error}");
}
