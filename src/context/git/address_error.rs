//! What can be wrong with the address of a repository.

/// Why the address of a repository makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GitAddressError {
    /// A key after `?` that means nothing.
    #[error("unexpected query \"{0}\"")]
    UnexpectedQuery(String),
    /// A key after `?` that needs a value.
    #[error("query \"{0}\" has no value")]
    NoValue(String),
    /// A key after `?` that is there twice.
    #[error("query \"{0}\" has multiple values")]
    ManyValues(String),
    /// A value after `?` that its key does not take.
    #[error("invalid {key} value: \"{value}\"")]
    Value {
        /// The key.
        key: String,
        /// The value.
        value: String,
    },
    /// Two parts of the address that contradict each other.
    #[error("{what} conflicts: \"{one}\" vs \"{other}\"")]
    Conflict {
        /// Which part.
        what: &'static str,
        /// The first.
        one: String,
        /// The second.
        other: String,
    },
    /// Both a branch and a tag.
    #[error("branch conflicts with tag")]
    BranchAndTag,
    /// A reference that `git` would take for an option, or that no repository can have.
    #[error("invalid git ref \"{0}\"")]
    Reference(String),
    /// A commit that is no number.
    #[error("invalid checksum {0} for Git URL, expected hex commit hash")]
    Checksum(String),
    /// A commit to fetch is wanted, but none is named.
    #[error("fetch-by-commit requires a checksum or a commit SHA ref")]
    NoCommit,
    /// Only the beginning of the commit to fetch is named.
    #[error("fetch-by-commit requires a full commit SHA checksum, got \"{0}\"")]
    ShortCommit(String),
    /// Address and `--keep-git-dir` disagree.
    #[error("inconsistent keep-git-dir configuration")]
    KeepGitDir,
    /// Address and `--checksum` disagree.
    #[error("checksum mismatch \"{flag}\" != \"{address}\"")]
    TwoChecksums {
        /// The flag's.
        flag: String,
        /// The address's.
        address: String,
    },
}
