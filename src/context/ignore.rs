//! Which paths of a tree are left out: `.dockerignore` and `COPY --exclude`.
//!
//! The rules are read in order and the last one that applies decides. A rule applies to a path that its
//! pattern matches, and to everything below it. As in moby/patternmatcher (`MatchesUsingParentResults`)
//! a rule that could change nothing when a directory was looked at (a second exclusion, or a `!` of what was
//! not excluded) is not remembered for what is below that directory.

use super::glob::{Glob, GlobError, parents};

/// An ordered list of rules.
#[derive(Clone, Debug, Default)]
pub struct Ignore {
    rules: Vec<Rule>,
}

/// One line of an ignore file.
#[derive(Clone, Debug)]
pub struct Rule {
    /// The line as written, without blanks around it.
    pub text: String,
    /// Line number in the file (from 1), or the position in a list of patterns.
    pub line: usize,
    /// `!`: what matches is taken back in.
    negated: bool,
    glob: Glob,
    /// The parts of the pattern up to the first that is not plain text: what a path must begin with.
    plain: Vec<Vec<u8>>,
    /// Number of parts when the pattern can only match paths of exactly so many.
    parts: Option<usize>,
}

/// Why a text is no list of rules.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IgnoreError {
    /// A `!` without a pattern.
    #[error("illegal exclusion pattern: \"!\"")]
    LoneNegation {
        /// Line number, from 1.
        line: usize,
    },
    /// A pattern that has no meaning.
    #[error("`{pattern}`: syntax error in pattern")]
    Pattern {
        /// Line number, from 1.
        line: usize,
        /// The pattern as written.
        pattern: String,
    },
}

impl IgnoreError {
    /// The line the mistake is on, from 1.
    pub fn line(&self) -> usize {
        match self {
            Self::LoneNegation { line } | Self::Pattern { line, .. } => *line,
        }
    }
}

/// What the rules say of one path, and what has to be known of it to judge the paths below.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// Whether the path is left out.
    pub excluded: bool,
    applied: Vec<bool>,
}

impl Ignore {
    /// Reads an ignore file: one pattern a line, `#` in the first column for comments.
    ///
    /// All lines are read before the mistakes are returned.
    pub fn parse(text: &str) -> Result<Self, Vec<IgnoreError>> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let lines = text.lines().enumerate().filter(|(_, line)| !line.starts_with('#'));
        Self::collect(lines.map(|(at, line)| (at + 1, line.trim())))
    }

    /// Takes a list of patterns, as `--exclude` gives them; `#` has no meaning here.
    pub fn of_patterns<S: AsRef<str>>(patterns: &[S]) -> Result<Self, Vec<IgnoreError>> {
        Self::collect(patterns.iter().enumerate().map(|(at, pattern)| (at + 1, pattern.as_ref().trim())))
    }

    fn collect<'t>(lines: impl Iterator<Item = (usize, &'t str)>) -> Result<Self, Vec<IgnoreError>> {
        let mut rules = Vec::new();
        let mut errors = Vec::new();
        for (line, text) in lines.filter(|(_, text)| !text.is_empty()) {
            match Rule::new(line, text) {
                Ok(rule) => rules.push(rule),
                Err(error) => errors.push(error),
            }
        }
        if errors.is_empty() { Ok(Self { rules }) } else { Err(errors) }
    }

    /// Whether there is no rule.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Whether some rule takes things back in.
    pub fn has_negations(&self) -> bool {
        self.rules.iter().any(|rule| rule.negated)
    }

    /// Whether some rule leaves out whatever is at the top.
    pub fn excludes_every_entry(&self) -> bool {
        self.rules.iter().any(|rule| matches!(rule.text.as_str(), "*" | "**" | "**/*"))
    }

    /// Judges the top of the tree, which is never left out.
    pub fn top(&self) -> Verdict {
        Verdict { excluded: false, applied: vec![false; self.rules.len()] }
    }

    /// Judges `path` (clean, relative), given the verdict on the directory it is in.
    pub fn below(&self, parent: &Verdict, path: &[u8]) -> Verdict {
        let mut excluded = false;
        let mut applied = vec![false; self.rules.len()];
        for (at, rule) in self.rules.iter().enumerate() {
            applied[at] = parent.applied[at] || (rule.negated == excluded && rule.glob.matches(path));
            if applied[at] {
                excluded = !rule.negated;
            }
        }
        Verdict { excluded, applied }
    }

    /// Judges `path` (clean, relative) with all directories above it.
    pub fn verdict(&self, path: &[u8]) -> Verdict {
        let above = parents(path).fold(self.top(), |verdict, parent| self.below(&verdict, parent));
        if path.is_empty() { above } else { self.below(&above, path) }
    }

    /// Whether `path` (clean, relative) is left out.
    pub fn excludes(&self, path: &[u8]) -> bool {
        self.verdict(path).excluded
    }

    /// Whether nothing below the directory at `path` can be taken back in, so that it need not be looked at.
    pub fn can_prune(&self, verdict: &Verdict, path: &[u8]) -> bool {
        verdict.excluded
            && self
                .deciding(verdict)
                .is_some_and(|at| self.rules[at + 1..].iter().all(|rule| !rule.negated || !rule.may_match_below(path)))
    }

    /// Whether some rule may apply to a path below `directory` for the first time there.
    pub fn may_apply_below(&self, directory: &[u8]) -> bool {
        self.rules.iter().any(|rule| rule.may_match_below(directory))
    }

    /// Returns the rule that leaves `path` out, if one does.
    pub fn rule_for(&self, path: &[u8]) -> Option<&Rule> {
        let verdict = self.verdict(path);
        let at = self.deciding(&verdict)?;
        verdict.excluded.then(|| &self.rules[at])
    }

    fn deciding(&self, verdict: &Verdict) -> Option<usize> {
        verdict.applied.iter().rposition(|applied| *applied)
    }
}

