//! What refers to an image, with and without the registry's help.

use kiln::digest::Digest;
use kiln::oci::{Descriptor, descriptor, media_type};
use serde_json::json;

use super::server::{Reply, Server};
use super::{client, reference};
use crate::support::registry::Registry;

/// A manifest of this artifact type about `subject`.
fn referrer(subject: &Digest, kind: &str) -> Vec<u8> {
    let empty = descriptor("application/vnd.oci.empty.v1+json", &Digest::of(b"{}"), 2);
    json!({
        "schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST, "artifactType": kind,
        "config": empty, "layers": [empty], "annotations": {"made.for": kind},
        "subject": descriptor(media_type::OCI_MANIFEST, subject, 7),
    })
    .to_string()
    .into_bytes()
}

fn kinds(found: &[Descriptor]) -> Vec<&str> {
    found.iter().filter_map(|found| found.artifact_type().as_ref()).map(AsRef::as_ref).collect()
}

/// The real registry has no list of its own.
#[tokio::test(flavor = "multi_thread")]
async fn a_tag_holds_the_list_where_the_registry_has_none() {
    let registry = Registry::start();
    let client = client();
    let name = reference(&format!("{}/signed", registry.address));
    let subject = Digest::of(b"subject");
    assert_eq!(client.referrers(&name, &subject, None).await.unwrap(), []);
    let blob = descriptor(media_type::OCI_LAYER, &Digest::of(b"{}"), 2);
    let source = kiln::registry::BlobSource::Bytes(b"{}".to_vec());
    client.push_blob(&name, &blob, &source, None, &|_| {}).await.unwrap();
    for kind in ["a/sbom", "a/signature", "a/sbom"] {
        client.put_referrer(&name, &referrer(&subject, kind)).await.unwrap();
    }
    let all = client.referrers(&name, &subject, None).await.unwrap();
    assert_eq!(kinds(&all), ["a/sbom", "a/signature"]);
    assert_eq!(all[0].annotations().as_ref().unwrap()["made.for"], "a/sbom");
    let some = client.referrers(&name, &subject, Some("a/signature")).await.unwrap();
    assert_eq!(kinds(&some), ["a/signature"]);
    let error = client.put_referrer(&name, br#"{"layers":[]}"#).await.unwrap_err();
    assert!(error.to_string().contains("manifest"), "{error}");
}

#[tokio::test]
async fn the_registrys_own_list_is_read_page_by_page() {
    let subject = Digest::of(b"subject");
    let page = |kind: &str| {
        let mut entry = descriptor(media_type::OCI_MANIFEST, &Digest::of(kind.as_bytes()), 1);
        entry.set_artifact_type(Some(kind.into()));
        json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": [entry]}).to_string()
    };
    let server = Server::start(move |request, before| match (request.method.as_str(), before) {
        ("PUT", _) => Reply::new(201, "").header("OCI-Subject", subject.to_string()),
        (_, 1) => Reply::new(200, page("one")).header("Link", r#"</v2/a/more?n=1>; rel="next""#),
        // Another host is not asked.
        _ => Reply::new(200, page("two")).header("Link", r#"<http://127.0.0.1:1/x>; rel="next""#),
    });
    let name = reference(&format!("{}/a", server.address));
    let client = client();
    client.put_referrer(&name, &referrer(&subject, "one")).await.unwrap();
    let found = client.referrers(&name, &subject, None).await.unwrap();
    assert_eq!(kinds(&found), ["one", "two"]);
    let expected = [format!("GET /v2/a/referrers/{subject}"), "GET /v2/a/more?n=1".to_owned()];
    assert_eq!(server.lines()[1..], expected);
}
