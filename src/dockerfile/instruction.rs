//! Typed instructions: what a Dockerfile says, checked, and with nothing expanded yet.
//!
//! Every word a user wrote is a [`Text`]: what it reads after continuations are joined, and where it stands.
//! Words that BuildKit expands (`$NAME`) are kept as written, quotes and all; `plan` expands them with the
//! environment of their stage by [`super::expand`]. What is never expanded (stage names, `--from`, exec
//! forms, `RUN` text) is final here.

use std::time::Duration;

use crate::source::Span;

use super::device::Device;
use super::mount::Mount;

/// A word or a stretch of a line, and the bytes it was read from.
///
/// The span may cover more than the text when a continuation or a removed quote lies inside.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Text {
    /// The characters, with continuations joined.
    pub text: String,
    /// Where they were written.
    pub span: Span,
}

impl Text {
    /// Takes `text`, written at `span`.
    pub fn new(text: impl Into<String>, span: Span) -> Self {
        Self { text: text.into(), span }
    }
}

/// One line of a comment block: the text after `#`, trimmed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Comment {
    /// The text without `#` and without blanks around it.
    pub text: String,
    /// The line, from `#` on.
    pub span: Span,
}

/// One instruction.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Instruction {
    /// The logical line: from the name to the last byte of its last physical line, without heredoc bodies.
    pub span: Span,
    /// All lines that were read for it, heredoc bodies and what ends them among them.
    pub lines: Span,
    /// The name, as bytes of the source; `sources.text(name_span)` is how it was written.
    pub name_span: Span,
    /// The name as written, for example `Run`.
    pub keyword_as_written: String,
    /// The logical line: continuations joined, comments inside removed, trimmed. For step names and history.
    pub original: String,
    /// The comments above, top first, back to an empty one or another instruction (descriptions, `check=skip=...`).
    pub comments: Vec<Comment>,
    /// The first blank line inside the continued instruction, if any (lint rule NoEmptyContinuation).
    pub blank_continuation: Option<Span>,
    /// What it says.
    pub kind: InstructionKind,
}

/// What an instruction says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum InstructionKind {
    /// `FROM [--platform=p] reference [AS name]`
    From(From),
    /// `ARG name[=default] ...`, at least one.
    Arg(Vec<ArgDeclaration>),
    /// `ENV key=value ...`
    Env(KeyValues),
    /// `LABEL key=value ...`
    Label(KeyValues),
    /// `RUN`
    Run(Box<Run>),
    /// `COPY`
    Copy(Box<Copy>),
    /// `ADD`
    Add(Box<Add>),
    /// `CMD`; an empty exec form clears the command.
    Cmd(CommandForm),
    /// `ENTRYPOINT`; an empty exec form clears the entrypoint.
    Entrypoint(CommandForm),
    /// `WORKDIR path`, to be expanded.
    Workdir(Text),
    /// `USER user[:group]`, to be expanded.
    User(Text),
    /// `EXPOSE port ...`: each word is expanded with [`super::expand::expand_words`], then read by [`super::port`].
    Expose(Vec<Text>),
    /// `VOLUME path ...`, each to be expanded.
    Volume(Vec<Text>),
    /// `STOPSIGNAL signal`, to be expanded, then checked by [`super::signal::check`].
    StopSignal(Text),
    /// `HEALTHCHECK`
    Healthcheck(Healthcheck),
    /// `SHELL ["program", "argument"...]`, at least one element, never expanded.
    Shell(Vec<String>),
    /// `ONBUILD instruction`
    OnBuild(OnBuild),
    /// `MAINTAINER name`, not expanded.
    Maintainer(Text),
}

/// A command line, as given to RUN, CMD, ENTRYPOINT and HEALTHCHECK CMD. Never expanded by the builder.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CommandForm {
    /// One string, to become the last argument of the current SHELL.
    Shell(String),
    /// The argument vector itself.
    Exec(Vec<String>),
}

/// `FROM`
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct From {
    /// `--platform`, to be expanded with global ARGs; not yet a platform.
    pub platform: Option<Text>,
    /// Image reference or stage name, to be expanded with global ARGs.
    pub reference: Text,
    /// The word `AS` as written (lint rule FromAsCasing).
    pub as_keyword: Option<Text>,
    /// The name after `AS`, valid and in lower case; never expanded.
    pub stage_name: Option<Text>,
}

/// One name of an `ARG` line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ArgDeclaration {
    /// The name as written; not empty, not expanded.
    pub name: Text,
    /// What follows `=`, to be expanded (quotes still there); `None` without `=`.
    pub default: Option<Text>,
    /// `name=default`
    pub span: Span,
}

/// What an `ENV` or `LABEL` line sets, in order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyValues {
    /// The pairs, at least one.
    pub pairs: Vec<KeyValue>,
    /// True for the old form `ENV key value` (lint rule LegacyKeyValueFormat).
    pub legacy: bool,
}

/// One `key=value`; both are to be expanded, quotes still there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyValue {
    /// Left of the first `=`.
    pub key: Text,
    /// Right of it.
    pub value: Text,
}

