//! Against servers that fail, lie, or break off.

use kiln::digest::Digest;
use kiln::oci::{Descriptor, descriptor, media_type};
use kiln::registry::{BlobSource, Cause, Client, RegistryError};

use super::config::Files;
use super::server::{Reply, Request, Server};
use super::{amd64, assert_empty, client, reference, store};
use crate::support::registry::free_address;

const CONTENT: &[u8] = b"0123456789abcdef";

fn blob() -> Descriptor {
    descriptor(media_type::OCI_LAYER, &Digest::of(CONTENT), CONTENT.len() as u64)
}

/// Fetches the blob from a server; returns what came of it, with the store.
async fn fetch(server: &Server) -> (Result<(), RegistryError>, (tempfile::TempDir, kiln::content::Store)) {
    let store = store();
    let name = reference(&format!("{}/a/b", server.address));
    let result = client().fetch_blob(&name, &blob(), &store.1, &|_| {}).await;
    (result, store)
}

#[tokio::test]
async fn temporary_failures_are_tried_again() {
    let server = Server::start(|_, before| match before {
        0 => Reply::new(429, "").header("Retry-After", "0"),
        1 => Reply::new(503, "busy"),
        _ => Reply::new(200, CONTENT),
    });
    let (result, store) = fetch(&server).await;
    result.unwrap();
    assert_eq!(store.1.read_blob(&Digest::of(CONTENT), 99).unwrap(), CONTENT);
    assert_eq!(server.seen().len(), 3);
}

#[tokio::test]
async fn patience_ends() {
    let server =
        Server::start(|_, _| Reply::new(429, r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"slow down"}]}"#));
    let (result, store) = fetch(&server).await;
    let error = result.unwrap_err();
    assert!(matches!(*error.cause, Cause::RateLimited { .. }) && error.is_temporary());
    assert!(
        error.to_string().ends_with("too many requests (429 Too Many Requests: TOOMANYREQUESTS: slow down)"),
        "{error}"
    );
    assert_eq!(server.seen().len(), 3);
    assert_empty(&store);
}

#[tokio::test]
async fn a_broken_connection_is_resumed() {
    let server = Server::start(|request, before| match before {
        0 => Reply::new(200, CONTENT).cut_after(6),
        1 => Reply::new(206, &CONTENT[6..]).header("Content-Range", "bytes 6-15/16").cut_after(4),
        _ => {
            assert_eq!(request.header("range"), "bytes=10-");
            Reply::new(206, &CONTENT[10..]).header("Content-Range", "bytes 10-15/16")
        }
    });
    let (result, store) = fetch(&server).await;
    result.unwrap();
    assert_eq!(store.1.read_blob(&Digest::of(CONTENT), 99).unwrap(), CONTENT);
}

#[tokio::test]
async fn attempts_that_get_on_do_not_count() {
    let server = Server::start(|request, _| {
        let start = request.header("range").trim_matches(|c: char| !c.is_ascii_digit()).parse().unwrap_or(0);
        let range = format!("bytes {start}-15/16");
        let status = if start == 0 { 200 } else { 206 };
        let reply = Reply::new(status, &CONTENT[start..]).header("Content-Range", range);
        if start == 15 { reply } else { reply.cut_after(1) }
    });
    let (result, _store) = fetch(&server).await;
    result.unwrap();
    assert_eq!(server.seen().len(), 16);
}

#[tokio::test]
async fn a_registry_that_does_not_resume_starts_over() {
    let server = Server::start(|_, before| match before {
        0 => Reply::new(200, CONTENT).cut_after(6),
        _ => Reply::new(200, CONTENT),
    });
    let (result, store) = fetch(&server).await;
    result.unwrap();
    assert_eq!(store.1.read_blob(&Digest::of(CONTENT), 99).unwrap(), CONTENT);
}

#[tokio::test]
async fn a_wrong_range_is_refused() {
    let server = Server::start(|_, before| match before {
        0 => Reply::new(200, CONTENT).cut_after(6),
        _ => Reply::new(206, &CONTENT[4..]).header("Content-Range", "bytes 4-15/16"),
    });
    let (result, store) = fetch(&server).await;
    assert!(matches!(*result.unwrap_err().cause, Cause::Malformed { .. }));
    assert_empty(&store);
}

