//! The argument of `--chmod`: an octal number, or clauses as in chmod(1) (`u=rwX,go=rX`, `+x`, `go=u`).
//!
//! Octal sets the same bits on files and directories. Symbolic clauses change what an entry has, as chmod(1)
//! would with umask 0.

/// A parsed `--chmod`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Chmod {
    /// These twelve bits, for every entry.
    Octal(u32),
    /// Clauses, applied from left to right to the bits of each entry.
    Symbolic(Vec<Change>),
}

/// One operator of a clause, with whom it is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Change {
    /// Bits that the letters before the operator allow to change.
    affected: u32,
    operator: Operator,
    what: What,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Operator {
    Add,
    Remove,
    Set,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum What {
    /// Bits, repeated for user, group and others; `X` is kept apart since it depends on the entry.
    Bits { bits: u32, search: bool },
    /// The three bits now held by user (6), group (3) or others (0): how far they are shifted.
    CopyOf(u32),
}

/// Why a `--chmod` cannot be read.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ChmodError {
    /// Digits that are not an octal number of twelve bits.
    #[error("invalid chmod parameter: '{0}'. it should be octal string and between 0 and 07777")]
    Octal(String),
    /// Neither digits nor clauses.
    #[error("invalid chmod parameter: '{0}': invalid syntax")]
    Symbolic(String),
}

const SET_USER_ID: u32 = 0o4000;
const SET_GROUP_ID: u32 = 0o2000;
const STICKY: u32 = 0o1000;
const ALL: u32 = 0o7777;

impl Chmod {
    /// Reads the expanded value of `--chmod`.
    pub fn parse(text: &str) -> Result<Self, ChmodError> {
        if text.bytes().all(|byte| byte.is_ascii_digit()) {
            let bits = u32::from_str_radix(text, 8).ok().filter(|bits| *bits <= ALL);
            return bits.map(Self::Octal).ok_or_else(|| ChmodError::Octal(text.to_owned()));
        }
        let mut changes = Vec::new();
        for clause in text.split(',') {
            parse_clause(clause, &mut changes).ok_or_else(|| ChmodError::Symbolic(text.to_owned()))?;
        }
        Ok(Self::Symbolic(changes))
    }

    /// Returns the twelve bits of an entry that has `mode` now.
    pub fn apply(&self, mode: u32, is_directory: bool) -> u32 {
        match self {
            Self::Octal(bits) => *bits,
            Self::Symbolic(changes) => changes.iter().fold(mode & ALL, |mode, change| change.apply(mode, is_directory)),
        }
    }
}

impl Change {
    fn apply(self, mode: u32, is_directory: bool) -> u32 {
        let (mut bits, named) = match self.what {
            What::Bits { bits, search } => {
                let search = search && (is_directory || mode & 0o111 != 0);
                (bits | if search { 0o111 } else { 0 }, bits)
            }
            What::CopyOf(shift) => (((mode >> shift) & 0o7) * 0o111, 0),
        };
        bits &= self.affected;
        match self.operator {
            Operator::Add => mode | bits,
            Operator::Remove => mode & !bits,
            Operator::Set => {
                // chmod(1): `=` drops set-id bits of a file, but of a directory only when they are named.
                let kept = if is_directory { (SET_USER_ID | SET_GROUP_ID) & !named } else { 0 };
                (mode & (!self.affected | kept)) | bits
            }
        }
    }
}

/// `[ugoa...][+-=][perms...]`, the operator part any number of times but at least once.
fn parse_clause(clause: &str, changes: &mut Vec<Change>) -> Option<()> {
    let mut letters = clause.chars().peekable();
    let mut affected = 0;
    while let Some(bits) = letters.peek().copied().and_then(who) {
        affected |= bits;
        letters.next();
    }
    let affected = if affected == 0 { ALL } else { affected };
    letters.peek()?;
    while let Some(letter) = letters.next() {
        let operator = match letter {
            '+' => Operator::Add,
            '-' => Operator::Remove,
            '=' => Operator::Set,
            _ => return None,
        };
        let copied = match letters.peek() {
            Some('u') => Some(6),
            Some('g') => Some(3),
            Some('o') => Some(0),
            _ => None,
        };
        if let Some(shift) = copied {
            letters.next();
            changes.push(Change { affected, operator, what: What::CopyOf(shift) });
            continue;
        }
        let (mut bits, mut search) = (0, false);
        while let Some(letter) = letters.next_if(|letter| !"+-=".contains(*letter)) {
            match letter {
                'r' => bits |= 0o444,
                'w' => bits |= 0o222,
                'x' => bits |= 0o111,
                'X' => search = true,
                's' => bits |= SET_USER_ID | SET_GROUP_ID,
                't' => bits |= STICKY,
                _ => return None,
            }
        }
        changes.push(Change { affected, operator, what: What::Bits { bits, search } });
    }
    Some(())
}

fn who(letter: char) -> Option<u32> {
    match letter {
        'u' => Some(SET_USER_ID | 0o700),
        'g' => Some(SET_GROUP_ID | 0o070),
        'o' => Some(STICKY | 0o007),
        'a' => Some(ALL),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, mode: u32, is_directory: bool, want: u32) {
        let got = Chmod::parse(text).expect("valid").apply(mode, is_directory);
        assert_eq!(got, want, "{text} on {mode:o} gave {got:o}");
    }

    #[test]
    fn octal_ignores_what_was_there() {
        check("0644", 0o4755, true, 0o644);
        check("7777", 0, false, 0o7777);
        check("0", 0o777, false, 0);
    }

    #[test]
    fn clauses_work_as_in_chmod() {
        check("u=rwX,go=rX", 0o600, false, 0o644);
        check("u=rwX,go=rX", 0o700, true, 0o755);
        check("+x", 0o644, false, 0o755);
        check("go=u", 0o640, false, 0o666);
        check("a-w", 0o777, false, 0o555);
        check("u+s,g-s", 0o2755, false, 0o4755);
        check("+t", 0o755, true, 0o1755);
        check("u=rw", 0o4755, false, 0o655);
        check("u=rw", 0o4755, true, 0o4655);
        check("u-x+w", 0o755, false, 0o655);
    }

    #[test]
    fn anything_else_is_refused() {
        assert!(matches!(Chmod::parse("999"), Err(ChmodError::Octal(_))));
        assert!(matches!(Chmod::parse("17777"), Err(ChmodError::Octal(_))));
        assert!(matches!(Chmod::parse("777777777777777"), Err(ChmodError::Octal(_))));
        for text in ["u", "z=x", "u=q", "u=rw,", "rw", "-é"] {
            assert!(matches!(Chmod::parse(text), Err(ChmodError::Symbolic(_))), "{text}");
        }
    }
}
