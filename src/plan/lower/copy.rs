//! COPY and ADD: sources and destination, expanded.

use std::collections::BTreeMap;

use super::super::graph::{AddOptions, CopyOp, CopySource, Op, Tree};
use super::super::path;
use super::{Lowering, Place, StageState};
use crate::context::{GitAddress, GitAddressError, without_credentials};
use crate::diag::Diagnostic;
use crate::dockerfile::chmod::Chmod;
use crate::dockerfile::expand::expand_heredoc;
use crate::dockerfile::instruction::{Add, Copy, Transfer};
use crate::dockerfile::{Instruction, Text};
use crate::source::Span;

/// What a history entry shows of the flags (rule 11.20).
#[derive(Default)]
struct Shown {
    flags: Vec<String>,
    words: Vec<String>,
}

impl Lowering<'_> {
    pub(super) fn copy(
        &mut self,
        state: StageState,
        copy: &Copy,
        instruction: &Instruction,
        place: &mut Place<'_>,
        finished: &BTreeMap<usize, StageState>,
    ) -> Result<StageState, Diagnostic> {
        let from = self.tree(copy.from.as_ref(), true, place, finished)?;
        let mut shown = Shown::default();
        if copy.parents {
            shown.flags.push("--parents".to_owned());
        }
        let mut op = self.transfer(&state, &copy.transfer, from, &mut shown)?;
        op.parents = copy.parents;
        for source in &op.sources {
            if let CopySource::Path { path, span } = source {
                refuse_remote(path, *span)?;
                if op.from == Tree::Context(None) {
                    self.check_ignored(path, false, *span);
                }
            }
        }
        Ok(self.transferred(state, "COPY", op, shown, instruction, place))
    }

    pub(super) fn add(
        &mut self,
        state: StageState,
        add: &Add,
        instruction: &Instruction,
        place: &mut Place<'_>,
    ) -> Result<StageState, Diagnostic> {
        let mut shown = Shown::default();
        let mut op = self.transfer(&state, &add.transfer, Tree::Context(None), &mut shown)?;
        let checksum = match &add.checksum {
            None => None,
            Some(text) => Some((self.expand(&state.scope, text)?, text.span)).filter(|(text, _)| !text.is_empty()),
        };
        let flags = (add.keep_git_dir, checksum.as_ref().map(|(text, _)| text.as_str()));
        op.sources = op.sources.into_iter().map(|source| remote(source, flags)).collect::<Result<_, _>>()?;
        for source in &op.sources {
            if let CopySource::Path { path, span } = source {
                self.check_ignored(path, true, *span);
            }
        }
        if let Some((_, span)) = &checksum {
            check_checksum(&op.sources, *span)?;
        }
        let of_url = matches!(op.sources.as_slice(), [CopySource::Url { .. }]);
        let checksum = checksum.map(|(text, _)| text).filter(|_| of_url);
        op.add = Some(AddOptions { unpack: add.unpack, checksum });
        Ok(self.transferred(state, "ADD", op, shown, instruction, place))
    }

    fn transfer(
        &mut self,
        state: &StageState,
        transfer: &Transfer,
        from: Tree,
        shown: &mut Shown,
    ) -> Result<CopyOp, Diagnostic> {
        let chown = self.flag(state, transfer.chown.as_ref(), "--chown", shown)?;
        let chmod_text = self.flag(state, transfer.chmod.as_ref(), "--chmod", shown)?;
        let chmod = match (&transfer.chmod, chmod_text) {
            (Some(written), Some(text)) => Some(
                Chmod::parse(&text)
                    .map_err(|error| Diagnostic::error("invalid-chmod", written.span, error.to_string()))?,
            ),
            _ => None,
        };
        let mut sources = Vec::new();
        for source in &transfer.sources {
            let path = self.expand(&state.scope, source)?;
            shown.words.push(without_credentials(&path));
            sources.push(CopySource::Path { path, span: source.span });
        }
        for heredoc in &transfer.heredocs {
            let text = if heredoc.expand {
                let body = self.expand_with(&state.scope, &heredoc.name, |env| expand_heredoc(&heredoc.body, env))?;
                self.note_undefined(&state.scope, &body.undefined, heredoc.body_span);
                self.take_room(body.text.len(), heredoc.body_span)?;
                body.text
            } else {
                heredoc.body.clone()
            };
            shown.words.push(format!("<<{}", heredoc.name.text));
            sources.push(CopySource::Inline { name: heredoc.name.text.clone(), text });
        }
        let destination = self.expand(&state.scope, &transfer.destination)?;
        shown.words.push(destination.clone());
        Ok(CopyOp {
            parent: state.root,
            from,
            sources,
            destination: path::destination(state.workdir(), &destination),
            chown,
            chmod,
            // With --chmod BuildKit copies as if --link were not there (rule 11.19).
            link: transfer.link && transfer.chmod.is_none(),
            parents: false,
            exclude: transfer.exclude.iter().map(|pattern| pattern.text.clone()).collect(),
            add: None,
        })
    }

    /// Expands a flag; empty means none.
    fn flag(
        &mut self,
        state: &StageState,
        value: Option<&Text>,
        name: &str,
        shown: &mut Shown,
    ) -> Result<Option<String>, Diagnostic> {
        let Some(value) = value else { return Ok(None) };
        let text = self.expand(&state.scope, value)?;
        if text.is_empty() {
            return Ok(None);
        }
        shown.flags.push(format!("{name}={text}"));
        Ok(Some(text))
    }

    fn transferred(
        &mut self,
        state: StageState,
        keyword: &str,
        op: CopyOp,
        shown: Shown,
        instruction: &Instruction,
        place: &mut Place<'_>,
    ) -> StageState {
        let words: Vec<String> = shown.flags.into_iter().chain(shown.words).collect();
        let created_by = format!("{keyword} {} # buildkit", words.join(" "));
        let step = self.step(place, instruction, Op::Copy(op));
        state.with_layer(created_by, step)
    }
}

