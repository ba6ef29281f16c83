//! Why a step was not in the cache: one line, which names the fact.
//!
//! The facts of the step are compared with those of the same step when the same was last built: they come from the walk that
//! makes the key, so an explanation cannot drift from what it explains. Values of variables are not told: some are secret.

use std::collections::BTreeSet;

use super::Inputs;
use crate::cache::{Difference, LastBuild, differences};
use crate::plan::{Step, StepId};

/// What explanations are made of.
pub(super) struct Explaining<'a> {
    /// The names of the steps of the build.
    pub(super) names: &'a [String],
    /// What they were; `None` when nothing is known of an earlier build.
    pub(super) last: Option<&'a LastBuild>,
}

/// What was found, or not, under the key of a step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Missed {
    /// Nobody asked.
    Ignored,
    /// A record, but not the layer it names.
    LayerGone,
    /// No record.
    NoRecord,
}

impl Explaining<'_> {
    /// Says why `step` has to be done. `facts` are those of its keys, of which one would have been enough; `files` is what is known
    /// of the files it copies.
    pub(super) fn why(
        &self,
        step: &Step,
        missed: Missed,
        inputs: &Inputs,
        facts: &[String],
        files: Option<String>,
    ) -> String {
        match missed {
            Missed::Ignored => return "the cache is not asked: --no-cache or --no-cache-filter".to_owned(),
            Missed::LayerGone => return "its layer is gone from the store: pruned, or damaged".to_owned(),
            Missed::NoRecord => {}
        }
        let Some(last) = self.last else {
            return "nothing is known of an earlier build of this".to_owned();
        };
        let Some(was) = last.step(&step.name) else {
            return "the last build of this had no such step".to_owned();
        };
        let all = facts.iter().map(|now| differences(&was.facts, now));
        let Some(found) = all.min_by_key(Vec::len) else { return String::new() };
        if found.is_empty() {
            return "it is what it was, but its record is gone: pruned, or the build that made it was stopped"
                .to_owned();
        }
        let words = |name: &str| name.split_once("] ").map_or(name, |(_, words)| words).to_owned();
        if words(&was.name) != words(&step.name) && !found.iter().all(|found| found.name.contains("layer")) {
            return format!("the instruction is another one; it was `{}`", words(&was.name));
        }
        let mut told = BTreeSet::new();
        let mut lines: Vec<String> = Vec::new();
        for found in &found {
            let line = match (&*found.name, &files) {
                ("content" | "mount-content", Some(files)) => files.clone(),
                ("layers" | "source-layers" | "mount-layers", _) => self.below(step, inputs, found),
                _ => of(found),
            };
            if told.insert(line.clone()) {
                lines.push(line);
            }
        }
        lines.join("; ")
    }

    /// Says which step it needs gave something else.
    fn below(&self, step: &Step, inputs: &Inputs, found: &Difference) -> String {
        let name = |id: &StepId| self.names.get(id.index()).map_or("", String::as_str);
        let all = step.op.inputs();
        let ran: Vec<String> =
            all.iter().filter(|id| !inputs.is_cached(**id)).map(|id| format!("`{}`", name(id))).collect();
        let image = all.iter().find(|id| inputs.is_image(**id)).map(name);
        match (&ran[..], image) {
            ([], Some(image)) => format!("`{image}` is another image than it was{}", self.image_was(image)),
            ([], None) if found.before.is_empty() => "it stands on a step now".to_owned(),
            ([], None) => "what it stands on is another cached result than last time".to_owned(),
            (ran, _) => format!("{} gave something else", ran.join(" and ")),
        }
    }

    fn image_was(&self, name: &str) -> String {
        let was = self.last.and_then(|last| last.step(name)).map(|was| &*was.name);
        was.filter(|was| *was != name).map(|was| format!(" (`{was}`)")).unwrap_or_default()
    }
}

/// A difference in words.
fn of(found: &Difference) -> String {
    let (before, now) = (found.before.join(" "), found.now.join(" "));
    let change = |what: &str| match (&*before, &*now) {
        ("", now) => format!("{what} is `{now}` now, and there was none"),
        (before, "") => format!("{what} was `{before}`, and there is none now"),
        (before, now) => format!("{what} is `{now}`, and was `{before}`"),
    };
    match &*found.name {
        "op" => "this version of kiln does it in another way".to_owned(),
        "env" => format!("{} of its environment changed", variables(found)),
        "content" | "mount-content" => "the files changed".to_owned(),
        "remote" => "what comes from the address changed".to_owned(),
        "argv" => "the command changed".to_owned(),
        "script" | "text" | "inline" => "the text of its heredoc changed".to_owned(),
        "cwd" => change("the working directory"),
        "user" => change("the user"),
        "host" => change("--add-host"),
        "time" => change("SOURCE_DATE_EPOCH"),
        "mount" | "target" | "access" | "mount-source" => change("a mount"),
        other => change(&format!("its {other}")),
    }
}

/// The names of the variables that differ.
fn variables(found: &Difference) -> String {
    let name = |pair: &String| pair.split('=').next().unwrap_or(pair).to_owned();
    let names: BTreeSet<String> = found.before.iter().chain(&found.now).map(name).collect();
    names.into_iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}
