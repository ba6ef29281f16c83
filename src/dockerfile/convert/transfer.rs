//! COPY and ADD.

use std::collections::BTreeMap;

use crate::diag::Diagnostic;

use super::super::instruction::{Add, Copy, Heredoc, InstructionKind, Text, Transfer};
use super::super::may_expand;
use super::super::parse;
use super::Line;
use super::flags::{Flags, Holds};

impl Line<'_> {
    pub(super) fn copy(&self) -> Result<InstructionKind, Diagnostic> {
        let flags = self.flags(&[
            ("chmod", Holds::Text),
            ("chown", Holds::Text),
            ("exclude", Holds::Texts),
            ("from", Holds::Text),
            ("link", Holds::Boolean),
            ("parents", Holds::Boolean),
        ])?;
        let from = flags.text("from");
        if let Some(from) = from.as_ref().filter(|from| may_expand(&from.text)) {
            let message = "variable expansion is not supported for --from, \
                define a new stage with FROM using ARG from global scope as a workaround";
            return Err(Diagnostic::error("copy-from", from.span, message));
        }
        let parents = flags.boolean("parents").unwrap_or(false);
        let transfer = self.transfer(&flags)?;
        Ok(InstructionKind::Copy(Box::new(Copy { from, parents, transfer })))
    }

    pub(super) fn add(&self) -> Result<InstructionKind, Diagnostic> {
        let flags = self.flags(&[
            ("checksum", Holds::Text),
            ("chmod", Holds::Text),
            ("chown", Holds::Text),
            ("exclude", Holds::Texts),
            ("keep-git-dir", Holds::Boolean),
            ("link", Holds::Boolean),
            ("unpack", Holds::Boolean),
        ])?;
        Ok(InstructionKind::Add(Box::new(Add {
            checksum: flags.text("checksum"),
            keep_git_dir: flags.boolean("keep-git-dir"),
            unpack: flags.boolean("unpack"),
            transfer: self.transfer(&flags)?,
        })))
    }

    fn transfer(&self, flags: &Flags<'_>) -> Result<Transfer, Diagnostic> {
        let (mut words, is_json) = self.word_list()?;
        let destination = words.pop().filter(|_| !words.is_empty()).ok_or_else(|| {
            let message = "at least two arguments, but only one was provided. Destination could not be determined";
            self.requires(message)
        })?;
        // Of several heredocs with one name the last body counts for all: the last file of a name has it, and replaces
        // those before it, which are left empty.
        let mut bodies: BTreeMap<&str, Option<&Heredoc>> =
            self.heredocs.iter().map(|taken| (taken.heredoc.name.text.as_str(), Some(&taken.heredoc))).collect();
        if named(&destination).is_some_and(|name| bodies.contains_key(name.as_str())) {
            let message = format!("{} cannot accept a heredoc as a destination", self.name);
            return Err(Diagnostic::error("heredoc", destination.span, message));
        }
        let (mut sources, mut heredocs) = (Vec::new(), Vec::new());
        for word in words.into_iter().rev() {
            match named(&word) {
                Some(_) if is_json => {
                    let error = Diagnostic::error("heredoc", word.span, "a heredoc cannot stand in JSON form");
                    return Err(error.with_help("write the arguments without brackets"));
                }
                Some(name) if bodies.contains_key(name.as_str()) => {
                    let body = bodies.get_mut(name.as_str()).and_then(Option::take).cloned().unwrap_or_default();
                    heredocs.push(Heredoc { name: Text::new(name, word.span), ..body });
                }
                _ => sources.push(word),
            }
        }
        sources.reverse();
        heredocs.reverse();
        Ok(Transfer {
            chown: flags.text("chown"),
            chmod: flags.text("chmod"),
            link: flags.boolean("link").unwrap_or(false),
            exclude: flags.texts("exclude"),
            sources,
            heredocs,
            destination,
        })
    }
}

/// Returns the name in a word that looks like a heredoc.
fn named(word: &Text) -> Option<String> {
    parse::heredoc_word(&word.text).map(|found| found.name)
}
