//! What `--check` and `--call` print on standard output.

use serde_json::{Value, json};

use super::table::Table;
use crate::builder::{CallReport, OutlineDescription, TargetDescription};
use crate::diag::{Diagnostic, Severity, render};
use crate::source::{Sources, Span};

/// A report as text.
pub(super) struct Description {
    /// What to print, with a final newline.
    pub(super) text: String,
    /// Whether it is about something wrong, so that the exit code says so.
    pub(super) found_something: bool,
}

/// Writes a report as text for people, or as JSON.
pub(super) fn describe(report: &CallReport, sources: &Sources, as_json: bool) -> Description {
    let found_something = matches!(report, CallReport::Check { diagnostics, .. } if !diagnostics.is_empty());
    let text = match (report, as_json) {
        (CallReport::Check { diagnostics, .. }, false) => findings(diagnostics, sources),
        (CallReport::Check { diagnostics, .. }, true) => pretty(&findings_json(diagnostics, sources)),
        (CallReport::Outline(outline), false) => outline_text(outline),
        (CallReport::Outline(outline), true) => pretty(&outline_json(outline)),
        (CallReport::Targets(targets), false) => targets_text(targets),
        (CallReport::Targets(targets), true) => pretty(&targets_json(targets)),
    };
    Description { text, found_something }
}

fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}

fn findings(diagnostics: &[Diagnostic], sources: &Sources) -> String {
    let count = match diagnostics.len() {
        0 => return "Check complete, no warnings found.\n".to_owned(),
        1 => "1 warning has been found!".to_owned(),
        count => format!("{count} warnings have been found!"),
    };
    let frames: String = diagnostics.iter().map(|found| format!("\n{}", render(found, sources, false))).collect();
    format!("Check complete, {count}\n{frames}")
}

/// BuildKit's `lint.LintResults`, as far as it has a meaning here.
fn findings_json(diagnostics: &[Diagnostic], sources: &Sources) -> Value {
    let one = |found: &Diagnostic| {
        let location = found.span.map(|span| location(span, sources));
        json!({
            "ruleName": found.code,
            "level": if found.severity == Severity::Error { "error" } else { "warning" },
            "detail": found.message,
            "help": found.help,
            "location": location,
        })
    };
    json!({ "warnings": diagnostics.iter().map(one).collect::<Vec<_>>() })
}

fn location(span: Span, sources: &Sources) -> Value {
    let file = sources.get(span.source);
    let place = |offset| json!({ "line": file.line_of(offset), "character": file.column_of(offset) - 1 });
    json!({ "filename": file.name(), "ranges": [{ "start": place(span.start), "end": place(span.end) }] })
}

fn outline_text(outline: &OutlineDescription) -> String {
    let mut text = String::new();
    if !outline.name.is_empty() {
        text.push_str(&format!("TARGET:      {}\n", outline.name));
    }
    if !outline.description.is_empty() {
        text.push_str(&format!("DESCRIPTION: {}\n", outline.description));
    }
    let mut add = |table: Table| {
        if !table.is_empty() {
            if !text.is_empty() {
                text.push('\n');
            }
            text.push_str(&table.to_string());
        }
    };
    let mut arguments = Table::new(&["BUILD ARG", "VALUE", "DESCRIPTION"]);
    for argument in &outline.args {
        arguments.row([&argument.name, &argument.value, &argument.description]);
    }
    add(arguments);
    for (heading, mounts) in [("SECRET", &outline.secrets), ("SSH", &outline.ssh)] {
        let mut table = Table::new(&[heading, "REQUIRED"]);
        for (id, required) in mounts {
            table.row([id.as_str(), if *required { "true" } else { "" }]);
        }
        add(table);
    }
    let mut caches = Table::new(&["CACHE MOUNT"]);
    for id in &outline.caches {
        caches.row([id]);
    }
    add(caches);
    text
}