#[tokio::test]
async fn wrong_content_is_never_stored() {
    let server = Server::start(|_, _| Reply::new(200, "0123456789ABCDEF"));
    let (result, store) = fetch(&server).await;
    let error = result.unwrap_err();
    assert!(matches!(*error.cause, Cause::WrongDigest { .. }), "{error}");
    assert_empty(&store);
}

#[tokio::test]
async fn no_more_is_read_than_the_descriptor_says() {
    let server = Server::start(|_, _| Reply::new(200, vec![0; 50 << 20]));
    let (result, store) = fetch(&server).await;
    assert!(matches!(*result.unwrap_err().cause, Cause::TooLong { expected: 16 }));
    assert_empty(&store);
}

#[tokio::test]
async fn a_body_that_ends_early_is_told() {
    let server = Server::start(|request, _| match request.header("range") {
        "" => Reply::new(200, &CONTENT[..6]),
        _ => Reply::new(416, ""),
    });
    let (result, store) = fetch(&server).await;
    assert!(matches!(*result.unwrap_err().cause, Cause::Interrupted { received: 6, expected: 16 }));
    assert_empty(&store);
}

#[tokio::test]
async fn nobody_there_is_a_network_failure() {
    let address = free_address();
    let name = reference(&format!("{address}/a"));
    let error = client().resolve(&name, &amd64()).await.unwrap_err();
    assert!(matches!(*error.cause, Cause::Network(_)) && error.is_temporary());
    let expected = format!(
        "cannot resolve `{address}/a` at registry {address}: cannot connect: Connection refused (os error 111)"
    );
    assert_eq!(error.to_string(), expected);
}

/// Resolves against a server that gives one answer to everything.
async fn resolve(reply: Reply) -> Cause {
    let server = Server::start(move |_, _| reply.clone());
    let name = reference(&format!("{}/a", server.address));
    *client().resolve(&name, &amd64()).await.unwrap_err().cause
}

