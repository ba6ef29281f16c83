//! Parser directives: `# syntax=`, `# escape=`, `# check=` at the very top.
//!
//! They are looked for from the first line on; the first line that is no known directive ends the search.
//! What `syntax` asks for is the business of [`super::frontend`].

use std::ops::Range;

use crate::diag::Diagnostic;
use crate::source::{SourceId, Span};

use super::parse;

/// What the directives say.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Directives {
    /// `# escape=`: a backslash or a backtick.
    pub escape: char,
    /// `# check=`
    pub check: CheckOptions,
}

impl Default for Directives {
    fn default() -> Self {
        Self { escape: '\\', check: CheckOptions::default() }
    }
}

/// Which lint rules speak, and whether they end the build.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CheckOptions {
    /// Rules not to report; `all` is every rule.
    pub skip: Vec<String>,
    /// True: a violation fails the build.
    pub error: bool,
    /// Experimental rules to report; `all` is every one.
    pub experimental: Vec<String>,
}

/// Why `check=` options cannot be read.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CheckOptionsError {
    /// A part that is none of `skip=`, `error=` and `experimental=`.
    #[error("failed to parse check options: invalid check option \"{0}\"")]
    Unknown(String),
    /// More parts than there are options.
    #[error("failed to parse check options: too many parts in \"{0}\"")]
    TooMany(String),
    /// `error=` is neither true nor false.
    #[error("failed to parse check options: error is neither true nor false: \"{0}\"")]
    NotBoolean(String),
}

impl CheckOptions {
    /// Reads `skip=a,b;error=true;experimental=c`, the value of the directive and of the option that replaces it.
    pub fn parse(text: &str) -> Result<Self, CheckOptionsError> {
        let mut options = Self::default();
        if text.trim().is_empty() {
            return Ok(options);
        }
        let parts: Vec<&str> = text.split(';').map(str::trim).collect();
        if parts.len() > 3 {
            return Err(CheckOptionsError::TooMany(text.to_owned()));
        }
        for part in parts {
            let unknown = |what: &str| CheckOptionsError::Unknown(what.to_owned());
            let (key, value) = part.split_once('=').ok_or_else(|| unknown(part))?;
            let names = || value.split(',').map(|name| name.trim().to_owned()).filter(|name| !name.is_empty());
            match key.trim() {
                "skip" => options.skip = names().collect(),
                "experimental" => options.experimental = names().collect(),
                "error" => {
                    let not_boolean = || CheckOptionsError::NotBoolean(value.to_owned());
                    options.error = boolean(value.trim()).ok_or_else(not_boolean)?;
                }
                key => return Err(unknown(key)),
            }
        }
        Ok(options)
    }
}

/// Reads a boolean as Go's `strconv` does.
pub(super) fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// A line that is a directive.
pub(super) struct Found {
    pub(super) name: &'static str,
    /// The name as written.
    key: Range<usize>,
    /// Without blanks around it.
    pub(super) value: Range<usize>,
    /// Where the next line begins.
    end: usize,
}

/// Finds the directives at the top of `text[start..]`, in lines that begin with the sign of a comment.
pub(super) fn known(text: &str, start: usize, comment: &str) -> impl Iterator<Item = Found> {
    let mut end = start;
    text[start..].split_inclusive('\n').map_while(move |line| {
        let at = end;
        end += line.len();
        let (key, value) = parse::directive(line).filter(|_| line.trim_start().starts_with(comment))?;
        let name =
            ["syntax", "escape", "check"].into_iter().find(|known| known.eq_ignore_ascii_case(&line[key.clone()]))?;
        Some(Found { name, key: at + key.start..at + key.end, value: at + value.start..at + value.end, end })
    })
}

/// Where directives may begin, behind a byte order mark and the first line of a script, and whether it is a script.
pub(super) fn start(text: &str) -> (usize, bool) {
    let rest = text.strip_prefix('\u{feff}').unwrap_or(text);
    let is_script = rest.starts_with("#!");
    let first_line = if is_script { rest.split_inclusive('\n').next().map_or(0, str::len) } else { 0 };
    (text.len() - rest.len() + first_line, is_script)
}

/// Reads the directives of `text`, and says where the first line after them begins. In a script `escape` is but a
/// comment.
pub(super) fn read(source: SourceId, text: &str, diagnostics: &mut Vec<Diagnostic>) -> (Directives, usize) {
    let mut directives = Directives::default();
    let mut seen: Vec<&'static str> = Vec::new();
    let (mut at, is_script) = start(text);
    for Found { name, key, value, end } in known(text, at, "#") {
        at = end;
        if is_script && name == "escape" {
            continue;
        }
        let error = |span, message| Diagnostic::error("directive", Span::new(source, span), message);
        if seen.contains(&name) {
            diagnostics.push(error(key, format!("only one {name} parser directive can be used")));
        } else if let Err(message) = directives.set(name, &text[value.clone()]) {
            diagnostics.push(error(value, message));
        }
        seen.push(name);
    }
    (directives, at)
}

impl Directives {
    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        match (name, value) {
            ("syntax", _) => {}
            ("escape", "\\") => self.escape = '\\',
            ("escape", "`") => self.escape = '`',
            ("escape", other) => return Err(format!("invalid escape token '{other}' does not match ` or \\")),
            (_, text) => self.check = CheckOptions::parse(text).map_err(|error| error.to_string())?,
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, escape: char, rest: &str, problem: Option<&str>) {
        let mut diagnostics = Vec::new();
        let (directives, at) = read(SourceId(0), text, &mut diagnostics);
        assert_eq!((directives.escape, &text[at..]), (escape, rest));
        assert_eq!(diagnostics.first().map(|found| found.message.as_str()), problem);
    }

    #[test]
    fn directives_end_at_the_first_other_line() {
        check("\u{feff}#  EsCape = ` \r\n# Check=skip=all\nFROM x", '`', "FROM x", None);
        check("# hello\n# escape=`\n", '\\', "# hello\n# escape=`\n", None);
        check("\n# escape=`\n", '\\', "\n# escape=`\n", None);
        check("# syntax=a/b:1\n# other=x\n# escape=`", '\\', "# other=x\n# escape=`", None);
        check("#!/usr/bin/x\n# syntax=a\n# escape=`\nFROM b", '\\', "FROM b", None);
    }

    #[test]
    fn mistakes() {
        check("# escape=x\n", '\\', "", Some("invalid escape token 'x' does not match ` or \\"));
        check("# escape=`\n# escape=`\n", '`', "", Some("only one escape parser directive can be used"));
        let options = CheckOptions::parse("foo").expect_err("unknown");
        assert_eq!(options.to_string(), "failed to parse check options: invalid check option \"foo\"");
    }

    #[test]
    fn check_options() {
        let options = CheckOptions::parse("skip=A, B;error=true;experimental=all").expect("valid");
        assert_eq!(options.skip, ["A", "B"]);
        assert!(options.error);
        assert_eq!(options.experimental, ["all"]);
    }
}
