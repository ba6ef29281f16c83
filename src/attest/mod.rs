//! What is said about an image beside the image: what is in it (SBOM), and how it came to be (provenance).
//!
//! All of it is plain data made of plain data. [`sbom::scan`] reads the tree of an image by a directory handle and lists the
//! packages it finds, [`document`] writes the list as SPDX 2.3, [`provenance`] tells of a build, and [`statement`] puts either under the digests it is about.
//!
//! ```text
//! files of the image -> sbom::Inventory -> spdx document --\
//! what is known of the build, as a `Build` -> provenance --> predicate -> statement { subject, predicate } -> a blob
//! ```
//!
//! Two documents about the same image by the same name are the same bytes: packages are sorted, the time is that of the image, and names
//! come from digests. The files of an image are hostile: see [`sbom`] for what bounds the reading.
//!
//! Not here: where statements are kept and how they go out (`export`), when they are asked for (`builder`, `cli`).

mod in_toto;
mod licence;
mod provenance;
mod purl;
pub mod sbom;
mod spdx;

pub use in_toto::{PREDICATE_TYPE, Predicate, STATEMENT, about, statement};
pub use provenance::{Build, Dependency, Details, PREDICATE as SLSA, Step, provenance};
pub use purl::{of_image, of_layout};
pub use spdx::{About, PREDICATE as SPDX, document};
