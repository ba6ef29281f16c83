//! `sign` and `verify`: signatures of images in their registries, in the form of [`crate::signature`].
//!
//! What is signed is a digest: a tag is resolved once, and its manifest is hashed here, whatever the registry says of it. Signatures are kept where
//! cosign keeps them, under a tag beside the image. Two who sign the same image at once may lose one signature: a tag is replaced, not added to.

use std::collections::BTreeMap;

use super::ImagesError;
use crate::digest::Digest;
use crate::oci::{Descriptor, Index, Manifest, Reference, descriptor, digest_of, media_type};
use crate::registry::{BlobSource, Cause, Client};
use crate::signature::{self, Claim, Payload, PrivateKey, PublicKey};

/// The longest payload that is read, in bytes. It names one digest.
const PAYLOAD_LIMIT: u64 = 1 << 20;

/// What is to be signed.
#[derive(Debug)]
pub struct SignRequest<'a> {
    /// The image.
    pub image: &'a Reference,
    /// With what.
    pub key: &'a PrivateKey,
    /// What the signature says besides.
    pub annotations: &'a BTreeMap<String, String>,
    /// Whether the images of an index are signed, too.
    pub recursive: bool,
}

/// Signs; returns the digests that are signed now, and the tag that each signature is under.
pub async fn sign(client: &Client, request: &SignRequest<'_>) -> Result<Vec<(Digest, Reference)>, ImagesError> {
    // What a mirror says that the tag is must not be signed for it.
    let (target, bytes) = client.manifest_of_origin(request.image).await?;
    let mut all = vec![digest(&target, &bytes)];
    if request.recursive && media_type::is_index(target.media_type().as_ref()) {
        let index: Index =
            serde_json::from_slice(&bytes).map_err(|source| ImagesError::Parse { digest: all[0], source })?;
        all.extend(index.manifests().iter().filter_map(|child| digest_of(child).ok()));
    }
    let mut signed = Vec::with_capacity(all.len());
    for digest in all {
        signed.push((digest, sign_one(client, request, &digest).await?));
    }
    Ok(signed)
}

/// The digest of what came: that of a tag is the registry's word otherwise.
fn digest(described: &Descriptor, bytes: &[u8]) -> Digest {
    digest_of(described).unwrap_or_else(|_| Digest::of(bytes))
}

async fn sign_one(client: &Client, request: &SignRequest<'_>, image: &Digest) -> Result<Reference, ImagesError> {
    let name = request.image.with_tag(&signature::tag_of(image))?;
    let payload = Payload::new(request.image, image, request.annotations).bytes();
    let before = carrier(client, &name).await?;
    let public = request.key.public();
    let is_signed = |one: &signature::Signed| {
        digest_of(&one.payload) == Ok(Digest::of(&payload)) && public.verifies(&payload, &one.signature)
    };
    if before.as_ref().is_some_and(|manifest| signature::signed(manifest).iter().any(is_signed)) {
        return Ok(name);
    }
    let (config, manifest) = signature::add(before.as_ref(), &payload, &request.key.sign(&payload)?);
    for (kind, bytes) in [(signature::MEDIA_TYPE, payload), (media_type::OCI_CONFIG, config)] {
        let blob = descriptor(kind, &Digest::of(&bytes), bytes.len() as u64);
        client.push_blob(&name, &blob, &BlobSource::Bytes(bytes), None, &|_| {}).await?;
    }
    client.put_manifest(&name, media_type::OCI_MANIFEST, &manifest).await?;
    Ok(name)
}

/// The manifest that carries the signatures of an image, if it has any.
async fn carrier(client: &Client, name: &Reference) -> Result<Option<Manifest>, ImagesError> {
    let (found, bytes) = match client.manifest_of_origin(name).await {
        Ok(found) => found,
        Err(error) if matches!(*error.cause, Cause::NotFound { .. }) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let digest = digest(&found, &bytes);
    serde_json::from_slice(&bytes).map(Some).map_err(|source| ImagesError::Parse { digest, source })
}

/// What a verification found.
#[derive(Debug)]
pub struct Verified {
    /// The digest that is signed.
    pub digest: Digest,
    /// What the signatures by the key say, in order; never empty.
    pub payloads: Vec<Payload>,
}

/// Looks for signatures of an image by `key` that carry `annotations`. None is an error, which says what the others lack.
pub async fn verify(
    client: &Client,
    image: &Reference,
    key: &PublicKey,
    annotations: &BTreeMap<String, String>,
) -> Result<Verified, ImagesError> {
    let (target, bytes) = client.manifest(image).await?;
    let digest = digest(&target, &bytes);
    let claim = Claim { digest, annotations };
    let name = image.with_tag(&signature::tag_of(&digest))?;
    let (mut payloads, mut reasons) = (Vec::new(), Vec::new());
    let carrier = match carrier(client, &name).await {
        Err(ImagesError::Parse { .. }) => {
            reasons.push(format!("what stands at `{}` is no list of signatures", name.familiar()));
            None
        }
        found => found?,
    };
    for (at, one) in carrier.iter().flat_map(signature::signed).enumerate() {
        match checked(client, &name, &one, key, &claim).await? {
            Ok(payload) => payloads.push(payload),
            Err(reason) => reasons.push(format!("signature {}: {reason}", at + 1)),
        }
    }
    match payloads.is_empty() {
        true => Err(ImagesError::NotSigned { name: image.familiar(), digest, reasons }),
        false => Ok(Verified { digest, payloads }),
    }
}

/// The payload of a signature that holds, or why it does not.
async fn checked(
    client: &Client,
    name: &Reference,
    one: &signature::Signed,
    key: &PublicKey,
    claim: &Claim<'_>,
) -> Result<Result<Payload, String>, ImagesError> {
    if one.payload.size() > PAYLOAD_LIMIT {
        return Ok(Err("its payload is too long".to_owned()));
    }
    let bytes = match client.read_blob(name, &one.payload, PAYLOAD_LIMIT).await {
        Ok(bytes) => bytes,
        // Whoever may push here could otherwise hide the signatures behind this one.
        Err(error)
            if matches!(*error.cause, Cause::NotFound { .. } | Cause::WrongDigest { .. } | Cause::TooLong { .. }) =>
        {
            return Ok(Err("its payload is not in the registry, or is not what it should be".to_owned()));
        }
        Err(error) => return Err(error.into()),
    };
    if !key.verifies(&bytes, &one.signature) {
        return Ok(Err("it is not by this key".to_owned()));
    }
    let Some(payload) = Payload::read(&bytes) else { return Ok(Err("its payload makes no sense".to_owned())) };
    Ok(payload.says(claim).map(|()| payload))
}
