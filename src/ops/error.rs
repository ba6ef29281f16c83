//! How a step fails.

use crate::cache::CacheError;
use crate::content::ContentError;
use crate::executor::ExecError;
use crate::sandbox::Exceeded;
use crate::snapshot::SnapshotError;
use crate::source::Span;

/// Why a step could not be done. The solver's caller adds the instruction's place.
#[derive(Debug, thiserror::Error)]
pub enum OpError {
    /// The command of a RUN ended badly.
    #[error("process {command:?} did not complete successfully: exit code: {code}")]
    Exit {
        /// The command, joined by blanks.
        command: String,
        /// Its exit code; 128 + n for signal n.
        code: i32,
        /// The limits it met before.
        exceeded: Vec<Exceeded>,
    },
    /// The command of a RUN took longer than it may.
    #[error("process {command:?} did not complete within --timeout {limit}")]
    TimedOut {
        /// The command, joined by blanks.
        command: String,
        /// The limit, as Go prints durations.
        limit: String,
    },
    /// The instruction asks for something that is not there or makes no sense.
    #[error("{message}")]
    User {
        /// Short and stable, the code of its diagnostic.
        code: &'static str,
        /// One sentence.
        message: String,
        /// What to do.
        help: Vec<String>,
        /// Where, if more is known than the instruction.
        span: Option<Span>,
    },
    /// A source of COPY, ADD or a bind mount is not there, or not for the build.
    #[error("failed to compute cache key: \"{path}\": not found")]
    NotFound {
        /// The source, absolute from the top of its tree.
        path: String,
        /// The line of the ignore file (from 1) that leaves it out.
        ignored_at: Option<usize>,
        /// What to do.
        help: Vec<String>,
        /// The source as written.
        span: Option<Span>,
    },
    /// A base image or another remote source could not be fetched.
    #[error(transparent)]
    Registry(#[from] crate::registry::RegistryError),
    /// A layer is damaged or hostile.
    #[error("cannot unpack layer {layer}: {source}")]
    Unpack {
        /// Its diff id.
        layer: crate::digest::DiffId,
        /// What is wrong with it.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A layer's bytes are not those its image promised.
    #[error("layer {layer} unpacks to {found}: the blob does not belong to its image")]
    WrongDiffId {
        /// What the image config says.
        layer: crate::digest::DiffId,
        /// What the bytes are.
        found: crate::digest::Digest,
    },
    /// The layer of a step could not be written.
    #[error("{0}")]
    Layer(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The sandbox could not be set up.
    #[error(transparent)]
    Sandbox(#[from] ExecError),
    /// The content store failed.
    #[error("{0}")]
    Store(#[from] ContentError),
    /// The snapshot store failed.
    #[error(transparent)]
    Snapshot(SnapshotError),
    /// The cache could not be written.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// A file of the store could not be handled.
    #[error("cannot {doing}: {source}")]
    Io {
        /// A verb phrase.
        doing: String,
        /// The kernel's answer.
        source: std::io::Error,
    },
    /// A bug of kiln.
    #[error("kiln panicked: {message}")]
    Panicked {
        /// What the panic said.
        message: String,
    },
    /// The build was stopped.
    #[error("canceled")]
    Canceled,
}

impl From<SnapshotError> for OpError {
    fn from(error: SnapshotError) -> Self {
        match error {
            SnapshotError::TooTall { .. } => Self::User {
                code: "too-many-layers",
                message: error.to_string(),
                help: vec!["make them one before it: `COPY --from=STAGE / /` in a new stage".to_owned()],
                span: None,
            },
            error => Self::Snapshot(error),
        }
    }
}

impl OpError {
    /// Makes an error of the instruction, without help.
    pub(super) fn user(code: &'static str, message: impl Into<String>) -> Self {
        Self::User { code, message: message.into(), help: Vec::new(), span: None }
    }

    /// Makes the error of a step that has to be done where the cache was required to have it.
    pub(super) fn not_cached(name: &str, why: &str) -> Self {
        let help = vec![
            "nothing was run; `--explain` without `--require-cached` runs it and says the same of all steps".to_owned(),
            "if a shared cache should have it: was the build that filled it given the same files, arguments and base?"
                .to_owned(),
        ];
        let message = format!("the cache does not have `{name}`: {why}");
        Self::User { code: "not-cached", message, help, span: None }
    }

    /// Makes an error of a task that ended without a result. It panicked: nobody aborts tasks and then asks how they went.
    pub(crate) fn panicked(error: tokio::task::JoinError) -> Self {
        let message = match error.try_into_panic() {
            Ok(panic) => match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
                (Some(text), _) => (*text).to_owned(),
                (None, Some(text)) => text.clone(),
                (None, None) => "no message".to_owned(),
            },
            Err(error) => error.to_string(),
        };
        Self::Panicked { message }
    }

    /// Makes a closure that wraps an I/O error.
    pub(super) fn io(doing: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Io { doing, source }
    }
}
