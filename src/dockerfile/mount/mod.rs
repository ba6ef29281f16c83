//! `RUN --mount`: a list of `key=value`, kept as written until the values can be expanded.
//!
//! `--mount=type=cache,target=$HOME/.cache` can only be judged where `HOME` is known, so a [`Mount`] is a list of
//! fields, and [`Mount::resolve`], called once per mount when its step is planned, checks everything in one
//! place. Like BuildKit, a stage nobody builds is free to hold a wrong mount. Only `from` is never expanded:
//! it is checked when the file is read, since it links stages.

mod resolve;

use crate::diag::Diagnostic;
use crate::source::Span;

use super::instruction::Text;
use super::parse;

/// One `--mount`, not yet expanded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mount {
    /// The value of the flag.
    pub span: Span,
    /// The fields in order; a key may come twice, the last one counts.
    pub fields: Vec<MountField>,
}

/// `key=value`, or a bare `key`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MountField {
    /// The key in lower case; its span covers the whole field.
    pub key: Text,
    /// What follows `=`; `None` without `=`.
    pub value: Option<Text>,
}

/// A mount with all values final. Targets are absolute and cleaned, and never `/`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ResolvedMount {
    /// Files of the context, a stage or an image.
    Bind(BindMount),
    /// A directory kept between builds.
    Cache(CacheMount),
    /// An empty directory in memory.
    Tmpfs(TmpfsMount),
    /// A secret as a file, as a variable, or as both.
    Secret(SecretMount),
    /// The socket of a key agent.
    Ssh(SshMount),
}

/// `type=bind`
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BindMount {
    /// Stage name or image; `None` is the build context.
    pub from: Option<Text>,
    /// Path inside `from`, as written; empty is its root.
    pub source: String,
    /// Where it appears.
    pub target: String,
    /// False for `rw`: what the step writes is seen by the step alone and then dropped.
    pub readonly: bool,
}

/// `type=cache`
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CacheMount {
    /// `id`, else the target as written, cleaned. Not yet prefixed by a namespace.
    pub id: String,
    /// True when `id` was written.
    pub explicit_id: bool,
    /// Stage or image with the first content; `None` starts empty.
    pub from: Option<Text>,
    /// Path inside `from`; empty is its root.
    pub source: String,
    /// Where it appears.
    pub target: String,
    /// True for `ro`.
    pub readonly: bool,
    /// What several users at once get.
    pub sharing: Sharing,
    /// Mode of the directory when it is made; BuildKit's default is 0755.
    pub mode: u32,
    /// Owner when it is made.
    pub uid: u32,
    /// Group when it is made.
    pub gid: u32,
}

/// `sharing=` of a cache mount.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Sharing {
    /// All use the same directory at once.
    #[default]
    Shared,
    /// A second user at the same time gets a new directory.
    Private,
    /// A second user waits.
    Locked,
}

/// `type=tmpfs`
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TmpfsMount {
    /// Where it appears.
    pub target: String,
    /// Limit in bytes; `None` leaves it to the kernel.
    pub size_bytes: Option<u64>,
    /// True for `ro`.
    pub readonly: bool,
}

/// `type=secret`
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SecretMount {
    /// Name of the secret.
    pub id: String,
    /// The file, unless it is given as a variable only.
    pub target: Option<String>,
    /// The variable, if asked for; empty when the secret is absent and not required.
    pub env: Option<String>,
    /// True: absence fails the build with `secret <id>: not found`.
    pub required: bool,
    /// Mode of the file, 0400 unless given.
    pub mode: u32,
    /// Owner of the file.
    pub uid: u32,
    /// Group of the file.
    pub gid: u32,
}

/// `type=ssh`
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SshMount {
    /// Name of the agent, `default` unless given.
    pub id: String,
    /// The socket; `None` is `/run/buildkit/ssh_agent.N`, N counting the ssh mounts of the step.
    pub target: Option<String>,
    /// True: absence fails the build.
    pub required: bool,
    /// Mode of the socket, 0600 unless given.
    pub mode: u32,
    /// Owner of the socket.
    pub uid: u32,
    /// Group of the socket.
    pub gid: u32,
}

impl Mount {
    /// Cuts the value of a `--mount` flag into fields. Only `from` is judged now: it takes no variables.
    pub(super) fn parse(value: &Text) -> Result<Self, Diagnostic> {
        let fields = parse::comma_separated(&value.text).ok_or_else(|| {
            Diagnostic::error("mount", value.span, "invalid --mount: a quote must begin and end its field")
        })?;
        // With quotes or continuations inside the value, positions in it are not positions in the source.
        let is_plain = value.span.range().len() == value.text.len();
        let base = value.span.start as usize;
        let span = |start: usize, end: usize| match is_plain {
            true => Span::new(value.span.source, base + start..base + end),
            false => value.span,
        };
        let field = |word: parse::Word| {
            let whole = span(word.range.start, word.range.end);
            let (key, rest) = match word.text.split_once('=') {
                Some((key, rest)) => (key, Some(rest)),
                None => (word.text.as_str(), None),
            };
            let value_span = span(word.range.end - rest.map_or(0, str::len).min(word.range.len()), word.range.end);
            MountField {
                key: Text::new(key.to_lowercase(), whole),
                value: rest.map(|rest| Text::new(rest, value_span)),
            }
        };
        let mount = Self { span: value.span, fields: fields.into_iter().map(field).collect() };
        for from in
            mount.fields.iter().filter(|field| field.key.text == "from").filter_map(|field| field.value.as_ref())
        {
            if super::may_expand(&from.text) {
                let message = "'from' doesn't support variable expansion, define alias stage instead";
                return Err(Diagnostic::error("mount", from.span, message));
            }
        }
        Ok(mount)
    }

    /// Returns `from` as written, if given: the one value known before expansion.
    pub fn from(&self) -> Option<&Text> {
        let named = self.fields.iter().rev().find(|field| field.key.text == "from");
        named.and_then(|field| field.value.as_ref()).filter(|from| !from.text.is_empty())
    }

    /// Expands all values by `expand`, checks them, and makes targets absolute below `workdir`.
    ///
    /// Errors: whatever `expand` says, or a diagnostic at the field that is wrong.
    pub fn resolve(
        &self,
        workdir: &str,
        expand: &mut dyn FnMut(&Text) -> Result<String, Diagnostic>,
    ) -> Result<ResolvedMount, Diagnostic> {
        resolve::resolve(self, workdir, expand)
    }
}
