//! What refers to an image (distribution-spec, "Listing Referrers"): signatures, attestations, SBOMs. Registries without that
//! interface get an index under a tag made of the digest instead (`sha256-<hex>`), which clients keep themselves.

use reqwest::header::LINK;
use reqwest::{Response, Url};

use super::error::Cause;
use super::request::{Repository, read_document};
use super::resolve::parse;
use super::route::Need;
use super::{Client, Inner, RegistryError};
use crate::digest::Digest;
use crate::oci::{Descriptor, Index, MANIFEST_LIMIT, Manifest, Reference, digest_of, index, media_type, to_json};

/// Pages of a list that are asked for; a registry must not keep anyone forever.
const PAGE_LIMIT: usize = 100;
const WHAT: &str = "list of referrers";

impl Client {
    /// Returns the descriptors of all manifests in the reference's repository whose `subject` is `subject`; of one artifact type if
    /// it is given. That they exist and what they hold is not looked at.
    pub async fn referrers(
        &self,
        reference: &Reference,
        subject: &Digest,
        artifact_type: Option<&str>,
    ) -> Result<Vec<Descriptor>, RegistryError> {
        let failed = |registry: &str, cause| {
            RegistryError::new("list what refers to", format!("{}@{subject}", reference.name()), registry, cause)
        };
        let route = self.0.route(reference, Need::Digest).map_err(|cause| failed(&reference.domain, cause))?;
        let listed = self.0.referrers(&route.origin, subject, artifact_type).await;
        listed.map_err(|cause| failed(route.origin.address(), cause))
    }

    /// Puts a manifest that has a `subject` under its digest, and makes sure that it is found by [`Client::referrers`]. What it
    /// refers to need not be there. Where the registry has no list of its own, two who add to it at once may lose one entry.
    pub async fn put_referrer(&self, reference: &Reference, bytes: &[u8]) -> Result<Descriptor, RegistryError> {
        let digest = Digest::of(bytes);
        let name = reference.with_digest(digest);
        let failed = |cause| RegistryError::new("push", name.to_string(), &reference.domain, cause);
        let manifest: Manifest = parse(bytes, "manifest").map_err(failed)?;
        let Some(subject) = manifest.subject() else {
            return Err(failed(Cause::Malformed { what: "manifest", detail: "it has no subject".to_owned() }));
        };
        let subject = digest_of(subject).map_err(|error| failed(error.into()))?;
        let kind = manifest.media_type().as_ref().map_or(media_type::OCI_MANIFEST, AsRef::as_ref);
        let repository = self.0.push_to(&name, || name.to_string())?;
        let put = async {
            let (mut put, is_listed) = self.0.put_manifest(&repository, &name, kind, bytes).await?;
            if !is_listed {
                put.set_artifact_type(
                    manifest.artifact_type().clone().or_else(|| Some(manifest.config().media_type().clone())),
                );
                put.set_annotations(manifest.annotations().clone());
                self.0.add_referrer(&repository, reference, &subject, put.clone()).await?;
            }
            Ok(put)
        };
        put.await.map_err(|cause| RegistryError::new("push", name.to_string(), repository.address(), cause))
    }
}

impl Inner {
    async fn referrers(
        &self,
        repository: &Repository,
        subject: &Digest,
        artifact_type: Option<&str>,
    ) -> Result<Vec<Descriptor>, Cause> {
        let mut found = match self.listed(repository, subject, artifact_type).await {
            Ok(found) => found,
            Err(Cause::NotFound { .. } | Cause::Refused { .. }) => self.tagged(repository, subject).await?,
            Err(cause) => return Err(cause),
        };
        // A registry need not filter, and a tag does not.
        let fits = |descriptor: &Descriptor| match (artifact_type, descriptor.artifact_type()) {
            (None, _) => true,
            (Some(wanted), Some(found)) => found.as_ref() == wanted,
            (Some(_), None) => false,
        };
        found.retain(fits);
        Ok(found)
    }

    /// Asks the registry for its list, page by page.
    async fn listed(
        &self,
        repository: &Repository,
        subject: &Digest,
        artifact_type: Option<&str>,
    ) -> Result<Vec<Descriptor>, Cause> {
        let (mut found, mut next) = (Vec::new(), None::<Url>);
        for _ in 0..PAGE_LIMIT {
            let answer = self.patiently(repository, |client, base| match &next {
                Some(url) => client.get(url.clone()),
                None => {
                    let filter = artifact_type.map(|kind| [("artifactType", kind)]);
                    client.get(format!("{base}/referrers/{subject}")).query(filter.as_ref().map_or(&[][..], |f| &f[..]))
                }
            });
            let answer = answer.await?;
            next = next_page(&answer);
            let page: Index = parse(&read_document(answer, WHAT, MANIFEST_LIMIT).await?, WHAT)?;
            found.extend(page.manifests().iter().cloned());
            if next.is_none() {
                return Ok(found);
            }
        }
        Err(Cause::TooLarge { what: WHAT, limit: PAGE_LIMIT as u64 * MANIFEST_LIMIT })
    }

    /// Reads the list that clients keep under a tag; a tag that is not there is an empty list.
    async fn tagged(&self, repository: &Repository, subject: &Digest) -> Result<Vec<Descriptor>, Cause> {
        match self.document(repository, &tag_of(subject), None).await {
            Ok(document) => Ok(parse::<Index>(&document.bytes, WHAT)?.manifests().clone()),
            Err(Cause::NotFound { .. }) => Ok(Vec::new()),
            Err(cause) => Err(cause),
        }
    }

    async fn add_referrer(
        &self,
        repository: &Repository,
        reference: &Reference,
        subject: &Digest,
        added: Descriptor,
    ) -> Result<(), Cause> {
        let mut all = self.tagged(repository, subject).await?;
        if all.iter().any(|known| known.digest() == added.digest()) {
            return Ok(());
        }
        all.push(added);
        let bytes = to_json(&index(media_type::OCI_INDEX, all));
        let tag = Reference { tag: Some(tag_of(subject)), digest: None, ..reference.clone() };
        self.put_manifest(repository, &tag, media_type::OCI_INDEX, &bytes).await.map(|_| ())
    }
}

/// The tag of the list (distribution-spec, "Referrers Tag Schema").
fn tag_of(subject: &Digest) -> String {
    subject.to_string().replace(':', "-")
}

/// Reads `Link: </v2/...>; rel="next"` (RFC 8288). Another host than the registry's is not asked.
fn next_page(answer: &Response) -> Option<Url> {
    let link = answer.headers().get(LINK)?.to_str().ok()?;
    let (target, parameters) = link.trim().strip_prefix('<')?.split_once('>')?;
    let is_next = parameters.split(';').any(|parameter| matches!(parameter.trim(), r#"rel="next""# | "rel=next"));
    let url = answer.url().join(target).ok().filter(|_| is_next)?;
    (url.origin() == answer.url().origin()).then_some(url)
}
