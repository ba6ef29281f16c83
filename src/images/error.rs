//! What can be wrong when something is asked of images.

use super::PruneError;
use crate::builder::{BuildFailure, FailureKind, LockError, kind_of_registry};
use crate::cache::CacheError;
use crate::content::ContentError;
use crate::digest::Digest;
use crate::executor::ExecError;
use crate::export::{CompressError, LocalError, PushError};
use crate::layer::LayerError;
use crate::oci::ReferenceError;
use crate::ops::OpError;
use crate::ops::users::UserError;
use crate::registry::RegistryError;
use crate::signature::KeyError;
use crate::snapshot::SnapshotError;

/// Why something could not be done with an image.
#[derive(Debug, thiserror::Error)]
pub enum ImagesError {
    /// Nothing in the store has this name or id.
    #[error("no such image: {name}")]
    NoSuchImage {
        /// What was asked for.
        name: String,
        /// A name that is nearly the same.
        near: Option<String>,
    },
    /// Several ids begin like this.
    #[error("image id `{prefix}` is ambiguous: {}", ids.join(", "))]
    Ambiguous {
        /// What was asked for.
        prefix: String,
        /// The ids that begin so.
        ids: Vec<String>,
    },
    /// It is no image reference.
    #[error(transparent)]
    Name(#[from] ReferenceError),
    /// An id was to be removed that has names in several repositories.
    #[error("conflict: unable to delete {id} (must be forced): the image is named in several repositories: {}", names.join(", "))]
    SeveralNames {
        /// What was asked for.
        id: String,
        /// The names.
        names: Vec<String>,
    },
    /// A document of an image is not what it should be.
    #[error("{digest} is not a document of an image")]
    Parse {
        /// The document.
        digest: Digest,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// It has no sha256, or nothing for the platform.
    #[error("there is no image for {platform} in {name}")]
    Nothing {
        /// The image.
        name: String,
        /// The platform asked for.
        platform: String,
    },
    /// An archive cannot be read, or is not what it should be.
    #[error("cannot use the archive: {problem}")]
    Archive {
        /// What is wrong with it.
        problem: String,
    },
    /// A change of the config makes no sense.
    #[error("cannot apply the change: {problem}")]
    Change {
        /// What is wrong with it.
        problem: String,
    },
    /// An index was asked for.
    #[error("`{name}` is an image, and no index that the store has a name for")]
    NotAnIndex {
        /// What was asked for.
        name: String,
    },
    /// A new index has the name of something that is there.
    #[error("refusing to make `{name}` anew: the name is taken")]
    NameTaken {
        /// The name.
        name: String,
    },
    /// An index does not list this.
    #[error("`{entry}` is not listed in `{list}`")]
    NoEntry {
        /// The index.
        list: String,
        /// What was asked for.
        entry: String,
    },
    /// Nothing is left that an index could list.
    #[error("an index of nothing: no source has an image for the platforms asked for")]
    NoEntries,
    /// Indexes of images only are taken apart.
    #[error("{digest} is an index in an index")]
    NestedIndex {
        /// The inner one.
        digest: Digest,
    },
    /// A descriptor cannot be used.
    #[error("cannot use the descriptor: {problem}")]
    Descriptor {
        /// What is wrong with it.
        problem: String,
    },
    /// A registry did not give or take what it should.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// A file of a server could not be fetched.
    #[error("cannot fetch `{url}`: {source}")]
    Download {
        /// Where it is, without a password.
        url: String,
        /// Why not.
        source: crate::registry::DownloadError,
    },
    /// An image could not be sent.
    #[error(transparent)]
    Push(#[from] PushError),
    /// A layer could not be compressed.
    #[error(transparent)]
    Compress(#[from] CompressError),
    /// The process cannot wait for several things at once.
    #[error("cannot start the scheduler")]
    Runtime {
        /// The kernel's answer.
        source: std::io::Error,
    },
    /// The store cannot be locked.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// A document or a tag cannot be read or written.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// What is unpacked cannot be opened.
    #[error("{0}")]
    Unpacked(Box<BuildFailure>),
    /// A layer cannot be unpacked.
    #[error(transparent)]
    Op(#[from] OpError),
    /// The command could not be run.
    #[error(transparent)]
    Exec(#[from] ExecError),
    /// The user of a command is not in the image.
    #[error(transparent)]
    User(#[from] UserError),
    /// There is nothing to run.
    #[error("no command specified: the image has neither entrypoint nor command")]
    NoCommand,
    /// Something is not in the image.
    #[error("`{path}` is not in the image")]
    NotThere {
        /// What was asked for.
        path: String,
    },
    /// Something of the image cannot be copied.
    #[error("cannot copy `{path}`: {source}")]
    Copy {
        /// What.
        path: String,
        /// The kernel's answer.
        source: std::io::Error,
    },
    /// The files of an image cannot be copied.
    #[error(transparent)]
    Local(#[from] LocalError),
    /// The files of an image cannot be written as an archive.
    #[error(transparent)]
    Layer(#[from] LayerError),
    /// No signature of an image is by the key that was asked for.
    #[error("{name}@{digest} is not signed by this key{}", reasons.iter().map(|reason| format!("; {reason}")).collect::<String>())]
    NotSigned {
        /// The image.
        name: String,
        /// Its digest.
        digest: Digest,
        /// What is wrong with the signatures that it has.
        reasons: Vec<String>,
    },
    /// A key does not sign.
    #[error("cannot sign")]
    Key(#[from] KeyError),
    /// The store cannot be looked through.
    #[error(transparent)]
    Prune(#[from] PruneError),
    /// Step records cannot be read.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// Unpacked layers cannot be removed.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
}

impl ImagesError {
    /// Returns whose turn it is now.
    pub fn kind(&self) -> FailureKind {
        match self {
            Self::NoSuchImage { .. }
            | Self::Ambiguous { .. }
            | Self::Name(_)
            | Self::SeveralNames { .. }
            | Self::Nothing { .. }
            | Self::Archive { .. }
            | Self::Change { .. }
            | Self::NotAnIndex { .. }
            | Self::NameTaken { .. }
            | Self::NoEntry { .. }
            | Self::NoEntries
            | Self::NestedIndex { .. }
            | Self::Descriptor { .. }
            | Self::NoCommand
            | Self::NotThere { .. }
            | Self::NotSigned { .. }
            | Self::User(_)
            | Self::Exec(ExecError::Command { .. } | ExecError::Foreign { .. })
            | Self::Content(ContentError::Name(_) | ContentError::NameHasDigest { .. }) => FailureKind::User,
            Self::Download { .. } => FailureKind::Network,
            Self::Unpacked(failure) => failure.kind,
            Self::Registry(error) | Self::Push(PushError::Registry(error)) => kind_of_registry(error),
            _ => FailureKind::Environment,
        }
    }

    pub(super) fn archive(problem: impl Into<String>) -> Self {
        Self::Archive { problem: problem.into() }
    }

    /// Returns the stable name of this error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoSuchImage { .. } | Self::Nothing { .. } => "no-such-image",
            Self::Ambiguous { .. } => "ambiguous-id",
            Self::SeveralNames { .. } => "image-in-use",
            Self::Archive { .. } => "archive",
            Self::NotSigned { .. } => "not-signed",
            Self::NotAnIndex { .. } | Self::NestedIndex { .. } => "not-an-index",
            Self::NameTaken { .. } => "name-taken",
            Self::NoEntry { .. } | Self::NoEntries => "no-entry",
            Self::Descriptor { .. } => "descriptor",
            Self::Download { .. } => "network",
            Self::Registry(_) | Self::Push(PushError::Registry(_)) => "registry",
            error if error.kind() == FailureKind::User => "image",
            _ => "environment",
        }
    }

    /// Returns what to do about it, a line each.
    pub fn help(&self) -> Vec<String> {
        match self {
            Self::NoSuchImage { near: Some(near), .. } => vec![format!("did you mean `{near}`?")],
            Self::NoSuchImage { .. } => {
                vec!["`kiln images` lists what is here, `kiln pull` fetches from a registry".to_owned()]
            }
            Self::Unpacked(failure) => failure.help.clone(),
            Self::Exec(error) => error.help(),
            Self::Registry(error) | Self::Push(PushError::Registry(error)) => error.help().into_iter().collect(),
            Self::NotAnIndex { .. } => vec!["`kiln manifest create` makes an index of images".to_owned()],
            Self::NameTaken { name } => {
                vec![format!("`--amend` adds to an index, `kiln manifest rm {name}` removes it")]
            }
            Self::NoEntry { list, .. } => vec![format!("`kiln manifest inspect {list}` shows what is listed")],
            Self::NestedIndex { .. } => vec!["name the images that it lists, or it alone".to_owned()],
            // A push takes layers over from a shared cache without fetching them.
            Self::Content(ContentError::Missing { .. }) | Self::Op(OpError::Store(ContentError::Missing { .. })) => {
                vec!["`kiln pull` fetches what is in the registry and not here".to_owned()]
            }
            Self::Ambiguous { .. } => vec!["give more of its digits".to_owned()],
            Self::SeveralNames { .. } => vec!["give one of its names, or `-f` to remove them all".to_owned()],
            _ => Vec::new(),
        }
    }
}
