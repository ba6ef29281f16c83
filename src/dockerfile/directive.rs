//! Parser directives: `# syntax=`, `# escape=`, `# check=` at the very top.
//!
//! They are looked for from the first line on; the first line that is no known directive ends the search.

use crate::diag::Diagnostic;
use crate::source::{SourceId, Span};

use super::instruction::Text;
use super::parse;

/// What the directives say.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Directives {
    /// `# syntax=`: the frontend asked for, as written; kiln is the frontend, so it is shown but not followed.
    pub syntax: Option<Text>,
    /// `# escape=`: a backslash or a backtick.
    pub escape: char,
    /// `# check=`
    pub check: CheckOptions,
}

impl Default for Directives {
    fn default() -> Self {
        Self { syntax: None, escape: '\\', check: CheckOptions::default() }
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
        let parts: Vec<&str> = text.split(';').map(str::trim).filter(|part| !part.is_empty()).collect();
        if parts.len() > 3 {
            return Err(CheckOptionsError::TooMany(text.to_owned()));
        }
        for part in parts {
            let unknown = || CheckOptionsError::Unknown(part.to_owned());
            let (key, value) = part.split_once('=').ok_or_else(unknown)?;
            let names = || value.split(',').map(|name| name.trim().to_owned()).filter(|name| !name.is_empty());
            match key.trim() {
                "skip" => options.skip = names().collect(),
                "experimental" => options.experimental = names().collect(),
                "error" => {
                    let not_boolean = || CheckOptionsError::NotBoolean(value.to_owned());
                    options.error = boolean(value.trim()).ok_or_else(not_boolean)?;
                }
                _ => return Err(unknown()),
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

/// Reads the directives of `text`, and says where the first line after them begins.
pub(super) fn read(source: SourceId, text: &str, diagnostics: &mut Vec<Diagnostic>) -> (Directives, usize) {
    let mut directives = Directives::default();
    let mut seen: Vec<&'static str> = Vec::new();
    let mut at = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
    // A script line may precede `syntax`, which is the only one that is then looked for.
    let is_script = text[at..].starts_with("#!");
    let mut next = at;
    for line in text[at..].split_inclusive('\n') {
        let start = next;
        next += line.len();
        if is_script && start == at {
            continue;
        }
        let Some((key, value)) = parse::directive(line) else { break };
        let name = line[key.clone()].to_lowercase();
        let Some(name) = ["syntax", "escape", "check"].into_iter().find(|known| *known == name) else { break };
        if is_script && name != "syntax" {
            break;
        }
        let span = |range: std::ops::Range<usize>| Span::new(source, start + range.start..start + range.end);
        if seen.contains(&name) {
            let message = format!("only one {name} parser directive can be used");
            diagnostics.push(Diagnostic::error("directive", span(key), message));
        } else if let Err(message) = directives.set(name, Text::new(&line[value.clone()], span(value.clone()))) {
            diagnostics.push(Diagnostic::error("directive", span(value), message));
        }
        seen.push(name);
        if is_script {
            break;
        }
    }
    // Only lines that were directives are left out; the one that ended the search is read again.
    for line in text[at..].split_inclusive('\n').take(seen.len() + usize::from(is_script)) {
        at += line.len();
    }
    (directives, at)
}

impl Directives {
    fn set(&mut self, name: &str, value: Text) -> Result<(), String> {
        match (name, value.text.as_str()) {
            ("syntax", _) => self.syntax = Some(value),
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
        check("#!/usr/bin/x\n# syntax=a\nFROM b", '\\', "FROM b", None);
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
