//! One store behind the door. Every kind answers the same questions.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use rusty_s3::BucketError;

use super::account::Accounts;
use super::directory::DirectoryStore;
use super::reapi::ReapiStore;
use super::record::{RecordError, SharedRecord};
use super::registry::RegistryStore;
use super::s3::{LAYER_LIMIT, S3Store};
use crate::cache::{Key, Place};
use crate::content::{ContentError, Store as Content};
use crate::oci::{Descriptor, Reference};
use crate::registry::{BlobSource, CallError, Cause, Client, ObjectError, RegistryError};

/// Hears how many bytes moved.
pub(super) type Moved<'a> = &'a (dyn Fn(u64) + Send + Sync);

/// A layer that goes with a record.
pub struct Blob<'a> {
    /// What it is.
    pub descriptor: &'a Descriptor,
    /// Its bytes.
    pub source: BlobSource,
    /// A repository that may have it too, to take it over from.
    pub origin: Option<&'a Reference>,
}

/// A store.
pub(super) enum Store {
    Registry(RegistryStore),
    Directory(DirectoryStore),
    S3(Box<S3Store>),
    Reapi(Box<ReapiStore>),
}

/// What is done with a store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Use {
    Reading,
    Writing,
}

/// Why a store did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A registry.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// A directory.
    #[error("cannot {doing} `{}`", path.display())]
    Directory {
        /// What was done.
        doing: &'static str,
        /// To which file.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A store of buckets.
    #[error(transparent)]
    Object(#[from] ObjectError),
    /// The bucket has no URL.
    #[error("the bucket has no address there ({0}); where buckets are no subdomains: use_path_style=true")]
    Bucket(BucketError),
    /// More than an object may have.
    #[error("a layer of {0} bytes is too large for a bucket: {LAYER_LIMIT} bytes at most")]
    TooLarge(u64),
    /// An answer that is none.
    #[error("the store does not say how a long layer is sent to it")]
    NoUpload,
    /// A service of remote execution.
    #[error(transparent)]
    Call(#[from] CallError),
    /// A service that is not one for this.
    #[error("the service at {service} is no cache for kiln: {what}")]
    Unfit {
        /// Which service.
        service: String,
        /// What it lacks.
        what: &'static str,
    },
    /// More than the service says that it takes.
    #[error("a layer of {size} bytes is too large for the service: {limit} bytes at most")]
    TooLong {
        /// The length of the layer.
        size: u64,
        /// What the service says.
        limit: u64,
    },
    /// The store of this machine.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// A record that is none.
    #[error("a record does not fit")]
    Record(#[from] RecordError),
    /// It takes too long.
    #[error("nothing came for {} seconds", .0.as_secs())]
    Silent(Duration),
}

impl StoreError {
    /// Whether it is what the store holds that is wrong, and not the store.
    pub(super) fn is_of_content(&self) -> bool {
        match self {
            Self::Record(_) | Self::TooLarge(_) | Self::TooLong { .. } => true,
            Self::Content(ContentError::WrongDigest { .. } | ContentError::Missing { .. }) => true,
            // What is not found where no question is asked is a layer that a record promised.
            Self::Object(ObjectError { cause, .. }) | Self::Call(CallError { cause, .. })
                if matches!(**cause, Cause::NotFound { .. }) =>
            {
                true
            }
            other => matches!(
                other.cause(),
                Some(
                    Cause::Malformed { .. }
                        | Cause::WrongDigest { .. }
                        | Cause::TooLarge { .. }
                        | Cause::TooLong { .. }
                        | Cause::SchemaOne
                )
            ),
        }
    }

    /// The same where the question is whether this is the service at all: that nothing is found there passes for no answer.
    pub(super) fn no_service(self) -> Self {
        match self {
            Self::Call(mut error) => {
                if let Cause::NotFound { message } = *error.cause {
                    error.cause = Box::new(Cause::Refused { status: 404, message });
                }
                Self::Call(error)
            }
            other => other,
        }
    }

    /// What a server did.
    fn cause(&self) -> Option<&Cause> {
        match self {
            Self::Registry(error) => Some(&error.cause),
            Self::Object(error) => Some(&error.cause),
            Self::Call(error) => Some(&error.cause),
            _ => None,
        }
    }

    /// Whether the next request may fare better.
    pub(super) fn passes(&self) -> bool {
        // One file may be another user's, and the next one not.
        let is_of_a_file = matches!(self, Self::Directory { .. });
        // A layer that was to be taken over from elsewhere, and is not here.
        let is_absent = |cause: &Cause| matches!(cause, Cause::NotFound { .. } | Cause::Source { .. });
        is_of_a_file || self.cause().is_some_and(|cause| cause.is_temporary() || is_absent(cause))
    }
}

impl Store {
    pub(super) fn open(place: &Place, done: Use, accounts: &Accounts, client: &Client) -> Self {
        let account = match done {
            Use::Reading => accounts.reader(place),
            Use::Writing => accounts.writer(place),
        };
        match place {
            Place::Registry(reference) => Self::Registry(RegistryStore::new(reference, client)),
            Place::Directory(path) => Self::Directory(DirectoryStore::new(path)),
            Place::S3(place) => Self::S3(Box::new(S3Store::new(place, account, client))),
            Place::Reapi(service) => {
                Self::Reapi(Box::new(ReapiStore::new(service, accounts.access(place), done, client)))
            }
        }
    }

    /// How many small questions may be on their way at once.
    pub(super) fn at_once(&self) -> usize {
        match self {
            // They share a connection.
            Self::Reapi(_) => 256,
            _ => 32,
        }
    }

    /// Returns the record of a key as it is; nobody looked at what it says.
    pub(super) async fn record(&self, key: &Key) -> Result<Option<SharedRecord>, StoreError> {
        match self {
            Self::Registry(store) => store.record(key).await,
            Self::Directory(store) => store.record(key).await,
            Self::S3(store) => store.record(key).await,
            Self::Reapi(store) => store.record(key).await,
        }
    }

    /// Whether there is a record of a key.
    pub(super) async fn has(&self, key: &Key) -> Result<bool, StoreError> {
        match self {
            Self::Registry(store) => store.has(key).await,
            Self::Directory(store) => store.has(key).await,
            Self::S3(store) => store.has(key).await,
            Self::Reapi(store) => store.has(key).await,
        }
    }

    /// Puts a layer, and then its record. `replaces` a record that is there; else the first may stay.
    pub(super) async fn publish(
        &self,
        key: &Key,
        record: &SharedRecord,
        layer: &Blob<'_>,
        replaces: bool,
        moved: Moved<'_>,
    ) -> Result<(), StoreError> {
        match self {
            Self::Registry(store) => store.publish(key, record, layer, moved).await,
            Self::Directory(store) => store.publish(key, record, layer, moved).await,
            Self::S3(store) => store.publish(key, record, layer, replaces, moved).await,
            Self::Reapi(store) => store.publish(key, record, layer, moved).await,
        }
    }

    /// Brings a layer into the store of this machine, verified.
    pub(super) async fn fetch(&self, layer: &Descriptor, to: &Content, moved: Moved<'_>) -> Result<(), StoreError> {
        match self {
            Self::Registry(store) => store.fetch(layer, to, moved).await,
            Self::Directory(store) => store.fetch(layer, to, moved).await,
            Self::S3(store) => store.fetch(layer, to, moved).await,
            Self::Reapi(store) => store.fetch(layer, to, moved).await,
        }
    }

    /// Returns the keys that a build like this one had last; none is known is none.
    pub(super) async fn trail(&self, name: &str) -> Result<Vec<Key>, StoreError> {
        match self {
            Self::Registry(store) => store.trail(name).await,
            Self::Directory(store) => store.trail(name).await,
            Self::S3(store) => store.trail(name).await,
            Self::Reapi(store) => store.trail(name).await,
        }
    }

    /// Remembers them, over what was there.
    pub(super) async fn put_trail(&self, name: &str, keys: &[Key]) -> Result<(), StoreError> {
        match self {
            Self::Registry(store) => store.put_trail(name, keys).await,
            Self::Directory(store) => store.put_trail(name, keys).await,
            Self::S3(store) => store.put_trail(name, keys).await,
            Self::Reapi(store) => store.put_trail(name, keys).await,
        }
    }

    /// Returns the record of a cache mount as it is; nobody looked at what it says.
    pub(super) async fn mount(&self, key: &Key) -> Result<Option<Vec<u8>>, StoreError> {
        match self {
            Self::Registry(store) => store.mount(key).await,
            Self::Directory(store) => store.mount(key).await,
            Self::S3(store) => store.mount(key).await,
            Self::Reapi(store) => store.mount(key).await,
        }
    }

    /// Whether what a record names stays with the record. A bucket may have a rule that removes what is old, whoever names it, and a
    /// service removes what was used last long ago.
    pub(super) fn keeps_what_is_named(&self) -> bool {
        !matches!(self, Self::S3(_) | Self::Reapi(_))
    }

    /// Puts a chunk of a cache mount.
    pub(super) async fn put_blob(&self, blob: &Blob<'_>, moved: Moved<'_>) -> Result<(), StoreError> {
        match self {
            Self::Registry(store) => store.put_blob(blob, moved).await,
            Self::Directory(store) => store.put_blob(blob, moved).await,
            Self::S3(store) => store.put_layer(blob, false, moved).await,
            Self::Reapi(store) => store.put_blob(blob, moved).await,
        }
    }

    /// Puts the record of a cache mount over what was there; its chunks are there.
    pub(super) async fn put_mount(
        &self,
        key: &Key,
        record: Vec<u8>,
        chunks: Vec<Descriptor>,
    ) -> Result<(), StoreError> {
        match self {
            Self::Registry(store) => store.put_mount(key, record, chunks).await,
            Self::Directory(store) => store.put_mount(key, record).await,
            Self::S3(store) => store.put_mount(key, record).await,
            Self::Reapi(store) => store.put_mount(key, record).await,
        }
    }
}
