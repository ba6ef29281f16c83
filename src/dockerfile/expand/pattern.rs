//! Patterns of `${name#pattern}` and its kin: `*`, `?`, and literal characters. No brackets.
//!
//! As in BuildKit, wildcards do not match a newline. Matching follows all possibilities at once, so the time of one try is
//! bounded by value times pattern, whatever the pattern; a replacement tries at every place, and gives up in time.

use super::{ExpandReason, LONGEST_WORD};

/// How many tokens a replacement may look at: about a second of work.
const MOST_WORK: usize = 50_000_000;

#[derive(Debug)]
pub(super) struct Pattern(Vec<Token>);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Token {
    Literal(char),
    One,
    Many,
}

impl Pattern {
    /// Reads a pattern; `\` makes `*`, `?`, `\`, `/` and `}` literal, and is an error before anything else.
    pub(super) fn parse(text: &str) -> Result<Self, ExpandReason> {
        let mut tokens = Vec::new();
        let mut characters = text.chars();
        while let Some(character) = characters.next() {
            tokens.push(match character {
                // Runs of stars mean the same as one.
                '*' if tokens.last() == Some(&Token::Many) => continue,
                '*' => Token::Many,
                '?' => Token::One,
                '\\' => match characters.next() {
                    Some(escaped @ ('*' | '?' | '\\' | '/' | '}')) => Token::Literal(escaped),
                    other => {
                        let escaped = other.map(String::from).unwrap_or_default();
                        return Err(ExpandReason::Pattern { pattern: text.to_owned(), escaped });
                    }
                },
                _ => Token::Literal(character),
            });
        }
        Ok(Self(tokens))
    }

    pub(super) fn without_prefix(&self, value: &str, longest: bool) -> String {
        let characters: Vec<char> = value.chars().collect();
        let matched = self.match_at(&characters, longest).unwrap_or(0);
        characters[matched..].iter().collect()
    }

    pub(super) fn without_suffix(&self, value: &str, longest: bool) -> String {
        let backwards = Self(self.0.iter().rev().copied().collect());
        let characters: Vec<char> = value.chars().rev().collect();
        let matched = backwards.match_at(&characters, longest).unwrap_or(0);
        characters[matched..].iter().rev().collect()
    }

    /// Replaces the first or all longest matches; an empty match right behind another match does not count.
    pub(super) fn replaced(&self, value: &str, replacement: &str, all: bool) -> Result<String, ExpandReason> {
        let characters: Vec<char> = value.chars().collect();
        let mut work = 0;
        let mut out = String::new();
        let mut at = 0;
        let mut after_match = false;
        loop {
            let (matched, steps) = self.try_at(&characters[at..], true);
            let matched = matched.filter(|length| *length > 0 || !after_match);
            work += steps;
            if work > MOST_WORK || out.len() > LONGEST_WORD {
                return Err(ExpandReason::TooLong);
            }
            if let Some(length) = matched {
                out.push_str(replacement);
                at += length;
                if !all {
                    break;
                }
                after_match = true;
                if length > 0 {
                    continue;
                }
            }
            let Some(character) = characters.get(at) else { break };
            out.push(*character);
            at += 1;
            after_match = false;
        }
        out.extend(&characters[at..]);
        Ok(out)
    }

    /// Returns the length of the longest or shortest match that begins where `text` begins.
    fn match_at(&self, text: &[char], longest: bool) -> Option<usize> {
        self.try_at(text, longest).0
    }

    /// Like [`Self::match_at`]; also says how many tokens it looked at.
    fn try_at(&self, text: &[char], longest: bool) -> (Option<usize>, usize) {
        let end = self.0.len();
        // `reached[i]`: the tokens before `i` have matched what was read so far.
        let mut reached = vec![false; end + 1];
        reached[0] = true;
        self.skip_stars(&mut reached);
        let mut found = None;
        let mut work = 0;
        for length in 0..=text.len() {
            if reached[end] {
                found = Some(length);
                if !longest {
                    return (found, work);
                }
            }
            let Some(character) = text.get(length) else { break };
            work += end;
            let mut next = vec![false; end + 1];
            let mut any = false;
            for (index, token) in self.0.iter().enumerate().filter(|(index, _)| reached[*index]) {
                let (target, accepts) = match token {
                    Token::Literal(wanted) => (index + 1, wanted == character),
                    Token::One => (index + 1, *character != '\n'),
                    Token::Many => (index, *character != '\n'),
                };
                next[target] |= accepts;
                any |= accepts;
            }
            if !any {
                break;
            }
            self.skip_stars(&mut next);
            reached = next;
        }
        (found, work)
    }

    fn skip_stars(&self, reached: &mut [bool]) {
        for (index, token) in self.0.iter().enumerate() {
            if reached[index] && *token == Token::Many {
                reached[index + 1] = true;
            }
        }
    }
}
