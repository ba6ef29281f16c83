//! A tree that files are copied from.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::{Ignore, StatCache};
use crate::fsutil::Dir;

/// A tree that COPY, ADD and bind mounts select from.
#[derive(Clone, Debug)]
pub struct Source {
    /// The top of the tree. Nothing above it can be reached.
    pub root: Arc<Dir>,
    /// What kind of tree it is, which decides what is taken over from its files.
    pub origin: Origin,
    /// What of it does not exist for the build.
    pub ignore: Option<Arc<Ignore>>,
    /// Remembers content hashes between builds.
    pub cache: Option<Arc<StatCache>>,
}

/// Where a tree comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Origin {
    /// A build context: everything belongs to 0:0, sockets are empty files, extended attributes are dropped.
    Context,
    /// The filesystem of a stage or an image: owners, devices and extended attributes are kept.
    Filesystem,
}

impl Source {
    /// A build context in the local directory at `path`.
    pub fn context(path: &Path) -> io::Result<Self> {
        Ok(Self::of_dir(Dir::open(path)?, Origin::Context))
    }

    /// The files of a stage or an image.
    pub fn filesystem(root: Dir) -> Self {
        Self::of_dir(root, Origin::Filesystem)
    }

    /// Any open directory.
    pub fn of_dir(root: Dir, origin: Origin) -> Self {
        Self { root: Arc::new(root), origin, ignore: None, cache: None }
    }

    /// The same tree without what `ignore` leaves out.
    pub fn with_ignore(self, ignore: Ignore) -> Self {
        Self { ignore: (!ignore.is_empty()).then(|| Arc::new(ignore)), ..self }
    }

    /// The same tree, with hashes remembered in `cache`.
    pub fn with_cache(self, cache: Arc<StatCache>) -> Self {
        Self { cache: Some(cache), ..self }
    }
}