#[tokio::test]
async fn bad_manifests_are_refused() {
    let schema_one = Reply::new(200, r#"{"schemaVersion":1,"fsLayers":[]}"#)
        .header("Content-Type", media_type::DOCKER_SCHEMA1_SIGNED);
    assert!(matches!(resolve(schema_one).await, Cause::SchemaOne));
    let long = Reply::new(200, vec![b' '; (4 << 20) + 1]);
    assert!(matches!(resolve(long).await, Cause::TooLarge { what: "manifest", .. }));
    let announced =
        Reply::new(200, r#"{"layers":[]}"#).header("Docker-Content-Digest", Digest::of(b"other").to_string());
    assert!(matches!(resolve(announced).await, Cause::WrongDigest { .. }));
    assert!(matches!(resolve(Reply::new(200, "<html>")).await, Cause::Malformed { what: "manifest", .. }));
    assert!(matches!(resolve(Reply::new(200, r#"{"layers":[]}"#)).await, Cause::Malformed { what: "manifest", .. }));
    assert!(matches!(
        resolve(Reply::new(200, r#"{"schemaVersion":2,"manifests":[]}"#)).await,
        Cause::NoPlatform { .. }
    ));
    let endless = Reply::new(302, "").header("Location", "/v2/a/manifests/latest");
    assert!(matches!(resolve(endless).await, Cause::Malformed { what: "redirect", .. }));
    let file = Reply::new(307, "").header("Location", "file:///etc/passwd");
    assert_eq!(resolve(file).await.to_string(), "invalid redirect: to `file:`");
}

#[tokio::test]
async fn a_digest_reference_is_verified() {
    let server = Server::start(|_, _| Reply::new(200, r#"{"layers":[]}"#));
    let name = reference(&format!("{}/a@{}", server.address, Digest::of(b"other")));
    let cause = client().resolve(&name, &amd64()).await.unwrap_err().cause;
    assert!(matches!(*cause, Cause::WrongDigest { .. }));
}

#[tokio::test]
async fn an_index_that_holds_itself_ends() {
    let text = |digest: Digest| {
        let kind = media_type::OCI_INDEX;
        format!(
            r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"{kind}","size":1,"digest":"{digest}","platform":{{"os":"linux","architecture":"amd64"}}}}]}}"#
        )
    };
    // Nobody can make an index that names itself; a long chain comes close.
    let mut chain = vec![text(Digest::of(b"end"))];
    for n in 0..20 {
        chain.push(text(Digest::of(chain[n].as_bytes())));
    }
    let first = chain[20].clone();
    let server = Server::start(move |request, _| {
        let digest = request.target.rsplit('/').next().and_then(|name| name.parse::<Digest>().ok());
        let found = chain.iter().find(|text| Some(Digest::of(text.as_bytes())) == digest);
        Reply::new(200, found.unwrap_or(&first).as_str())
    });
    let name = reference(&format!("{}/a", server.address));
    let error = client().resolve(&name, &amd64()).await.unwrap_err();
    assert!(error.to_string().contains("nested too deeply"), "{error}");
    assert!(server.seen().len() < 10);
}

#[tokio::test]
async fn a_push_is_tried_again_from_its_start() {
    let server = Server::start(|request, before| match (request.method.as_str(), before) {
        ("HEAD", _) => Reply::new(404, ""),
        ("POST", 1) => Reply::new(502, ""),
        ("POST", _) => Reply::new(202, "").header("Location", "/upload?state=x%2Fy"),
        ("PUT", _) if before < 6 => Reply::new(500, ""),
        _ => Reply::new(201, ""),
    });
    let name = reference(&format!("{}/a", server.address));
    let source = BlobSource::Bytes(CONTENT.to_vec());
    client().push_blob(&name, &blob(), &source, None, &|_| {}).await.unwrap();
    let put = format!("PUT /upload?state=x%2Fy&digest=sha256%3A{}", Digest::of(CONTENT).hex());
    let head = format!("HEAD /v2/a/blobs/{}", Digest::of(CONTENT));
    let post = "POST /v2/a/blobs/uploads/";
    assert_eq!(server.lines(), [&head, post, &head, post, &put, &head, post, &put]);
    assert_eq!(server.seen()[7].body, CONTENT);
}

#[tokio::test]
async fn what_the_registry_took_must_be_what_was_sent() {
    let server =
        Server::start(|_, _| Reply::new(201, "").header("Docker-Content-Digest", Digest::of(b"other").to_string()));
    let name = reference(&format!("{}/a", server.address));
    let error = client().put_manifest(&name, media_type::OCI_MANIFEST, b"{}").await.unwrap_err();
    assert!(matches!(*error.cause, Cause::WrongDigest { .. }));
}

#[tokio::test]
async fn mirrors_are_asked_first_and_need_not_know() {
    let answer = |text: &'static [u8]| move |_: &Request, _| Reply::new(200, text);
    let empty = Server::start(|_, _| Reply::new(404, ""));
    let lying = Server::start(answer(b"fedcba9876543210"));
    let origin = Server::start(answer(CONTENT));
    let mirror = |server: &Server| format!("[[registry.mirror]]\nlocation = '{}'\n", server.address);
    let text = format!("[[registry]]\nlocation = '{}'\n{}{}", origin.address, mirror(&empty), mirror(&lying));
    let files = Files::new();
    let settings = files.with("registries.conf", &text);
    let (_temp, store) = store();
    let name = reference(&format!("{}/a", origin.address));
    Client::new(settings).fetch_blob(&name, &blob(), &store, &|_| {}).await.unwrap();
    assert_eq!((empty.seen().len(), lying.seen().len(), origin.seen().len()), (1, 1, 1));
}

/// A fetch that nobody waits for any more leaves no file.
#[tokio::test]
async fn a_dropped_fetch_leaves_nothing() {
    let server = Server::start(|_, _| {
        std::thread::sleep(std::time::Duration::from_millis(300));
        Reply::new(200, CONTENT)
    });
    let store = store();
    let name = reference(&format!("{}/a", server.address));
    let (client, blob) = (client(), blob());
    let fetch = client.fetch_blob(&name, &blob, &store.1, &|_| {});
    let wait = std::time::Duration::from_millis(100);
    assert!(tokio::time::timeout(wait, fetch).await.is_err());
    assert_empty(&store);
}
