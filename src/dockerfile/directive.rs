//! Parser directives: `# syntax=`, `# escape=`, `# check=` at the very top.

use super::instruction::Text;

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
