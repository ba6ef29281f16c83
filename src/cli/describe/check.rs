//! `--call=check`: BuildKit's `frontend.lint`.

use std::fmt::Write as _;

use serde::Serialize;

use super::super::report::excerpt;
use super::{Location, dockerfile, in_base64, pretty};
use crate::builder::BuildFailure;
use crate::diag::{Diagnostic, render};
use crate::dockerfile::lint::Rule;
use crate::source::{Sources, Span};

#[derive(Serialize)]
struct Results<'a> {
    /// `null` when there is none.
    warnings: Option<Vec<Warning>>,
    sources: [Source<'a>; 1],
    #[serde(rename = "buildError", skip_serializing_if = "Option::is_none")]
    build_error: Option<BuildError>,
}

#[derive(Serialize)]
struct Warning {
    #[serde(rename = "ruleName")]
    rule_name: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    detail: String,
    location: Location,
}

#[derive(Serialize)]
struct Source<'a> {
    filename: &'a str,
    data: String,
    language: &'static str,
}

#[derive(Serialize)]
struct BuildError {
    message: String,
    location: Location,
}

fn lines(diagnostic: &Diagnostic) -> Option<Span> {
    diagnostic.lines.or(diagnostic.span)
}

pub(super) fn json(warnings: &[Diagnostic], error: Option<&BuildFailure>, sources: &Sources) -> String {
    let warning = |found: &Diagnostic| {
        let rule = Rule::named(found.code);
        Warning {
            rule_name: found.code,
            description: rule.map(|rule| rule.description),
            url: rule.and_then(Rule::url),
            detail: found.message.clone(),
            location: Location::of(lines(found), sources),
        }
    };
    let file = dockerfile(sources);
    let warnings: Vec<Warning> = warnings.iter().map(warning).collect();
    pretty(&Results {
        warnings: Some(warnings).filter(|warnings| !warnings.is_empty()),
        sources: [Source { filename: file.name(), data: in_base64(file), language: "Dockerfile" }],
        build_error: error.map(|failure| BuildError {
            message: failure.to_string(),
            location: Location::of(failure.diagnostics.first().and_then(lines), sources),
        }),
    })
}

/// By line; those of one line in the order of their checks.
pub(super) fn text(warnings: &[Diagnostic], failed: bool, sources: &Sources) -> String {
    let mut sorted: Vec<&Diagnostic> = warnings.iter().collect();
    sorted.sort_by_key(|found| lines(found).map(|span| sources.get(span.source).line_of(span.start)));
    let mut out = match sorted.len() {
        0 if failed => return String::new(),
        0 => return "Check complete, no warnings found.\n".to_owned(),
        1 => "Check complete, 1 warning has been found!\n".to_owned(),
        count => format!("Check complete, {count} warnings have been found!\n"),
    };
    for found in sorted {
        let url = Rule::named(found.code).and_then(Rule::url).map(|url| format!(" - {url}")).unwrap_or_default();
        let _ = write!(out, "\nWARNING: {}{url}\n{}\n", found.code, found.message);
        out.extend(lines(found).map(|span| excerpt(sources, span)));
    }
    if failed {
        out.push('\n');
    }
    out
}

/// All mistakes with their frames, then the first one as buildx tells it.
pub(super) fn error(failure: &BuildFailure, sources: &Sources, color: bool) -> String {
    let frames = failure.diagnostics.iter().map(|found| render(found, sources, color) + "\n");
    let place = failure.diagnostics.first().and_then(lines).map(|span| excerpt(sources, span));
    format!("{}ERROR: {failure}\n{}", frames.collect::<String>(), place.unwrap_or_default())
}
