//! Lint rules: what is legal, and probably not meant.
//!
//! [`RULES`] names every rule. Here are the checks that need only the text of the file: [`of_instructions`] those
//! about one instruction, [`of_stages`] those about all of them. The others are seen by `plan` (values, base images,
//! what a stage inherits) and by `builder` (the context). All report through [`warning`], so that `# check=skip=`
//! holds for all.
//!
//! Conditions and messages are BuildKit's.

mod rules;
mod text;

use crate::diag::{Diagnostic, edit_distance};
use crate::source::Span;

use super::Dockerfile;
use super::directive::{CheckOptions, Chosen};
use super::instruction::Instruction;

pub use rules::{RULES, Rule};
pub use text::{of_instructions, of_stages};

/// Makes the warning of a rule about `instruction`, unless the file's `# check=` directive, or one in the comments
/// right above the instruction, silences it. `rule` must be a name of [`RULES`].
pub fn warning(
    file: &Dockerfile,
    rule: &'static str,
    instruction: &Instruction,
    span: Span,
    message: impl Into<String>,
) -> Option<Diagnostic> {
    let rule = Rule::named(rule)?;
    let own = instruction.comments.iter().find_map(|comment| options_in(&comment.text));
    let own = own.filter(|_| rule.heeds_comments).and_then(|text| CheckOptions::parse(text).ok()).unwrap_or_default();
    speaks(rule, &file.directives.check, &own).then(|| {
        let mut warning = Diagnostic::warning(rule.name, span, message);
        warning.lines = Some(instruction.lines);
        warning.help.extend(rule.url());
        warning
    })
}

fn speaks(rule: &Rule, file: &CheckOptions, own: &CheckOptions) -> bool {
    if rule.is_experimental {
        file.experimental.has(rule.name) || own.experimental.has(rule.name)
    } else {
        !file.skip.has(rule.name) && !own.skip.has(rule.name)
    }
}

impl Chosen {
    fn has(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Named(names) => names.iter().any(|known| known == name),
        }
    }
}

/// Returns the options of a comment `check=...`, which end at a blank. A mistake in them is no reason to fail: it is
/// then only a comment.
fn options_in(comment: &str) -> Option<&str> {
    let (key, value) = comment.split_once('=')?;
    key.trim_end().eq_ignore_ascii_case("check").then(|| value.trim().split(' ').next().unwrap_or_default())
}

/// Returns ` (did you mean X?)` for the name nearest to `name`, `mark` before it; nothing when none is near. Other than
/// in [`crate::diag::nearest`] case counts, as it does for variables.
pub fn did_you_mean<'a>(name: &str, mark: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let scored = known.into_iter().map(|known| (edit_distance(name, known), known));
    match scored.min_by_key(|(distance, _)| *distance) {
        Some((1..3, near)) => format!(" (did you mean {mark}{near}?)"),
        _ => String::new(),
    }
}
