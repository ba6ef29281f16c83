//! Descriptors: media type, digest and size of a blob.

use oci_spec::image::{Descriptor, MediaType};

use crate::digest::{Digest, DigestError};

/// Makes a descriptor of a blob of `size` bytes.
pub fn descriptor(media_type: &str, digest: &Digest, size: u64) -> Descriptor {
    let digest: oci_spec::image::Digest =
        digest.to_string().parse().expect("sha256:<64 hex digits> is a digest by image-spec, descriptor.md");
    Descriptor::new(MediaType::from(media_type), size, digest)
}

/// Returns the digest a descriptor names. Fails for algorithms other than sha256, which we do not verify.
pub fn digest_of(descriptor: &Descriptor) -> Result<Digest, DigestError> {
    descriptor.digest().as_ref().parse()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::media_type;

    #[test]
    fn a_descriptor_keeps_its_digest() {
        let digest = Digest::of(b"{}");
        let made = descriptor(media_type::OCI_CONFIG, &digest, 2);
        assert_eq!(digest_of(&made), Ok(digest));
        assert_eq!((made.size(), made.media_type().as_ref()), (2, media_type::OCI_CONFIG));
    }

    #[test]
    fn other_algorithms_are_refused() {
        let text = format!(r#"{{"mediaType":"a/b","digest":"sha512:{}","size":1}}"#, "0".repeat(128));
        let given: Descriptor = serde_json::from_str(&text).unwrap();
        assert!(digest_of(&given).is_err());
    }
}
