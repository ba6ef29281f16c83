//! What becomes of a build: an image in the store, in an archive, in a registry, or its files in a directory.
//!
//! [`assemble`] makes config and manifest from a config and layers, [`index`] the index over several images. Both are pure.
//! An [`ImageSet`] is then written anywhere:
//!
//! | output        | written by                                                        |
//! |---------------|-------------------------------------------------------------------|
//! | `type=image`  | [`keep`] (store), [`push`] (registry)                             |
//! | `type=oci`    | [`write_oci_tar`], [`write_oci_directory`]                        |
//! | `type=docker` | [`write_docker_archive`]; without a destination [`Engine`]        |
//! | `type=local`  | [`write_local`]; [`Paths`], [`remove_others`] for several, `delete`|
//! | `type=tar`    | [`write_files_tar`]                                               |
//!
//! What is said of images (`attest`) goes with them on manifests of its own: see [`attach`].
//!
//! What is in the store already leaves it as it is by [`write_saved`] (an OCI layout and docker archive in one) and [`push`].
//!
//! In the store new layers are plain tars. Before an image goes out, [`clamped`] takes late times out of them and [`compressed`]
//! ([`compressed_telling`] with somebody who sends them meanwhile, [`push_early`]) makes them smaller (or, as eStargz, readable file by file, with other diff ids); both remember what they made in a directory the caller names, one small file each (see `records`);
//! a new gzip layer takes over what it has in common with the last ones (`blocks`). [`Ahead`] does the same for a layer that a step is still writing.
//! Layers of a base image may not be here at all: what is written to files must be fetched before ([`absent`]), what is
//! pushed may be mounted by the registry. [`to_file`] lets an archive appear when it is complete, [`validate_layout`] reads
//! an image back and checks all it says.
//!
//! Every archive is deterministic: the same images and names give the same bytes, with no time, owner or
//! name of this machine in them.
//!
//! Not here: how layers come to be (`layer`, `ops`), where bytes are kept (`content`), HTTP (`registry`).
//! Called by `builder`; the text of reports is also asked for by `cli`. Nothing here locks; all but [`push`] blocks.

mod ahead;
mod attestation;
mod blocks;
mod compress;
mod docker_archive;
mod document;
mod engine;
mod file;
mod growing;
mod image;
mod local;
mod metadata;
mod mirror;
mod oci_layout;
mod parts;
mod pieces;
mod push;
mod records;
mod report;
mod saved;
mod store;
mod tar;
mod timestamps;
mod validate;

pub use crate::oci::Layer;
pub use ahead::{Ahead, LayerAhead};
pub use attestation::{Attestation, Form, attach};
pub use compress::{Codec, CompressError, Format, compressed, compressed_telling};
pub use docker_archive::write_docker_archive;
pub use document::Document;
pub use engine::{Engine, EngineError, EngineKind, Taken};
pub use file::to_file;
pub use growing::Growing;
pub use image::{Image, ImageSet, MediaTypes, assemble, index, platform_descriptor, with_layers};
pub use local::{LocalError, LocalSummary, platform_directory, write_local};
pub use metadata::{described, image_id, metadata_file};
pub use mirror::{Paths, remove_others};
pub use oci_layout::{IMAGE_NAME, REF_NAME, write_oci_directory, write_oci_tar};
pub use parts::ArchiveError;
pub use push::{How, PushError, push, push_early};
pub use report::Report;
pub use saved::{Saved, write_saved};
pub use store::{AbsentError, absent, keep};
pub use tar::{Files, write_files_tar};
pub use timestamps::{ClampError, clamped};
pub use validate::{Flaw, validate_layout};
