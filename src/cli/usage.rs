//! What can be wrong with a command line that parsed.

use std::io;
use std::path::PathBuf;

use crate::diag::nearest;

/// A command line that asks for something impossible; found before anything is built.
#[derive(Debug, thiserror::Error)]
pub(super) enum UsageError {
    /// A value does not have the shape its flag wants.
    #[error("invalid value `{value}` for {flag}: {expected}")]
    Malformed {
        /// The flag.
        flag: &'static str,
        /// What was given.
        value: String,
        /// What is wrong, or what was expected.
        expected: String,
    },
    /// A flag that other builders know and kiln does not.
    #[error("{flag} is not supported yet{detail}")]
    NotYet {
        /// The flag, with the part of its value that is meant.
        flag: String,
        /// What to do without it, or empty.
        detail: &'static str,
    },
    /// Two flags that exclude each other.
    #[error("{one} and {other} cannot be used together")]
    Conflict {
        /// One.
        one: &'static str,
        /// The other.
        other: &'static str,
    },
    /// Standard input was asked to be two things.
    #[error("invalid argument: can't use stdin for both build context and dockerfile")]
    StdinTwice,
    /// A Dockerfile came on standard input as the context, and `--file` names another.
    #[error("ambiguous Dockerfile source: both stdin and --file name a Dockerfile")]
    TwoDockerfiles,
    /// The build context is neither a directory nor a URL.
    #[error("unable to prepare context: path `{path}` not found")]
    NoContext {
        /// What was given.
        path: String,
    },
    /// The build context is a file, but no archive.
    #[error("unable to prepare context: `{path}` is neither a directory nor a tar archive")]
    NoArchive {
        /// What was given.
        path: String,
    },
    /// The file that is the build context cannot be read.
    #[error("unable to prepare context: cannot read `{}`", path.display())]
    ContextUnreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file that a flag names cannot be used.
    #[error("cannot read `{}` for {flag}", path.display())]
    Unreadable {
        /// The flag.
        flag: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Standard input cannot be read.
    #[error("cannot read standard input")]
    Stdin(#[source] io::Error),
    /// Nobody is there to be asked.
    #[error("cannot ask for user and password: standard input is no terminal")]
    NoTerminal,
    /// A binary output would go to a terminal.
    #[error("{flag} would write an archive to the terminal: name a file with {instead}")]
    Terminal {
        /// The flag.
        flag: &'static str,
        /// How a file is named.
        instead: &'static str,
    },
    /// There is nowhere to keep the store.
    #[error("no place for the store: neither KILN_ROOT nor HOME is set: use --store DIR")]
    NoStore,
    /// The working directory is gone.
    #[error("the working directory cannot be found")]
    NoWorkingDirectory(#[source] io::Error),
}

impl UsageError {
    /// Returns the stable name of this error.
    pub(super) fn code(&self) -> &'static str {
        match self {
            Self::Malformed { .. } => "invalid-value",
            Self::NotYet { .. } => "unsupported-flag",
            Self::Conflict { .. } | Self::StdinTwice | Self::TwoDockerfiles => "conflict",
            Self::NoContext { .. } | Self::NoArchive { .. } => "no-context",
            Self::Unreadable { .. } | Self::ContextUnreadable { .. } | Self::Stdin(_) => "unreadable",
            Self::Terminal { .. } | Self::NoTerminal => "terminal",
            Self::NoStore => "no-store",
            Self::NoWorkingDirectory(_) => "environment",
        }
    }

    /// Returns what to do about it, a line each.
    pub(super) fn help(&self) -> Vec<String> {
        match self {
            Self::NoArchive { .. } => {
                vec!["to name a Dockerfile: `-f FILE`, with the directory of its files".to_owned()]
            }
            Self::NoTerminal => vec!["give them: `--username USER --password-stdin`".to_owned()],
            _ => Vec::new(),
        }
    }

    /// `word`, which stands in `value`, is none of the words that there are.
    pub(super) fn unknown(flag: &'static str, value: &str, word: &str, known: &[&str]) -> Self {
        let all = match known {
            [first @ .., last] if !first.is_empty() => format!("{} or {last}", first.join(", ")),
            _ => known.join(""),
        };
        Self::malformed(flag, value, format!("expected {all}{}", did_you_mean(word, known)))
    }

    /// A value of `--format` is no template.
    pub(super) fn template(format: &str, error: &dyn std::error::Error) -> Self {
        Self::malformed("--format", format, error.to_string())
    }

    pub(super) fn malformed(flag: &'static str, value: &str, expected: impl Into<String>) -> Self {
        Self::Malformed { flag, value: value.to_owned(), expected: expected.into() }
    }
}

/// Returns `: did you mean X?` for the word nearest to `word`, or nothing.
pub(super) fn did_you_mean(word: &str, known: &[&str]) -> String {
    nearest(word, known.iter().copied()).map(|near| format!(": did you mean `{near}`?")).unwrap_or_default()
}
