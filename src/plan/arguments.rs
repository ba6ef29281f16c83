//! ARG values from outside a stage: build arguments, automatic ones, and the global ARGs before the first FROM.

use std::collections::BTreeMap;

use super::Options;
use crate::diag::Diagnostic;
use crate::dockerfile::expand::expand;
use crate::dockerfile::instruction::ArgDeclaration;
use crate::oci::Platform;
use crate::source::Span;

/// The proxy variables that need no declaration (rule 8.9).
const PROXIES: [&str; 5] = ["HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY"];

/// The time of what is made.
pub(super) const EPOCH: &str = "SOURCE_DATE_EPOCH";

/// Global ARGs and automatic ones, by name. What FROM lines see, and what a bare `ARG name` in a stage takes.
pub(super) type Globals = BTreeMap<String, String>;

/// Returns the automatic arguments (rule 8.10), build arguments laid over them.
pub(super) fn automatic(options: &Options, target_stage: &str) -> Globals {
    let mut values = Globals::new();
    for (prefix, platform) in [("TARGET", &options.platform), ("BUILD", &options.build_platform)] {
        let Platform { os, architecture, variant } = platform;
        values.insert(format!("{prefix}PLATFORM"), platform.to_string());
        values.insert(format!("{prefix}OS"), os.clone());
        values.insert(format!("{prefix}ARCH"), architecture.clone());
        values.insert(format!("{prefix}VARIANT"), variant.clone().unwrap_or_default());
        values.insert(format!("{prefix}OSVERSION"), String::new());
    }
    values.insert("TARGETSTAGE".to_owned(), target_stage.to_owned());
    for (name, value) in &mut values {
        if let Some(given) = options.build_args.get(name) {
            value.clone_from(given);
        }
    }
    values
}

/// How many bytes the values of a Dockerfile may come to: a variable put into another, again and again, would fill any
/// memory.
pub(super) const MOST_BYTES: usize = 64 << 20;

/// Says that the values come to more than [`MOST_BYTES`].
pub(super) fn too_many_bytes(span: Span) -> Diagnostic {
    let message = format!("the values of this Dockerfile come to more than {} MiB", MOST_BYTES >> 20);
    let error = Diagnostic::error("expansion", span, message);
    error.with_help("is a variable put into others again and again, or very many ports or arguments told of?")
}

/// Adds one global ARG line to the globals, left to right (rules 6.14, 8.4), up to a mistake. `room` is how many bytes
/// their values may still take.
pub(super) fn add_globals(
    globals: &mut Globals,
    room: &mut usize,
    declarations: &[ArgDeclaration],
    options: &Options,
    escape: char,
) -> Result<(), Diagnostic> {
    for declaration in declarations {
        let name = &declaration.name.text;
        let value = match (options.build_args.get(name), &declaration.default) {
            (Some(given), _) => Some(given.clone()),
            (None, Some(default)) => {
                let known = |name: &str| globals.get(name).cloned();
                Some(expand(&default.text, escape, &known).map_err(|error| error.at(default))?.text)
            }
            (None, None) => None,
        };
        if let Some(value) = value {
            *room = room.checked_sub(value.len()).ok_or_else(|| too_many_bytes(declaration.name.span))?;
            globals.insert(name.clone(), value);
        }
    }
    Ok(())
}

/// Whether an argument is one of them, in any case.
pub fn is_proxy(name: &str) -> bool {
    PROXIES.iter().any(|proxy| proxy.eq_ignore_ascii_case(name))
}

/// Returns the proxy variables of RUN, in capitals and in small letters, as given by build arguments in any case. Of two
/// spellings the one with more small letters counts; an empty value is none.
pub(super) fn proxies(options: &Options) -> Vec<(String, String)> {
    let mut variables = Vec::new();
    for name in PROXIES {
        let given = options.build_args.iter().rfind(|(given, _)| given.eq_ignore_ascii_case(name));
        if let Some((_, value)) = given.filter(|(_, value)| !value.is_empty()) {
            variables.push((name.to_owned(), value.clone()));
            variables.push((name.to_lowercase(), value.clone()));
        }
    }
    variables
}