impl Rule {
    fn new(line: usize, text: &str) -> Result<Self, IgnoreError> {
        let (negated, pattern) = match text.strip_prefix('!') {
            Some(rest) => (true, rest.trim()),
            None => (false, text),
        };
        if pattern.is_empty() {
            return Err(IgnoreError::LoneNegation { line });
        }
        let bad = |GlobError| IgnoreError::Pattern { line, pattern: pattern.to_owned() };
        let pattern = tidy(pattern);
        let glob = Glob::of_ignore_rule(&pattern).map_err(bad)?;
        let is_plain = |part: &&[u8]| !part.iter().any(|byte| b"*?[]\\".contains(byte));
        let split = || pattern.split(|byte| *byte == b'/');
        let plain = split().take_while(is_plain).map(<[u8]>::to_vec).collect();
        // A class may match a `/`, and `**` any number of them.
        let counted = !pattern.contains(&b'[') && !pattern.windows(2).any(|pair| pair == b"**");
        Ok(Self { text: text.to_owned(), line, negated, glob, plain, parts: counted.then(|| split().count()) })
    }

    /// Whether the pattern may match something below `directory`. May err on the side of yes.
    fn may_match_below(&self, directory: &[u8]) -> bool {
        let depth = directory.split(|byte| *byte == b'/').count();
        self.parts.is_none_or(|parts| parts > depth)
            && self.plain.iter().zip(directory.split(|byte| *byte == b'/')).all(|(a, b)| a == b)
    }
}

/// Cleans a pattern as a path: relative to the top, no `.`, no `x/..`, no `/` at the end.
/// What stays of a pattern for the top itself is `.`, which matches no path; so does one for what is above it.
fn tidy(pattern: &str) -> Vec<u8> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in pattern.as_bytes().split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." if parts.last().is_some_and(|last| *last != b"..") => {
                parts.pop();
            }
            b".." if pattern.starts_with('/') => {}
            part => parts.push(part),
        }
    }
    if parts.is_empty() { b".".to_vec() } else { parts.join(&b'/') }
}

#[cfg(test)]
mod tests;
