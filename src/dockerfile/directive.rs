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
    /// Rules not to report.
    pub skip: Chosen,
    /// True: a violation fails the build.
    pub error: bool,
    /// Experimental rules to report.
    pub experimental: Chosen,
}

/// The code of the error about a `# check=` that cannot be read.
pub const CHECK_OPTIONS: &str = "check-options";

/// Some rules.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Chosen {
    /// Every one.
    All,
    /// Those of these names; names of no rule choose nothing.
    Named(Vec<String>),
}

impl Default for Chosen {
    fn default() -> Self {
        Self::Named(Vec::new())
    }
}

impl Chosen {
    fn add(&mut self, text: &str) {
        match text.trim() {
            "all" => *self = Self::All,
            names => {
                if let Self::Named(chosen) = self {
                    *chosen = names.split(',').map(|name| name.trim().to_owned()).collect();
                }
            }
        }
    }
}

/// Why `check=` options cannot be read.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CheckOptionsError {
    /// A part that is none of `skip=`, `error=` and `experimental=`.
    #[error("invalid check option \"{0}\"")]
    Unknown(String),
    /// `error=` is neither true nor false.
    #[error("failed to parse check option \"{0}\": neither true nor false")]
    NotBoolean(String),
}

impl CheckOptions {
    /// Reads `skip=a,b;error=true;experimental=c`, the value of the directive and of the option that replaces it. What
    /// follows a second `;` is one part.
    pub fn parse(text: &str) -> Result<Self, CheckOptionsError> {
        let mut options = Self::default();
        let text = text.trim();
        for part in text.splitn(3, ';').filter(|_| !text.is_empty()) {
            let (key, value) = part.split_once('=').ok_or_else(|| CheckOptionsError::Unknown(part.to_owned()))?;
            match key.trim() {
                "skip" => options.skip.add(value),
                "experimental" => options.experimental.add(value),
                "error" => {
                    let not_boolean = || CheckOptionsError::NotBoolean(part.to_owned());
                    options.error = boolean(value.trim()).ok_or_else(not_boolean)?;
                }
                key => return Err(CheckOptionsError::Unknown(key.to_owned())),
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
        let mut error = |code, span, message| {
            diagnostics.push(Diagnostic::error(code, Span::new(source, span), message));
        };
        let written = &text[value.clone()];
        match name {
            _ if seen.contains(&name) => {
                error("directive", key, format!("only one {name} parser directive can be used"));
            }
            "escape" => match written {
                "\\" => directives.escape = '\\',
                "`" => directives.escape = '`',
                other => {
                    let message = format!("invalid escape token '{other}' does not match ` or \\");
                    error("directive", value, message);
                }
            },
            "check" => match CheckOptions::parse(written.split(' ').next().unwrap_or_default()) {
                Ok(options) => directives.check = options,
                Err(problem) => error(CHECK_OPTIONS, value, format!("failed to parse check options: {problem}")),
            },
            _ => {}
        }
        seen.push(name);
    }
    (directives, at)
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
        assert_eq!(options.to_string(), "invalid check option \"foo\"");
        let foo = "failed to parse check options: invalid check option \"foo\"";
        check("# check=foo\n", '\\', "", Some(foo));
    }

    #[test]
    fn check_options() {
        let named = |names: &[&str]| Chosen::Named(names.iter().map(|name| (*name).to_owned()).collect());
        let options = CheckOptions::parse(" skip=A, B; error = T ;experimental=all").expect("valid");
        let want = CheckOptions { skip: named(&["A", "B"]), error: true, experimental: Chosen::All };
        assert_eq!(options, want);
        assert_eq!(CheckOptions::parse(" "), Ok(CheckOptions::default()));
        // `all` is no name, and no part follows the third.
        let options = CheckOptions::parse("skip=A,all;error=0;experimental=a;skip=all").expect("valid");
        let want = CheckOptions { skip: named(&["A", "all"]), error: false, experimental: named(&["a;skip=all"]) };
        assert_eq!(options, want);
    }

    #[test]
    fn mistakes_in_check_options() {
        let problem = |text: &str| CheckOptions::parse(text).expect_err("a mistake").to_string();
        assert_eq!(problem("skip=A;"), "invalid check option \"\"");
        assert_eq!(problem("foo =bar"), "invalid check option \"foo\"");
        assert_eq!(problem("error=yes"), "failed to parse check option \"error=yes\": neither true nor false");
    }
}
