//! The words of OCI images: references, platforms, media types, descriptors, configs, time stamps.
//!
//! Plain data with parsing and printing, after the OCI image-spec 1.1 and the additions Docker makes to the config.
//! Manifests, indexes and descriptors are those of `oci-spec`; the image config is our own, because
//! Docker's fields (`Healthcheck`, `OnBuild`, `Shell`, ..) and unknown ones must survive a build.
//!
//! Not here: bytes at rest (`content`), HTTP (`registry`), what a layer holds (`layer`).
//!
//! Wire shape: JSON. Documents we write go through [`to_json`], which gives the same bytes for the same value; documents
//! we were given are kept as bytes and never written anew, or their digest would change.
//!
//! Anyone may call this room; nothing here locks, blocks or asks the clock.

mod config;
mod descriptor;
mod index;
mod json;
mod layer;
mod manifest;
pub mod media_type;
mod platform;
mod reference;
mod stack;
mod time;

pub use config::{ContainerConfig, Healthcheck, History, ImageConfig, RootFs};
pub use descriptor::{descriptor, digest_of};
pub use index::{REFERENCE_DIGEST, REFERENCE_TYPE, choose_manifest};
pub use json::to_json;
pub use layer::Layer;
pub use manifest::{MANIFEST_LIMIT, index, manifest};
pub use media_type::Compression;
pub use oci_spec::image::{Descriptor, ImageIndex as Index, ImageManifest as Manifest};
pub use platform::{Platform, PlatformError};
pub use reference::{DEFAULT_DOMAIN, DEFAULT_TAG, Reference, ReferenceError};
pub use stack::Stack;
pub use time::{parse_rfc3339, rfc3339};
