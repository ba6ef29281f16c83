//! Warnings about the request itself: what was given to the build, and nothing in it asks for.

use super::BuildRequest;
use crate::diag::{Diagnostic, Severity, nearest};
use crate::dockerfile::{Dockerfile, InstructionKind, parse_trigger};
use crate::source::{SourceId, Sources};

/// Arguments that are taken without an ARG, in capitals.
const UNDECLARED: [&str; 7] =
    ["HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY", "SOURCE_DATE_EPOCH", "TARGETSTAGE"];
/// What the automatic arguments of `TARGET` and `BUILD` end with.
const AUTOMATIC: [&str; 5] = ["PLATFORM", "OS", "ARCH", "VARIANT", "OSVERSION"];

/// Warns of build arguments that no ARG declares, be it in a trigger of a base image: `triggers` are their sources.
pub(super) fn unused_arguments(
    request: &BuildRequest,
    file: &Dockerfile,
    sources: &Sources,
    triggers: impl Iterator<Item = SourceId>,
) -> Option<Diagnostic> {
    let triggered: Vec<_> = triggers.filter_map(|id| parse_trigger(sources, id).ok()).collect();
    let kinds = file.instructions.iter().chain(&triggered).map(|instruction| &instruction.kind);
    let declared: Vec<&str> = kinds
        .filter_map(|kind| match kind {
            InstructionKind::Arg(declarations) => Some(declarations),
            _ => None,
        })
        .flatten()
        .map(|declaration| declaration.name.text.as_str())
        .collect();
    let is_known = |name: &str| {
        declared.contains(&name)
            || UNDECLARED.contains(&name.to_uppercase().as_str())
            || name.starts_with("BUILDKIT_")
            || ["TARGET", "BUILD"]
                .iter()
                .filter_map(|start| name.strip_prefix(start))
                .any(|end| AUTOMATIC.contains(&end))
    };
    let mut unused: Vec<&str> = request.build_args.iter().map(|(name, _)| name.as_str()).collect();
    unused.retain(|name| !is_known(name));
    unused.sort_unstable();
    unused.dedup();
    if unused.is_empty() {
        return None;
    }
    let message = format!("one or more build-args [{}] were not consumed", unused.join(", "));
    let mut warning = Diagnostic::whole_file("unused-build-arg", message);
    warning.severity = Severity::Warning;
    for name in unused {
        warning.help.push(match nearest(name, declared.iter().copied()) {
            Some(near) => format!("no ARG declares `{name}`: did you mean `{near}`?"),
            None => format!("no ARG declares `{name}`: add `ARG {name}` to the stage that uses it"),
        });
    }
    Some(warning)
}