/// Returns the op that copies `path` of a tree into an empty filesystem, under the same path.
pub(super) fn whole(from: Tree, path: &str, span: Span) -> CopyOp {
    let path = path.to_owned();
    let source = if path == "/" { CopySource::Path { path, span } } else { CopySource::InPlace { path, span } };
    CopyOp {
        parent: None,
        from,
        sources: vec![source],
        destination: "/".to_owned(),
        chown: None,
        chmod: None,
        link: false,
        parents: false,
        exclude: Vec::new(),
        add: None,
    }
}

fn is_url(path: &str) -> bool {
    path.starts_with("http://") || path.starts_with("https://")
}

/// Tells what a source of ADD is (12.4, 12.6). `flags` are `--keep-git-dir` and `--checksum`.
pub(in super::super) fn remote(
    source: CopySource,
    flags: (Option<bool>, Option<&str>),
) -> Result<CopySource, Diagnostic> {
    let CopySource::Path { path, span } = source else { return Ok(source) };
    let wrong = |error: GitAddressError| Diagnostic::error("git-address", span, error.to_string());
    Ok(match GitAddress::parse(&path).map_err(wrong)? {
        Some(address) => {
            let address = Box::new(address.with_flags(flags.0, flags.1).map_err(wrong)?);
            CopySource::Git { address, shown: without_credentials(&path), span }
        }
        None if is_url(&path) => CopySource::Url { url: path, span },
        None => CopySource::Path { path, span },
    })
}

/// Rule 11.21.
fn refuse_remote(path: &str, span: Span) -> Result<(), Diagnostic> {
    let what = match path {
        path if GitAddress::is_address(path) => "git ref",
        path if is_url(path) => "URL",
        _ => return Ok(()),
    };
    Err(Diagnostic::error("remote-source", span, format!("source can't be a {what} for COPY")).with_help("use ADD"))
}

/// Rule 12.5.
fn check_checksum(sources: &[CopySource], span: Span) -> Result<(), Diagnostic> {
    let refuse = |message: &str| Err(Diagnostic::error("checksum", span, message));
    match sources {
        [CopySource::Url { .. } | CopySource::Git { .. }] => Ok(()),
        [_] => refuse("checksum requires HTTP(S) or Git sources"),
        _ => refuse("checksum can't be specified for multiple sources"),
    }
}