/// `RUN`
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Run {
    /// What to run. Heredocs are already in it: for `RUN <<EOF` this is the body (or the path of `script`),
    /// for other lines with heredocs it is the line and the bodies, for the shell to read.
    pub command: CommandForm,
    /// Where the command is written: from its first to its last byte, without flags.
    pub command_span: Span,
    /// Set for `RUN <<NAME` whose body starts with `#!`: a file that must exist while `command` runs.
    pub script: Option<Script>,
    /// `--mount`, in order; [`Mount::resolve`] makes them final.
    pub mounts: Vec<Mount>,
    /// `--network`
    pub network: Option<NetworkMode>,
    /// `--security`
    pub security: Option<SecurityMode>,
    /// `--device`, in order; see [`super::frontend::check_devices`].
    pub devices: Vec<Device>,
    /// The heredocs as written, for step names and `--check`.
    pub heredocs: Vec<Heredoc>,
}

/// A file that RUN needs: mounted read-only, mode 0755, owner 0:0, in no layer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Script {
    /// Absolute path, `/dev/pipes/NAME`; the command is this path.
    pub path: String,
    /// The content, starting with `#!`.
    pub body: String,
}

/// `RUN --network`
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum NetworkMode {
    /// The build's network.
    #[default]
    Default,
    /// Only a loopback device.
    None,
    /// The network of the host; needs an entitlement.
    Host,
}

/// `RUN --security`
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum SecurityMode {
    /// As every step.
    #[default]
    Sandbox,
    /// With all capabilities; needs an entitlement.
    Insecure,
}

/// A heredoc with its body.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Heredoc {
    /// The delimiter without its quotes; the span is the whole word, `<<'EOF'`.
    pub name: Text,
    /// The lines of the body with their endings; after `<<-` leading tabs are removed.
    pub body: String,
    /// Where the body stands.
    pub body_span: Span,
    /// True when the delimiter has no quotes: COPY and ADD expand the body by [`super::expand::expand_heredoc`].
    pub expand: bool,
}

/// What COPY and ADD share.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Transfer {
    /// `--chown`, to be expanded; empty after expansion means none.
    pub chown: Option<Text>,
    /// `--chmod`, to be expanded, then read by [`super::chmod::Chmod::parse`].
    pub chmod: Option<Text>,
    /// `--link`
    pub link: bool,
    /// `--exclude`, in order; patterns of the ignore language, never expanded.
    pub exclude: Vec<Text>,
    /// Paths, wildcards, and for ADD also URLs; each to be expanded. Without heredocs.
    pub sources: Vec<Text>,
    /// Files given in place; copied after all `sources`, in order, each with its (perhaps expanded) body.
    pub heredocs: Vec<Heredoc>,
    /// The last word, to be expanded.
    pub destination: Text,
}

/// `COPY`
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Copy {
    /// `--from`: stage name, stage number or image; never expanded. `None` is the build context.
    pub from: Option<Text>,
    /// `--parents`
    pub parents: bool,
    /// The rest.
    pub transfer: Transfer,
}

/// `ADD`
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Add {
    /// `--checksum`, to be expanded.
    pub checksum: Option<Text>,
    /// `--keep-git-dir`; `None` when not given.
    pub keep_git_dir: Option<bool>,
    /// `--unpack`; `None` when not given: local archives are unpacked, downloads are not.
    pub unpack: Option<bool>,
    /// The rest.
    pub transfer: Transfer,
}

/// `HEALTHCHECK`
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Healthcheck {
    /// `HEALTHCHECK NONE`
    None,
    /// `HEALTHCHECK CMD ...`
    Command(HealthcheckCommand),
}

/// `HEALTHCHECK [options] CMD command`. A zero duration means it was not given (or given as zero, which is the same).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HealthcheckCommand {
    /// A shell form is stored as `CMD-SHELL` and ignores SHELL.
    pub command: CommandForm,
    /// `--interval`
    pub interval: Duration,
    /// `--timeout`
    pub timeout: Duration,
    /// `--start-period`
    pub start_period: Duration,
    /// `--start-interval`
    pub start_interval: Duration,
    /// `--retries`
    pub retries: u32,
}

/// `ONBUILD`
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OnBuild {
    /// What the image's config stores: the rest of the logical line, and the heredoc bodies with their terminators.
    /// [`super::parse_trigger`] reads it in the child.
    pub text: String,
    /// Where the trigger is written, without bodies.
    pub span: Span,
}

impl Instruction {
    /// Returns what the comments directly above say of `name`, a stage or an ARG: the rest of the line `# name rest`.
    pub fn description_of(&self, name: &str) -> Option<&str> {
        let mut texts = self.comments.iter().map(|comment| comment.text.as_str());
        texts.find_map(|text| text.strip_prefix(name)?.strip_prefix(' '))
    }
}

impl InstructionKind {
    /// Returns the name in capitals, for example `RUN`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::From(_) => "FROM",
            Self::Arg(_) => "ARG",
            Self::Env(_) => "ENV",
            Self::Label(_) => "LABEL",
            Self::Run(_) => "RUN",
            Self::Copy(_) => "COPY",
            Self::Add(_) => "ADD",
            Self::Cmd(_) => "CMD",
            Self::Entrypoint(_) => "ENTRYPOINT",
            Self::Workdir(_) => "WORKDIR",
            Self::User(_) => "USER",
            Self::Expose(_) => "EXPOSE",
            Self::Volume(_) => "VOLUME",
            Self::StopSignal(_) => "STOPSIGNAL",
            Self::Healthcheck(_) => "HEALTHCHECK",
            Self::Shell(_) => "SHELL",
            Self::OnBuild(_) => "ONBUILD",
            Self::Maintainer(_) => "MAINTAINER",
        }
    }
}