fn outline_json(outline: &OutlineDescription) -> Value {
    let mounts = |all: &[(String, bool)]| -> Vec<Value> {
        all.iter().map(|(id, required)| json!({ "name": id, "required": required })).collect()
    };
    let arguments: Vec<Value> = outline
        .args
        .iter()
        .map(|one| json!({ "name": one.name, "value": one.value, "description": one.description }))
        .collect();
    json!({
        "name": outline.name,
        "description": outline.description,
        "args": arguments,
        "secrets": mounts(&outline.secrets),
        "ssh": mounts(&outline.ssh),
        "cache": outline.caches.iter().map(|id| json!({ "ID": id })).collect::<Vec<_>>(),
    })
}

fn targets_text(targets: &[TargetDescription]) -> String {
    let mut table = Table::new(&["TARGET", "DESCRIPTION"]);
    for target in targets {
        let name = match (target.name.as_str(), target.default) {
            ("", true) => "(default)".to_owned(),
            ("", false) => continue,
            (name, true) => format!("{name} (default)"),
            (name, false) => name.to_owned(),
        };
        table.row([name.as_str(), &target.description]);
    }
    table.to_string()
}

fn targets_json(targets: &[TargetDescription]) -> Value {
    let one = |target: &TargetDescription| {
        json!({
            "name": target.name,
            "default": target.default,
            "description": target.description,
            "base": target.base,
        })
    };
    json!({ "targets": targets.iter().map(one).collect::<Vec<_>>() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builder::ArgumentDescription;
    use crate::source::{SourceFile, SourceId};

    #[test]
    fn findings_are_counted_and_shown() {
        let mut sources = Sources::default();
        sources.add(SourceFile::new("Dockerfile", "FROM a AS Up\n"));
        let check = |diagnostics| CallReport::Check { diagnostics, error: false };
        let none = describe(&check(vec![]), &sources, false);
        assert_eq!((none.text.as_str(), none.found_something), ("Check complete, no warnings found.\n", false));

        let span = Span::new(SourceId(0), 10..12);
        let found = Diagnostic::warning("StageNameCasing", span, "stage name `Up` should be lower case");
        let one = describe(&check(vec![found.clone()]), &sources, false);
        let want = "\
Check complete, 1 warning has been found!

warning[StageNameCasing]: stage name `Up` should be lower case
 --> Dockerfile:1:11
1 | FROM a AS Up
  |           ^^
";
        assert_eq!((one.text.as_str(), one.found_something), (want, true));
        let json: Value = serde_json::from_str(&describe(&check(vec![found]), &sources, true).text).unwrap();
        assert_eq!(json["warnings"][0]["ruleName"], "StageNameCasing");
        assert_eq!(json["warnings"][0]["location"]["ranges"][0]["start"]["character"], 10);
    }

    #[test]
    fn a_target_and_its_inputs() {
        let argument = |name: &str, value: &str, description: &str| ArgumentDescription {
            name: name.to_owned(),
            value: value.to_owned(),
            description: description.to_owned(),
        };
        let outline = OutlineDescription {
            name: "app".to_owned(),
            description: "builds the app".to_owned(),
            args: vec![argument("GO", "1.24", "the compiler"), argument("X", "", "")],
            secrets: vec![("token".to_owned(), true)],
            ssh: vec![],
            caches: vec!["/root/.cache".to_owned()],
        };
        let want = "\
TARGET:      app
DESCRIPTION: builds the app

BUILD ARG   VALUE   DESCRIPTION
GO          1.24    the compiler
X

SECRET   REQUIRED
token    true

CACHE MOUNT
/root/.cache
";
        assert_eq!(describe(&CallReport::Outline(outline), &Sources::default(), false).text, want);
    }

    #[test]
    fn targets_are_listed() {
        let target = |name: &str, default| TargetDescription {
            name: name.to_owned(),
            base: "alpine".to_owned(),
            description: "d".to_owned(),
            default,
        };
        let all = CallReport::Targets(vec![target("a", false), target("", false), target("b", true)]);
        let want = "TARGET        DESCRIPTION\na             d\nb (default)   d\n";
        assert_eq!(describe(&all, &Sources::default(), false).text, want);
    }
}
