//! Where the layers of an index can be had that are not in the store: annotations of its entry in the store's list, which leave it never.

use std::collections::BTreeMap;

use crate::digest::Digest;
use crate::export::Image;
use crate::oci::{Descriptor, Reference};

/// `io.kiln.origin.<hex of a manifest>` = the repository it came from.
const ORIGIN: &str = "io.kiln.origin.";

/// Where images came from, by the digest of the manifest.
pub(in crate::images) type Origins = BTreeMap<Digest, Reference>;

/// Reads what a descriptor of the store's list remembers.
pub(in crate::images) fn origins(target: &Descriptor) -> Origins {
    let read = |(name, value): (&String, &String)| {
        let digest = Digest::from_hex(name.strip_prefix(ORIGIN)?).ok()?;
        Some((digest, Reference::parse(value).ok()?))
    };
    target.annotations().iter().flatten().filter_map(read).collect()
}

/// Returns what shall be remembered of `images`.
pub(super) fn annotations(images: &[Image]) -> BTreeMap<String, String> {
    let of = |image: &Image| {
        let origin = image.layers.iter().find_map(|layer| layer.origin.as_ref())?;
        Some((format!("{ORIGIN}{}", image.manifest.digest.hex()), origin.name()))
    };
    images.iter().filter_map(of).collect()
}
