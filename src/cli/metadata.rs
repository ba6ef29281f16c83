//! The files that say what was built: `--metadata-file` and `--iidfile`. Their texts are [`crate::export`]'s.

use std::io;
use std::path::Path;

use crate::builder::BuiltImage;
use crate::export::{image_id, metadata_file};
use crate::fsutil::write_atomically;

/// Writes digests, descriptor and names of the result.
pub(super) fn write_metadata(path: &Path, image: Option<&BuiltImage>) -> io::Result<()> {
    let names = image.map_or(&[][..], |image| &image.names);
    let provenance = image.map_or(&[][..], |image| &image.provenance);
    let text = metadata_file(image.map(|image| (&image.descriptor, image.config_digest)), names, provenance);
    write_atomically(path, text.as_bytes())
}

/// Writes the image id, without a newline, as docker does.
pub(super) fn write_image_id(path: &Path, image: &BuiltImage) -> io::Result<()> {
    write_atomically(path, id_of(image).as_bytes())
}

/// Returns the image id.
pub(super) fn id_of(image: &BuiltImage) -> String {
    image_id(&image.descriptor, image.config_digest)
}
